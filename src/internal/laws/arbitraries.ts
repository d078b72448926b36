/**
 * Generates values with Effect's `Arbitrary`, from a fast-check whose primitives repeat more often, so that commands
 * meet the state that earlier ones left, and include values that break code in production.
 */
import * as Arbitrary from "effect/Arbitrary"
import * as FastCheck from "effect/FastCheck"
import type * as Schema from "effect/Schema"
import { isObject, isPlain, ownKeys } from "./effectData.js"

export const fromSchema = <A>(schema: Schema.Schema<A>): FastCheck.Arbitrary<A> =>
  Arbitrary.makeLazy(schema)(primitives)

const mostly = <A>(
  ...weighted: ReadonlyArray<readonly [weight: number, arbitrary: FastCheck.Arbitrary<A> | undefined]>
): FastCheck.Arbitrary<A> =>
  FastCheck.oneof(
    { withCrossShrink: true },
    ...weighted.flatMap(([weight, arbitrary]) => arbitrary === undefined ? [] : [{ weight, arbitrary }])
  )

const oneOf = <A>(values: ReadonlyArray<A>): FastCheck.Arbitrary<A> | undefined =>
  values.length === 0 ? undefined : FastCheck.constantFrom(...values)

// so few that commands refer to each other; keys like "10" and "2" change their order in an object
const fewStrings = ["a", "b"]
const plainStrings = ["a", "b", "c", "2", "10", "1", "", "aa", "B", "Abc", "ab cd", "abcdefgh"]
const nastyStrings = ["__proto__", "constructor", "toString", "\u0000", "\ud800", "a\u0308", "ä", "👩‍👩‍👧", "'; --", " "]

const string: typeof FastCheck.string = (constraints = {}) => {
  const { maxLength = Infinity, minLength = 0 } = constraints
  const fits = (text: string) => text.length >= minLength && text.length <= maxLength
  return mostly(
    [5, oneOf(fewStrings.filter(fits))],
    [4, oneOf(plainStrings.filter(fits))],
    [1, oneOf(nastyStrings.filter(fits))],
    [2, FastCheck.string(constraints)],
    [1, FastCheck.fullUnicodeString(constraints).filter(fits)]
  )
}

const hours = 3_600_000

// Effect generates the offset of a time zone, and a time in it, within these bounds. The encoding has whole minutes,
// which all zones have used since 1972.
const integersOfZones = (min: number, max: number): FastCheck.Arbitrary<number> | undefined => {
  if (min === -12 * hours && max === 14 * hours) {
    return FastCheck.oneof(
      FastCheck.integer({ min: -12, max: 14 }).map((hour) => hour * hours),
      FastCheck.integer({ min: -12 * 60, max: 14 * 60 }).map((minute) => minute * 60_000)
    )
  }
  return min === -31_536_000_000_000 && max === 31_536_000_000_000
    ? FastCheck.integer({ min: Date.UTC(1973, 0, 1), max: Date.UTC(2100, 0, 1) })
    : undefined
}

const integer: typeof FastCheck.integer = (constraints = {}) => {
  const { max = 0x7fffffff, min = -0x80000000 } = constraints
  const ofZones = integersOfZones(min, max)
  if (ofZones !== undefined) return ofZones
  return mostly(
    [2, integersBetween(Math.max(min, -1), Math.min(max, 2))],
    [2, integersBetween(Math.max(min, -2), Math.min(max, 10))],
    [2, FastCheck.integer(constraints)]
  )
}

const integersBetween = (low: number, high: number): FastCheck.Arbitrary<number> | undefined => {
  const min = Math.ceil(low)
  const max = Math.floor(high)
  return min > max || !Number.isSafeInteger(min) || !Number.isSafeInteger(max)
    ? undefined
    // it shrinks towards zero, where zero is allowed
    : FastCheck.integer({ min, max })
}

