// Commands that wait for their read model, on SQLite and on PostgreSQL.
import { SqlClient } from "@effect/sql"
import { assert, describe } from "@effect/vitest"
import { Effect, Exit, Layer, Option, Scope } from "effect"
import { Projection, Projections, Repository } from "effect-eventsourcing"
import { Account, deposit, id, open } from "../fixtures/Account.js"
import { onBoth } from "./databases.js"

const Log = Projection.make({
  name: "log",
  on: [Account],
  handle: (events) =>
    Effect.flatMap(
      SqlClient.SqlClient,
      (sql) => sql`INSERT INTO log ${sql.insert(events.map(({ id }) => ({ id })))}`
    )
})

describe("a command that waits for a projection", () => {
  onBoth(
    "waits for the events of the first time when it is repeated",
    Effect.gen(function*() {
      const sql = yield* SqlClient.SqlClient
      yield* sql`CREATE TABLE log (id TEXT PRIMARY KEY)`
      const accounts = yield* Repository.make(Account)
      const running = yield* Scope.make()
      yield* Layer.buildWithScope(Projection.layer(Log), running)
      yield* accounts.execute(id("a"), open).pipe(Projections.thenAwait("log", { timeout: "1 minute" }))
      yield* Scope.close(running, Exit.void)
      const command = accounts.execute(id("a"), deposit(5), { commandId: "c-1" })
      const first = yield* command
      assert.isFalse(first.duplicate)
      // no process works for the projection: the repeat must not answer before the read model has the events
      const late = yield* Effect.flip(command.pipe(Projections.thenAwait("log", { timeout: "100 millis" })))
      assert.strictEqual(late._tag, "AwaitTimeout")
      yield* Layer.build(Projection.layer(Log))
      const repeated = yield* command.pipe(Projections.thenAwait("log", { timeout: "1 minute" }))
      assert.deepInclude(repeated, { duplicate: true, version: 2, position: first.position })
      const rows = yield* sql<{ readonly id: string }>`SELECT id FROM log`
      assert.lengthOf(rows, 2)
      assert.include(rows.map(({ id }) => id), first.recorded[0].id)
      // a command that decides nothing has no position, and is not waited for
      const nothing = yield* accounts.execute(id("a"), open).pipe(Projections.thenAwait("not registered"))
      assert.isTrue(Option.isNone(nothing.position))
      assert.strictEqual((yield* accounts.load(id("a"))).state.balance, 5)
    })
  )
})
