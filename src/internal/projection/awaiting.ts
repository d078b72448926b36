// Waits until a projection has handled the events up to a position.
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import { CheckpointStore } from "../../CheckpointStore.js"
import * as Position from "../../Position.js"
import { elapsedMillis } from "../elapsed.js"
import { quote } from "../text.js"
import * as Local from "./local.js"
import * as Looking from "./looking.js"
import type { PartitionState, Registered } from "./model.js"
import type { CheckpointStoreError, SubscriptionMismatch } from "./storeErrors.js"

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
    return `${quote(this.subscription)} did not reach ${this.position} in time: it is at ${this.reached}. ` +
      "Projections.status tells whether a process works for it, and its failures"
  }
}

/**
 * Signals that a projection has stopped: before the awaited position, or while it was to be promoted.
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
    return `${quote(this.subscription)}, version ${this.version}, is stopped: ${this.reason}. ` +
      "When the cause is repaired, Projections.resume continues it"
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
    const limit = Duration.toMillis(timeout)
    let reached = Position.start
    const check = (active: Registered): Effect.Effect<boolean, ProjectionStopped> => {
      reached = Looking.lowest(active)
      // a partition that stopped without an event has a checkpoint that is not of this feed, wherever it stands
      const isForeign = ({ stopped }: PartitionState) =>
        Option.exists(stopped, ({ position }) => Option.isNone(position))
      const behind = active.partitions.filter((partition) =>
        Position.Order(partition.position, position) < 0 || isForeign(partition)
      )
      if (behind.length === 0) return Effect.succeed(true)
      return Option.match(Option.firstSomeOf(behind.map(({ stopped }) => stopped)), {
        onNone: () => Effect.succeed(false),
        onSome: ({ reason }) => new ProjectionStopped({ subscription: name, version: active.version, reason })
      })
    }
    const looking = Looking.until(checkpoints, Looking.activeOf(checkpoints, name), check, delay)
    return Effect.flatMap(elapsedMillis, (start) =>
      Effect.flatMap(isReachedHere(checkpoints, name, position, start + Math.min(soon, limit / 2)), (isReached) =>
        isReached ? Effect.void : Effect.flatMap(elapsedMillis, (now) =>
          Effect.timeoutFail(looking, {
            duration: Math.max(0, limit - (now - start)),
            onTimeout: () =>
              new AwaitTimeout({ subscription: name, position, reached })
          }))))
  })

/**
 * Waits for a moment if this process is about to bring the active version to a position, and tells whether it did. Costs no
 * statement.
 */
const isReachedHere = (
  checkpoints: CheckpointStore["Type"],
  name: string,
  position: Position.Position,
  until: number
): Effect.Effect<boolean> =>
  Effect.flatMap(elapsedMillis, (now) => {
    const { local } = checkpoints
    const progress = Local.progressOf(local, name, position)
    if (progress !== "Coming" || now >= until) return Effect.succeed(progress === "Reached")
    return Effect.zipRight(
      local.advanced.wait(local.advanced.count(), until - now),
      isReachedHere(checkpoints, name, position, until)
    )
  })

/** The milliseconds for which a batch of this process is waited for before the database is asked. */
const soon = 15

const delay = (looks: number): number => Math.min(2 ** looks, 50)
