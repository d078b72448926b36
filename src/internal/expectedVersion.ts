import * as Either from "effect/Either"
import * as Schema from "effect/Schema"
import { ExpectedVersion } from "../ExpectedVersion.js"

const isExpectedVersion = Schema.is(ExpectedVersion)

/**
 * Copies an expected version, or says why a value is not one. The copy is compared later, exactly as it was checked.
 */
export const expectedOf = (value: unknown): Either.Either<ExpectedVersion, string> => {
  const expected: unknown = typeof value === "object" && value !== null ? { ...value } : value
  if (!isExpectedVersion(expected)) return Either.left("the expected version was not made by ExpectedVersion")
  return expected._tag !== "Exact" || (Number.isSafeInteger(expected.version) && expected.version >= 0)
    ? Either.right(expected)
    : Either.left(`the expected version is ${expected.version}; it must be a whole number, 0 or more`)
}
