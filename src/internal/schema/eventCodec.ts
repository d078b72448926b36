import * as Either from "effect/Either"
import * as Hash from "effect/Hash"
import type * as ParseResult from "effect/ParseResult"
import * as Schema from "effect/Schema"
import * as AST from "effect/SchemaAST"
import { InvalidOption } from "../../InvalidOption.js"
import type { Upcast } from "../../Versions.js"
import * as Markers from "../markers.js"
import { keyProblem, quote } from "../text.js"
import * as Plain from "./codec.js"
import { fingerprint } from "./fingerprint.js"
import { flatKeys, hasOnly } from "./flat.js"
import { notJson } from "./jsonSafety.js"
import { safely } from "./safely.js"

const maxTypeBytes = 255

// the type under which a version of an event is stored
const storedType = (type: string, version: number): string => version === 1 ? type : `${type}@${version}`

type Decoder<Event> = (payload: unknown) => Either.Either<Event, ParseResult.ParseError>

type Refuse = (option: "event" | "upcasts", value: string, expected: string) => InvalidOption

type Members<Event> = ReadonlyMap<string, Schema.Schema<Event, unknown>>

type Tagged = { readonly _tag: string }

type Upcasts<Event extends Tagged> = Readonly<Record<string, Upcast<Event>>>

/** Makes one decoder for each stored type, once: a union would try its members for every event of a replay. */
export const makeEventCodec = <Event extends Tagged, I>(
  aggregate: string,
  schema: Schema.Schema<Event, I>,
  upcasts: Upcasts<Event> = {}
) => {
  const refuse: Refuse = (option, value, expected) =>
    new InvalidOption({ option: `Aggregate.make ${option} of ${quote(aggregate)}`, value, expected })
  const members = membersByTag(schema, refuse)
  const { decoders, retired, stored, tags } = readersOf(members, upcasts, refuse)
  const plain = new Map<string, (event: unknown) => boolean>()
  for (const [type, member] of members) {
    const isPlain = Plain.plain(member)
    if (isPlain !== undefined) plain.set(type, isPlain)
  }

  // a key that the schema does not know would be dropped without a message, and the event is kept for ever
  const strict = { onExcessProperty: "error" } as const
  const encode = Schema.encodeEither(schema, strict)
  // An event is encoded by its own member, so that an error is about that one, unless the union has options of its own.
  const own = AST.ParseOptionsAnnotationId in schema.ast.annotations ? [] : members
  const encoders = new Map(Array.from(own, ([type, member]) => [type, encoder(member, strict)]))

  return {
    schema: Schema.typeSchema(schema),
    typeOf: (event: Event): string => stored.get(event._tag) ?? event._tag,
    types: Array.from(decoders.keys()),
    encode: safely(
      schema,
      (event: Event): Either.Either<unknown, ParseResult.ParseError> =>
        plain.get(event._tag)?.(event) === true
          ? Either.right(event)
          : Either.orElse((encoders.get(event._tag) ?? encode)(event), (error) =>
            isHash(error.issue) ? withoutHashes(schema)(event) : Either.left(error))
    ),
    decoder: (type: string): Decoder<Event> | undefined => decoders.get(type),
    isRetired: (type: string): boolean => retired.has(type) || Markers.isMarker(type),
    typesWithout: (wanted: ReadonlySet<string>): ReadonlyArray<string> => [
      ...Array.from(tags).flatMap(([type, tags]) => tags.some((tag) => wanted.has(tag)) ? [] : [type]),
      ...retired
    ]
  }
}

const typeProblem = (type: string): string | undefined => keyProblem(type, maxTypeBytes) ?? Markers.typeProblem(type)

