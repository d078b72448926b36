// What the operations that change a stream have in common: they end with its snapshots gone.
import type * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type { EncodedEvent } from "../../Event.js"
import type { ExpectedVersion } from "../../ExpectedVersion.js"
import type { Position } from "../../Position.js"
import type { DeleteOptions, SnapshotStore, SnapshotStoreError } from "../../SnapshotStore.js"
import type * as StreamId from "../../StreamId.js"
import { EventStoreError, type StreamDeleted, type VersionConflict } from "./eventErrors.js"
import type { LifeSeam } from "./life.js"

/** What the operations on streams work with. */
export interface Stores {
  readonly life: LifeSeam
  readonly snapshots: SnapshotStore["Type"]
  /** Whether snapshots can be deleted in the transaction of the events. */
  readonly isShared: boolean
  /** Whether the caller has opened a transaction. */
  readonly inTransaction: Effect.Effect<boolean>
}

/** Runs a change of a stream in a transaction, and deletes the snapshots of the stream: in it, if they can be. */
export const change = <A, E extends { readonly cause?: unknown }>(
  { inTransaction, isShared, life, snapshots }: Stores,
  stream: StreamId.StreamId,
  changed: Effect.Effect<A, E>,
  /** The snapshots that must go if the change has ended before them: others may be the only source of a state by then. */
  outdated: (changed: A) => DeleteOptions
): Effect.Effect<A, E | EventStoreError | SnapshotStoreError> =>
  isShared
    ? life.transaction(stream, Effect.tap(changed, () => snapshots.delete(stream)))
    // A snapshot that is left behind is refused at the next load. After a rollback of the caller's transaction it may be
    // the only source of the state.
    : Effect.tap(
      life.transaction(stream, changed),
      (changed) => Effect.unlessEffect(snapshots.delete(stream, outdated(changed)), inTransaction)
    )

/** The failure of an operation whose store did not do as it must. */
export const unusable = (
  operation: "delete" | "rewrite" | "truncate",
  stream: StreamId.StreamId,
  detail: string,
  cause?: unknown
): EventStoreError =>
  new EventStoreError({
    operation,
    stream,
    reason: "Unavailable",
    mayHaveAppended: false,
    detail,
    ...(cause === undefined ? {} : { cause })
  })

/** Where a marker is. */
export interface Marked {
  readonly version: number
  readonly position: Position
  readonly time: DateTime.Utc
}

/** Appends the marker of a change. */
export const mark = (
  operation: "rewrite" | "truncate",
  { life }: Pick<Stores, "life">,
  stream: StreamId.StreamId,
  marker: EncodedEvent,
  expected: ExpectedVersion
): Effect.Effect<Marked, VersionConflict | StreamDeleted | EventStoreError> =>
  Effect.flatMap(
    Effect.catchTag(
      life.mark(stream, marker, expected),
      "DuplicateEventId",
      ({ message }) => unusable(operation, stream, message)
    ),
    ({ position, time, version }): Effect.Effect<Marked, EventStoreError> =>
      Option.isSome(position) && Option.isSome(time)
        ? Effect.succeed({ version, position: position.value, time: time.value })
        : unusable(operation, stream, noPlace)
  )

/** Says that the store did not tell where the marker is. */
export const noPlace = "the store gave no position or no time for the marker"
