import { SqlClient } from "@effect/sql"
import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Exit, Fiber, Layer, Option, Schedule } from "effect"
import { CheckpointStore, SqlCheckpointStore, SqlMigrations, SqlStores } from "effect-eventsourcing"
import { beside } from "../../src/internal/testing/freshSubscription.js"
import { migratedDatabase, postgresTemporaryDatabase } from "../utils/backends.js"
import { advance, at, key, progress, register, take, ttl } from "../utils/checkpoints.js"
import { pgClient } from "../utils/postgres.js"
import { connection, database } from "./setup.js"

const storeOn = (url: string) =>
  Layer.fresh(Layer.provideMerge(SqlCheckpointStore.layer, pgClient(url, { maxConnections: 4 })))

const stores = Layer.provideMerge(SqlCheckpointStore.layer, postgresTemporaryDatabase)

/** Locks the row of the partition on a connection of its own, as a batch of a frozen process does. */
const locking = (url: string) =>
  Effect.flatMap(
    connection(url),
    (client) => Effect.promise(() => client.query("BEGIN; UPDATE eventsourcing_checkpoints SET handled = handled"))
  )

describe("a process that is frozen within its batch", () => {
  it.scopedLive("does not keep others waiting: acquire gives nothing, and the rest fails after a second", () =>
    Effect.gen(function*() {
      const url = yield* migratedDatabase
      yield* Effect.gen(function*() {
        const store = yield* CheckpointStore.CheckpointStore
        yield* register()
        const lease = yield* take("ada", 1)
        yield* locking(url)
        const options = { owner: "bob", ttl, index: 0, of: 1 }
        assert.isTrue(Option.isNone(yield* store.acquire(key, options)))
        assert.strictEqual((yield* store.attend(key, { owner: "bob", ttl })).members, 1)
        assert.lengthOf(yield* store.list, 1)
        const [renewed, released] = yield* Effect.all(
          [store.renew(lease, ttl), store.release(lease)].map(Effect.exit),
          {
            concurrency: "unbounded"
          }
        )
        for (const exit of [renewed, released]) {
          assert.isTrue(Exit.isFailure(exit))
          assert.include(String(exit), "55P03")
        }
        // inside a transaction the limit is undone afterwards
        yield* SqlStores.transaction(Effect.gen(function*() {
          const sql = yield* SqlClient.SqlClient
          yield* Effect.exit(store.attend(key, { owner: "cleo", ttl }))
          const [{ limit }] = yield* sql<{ readonly limit: string }>`SELECT current_setting('lock_timeout') AS limit`
          assert.strictEqual(limit, "0")
        }))
      }).pipe(Effect.provide(storeOn(url)))
    }))

  it.scopedLive("loses its session, so that another one goes on, and its batch counts once", () =>
    Effect.gen(function*() {
      const url = yield* migratedDatabase
      const isFrozen = yield* Deferred.make<void>()
      const thaws = yield* Deferred.make<void>()
      const write = (amount: number) =>
        Effect.flatMap(SqlClient.SqlClient, (sql) => sql`INSERT INTO balances VALUES (${amount})`)
      const frozen = Effect.gen(function*() {
        const sql = yield* SqlClient.SqlClient
        yield* sql`CREATE TABLE balances (amount integer)`
        yield* register()
        const lease = yield* take("ada", 1)
        return yield* advance(
          lease,
          10,
          write(1).pipe(Effect.zipRight(Deferred.succeed(isFrozen, undefined)), Effect.zipRight(Deferred.await(thaws))),
          1
        )
      }).pipe(Effect.provide(storeOn(url)))
      const fiber = yield* Effect.fork(Effect.flip(frozen))
      yield* Deferred.await(isFrozen)
      yield* Effect.gen(function*() {
        const lease = yield* Effect.retry(
          Effect.flatMap(
            CheckpointStore.CheckpointStore,
            (store) => Effect.flatten(store.acquire(key, { owner: "bob", ttl, index: 0, of: 1 }))
          ),
          Schedule.spaced("20 millis").pipe(Schedule.upTo("20 seconds"))
        )
        yield* advance(lease, 10, write(1))
        yield* Deferred.succeed(thaws, undefined)
        const failure = yield* Fiber.join(fiber)
        assert.deepInclude(failure, { _tag: "CheckpointStoreError", reason: "Unavailable", mayHaveHappened: false })
        assert.deepStrictEqual(yield* progress, { at: [10], handled: 1 })
        const sql = yield* SqlClient.SqlClient
        assert.lengthOf(yield* sql`SELECT FROM balances`, 1)
      }).pipe(Effect.provide(storeOn(url)))
    }))
})

