import { SqlClient } from "@effect/sql"
import { assert, describe, it } from "@effect/vitest"
import { Chunk, Context, Effect, Layer, Stream } from "effect"
import { EventStore, ExpectedVersion, SqlEventStore, SqlMigrations, StreamId } from "effect-eventsourcing"
import { names } from "../../src/internal/sql/names.js"
import * as PgFunctions from "../../src/internal/sql/postgres/functions.js"
import { sqlStores } from "../utils/backends.js"
import { pgClient, startServer, temporaryDatabase } from "../utils/postgres.js"
import { postgresUrl } from "../utils/server.js"

const stream = (id: string) => StreamId.make("Account", id)
const append = (store: EventStore.EventStore["Type"], id: string, count: number) =>
  store.append(
    stream(id),
    Array.from({ length: count }, () => ({ id: crypto.randomUUID(), type: "Noted", payload: { _tag: "Noted" } })),
    { expectedVersion: ExpectedVersion.any }
  )
const feed = (store: EventStore.EventStore["Type"], options?: Parameters<typeof store.readAll>[0]) =>
  Effect.map(Stream.runCollect(store.readAll(options)), (events) => Chunk.toArray(events))
const run = (url: string, ...statements: ReadonlyArray<string>) =>
  Effect.flatMap(SqlClient.SqlClient, (sql) => Effect.forEach(statements, (statement) => sql.unsafe(statement))).pipe(
    Effect.provide(Layer.fresh(pgClient(url, { maxConnections: 1 })))
  )
const build = (url: string, options?: SqlMigrations.Options) =>
  Effect.scoped(Effect.provide(SqlEventStore.make(options), Layer.fresh(pgClient(url))))

const storeOn = (url: string) =>
  Effect.map(
    Layer.build(Layer.fresh(Layer.provide(sqlStores, pgClient(url)))),
    (context) => Context.get(context, EventStore.EventStore)
  )

describe("a user without write privileges, or a read-only server", () => {
  /** A role that may do what the program needs on the tables that are there, and what connects as it. */
  const program = (url: string) =>
    Effect.gen(function*() {
      const role = `app_${crypto.randomUUID().replaceAll("-", "")}`
      yield* Effect.acquireRelease(
        run(url, `CREATE ROLE ${role} LOGIN PASSWORD 'app'`, "REVOKE CREATE ON SCHEMA public FROM PUBLIC"),
        () => Effect.orDie(run(url, `DROP OWNED BY ${role}`, `DROP ROLE ${role}`))
      )
      const asRole = new URL(url)
      asRole.username = role
      asRole.password = "app"
      const grant = run(
        url,
        `GRANT SELECT, INSERT ON eventsourcing_events TO ${role}`,
        `GRANT SELECT, INSERT, UPDATE, DELETE ON eventsourcing_snapshots TO ${role}`,
        `GRANT SELECT ON eventsourcing_migrations, eventsourcing_cluster TO ${role}`
      )
      return { url: asRole.href, grant }
    })
  const readOnly = (url: string) => {
    const readOnly = new URL(url)
    readOnly.searchParams.set("options", "-c default_transaction_read_only=on")
    return readOnly.href
  }
  // rows with transaction ids beyond those of the server, as a dump of another one has them
  const restored = (url: string) =>
    run(url, "UPDATE eventsourcing_events SET transaction = transaction + 1000000 + pg_current_xact_id()::text::bigint")

  it.scopedLive("gets an error that says what to run if tables are missing", () =>
    Effect.gen(function*() {
      const url = yield* temporaryDatabase(postgresUrl())
      const role = yield* program(url)
      for (const connected of [role.url, readOnly(url)]) {
        const failure = yield* Effect.flip(build(connected))
        assert.instanceOf(failure, SqlMigrations.MigrationError)
        assert.include(failure.message, "run SqlMigrations.run with a user that may create tables")
      }
      yield* build(url)
      // one function is gone, as after a restore of the tables alone
      yield* run(url, `DROP FUNCTION ${PgFunctions.make(yield* names(undefined)).tail.name}`)
      yield* role.grant
      for (const connected of [role.url, readOnly(url)]) {
        const failure = yield* Effect.flip(build(connected))
        assert.include(failure.message, "run SqlMigrations.run with a user that may create tables")
      }
    }))

  it.scopedLive("gets an error that says what to run after a restore, and continues after that", () =>
    Effect.gen(function*() {
      const url = yield* temporaryDatabase(postgresUrl())
      const role = yield* program(url)
      yield* append(yield* storeOn(url), "a", 2)
      yield* role.grant
      yield* restored(url)
      for (const connected of [role.url, readOnly(url)]) {
        for (const options of [{}, { migrate: false }]) {
          const failure = yield* Effect.flip(build(connected, options))
          assert.instanceOf(failure, SqlMigrations.MigrationError)
          assert.include(failure.message, "run SqlMigrations.afterRestore with a user that may write")
          assert.notInclude(failure.message, "created")
        }
      }
      yield* Effect.provide(SqlMigrations.afterRestore(), Layer.fresh(pgClient(url)))
      yield* build(readOnly(url))
      const store = yield* storeOn(role.url)
      const before = yield* feed(store)
      assert.strictEqual(before.length, 2)
      yield* append(store, "b", 1)
      assert.strictEqual((yield* feed(store, { after: before[1].position })).length, 1)
    }))
})

