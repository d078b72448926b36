/**
 * The tables of the SQL stores, and the migrations that create them. The stores run them when their layers are built.
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
import { whileBusy } from "./internal/sql/client.js"
import { classify } from "./internal/sql/failure.js"
import type { Migrations } from "./internal/sql/migrations.js"
import * as Tables from "./internal/sql/names.js"
import * as Permits from "./internal/sql/permits.js"
import * as Postgres from "./internal/sql/postgres/migrations.js"
import * as PostgresTables from "./internal/sql/postgres/tables.js"
import * as Sqlite from "./internal/sql/sqlite/migrations.js"
import * as SqliteTables from "./internal/sql/sqlite/tables.js"
import { quote } from "./internal/text.js"
import { InvalidOption } from "./InvalidOption.js"
import * as Position from "./Position.js"

/**
 * The tables are not ready for the stores: they are missing and could not be created, are those of another program, or have
 * to be prepared after a restore by a user that may write. The detail says what to do.
 *
 * @since 0.1.0
 * @category errors
 */
export class MigrationError extends Schema.TaggedError<MigrationError>("effect-eventsourcing/MigrationError")(
  "MigrationError",
  {
    /** The table that keeps which migrations ran. */
    table: Schema.String,
    detail: Schema.String,
    cause: Schema.optional(Schema.Defect)
  }
) {
  /**
   * @since 0.1.0
   */
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
   * What the names of the tables begin with, with or without a schema name and a dot before it. Default
   * `eventsourcing`: `eventsourcing_events`, `eventsourcing_snapshots` and `eventsourcing_migrations`.
   */
  readonly prefix?: string | undefined
  /**
   * Whether the layers create what is missing. Default true; with false they only look whether all is there.
   */
  readonly migrate?: boolean | undefined
}

/**
 * Creates what is missing, and counts transaction ids on after a restore ({@link afterRestore}). Safe to run again, and
 * from several processes at once. The stores do it when their layers are built; run it from a migrator of your own where
 * the program's database user may not create tables, and give the layers `migrate: false`.
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
export const run = (
  options?: Options
): Effect.Effect<void, InvalidOption | MigrationError, SqlClient.SqlClient> =>
  Effect.gen(function*() {
    const sql = (yield* SqlClient.SqlClient).withoutTransforms()
    const names = yield* Tables.names(options)
    const failure = (error: unknown) =>
      error instanceof MigrationError
        ? error
        : new MigrationError({ table: names.migrations, detail: describe(error), cause: error })
    const dialect = sql.onDialectOrElse({
      pg: () => Postgres.migrations(sql, names),
      orElse: () => Sqlite.migrations(sql, names)
    })
    const advising = (advice: string) => <A, E>(effect: Effect.Effect<A, E>) =>
      Effect.mapError(effect, (error) =>
        mayNotWrite(error)
          ? new MigrationError({ table: names.migrations, detail: `${describe(error)}: ${advice}`, cause: error })
          : error)

    const runAll = (statements: ReadonlyArray<string>) =>
      Effect.forEach(statements, (statement) => sql.unsafe(statement), { discard: true })
    const locked = <E>(change: Effect.Effect<void, E>) =>
      sql.withTransaction(Effect.zipRight(dialect.lock, change)).pipe(
        advising("run SqlMigrations.run with a user that may create tables, and give the layers migrate: false")
      )
    const migrate = locked(Effect.gen(function*() {
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
    const attempt = Effect.gen(function*() {
      const problem = yield* dialect.problem
      if (problem !== undefined) return yield* new MigrationError({ table: names.migrations, detail: problem })
      if ((yield* dialect.applied) < dialect.all.length) {
        if (options?.migrate === false) {
          return yield* new MigrationError({
            table: names.migrations,
            detail: "they are not there, or older than this program, and migrate is false: run SqlMigrations.run first"
          })
        }
        yield* migrate
      }
      const mismatch = yield* dialect.mismatch
      if (mismatch !== undefined) return yield* new MigrationError({ table: names.migrations, detail: mismatch })
      const gone = yield* dialect.gone
      if (gone.length > 0) {
        if (options?.migrate === false) {
          return yield* new MigrationError({
            table: names.migrations,
            detail: `${gone[0].name} is missing, and migrate is false: run SqlMigrations.run first`
          })
        }
        yield* locked(runAll(gone.map(({ statement }) => statement)))
      }
      yield* advising(
        "positions have to be counted on after a restore: run SqlMigrations.afterRestore with a user that may write"
      )(dialect.countOn)
    }).pipe(
      Effect.sandbox,
      Effect.mapError((cause) => failure(Cause.squash(cause)))
    )
    const migrated = Effect.retry(attempt, {
      schedule: Schedule.exponential("10 millis").pipe(Schedule.jittered, Schedule.intersect(Schedule.recurs(6))),
      while: (error) => error.cause !== undefined && !mayNotWrite(error.cause)
    }).pipe(Effect.withClock(liveClock))
    // both stores may be built side by side in one transaction of the caller's
    const open = yield* Effect.serviceOption(SqlClient.TransactionConnection)
    yield* Option.isNone(open) ? migrated : inTurn(open.value[0], migrated)
  }).pipe(Effect.withTracerEnabled(false))

/**
 * Makes the positions of new events come after those that readers hold, in a database that was restored.
 *
 * Where it went back to an earlier point (a backup, an asynchronous replica that was promoted), readers may hold positions
 * beyond all that it has, and would skip what comes next. Give the highest one that any of them holds as `after`, before
 * any writer starts.
 *
 * On PostgreSQL the order over all streams goes by transaction ids. A dump that is restored into a fresh cluster meets
 * lower ones there. This moves the base on which the ids are counted, so that they go on where the dump ended; where that
 * is so already, it does nothing. The stores do it when their layers are built, but for `after`. What it does not reach is
 * a program that was running all the while and now talks to the restored database: restart it. Inside a transaction that
 * has written it does nothing.
 *
 * On SQLite the positions of a file go on where the file ended, so that there is only `after` to do.
 *
 * @since 0.1.0
 * @category running
 */
