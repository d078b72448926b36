// The read model of the list of orders.
import { SqlClient, SqlSchema } from "@effect/sql"
import { Effect, Schema } from "effect"
import { Projection } from "effect-eventsourcing"
import { Order } from "./order.js"

export const OrderRow = Schema.Struct({
  id: Schema.String,
  product: Schema.String,
  quantity: Schema.Int,
  status: Schema.Literal("placed", "confirmed", "refused"),
  total: Schema.Int
})

export const createOrderList = Effect.flatMap(SqlClient.SqlClient, (sql) =>
  sql`CREATE TABLE IF NOT EXISTS order_list (
    id TEXT PRIMARY KEY,
    product TEXT NOT NULL,
    quantity INTEGER NOT NULL,
    status TEXT NOT NULL,
    total INTEGER NOT NULL
  )`)

export const OrderList = Projection.makeByTag({
  name: "orders",
  on: [Order],
  handlers: {
    Order: {
      Placed: ({ aggregateId, event }) =>
        Effect.flatMap(
          SqlClient.SqlClient,
          (sql) =>
            sql`INSERT INTO order_list ${
              sql.insert({
                id: aggregateId,
                product: event.product,
                quantity: event.quantity,
                status: "placed",
                total: 0
              })
            }`
        ),
      Confirmed: ({ aggregateId, event }) =>
        Effect.flatMap(
          SqlClient.SqlClient,
          (sql) => sql`UPDATE order_list SET status = 'confirmed', total = ${event.total} WHERE id = ${aggregateId}`
        ),
      Refused: ({ aggregateId }) =>
        Effect.flatMap(
          SqlClient.SqlClient,
          (sql) => sql`UPDATE order_list SET status = 'refused' WHERE id = ${aggregateId}`
        )
    }
  }
})

/** Reads the first orders, by their ids. */
export const readOrderList = Effect.flatMap(SqlClient.SqlClient, (sql) =>
  SqlSchema.findAll({
    Request: Schema.Void,
    Result: OrderRow,
    execute: () => sql`SELECT id, product, quantity, status, total FROM order_list ORDER BY id LIMIT 100`
  })(undefined))
