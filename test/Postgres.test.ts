import { Migrator, SqlClient, SqlError } from "@effect/sql"
import { PgClient } from "@effect/sql-pg"
import { assert, describe, it } from "@effect/vitest"
import { Cause, Chunk, Deferred, Effect, Either, Exit, Fiber, Layer, Metric, Option, Schedule, Stream } from "effect"
import {
  type Event,
  EventStore,
  ExpectedVersion,
  InvalidOption,
  Metrics,
  Position,
  Postgres,
  Repository,
  SnapshotPolicy,
  SnapshotStore,
  SqlEventStore,
  SqlMigrations,
  SqlSnapshotStore,
  SqlStores,
  StreamId
} from "effect-eventsourcing"
import pg from "pg"
import { inject } from "vitest"
import { classify } from "../src/internal/sql/failure.js"
import { Account, id } from "./fixtures/Account.js"
import { postgresTemporaryDatabase, sqlStores } from "./utils/backends.js"
import { pgClient, startServer, temporaryDatabase } from "./utils/postgres.js"
import { start } from "./utils/process.js"
import { proxy } from "./utils/proxy.js"

const open = { _tag: "Open" } as const
const deposit = (amount: number, times = 1) => ({ _tag: "Deposit", amount, times }) as const
const stream = (text: string) => StreamId.make("Account", text)
const event = (amount: number): Event.ProposedEvent => ({
  id: crypto.randomUUID(),
  type: "Deposited",
  payload: { _tag: "Deposited", amount }
})
const events = (count: number) => Array.from({ length: count }, (_, i) => event(i))

const database = temporaryDatabase(inject("postgres"))
const stores = Layer.provideMerge(sqlStores, postgresTemporaryDatabase)
const storesOn = (url: string, options?: Parameters<typeof pgClient>[1]) =>
  Layer.provideMerge(sqlStores, pgClient(url, options))

const typedFailure = <A, E>(exit: Exit.Exit<A, E>): E => {
  if (Exit.isSuccess(exit)) throw new Error("expected a failure")
  const failure = Cause.failureOption(exit.cause)
  if (Option.isNone(failure)) throw new Error(`expected a typed failure, got ${Cause.pretty(exit.cause)}`)
  return failure.value
}

const collect = <A, E>(feed: Stream.Stream<A, E>) => Effect.map(Stream.runCollect(feed), Chunk.toReadonlyArray)

/** Reads the feed until it has given so many events: transactions of other tests may hold it back for a moment. */
const feedOf = (count: number, options?: EventStore.ReadAllOptions) =>
  Effect.flatMap(EventStore.EventStore, (store) =>
    Effect.repeat(collect(store.readAll(options)), {
      until: (events) => events.length >= count,
      schedule: Schedule.spaced("20 millis").pipe(Schedule.upTo("20 seconds"))
    }).pipe(Effect.zipRight(collect(store.readAll(options)))))

/** One connection, and the plans of all that runs on it, within functions too. */
const explaining = (url: string, plans: Array<string>) =>
  PgClient.layerFromPool({
    acquire: Effect.acquireRelease(
      Effect.sync(() => {
        const pool = new pg.Pool({ connectionString: url, max: 1 })
        return pool.on("connect", (client) => {
          client.on("notice", ({ message }) => {
            if (message?.includes("plan:") === true) plans.push(message)
          })
          void client.query(
            "LOAD 'auto_explain'; SET auto_explain.log_min_duration = 0; SET auto_explain.log_nested_statements = on; " +
              "SET auto_explain.log_level = notice"
          )
        })
      }),
      (pool) => Effect.promise(() => pool.end())
    )
  })

/** A connection of the test's own, beside the pool. */
const connection = (url: string) =>
  Effect.acquireRelease(
    Effect.promise(async () => {
      const client = new pg.Client(url)
      client.on("error", () => {})
      await client.connect()
      return client
    }),
    (client) => Effect.promise(() => client.end().catch(() => {}))
  )

