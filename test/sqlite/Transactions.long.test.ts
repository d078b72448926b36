// transactions on a client of `Sqlite.layer`: what ends one, what runs inside one, and who waits for whom
import { SqlClient, SqlError } from "@effect/sql"
import { SqliteClient } from "@effect/sql-sqlite-node"
import { assert, describe, it } from "@effect/vitest"
import Database from "better-sqlite3"
import { Cause, Deferred, Effect, Exit, Fiber, Layer, Logger, Option } from "effect"
import { EventStore, ExpectedVersion, Repository, SnapshotPolicy, Sqlite, SqlStores } from "effect-eventsourcing"
import * as path from "node:path"
import { Account, event, id, open, stream } from "../fixtures/Account.js"
import { sqliteFile, sqliteTemporaryFile, sqlStores, temporaryFolder } from "../utils/backends.js"
import { start } from "../utils/process.js"

const deposit = { _tag: "Deposit", amount: 1, times: 1 } as const

const stores = Layer.provideMerge(sqlStores, sqliteTemporaryFile)
const quiet = Effect.provide(Logger.replace(Logger.defaultLogger, Logger.none))

const append = (text: string) =>
  Effect.flatMap(
    EventStore.EventStore,
    (store) => store.append(stream(text), [event()], { expectedVersion: ExpectedVersion.any })
  )
const version = (text: string) => Effect.flatMap(EventStore.EventStore, (store) => store.version(stream(text)))
const inTransaction = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.flatMap(SqlClient.SqlClient, (sql) => sql.withTransaction(effect))
const usable = Effect.gen(function*() {
  const before = yield* version("usable")
  yield* inTransaction(append("usable"))
  yield* append("usable")
  assert.strictEqual(yield* version("usable"), before + 2)
})

const typed = <A, E>(exit: Exit.Exit<A, E>): E => {
  const failure = Exit.isFailure(exit) ? Cause.failureOption(exit.cause) : Option.none()
  if (Option.isNone(failure)) throw new Error(`expected a typed failure, got ${JSON.stringify(exit)}`)
  return failure.value
}
const rolledBack = <A, E>(exit: Exit.Exit<A, E>) => {
  const failure = typed(exit)
  assert.instanceOf(failure, SqlError.SqlError)
  assert.include(String(failure), "rolled back the whole transaction")
}

