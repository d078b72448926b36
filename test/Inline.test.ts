import { SqlClient } from "@effect/sql"
import { assert, describe, it } from "@effect/vitest"
import { Context, Deferred, Effect, Fiber, Layer, Option, Ref, Schedule } from "effect"
import {
  EventStore,
  InvalidOption,
  Repository,
  SnapshotPolicy,
  SnapshotStore,
  SqlSnapshotStore,
  StreamId
} from "effect-eventsourcing"
import { liveClock } from "../src/internal/liveClock.js"
import { Account, deposit, id, open } from "./fixtures/Account.js"
import {
  memoryStores,
  postgresTemporaryDatabase,
  sqliteFile,
  sqliteTemporaryFile,
  sqlStores
} from "./utils/backends.js"
import { lines } from "./utils/observe.js"

const stream = StreamId.make("Account", "a")

const inline = SnapshotPolicy.inline({ every: 5 })

const rowVersion = Effect.flatMap(SnapshotStore.SnapshotStore, (store) =>
  Effect.map(
    store.get(stream, { schemaVersion: 1 }),
    Option.match({ onNone: () => 0, onSome: ({ version }) => version })
  ))

describe("inline needs stores that share a database", () => {
  const refused = <E>(stores: Layer.Layer<EventStore.EventStore | SnapshotStore.SnapshotStore, E>) =>
    Effect.gen(function*() {
      class Accounts extends Context.Tag("Accounts")<Accounts, Repository.Repository<typeof Account>>() {}
      const layer = Layer.provide(Repository.layer(Accounts, Account, { snapshots: inline }), stores)
      const failure = yield* Effect.flip(Layer.build(layer))
      assert.instanceOf(failure, InvalidOption.InvalidOption)
      assert.include(String(failure), "inline")
    })

  it.scoped("rejects stores in memory", () => refused(memoryStores))

  it.scoped("rejects stores on two databases, and on two clients of one database", () =>
    refused(Layer.merge(
      Layer.provide(sqlStores, sqliteFile(":memory:")),
      Layer.provide(SqlSnapshotStore.layer, Layer.fresh(sqliteFile(":memory:")))
    )))

  it.scoped("rejects a wrapped store", () =>
    refused(
      Layer.provideMerge(
        Layer.effect(
          SnapshotStore.SnapshotStore,
          Effect.map(SnapshotStore.SnapshotStore, (store) => SnapshotStore.SnapshotStore.of({ ...store }))
        ),
        Layer.provide(sqlStores, sqliteFile(":memory:"))
      )
    ))
})

