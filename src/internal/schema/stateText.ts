import * as Either from "effect/Either"
import { compare } from "./equality.js"
import * as Json from "./json.js"
import type { Codec } from "./model.js"

/** Encodes a state as JSON text, if that decodes to the same state. */
export const encodeState = <State>(
  codec: Codec<State, unknown>,
  state: State
): Either.Either<string, unknown> => {
  try {
    return encodeStrictly(codec, state)
  } catch (error) {
    // the state is nested too deeply for the stack, or one of its accessors throws
    const overflow = Json.overflow(error, state)
    return Either.left(overflow === undefined ? error : new Error(`${overflow.path} ${overflow.reason}`))
  }
}

const encodeStrictly = <State>(
  codec: Codec<State, unknown>,
  state: State
): Either.Either<string, unknown> => {
  const encoded = codec.encode(state)
  if (Either.isLeft(encoded)) {
    // a recursive schema follows a cycle until the stack overflows
    const cycle = Json.cycle(state)
    return Either.left(cycle === undefined ? encoded.left : new Error(`${cycle.path} ${cycle.reason}`))
  }
  const text = Json.stringify(encoded.right)
  if (Either.isLeft(text)) return Either.left(new Error(`${text.left.path} ${text.left.reason}`))
  // a schema may drop data without an error, as records do with a key named __proto__
  const readBack = Either.flatMap(Json.parse(text.right), codec.decode)
  if (Either.isLeft(readBack)) return Either.left(readBack.left)
  const [lost] = compare(codec.schema, state, readBack.right, 1)
  if (lost !== undefined) {
    const cause = `${lost.left} is read back as ${lost.right}`
    return Either.left(new Error(`${lost.path} does not survive its schema`, { cause }))
  }
  return text
}
