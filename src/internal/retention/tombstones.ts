// Removes what is left of deleted streams. Why in this order: docs/decisions/0164-retention.md.
// Mechanism: the events before the marker go first, the last of them first, so that what is left is the beginning of the
// history and its end. The marker goes in a later step, which has found it alone before it read the checkpoints.
// Cost: two statements to find nothing, and two for each stream.
import * as Effect from "effect/Effect"
import type { LifeSeam, Tombstone } from "../../EventStore.js"
import * as Position from "../../Position.js"
import { holders, lowestOf } from "./holders.js"
import type { Policies, Report, RetentionError } from "./model.js"
import * as Steps from "./steps.js"

type Removed = NonNullable<Report["tombstones"]>

export const remove = (
  stores: Steps.Stores,
  life: LifeSeam,
  { olderThan }: NonNullable<Policies["tombstones"]>,
  steps: Steps.Steps
): Effect.Effect<Removed, RetentionError> =>
  Effect.gen(function*() {
    const before = yield* Steps.timeBefore(olderThan)
    let streams = 0
    let removed = 0
    let needed = yield* holders(stores.checkpoints)
    while (true) {
      const { limit } = steps
      const found = yield* life.tombstones({ before, after: Position.start, upTo: lowestOf(needed), limit })
      if (found.length === 0) break
      // A subscription that is registered after this cannot have read an event of a stream whose marker was found alone
      needed = yield* holders(stores.checkpoints)
      const step = yield* removeSome(stores, life, found.filter(isPassed(lowestOf(needed))), limit)
      streams += step.streams
      removed += step.removed
      if (step.removed === 0) break
      yield* steps.done(step.removed, true)
    }
    const lowest = lowestOf(needed)
    if (lowest === undefined) return { streams, removed, heldBackBy: [] }
    const [waiting] = yield* life.tombstones({ before, after: lowest, limit: 1 })
    const heldBackBy = waiting === undefined
      ? []
      : needed.filter(({ position }) => Position.Order(position, waiting.position) < 0).map(({ key }) => key)
    return { streams, removed, heldBackBy }
  })

const isPassed = (lowest: Position.Position | undefined) => ({ position }: Tombstone): boolean =>
  lowest === undefined || Position.Order(position, lowest) <= 0

/** Removes at most `limit` events of these streams. */
const removeSome = (
  { snapshots }: Steps.Stores,
  life: LifeSeam,
  found: ReadonlyArray<Tombstone>,
  limit: number
): Effect.Effect<{ readonly streams: number; readonly removed: number }, RetentionError> =>
  Effect.gen(function*() {
    let streams = 0
    let removed = 0
    for (const tombstone of found) {
      if (removed >= limit) break
      if (tombstone.hasEvents) {
        removed += yield* life.clear(tombstone, limit - removed)
        continue
      }
      // one that was saved after the deletion: no load uses it
      yield* snapshots.delete(tombstone.stream)
      if (!(yield* life.forget(tombstone))) continue
      streams += 1
      removed += 1
    }
    return { streams, removed }
  })