describe("a change of the number of partitions", () => {
  it.scopedLive("is waited for: a hold then holds the new partitions", () =>
    Effect.gen(function*() {
      const store = yield* CheckpointStore.CheckpointStore
      yield* register()
      yield* advance(yield* take("ada"), 10, Effect.void)
      yield* register(3)
      const { first, second } = yield* beside(
        (inside) => SqlStores.transaction(Effect.zipLeft(store.repartition(key), inside)),
        store.hold([key], ttl)
      )
      assert.deepStrictEqual([first, second], [Exit.succeed(true), Exit.succeed(at(10))])
      const [{ partitions }] = yield* store.list
      assert.deepStrictEqual(partitions.map(({ hold }) => Option.getOrNull(hold)), [at(10), at(10), at(10)])
    }).pipe(Effect.provide(stores)))
})

describe("a long batch", () => {
  it.scopedLive("of one partition does not keep the others from advancing while it is waited for", () =>
    Effect.gen(function*() {
      const store = yield* CheckpointStore.CheckpointStore
      yield* register(2)
      const take = (index: number) => Effect.flatten(store.acquire(key, { owner: "ada", ttl, index, of: 2 }))
      const move = (lease: CheckpointStore.Lease, to: number, effect: Effect.Effect<void>) =>
        store.advance(lease, { to: at(to), handled: 1, ttl, streams: [] }, () => effect)
      const zero = yield* take(0)
      const first = yield* take(1)
      yield* move(first, 20, Effect.void)
      const one = { ...first, position: at(20) }
      const begun = yield* Deferred.make<void>()
      const ends = yield* Deferred.make<void>()
      const batch = Effect.zipRight(Deferred.succeed(begun, undefined), Deferred.await(ends))
      const long = yield* Effect.fork(move(one, 30, batch))
      yield* Deferred.await(begun)
      // processes repeat both for as long as the number has to change
      yield* register(3)
      const waiting = yield* Effect.fork(
        Effect.all([store.hold([key], ttl), store.repartition(key)], { concurrency: "unbounded" })
      )
      yield* Effect.sleep("200 millis")
      const moved = yield* Effect.timeoutOption(move(zero, 10, Effect.void), "10 seconds")
      yield* Deferred.succeed(ends, undefined)
      assert.deepInclude(Option.getOrNull(moved), { _tag: "Advanced" }, "the short batch waited for the long one")
      yield* Fiber.join(long)
      yield* Fiber.join(waiting)
    }).pipe(Effect.provide(stores)))
})

describe("a transaction on one projection", () => {
  it.scopedLive("keeps no operator of another one waiting, and no other version", () =>
    Effect.gen(function*() {
      const url = yield* migratedDatabase
      yield* Effect.gen(function*() {
        const store = yield* CheckpointStore.CheckpointStore
        const sql = yield* SqlClient.SqlClient
        yield* register()
        for (const other of [{ ...key, name: "a" }, { ...key, name: "z" }, { ...key, version: 2 }]) {
          yield* store.register({ ...other, kind: "Projection", definition: "Account", partitions: 3, from: at(0) })
        }
        const parked = {
          position: at(1),
          eventId: "e",
          stream: "s",
          reason: "planned",
          kind: "Poison",
          time: 0
        } as const
        yield* store.park(key, [parked])
        const holder = yield* connection(url)
        yield* Effect.promise(() =>
          holder.query(
            `BEGIN;
SELECT FROM eventsourcing_subscriptions WHERE name <> 'balances' OR version > 1 FOR UPDATE;
SELECT FROM eventsourcing_checkpoints WHERE name <> 'balances' OR version > 1 FOR UPDATE`
          )
        )
        // one who waits for a lock fails
        const operator = <A, E>(operation: Effect.Effect<A, E>) =>
          SqlStores.transaction(Effect.zipRight(sql`SET LOCAL lock_timeout = '1s'`, operation)).pipe(
            Effect.timeout("20 seconds")
          )
        assert.strictEqual(yield* operator(store.resume(key)), 0)
        assert.deepStrictEqual(yield* operator(store.unpark(key, [at(1)], Effect.void)), Option.some(undefined))
        assert.isTrue(yield* operator(store.remove(key, { active: true })))
      }).pipe(Effect.provide(storeOn(url)))
    }))
})

