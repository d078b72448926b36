// groups of appends that are cut off, or that meet those of others: every append keeps its own result
import { SqlClient } from "@effect/sql"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Either, Fiber, Layer, Option } from "effect"
import { EventStore, ExpectedVersion, SqlStores } from "effect-eventsourcing"
import { event, stream } from "./fixtures/Account.js"
import { type Outcome, problemsOf, work } from "./utils/appends.js"
import {
  groupingStores,
  migratedDatabase,
  postgresTemporaryDatabase,
  sharedDatabases,
  sqliteTemporaryFile,
  sqlStores
} from "./utils/backends.js"
import { everything } from "./utils/mode.js"
import { pgClient, startServer } from "./utils/postgres.js"
import { start } from "./utils/process.js"

type Store = EventStore.EventStore["Type"]

const append = (store: Store, name: string, options: { readonly size?: number } = {}) =>
  store.append(
    stream(name),
    [options.size === undefined ? event() : { ...event(), payload: "x".repeat(options.size) }],
    { expectedVersion: ExpectedVersion.noStream }
  )

const versions = (store: Store, names: ReadonlyArray<string>) =>
  Effect.forEach(names, (name) => store.version(stream(name)))

describe("a group on PostgreSQL that takes long", () => {
  /** The first append to the stream "slow" is held up for as long as its statement lasts. */
  const slowOnce = Effect.gen(function*() {
    const sql = yield* SqlClient.SqlClient
    // a sequence counts also what is undone
    yield* sql.unsafe("CREATE SEQUENCE tries")
    yield* sql.unsafe(`CREATE FUNCTION hold() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN IF nextval('tries') = 1 THEN PERFORM pg_sleep(600); END IF; RETURN NEW; END $$`)
    yield* sql.unsafe(`CREATE TRIGGER hold BEFORE INSERT ON eventsourcing_events
FOR EACH ROW WHEN (NEW.stream_id = 'slow') EXECUTE FUNCTION hold()`)
  })

  /** The number of groups that are held up. */
  const heldUp = (count: number) =>
    Effect.flatMap(SqlClient.SqlClient, (sql) =>
      Effect.map(
        Effect.repeat(
          sql`SELECT pid FROM pg_stat_activity
WHERE datname = current_database() AND wait_event = 'PgSleep' AND query LIKE '%append_many%'`,
          { until: (rows) => rows.length === count, times: 2_000 }
        ),
        ({ length }) => length
      ))

  const names = ["a", "slow", "z"]

  /** Appends to three streams in one group, and runs an effect while the group is held up. */
  const inGroup = <A, E, R>(
    during: (fibers: ReadonlyArray<Fiber.RuntimeFiber<EventStore.AppendResult, unknown>>) => Effect.Effect<A, E, R>,
    layer = Layer.provideMerge(groupingStores, postgresTemporaryDatabase)
  ) =>
    Effect.gen(function*() {
      const store = yield* EventStore.EventStore
      yield* slowOnce
      const fibers = yield* Effect.forEach(names, (name) => Effect.fork(append(store, name)))
      assert.strictEqual(yield* heldUp(1), 1)
      yield* during(fibers)
      return { store, fibers }
    }).pipe(Effect.provide(layer))

  const allSucceed = ({ fibers }: { readonly fibers: ReadonlyArray<Fiber.Fiber<EventStore.AppendResult, unknown>> }) =>
    Effect.map(Fiber.join(Fiber.all(fibers)), (results) =>
      assert.deepStrictEqual(
        results.map(({ duplicate, version }) => ({ duplicate, version })),
        names.map(() => ({ duplicate: false, version: 1 }))
      ))

  it.live("and whose connection is terminated: each append is sent alone, and stored once", () =>
    inGroup((fibers) =>
      Effect.gen(function*() {
        const sql = yield* SqlClient.SqlClient
        yield* sql`SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE datname = current_database() AND wait_event = 'PgSleep'`
        yield* allSucceed({ fibers })
        assert.deepStrictEqual(yield* versions(yield* EventStore.EventStore, names), [1, 1, 1])
      })
    ))

  it.live("and that the server cancels: each append is sent alone, and stored once", () =>
    inGroup((fibers) =>
      Effect.gen(function*() {
        const sql = yield* SqlClient.SqlClient
        yield* sql`SELECT pg_cancel_backend(pid) FROM pg_stat_activity
WHERE datname = current_database() AND wait_event = 'PgSleep'`
        yield* allSucceed({ fibers })
        assert.deepStrictEqual(yield* versions(yield* EventStore.EventStore, names), [1, 1, 1])
      })
    ))

  it.live("and meets a statement_timeout: each append is sent alone, and stored once", () =>
    Effect.gen(function*() {
      const url = yield* migratedDatabase
      const limited = new URL(url)
      limited.searchParams.set("options", "-c statement_timeout=1s")
      yield* inGroup(
        (fibers) =>
          Effect.zipRight(
            allSucceed({ fibers }),
            Effect.flatMap(
              EventStore.EventStore,
              (store) => Effect.map(versions(store, names), (found) => assert.deepStrictEqual(found, [1, 1, 1]))
            )
          ),
        Layer.provideMerge(groupingStores, pgClient(limited.href))
      )
    }).pipe(Effect.scoped))

  it.live("an append that is interrupted leaves its neighbours alone", () =>
    inGroup(([a, slow, z]) =>
      Effect.gen(function*() {
        // the answer of one is not waited for any more, and the group goes on
        yield* Fiber.interrupt(a)
        assert.strictEqual(yield* heldUp(1), 1)
        assert.isTrue(Option.isNone(yield* Fiber.poll(slow)))
        const sql = yield* SqlClient.SqlClient
        yield* sql`SELECT pg_cancel_backend(pid) FROM pg_stat_activity
WHERE datname = current_database() AND wait_event = 'PgSleep'`
        const results = yield* Fiber.join(Fiber.all([slow, z]))
        assert.deepStrictEqual(results.map(({ version }) => version), [1, 1])
        // the group was undone, and the interrupted append is not sent again
        assert.deepStrictEqual(yield* versions(yield* EventStore.EventStore, names), [0, 1, 1])
      })
    ))

  it.live("and for which all callers have a timeout is cancelled, and stores nothing", () =>
    inGroup((fibers) =>
      Effect.gen(function*() {
        const results = yield* Effect.forEach(
          fibers,
          (fiber) => Effect.timeoutOption(Fiber.join(fiber).pipe(Effect.onInterrupt(() => Fiber.interrupt(fiber))), 20),
          { concurrency: "unbounded" }
        )
        assert.isTrue(results.every(Option.isNone))
        assert.strictEqual(yield* heldUp(0), 0)
        const store = yield* EventStore.EventStore
        assert.deepStrictEqual(yield* versions(store, names), [0, 0, 0])
        // the store goes on
        const [again] = yield* Effect.all([append(store, "a"), append(store, "b")], { concurrency: "unbounded" })
        assert.strictEqual(again.version, 1)
      })
    ))
})

