/**
 * Creates the tables of the SQL stores by migrations.
 *
 * The stores run the migrations when their layers are built. Each migration has a number, which a table keeps, and runs
 * once, in a transaction that other processes wait for. A database that is up to date costs a handful of statements.
 *
 * @since 0.1.0
 */
import * as SqlClient from "@effect/sql/SqlClient"
import type { SqlError } from "@effect/sql/SqlError"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import { optionProblem } from "./internal/options.js"
import * as Drop from "./internal/sql/drop.js"
import * as Migrate from "./internal/sql/migrate.js"
import { MigrationError, type Options } from "./internal/sql/migrate.js"
import type { Migrations } from "./internal/sql/migrations.js"
import * as Tables from "./internal/sql/names.js"
import * as Postgres from "./internal/sql/postgres/migrations.js"
import * as PostgresTables from "./internal/sql/postgres/tables.js"
import { whileBusy } from "./internal/sql/retry.js"
import * as Sqlite from "./internal/sql/sqlite/migrations.js"
import * as SqliteTables from "./internal/sql/sqlite/tables.js"
import * as TenantIndex from "./internal/sql/tenantIndex.js"
import type { InvalidOption } from "./InvalidOption.js"
import * as Position from "./Position.js"

export { MigrationError, type Options }

/**
 * Creates missing tables, and counts transaction ids on after a restore ({@link afterRestore}). It can run again, and
 * in several processes at once. The stores run it when their layers are built. If the program's database user may not
 * create tables, run it in your own migrator, and build the layers with `migrate: false`.
 *
 * @example
 * ```ts
 * import { SqlMigrations } from "effect-eventsourcing"
 * import { Migrator } from "@effect/sql"
 *
 * const loader = Migrator.fromRecord({
 *   "0007_eventsourcing": SqlMigrations.run({ prefix: "bank" })
 * })
 * ```
 *
 * @since 0.1.0
 * @category running
 */
export const run: (options?: Options) => Effect.Effect<void, InvalidOption | MigrationError, SqlClient.SqlClient> =
  Migrate.run

/**
 * Removes the tables and functions of a prefix, with all of their data: those of a tenant that has left, for example. The
 * prefix has no default. A schema in it is removed too if nothing else is in it. Programs that use the prefix must have
 * ended. What is not there is not missed.
 *
 * @example
 * ```ts
 * import { SqlMigrations, Tenants } from "effect-eventsourcing"
 *
 * const leave = (tenant: string) => SqlMigrations.drop({ prefix: Tenants.prefixOf(tenant) })
 * ```
 *
 * @since 0.1.0
 * @category running
 */
export const drop: (options: {
  readonly prefix: string
}) => Effect.Effect<void, InvalidOption | MigrationError, SqlClient.SqlClient> = Drop.drop

/**
 * Creates the index of the events by the `tenant` in their metadata, for tenants that share tables: the filter `tenant` of
 * `EventStore.readPage` and `readAll` searches by it, and so does `Tenants.removeStreams`. The tables must exist. It can
 * run again, and in several processes at once. Appends to the table wait until the index is built.
 *
 * @example
 * ```ts
 * import { SqlMigrations } from "effect-eventsourcing"
 * import { Effect } from "effect"
 *
 * const prepared = Effect.zipRight(SqlMigrations.run(), SqlMigrations.indexTenants())
 * ```
 *
 * @since 0.1.0
 * @category running
 */
export const indexTenants: (options?: {
  readonly prefix?: string | undefined
}) => Effect.Effect<void, InvalidOption | MigrationError, SqlClient.SqlClient> = TenantIndex.indexTenants

/**
 * Makes the positions of new events come after those that readers hold, in a restored database.
 *
 * If the database went back to an earlier point (a backup, or a promoted asynchronous replica), readers may hold
 * positions that it does not have, and would skip new events. Pass the highest position of all readers as `after`,
 * before a writer starts.
 *
 * On PostgreSQL the order over all streams follows transaction ids, and a dump that is restored into a fresh cluster
 * meets lower ids. `afterRestore` moves the base to which the ids are added, so that they continue where the dump
 * ended. The stores do the same when their layers are built, but without `after`. Restart a program that ran during the
 * restore. Inside a transaction that has written, `afterRestore` does nothing.
 *
 * On SQLite positions continue where the file ended, so that only `after` matters.
 *
 * The checkpoints of this database went back together with its events, and are not readers in this sense. A projection
 * goes on from there, and its tables fit. A subscription handles again what it had handled since the backup.
 *
 * @example
 * ```ts
 * import { type Position, SqlMigrations } from "effect-eventsourcing"
 *
 * const restored = (highest: Position.Position) => SqlMigrations.afterRestore({ after: highest })
 * ```
 *
 * @since 0.1.0
 * @category running
 */
export const afterRestore = (
  options?: Options & {
    /** New events come after this position, even if the restored database does not have it. */
    readonly after?: Position.Position | undefined
  }
): Effect.Effect<void, InvalidOption | SqlError, SqlClient.SqlClient> =>
  Effect.gen(function*() {
    const sql = (yield* SqlClient.SqlClient).withoutTransforms()
    const names = yield* Tables.names(options, ["after"])
    const { countOn, countOnAfter } = Migrate.dialectOf(sql, names)
    const after = options?.after
    if (after !== undefined && !Schema.is(Position.Position)(after)) {
      return yield* optionProblem("after", after, "a position that an event store gave")
    }
    yield* countOn
    if (after !== undefined) yield* whileBusy(countOnAfter(after))
  }).pipe(Effect.withTracerEnabled(false))

/**
 * Returns the SQL that {@link run} executes on SQLite, to read it or to run it by other means.
 *
 * @example
 * ```ts
 * import { SqlMigrations } from "effect-eventsourcing"
 * import { Effect } from "effect"
 *
 * const script = Effect.map(SqlMigrations.statementsSqlite(), (statements) => statements.join(";\n"))
 * ```
 *
 * @since 0.1.0
 * @category statements
 */
export const statementsSqlite = (options?: Options): Effect.Effect<ReadonlyArray<string>, InvalidOption> =>
  Effect.map(Tables.names(options), (names) => [
    SqliteTables.migrations(names),
    ...noted(names, Sqlite.all(names))
  ])

/**
 * Returns the SQL that {@link run} executes on PostgreSQL, to read it or to run it by other means.
 *
 * @example
 * ```ts
 * import { SqlMigrations } from "effect-eventsourcing"
 * import { Effect } from "effect"
 *
 * const script = Effect.map(SqlMigrations.statementsPostgres(), (statements) => statements.join(";\n"))
 * ```
 *
 * @since 0.1.0
 * @category statements
 */
export const statementsPostgres = (options?: Options): Effect.Effect<ReadonlyArray<string>, InvalidOption> =>
  Effect.map(Tables.names(options), (names) => [
    ...PostgresTables.schema(names),
    PostgresTables.migrations(names),
    ...noted(names, Postgres.all(names))
  ])

const noted = ({ migrations }: Tables.Names, all: Migrations["all"]): ReadonlyArray<string> =>
  all.flatMap(({ name, statements }, index) => [
    ...statements,
    `INSERT INTO ${Tables.quoted(migrations)} (migration_id, name) VALUES (${
      index + 1
    }, '${name}') ON CONFLICT DO NOTHING`
  ])
