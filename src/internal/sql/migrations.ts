import type * as SqlClient from "@effect/sql/SqlClient"
import type { SqlError } from "@effect/sql/SqlError"
import * as Effect from "effect/Effect"
import type { InvalidOption } from "../../InvalidOption.js"
import type * as Position from "../../Position.js"
import * as Tables from "./names.js"
import { pgText } from "./postgres/text.js"
import * as Row from "./row.js"

/** The statements of migrations in one dialect. */
export interface Migrations {
  /** Why the stores cannot work on this server, or `undefined`. */
  readonly problem: Effect.Effect<string | undefined, SqlError>
  /** Keeps other processes from migrating until the end of the transaction. */
  readonly lock: Effect.Effect<void, SqlError>
  /** Creates the schema of the tables if it is missing. */
  readonly schema: Effect.Effect<ReadonlyArray<string>, SqlError>
  readonly createMigrations: string
  /** The number of the last migration that ran. */
  readonly applied: Effect.Effect<number, SqlError>
  readonly all: ReadonlyArray<{ readonly name: string; readonly statements: ReadonlyArray<string> }>
  /** Why the tables of a group are not those of the stores, or `undefined`. */
  readonly mismatch: (group: Tables.Group) => Effect.Effect<string | undefined, SqlError>
  /** Functions that are gone: a restore of the tables alone leaves them out. */
  readonly gone: Effect.Effect<ReadonlyArray<{ readonly name: string; readonly statement: string }>, SqlError>
  /** Counts transaction ids on after a restore. */
  readonly countOn: Effect.Effect<void, SqlError>
  /** Makes the positions of new events come after this one. */
  readonly countOnAfter: (position: Position.Position) => Effect.Effect<void, InvalidOption | SqlError>
}

export const mismatch = (required: ReturnType<typeof Tables.required>, read: {
  readonly columns: (table: string) => Effect.Effect<ReadonlyArray<Row.Row>, SqlError>
  /** The columns of each unique index, in its order, with commas between. */
  readonly uniqueKeys: (table: string) => Effect.Effect<ReadonlyArray<Row.Row>, SqlError>
}): Effect.Effect<string | undefined, SqlError> =>
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

export const applied = (sql: SqlClient.SqlClient, names: Tables.Names): Effect.Effect<number, SqlError> => {
  const last = "coalesce(max(migration_id), 0)"
  const column = sql.onDialectOrElse({ pg: () => pgText(last, "integer"), orElse: () => last })
  return Effect.map(
    sql.unsafe<Row.Row>(`SELECT ${column} AS id FROM ${Tables.quoted(names.migrations)}`),
    ([row]) => Row.number(row.id)
  )
}