describe("many fibers with groups", () => {
  const told = (outcomes: ReadonlyArray<Outcome>, tag: Outcome["result"]["_tag"]) =>
    outcomes.filter(({ result }) => result._tag === tag)

  it.live.runIf(everything)("on a server that restarts", () =>
    Effect.gen(function*() {
      const server = yield* Effect.acquireRelease(
        Effect.promise(() => startServer()),
        (server) => Effect.promise(() => server.close())
      )
      yield* Effect.gen(function*() {
        const store = yield* EventStore.EventStore
        const working = yield* Effect.fork(work(store, { name: "w", fibers: 32, appends: everything ? 200 : 60 }))
        const rounds = everything ? 3 : 1
        for (let n = 0; n < rounds; n++) {
          // the hot stream grows: appends are under way
          const before = yield* store.version(stream("s-0")).pipe(Effect.eventually)
          yield* Effect.repeat(Effect.eventually(store.version(stream("s-0"))), { until: (now) => now > before + 5 })
          yield* Effect.promise(() => server.stop("immediate"))
          yield* Effect.promise(() => server.start())
        }
        const outcomes = yield* Fiber.join(working)
        assert.deepStrictEqual(yield* problemsOf(outcomes), [])
        assert.isAbove(told(outcomes, "Ok").length, 0)
      }).pipe(Effect.provide(Layer.provideMerge(groupingStores, pgClient(server.url, { maxConnections: 6 }))))
    }).pipe(Effect.scoped))

  for (const isolation of ["", "serializable", "repeatable read"]) {
    it.live.runIf(everything || isolation !== "repeatable read")(
      `of two clients on one PostgreSQL${isolation === "" ? "" : `, where transactions are ${isolation}`}`,
      () =>
        Effect.gen(function*() {
          const url = new URL(yield* migratedDatabase)
          if (isolation !== "") {
            url.searchParams.set("options", `-c default_transaction_isolation=${isolation.replace(" ", "\\ ")}`)
          }
          const layer = Layer.provideMerge(groupingStores, pgClient(url.href, { maxConnections: 4 }))
          const outcomes = yield* Effect.all(
            ["a", "b"].map((name) =>
              Effect.provide(
                Effect.flatMap(EventStore.EventStore, (store) => work(store, { name, fibers: 16, appends: 12 })),
                Layer.fresh(layer)
              )
            ),
            { concurrency: "unbounded" }
          )
          const all = outcomes.flat()
          assert.deepStrictEqual(yield* Effect.provide(problemsOf(all), layer), [])
          assert.deepStrictEqual(told(all, "Maybe"), [])
          if (isolation === "") assert.deepStrictEqual(told(all, "No"), [])
          assert.isAbove(told(all, "Ok").length, all.length / 4)
        }).pipe(Effect.scoped)
    )
  }

  for (const [name, database, client] of sharedDatabases) {
    it.live.runIf(everything || name === "SQLite")(
      `of two processes on one ${name}`,
      () =>
        Effect.gen(function*() {
          const target = yield* database
          const layer = Layer.provide(sqlStores, client(target))
          const outcomes = yield* Effect.promise(async () => {
            const appends = everything ? 100 : 15
            const both = ["a", "b"].map((name) =>
              start("test/utils/appender.ts", [target, name, "16", String(appends)])
            )
            await Promise.all(both.map((each) => each.line("ready")))
            for (const each of both) each.tell("go")
            const codes = await Promise.all(both.map((each) => each.exited))
            assert.deepStrictEqual([codes, both.map((each) => each.errors())], [[0, 0], ["", ""]])
            return both.flatMap(({ lines }) => lines.slice(1).map((line): Outcome => JSON.parse(line)))
          })
          assert.deepStrictEqual(yield* Effect.provide(problemsOf(outcomes), layer), [])
          assert.deepStrictEqual([...told(outcomes, "Maybe"), ...told(outcomes, "No")], [])
        }).pipe(Effect.scoped)
    )
  }
})

