/**
 * The tables of the SQL stores, and the migrations that create them.
 *
 * The stores run the migrations when their layers are built. Each has a number, kept in a table, and runs once, in a
 * transaction that other processes wait for. A database that is up to date costs a handful of statements.
 *
 * @since 0.1.0
 */
import * as SqlClient from "@effect/sql/SqlClient"
import { SqlError } from "@effect/sql/SqlError"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import { liveClock } from "./internal/liveClock.js"
import { byKey } from "./internal/sql/byKey.js"
import { classify, describe } from "./internal/sql/failure.js"
import type { Migrations } from "./internal/sql/migrations.js"
import * as Tables from "./internal/sql/names.js"
import * as Postgres from "./internal/sql/postgres/migrations.js"
import * as PostgresTables from "./internal/sql/postgres/tables.js"
import { whileBusy } from "./internal/sql/retry.js"
import * as Sqlite from "./internal/sql/sqlite/migrations.js"
import * as SqliteTables from "./internal/sql/sqlite/tables.js"
import * as Turns from "./internal/sql/turns.js"
import { quote } from "./internal/text.js"
import { InvalidOption } from "./InvalidOption.js"
import * as Position from "./Position.js"

/**
 * The tables are not ready for the stores: they are missing and could not be created, they belong to another program, or a
 * user that may write must prepare them after a restore. The detail says what to do.
 *
 * @since 0.1.0
 * @category errors
 */
export class MigrationError extends Schema.TaggedError<MigrationError>("effect-eventsourcing/MigrationError")(
  "MigrationError",
  {
    /** The table of the migrations that ran. */
    table: Schema.String,
    detail: Schema.String,
    cause: Schema.optional(Schema.Defect)
  }
) {
  /** @since 0.1.0 */
  override get message(): string {
    return `the tables beside ${this.table} are not ready: ${this.detail}`
  }
}

/**
 * @since 0.1.0
 * @category models
 */
export interface Options {
  /**
   * The beginning of the names of the tables, with or without a schema name and a dot before it. Default
   * `eventsourcing`: `eventsourcing_events`, `eventsourcing_snapshots` and `eventsourcing_migrations`.
   */
  readonly prefix?: string | undefined
  /** Whether the layers create missing tables. Default true; with false they only check the tables. */
  readonly migrate?: boolean | undefined
}

