import * as Schema from "effect/Schema"
import * as AST from "effect/SchemaAST"
import type { EventCodec } from "../Aggregate.js"
import { InvalidOption } from "../InvalidOption.js"
import { safely } from "./safely.js"
import { keyProblem, quote } from "./text.js"

/**
 * One decoder per stored type, built once: a union would try its members for every event of a replay.
 *
 * @internal
 */
export const makeEventCodec = <Event extends { readonly _tag: string }, I>(
  aggregate: string,
  schema: Schema.Schema<Event, I>
): EventCodec<Event> => {
  const members = new Map<string, Schema.Schema<Event, unknown>>()
  for (const ast of membersOf(schema.ast)) {
    const type = tagOf(AST.typeAST(ast))
    const problem = type === undefined ? "has no literal _tag" : keyProblem(type, 255)
    if (type === undefined || problem !== undefined) {
      throw new InvalidOption({
        option: `Aggregate.make event of ${quote(aggregate)}`,
        value: quote(String(ast)),
        expected: `a union of members with a literal _tag; this one ${problem}`
      })
    }
    if (members.has(type)) {
      throw new InvalidOption({
        option: `Aggregate.make event of ${quote(aggregate)}`,
        value: `a union with two members tagged ${quote(type)}`,
        expected: "a union in which every _tag stands once"
      })
    }
    members.set(type, Schema.make<Event, unknown>(ast))
  }
  const decoders = new Map(
    Array.from(members, ([type, member]) => [type, safely(Schema.decodeUnknownEither(member))])
  )
  return {
    schema: Schema.typeSchema(schema),
    typeOf: (event) => event._tag,
    types: Array.from(members.keys()),
    encode: safely(Schema.encodeEither(schema)),
    decoder: (type) => decoders.get(type)
  }
}

const membersOf = (ast: AST.AST): ReadonlyArray<AST.AST> => {
  switch (ast._tag) {
    case "Union":
      return ast.types.flatMap(membersOf)
    case "Suspend":
      return membersOf(ast.f())
    default:
      return [ast]
  }
}

const tagOf = (ast: AST.AST): string | undefined => {
  switch (ast._tag) {
    case "Refinement":
      return tagOf(ast.from)
    case "Suspend":
      return tagOf(ast.f())
    case "Transformation":
      return tagOf(ast.to)
    case "Declaration":
      // a class: its fields are the only type parameter
      return ast.typeParameters.length === 1 ? tagOf(ast.typeParameters[0]) : undefined
    case "TypeLiteral": {
      const tag = ast.propertySignatures.find((property) => property.name === "_tag")
      return tag !== undefined && tag.type._tag === "Literal" && typeof tag.type.literal === "string"
        ? tag.type.literal
        : undefined
    }
    default:
      return undefined
  }
}
