// The places where two states differ, as people see them.
// Mechanism: the comparison tells the paths, and the values at them are shown here. The text of the comparison quotes
// twice, and shows neither which personal data is erased nor an option by its value.
import * as DateTime from "effect/DateTime"
import * as Either from "effect/Either"
import * as Option from "effect/Option"
import * as Personal from "../../../Personal.js"
import * as Equality from "../../schema/equality.js"
import * as Json from "../../schema/json.js"
import { cut } from "../../text.js"
import type { Unknown } from "../module.js"

/** How many changes of one event are shown. */
const most = 20

const mostText = 80

export const between = (
  aggregate: Unknown,
  before: unknown,
  after: unknown
): ReadonlyArray<Equality.Difference> =>
  Equality.compare(aggregate.state.schema, before, after, most).map(({ left, path, right }) => ({
    path,
    left: textAt(before, path) ?? left,
    right: textAt(after, path) ?? right
  }))

/** The text of the object at a path. The text of any other value is good as it is. */
const textAt = (state: unknown, path: string): string | undefined => {
  const value = valueAt(state, path, [])
  if (typeof value !== "object" || value === null) return undefined
  const shown = plain(value)
  // without quotes: it is not the text of the person
  if (isHidden(value)) return String(shown)
  return Either.getOrUndefined(Either.try(() => cut(JSON.stringify(shown, jsonValue), mostText)))
}

const isHidden = (value: unknown): boolean =>
  Option.isOption(value) ? Option.exists(value, isHidden) : Personal.is(value)

/** Goes down to the value at a path, by the keys whose own paths lead there. */
const valueAt = (value: unknown, path: string, keys: ReadonlyArray<PropertyKey>): unknown => {
  if (Json.formatPath(keys) === path) return value
  const entries = entriesOf(value)
  const next = entries.find(([key]) => leadsTo(path, Json.formatPath([...keys, key])))
  return next === undefined ? undefined : valueAt(next[1], path, [...keys, next[0]])
}

const leadsTo = (path: string, start: string): boolean =>
  path.startsWith(start) && ["", ".", "["].includes(path.charAt(start.length))

/** The parts of a value as the comparison names them: those of a collection by their places. */
const entriesOf = (value: unknown): ReadonlyArray<readonly [PropertyKey, unknown]> => {
  if (typeof value !== "object" || value === null) return []
  return isCollection(value) ? Array.from(value, (part, index) => [index, part]) : Object.entries(value)
}

// an Option is iterable only for generators
const isCollection = (value: object): value is Iterable<unknown> => Symbol.iterator in value && !Option.isOption(value)

/** A value for JSON, in which personal data is hidden. */
const plain = (value: unknown): unknown => {
  if (Personal.is(value)) return Personal.match(value, { onErased: () => "erased", onPresent: () => String(value) })
  if (Option.isOption(value)) return plain(Option.getOrNull(value))
  if (DateTime.isDateTime(value)) return DateTime.formatIso(value)
  return typeof value === "bigint" ? `${value}n` : value
}

function jsonValue(this: unknown, key: string, value: unknown): unknown {
  // `toJSON` of the value has run before a replacer sees it
  const own = typeof this === "object" && this !== null ? Object.getOwnPropertyDescriptor(this, key)?.value : undefined
  return Personal.is(own) || Option.isOption(own) || DateTime.isDateTime(own) ? plain(own) : plain(value)
}
