import type { SqlClient } from "@effect/sql"
import { it } from "@effect/vitest"
import { Effect, Layer, type Scope } from "effect"
import * as path from "node:path"
import { everything } from "./mode.js"
import { pgClient, temporaryDatabase } from "./postgres.js"
import { postgresUrl, template } from "./server.js"
import { memoryStores, sqliteFile, sqliteTemporaryFile, sqlStores, type Stores, temporaryFolder } from "./stores.js"

export * from "./stores.js"

/** The URL of a database that has the tables. */
export const migratedDatabase = Effect.suspend(() => temporaryDatabase(postgresUrl(), template()))

/** A client on a PostgreSQL database of its own, which has the tables. */
export const postgresTemporaryDatabase = Layer.unwrapScoped(
  Effect.map(migratedDatabase, (url) => pgClient(url))
)

/** Databases that several processes and clients can open: what they open, and a client on it. */
export const sharedDatabases: ReadonlyArray<
  readonly [
    name: "SQLite" | "PostgreSQL",
    target: Effect.Effect<string, unknown, Scope.Scope>,
    client: (target: string) => Layer.Layer<SqlClient.SqlClient, unknown>
  ]
> = [
  ["SQLite", Effect.map(temporaryFolder, (folder) => path.join(folder, "shared.db")), sqliteFile],
  ["PostgreSQL", migratedDatabase, (url) => pgClient(url)]
]

const all: ReadonlyArray<readonly [name: string, layer: Layer.Layer<Stores, unknown>]> = [
  ["memory", memoryStores],
  ["SQLite :memory:", Layer.provide(sqlStores, sqliteFile(":memory:"))],
  ["SQLite file", Layer.provide(sqlStores, sqliteTemporaryFile)],
  ["PostgreSQL", Layer.provide(sqlStores, postgresTemporaryDatabase)]
]

/** Every kind of backend, each with both stores on one database. A short run has SQLite in memory. */
export const kinds = all.filter(([name]) => everything || name !== "SQLite file")

/** The backends of most files: a short run has those in this process. */
export const backends = kinds.filter(([name]) => everything || name !== "PostgreSQL")

/** Makes cases that run on each of some backends. */
export const on =
  (chosen: typeof all) => (name: string, body: () => Effect.Effect<void, unknown, Stores | Scope.Scope>) => {
    for (const [backend, layer] of chosen) {
      // the repositories close before the stores
      it.effect(`${name} (${backend})`, () => Effect.provide(Effect.scoped(body()), layer))
    }
  }

export const each = on(backends)