describe("migrations", () => {
  it.scopedLive("eight processes may boot at once on an empty database", () =>
    Effect.gen(function*() {
      const url = yield* database
      const versions = yield* Effect.forEach(
        Array.from({ length: 8 }),
        () =>
          Effect.flatMap(
            EventStore.EventStore,
            (store) => store.append(stream("a"), [event(1)], { expectedVersion: ExpectedVersion.any })
          ).pipe(Effect.provide(Layer.fresh(storesOn(url, { maxConnections: 2 })))),
        { concurrency: "unbounded" }
      )
      assert.deepStrictEqual(versions.map(({ version }) => version).sort(), [1, 2, 3, 4, 5, 6, 7, 8])
    }))

  it.scopedLive("run from the user's own migrator, the layers need no right to create tables", () =>
    Effect.gen(function*() {
      const url = yield* database
      const role = `app_${crypto.randomUUID().replaceAll("-", "")}`
      const layerWith = SqlStores.layerWith({ prefix: "bank", migrate: false })
      const missing = typedFailure(
        yield* Effect.exit(Effect.scoped(Layer.build(Layer.provide(layerWith, pgClient(url)))))
      )
      assert.instanceOf(missing, SqlMigrations.MigrationError)
      assert.include(missing.message, "migrate is false")

      yield* Migrator.make({})({
        loader: Migrator.fromRecord({ "0007_eventsourcing": SqlMigrations.run({ prefix: "bank" }) }),
        table: "own_migrations"
      }).pipe(
        Effect.zipRight(
          Effect.flatMap(SqlClient.SqlClient, (sql) =>
            sql.unsafe(`CREATE ROLE ${role} LOGIN PASSWORD 'app';
            REVOKE CREATE ON SCHEMA public FROM PUBLIC;
            GRANT SELECT, INSERT ON bank_events, bank_cluster, bank_migrations TO ${role};
            GRANT SELECT, INSERT, UPDATE, DELETE ON bank_snapshots TO ${role};`))
        ),
        Effect.provide(pgClient(url))
      )
      yield* Effect.addFinalizer(() =>
        Effect.orDie(
          Effect.flatMap(SqlClient.SqlClient, (sql) => sql.unsafe(`DROP OWNED BY ${role}; DROP ROLE ${role}`)).pipe(
            Effect.provide(Layer.fresh(pgClient(url)))
          )
        )
      )
      const asRole = new URL(url)
      asRole.username = role
      asRole.password = "app"
      // the layers that would migrate have nothing to do, so that they need no more rights than the others
      for (
        const layer of [
          layerWith,
          SqlStores.layerWith({ prefix: "bank" })
        ]
      ) {
        const done = yield* Effect.flatMap(
          Repository.make(Account, { snapshots: SnapshotPolicy.sync({ every: 1 }) }),
          (accounts) => Effect.zipRight(accounts.execute(id("a"), open), accounts.load(id("a")))
        ).pipe(Effect.scoped, Effect.provide(Layer.provide(layer, Layer.fresh(pgClient(asRole.href)))))
        assert.deepInclude(done, { version: 1, snapshotVersion: 1 })
      }
      // the functions lend nobody the rights of their owner
      yield* Effect.flatMap(
        SqlClient.SqlClient,
        (sql) => sql.unsafe(`REVOKE INSERT ON bank_events FROM ${role}; REVOKE SELECT ON bank_snapshots FROM ${role};`)
      ).pipe(
        Effect.provide(Layer.fresh(pgClient(url)))
      )
      yield* Effect.gen(function*() {
        const accounts = yield* Repository.make(Account, { snapshots: SnapshotPolicy.manual })
        const loaded = yield* accounts.load(id("a"))
        assert.deepInclude(loaded, { version: 1, replayed: 1 })
        assert.strictEqual(loaded.snapshotOutcome._tag, "StoreUnavailable")
        const failure = yield* Effect.flip(accounts.execute(id("a"), deposit(1)))
        assert.isTrue(failure._tag === "EventStoreError" && !failure.mayHaveAppended)
        assert.include(failure.message, "42501")
      }).pipe(Effect.scoped, Effect.provide(Layer.provide(layerWith, Layer.fresh(pgClient(asRole.href)))))
    }))

  it.scoped("functions are created on tables that have none yet", () =>
    Effect.gen(function*() {
      const sql = yield* SqlClient.SqlClient
      const functions = sql`SELECT 1 FROM pg_proc WHERE proname IN ('eventsourcing_append_1', 'eventsourcing_load_1')`
      yield* SqlMigrations.run()
      yield* sql`DROP FUNCTION eventsourcing_load_1`
      yield* sql`DROP FUNCTION eventsourcing_append_1`
      yield* sql`DELETE FROM eventsourcing_migrations WHERE migration_id = 2`
      const older = yield* Effect.flip(SqlEventStore.make({ migrate: false }))
      assert.include(older.message, "older than this program")
      yield* SqlEventStore.make()
      assert.lengthOf(yield* functions, 2)
    }).pipe(Effect.provide(postgresTemporaryDatabase)))

  it.scoped("functions that a restore of the tables left behind are created again", () =>
    Effect.gen(function*() {
      const sql = yield* SqlClient.SqlClient
      yield* SqlEventStore.make()
      for (const name of ["append_1", "load_1", "tail_1"]) {
        yield* sql.unsafe(`DROP FUNCTION eventsourcing_${name}`)
        const missing = yield* Effect.flip(SqlEventStore.make({ migrate: false }))
        assert.instanceOf(missing, SqlMigrations.MigrationError)
        assert.include(missing.message, `"eventsourcing_${name}"(text,text,`)
        yield* SqlEventStore.make()
        const store = yield* SqlEventStore.make({ migrate: false })
        yield* store.append(stream("a"), events(1), { expectedVersion: ExpectedVersion.any })
      }
    }).pipe(Effect.provide(postgresTemporaryDatabase)))

  it.scoped("one prefix in two schemas: each search path has its own, on one connection, prepared or not", () =>
    Effect.gen(function*() {
      const url = yield* database
      const pool = (prepared: boolean) =>
        PgClient.layerFromPool({
          acquire: Effect.acquireRelease(
            Effect.sync(() => {
              const pool = new pg.Pool({ connectionString: url, max: 1 })
              return prepared ? Postgres.preparePool(pool) : pool
            }),
            (pool) => Effect.promise(() => pool.end())
          )
        })
      for (const prepared of [false, true]) {
        yield* Effect.gen(function*() {
          const sql = yield* SqlClient.SqlClient
          const of = (tenant: string) => <A, E, R>(effect: Effect.Effect<A, E, R>) =>
            sql.withTransaction(Effect.zipRight(sql.unsafe(`SET LOCAL search_path = ${tenant}`), effect))
          const tenants = [["first", 1], ["second", 100]] as const
          for (const [tenant] of tenants) {
            yield* sql.unsafe(`DROP SCHEMA IF EXISTS ${tenant} CASCADE; CREATE SCHEMA ${tenant}`)
            yield* of(tenant)(SqlMigrations.run())
          }
          yield* sql`SET search_path = first`
          yield* Effect.gen(function*() {
            const accounts = yield* Repository.make(Account, {
              snapshots: SnapshotPolicy.sync({ every: 3 }),
              pageSize: 4
            })
            const plain = yield* Repository.make(Account)
            for (let n = 1; n <= 4; n++) {
              for (const [tenant, amount] of tenants) {
                yield* of(tenant)(Effect.zipRight(
                  accounts.execute(id("a"), open),
                  accounts.executeAll(id("a"), [deposit(amount), deposit(amount, n)])
                ))
                const version = 1 + n + n * (n + 1) / 2
                const expected = { version, state: { open: true, balance: (version - 1) * amount } }
                assert.deepInclude(yield* of(tenant)(accounts.load(id("a"))), expected)
                assert.deepInclude(yield* of(tenant)(plain.load(id("a"))), expected)
              }
            }
          }).pipe(Effect.scoped, Effect.provide(sqlStores))
        }).pipe(Effect.provide(Layer.fresh(pool(prepared))))
      }
    }))

  it.scoped("tables of two prefixes: the snapshots of one beside the events of another", () =>
    Effect.gen(function*() {
      const Stores = Layer.merge(SqlEventStore.layer, SqlSnapshotStore.layerWith({ prefix: "apart" }))
      const loaded = yield* Effect.flatMap(
        Repository.make(Account, { snapshots: SnapshotPolicy.inline({ every: 1 }) }),
        (accounts) => Effect.zipRight(accounts.executeAll(id("a"), [open, deposit(1, 3)]), accounts.load(id("a")))
      ).pipe(Effect.scoped, Effect.provide(Stores))
      assert.deepInclude(loaded, { version: 4, snapshotVersion: 4 })
    }).pipe(Effect.provide(postgresTemporaryDatabase)))

  it.scoped("prefixes live side by side, in schemas of their own or not, whatever the case of their letters", () =>
    Effect.gen(function*() {
      const sql = yield* SqlClient.SqlClient
      for (
        const prefix of [
          "one",
          "two",
          "es.three",
          "es.four",
          "ES.three",
          "Upper",
          "select",
          "__proto__",
          "x".repeat(40)
        ]
      ) {
        const store = yield* SqlEventStore.make({ prefix })
        yield* SqlEventStore.make({ prefix })
        const snapshots = yield* SqlSnapshotStore.make({ prefix })
        yield* store.append(stream("a"), [event(1)], { expectedVersion: ExpectedVersion.noStream })
        const row = {
          stream: stream("a"),
          version: 1,
          eventId: "e",
          schemaVersion: 1,
          fingerprint: "f",
          state: "{}",
          time: 0
        }
        assert.strictEqual(yield* snapshots.save(row), "Saved")
        assert.strictEqual(yield* store.version(stream("a")), 1)
      }
      const tables = yield* sql<{ readonly name: string }>`SELECT schemaname || '.' || tablename AS name FROM pg_tables
WHERE schemaname = 'es' ORDER BY 1`
      assert.deepStrictEqual(tables.map(({ name }) => name), [
        "es.four_cluster",
        "es.four_events",
        "es.four_migrations",
        "es.four_snapshots",
        "es.three_cluster",
        "es.three_events",
        "es.three_migrations",
        "es.three_snapshots"
      ])
      // names that PostgreSQL would cut are refused before
      const failure = yield* Effect.flip(SqlEventStore.make({ prefix: "x".repeat(41) }))
      assert.instanceOf(failure, InvalidOption.InvalidOption)
    }).pipe(Effect.provide(postgresTemporaryDatabase)))

  it.scoped("the statements can be read and run by other means", () =>
    Effect.gen(function*() {
      const sql = yield* SqlClient.SqlClient
      for (const prefix of ["bank", "es.bank"]) {
        for (const statement of yield* SqlMigrations.statementsPostgres({ prefix })) yield* sql.unsafe(statement)
        // and the layers find their tables there
        const store = yield* SqlEventStore.make({ prefix, migrate: false })
        yield* store.append(stream("a"), [event(1)], { expectedVersion: ExpectedVersion.noStream })
      }
    }).pipe(Effect.provide(postgresTemporaryDatabase)))

  it.scoped("a client that transforms names, one way or both, is none of the stores' concern", () =>
    Effect.gen(function*() {
      const url = yield* database
      const upper = (text: string) => text.toUpperCase()
      for (
        const options of [
          { transformQueryNames: upper },
          { transformResultNames: upper },
          { transformQueryNames: upper, transformResultNames: upper }
        ]
      ) {
        const account = id(Object.keys(options).join())
        const loaded = yield* Effect.flatMap(
          Repository.make(Account, { snapshots: SnapshotPolicy.sync({ every: 1 }) }),
          (accounts) => Effect.zipRight(accounts.execute(account, open), accounts.load(account))
        ).pipe(Effect.scoped, Effect.provide(Layer.fresh(storesOn(url, options))))
        assert.deepInclude(loaded, { version: 1, snapshotVersion: 1 })
      }
    }))

  it.scopedLive("a database that cannot hold all texts is refused", () =>
    Effect.gen(function*() {
      const url = new URL(inject("postgres"))
      const name = `ascii_${crypto.randomUUID().replaceAll("-", "")}`
      const admin = (statement: string) =>
        Effect.flatMap(SqlClient.SqlClient, (sql) => sql.unsafe(statement)).pipe(
          Effect.provide(Layer.fresh(pgClient(inject("postgres"))))
        )
      yield* admin(`CREATE DATABASE ${name} ENCODING 'SQL_ASCII' LOCALE 'C' TEMPLATE template0`)
      url.pathname = name
      const failure = typedFailure(yield* Effect.exit(Effect.scoped(Layer.build(storesOn(url.href)))))
      yield* admin(`DROP DATABASE ${name} WITH (FORCE)`)
      assert.instanceOf(failure, SqlMigrations.MigrationError)
      assert.include(failure.message, "UTF8")
    }))
})

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

  it.scoped(
    "no sequential scan and no sort on 100,000 events, whenever a statement was planned",
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
            yield* Stream.runDrain(Stream.take(store.readAll({ after: position, aggregate: "Order" }), 10))
            yield* collect(store.readAll({ aggregate: "Nobody" }))
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
            /INSERT INTO .*VALUES/s,
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
        }).pipe(Effect.provide(Layer.provideMerge(sqlStores, explaining(yield* database, plans))))
      }),
    60_000
  )

  it.scoped("times are the server's", () =>
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

describe("the history under a snapshot", () => {
  it.scoped("the last event of a full page has its id, as the first and the last of the stream have", () =>
    Effect.gen(function*() {
      const store = yield* EventStore.EventStore
      const appended = events(6)
      yield* store.append(stream("a"), appended, { expectedVersion: ExpectedVersion.any })
      const long = events(1_200)
      yield* store.append(stream("long"), long, { expectedVersion: ExpectedVersion.any })
      const page = yield* store.replay.readTail(stream("long"), { fromVersion: 3, limit: 1_100 })
      assert.deepStrictEqual(
        page.flatMap(({ eventId, version }) => eventId === null ? [] : [[version, eventId]]),
        [[3, long[2].id], [1_102, long[1_101].id]]
      )
      const ids = (fromVersion: number, limit: number) =>
        Effect.map(
          store.replay.readTail(stream("a"), { fromVersion, limit }),
          (tail) => tail.map(({ eventId }) => appended.findIndex(({ id }) => id === eventId) + 1)
        )
      assert.deepStrictEqual(yield* ids(2, 3), [2, 0, 4])
      assert.deepStrictEqual(yield* ids(2, 1), [2])
      assert.deepStrictEqual(yield* ids(2, 5), [2, 0, 0, 0, 6])
      assert.deepStrictEqual(yield* ids(2, Number.MAX_SAFE_INTEGER), [2, 0, 0, 0, 6])
      assert.deepStrictEqual(yield* ids(2, 2_000), [2, 0, 0, 0, 6])
      for (const prefix of ["eventsourcing", "apart"]) {
        const snapshots = yield* SqlSnapshotStore.make({ prefix })
        const { read } = Option.getOrThrow(store.replay.withSnapshots(snapshots))
        const options = { schemaVersion: 1, fingerprint: "f" }
        for (const [limit, last] of [[3, 3], [Number.MAX_SAFE_INTEGER, 6]] as const) {
          const { events } = yield* read(stream("a"), { ...options, limit })
          assert.strictEqual(events.at(-1)?.eventId, appended[last - 1].id)
        }
      }
    }).pipe(Effect.provide(stores)))

  it.scoped("a state is proved by the event that it was folded up to, though that went away in the middle", () =>
    Effect.gen(function*() {
      const sql = yield* SqlClient.SqlClient
      const store = yield* EventStore.EventStore
      yield* store.append(stream("a"), events(15), { expectedVersion: ExpectedVersion.any })
      const rewrite = Effect.gen(function*() {
        yield* sql`DELETE FROM eventsourcing_events WHERE version > 9`
        yield* store.append(stream("a"), [event(1_000)], { expectedVersion: ExpectedVersion.exact(9) })
      })
      let pages = 0
      const rewritten = EventStore.EventStore.of({
        ...store,
        replay: {
          ...store.replay,
          withSnapshots: () => Option.none(),
          readTail: (stream, options) =>
            Effect.tap(
              store.replay.readTail(stream, options),
              () => ++pages === 1 ? Effect.orDie(rewrite) : Effect.void
            )
        }
      })
      const snapshots = SnapshotPolicy.manual
      const loader = yield* Effect.provideService(
        Repository.make(Account, { snapshots, pageSize: 10 }),
        EventStore.EventStore,
        rewritten
      )
      yield* loader.createSnapshot(id("a"))
      const replayed = yield* (yield* Repository.make(Account)).load(id("a"))
      const loaded = yield* (yield* Repository.make(Account, { snapshots })).load(id("a"))
      assert.deepStrictEqual(loaded.state, replayed.state)
      assert.deepInclude(loaded, { snapshotVersion: 10, replayed: 0 })
    }).pipe(Effect.provide(stores)))
})

describe("writers", () => {
  it.scopedLive("sixteen times twenty-five increments lose none", () =>
    Effect.gen(function*() {
      for (const mode of ["sync", "background"] as const) {
        const accounts = yield* Repository.make(Account, {
          snapshots: SnapshotPolicy[mode]({ every: 3 }),
          retry: Schedule.forever
        })
        yield* accounts.execute(id(mode), open)
        yield* Effect.forEach(
          Array.from({ length: 16 }),
          () => Effect.repeatN(accounts.execute(id(mode), deposit(1)), 24),
          { concurrency: "unbounded", discard: true }
        )
        yield* accounts.awaitPendingSnapshots
        const loaded = yield* accounts.load(id(mode))
        assert.deepInclude(loaded, { version: 401, state: { open: true, balance: 400 } })
        assert.isAbove(loaded.snapshotVersion, 390)
        const read = yield* collect((yield* EventStore.EventStore).read(stream(mode)))
        assert.deepStrictEqual(read.map(({ version }) => version), Array.from({ length: 401 }, (_, i) => i + 1))
      }
    }).pipe(Effect.provide(stores)), 300_000)

  for (const mode of ["sync", "background"]) {
    it.scopedLive(`four processes boot at once and lose no increment (${mode})`, () =>
      Effect.gen(function*() {
        const url = yield* database
        const writers = Array.from({ length: 4 }, () => start("./increment.ts", [url, "25", mode]))
        for (const writer of writers) {
          const code = yield* Effect.promise(() => writer.exited)
          assert.strictEqual(code, 0, writer.errors())
        }
        const loaded = yield* Effect.flatMap(
          Repository.make(Account, { snapshots: SnapshotPolicy.manual }),
          (accounts) => accounts.load(id("shared"))
        ).pipe(Effect.provide(storesOn(url)))
        assert.deepInclude(loaded, { version: 101, state: { open: true, balance: 100 } })
        assert.isAbove(loaded.snapshotVersion, 90)
      }), 60_000)
  }
})

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

  it.scopedLive("a serialization failure and a deadlock are tried again", () =>
    Effect.gen(function*() {
      const url = yield* database
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
    }), 60_000)

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
      const url = yield* database
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
    }), 30_000)

  it.scopedLive(
    "a server stopped at once in the middle of appends: what was acknowledged is there, what was not is typed",
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
      }),
    60_000
  )

  it.scopedLive(
    "without a server, or without a free connection, a typed error says that nothing was appended",
    () =>
      Effect.gen(function*() {
        const url = yield* database
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
      }),
    30_000
  )

  it.scopedLive(
    "an append whose answer is lost is repeated, and happens once; so is a read",
    () =>
      Effect.gen(function*() {
        const url = yield* database
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
      }),
    30_000
  )

  it.scopedLive(
    "an append whose answer is lost for good says that it may have happened, and it is safe to repeat",
    () =>
      Effect.gen(function*() {
        const url = yield* database
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
      }),
    30_000
  )

  it.scopedLive("an error of the user's own making is neither a race nor a lost connection", () =>
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
    "a snapshot that waits for a lock ends by itself, and the caller's transaction goes on unharmed",
    () =>
      Effect.gen(function*() {
        const url = yield* database
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
      }),
    60_000
  )

  it.scopedLive("a transaction that sees nothing new gives up at once", () =>
    Effect.gen(function*() {
      const url = yield* database
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
      const url = yield* database
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
    }), 30_000)
})

