import { Context, Data, Effect, Either, type Layer, Schema, type Scope } from "effect"
import {
  Aggregate,
  type CheckpointStore,
  type EventStore,
  type InvalidOption,
  Projection,
  Projections,
  Repository,
  type SnapshotStore,
  Subscription
} from "effect-eventsourcing"
import { ProjectionTest } from "effect-eventsourcing/testing"
import { describe, expect, test } from "tstyche"

class Full extends Data.TaggedError("Full") {}
class Late extends Data.TaggedError("Late") {}
class Mailer extends Context.Tag("Mailer")<Mailer, { readonly send: Effect.Effect<void, Late> }>() {}

const Placed = Schema.TaggedStruct("Placed", { sku: Schema.String })
const Shipped = Schema.TaggedStruct("Shipped", { carrier: Schema.String })
const OrderId = Schema.String.pipe(Schema.brand("OrderId"))

const Order = Aggregate.make({
  name: "Order",
  id: OrderId,
  state: Schema.Int,
  event: Schema.Union(Placed, Shipped),
  command: Schema.TaggedStruct("Place", {}),
  initial: () => 0,
  evolve: (state) => state,
  decide: () => Either.right([])
})
const Account = Aggregate.make({
  name: "Account",
  id: Schema.NumberFromString,
  state: Schema.Int,
  event: Schema.TaggedStruct("Deposited", { amount: Schema.Int }),
  command: Schema.TaggedStruct("Deposit", {}),
  initial: () => 0,
  evolve: (state) => state,
  decide: () => Either.right([])
})

describe("Projection.make", () => {
  test("types the events of several aggregates, told apart by the name", () => {
    Projection.make({
      name: "p",
      on: [Account, Projection.only(Order, ["Shipped"])],
      handle: (events) => {
        for (const decoded of events) {
          if (decoded.aggregate === "Account") {
            expect(decoded.aggregateId).type.toBe<number>()
            expect(decoded.event).type.toBe<{ readonly _tag: "Deposited"; readonly amount: number }>()
          } else {
            expect(decoded.aggregateId).type.toBe<typeof OrderId.Type>()
            expect(decoded.event).type.toBe<typeof Shipped.Type>()
          }
        }
        return Effect.void
      }
    })
  })

  test("infers errors and services of the handler, and the layer needs those services alone", () => {
    const projection = Projection.make({
      name: "p",
      on: [Order],
      handle: () => Effect.zipRight(Effect.flatMap(Mailer, ({ send }) => send), new Full())
    })
    expect<typeof projection extends Projection.Projection<infer _E, infer Err, infer R> ? [Err, R] : never>()
      .type.toBe<[Late | Full, Mailer]>()
    const layer = Projection.layer(projection)
    expect<Layer.Layer.Context<typeof layer>>().type.toBe<
      EventStore.EventStore | CheckpointStore.CheckpointStore | Mailer
    >()
  })

  test("an inline projection needs the services of its handler, and its failure is one of each command", () => {
    const projection = Projection.make({
      name: "p",
      on: [Order],
      handle: (events) => {
        expect(events[0].event).type.toBe<typeof Placed.Type | typeof Shipped.Type>()
        return Effect.flatMap(Mailer, ({ send }) => send)
      }
    })
    const layer = Projection.layer(projection, { inline: true })
    expect<Layer.Layer.Context<typeof layer>>().type.toBe<
      EventStore.EventStore | CheckpointStore.CheckpointStore | Mailer
    >()
    expect(Projection.layer).type.not.toBeCallableWith(projection, { inline: 1 })
    expect<Effect.Effect.Error<ReturnType<EventStore.EventStore["Type"]["append"]>>>().type.toBe<
      | EventStore.VersionConflict
      | EventStore.DuplicateEventId
      | EventStore.StreamDeleted
      | EventStore.EventStoreError
      | EventStore.InlineProjectionError
    >()
    expect<Extract<Repository.ExecuteError, EventStore.InlineProjectionError>>()
      .type.toBe<EventStore.InlineProjectionError>()
  })

  test("does not take what is not an aggregate, or a handler that is not an Effect", () => {
    expect(Projection.make).type.not.toBeCallableWith({ name: "p", on: ["Order"], handle: () => Effect.void })
    expect(Projection.make).type.not.toBeCallableWith({ name: "p", on: [Order], handle: () => 1 })
  })
})

describe("Projection.only", () => {
  test("takes the tags of the aggregate alone", () => {
    expect(Projection.only).type.toBeCallableWith(Order, ["Placed"])
    expect(Projection.only).type.not.toBeCallableWith(Order, ["Deposited"])
  })
})

const fine = { Order: { Placed: () => Effect.void, Shipped: () => Effect.void } }

