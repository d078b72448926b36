// the tables of a cluster: created by several runners at once, apart from another cluster's, and pruned
import { RunnerHealth, Runners, RunnerStorage, Sharding, ShardingConfig, SqlMessageStorage } from "@effect/cluster"
import { SqlClient } from "@effect/sql"
import { assert, describe, it } from "@effect/vitest"
import { Context, Effect, Layer } from "effect"
import { SqlStores } from "effect-eventsourcing"
import { AggregateEntity, SqlCluster } from "effect-eventsourcing/cluster"
import * as Pruning from "../../src/internal/cluster/pruning.js"
import * as Tables from "../../src/internal/cluster/tables.js"
import { memoryStores, migratedDatabase, postgresTemporaryDatabase, sqliteFile } from "../utils/backends.js"
import { everything } from "../utils/mode.js"
import { pgClient } from "../utils/postgres.js"
import { Account, deposit, freePort, id, open } from "./fixture.js"

const databases: ReadonlyArray<readonly [name: string, layer: Layer.Layer<SqlClient.SqlClient, unknown>]> = [
  ["SQLite", sqliteFile(":memory:")],
  ["PostgreSQL", postgresTemporaryDatabase]
]

const prefix = Tables.prefixOf("bank")

describe("the tables of a cluster", () => {
  it.scopedLive("are created once by processes that start together (PostgreSQL)", () =>
    Effect.gen(function*() {
      const url = yield* migratedDatabase
      const config = ShardingConfig.layer({ shardLockDisableAdvisory: true })
      const clients = yield* Effect.forEach(Array.from({ length: 6 }), () => Layer.build(Layer.fresh(pgClient(url))))
      yield* Effect.forEach(
        clients,
        (client) => Effect.provide(Effect.provide(Tables.create(prefix), config), client),
        { concurrency: "unbounded" }
      )
      const sql = Context.get(clients[0], SqlClient.SqlClient)
      for (const table of ["locks", "messages", "replies", "runners"]) {
        assert.deepStrictEqual(yield* sql`SELECT * FROM ${sql(`${prefix}_${table}`)}`, [])
      }
    }))

  it.scopedLive.skipIf(!everything)(
    "are those of one cluster: two in a database both own all of their shards (PostgreSQL)",
    () =>
      Effect.gen(function*() {
        const entity = AggregateEntity.make(Account)
        const database = yield* Layer.build(postgresTemporaryDatabase)
        const execute = (prefix: string) =>
          Effect.gen(function*() {
            const address = { host: "127.0.0.1", port: yield* freePort }
            const cluster = AggregateEntity.layer(entity).pipe(
              Layer.provideMerge(
                SqlCluster.layerRunner({ address, prefix, shards: 20, refreshInterval: "100 millis" })
              ),
              Layer.provideMerge(SqlStores.layerWith({ prefix }))
            )
            const context = yield* Layer.build(Layer.fresh(cluster))
            const accounts = yield* Effect.provide(AggregateEntity.client(entity, { timeout: "2 minutes" }), context)
            for (let n = 0; n < 40; n++) assert.strictEqual((yield* accounts.execute(id(`a${n}`), open)).version, 1)
          }).pipe(Effect.provide(database))
        yield* execute("one")
        yield* execute("two")
      })
  )
})

describe("the messages of persisted commands", () => {
  for (const [name, layer] of databases) {
    it.scopedLive(`are removed when they are old and answered, some at a time (${name})`, () =>
      Effect.gen(function*() {
        const entity = AggregateEntity.make(Account, { persisted: true })
        const accounts = yield* AggregateEntity.client(entity)
        const sql = yield* SqlClient.SqlClient
        yield* accounts.execute(id("a"), open)
        for (let i = 0; i < 11; i++) yield* accounts.execute(id("a"), deposit(1))
        const prune = (keep: "1 hour" | "1 millis", limit: number) => Pruning.prune(sql, prefix, { keep, limit })
        assert.strictEqual(yield* prune("1 hour", 100), 0)
        // one that is not answered
        yield* sql`UPDATE ${sql(`${prefix}_messages`)} SET processed = ${
          sql.onDialectOrElse({ pg: () => sql.literal("FALSE"), orElse: () => sql.literal("0") })
        } WHERE id = (SELECT MIN(id) FROM ${sql(`${prefix}_messages`)})`
        yield* Effect.sleep("5 millis")
        assert.deepStrictEqual([yield* prune("1 millis", 5), yield* prune("1 millis", 5)], [5, 5])
        assert.deepStrictEqual([yield* prune("1 millis", 5), yield* prune("1 millis", 5)], [1, 0])
        assert.lengthOf(yield* sql`SELECT id FROM ${sql(`${prefix}_messages`)}`, 1)
        assert.lengthOf(yield* sql`SELECT id FROM ${sql(`${prefix}_replies`)}`, 1)
        assert.deepInclude(yield* accounts.execute(id("a"), deposit(1)), { version: 13 })
      }).pipe(
        Effect.provide(
          Layer.provideMerge(
            AggregateEntity.layer(AggregateEntity.make(Account, { persisted: true })),
            Sharding.layer.pipe(
              Layer.provideMerge(Runners.layerNoop),
              Layer.provideMerge(SqlMessageStorage.layerWith({ prefix })),
              Layer.provide([RunnerStorage.layerMemory, RunnerHealth.layerNoop]),
              Layer.provideMerge(ShardingConfig.layer({ entityReplyPollInterval: "10 millis" })),
              Layer.provideMerge(layer),
              Layer.provideMerge(memoryStores)
            )
          )
        )
      ))
  }
})
