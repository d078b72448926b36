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

/**
 * The immutable data types of effect, as their parts: their insides differ where they are equal, and some of them cache
 * in place, so that nobody may compare or freeze what they are made of.
 *
 * @internal
 */
export type Container =
  | { readonly _tag: "Keyed"; readonly name: string; readonly entries: ReadonlyArray<readonly [unknown, unknown]> }
  | { readonly _tag: "Unordered"; readonly name: string; readonly values: ReadonlyArray<unknown> }
  | { readonly _tag: "Ordered"; readonly name: string; readonly values: ReadonlyArray<unknown> }
  | { readonly _tag: "Atom"; readonly name: string }

/** @internal */
export const containerOf = (value: object): Container | undefined => {
  if (isPlain(value)) return undefined
  if (HashMap.isHashMap(value)) return { _tag: "Keyed", name: "HashMap", entries: Array.from(value) }
  if (HashSet.isHashSet(value)) return { _tag: "Unordered", name: "HashSet", values: Array.from(value) }
  // the same ones stand in trees of different shape
  if (SortedMap.isSortedMap(value)) return { _tag: "Keyed", name: "SortedMap", entries: Array.from(value) }
  if (SortedSet.isSortedSet(value)) return { _tag: "Ordered", name: "SortedSet", values: Array.from(value) }
  if (Chunk.isChunk(value)) return { _tag: "Ordered", name: "Chunk", values: Array.from(value) }
  if (List.isList(value)) return { _tag: "Ordered", name: "List", values: Array.from(value) }
  if (BigDecimal.isBigDecimal(value)) return { _tag: "Atom", name: "BigDecimal" }
  if (DateTime.isDateTime(value)) return { _tag: "Atom", name: "DateTime" }
  if (DateTime.isTimeZone(value)) return { _tag: "Atom", name: "TimeZone" }
  if (Duration.isDuration(value)) return { _tag: "Atom", name: "Duration" }
  if (Redacted.isRedacted(value)) return { _tag: "Atom", name: "Redacted" }
  return undefined
}

/** @internal */
export const isObject = (value: unknown): value is object => typeof value === "object" && value !== null

/**
 * The own enumerable properties, those behind symbols too.
 *
 * @internal
 */
export const ownKeys = (value: object): ReadonlyArray<PropertyKey> =>
  Reflect.ownKeys(value).filter((key) => Object.prototype.propertyIsEnumerable.call(value, key))

/**
 * A plain object or array: most of what there is, and none of the classes.
 *
 * @internal
 */
export const isPlain = (value: object): boolean => {
  const prototype: unknown = Object.getPrototypeOf(value)
  return prototype === Object.prototype || prototype === Array.prototype
}

const structPrototype: unknown = Object.getPrototypeOf(Data.struct({}))
const arrayPrototype: unknown = Object.getPrototypeOf(Data.array([]))

/**
 * A plain object or array of effect's data, which compares by value.
 *
 * @internal
 */
export const isData = (value: object): boolean => {
  const prototype: unknown = Object.getPrototypeOf(value)
  return prototype === structPrototype || prototype === arrayPrototype
}
