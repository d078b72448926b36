import { Array as Arr, Data, Either, Match, Option, pipe, Schema } from "effect"
import { Aggregate } from "effect-eventsourcing"
import { describe, expect, test } from "tstyche"

class Closed extends Data.TaggedError("Closed") {}
class TooMuch extends Data.TaggedError("TooMuch")<{ readonly most: number }> {}

const Noted = Schema.TaggedStruct("Noted", {})
const Counted = Schema.TaggedStruct("Counted", { by: Schema.Int, kind: Schema.Literal("a", "b") })
class Marked extends Schema.TaggedClass<Marked>()("Marked", { n: Schema.Int }) {}
const Event = Schema.Union(Noted, Counted, Marked)
type Event = typeof Event.Type
const State = Schema.Struct({ total: Schema.Int })
type State = typeof State.Type
const Command = Schema.Union(Schema.TaggedStruct("Note", {}), Schema.TaggedStruct("Count", { by: Schema.Int }))
type Command = typeof Command.Type

const base = {
  name: "A",
  id: Schema.String,
  state: State,
  event: Event,
  command: Command,
  initial: () => ({ total: 0 }),
  evolve: (state: State) => state
} as const

const { make } = Aggregate
type Rejection<A extends Aggregate.Any> = Aggregate.Rejection<A>
declare const random: boolean
const ok = (...events: ReadonlyArray<Event>) => Either.right(events)
const fail = <E>(e: E) => Either.left(e)
const generic = <A>(...events: ReadonlyArray<A>) => Either.right(events)
const helper = (_state: State): Either.Either<ReadonlyArray<Event>, Closed | TooMuch> => Either.left(new Closed())
const noted = { _tag: "Noted" } as const
const events = [noted, noted] as const

