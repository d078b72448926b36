import { SqlError } from "@effect/sql/SqlError"
import * as Context from "effect/Context"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import { liveClock } from "../liveClock.js"
import { classify, type SqlFailure } from "./failure.js"

/** Runs statements, perhaps again. */
export interface Run {
  <A, E>(effect: Effect.Effect<A, E | SqlError>): Effect.Effect<A, E | SqlError>
}

/** How long a busy SQLite is asked again. */
export class BusyPatience extends Context.Reference<BusyPatience>()("effect-eventsourcing/internal/BusyPatience", {
  defaultValue: (): Duration.DurationInput => "5 seconds"
}) {}

const busySchedule = Effect.map(BusyPatience, (patience) =>
  Schedule.exponential("1 millis", 1.5).pipe(
    Schedule.union(Schedule.spaced("25 millis")),
    Schedule.jittered,
    Schedule.upTo(patience)
  ))

// a server that restarts is back within seconds; the callers should hear of one that is gone before they give up
const serverSchedule = Effect.succeed(
  Schedule.exponential("5 millis", 2).pipe(
    Schedule.jittered,
    Schedule.intersect(Schedule.recurs(8)),
    Schedule.upTo("2 seconds")
  )
)

const isOneOf = (kinds: ReadonlyArray<SqlFailure["kind"]>) => (error: unknown): boolean =>
  error instanceof SqlError && kinds.includes(classify(error).kind)

const whileKind = (
  kinds: ReadonlyArray<SqlFailure["kind"]>,
  schedule: Effect.Effect<Schedule.Schedule<unknown>>
): Run => {
  const fits = isOneOf(kinds)
  return (effect) =>
    Effect.catchAll(effect, (error) =>
      fits(error)
        ? Effect.flatMap(schedule, (schedule) => Effect.retry(effect, { schedule, while: fits })).pipe(
          Effect.withClock(liveClock)
        )
        : Effect.fail(error))
}

/** Asks a busy SQLite again, without blocking the event loop as SQLite's own busy handler does. */
export const whileBusy: Run = whileKind(["Busy"], busySchedule)

const whileTransient = whileKind(["Transient"], serverSchedule)

const whileLost = whileKind(["Transient", "ConnectionLost"], serverSchedule)

/** Repeats statements that failed and changed nothing. */
export const whileUndone: Run = (effect) => whileTransient(whileBusy(effect))

const isRepeatable = isOneOf(["Busy", "Transient", "ConnectionLost"])

/** Repeats statements that failed and changed nothing, or may have been carried out: they must be safe to do twice. */
export const whileUndoneOrLost: Run = (effect) =>
  // most failures would be the same again
  Effect.catchAll(effect, (error) => isRepeatable(error) ? whileLost(whileBusy(effect)) : Effect.fail(error))
