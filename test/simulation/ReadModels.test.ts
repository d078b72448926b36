import { afterAll, assert, beforeAll, describe, it } from "vitest"
import { everything } from "../utils/mode.js"
import * as Library from "./library.js"
import { clear, plant } from "./planted.js"
import { bugs } from "./readmodels/bugs.js"
import { simulateReadModels, simulateReadModelsUnderTestClock } from "./readmodels/simulate.js"
import { breathe, chosen, explain, from, only } from "./seeds.js"

const seeds = only > 0 ? [only] : chosen(everything ? 250 : 4)
const total = new Map<string, number>()

/** What many seeds together must have met. */
const met = [
  "delivered again",
  "dropped",
  "failed commit",
  "fail",
  "freezes",
  "lost answer",
  "lost lease",
  "parked Following",
  "parked Poison",
  "removed",
  "repartitioned",
  "retried",
  "retried in vain",
  "stopped",
  "swapped",
  "await ok",
  "await AwaitTimeout",
  "await ProjectionStopped",
  "promote PromotionTimeout"
]

describe("simulation of read models", () => {
  const chunk = 100
  for (let start = 0; start < seeds.length; start += chunk) {
    const some = seeds.slice(start, start + chunk)
    it(`seeds ${some[0]} to ${some.at(-1)}`, async () => {
      for (const seed of some) {
        await breathe()
        const report = simulateReadModels(Library, seed)
        for (const [name, n] of Object.entries(report.counts)) total.set(name, (total.get(name) ?? 0) + n)
        if (only > 0) console.log(explain(seed, report))
        if (report.problems.length > 0) throw new Error(explain(seed, report))
      }
    }, 600_000)
  }

  it.skipIf(seeds.length < 250)("the seeds together meet every kind of result", () => {
    for (const name of met) assert.isAbove(total.get(name) ?? 0, 0, name)
  })

  it.skipIf(only > 0)("the same seed gives the same run, and another seed another run", () => {
    for (const seed of from(1, everything ? 8 : 2)) {
      const report = simulateReadModels(Library, seed)
      assert.isAbove(report.trace.length, 3)
      assert.deepStrictEqual(simulateReadModels(Library, seed), report)
      assert.notDeepEqual(simulateReadModels(Library, seed + 100).trace, report.trace)
    }
  })

  it.runIf(everything && only === 0)("a few under Effect's own clock and scheduler", async () => {
    for (const seed of seeds.slice(0, 2)) {
      const report = await simulateReadModelsUnderTestClock(Library, seed)
      assert.deepStrictEqual(report.problems, [], explain(seed, report))
    }
  }, 600_000)
})

describe("a bug that is planted in read models is found by the seed beside it", () => {
  beforeAll(clear)
  afterAll(clear)

  for (const { seed, ...bug } of bugs.slice(0, everything ? bugs.length : 2)) {
    it(bug.name, async () => {
      const subject = await plant(bug)
      // the library may have changed since: the hunt goes on
      for (const candidate of [seed, ...from(1, 20)]) {
        await breathe()
        const report = simulateReadModels(subject, candidate)
        if (report.problems.length === 0) continue
        return assert.deepStrictEqual(simulateReadModels(subject, candidate), report)
      }
      assert.fail("no seed finds it")
    }, 600_000)
  }
})
