// a module with projections, as a user gives it to the command line
import { SqlClient } from "@effect/sql"
import { Context, Effect, Layer } from "effect"
import { Projection, Subscription } from "effect-eventsourcing"
import { Account } from "../../fixtures/Account.js"

/** A service that only the layer of the module provides. */
export class Book extends Context.Tag("test/Book")<Book, { readonly name: string }>() {}

/** Writes a row for each deposit. A second row of an event would be a second count. */
export const Deposits = Projection.make({
  name: "deposits",
  on: [Projection.only(Account, ["Deposited"])],
  handle: (events) =>
    Effect.gen(function*() {
      const { name } = yield* Book
      const sql = yield* SqlClient.SqlClient
      for (const { event, id } of events) {
        yield* sql`INSERT INTO deposits (book, event, amount) VALUES (${name}, ${id}, ${event.amount})`
        if (process.env.DEPOSITS_HANG !== undefined) {
          process.stderr.write("written\n")
          yield* Effect.never
        }
        if (event.amount === 13) return yield* Effect.fail("an amount that no book takes")
      }
    })
})

export const Mails = Subscription.make({
  name: "mails",
  from: "start",
  on: [Projection.only(Account, ["Opened"])],
  handle: ({ id }) => Effect.flatMap(SqlClient.SqlClient, (sql) => sql`INSERT INTO mails (event) VALUES (${id})`)
})

export const layer = Layer.succeed(Book, { name: "first" })
