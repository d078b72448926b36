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
import { ProjectionStopped } from "./awaiting.js"
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
export type PromotionError = PromotionTimeout | ProjectionStopped | SubscriptionMismatch | CheckpointStoreError

export const promote = <A, E, R>(
  key: Key,
  swap: Effect.Effect<A, E, R>,
  timeout: Duration.DurationInput
): Effect.Effect<void, E | PromotionError, CheckpointStore | R> =>
  Effect.flatMap(CheckpointStore, (checkpoints) => {
    const state = { detail: "it did not catch up with the active version", isSwitching: false, tries: 0 }
    const attempt: Effect.Effect<void, E | PromotionError, R> = Effect.gen(function*() {
      const active = yield* activeOf(checkpoints, key)
      yield* Option.match(active, { onNone: () => Effect.void, onSome: running })
      const behind = Option.match(active, { onNone: () => Position.start, onSome: Looking.highest })
      yield* lookUntil(checkpoints, key, (next) => Position.Order(Looking.lowest(next), behind) >= 0)
      state.detail = "the partitions of both versions did not reach the same position"
      if (!(yield* reachOnePosition(checkpoints, [...Option.toArray(active), key]))) {
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
      new PromotionTimeout({ subscription: key.name, version: key.version, detail: state.detail })
    )
    const late = Effect.suspend(() =>
      // a commit that has begun goes on when the time is over
      state.isSwitching
        ? Effect.flatMap(
          activeOf(checkpoints, key),
          (active) => Option.exists(active, ({ version }) => version === key.version) ? Effect.void : failed
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
  keys: ReadonlyArray<Key>
): Effect.Effect<boolean, ProjectionStopped | SubscriptionMismatch | CheckpointStoreError> =>
  Effect.gen(function*() {
    const end = (yield* elapsedMillis) + holdMillis
    while (true) {
      const left = Math.ceil(end - (yield* elapsedMillis))
      if (left <= 0) return false
      // a partition whose batch took long may not be held yet: this costs a look if all are
      const at = yield* checkpoints.hold(keys, left)
      const isThere = ({ partitions }: Registered) => partitions.every(({ position }) => position === at)
      const together = Effect.forEach(keys, (key) => lookUntil(checkpoints, key, isThere), { discard: true })
      if (Option.isSome(yield* Effect.timeoutOption(together, Math.min(left, holdAgainMillis)))) return true
    }
  })

const holdAgainMillis = 1_000

/** The version that readers use, unless it was removed. */
const activeOf = (
  checkpoints: CheckpointStore["Type"],
  key: Key
): Effect.Effect<Option.Option<Registered>, SubscriptionMismatch | CheckpointStoreError> =>
  Looking.activeOf(checkpoints, key.name).pipe(
    Effect.asSome,
    Effect.catchIf(
      (error) => error._tag === "SubscriptionMismatch" && error.reason === "NoneActive",
      () => Effect.succeedNone
    )
  )

/** A stopped partition would never get there, and a hold would stop the others as well. */
const running = ({ name, partitions, version }: Registered): Effect.Effect<void, ProjectionStopped> =>
  Option.match(Option.firstSomeOf(partitions.map(({ stopped }) => stopped)), {
    onNone: () => Effect.void,
    onSome: ({ reason }) => new ProjectionStopped({ subscription: name, version, reason })
  })

const lookUntil = (
  checkpoints: CheckpointStore["Type"],
  key: Key,
  isReached: (registered: Registered) => boolean
): Effect.Effect<void, ProjectionStopped | SubscriptionMismatch | CheckpointStoreError> =>
  Looking.until(
    checkpoints,
    Looking.versionOf(checkpoints, key),
    (registered) => Effect.as(running(registered), isReached(registered)),
    () => lookMillis
  )

const lookMillis = 20
