import { SqliteClient } from "@effect/sql-sqlite-node"
import { Effect, Exit, Layer, Scope } from "effect"
import * as fs from "node:fs"
import * as os from "node:os"
import * as path from "node:path"
import { afterAll, assert, beforeAll, describe, it } from "vitest"
import { pgClient, temporaryDatabase } from "../utils/postgres.js"
import { postgresUrl } from "../utils/server.js"
import * as Library from "./library.js"
import { type Bug, clear, plant } from "./planted.js"
import { chosen, explain, only } from "./seeds.js"
import { sweep, told } from "./sweep.js"
import { type Database, simulateTransactions } from "./transactions.js"

// SEED=7 prints one run on each database; SEEDS=500 FIRST_SEED=1000 runs others
const all = chosen(24)
const atATime = 8

const folder = fs.mkdtempSync(path.join(os.tmpdir(), "simulation-"))
afterAll(() => fs.rmSync(folder, { recursive: true, force: true }))

const sqlite: Database = {
  dialect: "sqlite",
  client: (subject, faulty) =>
    subject.Sqlite.layer((config: SqliteClient.SqliteClientConfig) => faulty(SqliteClient.layer(config)), {
      filename: path.join(folder, `${crypto.randomUUID()}.db`),
      synchronous: "NORMAL"
    })
}

const postgres = (url: string): Database => ({
  dialect: "postgres",
  // the driver cancels an interrupted statement over another connection: in a pool without a free one it goes on to its
  // end, and the rollback of its transaction waits for it
  client: (_subject, faulty) => faulty(pgClient(url, { maxConnections: 12, connectTimeout: "10 seconds" }))
})

const suite = (name: string, database: () => Database) =>
  describe(`transactions whose statements fail, on ${name}`, () => {
    const run = async (seed: number) => ({ seed, report: await simulateTransactions(Library, seed, database()) })
    if (only > 0) {
      it(`seed ${only}`, async () => {
        const { report } = await run(only)
        console.log(explain(only, report))
        assert.deepStrictEqual(report.problems, [])
      })
      return
    }
    it(`seeds ${all[0]} to ${all.at(-1)}`, async () => {
      const total = new Map<string, number>()
      const failed: Array<string> = []
      for (let start = 0; start < all.length; start += atATime) {
        for (const { report, seed } of await Promise.all(all.slice(start, start + atATime).map(run))) {
          for (const [name, n] of Object.entries(report.counts)) total.set(name, (total.get(name) ?? 0) + n)
          if (report.problems.length > 0) failed.push(explain(seed, report))
        }
      }
      assert.strictEqual(failed.join("\n\n"), "")
      if (all.length < 24) return
      for (const what of ["execute Ok", "execute Failed", "transaction Ok", "transaction Failed", "snapshots"]) {
        assert.isAbove(total.get(what) ?? 0, 0, what)
      }
    })
  })

const everyWay: ReadonlyArray<readonly [mode: "sync" | "inline", inside: boolean]> = [
  ["sync", true],
  ["sync", false],
  ["inline", true],
  ["inline", false]
]
const sweeps = (name: string, database: () => Database) =>
  describe(`each statement fails in turn, on ${name}`, () => {
    for (const [mode, inside] of everyWay) {
      it(
        `${mode} snapshots, ${inside ? "inside a transaction of the caller's" : "outside"}`,
        async () => {
          const { findings, met } = await Effect.runPromise(sweep(Library, database(), { mode, inside }))
          assert.strictEqual(told(findings), "")
          assert.isAbove(met, 20)
        }
      )
    }
  })

suite("SQLite", () => sqlite)
sweeps("SQLite", () => sqlite)

describe("a planted bug is found", () => {
  beforeAll(clear)
  afterAll(clear)

  const bugs: ReadonlyArray<Bug & { readonly finds: RegExp }> = [
    {
      name: "a transaction that SQLite has ended goes on",
      file: "internal/sql/sqlite/levels.ts",
      changes: [[
        "return kind === \"reserved\" ? statement : Effect.tapError(statement, (error) => lookAfter(raw, level, error))",
        "return statement"
      ]],
      finds: /^Abort at statement \d+ .*: the .* command was rolled back and is there$/m
    },
    {
      name: "a commit that meets a lock is not repeated",
      file: "internal/sql/sqlite/connection.ts",
      changes: [["classify(error).kind === \"Busy\" ? restore(root.whileBusy(commit)) : ", ""]],
      finds: /^Timeout at statement \d+ \(COMMIT\): /m
    }
  ]
  for (const { finds, ...bug } of bugs) {
    it(bug.name, async () => {
      const { findings } = await Effect.runPromise(sweep(await plant(bug), sqlite, { mode: "sync", inside: true }))
      assert.match(told(findings), finds)
    })
  }
})

describe("on a server", () => {
  const scope = Effect.runSync(Scope.make())
  let url = ""
  beforeAll(async () => {
    url = await Effect.runPromise(Scope.extend(temporaryDatabase(postgresUrl()), scope))
    // the tables are there before many programs look for them at once
    const stores = Library.SqlStores.layer
    await Effect.runPromise(Effect.scoped(Layer.build(Layer.provide(stores, pgClient(url)))))
  })
  afterAll(() => Effect.runPromise(Scope.close(scope, Exit.void)))

  suite("PostgreSQL", () => postgres(url))
  sweeps("PostgreSQL", () => postgres(url))
})
