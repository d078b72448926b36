import Database from "better-sqlite3"
import { Effect, Layer } from "effect"
import * as fs from "node:fs"
import * as os from "node:os"
import * as path from "node:path"
import { assert, describe, it } from "vitest"
import {
  groupingStores,
  postgresTemporaryDatabase,
  sqliteFile,
  sqliteTemporaryFile,
  sqlStores
} from "../utils/backends.js"
import { everything } from "../utils/mode.js"
import { contend } from "./contend.js"
import { besideLock, holding, overtaken } from "./fair.js"
import { plot } from "./plot.js"
import { isFlat, soak } from "./work.js"

describe("a few seconds of each; `npm run soak` works ten minutes", () => {
  for (
    const [name, stores] of [
      ["SQLite", Layer.provide(sqlStores, sqliteTemporaryFile)],
      ["PostgreSQL", Layer.provide(sqlStores, postgresTemporaryDatabase)],
      ["SQLite, in groups", Layer.provide(groupingStores, sqliteTemporaryFile)],
      ["PostgreSQL, in groups", Layer.provide(groupingStores, postgresTemporaryDatabase)]
    ] as const
  ) {
    it.runIf(everything || name.startsWith("SQLite"))(name, async () => {
      const seed = Math.floor(Math.random() * 2 ** 31)
      const needed = ["execute ok", "load ok", "snapshot Hit", "feed events", "events"]
      // longer on a machine that is too slow to come to all of it
      let minutes = everything ? 0.05 : 0.005
      let done = await Effect.runPromise(soak(stores, { minutes, seed }))
      while (done.problems.length === 0 && minutes < 1 && needed.some((what) => (done.counts[what] ?? 0) === 0)) {
        minutes *= 3
        done = await Effect.runPromise(soak(stores, { minutes, seed }))
      }
      const { counts, problems, samples } = done
      assert.deepStrictEqual(problems, [], `seed ${seed}`)
      for (const what of needed) assert.isAbove(counts[what] ?? 0, 0, what)
      assert.isAbove(samples.length, 2)
      const file = path.join(os.tmpdir(), `soak-${crypto.randomUUID()}.svg`)
      plot(name, samples, file)
      assert.match(fs.readFileSync(file, "utf8"), /^<svg[^]*resident memory[^]*<\/svg>\n$/)
      fs.rmSync(file)
    })
  }

  it.runIf(everything)("many writers of two processes on one SQLite file", async () => {
    const folder = fs.mkdtempSync(path.join(os.tmpdir(), "writers-"))
    try {
      const { problems, table } = await contend(folder, 1)
      assert.deepStrictEqual(problems, [])
      assert.strictEqual(table.length, 3)
    } finally {
      fs.rmSync(folder, { recursive: true, force: true })
    }
  })

  it.runIf(everything)("many concurrent commands do not block the event loop (SQLite)", async () => {
    const commands = 3_000
    const layer = Layer.provideMerge(sqlStores, sqliteTemporaryFile)
    const { done, most } = await Effect.runPromise(holding(layer, { commands }))
    assert.strictEqual(done, commands)
    assert.isBelow(most, commands / 2)
  })

  it.runIf(everything)("first come, first served: many transactions do not starve other work (SQLite)", async () => {
    const crowd = 100
    const layer = Layer.provideMerge(sqlStores, sqliteTemporaryFile)
    assert.isBelow(await Effect.runPromise(overtaken(layer, { crowd })), crowd / 2)
  })

  it("waiting for the lock of another process does not block loads, and can be interrupted (SQLite)", async () => {
    const folder = fs.mkdtempSync(path.join(os.tmpdir(), "lock-"))
    try {
      const file = path.join(folder, "locked.db")
      const other = new Database(file)
      const lock = { take: () => void other.exec("BEGIN IMMEDIATE"), release: () => void other.exec("COMMIT") }
      const layer = Layer.provideMerge(sqlStores, sqliteFile(file))
      const { kept, letGo, loads } = await Effect.runPromise(besideLock(layer, lock))
      other.close()
      assert.isTrue(loads, "a load waits for the lock of another process")
      assert.isTrue(letGo, "a transaction that waits does not let go of its caller")
      assert.isTrue(kept, "what waited is not done")
    } finally {
      fs.rmSync(folder, { recursive: true, force: true })
    }
  })

  it("isFlat detects growth", () => {
    const noise = Array.from({ length: 100 }, (_, n) => 50 + ((n * 7) % 10))
    assert.isTrue(isFlat(noise, 1))
    assert.isTrue(isFlat(noise.map((value, n) => value + Math.min(n, 20)), 1))
    assert.isFalse(isFlat(noise.map((value, n) => value + n), 1))
    assert.isFalse(isFlat(noise.map((value, n) => value + n * 0.3), 1))
  })
})
