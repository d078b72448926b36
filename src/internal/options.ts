import * as Duration from "effect/Duration"
import * as Option from "effect/Option"
import { InvalidOption } from "../InvalidOption.js"
import { quote } from "./text.js"

/** @internal */
export const wholeFromOne = (option: string, value: number | undefined): InvalidOption | undefined =>
  value === undefined || (Number.isSafeInteger(value) && value >= 1)
    ? undefined
    : new InvalidOption({ option, value: String(value), expected: "a whole number, 1 or more" })

/**
 * A duration as Effect takes it. One that is none would be taken for zero, or throw later.
 *
 * @internal
 */
export const durationProblem = (
  option: string,
  value: Duration.DurationInput | undefined
): InvalidOption | undefined =>
  value === undefined || millis(value) !== undefined
    ? undefined
    : new InvalidOption({ option, value: quote(value), expected: "a duration, such as \"5 seconds\"" })

/** @internal */
export const finiteDurationProblem = (option: string, value: Duration.DurationInput): InvalidOption | undefined => {
  const found = millis(value)
  return found !== undefined && found > 0 && Number.isFinite(found)
    ? undefined
    : new InvalidOption({ option, value: quote(value), expected: "a finite duration above zero, such as \"1 day\"" })
}

const millis = (value: Duration.DurationInput): number | undefined => {
  if (typeof value === "number" && !(value >= 0)) return undefined
  return Option.getOrUndefined(Option.map(Duration.decodeUnknown(value), Duration.toMillis))
}
