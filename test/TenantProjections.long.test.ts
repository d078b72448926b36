// projections of many tenants: one for each, open while it is used, and one for those that share tables
import { SqlClient } from "@effect/sql"
import { SqliteClient } from "@effect/sql-sqlite-node"
import { assert, describe, it } from "@effect/vitest"
import { Cause, Effect, Exit, Fiber, Layer, LayerMap, Ref, type Scope } from "effect"
import {
  type CheckpointStore,
  type Event,
  EventStore,
  Projection,
  Projections,
  Repository,
  type SnapshotStore,
  Sqlite,
  SqlMigrations,
  SqlStores,
  Tenants
} from "effect-eventsourcing"
import * as path from "node:path"
import { Account, id } from "./fixtures/Account.js"
import { sharedDatabases, temporaryFolder } from "./utils/backends.js"

// a test of the stores alone has 200 tenants
const count = 60
const names = Array.from({ length: count }, (_, index) => index % 10 === 9 ? `Tenant ${index}'; --` : `tenant${index}`)

/** A projection into a table of all tenants, or of one. */
const balancesOf = (tenantOf: (event: { readonly metadata: Event.Metadata }) => string) =>
  Projection.makeByTag({
    name: "balances",
    on: [Projection.only(Account, ["Deposited"])],
    handlers: {
      Account: {
        Deposited: (envelope) =>
          Effect.flatMap(SqlClient.SqlClient, (sql) =>
            sql`INSERT INTO balances (tenant, balance) VALUES (${tenantOf(envelope)}, ${envelope.event.amount})
              ON CONFLICT (tenant) DO UPDATE SET balance = balances.balance + excluded.balance`)
      }
    }
  })

const createTable = Effect.flatMap(
  SqlClient.SqlClient,
  (sql) => sql`CREATE TABLE IF NOT EXISTS balances (tenant TEXT PRIMARY KEY, balance INTEGER NOT NULL)`
)

const readTable = Effect.flatMap(SqlClient.SqlClient, (sql) =>
  Effect.map(
    sql<{ readonly tenant: string; readonly balance: number }>`SELECT tenant, balance FROM balances`,
    (rows) => Object.fromEntries(rows.map(({ balance, tenant }) => [tenant, Number(balance)]))
  ))

/** The stores of a tenant, with its projection: it runs as long as the tenant is open. */
const withProjection = <E, R>(
  tenant: string,
  stores: Layer.Layer<EventStore.EventStore | SnapshotStore.SnapshotStore | CheckpointStore.CheckpointStore, E, R>
) => Layer.provideMerge(Projection.layer(balancesOf(() => tenant), { maxDelay: "1 minute" }), stores)

const write = (index: number) =>
  Effect.scoped(Effect.gen(function*() {
    const accounts = yield* Repository.make(Account)
    yield* accounts.execute(id("a"), { _tag: "Open" })
    return yield* accounts.execute(id("a"), { _tag: "Deposit", amount: index + 1 })
  }))

/** Waits until the projection of a tenant has handled its events. */
const caughtUp = Effect.gen(function*() {
  const { head } = yield* EventStore.EventStore
  yield* Projections.awaitPosition("balances", yield* head, { timeout: "1 minute" })
})

// transactions of other tenants in the database may hold the head back
const awaited = Projections.thenAwait("balances", { timeout: "1 minute" })

const expected = Object.fromEntries(names.map((name, index) => [name, index + 1]))

