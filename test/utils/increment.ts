// opens the stores on an SQLite file and increments one account, as one of several processes
import { Effect, Layer, Schedule } from "effect"
import { Repository, SnapshotPolicy } from "effect-eventsourcing"
import { Account, id } from "../fixtures/Account.js"
import { sqliteFile, sqlStores } from "./stores.js"

const [file, times, mode] = process.argv.slice(2)

const program = Effect.gen(function*() {
  const accounts = yield* Repository.make(Account, {
    snapshots: mode === "sync" ? SnapshotPolicy.sync({ every: 3 }) : SnapshotPolicy.background({ every: 3 }),
    retry: Schedule.forever
  })
  yield* accounts.execute(id("shared"), { _tag: "Open" })
  yield* Effect.repeatN(accounts.execute(id("shared"), { _tag: "Deposit", amount: 1 }), Number(times) - 1)
  yield* accounts.awaitPendingSnapshots
})

await Effect.runPromise(
  program.pipe(Effect.scoped, Effect.provide(Layer.provide(sqlStores, sqliteFile(file))))
)
console.log("done")
