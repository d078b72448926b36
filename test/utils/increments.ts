import { assert } from "@effect/vitest"
import { Effect, type Layer } from "effect"
import { Repository, SnapshotPolicy } from "effect-eventsourcing"
import { Account, id } from "../fixtures/Account.js"
import { start } from "./process.js"
import type { Stores } from "./stores.js"

/** Checks that four processes, which open a database at once, lose no increment of one account. */
export const fourProcesses = (database: string, mode: string, stores: Layer.Layer<Stores, unknown>) =>
  Effect.gen(function*() {
    const writers = Array.from({ length: 4 }, () => start("test/utils/increment.ts", [database, "25", mode]))
    for (const writer of writers) {
      const code = yield* Effect.promise(() => writer.exited)
      assert.strictEqual(code, 0, writer.errors())
    }
    const loaded = yield* Effect.flatMap(
      Repository.make(Account, { snapshots: SnapshotPolicy.manual }),
      (accounts) => accounts.load(id("shared"))
    ).pipe(Effect.provide(stores))
    assert.deepInclude(loaded, { version: 101, state: { open: true, balance: 100 } })
    assert.isAbove(loaded.snapshotVersion, 90)
  })
