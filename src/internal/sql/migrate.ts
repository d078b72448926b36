// Creates the tables of the SQL stores. SqlMigrations exports it.
//
// Each migration has a number, kept in a table, and runs once, in a transaction that other processes wait for. A
// database that is up to date costs a handful of statements.
import * as SqlClient from "@effect/sql/SqlClient"
import { SqlError } from "@effect/sql/SqlError"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import type { InvalidOption } from "../../InvalidOption.js"
import { liveClock } from "../liveClock.js"
import { byKey } from "./byKey.js"
import { classify, describe } from "./failure.js"
import type { Migrations } from "./migrations.js"
import * as Tables from "./names.js"
import * as Postgres from "./postgres/migrations.js"
import * as Sqlite from "./sqlite/migrations.js"
import * as Turns from "./turns.js"

/**
 * Signals that the tables are not ready for the stores: they are missing and could not be created, they belong to
 * another program, or a user that may write must prepare them after a restore. The detail says how to fix it.
 *
 * @example
 * ```ts
 * import { SqlMigrations } from "effect-eventsourcing"
 * import { Effect } from "effect"
 *
 * const migrated = Effect.catchTag(SqlMigrations.run(), "MigrationError", ({ detail }) => Effect.dieMessage(detail))
 * ```
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
 * The options of the tables.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options {
  /**
   * The beginning of the names of the tables, with or without a schema name and a dot before it. Default
   * `eventsourcing`: `eventsourcing_events`, `eventsourcing_snapshots`, `eventsourcing_migrations` and so on.
   */
  readonly prefix?: string | undefined
  /** Whether the layers create missing tables. Default true. With false they only check the tables. */
  readonly migrate?: boolean | undefined
}

export const run = (options?: Options): Effect.Effect<void, InvalidOption | MigrationError, SqlClient.SqlClient> =>
  Effect.flatMap(Tables.names(options), (names) => runOn(names, options, ["events", "checkpoints"]))

/** Creates missing tables, and checks those of some groups. */
export const runOn = (
  names: Tables.Names,
  options: Options | undefined,
  groups: ReadonlyArray<Tables.Group>
): Effect.Effect<void, InvalidOption | MigrationError, SqlClient.SqlClient> =>
  Effect.gen(function*() {
    const sql = (yield* SqlClient.SqlClient).withoutTransforms()
    const migrated = Effect.retry(attempt(sql, names, groups, options?.migrate !== false), {
      schedule: Schedule.exponential("10 millis").pipe(Schedule.jittered, Schedule.intersect(Schedule.recurs(6))),
      while: (error) => error.cause !== undefined && !mayNotWrite(error.cause)
    }).pipe(Effect.withClock(liveClock))
    // both stores may be built side by side in one transaction of the caller
    const open = yield* Effect.serviceOption(SqlClient.TransactionConnection)
    yield* Option.isNone(open) ? migrated : Turns.around(turnsOf(open.value[0]), migrated)
  }).pipe(Effect.withTracerEnabled(false))

const turnsOf = byKey(() => Turns.make((waiting) => waiting))

export const dialectOf = (sql: SqlClient.SqlClient, names: Tables.Names): Migrations =>
  sql.onDialectOrElse({ pg: () => Postgres.migrations(sql, names), orElse: () => Sqlite.migrations(sql, names) })

// the user lacks the right, or the server takes no writes at all
const mayNotWrite = (error: unknown): boolean =>
  error instanceof SqlError && ["42501", "25006"].includes(classify(error).code ?? "")

const attempt = (
  sql: SqlClient.SqlClient,
  names: Tables.Names,
  groups: ReadonlyArray<Tables.Group>,
  migrate: boolean
) => {
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
    for (const group of groups) {
      const mismatch = yield* dialect.mismatch(group)
      if (mismatch !== undefined) return yield* failure(mismatch)
    }
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
