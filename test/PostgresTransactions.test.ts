import { SqlClient } from "@effect/sql"
import { assert, describe, it } from "@effect/vitest"
import { Context, Deferred, Effect, Either, Exit, Fiber, Layer, Option } from "effect"
import {
  EventStore,
  ExpectedVersion,
  Repository,
  SnapshotPolicy,
  SnapshotStore,
  SqlStores,
  StreamId
} from "effect-eventsourcing"
import { inject } from "vitest"
import { Account, id } from "./fixtures/Account.js"
import { sqlStores } from "./utils/backends.js"
import { pgClient, temporaryDatabase } from "./utils/postgres.js"

const open = { _tag: "Open" } as const
const deposit = (amount: number, times = 1) => ({ _tag: "Deposit", amount, times }) as const
const stream = (text: string) => StreamId.make("Account", text)
const event = (amount: number) => ({
  id: crypto.randomUUID(),
  type: "Deposited",
  payload: { _tag: "Deposited", amount }
})

const storesOn = (url: string, options?: Parameters<typeof pgClient>[1]) =>
  Layer.provideMerge(sqlStores, pgClient(url, options))
const stores = Layer.unwrapScoped(Effect.map(temporaryDatabase(inject("postgres")), (url) => storesOn(url)))
const poolOfOne = Layer.unwrapScoped(
  Effect.map(temporaryDatabase(inject("postgres")), (url) => storesOn(url, { maxConnections: 1 }))
)

const run = (statement: string) => Effect.flatMap(SqlClient.SqlClient, (sql) => sql.unsafe(statement))

/** Waits until so many backends of the database wait for a lock. */
const blocked = (count: number) =>
  Effect.repeat(
    run("SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"),
    { until: (rows) => rows.length >= count }
  )

// a look at the stream that ends only when it is made to
const looksHang = Effect.gen(function*() {
  const sql = yield* SqlClient.SqlClient
  const [{ definition }] = yield* sql<{ readonly definition: string }>`
SELECT pg_get_functiondef('eventsourcing_tail_1'::regproc) AS definition`
  yield* sql.unsafe(definition.replace("BEGIN", "BEGIN\nIF $4 = 1 THEN PERFORM pg_sleep(60); END IF;"))
})

