// Creates the index of the events by tenant. SqlMigrations exports it. Why it is not a migration:
// docs/decisions/0174-tenants-in-shared-tables.md.
import * as SqlClient from "@effect/sql/SqlClient"
import * as Effect from "effect/Effect"
import type { InvalidOption } from "../../InvalidOption.js"
import { describe } from "./failure.js"
import { dialectOf, MigrationError } from "./migrate.js"
import * as Tables from "./names.js"
import * as PgTables from "./postgres/tables.js"
import { whileBusy } from "./retry.js"
import * as SqliteTables from "./sqlite/tables.js"

export const indexTenants = (
  options?: { readonly prefix?: string | undefined }
): Effect.Effect<void, InvalidOption | MigrationError, SqlClient.SqlClient> =>
  Effect.gen(function*() {
    const names = yield* Tables.names(options)
    const sql = (yield* SqlClient.SqlClient).withoutTransforms()
    const statement = sql.onDialectOrElse({
      pg: () => PgTables.tenantIndex(names),
      orElse: () => SqliteTables.tenantIndex(names)
    })
    // two processes that create the same index at once would fail on PostgreSQL
    const created = sql.withTransaction(Effect.zipRight(dialectOf(sql, names).lock, sql.unsafe(statement)))
    yield* Effect.mapError(
      whileBusy(created),
      (cause) => new MigrationError({ table: names.migrations, detail: describe(cause), cause })
    )
  }).pipe(Effect.withTracerEnabled(false))
