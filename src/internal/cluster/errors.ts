// The errors of AggregateEntity, which exports them.
import * as Schema from "effect/Schema"
import * as StreamId from "../../StreamId.js"
import { reason } from "../schema/reason.js"

/**
 * Signals that a command was not answered in time: its runner may be dead or frozen, the aggregate may be moving to
 * another runner, or there may be no runner at all. The command may have been applied. Repeat it with the `commandId` of
 * this error: then it counts once.
 *
 * @example
 * ```ts
 * import type { AggregateEntity } from "effect-eventsourcing/cluster"
 * import { Effect } from "effect"
 *
 * const handled = <A>(effect: Effect.Effect<A, AggregateEntity.CommandTimeout>) =>
 *   Effect.catchTag(effect, "CommandTimeout", ({ commandId }) => Effect.log(`repeat the command ${commandId}`))
 * ```
 *
 * @since 0.1.0
 * @category errors
 */
export class CommandTimeout extends Schema.TaggedError<CommandTimeout>("effect-eventsourcing/CommandTimeout")(
  "CommandTimeout",
  {
    stream: StreamId.StreamId,
    /** The id under which a repeated command counts once. The client made it if the caller gave none. */
    commandId: Schema.String,
    /** How long the client waited, in milliseconds. */
    waited: Schema.Number,
    /** How often the client sent the command. */
    attempts: Schema.Number,
    /** The failure of the last attempt. Absent if that attempt was not answered. */
    cause: Schema.optional(Schema.Defect)
  }
) {
  /** @since 0.1.0 */
  override get message(): string {
    return `a command for ${StreamId.format(this.stream)} was ${
      unanswered(this)
    }. The command may have been applied: ` +
      "repeat it with the commandId of this error"
  }
}

/**
 * Signals that a load was not answered in time.
 *
 * @example
 * ```ts
 * import type { AggregateEntity } from "effect-eventsourcing/cluster"
 * import { Effect } from "effect"
 *
 * const handled = <A>(effect: Effect.Effect<A, AggregateEntity.LoadTimeout>) =>
 *   Effect.catchTag(effect, "LoadTimeout", ({ waited }) => Effect.log(`no answer in ${waited} ms`))
 * ```
 *
 * @since 0.1.0
 * @category errors
 */
export class LoadTimeout extends Schema.TaggedError<LoadTimeout>("effect-eventsourcing/LoadTimeout")("LoadTimeout", {
  stream: StreamId.StreamId,
  /** How long the client waited, in milliseconds. */
  waited: Schema.Number,
  /** How often the client asked. */
  attempts: Schema.Number,
  /** The failure of the last attempt. Absent if that attempt was not answered. */
  cause: Schema.optional(Schema.Defect)
}) {
  /** @since 0.1.0 */
  override get message(): string {
    return `a load of ${StreamId.format(this.stream)} was ${unanswered(this)}.`
  }
}

/** Says how long a request waited, and why its last attempt failed. */
export const unanswered = (
  { attempts, cause, waited }: { readonly attempts: number; readonly waited: number; readonly cause?: unknown }
): string =>
  `not answered within ${waited} ms, in ${attempts} ${attempts === 1 ? "attempt" : "attempts"}` +
  (cause === undefined ? "" : `; the last one failed: ${reason(cause)}`)

/**
 * Signals that an answer cannot travel between two processes: a schema of the aggregate cannot encode it, this version of
 * the program cannot decode what a newer version answered, or a runner of an older version cannot repeat what a newer one
 * has done. A command may have been applied.
 *
 * @example
 * ```ts
 * import type { AggregateEntity } from "effect-eventsourcing/cluster"
 * import { Effect } from "effect"
 *
 * const handled = <A>(effect: Effect.Effect<A, AggregateEntity.UnreadableAnswer>) =>
 *   Effect.catchTag(effect, "UnreadableAnswer", ({ detail }) => Effect.logError(detail))
 * ```
 *
 * @since 0.1.0
 * @category errors
 */
export class UnreadableAnswer extends Schema.TaggedError<UnreadableAnswer>("effect-eventsourcing/UnreadableAnswer")(
  "UnreadableAnswer",
  {
    stream: StreamId.StreamId,
    /** The part of the answer and its problem, as in "the rejection does not encode". */
    detail: Schema.String,
    /** Whether events of the command are stored. Undefined if that is not known. */
    applied: Schema.optional(Schema.Boolean),
    cause: Schema.optional(Schema.Defect)
  }
) {
  /** @since 0.1.0 */
  override get message(): string {
    return `the answer of ${StreamId.format(this.stream)} cannot be read: ${this.detail}` +
      (this.cause === undefined ? "" : `: ${reason(this.cause)}`)
  }
}
