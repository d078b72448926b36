import * as Duration from "effect/Duration"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import { InvalidOption } from "../InvalidOption.js"
import { quote } from "./text.js"

/** @internal */
export const wholeFromOne = (option: string, value: number | undefined): InvalidOption | undefined =>
  value === undefined || (Number.isSafeInteger(value) && value >= 1)
    ? undefined
    : new InvalidOption({ option, value: String(value), expected: "a whole number, 1 or more" })

/**
 * A count that has no default.
 *
 * @internal
 */
export const requiredCount = (option: string, value: number | undefined): InvalidOption | undefined =>
  value === undefined
    ? new InvalidOption({ option, value: "undefined", expected: "a whole number, 1 or more" })
    : wholeFromOne(option, value)

/**
 * A program without types may give anything, and a name that is misspelt would be an option that is not set.
 *
 * @internal
 */
export const recordProblem = (
  option: string,
  value: unknown,
  known: ReadonlyArray<string>
): InvalidOption | undefined => {
  if (value === undefined) return undefined
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    return new InvalidOption({ option, value: quote(value), expected: `a record with ${known.join(", ")}` })
  }
  const unknown = Object.keys(value).find((key) => !known.includes(key))
  return unknown === undefined
    ? undefined
    : new InvalidOption({ option, value: `a record with ${quote(unknown)}`, expected: `one with ${known.join(", ")}` })
}

/**
 * The same as text, for what is checked at every call.
 *
 * @internal
 */
export const unknownKey = (name: string, value: unknown, known: ReadonlyArray<string>): string | undefined => {
  if (value === undefined) return undefined
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    return `${name} are ${quote(value)}; they must be a record with ${known.join(", ")}`
  }
  for (const key in value) {
    if (!known.includes(key)) return `${name} have ${quote(key)}; they may have ${known.join(", ")}`
  }
  return undefined
}

/** @internal */
export const scheduleProblem = (option: string, value: unknown): InvalidOption | undefined =>
  value === undefined || Schedule.isSchedule(value)
    ? undefined
    : new InvalidOption({ option, value: quote(value), expected: "a Schedule of Effect" })

/** @internal */
export const booleanProblem = (option: string, value: unknown): InvalidOption | undefined =>
  value === undefined || typeof value === "boolean"
    ? undefined
    : new InvalidOption({ option, value: quote(value), expected: "true or false" })

/** @internal */
export const wholeProblem = (option: string, value: number): InvalidOption | undefined =>
  Number.isSafeInteger(value)
    ? undefined
    : new InvalidOption({ option, value: String(value), expected: "a whole number" })

/**
 * For constructors that are pure.
 *
 * @internal
 */
export const orThrow = (problem: InvalidOption | undefined): void => {
  if (problem !== undefined) throw problem
}

/**
 * What is waited for, and may be nothing.
 *
 * @internal
 */
export const waitProblem = (option: string, value: Duration.DurationInput): InvalidOption | undefined => {
  const found = millis(value)
  return found !== undefined && Number.isFinite(found)
    ? undefined
    : new InvalidOption({ option, value: quote(value), expected: "a finite duration, such as \"50 millis\"" })
}

/**
 * What bounds a wait. Effect takes a negative number or NaN for zero, and one without end bounds nothing.
 *
 * @internal
 */
export const finiteDurationProblem = (
  option: string,
  value: Duration.DurationInput | undefined
): InvalidOption | undefined => {
  if (value === undefined) return undefined
  const found = millis(value)
  return found !== undefined && found > 0 && Number.isFinite(found)
    ? undefined
    : new InvalidOption({ option, value: quote(value), expected: "a finite duration above zero, such as \"1 day\"" })
}

const millis = (value: Duration.DurationInput): number | undefined => {
  if (typeof value === "number" && !(value >= 0)) return undefined
  return Option.getOrUndefined(Option.map(Duration.decodeUnknown(value), Duration.toMillis))
}
