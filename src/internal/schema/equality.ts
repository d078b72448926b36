import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Equal from "effect/Equal"
import type { Equivalence } from "effect/Equivalence"
import * as Schema from "effect/Schema"
import * as AST from "effect/SchemaAST"
import { cut, quote } from "../text.js"
import { formatPath } from "./json.js"
import * as Visits from "./visits.js"

/** A path at which two values differ, with the text of both sides. */
export interface Difference {
  readonly path: string
  readonly left: string
  readonly right: string
}

/**
 * Finds the differences of two states by their contents.
 *
 * It does not use the equivalence of a schema first, because the equivalence of a union or a struct ignores excess fields
 * and the fields of other members. A field that is undefined equals an absent one. If the contents differ and the schema
 * has an equivalence of its own, that equivalence decides. Cost: one pass over both states.
 */
export const compare = <A>(schema: Schema.Schema<A>, left: A, right: A, most: number): ReadonlyArray<Difference> => {
  const found = differences({ left, right, at: undefined }, most)
  return found.length > 0 && hasOwnEquivalence(schema.ast, Visits.make()) && equivalent(schema, left, right)
    ? []
    : found
}

/** Tells whether two values have the same contents. */
export const areAlike = (left: unknown, right: unknown): boolean =>
  differences({ left, right, at: undefined }, 1).length === 0

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

const hasOwnEquivalence = (ast: AST.AST, isFirst: (ast: AST.AST) => boolean): boolean => {
  if (!isFirst(ast)) return false
  // the declarations of effect have one, too; Equal has compared their values already
  if (ast._tag !== "Declaration" && AST.EquivalenceAnnotationId in ast.annotations) return true
  const inner = (child: AST.AST) => hasOwnEquivalence(child, isFirst)
  return ast._tag === "Transformation" ? inner(ast.to) : Visits.partsOf(ast).some(inner)
}

interface Pair {
  readonly left: unknown
  readonly right: unknown
  readonly at: Place | undefined
}

interface Place {
  readonly within: Place | undefined
  readonly key: PropertyKey
}

interface Seen {
  readonly pairs: Map<unknown, unknown>
  tooDeep: boolean
}

// a list of the pairs that remain, because states may be nested more deeply than the stack allows
const differences = (whole: Pair, most: number): ReadonlyArray<Difference> => {
  const found: Array<Difference> = []
  const seen: Seen = { pairs: new Map(), tooDeep: false }
  const open = [whole]
  for (let pair = open.pop(); pair !== undefined && found.length < most; pair = open.pop()) {
    const inside = compareOne(pair, seen)
    if (inside === "different") {
      found.push({ path: cut(formatPath(pathOf(pair.at)), mostPath), left: show(pair.left), right: show(pair.right) })
    } else {
      for (const next of inside.reverse()) open.push(next)
    }
  }
  return found
}

const mostPath = 1_000

const pathOf = (place: Place | undefined): ReadonlyArray<PropertyKey> => {
  const path: Array<PropertyKey> = []
  for (let at = place; at !== undefined; at = at.within) path.push(at.key)
  return path.reverse()
}

const compareOne = (pair: Pair, seen: Seen): Array<Pair> | "different" => {
  const { at, left, right } = pair
  if (left === right || Object.is(left, right)) return []
  if (typeof left !== "object" || typeof right !== "object" || left === null || right === null) return "different"
  if (areEqual(left, right, seen) || seen.pairs.get(left) === right) return []
  seen.pairs.set(left, right)
  if (Object.getPrototypeOf(left) !== Object.getPrototypeOf(right)) return "different"
  if (left instanceof Date && right instanceof Date) {
    return Object.is(left.getTime(), right.getTime()) ? [] : "different"
  }
  // all collections: the internal shape of one may depend on its history
  if (isCollection(left) && isCollection(right)) return [{ left: Array.from(left), right: Array.from(right), at }]
  if (Array.isArray(left) && Array.isArray(right) && left.length !== right.length) {
    return [{ left: left.length, right: right.length, at: { within: at, key: "length" } }]
  }
  if (!Array.isArray(left) && isOpaque(left) && isOpaque(right)) {
    // a URL and a pattern have no fields, but they have a text
    return hasText(left) && String(left) === String(right) ? [] : "different"
  }
  return fieldsOf(left, right, at)
}

const fieldsOf = (left: object, right: object, at: Place | undefined): Array<Pair> => {
  const rights = new Map<string, unknown>(Object.entries(right))
  const pairs = Object.entries(left).map(([key, value]: [string, unknown]): Pair => {
    const pair = {
      left: value,
      right: rights.get(key),
      at: { within: at, key: Array.isArray(left) ? Number(key) : key }
    }
    rights.delete(key)
    return pair
  })
  for (const [key, value] of rights) pairs.push({ left: undefined, right: value, at: { within: at, key } })
  return pairs
}

const areEqual = (left: object, right: object, seen: Seen): boolean => {
  if (seen.tooDeep) return false
  try {
    return Equal.equals(left, right)
  } catch {
    // Equal recurses: it has filled the stack, and would fill it again at every level
    seen.tooDeep = true
    return false
  }
}

// an Option is iterable only for generators
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
