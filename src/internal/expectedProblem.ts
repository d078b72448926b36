import * as Schema from "effect/Schema"
import { ExpectedVersion } from "../ExpectedVersion.js"

const isExpectedVersion = Schema.is(ExpectedVersion)

/** Says why a value is not an expected version. `undefined` if it is one. */
export const expectedProblem = (expected: unknown): string | undefined => {
  if (!isExpectedVersion(expected)) return "the expected version was not made by ExpectedVersion"
  return expected._tag !== "Exact" || (Number.isSafeInteger(expected.version) && expected.version >= 0)
    ? undefined
    : `the expected version is ${expected.version}; it must be a whole number, 0 or more`
}
