import { SqlClient } from "@effect/sql"
import { assert, describe, it } from "@effect/vitest"
import { Context, Deferred, Effect, Either, Exit, Fiber, Layer, Option } from "effect"
import { EventStore, ExpectedVersion, Repository, SnapshotPolicy, SnapshotStore, SqlStores } from "effect-eventsourcing"
import { names } from "../../src/internal/sql/names.js"
import * as PgFunctions from "../../src/internal/sql/postgres/functions.js"
import { Account, deposit, event, id, open, stream } from "../fixtures/Account.js"
import { migratedDatabase, sqlStores } from "../utils/backends.js"
import { everything } from "../utils/mode.js"
import { pgClient } from "../utils/postgres.js"
import { postgresUrl } from "../utils/server.js"

const storesOn = (url: string, options?: Parameters<typeof pgClient>[1]) =>
  Layer.provideMerge(sqlStores, pgClient(url, options))
const stores = Layer.unwrapScoped(Effect.map(migratedDatabase, (url) => storesOn(url)))
const poolOfOne = Layer.unwrapScoped(
  Effect.map(migratedDatabase, (url) => storesOn(url, { maxConnections: 1 }))
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
  const { tail } = PgFunctions.make(yield* names(undefined))
  const [{ definition }] = yield* sql<{ readonly definition: string }>`
SELECT pg_get_functiondef(${tail.name}::regproc) AS definition`
  yield* sql.unsafe(definition.replace("BEGIN", "BEGIN\nIF $4 = 1 THEN PERFORM pg_sleep(60); END IF;"))
})

const transactions = {
  "SqlStores.transaction": SqlStores.transaction,
  "the client's withTransaction": <A, E, R>(effect: Effect.Effect<A, E, R>) =>
    Effect.flatMap(SqlClient.SqlClient, (sql) => sql.withTransaction(effect))
}

