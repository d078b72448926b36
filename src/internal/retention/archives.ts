// Removes contents that were archived long ago, by truncations that remove. Why: docs/decisions/0165-old-archives.md.
// Mechanism: the oldest are found by their age. The snapshot must be above all old contents of a stream before the first
// of them goes. The first truncation verifies it by full replay; the others follow in steps, for which its proof is enough.
// Cost: one statement to find nothing, and for a stream a load and a full replay.
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type * as Aggregate from "../../Aggregate.js"
import type { EventStoreError, LifeSeam } from "../../EventStore.js"
import type { SnapshotStoreError } from "../../SnapshotStore.js"
import type { StreamId } from "../../StreamId.js"
import type { Streams, TruncateError } from "../../Streams.js"
import * as Markers from "../markers.js"
import { isOvertaken } from "../overtaken.js"
import type { KeptReason, Policies, Report, RetentionError } from "./model.js"
import { isWhole } from "./options.js"
import * as Steps from "./steps.js"

/** The truncation of `Streams`. */
export type Truncate = Streams["Type"]["truncate"]

type Whole = Aggregate.Aggregate<string, unknown, unknown, unknown, unknown, unknown>

type Removed = NonNullable<Report["archives"]>

interface Work {
  readonly stores: Steps.Stores
  readonly life: LifeSeam
  readonly truncate: Truncate
  readonly before: number
  readonly steps: Steps.Steps
}

export const remove = (
  stores: Steps.Stores,
  life: LifeSeam,
  truncate: Truncate,
  { aggregates, olderThan }: NonNullable<Policies["archives"]>,
  steps: Steps.Steps
): Effect.Effect<Removed, RetentionError> =>
  Effect.gen(function*() {
    const before = yield* Steps.timeBefore(olderThan)
    const work = { stores, life, truncate, before, steps }
    let streams = 0
    let removed = 0
    const kept: Partial<Record<KeptReason, number>> = {}
    for (const aggregate of aggregates.filter(isWhole)) {
      // one that was archived at several times is met several times
      const stay = new Set<string>()
      let after = { archivedAt: -1, id: "" }
      while (true) {
        const next = yield* life.nextArchived({ aggregate: aggregate.name, before, after })
        if (Option.isNone(next)) break
        const { archivedAt, stream } = next.value
        after = { archivedAt, id: stream.id }
        if (stay.has(stream.id)) continue
        const done = yield* removeOf(work, aggregate, stream)
        removed += done.removed
        if (done.removed > 0) streams += 1
        if (done.kept === undefined) continue
        stay.add(stream.id)
        kept[done.kept] = (kept[done.kept] ?? 0) + 1
      }
    }
    return { streams, removed, kept }
  })

interface Done {
  readonly removed: number
  readonly kept?: KeptReason | undefined
}

/** Removes the old contents of a stream, in steps. */
const removeOf = (work: Work, aggregate: Whole, stream: StreamId): Effect.Effect<Done, RetentionError> =>
  Effect.gen(function*() {
    const { before, life, steps, stores } = work
    let removed = 0
    while (true) {
      const { count, last, upTo } = yield* life.oldContents(stream, { before, limit: steps.limit })
      if (count === 0) return { removed }
      // the truncation asks for less than that until its last step
      const snapshot = yield* ownSnapshot(stores, aggregate, stream)
      if (Option.isNone(snapshot)) {
        const isDeleted = Option.exists(yield* life.last(stream), ({ type }) => type === Markers.deleted)
        return { removed, kept: isDeleted ? "Deleted" as const : "Missing" as const }
      }
      if (snapshot.value.version < last) return { removed, kept: "Older" as const }
      // what is in its place was not archived
      if ((yield* life.left(stream, upTo + 1)).kept > 0) return { removed, kept: "Restored" as const }
      const step = yield* Effect.either(truncated(work, aggregate, stream, upTo + 1))
      if (step._tag === "Left") {
        return step.left instanceof Stays ? { removed, kept: step.left.reason } : yield* step.left
      }
      removed += step.right
      yield* steps.done(step.right, true)
    }
  })

/** The store may find one of another schema version, on which a truncation does not rely. */
const ownSnapshot = ({ snapshots }: Steps.Stores, { schemaVersion }: Whole, stream: StreamId) =>
  Effect.map(
    snapshots.get(stream, { schemaVersion }),
    Option.filter((snapshot) => snapshot.schemaVersion === schemaVersion)
  )

class Stays extends Data.TaggedError("Stays")<{ readonly reason: KeptReason | undefined }> {}

const truncated = (
  { truncate }: Work,
  aggregate: Whole,
  stream: StreamId,
  before: number
): Effect.Effect<number, Stays | EventStoreError | SnapshotStoreError> =>
  truncate(stream, { aggregate, before, events: "remove", unverified: true, metadata: { by: "retention" } }).pipe(
    Effect.map(({ events }) => events),
    Effect.mapError((error) => isOfStore(error) ? error : new Stays({ reason: reasonOf(error) }))
  )

/** Whether a store failed, and not the stream. */
const isOfStore = (error: TruncateError): error is EventStoreError | SnapshotStoreError =>
  error._tag === "SnapshotStoreError" ||
  error._tag === "EventStoreError" && error.reason !== "InvalidInput" && !isOvertaken(error.cause)

/** `undefined`: another process has removed the stream. */
const reasonOf = (error: Exclude<TruncateError, SnapshotStoreError>): KeptReason | undefined => {
  switch (error._tag) {
    case "SnapshotRequired":
      return error.reason
    case "StreamDeleted":
      return "Deleted"
    case "VersionConflict":
    case "HistoryRewritten":
      return "Busy"
    case "EventStoreError":
      return isOvertaken(error.cause) ? "Busy" : "Unreadable"
    case "StreamNotFound":
    case "EventNotFound":
      return undefined
    default:
      return "Unreadable"
  }
}
