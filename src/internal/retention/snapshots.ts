// Removes snapshots of old schema versions, by an index: the cost is that of what is removed. A snapshot that is the only
// source of a state stays. Why: docs/decisions/0169-snapshots-that-are-the-only-source.md.
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type { EventStore, EventStoreError } from "../../EventStore.js"
import * as Position from "../../Position.js"
import type { SnapshotStoreError } from "../../SnapshotStore.js"
import * as Markers from "../markers.js"
import type { Policies } from "./model.js"
import type { Steps, Stores } from "./steps.js"

export const prune = (
  stores: Stores,
  { aggregates }: NonNullable<Policies["snapshots"]>,
  steps: Steps
): Effect.Effect<{ readonly removed: number }, SnapshotStoreError | EventStoreError> =>
  Effect.gen(function*() {
    const { events, snapshots } = stores
    // snapshots in the database of the events know which of them are the only source of a state
    const isShared = Option.isSome(events.replay.withSnapshots(snapshots))
    let removed = 0
    for (const aggregate of aggregates) {
      removed += isShared
        ? yield* inSteps(snapshots, aggregate, steps, Effect.succeed(true))
        : yield* elsewhere(stores, aggregate, steps)
    }
    return { removed }
  })

type Pruned = NonNullable<Policies["snapshots"]>["aggregates"][number]

/** Removes the old snapshots of an aggregate, as long as it may. */
const inSteps = <E>(
  snapshots: Stores["snapshots"],
  { name, schemaVersion }: Pruned,
  { done, limit }: Steps,
  mayGo: Effect.Effect<boolean, E>
): Effect.Effect<number, SnapshotStoreError | E> =>
  Effect.gen(function*() {
    let removed = 0
    while (yield* mayGo) {
      const count = yield* snapshots.deleteByType(name, { schemaVersionBelow: schemaVersion, limit })
      removed += count
      if (count > 0) yield* done(count, count >= limit)
      if (count < limit) break
    }
    return removed
  })

/** Removes snapshots that are in another database than the events, until a stream of the aggregate is truncated. */
const elsewhere = (
  { events, snapshots }: Stores,
  aggregate: Pruned,
  steps: Steps
): Effect.Effect<number, SnapshotStoreError | EventStoreError> =>
  Effect.gen(function*() {
    const { name, schemaVersion } = aggregate
    const old = yield* snapshots.deleteByType(name, { schemaVersionBelow: schemaVersion, dryRun: true })
    if (old === 0) return 0
    let after = Position.start
    // a pass may take minutes, in which a stream is truncated for the first time
    const mayGo = Effect.map(Effect.suspend(() => untruncated(events, name, after)), (upTo) => {
      after = Option.getOrElse(upTo, () => after)
      return Option.isSome(upTo)
    })
    return yield* inSteps(snapshots, aggregate, steps, mayGo)
  })

/** The position up to which no stream of the aggregate was truncated. `None` if one was. */
const untruncated = (
  events: EventStore["Type"],
  aggregate: string,
  after: Position.Position
): Effect.Effect<Option.Option<Position.Position>, EventStoreError> =>
  Effect.flatMap(
    events.readPage({ after, aggregates: [aggregate], types: [Markers.truncated], limit: 1 }),
    (page) => {
      if (page.events.length > 0) return Effect.succeedNone
      return page.atEnd ? Effect.succeedSome(page.settled) : untruncated(events, aggregate, page.settled)
    }
  )
