import * as Equal from "effect/Equal"

/**
 * Copies a value deeply, because a program may change an object after it has passed it or received it.
 *
 * It copies records, arrays, maps, sets, dates, bytes, and instances of classes that compare by value, such as those of
 * `Schema.Class`. Other objects are shared, and so is a value that is nested more deeply than the stack allows.
 */
export function copy<A>(value: A): A
export function copy(value: unknown): unknown {
  try {
    return isObject(value) ? copyOf(value, new Map()) : value
  } catch {
    // nested more deeply than the stack allows
    return value
  }
}

const isObject = (value: unknown): value is object => typeof value === "object" && value !== null

// a value without fields of its own keeps them elsewhere, as `Redacted` does
const isCopied = (value: object): boolean => Equal.isEqual(value) && Reflect.ownKeys(value).length > 0

const copyOf = (value: object, copies: Map<object, object>): object => {
  const known = copies.get(value)
  if (known !== undefined) return known
  const put = <A extends object>(made: A): A => {
    copies.set(value, made)
    return made
  }
  const inner = (field: unknown) => isObject(field) ? copyOf(field, copies) : field

  if (Array.isArray(value) && Object.getPrototypeOf(value) === Array.prototype) {
    const items = put(value.slice())
    // `map` would return another array than the one that cyclic references need
    for (let i = 0; i < items.length; i++) if (isObject(items[i])) items[i] = inner(items[i])
    return items
  }
  const prototype: unknown = Object.getPrototypeOf(value)
  if (prototype === Date.prototype && value instanceof Date) return put(new Date(value.getTime()))
  if (prototype === Map.prototype && value instanceof Map) {
    const entries = put(new Map<unknown, unknown>())
    for (const [key, item] of value) entries.set(inner(key), inner(item))
    return entries
  }
  if (prototype === Set.prototype && value instanceof Set) {
    const items = put(new Set<unknown>())
    for (const item of value) items.add(inner(item))
    return items
  }
  if (prototype === Uint8Array.prototype && value instanceof Uint8Array) return put(value.slice())
  if (prototype !== Object.prototype && prototype !== null && !isCopied(value)) return value
  const fields: Record<PropertyKey, unknown> = put(
    prototype === Object.prototype
      ? { ...value }
      : Object.assign(Object.create(isObject(prototype) ? prototype : null), value)
  )
  for (const key of Object.keys(fields)) if (isObject(fields[key])) fields[key] = inner(fields[key])
  return fields
}
