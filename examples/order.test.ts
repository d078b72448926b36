import { HashMap } from "effect"
import { AggregateLaws, AggregateTest } from "effect-eventsourcing/testing"
import { it } from "vitest"
import {
  AddLine,
  Empty,
  LineAdded,
  NotOrdered,
  NotPossible,
  Order,
  OrderId,
  type OrderState,
  Place,
  Placed,
  Return,
  Returned,
  Ship,
  Shipped,
  Sku,
  TooMany
} from "./order.js"

// ---- the laws and two custom invariants, in one line

const invariant = ({ lines, paid, refunded }: OrderState) =>
  refunded <= paid && HashMap.every(lines, (line) => line.returned <= line.ordered)

AggregateLaws.suite(Order, { invariant })

// ---- the requirements, by example

const id = OrderId.make("o-1")
const tea = Sku.make("tea")
const added = new LineAdded({ sku: tea, price: 999, quantity: 3 })
const delivered = [added, new Placed({ paid: 2_398 }), new Shipped()]
const returning = (quantity: number) => new Return({ sku: tea, quantity })

it("a discount reduces the amount paid", () => {
  AggregateTest.given(Order, id, [added])
    .when(new Place({ discountPercent: 20 }))
    .then([new Placed({ paid: 2_398 })])
})

it("a returned item is refunded at the price paid for it", () => {
  AggregateTest.given(Order, id, delivered)
    .when(returning(1))
    .then([new Returned({ sku: tea, quantity: 1, refund: 799 })])
    .thenState({
      status: "shipped",
      lines: HashMap.make([tea, { price: 999, ordered: 3, returned: 1 }]),
      paid: 2_398,
      refunded: 799
    })
})

it("no more items can be returned than were ordered", () => {
  AggregateTest.given(Order, id, [...delivered, new Returned({ sku: tea, quantity: 2, refund: 1_599 })])
    .when(returning(2))
    .thenRejects(new TooMany({ left: 1 }))
})

it("an item that was not shipped cannot be returned", () => {
  AggregateTest.given(Order, id, [added]).when(returning(1)).thenRejects(new NotPossible({ status: "draft" }))
  AggregateTest.given(Order, id, delivered)
    .when(new Return({ sku: Sku.make("coffee"), quantity: 1 }))
    .thenRejects(new NotOrdered({ sku: "coffee" }))
  AggregateTest.given(Order, id, []).when(new Place({ discountPercent: 0 })).thenRejects(new Empty())
})

it("a history can also be given as commands", () => {
  AggregateTest.givenCommands(Order, id, [
    new AddLine({ sku: tea, price: 999, quantity: 3 }),
    new Place({ discountPercent: 20 }),
    new Ship(),
    returning(2)
  ]).when(returning(1)).then([new Returned({ sku: tea, quantity: 1, refund: 799 })])
})

// ---- bugs that the laws found in earlier versions

it("a return of a free order refunds 0, not NaN", () => {
  AggregateLaws.check(Order, {
    id: "a",
    commands: [
      new AddLine({ sku: Sku.make("a"), price: 0, quantity: 1 }),
      new Place({ discountPercent: 0 }),
      new Ship(),
      new Return({ sku: Sku.make("a"), quantity: 1 })
    ]
  })
})

it("single returns together refund no more than was paid", () => {
  AggregateLaws.check(Order, {
    id: "a",
    commands: [
      new AddLine({ sku: Sku.make("a"), price: 90_326, quantity: 2 }),
      new Place({ discountPercent: 1 }),
      new Ship(),
      new Return({ sku: Sku.make("a"), quantity: 1 }),
      new Return({ sku: Sku.make("a"), quantity: 1 })
    ]
  }, { invariant })
})

it("an article may have any name, and one that was never ordered cannot be returned", () => {
  AggregateLaws.check(Order, {
    id: "a",
    commands: [new AddLine({ sku: Sku.make("__proto__"), price: 0, quantity: 1 })]
  })
  AggregateTest.given(Order, id, delivered)
    .when(new Return({ sku: Sku.make("__proto__"), quantity: 1 }))
    .thenRejects(new NotOrdered({ sku: "__proto__" }))
})
