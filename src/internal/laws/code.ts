import * as BigDecimal from "effect/BigDecimal"
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Either from "effect/Either"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import { isPersonal } from "../schema/personal.js"
import { containerOf, isData, isObject, ownKeys } from "./effectData.js"

/** Prints a value as TypeScript code on one line. */
export const toCode = (value: unknown): string => flat(toDoc(value, []))

/** Prints the same code on several lines if it is wider than `width`. */
export const toLines = (value: unknown, width: number): ReadonlyArray<string> => pretty(toDoc(value, []), width)

type Doc =
  | string
  | {
    readonly open: string
    readonly items: ReadonlyArray<readonly [prefix: string, Doc]>
    readonly close: string
    /** Whether there are spaces inside the braces. */
    readonly spaced: boolean
  }

const flat = (doc: Doc): string => {
  if (typeof doc === "string") return doc
  const items = doc.items.map(([prefix, item]) => prefix + flat(item)).join(", ")
  return doc.spaced && items !== "" ? `${doc.open} ${items} ${doc.close}` : `${doc.open}${items}${doc.close}`
}

const pretty = (doc: Doc, width: number): ReadonlyArray<string> => {
  const line = flat(doc)
  if (typeof doc === "string" || line.length <= width || doc.items.length === 0) return [line]
  const inner = doc.items.flatMap(([prefix, item], index) => {
    const lines = pretty(item, width - 2)
    const comma = index < doc.items.length - 1 ? "," : ""
    return lines.map((text, at) => `  ${at === 0 ? prefix : ""}${text}${at === lines.length - 1 ? comma : ""}`)
  })
  return [doc.open, ...inner, doc.close]
}

const call = (name: string, ...items: ReadonlyArray<Doc>): Doc => ({
  open: `${name}(`,
  items: items.map((item) => ["", item]),
  close: ")",
  spaced: false
})

const list = (items: ReadonlyArray<Doc>): Doc => ({
  open: "[",
  items: items.map((item) => ["", item]),
  close: "]",
  spaced: false
})

const identifier = /^[A-Za-z_$][\w$]*$/

const fields = (
  value: object,
  ancestors: ReadonlyArray<object>,
  without: ReadonlyArray<PropertyKey> = []
): ReadonlyArray<readonly [string, Doc]> =>
  ownKeys(value).filter((key) => !without.includes(key)).map((key) => [
    `${fieldName(key)}: `,
    toDoc(Reflect.get(value, key), ancestors)
  ])

const fieldName = (key: PropertyKey): string => {
  if (typeof key === "symbol") return `[${symbolToCode(key)}]`
  if (key === "__proto__") return "[\"__proto__\"]"
  return typeof key === "string" && identifier.test(key) ? key : JSON.stringify(key)
}

const symbolToCode = (symbol: symbol): string => {
  const key = Symbol.keyFor(symbol)
  if (key !== undefined) return `Symbol.for(${JSON.stringify(key)})`
  const name = /^Symbol\.(\w+)$/.exec(symbol.description ?? "")?.[1]
  return name !== undefined && Reflect.get(Symbol, name) === symbol
    ? `Symbol.${name}`
    : `Symbol(${JSON.stringify(symbol.description)})`
}

const toDoc = (value: unknown, ancestors: ReadonlyArray<object>): Doc => {
  switch (typeof value) {
    case "string":
      return JSON.stringify(value)
    case "number":
      return Object.is(value, -0) ? "-0" : String(value)
    case "bigint":
      return `${value}n`
    case "symbol":
      return symbolToCode(value)
    case "function":
      return `<function ${value.name === "" ? "without a name" : value.name}>`
    case "object":
      if (value === null) return "null"
      return ancestors.includes(value) ? "<a cycle>" : objectToDoc(value, [...ancestors, value])
    default:
      return String(value)
  }
}

