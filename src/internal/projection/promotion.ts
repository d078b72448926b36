// Makes another version of a projection the active one.
//
//   1. Wait until the new version has caught up with the active one.
//   2. Hold both at the higher of their checkpoints, until all partitions stand there.
//   3. Switch in one transaction, together with what the program does for the switch.
//
// Under a hold the active version stands still for the time that the other one needs for the last few events.
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import { CheckpointStore } from "../../CheckpointStore.js"
import * as Position from "../../Position.js"
import { elapsedMillis } from "../elapsed.js"
import { quote } from "../text.js"
import * as Looking from "./looking.js"
import type { Key, Registered } from "./model.js"
import type { CheckpointStoreError, SubscriptionMismatch } from "./storeErrors.js"

/**
 * Signals that a version could not be promoted in time. The active version is the same as before.
 *
 * @example
 * ```ts
 * import type { Projections } from "effect-eventsourcing"
 * import { Effect } from "effect"
 *
 * const patient = <A>(effect: Effect.Effect<A, Projections.PromotionTimeout>) =>
 *   Effect.retry(effect, { times: 3, while: ({ _tag }) => _tag === "PromotionTimeout" })
 * ```
 *
 * @since 0.1.0
 * @category errors
 */
export class PromotionTimeout extends Schema.TaggedError<PromotionTimeout>("effect-eventsourcing/PromotionTimeout")(
  "PromotionTimeout",
  { subscription: Schema.String, version: Schema.Number, detail: Schema.String }
) {
  /** @since 0.1.0 */
  override get message(): string {
    return `${quote(this.subscription)}, version ${this.version}, was not promoted: ${this.detail}`
  }
}

/**
 * The errors of `promote`.
 *
 * @since 0.1.0
 * @category errors
 */
export type PromotionError = PromotionTimeout | SubscriptionMismatch | CheckpointStoreError

export const promote = <A, E, R>(
  key: Key,
  swap: Effect.Effect<A, E, R>,
  timeout: Duration.DurationInput
): Effect.Effect<void, E | PromotionError, CheckpointStore | R> =>
  Effect.flatMap(CheckpointStore, (checkpoints) => {
    const state = { detail: "it did not catch up with the active version", isSwitching: false, tries: 0 }
    const stopped = new Set<number>()
    const until = (one: Key, isReached: (registered: Registered) => boolean) =>
      lookUntil(checkpoints, one, (registered) => {
        if (isRunning(registered)) stopped.delete(one.version)
        else stopped.add(one.version)
        return isReached(registered)
      })
    const attempt: Effect.Effect<void, E | PromotionError, R> = Effect.gen(function*() {
      const active = yield* Looking.activeOf(checkpoints, key.name)
      // a stopped partition would never get there, and the hold would stop the others as well
      yield* until(active, isRunning)
      yield* until(key, isRunning)
      yield* until(key, (next) => Position.Order(Looking.lowest(next), Looking.highest(active)) >= 0)
      state.detail = "the partitions of both versions did not reach the same position"
      if (!(yield* reachOnePosition(checkpoints, [active, key], until))) {
        // a partition fails again and again: the others must not wait for it all the time
        yield* Effect.sleep(holdMillis * 2 ** Math.min(state.tries, 4))
        state.tries += 1
        return yield* attempt
      }
      state.isSwitching = true
      const swapped = yield* checkpoints.promote(key, swap)
      state.isSwitching = false
      if (Option.isNone(swapped)) yield* attempt
    })
    const failed = Effect.suspend(() =>
      new PromotionTimeout({
        subscription: key.name,
        version: key.version,
        detail: Array.from(stopped, explainStop).at(0) ?? state.detail
      })
    )
    const late = Effect.suspend(() =>
      // a commit that has begun goes on when the time is over
      state.isSwitching
        ? Effect.flatMap(
          Looking.activeOf(checkpoints, key.name),
          ({ version }) => version === key.version ? Effect.void : failed
        )
        : failed
    )
    return Effect.flatMap(
      Effect.timeoutOption(attempt, timeout),
      (promoted) => Option.isSome(promoted) ? Effect.void : late
    )
  })

const holdMillis = 5_000

/** Holds versions until all partitions stand at one position, or the time of the hold is over. */
const reachOnePosition = (
  checkpoints: CheckpointStore["Type"],
  keys: ReadonlyArray<Key>,
  until: (one: Key, isReached: (registered: Registered) => boolean) => ReturnType<typeof lookUntil>
): Effect.Effect<boolean, SubscriptionMismatch | CheckpointStoreError> =>
  Effect.gen(function*() {
    const end = (yield* elapsedMillis) + holdMillis
    while (true) {
      const left = Math.ceil(end - (yield* elapsedMillis))
      if (left <= 0) return false
      // a partition whose batch took long may not be held yet: this costs a look if all are
      const at = yield* checkpoints.hold(keys, left)
      const isThere = ({ partitions }: Registered) => partitions.every(({ position }) => position === at)
      const together = Effect.forEach(keys, (key) => until(key, isThere), { discard: true })
      if (Option.isSome(yield* Effect.timeoutOption(together, Math.min(left, holdAgainMillis)))) return true
    }
  })

const holdAgainMillis = 1_000

const isRunning = ({ partitions }: Registered): boolean => partitions.every(({ stopped }) => Option.isNone(stopped))

const explainStop = (version: number): string =>
  `version ${version} is stopped: Projections.status has the reason, and Projections.resume continues it`

const lookUntil = (
  checkpoints: CheckpointStore["Type"],
  key: Key,
  isReached: (registered: Registered) => boolean
): Effect.Effect<void, SubscriptionMismatch | CheckpointStoreError> =>
  Looking.until(
    checkpoints,
    Looking.versionOf(checkpoints, key),
    (registered) => Effect.succeed(isReached(registered)),
    () => lookMillis
  )

const lookMillis = 20
