import { assert, describe, it } from "@effect/vitest"
import { FastCheck as fc } from "effect"
import { AggregateLaws, AggregateTest } from "effect-eventsourcing/testing"
import { setImmediate } from "node:timers/promises"
import { TookTooLong, within } from "../../src/internal/laws/timeLimit.js"
import * as Broken from "../fixtures/broken.js"
import { brokenBy, lawsWithin, virtualTime } from "../utils/laws.js"

const laws = lawsWithin()
// a sound part of the schema must be generated within a quarter of it, on a slow machine too
const slowly = lawsWithin({ values: 8_000, history: 100 })
// a slow machine may need more than a tenth of a second until the stack overflows
const untilItOverflows = lawsWithin({ values: 60_000, history: 100 })

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
  // texts that the message must hold
  const cases: Readonly<
    Record<string, readonly [make: () => ReadonlyArray<AggregateLaws.Law>, says: ReadonlyArray<string>]>
  > = {
    "recursive without a base case": [
      () => untilItOverflows(Broken.Endless),
      ["event \"Nested\"", "$.value.inner", "contains itself", "annotations({ arbitrary:"]
    ],
    "recursive twice": [
      () => AggregateLaws.laws(Broken.EndlessTwice),
      ["event \"Planted\"", "$.bush.left", "contains itself"]
    ],
    "a recursive command": [() => untilItOverflows(Broken.EndlessCommand), ["No command", "$.nested.inner"]],
    "a filter that is almost never true": [
      () => laws(Broken.AlmostNever),
      ["event \"Paid\"", "$.payment.iban", "a filter is almost never true", "annotations({ arbitrary:"]
    ],
    "a command schema without values": [
      () => laws(Broken.NoCommands),
      ["There is no command", "histories: \"events\""]
    ],
    "a filter over two fields that is almost never true": [
      () => slowly(Broken.CrossField, { seed: 1 }),
      ["$.field.range", "a filter is almost never true", "annotations({ arbitrary:"]
    ],
    "the same, deep in a list": [
      () => slowly(Broken.CrossFieldDeep, { seed: 1 }),
      ["$.field.ranges[\"*\"].range", "a filter is almost never true"]
    ],
    "an annotated arbitrary whose values its own schema refuses": [
      () => laws(Broken.GeneratorThatIsRefused),
      ["$.field.word", "annotated with gives values that the schema itself refuses", "it must start with ok"]
    ],
    "a given generator whose values the schema refuses": [
      () =>
        laws(Broken.Numbered, {
          command: fc.constantFrom(1, 0.5).map((field) => ({ _tag: "Put", field }))
        }),
      ["given as `command`", "the command schema refuses", "0.5", "$.field: Expected an integer"]
    ],
    "a given generator that stops ending after some values": [
      () => {
        let values = 0
        const field = fc.nat().map((n) => {
          while (values > 200);
          values++
          return n
        })
        return laws(Broken.Numbered, { command: field.map((field) => ({ _tag: "Put", field })) })
      },
      ["given as `command`", "never ends"]
    ],
    "a filter that is never true": [() => laws(Broken.NeverTrue), ["event \"Odd\"", "a filter"]],
    "a filter that never returns": [() => laws(Broken.FilterThatHangs), ["$.text", "never ends"]],
    "a generator that never ends": [() => laws(Broken.GeneratorThatHangs), ["$.text", "never ends"]],
    "a generator that throws": [() => laws(Broken.GeneratorThatThrows), ["$.text", "threw no idea"]],
    "a type declared by hand": [() => laws(Broken.Declared), ["$.envelope", "declared by hand"]],
    "an effectful event": [() => laws(Broken.Effectful), ["event \"Looked\"", "is effectful"]],
    "an effectful state": [() => laws(Broken.EffectfulState), ["The state schema is effectful"]],
    "a schema that throws": [() => laws(Broken.Throwing), ["event \"Parsed\"", "threw no codec for"]],
    "ids that cannot name a stream": [() => laws(Broken.ImpossibleId), ["ids", "longer than 1024 bytes"]],
    "commands that are all rejected": [
      () => AggregateLaws.laws(Broken.NothingAccepted, { runs: 25 }),
      ["None of the generated commands", "wrong password", "the option `command`"]
    ],
    "commands that decide nothing": [
      () => AggregateLaws.laws(Broken.FailingPolitely, { runs: 25 }),
      ["None of the generated commands"]
    ],
    "a given generator that never ends": [
      () =>
        laws(Broken.NothingAccepted, {
          command: fc.constant({ _tag: "Do", password: "" } as const).filter(() => false)
        }),
      ["given as `command`", "never ends"]
    ]
  }
  for (const [name, [make, says]] of Object.entries(cases)) {
    it(name, async () => {
      await setImmediate()
      const message = messageOf(make())
      for (const text of says) assert.include(message, text)
    })
  }

  it("the laws after the first refer to it in one line", () => {
    const [first, second] = laws(Broken.Declared)
    assert.throws(first.check, /No event "Sealed"/)
    assert.throws(second.check, /^Not checked, as there are no histories/)
    assert.throws(second.check, AggregateLaws.NotGenerated)
  })

  it("a given generator makes the laws run", () => {
    const command = fc.constantFrom("wrong", "correct horse battery staple").map((password) =>
      ({ _tag: "Do", password }) as const
    )
    for (const { check } of laws(Broken.NothingAccepted, { command, runs: 5 })) check()
    const event = fc.string().map((text) => ({ _tag: "Hung", text }) as const)
    for (const { check } of laws(Broken.GeneratorThatHangs, { event, histories: "events", runs: 5 })) {
      check()
    }
  })

  it("histories of events need no commands", () => {
    assert.throws(untilItOverflows(Broken.EndlessCommand)[0].check, AggregateLaws.NotGenerated)
    for (const { check } of untilItOverflows(Broken.EndlessCommand, { histories: "events", runs: 5 })) check()
  })

  it("an encoding that never returns breaks the law of encoding", () => {
    const broken = brokenBy(laws(Broken.EncodingThatHangs, { seed: 1 }))
    assert.deepStrictEqual([...broken.keys()], ["every state survives being stored as JSON"])
    assert.include([...broken.values()][0].message, "The state schema did not return within 0.1 seconds.")
  })

  it("a slow aggregate is not reported as endless, and its laws take seconds instead of minutes", () => {
    const { pass, stopwatch } = virtualTime()
    let histories = 0
    const slow = Broken.slow(() => pass(30), () => histories++)
    assert.strictEqual(brokenBy(lawsWithin({ stopwatch })(slow, { seed: 1 })).size, 0)
    assert.isAbove(histories, 1)
    assert.isBelow(histories, 60)
  })

  it("reports an initial state that the state schema rejects", () => {
    const [[law, { message }]] = brokenBy(laws(Broken.BeginsRefused, { seed: 1, runs: 5 }))
    assert.include(law, "fits the state schema")
    assert.include(message, "initial gives a state that the state schema refuses.")
    assert.include(message, "refused at $.n  Expected a non-negative number, actual -1")
    assert.throws(() => AggregateLaws.check(Broken.BeginsRefused, { id: "a" }), AggregateLaws.LawBroken)
    assert.throws(
      () => AggregateTest.given(Broken.BeginsRefused, "a", []),
      /begins with a state that its schema refuses/
    )
  })

  it("names a field that may be anything", () => {
    const [{ message }] = brokenBy(laws(Broken.Anything, { seed: 1, runs: 25 })).values()
    assert.include(message, "The schema lets $.field.meta be anything")
    assert.include(message, "fc.jsonValue()")
  })

  it("reports an evolve that never returns as a story", () => {
    const [total] = laws(Broken.EvolveThatHangs, { seed: 1 })
    assert.throws(total.check, /evolve did not return within 0\.1 seconds[^]*AggregateLaws\.check\(Broken, \{ id: /)
    assert.isTrue(
      new Date() instanceof Date && Date.name === "Date" && Math.abs(Date.now() - performance.timeOrigin) < 1e9
    )
  })
})

describe("a time limit on synchronous code", () => {
  it("stops code that never ends, nested or not, and no other code", () => {
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
