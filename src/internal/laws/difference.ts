import * as Data from "effect/Data"
import * as Either from "effect/Either"
import * as Equal from "effect/Equal"
import * as Option from "effect/Option"
import type { Difference } from "../schema/equality.js"
import { formatPath } from "../schema/json.js"
import { toCode } from "./code.js"
import { containerOf, isData, isObject, isPlain, ownKeys } from "./effectData.js"

/** Stands for a missing side of a difference. It is not the code of any value. */
export const nothing = "nothing"

/**
 * Finds the differences of two values at any depth. It is stricter than `Equal.equals` (a negative zero is not zero)
 * and than a comparison of JSON (a class instance is not a plain object), and it compares the contents of Effect's
 * data types. The order in maps, sets and records does not count. In `fields`, `undefined` and absent are equal.
 */
export const differences = (
  expected: unknown,
  actual: unknown,
  fields: ReadonlySet<PropertyKey> = new Set(),
  limit = 5
): ReadonlyArray<Difference> => {
  const walk: Walk = { fields, limit, found: [], pairs: new Map() }
  compare(walk, [], expected, actual)
  return walk.found
}

export const same = (expected: unknown, actual: unknown, fields?: ReadonlySet<PropertyKey>): boolean =>
  differences(expected, actual, fields, 1).length === 0

interface Walk {
  readonly fields: ReadonlySet<PropertyKey>
  readonly limit: number
  readonly found: Array<Difference>
  /** The pairs that are being compared, so that cycles end. */
  readonly pairs: Map<object, object>
}

type Path = ReadonlyArray<PropertyKey>

const report = ({ found, limit }: Walk, path: Path, left: string, right: string): void => {
  if (found.length < limit) found.push({ path: formatPath(path), left, right })
}

const compare = (walk: Walk, path: Path, expected: unknown, actual: unknown): void => {
  if (Object.is(expected, actual) || walk.found.length >= walk.limit) return
  if (!isObject(expected) || !isObject(actual)) return report(walk, path, toCode(expected), toCode(actual))
  if (walk.pairs.get(expected) === actual) return
  walk.pairs.set(expected, actual)
  compareObjects(walk, path, expected, actual)
  walk.pairs.delete(expected)
}

const compareObjects = (walk: Walk, path: Path, expected: object, actual: object): void => {
  if (isPlain(expected) && isPlain(actual) && Array.isArray(expected) === Array.isArray(actual)) {
    return Array.isArray(expected) && Array.isArray(actual)
      ? compareLists(walk, path, expected, actual)
      : compareFields(walk, path, expected, actual)
  }
  const one = containerOf(expected)
  const other = containerOf(actual)
  if (one !== undefined && other !== undefined && one.name === other.name) {
    if (one._tag === "Keyed" && other._tag === "Keyed") return compareEntries(walk, path, one.entries, other.entries)
    if (one._tag === "Ordered" && other._tag === "Ordered") return compareLists(walk, path, one.values, other.values)
    if (one._tag === "Unordered" && other._tag === "Unordered") {
      return compareValues(walk, path, one.values, other.values)
    }
    if (!Equal.equals(expected, actual)) report(walk, path, toCode(expected), toCode(actual))
    return
  }
  if (Option.isOption(expected) && Option.isOption(actual) && expected._tag === actual._tag) {
    return compare(walk, [...path, "value"], Option.getOrUndefined(expected), Option.getOrUndefined(actual))
  }
  if (Either.isEither(expected) && Either.isEither(actual) && expected._tag === actual._tag) {
    const side = Either.isLeft(expected) ? "left" : "right"
    return compare(walk, [...path, side], Either.merge(expected), Either.merge(actual))
  }
  if (one !== undefined || other !== undefined || kind(expected) !== kind(actual)) {
    return report(walk, path, described(expected), described(actual))
  }
  if (Array.isArray(expected) && Array.isArray(actual)) return compareLists(walk, path, expected, actual)
  if (expected instanceof Map && actual instanceof Map) {
    return compareEntries(walk, path, Array.from(expected), Array.from(actual))
  }
  if (expected instanceof Set && actual instanceof Set) {
    return compareValues(walk, path, Array.from(expected), Array.from(actual))
  }
  if (
    expected instanceof Date || expected instanceof URL || expected instanceof RegExp || typeof expected === "function"
  ) {
    if (toCode(expected) !== toCode(actual)) report(walk, path, toCode(expected), toCode(actual))
    return
  }
  if (ownEquality(expected)) {
    if (Equal.equals(expected, actual)) return
    // its fields are private
    if (ownKeys(expected).length === 0) return report(walk, path, toCode(expected), toCode(actual))
  }
  compareFields(walk, path, expected, actual)
}

