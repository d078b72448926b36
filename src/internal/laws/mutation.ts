import * as Chunk from "effect/Chunk"
import * as Either from "effect/Either"
import * as Hash from "effect/Hash"
import * as HashMap from "effect/HashMap"
import * as List from "effect/List"
import * as Option from "effect/Option"
import { containerOf, isObject, isPlain, ownKeys } from "./effectData.js"

export interface Tracker {
  /**
   * Freezes a value all the way down, as far as that is possible. Maps, sets and dates cannot be frozen. Effect's data
   * types are immutable and must not be frozen: some of them cache in place.
   */
  readonly freeze: (value: unknown) => void
  /** Copies a value for a later comparison. Parts that are frozen all the way down are shared. */
  readonly copy: (value: unknown) => unknown
}

/** Finds changes in place: it freezes inputs where it can, and copies the rest. */
export const make = (): Tracker => {
  // weak sets are expensive to collect, and a tracker is short-lived
  const visited = new Set<object>()
  const solid = new Set<object>()
  return {
    freeze: (value) => void freeze(value, { visited, solid }),
    copy: (value) => copy(value, solid, new Map())
  }
}

const copy = (value: unknown, solid: ReadonlySet<object>, copies: Map<object, unknown>): unknown => {
  if (!isObject(value) || solid.has(value)) return value
  if (copies.has(value)) return copies.get(value)
  const inner = (item: unknown) => copy(item, solid, copies)
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

interface Frozen {
  readonly visited: Set<object>
  /** The values that are frozen with everything in them. */
  readonly solid: Set<object>
}

// true: the value is solid now
const freeze = (value: unknown, frozen: Frozen): boolean => {
  if (!isObject(value)) return true
  const { solid, visited } = frozen
  if (visited.has(value)) return solid.has(value)
  visited.add(value)
  const parts = isPlain(value) ? undefined : immutableParts(value)
  const whole = freezeAll(parts ?? contentsOf(value), frozen)
  const mine = parts === undefined && canBeFrozen(value)
  if (mine) Object.freeze(value)
  if (whole && (mine || parts !== undefined)) solid.add(value)
  return solid.has(value)
}

const freezeAll = (values: ReadonlyArray<unknown>, frozen: Frozen): boolean =>
  values.reduce<boolean>((whole, value) => freeze(value, frozen) && whole, true)

const contentsOf = (value: object): ReadonlyArray<unknown> => {
  if (value instanceof Map || value instanceof Set) return [...value.values()]
  return ArrayBuffer.isView(value) ? [] : ownKeys(value).map((key) => Reflect.get(value, key))
}

const canBeFrozen = (value: object): boolean => {
  if (isPlain(value)) return true
  if (value instanceof Map || value instanceof Set || value instanceof Date || ArrayBuffer.isView(value)) return false
  if (!Hash.isHash(value)) return true
  try {
    // the hash is kept in the value itself, so compute it before freezing
    Hash.hash(value)
    return true
  } catch {
    return false
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

/** Whether an error was thrown by a write to a frozen value. */
export const isMutation = (error: unknown): boolean =>
  error instanceof TypeError &&
  /read only property|object is not extensible|Cannot (?:delete|define|redefine) property/.test(error.message)
