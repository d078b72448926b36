import type * as Statement from "@effect/sql/Statement"
import type * as EventStore from "../EventStore.js"
import type * as Position from "../Position.js"
import type * as StreamId from "../StreamId.js"

/**
 * What the event store asks of a dialect.
 *
 * @internal
 */
export interface EventStatements {
  /** Gives no rows where the stream's version is not as expected. */
  readonly append: (options: Parameters<EventStore.Encoded["append"]>[0]) => Statement.Statement<AppendedRow>
  /** Where events with these ids stand. */
  readonly standing: (ids: ReadonlyArray<string>) => Statement.Statement<StandingRow>
  readonly version: (stream: StreamId.StreamId) => Statement.Statement<{ readonly version: number }>
  readonly read: (options: Parameters<EventStore.Encoded["read"]>[0]) => Statement.Statement<EventRow>
  readonly readAll: (options: Parameters<EventStore.Encoded["readAll"]>[0]) => Statement.Statement<EventRow>
  /** How a transaction sees what others commit while it is open, where that differs. */
  readonly isolation?: Statement.Statement<{ readonly level: string }> | undefined
  /** What `readAll` holds back, where an event may be committed after a later one. */
  readonly heldBack?: Statement.Statement<HeldBackRow> | undefined
  readonly position: (row: PositionColumns) => Position.Position
  readonly readTail: (
    stream: StreamId.StreamId,
    options: { readonly fromVersion: number; readonly limit: number }
  ) => Statement.Statement<EventStore.TailEvent>
  /** The tail, and the snapshot in the same columns as a row without a type. */
  readonly readWithSnapshot: (
    snapshots: string,
    stream: StreamId.StreamId,
    options: Parameters<EventStore.SnapshotReader>[1]
  ) => Statement.Statement<TailOrSnapshotRow>
}

/** @internal */
export interface PositionColumns {
  readonly position: number | string
  readonly transaction?: string | undefined
}

/** @internal */
export interface HeldBackRow {
  readonly events: number | string
  /** Milliseconds since the oldest of them was appended; none without any. */
  readonly lag: number | string | null
}

/** @internal */
export interface AppendedRow extends PositionColumns {
  readonly version: number
}

/** @internal */
export interface StandingRow extends PositionColumns {
  readonly event_id: string
  readonly aggregate: string
  readonly stream_id: string
  readonly version: number
}

/** @internal */
export interface EventRow extends StandingRow {
  readonly type: string
  readonly payload: string
  readonly metadata: string
  readonly time: number | string
}

/** @internal */
export type TailOrSnapshotRow = EventStore.TailEvent | SnapshotRow

/** @internal */
export interface SnapshotRow {
  readonly version: number
  readonly type: null
  readonly payload: string
  /** A JSON array of event id, schema version, fingerprint and time. */
  readonly eventId: string
}
