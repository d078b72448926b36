import { Effect, Layer } from "effect"
import { inject } from "vitest"
import { pgClient, temporaryDatabase } from "./postgres.js"
import { memoryStores, sqliteFile, sqliteTemporaryFile, sqlStores, type Stores } from "./stores.js"

export * from "./stores.js"

/** A client on a PostgreSQL database of its own. */
export const postgresTemporaryDatabase = Layer.unwrapScoped(
  Effect.map(Effect.suspend(() => temporaryDatabase(inject("postgres"))), (url) => pgClient(url))
)

/** Every backend, each with both stores on one database. */
export const backends: ReadonlyArray<readonly [name: string, layer: Layer.Layer<Stores, unknown>]> = [
  ["memory", memoryStores],
  ["SQLite :memory:", Layer.provide(sqlStores, sqliteFile(":memory:"))],
  ["SQLite file", Layer.provide(sqlStores, sqliteTemporaryFile)],
  ["PostgreSQL", Layer.provide(sqlStores, postgresTemporaryDatabase)]
]
