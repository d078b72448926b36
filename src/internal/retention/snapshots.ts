// Removes snapshots of old schema versions, by an index: the cost is that of what is removed.
import * as Effect from "effect/Effect"
import type { SnapshotStoreError } from "../../SnapshotStore.js"
import type { Policies } from "./model.js"
import type { Steps, Stores } from "./steps.js"

export const prune = (
  { snapshots }: Stores,
  { aggregates }: NonNullable<Policies["snapshots"]>,
  { done, limit }: Steps
): Effect.Effect<{ readonly removed: number }, SnapshotStoreError> =>
  Effect.gen(function*() {
    let removed = 0
    for (const { name, schemaVersion } of aggregates) {
      for (let hasMore = true; hasMore;) {
        const count = yield* snapshots.deleteByType(name, { schemaVersionBelow: schemaVersion, limit })
        removed += count
        hasMore = count >= limit
        if (count > 0) yield* done(count, hasMore)
      }
    }
    return { removed }
  })
