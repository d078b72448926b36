import { assert, describe, it } from "@effect/vitest"
import { Arbitrary, Chunk, Effect, Either, FastCheck as fc, Schema, Stream } from "effect"
import {
  Aggregate,
  EventStore,
  ExpectedVersion,
  InvalidOption,
  Repository,
  SnapshotPolicy,
  StreamId,
  Versions
} from "effect-eventsourcing"
import * as fs from "node:fs"
import {
  Closed,
  LineAdded,
  LineAddedV1,
  LineAddedV2,
  Order,
  OrderEvent,
  OrderPlaced,
  OrderWithoutPast,
  Placed,
  Shipped
} from "./fixtures/Order.js"
import { each } from "./utils/backends.js"

const stream = StreamId.make("Order", "o-1")

const golden: ReadonlyArray<{ readonly type: string; readonly payload: unknown }> = JSON.parse(
  fs.readFileSync(new URL("./golden/events/order.json", import.meta.url), "utf8")
)

const store = (events: ReadonlyArray<{ readonly type: string; readonly payload: unknown }>) =>
  Effect.flatMap(
    EventStore.EventStore,
    (store) =>
      store.append(stream, events.map((event, index) => ({ id: `old-${index}`, ...event })), {
        expectedVersion: ExpectedVersion.any
      })
  )

const stored = Effect.flatMap(EventStore.EventStore, (store) =>
  Effect.map(
    Stream.runCollect(store.read(stream)),
    (events) => Chunk.toReadonlyArray(events).map(({ payload, type }) => ({ type, payload }))
  ))

describe("old payloads", () => {
  each("are read as current events, and are not rewritten", () =>
    Effect.gen(function*() {
      yield* store(golden)
      const orders = yield* Repository.make(Order)
      const { replayed, state, version } = yield* orders.load("o-1")
      assert.deepStrictEqual(state, {
        customer: "grace",
        cents: 1_250 + 150 + 600,
        lines: ["1 book EUR", "1 pen USD", "2 ink EUR"],
        shipped: [
          "2021-03-04T05:06:07.000Z unknown",
          "2021-03-04T05:06:07.000Z post",
          "2021-03-04T05:06:07.000Z dhl"
        ],
        closed: true
      })
      assert.deepStrictEqual([version, replayed], [golden.length, golden.length])
      assert.deepStrictEqual(yield* stored, golden)
    }))

  for (const [index, { payload, type }] of golden.entries()) {
    it(`${index + 1}: ${type}`, () => {
      const decode = Order.event.decoder(type)
      if (decode === undefined) return assert.isTrue(Order.event.isRetired(type))
      const event = Either.getOrThrow(decode(payload))
      assert.isTrue(Schema.is(OrderEvent)(event))
      assert.isFalse(Order.event.isRetired(type))
    })
  }

  each("a retired event counts as a version, before and after a snapshot", () =>
    Effect.gen(function*() {
      yield* store(golden.slice(0, 6))
      const orders = yield* Repository.make(Order, { snapshots: SnapshotPolicy.manual })
      const { snapshot } = yield* orders.createSnapshot("o-1")
      assert.deepInclude(snapshot, { version: 6, eventId: "old-5" })
      yield* store([{ type: "QuoteRequested", payload: {} }].map((event) => ({ ...event, id: "late" })))
      const loaded = yield* orders.load("o-1")
      assert.deepInclude(loaded, { version: 7, snapshotVersion: 6, replayed: 1, snapshotOutcome: { _tag: "Hit" } })
      const done = yield* orders.execute("o-1", Closed.make())
      assert.strictEqual(done.version, 8)
    }))

  each("an event of an unknown type is a typed error", () =>
    Effect.gen(function*() {
      for (const type of ["QuoteRequested", "LineAdded@2", "LineAdded@4", "OrderPlaced", "Dispatched@3"]) {
        const id = `by-${type}`
        const events = yield* EventStore.EventStore
        yield* events.append(StreamId.make("Order", id), [{ id, type, payload: {} }], {
          expectedVersion: ExpectedVersion.any
        })
        const failure = yield* Effect.flip(
          Effect.flatMap(Repository.make(OrderWithoutPast), (orders) => orders.load(id))
        )
        assert.strictEqual(failure._tag, "EventDecodeError")
        assert.include(failure.message, "does not know this type")
      }
    }))

  each("an invalid old payload is a typed error", () =>
    Effect.gen(function*() {
      const orders = yield* Repository.make(Order)
      const bad = [
        { type: "LineAdded", payload: { _tag: "LineAdded", sku: "x", price: "a lot" } },
        { type: "LineAdded", payload: { _tag: "LineAdded", sku: "x", cents: 1, currency: "EUR", quantity: 1 } },
        { type: "LineAdded@2", payload: null },
        { type: "OrderClosed", payload: "closed" },
        // read, but not as what it leads to: nobody places an order without a name
        { type: "OrderPlaced", payload: { _tag: "OrderPlaced", customer: "", total: 1 } }
      ]
      for (const [index, { payload, type }] of bad.entries()) {
        const id = `bad-${index}`
        const events = yield* EventStore.EventStore
        yield* events.append(StreamId.make("Order", id), [{ id, type, payload }], {
          expectedVersion: ExpectedVersion.any
        })
        const failure = yield* Effect.flip(orders.load(id))
        assert.isTrue(failure._tag === "EventDecodeError" && failure.type === type && failure.version === 1)
      }
    }))
})

