// how statements reach their database: past the semaphore of SQLite, prepared by name on PostgreSQL
import { SqlClient } from "@effect/sql"
import { PgClient } from "@effect/sql-pg"
import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Exit, Fiber, Layer, Schedule } from "effect"
import { EventStore, ExpectedVersion, Postgres, Repository, SnapshotPolicy, StreamId } from "effect-eventsourcing"
import { createHash } from "node:crypto"
import pg from "pg"
import { inject } from "vitest"
import * as DirectSqlite from "../src/internal/directSqlite.js"
import * as PreparedTexts from "../src/internal/preparedTexts.js"
import { Account, id } from "./fixtures/Account.js"
import { sqliteTemporaryFile, sqlStores } from "./utils/backends.js"
import { temporaryDatabase } from "./utils/postgres.js"

const open = { _tag: "Open" } as const
const deposit = (amount: number, times = 1) => ({ _tag: "Deposit", amount, times }) as const
const event = () => ({ id: crypto.randomUUID(), type: "Deposited", payload: { _tag: "Deposited", amount: 1 } })

describe("SQLite", () => {
  const stores = Layer.provideMerge(sqlStores, sqliteTemporaryFile)
  const direct = Effect.map(SqlClient.SqlClient, (sql) => {
    const found = DirectSqlite.get(sql)
    if (found === undefined) throw new Error("the client has no direct way")
    return { sql, run: found.run }
  })

  it.scoped("appends of others never get into an open transaction, and none is rolled back with it", () =>
    Effect.gen(function*() {
      const sql = yield* SqlClient.SqlClient
      const store = yield* EventStore.EventStore
      const others = StreamId.make("Account", "others")
      const doomed = Effect.gen(function*() {
        for (let i = 0; i < 5; i++) {
          yield* store.append(StreamId.make("Account", "doomed"), [event()], { expectedVersion: ExpectedVersion.any })
          yield* Effect.yieldNow()
        }
        return yield* Effect.fail("roll back" as const)
      })
      const transactions = Effect.replicateEffect(Effect.flip(sql.withTransaction(doomed)), 40)
      const appends = Effect.replicateEffect(
        Effect.zipRight(
          Effect.yieldNow(),
          Effect.suspend(() => store.append(others, [event()], { expectedVersion: ExpectedVersion.any }))
        ),
        400
      )
      // a fiber that runs out of operations yields between any two steps
      yield* Effect.all([transactions, appends, appends], { concurrency: "unbounded" }).pipe(
        Effect.withMaxOpsBeforeYield(64)
      )
      assert.strictEqual(yield* store.version(others), 800)
      assert.strictEqual(yield* store.version(StreamId.make("Account", "doomed")), 0)
    }).pipe(Effect.provide(stores)))

  it.scoped("a transaction waits for the statement that is on the connection, and holds up the next", () =>
    Effect.gen(function*() {
      const { run, sql } = yield* direct
      const order: Array<string> = []
      const release = yield* Deferred.make<void>()
      const note = (what: string) => Effect.sync(() => order.push(what))
      const statement = yield* Effect.fork(run(Effect.zipRight(Deferred.await(release), note("statement")), note("?")))
      yield* Effect.yieldNow()
      const transaction = yield* Effect.fork(sql.withTransaction(note("transaction")))
      yield* Effect.yieldNow()
      yield* run(note("past it"), note("as the client does"))
      yield* Deferred.succeed(release, undefined)
      yield* Fiber.join(statement)
      yield* Fiber.join(transaction)
      yield* run(note("past it"), note("?"))
      assert.deepStrictEqual(order, ["as the client does", "statement", "transaction", "past it"])
    }).pipe(Effect.provide(stores)))

  it.scoped("an interruption or a failure, wherever it comes, leaves the way free", () =>
    Effect.gen(function*() {
      const { run, sql } = yield* direct
      for (const body of [Effect.never, Effect.fail("x"), Effect.die("x"), Effect.interrupt]) {
        const statement = yield* Effect.fork(run(body, body))
        yield* Effect.yieldNow()
        const transaction = yield* Effect.fork(sql.withTransaction(Effect.void))
        yield* Effect.yieldNow()
        yield* Fiber.interrupt(statement)
        yield* Fiber.interrupt(transaction)
      }
      assert.isTrue(Exit.isSuccess(yield* Effect.exit(sql.withTransaction(Effect.void))))
      assert.strictEqual(yield* run(Effect.succeed("direct"), Effect.succeed("not")), "direct")
    }).pipe(Effect.provide(stores)))
})

describe("PostgreSQL, prepared", () => {
  const prepared = Layer.unwrapScoped(
    Effect.map(temporaryDatabase(inject("postgres")), (url) =>
      PgClient.layerFromPool({
        acquire: Effect.acquireRelease(
          Effect.sync(() => Postgres.prepared(new pg.Pool({ connectionString: url, max: 1 }))),
          (pool) => Effect.promise(() => pool.end())
        )
      }))
  )

  it("a name says its text, in whatever order a process comes upon them", () => {
    const [one, two] = [`SELECT ${crypto.randomUUID()}`, `SELECT ${crypto.randomUUID()}`]
    PreparedTexts.note(one)
    PreparedTexts.note(two)
    const name = (text: string) => `eventsourcing_${createHash("sha256").update(text).digest("hex").slice(0, 32)}`
    assert.deepStrictEqual([one, two].map(PreparedTexts.nameOf), [name(one), name(two)])
  })

  it.scoped("loads and appends are, on the connection, and nothing else", () =>
    Effect.gen(function*() {
      const sql = yield* SqlClient.SqlClient
      const accounts = yield* Repository.make(Account, { snapshots: SnapshotPolicy.sync({ every: 10 }) })
      yield* accounts.executeAll(id("a"), [open, deposit(1, 20)])
      yield* accounts.execute(id("a"), deposit(1)).pipe(Effect.repeat(Schedule.recurs(9)))
      yield* sql.withTransaction(accounts.execute(id("a"), deposit(1)))
      yield* sql`SELECT ${1}::int AS one`
      const texts = yield* sql<{ name: string; statement: string }>`SELECT name, statement FROM pg_prepared_statements`
      assert.isTrue(texts.every(({ name }) => /^eventsourcing_[0-9a-f]{32}$/.test(name)))
      assert.isTrue(texts.some(({ statement }) => statement.includes("eventsourcing_append_1")))
      assert.isTrue(texts.some(({ statement }) => statement.includes("eventsourcing_load_1")))
      assert.isFalse(texts.some(({ statement }) => statement.includes("AS one")))
      assert.deepInclude(yield* accounts.load(id("a")), { version: 32, state: { open: true, balance: 31 } })
    }).pipe(Effect.provide(Layer.provideMerge(sqlStores, prepared))), 120_000)
})
