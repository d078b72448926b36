// What the command line prints: tables for people, and one JSON value a line for programs.
//
// A row is a record of values. People see its values as text, in which nothing can control a terminal.
import * as Console from "effect/Console"
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"

export type Row = Readonly<Record<string, unknown>>

// whatever moves the cursor, changes colours, or turns the direction of the text
const controls = /[\p{Cc}\p{Cf}\p{Co}\p{Cs}\u2028\u2029]/gu

const escaped = (text: string): string =>
  text.replace(controls, (char) => `\\u{${(char.codePointAt(0) ?? 0).toString(16)}}`)

/**
 * A value as JSON. An option is its value or null, a time is its ISO text. A program that parses it reads the same text,
 * and a terminal is not controlled by it.
 */
export const toJson = (value: unknown): string =>
  (JSON.stringify(value, jsonValue) ?? "null").replace(
    controls,
    (char) => Array.from(char.split(""), (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`).join("")
  )

function jsonValue(this: unknown, key: string, value: unknown): unknown {
  // `toJSON` of an option or a time has run before a replacer sees the value
  const own = typeof this === "object" && this !== null ? Object.getOwnPropertyDescriptor(this, key)?.value : undefined
  if (Option.isOption(own)) return withoutOption(own)
  if (typeof value === "bigint") return value.toString()
  return value
}

const withoutOption = (option: Option.Option<unknown>): unknown => {
  const value = Option.getOrNull(option)
  // nothing calls `toJSON` of a value that a replacer returns
  return DateTime.isDateTime(value) ? DateTime.formatIso(value) : value
}

/** A value as people see it. */
export const cell = (value: unknown): string => {
  if (value === undefined || value === null) return ""
  if (Option.isOption(value)) return Option.match(value, { onNone: () => "", onSome: cell })
  if (DateTime.isDateTime(value)) return DateTime.formatIso(value)
  return escaped(typeof value === "string" ? value : toJson(value))
}

/** A number of things, as in "1 event" and "2 events". */
export const counted = (count: number, thing: string): string => `${count} ${thing}${count === 1 ? "" : "s"}`

/** The rows as a table with the keys of the first row as its head. Numbers stand at the right. */
export const table = (rows: ReadonlyArray<Row>): string => {
  const [first] = rows
  if (first === undefined) return ""
  const columns = Object.keys(first)
  const cells = rows.map((row) => columns.map((column) => cell(row[column])))
  const isNumber = columns.map((column) => rows.every((row) => typeof row[column] === "number"))
  const widths = columns.map((column, index) => Math.max(column.length, ...cells.map((line) => line[index].length)))
  const line = (texts: ReadonlyArray<string>) =>
    texts.map((text, index) => isNumber[index] ? text.padStart(widths[index]) : text.padEnd(widths[index]))
      .join("  ").trimEnd()
  return [line(columns), ...cells.map(line)].join("\n")
}

/** Prints rows. `none` is the line that people see if there are none. */
export const rows = (isJson: boolean, rows: ReadonlyArray<Row>, none: string): Effect.Effect<void> => {
  if (!isJson) return Console.log(rows.length === 0 ? none : table(rows))
  return Effect.forEach(rows, (row) => Console.log(toJson(row)), { discard: true })
}

/** Prints one record: as JSON, or a line for each of its values. */
export const record = (isJson: boolean, row: Row): Effect.Effect<void> => {
  if (isJson) return Console.log(toJson(row))
  const width = Math.max(...Object.keys(row).map((key) => key.length))
  return Console.log(Object.entries(row).map(([key, value]) => `${key.padEnd(width)}  ${cell(value)}`).join("\n"))
}

/** Prints a row as soon as it is there, without a head. */
export const line = (isJson: boolean, row: Row): Effect.Effect<void> =>
  Console.log(isJson ? toJson(row) : Object.values(row).map(cell).join("  "))

/** Tells people something, beside the output. */
export const hint = (text: string): Effect.Effect<void> => Console.error(text.split("\n").map(escaped).join("\n"))

/** Shows people how far something is, on a line that is overwritten. */
export const progress = (text: string): Effect.Effect<void> =>
  Effect.sync(() => {
    if (process.stderr.isTTY === true) process.stderr.write(`\r${escaped(text)}`)
  })