const suite = (name: string, client: Layer.Layer<SqlClient.SqlClient, unknown>) =>
  describe(`inline on ${name}`, () => {
    const stores = Layer.provideMerge(sqlStores, client)
    const dialect = <A>(options: { readonly sqlite: A; readonly pg: A }) =>
      Effect.map(
        SqlClient.SqlClient,
        (sql) => sql.onDialectOrElse({ pg: () => options.pg, orElse: () => options.sqlite })
      )

    it.scoped("saves a due snapshot with the events, and only a due one", () =>
      Effect.gen(function*() {
        const accounts = yield* Repository.make(Account, { snapshots: inline })
        yield* accounts.executeAll(id("a"), [open, deposit(1, 3)])
        assert.strictEqual(yield* rowVersion, 0)
        const done = yield* accounts.execute(id("a"), deposit(1, 3))
        assert.strictEqual(done.version, 7)
        assert.strictEqual(yield* rowVersion, 7)
        assert.deepInclude(yield* accounts.load(id("a")), { snapshotVersion: 7, replayed: 0 })
        assert.deepInclude(yield* accounts.verify(id("a")), { _tag: "Verified" })
        // what a load finds due it takes as well
        yield* (yield* Repository.make(Account)).execute(id("a"), deposit(1, 5))
        yield* accounts.load(id("a"))
        assert.strictEqual(yield* rowVersion, 12)
      }).pipe(Effect.provide(stores)))

    it.scoped("no reader sees the events without the snapshot", () =>
      Effect.gen(function*() {
        const sql = yield* SqlClient.SqlClient
        const begun: Array<boolean> = []
        const store = yield* EventStore.EventStore
        const accounts = yield* Repository.make(Account, { snapshots: SnapshotPolicy.inline({ every: 1 }) }).pipe(
          Effect.provideService(EventStore.EventStore, {
            ...store,
            append: (...args) =>
              Effect.tap(
                store.append(...args),
                () => Effect.map(store.replay.inTransaction, (open) => begun.push(open))
              )
          })
        )
        const reading = yield* Ref.make(true)
        const seen = new Set<string>()
        const reader = yield* Effect.gen(function*() {
          while (yield* Ref.get(reading)) {
            const [row] = yield* sql<{ readonly events: number; readonly snapshot: number }>`SELECT
              (SELECT coalesce(max(version), 0) FROM eventsourcing_events) AS events,
              (SELECT coalesce(max(version), 0) FROM eventsourcing_snapshots) AS snapshot`
            assert.strictEqual(row.events, row.snapshot)
            seen.add(String(row.events))
            yield* Effect.yieldNow()
          }
        }).pipe(Effect.fork)
        yield* accounts.execute(id("a"), open)
        yield* Effect.repeatN(Effect.zipLeft(accounts.execute(id("a"), deposit(1)), Effect.yieldNow()), 50)
        yield* Ref.set(reading, false)
        yield* Fiber.join(reader)
        assert.isAbove(seen.size, 5)
        assert.isTrue(begun.length === 52 && begun.every((open) => open))
      }).pipe(Effect.provide(stores)))

    it.scoped("a conflict is decided again, and events and snapshot are stored once", () =>
      Effect.gen(function*() {
        const accounts = yield* Repository.make(Account, {
          snapshots: SnapshotPolicy.inline({ every: 2 }),
          retry: Schedule.forever
        })
        yield* accounts.execute(id("a"), open)
        yield* Effect.forEach(Array.from({ length: 20 }), () => accounts.execute(id("a"), deposit(1)), {
          concurrency: "unbounded"
        })
        const loaded = yield* accounts.load(id("a"))
        assert.deepInclude(loaded, { version: 21, state: { open: true, balance: 20 } })
        assert.isAtLeast(loaded.snapshotVersion, 20)
        assert.deepInclude(yield* accounts.verify(id("a")), { _tag: "Verified" })
      }).pipe(Effect.provide(stores)))

    const broken = {
      "whose table is gone": Effect.flatMap(SqlClient.SqlClient, (sql) => sql`DROP TABLE eventsourcing_snapshots`),
      "that the database refuses": Effect.flatMap(
        SqlClient.SqlClient,
        (sql) =>
          Effect.flatMap(
            dialect({
              sqlite: [
                "CREATE TRIGGER refuse BEFORE INSERT ON eventsourcing_snapshots BEGIN SELECT RAISE(ABORT, 'planned'); END"
              ],
              pg: [
                "CREATE FUNCTION refuse() RETURNS trigger AS $$ BEGIN RAISE 'planned'; END $$ LANGUAGE plpgsql",
                "CREATE TRIGGER refuse BEFORE INSERT ON eventsourcing_snapshots FOR EACH ROW EXECUTE FUNCTION refuse()"
              ]
            }),
            Effect.forEach((statement) => sql.unsafe(statement))
          )
      )
    }
    for (const [kind, breaking] of Object.entries(broken)) {
      it.scoped(`a snapshot ${kind} does not fail the command`, () =>
        Effect.gen(function*() {
          const { logged, observed } = yield* lines
          const accounts = yield* Repository.make(Account, { snapshots: inline })
          yield* breaking
          const done = yield* observed(accounts.executeAll(id("a"), [open, deposit(1, 6)]))
          assert.strictEqual(done.version, 7)
          assert.isTrue(
            logged.some(({ level, message }) => level === "WARN" && message.includes("a snapshot cannot be kept"))
          )
          const plain = yield* Repository.make(Account)
          assert.deepInclude(yield* plain.load(id("a")), { version: 7, state: { open: true, balance: 6 } })
        }).pipe(Effect.provide(stores)))
    }

    it.scoped("a transaction that cannot begin or commit does not fail the command, and nothing is stored twice", () =>
      Effect.gen(function*() {
        const sql = yield* SqlClient.SqlClient
        const { withTransaction } = sql
        const accounts = yield* Repository.make(Account, { snapshots: SnapshotPolicy.inline({ every: 1 }) })
        Object.assign(sql, { withTransaction: () => Effect.die("it cannot begin") })
        yield* accounts.execute(id("a"), open)
        assert.strictEqual(yield* rowVersion, 1)
        // the worst of both: it was committed, and said not to be
        Object.assign(sql, {
          withTransaction: (effect: Effect.Effect<unknown>) =>
            Effect.zipRight(withTransaction(effect), Effect.die("the answer was lost"))
        })
        const done = yield* accounts.execute(id("a"), deposit(1, 2))
        Object.assign(sql, { withTransaction })
        assert.deepInclude(done, { version: 3 })
        assert.deepInclude(yield* accounts.load(id("a")), { version: 3, state: { open: true, balance: 2 } })
        assert.strictEqual(yield* rowVersion, 3)
      }).pipe(Effect.provide(stores)))

    it.scoped("if the answer of the transaction is lost and the append without it fails, the error says mayHaveAppended", () =>
      Effect.gen(function*() {
        const store = yield* EventStore.EventStore
        const cause = new Error("the connection ended")
        const unavailable = (mayHaveAppended: boolean) =>
          new EventStore.EventStoreError({
            operation: "append",
            stream,
            reason: "Unavailable",
            mayHaveAppended,
            detail: "planned",
            cause
          })
        for (const lost of [true, false]) {
          for (const again of [true, false]) {
            let appends = 0
            const accounts = yield* Repository.make(Account, { snapshots: SnapshotPolicy.inline({ every: 1 }) }).pipe(
              Effect.provideService(EventStore.EventStore, {
                ...store,
                append: (...args) => Effect.suspend(() => appends++ === 0 ? store.append(...args) : unavailable(again)),
                replay: {
                  ...store.replay,
                  withSnapshots: (snapshots) =>
                    Option.map(store.replay.withSnapshots(snapshots), (shared) => ({
                      ...shared,
                      transaction: (effect) => Effect.zipRight(shared.transaction(effect), unavailable(lost))
                    }))
                }
              })
            )
            const before = yield* store.version(stream)
            const failure = yield* Effect.flip(accounts.executeAll(id("a"), [open, deposit(1)]))
            assert.strictEqual(appends, 2)
            assert.deepInclude(failure, {
              _tag: "EventStoreError",
              reason: "Unavailable",
              mayHaveAppended: lost || again
            })
            assert.strictEqual(failure.cause, cause)
            // here it did, which is why it must not be denied
            assert.isAbove(yield* store.version(stream), before)
          }
        }
      }).pipe(Effect.provide(stores)))

    it.scoped("a command interrupted half way stores neither events nor snapshot", () =>
      Effect.gen(function*() {
        const store = yield* EventStore.EventStore
        const appended = yield* Deferred.make<void>()
        const accounts = yield* Repository.make(Account, { snapshots: inline }).pipe(
          Effect.provideService(EventStore.EventStore, {
            ...store,
            append: (...args) =>
              Effect.zipRight(store.append(...args), Effect.zipRight(Deferred.succeed(appended, void 0), Effect.never))
          })
        )
        const fiber = yield* Effect.fork(accounts.executeAll(id("a"), [open, deposit(1, 6)]))
        yield* Deferred.await(appended)
        yield* Fiber.interrupt(fiber)
        assert.strictEqual(yield* store.version(stream), 0)
        assert.strictEqual(yield* rowVersion, 0)
      }).pipe(Effect.provide(stores)))

    it.scoped("inside the caller's transaction events and snapshot are part of it", () =>
      Effect.gen(function*() {
        const sql = yield* SqlClient.SqlClient
        const store = yield* EventStore.EventStore
        const accounts = yield* Repository.make(Account, { snapshots: inline })
        const written = accounts.executeAll(id("a"), [open, deposit(1, 6)])
        yield* sql.withTransaction(Effect.zipRight(written, Effect.fail("roll back" as const))).pipe(Effect.flip)
        assert.strictEqual(yield* store.version(stream), 0)
        assert.strictEqual(yield* rowVersion, 0)
        yield* sql.withTransaction(written)
        assert.strictEqual(yield* rowVersion, 7)
      }).pipe(Effect.provide(stores)))

    it.scoped("inside the transaction of another client it uses a transaction of its own", () =>
      Effect.gen(function*() {
        const other = Context.get(yield* Layer.build(Layer.fresh(sqliteFile(":memory:"))), SqlClient.SqlClient)
        const accounts = yield* Repository.make(Account, { snapshots: inline })
        yield* other.withTransaction(
          Effect.zipRight(accounts.executeAll(id("a"), [open, deposit(1, 6)]), Effect.fail("roll back" as const))
        ).pipe(Effect.flip)
        assert.deepInclude(yield* accounts.load(id("a")), { version: 7, snapshotVersion: 7 })
      }).pipe(Effect.provide(stores)))
  })

