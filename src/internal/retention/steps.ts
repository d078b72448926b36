// What the policies work with: their stores, and the end of a step.
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type { CheckpointStore } from "../../CheckpointStore.js"
import type { EventStore } from "../../EventStore.js"
import type { SnapshotStore } from "../../SnapshotStore.js"
import * as Counters from "../counters.js"
import type { Policy } from "./model.js"
import type { Settings } from "./options.js"

export interface Stores {
  readonly events: EventStore["Type"]
  readonly snapshots: SnapshotStore["Type"]
  readonly checkpoints: CheckpointStore["Type"]
}

/** The steps of one policy in one pass. */
export interface Steps {
  readonly limit: number
  /** Reports a step, and waits before the next one, if there may be one. */
  readonly done: (removed: number, hasMore: boolean) => Effect.Effect<void>
}

export const make = (policy: Policy, { limit, onProgress, pause }: Settings): Steps => {
  const count = Counters.byPolicy(Counters.retentionRemoved, policy)
  let total = 0
  return {
    limit,
    done: (removed, hasMore) =>
      Effect.suspend(() => {
        total += removed
        count(removed)
        const told = onProgress({ policy, removed, total })
        return hasMore ? Effect.zipRight(told, Effect.sleep(pause)) : told
      })
  }
}

/** The time before which something is older than a duration, in milliseconds since 1970. */
export const timeBefore = (olderThan: Duration.DurationInput): Effect.Effect<number> =>
  Effect.map(Clock.currentTimeMillis, (now) => {
    const before = Math.floor(now - Duration.toMillis(olderThan))
    // with a clock that does not work, nothing is old
    return before > 0 ? before : 0
  })
