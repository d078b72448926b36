import type * as Statement from "@effect/sql/Statement"
import type * as EventStore from "../../EventStore.js"
import type * as Position from "../../Position.js"
import type * as StreamId from "../../StreamId.js"
import type { SqlFailure } from "./failure.js"
import type { Choice } from "./snapshotChoice.js"
import type { FixedStatement, Parameter } from "./statement.js"

/**
 * What the event store asks of a dialect.
 *
 * @internal
 */
export interface EventStatements {
  /** For so many events. */
  readonly append: (count: number) => FixedStatement<AppendOptions>
  /** The last event of an append, from its rows; `undefined` where the stream's version was not as expected. */
  readonly appended: (rows: ReadonlyArray<ReadonlyArray<unknown>>) => AppendedRow | undefined
  /** Where events with these ids stand. */
  readonly standing: (ids: ReadonlyArray<string>) => Statement.Statement<StandingRow>
  /** A row of `version`. */
  readonly version: FixedStatement<StreamId.StreamId>
  readonly read: (options: Parameters<EventStore.Encoded["read"]>[0]) => Statement.Statement<EventRow>
  readonly readAll: (options: Parameters<EventStore.Encoded["readAll"]>[0]) => Statement.Statement<EventRow>
  /** Whether a unique index of the store's own is what was violated, or a statement that gives a row if it is. */
  readonly isOurs: (violation: SqlFailure) => boolean | Statement.Statement<object>
  /** How a transaction sees what others commit while it is open, where that differs. */
  readonly isolation?: Statement.Statement<{ readonly level: unknown }> | undefined
  /** Whether another server writes the events into the table, where that can be: there `readAll` gives no rows. */
  readonly subscribed?: Statement.Statement<{ readonly subscribed: unknown }> | undefined
  /** What `readAll` holds back, where an event may be committed after a later one. */
  readonly heldBack?: Statement.Statement<HeldBackRow> | undefined
  readonly position: (row: PositionColumns) => Position.Position
  /** Columns of a `TailEvent`: version, type, payload, event id. From version 1 on, or from a later one. */
  readonly readTail: (limit: number, from: "beginning" | "later") => FixedStatement<TailOptions>
  /**
   * The tail, and in the same columns the snapshot: the row without a type, its state as payload, and for event id a JSON
   * array of event id, schema version, fingerprint and time.
   */
  readonly readWithSnapshot: (snapshots: string, options: EventStore.ReaderOptions) => FixedStatement<LoadOptions>
}

/** @internal */
export type AppendOptions = Parameters<EventStore.Encoded["append"]>[0]

/** @internal */
export interface TailOptions {
  readonly stream: StreamId.StreamId
  readonly fromVersion: number
}

/** @internal */
export interface LoadOptions extends EventStore.ReaderOptions {
  readonly stream: StreamId.StreamId
}

/**
 * What the text of `readWithSnapshot` depends on, besides the table.
 *
 * @internal
 */
export const shapeOf = ({ fingerprint, limit, migratable }: EventStore.ReaderOptions): string =>
  `${limit} ${migratable?.length ?? 0} ${fingerprint === undefined}`

/**
 * The options of a load as they stand in its text.
 *
 * @internal
 */
export const choiceOf = (
  { fingerprint, migratable = [] }: EventStore.ReaderOptions,
  parameter: Parameter<LoadOptions>
): Choice => ({
  schemaVersion: parameter((options) => options.schemaVersion),
  fingerprint: fingerprint === undefined ? undefined : parameter((options) => options.fingerprint),
  migratable: migratable.map((_, index) => ({
    schemaVersion: parameter((options) => options.migratable?.[index].schemaVersion),
    fingerprint: parameter((options) => options.migratable?.[index].fingerprint)
  }))
})

/** @internal */
export interface PositionColumns {
  readonly position: unknown
  readonly transaction?: unknown
}

/** @internal */
export interface HeldBackRow {
  /** As `EventStatements.subscribed` says it. */
  readonly subscribed: unknown
  readonly events: unknown
  /** Milliseconds since the oldest of them was appended; none without any. */
  readonly lag: unknown
}

/** @internal */
export interface AppendedRow extends PositionColumns {
  readonly version: number
}

/** @internal */
export interface StandingRow extends PositionColumns {
  readonly event_id: unknown
  readonly aggregate: unknown
  readonly stream_id: unknown
  readonly version: unknown
}

/** @internal */
export interface EventRow extends StandingRow {
  readonly type: unknown
  readonly payload: unknown
  readonly metadata: unknown
  readonly time: unknown
}