/**
 * Creates missing tables, and counts transaction ids on after a restore ({@link afterRestore}). It is safe to run again,
 * and from several processes at once. The stores run it when their layers are built. If the program's database user may not
 * create tables, run it from your own migrator, and give the layers `migrate: false`.
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
export const run = (options?: Options): Effect.Effect<void, InvalidOption | MigrationError, SqlClient.SqlClient> =>
  Effect.gen(function*() {
    const sql = (yield* SqlClient.SqlClient).withoutTransforms()
    const names = yield* Tables.names(options)
    const migrated = Effect.retry(attempt(sql, names, options?.migrate !== false), {
      schedule: Schedule.exponential("10 millis").pipe(Schedule.jittered, Schedule.intersect(Schedule.recurs(6))),
      while: (error) => error.cause !== undefined && !mayNotWrite(error.cause)
    }).pipe(Effect.withClock(liveClock))
    // both stores may be built side by side in one transaction of the caller
    const open = yield* Effect.serviceOption(SqlClient.TransactionConnection)
    yield* Option.isNone(open) ? migrated : Turns.around(turnsOf(open.value[0]), migrated)
  }).pipe(Effect.withTracerEnabled(false))

/**
 * Makes the positions of new events come after those that readers hold, in a database that was restored.
 *
 * If the database went back to an earlier point (a backup, an asynchronous replica that was promoted), readers may hold
 * positions that it does not have, and would skip new events. Give the highest position of all readers as `after`, before
 * a writer starts.
 *
 * On PostgreSQL the order over all streams follows transaction ids, and a dump that is restored into a fresh cluster meets
 * lower ids. This moves the base to which the ids are added, so that they continue where the dump ended. The stores do it
 * when their layers are built, but without `after`. Restart a program that ran during the restore. Inside a transaction
 * that has written it does nothing.
 *
 * On SQLite positions continue where the file ended, so that only `after` matters.
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
    const { countOn, countOnAfter } = dialectOf(sql, names)
    const after = options?.after
    if (after !== undefined && !Schema.is(Position.Position)(after)) {
      return yield* new InvalidOption({
        option: "after",
        value: quote(after),
        expected: "a position that readAll or append gave"
      })
    }
    yield* countOn
    if (after !== undefined) yield* whileBusy(countOnAfter(after))
  }).pipe(Effect.withTracerEnabled(false))

/**
 * Gives the SQL that {@link run} carries out on SQLite, to read or to run by other means.
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
 * Gives the SQL that {@link run} carries out on PostgreSQL, to read or to run by other means.
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

// -------------------------------------------------------------------------------------
// internal
// -------------------------------------------------------------------------------------

const turnsOf = byKey(() => Turns.make((waiting) => waiting))

const dialectOf = (sql: SqlClient.SqlClient, names: Tables.Names): Migrations =>
  sql.onDialectOrElse({ pg: () => Postgres.migrations(sql, names), orElse: () => Sqlite.migrations(sql, names) })

// the user lacks the right, or the server takes no writes at all
const mayNotWrite = (error: unknown): boolean =>
  error instanceof SqlError && ["42501", "25006"].includes(classify(error).code ?? "")

const attempt = (sql: SqlClient.SqlClient, names: Tables.Names, migrate: boolean) => {
  const dialect = dialectOf(sql, names)
  const failure = (detail: string, cause?: unknown) =>
    new MigrationError({ table: names.migrations, detail, ...(cause === undefined ? {} : { cause }) })
  const advising = (advice: string) => <A, E>(effect: Effect.Effect<A, E>) =>
    Effect.mapError(effect, (error) => mayNotWrite(error) ? failure(`${describe(error)}: ${advice}`, error) : error)
  const runAll = (statements: ReadonlyArray<string>) =>
    Effect.forEach(statements, (statement) => sql.unsafe(statement), { discard: true })
  const locked = <E>(change: Effect.Effect<void, E>) =>
    sql.withTransaction(Effect.zipRight(dialect.lock, change)).pipe(
      advising("run SqlMigrations.run with a user that may create tables, and give the layers migrate: false")
    )
  const migrateAll = locked(Effect.gen(function*() {
    yield* runAll(yield* dialect.schema)
    yield* sql.unsafe(dialect.createMigrations)
    const applied = yield* dialect.applied
    for (const [index, { name, statements }] of dialect.all.entries()) {
      const id = index + 1
      if (id <= applied) continue
      yield* runAll(statements)
      yield* sql`INSERT INTO ${Tables.identifier(sql, names.migrations)} (migration_id, name) VALUES (${id}, ${name})`
    }
  }))
  return Effect.gen(function*() {
    const problem = yield* dialect.problem
    if (problem !== undefined) return yield* failure(problem)
    if ((yield* dialect.applied) < dialect.all.length) {
      if (!migrate) {
        return yield* failure(
          "they are missing, or older than this program, and migrate is false: run SqlMigrations.run first"
        )
      }
      yield* migrateAll
    }
    const mismatch = yield* dialect.mismatch
    if (mismatch !== undefined) return yield* failure(mismatch)
    const gone = yield* dialect.gone
    if (gone.length > 0) {
      if (!migrate) {
        return yield* failure(`${gone[0].name} is missing, and migrate is false: run SqlMigrations.run first`)
      }
      yield* locked(runAll(gone.map(({ statement }) => statement)))
    }
    yield* advising(
      "positions have to be counted on after a restore: run SqlMigrations.afterRestore with a user that may write"
    )(dialect.countOn)
  }).pipe(
    Effect.sandbox,
    Effect.mapError((cause) => {
      const error = Cause.squash(cause)
      return error instanceof MigrationError ? error : failure(describe(error), error)
    })
  )
}

const noted = ({ migrations }: Tables.Names, all: Migrations["all"]): ReadonlyArray<string> =>
  all.flatMap(({ name, statements }, index) => [
    ...statements,
    `INSERT INTO ${Tables.quoted(migrations)} (migration_id, name) VALUES (${
      index + 1
    }, '${name}') ON CONFLICT DO NOTHING`
  ])