describe("a statement whose failure ends the whole transaction", () => {
  for (const policy of [SnapshotPolicy.sync({ every: 1 }), SnapshotPolicy.inline({ every: 1 })]) {
    it.scoped(`a save whose failure is not reported: the caller's transaction fails (${policy._tag})`, () =>
      Effect.gen(function*() {
        const sql = yield* SqlClient.SqlClient
        const accounts = yield* Repository.make(Account, { snapshots: policy })
        yield* accounts.execute(id("a"), open)
        yield* sql`CREATE TRIGGER fatal BEFORE INSERT ON eventsourcing_snapshots
WHEN new.stream_id = 'a' BEGIN SELECT RAISE(ROLLBACK, 'gone'); END`
        rolledBack(
          yield* Effect.exit(inTransaction(Effect.zipRight(append("b"), accounts.execute(id("a"), deposit))))
        )
        // the first one does not ask for that snapshot again at once
        const others = yield* Repository.make(Account, { snapshots: policy })
        const outcome = yield* Effect.exit(inTransaction(Effect.gen(function*() {
          yield* append("b")
          yield* others.execute(id("a"), deposit)
          // would be committed alone
          rolledBack(Exit.mapError(yield* Effect.exit(append("b")), ({ cause }) => cause))
          rolledBack(yield* Effect.exit(sql`CREATE TABLE t (x)`))
          rolledBack(yield* Effect.exit(sql.withTransaction(sql`CREATE TABLE t (x)`)))
        })))
        rolledBack(outcome)
        assert.strictEqual(yield* version("a"), 1)
        assert.strictEqual(yield* version("b"), 0)
        // outside one the command goes on without its snapshot
        assert.strictEqual((yield* accounts.execute(id("a"), deposit)).version, 2)
        yield* usable
      }).pipe(quiet, Effect.provide(stores)))
  }

  it.scopedLive("a file that may not grow", () =>
    Effect.gen(function*() {
      const file = path.join(yield* temporaryFolder, "bank.db")
      const child = start("test/utils/file-limit.ts", [file], { fileLimit: 8_192 })
      assert.strictEqual(yield* Effect.promise(() => child.exited), 0, child.errors())
      assert.deepStrictEqual(child.lines, ["true", "0 0 1"])
    }))

  it.scoped("a statement of the program, also in a nested transaction", () =>
    Effect.gen(function*() {
      const sql = yield* SqlClient.SqlClient
      yield* sql`CREATE TABLE notes (text TEXT)`
      yield* sql`CREATE TRIGGER fatal BEFORE INSERT ON notes WHEN new.text = 'fatal'
BEGIN SELECT RAISE(ROLLBACK, 'gone'); END`
      const fatal = Effect.ignore(sql`INSERT INTO notes VALUES ('fatal')`)
      for (
        const statement of [
          fatal,
          Effect.ignore(sql.withTransaction(fatal)),
          Effect.ignore(sql`INSERT OR ROLLBACK
INTO eventsourcing_events SELECT * FROM eventsourcing_events`)
        ]
      ) {
        yield* append("kept")
        rolledBack(
          yield* Effect.exit(inTransaction(append("a").pipe(Effect.zipRight(statement), Effect.zipRight(Effect.void))))
        )
        assert.strictEqual(yield* version("a"), 0)
        yield* usable
      }
      // one that undoes only itself does no harm
      yield* inTransaction(append("a").pipe(Effect.zipRight(Effect.flip(sql`INSERT INTO nothing VALUES (1)`))))
      assert.strictEqual(yield* version("a"), 1)
    }).pipe(Effect.provide(stores)))

  it.scoped("BEGIN and COMMIT by hand are rejected, except on a reserved connection", () =>
    Effect.gen(function*() {
      const sql = yield* SqlClient.SqlClient
      for (const text of ["BEGIN", " begin immediate", "SAVEPOINT s", "COMMIT", "END"]) {
        assert.include(String(yield* Effect.flip(sql.unsafe(text))), "withTransaction")
      }
      for (const text of ["COMMIT", "ROLLBACK", "rollback transaction", "END TRANSACTION"]) {
        yield* inTransaction(Effect.zipRight(append("a"), Effect.flip(sql.unsafe(text))))
      }
      assert.strictEqual(yield* version("a"), 4)
      yield* Effect.scoped(Effect.gen(function*() {
        const connection = yield* sql.reserve
        yield* connection.execute("BEGIN", [], undefined)
        yield* connection.execute("CREATE TABLE forgotten (x)", [], undefined)
      }))
      yield* Effect.flip(sql`SELECT * FROM forgotten`)
      yield* usable
    }).pipe(Effect.provide(stores)))
})

describe("nested transactions side by side", () => {
  it.scoped("a failed one is undone, and a successful one stays", () =>
    Effect.gen(function*() {
      const sql = yield* SqlClient.SqlClient
      for (const failsFirst of [true, false]) {
        const name = `first ${failsFirst}`
        const started = yield* Deferred.make<void>()
        const nested = (text: string, fails: boolean) =>
          sql.withTransaction(Effect.gen(function*() {
            yield* append(`${text} ${name}`)
            yield* Deferred.succeed(started, undefined)
            for (let i = 0; i < 5; i++) yield* Effect.yieldNow()
            yield* append(`${text} ${name}`)
            if (fails) yield* Effect.fail("undo" as const)
          }))
        yield* inTransaction(Effect.all([
          Effect.either(nested("one", failsFirst)),
          Effect.either(nested("other", !failsFirst)),
          // one of neither, in the midst of both
          Effect.zipRight(Deferred.await(started), append(`beside ${name}`))
        ], { concurrency: "unbounded" }))
        assert.strictEqual(yield* version(`one ${name}`), failsFirst ? 0 : 2)
        assert.strictEqual(yield* version(`other ${name}`), failsFirst ? 2 : 0)
        assert.strictEqual(yield* version(`beside ${name}`), 1)
      }
    }).pipe(Effect.provide(stores)))

  it.scoped("many and deep ones are undone one by one", () =>
    Effect.gen(function*() {
      const sql = yield* SqlClient.SqlClient
      const tree = (
        name: string,
        depth: number
      ): Effect.Effect<
        void,
        "undo" | Effect.Effect.Error<ReturnType<typeof append>> | SqlError.SqlError,
        EventStore.EventStore
      > =>
        sql.withTransaction(Effect.gen(function*() {
          yield* Effect.yieldNow()
          yield* append(name)
          if (depth > 0) {
            yield* Effect.forEach(["x", "y"], (way) => Effect.ignore(tree(`${name}${way}`, depth - 1)), {
              concurrency: "unbounded"
            })
          }
          if (name.endsWith("x")) yield* Effect.fail("undo" as const)
        }))
      yield* Effect.ignore(tree("", 4)).pipe(Effect.zipRight(Effect.void))
      yield* tree("r", 4)
      const rows = yield* sql<{ name: string }>`SELECT stream_id AS name FROM eventsourcing_events
WHERE stream_id LIKE 'r%' ORDER BY 1`
      assert.deepStrictEqual(rows.map(({ name }) => name), ["r", "ry", "ryy", "ryyy", "ryyyy"])
    }).pipe(Effect.provide(stores)))
})

