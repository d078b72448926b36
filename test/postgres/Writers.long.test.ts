import { assert, describe, it } from "@effect/vitest"
import { Effect, Schedule } from "effect"
import { EventStore, Repository, SnapshotPolicy } from "effect-eventsourcing"
import { Account, deposit, id, open, stream } from "../fixtures/Account.js"
import { fourProcesses } from "../utils/increments.js"
import { collect, database, stores, storesOn } from "./setup.js"

describe("writers", () => {
  it.scopedLive(
    "sixteen writers with twenty-five increments each lose none",
    () =>
      Effect.gen(function*() {
        for (const mode of ["sync", "background"] as const) {
          const accounts = yield* Repository.make(Account, {
            snapshots: SnapshotPolicy[mode]({ every: 3 }),
            retry: Schedule.forever
          })
          yield* accounts.execute(id(mode), open)
          yield* Effect.forEach(
            Array.from({ length: 16 }),
            () => Effect.repeatN(accounts.execute(id(mode), deposit(1)), 24),
            { concurrency: "unbounded", discard: true }
          )
          yield* accounts.awaitPendingSnapshots
          const loaded = yield* accounts.load(id(mode))
          assert.deepInclude(loaded, { version: 401, state: { open: true, balance: 400 } })
          assert.isAbove(loaded.snapshotVersion, 390)
          const read = yield* collect((yield* EventStore.EventStore).read(stream(mode)))
          assert.deepStrictEqual(read.map(({ version }) => version), Array.from({ length: 401 }, (_, i) => i + 1))
        }
      }).pipe(Effect.provide(stores))
  )

  for (const mode of ["sync", "background"]) {
    it.scopedLive(
      `four processes boot at once and lose no increment (${mode})`,
      () =>
        Effect.gen(function*() {
          const url = yield* database
          yield* fourProcesses(url, mode, storesOn(url))
        })
    )
  }
})