describe("a batch on PostgreSQL", () => {
  it.scopedLive("whose effect catches the failure of a statement is refused: nothing of it was committed", () =>
    Effect.gen(function*() {
      const sql = yield* SqlClient.SqlClient
      const store = yield* CheckpointStore.CheckpointStore
      yield* register()
      const lease = yield* take("ada")
      const caught = Effect.ignore(sql`SELECT 1 / 0`)
      const failure = yield* Effect.flip(advance(lease, 10, caught))
      assert.deepInclude(failure, { _tag: "CheckpointStoreError", mayHaveHappened: false })
      assert.deepStrictEqual(yield* progress, { at: [0], handled: 0 })
      const promoted = yield* Effect.flip(store.promote(key, caught))
      assert.strictEqual(promoted._tag, "CheckpointStoreError")
      yield* advance(lease, 10, Effect.void)
    }).pipe(Effect.provide(stores)))

  it.scopedLive("ends by its time if it is idle, and leaves the session as it was", () =>
    Effect.gen(function*() {
      const sql = yield* SqlClient.SqlClient
      const limit = Effect.map(
        sql<{ readonly limit: string }>`SELECT current_setting('idle_in_transaction_session_timeout') AS limit`,
        ([{ limit }]) => limit
      )
      yield* register()
      const before = yield* limit
      for (const [leaseTtl, expected] of [[7_000, "7s"], [10, "1s"]] as const) {
        yield* Effect.gen(function*() {
          const store = yield* CheckpointStore.CheckpointStore
          const lease = yield* take("ada", leaseTtl)
          const advanced = yield* advance(lease, 10, limit, leaseTtl)
          assert.strictEqual(advanced._tag === "Advanced" && advanced.value, expected)
          assert.strictEqual(yield* limit, before)
          yield* store.release(lease)
        })
      }
    }).pipe(Effect.provide(stores)))

  it.scopedLive("needs only the rights that the documentation names", () =>
    Effect.gen(function*() {
      const url = yield* database
      const role = `app_${crypto.randomUUID().replaceAll("-", "")}`
      const administer = (statements: string) =>
        Effect.flatMap(SqlClient.SqlClient, (sql) => sql.unsafe(statements)).pipe(
          Effect.provide(Layer.fresh(pgClient(url)))
        )
      yield* Effect.provide(SqlMigrations.run({ prefix: "bank" }), pgClient(url))
      yield* administer(`CREATE ROLE ${role} LOGIN PASSWORD 'app';
        GRANT SELECT ON bank_events, bank_migrations, bank_cluster TO ${role};
        GRANT SELECT, INSERT, UPDATE, DELETE ON bank_subscriptions, bank_checkpoints, bank_parked, bank_members, bank_inline TO ${role}`)
      yield* Effect.addFinalizer(() => Effect.orDie(administer(`DROP OWNED BY ${role}; DROP ROLE ${role}`)))
      const asRole = new URL(url)
      asRole.username = role
      asRole.password = "app"
      yield* Effect.gen(function*() {
        const store = yield* CheckpointStore.CheckpointStore
        yield* register()
        yield* store.attend(key, { owner: "ada", ttl })
        const lease = yield* take("ada")
        yield* advance(lease, 10, store.park(key, []))
        yield* store.hold([key], ttl)
        yield* store.promote(key, Effect.void)
        yield* administer(`REVOKE UPDATE ON bank_checkpoints FROM ${role}`)
        const refused = yield* Effect.flip(store.renew(lease, ttl))
        assert.deepInclude(refused, { _tag: "CheckpointStoreError", reason: "Refused" })
        assert.include(refused.message, "42501")
      }).pipe(Effect.provide(Layer.provide(
        SqlCheckpointStore.layerWith({ prefix: "bank", migrate: false }),
        Layer.fresh(pgClient(asRole.href))
      )))
    }))
})
