import { assert, describe, it } from "@effect/vitest"
import * as fs from "node:fs"
import * as path from "node:path"
import { everything } from "../utils/mode.js"
import { root } from "../utils/npm.js"
import { complaints } from "../utils/tsc.js"

const preamble = `import { Either, Match, Schema } from "effect"
import { Aggregate } from "effect-eventsourcing"
declare const random: boolean
const Noted = Schema.TaggedStruct("Noted", {})
const Counted = Schema.TaggedStruct("Counted", { by: Schema.Int, kind: Schema.Literal("a", "b") })
const base = {
  name: "A",
  id: Schema.String,
  state: Schema.Struct({ total: Schema.Int }),
  event: Schema.Union(Noted, Counted),
  command: Schema.Union(Schema.TaggedStruct("Note", {}), Schema.TaggedStruct("Count", { by: Schema.Int })),
  initial: () => ({ total: 0 }),
  evolve: (state: { readonly total: number }) => state
} as const
`

const returns = "decide returns Either.right with a list of events, or Either.left with a rejection"
const widened =
  "The _tag of an event is only known to be a string: write `as const` after the event, or build it by its schema"

/** Wrong ways to write `decide`, and the sentence that the compiler says about each. */
const wrong: ReadonlyArray<readonly [decide: string, message: string]> = [
  [`() => Either.right([{ _tag: "Forgotten" }])`, `The event schema has no event that is tagged "Forgotten"`],
  [
    `(_s, _c) => Either.right([{ _tag: "Noted" }, { _tag: "Lost" }])`,
    `The event schema has no event that is tagged "Lost"`
  ],
  [`() => Either.right([{ _tag: "Counted", kind: "a" }])`, `The event "Counted" lacks the field "by" of its schema`],
  [
    `(_s, c) => Either.right([{ _tag: "Noted" }, { _tag: "Counted", by: c, kind: "a" }])`,
    `The field "by" of the event "Counted" has another type than in its schema`
  ],
  [
    `(s) => { if (s.total > 1) return Either.left("no"); return Either.right([{ _tag: "Counted", by: 1, kind: "c" }]) }`,
    `The field "kind" of the event "Counted" has another type than in its schema`
  ],
  [`(_s) => [Noted.make()]`, returns],
  [`(_s) => Either.right(Noted.make())`, returns],
  [`(_s) => Either.right([1])`, returns],
  [`(_s) => random ? Either.right([]) : undefined`, returns],
  // handlers by tag
  [
    `{ Note: () => Either.right([]), Count: () => Either.right([]), Other: () => Either.right([]) }`,
    `The command schema has no command that is tagged "Other"`
  ],
  [
    `{ Note: () => Either.right([{ _tag: "Lost" }]), Count: () => Either.right([]) }`,
    `The event schema has no event that is tagged "Lost"`
  ],
  [
    `{ Note: () => Either.right([]), Count: (_s, { by }) => Either.right([{ _tag: "Counted", by }]) }`,
    `The event "Counted" lacks the field "kind" of its schema`
  ],
  // TypeScript gives no context to what is spread or matched: with any signature a literal is a string there
  [`() => Either.right([{ _tag: "Noted" }, ...(random ? [{ _tag: "Noted" }] : [])])`, widened],
  [
    `(_s, c) => Match.value(c).pipe(Match.tag("Note", () => Either.right([{ _tag: "Noted" }])), Match.orElse(() => Either.right([])))`,
    widened
  ]
]

describe("the compiler's message for a wrong decide", () => {
  it.runIf(everything)("is a sentence, at most three levels deep", async () => {
    const folder = path.join(root, "test", ".generated-messages")
    const code = wrong.map(([decide]) => `Aggregate.make({ ...base, decide: ${decide} })\n`).join("")
    const printed = await complaints(folder, { "wrong.ts": preamble + code }, { noErrorTruncation: true })
    fs.rmSync(folder, { recursive: true, force: true })
    const first = preamble.split("\n").length
    const errors = printed.split(/^(?=\S)/m).filter((error) => error !== "")
    for (const [index, [decide, message]] of wrong.entries()) {
      const here = errors.filter((error) => error.includes(`wrong.ts(${first + index},`))
      assert.strictEqual(here.length, 1, `${decide}: ${here.join("")}`)
      const levels = here[0].split("\n").filter((line) => line.includes(JSON.stringify(message)))
      assert.isNotEmpty(levels, here[0])
      assert.isAtMost(Math.min(...levels.map((line) => /^ */.exec(line)?.[0].length ?? 0)), 4, here[0])
    }
    assert.lengthOf(errors, wrong.length, printed)
  })
})