describe("what was acknowledged is there, whatever became of a snapshot", () => {
  const limits: Readonly<
    Record<string, { readonly server: string; readonly snapshotTimeout: `${number} ${"millis" | "seconds"}` }>
  > = {
    snapshotTimeout: { server: "SET LOCAL statement_timeout = 0", snapshotTimeout: "200 millis" },
    "the server's statement_timeout": { server: "SET LOCAL statement_timeout = 200", snapshotTimeout: "50 seconds" },
    "a request to cancel it": { server: "SELECT pg_sleep(0)", snapshotTimeout: "50 seconds" }
  }
  const cancelHanging = Effect.forever(Effect.zipRight(
    run(
      "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'PgSleep'"
    ),
    Effect.sleep("50 millis")
  ))
  const transactions = {
    "SqlStores.transaction": SqlStores.transaction,
    "the client's withTransaction": <A, E, R>(effect: Effect.Effect<A, E, R>) =>
      Effect.flatMap(SqlClient.SqlClient, (sql) => sql.withTransaction(effect))
  }
  for (const [limit, { server, snapshotTimeout }] of Object.entries(limits)) {
    for (const [name, transaction] of Object.entries(transactions)) {
      for (const mode of ["sync", "inline"] as const) {
        it.scopedLive(
          `${mode}, in ${name}: the look for the snapshot's sake is ended by ${limit}`,
          () =>
            Effect.gen(function*() {
              const store = yield* EventStore.EventStore
              const accounts = yield* Repository.make(Account, {
                snapshots: SnapshotPolicy[mode]({ every: 2 }),
                snapshotTimeout
              })
              yield* accounts.execute(id("a"), open)
              yield* looksHang
              if (limit.includes("cancel")) yield* Effect.fork(cancelHanging)
              const done = yield* transaction(
                Effect.zipRight(run(server), accounts.execute(id("a"), deposit(1, 2)))
              )
              assert.strictEqual(done.version, 3)
              assert.strictEqual(yield* store.version(stream("a")), 3)
            }).pipe(Effect.provide(stores)),
          30_000
        )
      }
    }
  }

  it.scopedLive("inline, in a transaction of its own", () =>
    Effect.gen(function*() {
      const store = yield* EventStore.EventStore
      const accounts = yield* Repository.make(Account, {
        snapshots: SnapshotPolicy.inline({ every: 2 }),
        snapshotTimeout: "200 millis"
      })
      yield* accounts.execute(id("a"), open)
      yield* looksHang
      assert.strictEqual((yield* accounts.execute(id("a"), deposit(1, 2))).version, 3)
      assert.strictEqual(yield* store.version(stream("a")), 3)
    }).pipe(Effect.provide(stores)), 30_000)

  it.scopedLive("whatever fails in a snapshot store of the program's own on the same connection", () =>
    Effect.gen(function*() {
      const sql = yield* SqlClient.SqlClient
      const store = yield* EventStore.EventStore
      const failing = Effect.orDie(sql`SELECT 1 / 0`)
      const accounts = yield* Repository.make(Account, { snapshots: SnapshotPolicy.sync({ every: 1 }) }).pipe(
        Effect.provideService(SnapshotStore.SnapshotStore, {
          ...(yield* SnapshotStore.SnapshotStore),
          get: () => Effect.zipRight(failing, Effect.succeedNone),
          // one that keeps the failure to itself
          save: () => Effect.as(Effect.exit(failing), "Saved" as const)
        })
      )
      yield* sql.withTransaction(Effect.zipRight(
        accounts.execute(id("a"), open),
        accounts.execute(id("a"), deposit(1))
      ))
      assert.strictEqual(yield* store.version(stream("a")), 2)
    }).pipe(Effect.provide(stores)))

  it.scopedLive("a command that keeps a lost transaction to itself does not succeed", () =>
    Effect.gen(function*() {
      const sql = yield* SqlClient.SqlClient
      const store = yield* EventStore.EventStore
      const accounts = yield* Repository.make(Account, { snapshots: SnapshotPolicy.sync({ every: 1 }) })
      const outcome = yield* Effect.exit(sql.withTransaction(Effect.gen(function*() {
        yield* accounts.execute(id("a"), open)
        yield* Effect.ignore(sql`SELECT 1 / 0`)
        const failure = yield* Effect.flip(accounts.execute(id("a"), deposit(1)))
        assert.deepInclude(failure, { _tag: "EventStoreError", reason: "Unavailable", mayHaveAppended: false })
        assert.include(failure.message, "a statement failed before in this transaction")
        return yield* Effect.fail(failure)
      })))
      assert.isTrue(Exit.isFailure(outcome))
      assert.strictEqual(yield* store.version(stream("a")), 0)
    }).pipe(Effect.provide(stores)))

  it.scopedLive("inline: where COMMIT turns out to be a rollback, the events are appended again", () =>
    Effect.gen(function*() {
      const sql = yield* SqlClient.SqlClient
      const store = yield* EventStore.EventStore
      const accounts = yield* Repository.make(Account, { snapshots: SnapshotPolicy.inline({ every: 1 }) }).pipe(
        Effect.provideService(EventStore.EventStore, {
          ...store,
          append: (...args) => Effect.tap(store.append(...args), () => Effect.ignore(sql`SELECT 1 / 0`)),
          attempt: (effect) => Effect.exit(effect)
        })
      )
      assert.strictEqual((yield* accounts.execute(id("a"), open)).version, 1)
      assert.strictEqual(yield* store.version(stream("a")), 1)
    }).pipe(Effect.provide(stores)))
})

