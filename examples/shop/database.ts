// The stores and the tables: on PostgreSQL if DATABASE_URL is set, otherwise in the SQLite file DATABASE_FILE.
import type { SqlClient } from "@effect/sql"
import { PgClient } from "@effect/sql-pg"
import { SqliteClient } from "@effect/sql-sqlite-node"
import { Config, Effect, Layer, Option, Redacted, Schedule } from "effect"
import {
  type CheckpointStore,
  type EventStore,
  type SnapshotStore,
  Sqlite,
  SqlStores,
  Wakeup
} from "effect-eventsourcing"
import pg from "pg"
import { createCatalogue } from "./catalogue.js"
import { createOrderList } from "./orderList.js"

const onSqlite = (filename: string) =>
  Layer.provideMerge(SqlStores.layer, Sqlite.layer(SqliteClient.layer, { filename }))

const onPostgres = (url: Redacted.Redacted) =>
  // other processes wake the readers of this one
  Wakeup.layerPostgres({ client: () => new pg.Client({ connectionString: Redacted.value(url) }) }).pipe(
    Layer.provideMerge(SqlStores.layer),
    Layer.provideMerge(PgClient.layer({ url, connectTimeout: "5 seconds" }))
  )

/** The two have different errors, so the choice needs a type. */
type Stores = Layer.Layer<
  SqlClient.SqlClient | EventStore.EventStore | SnapshotStore.SnapshotStore | CheckpointStore.CheckpointStore,
  Layer.Layer.Error<ReturnType<typeof onSqlite | typeof onPostgres>>
>

const StoresLive = Layer.unwrapEffect(Effect.gen(function*() {
  const url = yield* Config.option(Config.redacted("DATABASE_URL"))
  const file = yield* Config.withDefault(Config.string("DATABASE_FILE"), "shop.db")
  const stores: Stores = Option.isSome(url) ? onPostgres(url.value) : onSqlite(file)
  return stores
}))

const TablesLive = Layer.effectDiscard(
  Effect.zipRight(createCatalogue, createOrderList).pipe(
    // on PostgreSQL two processes that start at the same time may both create a table
    Effect.retry(Schedule.intersect(Schedule.spaced("100 millis"), Schedule.recurs(3)))
  )
)

export const DatabaseLive = Layer.provideMerge(TablesLive, StoresLive)
