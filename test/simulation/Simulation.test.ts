import { assert, describe, it } from "vitest"
import { everything } from "../utils/mode.js"
import * as Library from "./library.js"
import { breathe, chosen, explain, from, only, simulations } from "./seeds.js"
import { type Options, simulate, simulateUnderTestClock } from "./simulation.js"
import { simulateSnapshotter } from "./snapshotter.js"

const seeds = chosen(everything ? 1_000 : 20)
const total = new Map<string, number>()

const check = async (seed: number, options: Options) => {
  await breathe()
  const report = simulate(Library, seed, options)
  for (const [name, n] of Object.entries(report.counts)) total.set(name, (total.get(name) ?? 0) + n)
  if (report.problems.length > 0) throw new Error(explain(seed, report))
}

const met = [
  "execute ok",
  "execute rejected",
  "execute EventStoreError",
  "execute EventDecodeError",
  "execute HistoryGap",
  "execute died",
  "execute interrupted",
  "execute gave up",
  "transaction ok",
  "transaction rolled back",
  "load ok",
  "snapshot Hit",
  "snapshot None",
  "snapshot SchemaVersionMismatch",
  "snapshot SchemaDrift",
  "snapshot StateDecodeError",
  "snapshot HistoryMismatch",
  "snapshot StoreUnavailable",
  "saves",
  "closings",
  "repeats",
  "faults"
]

if (only > 0) {
  describe("simulation", () => {
    for (const [name, simulation] of simulations) {
      it(`seed ${only} ${name}`, async () => {
        const report = await simulation(Library, only)
        console.log(`${name}: ${explain(only, report)}`)
        assert.deepStrictEqual(report.problems, [])
      })
    }
  })
} else {
  describe("simulation", () => {
    const chunk = 250
    for (let start = 0; start < seeds.length; start += chunk) {
      const some = seeds.slice(start, start + chunk)
      it(`seeds ${some[0]} to ${some.at(-1)} in memory`, async () => {
        for (const seed of some) await check(seed, { backend: "memory" })
      })
    }

    it("some of them on SQLite", async () => {
      for (const seed of seeds.slice(0, Math.ceil(seeds.length / 20))) await check(seed, { backend: "sqlite" })
    })

    it("others of them on SQLite, with every append in a group", async () => {
      const some = seeds.slice(-Math.ceil(seeds.length / 20))
      for (const seed of some) await check(seed, { backend: "sqlite", grouped: true })
    })

    it("a few under Effect's own clock and scheduler", async () => {
      const reports = seeds.slice(0, everything ? 30 : 3).map(async (seed) =>
        [seed, await simulateUnderTestClock(Library, seed)] as const
      )
      for (const report of reports) {
        const [seed, result] = await report
        assert.deepStrictEqual(result.problems, [], explain(seed, result))
      }
    })

    it("the snapshotter alone", async () => {
      for (const seed of seeds.slice(0, Math.ceil(seeds.length / 4))) {
        if (seed % 50 === 0) await breathe()
        const report = simulateSnapshotter(Library, seed)
        if (report.problems.length > 0) throw new Error(explain(seed, report))
      }
    })

    it.skipIf(seeds.length < 1_000)("the seeds together meet every kind of result", () => {
      for (const name of met) assert.isAbove(total.get(name) ?? 0, 0, name)
    })

    it("the same seed gives the same run, and another seed another run", async () => {
      for (const [name, simulation] of everything ? simulations : simulations.slice(0, 1)) {
        const seeds = from(1, everything ? 8 : 2)
        const together = await Promise.all(seeds.map((seed) => simulation(Library, seed)))
        for (const [index, report] of together.entries()) {
          assert.isAbove(report.trace.length, 3)
          assert.deepStrictEqual(await simulation(Library, seeds[index]), report, name)
          assert.notDeepEqual((await simulation(Library, seeds[index] + 100)).trace, report.trace, name)
        }
      }
    })
  })
}
