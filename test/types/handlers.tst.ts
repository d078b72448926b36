import { Context, Data, type Effect, Either, Schema } from "effect"
import { Aggregate, Repository } from "effect-eventsourcing"
import { describe, expect, test } from "tstyche"

class Closed extends Data.TaggedError("Closed") {}
class TooMuch extends Data.TaggedError("TooMuch")<{ readonly most: number }> {}

const Noted = Schema.TaggedStruct("Noted", {})
const Counted = Schema.TaggedStruct("Counted", { by: Schema.Int, kind: Schema.Literal("a", "b") })
class Marked extends Schema.TaggedClass<Marked>()("Marked", { n: Schema.Int }) {}
const State = Schema.Struct({ total: Schema.Int, kind: Schema.Literal("x", "y") })
type State = typeof State.Type
class Note extends Schema.TaggedClass<Note>()("Note", {}) {}
const Count = Schema.TaggedStruct("Count", { by: Schema.Int, note: Schema.optional(Schema.String) })

const base = {
  name: "A",
  id: Schema.String,
  state: State,
  event: Schema.Union(Noted, Counted, Marked),
  command: Schema.Union(Note, Count),
  initial: () => ({ total: 0, kind: "x" } as const)
} as const

const evolve = (state: State) => state
const decide = (_state: State, command: Note | typeof Count.Type) =>
  command._tag === "Note"
    ? Either.left(new Closed())
    : Either.right([{ _tag: "Counted" as const, by: command.by, kind: "a" as const }])

const handlers = {
  Note: () => Either.right([{ _tag: "Noted" as const }]),
  Count: (state: State) => state.total > 1 ? Either.left(new Closed()) : Either.right([])
}
const folds = { Noted: evolve, Counted: evolve, Marked: evolve }

const A = Aggregate.make({
  ...base,
  evolve: {
    Noted: () => ({ total: 1, kind: "x" }),
    Counted: (state, event) => {
      expect(state).type.toBe<State>()
      expect(event).type.toBe<typeof Counted.Type>()
      return { ...state, total: state.total + event.by, kind: "y" }
    },
    Marked(state, event) {
      expect(event).type.toBe<Marked>()
      return { ...state, total: event.n }
    }
  },
  decide: {
    Note: () => Either.right([{ _tag: "Noted" }]),
    Count: (state, command) => {
      expect(state).type.toBe<State>()
      expect(command).type.toBe<typeof Count.Type>()
      if (state.total > 3) return Either.left(new Closed())
      if (command.by > 3) return Either.left(new TooMuch({ most: command.by }))
      return Either.right([{ _tag: "Counted", by: command.by, kind: "a" }, new Marked({ n: 1 })])
    }
  }
})
const F = Aggregate.make({ ...base, evolve, decide })

class As extends Context.Tag("As")<As, Repository.Repository<typeof A>>() {}
class Fs extends Context.Tag("Fs")<Fs, Repository.Repository<typeof F>>() {}
declare const as: Repository.Repository<typeof A>
declare const fs: Repository.Repository<typeof F>
declare const any: Note | typeof Count.Type

describe("handlers by tag", () => {
  test("infer everything from the definition", () => {
    expect<Aggregate.State<typeof A>>().type.toBe<State>()
    expect<Aggregate.Event<typeof A>>().type.toBe<typeof Noted.Type | typeof Counted.Type | Marked>()
    expect<Aggregate.Command<typeof A>>().type.toBe<Note | typeof Count.Type>()
    expect<Aggregate.Rejection<typeof A>>().type.toBe<Closed | TooMuch>()
    expect<Aggregate.RejectionOf<typeof A, "Note">>().type.toBe<never>()
    expect<Aggregate.RejectionOf<typeof A, "Count">>().type.toBe<Closed | TooMuch>()
    expect<Aggregate.RejectionOf<typeof F, "Count">>().type.toBe<Closed>()
    expect<typeof A>().type.toBeAssignableTo<
      Aggregate.Aggregate<
        "A",
        string,
        State,
        typeof Noted.Type | typeof Counted.Type | Marked,
        Note | typeof Count.Type,
        Closed | TooMuch
      >
    >()
  })

  test("schemas in place, and schemas that are classes", () => {
    class S extends Schema.Class<S>("S")({ n: Schema.Int }) {}
    const C = Aggregate.make({
      name: "C",
      id: Schema.String,
      state: S,
      event: Schema.Union(
        Schema.TaggedStruct("Up", { kind: Schema.Literal("a", "b") }),
        Schema.TaggedStruct("Down", {})
      ),
      command: Schema.TaggedStruct("Go", { up: Schema.Boolean }),
      initial: () => new S({ n: 0 }),
      evolve: { Up: (state) => new S({ n: state.n + 1 }), Down: (state, _event) => new S({ n: state.n - 1 }) },
      decide: {
        Go: (state, { up }) =>
          up
            ? Either.right([{ _tag: "Up", kind: "a" }])
            : state.n === 0
            ? Either.left("no" as const)
            : Either.right([{ _tag: "Down" }])
      }
    })
    expect<Aggregate.Rejection<typeof C>>().type.toBe<"no">()
  })

  test("each of the two may be a function or a record", () => {
    expect<Aggregate.Rejection<typeof F>>().type.toBe<Closed>()
    const D = Aggregate.make({ ...base, evolve, decide: handlers })
    expect<Aggregate.RejectionOf<typeof D, "Count">>().type.toBe<Closed>()
    const E = Aggregate.make({ ...base, evolve: folds, decide })
    expect<Aggregate.IsHandled<typeof E>>().type.toBe<false>()
  })

  test("a missing or an extra handler does not compile", () => {
    const { make } = Aggregate
    expect(make).type.toBeCallableWith({ ...base, evolve: folds, decide: handlers })
    expect(make).type.not.toBeCallableWith({ ...base, evolve: folds, decide: { Note: handlers.Note } })
    expect(make).type.not.toBeCallableWith({ ...base, evolve: folds, decide: { ...handlers, Other: handlers.Note } })
    expect(make).type.not.toBeCallableWith({ ...base, evolve: { Noted: evolve, Counted: evolve }, decide: handlers })
    expect(make).type.not.toBeCallableWith({ ...base, evolve: { ...folds, Other: evolve }, decide: handlers })
    expect(make).type.not.toBeCallableWith({ ...base, evolve: {}, decide: handlers })
    expect(make).type.not.toBeCallableWith({ ...base, evolve: folds, decide: {} })
  })

  test("a wrong handler does not compile", () => {
    const { make } = Aggregate
    const Note = () => Either.right([{ _tag: "Forgotten" as const }])
    expect(make).type.not.toBeCallableWith({ ...base, evolve: folds, decide: { ...handlers, Note } })
    expect(make).type.not.toBeCallableWith({ ...base, evolve: folds, decide: { ...handlers, Note: () => [] } })
    expect(make).type.not.toBeCallableWith({
      ...base,
      evolve: { ...folds, Noted: () => ({ total: 1 }) },
      decide: handlers
    })
    expect(make).type.not.toBeCallableWith({ ...base, evolve: (state: State): unknown => state, decide: handlers })
  })
})

