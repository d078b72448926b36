import * as Either from "effect/Either"
import * as ParseResult from "effect/ParseResult"
import * as Schema from "effect/Schema"

/**
 * A schema transformation written by a user may throw: that is a failure to decode like any other.
 *
 * @internal
 */
export const safely =
  <A, B>(f: (a: A) => Either.Either<B, ParseResult.ParseError>) => (a: A): Either.Either<B, ParseResult.ParseError> => {
    try {
      return f(a)
    } catch (error) {
      const message = `the schema threw ${error instanceof Error ? error.message : String(error)}`
      return Either.left(ParseResult.parseError(new ParseResult.Type(Schema.Unknown.ast, a, message)))
    }
  }
