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
  { events, snapshots }: Stores,
  { aggregates }: NonNullable<Policies["snapshots"]>,
  { done, limit }: Steps
): Effect.Effect<{ readonly removed: number }, SnapshotStoreError | EventStoreError> =>
  Effect.gen(function*() {
    // snapshots in the database of the events know which of them are the only source of a state
    const isShared = Option.isSome(events.replay.withSnapshots(snapshots))
    let removed = 0
    for (const { name, schemaVersion } of aggregates) {
      if (!isShared) {
        const old = yield* snapshots.deleteByType(name, { schemaVersionBelow: schemaVersion, dryRun: true })
        if (old === 0 || (yield* hasTruncated(events, name, Position.start))) continue
      }
      for (let hasMore = true; hasMore;) {
        const count = yield* snapshots.deleteByType(name, { schemaVersionBelow: schemaVersion, limit })
        removed += count
        hasMore = count >= limit
        if (count > 0) yield* done(count, hasMore)
      }
    }
    return { removed }
  })

/** Whether a stream of the aggregate was ever truncated. */
const hasTruncated = (
  events: EventStore["Type"],
  aggregate: string,
  after: Position.Position
): Effect.Effect<boolean, EventStoreError> =>
  Effect.flatMap(
    events.readPage({ after, aggregates: [aggregate], types: [Markers.truncated], limit: 1 }),
    (page) =>
      page.events.length > 0 || page.atEnd
        ? Effect.succeed(page.events.length > 0)
        : hasTruncated(events, aggregate, page.settled)
  )
