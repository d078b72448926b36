import * as Chunk from "effect/Chunk"
import * as Either from "effect/Either"
import * as Hash from "effect/Hash"
import * as HashMap from "effect/HashMap"
import * as List from "effect/List"
import * as Option from "effect/Option"
import { containerOf, isObject, ownKeys } from "./containers.js"

/**
 * A copy to compare with later: everything that could be changed in place is copied, the rest is shared.
 *
 * @internal
 */
export const copy = (value: unknown, copies: Map<object, unknown> = new Map()): unknown => {
  if (!isObject(value)) return value
  if (copies.has(value)) return copies.get(value)
  const inner = (item: unknown) => copy(item, copies)
  const keep = <A>(made: A): A => {
    copies.set(value, made)
    return made
  }
  if (HashMap.isHashMap(value)) return keep(HashMap.map(value, inner))
  if (Chunk.isChunk(value)) return keep(Chunk.map(value, inner))
  if (List.isList(value)) return keep(List.map(value, inner))
  if (Option.isOption(value)) return keep(Option.map(value, inner))
  if (Either.isEither(value)) return keep(Either.mapBoth(value, { onLeft: inner, onRight: inner }))
  if (containerOf(value) !== undefined || value instanceof Error || value instanceof URL || value instanceof RegExp) {
    return keep(value)
  }
  if (value instanceof Date) return keep(new Date(value.getTime()))
  if (value instanceof Map) {
    const made = keep(new Map<unknown, unknown>())
    for (const [key, item] of value) made.set(key, inner(item))
    return made
  }
  if (value instanceof Set) return keep(new Set(value))
  if (ArrayBuffer.isView(value)) return keep(structuredClone(value))
  const made: object = keep(Array.isArray(value) ? [] : Object.create(Object.getPrototypeOf(value)))
  if (Array.isArray(made)) Object.setPrototypeOf(made, Object.getPrototypeOf(value))
  for (const key of ownKeys(value)) {
    Object.defineProperty(made, key, {
      value: inner(Reflect.get(value, key)),
      enumerable: true,
      writable: true,
      configurable: true
    })
  }
  return made
}

const frozen = new WeakSet<object>()

/**
 * Freezes what can be frozen, all the way down. Maps, sets and dates cannot be, and the data types of effect must not: some
 * of them cache in place.
 *
 * @internal
 */
export const freeze = (value: unknown): void => {
  if (!isObject(value) || frozen.has(value)) return
  frozen.add(value)
  if (value instanceof Map) return value.forEach(freeze)
  const container = containerOf(value)
  if (container?._tag === "Keyed") return container.entries.forEach(([, item]) => freeze(item))
  if (container?._tag === "Ordered" || container?._tag === "Unordered") return container.values.forEach(freeze)
  if (container !== undefined || ArrayBuffer.isView(value) || value instanceof Set || value instanceof Date) return
  for (const key of ownKeys(value)) freeze(Reflect.get(value, key))
  if (Hash.isHash(value)) {
    // it is kept in the value itself, which cannot be once that is frozen
    try {
      Hash.hash(value)
    } catch {
      return
    }
  }
  Object.freeze(value)
}
