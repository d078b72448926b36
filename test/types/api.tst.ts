import type { SqlClient } from "@effect/sql"
import { Context, Data, DateTime, Effect, Either, Layer, type Option, Schema, Stream } from "effect"
import {
  Aggregate,
  type Event as EventModule,
  EventStore,
  ExpectedVersion,
  type InvalidOption,
  type Position,
  Repository,
  SnapshotPolicy,
  SnapshotStore,
  SqlEventStore,
  type SqlMigrations,
  SqlSnapshotStore
} from "effect-eventsourcing"
import { describe, expect, test } from "tstyche"

class Closed extends Data.TaggedError("Closed") {}
class TooMuch extends Data.TaggedError("TooMuch")<{ readonly most: number }> {}

const CounterId = Schema.String.pipe(Schema.brand("CounterId"))
const Counted = Schema.TaggedStruct("Counted", { by: Schema.Int })
const Reset = Schema.TaggedStruct("Reset", { at: Schema.DateFromString })
const Count = Schema.TaggedStruct("Count", { by: Schema.Int })

const definition = {
  name: "Counter",
  id: CounterId,
  state: Schema.Struct({ total: Schema.BigInt }),
  event: Schema.Union(Counted, Reset),
  command: Count,
  initial: () => ({ total: 0n }),
  evolve: (state: { readonly total: bigint }) => state
} as const

const Counter = Aggregate.make({
  ...definition,
  decide: (state, command) => {
    if (state.total > 10n) return Either.left(new Closed())
    if (command.by > 5) return Either.left(new TooMuch({ most: 5 }))
    return Either.right([{ _tag: "Counted", by: command.by }])
  }
})

type Id = typeof CounterId.Type
type Event = typeof Counted.Type | typeof Reset.Type

class Counters extends Context.Tag("app/Counters")<Counters, Repository.Repository<typeof Counter>>() {}

describe("Aggregate", () => {
  test("infers everything from the definition", () => {
    expect<Aggregate.Id<typeof Counter>>().type.toBe<Id>()
    expect<Aggregate.State<typeof Counter>>().type.toBe<{ readonly total: bigint }>()
    expect<Aggregate.Event<typeof Counter>>().type.toBe<Event>()
    expect<Aggregate.Command<typeof Counter>>().type.toBe<typeof Count.Type>()
    expect<Aggregate.Rejection<typeof Counter>>().type.toBe<Closed | TooMuch>()
    expect(Counter.name).type.toBe<"Counter">()
  })

  test("an event that is not in the union does not compile in decide", () => {
    expect(Aggregate.make).type.not.toBeCallableWith({
      ...definition,
      decide: () => Either.right([{ _tag: "Forgotten" as const }])
    })
    expect(Aggregate.make).type.not.toBeCallableWith({
      ...definition,
      decide: () => Either.right([{ _tag: "Counted" as const, by: "one" }])
    })
    expect(Aggregate.make).type.toBeCallableWith({
      ...definition,
      decide: () => Either.right([{ _tag: "Counted" as const, by: 1 }])
    })
  })

  test("evolve gives the state, initial takes the id", () => {
    expect(Aggregate.make).type.not.toBeCallableWith({
      ...definition,
      evolve: () => ({ total: 1 }),
      decide: () => Either.right([])
    })
    expect(Aggregate.make).type.not.toBeCallableWith({
      ...definition,
      initial: (_id: number) => ({ total: 0n }),
      decide: () => Either.right([])
    })
  })

  test("replay gives the state", () => {
    expect(Aggregate.replay(Counter, CounterId.make("a"), [])).type.toBe<{ readonly total: bigint }>()
    expect(Aggregate.replay).type.not.toBeCallableWith(Counter, "a", [])
  })
})

describe("decide", () => {
  test("keeps the tags of event literals, and every rejection, with schemas built in place", () => {
    const Inline = Aggregate.make({
      name: "Inline",
      id: Schema.NonEmptyString.pipe(Schema.brand("InlineId")),
      state: Schema.Struct({ total: Schema.Int }),
      event: Schema.Union(
        Schema.TaggedStruct("Added", { n: Schema.Int }),
        Schema.TaggedStruct("Taken", { n: Schema.Int })
      ),
      command: Schema.Union(
        Schema.TaggedStruct("Add", { n: Schema.Int }),
        Schema.TaggedStruct("Take", { n: Schema.Int })
      ),
      initial: () => ({ total: 0 }),
      evolve: (state, event) => ({ total: event._tag === "Added" ? state.total + event.n : state.total - event.n }),
      decide: (state, command) => {
        if (command._tag === "Add") return Either.right([{ _tag: "Added", n: command.n }])
        if (state.total > 100) return Either.left(new Closed())
        return state.total < command.n
          ? Either.left(new TooMuch({ most: state.total }))
          : Either.right([{ _tag: "Taken", n: command.n }])
      }
    })
    expect<Aggregate.Rejection<typeof Inline>>().type.toBe<Closed | TooMuch>()
  })
})

