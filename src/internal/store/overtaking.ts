import * as Schedule from "effect/Schedule"

/**
 * The waits of a writer that another one overtakes, up to a number of tries. Every time that a writer is overtaken, another
 * one got through.
 */
export const schedule = (tries: number): Schedule.Schedule<unknown> =>
  Schedule.exponential("1 millis", 1.5).pipe(
    Schedule.union(Schedule.spaced("20 millis")),
    Schedule.jittered,
    Schedule.intersect(Schedule.recurs(tries))
  )
