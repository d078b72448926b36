import * as Cause from "effect/Cause"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as LogLevel from "effect/LogLevel"
import { reason } from "../schema/reason.js"

/** Logs that old messages could not be removed. */
export const notPruned = (cause: Cause.Cause<unknown>): Effect.Effect<void> =>
  Effect.logWithLevel(
    LogLevel.Warning,
    `old messages of the cluster were not removed; the next try follows: ${reason(Cause.squash(cause))}`
  )

/** Logs that a part of a runner has not closed in time. */
export const notClosed = (part: string, most: Duration.Duration): Effect.Effect<void> =>
  Effect.logWithLevel(
    LogLevel.Warning,
    `a runner ends before all of it has closed: ${part}, after ${Duration.format(most)}`
  )
