import type * as SqlClient from "@effect/sql/SqlClient"
import type { SqlError } from "@effect/sql/SqlError"
import * as Effect from "effect/Effect"
import type { InvalidOption } from "../../InvalidOption.js"
import type * as Position from "../../Position.js"
import * as Tables from "./names.js"
import { pgText } from "./postgres/text.js"
import * as Row from "./row.js"

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
  /** What creates the schema of the tables, if they have one that is not there. */
  readonly schema: Effect.Effect<ReadonlyArray<string>, SqlError>
  readonly createMigrations: string
  /** The number of the last migration that was run. */
  readonly applied: Effect.Effect<number, SqlError>
  readonly all: ReadonlyArray<{ readonly name: string; readonly statements: ReadonlyArray<string> }>
  /** Why the tables cannot be those of the stores, or `undefined`: another program may have taken their names. */
  readonly mismatch: Effect.Effect<string | undefined, SqlError>
  /** What migrations created beside the tables and is gone: a restore of the tables alone leaves it behind. */
  readonly gone: Effect.Effect<ReadonlyArray<{ readonly name: string; readonly statement: string }>, SqlError>
  readonly countOn: Effect.Effect<void, SqlError>
  /** Makes the positions of new events come after this one. */
  readonly countOnAfter: (position: Position.Position) => Effect.Effect<void, InvalidOption | SqlError>
}

/** @internal */
export const mismatch = (
  required: ReturnType<typeof Tables.required>,
  read: {
    readonly columns: (table: string) => Effect.Effect<ReadonlyArray<{ readonly name: unknown }>, SqlError>
    /** The columns of each unique index, in its order, with commas between. */
    readonly uniqueKeys: (table: string) => Effect.Effect<ReadonlyArray<{ readonly columns: unknown }>, SqlError>
  }
): Effect.Effect<string | undefined, SqlError> =>
  Effect.gen(function*() {
    for (const { columns, table, uniqueKeys } of required) {
      const found = (yield* read.columns(table)).map(({ name }) => Row.text(name))
      const column = columns.find((name) => !found.includes(name))
      if (column !== undefined) {
        return `the table ${table} is there without the column ${column}: choose another prefix`
      }
      const keys = (yield* read.uniqueKeys(table)).map(({ columns }) => Row.text(columns))
      const key = uniqueKeys.find((columns) => !keys.includes(columns))
      if (key !== undefined) {
        return `the table ${table} is there without its unique index on ${key}: create that, or choose another prefix`
      }
    }
    return undefined
  })

/** @internal */
export const applied = (sql: SqlClient.SqlClient, names: Tables.Names): Effect.Effect<number, SqlError> => {
  const last = "coalesce(max(migration_id), 0)"
  const column = sql.onDialectOrElse({ pg: () => pgText(last, "integer"), orElse: () => last })
  return Effect.map(
    sql<{ readonly id: unknown }>`SELECT ${sql.literal(column)} AS id FROM ${Tables.identifier(sql, names.migrations)}`,
    ([row]) => Row.number(row.id)
  )
}
