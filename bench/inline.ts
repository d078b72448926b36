/**
 * What a snapshot in the transaction of the events costs against one after it: `npx tsx bench/inline.ts`.
 *
 * Every command of the measured runs takes a snapshot; `none` is the same without. The best of the runs is given, as the machine may be busy.
 */
import { SqliteClient } from "@effect/sql-sqlite-node"
import { Effect, Layer } from "effect"
import { Repository, SnapshotPolicy, Sqlite, SqlStores } from "effect-eventsourcing"
import * as fs from "node:fs"
import * as os from "node:os"
import * as path from "node:path"
import { Account, id } from "../test/fixtures/Account.js"
import { pgClient, startServer } from "../test/utils/postgres.js"

const commands = 200
const runs = 20

const policies = {
  none: SnapshotPolicy.manual,
  sync: SnapshotPolicy.sync({ every: 1 }),
  inline: SnapshotPolicy.inline({ every: 1 })
}

const stores = SqlStores.layer

const measure = Effect.gen(function*() {
  const micros: Record<string, Array<number>> = { none: [], sync: [], inline: [] }
  for (let run = 0; run < runs; run++) {
    for (const [mode, snapshots] of Object.entries(policies)) {
      const accounts = yield* Repository.make(Account, { snapshots })
      const account = id(`${mode}-${run}`)
      yield* accounts.execute(account, { _tag: "Open" })
      yield* accounts.createSnapshot(account)
      const began = process.hrtime.bigint()
      for (let n = 0; n < commands; n++) {
        yield* accounts.execute(account, { _tag: "Deposit", amount: 1 })
        // none must not pay for a growing tail
        if (mode === "none" && n % 50 === 49) yield* accounts.createSnapshot(account)
      }
      micros[mode].push(Number(process.hrtime.bigint() - began) / 1_000 / commands)
    }
  }
  return Object.fromEntries(
    Object.entries(micros).map(([mode, all]) => [mode, Math.round(Math.min(...all))])
  )
}).pipe(Effect.scoped)

const sqlite = (synchronous: "FULL" | "NORMAL") =>
  Effect.acquireUseRelease(
    Effect.sync(() => fs.mkdtempSync(path.join(os.tmpdir(), "inline-"))),
    (folder) =>
      Effect.provide(
        measure,
        Layer.provide(
          stores,
          Sqlite.layer(SqliteClient.layer, { filename: path.join(folder, "bench.db"), synchronous })
        )
      ),
    (folder) => Effect.sync(() => fs.rmSync(folder, { recursive: true, force: true }))
  )

const postgres = Effect.acquireUseRelease(
  Effect.promise(() => startServer()),
  ({ url }) => Effect.provide(measure, Layer.provide(stores, pgClient(url))),
  (server) => Effect.promise(server.close)
)

console.log("microseconds a command")
console.log("SQLite FULL", await Effect.runPromise(sqlite("FULL")))
console.log("SQLite NORMAL", await Effect.runPromise(sqlite("NORMAL")))
console.log("PostgreSQL", await Effect.runPromise(postgres))