describe("a fiber that outlives the transaction it was forked in", () => {
  const outliving = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
    Effect.gen(function*() {
      const go = yield* Deferred.make<void>()
      const fiber = yield* inTransaction(
        Effect.zipRight(append("own"), Effect.forkDaemon(Effect.zipRight(Deferred.await(go), effect)))
      )
      return { fiber, go: Deferred.succeed(go, undefined) }
    })

  it.scoped("does not write into another transaction", () =>
    Effect.gen(function*() {
      const sql = yield* SqlClient.SqlClient
      const accounts = yield* Repository.make(Account, { snapshots: SnapshotPolicy.inline({ every: 1 }) })
      const store = yield* EventStore.EventStore
      const late = yield* outliving(Effect.gen(function*() {
        assert.isFalse(yield* store.replay.inTransaction)
        yield* append("late")
        yield* sql`CREATE TABLE late (x)`
        yield* sql.withTransaction(append("late"))
        yield* accounts.execute(id("late"), deposit).pipe(Effect.flip)
        yield* accounts.execute(id("new"), open)
      }))
      yield* Effect.flip(inTransaction(Effect.gen(function*() {
        yield* append("stranger")
        yield* late.go
        for (let i = 0; i < 50; i++) yield* Effect.yieldNow()
        assert.strictEqual(yield* version("late"), 0)
        return yield* Effect.fail("roll back" as const)
      })))
      yield* Fiber.join(late.fiber)
      assert.strictEqual(yield* version("stranger"), 0)
      assert.strictEqual(yield* version("late"), 2)
      assert.strictEqual(yield* version("new"), 1)
      yield* sql`SELECT * FROM late`
    }).pipe(quiet, Effect.provide(stores)))

  it.scoped("a statement that waits while the transaction ends runs after it", () =>
    Effect.gen(function*() {
      const sql = yield* SqlClient.SqlClient
      const inside = yield* Deferred.make<void>()
      const fiber = yield* Effect.flatMap(
        Effect.exit(inTransaction(Effect.gen(function*() {
          const late = yield* Effect.forkDaemon(Effect.zipRight(Deferred.await(inside), append("late")))
          const other = yield* Effect.forkDaemon(sql.withTransaction(Effect.zipRight(
            Deferred.succeed(inside, undefined),
            Effect.zipRight(append("nested"), Effect.never)
          )))
          yield* Deferred.await(inside)
          for (let i = 0; i < 5; i++) yield* Effect.yieldNow()
          return yield* Effect.fail({ late, other })
        }))),
        typedFailure
      )
      assert.strictEqual((yield* Fiber.join(fiber.late)).version, 1)
      // of a nested transaction that the rollback took with it nothing is done, however it goes on
      yield* Fiber.interrupt(fiber.other)
      assert.strictEqual(yield* version("nested"), 0)
      yield* usable
    }).pipe(Effect.provide(stores)))

  it.scoped("its nested transaction is undone by the rollback of the outer one", () =>
    Effect.gen(function*() {
      const sql = yield* SqlClient.SqlClient
      const inside = yield* Deferred.make<void>()
      const go = yield* Deferred.make<void>()
      const nested = sql.withTransaction(Effect.gen(function*() {
        yield* append("nested")
        yield* Deferred.succeed(inside, undefined)
        yield* Deferred.await(go)
        return yield* Effect.exit(append("nested"))
      }))
      const { fiber } = yield* Effect.flatMap(
        Effect.exit(inTransaction(Effect.gen(function*() {
          const fiber = yield* Effect.forkDaemon(Effect.exit(nested))
          yield* Deferred.await(inside)
          return yield* Effect.fail({ fiber })
        }))),
        typedFailure
      )
      yield* inTransaction(Effect.zipRight(append("stranger"), Deferred.succeed(go, undefined)))
      assert.include(String(typed(yield* Fiber.join(fiber))), "rolled back")
      assert.strictEqual(yield* version("nested"), 0)
      assert.strictEqual(yield* version("stranger"), 1)
      yield* usable
    }).pipe(Effect.provide(stores)))

  const typedFailure = <A, E extends object>(exit: Exit.Exit<A, E>) =>
    Effect.sync(() => {
      const failure = typed(exit)
      if (failure instanceof SqlError.SqlError) throw failure
      return failure as Exclude<E, Error>
    })
})

