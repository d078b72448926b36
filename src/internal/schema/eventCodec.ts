import * as Either from "effect/Either"
import * as Hash from "effect/Hash"
import type * as ParseResult from "effect/ParseResult"
import * as Schema from "effect/Schema"
import * as AST from "effect/SchemaAST"
import type { EventCodec } from "../../Aggregate.js"
import { InvalidOption } from "../../InvalidOption.js"
import type { Upcast } from "../../Versions.js"
import { keyProblem, quote } from "../text.js"
import * as Plain from "./codec.js"
import { fingerprint } from "./fingerprint.js"
import { flatKeys, hasOnly } from "./flat.js"
import { notJson } from "./jsonSafety.js"
import { safely } from "./safely.js"

const maxTypeBytes = 255

// the type under which a version of an event is stored
const storedType = (type: string, version: number): string => version === 1 ? type : `${type}@${version}`

/**
 * One decoder per stored type, built once: a union would try its members for every event of a replay.
 *
 * @internal
 */
export const makeEventCodec = <Event extends { readonly _tag: string }, I>(
  aggregate: string,
  schema: Schema.Schema<Event, I>,
  upcasts: Readonly<Record<string, Upcast<Event>>> = {}
): EventCodec<Event> => {
  const refuse = (option: "event" | "upcasts", value: string, expected: string) =>
    new InvalidOption({ option: `Aggregate.make ${option} of ${quote(aggregate)}`, value, expected })

  const members = new Map<string, Schema.Schema<Event, unknown>>()
  for (const ast of membersOf(schema.ast)) {
    const type = tagOf(AST.typeAST(ast))
    const problem = type === undefined ? "has no literal _tag" : keyProblem(type, maxTypeBytes)
    if (type === undefined || problem !== undefined) {
      throw refuse("event", quote(String(ast)), `a union of members with a literal _tag; this one ${problem}`)
    }
    if (members.has(type)) {
      throw refuse("event", `a union with two members tagged ${quote(type)}`, "a union in which every _tag stands once")
    }
    const foreign = notJson(ast)
    if (foreign !== undefined) {
      throw refuse(
        "event",
        `a union whose ${quote(type)} at ${foreign.path} ${foreign.reason}`,
        "of schemas that encode to JSON"
      )
    }
    members.set(type, Schema.make<Event, unknown>(ast))
  }

  const decoders = new Map<string, Decoder<Event>>()
  const retired = new Set<string>()
  const stored = new Map<string, string>()
  const plain = new Map<string, (event: unknown) => boolean>()
  const add = (type: string, decoder: Decoder<Event>) => {
    const problem = keyProblem(type, maxTypeBytes)
    if (problem !== undefined) throw refuse("upcasts", quote(type), `for types that fit a store; this one ${problem}`)
    if (decoders.has(type) || retired.has(type)) {
      throw refuse("upcasts", `two ways to read ${quote(type)}`, "one way for every stored type")
    }
    decoders.set(type, decoder)
  }

  for (const [type, upcast] of Object.entries(upcasts)) {
    if ("_tag" in upcast) continue
    if (/@\d+$/.test(type) && !members.has(type)) {
      throw refuse(
        "upcasts",
        `a chain for ${quote(type)}`,
        `under the name without a version: a chain has every version, ${quote(type.replace(/@\d+$/, ""))} is its first`
      )
    }
    for (const ast of membersOf(upcast.ast)) {
      const tag = tagOf(AST.typeAST(ast))
      const member = tag === undefined ? undefined : members.get(tag)
      if (member === undefined || fingerprint(member) !== fingerprint(Schema.make(ast))) {
        throw refuse("upcasts", `a chain for ${quote(type)} that ends at ${quote(String(ast))}`, endsAtMember)
      }
      if (members.has(type) && tag !== type) {
        throw refuse(
          "upcasts",
          `a chain for ${quote(type)} that ends at ${quote(tag)}`,
          `a chain that ends at the union's own ${quote(type)}, which is still written`
        )
      }
    }
    if (members.has(type)) stored.set(type, storedType(type, upcast.last))
    for (const source of upcast.sources) add(storedType(type, source.version), source.decode)
  }
  for (const [type, member] of members) {
    add(stored.get(type) ?? type, Plain.decoder(member))
    const isPlain = Plain.plain(member)
    if (isPlain !== undefined) plain.set(type, isPlain)
  }
  for (const [type, upcast] of Object.entries(upcasts)) {
    if (!("_tag" in upcast) || upcast._tag !== "Retired") continue
    if (decoders.has(type)) {
      throw refuse("upcasts", `${quote(type)} retired`, "a type that nothing reads or writes any more")
    }
    retired.add(type)
  }
  // by another name: what the name stands for must be there
  for (const [type, upcast] of Object.entries(upcasts)) {
    if (!("_tag" in upcast) || upcast._tag !== "Renamed") continue
    const decode = decoders.get(upcast.type)
    if (decode === undefined) {
      throw refuse(
        "upcasts",
        `${quote(type)} renamed to ${quote(upcast.type)}`,
        `a new name that can be read: one of ${Array.from(decoders.keys(), quote).join(", ")}`
      )
    }
    const tag = members.has(upcast.type) ? upcast.type : upcast.type.replace(/@\d+$/, "")
    add(type, (payload) => decode(members.has(tag) ? retagged(payload, tag) : payload))
  }

  // what a schema does not know would be dropped without a word, and the event is for ever
  const strict = { onExcessProperty: "error" } as const
  const encode = Schema.encodeEither(schema, strict)
  // by its own member, so that an error is about that one, except where options stand at the union
  const own = AST.ParseOptionsAnnotationId in schema.ast.annotations ? [] : members
  const encoders = new Map(Array.from(own, ([type, member]) => [type, encoder(member, strict)]))

  return {
    schema: Schema.typeSchema(schema),
    typeOf: (event) => stored.get(event._tag) ?? event._tag,
    types: Array.from(decoders.keys()),
    encode: safely(
      schema,
      (event: Event): Either.Either<unknown, ParseResult.ParseError> =>
        plain.get(event._tag)?.(event) === true
          ? Either.right(event)
          : Either.orElse((encoders.get(event._tag) ?? encode)(event), (error) =>
            isHash(error.issue) ? withoutHashes(schema)(event) : Either.left(error))
    ),
    decoder: (type) => decoders.get(type),
    isRetired: (type) => retired.has(type)
  }
}

