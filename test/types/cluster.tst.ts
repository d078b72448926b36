import type { Sharding } from "@effect/cluster"
import { type Context, Data, type Effect, Either, type Layer, Schema } from "effect"
import {
  Aggregate,
  type EventStore,
  type InvalidOption,
  type Repository,
  type SnapshotStore
} from "effect-eventsourcing"
import { AggregateEntity } from "effect-eventsourcing/cluster"
import { describe, expect, test } from "tstyche"

const Counted = Schema.TaggedStruct("Counted", {})
const Count = Schema.TaggedStruct("Count", {})
const Reset = Schema.TaggedStruct("Reset", {})

class Full extends Schema.TaggedError<Full>()("Full", {}) {}
class Locked extends Schema.TaggedError<Locked>()("Locked", {}) {}

const common = {
  name: "Counter",
  id: Schema.NonEmptyString.pipe(Schema.brand("CounterId")),
  state: Schema.Int,
  event: Counted,
  initial: () => 0,
  evolve: (state: number) => state + 1
} as const

const Counter = Aggregate.make({
  ...common,
  command: Schema.Union(Count, Reset),
  rejection: Schema.Union(Full, Locked),
  decide: {
    Count: (state) => state === 9 ? Either.left(new Full()) : Either.right([Counted.make()]),
    Reset: () => Either.left(new Locked())
  }
})

type Id = Aggregate.Id<typeof Counter>
declare const id: Id

class Unsent extends Data.TaggedError("Unsent")<{}> {}

/** Rejects, and has no schema for it. */
const Mute = Aggregate.make({ ...common, command: Count, decide: () => Either.left(new Unsent()) })

const Plain = Aggregate.make({ ...common, command: Count, decide: () => Either.right([Counted.make()]) })

describe("AggregateEntity.make", () => {
  test("takes aggregates whose rejections travel", () => {
    expect(AggregateEntity.make(Counter)).type.toBe<AggregateEntity.AggregateEntity<typeof Counter>>()
    expect(AggregateEntity.make(Plain, { persisted: true })).type.toBe<AggregateEntity.AggregateEntity<typeof Plain>>()
  })

  test("refuses others with a sentence", () => {
    expect(AggregateEntity.make).type.not.toBeCallableWith(Mute)
    // @ts-expect-error give Aggregate.make a `rejection` schema, by which a rejection travels
    AggregateEntity.make(Mute)
  })
})

describe("a client", () => {
  const entity = AggregateEntity.make(Counter)
  type Client = Effect.Effect.Success<ReturnType<typeof AggregateEntity.client<typeof Counter>>>
  const client = {} as Client

  test("fails with the rejections of the command, and with what a cluster adds", () => {
    type Added = AggregateEntity.CommandTimeout | AggregateEntity.UnreadableAnswer
    expect(client.execute(id, { _tag: "Count" })).type.toBe<
      Effect.Effect<Repository.Executed<number, typeof Counted.Type>, Full | Repository.ExecuteError | Added>
    >()
    expect(client.execute(id, { _tag: "Reset" })).type.toBe<
      Effect.Effect<Repository.Executed<number, typeof Counted.Type>, Locked | Repository.ExecuteError | Added>
    >()
    expect(client.load(id)).type.toBe<
      Effect.Effect<
        Repository.Loaded<Id, number>,
        Repository.LoadError | AggregateEntity.LoadTimeout | AggregateEntity.UnreadableAnswer
      >
    >()
    expect(client.execute).type.not.toBeCallableWith("a", { _tag: "Count" })
    expect(client.execute).type.not.toBeCallableWith(id, { _tag: "Other" })
  })

  test("needs a cluster, and the layers the stores too", () => {
    expect(AggregateEntity.client(entity)).type.toBe<
      Effect.Effect<AggregateEntity.Client<typeof Counter>, InvalidOption.InvalidOption, Sharding.Sharding>
    >()
    type Needs = Sharding.Sharding | EventStore.EventStore | SnapshotStore.SnapshotStore
    expect(AggregateEntity.layer(entity)).type.toBe<Layer.Layer<never, InvalidOption.InvalidOption, Needs>>()
    class Counters {
      readonly own = true
    }
    const tag = {} as Context.Tag<Counters, Repository.Repository<typeof Counter>>
    expect(AggregateEntity.repository(tag, entity)).type.toBe<
      Layer.Layer<Counters, InvalidOption.InvalidOption, Needs>
    >()
  })
})

describe("a writer", () => {
  test("fails with the rejections of the command", () => {
    const writer = {} as Repository.Writer<typeof Counter>
    expect(writer.execute({ _tag: "Count" })).type.toBe<
      Effect.Effect<Repository.Executed<number, typeof Counted.Type>, Full | Repository.ExecuteError>
    >()
    expect(writer.load).type.toBe<Effect.Effect<Repository.Loaded<Id, number>, Repository.LoadError>>()
  })
})
