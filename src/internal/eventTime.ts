import * as DateTime from "effect/DateTime"
import * as Option from "effect/Option"
import { maxTime } from "./constants.js"
import { quote } from "./text.js"

/** The first time of PostgreSQL's type `timestamptz`: 4714-11-24 BC, in milliseconds since 1970. */
const minTime = -210_866_803_200_000

/** Gives the milliseconds since 1970 of a proposed event's time, or a problem. */
export const encode = (time: unknown): number | string | undefined => {
  if (time === undefined) return undefined
  if (!DateTime.isDateTime(time)) return "is not a DateTime"
  const millis: unknown = time.epochMillis
  return typeof millis === "number" && Number.isInteger(millis) && millis >= minTime && millis <= maxTime
    ? millis
    : `is ${quote(millis)}; it must be a whole number of milliseconds since 1970, from ${minTime} to ${maxTime}`
}

/** Gives the time of a stored event. `None`: a program changed the row. */
export const decode = (millis: number): Option.Option<DateTime.Utc> => {
  if (millis !== last.millis) last = { millis, time: Option.map(DateTime.make(millis), DateTime.toUtc) }
  return last.time
}

// events that were appended together have one time, and making it is a tenth of the work of reading an event
let last: { readonly millis: number; readonly time: Option.Option<DateTime.Utc> } = { millis: NaN, time: Option.none() }
