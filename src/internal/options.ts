import * as Duration from "effect/Duration"
import * as Option from "effect/Option"
import { InvalidOption } from "../InvalidOption.js"
import type { BackgroundOptions } from "../SnapshotPolicy.js"
import { quote } from "./text.js"

/** @internal */
export const wholeFromOne = (option: string, value: number | undefined): InvalidOption | undefined =>
  value === undefined || (Number.isSafeInteger(value) && value >= 1)
    ? undefined
    : new InvalidOption({ option, value: String(value), expected: "a whole number, 1 or more" })

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

/** @internal */
export const backgroundProblem = (options: BackgroundOptions): InvalidOption | undefined =>
  wholeFromOne("SnapshotPolicy workers", options.workers) ??
    wholeFromOne("SnapshotPolicy capacity", options.capacity) ??
    finiteDurationProblem("SnapshotPolicy timeout", options.timeout) ??
    finiteDurationProblem("SnapshotPolicy drainTimeout", options.drainTimeout)
