import { assert, describe, it } from "vitest"
import { run } from "./rounds.js"

describe("a short round with each database; `npm run crash:streams` does more", () => {
  for (const backend of ["sqlite", "postgres"] as const) {
    it(backend, async () => {
      const seed = Math.floor(Math.random() * 2 ** 31)
      const { counts, problems } = await run(backend, { hits: 5, seed })
      assert.deepStrictEqual(problems, [], `seed ${seed}`)
      for (const tag of ["Executed", "Loaded", "Rewritten", "Truncated"] as const) assert.isAbove(counts[tag], 0, tag)
    })
  }
})
