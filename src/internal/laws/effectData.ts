import * as BigDecimal from "effect/BigDecimal"
import * as Chunk from "effect/Chunk"
import * as Data from "effect/Data"
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as HashMap from "effect/HashMap"
import * as HashSet from "effect/HashSet"
import * as List from "effect/List"
import * as Redacted from "effect/Redacted"
import * as SortedMap from "effect/SortedMap"
import * as SortedSet from "effect/SortedSet"
import { isPersonal } from "../schema/personal.js"

/**
 * A value of one of Effect's immutable data types, as its parts. Two equal values may differ inside, and some types
 * cache in place, so their insides must be neither compared nor frozen.
 */
export type Container =
  | { readonly _tag: "Keyed"; readonly name: string; readonly entries: ReadonlyArray<readonly [unknown, unknown]> }
  | { readonly _tag: "Unordered"; readonly name: string; readonly values: ReadonlyArray<unknown> }
  | { readonly _tag: "Ordered"; readonly name: string; readonly values: ReadonlyArray<unknown> }
  | { readonly _tag: "Atom"; readonly name: string }

export const containerOf = (value: object): Container | undefined => {
  if (isPlain(value)) return undefined
  if (HashMap.isHashMap(value)) return { _tag: "Keyed", name: "HashMap", entries: Array.from(value) }
  if (HashSet.isHashSet(value)) return { _tag: "Unordered", name: "HashSet", values: Array.from(value) }
  // equal ones may be trees of different shapes
  if (SortedMap.isSortedMap(value)) return { _tag: "Keyed", name: "SortedMap", entries: Array.from(value) }
  if (SortedSet.isSortedSet(value)) return { _tag: "Ordered", name: "SortedSet", values: Array.from(value) }
  if (Chunk.isChunk(value)) return { _tag: "Ordered", name: "Chunk", values: Array.from(value) }
  if (List.isList(value)) return { _tag: "Ordered", name: "List", values: Array.from(value) }
  if (BigDecimal.isBigDecimal(value)) return { _tag: "Atom", name: "BigDecimal" }
  if (DateTime.isDateTime(value)) return { _tag: "Atom", name: "DateTime" }
  if (DateTime.isTimeZone(value)) return { _tag: "Atom", name: "TimeZone" }
  if (Duration.isDuration(value)) return { _tag: "Atom", name: "Duration" }
  if (Redacted.isRedacted(value)) return { _tag: "Atom", name: "Redacted" }
  if (isPersonal(value)) return { _tag: "Atom", name: "Personal" }
  return undefined
}

export const isObject = (value: unknown): value is object => typeof value === "object" && value !== null

/** Lists the own enumerable keys, symbols included. */
export const ownKeys = (value: object): ReadonlyArray<PropertyKey> =>
  Reflect.ownKeys(value).filter((key) => Object.prototype.propertyIsEnumerable.call(value, key))

/** Whether a value is a plain object or array. */
export const isPlain = (value: object): boolean => {
  const prototype: unknown = Object.getPrototypeOf(value)
  return prototype === Object.prototype || prototype === Array.prototype
}

const structPrototype: unknown = Object.getPrototypeOf(Data.struct({}))
const arrayPrototype: unknown = Object.getPrototypeOf(Data.array([]))

/** Whether a value is a plain object or array made by Effect's `Data`, which compares by value. */
export const isData = (value: object): boolean => {
  const prototype: unknown = Object.getPrototypeOf(value)
  return prototype === structPrototype || prototype === arrayPrototype
}