describe("Repository", () => {
  test("execute fails with the aggregate's rejections and its typed errors, and nothing else", () => {
    const execute = Effect.flatMap(
      Counters,
      (counters) => counters.execute(CounterId.make("a"), { _tag: "Count", by: 1 })
    )
    expect<Effect.Effect.Error<typeof execute>>().type.toBe<
      | Closed
      | TooMuch
      | EventStore.VersionConflict
      | EventStore.InlineProjectionError
      | EventStore.EventDecodeError
      | EventStore.HistoryGap
      | EventStore.EventStoreError
      | EventStore.StreamDeleted
      | Repository.EventEncodeError
      | Repository.HistoryRewritten
      | Repository.IdEncodeError
      | Repository.InvalidCommand
      | Repository.InvalidCommandId
      | Repository.ReplayTooLong
    >()
    expect<Effect.Effect.Success<typeof execute>>().type.toBe<
      Repository.Executed<{ readonly total: bigint }, Event>
    >()
    expect<Effect.Effect.Context<typeof execute>>().type.toBe<Counters>()
  })

  test("load fails with its typed errors only", () => {
    const load = Effect.flatMap(Counters, (counters) => counters.load(CounterId.make("a")))
    expect<Effect.Effect.Error<typeof load>>().type.toBe<
      | EventStore.EventDecodeError
      | EventStore.HistoryGap
      | EventStore.EventStoreError
      | EventStore.StreamDeleted
      | Repository.HistoryRewritten
      | Repository.IdEncodeError
      | Repository.ReplayTooLong
    >()
    expect<Effect.Effect.Success<typeof load>>().type.toBe<Repository.Loaded<Id, { readonly total: bigint }>>()
  })

  test("what was executed is in typed envelopes", () => {
    expect<Repository.Executed<{ readonly total: bigint }, Event>["recorded"]>().type.toBe<
      ReadonlyArray<Repository.Written<Event>>
    >()
    expect<Repository.Written<Event>["event"]>().type.toBe<Event>()
    expect<Repository.Written<Event>["position"]>().type.toBe<Option.Option<Position.Position>>()
  })

  test("the options of a command", () => {
    const { execute } = null as never as Repository.Repository<typeof Counter>
    const call = [CounterId.make("a"), { _tag: "Count", by: 1 } as const] as const
    expect(execute).type.toBeCallableWith(...call, { commandId: "c", expectedVersion: ExpectedVersion.exact(3) })
    expect(execute).type.not.toBeCallableWith(...call, { commandId: 7 })
    expect(execute).type.not.toBeCallableWith(...call, { expectedVersion: 3 })
    expect(execute).type.not.toBeCallableWith(...call, { idempotencyKey: "c" })
  })

  test("history is a stream of typed events and retired ones", () => {
    const history = Stream.unwrap(Effect.map(Counters, (counters) => counters.history(CounterId.make("a"))))
    expect<Stream.Stream.Success<typeof history>>().type.toBe<EventModule.Envelope<Event> | EventModule.Retired>()
    expect<Stream.Stream.Error<typeof history>>().type.toBe<
      | EventStore.EventDecodeError
      | EventStore.HistoryGap
      | EventStore.EventStoreError
      | EventStore.StreamDeleted
      | Repository.HistoryRewritten
      | Repository.IdEncodeError
    >()
  })

  test("loadAt takes a version or a time", () => {
    const { loadAt } = null as never as Repository.Repository<typeof Counter>
    expect(loadAt).type.toBeCallableWith(CounterId.make("a"), 3)
    expect(loadAt).type.toBeCallableWith(CounterId.make("a"), DateTime.unsafeNow())
    expect(loadAt).type.not.toBeCallableWith(CounterId.make("a"), "yesterday")
    expect<Effect.Effect.Error<ReturnType<typeof loadAt>>>().type.toBe<
      Repository.LoadError | Repository.VersionNotReached
    >()
  })

  test("takes the aggregate's ids and commands only", () => {
    expect<Repository.Repository<typeof Counter>["load"]>().type.not.toBeCallableWith("a")
    expect<Repository.Repository<typeof Counter>["execute"]>().type.not.toBeCallableWith(
      CounterId.make("a"),
      { _tag: "Discount", by: 1 }
    )
  })
})

describe("SnapshotPolicy", () => {
  test("a mode or a policy that does not exist does not compile", () => {
    expect(SnapshotPolicy).type.not.toHaveProperty("sometimes")
    expect(SnapshotPolicy.sync).type.not.toBeCallableWith({ evry: 10 })
    expect(SnapshotPolicy.sync).type.not.toBeCallableWith({})
    expect(SnapshotPolicy.sync).type.not.toBeCallableWith({ every: 10, when: SnapshotPolicy.never })
    expect(SnapshotPolicy.background).type.not.toBeCallableWith({ every: "often" })
    expect(SnapshotPolicy.background).type.toBeCallableWith({ every: 10, workers: 3 })
    expect(Repository.make).type.not.toBeCallableWith(Counter, { snapshots: "sync" })
    expect(Repository.make).type.not.toBeCallableWith(Counter, { snapshots: { _tag: "Sometimes" } })
  })
})