suite("SQLite", sqliteFile(":memory:"))
suite("an SQLite file", sqliteTemporaryFile)
suite("PostgreSQL", postgresTemporaryDatabase)

describe("inline while others hold locks", () => {
  it.scoped("a save that waits for a lock is given up in time, and the events are stored", () =>
    Effect.gen(function*() {
      const sql = yield* SqlClient.SqlClient
      const store = yield* EventStore.EventStore
      yield* Effect.flatMap(
        Repository.make(Account, { snapshots: SnapshotPolicy.manual }),
        (accounts) => Effect.zipRight(accounts.execute(id("a"), open), accounts.createSnapshot(id("a")))
      )
      const accounts = yield* Repository.make(Account, { snapshots: inline, snapshotTimeout: "300 millis" })
      const locked = yield* Deferred.make<void>()
      const release = yield* Deferred.make<void>()
      const holder = yield* sql.withTransaction(
        Effect.zipRight(
          sql`SELECT * FROM eventsourcing_snapshots FOR UPDATE`,
          Effect.zipRight(Deferred.succeed(locked, void 0), Deferred.await(release))
        )
      ).pipe(Effect.fork)
      yield* Deferred.await(locked)
      const done = yield* accounts.execute(id("a"), deposit(1, 6))
      assert.strictEqual(done.version, 7)
      yield* Deferred.succeed(release, void 0)
      yield* Fiber.join(holder)
      assert.strictEqual(yield* store.version(stream), 7)
      assert.strictEqual(yield* rowVersion, 1)
    }).pipe(Effect.provide(Layer.provideMerge(sqlStores, postgresTemporaryDatabase)), Effect.withClock(liveClock)))
})
