import * as Either from "effect/Either"
import * as Option from "effect/Option"
import type * as ParseResult from "effect/ParseResult"
import * as Schema from "effect/Schema"
import * as AST from "effect/SchemaAST"
import { safely } from "./safely.js"

/** Makes a check whether a schema maps a value to itself. `undefined`: the schema needs a decoder. */
export const plain = <A, I>(schema: Schema.Schema<A, I>): ((value: unknown) => value is A & I) | undefined => {
  const check = checkOf(schema.ast)
  return check === undefined ? undefined : (value): value is A & I => check(value)
}

/** Makes a decoder that returns a plain value as it is. */
export const decoder = <A, I>(
  schema: Schema.Schema<A, I>
): (encoded: unknown) => Either.Either<A, ParseResult.ParseError> => {
  const isPlain = plain(schema)
  const decode = Schema.decodeUnknownEither(schema)
  return safely(
    schema,
    isPlain === undefined ? decode : (encoded) => isPlain(encoded) ? Either.right(encoded) : decode(encoded)
  )
}

/** Makes an encoder that returns a plain value as it is. */
export const encoder = <A, I>(schema: Schema.Schema<A, I>): (value: A) => Either.Either<I, ParseResult.ParseError> => {
  const isPlain = plain(schema)
  const encode = Schema.encodeEither(schema)
  return safely(
    schema,
    isPlain === undefined ? encode : (value: A) => isPlain(value) ? Either.right(value) : encode(value)
  )
}

type Check = (value: unknown) => boolean

const checkOf = (ast: AST.AST): Check | undefined => {
  // parse options may change the meaning of a filter: decode
  if (ast.annotations[AST.ParseOptionsAnnotationId] !== undefined) return undefined
  switch (ast._tag) {
    case "StringKeyword":
      return (value) => typeof value === "string"
    case "NumberKeyword":
      return (value) => typeof value === "number"
    case "BooleanKeyword":
      return (value) => typeof value === "boolean"
    case "Literal":
      return (value) => value === ast.literal
    case "Refinement": {
      const from = checkOf(ast.from)
      return from && ((value) => from(value) && Option.isNone(ast.filter(value, AST.defaultParseOption, ast)))
    }
    case "Union": {
      // in a union of structs an earlier member may match and drop keys: decode
      const members = ast.types.flatMap((member) => isPrimitive(member) ? checkOf(member) ?? [] : [])
      return members.length === ast.types.length ? (value) => members.some((member) => member(value)) : undefined
    }
    case "TupleType": {
      const item = ast.elements.length === 0 && ast.rest.length === 1 ? checkOf(ast.rest[0].type) : undefined
      // `every` would pass over holes
      return item && ((value) => isPlainArray(value) && value.findIndex((element) => !item(element)) === -1)
    }
    case "TypeLiteral":
      return structOf(ast)
    default:
      return undefined
  }
}

const isPrimitive = (ast: AST.AST): boolean =>
  ast._tag === "Refinement" ? isPrimitive(ast.from) : ast._tag !== "TypeLiteral" && ast._tag !== "TupleType"

const structOf = (ast: AST.TypeLiteral): Check | undefined => {
  const fields = ast.propertySignatures.flatMap(({ isOptional, name, type }) => {
    const check = checkOf(type)
    return check === undefined || isOptional || typeof name !== "string" || name === "__proto__" ? [] : { name, check }
  })
  // a struct without fields accepts any value but null
  if (fields.length === 0 || fields.length < ast.propertySignatures.length || ast.indexSignatures.length > 0) {
    return undefined
  }
  return (value) => {
    if (!isPlainRecord(value)) return false
    let index = 0
    for (const key in value) {
      // decoding would drop other keys and put them into the order of the fields
      const field = fields[index++]
      if (field === undefined || field.name !== key || !field.check(value[key])) return false
    }
    return index === fields.length
  }
}

// JSON.stringify would call a method of that name
const isPlainRecord = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && Object.getPrototypeOf(value) === Object.prototype &&
  !("toJSON" in value)

const isPlainArray = (value: unknown): value is Array<unknown> =>
  Array.isArray(value) && Object.getPrototypeOf(value) === Array.prototype && !("toJSON" in value)