describe("new events", () => {
  each("are stored under their current version, and read back", () =>
    Effect.gen(function*() {
      const orders = yield* Repository.make(Order)
      yield* orders.executeAll("o-1", [
        Placed.make({ customer: "ada" }),
        LineAdded.make({ sku: "book", cents: 5, currency: "EUR", quantity: 2 }),
        new Shipped({ at: new Date(0), carrier: "post" })
      ])
      assert.deepStrictEqual((yield* stored).map(({ type }) => type), ["Placed", "LineAdded@3", "Shipped"])
      assert.deepInclude((yield* orders.load("o-1")).state, { customer: "ada", cents: 10 })
      // code of before the change does not take them for what it knows
      const old = yield* Repository.make(OrderWithoutPast)
      assert.strictEqual((yield* Effect.flip(old.load("o-1")))._tag, "EventDecodeError")
    }))

  it.prop("of every type decode from their stored type", [Arbitrary.make(OrderEvent)], ([event]) => {
    fc.pre(event._tag !== "Shipped" || !Number.isNaN(+event.at))
    const payload = Either.getOrThrow(Order.event.encode(event))
    assert.deepStrictEqual(
      Order.event.decoder(Order.event.typeOf(event))!(payload),
      Either.right(event)
    )
  })

  it.prop(
    "upcasting step by step equals upcasting at once",
    [Schema.String, fc.integer({ min: 0, max: 1_000_000 })],
    ([sku, cents]) => {
      const read = (type: string, payload: unknown) => Either.getOrThrow(Order.event.decoder(type)!(payload))
      const one = read("LineAdded", { _tag: "LineAdded", sku, price: String(cents / 100) })
      const two = read("LineAdded@2", { _tag: "LineAdded", sku, price: { amount: cents, currency: "EUR" } })
      const three = read("LineAdded@3", { _tag: "LineAdded", sku, cents, currency: "EUR", quantity: 1 })
      assert.deepStrictEqual(one, three)
      assert.deepStrictEqual(two, three)
    }
  )
})

describe("invalid upcasts are rejected when the aggregate is defined", () => {
  const make = (upcasts: { readonly [type: string]: Versions.Upcast<OrderEvent> }) => () =>
    Aggregate.make({
      name: "Order",
      id: Schema.String,
      state: Schema.Int,
      event: OrderEvent,
      command: Schema.String,
      upcasts,
      initial: () => 0,
      evolve: (state) => state,
      decide: () => Either.right([])
    })
  const toLine = ({ sku }: { readonly sku: string }) =>
    LineAdded.make({ sku, cents: 0, currency: "EUR" as const, quantity: 1 })

  const cases: Record<string, { readonly [type: string]: Versions.Upcast<OrderEvent> }> = {
    "a type that is still written is retired": { Placed: Versions.retired },
    "a type that is read is retired": {
      LineAdded: Versions.from(1, LineAddedV1).to(LineAdded, toLine),
      "LineAdded@2": Versions.retired
    },
    "a rename to a version that is not there": { OrderClosed: Versions.renamed("Closed@2") },
    "a rename of a type that is still written": { Closed: Versions.renamed("Placed") },
    "a chain for one member that ends at another": { Closed: Versions.from(1, LineAddedV1).to(LineAdded, toLine) },
    "a chain that ends at a schema which is not a member": {
      Line: Versions.from(1, LineAddedV2).to(
        Schema.TaggedStruct("LineAdded", { ...LineAdded.fields, more: Schema.optional(Schema.Int) }),
        toLine
      )
    },
    "a name no store can keep": { "": Versions.renamed("Closed") },
    "two ways to read one type": {
      LineAdded: Versions.from(1, LineAddedV1).to(
        LineAddedV2,
        ({ sku }) => LineAddedV2.make({ sku, price: { amount: 0, currency: "EUR" } })
      ).to(LineAdded, toLine),
      "LineAdded@2": Versions.renamed("Placed")
    }
  }
  for (const [name, upcasts] of Object.entries(cases)) {
    it(name, () => {
      assert.throws(make(upcasts), InvalidOption.InvalidOption, /Order/)
    })
  }

  it("valid upcasts are accepted", () => {
    assert.doesNotThrow(make({}))
    assert.doesNotThrow(make({ Placed: Versions.from(7, Placed) }))
    assert.doesNotThrow(
      make({ Old: Versions.from(3, OrderPlaced).to(Placed, ({ customer }) => Placed.make({ customer })) })
    )
  })
})
