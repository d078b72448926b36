import { SqlClient } from "@effect/sql"
import { assert, describe, it } from "@effect/vitest"
import { Context, Effect, Either, Layer } from "effect"
import {
  EventStore,
  ExpectedVersion,
  Repository,
  SnapshotPolicy,
  SnapshotStore,
  SqlEventStore
} from "effect-eventsourcing"
import { Account, deposit, event, id, open, stream } from "./fixtures/Account.js"
import { postgresTemporaryDatabase, sqliteFile, sqlStores } from "./utils/backends.js"

const suite = (name: string, client: Layer.Layer<SqlClient.SqlClient, unknown>) =>
  describe(`inside a transaction of the caller's, on ${name}`, () => {
    const stores = Layer.provideMerge(sqlStores, client)
    const rollBack = <A, E>(effect: Effect.Effect<A, E, SqlClient.SqlClient>) =>
      Effect.flatMap(
        SqlClient.SqlClient,
        (sql) => sql.withTransaction(Effect.zipRight(effect, Effect.fail("roll back" as const))).pipe(Effect.flip)
      )

    for (const mode of ["sync", "background"] as const) {
      it.scoped(`a rollback leaves no event and no snapshot (${mode})`, () =>
        Effect.gen(function*() {
          const accounts = yield* Repository.make(Account, { snapshots: SnapshotPolicy[mode]({ every: 5 }) })
          const snapshots = yield* SnapshotStore.SnapshotStore
          yield* accounts.execute(id("a"), open)
          yield* rollBack(Effect.gen(function*() {
            const done = yield* accounts.execute(id("a"), deposit(1, 10))
            assert.strictEqual(done.version, 11)
            assert.strictEqual((yield* accounts.load(id("a"))).version, 11)
            // must not wait for workers that wait for the connection
            yield* accounts.awaitPendingSnapshots
          }))
          yield* accounts.awaitPendingSnapshots
          assert.isFalse(yield* snapshots.exists(stream("a")))
          assert.deepInclude(yield* accounts.load(id("a")), { version: 1, state: { open: true, balance: 0 } })
        }).pipe(Effect.provide(stores)))

      it.scoped(`a commit keeps events and snapshot (${mode})`, () =>
        Effect.gen(function*() {
          const sql = yield* SqlClient.SqlClient
          const accounts = yield* Repository.make(Account, { snapshots: SnapshotPolicy[mode]({ every: 5 }) })
          yield* sql.withTransaction(accounts.executeAll(id("a"), [open, deposit(1, 10)]))
          yield* accounts.awaitPendingSnapshots
          assert.deepInclude(yield* accounts.load(id("a")), { version: 11, snapshotVersion: 11, replayed: 0 })
        }).pipe(Effect.provide(stores)))
    }

    it.scoped("a conflict leaves the transaction usable", () =>
      Effect.gen(function*() {
        const sql = yield* SqlClient.SqlClient
        const store = yield* EventStore.EventStore
        yield* sql.withTransaction(Effect.gen(function*() {
          yield* store.append(stream("a"), [event(1)], { expectedVersion: ExpectedVersion.noStream })
          yield* Effect.flip(store.append(stream("a"), [event(2)], { expectedVersion: ExpectedVersion.noStream }))
          yield* store.append(stream("a"), [event(3)], { expectedVersion: ExpectedVersion.exact(1) })
        }))
        assert.strictEqual(yield* store.version(stream("a")), 2)
      }).pipe(Effect.provide(stores)))

    it.scoped("a store on another client does not take part in the transaction", () =>
      Effect.gen(function*() {
        const other = Context.get(yield* Layer.build(Layer.fresh(stores)), EventStore.EventStore)
        const store = yield* EventStore.EventStore
        yield* rollBack(Effect.gen(function*() {
          yield* store.append(stream("a"), [event(1)], { expectedVersion: ExpectedVersion.any })
          yield* other.append(stream("a"), [event(1), event(2)], { expectedVersion: ExpectedVersion.any })
          assert.isTrue(yield* store.replay.inTransaction)
          assert.isFalse(yield* other.replay.inTransaction)
        }))
        assert.strictEqual(yield* other.version(stream("a")), 2)
        assert.strictEqual(yield* store.version(stream("a")), 0)
      }).pipe(Effect.provide(stores)))

    it.scoped("a store may be built inside a transaction, of its own client or of another one", () =>
      Effect.gen(function*() {
        const sql = yield* SqlClient.SqlClient
        const other = Context.get(yield* Layer.build(Layer.fresh(client)), SqlClient.SqlClient)
        const [own, foreign] = yield* sql.withTransaction(Effect.all([
          SqlEventStore.make({ prefix: "built_inside" }),
          Effect.provideService(SqlEventStore.make({ prefix: "built_inside" }), SqlClient.SqlClient, other)
        ]))
        yield* rollBack(Effect.gen(function*() {
          yield* own.append(stream("a"), [event(1)], { expectedVersion: ExpectedVersion.any })
          yield* foreign.append(stream("a"), [event(1), event(2)], { expectedVersion: ExpectedVersion.any })
          assert.isTrue(yield* own.replay.inTransaction)
          assert.isFalse(yield* foreign.replay.inTransaction)
        }))
        assert.strictEqual(yield* own.version(stream("a")), 0)
        assert.strictEqual(yield* foreign.version(stream("a")), 2)
      }).pipe(Effect.provide(stores)))

    it.scoped("a snapshot store with its own client gets no uncommitted state", () =>
      Effect.gen(function*() {
        const elsewhere = yield* SnapshotStore.makeMemory
        const accounts = yield* Repository.make(Account, { snapshots: SnapshotPolicy.sync({ every: 1 }) }).pipe(
          Effect.provideService(SnapshotStore.SnapshotStore, elsewhere)
        )
        yield* rollBack(Effect.gen(function*() {
          yield* accounts.execute(id("a"), open)
          const failure = yield* Effect.flip(accounts.createSnapshot(id("a")))
          assert.strictEqual(failure._tag, "SnapshotStoreError")
        }))
        assert.isFalse(yield* elsewhere.exists(stream("a")))
        yield* accounts.execute(id("a"), open)
        assert.isTrue(yield* elsewhere.exists(stream("a")))
      }).pipe(Effect.provide(stores)))

    const broken = Effect.flatMap(SqlClient.SqlClient, (sql) => sql`DROP TABLE eventsourcing_snapshots`)

    it.scoped("a duplicate event id leaves the transaction usable", () =>
      Effect.gen(function*() {
        const sql = yield* SqlClient.SqlClient
        const store = yield* EventStore.EventStore
        const [first, second] = [event(1), event(2)]
        yield* store.append(stream("a"), [first], { expectedVersion: ExpectedVersion.noStream })
        yield* sql.withTransaction(Effect.gen(function*() {
          const failure = yield* Effect.flip(
            store.append(stream("b"), [second, first], { expectedVersion: ExpectedVersion.noStream })
          )
          assert.strictEqual(failure._tag, "DuplicateEventId")
          const repeated = yield* store.append(stream("a"), [first], { expectedVersion: ExpectedVersion.noStream })
          assert.strictEqual(repeated.version, 1)
          yield* store.append(stream("b"), [second], { expectedVersion: ExpectedVersion.noStream })
        }))
        assert.strictEqual(yield* store.version(stream("a")), 1)
        assert.strictEqual(yield* store.version(stream("b")), 1)
      }).pipe(Effect.provide(stores)))

    it.scoped("a failed snapshot does not prevent the commit", () =>
      Effect.gen(function*() {
        const sql = yield* SqlClient.SqlClient
        const accounts = yield* Repository.make(Account, { snapshots: SnapshotPolicy.sync({ every: 1 }) })
        yield* accounts.execute(id("a"), open)
        yield* broken
        yield* sql.withTransaction(Effect.gen(function*() {
          assert.strictEqual((yield* accounts.execute(id("a"), deposit(1))).version, 2)
          const loaded = yield* accounts.load(id("a"))
          assert.strictEqual(loaded.snapshotOutcome._tag, "StoreUnavailable")
          assert.strictEqual((yield* accounts.execute(id("a"), deposit(1))).version, 3)
          assert.strictEqual((yield* Effect.flip(accounts.createSnapshot(id("a"))))._tag, "SnapshotStoreError")
          yield* accounts.execute(id("b"), open)
        }))
        assert.deepInclude(yield* accounts.load(id("a")), { version: 3, state: { open: true, balance: 2 } })
        assert.strictEqual((yield* accounts.load(id("b"))).version, 1)
      }).pipe(Effect.provide(stores)))

    it.scoped("a failed snapshot of a wrapped store does not prevent the commit either", () =>
      Effect.gen(function*() {
        const sql = yield* SqlClient.SqlClient
        const wrapped = { ...(yield* SnapshotStore.SnapshotStore) }
        const accounts = yield* Repository.make(Account, { snapshots: SnapshotPolicy.sync({ every: 1 }) }).pipe(
          Effect.provideService(SnapshotStore.SnapshotStore, wrapped)
        )
        yield* accounts.execute(id("a"), open)
        yield* broken
        yield* sql.withTransaction(accounts.execute(id("a"), deposit(1)))
        assert.deepInclude(yield* accounts.load(id("a")), { version: 2, state: { open: true, balance: 1 } })
      }).pipe(Effect.provide(stores)))

    it.scoped("a load inside it takes no snapshot: it would hold a lock that others wait for", () =>
      Effect.gen(function*() {
        const sql = yield* SqlClient.SqlClient
        const snapshots = yield* SnapshotStore.SnapshotStore
        yield* Effect.flatMap(Repository.make(Account), (accounts) => accounts.executeAll(id("a"), [open, deposit(1)]))
        const accounts = yield* Repository.make(Account, { snapshots: SnapshotPolicy.sync({ every: 1 }) })
        yield* sql.withTransaction(accounts.load(id("a")))
        assert.isFalse(yield* snapshots.exists(stream("a")))
        yield* accounts.load(id("a"))
        assert.isTrue(yield* snapshots.exists(stream("a")))
      }).pipe(Effect.provide(stores)))

    it.scoped("no savepoint is left", () =>
      Effect.gen(function*() {
        const sql = yield* SqlClient.SqlClient
        const store = yield* EventStore.EventStore
        const attempts: ReadonlyArray<Effect.Effect<unknown>> = [
          Effect.either(store.append(stream("a"), [event(1)], { expectedVersion: ExpectedVersion.any })),
          Effect.either(store.append(stream("a"), [event(2)], { expectedVersion: ExpectedVersion.noStream }))
        ]
        for (const attempt of attempts) {
          const failure = yield* Effect.flip(
            sql.withTransaction(Effect.zipRight(attempt, sql`ROLLBACK TO SAVEPOINT eventsourcing`))
          )
          assert.strictEqual(failure._tag, "SqlError")
          yield* store.append(stream("a"), [event(3)], { expectedVersion: ExpectedVersion.any })
        }
      }).pipe(Effect.provide(stores)))

    it.scoped("fibers that share a transaction do not undo each other's appends", () =>
      Effect.gen(function*() {
        const sql = yield* SqlClient.SqlClient
        const store = yield* EventStore.EventStore
        const outcomes = yield* sql.withTransaction(
          Effect.forEach(Array.from({ length: 20 }, (_, i) => i), (i) =>
            Effect.either(
              store.append(stream(`s${i % 10}`), [event(i)], { expectedVersion: ExpectedVersion.noStream })
            ), {
            concurrency: "unbounded"
          })
        )
        assert.strictEqual(outcomes.filter(Either.isRight).length, 10)
        for (let i = 0; i < 10; i++) {
          assert.strictEqual(yield* store.version(stream(`s${i}`)), 1)
        }
      }).pipe(Effect.provide(stores)))

    it.scoped("fibers whose statements fail do not undo other appends: exactly the acknowledged events are stored", () =>
      Effect.gen(function*() {
        const sql = yield* SqlClient.SqlClient
        const store = yield* EventStore.EventStore
        const taken = event(0)
        yield* store.append(stream("taken"), [taken], { expectedVersion: ExpectedVersion.noStream })
        const all = Array.from({ length: 24 }, (_, i) => i)
        // the id of another stream's event, which the unique index refuses, stands in every third
        const isGood = (i: number) => i % 3 !== 1
        const outcomes = yield* sql.withTransaction(
          Effect.forEach(all, (i) => {
            const events = isGood(i) ? [event(1), event(2)] : [event(1), taken]
            return Effect.either(store.append(stream(`s${i}`), events, { expectedVersion: ExpectedVersion.noStream }))
          }, { concurrency: "unbounded" })
        )
        for (const i of all) {
          const outcome = outcomes[i]
          assert.strictEqual(
            Either.isLeft(outcome) ? outcome.left._tag : "Appended",
            isGood(i) ? "Appended" : "DuplicateEventId"
          )
          assert.strictEqual(yield* store.version(stream(`s${i}`)), isGood(i) ? 2 : 0)
        }
      }).pipe(Effect.provide(stores)))

    it.scoped("the rollback of a nested transaction undoes only its own append", () =>
      Effect.gen(function*() {
        const sql = yield* SqlClient.SqlClient
        const store = yield* EventStore.EventStore
        yield* sql.withTransaction(Effect.gen(function*() {
          yield* store.append(stream("a"), [event(1)], { expectedVersion: ExpectedVersion.noStream })
          yield* rollBack(store.append(stream("a"), [event(2)], { expectedVersion: ExpectedVersion.exact(1) }))
          yield* store.append(stream("b"), [event(3)], { expectedVersion: ExpectedVersion.noStream })
        }))
        assert.strictEqual(yield* store.version(stream("a")), 1)
        assert.strictEqual(yield* store.version(stream("b")), 1)
      }).pipe(Effect.provide(stores)))
  })

suite("SQLite", sqliteFile(":memory:"))
suite("PostgreSQL", postgresTemporaryDatabase)
