import type * as SqlClient from "@effect/sql/SqlClient"
import type * as Statement from "@effect/sql/Statement"
import * as Effect from "effect/Effect"
import * as Position from "../../../Position.js"
import { applied, type Migrations, mismatch } from "../migrations.js"
import { identifier, type Names, quoted, required, schemaOf } from "../names.js"
import * as Row from "../row.js"
import * as Appends from "./appendFunctions.js"
import * as PgFunction from "./function.js"
import * as PgFunctions from "./functions.js"
import * as PgOlderFunctions from "./olderFunctions.js"
import * as PgTables from "./tables.js"
import { pgText } from "./text.js"

export const all = (names: Names): Migrations["all"] => [
  { name: "create_tables", statements: PgTables.statements(names) },
  { name: "create_functions", statements: PgOlderFunctions.make(names).map(PgFunction.create) },
  {
    name: "create_functions_with_times",
    statements: [
      PgFunction.create(PgOlderFunctions.append2(names)),
      ...PgOlderFunctions.withTimes(names).map(PgFunction.create)
    ]
  },
  {
    name: "create_function_of_groups",
    statements: [PgFunction.create(Appends.appendGroup(names, Appends.beforeDeletions))]
  },
  { name: "create_function_of_grouped_loads", statements: created(PgFunctions.make(names), ["loadGroup"]) },
  { name: "create_checkpoints", statements: PgTables.checkpoints(names) },
  { name: "create_functions_of_bounded_pages", statements: created(PgFunctions.make(names), ["load", "tail"]) },
  {
    name: "create_function_of_short_appends",
    statements: [PgFunction.create(Appends.append(names, Appends.beforeDeletions))]
  },
  { name: "create_inline", statements: PgTables.inline(names) },
  {
    name: "create_functions_of_ended_streams",
    statements: created(PgFunctions.make(names), ["append", "appendGroup"])
  },
  { name: "create_function_of_claims", statements: created(PgFunctions.make(names), ["claim"]) },
  { name: "create_indexes_of_retention", statements: PgTables.retention(names) },
  { name: "create_archive", statements: PgTables.archive(names) }
]

const created = <K extends string>(
  functions: Readonly<Record<K, PgFunction.Function>>,
  keys: ReadonlyArray<K>
): ReadonlyArray<string> => keys.map((key) => PgFunction.create(functions[key]))

export const migrations = (sql: SqlClient.SqlClient, names: Names): Migrations => {
  const exists = (what: string) =>
    Effect.map(
      sql.unsafe<Row.Row>(`SELECT ${pgText(`${what} IS NOT NULL`, "boolean")} AS exists`),
      ([row]) => Row.boolean(row.exists)
    )
  const cluster = identifier(sql, names.cluster)
  // Committed events have lower ids than the next transaction, so that a correct base is not below this. A transaction that
  // has written sees rows of its own with higher ids; those say nothing about the base
  const needed =
    sql`SELECT greatest(0, coalesce(max(transaction), 0) + 1 - pg_snapshot_xmax(pg_current_snapshot())::text::bigint) AS base
FROM ${identifier(sql, names.events)}`
  const atLeast = (base: Statement.Fragment) =>
    Effect.flatMap(
      sql`SELECT NULL AS higher FROM (${base}) AS needed LEFT JOIN ${cluster} AS cluster ON true
WHERE pg_current_xact_id_if_assigned() IS NULL AND needed.base > coalesce(cluster.base, -1)`,
      (rows) =>
        rows.length === 0
          ? Effect.void
          : Effect.asVoid(sql`INSERT INTO ${cluster} AS cluster (base) SELECT base FROM (${base}) AS needed
ON CONFLICT (id) DO UPDATE SET base = excluded.base WHERE cluster.base < excluded.base`)
    )
  const functions = PgFunctions.statements(names)
  return {
    problem: Effect.map(
      sql.unsafe<Row.Row>(
        `SELECT ${setting("server_version_num")} AS version, ${setting("server_encoding")} AS encoding,
  ${pgText(`'${probe}'`, "text")} AS probe`
      ),
      ([row]) =>
        row.probe !== probe
          ? "the client's `types` convert values of unknown types: give those as texts, unchanged"
          : Row.number(row.version) < 130_000
          ? `the server has version number ${Row.text(row.version)}: PostgreSQL 13 or newer is needed`
          : row.encoding !== "UTF8"
          ? `the database has encoding ${Row.text(row.encoding)}: one with UTF8 is needed`
          : undefined
    ),
    lock: sql`SELECT pg_advisory_xact_lock(hashtext('effect-eventsourcing'), hashtext(${names.migrations}))`,
    schema: Effect.map(
      exists(`to_regnamespace('${quoted(schemaOf(names) ?? "pg_catalog")}')`),
      // CREATE SCHEMA needs its right even if the schema exists
      (exists) => exists ? [] : PgTables.schema(names)
    ),
    createMigrations: PgTables.migrations(names),
    applied: Effect.flatMap(
      exists(`to_regclass('${quoted(names.migrations)}')`),
      (exists) => exists ? applied(sql, names) : Effect.succeed(0)
    ),
    all: all(names),
    mismatch: (group) =>
      mismatch(required(names, group, { eventColumns: ["transaction", "position", "time"] }), catalogue(sql)),
    gone: Effect.map(
      sql.unsafe<Row.Row>(
        `SELECT ${pgText("name", "text")} AS name FROM unnest($1::text[]) AS name WHERE to_regprocedure(name) IS NULL`,
        [functions.map(({ name }) => name)]
      ),
      (rows) => functions.filter(({ name }) => rows.some((row) => Row.text(row.name) === name))
    ),
    countOn: atLeast(needed),
    countOnAfter: (position) =>
      atLeast(
        sql`SELECT ${
          Position.toParts(position).transaction
        }::bigint + 1 - pg_snapshot_xmax(pg_current_snapshot())::text::bigint AS base`
      )
  }
}

const catalogue = (sql: SqlClient.SqlClient): Parameters<typeof mismatch>[1] => ({
  columns: (table) =>
    sql.unsafe(
      `SELECT ${pgText("attname", "name")} AS name FROM pg_attribute
WHERE attrelid = to_regclass($1) AND attnum > 0 AND NOT attisdropped`,
      [quoted(table)]
    ),
  uniqueKeys: (table) =>
    sql.unsafe(
      `SELECT ${pgText(PgTables.keyOfIndex, "text")} AS columns FROM pg_index
WHERE indrelid = to_regclass($1) AND indisunique AND indisvalid AND indpred IS NULL`,
      [quoted(table)]
    )
})

const setting = (name: string): string => pgText(`current_setting('${name}')`, "text")

// no conversion keeps letters of both cases, digits and blanks
const probe = " Event 1 "
