import type { SqlClient } from "@effect/sql"
import { Layer } from "effect"
import { EventStoreContract, SnapshotStoreContract } from "effect-eventsourcing/testing"
import { afterAll, describe, it } from "vitest"
import {
  groupingStores,
  kinds,
  postgresTemporaryDatabase,
  sqliteFile,
  sqliteTemporaryFile,
  sqlStores
} from "./utils/backends.js"
import { everything, sizes } from "./utils/mode.js"
import { tamper } from "./utils/tamper.js"

const runner = { afterAll, describe, it }

const [[memory, layerMemory]] = kinds
EventStoreContract.suite(runner, memory, layerMemory, sizes)
for (const [name, layer] of kinds) SnapshotStoreContract.suite(runner, name, layer)

const clients: ReadonlyArray<readonly [name: string, client: Layer.Layer<SqlClient.SqlClient, unknown>]> = [
  ["SQLite :memory:", sqliteFile(":memory:")],
  ["SQLite file", sqliteTemporaryFile],
  ["PostgreSQL", postgresTemporaryDatabase]
]

if (everything) {
  for (const [name, client] of clients) {
    EventStoreContract.suite(runner, `${name}, in groups`, Layer.provideMerge(groupingStores, client), tamper)
  }
}

for (const [name, client] of clients.filter(([name]) => everything || name !== "SQLite file")) {
  EventStoreContract.suite(runner, name, Layer.provideMerge(sqlStores, client), tamper)
}