describe("SqlStores.transaction", () => {
  const failureOf = <A, E>(effect: Effect.Effect<A, E, SqlClient.SqlClient>) =>
    Effect.flip(SqlStores.transaction(effect))

  it.scopedLive("fails where the database rolled back what the caller believes committed", () =>
    Effect.gen(function*() {
      const sql = yield* SqlClient.SqlClient
      const store = yield* EventStore.EventStore
      const written = store.append(stream("a"), [event(1)], { expectedVersion: ExpectedVersion.any })
      const failure = yield* failureOf(Effect.zipRight(written, Effect.ignore(sql`SELECT 1 / 0`)))
      assert.deepInclude(failure, { _tag: "TransactionError", reason: "RolledBack" })
      assert.strictEqual(yield* store.version(stream("a")), 0)
      yield* SqlStores.transaction(written)
      assert.strictEqual(yield* store.version(stream("a")), 1)
    }).pipe(Effect.provide(stores)))

  it.scopedLive("fails with a COMMIT that fails, or that gets no answer, and leaves the connection usable", () =>
    Effect.gen(function*() {
      const sql = yield* SqlClient.SqlClient
      yield* sql`CREATE TABLE parent (id integer PRIMARY KEY)`
      yield* sql`CREATE TABLE child (parent integer REFERENCES parent DEFERRABLE INITIALLY DEFERRED)`
      const deferred = yield* failureOf(sql`INSERT INTO child VALUES (1)`)
      assert.deepInclude(deferred, { _tag: "TransactionError", reason: "RolledBack" })
      const refused = yield* failureOf(
        Effect.zipRight(
          sql`INSERT INTO parent VALUES (1)`,
          Effect.ignore(sql`SELECT pg_terminate_backend(pg_backend_pid())`)
        )
      )
      assert.deepInclude(refused, { _tag: "TransactionError", reason: "Unknown" })
      const rows = yield* SqlStores.transaction(sql`SELECT * FROM parent`)
      assert.deepStrictEqual(rows, [])
    }).pipe(Effect.provide(poolOfOne)))

  it.scopedLive("what waits for a connection can be interrupted, and takes none away", () =>
    Effect.gen(function*() {
      const store = yield* EventStore.EventStore
      const accounts = yield* Repository.make(Account, { snapshots: SnapshotPolicy.inline({ every: 1 }) })
      yield* accounts.execute(id("a"), open)
      const hold = yield* Deferred.make<void>()
      const held = yield* Deferred.make<void>()
      const holder = yield* Effect.fork(
        SqlStores.transaction(Effect.zipRight(Deferred.succeed(held, undefined), Deferred.await(hold)))
      )
      yield* Deferred.await(held)
      const waiting = yield* Effect.fork(SqlStores.transaction(run("SELECT 1")))
      // the load of a command would wait too: it has what it needs
      const appending = yield* Effect.fork(
        Option.getOrThrow(store.withSnapshots(yield* SnapshotStore.SnapshotStore)).transaction(Effect.void)
      )
      yield* Effect.repeatN(Effect.yieldNow(), 10)
      yield* Fiber.interruptAll([waiting, appending])
      yield* Deferred.succeed(hold, undefined)
      yield* Fiber.join(holder)
      assert.strictEqual((yield* accounts.execute(id("a"), deposit(1))).version, 2)
    }).pipe(Effect.provide(poolOfOne)), 20_000)

  it.scopedLive("nested ones that were started side by side keep what succeeded, and only that", () =>
    Effect.gen(function*() {
      const store = yield* EventStore.EventStore
      const append = (text: string) => store.append(stream(text), [event(1)], { expectedVersion: ExpectedVersion.any })
      yield* SqlStores.transaction(Effect.all([
        SqlStores.transaction(Effect.zipRight(append("kept"), Effect.yieldNow())),
        Effect.ignore(SqlStores.transaction(Effect.zipRight(append("undone"), Effect.fail("no")))),
        append("beside"),
        SqlStores.transaction(SqlStores.transaction(append("deep"))),
        Effect.flip(SqlStores.transaction(Effect.zipRight(append("caught"), Effect.ignore(run("SELECT 1 / 0")))))
      ], { concurrency: "unbounded" }))
      const versions = yield* Effect.forEach(
        ["kept", "undone", "beside", "deep", "caught"],
        (text) => store.version(stream(text))
      )
      assert.deepStrictEqual(versions, [1, 0, 1, 1, 0])
    }).pipe(Effect.provide(stores)))

  it.scopedLive("inside the transaction of another client it is one of its own", () =>
    Effect.gen(function*() {
      const sql = yield* SqlClient.SqlClient
      const other = yield* Effect.flatMap(temporaryDatabase(inject("postgres")), (url) =>
        Effect.map(Layer.build(Layer.fresh(pgClient(url))), Context.get(SqlClient.SqlClient)))
      yield* sql`CREATE TABLE kept (n integer)`
      yield* Effect.flip(
        other.withTransaction(
          Effect.zipRight(SqlStores.transaction(sql`INSERT INTO kept VALUES (1)`), Effect.fail("no"))
        )
      )
      assert.strictEqual((yield* sql`SELECT * FROM kept`).length, 1)
    }).pipe(Effect.provide(stores)))
})

