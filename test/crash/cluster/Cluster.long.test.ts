import { assert, describe, it } from "vitest"
import { kinds, runVariant, variants } from "./rounds.js"

describe("runners of a cluster that are killed, ended and frozen, with a server that stops", () => {
  for (const variant of variants.slice(0, 1)) {
    it(`answer nothing wrong: ${variant.name}; \`npm run crash:cluster\` does more`, async () => {
      const seed = Math.floor(Math.random() * 2 ** 31)
      const result = await runVariant(variant, { kills: 6, seed })
      assert.deepStrictEqual(result.problems, [], `seed ${seed}`)
      for (const kind of kinds) assert.isAbove(result.kills[kind], 0)
      // how many there are depends on the machine
      assert.isAbove(result.acknowledged, 0)
    })
  }
})
