// The process manager: an order that was placed reserves stock, and the answer of the product confirms or refuses it.
//
// Each command has the id of the event that caused it. An event that is handled again, after a crash or by a second
// process, therefore changes nothing.
import { Effect } from "effect"
import { Projection, Subscription } from "effect-eventsourcing"
import { Confirm, Order, Orders, Refuse } from "./order.js"
import { Product, Products, Reserve } from "./product.js"

export const Fulfilment = Subscription.makeByTag({
  name: "fulfilment",
  on: [Projection.only(Order, ["Placed"]), Projection.only(Product, ["Reserved", "OutOfStock"])],
  from: "start",
  handlers: {
    Order: {
      Placed: ({ aggregateId, event, id }) =>
        Effect.flatMap(Products, (products) =>
          products.execute(
            event.product,
            new Reserve({ order: aggregateId, quantity: event.quantity }),
            { commandId: id }
          ))
    },
    Product: {
      Reserved: ({ event, id }) =>
        Effect.flatMap(
          Orders,
          (orders) =>
            orders.execute(event.order, new Confirm({ total: event.price * event.quantity }), { commandId: id })
        ),
      OutOfStock: ({ event, id }) =>
        Effect.flatMap(Orders, (orders) => orders.execute(event.order, new Refuse(), { commandId: id }))
    }
  }
})
