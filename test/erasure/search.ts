// Searches for a text in whatever it may have become on its way.
import type { SqlClient } from "@effect/sql"
import { Effect } from "effect"
import * as fs from "node:fs"
import * as path from "node:path"

/** The bytes of a word in the forms that it may have: clear, escaped, and in base64 and hex. */
export const formsOf = (word: string): ReadonlyArray<readonly [form: string, bytes: Buffer]> => {
  const utf8 = Buffer.from(word, "utf8")
  const base64 = [0, 1, 2].map((offset): readonly [string, Buffer] => {
    const text = Buffer.concat([Buffer.alloc(offset), utf8]).toString("base64")
    // the first and the last characters also depend on what stands beside the word
    return [`base64 at ${offset}`, Buffer.from(text.replaceAll("=", "").slice(offset === 0 ? 0 : 4, -2), "latin1")]
  })
  return [
    ["clear", utf8],
    ["upper case", Buffer.from(word.toUpperCase(), "utf8")],
    ["JSON", Buffer.from(JSON.stringify(word).slice(1, -1), "utf8")],
    ["percent-encoded", Buffer.from(encodeURIComponent(word), "utf8")],
    ["hex", Buffer.from(utf8.toString("hex"), "latin1")],
    ["UTF-16", Buffer.from(word, "utf16le")],
    ...base64
  ]
}

/** Finds words in bytes. Gives the places, without the words. */
export const find = (where: string, bytes: Buffer, words: ReadonlyArray<string>): ReadonlyArray<string> =>
  words.flatMap((word, index) =>
    formsOf(word).flatMap(([form, needle]) => bytes.includes(needle) ? [`word ${index} in ${where}, ${form}`] : [])
  )

/** Finds words in all files of a folder. */
export const inFiles = (folder: string, words: ReadonlyArray<string>): ReadonlyArray<string> =>
  fs.readdirSync(folder, { recursive: true, withFileTypes: true }).flatMap((entry) => {
    const file = path.join(entry.parentPath, entry.name)
    try {
      return entry.isFile() ? find(path.relative(folder, file), fs.readFileSync(file), words) : []
    } catch {
      // a file of a server that goes on may be gone
      return []
    }
  })

/** Finds words in all columns of all rows of all tables. */
export const inTables = (
  sql: SqlClient.SqlClient,
  words: ReadonlyArray<string>,
  isSearched: (table: string) => boolean = () => true
) =>
  Effect.gen(function*() {
    const plain = sql.withoutTransforms()
    const tables = yield* plain.onDialectOrElse({
      pg: () =>
        plain<{ readonly name: string }>`SELECT quote_ident(schemaname) || '.' || quote_ident(tablename) AS name
FROM pg_tables WHERE schemaname NOT IN ('pg_catalog', 'information_schema')`,
      orElse: () =>
        plain<{ readonly name: string }>`SELECT '"' || name || '"' AS name FROM sqlite_master WHERE type = 'table'`
    })
    const searched = tables.filter(({ name }) => isSearched(name))
    const found = yield* Effect.forEach(searched, ({ name }) =>
      Effect.map(
        plain.unsafe(`SELECT * FROM ${name}`),
        (rows) => ({ name, rows: rows.length, found: find(name, bytesOf(rows), words) })
      ))
    return { found: found.flatMap(({ found }) => found), rows: new Map(found.map(({ name, rows }) => [name, rows])) }
  })

const bytesOf = (rows: ReadonlyArray<object>): Buffer =>
  Buffer.concat(
    rows.flatMap((row) => Object.values(row)).flatMap((value) => [
      value instanceof Uint8Array ? Buffer.from(value) : Buffer.from(textOf(value), "utf8"),
      Buffer.from("\n")
    ])
  )

const textOf = (value: unknown): string =>
  typeof value === "object" && value !== null ? JSON.stringify(value) : String(value)
