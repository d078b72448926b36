// two runners in one process, over real sockets and one database; one of them stops
import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Fiber, Layer, Scope } from "effect"
import { Repository, SnapshotPolicy, SqlStores } from "effect-eventsourcing"
import { AggregateEntity, SqlCluster } from "effect-eventsourcing/cluster"
import { postgresTemporaryDatabase } from "../utils/backends.js"
import { Account, deposit, freePort, id, open } from "./fixture.js"

const settings = {
  prefix: "bank",
  lockExpiration: "10 seconds",
  lockRefresh: "3 seconds",
  refreshInterval: "200 millis"
} as const

const entity = AggregateEntity.make(Account)

/** The layers of a runner. Each needs the client of the database. */
const runner = (port: number) =>
  AggregateEntity.layer(entity, {
    snapshots: SnapshotPolicy.background({ every: 10 }),
    snapshotOnPassivation: { after: 1 }
  }).pipe(
    Layer.provideMerge(SqlCluster.layerRunner({ ...settings, address: { host: "127.0.0.1", port } })),
    Layer.provideMerge(SqlStores.layer)
  )

describe.sequential("two runners over sockets", () => {
  it.scopedLive("answer every command once while one of them stops", () =>
    Effect.gen(function*() {
      const ports = yield* Effect.all([freePort, freePort])
      const database = yield* Layer.build(postgresTemporaryDatabase)
      const scopes = yield* Effect.forEach(ports, () => Scope.make())
      // both create the tables
      yield* Effect.forEach(
        ports,
        (port, index) => Effect.provide(Scope.extend(Layer.build(Layer.fresh(runner(port))), scopes[index]), database),
        { concurrency: 2, discard: true }
      )
      const client = yield* Effect.provide(Layer.build(SqlCluster.layerClient(settings)), database)
      const accounts = yield* Effect.provide(AggregateEntity.client(entity, { timeout: "2 minutes" }), client)
      const ids = Array.from({ length: 20 }, (_, n) => id(`a${n}`))
      yield* Effect.forEach(ids, (account) => accounts.execute(account, open), { concurrency: 8 })
      const sending = yield* Effect.fork(Effect.forEach(
        Array.from({ length: 200 }, (_, n) => ids[n % ids.length]),
        (account) => Effect.zipRight(Effect.sleep("5 millis"), accounts.execute(account, deposit(1))),
        { concurrency: 4 }
      ))
      yield* Effect.sleep("100 millis")
      yield* Scope.close(scopes[0], Exit.void)
      const results = yield* Fiber.join(sending)
      assert.lengthOf(results.filter(({ duplicate }) => duplicate), 0)
      const local = yield* Effect.provide(
        Repository.make(Account),
        yield* Effect.provide(Layer.build(SqlStores.layer), database)
      )
      for (const account of ids) {
        assert.deepInclude(yield* local.load(account), { version: 11 })
        const { state } = yield* accounts.load(account)
        assert.strictEqual(state.balance, 10)
      }
      yield* Scope.close(scopes[1], Exit.void)
    }))
})
