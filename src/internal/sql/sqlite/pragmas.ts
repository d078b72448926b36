import type * as SqlClient from "@effect/sql/SqlClient"
import type { SqlError } from "@effect/sql/SqlError"
import * as Effect from "effect/Effect"
import * as Row from "../row.js"

/** Milliseconds for which SQLite itself waits for a lock, blocking the whole process. */
export const defaultBusyTimeout = 10

// what better-sqlite3 sets where the program chose nothing
const driverBusyTimeout = 5_000

/**
 * The driver waits five seconds for a lock, and no fiber of the process runs meanwhile. The stores wait by a schedule
 * instead. A timeout that the program chose stays.
 *
 * @internal
 */
export const lowerBusyTimeout = (sql: SqlClient.SqlClient): Effect.Effect<void, SqlError> =>
  Effect.flatMap(
    sql<{ readonly timeout: unknown }>`PRAGMA busy_timeout`,
    ([row]) =>
      Row.number(row?.timeout) === driverBusyTimeout
        ? sql`PRAGMA busy_timeout = ${sql.literal(String(defaultBusyTimeout))}`
        : Effect.void
  )

/**
 * `synchronous` is set for each database of a connection, and one that is attached begins with the default of its own: a
 * power cut may take its last commits. Its commits have to be as durable as those of the main one.
 *
 * @internal
 */
export const asDurable = (sql: SqlClient.SqlClient, schema: string): Effect.Effect<void, SqlError> =>
  Effect.gen(function*() {
    const level = (name: string) =>
      Effect.map(
        sql<{ readonly synchronous: unknown }>`PRAGMA ${sql.literal(name)}.synchronous`,
        ([row]) => Row.number(row.synchronous)
      )
    const full = 2
    const extra = 3
    const main = yield* level("main")
    const [journal] = yield* sql<{ readonly journal_mode: unknown }>`PRAGMA ${sql.literal(schema)}.journal_mode`
    const needed = main >= full && Row.text(journal.journal_mode) !== "wal" ? extra : main
    if ((yield* level(schema)) < needed) {
      yield* sql`PRAGMA ${sql.literal(schema)}.synchronous = ${sql.literal(String(needed))}`
    }
  })