const membersByTag = <Event, I>(schema: Schema.Schema<Event, I>, refuse: Refuse): Members<Event> => {
  const members = new Map<string, Schema.Schema<Event, unknown>>()
  for (const ast of membersOf(schema.ast)) {
    const type = tagOf(AST.typeAST(ast))
    const problem = type === undefined ? "has no literal _tag" : typeProblem(type)
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
  return members
}

/** Makes the decoders of the stored types: those of chains, of members, and of events that were renamed. */
const readersOf = <Event extends Tagged>(members: Members<Event>, upcasts: Upcasts<Event>, refuse: Refuse) => {
  const decoders = new Map<string, Decoder<Event>>()
  const retired = new Set<string>()
  /** The tags as which the events of a stored type may be read. */
  const tags = new Map<string, ReadonlyArray<string>>()
  /** The types under which events are stored, if they are not the tags. */
  const stored = new Map<string, string>()
  const add = (type: string, tagsOfType: ReadonlyArray<string>, decoder: Decoder<Event>) => {
    const problem = typeProblem(type)
    if (problem !== undefined) throw refuse("upcasts", quote(type), `for types that fit a store; this one ${problem}`)
    if (decoders.has(type) || retired.has(type)) {
      throw refuse("upcasts", `two ways to read ${quote(type)}`, "one way for every stored type")
    }
    decoders.set(type, decoder)
    tags.set(type, tagsOfType)
  }

  for (const [type, upcast] of Object.entries(upcasts)) {
    if ("_tag" in upcast) continue
    checkChain(type, upcast.ast, members, refuse)
    if (members.has(type)) stored.set(type, storedType(type, upcast.last))
    const ends = membersOf(upcast.ast).flatMap((ast) => tagOf(AST.typeAST(ast)) ?? [])
    for (const source of upcast.sources) add(storedType(type, source.version), ends, source.decode)
  }
  for (const [type, member] of members) add(stored.get(type) ?? type, [type], Plain.decoder(member))
  for (const [type, upcast] of Object.entries(upcasts)) {
    if (!("_tag" in upcast) || upcast._tag !== "Retired") continue
    if (decoders.has(type)) {
      throw refuse("upcasts", `${quote(type)} retired`, "a type that is neither read nor written any more")
    }
    retired.add(type)
  }
  // last, because the new name must have a decoder
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
    add(type, tags.get(upcast.type) ?? [], (payload) => decode(members.has(tag) ? retagged(payload, tag) : payload))
  }
  return { decoders, retired, stored, tags }
}

const checkChain = <Event>(type: string, end: AST.AST, members: Members<Event>, refuse: Refuse): void => {
  if (/@\d+$/.test(type) && !members.has(type)) {
    throw refuse(
      "upcasts",
      `a chain for ${quote(type)}`,
      `under the name without a version: a chain has every version, ${quote(type.replace(/@\d+$/, ""))} is its first`
    )
  }
  for (const ast of membersOf(end)) {
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
}

// `onExcessProperty` doubles the cost of encoding an instance: a look at the keys of a flat one is cheaper
const encoder = <Event extends object>(member: Schema.Schema<Event, unknown>, strict: AST.ParseOptions) => {
  const keys = flatKeys(member.ast)
  const encode = Schema.encodeEither(member)
  const encodeStrictly = Schema.encodeEither(member, strict)
  return (event: Event) => keys !== undefined && hasOnly(event, keys) ? encode(event) : encodeStrictly(event)
}

// Effect caches the hash of an instance in the instance, under a symbol that no schema declares: it is not an excess key
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

/** The cause of the error for a stored type that no decoder reads. */
export const unknownType = (types: ReadonlyArray<string>): Error =>
  new Error(
    `the aggregate does not know this type, only ${types.map(quote).join(", ")}: add it to the event schema, or to ` +
      "the upcasts"
  )

const endsAtMember = "a chain that ends at a member of the event union, with the very schema that stands there"

const retagged = (payload: unknown, tag: string): unknown =>
  typeof payload === "object" && payload !== null && !Array.isArray(payload) ? { ...payload, _tag: tag } : payload

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
