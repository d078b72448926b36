// What the operations that change a stream have in common: they end with its snapshots gone.
import * as Effect from "effect/Effect"
import type { DeleteOptions, SnapshotStore, SnapshotStoreError } from "../../SnapshotStore.js"
import type * as StreamId from "../../StreamId.js"
import { EventStoreError } from "./eventErrors.js"
import type { LifeSeam } from "./life.js"

/** What the operations on streams work with. */
export interface Stores {
  readonly life: LifeSeam
  readonly snapshots: SnapshotStore["Type"]
  /** Whether snapshots can be deleted in the transaction of the events. */
  readonly isShared: boolean
}

/** Runs a change of a stream in a transaction, and deletes the snapshots of the stream: in it, if they can be. */
export const change = <A, E extends { readonly cause?: unknown }>(
  { isShared, life, snapshots }: Stores,
  stream: StreamId.StreamId,
  changed: Effect.Effect<A, E>,
  /** The snapshots that must go if the change has ended before them: others may be the only source of a state by then. */
  outdated: (changed: A) => DeleteOptions
): Effect.Effect<A, E | EventStoreError | SnapshotStoreError> =>
  isShared
    ? life.transaction(stream, Effect.tap(changed, () => snapshots.delete(stream)))
    // a snapshot that is left behind is refused at the next load
    : Effect.tap(life.transaction(stream, changed), (changed) => snapshots.delete(stream, outdated(changed)))

/** The failure of an operation whose store did not do as it must. */
export const unusable = (
  operation: "delete" | "rewrite" | "truncate",
  stream: StreamId.StreamId,
  detail: string
): EventStoreError => new EventStoreError({ operation, stream, reason: "Unavailable", mayHaveAppended: false, detail })

/** Says that the store did not tell where the marker is. */
export const noPlace = "the store gave no position or no time for the marker"
