// Projections in the database of their events: what is written and how far it was read are one.
import { SqlClient } from "@effect/sql"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer, type Scope, Stream } from "effect"
import { EventStore, Projection, Projections, SqlCheckpointStore, SqlStores } from "effect-eventsourcing"
import * as path from "node:path"
import { Account } from "../fixtures/Account.js"
import { migratedDatabase, sqliteFile, temporaryFolder } from "../utils/backends.js"
import { pgClient } from "../utils/postgres.js"
import { append } from "./fixture.js"

type Client = Layer.Layer<SqlClient.SqlClient, unknown>

/** How to connect to a new database, as several processes would. */
const databases: ReadonlyArray<readonly [string, Effect.Effect<() => Client, unknown, Scope.Scope>]> = [
  ["SQLite", Effect.map(temporaryFolder, (folder) => () => sqliteFile(path.join(folder, "test.db")))],
  ["PostgreSQL", Effect.map(migratedDatabase, (url) => () => pgClient(url))]
]

/** Writes a row for each event, without a key that would hide a double. */
const Log = Projection.make({
  name: "log",
  on: [Account],
  handle: (events) =>
    Effect.flatMap(
      SqlClient.SqlClient,
      (sql) =>
        sql`INSERT INTO log ${
          sql.insert(events.map(({ id, aggregateId, version }) => ({ id, account: aggregateId, version })))
        }`
    )
})

const stores = Layer.merge(SqlStores.layer, SqlCheckpointStore.layer)

for (const [name, connect] of databases) {
  describe(`a projection on ${name}`, () => {
    it.scopedLive("does not begin inside a transaction, where its work would go on after the end", () =>
      Effect.gen(function*() {
        const client = yield* connect
        const context = yield* Layer.build(Layer.provideMerge(stores, client()))
        const error = yield* Effect.provide(
          Effect.flatMap(
            SqlClient.SqlClient,
            (sql) => Effect.flip(sql.withTransaction(Layer.build(Projection.layer(Log))))
          ),
          context
        )
        assert.strictEqual(error._tag, "CheckpointStoreError")
        assert.include(error.message, "register")
        assert.deepStrictEqual(yield* Effect.provide(Projections.status(), context), [])
      }))

    it.scopedLive(
      "has each event once, with two processes and writers",
      () =>
        Effect.gen(function*() {
          const client = yield* connect
          const process = Layer.provideMerge(stores, client())
          const one = yield* Layer.build(process)
          const two = yield* Layer.build(Layer.fresh(Layer.provideMerge(stores, client())))
          const sql = SqlClient.SqlClient
          yield* Effect.provide(
            Effect.flatMap(sql, (sql) => sql`CREATE TABLE log (id TEXT, account TEXT, version INTEGER)`),
            one
          )
          const layer = Projection.layer(Log, { partitions: 3, pageSize: 7, lease: "1 second" })
          const start = (context: typeof one) => Effect.provide(Layer.build(Layer.fresh(layer)), context)
          yield* start(one)
          const write = (account: number) => Effect.provide(append(`account ${account % 10}`, [1, 2, 3]), one)
          yield* Effect.forEach(Array.from({ length: 30 }, (_, i) => i), write, { concurrency: 4 })
          yield* start(two)
          yield* Effect.forEach(Array.from({ length: 30 }, (_, i) => i), write, { concurrency: 4 })
          const last = yield* write(1)
          yield* Effect.provide(Projections.awaitPosition("log", last, { timeout: "20 seconds" }), two)
          const rows = yield* Effect.provide(
            Effect.flatMap(sql, (sql) => sql<{ readonly id: string }>`SELECT id FROM log`),
            one
          )
          const feed = yield* Effect.provide(
            Effect.flatMap(EventStore.EventStore, ({ readAll }) => Stream.runCollect(readAll())),
            one
          )
          assert.deepStrictEqual(rows.map(({ id }) => id).sort(), Array.from(feed, ({ id }) => id).sort())
          assert.strictEqual(rows.length, 183)
        }),
      40_000
    )
  })
}
