import * as Either from "effect/Either"
import * as ParseResult from "effect/ParseResult"
import * as Schema from "effect/Schema"
import { InvalidOption } from "../../InvalidOption.js"
import * as Json from "../json.js"
import { safely } from "../safely.js"
import { brief } from "../text.js"
import { toCode } from "./code.js"
import { isObject } from "./effectData.js"
import { unusual } from "./generators.js"

/**
 * What a schema has against a value, place by place.
 *
 * @internal
 */
export const objections = (
  error: ParseResult.ParseError
): ReadonlyArray<{ readonly path: string | undefined; readonly reason: string }> =>
  ParseResult.ArrayFormatter.formatErrorSync(error).map(({ message, path }) => ({
    path: path.length === 0 ? undefined : Json.formatPath(path),
    reason: message
  }))

/** @internal */
export const objectionsIn = (error: ParseResult.ParseError): string =>
  objections(error).map(({ path, reason }) => path === undefined ? reason : `at ${path}: ${reason}`).join("; ")

/**
 * What a value that has a schema for a class, as a `Schema.TaggedError` has, breaks of it.
 *
 * @internal
 */
export const ownProblem = (value: unknown): ParseResult.ParseError | undefined => {
  const constructor: unknown = isObject(value) ? Reflect.get(value, "constructor") : undefined
  if (!isSchema(constructor)) return undefined
  const encoded = safely(Schema.encodeUnknownEither(constructor))(value)
  return Either.isLeft(encoded) && unusual(encoded.left) === undefined ? encoded.left : undefined
}

// what needs services is not encoded at once, and refused as that
const isSchema = (value: unknown): value is Schema.Schema<unknown> => Schema.isSchema(value)

/**
 * Throws where a test gives a value that the encoding of a schema refuses.
 *
 * @internal
 */
export const allow = <A, B>(
  what: string,
  value: A,
  encode: (value: A) => Either.Either<B, ParseResult.ParseError>
): B => Either.getOrThrowWith(encode(value), (error) => refusal(what, value, objectionsIn(error)))

/** @internal */
export const refusal = (what: string, value: unknown, why: string): InvalidOption =>
  new InvalidOption({
    option: what,
    value: brief(toCode(value)),
    expected: `one that its schema allows: ${why}`
  })
