import * as Either from "effect/Either"
import type * as ParseResult from "effect/ParseResult"
import type * as Schema from "effect/Schema"
import * as SchemaAST from "effect/SchemaAST"
import type { Difference } from "../schema/equality.js"
import * as Json from "../schema/json.js"
import * as Visits from "../schema/visits.js"
import { differences, nothing } from "./difference.js"
import { objections, unusual } from "./objections.js"
import { apart, type Evidence, text, valueOf } from "./report.js"
import type { Subject, Types } from "./subject.js"

export interface Loss {
  readonly text: string
  readonly evidence: ReadonlyArray<Evidence>
  readonly hint?: string | undefined
}

const verbs = { event: "stored", state: "stored", command: "sent", rejection: "sent" } as const

/** Writes an encoded value as JSON and reads it back. */
export const throughJson = <A>(options: {
  readonly what: "event" | "state" | "command" | "rejection"
  readonly schema: Schema.Schema.Any
  readonly encoded: unknown
  readonly decode: (json: unknown) => Either.Either<A, ParseResult.ParseError>
  readonly unreadable: string
}): Either.Either<A, Loss> => {
  const { decode, encoded, schema, unreadable, what } = options
  const verb = verbs[what]
  const json = Json.stringify(encoded)
  if (Either.isLeft(json)) {
    const { path, reason } = json.left
    return Either.left({
      text: `The ${what} cannot be ${verb} as JSON: ${path} ${reason}.`,
      evidence: [],
      hint: anythingHint(path, schema) ?? jsonHint(reason)
    })
  }
  return Either.mapLeft(decode(JSON.parse(json.right)), (error) => {
    const { evidence, hint } = refused(unreadable, error)
    return { text: unreadable, evidence: [text(verb, json.right), ...evidence], hint }
  })
}

export const refused = (text: string, error: ParseResult.ParseError): Loss => {
  const problem = unusual(error)
  return { text, evidence: refusals(error), hint: problem === undefined ? undefined : `The schema ${problem}` }
}

/** Stores an event and reads it back. */
export const storeEvent = <T extends Types>(
  { event: codec }: Subject<T>,
  event: T["Event"]
): Either.Either<T["Event"], Loss> => {
  const encoded = codec.encode(event)
  if (Either.isLeft(encoded)) return Either.left(refused("The event does not match its schema.", encoded.left))
  const decode = codec.decoder(codec.typeOf(event))
  if (decode === undefined) {
    return Either.left({ text: "The event has a type that the event schema does not have.", evidence: [] })
  }
  return throughJson({
    what: "event",
    schema: codec.schema,
    encoded: encoded.right,
    decode,
    unreadable: "The event can be stored, but not read back."
  })
}

/** Stores a state as a snapshot does and reads it back. */
export const storeState = <T extends Types>(
  { state: codec }: Subject<T>,
  state: T["State"]
): Either.Either<T["State"], Loss> => {
  const encoded = codec.encode(state)
  if (Either.isLeft(encoded)) {
    return Either.left(refused("The state cannot be encoded, so no snapshot of it can be taken.", encoded.left))
  }
  return throughJson({
    what: "state",
    schema: codec.schema,
    encoded: encoded.right,
    decode: codec.decode,
    unreadable: "The state can be written as a snapshot, but not read back."
  })
}

/** Compares a value with the one that is read back. */
export const lossOf = (
  text: string,
  before: unknown,
  after: unknown,
  schema: Schema.Schema.Any,
  [one, other]: readonly [before: string, after: string] = ["stored", "read back"]
): Loss | undefined => {
  const found = differences(before, after, fieldsOf(schema.ast))
  return found.length === 0 ? undefined : {
    text,
    evidence: [valueOf(one, before), valueOf(other, after), apart(found, one, other)],
    hint: lossHint(found, schema)
  }
}

export const refusals = (error: ParseResult.ParseError): ReadonlyArray<Evidence> =>
  objections(error).map(({ path, reason }) => text(path === undefined ? "refused" : `refused at ${path}`, reason))