// the class: plain objects have one kind, with a prototype, without one, or with that of Effect's data
const kind = (value: object): unknown => {
  if (isData(value)) return Array.isArray(value) ? Array.prototype : Object.prototype
  const prototype: unknown = Object.getPrototypeOf(value)
  return prototype === null ? Object.prototype : prototype
}

const described = (value: object): string => {
  const code = toCode(value)
  if (!code.startsWith("{") && !code.startsWith("[")) return code
  return Array.isArray(value) ? `the array ${code}` : `the plain object ${code}`
}

// whether a user-defined class overrides the equality of Effect's data
const ownEquality = (value: object): boolean =>
  Equal.isEqual(value) && Reflect.get(value, Equal.symbol) !== Reflect.get(Data.struct({}), Equal.symbol)

const compareFields = (walk: Walk, path: Path, expected: object, actual: object): void => {
  if (expected instanceof Error && actual instanceof Error && expected.message !== actual.message) {
    report(walk, [...path, "message"], toCode(expected.message), toCode(actual.message))
  }
  const keys = new Set([...ownKeys(expected), ...ownKeys(actual)])
  if (expected instanceof Error) ["name", "stack", "cause"].forEach((key) => keys.delete(key))
  for (const key of keys) {
    const one = Reflect.get(expected, key)
    const other = Reflect.get(actual, key)
    const inOne = Object.hasOwn(expected, key)
    const inOther = Object.hasOwn(actual, key)
    if (inOne === inOther || (walk.fields.has(key) && one === undefined && other === undefined)) {
      compare(walk, [...path, key], one, other)
    } else {
      report(walk, [...path, key], inOne ? toCode(one) : nothing, inOther ? toCode(other) : nothing)
    }
  }
}

const compareLists = (
  walk: Walk,
  path: Path,
  expected: ReadonlyArray<unknown>,
  actual: ReadonlyArray<unknown>
): void => {
  for (let i = 0; i < Math.max(expected.length, actual.length); i++) {
    if (i >= actual.length) report(walk, [...path, i], toCode(expected[i]), nothing)
    else if (i >= expected.length) report(walk, [...path, i], nothing, toCode(actual[i]))
    else compare(walk, [...path, i], expected[i], actual[i])
  }
}

type Entry = readonly [key: unknown, value: unknown]

// keys that are objects are compared by their parts
const compareEntries = (walk: Walk, path: Path, expected: ReadonlyArray<Entry>, actual: ReadonlyArray<Entry>): void => {
  const left = new Map(actual)
  const lookUp = (key: unknown): Entry | undefined => {
    if (left.has(key)) return [key, left.get(key)]
    return isObject(key) ? Array.from(left).find(([other]) => same(key, other, walk.fields)) : undefined
  }
  for (const [key, value] of expected) {
    const found = lookUp(key)
    if (found === undefined) {
      report(walk, [...path, keyName(key)], toCode(value), nothing)
    } else {
      left.delete(found[0])
      compare(walk, [...path, keyName(key)], value, found[1])
    }
  }
  for (const [key, value] of left) report(walk, [...path, keyName(key)], nothing, toCode(value))
}

const compareValues = (
  walk: Walk,
  path: Path,
  expected: ReadonlyArray<unknown>,
  actual: ReadonlyArray<unknown>
): void => compareEntries(walk, path, expected.map((value) => [value, value]), actual.map((value) => [value, value]))

const keyName = (key: unknown): PropertyKey => typeof key === "string" || typeof key === "number" ? key : toCode(key)
