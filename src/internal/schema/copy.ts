import * as Equal from "effect/Equal"

/**
 * Copies a value down to what cannot be changed: a program may give the same object at every call, and change what it
 * was given. Copied are records, arrays, maps, sets, dates, bytes, and instances of classes that compare by value, as
 * those of `Schema.Class` do. Any other object stays the one that it is,
 * and so does a value that is too deep to be walked through.
 *
 * @internal
 */
export function copy<A>(value: A): A
export function copy(value: unknown): unknown {
  try {
    return isObject(value) ? copyOf(value, new Map()) : value
  } catch {
    // nested more deeply than the stack is
    return value
  }
}

const isObject = (value: unknown): value is object => typeof value === "object" && value !== null

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
    // `map` would give a new array to an object that refers back to this one
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
  if (prototype !== Object.prototype && prototype !== null && !Equal.isEqual(value)) return value
  const fields: Record<PropertyKey, unknown> = put(
    prototype === Object.prototype
      ? { ...value }
      : Object.assign(Object.create(isObject(prototype) ? prototype : null), value)
  )
  for (const key of Object.keys(fields)) if (isObject(fields[key])) fields[key] = inner(fields[key])
  return fields
}
