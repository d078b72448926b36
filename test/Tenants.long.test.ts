// tenants with databases, tables and schemas of their own
import { SqlClient } from "@effect/sql"
import { SqliteClient } from "@effect/sql-sqlite-node"
import { assert, describe, it } from "@effect/vitest"
import { Context, Deferred, Effect, Exit, Fiber, Layer, TestClock } from "effect"
import { EventStore, Repository, Sqlite, SqlMigrations, SqlStores, Tenants } from "effect-eventsourcing"
import * as path from "node:path"
import { Account, id } from "./fixtures/Account.js"
import { sharedDatabases, temporaryFolder } from "./utils/backends.js"

class Name extends Context.Tag("Name")<Name, string>() {}

/** Layers that note which of them are open. */
const noted = () => {
  const open = new Set<string>()
  const log: Array<string> = []
  const layerOf = (tenant: string) =>
    Layer.scoped(
      Name,
      Effect.acquireRelease(
        Effect.sync(() => {
          open.add(tenant)
          log.push(`+${tenant}`)
          return tenant
        }),
        () =>
          Effect.sync(() => {
            open.delete(tenant)
            log.push(`-${tenant}`)
          })
      )
    )
  return { open, log, layerOf }
}

describe("prefixes of tenants", () => {
  it("are different for different tenants on every database, and fit into names", () => {
    const tenants = [
      "acme",
      "Acme",
      "ACME",
      "a-b",
      "a_b",
      "",
      "t_acme",
      "__proto__",
      "a b",
      "é",
      "x".repeat(31),
      "\u0000",
      // UTF-8 has none of these
      "\ud800",
      "\udfff",
      "\"\\ud800\"",
      "\ufffd"
    ]
    const prefixes = tenants.map((tenant) => Tenants.prefixOf(tenant))
    assert.strictEqual(new Set(prefixes.map((prefix) => prefix.toLowerCase())).size, tenants.length)
    for (const prefix of prefixes) assert.match(prefix, /^[a-z][a-z0-9_]{1,33}$/)
    assert.strictEqual(Tenants.prefixOf("acme"), "t_acme")
    assert.strictEqual(Tenants.prefixOf("acme", { schema: true }), "t_acme.eventsourcing")
    // no prefix continues another one
    for (const left of prefixes) {
      for (const right of prefixes) assert.isFalse(left !== right && right.startsWith(`${left}_`), `${left} ${right}`)
    }
  })
})

describe("open tenants", () => {
  it.scoped("are as many as may be open: the one that was not used for the longest time is closed", () =>
    Effect.gen(function*() {
      const { layerOf, log, open } = noted()
      const tenants = yield* Tenants.make(layerOf, { mostOpen: 2 })
      const use = (tenant: string) => Effect.provide(Name, tenants.get(tenant))
      for (const tenant of ["a", "b", "a", "c"]) assert.strictEqual(yield* use(tenant), tenant)
      assert.deepStrictEqual(log, ["+a", "+b", "-b", "+c"])
      assert.deepStrictEqual([...open], ["a", "c"])
    }))

  it.scoped("wait for one that is in use, and fail after the timeout", () =>
    Effect.gen(function*() {
      const { layerOf, open } = noted()
      const tenants = yield* Tenants.make(layerOf, { mostOpen: 1, timeout: "10 seconds" })
      const inUse = yield* Deferred.make<void>()
      const end = yield* Deferred.make<void>()
      const first = yield* Effect.fork(Effect.provide(
        Effect.zipRight(Deferred.succeed(inUse, undefined), Deferred.await(end)),
        tenants.get("a")
      ))
      yield* Deferred.await(inUse)
      const late = yield* Effect.fork(Effect.flip(Effect.provide(Name, tenants.get("b"))))
      yield* TestClock.adjust("10 seconds")
      assert.deepInclude(yield* Fiber.join(late), { _tag: "TenantsExhausted", mostOpen: 1 })
      const second = yield* Effect.fork(Effect.provide(Name, tenants.get("c")))
      yield* TestClock.adjust("5 seconds")
      assert.deepStrictEqual([...open], ["a"])
      yield* Deferred.succeed(end, undefined)
      yield* Fiber.join(first)
      assert.strictEqual(yield* Fiber.join(second), "c")
      assert.deepStrictEqual([...open], ["c"])
    }))

  it.scoped("are closed after a while without use, and when the scope closes", () =>
    Effect.gen(function*() {
      const { layerOf, open } = noted()
      yield* Effect.scoped(Effect.gen(function*() {
        const tenants = yield* Tenants.make(layerOf, { mostOpen: 5, idleTimeToLive: "1 minute" })
        yield* Effect.provide(Name, tenants.get("a"))
        yield* TestClock.adjust("59 seconds")
        yield* Effect.provide(Name, tenants.get("b"))
        assert.deepStrictEqual([...open], ["a", "b"])
        yield* TestClock.adjust("1 seconds")
        assert.deepStrictEqual([...open], ["b"])
      }))
      assert.deepStrictEqual([...open], [])
    }))

  it.scoped("that could not be opened are tried again, and hold no place", () =>
    Effect.gen(function*() {
      let isBroken = true
      const layerOf = (tenant: string) => Layer.effect(Name, isBroken ? Effect.fail("broken") : Effect.succeed(tenant))
      const tenants = yield* Tenants.make(layerOf, { mostOpen: 1 })
      for (const tenant of ["a", "b", "a"]) {
        assert.deepStrictEqual(yield* Effect.exit(Effect.provide(Name, tenants.get(tenant))), Exit.fail("broken"))
      }
      isBroken = false
      assert.strictEqual(yield* Effect.provide(Name, tenants.get("a")), "a")
    }))

  it.effect("have a bound that makes sense", () =>
    Effect.gen(function*() {
      for (const mostOpen of [0, -1, 1.5, NaN, 2 ** 53]) {
        const error = yield* Effect.flip(Effect.scoped(Tenants.make(noted().layerOf, { mostOpen })))
        assert.strictEqual(error._tag, "InvalidOption")
      }
    }))

  it.scopedLive("are never more than the bound, whatever their fibers do", () =>
    Effect.gen(function*() {
      const { layerOf, open } = noted()
      let most = 0
      const tenants = yield* Tenants.make(layerOf, { mostOpen: 7, idleTimeToLive: "1 millis" })
      const use = (index: number) =>
        Effect.provide(
          Effect.flatMap(Name, (name) => {
            most = Math.max(most, open.size)
            assert.strictEqual(name, `t${index % 40}`)
            return index % 3 === 0 ? Effect.yieldNow() : Effect.sleep(index % 2)
          }),
          tenants.get(`t${index % 40}`)
        ).pipe((using) => index % 11 === 0 ? Effect.timeoutOption(using, "1 millis") : using)
      yield* Effect.forEach(Array.from({ length: 2_000 }, (_, index) => index), use, {
        concurrency: 50
      })
      assert.isAtMost(most, 7)
      assert.isAbove(most, 1)
    }))
})