// options cost as much again as encoding an instance does without them
const encoder = <Event extends object>(member: Schema.Schema<Event, unknown>, strict: AST.ParseOptions) => {
  const keys = flatKeys(member.ast)
  const encode = Schema.encodeEither(member)
  const encodeStrictly = Schema.encodeEither(member, strict)
  return (event: Event) => keys !== undefined && hasOnly(event, keys) ? encode(event) : encodeStrictly(event)
}

// Effect keeps the hash of an instance in the instance, under a symbol that no schema declares
const withoutHashes = <Event, I>(schema: Schema.Schema<Event, I>) => (event: Event) => {
  const strict = Schema.encodeEither(schema, { onExcessProperty: "error", errors: "all" })(event)
  return Either.isLeft(strict) && isHash(strict.left.issue) ? Schema.encodeEither(schema)(event) : strict
}

const isHash = (issue: ParseResult.ParseIssue): boolean => {
  switch (issue._tag) {
    case "Pointer":
      return issue.issue._tag === "Unexpected"
        ? (Array.isArray(issue.path) ? issue.path.at(-1) : issue.path) === Hash.symbol
        : isHash(issue.issue)
    case "Refinement":
    case "Transformation":
      return isHash(issue.issue)
    case "Composite":
      return "_tag" in issue.issues ? isHash(issue.issues) : issue.issues.every(isHash)
    default:
      return false
  }
}

type Decoder<Event> = (payload: unknown) => Either.Either<Event, ParseResult.ParseError>

const endsAtMember = "a chain that ends at a member of the event union, with the very schema that stands there"

const retagged = (payload: unknown, tag: string): unknown =>
  typeof payload === "object" && payload !== null && !Array.isArray(payload) ? { ...payload, _tag: tag } : payload

/** @internal */
export const membersOf = (ast: AST.AST): ReadonlyArray<AST.AST> => {
  switch (ast._tag) {
    case "Union":
      return ast.types.flatMap(membersOf)
    case "Suspend":
      return membersOf(ast.f())
    default:
      return [ast]
  }
}

/** @internal */
export const tagOf = (ast: AST.AST): string | undefined => {
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
