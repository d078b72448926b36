import type * as Schema from "effect/Schema"
import * as AST from "effect/SchemaAST"
import { InvalidOption } from "../../InvalidOption.js"
import { sha256 } from "./sha256.js"

/**
 * Hashes the encoded side of a schema, so that the hash changes only with the stored form.
 *
 * It describes the schema in a canonical form and hashes the description: names, types, optionality, literals and nesting
 * count; key order, annotations, refinements and the decoded side do not. Cost: one walk of the schema and one SHA-256,
 * when an aggregate is made.
 */
export const fingerprint = <A, I, R>(schema: Schema.Schema<A, I, R>): string =>
  sha256(canonical(schema.ast)).slice(0, 32)

export const canonical = (ast: AST.AST): string => JSON.stringify(describe(ast, [], { nodes: 0 }))

type Description = string | ReadonlyArray<Description>

interface Walk {
  nodes: number
}

const maxNodes = 100_000
const maxDepth = 200

const describe = (ast: AST.AST, ancestors: ReadonlyArray<unknown>, walk: Walk): Description => {
  if (++walk.nodes > maxNodes || ancestors.length > maxDepth) {
    throw new InvalidOption({
      option: "Schema",
      value: "a schema that unfolds infinitely",
      expected: "a schema whose recursion comes back to where it began: the recursive schema itself, " +
        "not Schema.encodedSchema or Schema.partial of it"
    })
  }
  // a recursive schema refers to an ancestor by its distance, so that its name does not count. A derived schema makes a
  // new node at every turn, but keeps the annotations
  const identity = ast._tag === "Suspend" ? ast.annotations : ast
  const seen = ancestors.lastIndexOf(identity)
  if (seen >= 0) return ["ref", String(ancestors.length - seen)]
  const inner: Inner = (child) => describe(child, [...ancestors, identity], walk)
  switch (ast._tag) {
    case "Transformation": {
      const from = describe(ast.from, ancestors, walk)
      if (ast.to._tag === "Literal" && ast.from._tag === "Literal") {
        return ["literals", from, [typeof ast.to.literal, String(ast.to.literal)]]
      }
      if (ast.transformation._tag === "TypeLiteralTransformation") {
        const renamed = ast.transformation.propertySignatureTransformations.filter(({ from, to }) => from !== to)
        return renamed.length === 0
          ? from
          : ["keys", from, sortDescriptions(renamed.map(({ from, to }) => [String(from), String(to)]))]
      }
      if (ast.transformation._tag !== "ComposeTransformation") return from
      // JSON in a text: the shape of the JSON is stored, too
      const through = describe(ast.to, ancestors, walk)
      return through === "UnknownKeyword" || same(through, describe(AST.typeAST(ast.from), ancestors, walk))
        ? from
        : ["through", from, through]
    }
    case "Refinement":
      return describe(ast.from, ancestors, walk)
    case "Suspend":
      return inner(ast.f())
    case "Literal":
      return ["literal", ast.literal === null ? "null" : typeof ast.literal, String(ast.literal)]
    case "UniqueSymbol":
      return ["symbol", String(ast.symbol)]
    case "Enums":
      // the names count, too: enums number them in order, so a new name changes the meaning of later numbers
      return ["enum", ...sortDescriptions(ast.enums.map(([name, value]) => [name, typeof value, String(value)]))]
    case "TemplateLiteral":
      return ["template", ast.head, ...ast.spans.map((span) => [inner(span.type), span.literal])]
    case "TupleType":
      return [
        "tuple",
        ast.elements.map((element) => [element.isOptional ? "?" : "", inner(element.type)]),
        ast.rest.map((rest) => inner(rest.type))
      ]
    case "TypeLiteral":
      return ["struct", sortDescriptions(fieldsOf(ast, inner)), sortDescriptions(recordsOf(ast, inner))]
    case "Union": {
      const members = ast.types.map(inner)
      // the first member that fits a value decodes it, so the order of members that may fit the same value counts
      return members.every((member, index) => members.slice(index + 1).every((other) => disjoint(member, other)))
        ? ["union", ...sortDescriptions(members)]
        : ["first of", ...members]
    }
    case "Declaration":
      return [
        "declaration",
        String(AST.getIdentifierAnnotation(ast).pipe((name) => name._tag === "Some" ? name.value : "")),
        ...ast.typeParameters.map(inner)
      ]
    default:
      return ast._tag
  }
}

type Inner = (ast: AST.AST) => Description

const fieldsOf = (ast: AST.TypeLiteral, inner: Inner): ReadonlyArray<Description> =>
  ast.propertySignatures.map(({ isOptional, name, type }) => {
    // JSON leaves out a field that is undefined
    const types = type._tag === "Union" ? type.types : [type]
    const held = types.filter((type) => type._tag !== "UndefinedKeyword")
    const mayBeAbsent = isOptional || held.length < types.length
    return [String(name), mayBeAbsent ? "?" : "", inner(held.length < types.length ? AST.Union.make(held) : type)]
  })

const recordsOf = (ast: AST.TypeLiteral, inner: Inner): ReadonlyArray<Description> =>
  ast.indexSignatures.map((index) => [inner(index.parameter), inner(index.type)])

const same = (a: Description, b: Description): boolean => JSON.stringify(a) === JSON.stringify(b)

const disjoint = (a: Description, b: Description): boolean => {
  if (a[0] === "union" && Array.isArray(a)) return a.slice(1).every((member) => disjoint(member, b))
  if (b[0] === "union" && Array.isArray(b)) return disjoint(b, a)
  const domains = [domain(a), domain(b)]
  if (domains[0] === undefined || domains[1] === undefined) return false
  if (domains[0] !== domains[1]) return true
  if (a[0] === "literal" && b[0] === "literal") return !same(a, b)
  return required(a).some(([name, type]) =>
    required(b).some(([otherName, otherType]) => name === otherName && disjoint(type, otherType))
  )
}

/** The JSON type of all values that fit, if they have the same one. */
const domain = (description: Description): string | undefined => {
  if (typeof description === "string") return keywords.get(description)
  const [kind, second] = description
  switch (kind) {
    case "literal":
      return String(second)
    case "template":
      return "string"
    case "tuple":
      return "array"
    case "struct":
      return same(description, ["struct", [], []]) ? undefined : "object"
    case "through":
      return domain(second)
    default:
      return undefined
  }
}

const keywords = new Map([["StringKeyword", "string"], ["NumberKeyword", "number"], ["BooleanKeyword", "boolean"]])

const required = (description: Description): ReadonlyArray<readonly [name: string, type: Description]> =>
  typeof description === "string" || description[0] !== "struct" || typeof description[1] === "string"
    ? []
    : description[1].flatMap((property) => property[1] === "" ? [[String(property[0]), property[2]] as const] : [])

const sortDescriptions = (descriptions: ReadonlyArray<Description>): ReadonlyArray<Description> =>
  descriptions
    .map((description) => [JSON.stringify(description), description] as const)
    .sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0))
    .map(([, description]) => description)
