// Sends a request until it is answered.
// Mechanism: a request that met a dead runner, a full mailbox or a moving entity is sent again, by a schedule. A request
// that is not answered for a while is sent again too, because its runner may be frozen and may have lost the entity. All
// attempts of a command have the same command id, so the command counts once. Each has the time at which the client
// gives it up, because a frozen runner must not execute a command later that another runner has rejected. After an
// attempt without an answer the next one lasts longer, because the runner may only be slow: attempts that all end too
// early make it slower. They stay short enough for some more within the timeout, because the runner may be gone.
// Cost: two fibers a request that is answered, one of which is its timer.
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
  /** How long the first attempt waits before the request is sent again. */
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
  Effect.flatMap(Clock.currentTimeMillis, (began) => {
    let lasts = Duration.toMillis(attempt)
    const longest = Math.max(lasts, Duration.toMillis(timeout) / shares)
    const until = began + Duration.toMillis(timeout)
    let attempts = 0
    let cause: unknown
    /** By how much the clock of the last runner is ahead of this one, if an attempt was late because of it. */
    let ahead = 0
    let driver: Schedule.ScheduleDriver<unknown, unknown> | undefined
    const unanswered = Effect.flatMap(Clock.currentTimeMillis, (now) =>
      Effect.fail(failure({ waited: now - began, attempts, ...(cause === undefined ? {} : { cause }) })))
    /** Waits before another attempt. Fails if there is none. */
    const wait = (failed: unknown): Effect.Effect<unknown, unknown> =>
      Effect.gen(function*() {
        driver ??= yield* Schedule.driver(retry)
        const now = yield* Clock.currentTimeMillis
        if (failed instanceof Late) {
          ahead = Math.max(0, failed.now - now)
        }
        yield* Effect.timeout(driver.next(failed), until - now)
      })
    const loop: Effect.Effect<A, E> = Effect.flatMap(Clock.currentTimeMillis, (now) => {
      const left = until - now
      if (left <= 0 && attempts > 0) {
        return unanswered
      }
      attempts++
      cause = undefined
      const before = Number.isFinite(lasts) ? now + lasts + ahead : undefined
      return Effect.flatMap(within(request(before), Math.min(lasts, left)), (exit) => {
        if (exit === undefined) {
          if (lasts >= left) {
            return unanswered
          }
          lasts = Math.min(lasts * 2, longest)
          return loop
        }
        if (Exit.isSuccess(exit)) {
          return Effect.succeed(exit.value)
        }
        if (!isTransient(exit.cause)) {
          return Effect.failCause(Option.getOrElse(Cause.keepDefects(exit.cause), () =>
            Cause.empty))
        }
        const failed = Cause.squash(exit.cause)
        cause = failed
        return Effect.matchEffect(wait(failed), { onFailure: () => unanswered, onSuccess: () => loop })
      })
    })
    return loop
  })

/** An attempt gets at most this part of the timeout, unless the first one has more. */
const shares = 4

/**
 * Gives the exit of an effect, or undefined if the effect is not done in time. Nothing waits for the interruption of the
 * effect, because the client of a cluster tells the runner about it.
 */
const within = <A, E>(
  effect: Effect.Effect<A, E>,
  millis: number
): Effect.Effect<Exit.Exit<A, E> | undefined> =>
  Effect.uninterruptibleMask((restore) =>
    Effect.flatMap(
      Effect.forkDaemon(Effect.interruptible(effect)),
      (fiber) =>
        Effect.flatMap(Effect.forkDaemon(Effect.interruptible(Effect.sleep(millis))), (timer) => {
          const id = fiber.id()
          return restore(Effect.async<Exit.Exit<A, E> | undefined>((resume) => {
            fiber.addObserver((exit) => {
              timer.unsafeInterruptAsFork(id)
              resume(Effect.succeed(exit))
            })
            timer.addObserver((exit) => {
              if (Exit.isFailure(exit)) return
              fiber.unsafeInterruptAsFork(id)
              resume(Effect.succeed(undefined))
            })
            return Effect.sync(() => {
              timer.unsafeInterruptAsFork(id)
              fiber.unsafeInterruptAsFork(id)
            })
          }))
        })
    )
  )

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