describe("acknowledged events are stored, also if a snapshot fails", () => {
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
  for (const [limit, { server, snapshotTimeout }] of Object.entries(limits)) {
    for (const [name, transaction] of Object.entries(transactions)) {
      for (const mode of ["sync", "inline"] as const) {
        it.scopedLive(
          `${mode}, in ${name}: the read for a snapshot is ended by ${limit}`,
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
            }).pipe(Effect.provide(stores))
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
    }).pipe(Effect.provide(stores)))

  it.scopedLive("every failure in a user-provided snapshot store on the same connection", () =>
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

  it.scopedLive("a user-provided snapshot store may read in a nested transaction", () =>
    Effect.gen(function*() {
      const sql = yield* SqlClient.SqlClient
      const snapshots = yield* SnapshotStore.SnapshotStore
      const accounts = yield* Repository.make(Account, { snapshots: SnapshotPolicy.sync({ every: 1 }) }).pipe(
        Effect.provideService(SnapshotStore.SnapshotStore, {
          ...snapshots,
          get: (...args) =>
            Effect.orDie(
              Effect.provideService(SqlStores.transaction(snapshots.get(...args)), SqlClient.SqlClient, sql)
            )
        })
      )
      yield* accounts.execute(id("a"), open)
      const loaded = yield* SqlStores.transaction(accounts.load(id("a")))
      assert.strictEqual(loaded.snapshotOutcome._tag, "Hit")
    }).pipe(Effect.provide(stores)))

  it.scopedLive("a command in a lost transaction does not succeed", () =>
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

  it.scopedLive("inline: if COMMIT is answered by a rollback, the events are appended again", () =>
    Effect.gen(function*() {
      const sql = yield* SqlClient.SqlClient
      const store = yield* EventStore.EventStore
      const accounts = yield* Repository.make(Account, { snapshots: SnapshotPolicy.inline({ every: 1 }) }).pipe(
        Effect.provideService(EventStore.EventStore, {
          ...store,
          append: (...args) => Effect.tap(store.append(...args), () => Effect.ignore(sql`SELECT 1 / 0`)),
          replay: { ...store.replay, attempt: (effect) => Effect.exit(effect) }
        })
      )
      assert.strictEqual((yield* accounts.execute(id("a"), open)).version, 1)
      assert.strictEqual(yield* store.version(stream("a")), 1)
    }).pipe(Effect.provide(stores)))
})

describe("SqlStores.transaction", () => {
  const failureOf = <A, E>(effect: Effect.Effect<A, E, SqlClient.SqlClient>) =>
    Effect.flip(SqlStores.transaction(effect))

  it.scopedLive("fails if the database answers COMMIT with a rollback", () =>
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

  it.scopedLive("fails if COMMIT fails or gets no answer, and leaves the connection usable", () =>
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

  it.scopedLive("waiting for a connection can be interrupted, and does not cost a connection", () =>
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
        Option.getOrThrow(store.replay.withSnapshots(yield* SnapshotStore.SnapshotStore)).transaction(Effect.void)
      )
      yield* Effect.repeatN(Effect.yieldNow(), 10)
      yield* Fiber.interruptAll([waiting, appending])
      yield* Deferred.succeed(hold, undefined)
      yield* Fiber.join(holder)
      assert.strictEqual((yield* accounts.execute(id("a"), deposit(1))).version, 2)
    }).pipe(Effect.provide(poolOfOne)))

  it.scopedLive("a COMMIT that waits can be interrupted", () =>
    Effect.gen(function*() {
      const sql = yield* SqlClient.SqlClient
      const accounts = yield* Repository.make(Account, { snapshots: SnapshotPolicy.inline({ every: 1 }) })
      yield* run(
        "CREATE FUNCTION hold() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_advisory_xact_lock(1); RETURN NULL; END $$"
      )
      yield* run(
        "CREATE CONSTRAINT TRIGGER hold AFTER INSERT ON eventsourcing_events DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION hold()"
      )
      const locked = yield* Deferred.make<void>()
      const release = yield* Deferred.make<void>()
      const holder = yield* Effect.fork(sql.withTransaction(
        run("SELECT pg_advisory_xact_lock(1)").pipe(
          Effect.zipRight(Deferred.succeed(locked, undefined)),
          Effect.zipRight(Deferred.await(release))
        )
      ))
      yield* Deferred.await(locked)
      const committing = yield* Effect.fork(accounts.execute(id("a"), open))
      yield* blocked(1)
      yield* Fiber.interrupt(committing)
      yield* Deferred.succeed(release, undefined)
      yield* Fiber.join(holder)
      assert.strictEqual((yield* accounts.execute(id("b"), open)).version, 1)
    }).pipe(Effect.provide(stores)))

  it.scopedLive("of concurrent nested ones, exactly those that succeed are kept", () =>
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

  it.scopedLive("inside the transaction of another client it begins its own", () =>
    Effect.gen(function*() {
      const sql = yield* SqlClient.SqlClient
      const other = yield* Effect.flatMap(migratedDatabase, (url) =>
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
  it.scopedLive("is not retried if it would fail again", () =>
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

  it.scopedLive("because the connection was lost before the commit is a rollback", () =>
    Effect.gen(function*() {
      const sql = yield* SqlClient.SqlClient
      const store = yield* EventStore.EventStore
      const accounts = yield* Repository.make(Account, { snapshots: SnapshotPolicy.sync({ every: 1 }) })
      const failure = yield* Effect.flip(SqlStores.transaction(Effect.gen(function*() {
        yield* accounts.execute(id("a"), open)
        yield* sql`SET LOCAL idle_in_transaction_session_timeout = 1`
        // the driver has noticed when it refuses a statement without sending it
        yield* Effect.repeat(Effect.delay(Effect.either(sql`SELECT 1`), "20 millis"), {
          until: (outcome) => Either.isLeft(outcome) && String(outcome.left.cause).includes("not queryable")
        })
      })))
      assert.deepInclude(failure, { _tag: "TransactionError", reason: "RolledBack" })
      assert.strictEqual(yield* store.version(stream("a")), 0)
    }).pipe(Effect.provide(stores)))

  it.scopedLive("by a unique index of the program is reported as it is; by an index of the store, under any name, it is a race", () =>
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
  it.scopedLive("concurrent nested transactions of the client fail with an error that says so", () =>
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

  const append = (text: string) =>
    Effect.flatMap(
      EventStore.EventStore,
      (store) => store.append(stream(text), [event(1)], { expectedVersion: ExpectedVersion.any })
    )
  const versionOf = (text: string) => Effect.flatMap(EventStore.EventStore, (store) => store.version(stream(text)))

  /** Another client of the database, on which the appends to one stream wait. */
  const gate = Effect.gen(function*() {
    const sql = yield* SqlClient.SqlClient
    yield* sql`
CREATE FUNCTION gate() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN IF NEW.stream_id = 'gated' THEN PERFORM pg_advisory_xact_lock(1); END IF; RETURN NEW; END $$`
    yield* sql`CREATE TRIGGER gate BEFORE INSERT ON eventsourcing_events FOR EACH ROW EXECUTE FUNCTION gate()`
    const [{ name }] = yield* sql<{ readonly name: string }>`SELECT current_database() AS name`
    const url = new URL(postgresUrl())
    url.pathname = name
    const other = Context.get(yield* Layer.build(Layer.fresh(pgClient(url.href))), SqlClient.SqlClient)
    const lock = yield* Effect.makeSemaphore(1)
    yield* lock.take(1)
    const locked = yield* Deferred.make<void>()
    yield* Effect.forkScoped(other.withTransaction(Effect.gen(function*() {
      yield* other`SELECT pg_advisory_xact_lock(1)`
      yield* Deferred.succeed(locked, undefined)
      yield* lock.take(1)
    })))
    yield* Deferred.await(locked)
    const reached = Effect.provide(blocked(1), [
      Layer.succeed(SqlClient.SqlClient, other),
      // the client of the transaction has no connection to spare
      Layer.succeed(SqlClient.TransactionConnection, [yield* other.reserve, 0])
    ])
    return { reached, open: lock.release(1) }
  })

  it.scopedLive(
    "a nested transaction waits for a concurrent append, and does not undo it",
    () =>
      Effect.gen(function*() {
        const sql = yield* SqlClient.SqlClient
        const { open, reached } = yield* gate
        yield* sql.withTransaction(Effect.gen(function*() {
          const appending = yield* Effect.fork(append("gated"))
          yield* reached
          const failing = yield* Effect.fork(Effect.flip(sql.withTransaction(Effect.fail("no"))))
          yield* Effect.repeatN(Effect.yieldNow(), 10)
          yield* open
          assert.strictEqual((yield* Fiber.join(appending)).version, 1)
          yield* Fiber.join(failing)
        }))
        assert.strictEqual(yield* versionOf("gated"), 1)
      }).pipe(Effect.provide(stores))
  )

  for (
    const [kind, late] of [
      ["an append", append("gated")],
      ["a nested transaction", SqlStores.transaction(Effect.zipRight(append("gated"), append("second")))]
    ] as const
  ) {
    for (const [name, transaction] of Object.entries(transactions)) {
      it.scopedLive(
        `${kind} of a fiber that outlives it finishes before its COMMIT (${name})`,
        () =>
          Effect.gen(function*() {
            const sql = yield* SqlClient.SqlClient
            yield* sql`CREATE TABLE kept (n integer)`
            const { open, reached } = yield* gate
            const begun = yield* Deferred.make<void>()
            const outer = yield* Effect.fork(transaction(
              Effect.forkDaemon(late).pipe(Effect.zipLeft(reached), Effect.zipLeft(Deferred.succeed(begun, undefined)))
            ))
            yield* Deferred.await(begun)
            // of another caller, which waits for the connection
            const next = yield* Effect.fork(sql.withTransaction(
              Effect.zipRight(sql`INSERT INTO kept VALUES (1)`, sql`SELECT pg_sleep(0.05)`)
            ))
            yield* Effect.repeatN(Effect.yieldNow(), 10)
            yield* open
            const exit = yield* Fiber.await(yield* Fiber.join(outer))
            yield* Fiber.join(next)
            assert.isTrue(Exit.isSuccess(exit))
            assert.strictEqual((yield* sql`SELECT * FROM kept`).length, 1)
            assert.deepStrictEqual([yield* versionOf("gated"), yield* versionOf("second")], [
              1,
              kind === "an append" ? 0 : 1
            ])
          }).pipe(Effect.provide(poolOfOne))
      )
    }
  }

  it.scopedLive("nested transactions of both kinds follow each other and contain each other", () =>
    Effect.gen(function*() {
      const sql = yield* SqlClient.SqlClient
      const client = <A, E, R>(effect: Effect.Effect<A, E, R>) => sql.withTransaction(effect)
      const ours = <A, E, R>(effect: Effect.Effect<A, E, R>) => SqlStores.transaction(effect)
      const once = append("a")
      yield* ours(Effect.gen(function*() {
        yield* client(Effect.zipRight(client(once), once))
        yield* ours(Effect.zipRight(ours(once), once))
        yield* Effect.ignore(client(Effect.zipRight(once, Effect.fail("no"))))
        yield* client(Effect.zipRight(ours(once), once))
        yield* once
        yield* Effect.all([ours(once), ours(client(once))], { concurrency: "unbounded" })
      }))
      assert.strictEqual(yield* versionOf("a"), 9)
    }).pipe(Effect.provide(stores)))

  /** Two nested transactions of the client, of which the second begins inside the first. */
  const sideBySide = <A, E, B, E2>(
    first: Effect.Effect<A, E, EventStore.EventStore>,
    second: Effect.Effect<B, E2, EventStore.EventStore>,
    sooner: "first" | "second"
  ) =>
    Effect.gen(function*() {
      const sql = yield* SqlClient.SqlClient
      const began = [yield* Deferred.make<void>(), yield* Deferred.make<void>()] as const
      const ended = yield* Deferred.make<void>()
      const nested = <A, E, R>(index: 0 | 1, effect: Effect.Effect<A, E, R>) =>
        Effect.exit(sql.withTransaction(Effect.zipRight(
          Effect.zipRight(Deferred.succeed(began[index], undefined), Deferred.await(began[1])),
          index === (sooner === "first" ? 0 : 1) ? effect : Effect.zipRight(Deferred.await(ended), effect)
        ))).pipe(Effect.ensuring(Deferred.succeed(ended, undefined)))
      return yield* Effect.all([
        nested(0, first),
        Effect.zipRight(Deferred.await(began[0]), nested(1, second))
      ], { concurrency: "unbounded" })
    })

  it.scopedLive("an append that a concurrent nested transaction would undo is rejected", () =>
    Effect.gen(function*() {
      const [appended] = yield* SqlStores.transaction(
        sideBySide(Effect.either(append("a")), Effect.fail("no"), "first")
      )
      assert.include(String(appended), "side by side")
      assert.strictEqual(yield* versionOf("a"), 0)
    }).pipe(Effect.provide(stores)))

  it.scopedLive("if one undoes acknowledged events of another, nothing is committed", () =>
    Effect.gen(function*() {
      const failure = yield* Effect.flip(
        SqlStores.transaction(sideBySide(Effect.fail("no"), Effect.zipRight(append("b"), Effect.void), "second"))
      )
      assert.deepInclude(failure, { _tag: "TransactionError", reason: "RolledBack" })
      assert.include(failure.message, "side by side")
      assert.strictEqual(yield* versionOf("b"), 0)
    }).pipe(Effect.provide(stores)))

  it.scopedLive.runIf(everything)(
    "a fiber and a nested transaction that wait for each other give up",
    () =>
      Effect.gen(function*() {
        const nested = yield* Deferred.make<void>()
        const failure = yield* SqlStores.transaction(Effect.gen(function*() {
          const waiting = yield* Effect.fork(Effect.zipRight(Deferred.await(nested), Effect.flip(append("a"))))
          return yield* SqlStores.transaction(
            Effect.zipRight(Deferred.succeed(nested, undefined), Fiber.join(waiting))
          )
        }))
        assert.deepInclude(failure, { _tag: "EventStoreError", reason: "Unavailable", mayHaveAppended: false })
        assert.include(failure.message, "does not end")
      }).pipe(Effect.provide(stores))
  )

  for (const next of ["idle", "another transaction"] as const) {
    it.scopedLive(`a fiber that outlives it is rejected (the connection then is ${next})`, () =>
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
      }).pipe(Effect.provide(poolOfOne)))
  }

  it.scopedLive("stores can be built in it with a pool of one", () =>
    Effect.gen(function*() {
      const url = yield* migratedDatabase
      yield* Effect.gen(function*() {
        const sql = yield* SqlClient.SqlClient
        const version = yield* sql.withTransaction(Effect.gen(function*() {
          const built = Context.get(yield* Layer.build(sqlStores), EventStore.EventStore)
          yield* built.append(stream("a"), [event(1)], { expectedVersion: ExpectedVersion.any })
          return yield* built.version(stream("a"))
        }))
        assert.strictEqual(version, 1)
      }).pipe(Effect.provide(pgClient(url, { maxConnections: 1 })))
    }))

  it.scopedLive("a snapshot does not complete a deadlock", () =>
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
    }).pipe(Effect.provide(stores)))
})

describe("a transaction with a snapshot due in it", () => {
  for (const mode of ["sync", "inline"] as const) {
    it.scopedLive(
      `fails with a typed error if a deferred constraint rejects its commit (${mode})`,
      () =>
        Effect.gen(function*() {
          const accounts = yield* Repository.make(Account, { snapshots: SnapshotPolicy[mode]({ every: 1 }) })
          yield* run("CREATE TABLE parents (id int PRIMARY KEY)")
          yield* run("CREATE TABLE children (parent int REFERENCES parents DEFERRABLE INITIALLY DEFERRED)")
          const both = Effect.zipRight(run("INSERT INTO children VALUES (1)"), accounts.execute(id("a"), open))
          const failure = yield* Effect.flip(SqlStores.transaction(both))
          assert.isTrue(failure._tag === "TransactionError" && failure.reason === "RolledBack", String(failure))
          assert.deepInclude(yield* accounts.load(id("a")), { version: 0, snapshotVersion: 0 })
        }).pipe(Effect.provide(stores))
    )
  }
})
