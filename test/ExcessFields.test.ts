import { assert, describe, it } from "@effect/vitest"
import { Effect, Either, Layer, Schema } from "effect"
import { Aggregate, EventStore, ExpectedVersion, Repository, SnapshotStore, StreamId } from "effect-eventsourcing"

const Item = Schema.Struct({ sku: Schema.String })
const Placed = Schema.TaggedStruct("Placed", { items: Schema.Array(Item) })
const Dated = Schema.TaggedStruct("Dated", { at: Schema.DateFromString, item: Schema.optional(Item) })
class Noted extends Schema.TaggedClass<Noted>()("Noted", { item: Item }) {}
const Loose = Schema.TaggedStruct("Loose", { n: Schema.Int }).annotations({
  parseOptions: { onExcessProperty: "ignore" }
})
const Events = Schema.Union(Placed, Dated, Noted, Loose)
type Events = typeof Events.Type

const value = "a value that is nobody's business"

/** A command is the event that it decides. */
const Log = Aggregate.make({
  name: "Log",
  id: Schema.String,
  state: Schema.Struct({ tags: Schema.Array(Schema.String) }),
  event: Events,
  command: Schema.typeSchema(Events),
  initial: () => ({ tags: [] }),
  evolve: (state, event) => ({ tags: [...state.tags, event._tag] }),
  decide: (_state, command) => Either.right([command])
})

const stores = Layer.merge(EventStore.layerMemory, SnapshotStore.layerMemory)
const execute = (event: Events) =>
  Effect.gen(function*() {
    const logs = yield* Repository.make(Log)
    return yield* Effect.either(logs.execute("a", event))
  }).pipe(Effect.scoped, Effect.provide(stores))

const extra = { extra: value }
const item = { sku: "tea" }
const at = new Date(0)

describe("a field that the schema of an event does not have", () => {
  const cases: ReadonlyArray<readonly [where: string, event: Events]> = [
    ["of a plain struct", { _tag: "Placed", items: [item], ...extra }],
    ["in a list of a plain struct", { _tag: "Placed", items: [item, { ...item, ...extra }] }],
    ["of a struct with a transformation", { _tag: "Dated", at, ...extra }],
    ["in a nested struct of one", { _tag: "Dated", at, item: { ...item, ...extra } }],
    ["of an instance", Object.assign(new Noted({ item }), extra)],
    ["in what an instance holds", Object.assign(new Noted({ item }), { item: { ...item, ...extra } })]
  ]
  for (const [where, event] of cases) {
    it.effect(`is rejected ${where}, with its path`, () =>
      Effect.gen(function*() {
        const result = yield* execute(event)
        assert(Either.isLeft(result))
        assert.include(result.left.message, "extra")
      }))
  }

  it.effect("is dropped if the schema allows it", () =>
    Effect.gen(function*() {
      const result = yield* execute(Object.assign({ _tag: "Loose" as const, n: 1 }, extra))
      assert.deepStrictEqual(Either.getOrThrow(result).events, [{ _tag: "Loose", n: 1 }])
    }))

  it.effect("is ignored in a stored event, which other code may have written", () =>
    Effect.gen(function*() {
      const store = yield* EventStore.EventStore
      const logs = yield* Repository.make(Log)
      const payloads = [
        { _tag: "Placed", items: [{ ...item, ...extra }], ...extra },
        { _tag: "Dated", at: at.toISOString(), ...extra },
        { _tag: "Noted", item: { ...item, ...extra }, ...extra }
      ]
      yield* store.append(
        StreamId.make("Log", "a"),
        payloads.map((payload, index) => ({ id: `event-${index}`, type: payload._tag, payload })),
        { expectedVersion: ExpectedVersion.noStream }
      )
      const { state } = yield* logs.load("a")
      assert.deepStrictEqual(state.tags, ["Placed", "Dated", "Noted"])
    }).pipe(Effect.scoped, Effect.provide(stores)))
})
