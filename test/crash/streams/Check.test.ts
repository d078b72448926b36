import { assert, describe, it } from "vitest"
import { checkOrder } from "./check.js"
import type { Said } from "./protocol.js"

const stream = "s0.0"
const during = (began: number, ended: number) => ({ stream, began, ended })

/** Four deposits of which the second was rewritten to 700, then a deletion at version 7. */
const sound: ReadonlyArray<Said> = [
  { _tag: "Executed", command: "a.1", version: 1, events: 1, ...during(0, 1) },
  { _tag: "Executed", command: "a.2", version: 5, events: 4, ...during(2, 3) },
  { _tag: "Loaded", version: 5, balance: 4, ...during(3.5, 5) },
  { _tag: "Changing", stream, kind: "rewrite", began: 4 },
  { _tag: "Rewritten", target: 3, amount: 700, version: 6, ...during(4, 5) },
  { _tag: "Loaded", version: 6, balance: 703, ...during(6, 7) },
  { _tag: "Changing", stream, kind: "delete", began: 8 },
  { _tag: "Refused", what: "load", ...during(7, 9) },
  { _tag: "Deleted", version: 7, removes: false, ...during(8, 10) },
  { _tag: "Refused", what: "execute", ...during(11, 12) }
]

const history = { events: [], rewrites: [{ marker: 6, target: 3, amount: 700 }], truncations: [], isKnown: true }

const problemsOf = (more: ReadonlyArray<Said>) => checkOrder([...sound, ...more], new Map([[stream, history]]))

describe("the check of what processes said finds", () => {
  const finds = (what: string, problem: string | undefined, ...more: ReadonlyArray<Said>) =>
    it(what, () => {
      assert.deepStrictEqual(problemsOf(more), problem === undefined ? [] : [problem])
    })

  finds("nothing wrong where nothing is", undefined)
  finds(
    "a state with the old payload after the rewrite",
    "a load of s0.0 at 6 gave 4, and not 703",
    { _tag: "Loaded", version: 6, balance: 4, ...during(6, 7) }
  )
  finds(
    "a load that is behind an acknowledged rewrite",
    "a load of s0.0 gave 5 after 6 was acknowledged",
    { _tag: "Loaded", version: 5, balance: 4, ...during(6, 7) }
  )
  finds(
    "a load that is behind an acknowledged command",
    "a load of s0.0 gave 1 after 5 was acknowledged",
    { _tag: "Loaded", version: 1, balance: 0, ...during(3.5, 4) }
  )
  finds(
    "a load after the deletion",
    "a load of s0.0 gave 6 after it was deleted at 7",
    { _tag: "Loaded", version: 6, balance: 703, ...during(11, 12) }
  )
  finds(
    "a command behind the marker of the deletion",
    "a.3 is at 8 of s0.0, deleted at 7",
    { _tag: "Executed", command: "a.3", version: 8, events: 1, ...during(9, 12) }
  )
  finds(
    "a refusal before any deletion",
    "load of s0.0 was refused although no deletion had begun",
    { _tag: "Refused", what: "load", ...during(6, 7) }
  )
  finds(
    "two ends of a stream",
    "s0.0 was deleted twice",
    { _tag: "Deleted", version: 8, removes: true, ...during(9, 10) }
  )
  finds(
    "a repetition that counted again",
    "a.2 of s0.0 is at 5, and its repetition at 6",
    { _tag: "Repeated", command: "a.2", version: 6, duplicate: false, ...during(5, 6) }
  )
  finds(
    "a gap before any removal",
    "history of s0.0 met a gap, although no removal had begun",
    { _tag: "Changing", stream, kind: "truncate", began: 1, before: 3, removes: false },
    { _tag: "Gapped", what: "history", ...during(6, 7) }
  )
  finds(
    "nothing wrong in the archived amount of a rewrite that has begun",
    undefined,
    { _tag: "Changing", stream, kind: "truncate", began: 1, before: 4, removes: false },
    { _tag: "Loaded", version: 5, balance: 703, ...during(3.5, 5) }
  )
  it("nothing wrong in an archived amount beside a later rewrite in a row that was read before it", () => {
    const rewrites = [{ marker: 6, target: 4, amount: 50 }, { marker: 7, target: 3, amount: 700 }]
    const load = (balance: number): ReadonlyArray<Said> => [
      ...sound.slice(0, 5),
      { _tag: "Rewritten", target: 4, amount: 50, version: 6, ...during(4, 5) },
      { _tag: "Rewritten", target: 3, amount: 700, version: 7, ...during(4, 5) },
      { _tag: "Changing", stream, kind: "truncate", began: 1, before: 4, removes: false },
      { _tag: "Loaded", version: 5, balance, ...during(3.5, 5) }
    ]
    const problems = (balance: number) => checkOrder(load(balance), new Map([[stream, { ...history, rewrites }]]))
    assert.deepStrictEqual(problems(703), [])
    assert.deepStrictEqual(problems(53), ["a load of s0.0 at 5 gave 53, and not 4 or 703"])
  })
  finds(
    "the amount of a rewrite that has not begun",
    "a load of s0.0 at 5 gave 703, and not 4",
    { _tag: "Changing", stream, kind: "truncate", began: 1, before: 4, removes: false },
    { _tag: "Loaded", version: 5, balance: 703, ...during(3.5, 3.8) }
  )
})
