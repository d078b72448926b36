import type * as SqlClient from "@effect/sql/SqlClient"
import type { SqlError } from "@effect/sql/SqlError"
import * as Effect from "effect/Effect"
import * as Row from "./row.js"

/** Milliseconds for which SQLite itself waits for a lock, blocking the whole process. */
export const defaultBusyTimeout = 10

// what better-sqlite3 sets where nobody chose
const driverBusyTimeout = 5_000

/**
 * The driver waits five seconds for a lock, and no fiber of the process runs meanwhile. The stores wait by a schedule
 * instead. A timeout that somebody chose stays.
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