describe("Layers", () => {
  const CountersLive = Repository.layer(Counters, Counter, { snapshots: SnapshotPolicy.sync({ every: 10 }) })

  test("swapping a backend changes only the type of the layer", () => {
    expect(CountersLive).type.toBe<
      Layer.Layer<Counters, InvalidOption.InvalidOption, EventStore.EventStore | SnapshotStore.SnapshotStore>
    >()
    expect(CountersLive.pipe(Layer.provide([EventStore.layerMemory, SnapshotStore.layerMemory]))).type.toBe<
      Layer.Layer<Counters, InvalidOption.InvalidOption>
    >()
    expect(CountersLive.pipe(Layer.provide([SqlEventStore.layer, SqlSnapshotStore.layer]))).type.toBe<
      Layer.Layer<Counters, InvalidOption.InvalidOption | SqlMigrations.MigrationError, SqlClient.SqlClient>
    >()
  })
})

describe("literals in a state", () => {
  const common = {
    name: "A",
    id: Schema.String,
    event: Counted,
    command: Count
  } as const
  const Status = Schema.Struct({
    status: Schema.Literal("new", "done"),
    lines: Schema.Array(Schema.Struct({ n: Schema.Int }))
  })
  const Tagged = Schema.Union(Schema.TaggedStruct("New", {}), Schema.TaggedStruct("Done", { by: Schema.Int }))
  const Mutable = Schema.Struct({ items: Schema.mutable(Schema.Array(Schema.String)) })

  test("do not widen, whether the functions take parameters or not", () => {
    const status = Aggregate.make({
      ...common,
      state: Status,
      initial: () => ({ status: "new", lines: [] }),
      evolve: (state, event) => event.by > 1 ? state : { status: "done", lines: [...state.lines, { n: event.by }] },
      decide: () => Either.right([])
    })
    expect<Aggregate.State<typeof status>>().type.toBe<typeof Status.Type>()
    const tagged = Aggregate.make({
      ...common,
      state: Tagged,
      initial: (_id) => ({ _tag: "New" }),
      evolve: (_state, event) => ({ _tag: "Done", by: event.by }),
      decide: (_state, command) => Either.right([{ _tag: "Counted", by: command.by }])
    })
    expect<Aggregate.State<typeof tagged>>().type.toBe<typeof Tagged.Type>()
    const constant = Aggregate.make({
      ...common,
      state: Tagged,
      initial: () => ({ _tag: "New" }),
      evolve: () => ({ _tag: "Done", by: 1 }),
      decide: () => Either.right([])
    })
    expect<Aggregate.State<typeof constant>>().type.toBe<typeof Tagged.Type>()
    const mutable = Aggregate.make({
      ...common,
      state: Mutable,
      initial: () => ({ items: [] }),
      evolve: (state) => ({ items: [...state.items, "a"] }),
      decide: () => Either.right([])
    })
    expect<Aggregate.State<typeof mutable>>().type.toBe<typeof Mutable.Type>()
  })

  test("do not widen where the state is a literal itself", () => {
    const Literal = Schema.Literal("new", "done")
    const handlers = Aggregate.make({
      ...common,
      state: Literal,
      initial: () => "new",
      evolve: { Counted: () => "done" },
      decide: () => Either.right([])
    })
    expect<Aggregate.State<typeof handlers>>().type.toBe<"new" | "done">()
    const functions = Aggregate.make({
      ...common,
      state: Literal,
      initial: (_id) => "new",
      evolve: (state, event) => event.by > 1 ? state : "done",
      decide: () => Either.right([])
    })
    expect<Aggregate.State<typeof functions>>().type.toBe<"new" | "done">()
    const rest = { ...common, state: Literal, decide: () => Either.right([]) } as const
    expect(Aggregate.make).type.not.toBeCallableWith({
      ...rest,
      initial: () => "old" as const,
      evolve: () => "done" as const
    })
    expect(Aggregate.make).type.not.toBeCallableWith({
      ...rest,
      initial: () => "new" as const,
      evolve: () => "old" as const
    })
  })

  test("that the state schema does not have do not compile", () => {
    const rest = { ...common, state: Status, decide: () => Either.right([]) } as const
    expect(Aggregate.make).type.not.toBeCallableWith({
      ...rest,
      initial: () => ({ status: "old" as const, lines: [] }),
      evolve: (state: typeof Status.Type) => state
    })
    expect(Aggregate.make).type.not.toBeCallableWith({
      ...rest,
      initial: () => ({ status: "new" as const, lines: [] }),
      evolve: () => ({ status: "new" as const })
    })
    expect(Aggregate.make).type.toBeCallableWith({
      ...rest,
      initial: () => ({ status: "new" as const, lines: [] }),
      evolve: (state: typeof Status.Type) => state
    })
  })
})