const objectToDoc = (value: object, ancestors: ReadonlyArray<object>): Doc => {
  const doc = (item: unknown) => toDoc(item, ancestors)
  const entry = ([key, item]: readonly [unknown, unknown]) => list([doc(key), doc(item)])
  if (isData(value)) {
    return Array.isArray(value)
      ? call("Data.array", list(Array.from(value, doc)))
      : { open: "Data.struct({", items: fields(value, ancestors), close: "})", spaced: true }
  }
  if (Array.isArray(value)) return list(Array.from(value, doc))
  if (value instanceof Date) {
    return call("new Date", Number.isNaN(value.getTime()) ? "NaN" : JSON.stringify(value.toISOString()))
  }
  if (value instanceof Map) return call("new Map", list(Array.from(value, entry)))
  if (value instanceof Set) return call("new Set", list(Array.from(value, doc)))
  if (value instanceof URL) return call("new URL", JSON.stringify(value.href))
  if (value instanceof RegExp) return String(value)
  if (ArrayBuffer.isView(value)) {
    return call(`${nameOf(value)}.from`, list(ownKeys(value).map((key) => doc(Reflect.get(value, key)))))
  }
  if (Option.isOption(value)) return Option.isNone(value) ? "Option.none()" : call("Option.some", doc(value.value))
  if (Either.isEither(value)) {
    return Either.isLeft(value) ? call("Either.left", doc(value.left)) : call("Either.right", doc(value.right))
  }
  if (BigDecimal.isBigDecimal(value)) {
    return call("BigDecimal.unsafeFromString", JSON.stringify(BigDecimal.format(value)))
  }
  if (DateTime.isDateTime(value)) {
    const instant = JSON.stringify(DateTime.formatIso(value))
    return DateTime.isUtc(value)
      ? call("DateTime.unsafeMake", instant)
      : call("DateTime.unsafeMakeZoned", instant, `{ timeZone: ${zoneToCode(value.zone)} }`)
  }
  if (DateTime.isTimeZone(value)) {
    const make = DateTime.isTimeZoneNamed(value) ? "DateTime.zoneUnsafeMakeNamed" : "DateTime.zoneMakeOffset"
    return call(make, zoneToCode(value))
  }
  if (Duration.isDuration(value)) return durationToCode(value)
  // a generated value is not secret, and the printed code must recreate it
  if (Redacted.isRedacted(value)) return call("Redacted.make", doc(Redacted.value(value)))
  if (isPersonal(value)) {
    return value._tag === "Erased"
      ? call("Personal.erased", doc(value.subject))
      : call("Personal.make", doc(value.subject), doc(value.value))
  }
  const container = containerOf(value)
  if (container !== undefined && container._tag !== "Atom") {
    const items = container._tag === "Keyed" ? container.entries.map(entry) : container.values.map(doc)
    // the order is a function and cannot be printed
    const order = container.name.startsWith("Sorted") ? ["/* its order */"] : []
    return call(`${container.name}.fromIterable`, list(items), ...order)
  }
  const name = nameOf(value)
  if (name === "Object" || name === "") {
    return { open: "{", items: fields(value, ancestors), close: "}", spaced: true }
  }
  if (value instanceof Error && ownKeys(value).length === 0) {
    return value.message === "" ? call(`new ${name}`) : call(`new ${name}`, JSON.stringify(value.message))
  }
  // the constructor of a tagged class adds the tag; the message of an error is a field that is not enumerable
  const message = value instanceof Error && value.message !== "" && Object.hasOwn(value, "message") &&
    !ownKeys(value).includes("message")
  const items = [
    ...fields(value, ancestors, ["_tag"]),
    ...(message ? [["message: ", JSON.stringify(value.message)] as const] : [])
  ]
  return items.length === 0 ? call(`new ${name}`) : { open: `new ${name}({`, items, close: "})", spaced: true }
}

const zoneToCode = (zone: DateTime.TimeZone): string =>
  DateTime.isTimeZoneNamed(zone) ? JSON.stringify(zone.id) : String(zone.offset)

const durationToCode = (duration: Duration.Duration): string => {
  const millis = Duration.toMillis(duration)
  if (millis === Infinity) return "Duration.infinity"
  return Number.isInteger(millis) && Duration.equals(duration, Duration.millis(millis))
    ? `Duration.millis(${millis})`
    : `Duration.nanos(${Option.getOrElse(Duration.toNanos(duration), () => 0n)}n)`
}

/** Gives the name of an object's class: `Object` for a plain object. */
export const nameOf = (value: object): string => {
  const prototype: unknown = Object.getPrototypeOf(value)
  if (!isObject(prototype)) return "Object"
  const constructor: unknown = Reflect.get(prototype, "constructor")
  return typeof constructor === "function" ? constructor.name : "Object"
}

/** Gives the class and the message of an error, or the code of any other thrown value. */
export const messageOf = (error: unknown): string => {
  if (!(error instanceof Error)) return toCode(error)
  if (error instanceof RangeError && /call stack/.test(error.message)) return `${error.name}: ${error.message}`
  return error.message === "" ? nameOf(error) : `${nameOf(error)}: ${error.message}`
}