describe("a statement that fails", () => {
  it.scopedLive("is not tried again where it would fail again", () =>
    Effect.gen(function*() {
      const sql = yield* SqlClient.SqlClient
      const store = yield* EventStore.EventStore
      yield* sql`CREATE SEQUENCE tries`
      yield* run(
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM nextval('tries'); RAISE 'no'; END $$"
      )
      yield* run("CREATE TRIGGER refuse BEFORE INSERT ON eventsourcing_events FOR EACH ROW EXECUTE FUNCTION refuse()")
      yield* Effect.flip(store.append(stream("a"), [event(1)], { expectedVersion: ExpectedVersion.any }))
      assert.deepStrictEqual(yield* sql`SELECT last_value::integer AS tries FROM tries`, [{ tries: 1 }])
    }).pipe(Effect.provide(stores)))

  it.scopedLive("by a unique index of the program's own is reported as it is; by ours it is a race, whatever its name", () =>
    Effect.gen(function*() {
      const sql = yield* SqlClient.SqlClient
      const store = yield* EventStore.EventStore
      yield* sql`ALTER TABLE eventsourcing_events RENAME CONSTRAINT eventsourcing_events_id TO restored_1`
      yield* sql`CREATE UNIQUE INDEX restored_2 ON eventsourcing_events (aggregate, stream_id, version)`
      yield* sql`ALTER TABLE eventsourcing_events DROP CONSTRAINT eventsourcing_events_stream`
      // under a name that was ours, and on another table
      yield* sql`CREATE UNIQUE INDEX eventsourcing_events_id ON eventsourcing_events (payload)`
      const first = event(1)
      const append = (text: string, proposed: ReadonlyArray<typeof first>) =>
        store.append(stream(text), proposed, { expectedVersion: ExpectedVersion.any })
      yield* append("a", [first])
      // by the index on ids, which is looked at before that on payloads
      assert.strictEqual((yield* append("a", [first])).version, 1)
      assert.strictEqual((yield* Effect.flip(append("b", [first])))._tag, "DuplicateEventId")
      const failure = yield* Effect.flip(append("b", [event(1)]))
      assert.deepInclude(failure, { _tag: "EventStoreError", reason: "Unavailable", mayHaveAppended: false })
      assert.include(String(failure), "eventsourcing_events_id")
      yield* Effect.forEach(
        Array.from({ length: 8 }, (_, i) => i + 10),
        (n) => append("raced", [event(n)]),
        { concurrency: "unbounded" }
      )
      assert.strictEqual(yield* store.version(stream("raced")), 8)
    }).pipe(Effect.provide(stores)))
})

