import { Either, Schema } from "effect"
import { Aggregate, type Event, type EventStore } from "effect-eventsourcing"
import { describe, expect, test } from "tstyche"

const AccountId = Schema.String.pipe(Schema.brand("AccountId"))
type AccountId = typeof AccountId.Type
const Deposited = Schema.TaggedStruct("Deposited", { amount: Schema.Int })
type Deposited = typeof Deposited.Type
class Shipped extends Schema.TaggedClass<Shipped>()("Shipped", { at: Schema.Date }) {}

const common = { state: Schema.Int, command: Schema.TaggedStruct("Do", {}), initial: () => 0 } as const

const Account = Aggregate.make({
  ...common,
  name: "Account",
  id: AccountId,
  event: Deposited,
  evolve: (state) => state,
  decide: () => Either.right([])
})

const Order = Aggregate.make({
  ...common,
  name: "Order",
  id: Schema.NumberFromString,
  event: Shipped,
  evolve: (state) => state,
  decide: () => Either.left("no" as const)
})

declare const recorded: Event.RecordedEvent

describe("decodeRecorded", () => {
  test("gives the event, the id and the name of the aggregate", () => {
    expect(Aggregate.decodeRecorded(Account, recorded)).type.toBe<
      Either.Either<
        Aggregate.DecodedEvent<"Account", AccountId, Deposited> | Aggregate.RetiredEvent<"Account">,
        EventStore.EventDecodeError
      >
    >()
  })

  test("an envelope has the event, and no payload", () => {
    expect<Event.Envelope<Deposited>>().type.toHaveProperty("event")
    expect<Event.Envelope<Deposited>>().type.not.toHaveProperty("payload")
    expect<Event.Retired>().type.not.toHaveProperty("event")
  })
})

describe("a decoder of several aggregates", () => {
  const decode = Aggregate.decoder(Account, Order)
  type Decoded = Either.Either.Right<ReturnType<typeof decode>>

  test("gives a union", () => {
    expect<Decoded>().type.toBe<
      | Aggregate.DecodedEvent<"Account", AccountId, Deposited>
      | Aggregate.RetiredEvent<"Account">
      | Aggregate.DecodedEvent<"Order", number, Shipped>
      | Aggregate.RetiredEvent<"Order">
      | Aggregate.ForeignEvent
    >()
    expect<Decoded>().type.toBe<Aggregate.Decoded<typeof Account | typeof Order> | Aggregate.ForeignEvent>()
  })

  test("the union is told apart by its tag and the aggregate", () => {
    const handle = (decoded: Decoded) => {
      // without a look at the tag there is a position, and no event
      expect(decoded.position).type.toBe<Event.RecordedEvent["position"]>()
      expect(decoded).type.not.toHaveProperty("event")
      if (decoded._tag !== "Event") return
      switch (decoded.aggregate) {
        case "Account":
          expect(decoded.event).type.toBe<Deposited>()
          expect(decoded.aggregateId).type.toBe<AccountId>()
          return
        case "Order":
          expect(decoded.event).type.toBe<Shipped>()
          expect(decoded.aggregateId).type.toBe<number>()
      }
    }
    expect(handle).type.toBe<(decoded: Decoded) => void>()
  })

  test("of one aggregate", () => {
    expect(Aggregate.decoder(Order)(recorded)).type.toBe<
      Either.Either<Aggregate.Decoded<typeof Order> | Aggregate.ForeignEvent, EventStore.EventDecodeError>
    >()
  })
})
