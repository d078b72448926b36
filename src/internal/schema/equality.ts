import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Equal from "effect/Equal"
import type { Equivalence } from "effect/Equivalence"
import * as Schema from "effect/Schema"
import * as AST from "effect/SchemaAST"
import { quote } from "../text.js"
import { formatPath } from "./json.js"

/** @internal */
export interface Difference {
  readonly path: string
  readonly left: string
  readonly right: string
}

/**
 * Where two states differ, by what they hold: the equivalence of a union or a struct does not see the fields that another
 * member, or an excess, has. A field that is present and undefined is an absent one. Only where a schema brings an
 * equivalence of its own does that decide.
 *
 * @internal
 */
export const compare = <A>(schema: Schema.Schema<A>, left: A, right: A, most: number): ReadonlyArray<Difference> => {
  const found: Array<Difference> = []
  walk(left, right, { path: [], pairs: new Map(), found, most })
  return found.length > 0 && hasOwnEquivalence(schema.ast, new Set()) && equivalent(schema, left, right) ? [] : found
}

const equivalences = new WeakMap<AST.AST, Equivalence<unknown>>()

const equivalent = <A>(schema: Schema.Schema<A>, left: A, right: A): boolean => {
  try {
    const equivalence = equivalences.get(schema.ast) ?? Schema.equivalence(Schema.make<unknown>(schema.ast))
    equivalences.set(schema.ast, equivalence)
    return equivalence(left, right)
  } catch {
    // not every schema has one
    return false
  }
}

const hasOwnEquivalence = (ast: AST.AST, seen: Set<AST.AST>): boolean => {
  if (seen.has(ast)) return false
  seen.add(ast)
  // what effect declares brings one too, and says by Equal whether two are equal
  if (ast._tag !== "Declaration" && AST.EquivalenceAnnotationId in ast.annotations) return true
  const inner = (child: AST.AST) => hasOwnEquivalence(child, seen)
  switch (ast._tag) {
    case "Declaration":
      return ast.typeParameters.some(inner)
    case "Refinement":
      return inner(ast.from)
    case "Suspend":
      return inner(ast.f())
    case "Transformation":
      return inner(ast.to)
    case "Union":
      return ast.types.some(inner)
    case "TupleType":
      return [...ast.elements, ...ast.rest].some(({ type }) => inner(type))
    case "TypeLiteral":
      return [...ast.propertySignatures, ...ast.indexSignatures].some(({ type }) => inner(type))
    default:
      return false
  }
}

interface Walk {
  readonly path: ReadonlyArray<PropertyKey>
  readonly pairs: Map<unknown, unknown>
  readonly found: Array<Difference>
  readonly most: number
}

const walk = (left: unknown, right: unknown, at: Walk): void => {
  if (at.found.length >= at.most || left === right || Object.is(left, right)) return
  const differ = () => {
    at.found.push({ path: formatPath(at.path), left: show(left), right: show(right) })
  }
  if (typeof left !== "object" || typeof right !== "object" || left === null || right === null) return differ()
  if (Equal.equals(left, right) || at.pairs.get(left) === right) return
  at.pairs.set(left, right)
  if (Object.getPrototypeOf(left) !== Object.getPrototypeOf(right)) return differ()
  if (left instanceof Date && right instanceof Date) {
    if (!Object.is(left.getTime(), right.getTime())) differ()
    return
  }
  // collections of every kind: how one is built inside may depend on its past
  if (isCollection(left) && isCollection(right)) return walk(Array.from(left), Array.from(right), at)
  if (Array.isArray(left) && Array.isArray(right) && left.length !== right.length) {
    const path = [...at.path, "length"]
    return walk(left.length, right.length, { ...at, path })
  }
  if (!Array.isArray(left) && isOpaque(left) && isOpaque(right)) {
    // a URL, a pattern: what shows nothing of what it holds may still have a text
    if (!hasText(left) || String(left) !== String(right)) differ()
    return
  }
  const rights = new Map(Object.entries(right))
  for (const [key, value] of Object.entries(left)) {
    walk(value, rights.get(key), { ...at, path: [...at.path, Array.isArray(left) ? Number(key) : key] })
    rights.delete(key)
  }
  for (const [key, value] of rights) walk(undefined, value, { ...at, path: [...at.path, key] })
}

// an Option is iterable for the sake of generators alone
const isCollection = (value: object): value is Iterable<unknown> =>
  Symbol.iterator in value && !Array.isArray(value) && !Effect.isEffect(value)

const isOpaque = (value: object): boolean => {
  const prototype: unknown = Object.getPrototypeOf(value)
  return prototype !== Object.prototype && prototype !== null && Object.keys(value).length === 0
}

const hasText = (value: object): boolean => value instanceof URL || value instanceof RegExp

const show = (value: unknown): string => {
  if (typeof value === "object" && value !== null) {
    return quote(Either.getOrElse(Either.try(() => JSON.stringify(value)), () => String(value)))
  }
  return typeof value === "bigint" ? `${value}n` : quote(value)
}
