// an import whose process is killed in the middle, and run again
import { SqlClient } from "@effect/sql"
import { assert, describe, it } from "@effect/vitest"
import { Array as Arr, Effect, Layer, type Scope } from "effect"
import * as path from "node:path"
import { migratedDatabase, sqliteFile, sqlStores, temporaryFolder } from "../utils/backends.js"
import { everything } from "../utils/mode.js"
import { pgClient } from "../utils/postgres.js"
import { start } from "../utils/process.js"

const batchSize = 50
const batches = everything ? 200 : 60
const kills = everything ? 10 : 2

interface Database {
  readonly name: string
  /** The file, or the URL. */
  readonly target: Effect.Effect<string, unknown, Scope.Scope>
  readonly client: (target: string) => Layer.Layer<SqlClient.SqlClient, unknown>
}

const databases: ReadonlyArray<Database> = [
  {
    name: "SQLite",
    target: Effect.map(temporaryFolder, (folder) => path.join(folder, "test.db")),
    client: sqliteFile
  },
  { name: "PostgreSQL", target: migratedDatabase, client: (url) => pgClient(url) }
]

/** The numbers of the stored events, which are those of the history. Each stream has all its versions. */
const numbers = Effect.gen(function*() {
  const sql = yield* SqlClient.SqlClient
  // one statement: the server may still run the last insert of a process that was killed
  const rows = yield* sql<{ readonly id: string; readonly version: number; readonly payload: string }>`
SELECT stream_id AS id, version, payload FROM eventsourcing_events ORDER BY stream_id, version`
  const all: Array<number> = []
  for (const own of Object.values(Arr.groupBy(rows, ({ id }) => id))) {
    const events: Array<number> = own.map(({ payload }) => Object(JSON.parse(payload)).amount)
    assert.deepStrictEqual(own.map(({ version }) => version), own.map((_, index) => index + 1))
    assert.deepStrictEqual(events, events.toSorted((a, b) => a - b))
    for (const n of events) all.push(n)
  }
  return all.sort((a, b) => a - b)
})

const upTo = (count: number) => Array.from({ length: count }, (_, n) => n)

describe("an import whose process is killed", () => {
  for (const { client, name, target } of databases) {
    it.scopedLive(`loses nothing and doubles nothing when it is run again (${name})`, () =>
      Effect.gen(function*() {
        const database = yield* target
        const run = () =>
          start("test/utils/importHistory.ts", [database, String(batches * batchSize), String(batchSize)])
        const stores = yield* Layer.build(Layer.provideMerge(sqlStores, client(database)))
        let before = 0
        for (let kill = 1; kill <= kills; kill++) {
          const program = run()
          const reached = Math.floor(kill * batches / (kills + 1)) * batchSize
          yield* Effect.promise(async () => {
            await program.next((line) => line.split(" ").reduce((sum, count) => sum + Number(count), 0) >= reached)
            program.child.kill("SIGKILL")
            await program.exited
          })
          const stored = yield* Effect.provide(numbers, stores)
          assert.deepStrictEqual(stored, upTo(stored.length))
          // whole batches, of which at least those are stored that the process told of
          assert.strictEqual(stored.length % batchSize, 0)
          assert.isAtLeast(stored.length, reached)
          assert.isBelow(stored.length, batches * batchSize, "the process was killed too late")
          before = stored.length
        }
        const last = run()
        assert.strictEqual(yield* Effect.promise(() => last.exited), 0, last.errors())
        const [imported, skipped] = last.lines[last.lines.length - 1].split(" ").map(Number)
        assert.strictEqual(imported + skipped, batches * batchSize)
        assert.isAtLeast(skipped, before)
        assert.deepStrictEqual(yield* Effect.provide(numbers, stores), upTo(batches * batchSize))
      }))
  }
})
