// opens the stores on a database and increments one account, as one of several processes
import type { SqlClient } from "@effect/sql"
import { Effect, Layer, Schedule } from "effect"
import { Repository, SnapshotPolicy } from "effect-eventsourcing"
import { Account, id } from "../fixtures/Account.js"
import { pgClient } from "./postgres.js"
import { sqliteFile, sqlStores } from "./stores.js"

const [database, times, mode] = process.argv.slice(2)

const program = Effect.gen(function*() {
  const accounts = yield* Repository.make(Account, {
    snapshots: mode === "sync" ? SnapshotPolicy.sync({ every: 3 }) : SnapshotPolicy.background({ every: 3 }),
    retry: Schedule.forever
  })
  yield* accounts.execute(id("shared"), { _tag: "Open" })
  yield* Effect.repeatN(accounts.execute(id("shared"), { _tag: "Deposit", amount: 1 }), Number(times) - 1)
  yield* accounts.awaitPendingSnapshots
}).pipe(Effect.scoped)

const client: Layer.Layer<SqlClient.SqlClient, unknown> = database.startsWith("postgres://")
  ? pgClient(database)
  : sqliteFile(database)

await Effect.runPromise(Effect.provide(program, Layer.provide(sqlStores, client)))
console.log("done")
