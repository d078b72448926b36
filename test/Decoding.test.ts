import { assert, describe, it } from "@effect/vitest"
import { Arbitrary, Chunk, DateTime, Effect, Either, FastCheck as fc, Option, Stream } from "effect"
import { Aggregate, Event, EventStore, ExpectedVersion, InvalidOption, Position, StreamId } from "effect-eventsourcing"
import { Account, AccountEvent, AccountId } from "./fixtures/Account.js"
import { Order } from "./fixtures/Order.js"
import { each } from "./utils/backends.js"

const recorded = (
  aggregate: string,
  type: string,
  payload: unknown,
  { id = "a", version = 1 }: { readonly id?: string; readonly version?: number } = {}
): Event.RecordedEvent => ({
  id: `event-${version}`,
  stream: StreamId.make(aggregate, id),
  version,
  position: Position.fromParts(7, version),
  type,
  payload,
  time: DateTime.unsafeMake("2021-03-04T05:06:07Z"),
  metadata: { correlationId: "c" }
})

const deposited = (amount: unknown) => recorded("Account", "Deposited", { _tag: "Deposited", amount }, { version: 3 })

const failureOf = <A>(decoded: Either.Either<A, EventStore.EventDecodeError>): EventStore.EventDecodeError =>
  Either.getOrThrow(Either.flip(decoded))

describe("decodeRecorded", () => {
  it("gives the event in its envelope, with the decoded id of the aggregate", () => {
    const { payload: _, ...envelope } = deposited(5)
    assert.deepStrictEqual(
      Aggregate.decodeRecorded(Account, deposited(5)),
      Either.right({
        _tag: "Event" as const,
        ...envelope,
        aggregate: "Account" as const,
        aggregateId: AccountId.make("a"),
        event: { _tag: "Deposited" as const, amount: 5 }
      })
    )
  })

  it("upcasts an event and keeps its stored type", () => {
    const old = { _tag: "LineAdded", sku: "book", price: "12.5" }
    const decoded = Either.getOrThrow(Aggregate.decodeRecorded(Order, recorded("Order", "LineAdded", old)))
    assert.strictEqual(decoded.type, "LineAdded")
    assert.deepInclude(decoded._tag === "Event" ? decoded.event : {}, { cents: 1_250, currency: "EUR", quantity: 1 })
  })

  it("marks a retired event, whatever its payload", () => {
    for (const payload of [{}, null, "anything"]) {
      const { payload: _, ...envelope } = recorded("Order", "QuoteRequested", payload)
      assert.deepStrictEqual(
        Aggregate.decodeRecorded(Order, recorded("Order", "QuoteRequested", payload)),
        Either.right({ _tag: "Retired" as const, ...envelope, aggregate: "Order" as const })
      )
    }
  })

  const wrong = {
    "a payload that does not match": [deposited("five"), "does not decode: $"],
    "an unknown type": [recorded("Account", "Frozen", {}, { version: 3 }), "does not know this type"],
    "a type named as a property of objects": [
      recorded("Account", "__proto__", {}, { version: 3 }),
      "does not know this type"
    ],
    "an id that the id schema refuses": [
      recorded("Account", "Opened", { _tag: "Opened" }, { id: "", version: 3 }),
      "the id of its stream does not match the id schema"
    ],
    "an event of another aggregate": [
      recorded("Order", "Opened", {}, { version: 3 }),
      "another aggregate than \"Account\""
    ]
  } as const
  for (const [name, [event, reason]] of Object.entries(wrong)) {
    it(`fails with the position and the id of ${name}`, () => {
      const failure = failureOf(Aggregate.decodeRecorded(Account, event))
      assert.instanceOf(failure, EventStore.EventDecodeError)
      assert.deepInclude(failure, {
        stream: event.stream,
        version: 3,
        type: event.type,
        eventId: "event-3",
        position: Position.fromParts(7, 3)
      })
      assert.include(failure.message, reason)
      assert.notInclude(failure.message, "five")
    })
  }

  it("gives the error of an event that a page could not read", () => {
    const { payload: _, metadata: __, time, ...place } = deposited(5)
    const error = new EventStore.EventDecodeError({ ...place, eventId: place.id, cause: new Error("no JSON") })
    const unreadable = new Event.UnreadableEvent({ ...place, time: Option.some(time), error })
    assert.strictEqual(failureOf(Aggregate.decodeRecorded(Account, unreadable)), error)
    assert.strictEqual(failureOf(Aggregate.decoder(Account, Order)(unreadable)), error)
    assert.strictEqual(Either.getOrThrow(Aggregate.decoder(Order)(unreadable))._tag, "Foreign")
  })

  it("gives back every event of the aggregate", () => {
    fc.assert(fc.property(Arbitrary.make(AccountEvent), (event) => {
      const payload = Either.getOrThrow(Account.event.encode(event))
      const stored: unknown = JSON.parse(JSON.stringify(payload))
      const decoded = Either.getOrThrow(
        Aggregate.decodeRecorded(Account, recorded("Account", Account.event.typeOf(event), stored))
      )
      assert.deepStrictEqual(decoded._tag === "Event" ? decoded.event : undefined, event)
    }))
  })
})

