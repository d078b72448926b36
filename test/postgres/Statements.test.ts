import { SqlClient } from "@effect/sql"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer, Stream } from "effect"
import { EventStore, ExpectedVersion, Repository, SnapshotPolicy, SnapshotStore } from "effect-eventsourcing"
import pg from "pg"
import { Account, deposit, id, open, stream } from "../fixtures/Account.js"
import { migratedDatabase, sqlStores } from "../utils/backends.js"
import { everything } from "../utils/mode.js"
import { collect, events, explaining, stores } from "./setup.js"

describe("statements", () => {
  it.scoped("one statement a load, one an append of any size, one a save", () =>
    Effect.gen(function*() {
      const accounts = yield* Repository.make(Account, { snapshots: SnapshotPolicy.sync({ every: 10 }) })
      const store = yield* EventStore.EventStore
      const counted = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
        Effect.acquireUseRelease(
          Effect.sync(() => {
            const { query } = pg.Client.prototype
            const texts: Array<unknown> = []
            pg.Client.prototype.query = function(this: unknown, ...args: ReadonlyArray<unknown>) {
              texts.push(args[0])
              return Reflect.apply(query, this, args)
            }
            return { texts, restore: () => Object.assign(pg.Client.prototype, { query }) }
          }),
          ({ texts }) => Effect.map(effect, () => texts.length),
          ({ restore }) => Effect.sync(restore)
        )
      assert.strictEqual(yield* counted(accounts.executeAll(id("a"), [open, deposit(1, 4)])), 2)
      assert.strictEqual(yield* counted(accounts.load(id("a"))), 1)
      // and one that proves the history that the snapshot is of
      assert.strictEqual(yield* counted(accounts.execute(id("a"), deposit(1, 5))), 4)
      assert.strictEqual(yield* counted(accounts.load(id("a"))), 1)
      assert.strictEqual(yield* counted(accounts.execute(id("a"), deposit(1))), 2)
      // four parameters an event would be 100,000, and the protocol has room for 65,535
      const many = events(25_000)
      assert.strictEqual(yield* counted(store.append(stream("b"), many, { expectedVersion: ExpectedVersion.any })), 1)
    }).pipe(Effect.provide(stores)))

  it.scoped.runIf(everything)(
    "no sequential scan and no sort on 100,000 events, with a plan made at any size of the table",
    () =>
      Effect.gen(function*() {
        const plans: Array<string> = []
        yield* Effect.gen(function*() {
          const sql = yield* SqlClient.SqlClient
          const store = yield* EventStore.EventStore
          const accounts = yield* Repository.make(Account, { snapshots: SnapshotPolicy.manual })
          const run = Effect.gen(function*() {
            yield* store.append(stream("long"), events(3), { expectedVersion: ExpectedVersion.any })
            yield* store.append(stream("stream-7"), events(1), { expectedVersion: ExpectedVersion.any })
            yield* store.version(stream("long"))
            yield* store.replay.readTail(stream("long"), { fromVersion: 20_000, limit: 1_000 })
            yield* store.replay.readTail(stream("long"), { fromVersion: 1, limit: 20_000 })
            yield* store.replay.readTail(stream("stream-7"), { fromVersion: 1, limit: 20_000 })
            yield* collect(store.read(stream("long"), { fromVersion: 29_000 }))
            yield* accounts.load(id("stream-7"))
            yield* (yield* SnapshotStore.SnapshotStore).get(stream("stream-7"), { schemaVersion: 1 })
            yield* Stream.runDrain(Stream.take(store.readAll(), 10))
            const [{ position }] = yield* collect(Stream.take(store.read(stream("stream-7")), 1))
            yield* Stream.runDrain(Stream.take(store.readAll({ after: position, aggregates: ["Order"] }), 10))
            yield* collect(store.readAll({ aggregates: ["Nobody"] }))
            yield* Effect.either(
              store.append(stream("stream-7"), events(1), { expectedVersion: ExpectedVersion.noStream })
            )
          })
          // the connection keeps the plans that it makes now, for tables of which it knows that they hold next to nothing
          yield* run
          yield* sql`ANALYZE`
          yield* run
          yield* sql`INSERT INTO eventsourcing_events (transaction, version, aggregate, stream_id, event_id, type, payload, metadata)
SELECT transaction, n + 6, 'Account', 'long', 'long-' || n, type, payload, metadata
FROM generate_series(1, 30000) AS n, (SELECT * FROM eventsourcing_events LIMIT 1) AS template`
          yield* sql`INSERT INTO eventsourcing_events (transaction, version, aggregate, stream_id, event_id, type, payload, metadata)
SELECT transaction + n % 50, n / 700 + 3, CASE n % 10 WHEN 0 THEN 'Order' ELSE 'Account' END, 'stream-' || n % 700, 'id-' || n, type, payload, metadata
FROM generate_series(1, 70000) AS n, (SELECT * FROM eventsourcing_events LIMIT 1) AS template`
          yield* sql`INSERT INTO eventsourcing_snapshots (aggregate, stream_id, schema_version, version, event_id, fingerprint, state, time)
SELECT 'Account', 'stream-' || n / 3, n % 3, 1, 'e', 'f', '{}', 0 FROM generate_series(1, 20000) AS n`
          const whatLoads = [
            /INSERT INTO .*\$3\[1\]/s,
            /INSERT INTO .*unnest/s,
            /ORDER BY version DESC/,
            /WITH snapshot/,
            /version >= \(SELECT \$3/
          ]
          const check = Effect.gen(function*() {
            for (const part of whatLoads) assert.isTrue(plans.some((plan) => part.test(plan)), String(part))
            for (const plan of plans) {
              const bad = plan.split("\n").filter((line) =>
                /Seq Scan on (?!pg_subscription_rel)|Sort Key|Bitmap/.test(line)
              )
                // the cluster table has one row and no need of an index, and a stream has few snapshots
                .filter((line) => !/_cluster|Sort Key: \(\(eventsourcing_snapshots/.test(line))
              assert.deepStrictEqual(bad, [], plan)
            }
          })
          plans.length = 0
          yield* run
          assert.isAbove(plans.length, 15)
          const kept = plans.filter((plan) => whatLoads.some((part) => part.test(plan)))
          plans.splice(0, Infinity, ...kept)
          yield* check
          yield* sql`ANALYZE`
          plans.length = 0
          yield* run
          yield* check
        }).pipe(Effect.provide(Layer.provideMerge(sqlStores, explaining(yield* migratedDatabase, plans))))
      })
  )

  it.scoped("event times are the server's", () =>
    Effect.gen(function*() {
      const store = yield* EventStore.EventStore
      const sql = yield* SqlClient.SqlClient
      const [{ now: before }] = yield* sql<
        { readonly now: number }
      >`SELECT extract(epoch FROM now())::float8 * 1000 AS now`
      yield* store.append(stream("a"), events(2), { expectedVersion: ExpectedVersion.any })
      const [{ now: after }] = yield* sql<
        { readonly now: number }
      >`SELECT extract(epoch FROM now())::float8 * 1000 AS now`
      // the test's clock stands at 0
      for (const { time } of yield* collect(store.read(stream("a")))) {
        assert.isAtLeast(time.epochMillis, Math.floor(before))
        assert.isAtMost(time.epochMillis, after)
      }
    }).pipe(Effect.provide(stores)))
})
