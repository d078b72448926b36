import type { SqlClient } from "@effect/sql"
import { Clock, Effect, Layer } from "effect"
import { CheckpointStore, KeyStore, Personal, Postgres, SqlCheckpointStore, Streams } from "effect-eventsourcing"
import {
  CheckpointStoreContract,
  EventStoreContract,
  SnapshotStoreContract,
  StreamsContract
} from "effect-eventsourcing/testing"
import { afterAll, describe, it } from "vitest"
import {
  backends,
  groupingStores,
  kinds,
  migratedDatabase,
  postgresTemporaryDatabase,
  sqliteFile,
  sqliteTemporaryFile,
  sqlStores
} from "./utils/backends.js"
import { everything, sizes } from "./utils/mode.js"
import { poolClient } from "./utils/postgres.js"
import { expiry, tamper } from "./utils/tamper.js"

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
  const sealingStores = Layer.provide(sqlStores, Layer.provide(Personal.layer, KeyStore.layerMemory))
  EventStoreContract.suite(runner, "SQLite, sealing", Layer.provideMerge(sealingStores, clients[0][1]), tamper)
  for (const [name, client] of clients) {
    EventStoreContract.suite(runner, `${name}, in groups`, Layer.provideMerge(groupingStores, client), tamper)
  }
}

for (const [name, client] of clients.filter(([name]) => everything || name !== "SQLite file")) {
  EventStoreContract.suite(runner, name, Layer.provideMerge(sqlStores, client), tamper)
}

for (const [name, layer] of backends) StreamsContract.suite(runner, name, Layer.provideMerge(Streams.layer, layer))
for (const [name, client] of everything ? clients.slice(1) : []) {
  StreamsContract.suite(
    runner,
    `${name}, in groups`,
    Streams.layer.pipe(Layer.provideMerge(groupingStores), Layer.provide(client))
  )
}

// the time of the store in memory, which a case can let pass
let passed = 0
const real = Clock.make()
const now = () => real.unsafeCurrentTimeMillis() + passed
const hourPassing = Layer.setClock({
  [Clock.ClockTypeId]: Clock.ClockTypeId,
  unsafeCurrentTimeMillis: now,
  currentTimeMillis: Effect.sync(now),
  unsafeCurrentTimeNanos: () => real.unsafeCurrentTimeNanos(),
  currentTimeNanos: real.currentTimeNanos,
  sleep: (duration) => real.sleep(duration)
})

CheckpointStoreContract.suite(runner, memory, Layer.merge(CheckpointStore.layerMemory, hourPassing), {
  expire: () =>
    Effect.sync(() => {
      passed += 3_600_000
    })
})

const prepared = Layer.unwrapScoped(
  Effect.map(migratedDatabase, (url) => poolClient(url, Postgres.preparePool))
)

const checkpointed = [...clients, ["PostgreSQL, prepared", prepared] as const]
for (const [name, client] of checkpointed.filter(([name]) => everything || /memory|SQL$/.test(name))) {
  CheckpointStoreContract.suite(runner, name, Layer.provideMerge(SqlCheckpointStore.layer, client), expiry)
}
