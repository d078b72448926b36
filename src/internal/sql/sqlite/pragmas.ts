import type * as SqlClient from "@effect/sql/SqlClient"
import type { SqlError } from "@effect/sql/SqlError"
import * as Effect from "effect/Effect"
import * as Row from "../row.js"

/** Milliseconds for which SQLite itself waits for a lock, blocking the whole process. */
export const defaultBusyTimeout = 10

// the default of better-sqlite3
const driverBusyTimeout = 5_000

/** Lowers the driver's own timeout, which blocks every fiber for five seconds. A timeout of the program stays. */
export const lowerBusyTimeout = (sql: SqlClient.SqlClient): Effect.Effect<void, SqlError> =>
  Effect.flatMap(
    sql<{ readonly timeout: unknown }>`PRAGMA busy_timeout`,
    ([row]) =>
      Row.number(row?.timeout) === driverBusyTimeout
        ? Effect.asVoid(sql`PRAGMA busy_timeout = ${sql.literal(String(defaultBusyTimeout))}`)
        : Effect.void
  )

/** Makes the commits of an attached database as durable as the main one's: `synchronous` is set for each. */
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