const count = 200
const names = Array.from({ length: count }, (_, index) => index % 10 === 9 ? `Tenant ${index}` : `tenant${index}`)

/** Each tenant has an account of the same id, with another balance. */
const write = (index: number) =>
  Effect.scoped(Effect.gen(function*() {
    const accounts = yield* Repository.make(Account)
    yield* accounts.execute(id("a"), { _tag: "Open" })
    yield* accounts.execute(id("a"), { _tag: "Deposit", amount: index + 1 })
  }))

const balance = Effect.scoped(Effect.gen(function*() {
  const accounts = yield* Repository.make(Account)
  const { state } = yield* accounts.load(id("a"))
  return state.balance
}))

describe(`${count} tenants`, () => {
  it.scopedLive("with a file each, of which ten are open", () =>
    Effect.gen(function*() {
      const folder = yield* temporaryFolder
      const filename = (tenant: string) => path.join(folder, `${Tenants.prefixOf(tenant)}.db`)
      const tenants = yield* Tenants.make(
        (tenant: string) =>
          Layer.provide(SqlStores.layer, Sqlite.layer(SqliteClient.layer, { filename: filename(tenant) })),
        { mostOpen: 10 }
      )
      yield* Effect.forEach(names, (name, index) => Effect.provide(write(index), tenants.get(name)), {
        concurrency: 20
      })
      const balances = yield* Effect.forEach(names, (name) => Effect.provide(balance, tenants.get(name)), {
        concurrency: 20
      })
      assert.deepStrictEqual(balances, names.map((_, index) => index + 1))
    }))

  for (const [database, target, client] of sharedDatabases) {
    for (const schema of database === "PostgreSQL" ? [false, true] : [false]) {
      it.scopedLive(`with ${schema ? "schemas" : "tables"} in one database, of which one leaves (${database})`, () =>
        Effect.gen(function*() {
          // a process prepares a bounded number of texts by name, and other files look at those of the default prefix
          yield* Effect.provide(Effect.void, SqlStores.layer)
          const prefix = (tenant: string) => Tenants.prefixOf(tenant, { schema })
          const of = (tenant: string) => SqlStores.layerWith({ prefix: prefix(tenant) })
          yield* Effect.forEach(names, (name, index) => Effect.provide(write(index), of(name)), { concurrency: 4 })
          const [first, ...rest] = names
          const sql = yield* SqlClient.SqlClient
          const objects = database === "PostgreSQL"
            ? Effect.map(
              sql<{ name: string }>`SELECT relname::text AS name FROM pg_class
                WHERE relname LIKE ${`${Tenants.prefixOf(first)}\\_%`} OR relnamespace = to_regnamespace('t_tenant0')
                UNION ALL SELECT proname::text FROM pg_proc
                WHERE proname LIKE ${`${Tenants.prefixOf(first)}\\_%`} OR pronamespace = to_regnamespace('t_tenant0')
                UNION ALL SELECT nspname::text FROM pg_namespace WHERE nspname = ${Tenants.prefixOf(first)}`,
              (rows) => rows.length
            )
            : Effect.map(
              sql`SELECT name FROM sqlite_master WHERE name LIKE ${`${Tenants.prefixOf(first)}\\_%`} ESCAPE '\\'`,
              (rows) => rows.length
            )
          assert.isAbove(yield* objects, 5)
          yield* SqlMigrations.drop({ prefix: prefix(first) })
          assert.strictEqual(yield* objects, 0)
          yield* SqlMigrations.drop({ prefix: prefix(first) })
          const balances = yield* Effect.forEach(rest, (name) => Effect.provide(balance, of(name)), { concurrency: 4 })
          assert.deepStrictEqual(balances, rest.map((_, index) => index + 2))
          const events = yield* Effect.provide(
            Effect.flatMap(EventStore.EventStore, ({ streams }) => streams({ aggregate: "Account" })),
            of(first)
          )
          assert.deepStrictEqual(events, [])
        }).pipe((run) => Effect.flatMap(target, (target) => Effect.provide(run, client(target)))))
    }
  }
})
