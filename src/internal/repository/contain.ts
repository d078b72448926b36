import * as Cause from "effect/Cause"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Exit from "effect/Exit"
import type * as EventStore from "../../EventStore.js"

/**
 * Runs an optimisation, which must not make its caller fail: a failure, a defect and a timeout all come back as a value.
 * A failed statement may abort the caller's transaction, so `attempt` runs the effect. It fails only if that transaction
 * is lost.
 *
 * Outside a transaction a timeout does not wait for the interruption. Inside one it does: the effect must not use the
 * connection after the transaction has ended.
 */
export const contain = <A, E>(
  effect: Effect.Effect<A, E>,
  options: { readonly timeout: Duration.DurationInput; readonly events: EventStore.EventStore["Type"] }
): Effect.Effect<Either.Either<A, unknown>, EventStore.EventStoreError> =>
  Effect.flatMap(options.events.replay.inTransaction, (open) =>
    Effect.map(
      options.events.replay.attempt(Effect.timeoutFail(open ? effect : Effect.disconnect(effect), {
        duration: options.timeout,
        onTimeout: () => new Cause.TimeoutException("it took too long")
      })),
      Exit.match({
        onFailure: (cause) => Either.left(Cause.squash(cause)),
        onSuccess: (value) => Either.right(value)
      })
    ))
