import { type Brand, Data, type Effect, Either, FastCheck, type Layer, type Option, Schema } from "effect"
import { Aggregate, type EventStore, type SnapshotStore } from "effect-eventsourcing"
import { AggregateLaws, AggregateTest, RecordingStores } from "effect-eventsourcing/testing"
import * as nodeTest from "node:test"
import { describe, expect, test } from "tstyche"
import * as vitest from "vitest"

class Closed extends Data.TaggedError("Closed") {}
class TooMuch extends Data.TaggedError("TooMuch")<{ readonly most: number }> {}

const CounterId = Schema.String.pipe(Schema.brand("CounterId"))
const id = CounterId.make("a")

const Counter = Aggregate.make({
  name: "Counter",
  id: CounterId,
  state: Schema.Struct({ total: Schema.BigInt }),
  event: Schema.Union(Schema.TaggedStruct("Counted", { by: Schema.Int }), Schema.TaggedStruct("Reset", {})),
  command: Schema.TaggedStruct("Count", { by: Schema.Int }),
  initial: () => ({ total: 0n }),
  evolve: (state) => state,
  decide: (state, command) => {
    if (state.total > 10n) return Either.left(new Closed())
    if (command.by > 5) return Either.left(new TooMuch({ most: 5 }))
    return Either.right([{ _tag: "Counted", by: command.by }])
  }
})

describe("AggregateLaws", () => {
  test("needs nothing but the aggregate", () => {
    expect(AggregateLaws.suite(Counter)).type.toBe<void>()
    expect(AggregateLaws.laws(Counter)).type.toBe<ReadonlyArray<AggregateLaws.Law>>()
  })

  test("takes generators and an invariant of the aggregate's own types", () => {
    expect(AggregateLaws.suite).type.toBeCallableWith(Counter, {
      invariant: (state: { readonly total: bigint }) => state.total >= 0n,
      id: FastCheck.constant(id),
      command: FastCheck.constant({ _tag: "Count", by: 1 } as const),
      event: FastCheck.constant({ _tag: "Reset" } as const),
      histories: "events",
      runs: 10,
      seed: 1,
      size: 5
    })
    expect(AggregateLaws.suite).type.not.toBeCallableWith(Counter, { id: FastCheck.constant("a") })
    expect(AggregateLaws.suite).type.not.toBeCallableWith(Counter, { command: FastCheck.constant({ _tag: "Reset" }) })
    expect(AggregateLaws.suite).type.not.toBeCallableWith(Counter, {
      invariant: (state: { readonly other: string }) => state.other === ""
    })
    expect(AggregateLaws.suite).type.not.toBeCallableWith(Counter, { histories: "both" })
    AggregateLaws.laws(Counter, {
      invariant: (state) => {
        expect(state).type.toBe<{ readonly total: bigint }>()
        return true
      }
    })
  })

  test("takes the functions of a runner", () => {
    expect(AggregateLaws.suite).type.toBeCallableWith(Counter, {
      runner: { describe: vitest.describe, it: vitest.it }
    })
    expect(AggregateLaws.suite).type.toBeCallableWith(Counter, {
      runner: { describe: nodeTest.describe, it: nodeTest.it }
    })
  })

  test("a history is of the aggregate's ids, commands and events", () => {
    expect(AggregateLaws.check).type.toBeCallableWith(Counter, {
      id,
      commands: [{ _tag: "Count", by: 1 }],
      events: [{ _tag: "Reset" }]
    })
    // a brand need not be written
    expect(AggregateLaws.check).type.toBeCallableWith(Counter, { id: "a" })
    expect(AggregateLaws.check).type.not.toBeCallableWith(Counter, { id: 1 })
    expect(AggregateLaws.check).type.not.toBeCallableWith(Counter, { id, commands: [{ _tag: "Reset" }] })
    expect(AggregateLaws.check).type.not.toBeCallableWith(Counter, { id, events: [{ _tag: "Count", by: 1 }] })
  })
})

test("Unbranded keeps all but the brands", () => {
  type Sku = string & Brand.Brand<"Sku">
  type Command = {
    readonly _tag: "Add"
    readonly skus: ReadonlyArray<Sku>
    readonly n: number & Brand.Brand<"N">
    readonly at: Date
    readonly note: Option.Option<string>
    readonly how?: "a" | "b"
  }
  expect<AggregateLaws.Unbranded<Command>>().type.toBe<{
    readonly _tag: "Add"
    readonly skus: ReadonlyArray<string>
    readonly n: number
    readonly at: Date
    readonly note: Option.Option<string>
    readonly how?: "a" | "b"
  }>()
})

describe("AggregateTest", () => {
  test("given events or commands, when a command, then events, a rejection or a state", () => {
    const given = AggregateTest.given(Counter, id, [{ _tag: "Counted", by: 1 }, { _tag: "Reset" }])
    expect(AggregateTest.givenCommands(Counter, id, [{ _tag: "Count", by: 1 }])).type.toBe<typeof given>()
    const when = given.when({ _tag: "Count", by: 1 })
    expect(when.then).type.toBeCallableWith([{ _tag: "Counted", by: 1 }])
    expect(when.thenRejects).type.toBeCallableWith(new Closed())
    expect(when.thenRejects).type.toBeCallableWith(new TooMuch({ most: 1 }))
    expect(when.thenState).type.toBeCallableWith({ total: 1n })
  })

  test("values of other types do not compile", () => {
    expect(AggregateTest.given).type.not.toBeCallableWith(Counter, "a", [])
    expect(AggregateTest.given).type.not.toBeCallableWith(Counter, id, [{ _tag: "Counted", by: "one" }])
    expect(AggregateTest.givenCommands).type.not.toBeCallableWith(Counter, id, [{ _tag: "Reset" }])
    const given = AggregateTest.given(Counter, id, [])
    expect(given.when).type.not.toBeCallableWith({ _tag: "Discount", by: 1 })
    const when = given.when({ _tag: "Count", by: 1 })
    expect(when.then).type.not.toBeCallableWith([{ _tag: "Forgotten" }])
    expect(when.thenRejects).type.not.toBeCallableWith("closed")
    expect(when.thenState).type.not.toBeCallableWith({ total: 1 })
  })

  test("the result of an assertion is not a promise", () => {
    expect(AggregateTest.given(Counter, id, []).when({ _tag: "Count", by: 1 }).then([])).type.not.toHaveProperty("then")
  })
})

describe("RecordingStores", () => {
  test("the layer needs nothing and cannot fail", () => {
    expect(RecordingStores.layer).type.toBe<
      Layer.Layer<EventStore.EventStore | SnapshotStore.SnapshotStore | RecordingStores.Stores>
    >()
    expect<RecordingStores.Stores["Type"]["loads"]>().type.toBe<Effect.Effect<ReadonlyArray<RecordingStores.Load>>>()
  })
})
