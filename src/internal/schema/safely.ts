import * as Either from "effect/Either"
import * as ParseResult from "effect/ParseResult"
import type * as Schema from "effect/Schema"
import { threw } from "./reason.js"
import { withoutSecrets } from "./secrets.js"

/** Runs a schema: one that throws fails with a `ParseError`. The error does not show the values of secrets. */
export const safely =
  <A, B>(schema: Schema.Schema.All, f: (a: A) => Either.Either<B, ParseResult.ParseError>) =>
  (a: A): Either.Either<B, ParseResult.ParseError> => {
    try {
      const result = f(a)
      return Either.isRight(result) ? result : Either.left(withoutSecrets(result.left))
    } catch (error) {
      const message = `${threw} ${error instanceof Error ? error.message : String(error)}`
      return Either.left(withoutSecrets(ParseResult.parseError(new ParseResult.Type(schema.ast, a, message))))
    }
  }
