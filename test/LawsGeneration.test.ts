import { assert, describe, it } from "@effect/vitest"
import { FastCheck as fc } from "effect"
import { AggregateLaws, AggregateTest } from "effect-eventsourcing/testing"
import { setImmediate } from "node:timers/promises"
import { TookTooLong, within } from "../src/internal/laws/timeLimit.js"
import * as Broken from "./fixtures/broken.js"
import { brokenBy } from "./utils/laws.js"

const messageOf = (laws: ReadonlyArray<AggregateLaws.Law>): string => {
  try {
    laws[0].check()
  } catch (error) {
    assert.instanceOf(error, AggregateLaws.NotGenerated)
    return error.message
  }
  return assert.fail("it could be generated")
}

describe("an aggregate whose histories cannot be generated", () => {
  // what the message names, and what it says
  const cases: Readonly<
    Record<string, readonly [laws: () => ReadonlyArray<AggregateLaws.Law>, says: ReadonlyArray<string>]>
  > = {
    "recursive without a base case": [
      () => AggregateLaws.laws(Broken.Endless),
      ["event \"Nested\"", "$.value.inner", "contains itself", "annotations({ arbitrary:"]
    ],
    "recursive twice": [
      () => AggregateLaws.laws(Broken.EndlessTwice),
      ["event \"Planted\"", "$.bush.left", "contains itself"]
    ],
    "a recursive command": [() => AggregateLaws.laws(Broken.EndlessCommand), ["No command", "$.nested.inner"]],
    "a filter that is almost never true": [
      () => AggregateLaws.laws(Broken.AlmostNever),
      ["event \"Paid\"", "$.payment.iban", "a filter is almost never true", "annotations({ arbitrary:"]
    ],
    "commands of which there is none": [
      () => AggregateLaws.laws(Broken.NoCommands),
      ["There is no command", "histories: \"events\""]
    ],
    "a filter over two fields that is almost never true": [
      () => AggregateLaws.laws(Broken.CrossField, { seed: 1 }),
      ["$.field.range", "a filter is almost never true", "annotations({ arbitrary:"]
    ],
    "the same, deep in a list": [
      () => AggregateLaws.laws(Broken.CrossFieldDeep, { seed: 1 }),
      ["$.field.ranges[\"*\"].range", "a filter is almost never true"]
    ],
    "an arbitrary that its own schema refuses": [
      () => AggregateLaws.laws(Broken.GeneratorThatIsRefused),
      ["$.field.word", "annotated with gives values that the schema itself refuses", "it must start with ok"]
    ],
    "a given generator that the schema refuses": [
      () =>
        AggregateLaws.laws(Broken.Numbered, {
          command: fc.constantFrom(1, 0.5).map((field) => ({ _tag: "Put", field }))
        }),
      ["given as `command`", "the command schema refuses", "0.5", "$.field: Expected an integer"]
    ],
    "a given generator that ends only at first": [
      () => {
        let values = 0
        const field = fc.nat().map((n) => {
          while (values > 200);
          values++
          return n
        })
        return AggregateLaws.laws(Broken.Numbered, { command: field.map((field) => ({ _tag: "Put", field })) })
      },
      ["given as `command`", "never ends"]
    ],
    "a filter that is never true": [() => AggregateLaws.laws(Broken.NeverTrue), ["event \"Odd\"", "a filter"]],
    "a filter that never returns": [() => AggregateLaws.laws(Broken.FilterThatHangs), ["$.text", "never ends"]],
    "a generator that never ends": [() => AggregateLaws.laws(Broken.GeneratorThatHangs), ["$.text", "never ends"]],
    "a generator that throws": [() => AggregateLaws.laws(Broken.GeneratorThatThrows), ["$.text", "threw no idea"]],
    "a type declared by hand": [() => AggregateLaws.laws(Broken.Declared), ["$.envelope", "declared by hand"]],
    "an effectful event": [() => AggregateLaws.laws(Broken.Effectful), ["event \"Looked\"", "is effectful"]],
    "an effectful state": [() => AggregateLaws.laws(Broken.EffectfulState), ["The state schema is effectful"]],
    "a schema that throws": [() => AggregateLaws.laws(Broken.Throwing), ["event \"Parsed\"", "threw no codec for"]],
    "ids that no store keeps": [() => AggregateLaws.laws(Broken.ImpossibleId), ["ids", "longer than 1024 bytes"]],
    "commands that are all rejected": [
      () => AggregateLaws.laws(Broken.NothingAccepted),
      ["None of the generated commands", "wrong password", "the option `command`"]
    ],
    "commands that decide nothing": [
      () => AggregateLaws.laws(Broken.FailingPolitely),
      ["None of the generated commands"]
    ],
    "a given generator that never ends": [
      () =>
        AggregateLaws.laws(Broken.NothingAccepted, {
          command: fc.constant({ _tag: "Do", password: "" } as const).filter(() => false)
        }),
      ["given as `command`", "never ends"]
    ]
  }
  for (const [name, [laws, says]] of Object.entries(cases)) {
    it(name, async () => {
      await setImmediate()
      const message = messageOf(laws())
      for (const text of says) assert.include(message, text)
    })
  }

  it("the laws after the first say only that", () => {
    const [first, second] = AggregateLaws.laws(Broken.Declared)
    assert.throws(first.check, /No event "Sealed"/)
    assert.throws(second.check, /^Not checked, as there are no histories/)
    assert.throws(second.check, AggregateLaws.NotGenerated)
  })

  it("a generator that is given helps", () => {
    const command = fc.constantFrom("wrong", "correct horse battery staple").map((password) =>
      ({ _tag: "Do", password }) as const
    )
    for (const { check } of AggregateLaws.laws(Broken.NothingAccepted, { command, runs: 20 })) check()
    const event = fc.string().map((text) => ({ _tag: "Hung", text }) as const)
    for (const { check } of AggregateLaws.laws(Broken.GeneratorThatHangs, { event, histories: "events", runs: 20 })) {
      check()
    }
  })

  it("histories of events need no commands", () => {
    assert.throws(AggregateLaws.laws(Broken.EndlessCommand)[0].check, AggregateLaws.NotGenerated)
    for (const { check } of AggregateLaws.laws(Broken.EndlessCommand, { histories: "events", runs: 20 })) check()
  })

  it("an encoding that never returns is filed under the law of what is stored", () => {
    const broken = brokenBy(AggregateLaws.laws(Broken.EncodingThatHangs, { seed: 1 }))
    assert.deepStrictEqual([...broken.keys()], ["every state survives being stored as JSON"])
    assert.include([...broken.values()][0].message, "The state schema did not return within 3 seconds.")
  })

  it("a slow aggregate is no endless one, and its laws take seconds and not minutes", () => {
    let calls = 0
    const counted = { ...Broken.Slow, initial: (id: string) => (calls++, Broken.Slow.initial(id)) }
    assert.strictEqual(brokenBy(AggregateLaws.laws(counted, { seed: 1 })).size, 0)
    // a history of it takes about two seconds
    assert.isBelow(calls, 60)
  })

  it("an initial state that the state schema refuses", () => {
    const [[law, { message }]] = brokenBy(AggregateLaws.laws(Broken.BeginsRefused, { seed: 1, runs: 20 }))
    assert.include(law, "fits the state schema")
    assert.include(message, "initial gives a state that the state schema refuses.")
    assert.include(message, "refused at $.n  Expected a non-negative number, actual -1")
    assert.throws(() => AggregateLaws.check(Broken.BeginsRefused, { id: "a" }), AggregateLaws.LawBroken)
    assert.throws(
      () => AggregateTest.given(Broken.BeginsRefused, "a", []),
      /begins with a state that its schema refuses/
    )
  })

  it("a field that may be anything is named", () => {
    const [{ message }] = brokenBy(AggregateLaws.laws(Broken.Anything, { seed: 1, runs: 100 })).values()
    assert.include(message, "The schema lets $.field.meta be anything")
    assert.include(message, "fc.jsonValue()")
  })

  it("an evolve that never returns is a story, too", () => {
    const [total] = AggregateLaws.laws(Broken.EvolveThatHangs, { seed: 1 })
    assert.throws(total.check, /evolve did not return within 3 seconds[^]*AggregateLaws\.check\(Broken, \{ id: /)
    assert.isTrue(
      new Date() instanceof Date && Date.name === "Date" && Math.abs(Date.now() - performance.timeOrigin) < 1e9
    )
  })
})

describe("a time limit on synchronous code", () => {
  it("stops what never ends, nested or not, and leaves alone what does", () => {
    const hang = () => {
      while (true);
    }
    assert.strictEqual(within(1_000, () => within(1_000, () => 7)), 7)
    assert.throws(() => within(50, hang), TookTooLong)
    assert.throws(() => within(5_000, () => within(50, hang)), TookTooLong)
    assert.throws(() => within(50, () => /^(a+)+$/.test(`${"a".repeat(40)}b`)), TookTooLong)
    assert.throws(() =>
      within(1_000, () => {
        throw new TypeError("mine")
      }), /mine/)
  })
})
