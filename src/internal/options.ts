import * as Duration from "effect/Duration"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import { InvalidOption } from "../InvalidOption.js"
import { quote } from "./text.js"

export const optionProblem = (option: string, value: unknown, expected: string): InvalidOption =>
  new InvalidOption({ option, value: quote(value), expected })

/** The problem of an option, unless its value is valid. */
export const unless = (valid: boolean, option: string, value: unknown, expected: string): InvalidOption | undefined =>
  valid ? undefined : optionProblem(option, value, expected)

/** A count that has no default. */
export const requiredCount = (option: string, value: number | undefined): InvalidOption | undefined =>
  unless(Number.isSafeInteger(value) && Number(value) >= 1, option, value, "a whole number, 1 or more")

export const wholeFromOne = (option: string, value: number | undefined): InvalidOption | undefined =>
  value === undefined ? undefined : requiredCount(option, value)

export const wholeProblem = (option: string, value: number): InvalidOption | undefined =>
  unless(Number.isSafeInteger(value), option, value, "a whole number")

export const scheduleProblem = (option: string, value: unknown): InvalidOption | undefined =>
  unless(value === undefined || Schedule.isSchedule(value), option, value, "a Schedule of Effect")

export const booleanProblem = (option: string, value: unknown): InvalidOption | undefined =>
  unless(value === undefined || typeof value === "boolean", option, value, "true or false")

/** A time to wait, which may be zero. */
export const waitProblem = (option: string, value: Duration.DurationInput): InvalidOption | undefined =>
  unless(Number.isFinite(millis(value)), option, value, "a finite duration, such as \"50 millis\"")

/** A limit of a wait. Effect takes a negative number or NaN for zero, and an infinite duration is not a limit. */
export const finiteDurationProblem = (
  option: string,
  value: Duration.DurationInput | undefined
): InvalidOption | undefined => {
  const found = value === undefined ? 1 : millis(value)
  return unless(
    Number.isFinite(found) && Number(found) > 0,
    option,
    value,
    "a finite duration above zero, such as \"1 day\""
  )
}

const millis = (value: Duration.DurationInput): number | undefined => {
  if (typeof value === "number" && !(value >= 0)) return undefined
  return Option.getOrUndefined(Option.map(Duration.decodeUnknown(value), Duration.toMillis))
}

/** A program without types may give any value, and a misspelt name would be an option that is not set. */
export const recordProblem = (
  option: string,
  value: unknown,
  known: ReadonlyArray<string>
): InvalidOption | undefined => {
  if (value === undefined) return undefined
  const names = known.join(", ")
  if (!isRecord(value)) return optionProblem(option, value, `a record with ${names}`)
  const unknown = Object.keys(value).find((key) => !known.includes(key))
  return unknown === undefined
    ? undefined
    : new InvalidOption({ option, value: `a record with ${quote(unknown)}`, expected: `one with ${names}` })
}

/** Like `recordProblem`, but a text: for options that are checked at every call. */
export const unknownKey = (name: string, value: unknown, known: ReadonlyArray<string>): string | undefined => {
  if (value === undefined) return undefined
  if (!isRecord(value)) return `${name} are ${quote(value)}; they must be a record with ${known.join(", ")}`
  for (const key in value) {
    if (!known.includes(key)) return `${name} have ${quote(key)}; they may have ${known.join(", ")}`
  }
  return undefined
}

export const isRecord = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value)

/** Throws the problem, in constructors that are pure. */
export const orThrow = (problem: InvalidOption | undefined): void => {
  if (problem !== undefined) throw problem
}
