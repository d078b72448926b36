// Removes the tables and functions of a prefix. SqlMigrations exports it.
import * as SqlClient from "@effect/sql/SqlClient"
import * as Effect from "effect/Effect"
import { InvalidOption } from "../../InvalidOption.js"
import { describe } from "./failure.js"
import { MigrationError } from "./migrate.js"
import * as Tables from "./names.js"
import * as Postgres from "./postgres/migrations.js"
import * as Row from "./row.js"

export const drop = (
  options: { readonly prefix: string }
): Effect.Effect<void, InvalidOption | MigrationError, SqlClient.SqlClient> =>
  Effect.gen(function*() {
    // the default prefix may be that of the whole program
    if (options?.prefix === undefined) {
      return yield* new InvalidOption({
        option: "prefix",
        value: "undefined",
        expected: "the prefix of what is removed"
      })
    }
    const names = yield* Tables.names(options)
    const sql = (yield* SqlClient.SqlClient).withoutTransforms()
    const dropped = sql.onDialectOrElse({ pg: () => onPostgres(sql, names), orElse: () => tables(sql, names) })
    yield* Effect.mapError(
      sql.withTransaction(dropped),
      (cause) => new MigrationError({ table: names.migrations, detail: describe(cause), cause })
    )
  }).pipe(Effect.withTracerEnabled(false))

const tables = (sql: SqlClient.SqlClient, { prefix: _, ...names }: Tables.Names) =>
  Effect.forEach(Object.values(names), (table) => sql`DROP TABLE IF EXISTS ${Tables.identifier(sql, table)}`, {
    discard: true
  })

const created = /^CREATE OR REPLACE FUNCTION ("[^(]*") \(/

const onPostgres = (sql: SqlClient.SqlClient, names: Tables.Names) =>
  Effect.gen(function*() {
    yield* tables(sql, names)
    // a function is known by its types too, and those of older versions stay in the database
    const statements = Postgres.all(names).flatMap(({ statements }) => statements)
    const functions = new Set(statements.flatMap((statement) => created.exec(statement)?.slice(1) ?? []))
    const found = yield* sql.unsafe<Row.Row>(
      `SELECT pg_proc.oid::regprocedure::text AS name FROM unnest($1::text[]) AS known
JOIN pg_proc ON pg_proc.oid::regproc = to_regproc(known)`,
      [Array.from(functions)]
    )
    yield* Effect.forEach(found, ({ name }) => sql.unsafe(`DROP FUNCTION ${Row.text(name)}`), { discard: true })
    const schema = Tables.schemaOf(names)
    if (schema === undefined) return
    const [{ used }] = yield* sql.unsafe<Row.Row>(
      `SELECT (EXISTS (SELECT FROM pg_class WHERE relnamespace = named.oid)
  OR EXISTS (SELECT FROM pg_proc WHERE pronamespace = named.oid))::text AS used
FROM (SELECT to_regnamespace($1) AS oid) AS named`,
      [Tables.quoted(schema)]
    )
    // it may hold tables of the program
    if (used === "false") yield* sql.unsafe(`DROP SCHEMA IF EXISTS ${Tables.quoted(schema)}`)
  })
