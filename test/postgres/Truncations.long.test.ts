// truncations that hold their locks while others delete snapshots
import { SqlClient } from "@effect/sql"
import { assert, it } from "@effect/vitest"
import { Deferred, Effect, Fiber, Layer, Option } from "effect"
import { EventStore, Repository, SnapshotPolicy, SnapshotStore, Streams } from "effect-eventsourcing"
import { deposit, id, open, stream } from "../fixtures/Account.js"
import { AccountV2, AccountV3 } from "../fixtures/AccountVersions.js"
import { migratedDatabase, sqlStores } from "../utils/backends.js"
import { pgClient } from "../utils/postgres.js"

const stores = Layer.unwrapScoped(
  Effect.map(migratedDatabase, (url) => Layer.provideMerge(sqlStores, pgClient(url)))
)

const manual = { snapshots: SnapshotPolicy.manual }

it.scopedLive("a deletion of old snapshots that waits for a truncation leaves the snapshot that it has kept", () =>
  Effect.gen(function*() {
    const [a, of] = [id("a"), stream("a")]
    const sql = yield* SqlClient.SqlClient
    const store = yield* EventStore.EventStore
    const snapshots = yield* SnapshotStore.SnapshotStore
    const accounts = yield* Repository.make(AccountV2, manual)
    yield* accounts.executeAll(a, [open, deposit(1), deposit(2)])
    yield* accounts.createSnapshot(a)
    const [emptied, blocked] = [yield* Deferred.make<void>(), yield* Deferred.make<void>()]
    const life = Option.map(store.replay.life, (life): EventStore.LifeSeam => ({
      ...life,
      empty: (of, options) =>
        life.empty(of, options).pipe(
          Effect.zipRight(Deferred.succeed(emptied, undefined)),
          Effect.zipRight(Deferred.await(blocked))
        )
    }))
    const streams = yield* Effect.provideService(Streams.make, EventStore.EventStore, {
      ...store,
      replay: { ...store.replay, life }
    })
    const truncating = yield* Effect.fork(streams.truncate(of, { aggregate: AccountV2, before: 4, events: "remove" }))
    yield* Deferred.await(emptied)
    // a deployment of version 3 tidies up
    const deleting = yield* Effect.fork(snapshots.deleteByType("Account", { schemaVersionBelow: 3 }))
    yield* Effect.repeat(
      sql`SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'`,
      { until: (rows) => rows.length > 0 }
    )
    yield* Deferred.succeed(blocked, undefined)
    assert.strictEqual((yield* Fiber.join(truncating)).events, 3)
    assert.strictEqual(yield* Fiber.join(deleting), 0)
    const now = yield* Repository.make(AccountV3, manual)
    assert.strictEqual((yield* accounts.load(a)).version, 4)
    assert.strictEqual((yield* now.load(a)).version, 4)
  }).pipe(Effect.provide(stores)))