describe("one append of 20 MB among small ones", () => {
  const size = 20_000_000
  const small = Array.from({ length: 40 }, (_, n) => `s-${n}`)
  type Client = Layer.Layer<SqlClient.SqlClient, unknown>
  const cases: ReadonlyArray<readonly [name: string, client: Client, stores: typeof groupingStores]> = [
    ["SQLite", sqliteTemporaryFile, groupingStores],
    ["PostgreSQL", postgresTemporaryDatabase, groupingStores],
    ["PostgreSQL, not forced", postgresTemporaryDatabase, SqlStores.layer]
  ]
  for (const [name, client, stores] of cases) {
    it.live.runIf(everything || name !== "PostgreSQL, not forced")(
      `is stored or refused, and they are stored (${name})`,
      () =>
        Effect.gen(function*() {
          const store = yield* EventStore.EventStore
          const appends = [...small.slice(0, 20), "large", ...small.slice(20)]
          const results = yield* Effect.all(
            appends.map((name) => Effect.either(append(store, name, name === "large" ? { size } : {}))),
            { concurrency: "unbounded" }
          )
          assert.deepStrictEqual(results.map(Either.isRight), appends.map(() => true))
          assert.deepStrictEqual(yield* versions(store, appends), appends.map(() => 1))
          // also if the database refuses it
          const sql = yield* SqlClient.SqlClient
          yield* sql.onDialectOrElse({
            pg: () => sql.unsafe("ALTER TABLE eventsourcing_events ADD CHECK (length(payload) < 1000000) NOT VALID"),
            orElse: () =>
              sql.unsafe(
                `CREATE TRIGGER limited BEFORE INSERT ON eventsourcing_events WHEN length(NEW.payload) > 1000000
BEGIN SELECT RAISE(ABORT, 'too large'); END`
              )
          })
          const again = yield* Effect.all(
            appends.map((name) =>
              Effect.either(append(store, `${name} again`, name === "large" ? { size: 2_000_000 } : {}))
            ),
            { concurrency: "unbounded" }
          )
          assert.deepStrictEqual(again.map(Either.isRight), appends.map((name) => name !== "large"))
        }).pipe(Effect.provide(Layer.provideMerge(stores, client)))
    )
  }
})
