import * as Chunk from "effect/Chunk"
import * as Either from "effect/Either"
import * as Hash from "effect/Hash"
import * as HashMap from "effect/HashMap"
import * as List from "effect/List"
import * as Option from "effect/Option"
import { containerOf, isObject, isPlain, ownKeys } from "./containers.js"

/**
 * A copy to compare with later: what could be changed in place is copied, the rest is shared.
 *
 * @internal
 */
export const copy = (value: unknown, copies: Map<object, unknown> = new Map()): unknown => {
  if (!isObject(value) || solid.has(value)) return value
  if (copies.has(value)) return copies.get(value)
  const inner = (item: unknown) => copy(item, copies)
  const keep = <A>(made: A): A => {
    copies.set(value, made)
    return made
  }
  return isPlain(value) ? copyFields(value, keep, inner) : copyParts(value, keep, inner)
}

type Keep = <A>(made: A) => A
type Inner = (item: unknown) => unknown

const copyParts = (value: object, keep: Keep, inner: Inner): unknown => {
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
  return copyFields(value, keep, inner)
}

const copyFields = (value: object, keep: Keep, inner: Inner): unknown => {
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

const visited = new WeakSet<object>()
const solid = new WeakSet<object>()

/**
 * Freezes what can be frozen, all the way down, and says whether that is all there is: maps, sets and dates cannot be, and
 * the data types of effect, which nobody can change, must not: some of them cache in place.
 *
 * @internal
 */
export const freeze = (value: unknown): boolean => {
  if (!isObject(value)) return true
  if (visited.has(value)) return solid.has(value)
  visited.add(value)
  const whole = isPlain(value) ? freezeAll(fieldsOf(value)) : freezeParts(value)
  if (whole === undefined) return false
  Object.freeze(value)
  if (whole) solid.add(value)
  return whole
}

const freezeAll = (values: ReadonlyArray<unknown>): boolean =>
  values.reduce<boolean>((whole, value) => freeze(value) && whole, true)

const fieldsOf = (value: object): ReadonlyArray<unknown> => ownKeys(value).map((key) => Reflect.get(value, key))

// whether it is solid; `undefined` where it may not be frozen itself, and is not
const freezeParts = (value: object): boolean | undefined => {
  const parts = immutableParts(value)
  if (parts !== undefined) {
    if (freezeAll(parts)) solid.add(value)
    return undefined
  }
  if (value instanceof Map) freezeAll([...value.values()])
  if (value instanceof Map || value instanceof Set || value instanceof Date || ArrayBuffer.isView(value)) {
    return undefined
  }
  const whole = freezeAll(fieldsOf(value))
  if (!Hash.isHash(value)) return whole
  try {
    // it is kept in the value itself, which cannot be once that is frozen
    Hash.hash(value)
    return whole
  } catch {
    return undefined
  }
}

const immutableParts = (value: object): ReadonlyArray<unknown> | undefined => {
  if (Option.isOption(value)) return Option.toArray(value)
  if (Either.isEither(value)) return [Either.merge(value)]
  const container = containerOf(value)
  switch (container?._tag) {
    case "Keyed":
      return container.entries.map(([, item]) => item)
    case "Ordered":
    case "Unordered":
      return container.values
    case "Atom":
      return []
    case undefined:
      return undefined
  }
}
