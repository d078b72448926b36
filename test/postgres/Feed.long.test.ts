import { SqlClient } from "@effect/sql"
import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Fiber, Layer, Metric, Stream } from "effect"
import {
  type Event,
  EventStore,
  ExpectedVersion,
  Metrics,
  Position,
  SqlEventStore,
  SqlMigrations,
  StreamId
} from "effect-eventsourcing"
import { stream } from "../fixtures/Account.js"
import { migratedDatabase } from "../utils/backends.js"
import { startServer } from "../utils/postgres.js"
import { collect, connection, events, feedOf, stores, storesOn } from "./setup.js"

describe("the feed", () => {
  const positions = (events: ReadonlyArray<Event.RecordedEvent>) => events.map(({ position }) => position)

  const heldBack = Metric.tagged(Metrics.feedHeldBack, "events", "eventsourcing_events")
  const lag = Metric.tagged(Metrics.feedLag, "events", "eventsourcing_events")

  const ordered = (events: ReadonlyArray<Event.RecordedEvent>) => {
    for (let i = 1; i < events.length; i++) {
      assert.strictEqual(Position.Order(events[i - 1].position, events[i].position), -1)
    }
  }

  it.scopedLive("does not skip an event that commits late", () =>
    Effect.gen(function*() {
      const url = yield* migratedDatabase
      yield* Effect.gen(function*() {
        const store = yield* EventStore.EventStore
        const sql = yield* SqlClient.SqlClient
        const append = (name: string) => store.append(stream(name), events(1), { expectedVersion: ExpectedVersion.any })
        yield* append("before")
        const [{ position: checkpoint }] = yield* feedOf(1)
        const commit = yield* Deferred.make<void>()
        const appended = yield* Deferred.make<void>()
        const slow = yield* Effect.fork(sql.withTransaction(
          append("slow").pipe(
            Effect.zipRight(Deferred.succeed(appended, undefined)),
            Effect.zipRight(Deferred.await(commit))
          )
        ))
        yield* Deferred.await(appended)
        yield* append("fast")
        yield* append("fast")
        // a reader that only looked at positions would now move past the slow one for ever
        assert.deepStrictEqual(yield* collect(store.readAll({ after: checkpoint })), [])
        assert.strictEqual((yield* Metric.value(heldBack)).value, 2)
        assert.isAbove((yield* Metric.value(lag)).value, 0)
        yield* Deferred.succeed(commit, undefined)
        yield* Fiber.join(slow)
        const read = yield* feedOf(3, { after: checkpoint })
        assert.deepStrictEqual(read.map(({ stream }) => stream.id), ["slow", "fast", "fast"])
        ordered(read)
        assert.strictEqual((yield* Metric.value(heldBack)).value, 0)
        assert.strictEqual((yield* Metric.value(lag)).value, 0)
      }).pipe(Effect.provide(storesOn(url)))
    }))

  it.scopedLive("the checkpoint of a filtered reader does not pass an event that commits late", () =>
    Effect.gen(function*() {
      const url = yield* migratedDatabase
      yield* Effect.gen(function*() {
        const store = yield* EventStore.EventStore
        const sql = yield* SqlClient.SqlClient
        const append = (aggregate: string) =>
          store.append(StreamId.make(aggregate, "a"), events(1), { expectedVersion: ExpectedVersion.any })
        yield* append("Account")
        const [{ position: checkpoint }] = yield* feedOf(1)
        assert.strictEqual(yield* store.head, checkpoint)
        const commit = yield* Deferred.make<void>()
        const appended = yield* Deferred.make<void>()
        const slow = yield* Effect.fork(sql.withTransaction(
          append("Account").pipe(
            Effect.zipRight(Deferred.succeed(appended, undefined)),
            Effect.zipRight(Deferred.await(commit))
          )
        ))
        yield* Deferred.await(appended)
        yield* append("Other")
        const partition = { index: 0, of: 1 }
        for (
          const filter of [
            {},
            { aggregates: ["Other"] },
            { aggregates: ["Absent", "Other"] },
            { aggregates: [] },
            { types: ["absent"] },
            { partition }
          ]
        ) {
          const page = yield* store.readPage({ ...filter, after: checkpoint })
          assert.deepStrictEqual(page, { events: [], settled: checkpoint, atEnd: true }, JSON.stringify(filter))
          const fromStart = yield* store.readPage(filter)
          assert.strictEqual(fromStart.settled, checkpoint, JSON.stringify(filter))
        }
        assert.strictEqual(yield* store.head, checkpoint)
        assert.strictEqual((yield* Metric.value(heldBack)).value, 1)
        yield* Deferred.succeed(commit, undefined)
        yield* Fiber.join(slow)
        const read = yield* feedOf(2, { after: checkpoint })
        assert.deepStrictEqual(read.map(({ stream }) => stream.aggregate), ["Account", "Other"])
        const { settled } = yield* store.readPage({ aggregates: ["Account"], after: checkpoint })
        assert.strictEqual(settled, read[1].position)
      }).pipe(Effect.provide(storesOn(url)))
    }))

  it.scopedLive("accepts a position that is not settled yet, and refuses one that was never given", () =>
    Effect.gen(function*() {
      const url = yield* migratedDatabase
      yield* Effect.gen(function*() {
        const store = yield* EventStore.EventStore
        const sql = yield* SqlClient.SqlClient
        const append = store.append(stream("a"), events(1), { expectedVersion: ExpectedVersion.any })
        yield* sql.withTransaction(Effect.gen(function*() {
          yield* sql`SET TRANSACTION ISOLATION LEVEL REPEATABLE READ`
          const own = yield* Effect.flatten(Effect.map(append, ({ position }) => position))
          for (const filter of [{}, { aggregates: ["Account"] }]) {
            assert.strictEqual((yield* store.readPage({ ...filter, after: own })).settled, own)
          }
          // another client appends meanwhile
          const others = yield* Effect.provide(
            Effect.flatMap(
              EventStore.EventStore,
              (store) => store.append(stream("b"), events(1), { expectedVersion: ExpectedVersion.any })
            ),
            Layer.fresh(storesOn(url))
          ).pipe(Effect.flatMap(({ position }) => position))
          assert.strictEqual((yield* store.readPage({ after: others })).settled, others)
          // and waits for an event that is not committed yet
          const later = yield* Effect.provide(
            Effect.flatMap(EventStore.EventStore, (store) => store.readPage({ after: own })),
            Layer.fresh(storesOn(url))
          )
          assert.strictEqual(later.settled, own)
        }))
        const [, { position }] = yield* feedOf(2)
        const { sequence, transaction } = Position.toParts(position)
        const never = Position.fromParts(BigInt(transaction) + 1_000n, sequence)
        for (
          const filter of [{}, { aggregates: ["Account"] }, { types: ["absent"] }, { partition: { index: 0, of: 2 } }]
        ) {
          const failure = yield* Effect.flip(store.readPage({ ...filter, after: never }))
          assert.strictEqual(failure.reason, "InvalidInput")
          assert.include(failure.message, "EventStore.readPage: after is ahead of the store's head")
          const failed = yield* Effect.flip(Stream.runDrain(store.readAll({ ...filter, after: never })))
          assert.include(failed.message, "EventStore.readAll: after is ahead of the store's head")
        }
      }).pipe(Effect.provide(storesOn(url)))
    }))

  it.scopedLive("keeps the order of a stream whose transactions began in another order", () =>
    Effect.gen(function*() {
      const sql = yield* SqlClient.SqlClient
      const store = yield* EventStore.EventStore
      const append = (name: string, version: number) =>
        store.append(stream(name), events(1), { expectedVersion: ExpectedVersion.exact(version) })
      const began = yield* Deferred.make<void>()
      const goOn = yield* Deferred.make<void>()
      // the older transaction writes the younger event
      const older = yield* Effect.fork(sql.withTransaction(Effect.gen(function*() {
        yield* append("own", 0)
        yield* Deferred.succeed(began, undefined)
        yield* Deferred.await(goOn)
        yield* append("shared", 1)
      })))
      yield* Deferred.await(began)
      yield* append("shared", 0)
      yield* store.append(StreamId.make("Order", "other"), events(1), { expectedVersion: ExpectedVersion.noStream })
      yield* Deferred.succeed(goOn, undefined)
      yield* Fiber.join(older)
      yield* append("shared", 2)
      const read = yield* feedOf(5)
      ordered(read)
      assert.deepStrictEqual(
        read.filter(({ stream }) => stream.id === "shared").map(({ version }) => version),
        [1, 2, 3]
      )
      assert.deepStrictEqual(read.map(({ stream }) => stream.id).sort(), ["other", "own", "shared", "shared", "shared"])
      for (const [index, position] of positions(read).entries()) {
        for (
          const filter of [
            {},
            { aggregates: ["Order", "Account"] },
            { aggregates: ["Order", "Account"], types: [read[0].type] },
            { types: [read[0].type] },
            { partition: { index: 0, of: 1 } }
          ]
        ) {
          for (const pageSize of [1, 2]) {
            assert.deepStrictEqual(
              positions(yield* collect(store.readAll({ ...filter, after: position, pageSize }))),
              positions(read).slice(index + 1)
            )
          }
        }
      }
    }).pipe(Effect.provide(stores)))

  it.scopedLive("does not return events that were rolled back", () =>
    Effect.gen(function*() {
      const sql = yield* SqlClient.SqlClient
      const store = yield* EventStore.EventStore
      for (let i = 0; i < 10; i++) {
        const appended = store.append(stream(`s${i}`), events(2), { expectedVersion: ExpectedVersion.any })
        yield* i % 2 === 0 ? appended : Effect.ignore(
          sql.withTransaction(Effect.zipRight(appended, Effect.fail("roll back")))
        )
      }
      const read = yield* feedOf(10)
      assert.deepStrictEqual(
        read.map(({ stream, version }) => `${stream.id} ${version}`),
        [0, 2, 4, 6, 8].flatMap((i) => [`s${i} 1`, `s${i} 2`])
      )
    }).pipe(Effect.provide(stores)))

  it.scopedLive(
    "a reader that follows sixteen writers sees every event once, and every stream in order",
    () =>
      Effect.gen(function*() {
        const url = yield* migratedDatabase
        yield* Effect.gen(function*() {
          const store = yield* EventStore.EventStore
          const sql = yield* SqlClient.SqlClient
          const each = 40
          const total = 16 * each
          const write = (writer: number) =>
            Effect.forEach(Array.from({ length: each }, (_, i) => i), (i) => {
              const appended = store.append(stream(`s${(writer + i) % 5}`), events(1), {
                expectedVersion: ExpectedVersion.any
              })
              const inTransaction = sql.withTransaction(Effect.zipRight(
                store.append(StreamId.make("Other", `${writer}-${i}`), events(1), {
                  expectedVersion: ExpectedVersion.any
                }),
                Effect.zipRight(Effect.yieldNow(), appended)
              ))
              switch (i % 4) {
                case 0:
                  return inTransaction
                case 1:
                  // what is rolled back uses up positions and transaction ids
                  return Effect.zipRight(
                    Effect.ignore(sql.withTransaction(Effect.zipRight(appended, Effect.fail("roll back")))),
                    appended
                  )
                default:
                  return appended
              }
            }, { discard: true })
          const writers = yield* Effect.fork(
            Effect.forEach(Array.from({ length: 16 }, (_, i) => i), write, { concurrency: "unbounded", discard: true })
          )
          const seen: Array<Event.RecordedEvent> = []
          let checkpoint = Position.start
          while (seen.length < total) {
            const page = yield* collect(store.readAll({ after: checkpoint, aggregates: ["Account"], pageSize: 7 }))
            seen.push(...page)
            checkpoint = page.at(-1)?.position ?? checkpoint
          }
          yield* Fiber.join(writers)
          assert.deepStrictEqual(yield* collect(store.readAll({ after: checkpoint, aggregates: ["Account"] })), [])
          ordered(seen)
          assert.strictEqual(new Set(seen.map(({ id }) => id)).size, total)
          for (let s = 0; s < 5; s++) {
            const versions = seen.filter(({ stream }) => stream.id === `s${s}`).map(({ version }) => version)
            assert.deepStrictEqual(versions, versions.map((_, i) => i + 1))
          }
        }).pipe(Effect.provide(storesOn(url, { maxConnections: 20 })))
      })
  )

  it.scopedLive("keeps the order of an import in a transaction that is older than one of its streams", () =>
    Effect.gen(function*() {
      const url = yield* migratedDatabase
      yield* Effect.gen(function*() {
        const store = yield* EventStore.EventStore
        const sql = yield* SqlClient.SqlClient
        const append = (name: string) =>
          Effect.flatMap(
            EventStore.EventStore,
            (store) => store.append(stream(name), events(1), { expectedVersion: ExpectedVersion.any })
          )
        const imported = [
          { stream: stream("own"), type: "E", payload: 1, version: 2 },
          { stream: stream("younger"), type: "E", payload: 2, version: 2 },
          { stream: stream("new"), type: "E", payload: 3 }
        ]
        yield* sql.withTransaction(Effect.gen(function*() {
          yield* append("own")
          yield* Effect.provide(append("younger"), Layer.fresh(storesOn(url)))
          yield* collect(store.import(Stream.fromIterable(imported), { batchSize: 1 }))
        }))
        const read = yield* feedOf(5)
        ordered(read)
        assert.deepStrictEqual(read.flatMap(({ payload, type }) => type === "E" ? [payload] : []), [1, 2, 3])
      }).pipe(Effect.provide(storesOn(url)))
    }))

  it.scopedLive("is correct if a layer is built in a transaction that has appended", () =>
    Effect.gen(function*() {
      const url = yield* migratedDatabase
      yield* Effect.gen(function*() {
        const sql = yield* SqlClient.SqlClient
        const store = yield* EventStore.EventStore
        const append = (name: string) => store.append(stream(name), events(1), { expectedVersion: ExpectedVersion.any })
        const goOn = yield* Deferred.make<void>()
        const began = yield* Deferred.make<void>()
        const slow = yield* Effect.fork(sql.withTransaction(
          append("slow").pipe(
            Effect.zipRight(Deferred.succeed(began, undefined)),
            Effect.zipRight(Deferred.await(goOn))
          )
        ))
        yield* Deferred.await(began)
        yield* sql.withTransaction(Effect.zipRight(append("own"), SqlEventStore.make()))
        yield* Deferred.succeed(goOn, undefined)
        yield* Fiber.join(slow)
        assert.deepStrictEqual((yield* feedOf(2)).map(({ stream }) => stream.id), ["slow", "own"])
        const [{ base }] = yield* sql<{ readonly base: string }>`SELECT base FROM eventsourcing_cluster`
        assert.strictEqual(Number(base), 0)
      }).pipe(Effect.provide(storesOn(url)))
    }))

  it.scopedLive("continues after all tables were emptied", () =>
    Effect.gen(function*() {
      const sql = yield* SqlClient.SqlClient
      const store = yield* EventStore.EventStore
      for (let i = 0; i < 2; i++) {
        yield* store.append(stream("a"), events(2), { expectedVersion: ExpectedVersion.noStream })
        yield* store.append(stream("a"), events(1), { expectedVersion: ExpectedVersion.exact(2) })
        assert.strictEqual((yield* feedOf(3)).length, 3)
        yield* sql`TRUNCATE eventsourcing_events, eventsourcing_snapshots, eventsourcing_cluster`
        if (i === 1) yield* SqlEventStore.make()
      }
      yield* store.append(stream("b"), events(1), { expectedVersion: ExpectedVersion.noStream })
      assert.strictEqual((yield* feedOf(1)).length, 1)
    }).pipe(Effect.provide(stores)))

  it.scopedLive("a consumer that stops early holds no connection", () =>
    Effect.gen(function*() {
      const url = yield* migratedDatabase
      yield* Effect.gen(function*() {
        const store = yield* EventStore.EventStore
        yield* store.append(stream("a"), events(100), { expectedVersion: ExpectedVersion.any })
        yield* feedOf(100)
        for (let i = 0; i < 10; i++) {
          const some = yield* collect(Stream.take(store.readAll({ pageSize: 5 }), 7))
          assert.strictEqual(some.length, 7)
        }
        // with the one connection of the pool in hand, a consumer may write while it reads
        yield* Stream.runForEach(
          Stream.take(store.readAll({ pageSize: 5 }), 12),
          () => store.append(stream("b"), events(1), { expectedVersion: ExpectedVersion.any })
        )
        assert.strictEqual(yield* store.version(stream("b")), 12)
      }).pipe(Effect.provide(storesOn(url, { maxConnections: 1 })))
    }))

  it.scopedLive(
    "continues after a dump was restored into a fresh cluster with lower transaction ids",
    () =>
      Effect.gen(function*() {
        const url = yield* migratedDatabase
        const tables = [
          "eventsourcing_events",
          "eventsourcing_snapshots",
          "eventsourcing_cluster",
          "eventsourcing_migrations"
        ]
        const old = yield* connection(url)
        const before = yield* Effect.gen(function*() {
          const store = yield* EventStore.EventStore
          // a cluster that has seen many more transactions than the new one
          yield* Effect.promise(() =>
            old.query("DO $$ BEGIN FOR i IN 1..3000 LOOP PERFORM pg_current_xact_id(); COMMIT; END LOOP; END $$")
          )
          yield* store.append(stream("a"), events(3), { expectedVersion: ExpectedVersion.any })
          return yield* feedOf(3)
        }).pipe(Effect.provide(storesOn(url)))
        const checkpoint = before[2].position

        const fresh = yield* Effect.acquireRelease(
          Effect.promise(() => startServer()),
          (server) => Effect.promise(server.close)
        )
        const restored = yield* connection(fresh.url)
        // what pg_dump and pg_restore do: the tables, their rows, the sequence
        for (const statement of yield* SqlMigrations.statementsPostgres()) {
          yield* Effect.promise(() => restored.query(statement))
        }

        for (const table of tables) {
          yield* Effect.promise(() => restored.query(`DELETE FROM ${table}`))
          const { rows } = yield* Effect.promise(() =>
            old.query<{ readonly row: string }>(`SELECT row_to_json(t)::text AS row FROM ${table} AS t`)
          )
          for (const { row } of rows) {
            yield* Effect.promise(() =>
              restored.query(`INSERT INTO ${table} SELECT * FROM json_populate_record(NULL::${table}, $1)`, [row])
            )
          }
        }
        yield* Effect.promise(() =>
          restored.query(
            "SELECT setval(pg_get_serial_sequence('eventsourcing_events', 'position'), (SELECT max(position) FROM eventsourcing_events))"
          )
        )
        const { rows: [ids] } = yield* Effect.promise(() =>
          restored.query<{ readonly low: boolean }>(
            "SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint < (SELECT min(transaction) FROM eventsourcing_events) AS low"
          )
        )
        assert.isTrue(ids.low, "the new cluster has lower transaction ids")

        // building the layers is the step
        yield* Effect.gen(function*() {
          const store = yield* EventStore.EventStore
          assert.deepStrictEqual(positions(yield* feedOf(3)), positions(before))
          yield* store.append(stream("a"), events(1), { expectedVersion: ExpectedVersion.exact(3) })
          yield* store.append(stream("b"), events(1), { expectedVersion: ExpectedVersion.noStream })
          const after = yield* feedOf(2, { after: checkpoint })
          assert.deepStrictEqual(after.map(({ stream }) => stream.id), ["a", "b"])
          const { rows: [{ base }] } = yield* Effect.promise(() =>
            restored.query("SELECT base FROM eventsourcing_cluster")
          )
          // and once it is done it has nothing to do
          yield* SqlMigrations.afterRestore()
          yield* SqlEventStore.make()
          const { rows: [{ base: again }] } = yield* Effect.promise(() =>
            restored.query("SELECT base FROM eventsourcing_cluster")
          )
          assert.strictEqual(again, base)
          assert.strictEqual((yield* feedOf(5)).length, 5)

          // a reader may hold a position that the restored database never reached
          const beyond = Position.fromParts(BigInt(Position.toParts(checkpoint).transaction) + 1_000_000n, 7)
          yield* SqlMigrations.afterRestore({ after: beyond })
          yield* store.append(stream("c"), events(1), { expectedVersion: ExpectedVersion.noStream })
          assert.deepStrictEqual((yield* feedOf(1, { after: beyond })).map(({ stream }) => stream.id), ["c"])
        }).pipe(Effect.provide(storesOn(fresh.url)))
      })
  )
})
