import * as childProcess from "node:child_process"
import { fileURLToPath } from "node:url"
import { afterAll, assert, beforeAll, describe, it } from "vitest"
import { inAStore, inTheLibrary, isFound } from "./bugs.js"
import * as Library from "./library.js"
import { clear, plant } from "./planted.js"
import { explain, inMemory, simulations } from "./seeds.js"
import { simulateUnderTestClock } from "./simulation.js"

describe("a planted bug is found", () => {
  beforeAll(clear)
  afterAll(clear)

  for (const { by = inMemory, ...bug } of inTheLibrary) {
    it(bug.name, async () => {
      await isFound(by, await plant(bug))
    })
  }

  it("a bug that is found under Effect's own clock is found again with its seed", async () => {
    const bug = inTheLibrary.find(({ name }) => name.startsWith("a snapshot is labelled"))!
    await isFound(simulateUnderTestClock, await plant(bug))
  })

  for (const [name, plant] of inAStore) {
    it(name, () => isFound(inMemory, Library, { plant }))
  }
})

describe("simulation", () => {
  it("SEED=7 repeats the runs of the suite", async () => {
    const root = fileURLToPath(new URL("../..", import.meta.url))
    const printed = await new Promise<string>((resolve) =>
      childProcess.execFile(
        process.execPath,
        [`${root}node_modules/vitest/vitest.mjs`, "run", "test/simulation/Simulation.test.ts"],
        // no server is needed
        { cwd: root, env: { ...process.env, SEED: "7", TEST_DATABASE_URL: "postgres://unused", NO_COLOR: "1" } },
        (_error, stdout, stderr) => resolve(stdout + stderr)
      )
    )
    for (const [name, simulation] of simulations) {
      assert.include(printed, `${name}: ${explain(7, await simulation(Library, 7))}`)
    }
  })
})