describe(`${count} tenants with a projection each`, () => {
  it.scopedLive("with a file each, of which ten are open", () =>
    Effect.gen(function*() {
      const folder = yield* temporaryFolder
      const open = yield* Ref.make({ now: 0, most: 0 })
      const counted = Layer.scopedDiscard(Effect.acquireRelease(
        Ref.update(open, ({ most, now }) => ({ now: now + 1, most: Math.max(most, now + 1) })),
        () => Ref.update(open, ({ most, now }) => ({ most, now: now - 1 }))
      ))
      const fileOf = (tenant: string) =>
        Sqlite.layer(SqliteClient.layer, { filename: path.join(folder, `${Tenants.prefixOf(tenant)}.db`) })
      const tenants = yield* Tenants.make((tenant: string) =>
        withProjection(tenant, SqlStores.layer).pipe(
          Layer.provideMerge(Layer.effectDiscard(createTable)),
          Layer.provideMerge(fileOf(tenant)),
          Layer.merge(counted)
        ), { mostOpen: 10 })
      yield* Effect.forEach(names, (name, index) => Effect.provide(write(index), tenants.get(name)), {
        concurrency: 20
      })
      // a sweep opens each tenant until its projection has caught up
      const tables = yield* Effect.forEach(
        names,
        (name) => Effect.provide(Effect.zipRight(caughtUp, readTable), tenants.get(name)),
        { concurrency: 20 }
      )
      assert.deepStrictEqual(Object.assign({}, ...tables), expected)
      assert.strictEqual((yield* open).most, 10)
    }))

  for (const [database, target, client] of sharedDatabases) {
    for (const schema of database === "PostgreSQL" ? [false, true] : [false]) {
      const onDatabase = <A, E>(run: Effect.Effect<A, E, SqlClient.SqlClient | Scope.Scope>) =>
        Effect.flatMap(target, (target) => Effect.provide(run, client(target)))
      const prefixOf = (tenant: string) => Tenants.prefixOf(tenant, { schema })
      const kind = schema ? "schemas" : "tables"

      it.scopedLive(`with ${kind} in one database, and one read model (${database})`, () =>
        Effect.gen(function*() {
          yield* createTable
          const tenants = yield* LayerMap.make(
            (tenant: string) => withProjection(tenant, SqlStores.layerWith({ prefix: prefixOf(tenant) })),
            { idleTimeToLive: "1 second" }
          )
          yield* Effect.forEach(
            names,
            (name, index) => Effect.provide(awaited(write(index)), tenants.get(name)),
            { concurrency: 10 }
          )
          assert.deepStrictEqual(yield* readTable, expected)
        }).pipe(onDatabase))

      it.scopedLive(`of which one leaves during its commands, loads and projection, with ${kind} (${database})`, () =>
        Effect.gen(function*() {
          yield* createTable
          const gone = new Set<string>()
          const done = new Map<string, number>()
          const tenants = yield* LayerMap.make(
            (tenant: string) =>
              gone.has(tenant)
                ? Layer.fail("gone" as const)
                : withProjection(tenant, SqlStores.layerWith({ prefix: prefixOf(tenant) })),
            { idleTimeToLive: "1 second" }
          )
          const working = (tenant: string) =>
            Effect.gen(function*() {
              const accounts = yield* Repository.make(Account, { cache: { capacity: 10 } })
              yield* accounts.execute(id("a"), { _tag: "Open" })
              const commands = accounts.execute(id("a"), { _tag: "Deposit", amount: 1 }).pipe(
                Effect.zipRight(Effect.sync(() => done.set(tenant, (done.get(tenant) ?? 0) + 1))),
                Effect.forever
              )
              const loads = Effect.forever(Effect.zipRight(accounts.load(id("a")), Effect.yieldNow()))
              return yield* Effect.all([commands, loads], { concurrency: "unbounded" })
            }).pipe(Effect.scoped, Effect.provide(tenants.get(tenant)))
          const untilDone = (tenant: string, count: number) =>
            Effect.repeat(Effect.sleep("2 millis"), { until: () => (done.get(tenant) ?? 0) >= count })
          const [leaving, staying] = ["Acme'; --", "acme"]
          const leaver = yield* Effect.fork(working(leaving))
          const stayer = yield* Effect.fork(working(staying))
          yield* Effect.all([untilDone(leaving, 20), untilDone(staying, 20)])
          assert.isAbove(yield* objectsOf(prefixOf(leaving)), 5)
          // 1. no new use, 2. no more open than those in use, 3. the tables
          gone.add(leaving)
          yield* tenants.invalidate(leaving)
          yield* SqlMigrations.drop({ prefix: prefixOf(leaving) })
          // its commands end with an error that can be caught
          const exit = yield* Fiber.await(leaver)
          assert.isTrue(Exit.isFailure(exit) && Cause.isFailure(exit.cause) && !Cause.isDie(exit.cause), String(exit))
          assert.strictEqual(yield* Effect.flip(Effect.provide(Effect.void, tenants.get(leaving))), "gone")
          assert.strictEqual(yield* objectsOf(prefixOf(leaving)), 0)
          // those of the other go on
          yield* untilDone(staying, (done.get(staying) ?? 0) + 20)
          yield* Fiber.interrupt(stayer)
          const { state } = yield* Effect.provide(
            Effect.scoped(Effect.flatMap(
              Repository.make(Account),
              (accounts) => awaited(accounts.execute(id("a"), { _tag: "Deposit", amount: 1 }))
            )),
            tenants.get(staying)
          )
          assert.isAtLeast(state.balance, done.get(staying) ?? 0)
          assert.strictEqual((yield* readTable)[staying], state.balance)
        }).pipe(onDatabase))
    }
  }
})

/** How many tables, indexes and functions there are under a prefix. */
const objectsOf = (prefix: string) =>
  Effect.gen(function*() {
    const sql = yield* SqlClient.SqlClient
    const [schema] = prefix.split(".")
    const pattern = `${schema}\\_%`
    const found = yield* sql.onDialectOrElse({
      pg: () =>
        sql`SELECT relname::text AS name FROM pg_class
          WHERE relname LIKE ${pattern} OR relnamespace = to_regnamespace(${schema})
          UNION ALL SELECT proname::text FROM pg_proc
          WHERE proname LIKE ${pattern} OR pronamespace = to_regnamespace(${schema})
          UNION ALL SELECT nspname::text FROM pg_namespace WHERE nspname = ${schema}`,
      orElse: () => sql`SELECT name FROM sqlite_master WHERE name LIKE ${pattern} ESCAPE '\\'`
    })
    return found.length
  })
