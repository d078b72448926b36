import type * as SqlClient from "@effect/sql/SqlClient"
import type { SqlError } from "@effect/sql/SqlError"
import * as Effect from "effect/Effect"
import { InvalidOption } from "../InvalidOption.js"
import * as SqlMigrations from "../SqlMigrations.js"
import * as OwnClient from "./ownClient.js"
import { lowerBusyTimeout } from "./sqlitePragmas.js"
import * as Tables from "./tables.js"

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
    const refine = Effect.mapError((error: SqlError) =>
      new SqlMigrations.MigrationError({ table: names.migrations, detail: SqlMigrations.describe(error), cause: error })
    )
    const client = yield* refine(OwnClient.make)
    yield* client.sql.onDialect({
      sqlite: () => refine(lowerBusyTimeout(client.sql)),
      pg: () => Effect.void,
      mysql: () => unknownDialect("mysql"),
      mssql: () => unknownDialect("mssql"),
      clickhouse: () => unknownDialect("clickhouse")
    })
    yield* SqlMigrations.run(options)
    return { client, names }
  })

const unknownDialect = (dialect: string): Effect.Effect<void, InvalidOption> =>
  new InvalidOption({ option: "SqlClient", value: `of dialect ${dialect}`, expected: "of dialect sqlite or pg" })
