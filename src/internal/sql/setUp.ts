import * as SqlClient from "@effect/sql/SqlClient"
import { SqlError } from "@effect/sql/SqlError"
import * as Effect from "effect/Effect"
import { InvalidOption } from "../../InvalidOption.js"
import * as SqlMigrations from "../../SqlMigrations.js"
import * as OwnClient from "./client.js"
import * as Tables from "./names.js"
import { asDurable, lowerBusyTimeout } from "./sqlite/pragmas.js"

/**
 * What both SQL stores do when they are built.
 *
 * @internal
 */
export const setUp = (
  options: SqlMigrations.Options | undefined
): Effect.Effect<
  { readonly client: OwnClient.OwnClient; readonly names: Tables.Names },
  InvalidOption | SqlMigrations.MigrationError,
  SqlClient.SqlClient
> =>
  Effect.gen(function*() {
    const names = yield* Tables.names(options)
    const failure = (error: SqlError) =>
      new SqlMigrations.MigrationError({ table: names.migrations, detail: SqlMigrations.describe(error), cause: error })
    const refine = <A, E, R>(effect: Effect.Effect<A, E | SqlError, R>): Effect.Effect<
      A,
      Exclude<E, SqlError> | SqlMigrations.MigrationError,
      R
    > => Effect.catchIf(effect, (error) => error instanceof SqlError, failure)
    const client = yield* refine(OwnClient.make)
    const { identity, run, sql } = client
    yield* sql.onDialect({
      sqlite: () => refine(run(lowerBusyTimeout(sql))),
      pg: () => Effect.void,
      mysql: () => unknownDialect("mysql"),
      mssql: () => unknownDialect("mssql"),
      clickhouse: () => unknownDialect("clickhouse")
    })
    yield* refine(run(Effect.provideService(SqlMigrations.run(options), SqlClient.SqlClient, identity)))
    const schema = Tables.schemaOf(names)
    if (schema !== undefined) {
      yield* sql.onDialectOrElse({ pg: () => Effect.void, orElse: () => refine(run(asDurable(sql, schema))) })
    }
    return { client, names }
  })

const unknownDialect = (dialect: string): Effect.Effect<void, InvalidOption> =>
  new InvalidOption({ option: "SqlClient", value: `of dialect ${dialect}`, expected: "of dialect sqlite or pg" })