describe("makeByTag", () => {
  test("asks for a function for each tag, of each aggregate", () => {
    expect(Projection.makeByTag).type.toBeCallableWith({ name: "p", on: [Order], handlers: fine })
    expect(Projection.makeByTag).type.not.toBeCallableWith({
      name: "p",
      on: [Order],
      handlers: { Order: { Placed: () => Effect.void } }
    })
    expect(Projection.makeByTag).type.not.toBeCallableWith({ name: "p", on: [Order, Account], handlers: fine })
    expect(Projection.makeByTag).type.toBeCallableWith({
      name: "p",
      on: [Projection.only(Order, ["Placed"])],
      handlers: { Order: { Placed: () => Effect.void } }
    })
  })

  test("types the event of each function, and infers errors and services from all", () => {
    const projection = Projection.makeByTag({
      name: "p",
      on: [Order, Account],
      handlers: {
        Order: {
          Placed: ({ aggregateId, event }) => {
            expect(aggregateId).type.toBe<typeof OrderId.Type>()
            expect(event).type.toBe<typeof Placed.Type>()
            return new Full()
          },
          Shipped: ({ event }) => {
            expect(event).type.toBe<typeof Shipped.Type>()
            return Effect.flatMap(Mailer, ({ send }) => send)
          }
        },
        Account: { Deposited: ({ event }) => Effect.succeed(event.amount) }
      }
    })
    expect<typeof projection extends Projection.Projection<infer _E, infer Err, infer R> ? [Err, R] : never>()
      .type.toBe<[Full | Late, Mailer]>()
  })
})

describe("Projections.thenAwait", () => {
  test("keeps the result of a command, and adds the errors of waiting", () => {
    const executed = Effect.flatMap(
      Repository.make(Account),
      (accounts) =>
        accounts.execute(1, { _tag: "Deposit" }).pipe(Projections.thenAwait("balances", { timeout: "2 seconds" }))
    )
    expect<Effect.Effect.Success<typeof executed>>().type.toBe<
      Repository.Executed<number, { readonly _tag: "Deposited"; readonly amount: number }>
    >()
    expect<Effect.Effect.Error<typeof executed>>().type.toBe<
      Repository.ExecuteError | Projections.AwaitError | InvalidOption.InvalidOption
    >()
    expect<Effect.Effect.Context<typeof executed>>().type.toBe<
      CheckpointStore.CheckpointStore | EventStore.EventStore | SnapshotStore.SnapshotStore | Scope.Scope
    >()
  })

  test("does not take what has no position", () => {
    expect(Projections.thenAwait("balances")).type.not.toBeCallableWith(Effect.succeed({ state: 1 }))
  })
})

describe("Projection.layerVersions", () => {
  test("needs the services of all versions", () => {
    const first = Projection.make({ name: "p", on: [Order], handle: () => Effect.void })
    const second = Projection.make({
      name: "p",
      version: 2,
      on: [Account],
      handle: () => Effect.flatMap(Mailer, ({ send }) => send)
    })
    const layer = Projection.layerVersions(first, second)
    expect<Layer.Layer.Context<typeof layer>>().type.toBe<
      EventStore.EventStore | CheckpointStore.CheckpointStore | Mailer
    >()
  })
})

describe("Subscription.make", () => {
  test("types one event, and asks where to begin", () => {
    const subscription = Subscription.make({
      name: "s",
      on: [Order],
      from: "now",
      handle: ({ event, id }) => {
        expect(event).type.toBe<typeof Placed.Type | typeof Shipped.Type>()
        expect(id).type.toBe<string>()
        return Effect.flatMap(Mailer, ({ send }) => send)
      }
    })
    expect<typeof subscription extends Subscription.Subscription<infer _E, infer Err, infer R> ? [Err, R] : never>()
      .type.toBe<[Late, Mailer]>()
    expect(Subscription.make).type.not.toBeCallableWith({ name: "s", on: [Order], handle: () => Effect.void })
    expect(Subscription.make).type.not.toBeCallableWith({
      name: "s",
      on: [Order],
      from: "end",
      handle: () => Effect.void
    })
  })

  test("has the services of its handler when parked events are retried", () => {
    const subscription = Subscription.make({
      name: "s",
      on: [Order],
      from: "start",
      handle: () => Effect.flatMap(Mailer, ({ send }) => send)
    })
    const retried = Projections.retryParked(subscription)
    expect<Effect.Effect.Context<typeof retried>>().type.toBe<
      CheckpointStore.CheckpointStore | EventStore.EventStore | Mailer
    >()
  })
})

describe("ProjectionTest", () => {
  const projection = Projection.make({
    name: "p",
    on: [Order],
    handle: () => Effect.zipRight(Effect.flatMap(Mailer, ({ send }) => send), new Full())
  })

  test("takes events of an aggregate, and a read model of the type that is read", () => {
    const id = OrderId.make("o-1")
    expect(ProjectionTest.event).type.toBeCallableWith(Order, id, { _tag: "Placed", sku: "mug" })
    expect(ProjectionTest.event).type.not.toBeCallableWith(Order, "o-1", { _tag: "Placed", sku: "mug" })
    expect(ProjectionTest.event).type.not.toBeCallableWith(Order, id, { _tag: "Deposited", amount: 1 })
    const given = ProjectionTest.given(projection, [])
    expect(given.then(Effect.succeed(1), 1)).type.toBe<Effect.Effect<void, Full | Late, Mailer>>()
    expect(given.then).type.not.toBeCallableWith(Effect.succeed(1), "one")
  })
})
