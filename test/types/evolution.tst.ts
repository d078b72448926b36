import { Context, Either, pipe, Schema } from "effect"
import { Aggregate, Repository, SnapshotPolicy, Versions } from "effect-eventsourcing"
import { describe, expect, test } from "tstyche"

const StateV1 = Schema.Struct({ total: Schema.Int })
const StateV2 = Schema.Struct({ total: Schema.Int, unit: Schema.String })
const StateV3 = Schema.Struct({ total: Schema.BigInt, unit: Schema.String })

const CountedV1 = Schema.TaggedStruct("Counted", { by: Schema.String })
const Counted = Schema.TaggedStruct("Counted", { by: Schema.Int })
const Reset = Schema.TaggedStruct("Reset", {})

const definition = {
  name: "Counter",
  id: Schema.String,
  state: StateV3,
  event: Schema.Union(Counted, Reset),
  command: Counted,
  initial: () => ({ total: 0n, unit: "" }),
  evolve: (state: typeof StateV3.Type) => state,
  decide: () => Either.right([])
} as const

const oneToTwo = Versions.from(1, StateV1).to(StateV2, ({ total }) => ({ total, unit: "" }))
const oneToThree = oneToTwo.to(StateV3, ({ total, unit }) => ({ total: BigInt(total), unit }))

describe("Versions", () => {
  test("a step takes the last version's state and gives the next one's", () => {
    expect(oneToThree).type.toBe<Versions.Chain<1, 3, { readonly total: bigint; readonly unit: string }>>()
    expect(oneToTwo.to).type.not.toBeCallableWith(StateV3, (state: typeof StateV3.Type) => state)
    expect(oneToTwo.to).type.not.toBeCallableWith(StateV3, (state: typeof StateV2.Type) => state)
  })

  test("a step may be a Schema transformation between the two", () => {
    const transformation = Schema.transform(StateV1, StateV2, {
      strict: true,
      decode: ({ total }) => ({ total, unit: "" }),
      encode: ({ total }) => ({ total })
    })
    expect(Versions.from(1, StateV1).to(StateV2, transformation)).type.toBe<
      Versions.Chain<1, 2, { readonly total: number; readonly unit: string }>
    >()
    expect(oneToTwo.to).type.not.toBeCallableWith(StateV2, transformation)
  })
})

describe("migrations", () => {
  test("lead to the schemaVersion and its state", () => {
    expect(Aggregate.make).type.toBeCallableWith({ ...definition, schemaVersion: 3, migrations: oneToThree })
  })

  test("a missing step does not compile", () => {
    // the last
    expect(Aggregate.make).type.not.toBeCallableWith({ ...definition, schemaVersion: 3, migrations: oneToTwo })
    // one in the middle: two versions are one step apart
    expect(Aggregate.make).type.not.toBeCallableWith({
      ...definition,
      schemaVersion: 3,
      migrations: Versions.from(1, StateV1).to(StateV3, ({ total }) => ({ total: BigInt(total), unit: "" }))
    })
    // the step to the version that has just been raised
    expect(Aggregate.make).type.not.toBeCallableWith({ ...definition, schemaVersion: 4, migrations: oneToThree })
    // the version
    expect(Aggregate.make).type.not.toBeCallableWith({ ...definition, migrations: oneToThree })
  })

  test("a chain may begin at a later version", () => {
    const twoToThree = Versions.from(2, StateV2).to(StateV3, ({ total, unit }) => ({ total: BigInt(total), unit }))
    expect(Aggregate.make).type.toBeCallableWith({ ...definition, schemaVersion: 3, migrations: twoToThree })
  })

  test("a chain to another state does not compile", () => {
    expect(Aggregate.make).type.not.toBeCallableWith({
      ...definition,
      schemaVersion: 2,
      migrations: Versions.from(1, StateV1).to(StateV2, ({ total }) => ({ total, unit: "" }))
    })
  })
})