describe("decide compiles", () => {
  test("without parameters", () => {
    const c1 = make({ ...base, decide: () => Either.right([{ _tag: "Noted" }]) })
    expect<Rejection<typeof c1>>().type.toBe<never>()
    make({
      name: "A",
      id: Schema.String,
      state: State,
      event: Event,
      command: Command,
      initial: () => ({ total: 0 }),
      evolve: (s) => s,
      decide: () => Either.right([{ _tag: "Noted" }])
    })
    make({
      name: "A",
      id: Schema.String,
      state: Schema.Struct({ total: Schema.Int }),
      event: Schema.Union(
        Schema.TaggedStruct("Noted", {}),
        Schema.TaggedStruct("Counted", { kind: Schema.Literal("a", "b") })
      ),
      command: Schema.TaggedStruct("X", {}),
      initial: () => ({ total: 0 }),
      evolve: (s) => s,
      decide: () => Either.right([{ _tag: "Counted", kind: "a" }])
    })
    make({ decide: () => Either.right([{ _tag: "Noted" }]), ...base })
    make({ ...base, decide: () => Either.right([]) })
    make({ ...base, decide: () => Either.right([{ _tag: "Counted", by: 1, kind: "a" }, { _tag: "Noted" }]) })
    make({
      ...base,
      decide() {
        return Either.right([{ _tag: "Noted" }])
      }
    })
    make({
      ...base,
      // eslint-disable-next-line object-shorthand
      decide: function() {
        return Either.right([{ _tag: "Noted" }])
      }
    })
    make({
      ...base,
      decide: () => {
        const by = 3
        return Either.right([{ _tag: "Counted", by, kind: "b" }])
      }
    })
    const c1j = make({ ...base, decide: () => random ? Either.left(new Closed()) : Either.right([{ _tag: "Noted" }]) })
    expect<Rejection<typeof c1j>>().type.toBe<Closed>()
    const c1k = make({
      ...base,
      decide: () => {
        if (random) return Either.left(new Closed())
        if (random) return Either.left(new TooMuch({ most: 1 }))
        return Either.right([{ _tag: "Counted", by: 1, kind: "a" }])
      }
    })
    expect<Rejection<typeof c1k>>().type.toBe<Closed | TooMuch>()
  })

  test("with annotated parameters", () => {
    make({ ...base, decide: (_state: State, _command: Command) => Either.right([{ _tag: "Noted" }]) })
    const c2b = make({
      ...base,
      decide: (state: State, command: Command) => {
        switch (command._tag) {
          case "Note":
            return Either.right([{ _tag: "Noted" }])
          case "Count":
            return state.total > 3
              ? Either.left(new Closed())
              : Either.right([{ _tag: "Counted", by: command.by, kind: "a" }])
        }
      }
    })
    expect<Rejection<typeof c2b>>().type.toBe<Closed>()
    const c2c = make({
      ...base,
      decide: (_state: State, _command: Command): Either.Either<ReadonlyArray<Event>, Closed | TooMuch> =>
        Either.right([{ _tag: "Noted" }])
    })
    expect<Rejection<typeof c2c>>().type.toBe<Closed | TooMuch>()
    make({ ...base, decide: (_state: State) => Either.right([{ _tag: "Noted" }]) })
    const c2e = make({
      ...base,
      decide: (_state: State, _command: Command): Either.Either<Array<Event>, "no"> => Either.left("no")
    })
    expect<Rejection<typeof c2e>>().type.toBe<"no">()
  })

  test("with inferred parameters", () => {
    make({ ...base, decide: (_s, _c) => Either.right([{ _tag: "Noted" }]) })
    const c3b = make({
      ...base,
      decide: (s, c) => {
        if (s.total > 1) return Either.left(new Closed())
        if (c._tag === "Note") return Either.left(new TooMuch({ most: 1 }))
        return Either.right([{ _tag: "Counted", by: c.by, kind: "a" }, { _tag: "Noted" }])
      }
    })
    expect<Rejection<typeof c3b>>().type.toBe<Closed | TooMuch>()
    make({ ...base, decide: (s) => s.total > 1 ? Either.left("closed") : Either.right([new Marked({ n: 1 })]) })
  })

  test("with conditional lists", () => {
    make({
      ...base,
      decide: (s, _c) =>
        Either.right([
          { _tag: "Noted" },
          ...(s.total > 1 ? [Counted.make({ by: 1, kind: "a" })] : []),
          ...(s.total > 1 ? [new Marked({ n: 1 })] : [])
        ])
    })
    make({ ...base, decide: (s) => Either.right(s.total > 1 ? [{ _tag: "Noted" }] : []) })
    make({
      ...base,
      decide: (s) => Either.right(s.total > 1 ? [{ _tag: "Noted" }] : [{ _tag: "Counted", by: 1, kind: "b" }])
    })
    make({
      ...base,
      decide: (s) => Either.right([{ _tag: "Counted", by: 1, ...(s.total > 1 ? { kind: "a" } : { kind: "b" }) }])
    })
    make({
      ...base,
      decide: (s) => Either.right([s.total > 1 ? { _tag: "Noted" } : { _tag: "Counted", by: 1, kind: "b" }])
    })
    make({ ...base, decide: (_s) => Either.right(Array.from({ length: 3 }, () => ({ _tag: "Noted" }))) })
    make({ ...base, decide: (_s) => Either.right([1, 2].map((by) => ({ _tag: "Counted", by, kind: "a" }))) })
    make({ ...base, decide: (_s) => Either.right([1, 2].map((by) => ({ _tag: "Counted", by, kind: "a" } as const))) })
    make({
      ...base,
      decide: (s) => {
        const events: Array<Event> = []
        if (s.total > 1) events.push({ _tag: "Noted" })
        return Either.right(events)
      }
    })
    make({
      ...base,
      decide: (_s) => Either.right([1, 2].flatMap((by) => by > 1 ? [Counted.make({ by, kind: "a" })] : []))
    })
  })

  test("with helper functions", () => {
    const c5 = make({ ...base, decide: (s, _c) => s.total > 1 ? ok({ _tag: "Noted" }) : fail(new Closed()) })
    expect<Rejection<typeof c5>>().type.toBe<Closed>()
    make({ ...base, decide: () => ok() })
    make({ ...base, decide: (_s, _c) => generic({ _tag: "Noted" }) })
    make({ ...base, decide: () => generic({ _tag: "Noted" }) })
    const c5d = make({ ...base, decide: helper })
    expect<Rejection<typeof c5d>>().type.toBe<Closed | TooMuch>()
    const c5e = make({ ...base, decide: (s, c) => c._tag === "Note" ? helper(s) : Either.left("x" as const) })
    expect<Rejection<typeof c5e>>().type.toBe<Closed | TooMuch | "x">()
  })

  test("with Either.gen", () => {
    const c6 = make({
      ...base,
      decide: (s, _c) =>
        Either.gen(function*() {
          if (s.total > 1) yield* Either.left(new Closed())
          return [{ _tag: "Noted" }]
        })
    })
    expect<Rejection<typeof c6>>().type.toBe<Closed>()
    make({
      ...base,
      decide: () =>
        Either.gen(function*() {
          yield* Either.left(new Closed())
          return [{ _tag: "Noted" }]
        })
    })
    make({
      ...base,
      decide: (_s, _c) =>
        Either.gen(function*() {
          const n = yield* Either.right(1)
          return [Noted.make(), { _tag: "Counted", by: n, kind: "a" }]
        })
    })
    make({
      ...base,
      decide: (_s, _c) =>
        Either.gen(function*() {
          yield* Either.left(new Closed())
          return [new Marked({ n: 1 }), Noted.make()]
        })
    })
    const c6e = make({
      ...base,
      decide: (_s, _c) =>
        Either.gen(function*() {
          yield* Either.left(new Closed())
          yield* Either.left(new TooMuch({ most: 1 }))
          return [{ _tag: "Noted" } as const]
        })
    })
    expect<Rejection<typeof c6e>>().type.toBe<Closed | TooMuch>()
  })

  test("with pipes, matches and records from elsewhere", () => {
    make({ ...base, decide: () => Either.right([noted]) })
    make({
      ...base,
      decide: (s) =>
        pipe(
          Either.right(s.total),
          Either.filterOrLeft((n) => n > 1, () => new Closed()),
          Either.map(() => [{ _tag: "Noted" }])
        )
    })
    make({ ...base, decide: (_s) => Either.map(Either.right(1), (n) => [{ _tag: "Counted", by: n, kind: "a" }]) })
    make({ ...base, decide: (_s) => Either.map(Either.right(1), (_n) => [Noted.make()]) })
    const c7f = make({
      ...base,
      decide: (_s, c) =>
        Match.value(c).pipe(
          Match.tag("Note", () => Either.right([Noted.make()])),
          Match.tag(
            "Count",
            ({ by }) => by > 1 ? Either.left(new Closed()) : Either.right([Counted.make({ by, kind: "a" })])
          ),
          Match.exhaustive
        )
    })
    expect<Rejection<typeof c7f>>().type.toBe<Closed>()
    make({
      ...base,
      decide: (_s, _c) => Either.fromOption(Option.some(1), () => new Closed()).pipe(Either.map((_n) => [Noted.make()]))
    })
    make({ ...base, decide: () => Either.right(events) })
    make({
      ...base,
      decide: (_s) => Arr.isNonEmptyArray([1]) ? Either.right(Arr.of(noted)) : Either.right(Arr.empty())
    })
    const never = make({ ...base, decide: () => Either.left(new Closed()) })
    expect<Rejection<typeof never>>().type.toBe<Closed>()
    make({
      ...base,
      decide: (): never => {
        throw new Error()
      }
    })
    make({ ...base, decide: (_s) => Either.right([{ _tag: "Noted" } satisfies Event]) })
  })
})

// TypeScript gives no context to what is spread: a literal there is a string, whatever the signature says (see
// test/process/DecideMessages.test.ts for what the compiler says then)
test("a conditional spread is written with `as const`, or with the event's schema", () => {
  make({ ...base, decide: () => Either.right([{ _tag: "Noted" }, ...(random ? [{ _tag: "Noted" } as const] : [])]) })
  make({
    ...base,
    decide: () => Either.right([...(random ? [Noted.make()] : []), ...(random ? [new Marked({ n: 1 })] : [])])
  })
})