describe("a logical subscriber", () => {
  it.scopedLive(
    "rejects the feed, also if the subscription came later, until the layers are built without it",
    () =>
      Effect.gen(function*() {
        const server = yield* Effect.acquireRelease(
          Effect.promise(() => startServer({ wal_level: "logical" })),
          (server) => Effect.promise(server.close)
        )
        const [publisher, subscriber] = [yield* temporaryDatabase(server.url), yield* temporaryDatabase(server.url)]
        const source = yield* storeOn(publisher)
        const copy = yield* storeOn(subscriber)
        yield* append(source, "a", 2)
        yield* append(copy, "own", 1)
        assert.strictEqual((yield* feed(copy)).length, 1)

        yield* run(
          publisher,
          "CREATE PUBLICATION events FOR TABLE eventsourcing_events",
          "SELECT pg_create_logical_replication_slot('events', 'pgoutput')"
        )
        yield* run(
          subscriber,
          `CREATE SUBSCRIPTION events CONNECTION '${publisher}' PUBLICATION events WITH (create_slot = false)`
        )
        yield* Effect.repeat(copy.version(stream("a")), { until: (version) => version === 2 })
        const later = yield* storeOn(subscriber)
        const refused = (store: EventStore.EventStore["Type"], options?: Parameters<typeof feed>[1]) =>
          Effect.gen(function*() {
            const failure = yield* Effect.flip(feed(store, options))
            assert.strictEqual(failure._tag, "EventStoreError")
            assert.include(failure.message, "logical subscription")
            assert.include(failure.message, "drop the subscription")
          })
        for (const store of [copy, later]) {
          const partition = { index: 0, of: 1 }
          for (
            const options of [{}, { aggregates: ["Account"] }, { types: ["Noted"] }, { partition }, { pageSize: 1 }]
          ) {
            yield* refused(store, options)
          }
          assert.include((yield* Effect.flip(store.head)).message, "logical subscription")
        }
        // what needs no order over all streams does not mind
        assert.strictEqual((yield* Stream.runCollect(copy.read(stream("a")))).length, 2)

        yield* run(
          subscriber,
          "ALTER SUBSCRIPTION events DISABLE",
          "ALTER SUBSCRIPTION events SET (slot_name = NONE)",
          "DROP SUBSCRIPTION events"
        )
        for (const store of [copy, later]) yield* refused(store)
        const promoted = yield* storeOn(subscriber)
        const all = yield* feed(promoted)
        assert.strictEqual(all.length, 3)
        yield* append(promoted, "b", 1)
        assert.strictEqual((yield* feed(promoted, { after: all[2].position })).length, 1)
        yield* run(publisher, "SELECT pg_drop_replication_slot('events')")
      })
  )
})