const anythingHint = (path: string, schema: Schema.Schema.Any): string | undefined => {
  const field = fieldsOfAnything(schema.ast).find((field) => path.startsWith(field))
  return field === undefined ? undefined : `The schema lets ${field} be anything (Schema.Unknown, Schema.Any or ` +
    "Schema.Object), and not everything survives as JSON. Declare the type of the field, or restrict the generated values " +
    "where it is defined: .annotations({ arbitrary: () => (fc) => fc.jsonValue() })"
}

const protoHint =
  "An object loses the key __proto__ on its way through a schema. Declare the keys with a schema that " +
  "refuses it, or the field with Schema.Map or Schema.HashMap, which are stored as arrays."

const jsonHint = (reason: string): string => {
  if (/is a Object object/.test(reason)) return protoHint
  if (/NaN|Infinity/.test(reason)) return "Schema.Number allows it. Declare the field as Schema.Finite or Schema.Int."
  if (/bigint/.test(reason)) return "Declare the field as Schema.BigInt, which is stored as text."
  if (/Date object/.test(reason)) return "Declare the field as Schema.Date, which is stored as text."
  if (/Map object/.test(reason)) return "Declare the field as Schema.Map or Schema.HashMap, which are stored as arrays."
  if (/Set object/.test(reason)) return "Declare the field as Schema.Set or Schema.HashSet, which are stored as arrays."
  if (/undefined/.test(reason)) return "Use null (Schema.NullOr) or an optional field."
  return "Declare it with a schema whose encoded side is JSON."
}

const lossHint = ([first]: ReadonlyArray<Difference>, schema: Schema.Schema.Any): string | undefined => {
  if (first === undefined) return undefined
  const anything = anythingHint(first.path, schema)
  if (anything !== undefined) return anything
  if (first.right === nothing) {
    return /__proto__"?\]?$/.test(first.path)
      ? protoHint
      : "The schema does not declare it, or loses it where it encodes."
  }
  return first.left.startsWith("new ") && first.right.startsWith("the plain object")
    ? "The schema describes the fields and not the class: declare it with Schema.Class, or an error with Schema.TaggedError."
    : undefined
}

const fieldsByAst = new WeakMap<SchemaAST.AST, ReadonlySet<PropertyKey>>()

/**
 * Collects the names of all fields that the structs in a schema declare. JSON has no `undefined`, so such a field is
 * stored as absent where it is undefined. The keys of a record are data and do not count.
 */
export const fieldsOf = (ast: SchemaAST.AST): ReadonlySet<PropertyKey> => {
  const known = fieldsByAst.get(ast)
  if (known !== undefined) return known
  const fields = new Set<PropertyKey>()
  fieldsByAst.set(ast, fields)
  const isFirst = Visits.make()
  const visit = (ast: SchemaAST.AST): void => {
    if (!isFirst(ast)) return
    if (ast._tag === "TypeLiteral") ast.propertySignatures.forEach(({ name }) => fields.add(name))
    Visits.partsOf(ast).forEach(visit)
  }
  visit(SchemaAST.typeAST(ast))
  return fields
}

/** Finds the fields that may hold anything. A list or a record that holds such values counts as one field. */
const fieldsOfAnything = (ast: SchemaAST.AST): ReadonlyArray<string> => {
  const visit = (ast: SchemaAST.AST, path: ReadonlyArray<PropertyKey>): ReadonlyArray<string> => {
    switch (ast._tag) {
      case "UnknownKeyword":
      case "AnyKeyword":
      case "ObjectKeyword":
        return [Json.formatPath(path)]
      case "Suspend":
        return []
      case "TupleType":
        return Visits.partsOf(ast).some((type) => visit(type, path).length > 0) ? [Json.formatPath(path)] : []
      case "TypeLiteral":
        return ast.indexSignatures.some(({ type }) => visit(type, path).length > 0)
          ? [Json.formatPath(path)]
          : ast.propertySignatures.flatMap(({ name, type }) => visit(type, [...path, name]))
      default:
        return Visits.partsOf(ast).flatMap((child) => visit(child, path))
    }
  }
  return visit(SchemaAST.typeAST(ast), [])
}
