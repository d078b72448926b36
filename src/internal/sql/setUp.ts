import * as SqlClient from "@effect/sql/SqlClient"
import { SqlError } from "@effect/sql/SqlError"
import * as Effect from "effect/Effect"
import { InvalidOption } from "../../InvalidOption.js"
import * as Client from "./client.js"
import type { Dialect } from "./dialect.js"
import { describe } from "./failure.js"
import * as Migrate from "./migrate.js"
import * as Tables from "./names.js"
import * as Postgres from "./postgres/statements.js"
import { asDurable, lowerBusyTimeout } from "./sqlite/pragmas.js"
import * as Sqlite from "./sqlite/statements.js"

/** Prepares the client and the tables when a SQL store is built. `more` are the options that this store has besides. */
export const setUp = (
  options: Migrate.Options | undefined,
  more: ReadonlyArray<string> = [],
  group: Tables.Group = "events"
): Effect.Effect<
  { readonly client: Client.StoreClient; readonly dialect: Dialect; readonly names: Tables.Names },
  InvalidOption | Migrate.MigrationError,
  SqlClient.SqlClient
> =>
  Effect.flatMap(Tables.names(options, more), (names) =>
    Effect.gen(function*() {
      const client = yield* Client.make
      const { identity, run, sql } = client
      const dialect = yield* sql.onDialect({
        sqlite: () => Effect.as(run(lowerBusyTimeout(sql)), Sqlite.dialect),
        pg: () => Effect.succeed(Postgres.dialect),
        mysql: () => unknownDialect("mysql"),
        mssql: () => unknownDialect("mssql"),
        clickhouse: () => unknownDialect("clickhouse")
      })
      yield* run(Effect.provideService(Migrate.runOn(names, options, [group]), SqlClient.SqlClient, identity))
      const schema = Tables.schemaOf(names)
      if (schema !== undefined && dialect === Sqlite.dialect) yield* run(asDurable(sql, schema))
      return { client, dialect, names }
    }).pipe(
      Effect.mapError((error) =>
        error instanceof SqlError
          ? new Migrate.MigrationError({ table: names.migrations, detail: describe(error), cause: error })
          : error
      )
    ))

const unknownDialect = (dialect: string): Effect.Effect<never, InvalidOption> =>
  new InvalidOption({ option: "SqlClient", value: `of dialect ${dialect}`, expected: "of dialect sqlite or pg" })