describe("execute", () => {
  type Errors<F extends (...args: never) => Effect.Effect<unknown, unknown>> = Effect.Effect.Error<ReturnType<F>>

  test("gives only the rejections that the command can meet", () => {
    const one = as.execute("a", new Note())
    expect<Effect.Effect.Error<typeof one>>().type.toBe<Repository.ExecuteError>()
    const other = as.execute("a", { _tag: "Count", by: 1 })
    expect<Effect.Effect.Error<typeof other>>().type.toBe<Closed | TooMuch | Repository.ExecuteError>()
    const both = as.execute("a", any)
    expect<Effect.Effect.Error<typeof both>>().type.toBe<Closed | TooMuch | Repository.ExecuteError>()
    expect<Effect.Effect.Success<typeof one>["events"]>().type.toBe<
      ReadonlyArray<typeof Noted.Type | typeof Counted.Type | Marked>
    >()
    expect<Errors<typeof as.executeAll>>().type.toBe<Closed | TooMuch | Repository.ExecuteError>()
  })

  test("gives all rejections of a function", () => {
    const one = fs.execute("a", new Note())
    expect<Effect.Effect.Error<typeof one>>().type.toBe<Closed | Repository.ExecuteError>()
  })

  test("refuses what is no command, and a field that the command does not have", () => {
    expect(as.execute).type.not.toBeCallableWith("a", { _tag: "Other" })
    expect(as.execute).type.not.toBeCallableWith("a", { _tag: "Count" })
    // @ts-expect-error Object literal may only specify known properties
    as.execute("a", { _tag: "Count", by: 1, nota: "misspelt" })
  })

  test("a layer provides it under a tag", () => {
    expect(Repository.layer).type.toBeCallableWith(As, A)
    expect(Repository.layer).type.toBeCallableWith(Fs, F)
    expect(Repository.layer).type.not.toBeCallableWith(As, F)
    const made = Repository.make(A)
    expect<Effect.Effect.Success<typeof made>>().type.toBe<Repository.Repository<typeof A>>()
  })
})

describe("schemas", () => {
  test("are those of the definition, with their encoded sides", () => {
    expect(A.schemas.event).type.toBe<typeof base.event>()
    expect(A.schemas.command.members[0]).type.toBe<typeof Note>()
    expect<Schema.Schema.Encoded<typeof A.schemas.command>>().type.toBe<Schema.Schema.Encoded<typeof base.command>>()
    expect(A.schemas.state).type.toBe<typeof State>()
    expect(A.schemas.id).type.toBe<typeof Schema.String>()
    expect(A.schemas).type.not.toHaveProperty("rejection")
    expect(Aggregate.make({ ...base, evolve, decide, rejection: Schema.instanceOf(Closed) }).schemas).type
      .toHaveProperty(
        "rejection"
      )
  })

  class Late extends Schema.TaggedError<Late>()("Late", { by: Schema.Int }) {}
  class Early extends Schema.TaggedError<Early>()("Early", {}) {}

  test("decide rejects only with values of the rejection schema", () => {
    const late = (_state: State, _command: unknown) => Either.left(new Late({ by: 1 }))
    const both = { Note: () => Either.left(new Late({ by: 1 })), Count: () => Either.left(new Early()) }
    const { make } = Aggregate
    expect(make).type.toBeCallableWith({ ...base, evolve, decide: late, rejection: Late })
    expect(make).type.toBeCallableWith({ ...base, evolve, decide: late, rejection: Schema.Union(Late, Early) })
    expect(make).type.not.toBeCallableWith({ ...base, evolve, decide: late, rejection: Early })
    expect(make).type.toBeCallableWith({ ...base, evolve, decide: both, rejection: Schema.Union(Late, Early) })
    expect(make).type.not.toBeCallableWith({ ...base, evolve, decide: both, rejection: Late })
    const R = make({ ...base, evolve, decide: both, rejection: Schema.Union(Late, Early) })
    expect<Aggregate.RejectionOf<typeof R, "Note">>().type.toBe<Late>()
  })
})
