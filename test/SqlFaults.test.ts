import { SqlClient } from "@effect/sql"
import { SqliteClient } from "@effect/sql-sqlite-node"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Layer, Option } from "effect"
import { Faults, SqlFaults } from "effect-eventsourcing/testing"
import { postgresTemporaryDatabase } from "./utils/backends.js"

const sqlite: Layer.Layer<SqlClient.SqlClient, unknown> = SqliteClient.layer({ filename: ":memory:" })

const insert = (n: number) => Effect.flatMap(SqlClient.SqlClient, (sql) => sql`INSERT INTO t (n) VALUES (${n})`)
const numbers = Effect.flatMap(SqlClient.SqlClient, (sql) => sql<{ readonly n: number }>`SELECT n FROM t ORDER BY n`)
  .pipe(Effect.map((rows) => rows.map(({ n }) => n)))
const inTransaction = <A, E>(effect: Effect.Effect<A, E, SqlClient.SqlClient>) =>
  Effect.flatMap(SqlClient.SqlClient, (sql) => sql.withTransaction(effect))

/** A table of numbers, on a client that then meets a fault. */
const withTable = (
  client: Layer.Layer<SqlClient.SqlClient, unknown>,
  aim: (statement: SqlFaults.Statement) => boolean,
  fault: SqlFaults.Fault
) => {
  let ready = false
  const plan = SqlFaults.when((statement) => ready && aim(statement), fault)
  const created = Effect.flatMap(SqlClient.SqlClient, (sql) => sql`CREATE TABLE t (n INTEGER)`)
  return Layer.tap(SqlFaults.layer(plan)(client), (context) =>
    Effect.map(Effect.provide(created, context), () => {
      ready = true
    }))
}

const isInsertOf = (nth: number) => {
  let count = 0
  return ({ text }: SqlFaults.Statement) => text.startsWith("INSERT") && ++count === nth
}

for (const [name, client] of [["SQLite", sqlite], ["PostgreSQL", postgresTemporaryDatabase]] as const) {
  const isSqlite = name === "SQLite"
  describe(`a client whose statements fail, on ${name}`, () => {
    it.scopedLive("fail: the statement is not carried out, and the error is marked", () =>
      Effect.gen(function*() {
        const failure = yield* Effect.flip(insert(1))
        assert.strictEqual(failure._tag, "SqlError")
        assert.isTrue(Faults.isInjected(failure))
        assert.deepStrictEqual(yield* numbers, [])
      }).pipe(Effect.provide(withTable(client, isInsertOf(1), SqlFaults.fail))))

    it.scopedLive("fail inside a transaction: SQLite keeps the transaction, PostgreSQL aborts it", () =>
      Effect.gen(function*() {
        yield* inTransaction(Effect.zipRight(Effect.ignore(insert(1)), Effect.ignore(insert(2))))
        assert.deepStrictEqual(yield* numbers, isSqlite ? [2] : [])
      }).pipe(Effect.provide(withTable(client, isInsertOf(1), SqlFaults.fail))))

    it.scopedLive("abort: the transaction is rolled back", () =>
      Effect.gen(function*() {
        yield* Effect.exit(inTransaction(Effect.zipRight(insert(1), insert(2))))
        assert.deepStrictEqual(yield* numbers, [])
      }).pipe(Effect.provide(withTable(client, isInsertOf(2), SqlFaults.abort))))

    it.scopedLive("hang: an interruption ends it", () =>
      Effect.gen(function*() {
        assert.isTrue(Option.isNone(yield* Effect.timeoutOption(insert(1), "50 millis")))
        yield* insert(2)
        assert.deepStrictEqual(yield* numbers, [2])
      }).pipe(Effect.provide(withTable(client, isInsertOf(1), SqlFaults.hang))))

    it.scopedLive("delay: the statement is carried out later", () =>
      Effect.gen(function*() {
        yield* insert(1)
        assert.deepStrictEqual(yield* numbers, [1])
      }).pipe(Effect.provide(withTable(client, isInsertOf(1), SqlFaults.delay("5 millis")))))

    it.scopedLive("lostAnswer: the statement is carried out, and PostgreSQL does not acknowledge it", () =>
      Effect.gen(function*() {
        const exit = yield* Effect.exit(insert(1))
        assert.strictEqual(Exit.isFailure(exit), !isSqlite)
        // the pool may not have noticed yet
        assert.deepStrictEqual(yield* Effect.retry(numbers, { times: 5 }), [1])
      }).pipe(Effect.provide(withTable(client, isInsertOf(1), SqlFaults.lostAnswer))))

    it.scopedLive("a plan receives the number of the transaction and of the statement in it", () => {
      const seen: Array<string> = []
      const observed = SqlFaults.layer(SqlFaults.none, {
        onStatement: ({ kind, transaction }) => seen.push(`${kind} ${transaction?.number}.${transaction?.statement}`)
      })
      return Effect.gen(function*() {
        const sql = yield* SqlClient.SqlClient
        yield* sql`SELECT 1 AS one`
        yield* sql.withTransaction(Effect.zipRight(sql`SELECT 1 AS one`, sql`SELECT 2 AS two`))
        yield* Effect.exit(sql.withTransaction(Effect.fail("rolled back")))
        assert.deepStrictEqual(seen, [
          ...["Other undefined.undefined", "Begin undefined.undefined", "Other 1.1", "Other 1.2", "Commit 1.2"],
          ...["Begin undefined.undefined", "Rollback 2.0"]
        ])
      }).pipe(Effect.provide(observed(client)))
    })
  })
}

describe("plans", () => {
  const statement = (n: number, inside?: number): SqlFaults.Statement => ({
    n,
    text: "SELECT 1",
    kind: "Other",
    transaction: inside === undefined ? undefined : { number: 1, statement: inside }
  })

  it("choose statements by their number", () => {
    const ask = SqlFaults.onStatement(2, SqlFaults.fail).start()
    assert.deepStrictEqual([1, 2, 3].map((n) => ask(statement(n))?._tag), [undefined, "Fail", undefined])
    const inside = SqlFaults.insideTransactions(2, SqlFaults.abort).start()
    assert.deepStrictEqual([inside(statement(2)), inside(statement(9, 2))?._tag], [undefined, "Abort"])
  })

  it("the same seed gives the same faults", () => {
    const draw = (seed: number) => {
      const ask = SqlFaults.seeded({ seed, rate: 0.5, faults: [SqlFaults.fail, SqlFaults.abort] }).start()
      return Array.from({ length: 50 }, (_, n) => ask(statement(n + 1))?._tag)
    }
    assert.deepStrictEqual(draw(1), draw(1))
    assert.notDeepEqual(draw(1), draw(2))
  })

  it("reject invalid options", () => {
    assert.throws(() => SqlFaults.onStatement(0, SqlFaults.fail), /SqlFaults.onStatement n/)
    assert.throws(() => SqlFaults.insideTransactions(1.5, SqlFaults.fail), /SqlFaults.insideTransactions n/)
    assert.throws(() => SqlFaults.seeded({ seed: 0.5, rate: 1, faults: [SqlFaults.fail] }), /seed/)
    assert.throws(() => SqlFaults.seeded({ seed: 1, rate: 2, faults: [SqlFaults.fail] }), /rate/)
    assert.throws(() => SqlFaults.seeded({ seed: 1, rate: 1, faults: [] }), /faults/)
    assert.throws(() => SqlFaults.delay(-1), /SqlFaults.delay duration/)
  })
})