// 64 bits instead of the 32 that Effect asks for, to find code that loses digits. Not too large, so that a sum of them
// is finite.
const float: typeof FastCheck.float = (constraints = {}) => {
  const { max = Infinity, maxExcluded = false, min = -Infinity, minExcluded = false } = constraints
  const inside = (value: number) =>
    (minExcluded ? value > min : value >= min) && (maxExcluded ? value < max : value <= max)
  const low = Math.max(min, -1e9)
  const high = Math.min(max, 1e9)
  const finite = low > high ? undefined : FastCheck.double({ min: low, max: high, noNaN: true }).filter(inside)
  const whole = integersBetween(Math.max(min, -2), Math.min(max, 10))
  const odd = [
    ...(inside(-0) ? [-0] : []),
    ...(constraints.noNaN === true ? [] : [NaN]),
    ...(constraints.noDefaultInfinity === true ? [] : [Infinity, -Infinity].filter(inside))
  ]
  const tenths = integersBetween(Math.max(min, -100) * 10, Math.min(max, 100) * 10)
  return mostly(
    [3, whole?.filter(inside)],
    [3, tenths?.map((value) => value / 10).filter(inside)],
    [2, finite],
    [1, oneOf(odd)],
    [1, FastCheck.float(constraints)]
  )
}

function bigInt(constraints?: FastCheck.BigIntConstraints): FastCheck.Arbitrary<bigint>
function bigInt(min: bigint, max: bigint): FastCheck.Arbitrary<bigint>
function bigInt(first: FastCheck.BigIntConstraints | bigint = {}, second?: bigint): FastCheck.Arbitrary<bigint> {
  const constraints = typeof first === "bigint"
    ? { min: first, ...(second === undefined ? {} : { max: second }) }
    : first
  const { max, min } = constraints
  const low = min !== undefined && min > -2n ? min : -2n
  const high = max !== undefined && max < 10n ? max : 10n
  return mostly(
    [3, low > high ? undefined : FastCheck.bigInt({ min: low, max: high })],
    [2, FastCheck.bigInt(constraints)]
  )
}

const earliest = new Date(-62_135_596_800_000)
const latest = new Date(253_402_300_799_999)

// years of four digits, so that a month after a date is still a date
const date: typeof FastCheck.date = (constraints = {}) => {
  const { max = latest, min = earliest, ...rest } = constraints
  const from = Math.max(min.getTime(), Date.UTC(2024, 0, 1))
  const to = Math.min(max.getTime(), Date.UTC(2024, 1, 1))
  return mostly(
    [2, from > to ? undefined : FastCheck.date({ min: new Date(from), max: new Date(to), noInvalidDate: true })],
    [1, FastCheck.date({ ...rest, min, max })]
  )
}

const uuids = [
  "00000000-0000-4000-8000-000000000001",
  "00000000-0000-4000-8000-000000000002",
  "ffffffff-ffff-4fff-bfff-ffffffffffff"
]
const uuid: typeof FastCheck.uuid = (constraints) => mostly([2, oneOf(uuids)], [1, FastCheck.uuid(constraints)])

const primitives: typeof FastCheck = { ...FastCheck, bigInt, date, float, integer, string, uuid }

/**
 * Generates lists of records in which a field often repeats the value that a field of the same name had before, so that
 * commands refer to each other.
 */
export const related = <A>(
  item: FastCheck.Arbitrary<A>,
  options: { readonly maxLength: number; readonly isValid: (value: unknown) => value is A }
): FastCheck.Arbitrary<ReadonlyArray<A>> =>
  FastCheck.array(FastCheck.tuple(item, FastCheck.nat({ max: 0xffff })), {
    maxLength: options.maxLength,
    size: "max"
  }).map((pairs) => {
    const list: Array<A> = []
    for (const [value, choice] of pairs) list.push(relate(value, list, choice, options.isValid))
    return list
  })

const relate = <A>(value: A, before: ReadonlyArray<A>, choice: number, isValid: (value: unknown) => value is A): A => {
  // an even choice keeps the value, as choices shrink to zero
  if (choice % 2 === 0 || !isObject(value) || !isPlain(value) || Array.isArray(value)) return value
  let result: A = value
  let bits = choice >> 1
  for (const key of ownKeys(value)) {
    if (key === "_tag") continue
    const earlier = before.flatMap((other) =>
      isObject(other) && Object.hasOwn(other, key) ? [Reflect.get(other, key)] : []
    )
    if ((bits & 1) === 1 && earlier.length > 0) {
      const candidate: unknown = { ...result, [key]: earlier.at(-1 - ((bits >> 1) % earlier.length)) }
      if (isValid(candidate)) result = candidate
    }
    bits = bits >> 2
  }
  return result
}
