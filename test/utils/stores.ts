import { SqliteClient } from "@effect/sql-sqlite-node"
import { Effect, Layer } from "effect"
import { EventStore, SnapshotStore, Sqlite, SqlStores } from "effect-eventsourcing"
import * as fs from "node:fs"
import * as os from "node:os"
import * as path from "node:path"
import { Forced } from "../../src/internal/sql/appendGroups.js"

export type Stores = EventStore.EventStore | SnapshotStore.SnapshotStore

export const temporaryFolder = Effect.acquireRelease(
  Effect.sync(() => fs.mkdtempSync(path.join(os.tmpdir(), "eventsourcing-"))),
  (folder) => Effect.sync(() => fs.rmSync(folder, { recursive: true, force: true }))
)

export const sqliteFile = (filename: string) => Sqlite.layer(SqliteClient.layer, { filename, synchronous: "NORMAL" })

export const sqliteTemporaryFile = Layer.unwrapScoped(
  Effect.map(temporaryFolder, (folder) => sqliteFile(path.join(folder, "test.db")))
)

export const sqlStores = SqlStores.layer

/** The stores, where every append outside a transaction is in a group. */
export const groupingStores = Layer.provide(sqlStores, Layer.succeed(Forced, true))

export const memoryStores = Layer.merge(EventStore.layerMemory, SnapshotStore.layerMemory)
