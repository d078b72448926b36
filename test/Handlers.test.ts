import { assert, describe, it } from "@effect/vitest"
import { Data, Effect, Either, Layer, Schema } from "effect"
import { Aggregate, EventStore, InvalidOption, Repository, SnapshotStore } from "effect-eventsourcing"

class Full extends Data.TaggedError("Full")<{ readonly most: number }> {}
class Missing extends Data.TaggedError("Missing") {}

const Put = Schema.TaggedStruct("Put", { n: Schema.Int })
const Take = Schema.TaggedStruct("Take", {})
const Added = Schema.TaggedStruct("Added", { n: Schema.Int })
const Taken = Schema.TaggedStruct("Taken", {})
const State = Schema.Struct({ held: Schema.Array(Schema.Int) })
type State = typeof State.Type

const base = {
  name: "Box",
  id: Schema.NonEmptyString,
  state: State,
  event: Schema.Union(Added, Taken),
  command: Schema.Union(Put, Take),
  initial: () => ({ held: [] })
} as const

const decide = {
  Put: (state: State, { n }: typeof Put.Type) =>
    state.held.length === 2 ? Either.left(new Full({ most: 2 })) : Either.right([Added.make({ n })]),
  Take: (state: State) => state.held.length === 0 ? Either.left(new Missing()) : Either.right([Taken.make()])
}
const evolve = {
  Added: (state: State, { n }: typeof Added.Type) => ({ held: [...state.held, n] }),
  Taken: (state: State) => ({ held: state.held.slice(1) })
}

const Box = Aggregate.make({ ...base, decide, evolve })

const stores = Layer.merge(EventStore.layerMemory, SnapshotStore.layerMemory)

/** Passes a value that the types refuse. */
function untyped<A>(value: unknown): A
function untyped(value: unknown): unknown {
  return value
}

const refusal = (definition: Partial<Record<"decide" | "evolve" | "rejection", unknown>>): string => {
  try {
    Aggregate.make(untyped<typeof base & { decide: typeof decide; evolve: typeof evolve }>({
      ...base,
      decide,
      evolve,
      ...definition
    }))
    return "nothing"
  } catch (error) {
    assert.instanceOf(error, InvalidOption.InvalidOption)
    return error.message
  }
}

describe("handlers by tag", () => {
  it.scoped("decide and evolve like functions", () =>
    Effect.gen(function*() {
      const boxes = yield* Repository.make(Box)
      assert.deepStrictEqual(yield* Effect.flip(boxes.execute("a", Take.make())), new Missing())
      yield* boxes.execute("a", Put.make({ n: 1 }))
      yield* boxes.executeAll("a", [Put.make({ n: 2 }), Take.make(), Put.make({ n: 3 })])
      assert.deepStrictEqual(yield* Effect.flip(boxes.execute("a", Put.make({ n: 4 }))), new Full({ most: 2 }))
      assert.deepStrictEqual((yield* boxes.load("a")).state, { held: [2, 3] })
    }).pipe(Effect.provide(stores)))

  it("each of the two may be a function", () => {
    const deciding = Aggregate.make({ ...base, decide, evolve: (state) => state })
    assert.deepStrictEqual(deciding.decide({ held: [] }, Put.make({ n: 1 })), Either.right([Added.make({ n: 1 })]))
    const evolving = Aggregate.make({ ...base, decide: () => Either.right([]), evolve })
    assert.deepStrictEqual(evolving.evolve({ held: [] }, Added.make({ n: 1 })), { held: [1] })
  })

  it("are methods of their record, which is read once", () => {
    const counting = {
      most: 1,
      Put(state: State, { n }: typeof Put.Type) {
        return state.held.length >= this.most
          ? Either.left(new Full({ most: this.most }))
          : decide.Put(state, Put.make({ n }))
      },
      Take: decide.Take
    }
    // `most` is not a handler: it comes from the prototype
    const { Put: put, Take: take } = counting
    const record = Object.assign(Object.create({ most: 1 }), { Put: put, Take: take })
    const Small = Aggregate.make({ ...base, decide: untyped<typeof decide>(record), evolve })
    record.Put = () => Either.right([])
    assert.deepStrictEqual(Small.decide({ held: [1] }, Put.make({ n: 2 })), Either.left(new Full({ most: 1 })))
  })

  const strangers = ["__proto__", "toString", "constructor", "hasOwnProperty", "Other", ""]

  for (const _tag of strangers) {
    it.scoped(`a command tagged ${JSON.stringify(_tag)} is refused as an invalid one`, () =>
      Effect.gen(function*() {
        const boxes = yield* Repository.make(Box)
        const error = yield* Effect.flip(boxes.execute("a", untyped({ _tag })))
        assert.instanceOf(error, Repository.InvalidCommand)
        assert.include(String(error.cause), `decide of "Box" has no handler for ${JSON.stringify(_tag)}`)
        assert.throws(() => Box.evolve({ held: [] }, untyped({ _tag })), `has no handler for ${JSON.stringify(_tag)}`)
      }).pipe(Effect.provide(stores)))
  }

  it.scoped("a value that is not a command is refused as an invalid command", () =>
    Effect.gen(function*() {
      const boxes = yield* Repository.make(Box)
      for (const command of [null, undefined, 1, "Put", {}, { _tag: 1 }, { _tag: ["Put"] }, []]) {
        const error = yield* Effect.flip(boxes.execute("a", untyped(command)))
        assert.instanceOf(error, Repository.InvalidCommand)
      }
    }).pipe(Effect.provide(stores)))

  it("a tag may be the name of a property of every object", () => {
    const Odd = Aggregate.make({
      ...base,
      event: Schema.Union(Schema.TaggedStruct("toString", {}), Schema.TaggedStruct("__proto__", {})),
      command: Schema.TaggedStruct("constructor", {}),
      evolve: { toString: () => ({ held: [1] }), ["__proto__"]: () => ({ held: [2] }) },
      decide: { constructor: () => Either.right([{ _tag: "toString" }, { _tag: "__proto__" }]) }
    })
    const decided = Aggregate.decide(Odd, { held: [] }, [{ _tag: "constructor" }])
    assert.deepStrictEqual(Either.getOrThrow(decided).state, { held: [2] })
  })
})

