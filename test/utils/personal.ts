import { SqlClient } from "@effect/sql"
import { Effect, Layer } from "effect"
import { EventStore, KeyStore, Personal, SnapshotStore, SqlKeyStore } from "effect-eventsourcing"
import { postgresTemporaryDatabase } from "./backends.js"
import { sqliteFile, sqliteTemporaryFile, sqlStores } from "./stores.js"

export type PersonalStores =
  | EventStore.EventStore
  | SnapshotStore.SnapshotStore
  | Personal.Sealing
  | KeyStore.KeyStore

/** Stores that seal personal data, with the key store in memory. */
export const memory = Layer.merge(EventStore.layerMemory, SnapshotStore.layerMemory).pipe(
  Layer.provideMerge(Personal.layer),
  Layer.provideMerge(KeyStore.layerMemory)
)

/** Stores that seal personal data, with the key store in the same database. */
export const sql = sqlStores.pipe(Layer.provideMerge(Personal.layer), Layer.provideMerge(SqlKeyStore.layer))

/** Every kind of store, with the key store in the same database. */
export const kinds: ReadonlyArray<readonly [name: string, layer: Layer.Layer<PersonalStores, unknown>]> = [
  ["memory", memory],
  ["SQLite :memory:", Layer.provide(sql, sqliteFile(":memory:"))],
  ["SQLite file", Layer.provide(sql, sqliteTemporaryFile)],
  ["PostgreSQL", Layer.provide(sql, postgresTemporaryDatabase)]
]

/** All rows of all tables of a database, as text. */
export const everyRow: Effect.Effect<string, unknown, SqlClient.SqlClient> = Effect.gen(function*() {
  const sql = (yield* SqlClient.SqlClient).withoutTransforms()
  const tables = yield* sql.onDialectOrElse({
    pg: () =>
      sql<{ readonly name: string }>`SELECT quote_ident(schemaname) || '.' || quote_ident(tablename) AS name
FROM pg_tables WHERE schemaname NOT IN ('pg_catalog', 'information_schema')`,
    orElse: () =>
      sql<{ readonly name: string }>`SELECT '"' || name || '"' AS name FROM sqlite_master WHERE type = 'table'`
  })
  const rows = yield* Effect.forEach(tables, ({ name }) => sql.unsafe(`SELECT * FROM ${name}`))
  return JSON.stringify(rows)
})
