import { afterAll, beforeAll, describe, it } from "vitest"
import { inAStore, inTheLibrary, isFound } from "./bugs.js"
import * as Library from "./library.js"
import { clear, plant } from "./planted.js"
import { inMemory } from "./seeds.js"

describe("a planted bug is found by the seed beside it", () => {
  beforeAll(clear)
  afterAll(clear)

  // two of them; Planted.long.test.ts hunts for all
  for (const { by = inMemory, seed, ...bug } of inTheLibrary.filter(({ seed }) => seed !== undefined).slice(0, 2)) {
    it(bug.name, async () => {
      await isFound(by, await plant(bug), { seed })
    })
  }

  const [name, planted] = inAStore[0]
  it(name, () => isFound(inMemory, Library, { plant: planted }))
})