describe("the feed", () => {
  const positions = (events: ReadonlyArray<Event.RecordedEvent>) => events.map(({ position }) => position)

  const heldBack = Metric.tagged(Metrics.feedHeldBack, "events", "eventsourcing_events")
  const lag = Metric.tagged(Metrics.feedLag, "events", "eventsourcing_events")

  const ordered = (events: ReadonlyArray<Event.RecordedEvent>) => {
    for (let i = 1; i < events.length; i++) {
      assert.strictEqual(Position.Order(events[i - 1].position, events[i].position), -1)
    }
  }

  it.scopedLive("passes no event that commits late", () =>
    Effect.gen(function*() {
      const url = yield* database
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

  it.scopedLive("keeps a stream in order where transactions began in another one", () =>
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
      yield* append("other", 0)
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
        assert.deepStrictEqual(
          positions(yield* collect(store.readAll({ after: position, pageSize: 2 }))),
          positions(read).slice(index + 1)
        )
      }
    }).pipe(Effect.provide(stores)))

  it.scopedLive("gives nothing of what was rolled back", () =>
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
        const url = yield* database
        yield* Effect.gen(function*() {
          const store = yield* EventStore.EventStore
          const sql = yield* SqlClient.SqlClient
          const total = 16 * 40
          const write = (writer: number) =>
            Effect.forEach(Array.from({ length: 40 }, (_, i) => i), (i) => {
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
            const page = yield* collect(store.readAll({ after: checkpoint, aggregate: "Account", pageSize: 7 }))
            seen.push(...page)
            checkpoint = page.at(-1)?.position ?? checkpoint
          }
          yield* Fiber.join(writers)
          assert.deepStrictEqual(yield* collect(store.readAll({ after: checkpoint, aggregate: "Account" })), [])
          ordered(seen)
          assert.strictEqual(new Set(seen.map(({ id }) => id)).size, total)
          for (let s = 0; s < 5; s++) {
            const versions = seen.filter(({ stream }) => stream.id === `s${s}`).map(({ version }) => version)
            assert.deepStrictEqual(versions, versions.map((_, i) => i + 1))
          }
        }).pipe(Effect.provide(storesOn(url, { maxConnections: 20 })))
      }),
    60_000
  )

  it.scopedLive("is not led astray by a layer that is built in a transaction that has appended", () =>
    Effect.gen(function*() {
      const url = yield* database
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

  it.scopedLive("goes on after all tables were emptied", () =>
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
      const url = yield* database
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
    "goes on after a dump was restored into a fresh cluster, where transaction ids start low",
    () =>
      Effect.gen(function*() {
        const url = yield* database
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
      }),
    60_000
  )
})
