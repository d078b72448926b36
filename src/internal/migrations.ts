import type * as SqlClient from "@effect/sql/SqlClient"
import type { SqlError } from "@effect/sql/SqlError"
import * as Effect from "effect/Effect"
import type { Names } from "./tables.js"

/**
 * What running migrations asks of a dialect.
 *
 * @internal
 */
export interface Migrations {
  /** Why the stores cannot work on this server, or `undefined`. */
  readonly problem: Effect.Effect<string | undefined, SqlError>
  /** Keeps other processes from migrating until the end of the transaction. */
  readonly lock: Effect.Effect<void, SqlError>
  readonly createMigrations: string
  /** The number of the last migration that was run. */
  readonly applied: Effect.Effect<number, SqlError>
  readonly all: ReadonlyArray<{ readonly name: string; readonly statements: ReadonlyArray<string> }>
  readonly countOn: Effect.Effect<void, SqlError>
}

/** @internal */
export const applied = (sql: SqlClient.SqlClient, names: Names): Effect.Effect<number, SqlError> =>
  Effect.map(
    sql<{ readonly id: number | null }>`SELECT max(migration_id) AS id FROM ${sql(names.migrations)}`,
    ([row]) => row.id ?? 0
  )