describe("upcasts", () => {
  test("end at an event of the aggregate", () => {
    expect(Aggregate.make).type.toBeCallableWith({
      ...definition,
      upcasts: {
        Counted: Versions.from(1, CountedV1).to(Counted, ({ by }) => Counted.make({ by: Number(by) })),
        Tallied: Versions.renamed("Counted"),
        "Tallied@2": Versions.renamed("Counted@2"),
        Noted: Versions.retired
      }
    })
    expect(Aggregate.make).type.not.toBeCallableWith({
      ...definition,
      upcasts: { Counted: Versions.from(1, CountedV1) }
    })
    expect(Aggregate.make).type.not.toBeCallableWith({
      ...definition,
      upcasts: { Tallied: Versions.renamed("Count") }
    })
  })
})

describe("policies with a predicate over states and events", () => {
  const Counter = Aggregate.make({ ...definition, schemaVersion: 3 })
  class Counters extends Context.Tag("Counters")<Counters, Repository.Repository<typeof Counter>>() {}

  test("infer the types from the aggregate", () => {
    Repository.make(Counter, {
      snapshots: SnapshotPolicy.sync({
        when: SnapshotPolicy.when((before, after, events) => {
          expect(before).type.toBe<{ readonly total: bigint; readonly unit: string }>()
          expect(after).type.toBe<{ readonly total: bigint; readonly unit: string }>()
          expect(events).type.toBe<ReadonlyArray<typeof Counted.Type | typeof Reset.Type>>()
          return true
        })
      })
    })
  })

  test("declare the types in a combination", () => {
    const grown = SnapshotPolicy.when((before: typeof StateV3.Type, after: typeof StateV3.Type) =>
      after.total > before.total
    )
    expect(SnapshotPolicy.or(SnapshotPolicy.every(10), SnapshotPolicy.not(grown))).type.toBe<
      SnapshotPolicy.When<typeof StateV3.Type, unknown>
    >()
    expect(Repository.make).type.toBeCallableWith(Counter, {
      snapshots: SnapshotPolicy.background({ when: SnapshotPolicy.or(SnapshotPolicy.every(10), grown) })
    })
  })

  test("are combined in both forms", () => {
    const grown = SnapshotPolicy.when((before: number, after: number, _events: ReadonlyArray<string>) => after > before)
    type Grown = SnapshotPolicy.When<number, string>
    for (const combine of [SnapshotPolicy.and, SnapshotPolicy.or]) {
      expect(combine(SnapshotPolicy.every(10), grown)).type.toBe<Grown>()
      expect(combine(grown, SnapshotPolicy.every(10))).type.toBe<Grown>()
      expect(pipe(SnapshotPolicy.every(10), combine(grown))).type.toBe<Grown>()
      expect(pipe(grown, combine(SnapshotPolicy.every(10)))).type.toBe<Grown>()
      expect(pipe(grown, combine(grown))).type.toBe<Grown>()
      expect(pipe(SnapshotPolicy.every(10), combine(SnapshotPolicy.never))).type.toBe<SnapshotPolicy.When>()
    }
    Repository.make(Counter, {
      snapshots: SnapshotPolicy.sync({
        when: SnapshotPolicy.or(SnapshotPolicy.when((before) => before.total > 0n), SnapshotPolicy.every(10))
      })
    })
  })

  test("do not fit another aggregate", () => {
    const other = SnapshotPolicy.when((before: { readonly name: string }) => before.name === "")
    expect(Repository.make).type.not.toBeCallableWith(Counter, { snapshots: SnapshotPolicy.sync({ when: other }) })
    expect(Repository.layer).type.not.toBeCallableWith(Counters, Counter, {
      snapshots: SnapshotPolicy.background({ when: SnapshotPolicy.or(other, SnapshotPolicy.every(10)) })
    })
  })

  test("without a predicate fit every aggregate", () => {
    expect(Repository.make).type.toBeCallableWith(Counter, {
      snapshots: SnapshotPolicy.inline({
        when: SnapshotPolicy.and(SnapshotPolicy.olderThan("1 day"), SnapshotPolicy.not(SnapshotPolicy.never))
      })
    })
  })
})