describe("waiting", () => {
  const held = Effect.gen(function*() {
    const file = path.join(yield* temporaryFolder, "bank.db")
    const client = yield* Layer.build(Layer.provideMerge(sqlStores, sqliteFile(file)))
    return { file, client }
  })

  for (const way of ["withTransaction", "an inline command"] as const) {
    it.scopedLive(`${way} releases the connection while another process writes, and can be interrupted`, () =>
      Effect.gen(function*() {
        const { client, file } = yield* held
        yield* Effect.gen(function*() {
          const accounts = yield* Repository.make(Account, { snapshots: SnapshotPolicy.inline({ every: 2 }) })
          yield* accounts.execute(id("a"), open)
          const writer = new Database(file)
          writer.exec("BEGIN IMMEDIATE")
          const attempt: Effect.Effect<unknown, unknown, EventStore.EventStore | SqlClient.SqlClient> =
            way === "withTransaction" ? inTransaction(append("b")) : accounts.execute(id("a"), deposit)
          const fibers = yield* Effect.replicateEffect(Effect.fork(attempt), 2)
          for (let i = 0; i < 20; i++) yield* Effect.yieldNow()
          // long before the tries are over, which take five seconds
          const loads = yield* Effect.replicateEffect(accounts.load(id("a")), 5).pipe(Effect.timeout("4 seconds"))
          assert.deepStrictEqual(loads.map(({ version }) => version), [1, 1, 1, 1, 1])
          assert.isTrue(Exit.isInterrupted(yield* Fiber.interrupt(fibers[0])))
          assert.isTrue(writer.inTransaction)
          writer.exec("COMMIT")
          writer.close()
          yield* Fiber.join(fibers[1])
          assert.strictEqual(yield* version(way === "withTransaction" ? "b" : "a"), way === "withTransaction" ? 1 : 2)
          yield* usable
        }).pipe(quiet, Effect.provide(client))
      }))
  }

  it.scopedLive(
    "a COMMIT that meets a reader waits, can be interrupted, and fails with a typed error in the end",
    () =>
      Effect.gen(function*() {
        const file = path.join(yield* temporaryFolder, "bank.db")
        yield* Effect.gen(function*() {
          yield* append("a")
          const reader = new Database(file)
          const read = () => reader.exec("BEGIN; SELECT * FROM eventsourcing_events LIMIT 1")
          const done = yield* Deferred.make<void>()
          const transaction = inTransaction(Effect.zipRight(append("a"), Deferred.succeed(done, undefined)))
          read()
          const first = yield* Effect.fork(transaction)
          yield* Deferred.await(done)
          for (let i = 0; i < 5; i++) yield* Effect.yieldNow()
          assert.isTrue(Exit.isInterrupted(yield* Fiber.interrupt(first)))
          const second = yield* Effect.fork(transaction)
          for (let i = 0; i < 50; i++) yield* Effect.yieldNow()
          reader.exec("COMMIT")
          yield* Fiber.join(second)
          assert.strictEqual(yield* version("a"), 2)
          read()
          const failure = typed(yield* Effect.exit(transaction))
          assert.include(String(failure.cause), "locked")
          reader.exec("COMMIT")
          reader.close()
          assert.strictEqual(yield* version("a"), 2)
          yield* usable
        }).pipe(
          Effect.provide(
            Layer.provideMerge(
              sqlStores,
              Sqlite.layer(SqliteClient.layer, { filename: file, disableWAL: true })
            )
          )
        )
      })
  )

  it.scoped("first come, first served: a fiber with many transactions does not starve the others", () =>
    Effect.gen(function*() {
      let transactions = 0
      const greedy = yield* Effect.fork(
        Effect.zipRight(
          inTransaction(Effect.zipRight(append("greedy"), Effect.yieldNow())),
          Effect.sync(() => ++transactions)
        ).pipe(Effect.repeat({ until: (count) => count === 1_500 }))
      )
      yield* Effect.forEach(["a", "b", "c", "d"], (name) => Effect.replicateEffect(append(name), 10), {
        concurrency: "unbounded"
      })
      yield* Fiber.interrupt(greedy)
      for (const name of ["a", "b", "c", "d"]) assert.strictEqual(yield* version(name), 10)
      assert.isBelow(transactions, 60)
    }).pipe(Effect.provide(stores)))

  it.scopedLive("a timer fires during thousands of commands", () =>
    Effect.gen(function*() {
      const accounts = yield* Repository.make(Account)
      yield* accounts.execute(id("a"), open)
      let done = 0
      const command = Effect.zipRight(accounts.load(id("a")), Effect.sync(() => done++))
      const outcome = yield* Effect.forEach(Array.from({ length: 8_000 }), () => command, { concurrency: "unbounded" })
        .pipe(Effect.timeoutOption("1 millis"))
      assert.isTrue(Option.isNone(outcome))
      assert.isBelow(done, 8_000)
    }).pipe(Effect.provide(stores)))
})

