// Waits until a projection has handled the events up to a position.
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import { CheckpointStore } from "../../CheckpointStore.js"
import * as Position from "../../Position.js"
import { quote } from "../text.js"
import type { Registered } from "./model.js"
import { type CheckpointStoreError, SubscriptionMismatch } from "./storeErrors.js"

/**
 * Signals that a projection did not reach a position in time.
 *
 * @example
 * ```ts
 * import { type Projections } from "effect-eventsourcing"
 * import { Effect } from "effect"
 *
 * // the command succeeded: answer it, and say that the list may lag
 * const lagging = <A>(effect: Effect.Effect<A, Projections.AwaitTimeout>, answer: A) =>
 *   Effect.catchTag(effect, "AwaitTimeout", () => Effect.succeed(answer))
 * ```
 *
 * @since 0.1.0
 * @category errors
 */
export class AwaitTimeout extends Schema.TaggedError<AwaitTimeout>("effect-eventsourcing/AwaitTimeout")(
  "AwaitTimeout",
  {
    subscription: Schema.String,
    position: Position.Position,
    /** The lowest checkpoint of the active version when the time was over. */
    reached: Position.Position
  }
) {
  /** @since 0.1.0 */
  override get message(): string {
    return `${quote(this.subscription)} did not reach ${this.position} in time: it is at ${this.reached}`
  }
}

/**
 * Signals that a projection stopped at an event before the awaited position.
 *
 * @example
 * ```ts
 * import type { Projections } from "effect-eventsourcing"
 * import { Effect } from "effect"
 *
 * const reported = <A>(effect: Effect.Effect<A, Projections.ProjectionStopped>) =>
 *   Effect.tapErrorTag(effect, "ProjectionStopped", ({ message }) => Effect.logError(message))
 * ```
 *
 * @since 0.1.0
 * @category errors
 */
export class ProjectionStopped extends Schema.TaggedError<ProjectionStopped>("effect-eventsourcing/ProjectionStopped")(
  "ProjectionStopped",
  { subscription: Schema.String, version: Schema.Number, reason: Schema.String }
) {
  /** @since 0.1.0 */
  override get message(): string {
    return `${quote(this.subscription)}, version ${this.version}, is stopped: ${this.reason}`
  }
}

/**
 * The errors of `awaitPosition`.
 *
 * @since 0.1.0
 * @category errors
 */
export type AwaitError = AwaitTimeout | ProjectionStopped | SubscriptionMismatch | CheckpointStoreError

export const awaitPosition = (
  name: string,
  position: Position.Position,
  timeout: Duration.DurationInput
): Effect.Effect<void, AwaitError, CheckpointStore> =>
  Effect.flatMap(CheckpointStore, (checkpoints) => {
    let reached = Position.start
    const { local } = checkpoints
    const look = (attempt: number): Effect.Effect<void, AwaitError> =>
      Effect.suspend(() => {
        const rings = local.advanced.count()
        return Effect.flatMap(activeOf(checkpoints, name), (active) => {
          reached = lowest(active)
          if (Position.Order(reached, position) >= 0) return Effect.void
          const stopped = active.partitions.find((partition) =>
            Position.Order(partition.position, position) < 0 && Option.isSome(partition.stopped)
          )
          if (stopped !== undefined) {
            const reason = Option.match(stopped.stopped, { onNone: () => "", onSome: ({ reason }) => reason })
            return new ProjectionStopped({ subscription: name, version: active.version, reason })
          }
          const delay = Math.min(2 ** attempt, 50)
          return Effect.zipRight(local.advanced.wait(rings, delay), look(attempt + 1))
        })
      })
    return Effect.timeoutFail(look(0), {
      duration: timeout,
      onTimeout: () => new AwaitTimeout({ subscription: name, position, reached })
    })
  })

export const activeOf = (
  checkpoints: CheckpointStore["Type"],
  name: string
): Effect.Effect<Registered, SubscriptionMismatch | CheckpointStoreError> =>
  Effect.flatMap(checkpoints.list, (all) => {
    const active = all.find((one) => one.name === name && one.active)
    return active === undefined
      ? new SubscriptionMismatch({ subscription: name, version: 0, reason: "Unknown" })
      : Effect.succeed(active)
  })

/** The lowest checkpoint of a version. */
export const lowest = ({ partitions }: Registered): Position.Position =>
  partitions.map(({ position }) => position).reduce((one, other) => Position.Order(one, other) <= 0 ? one : other)
