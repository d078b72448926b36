// The read model of the catalogue, in two versions. The second one also shows how many were sold. Because the events
// have always said so, a rebuild knows it of the past too.
import { SqlClient, SqlSchema } from "@effect/sql"
import { Effect, Schema } from "effect"
import { Projection, Projections } from "effect-eventsourcing"
import { Product } from "./product.js"

export const CatalogueRow = Schema.Struct({
  sku: Schema.String,
  name: Schema.String,
  price: Schema.Int,
  stock: Schema.Int,
  // not in version 1
  sold: Schema.optional(Schema.Int)
})

export const createCatalogue = Effect.gen(function*() {
  const sql = yield* SqlClient.SqlClient
  yield* sql`CREATE TABLE IF NOT EXISTS catalogue_1 (
    sku TEXT PRIMARY KEY, name TEXT NOT NULL, price INTEGER NOT NULL, stock INTEGER NOT NULL
  )`
  yield* sql`CREATE TABLE IF NOT EXISTS catalogue_2 (
    sku TEXT PRIMARY KEY, name TEXT, price INTEGER, stock INTEGER NOT NULL, sold INTEGER NOT NULL
  )`
})

const on = [Projection.only(Product, ["Listed", "PriceSet", "Restocked", "Reserved"])] as const

/** One statement an event: easy to write, slow to rebuild. */
export const Catalogue1 = Projection.makeByTag({
  name: "catalogue",
  version: 1,
  on,
  handlers: {
    Product: {
      Listed: ({ aggregateId, event }) =>
        Effect.flatMap(
          SqlClient.SqlClient,
          (sql) =>
            sql`INSERT INTO catalogue_1 ${
              sql.insert({ sku: aggregateId, name: event.name, price: event.price, stock: 0 })
            }`
        ),
      PriceSet: ({ aggregateId, event }) =>
        Effect.flatMap(
          SqlClient.SqlClient,
          (sql) => sql`UPDATE catalogue_1 SET price = ${event.price} WHERE sku = ${aggregateId}`
        ),
      Restocked: ({ aggregateId, event }) => addStock(aggregateId, event.quantity),
      Reserved: ({ aggregateId, event }) => addStock(aggregateId, -event.quantity)
    }
  }
})

const addStock = (sku: string, quantity: number) =>
  Effect.flatMap(
    SqlClient.SqlClient,
    (sql) => sql`UPDATE catalogue_1 SET stock = stock + ${quantity} WHERE sku = ${sku}`
  )

interface Change {
  name: string | null
  price: number | null
  stock: number
  sold: number
}

/** One statement a batch. */
export const Catalogue2 = Projection.make({
  name: "catalogue",
  version: 2,
  on,
  handle: (events) =>
    Effect.flatMap(SqlClient.SqlClient, (sql) => {
      const changes = new Map<string, Change>()
      for (const { aggregateId, event } of events) {
        const change = changes.get(aggregateId) ?? { name: null, price: null, stock: 0, sold: 0 }
        changes.set(aggregateId, change)
        switch (event._tag) {
          case "Listed":
            change.name = event.name
            change.price = event.price
            break
          case "PriceSet":
            change.price = event.price
            break
          case "Restocked":
            change.stock += event.quantity
            break
          case "Reserved":
            change.stock -= event.quantity
            change.sold += event.quantity
        }
      }
      const rows = Array.from(changes, ([sku, change]) => ({ sku, ...change }))
      return sql`INSERT INTO catalogue_2 ${sql.insert(rows)} ON CONFLICT (sku) DO UPDATE SET
        name = COALESCE(excluded.name, catalogue_2.name),
        price = COALESCE(excluded.price, catalogue_2.price),
        stock = catalogue_2.stock + excluded.stock,
        sold = catalogue_2.sold + excluded.sold`
    })
})

/** Reads the first products of the version that is active. */
export const readCatalogue = Effect.gen(function*() {
  const sql = yield* SqlClient.SqlClient
  const version = yield* Projections.activeVersion("catalogue")
  return yield* SqlSchema.findAll({
    Request: Schema.Void,
    Result: CatalogueRow,
    execute: () =>
      version === 1
        ? sql`SELECT sku, name, price, stock FROM catalogue_1 ORDER BY sku LIMIT 100`
        : sql`SELECT sku, name, price, stock, sold FROM catalogue_2 ORDER BY sku LIMIT 100`
  })(undefined)
})
