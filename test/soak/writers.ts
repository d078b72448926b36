// one of the processes that write to one SQLite file: through the library, or through the driver alone
import { SqliteClient } from "@effect/sql-sqlite-node"
import Database from "better-sqlite3"
import { Effect } from "effect"
import {
  EventStore,
  ExpectedVersion,
  Repository,
  SnapshotPolicy,
  Sqlite,
  SqlStores,
  StreamId
} from "effect-eventsourcing"
import * as readline from "node:readline"
import { Account, id } from "../fixtures/Account.js"

/** What each process does with the file. */
export type Way = "driver" | "append" | "execute"

const [file, way, name, seconds, writers] = process.argv.slice(2)

const begun = new Promise<void>((resolve) => {
  readline.createInterface({ input: process.stdin }).once("line", () => resolve())
})
const end = () => performance.now() + Number(seconds) * 1_000
const payload = { _tag: "Deposited", amount: 1 }

const byDriver = async () => {
  const db = new Database(file)
  db.pragma("journal_mode = WAL")
  db.pragma("synchronous = NORMAL")
  db.pragma("busy_timeout = 5000")
  // what an append of one event cannot do without
  const insert = db.prepare(`INSERT INTO eventsourcing_events
  (aggregate, stream_id, version, event_id, type, payload, metadata, time)
SELECT ?, ?, 1 + coalesce(max(version), 0), ?, ?, ?, ?, ? FROM eventsourcing_events WHERE aggregate = ? AND stream_id = ?
RETURNING version, position`)
  console.log("ready")
  await begun
  const until = end()
  let done = 0
  let next = 0
  while (performance.now() < until) {
    const stream = `${name}-${next = (next + 1) % Number(writers)}`
    insert.all(
      ...["Account", stream, crypto.randomUUID(), "Deposited", JSON.stringify(payload), "{}", Date.now()],
      ...["Account", stream]
    )
    done++
  }
  db.close()
  return done
}

const byLibrary = Effect.gen(function*() {
  const store = yield* EventStore.EventStore
  const accounts = yield* Repository.make(Account, { snapshots: SnapshotPolicy.background({ every: 100 }) })
  console.log("ready")
  yield* Effect.promise(() => begun)
  const until = end()
  let done = 0
  const writer = (n: number) => {
    const stream = `${name}-${n}`
    const once = (): Effect.Effect<unknown, { readonly message: string }> =>
      way === "append"
        ? store.append(StreamId.make("Account", stream), [{ id: crypto.randomUUID(), type: "Deposited", payload }], {
          expectedVersion: ExpectedVersion.any
        })
        : accounts.executeAll(id(stream), [{ _tag: "Open" }, { _tag: "Deposit", amount: 1 }])
    return Effect.map(Effect.suspend(once), () => done++).pipe(
      Effect.zipLeft(Effect.yieldNow()),
      Effect.repeat({ while: () => performance.now() < until })
    )
  }
  yield* Effect.all(Array.from({ length: Number(writers) }, (_, n) => writer(n)), { concurrency: "unbounded" })
  return done
}).pipe(
  Effect.scoped,
  Effect.provide(SqlStores.layer),
  Effect.provide(Sqlite.layer(SqliteClient.layer, { filename: file, synchronous: "NORMAL" }))
)

// an error ends the process, and whoever started it sees it
console.log(`done ${way === "driver" ? await byDriver() : await Effect.runPromise(byLibrary)}`)
process.exit(0)
