import { SqlClient, SqlError } from "@effect/sql"
import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Either, Fiber, Layer, Schedule } from "effect"
import { type Event, EventStore, ExpectedVersion, Repository, SnapshotPolicy } from "effect-eventsourcing"
import type pg from "pg"
import { classify } from "../../src/internal/sql/failure.js"
import { Account, deposit, event, id, open, stream } from "../fixtures/Account.js"
import { migratedDatabase } from "../utils/backends.js"
import { pgClient, startServer } from "../utils/postgres.js"
import { proxy } from "../utils/proxy.js"
import { collect, connection, events, stores, storesOn } from "./setup.js"

describe("failures of the server", () => {
  const codes: ReadonlyArray<readonly [code: string, kind: string, mayHaveHappened: boolean]> = [
    ["23505", "UniqueViolation", false],
    ["40001", "Transient", false],
    ["40P01", "Transient", false],
    ["53300", "Transient", false],
    ["57P03", "Transient", false],
    ["57P01", "ConnectionLost", true],
    ["57P02", "ConnectionLost", true],
    ["08006", "ConnectionLost", true],
    ["57014", "Cancelled", false],
    ["53100", "Other", false],
    ["42P01", "Refused", false],
    ["42501", "Refused", false],
    ["23514", "Refused", false],
    ["25006", "Refused", false],
    ["55P03", "Other", false],
    ["08P01", "ConnectionLost", true],
    ["ECONNRESET", "ConnectionLost", true],
    ["EPIPE", "ConnectionLost", true]
  ]
  it("are classified by their code", () => {
    for (const [code, kind, mayHaveHappened] of codes) {
      // only an answer of the server has a severity
      const cause = Object.assign(new Error("no"), { code, ...(/^\d/.test(code) ? { severity: "ERROR" } : {}) })
      const failure = classify(new SqlError.SqlError({ cause, message: "Failed to execute statement" }))
      assert.deepStrictEqual([failure.kind, failure.mayHaveHappened], [kind, mayHaveHappened], code)
    }
    const refused = Object.assign(new Error("refused"), { code: "ECONNREFUSED" })
    assert.deepInclude(
      classify(new SqlError.SqlError({ cause: refused, message: "Failed to acquire connection" })),
      { kind: "Transient", mayHaveHappened: false }
    )
  })

  it.scopedLive(
    "a serialization failure and a deadlock are tried again",
    () =>
      Effect.gen(function*() {
        const url = yield* migratedDatabase
        yield* Effect.gen(function*() {
          const sql = yield* SqlClient.SqlClient
          yield* sql`ALTER DATABASE ${
            sql(new URL(url).pathname.slice(1))
          } SET default_transaction_isolation = 'serializable'`
        }).pipe(Effect.provide(Layer.fresh(pgClient(url))))
        yield* Effect.gen(function*() {
          const accounts = yield* Repository.make(Account, { retry: Schedule.forever })
          const store = yield* EventStore.EventStore
          yield* accounts.execute(id("a"), open)
          yield* Effect.forEach(
            Array.from({ length: 8 }),
            () => Effect.repeatN(accounts.execute(id("a"), deposit(1)), 9),
            { concurrency: "unbounded" }
          )
          assert.deepInclude(yield* accounts.load(id("a")), { version: 81, state: { open: true, balance: 80 } })
          yield* Effect.forEach(
            Array.from({ length: 16 }),
            () => store.append(stream("any"), events(2), { expectedVersion: ExpectedVersion.any }),
            { concurrency: "unbounded" }
          )
          assert.strictEqual(yield* store.version(stream("any")), 32)

          // an append waits for one of an open transaction, which then waits for what the append holds
          const rival = yield* connection(url)
          const [first, second] = events(2)
          yield* Effect.promise(() => rival.query("BEGIN ISOLATION LEVEL READ COMMITTED"))
          yield* Effect.promise(() => rival.query("SET LOCAL deadlock_timeout = '1h'"))
          yield* insertBy(rival, "x", 1, second.id)
          const fiber = yield* Effect.fork(
            store.append(stream("y"), [first, second], { expectedVersion: ExpectedVersion.noStream })
          )
          yield* blocked(rival)
          yield* Effect.promise(() => rival.query("SAVEPOINT s"))
          // the append is the one that finds out, and is undone; its second try waits until the rival is gone
          const clash = yield* Effect.fork(Effect.either(insertBy(rival, "y", 1, "z")))
          yield* Fiber.join(clash)
          yield* Effect.promise(() => rival.query("ROLLBACK"))
          assert.strictEqual((yield* Fiber.join(fiber)).version, 2)
        }).pipe(Effect.provide(storesOn(url)))
      })
  )

  // what another program's open transaction has written
  const insertBy = (client: pg.Client, id: string, version: number, eventId: string) =>
    Effect.tryPromise(() =>
      client.query(
        `INSERT INTO eventsourcing_events (transaction, version, aggregate, stream_id, event_id, type, payload, metadata)
VALUES (pg_current_xact_id()::text::bigint, $1, 'Account', $2, $3, 'Deposited', '{"_tag":"Deposited","amount":1}', '{}')`,
        [version, id, eventId]
      )
    )

  /** Waits until some backend of the database waits for a lock. */
  const blocked = (client: pg.Client) =>
    Effect.tryPromise(() =>
      client.query("SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'")
    ).pipe(
      Effect.tap(() => Effect.promise(() => client.query("SELECT pg_stat_clear_snapshot()"))),
      Effect.repeat({ until: ({ rows }) => rows.length > 0, schedule: Schedule.spaced("5 millis") }),
      Effect.zipRight(
        Effect.tryPromise(() =>
          client.query<{ pid: number }>(
            "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
          )
        )
      ),
      Effect.map(({ rows }) => rows.map(({ pid }) => pid))
    )

  it.scopedLive("an append whose backend is terminated is repeated, and happens once", () =>
    Effect.gen(function*() {
      const url = yield* migratedDatabase
      yield* Effect.gen(function*() {
        const store = yield* EventStore.EventStore
        const holder = yield* connection(url)
        yield* Effect.promise(() => holder.query("BEGIN"))
        yield* insertBy(holder, "a", 1, "held")
        const fiber = yield* Effect.fork(store.append(stream("a"), events(2), { expectedVersion: ExpectedVersion.any }))
        for (const pid of yield* blocked(holder)) {
          yield* Effect.promise(() => holder.query(`SELECT pg_terminate_backend(${pid})`))
        }
        yield* Effect.promise(() => holder.query("ROLLBACK"))
        assert.strictEqual((yield* Fiber.join(fiber)).version, 2)
        assert.strictEqual((yield* collect(store.read(stream("a")))).length, 2)
      }).pipe(Effect.provide(storesOn(url)))
    }))

  it.scopedLive(
    "a server stopped during appends: acknowledged events are stored, and every other append is a typed error",
    () =>
      Effect.gen(function*() {
        const server = yield* Effect.acquireRelease(
          Effect.promise(() => startServer()),
          (server) => Effect.promise(server.close)
        )
        yield* Effect.gen(function*() {
          const store = yield* EventStore.EventStore
          const acknowledged = new Map<string, number>()
          const unknown: Array<Event.ProposedEvent> = []
          const failures: Array<EventStore.EventStoreError> = []
          const writing = yield* Deferred.make<void>()
          const writer = (name: string) =>
            Effect.gen(function*() {
              const proposed = event(1)
              const outcome = yield* Effect.either(
                store.append(stream(name), [proposed], { expectedVersion: ExpectedVersion.any })
              )
              if (Either.isRight(outcome)) {
                acknowledged.set(proposed.id, outcome.right.version)
                if (acknowledged.size === 50) yield* Deferred.succeed(writing, undefined)
                return
              }
              assert.instanceOf(outcome.left, EventStore.EventStoreError)
              failures.push(outcome.left)
              if (outcome.left.mayHaveAppended) unknown.push(proposed)
              return yield* Effect.fail("stopped" as const)
            }).pipe(Effect.forever, Effect.ignore)
          const writers = yield* Effect.forEach(["a", "b", "c", "d"], (name) => Effect.fork(writer(name)))
          yield* Deferred.await(writing)
          yield* Effect.promise(() => server.stop("immediate"))
          yield* Fiber.joinAll(writers)
          assert.strictEqual(failures.length, 4)
          assert.isTrue(failures.every(({ reason }) => reason === "Unavailable"))
          yield* Effect.promise(server.start)
          const all = (yield* Effect.forEach(["a", "b", "c", "d"], (name) => collect(store.read(stream(name))))).flat()
          const versions = new Map(all.map(({ id, version }) => [id, version]))
          for (const [id, version] of acknowledged) assert.strictEqual(versions.get(id), version)
          // whoever repeats with the same ids has each event once
          yield* Effect.forEach(unknown, (proposed) =>
            Effect.forEach([1, 2], () =>
              store.append(stream("a"), [proposed], { expectedVersion: ExpectedVersion.any }).pipe(
                Effect.catchTag("DuplicateEventId", () =>
                  Effect.void)
              )))
          const after = (yield* Effect.forEach(["a", "b", "c", "d"], (name) =>
            collect(store.read(stream(name))))).flat()
          for (const { id } of unknown) {
            assert.strictEqual(
              after.filter((event) =>
                event.id === id
              ).length,
              1
            )
          }
        }).pipe(Effect.provide(storesOn(server.url)))
      })
  )

  it.scopedLive(
    "without a server, or without a free connection, a typed error says that nothing was appended",
    () =>
      Effect.gen(function*() {
        const url = yield* migratedDatabase
        yield* Effect.gen(function*() {
          const store = yield* EventStore.EventStore
          const sql = yield* SqlClient.SqlClient
          const failure = yield* Effect.scoped(Effect.zipRight(
            sql.reserve,
            Effect.flip(store.append(stream("a"), events(1), { expectedVersion: ExpectedVersion.any }))
          ))
          assert.isTrue(failure._tag === "EventStoreError" && !failure.mayHaveAppended)
          assert.include(failure.message, "no connection")
          // and afterwards it goes on
          yield* store.append(stream("a"), events(1), { expectedVersion: ExpectedVersion.noStream })
        }).pipe(Effect.provide(storesOn(url, { maxConnections: 1, connectTimeout: "200 millis" })))
        const server = yield* Effect.promise(() => startServer())
        yield* Effect.gen(function*() {
          const store = yield* EventStore.EventStore
          yield* Effect.promise(() => server.close())
          const failure = yield* Effect.flip(
            store.append(stream("a"), events(1), { expectedVersion: ExpectedVersion.any })
          )
          assert.strictEqual(failure._tag, "EventStoreError")
        }).pipe(Effect.provide(storesOn(server.url)))
      })
  )

  it.scopedLive(
    "an append whose answer is lost is repeated and happens once, and a read is repeated",
    () =>
      Effect.gen(function*() {
        const url = yield* migratedDatabase
        const between = yield* proxy(url)
        yield* Effect.gen(function*() {
          const store = yield* EventStore.EventStore
          for (const expectedVersion of [ExpectedVersion.noStream, ExpectedVersion.any, ExpectedVersion.exact(4)]) {
            between.swallow(1, { thenGone: false })
            yield* store.append(stream("a"), events(2), { expectedVersion })
          }
          between.swallow(1, { thenGone: false })
          assert.deepStrictEqual(
            (yield* collect(store.read(stream("a")))).map(({ version }) => version),
            [1, 2, 3, 4, 5, 6]
          )
          between.swallow(1, { thenGone: false })
          assert.strictEqual(yield* store.version(stream("a")), 6)
        }).pipe(Effect.provide(storesOn(between.url)))
      })
  )

  it.scopedLive(
    "an append without any answer fails with mayHaveAppended, and is safe to repeat",
    () =>
      Effect.gen(function*() {
        const url = yield* migratedDatabase
        const between = yield* proxy(url)
        yield* Effect.gen(function*() {
          const store = yield* EventStore.EventStore
          const batch = events(3)
          yield* store.append(stream("a"), events(1), { expectedVersion: ExpectedVersion.noStream })
          // the first try goes through, and the ones after it find nobody
          between.swallow(1, { thenGone: true })
          const failure = yield* Effect.flip(
            store.append(stream("a"), batch, { expectedVersion: ExpectedVersion.exact(1) })
          )
          assert.isTrue(failure._tag === "EventStoreError" && failure.reason === "Unavailable")
          assert.isTrue(failure._tag === "EventStoreError" && failure.mayHaveAppended)
          between.comeBack()
          assert.strictEqual(yield* store.version(stream("a")), 4)
          const repeated = yield* store.append(stream("a"), batch, { expectedVersion: ExpectedVersion.exact(1) })
          assert.strictEqual(repeated.version, 4)
          assert.strictEqual(yield* store.version(stream("a")), 4)
        }).pipe(Effect.provide(storesOn(between.url)))
      })
  )

  it.scopedLive("an error raised by the user is neither a race nor a lost connection", () =>
    Effect.gen(function*() {
      const sql = yield* SqlClient.SqlClient
      const store = yield* EventStore.EventStore
      for (
        const [statement, says] of [
          ["INSERT INTO others VALUES (1), (1)", "others_pkey"],
          ["RAISE EXCEPTION 'mine' USING ERRCODE = 'EV001'", "EV001"]
        ]
      ) {
        yield* sql.unsafe(`DROP TABLE IF EXISTS others; CREATE TABLE others (id integer PRIMARY KEY);
CREATE OR REPLACE FUNCTION own() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN ${statement}; RETURN NULL; END $$;
DROP TRIGGER IF EXISTS own ON eventsourcing_events;
CREATE TRIGGER own AFTER INSERT ON eventsourcing_events EXECUTE FUNCTION own();`)
        const failure = yield* Effect.flip(
          store.append(stream("a"), events(1), { expectedVersion: ExpectedVersion.any })
        )
        assert.isTrue(failure._tag === "EventStoreError" && !failure.mayHaveAppended)
        assert.include(failure.message, says)
      }
    }).pipe(Effect.provide(stores)))

  it.scopedLive(
    "a snapshot that waits for a lock gives up, and the caller's transaction continues",
    () =>
      Effect.gen(function*() {
        const url = yield* migratedDatabase
        for (const maxConnections of [1, 5]) {
          yield* Effect.gen(function*() {
            const sql = yield* SqlClient.SqlClient
            yield* sql`CREATE TABLE IF NOT EXISTS outbox (id serial)`
            const accounts = yield* Repository.make(Account, {
              snapshots: SnapshotPolicy.sync({ every: 1 }),
              snapshotTimeout: "300 millis"
            })
            const account = id(`locked-${maxConnections}`)
            yield* accounts.execute(account, open)
            const holder = yield* connection(url)
            yield* Effect.promise(() => holder.query("BEGIN; SELECT * FROM eventsourcing_snapshots FOR UPDATE"))
            const version = yield* sql.withTransaction(Effect.gen(function*() {
              yield* sql`SET LOCAL lock_timeout = '17s'`
              yield* sql`INSERT INTO outbox DEFAULT VALUES`
              const { version } = yield* accounts.execute(account, deposit(1))
              yield* sql`INSERT INTO outbox DEFAULT VALUES`
              const [{ lock_timeout }] = yield* sql<{ readonly lock_timeout: string }>`SHOW lock_timeout`
              assert.strictEqual(lock_timeout, "17s")
              return version
            }))
            assert.strictEqual(version, 2)
            yield* Effect.promise(() => holder.query("ROLLBACK"))
            assert.deepInclude(yield* accounts.load(account), { version: 2, state: { open: true, balance: 1 } })
            const [{ count }] = yield* sql<{ readonly count: string }>`SELECT count(*) FROM outbox`
            assert.strictEqual(Number(count), maxConnections === 1 ? 2 : 4)
          }).pipe(Effect.scoped, Effect.provide(Layer.fresh(storesOn(url, { maxConnections }))))
        }
      })
  )

  it.scopedLive("a transaction that cannot see later commits gives up at once", () =>
    Effect.gen(function*() {
      const url = yield* migratedDatabase
      yield* Effect.gen(function*() {
        const sql = yield* SqlClient.SqlClient
        const store = yield* EventStore.EventStore
        const other = yield* connection(url)
        yield* store.append(stream("a"), events(1), { expectedVersion: ExpectedVersion.any })
        for (const [version, expectedVersion] of [[2, ExpectedVersion.any], [3, ExpectedVersion.exact(2)]] as const) {
          const failure = yield* Effect.flip(sql.withTransaction(Effect.gen(function*() {
            yield* sql`SET TRANSACTION ISOLATION LEVEL REPEATABLE READ`
            yield* store.version(stream("a"))
            yield* insertBy(other, "a", version, `rival-${version}`)
            return yield* store.append(stream("a"), events(1), { expectedVersion })
          })))
          assert.isTrue(failure._tag === "EventStoreError" && failure.message.includes("begin it again"))
        }
        assert.strictEqual(yield* store.version(stream("a")), 3)
      }).pipe(Effect.provide(storesOn(url)))
    }), 5_000)

  it.scopedLive("an interrupted append leaves no connection behind", () =>
    Effect.gen(function*() {
      const url = yield* migratedDatabase
      yield* Effect.gen(function*() {
        const store = yield* EventStore.EventStore
        const holder = yield* connection(url)
        yield* Effect.promise(() => holder.query("BEGIN"))
        yield* insertBy(holder, "a", 1, "held")
        for (let i = 0; i < 5; i++) {
          const fiber = yield* Effect.fork(
            store.append(stream("a"), events(1), { expectedVersion: ExpectedVersion.noStream })
          )
          yield* blocked(holder)
          yield* Fiber.interrupt(fiber)
        }
        yield* Effect.promise(() => holder.query("ROLLBACK"))
        // one that was interrupted may have happened all the same: the driver cancels it as well as it can
        const { version } = yield* store.append(stream("a"), events(1), { expectedVersion: ExpectedVersion.any })
        const read = yield* collect(store.read(stream("a")))
        assert.deepStrictEqual(read.map((event) => event.version), Array.from({ length: version }, (_, i) => i + 1))
      }).pipe(Effect.provide(storesOn(url, { maxConnections: 2 })))
    }))
})