describe("a transaction shared by fibers", () => {
  it.scopedLive("nested transactions of the client that run side by side are told so", () =>
    Effect.gen(function*() {
      const sql = yield* SqlClient.SqlClient
      const store = yield* EventStore.EventStore
      const both = yield* Deferred.make<void>()
      const append = (text: string) => store.append(stream(text), [event(1)], { expectedVersion: ExpectedVersion.any })
      const failures: Array<unknown> = []
      const nested = (text: string, before: Effect.Effect<unknown>, after: Effect.Effect<unknown, string>) =>
        Effect.exit(sql.withTransaction(before.pipe(
          Effect.zipRight(Effect.tapError(append(text), (error) => Effect.sync(() => failures.push(error)))),
          Effect.zipLeft(after)
        )))
      yield* Effect.exit(sql.withTransaction(Effect.all([
        nested("a", Deferred.await(both), Effect.void),
        nested("b", Deferred.succeed(both, undefined), Effect.fail("no"))
      ], { concurrency: "unbounded" })))
      assert.isAbove(failures.length, 0)
      for (const failure of failures) {
        assert.deepInclude(failure, { _tag: "EventStoreError", reason: "Unavailable" })
        assert.include(String(failure), "side by side")
      }
    }).pipe(Effect.provide(stores)))

  it.scopedLive("an append is not acknowledged when a rollback beside it took it back", () =>
    Effect.gen(function*() {
      const sql = yield* SqlClient.SqlClient
      const store = yield* EventStore.EventStore
      yield* run(
        "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(0.2); RETURN NEW; END $$"
      )
      yield* run("CREATE TRIGGER slow BEFORE INSERT ON eventsourcing_events FOR EACH ROW EXECUTE FUNCTION slow()")
      const outcome = yield* Effect.exit(sql.withTransaction(Effect.gen(function*() {
        const fiber = yield* Effect.fork(
          store.append(stream("a"), [event(1)], { expectedVersion: ExpectedVersion.any })
        )
        // between the savepoint of the append and its end
        yield* Effect.repeatN(Effect.yieldNow(), 3)
        yield* Effect.flip(sql.withTransaction(Effect.fail("no")))
        return yield* Fiber.join(fiber)
      })))
      if (Exit.isSuccess(outcome)) assert.strictEqual(yield* store.version(stream("a")), 1)
      else assert.strictEqual(yield* store.version(stream("a")), 0)
    }).pipe(Effect.provide(stores)))

  for (const next of ["idle", "another transaction"] as const) {
    it.scopedLive(`a fiber that outlives it is refused (the connection then is ${next})`, () =>
      Effect.gen(function*() {
        const sql = yield* SqlClient.SqlClient
        const store = yield* EventStore.EventStore
        const accounts = yield* Repository.make(Account, { snapshots: SnapshotPolicy.sync({ every: 1 }) })
        const ended = yield* Deferred.make<void>()
        const late = Effect.zipRight(Deferred.await(ended), accounts.execute(id("late"), open))
        const nested = Effect.zipRight(Deferred.await(ended), accounts.load(id("late")))
        const [command, load] = yield* sql.withTransaction(Effect.all([
          Effect.forkDaemon(late),
          SqlStores.transaction(Effect.forkDaemon(nested))
        ]))
        const refused = Effect.gen(function*() {
          yield* Deferred.succeed(ended, undefined)
          for (const failure of [yield* Effect.flip(Fiber.join(command)), yield* Effect.flip(Fiber.join(load))]) {
            assert.deepInclude(failure, { _tag: "EventStoreError", reason: "Unavailable", mayHaveAppended: false })
            assert.include(String(failure), "has ended")
          }
        })
        yield* next === "idle" ? refused : Effect.flip(sql.withTransaction(Effect.zipRight(refused, Effect.fail("no"))))
        assert.strictEqual(yield* store.version(stream("late")), 0)
        assert.strictEqual((yield* accounts.execute(id("late"), open)).version, 1)
      }).pipe(Effect.provide(poolOfOne)), 20_000)
  }

  it.scopedLive("stores can be built in it with a pool of one", () =>
    Effect.gen(function*() {
      const url = yield* temporaryDatabase(inject("postgres"))
      yield* Effect.gen(function*() {
        const sql = yield* SqlClient.SqlClient
        const version = yield* sql.withTransaction(Effect.gen(function*() {
          const built = Context.get(yield* Layer.build(sqlStores), EventStore.EventStore)
          yield* built.append(stream("a"), [event(1)], { expectedVersion: ExpectedVersion.any })
          return yield* built.version(stream("a"))
        }))
        assert.strictEqual(version, 1)
      }).pipe(Effect.provide(pgClient(url, { maxConnections: 1 })))
    }), 20_000)

  it.scopedLive("snapshots close no circle of waiting transactions", () =>
    Effect.gen(function*() {
      const sql = yield* SqlClient.SqlClient
      const store = yield* EventStore.EventStore
      const accounts = yield* Repository.make(Account, { snapshots: SnapshotPolicy.manual })
      yield* accounts.execute(id("a"), open)
      yield* accounts.createSnapshot(id("a"))
      const append = Effect.suspend(() =>
        store.append(stream("b"), [event(1)], { expectedVersion: ExpectedVersion.any })
      )
      const appended = yield* Deferred.make<void>()
      const locked = yield* Deferred.make<void>()
      const other = yield* Effect.fork(SqlStores.transaction(Effect.gen(function*() {
        yield* Deferred.await(appended)
        yield* sql`SELECT 1 FROM eventsourcing_snapshots FOR UPDATE`
        yield* Deferred.succeed(locked, undefined)
        return yield* append
      })))
      const refused = yield* SqlStores.transaction(Effect.gen(function*() {
        yield* append
        yield* Deferred.succeed(appended, undefined)
        yield* Deferred.await(locked)
        yield* accounts.execute(id("a"), deposit(1))
        yield* blocked(1)
        return yield* Effect.either(accounts.createSnapshot(id("a")))
      }))
      assert.isTrue(Either.isLeft(refused))
      assert.strictEqual((yield* Fiber.join(other)).version, 2)
    }).pipe(Effect.provide(stores)), 20_000)
})
