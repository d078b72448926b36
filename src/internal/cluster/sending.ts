// Sends a request until it is answered.
// Mechanism: a request that met a dead runner, a full mailbox or a moving entity is sent again, by a schedule. A request
// that is not answered for a while is sent again too, because its runner may be frozen and may have lost the entity. All
// attempts of a command have the same command id, so the command counts once. Each has the time at which the client
// gives it up, because a frozen runner must not execute a command later that another runner has rejected.
// Cost: nothing for a request that is answered.
import * as ClusterError from "@effect/cluster/ClusterError"
import * as Socket from "@effect/platform/Socket"
import * as RpcClientError from "@effect/rpc/RpcClientError"
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import { Late } from "./late.js"

export interface Settings {
  /** How long the caller waits. */
  readonly timeout: Duration.DurationInput
  /** How long one attempt waits before the request is sent again. */
  readonly attempt: Duration.DurationInput
  readonly retry: Schedule.Schedule<unknown, unknown>
}

export interface Unanswered {
  /** In milliseconds. */
  readonly waited: number
  readonly attempts: number
  readonly cause?: unknown
}

/** The failures of a call of an entity, each of which passes. */
export type Transient =
  | ClusterError.MailboxFull
  | ClusterError.AlreadyProcessingMessage
  | ClusterError.PersistenceError
  | Late

export const send = <A, E>(
  /** Makes an attempt that ends at a time in milliseconds. Undefined if it has no end. */
  request: (before: number | undefined) => Effect.Effect<A, Transient>,
  { attempt, retry, timeout }: Settings,
  failure: (unanswered: Unanswered) => E
): Effect.Effect<A, E> =>
  Effect.gen(function*() {
    const began = yield* Clock.currentTimeMillis
    const driver = yield* Schedule.driver(retry)
    const lasts = Duration.toMillis(attempt)
    let attempts = 0
    let cause: unknown
    /** By how much the clock of the last runner is ahead of this one, if an attempt was late because of it. */
    let ahead = 0
    const unanswered = Effect.flatMap(Clock.currentTimeMillis, (now) =>
      Effect.fail(failure({ waited: now - began, attempts, ...(cause === undefined ? {} : { cause }) })))
    const once = Effect.flatMap(Clock.currentTimeMillis, (now) => {
      attempts++
      cause = undefined
      const before = Number.isFinite(lasts) ? now + lasts + ahead : undefined
      // the client of a cluster tells the runner about an interruption, and nothing here waits for that
      return Effect.exit(Effect.timeoutOption(Effect.disconnect(request(before)), attempt))
    })
    const loop: Effect.Effect<A, E> = Effect.flatMap(once, (exit) => {
      if (Exit.isSuccess(exit)) {
        return exit.value._tag === "Some" ? Effect.succeed(exit.value.value) : loop
      }
      if (!isTransient(exit.cause)) {
        return Effect.failCause(Option.getOrElse(Cause.keepDefects(exit.cause), () =>
          Cause.empty))
      }
      const failure = Cause.squash(exit.cause)
      cause = failure
      return Effect.zipRight(
        failure instanceof Late
          ? Effect.map(Clock.currentTimeMillis, (now) => {
            ahead = Math.max(0, failure.now - now)
          })
          : Effect.void,
        Effect.matchEffect(driver.next(failure), { onFailure: () => unanswered, onSuccess: () => loop })
      )
    })
    return yield* Effect.flatMap(
      Effect.timeoutOption(Effect.disconnect(loop), timeout),
      (answer) => answer._tag === "Some" ? Effect.succeed(answer.value) : unanswered
    )
  })

/** Tells whether another attempt may succeed. */
const isTransient = (cause: Cause.Cause<Transient>): boolean => {
  // the runner interrupted the request because it gives the entity away
  if (Cause.isInterruptedOnly(cause)) return true
  if (cause._tag === "Fail") return true
  const defects = Array.from(Cause.defects(cause))
  return defects.length === 0 ? Cause.isFailure(cause) || Cause.isInterrupted(cause) : defects.every(isOfTransport)
}

// a write to the socket of a runner that was killed is a defect of the client
const isOfTransport = (defect: unknown): boolean =>
  Socket.isSocketError(defect) || defect instanceof RpcClientError.RpcClientError ||
  ClusterError.EntityNotAssignedToRunner.is(defect) || ClusterError.RunnerUnavailable.is(defect) ||
  ClusterError.MailboxFull.is(defect) || ClusterError.AlreadyProcessingMessage.is(defect)

/** Up to a second between attempts, without end: the timeout ends them. */
export const defaultRetry: Schedule.Schedule<unknown> = Schedule.exponential("20 millis", 2).pipe(
  Schedule.union(Schedule.spaced("1 second")),
  Schedule.jittered
)