describe("SqlStores.transaction", () => {
  it.scoped("commits on success, rolls back on failure, and undoes a nested one alone", () =>
    Effect.gen(function*() {
      yield* SqlStores.transaction(Effect.gen(function*() {
        yield* append("outer")
        const nested = SqlStores.transaction(Effect.zipRight(append("nested"), Effect.fail("undo")))
        assert.strictEqual(yield* Effect.flip(nested), "undo")
        yield* SqlStores.transaction(append("outer"))
      }))
      const failed = SqlStores.transaction(Effect.zipRight(append("failed"), Effect.fail("undo")))
      assert.strictEqual(yield* Effect.flip(failed), "undo")
      assert.deepStrictEqual(yield* Effect.all([version("outer"), version("nested"), version("failed")]), [2, 0, 0])
      yield* usable
    }).pipe(Effect.provide(stores)))

  it.scoped("fails with a typed error if a deferred constraint rejects the commit or a trigger rolls back", () =>
    Effect.gen(function*() {
      const sql = yield* SqlClient.SqlClient
      yield* sql`CREATE TABLE parents (id INTEGER PRIMARY KEY)`
      yield* sql`CREATE TABLE children (parent INTEGER REFERENCES parents (id) DEFERRABLE INITIALLY DEFERRED)`
      yield* sql`PRAGMA foreign_keys = ON`
      yield* sql`CREATE TABLE refused (id INTEGER)`
      yield* sql.unsafe("CREATE TRIGGER refuse BEFORE INSERT ON refused BEGIN SELECT RAISE(ROLLBACK, 'no'); END")
      for (const statement of ["INSERT INTO children VALUES (1)", "INSERT INTO refused VALUES (1)"]) {
        const transaction = SqlStores.transaction(Effect.zipRight(append("a"), Effect.ignore(sql.unsafe(statement))))
        const failure = typed(yield* Effect.exit(transaction))
        assert.isTrue(failure._tag === "TransactionError" && failure.reason === "RolledBack", String(failure))
        assert.strictEqual(yield* version("a"), 0)
      }
      yield* usable
    }).pipe(Effect.provide(stores)))
})
