// how statements reach their database: in turns on SQLite, prepared by name on PostgreSQL
import { SqlClient } from "@effect/sql"
import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Fiber, Layer, Schedule } from "effect"
import { EventStore, ExpectedVersion, Postgres, Repository, SnapshotPolicy, StreamId } from "effect-eventsourcing"
import { createHash } from "node:crypto"
import * as Turns from "../src/internal/sql/turns.js"
import { Account, deposit, event, id, open } from "./fixtures/Account.js"
import { sqliteTemporaryFile, sqlStores } from "./utils/backends.js"
import { poolClient, temporaryDatabase } from "./utils/postgres.js"
import { postgresUrl } from "./utils/server.js"

describe("SQLite", () => {
  const stores = Layer.provideMerge(sqlStores, sqliteTemporaryFile)
  it.scoped("appends of other fibers are not part of an open transaction, and are not rolled back with it", () =>
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

  it.scoped("the program's own statements of other fibers are not part of it either", () =>
    Effect.gen(function*() {
      const sql = yield* SqlClient.SqlClient
      yield* sql`CREATE TABLE notes (text TEXT)`
      const doomed = Effect.gen(function*() {
        for (let i = 0; i < 5; i++) {
          yield* sql`INSERT INTO notes VALUES ('doomed')`
          yield* Effect.yieldNow()
        }
        return yield* Effect.fail("roll back" as const)
      })
      const transactions = Effect.replicateEffect(Effect.flip(sql.withTransaction(doomed)), 40)
      const notes = Effect.replicateEffect(
        Effect.zipRight(Effect.yieldNow(), sql`INSERT INTO notes VALUES ('kept')`),
        400
      )
      yield* Effect.all([transactions, notes, notes], { concurrency: "unbounded" }).pipe(
        Effect.withMaxOpsBeforeYield(64)
      )
      assert.deepStrictEqual(yield* sql`SELECT text, count(*) AS count FROM notes GROUP BY text`, [
        { text: "kept", count: 800 }
      ])
    }).pipe(Effect.provide(stores)))
})

describe("turns", () => {
  const make = () => Turns.make((waiting) => waiting)

  it.effect("go to the fiber that came first, also before one that asks again at once", () =>
    Effect.gen(function*() {
      const turns = make()
      const order: Array<string> = []
      const note = (what: string) => Effect.sync(() => order.push(what))
      const release = yield* Deferred.make<void>()
      const greedy = yield* Effect.fork(
        Effect.forEach(["a1", "a2", "a3"], (name) => turns.run(Effect.zipRight(Deferred.await(release), note(name))), {
          discard: true
        })
      )
      yield* Effect.yieldNow()
      const others = yield* Effect.forEach(["b", "c"], (name) => Effect.fork(Effect.asVoid(turns.run(note(name)))))
      yield* Effect.yieldNow()
      yield* Deferred.succeed(release, undefined)
      yield* Fiber.joinAll([greedy, ...others])
      assert.deepStrictEqual(order, ["a1", "b", "c", "a2", "a3"])
    }))

  it.effect("an interruption or a failure at any point frees the turn", () =>
    Effect.gen(function*() {
      const turns = make()
      const taken = Effect.uninterruptibleMask((restore) =>
        Effect.flatMap(turns.take(restore), () => Effect.ensuring(restore(Effect.yieldNow()), Effect.sync(turns.give)))
      )
      for (let steps = 0; steps < 20; steps++) {
        const fibers = yield* Effect.forEach(
          [taken, taken, turns.run(Effect.fail("x")), turns.run(Effect.die("x")), taken, turns.run(Effect.interrupt)],
          (effect) => Effect.fork(effect)
        )
        // at another step each time
        for (let i = 0; i < steps; i++) yield* Effect.yieldNow()
        yield* Effect.all(fibers.map((fiber) => Fiber.interruptFork(fiber)))
        yield* Effect.forEach(fibers, (fiber) => Fiber.await(fiber))
        assert.strictEqual(yield* turns.run(Effect.succeed("free")), "free")
      }
    }))

  it.live("release the event loop: a timer fires during continuous work", () =>
    Effect.gen(function*() {
      const turns = make()
      let fired = false
      setTimeout(() => {
        fired = true
      }, 0)
      const work = turns.run(Effect.sync(() => {
        const end = performance.now() + 1
        while (performance.now() < end);
      }))
      let done = 0
      const fibers = yield* Effect.forEach(
        Array.from({ length: 8 }),
        () => Effect.fork(Effect.forever(Effect.zipRight(work, Effect.sync(() => done++))))
      )
      yield* turns.run(Effect.void).pipe(Effect.repeat({ until: () => fired || done > 10_000 }))
      yield* Fiber.interruptAll(fibers)
      assert.isTrue(fired)
    }))
})

describe("PostgreSQL, prepared", () => {
  const prepared = Layer.unwrapScoped(
    Effect.map(temporaryDatabase(postgresUrl()), (url) => poolClient(url, Postgres.preparePool))
  )

  it.scoped("only loads and appends are prepared on the connection, by names that are hashes of their texts", () =>
    Effect.gen(function*() {
      const sql = yield* SqlClient.SqlClient
      const accounts = yield* Repository.make(Account, { snapshots: SnapshotPolicy.sync({ every: 10 }) })
      yield* accounts.executeAll(id("a"), [open, deposit(1, 20)])
      yield* accounts.execute(id("a"), deposit(1)).pipe(Effect.repeat(Schedule.recurs(9)))
      yield* sql.withTransaction(accounts.execute(id("a"), deposit(1)))
      yield* sql`SELECT ${1}::int AS one`
      const texts = yield* sql<{ name: string; statement: string }>`SELECT name, statement FROM pg_prepared_statements`
      const hash = (text: string) => createHash("sha256").update(text).digest("hex").slice(0, 32)
      assert.deepStrictEqual(
        texts.map(({ name }) => name),
        texts.map(({ statement }) => `eventsourcing_${hash(statement)}`)
      )
      assert.isTrue(texts.some(({ statement }) => statement.includes("eventsourcing_append_4")))
      assert.isTrue(texts.some(({ statement }) => statement.includes("eventsourcing_load_3")))
      assert.isFalse(texts.some(({ statement }) => statement.includes("AS one")))
      assert.deepInclude(yield* accounts.load(id("a")), { version: 32, state: { open: true, balance: 31 } })
    }).pipe(Effect.provide(Layer.provideMerge(sqlStores, prepared))))
})
