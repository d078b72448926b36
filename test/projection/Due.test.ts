// Commands that are due later, as docs/projections.md shows them: the loop ends at any point, as with its process, and each
// command counts once.
import { SqlClient } from "@effect/sql"
import { assert, describe } from "@effect/vitest"
import { Cause, Effect, Exit, Layer, Option, Random } from "effect"
import { Projection, Projections, Repository } from "effect-eventsourcing"
import { Account, deposit, id, open } from "../fixtures/Account.js"
import { onBoth } from "./databases.js"
import { append } from "./fixture.js"

const Reminders = Projection.make({
  name: "reminders",
  on: [Projection.only(Account, ["Deposited"])],
  handle: (events) =>
    Effect.flatMap(
      SqlClient.SqlClient,
      (sql) =>
        sql`INSERT INTO reminders ${sql.insert(events.map(({ aggregateId, id }) => ({ id, account: aggregateId })))}`
    )
})

/** Where the loop ends: before the command, between the command and the deletion of its row, or after that. */
type Death = "before" | "between" | "after" | undefined

/** Executes what is due. */
const executeDue = (dies: Effect.Effect<Death>) =>
  Effect.gen(function*() {
    const sql = yield* SqlClient.SqlClient
    const accounts = yield* Repository.make(Account)
    const due = yield* sql<{ readonly id: string }>`SELECT id FROM reminders ORDER BY id LIMIT 5`
    for (const { id: reminder } of due) {
      const death = yield* dies
      const end = (point: Death) => death === point ? Effect.interrupt : Effect.void
      yield* end("before")
      yield* accounts.execute(id("bonus"), deposit(1), { commandId: `reminder ${reminder}` })
      yield* end("between")
      yield* sql`DELETE FROM reminders WHERE id = ${reminder}`
      yield* end("after")
    }
    return due.length
  }).pipe(Effect.scoped)

describe("commands that are due later", () => {
  onBoth(
    "count once, although two loops execute them and end at any point",
    Effect.gen(function*() {
      const sql = yield* SqlClient.SqlClient
      yield* sql`CREATE TABLE reminders (id TEXT PRIMARY KEY, account TEXT NOT NULL)`
      const accounts = yield* Repository.make(Account)
      yield* accounts.execute(id("bonus"), open)
      const last = yield* append("a", Array.from({ length: 20 }, () => 1))
      yield* Effect.scoped(Effect.zipRight(
        Layer.build(Projection.layer(Reminders)),
        Projections.awaitPosition("reminders", last, { timeout: "1 minute" })
      ))
      const chance = Effect.map(
        Random.nextIntBetween(0, 6),
        (n): Death => (["before", "between", "between", "after"] as const)[n]
      )
      let deaths = 0
      const lives = Effect.gen(function*() {
        while (true) {
          const exit = yield* Effect.exit(Effect.flatten(Effect.fork(executeDue(chance))))
          if (Exit.isSuccess(exit)) {
            if (exit.value === 0) return
          } else {
            assert.isTrue(Cause.isInterrupted(exit.cause), Cause.pretty(exit.cause))
            deaths += 1
          }
        }
      })
      // the first one of all ends between the command and the deletion
      yield* Effect.exit(executeDue(Effect.succeed("between" as const)))
      assert.strictEqual((yield* accounts.load(id("bonus"))).state.balance, 1)
      assert.lengthOf(yield* sql`SELECT id FROM reminders`, 20)
      yield* Effect.all([lives, lives], { concurrency: "unbounded" })
      assert.isAbove(deaths, 0)
      assert.deepStrictEqual(yield* sql`SELECT id FROM reminders`, [])
      const { state, version } = yield* accounts.load(id("bonus"))
      assert.deepStrictEqual([state.balance, version], [20, 21])
      assert.isTrue(Option.isNone((yield* Projections.status("reminders"))[0].partitions[0].stopped))
    })
  )
})
