/**
 * The tables of the SQL stores, and the migrations that create them. The stores run them when their layers are built.
 *
 * @since 0.1.0
 */
import * as Migrator from "@effect/sql/Migrator"
import * as SqlClient from "@effect/sql/SqlClient"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import * as Sqlite from "./internal/sqliteTables.js"
import * as Tables from "./internal/tables.js"
import type { InvalidOption } from "./InvalidOption.js"

/**
 * The tables could not be created, or are not there.
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
    return `the tables beside ${this.table} could not be created: ${this.detail}`
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
}

/**
 * Creates what is missing. Safe to run again, and from several processes at once.
 *
 * @since 0.1.0
 * @category running
 */
export const run = (
  options?: Options
): Effect.Effect<void, InvalidOption | MigrationError, SqlClient.SqlClient> =>
  Effect.gen(function*() {
    const sql = (yield* SqlClient.SqlClient).withoutTransforms()
    const tables = yield* Tables.names(options)
    const statements = sql.onDialectOrElse({
      orElse: () => Sqlite.statements(tables)
    })
    const failure = (detail: string, cause?: unknown) =>
      new MigrationError({ table: tables.migrations, detail, ...(cause === undefined ? {} : { cause }) })

    const migrate = Migrator.make({})({
      loader: Migrator.fromRecord({
        "0001_create_tables": Effect.forEach(statements, (statement) => sql.unsafe(statement), { discard: true })
      }),
      table: tables.migrations
    })
    // the migrator takes any failure to note a migration for another process at work, and goes on: look whether it is done
    const done = sql<{ readonly id: number | null }>`SELECT max(migration_id) AS id FROM ${sql(tables.migrations)}`
    const attempt = Effect.gen(function*() {
      yield* migrate
      const [row] = yield* done
      if (row?.id !== 1) return yield* failure("another process is at it and does not end")
    }).pipe(
      Effect.catchAllDefect((defect) => failure(describe(defect), defect)),
      Effect.catchAll((error) => error instanceof MigrationError ? Effect.fail(error) : failure(describe(error), error))
    )
    yield* Effect.provideService(attempt, SqlClient.SqlClient, sql).pipe(
      Effect.retry(Schedule.exponential("10 millis").pipe(Schedule.jittered, Schedule.intersect(Schedule.recurs(6)))),
      Effect.withClock(Clock.make())
    )
  }).pipe(Effect.withTracerEnabled(false))

/**
 * The SQL that {@link run} carries out on SQLite, to read or to run by other means.
 *
 * @since 0.1.0
 * @category statements
 */
export const sqlite = (
  options?: Options
): Effect.Effect<ReadonlyArray<string>, InvalidOption> => Effect.map(Tables.names(options), Sqlite.statements)

// -------------------------------------------------------------------------------------
// internal
// -------------------------------------------------------------------------------------

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
