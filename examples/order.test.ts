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

// ---- the laws, and two invariants of our own: in one line

const invariant = ({ lines, paid, refunded }: OrderState) =>
  refunded <= paid && HashMap.every(lines, (line) => line.returned <= line.ordered)

AggregateLaws.suite(Order, { invariant })

// ---- what the business asked for, by example

const id = OrderId.make("o-1")
const tea = Sku.make("tea")
const added = new LineAdded({ sku: tea, price: 999, quantity: 3 })
const delivered = [added, new Placed({ paid: 2_398 }), new Shipped()]
const returning = (quantity: number) => new Return({ sku: tea, quantity })

it("a discount is taken off what is paid", () => {
  AggregateTest.given(Order, id, [added])
    .when(new Place({ discountPercent: 20 }))
    .then([new Placed({ paid: 2_398 })])
})

it("what comes back is refunded at the price that was paid for it", () => {
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

it("no more comes back than was ordered", () => {
  AggregateTest.given(Order, id, [...delivered, new Returned({ sku: tea, quantity: 2, refund: 1_599 })])
    .when(returning(2))
    .thenRejects(new TooMany({ left: 1 }))
})

it("nothing comes back that was never sent", () => {
  AggregateTest.given(Order, id, [added]).when(returning(1)).thenRejects(new NotPossible({ status: "draft" }))
  AggregateTest.given(Order, id, delivered)
    .when(new Return({ sku: Sku.make("coffee"), quantity: 1 }))
    .thenRejects(new NotOrdered({ sku: "coffee" }))
  AggregateTest.given(Order, id, []).when(new Place({ discountPercent: 0 })).thenRejects(new Empty())
})

it("a history can be given as commands, too", () => {
  AggregateTest.givenCommands(Order, id, [
    new AddLine({ sku: tea, price: 999, quantity: 3 }),
    new Place({ discountPercent: 20 }),
    new Ship(),
    returning(2)
  ]).when(returning(1)).then([new Returned({ sku: tea, quantity: 1, refund: 799 })])
})

// ---- what the laws found while this was written

it("a free order comes back for nothing, and not for NaN", () => {
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

it("what is refunded bit by bit is no more than was paid", () => {
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

it("an article may have any name, and is not returned by one that was never ordered", () => {
  AggregateLaws.check(Order, {
    id: "a",
    commands: [new AddLine({ sku: Sku.make("__proto__"), price: 0, quantity: 1 })]
  })
  AggregateTest.given(Order, id, delivered)
    .when(new Return({ sku: Sku.make("__proto__"), quantity: 1 }))
    .thenRejects(new NotOrdered({ sku: "__proto__" }))
})