describe("a decoder of several aggregates", () => {
  const decode = Aggregate.decoder(Account, Order)

  it("names the aggregate of each event, and marks those of others", () => {
    const told = [
      deposited(5),
      recorded("Order", "Placed", { _tag: "Placed", customer: "grace" }),
      recorded("Order", "QuoteRequested", {}),
      recorded("Invoice", "Deposited", { _tag: "Deposited", amount: "unreadable for an account" })
    ].map((event) => {
      const decoded = Either.getOrThrow(decode(event))
      switch (decoded._tag) {
        case "Event":
          return `${decoded.aggregate} ${decoded.event._tag}`
        case "Retired":
          return `${decoded.aggregate} retired ${decoded.type}`
        case "Foreign":
          return `foreign ${decoded.stream.aggregate} ${decoded.version}`
      }
    })
    assert.deepStrictEqual(told, [
      "Account Deposited",
      "Order Placed",
      "Order retired QuoteRequested",
      "foreign Invoice 1"
    ])
  })

  it("takes names of properties of objects for other aggregates", () => {
    for (const name of ["__proto__", "constructor", "toString"]) {
      assert.strictEqual(Either.getOrThrow(decode(recorded(name, "Opened", {})))._tag, "Foreign")
    }
  })

  it("fails for a bad event of its own aggregates", () => {
    assert.deepInclude(failureOf(decode(deposited(0.5))), { eventId: "event-3", type: "Deposited" })
  })

  it("refuses two aggregates of one name", () => {
    assert.throws(
      () => Aggregate.decoder(Account, Order, Account),
      InvalidOption.InvalidOption,
      `the aggregates "Account", "Order", "Account"`
    )
  })

  each("reads a feed", () =>
    Effect.gen(function*() {
      const store = yield* EventStore.EventStore
      const append = (aggregate: string, type: string, payload: unknown) =>
        store.append(StreamId.make(aggregate, "a"), [{ id: `${aggregate}-${type}`, type, payload }], {
          expectedVersion: ExpectedVersion.any
        })
      yield* append("Account", "Opened", { _tag: "Opened" })
      yield* append("Invoice", "Sent", {})
      yield* append("Order", "Placed", { _tag: "Placed", customer: "grace" })
      yield* append("Account", "Deposited", { _tag: "Deposited", amount: "five" })
      const found = Chunk.toReadonlyArray(yield* Stream.runCollect(Stream.map(store.readAll(), decode)))
      assert.deepStrictEqual(
        found.map(Either.match({ onLeft: ({ eventId }) => eventId, onRight: ({ _tag, id }) => `${_tag} ${id}` })),
        ["Event Account-Opened", "Foreign Invoice-Sent", "Event Order-Placed", "Account-Deposited"]
      )
      const positions = found.map(
        Either.match({ onLeft: ({ position }) => position, onRight: ({ position }) => position })
      )
      assert.deepStrictEqual(positions, [...new Set(positions)].sort())
    }))
})
