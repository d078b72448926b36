import { Migrator, SqlClient } from "@effect/sql"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer } from "effect"
import {
  EventStore,
  ExpectedVersion,
  InvalidOption,
  Postgres,
  Repository,
  SnapshotPolicy,
  SqlEventStore,
  SqlMigrations,
  SqlSnapshotStore,
  SqlStores
} from "effect-eventsourcing"
import * as fs from "node:fs"
import * as path from "node:path"
import { names } from "../../src/internal/sql/names.js"
import * as PgFunctions from "../../src/internal/sql/postgres/functions.js"
import * as PgMigrations from "../../src/internal/sql/postgres/migrations.js"
import { Account, deposit, event, id, open, stream } from "../fixtures/Account.js"
import { sqlStores } from "../utils/backends.js"
import { root } from "../utils/npm.js"
import { typedFailure } from "../utils/observe.js"
import { pgClient, poolClient } from "../utils/postgres.js"
import { postgresUrl } from "../utils/server.js"
import { collect, database, emptyDatabase, events, storesOn } from "./setup.js"

describe("migrations", () => {
  it.scopedLive("eight processes may start at once on an empty database", () =>
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

  it.scopedLive("after a run in the user's own migrator, the layers need no privilege to create tables", () =>
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

  it.scoped("functions are created on tables without functions", () =>
    Effect.gen(function*() {
      const sql = yield* SqlClient.SqlClient
      const functions = sql`SELECT 1 FROM pg_proc WHERE proname LIKE 'eventsourcing\\_%'`
      yield* SqlMigrations.run()
      for (
        const name of [
          "append_1",
          "append_2",
          "append_3",
          "append_4",
          "append_many_2",
          "append_many_3",
          "claim_1",
          "load_1",
          "load_2",
          "load_3",
          "load_many_1",
          "tail_1",
          "tail_2",
          "tail_3"
        ]
      ) {
        yield* sql.unsafe(`DROP FUNCTION eventsourcing_${name}`)
      }
      assert.lengthOf(yield* functions, 0)
      yield* sql`DELETE FROM eventsourcing_migrations WHERE migration_id > 1`
      const older = yield* Effect.flip(SqlEventStore.make({ migrate: false }))
      assert.include(older.message, "older than this program")
      yield* SqlEventStore.make()
      assert.lengthOf(yield* functions, 14)
    }).pipe(Effect.provide(emptyDatabase)))

  it.effect("the documentation names the functions that a program calls", () =>
    Effect.gen(function*() {
      const page = fs.readFileSync(path.join(root, "docs", "postgres.md"), "utf8")
      const named = Array.from(page.matchAll(/`bank(_[a-z_]+_\d+)`/g), ([, name]) => `eventsourcing${name}`)
      const called = Object.values(PgFunctions.make(yield* names(undefined))).map(({ name }) => name)
      assert.deepStrictEqual(named.sort(), called.sort())
    }))

  it.scoped("a program of an older version goes on with its own functions on migrated tables", () =>
    Effect.gen(function*() {
      const sql = yield* SqlClient.SqlClient
      const [tables, functions] = PgMigrations.all(yield* names(undefined))
      for (const statement of [...tables.statements, ...functions.statements]) yield* sql.unsafe(statement)
      const appendAsBefore = (version: number) =>
        sql<{ readonly appended: string }>`SELECT eventsourcing_append_1('Account', 'a', ${[`old-${version}`]}::text[],
ARRAY['Deposited'], ARRAY['{"_tag":"Deposited","amount":1}'], ARRAY['{}'], ${version - 1}, ${version - 1}) AS appended`
      assert.match((yield* appendAsBefore(1))[0].appended, /^1 \d+ \d+$/)
      const store = yield* SqlEventStore.make()
      yield* store.append(stream("a"), [event(1)], { expectedVersion: ExpectedVersion.exact(1) })
      assert.match((yield* appendAsBefore(3))[0].appended, /^3 \d+ \d+$/)
      assert.isNull((yield* appendAsBefore(2))[0].appended)
      const read = yield* collect(store.read(stream("a")))
      assert.deepStrictEqual(read.map(({ version }) => version), [1, 2, 3])
      const tail = yield* sql<{ readonly id: string | null }>`
SELECT event_id AS id FROM eventsourcing_tail_1('Account', 'a', 1, 10)`
      assert.deepStrictEqual(tail.map(({ id }) => id), ["old-1", null, "old-3"])
      const load = yield* sql`SELECT version FROM eventsourcing_load_1('Account', 'a', 1, NULL, '{}', 10)`
      assert.lengthOf(load, 3)
      // a restore may leave them out, and this version does not need them
      for (const name of ["append", "load", "tail"]) yield* sql.unsafe(`DROP FUNCTION eventsourcing_${name}_1`)
      yield* SqlEventStore.make({ migrate: false })
    }).pipe(Effect.provide(emptyDatabase)))

  it.scoped("functions that are missing after a restore of the tables are created again", () =>
    Effect.gen(function*() {
      const sql = yield* SqlClient.SqlClient
      yield* SqlEventStore.make()
      for (const { name } of Object.values(PgFunctions.make(yield* names(undefined)))) {
        yield* sql.unsafe(`DROP FUNCTION ${name}`)
        const missing = yield* Effect.flip(SqlEventStore.make({ migrate: false }))
        assert.instanceOf(missing, SqlMigrations.MigrationError)
        assert.include(missing.message, `"${name}"(text`)
        yield* SqlEventStore.make()
        const store = yield* SqlEventStore.make({ migrate: false })
        yield* store.append(stream("a"), events(1), { expectedVersion: ExpectedVersion.any })
      }
    }).pipe(Effect.provide(emptyDatabase)))

  it.scoped("one prefix in two schemas: each search path uses its own tables, on one connection, prepared or not", () =>
    Effect.gen(function*() {
      const url = yield* database
      const pool = (prepared: boolean) => poolClient(url, prepared ? Postgres.preparePool : undefined)
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

  it.scoped("an event store and a snapshot store may have different prefixes", () =>
    Effect.gen(function*() {
      const Stores = Layer.merge(SqlEventStore.layer, SqlSnapshotStore.layerWith({ prefix: "apart" }))
      const loaded = yield* Effect.flatMap(
        Repository.make(Account, { snapshots: SnapshotPolicy.inline({ every: 1 }) }),
        (accounts) => Effect.zipRight(accounts.executeAll(id("a"), [open, deposit(1, 3)]), accounts.load(id("a")))
      ).pipe(Effect.scoped, Effect.provide(Stores))
      assert.deepInclude(loaded, { version: 4, snapshotVersion: 4 })
    }).pipe(Effect.provide(emptyDatabase)))

  it.scoped("tables of several prefixes are separate, in one schema or several, also if only the case differs", () =>
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
      assert.deepStrictEqual(
        tables.map(({ name }) => name),
        ["four", "three"].flatMap((prefix) =>
          [
            "archive",
            "checkpoints",
            "cluster",
            "events",
            "inline",
            "members",
            "migrations",
            "parked",
            "snapshots",
            "subscriptions"
          ]
            .map((name) => `es.${prefix}_${name}`)
        )
      )
      const longest = "x".repeat(40)
      yield* SqlMigrations.run({ prefix: longest })
      const indexes = yield* sql<{ readonly name: string }>`SELECT indexname AS name FROM pg_indexes
WHERE indexname LIKE ${`${longest}%`} AND indexname LIKE '%\\_active'`
      assert.deepStrictEqual(indexes.map(({ name }) => name), [`${longest}_subscriptions_active`])
      // names that PostgreSQL would cut are refused before
      const failure = yield* Effect.flip(SqlEventStore.make({ prefix: "x".repeat(41) }))
      assert.instanceOf(failure, InvalidOption.InvalidOption)
    }).pipe(Effect.provide(emptyDatabase)))

  it.scoped("the statements can be read and run by other means", () =>
    Effect.gen(function*() {
      const sql = yield* SqlClient.SqlClient
      for (const prefix of ["bank", "es.bank"]) {
        for (const statement of yield* SqlMigrations.statementsPostgres({ prefix })) yield* sql.unsafe(statement)
        // and the layers find their tables there
        const store = yield* SqlEventStore.make({ prefix, migrate: false })
        yield* store.append(stream("a"), [event(1)], { expectedVersion: ExpectedVersion.noStream })
      }
    }).pipe(Effect.provide(emptyDatabase)))

  it.scoped("a client that transforms names, one way or both, does not affect the stores", () =>
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

  it.scopedLive("a database that cannot hold every text is rejected", () =>
    Effect.gen(function*() {
      const url = new URL(postgresUrl())
      const name = `ascii_${crypto.randomUUID().replaceAll("-", "")}`
      const admin = (statement: string) =>
        Effect.flatMap(SqlClient.SqlClient, (sql) => sql.unsafe(statement)).pipe(
          Effect.provide(Layer.fresh(pgClient(postgresUrl())))
        )
      yield* admin(`CREATE DATABASE ${name} ENCODING 'SQL_ASCII' LOCALE 'C' TEMPLATE template0`)
      url.pathname = name
      const failure = typedFailure(yield* Effect.exit(Effect.scoped(Layer.build(storesOn(url.href)))))
      yield* admin(`DROP DATABASE ${name} WITH (FORCE)`)
      assert.instanceOf(failure, SqlMigrations.MigrationError)
      assert.include(failure.message, "UTF8")
    }))
})
