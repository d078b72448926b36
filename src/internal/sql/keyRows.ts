// Reads and writes the rows of the key store: one for each subject, with all of its keys, or without any after an
// erasure. So an erasure and the making of a first key are each one statement on one row, and take turns.
import type { SqlError } from "@effect/sql/SqlError"
import * as Effect from "effect/Effect"
import type { StoreClient } from "./client.js"
import { quoted } from "./names.js"
import * as Row from "./row.js"
import * as Statement from "./statement.js"

export interface KeyRow {
  readonly revision: number
  /** JSON, or null after an erasure. */
  readonly keys: string | null
}

export interface KeyRows {
  readonly read: (subjects: ReadonlyArray<string>) => Effect.Effect<ReadonlyMap<string, KeyRow>, SqlError>
  /** Reads the rows with keys after a subject, in the order of the subjects. */
  readonly page: (after: string, limit: number) => Effect.Effect<ReadonlyArray<readonly [string, KeyRow]>, SqlError>
  /** Adds rows of subjects that have none. */
  readonly add: (rows: ReadonlyArray<readonly [subject: string, keys: string]>) => Effect.Effect<unknown, SqlError>
  /** Replaces the keys of a subject at a revision. Returns false if it has another one. */
  readonly replace: (subject: string, row: { readonly revision: number; readonly keys: string }) => Effect.Effect<
    boolean,
    SqlError
  >
  readonly erase: (subject: string, time: number) => Effect.Effect<unknown, SqlError>
  /** Removes what was replaced from the log of SQLite, if no reader needs it. */
  readonly checkpoint: Effect.Effect<void>
  readonly inTransaction: Effect.Effect<boolean>
}

export const make = ({ execute, inTransaction, repeat, run, sql }: StoreClient, name: string): KeyRows => {
  const table = quoted(name)
  const isPostgres = sql.onDialectOrElse({ pg: () => true, orElse: () => false })
  const write = isPostgres ? Statement.postgres : Statement.sqlite
  const page = write(`SELECT subject, revision, keys FROM ${table} WHERE subject > :after AND keys IS NOT NULL
ORDER BY subject LIMIT ${isPostgres ? ":limit::bigint" : ":limit"}`)
  const list = isPostgres ? "json_array_elements_text(:subjects::json)" : "value FROM json_each(:subjects)"
  const select = write(`SELECT subject, revision, keys FROM ${table} WHERE subject IN (SELECT ${list})`)
  const rows = isPostgres ? "json_array_elements(:rows::json) AS row (value)" : "json_each(:rows) AS row"
  const insert = write(`INSERT INTO ${table} (subject, revision, keys)
SELECT row.value ->> 0, 1, row.value ->> 1 FROM ${rows} WHERE true ON CONFLICT (subject) DO NOTHING`)
  const update = write(`UPDATE ${table} SET keys = :keys, revision = revision + 1
WHERE subject = :subject AND revision = ${isPostgres ? ":revision::integer" : ":revision"} AND keys IS NOT NULL
RETURNING NULL AS replaced`)
  const fence = write(`INSERT INTO ${table} AS kept (subject, revision, keys, erased_at)
VALUES (:subject, 1, NULL, ${isPostgres ? ":time::bigint" : ":time"})
ON CONFLICT (subject) DO UPDATE
SET keys = NULL, revision = kept.revision + 1, erased_at = coalesce(kept.erased_at, excluded.erased_at)`)
  // the log of SQLite holds the old page until a checkpoint; another reader may keep it, so this is a best effort
  const checkpoint = isPostgres ? Effect.void : Effect.flatMap(
    inTransaction,
    (open) => open ? Effect.void : Effect.ignore(run(execute({ text: "PRAGMA wal_checkpoint(TRUNCATE)", params: [] })))
  )
  return {
    read: (subjects) =>
      Effect.map(repeat(execute(select({ subjects: JSON.stringify(subjects) }))), (rows) => new Map(rows.map(keyRow))),
    page: (after, limit) => Effect.map(repeat(execute(page({ after, limit }))), (rows) => rows.map(keyRow)),
    add: (rows) => repeat(execute(insert({ rows: JSON.stringify(rows) }))),
    replace: (subject, { keys, revision }) =>
      Effect.map(run(execute(update({ subject, keys, revision }))), (rows) => rows.length > 0),
    erase: (subject, time) => Effect.zipLeft(repeat(execute(fence({ subject, time }))), checkpoint),
    checkpoint,
    inTransaction
  }
}

const keyRow = (row: Row.Row): readonly [string, KeyRow] => [
  Row.text(row.subject),
  { revision: Row.number(row.revision), keys: Row.textOrNull(row.keys) }
]
