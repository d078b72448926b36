import * as Either from "effect/Either"
import * as ParseResult from "effect/ParseResult"
import * as Schema from "effect/Schema"
import { InvalidOption } from "../../InvalidOption.js"
import * as Json from "../schema/json.js"
import { safely } from "../schema/safely.js"
import { brief } from "../text.js"
import { toCode } from "./code.js"
import { isObject } from "./effectData.js"

/** Lists the objections of a schema to a value, path by path. */
export const objections = (
  error: ParseResult.ParseError
): ReadonlyArray<{ readonly path: string | undefined; readonly reason: string }> =>
  ParseResult.ArrayFormatter.formatErrorSync(error).map(({ message, path }) => ({
    path: path.length === 0 ? undefined : Json.formatPath(path),
    reason: message
  }))

export const objectionsIn = (error: ParseResult.ParseError): string =>
  objections(error).map(({ path, reason }) => path === undefined ? reason : `at ${path}: ${reason}`).join("; ")

/** Validates an instance of a class that is a schema, such as a `Schema.TaggedError`, with that schema. */
export const ownProblem = (value: unknown): ParseResult.ParseError | undefined => {
  const constructor: unknown = isObject(value) ? Reflect.get(value, "constructor") : undefined
  if (!isSchema(constructor)) return undefined
  const encoded = safely(constructor, Schema.encodeUnknownEither(constructor))(value)
  return Either.isLeft(encoded) && unusual(encoded.left) === undefined ? encoded.left : undefined
}

// a schema that needs services cannot be encoded synchronously: that is an unusual problem, which `ownProblem` ignores
const isSchema = (value: unknown): value is Schema.Schema<unknown> => Schema.isSchema(value)

/** Throws `InvalidOption` where a test gives a value that its schema refuses. */
export const allow = <A, B>(
  what: string,
  value: A,
  encode: (value: A) => Either.Either<B, ParseResult.ParseError>
): B => Either.getOrThrowWith(encode(value), (error) => refusal(what, value, objectionsIn(error)))

export const refusal = (what: string, value: unknown, why: string): InvalidOption =>
  new InvalidOption({
    option: what,
    value: brief(toCode(value)),
    expected: `a value that matches its schema: ${why}`
  })

/** Describes the problem of a schema that did more than refuse a value: it is effectful, or it threw. */
export const unusual = (error: ParseResult.ParseError): string | undefined => {
  if (isEffectful(error.issue)) {
    return "is effectful: it cannot be encoded and decoded synchronously, and events and states are. " +
      "Use transformations that return their result at once (Schema.transform, or Schema.transformOrFail with " +
      "ParseResult.succeed and ParseResult.fail), and do the rest before the command."
  }
  const threw = /the schema threw (.*)/.exec(error.message)
  return threw === null ? undefined : `threw ${threw[1]}: a schema that refuses a value must say so with ` +
    "ParseResult.fail (in Schema.transformOrFail) or with a filter, and never throw."
}

const isEffectful = (issue: ParseResult.ParseIssue): boolean => {
  switch (issue._tag) {
    case "Forbidden":
      return true
    case "Pointer":
    case "Refinement":
    case "Transformation":
      return isEffectful(issue.issue)
    case "Composite":
      return "_tag" in issue.issues ? isEffectful(issue.issues) : issue.issues.some(isEffectful)
    default:
      return false
  }
}