describe("a definition is refused", () => {
  const { Put: put, Take: take } = decide

  it("if a handler is missing, is not a function, or is inherited", () => {
    const start = `Aggregate.make decide of "Box" for "Take" is`
    const end = "it must be a function, an own property of the record"
    assert.strictEqual(refusal({ decide: { Put: put } }), `${start} undefined; ${end}`)
    assert.strictEqual(refusal({ decide: { Put: put, Take: 1 } }), `${start} 1; ${end}`)
    assert.strictEqual(
      refusal({ decide: Object.assign(Object.create({ Take: take }), { Put: put }) }),
      `${start} undefined; ${end}`
    )
    assert.include(
      refusal({ evolve: { Added: evolve.Added } }),
      `Aggregate.make evolve of "Box" for "Taken" is undefined`
    )
  })

  it("if a handler is of another tag", () => {
    assert.strictEqual(
      refusal({ decide: { ...decide, Other: put } }),
      `Aggregate.make decide of "Box" is a handler for "Other"; it must be one of "Put", "Take"`
    )
    assert.include(refusal({ evolve: { ...evolve, [Symbol.iterator]: put } }), "Symbol(Symbol.iterator)")
  })

  it("if decide or evolve is neither a function nor a record", () => {
    for (const part of ["decide", "evolve"] as const) {
      for (const value of [undefined, null, 1, "Put", [], [put, take]]) {
        assert.include(refusal({ [part]: value }), `it must be a function, or a record of one function for each tag`)
      }
    }
  })

  it("if the rejection is not a schema", () => {
    for (const rejection of [null, 1, {}, Full]) {
      assert.include(refusal({ rejection }), `Aggregate.make rejection of "Box" is`)
    }
    assert.strictEqual(refusal({ rejection: undefined }), "nothing")
  })
})

describe("schemas", () => {
  it("are the same objects as in the definition", () => {
    assert.deepStrictEqual(Object.keys(Box.schemas).sort(), ["command", "event", "id", "state"])
    assert.strictEqual(Box.schemas.command, base.command)
    assert.strictEqual(Box.schemas.event, base.event)
    assert.strictEqual(Box.schemas.state, base.state)
    assert.strictEqual(Box.schemas.id, base.id)
    const rejection = Schema.Union(Schema.instanceOf(Full), Schema.instanceOf(Missing))
    assert.strictEqual(Aggregate.make({ ...base, decide, evolve, rejection }).schemas.rejection, rejection)
  })
})
