import { assert, describe, it } from "@effect/vitest"
import { Either, Schema } from "effect"
import { Aggregate, Personal } from "effect-eventsourcing"
import { AggregateLaws } from "effect-eventsourcing/testing"
import { Customer, Name } from "../fixtures/Customer.js"

const Named = Schema.TaggedStruct("Named", { name: Name })

const common = {
  id: Schema.String,
  event: Named,
  command: Schema.TaggedStruct("SetName", { name: Name }),
  decide: (_: unknown, { name }: { readonly name: Personal.Personal<string, string> }) =>
    Either.right([{ _tag: "Named" as const, name }])
}

const check = (laws: ReturnType<typeof AggregateLaws.laws>) =>
  laws.flatMap(({ check, name }) => {
    try {
      check()
      return []
    } catch (error) {
      return [[name, String(error)] as const]
    }
  })

describe("the laws of aggregates with personal data", () => {
  it("hold for one that keeps the data as it is", () => {
    const laws = AggregateLaws.laws(Customer, { seed: 1, runs: 50 })
    assert.include(laws.map(({ name }) => name).join(), "erasure")
    assert.deepStrictEqual(check(laws), [])
  })

  it("are broken by one that computes from the data", () => {
    const Counting = Aggregate.make({
      ...common,
      name: "Counting",
      state: Schema.Struct({ length: Schema.Int }),
      initial: () => ({ length: 0 }),
      evolve: (_, { name }) => ({
        length: Personal.match(name, { onPresent: (name) => name.length + 1, onErased: () => 0 })
      })
    })
    const [[name, story], ...more] = check(AggregateLaws.laws(Counting, { seed: 1, runs: 50 }))
    assert.deepStrictEqual(more, [])
    assert.include(name, "erasure")
    assert.include(story, "differs at $.length")
    // the story can be pasted
    assert.match(story, /name: Personal\.make\("/)
  })

  it("are broken by one that throws where data was erased", () => {
    const Throwing = Aggregate.make({
      ...common,
      name: "Throwing",
      state: Schema.Int,
      initial: () => 0,
      evolve: (state, { name }) => {
        if (name._tag === "Erased") throw new Error("nobody")
        return state + 1
      }
    })
    const broken = check(AggregateLaws.laws(Throwing, { seed: 1, runs: 50 }))
    assert.isTrue(
      broken.some(([name]) => name.includes("erasure")) || broken.some(([name]) => name.includes("never throw"))
    )
  })

  it("are not asked of one without personal data", () => {
    const Plain = Aggregate.make({
      name: "Plain",
      id: Schema.String,
      state: Schema.Int,
      event: Schema.TaggedStruct("Counted", {}),
      command: Schema.TaggedStruct("Count", {}),
      initial: () => 0,
      evolve: (state) => state + 1,
      decide: () => Either.right([{ _tag: "Counted" as const }])
    })
    assert.notInclude(AggregateLaws.laws(Plain).map(({ name }) => name).join(), "erasure")
  })
})
