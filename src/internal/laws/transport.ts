import * as Either from "effect/Either"
import type * as ParseResult from "effect/ParseResult"
import * as Schema from "effect/Schema"
import type * as SchemaAST from "effect/SchemaAST"
import * as Plain from "../schema/codec.js"
import { isObject } from "./effectData.js"
import { type Loss, lossOf, refused, throughJson } from "./storage.js"
import type { Subject, Types } from "./subject.js"

/** Sends a command as JSON and compares the one that is received. */
export const sendCommand = <T extends Types>({ schemas }: Subject<T>, command: T["Command"]): Loss | undefined =>
  send("command", schemaOf(schemas, "command"), command)

/** Sends a rejection as JSON and compares the one that is received. Without a schema, rejections are not sent. */
export const sendRejection = <T extends Types>({ schemas }: Subject<T>, rejection: unknown): Loss | undefined =>
  send("rejection", schemaOf(schemas, "rejection"), rejection)

// a signature that takes any aggregate does not know the types of its schemas
const schemaOf = (schemas: unknown, name: "command" | "rejection"): Schema.Schema.All | undefined => {
  const schema: unknown = isObject(schemas) ? Reflect.get(schemas, name) : undefined
  return Schema.isSchema(schema) ? schema : undefined
}

const send = (
  what: "command" | "rejection",
  schema: Schema.Schema.All | undefined,
  value: unknown
): Loss | undefined => {
  if (schema === undefined) return undefined
  const { decode, decoded, encode } = codecOf(schema)
  const encoded = encode(value)
  if (Either.isLeft(encoded)) return refused(`The ${what} does not match the ${what} schema.`, encoded.left)
  const received = throughJson({
    what,
    schema: decoded,
    encoded: encoded.right,
    decode,
    unreadable: `The ${what} can be sent as JSON, but not received.`
  })
  return Either.isLeft(received)
    ? received.left
    : lossOf(`The ${what} that is received differs from the one that was sent.`, value, received.right, decoded, [
      "sent",
      "received"
    ])
}

interface Codec {
  readonly decoded: Schema.Schema<unknown>
  readonly encode: (value: unknown) => Either.Either<unknown, ParseResult.ParseError>
  readonly decode: (json: unknown) => Either.Either<unknown, ParseResult.ParseError>
}

const codecs = new WeakMap<SchemaAST.AST, Codec>()

const codecOf = ({ ast }: Schema.Schema.All): Codec => {
  const known = codecs.get(ast)
  if (known !== undefined) return known
  const schema = Schema.make<unknown, unknown>(ast)
  const codec = { decoded: Schema.typeSchema(schema), encode: Plain.encoder(schema), decode: Plain.decoder(schema) }
  codecs.set(ast, codec)
  return codec
}
