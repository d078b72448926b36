import type * as SqlClient from "@effect/sql/SqlClient"
import * as Effect from "effect/Effect"
import { applied, type Migrations, mismatch } from "./migrations.js"
import * as SqliteTables from "./sqliteTables.js"
import { identifier, type Names, required, schemaOf, unqualified } from "./tables.js"

/** @internal */
export const all = (names: Names): Migrations["all"] => [
  { name: "create_tables", statements: SqliteTables.statements(names) }
]

/** @internal */
export const migrations = (sql: SqlClient.SqlClient, names: Names): Migrations => {
  const schema = schemaOf(names) ?? "main"
  const catalogue = `${schema}.sqlite_master`
  const exists = sql`SELECT NULL AS found FROM ${identifier(sql, catalogue)}
WHERE type = 'table' AND name = ${unqualified(names.migrations)} COLLATE NOCASE`
  return {
    problem: Effect.succeed(undefined),
    lock: Effect.void,
    schema: Effect.succeed([]),
    createMigrations: SqliteTables.migrations(names),
    applied: Effect.flatMap(exists, (rows) => rows.length === 0 ? Effect.succeed(0) : applied(sql, names)),
    all: all(names),
    mismatch: mismatch(required(names, { eventColumns: ["position", "time"] }), {
      columns: (table) => sql`SELECT name FROM pragma_table_info(${unqualified(table)}, ${schema})`,
      uniqueKeys: (table) =>
        sql`SELECT (
  SELECT group_concat(name, ',') FROM (SELECT name FROM pragma_index_info(list.name, ${schema}) ORDER BY seqno)
) AS columns FROM pragma_index_list(${unqualified(table)}, ${schema}) AS list WHERE list."unique" = 1`
    }),
    gone: Effect.succeed([]),
    countOn: Effect.void,
    countOnAfter: () => Effect.void
  }
}
