// Faults at each statement of an append with an inline projection: what a failure says about the append is true, and a
// repeated append makes each event count once.
import { SqlClient } from "@effect/sql"
import { SqliteClient } from "@effect/sql-sqlite-node"
import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Exit, type Layer, type Scope } from "effect"
import { EventStore, ExpectedVersion, Projection, Sqlite } from "effect-eventsourcing"
import { SqlFaults } from "effect-eventsourcing/testing"
import * as path from "node:path"
import { Account, event, stream } from "../fixtures/Account.js"
import { migratedDatabase, temporaryFolder } from "../utils/backends.js"
import { pgClient } from "../utils/postgres.js"
import { append, caughtUp, createTables, databases, isFoldOfFeed, Model, process, start } from "./inlineFixture.js"

/** How to connect to a new database, with or without the faults of a plan. */
type Connect = (plan: SqlFaults.Plan) => Layer.Layer<SqlClient.SqlClient, unknown>

const connects: ReadonlyArray<readonly [string, Effect.Effect<Connect, unknown, Scope.Scope>]> = [
  [
    "SQLite",
    Effect.map(
      temporaryFolder,
      (folder) => (plan) =>
        Sqlite.layer((config) => SqlFaults.layer(plan)(SqliteClient.layer(config)), {
          filename: path.join(folder, "test.db"),
          synchronous: "NORMAL"
        })
    )
  ],
  ["PostgreSQL", Effect.map(migratedDatabase, (url) => (plan) => SqlFaults.layer(plan)(pgClient(url)))]
]

const faults = {
  fail: SqlFaults.fail,
  abort: SqlFaults.abort,
  disconnect: SqlFaults.disconnect,
  "lose the answer of": SqlFaults.lostAnswer
}

const mostStatements = 12

for (const [name, connect] of connects) {
  describe(`an append with an inline projection on ${name}`, () => {
    for (const [kind, fault] of Object.entries(faults)) {
      it.scopedLive(`tells the truth if the database ${kind} one of its statements`, () =>
        Effect.gen(function*() {
          const client = yield* connect
          let left = 0
          const healthy = yield* process(() => client(SqlFaults.none))
          yield* Effect.provide(createTables, healthy)
          // it keeps the lease, so that the statements of the other process are those of its appends
          yield* start(healthy, Model, { maxDelay: "50 millis" })
          const writer = yield* process(() => client(SqlFaults.when(() => left > 0 && --left === 0, fault)))
          yield* start(writer, Model, { inline: true })
          let met = 0
          for (let n = 1; n <= mostStatements; n++) {
            const events = [event()]
            const store = EventStore.EventStore
            const once = Effect.flatMap(store, (store) =>
              store.append(stream(`account ${n % 3}`), events, { expectedVersion: ExpectedVersion.any }))
            left = n
            const exit = yield* Effect.exit(Effect.provide(once, writer))
            if (left === 0) {
              met += 1
            }
            left = 0
            const found = yield* Effect.provide(
              Effect.flatMap(store, ({ find }) =>
                find([events[0].id])),
              healthy
            )
            if (Exit.isSuccess(exit)) assert.strictEqual(found.length, 1)
            else {
              assert(exit.cause._tag === "Fail", `statement ${n}: ${exit.cause._tag}`)
              const { error } = exit.cause
              if (error._tag === "EventStoreError" && error.mayHaveAppended) continue
              assert.include(["EventStoreError", "InlineProjectionError"], error._tag)
              assert.strictEqual(found.length, 0, `statement ${n}: ${error.message}`)
            }
            yield* Effect.provide(once, writer)
          }
          assert.isAtLeast(met, 4)
          yield* Effect.provide(Effect.zipRight(caughtUp("model"), isFoldOfFeed), healthy)
        }), 60_000)
    }
  })
}

describe("two appends whose inline projections block each other on PostgreSQL", () => {
  it.scopedLive("both succeed: the one that the server undid is repeated", () =>
    Effect.gen(function*() {
      const client = yield* databases[1][1]
      const context = yield* process(client)
      const both = yield* Deferred.make<void>()
      let began = 0
      const meet = Effect.suspend(() => {
        began += 1
        return began === 2 ? Deferred.succeed(both, undefined) : Deferred.await(both)
      })
      const Totals = Projection.make({
        name: "totals",
        on: [Account],
        handle: ([{ aggregateId }]) =>
          Effect.gen(function*() {
            const sql = yield* SqlClient.SqlClient
            const add = (account: string) => sql`UPDATE balances SET balance = balance + 1 WHERE account = ${account}`
            const order = aggregateId === "a" ? ["x", "y"] : ["y", "x"]
            yield* add(order[0])
            yield* meet
            yield* add(order[1])
          })
      })
      yield* Effect.gen(function*() {
        const sql = yield* SqlClient.SqlClient
        yield* createTables
        yield* sql`INSERT INTO balances VALUES ('x', 0), ('y', 0)`
        yield* start(context, Totals, { inline: true })
        yield* Effect.all([append("a"), append("b")], { concurrency: "unbounded" })
        const found = yield* sql<{ readonly balance: number }>`SELECT balance FROM balances`
        assert.deepStrictEqual(found.map(({ balance }) => balance), [2, 2])
        assert.isAbove(began, 2)
        yield* caughtUp("totals")
        assert.deepStrictEqual(yield* sql`SELECT balance FROM balances`, found)
      }).pipe(Effect.provide(context))
    }), 30_000)
})

describe("the transaction of an inline handler on PostgreSQL", () => {
  const [, connect] = databases[1]
  it.scopedLive("is ended by the server if its process is frozen, unless the transaction is the caller's", () =>
    Effect.gen(function*() {
      const context = yield* process(yield* connect)
      const limits: Array<string> = []
      const noting = Projection.make({
        name: "limits",
        on: [Account],
        handle: () =>
          Effect.flatMap(SqlClient.SqlClient, (sql) =>
            Effect.map(
              sql<{ readonly limit: string }>`SELECT current_setting('idle_in_transaction_session_timeout') AS limit`,
              ([{ limit }]) => limits.push(limit)
            ))
      })
      yield* start(context, noting, { inline: true, timeout: "5 seconds" })
      yield* Effect.gen(function*() {
        const sql = yield* SqlClient.SqlClient
        yield* append("a")
        yield* sql.withTransaction(Effect.zipRight(
          sql`SET LOCAL idle_in_transaction_session_timeout = '90s'`,
          append("a")
        ))
        assert.deepStrictEqual(limits, ["6s", "90s"])
      }).pipe(Effect.provide(context))
    }))
})
