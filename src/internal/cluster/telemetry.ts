import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import { reason } from "../schema/reason.js"

/** Logs that old messages could not be removed. */
export const notPruned = (cause: Cause.Cause<unknown>): Effect.Effect<void> =>
  Effect.logWarning(
    `old messages of the cluster were not removed; the next try follows: ${reason(Cause.squash(cause))}`
  )
