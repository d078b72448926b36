import type * as SqlClient from "@effect/sql/SqlClient"
import * as Effect from "effect/Effect"
import { applied, type Migrations, mismatch } from "./migrations.js"
import * as PgTables from "./pgTables.js"
import { type Names, quoted, required } from "./tables.js"

/** @internal */
export const migrations = (sql: SqlClient.SqlClient, names: Names): Migrations => {
  const exists = sql<{ readonly exists: boolean }>`SELECT to_regclass(${
    quoted(names.migrations)
  }) IS NOT NULL AS exists`
  // what is committed has a lower id than the next one to be given; a base that is right already is never too low
  const needed =
    sql`SELECT coalesce(max(transaction), 0) + 1 - pg_snapshot_xmax(pg_current_snapshot())::text::bigint AS base
FROM ${sql(names.events)}`
  const cluster = sql(names.cluster)
  return {
    problem: Effect.map(
      sql<
        { readonly version: string; readonly encoding: string }
      >`SELECT current_setting('server_version_num') AS version,
  current_setting('server_encoding') AS encoding`,
      ([{ encoding, version }]) =>
        Number(version) < 130_000
          ? `the server has version number ${version}: PostgreSQL 13 or newer is needed`
          : encoding !== "UTF8"
          ? `the database has encoding ${encoding}: one with UTF8 is needed`
          : undefined
    ),
    lock: sql`SELECT pg_advisory_xact_lock(hashtext('effect-eventsourcing'), hashtext(${names.migrations}))`,
    createMigrations: [
      ...PgTables.schema(names),
      `CREATE TABLE IF NOT EXISTS ${quoted(names.migrations)} (
  migration_id integer PRIMARY KEY,
  created_at timestamptz NOT NULL DEFAULT now(),
  name text NOT NULL
)`
    ].join(";\n"),
    applied: Effect.flatMap(exists, ([row]) => row.exists ? applied(sql, names) : Effect.succeed(0)),
    all: [{ name: "create_tables", statements: PgTables.statements(names) }],
    mismatch: mismatch(required(names, { eventColumns: ["transaction", "position", "time"] }), {
      columns: (table) =>
        sql`SELECT attname AS name FROM pg_attribute
WHERE attrelid = to_regclass(${quoted(table)}) AND attnum > 0 AND NOT attisdropped`,
      uniqueKeys: (table) =>
        sql`SELECT (
  SELECT string_agg(attname, ',' ORDER BY number) FROM unnest(indkey) WITH ORDINALITY AS key (attnum, number)
  JOIN pg_attribute USING (attnum) WHERE attrelid = indrelid
) AS columns FROM pg_index WHERE indrelid = to_regclass(${
          quoted(table)
        }) AND indisunique AND indisvalid AND indpred IS NULL`
    }),
    countOn: Effect.flatMap(
      sql`SELECT 1 FROM ${cluster}, (${needed}) AS needed WHERE ${cluster}.base < needed.base`,
      (rows) =>
        rows.length === 0
          ? Effect.void
          : sql`UPDATE ${cluster} AS cluster SET base = needed.base FROM (${needed}) AS needed
WHERE cluster.base < needed.base`
    )
  }
}