export const afterRestore = (
  options?: Options & {
    /** A position that new events must come after, although the restored database does not have it. */
    readonly after?: Position.Position | undefined
  }
): Effect.Effect<void, InvalidOption | SqlError, SqlClient.SqlClient> =>
  Effect.gen(function*() {
    const sql = (yield* SqlClient.SqlClient).withoutTransforms()
    const names = yield* Tables.names(options, ["after"])
    const { countOn, countOnAfter } = sql.onDialectOrElse({
      pg: () => Postgres.migrations(sql, names),
      orElse: () => Sqlite.migrations(sql, names)
    })
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
 * The SQL that {@link run} carries out on SQLite, to read or to run by other means.
 *
 * @since 0.1.0
 * @category statements
 */
export const statementsSqlite = (
  options?: Options
): Effect.Effect<ReadonlyArray<string>, InvalidOption> =>
  Effect.map(Tables.names(options), (names) => [
    SqliteTables.migrations(names),
    ...noted(names, Sqlite.all(names))
  ])

/**
 * The SQL that {@link run} carries out on PostgreSQL, to read or to run by other means.
 *
 * @since 0.1.0
 * @category statements
 */
export const statementsPostgres = (
  options?: Options
): Effect.Effect<ReadonlyArray<string>, InvalidOption> =>
  Effect.map(Tables.names(options), (names) => [
    ...PostgresTables.schema(names),
    PostgresTables.migrations(names),
    ...noted(names, Postgres.all(names))
  ])

// -------------------------------------------------------------------------------------
// internal
// -------------------------------------------------------------------------------------

const inTurn = Permits.inTurn()

// the user has not the right, or the server takes no writes at all
const mayNotWrite = (error: unknown): boolean =>
  error instanceof SqlError && ["42501", "25006"].includes(classify(error).code ?? "")

const noted = ({ migrations }: Tables.Names, all: Migrations["all"]): ReadonlyArray<string> =>
  all.flatMap(({ name, statements }, index) => [
    ...statements,
    `INSERT INTO ${Tables.quoted(migrations)} (migration_id, name) VALUES (${
      index + 1
    }, '${name}') ON CONFLICT DO NOTHING`
  ])

/** @internal */
export const describe = (error: unknown): string => {
  const messages: Array<string> = []
  let current: unknown = error
  while (current instanceof Error && messages.length < 5) {
    messages.push(current.message)
    current = current.cause
  }
  return messages.length === 0 ? String(error) : messages.join(": ")
}
