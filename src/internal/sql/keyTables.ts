// The table of the key store, which needs no other table: keys are best kept in a database of their own.
import type * as SqlClient from "@effect/sql/SqlClient"
import type { SqlError } from "@effect/sql/SqlError"
import * as Effect from "effect/Effect"
import type { StoreClient } from "./client.js"
import { type Names, quoted, schemaOf } from "./names.js"

export const tableOf = ({ prefix }: Names): string => `${prefix}_keys`

/** A subject without keys was erased. The revision counts the changes of a row. */
const sqlite = (table: string): string =>
  `CREATE TABLE IF NOT EXISTS ${quoted(table)} (
  subject TEXT PRIMARY KEY NOT NULL,
  revision INTEGER NOT NULL,
  keys TEXT,
  erased_at INTEGER
) STRICT, WITHOUT ROWID`

const postgres = (table: string): string =>
  `CREATE TABLE IF NOT EXISTS ${quoted(table)} (
  revision integer NOT NULL,
  erased_at bigint,
  subject text COLLATE "C" PRIMARY KEY,
  keys text
)`

/** Creates the table unless it exists or `migrate` is false, and fails if it is not as it must be. */
export const prepare = (
  { run, sql }: StoreClient,
  names: Names,
  migrate: boolean
): Effect.Effect<void, SqlError> => {
  const table = tableOf(names)
  const check = sql.unsafe(`SELECT subject, revision, keys, erased_at FROM ${quoted(table)} LIMIT 0`)
  const create = sql.onDialectOrElse({
    pg: () => createOnPostgres(sql, names, table),
    orElse: () => Effect.asVoid(sql.unsafe(sqlite(table)))
  })
  // what is deleted is overwritten, so that a destroyed key is not left in the file
  const secure = sql.onDialectOrElse({
    pg: () => Effect.void,
    orElse: () => Effect.asVoid(sql`PRAGMA secure_delete = ON`)
  })
  // a user that may not create tables can use one that is there
  const creating = migrate ? Effect.catchAll(check, () => Effect.zipRight(create, check)) : check
  return run(Effect.zipRight(secure, Effect.asVoid(creating)))
}

const createOnPostgres = (sql: SqlClient.SqlClient, names: Names, table: string) => {
  const schema = schemaOf(names)
  // two processes that create a table at the same time would fail
  return sql.withTransaction(Effect.gen(function*() {
    yield* sql`SELECT pg_advisory_xact_lock(hashtext('effect-eventsourcing'), hashtext(${table}))`
    if (schema !== undefined) yield* sql.unsafe(`CREATE SCHEMA IF NOT EXISTS ${quoted(schema)}`)
    yield* sql.unsafe(postgres(table))
  }))
}
