import type * as SqlClient from "@effect/sql/SqlClient"
import type * as Statement from "@effect/sql/Statement"
import * as Effect from "effect/Effect"
import * as Position from "../../../Position.js"
import { applied, type Migrations, mismatch } from "../migrations.js"
import { identifier, type Names, quoted, required, schemaOf } from "../names.js"
import * as Row from "../row.js"
import * as PgFunctions from "./functions.js"
import * as PgTables from "./tables.js"
import { pgText } from "./text.js"

/** @internal */
export const all = (names: Names): Migrations["all"] => [
  { name: "create_tables", statements: PgTables.statements(names) },
  { name: "create_functions", statements: PgFunctions.statements(names).map(({ statement }) => statement) }
]

/** @internal */
export const migrations = (sql: SqlClient.SqlClient, names: Names): Migrations => {
  const exists = (what: string) =>
    Effect.map(
      sql<{ readonly exists: unknown }>`SELECT ${sql.literal(pgText(`${what} IS NOT NULL`, "boolean"))} AS exists`,
      ([row]) => Row.boolean(row.exists)
    )
  const cluster = identifier(sql, names.cluster)
  // What is committed has a lower id than the next one to be given, so a base that is right is never below this. Only a
  // transaction that has written sees rows of its own with higher ones, and they prove nothing
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
          : sql`INSERT INTO ${cluster} AS cluster (base) SELECT base FROM (${base}) AS needed
ON CONFLICT (id) DO UPDATE SET base = excluded.base WHERE cluster.base < excluded.base`
    )
  const functions = PgFunctions.statements(names)
  return {
    problem: Effect.map(
      sql<{ readonly version: unknown; readonly encoding: unknown; readonly probe: unknown }>`SELECT ${
        sql.literal([
          `${setting("server_version_num")} AS version`,
          `${setting("server_encoding")} AS encoding`,
          `${pgText(`'${probe}'`, "text")} AS probe`
        ].join(", "))
      }`,
      ([row]) =>
        row.probe !== probe
          ? "the client's `types` convert what they do not know: give texts of unknown types as they are"
          : Row.number(row.version) < 130_000
          ? `the server has version number ${Row.text(row.version)}: PostgreSQL 13 or newer is needed`
          : row.encoding !== "UTF8"
          ? `the database has encoding ${Row.text(row.encoding)}: one with UTF8 is needed`
          : undefined
    ),
    lock: sql`SELECT pg_advisory_xact_lock(hashtext('effect-eventsourcing'), hashtext(${names.migrations}))`,
    schema: Effect.map(
      exists(`to_regnamespace('${quoted(schemaOf(names) ?? "pg_catalog")}')`),
      // even one that is there needs the right to create it
      (exists) => exists ? [] : PgTables.schema(names)
    ),
    createMigrations: PgTables.migrations(names),
    applied: Effect.flatMap(
      exists(`to_regclass('${quoted(names.migrations)}')`),
      (exists) => exists ? applied(sql, names) : Effect.succeed(0)
    ),
    all: all(names),
    mismatch: mismatch(required(names, { eventColumns: ["transaction", "position", "time"] }), {
      columns: (table) =>
        sql`SELECT ${sql.literal(pgText("attname", "name"))} AS name FROM pg_attribute
WHERE attrelid = to_regclass(${quoted(table)}) AND attnum > 0 AND NOT attisdropped`,
      uniqueKeys: (table) =>
        sql`SELECT ${
          sql.literal(pgText(PgTables.keyOfIndex, "text"))
        } AS columns FROM pg_index WHERE indrelid = to_regclass(${
          quoted(table)
        }) AND indisunique AND indisvalid AND indpred IS NULL`
    }),
    gone: Effect.map(
      sql<{ readonly name: unknown }>`SELECT ${sql.literal(pgText("name", "text"))} AS name FROM unnest(${
        functions.map(({ name }) => name)
      }::text[]) AS name
WHERE to_regprocedure(name) IS NULL`,
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

const setting = (name: string): string => pgText(`current_setting('${name}')`, "text")

// letters of both cases, digits and blanks, of which no conversion gives back all
const probe = " Event 1 "
