import { SqlClient } from "@effect/sql"
import { Effect } from "effect"
import { Projection } from "effect-eventsourcing"
import { Account } from "../fixtures/Account.js"

/** The amount of an event that cannot be handled, until the handler is repaired. */
export const poison = 666

/**
 * Keeps the balance of each account in a table for each version. A row changes only by the event that is next in its stream,
 * so that an event that is skipped, doubled or out of order leaves a wrong row behind.
 */
export const balances = (version: number, { isRepaired }: { readonly isRepaired: boolean }) =>
  Projection.make({
    name: "balances",
    version,
    on: [Account],
    handle: (events) =>
      Effect.gen(function*() {
        const sql = yield* SqlClient.SqlClient
        const table = sql(`balances_${version}`)
        for (const { aggregateId, event, version } of events) {
          const amount = event._tag === "Deposited" ? event.amount : 0
          if (amount === poison && !isRepaired) return yield* Effect.fail("poison")
          yield* sql`INSERT INTO ${table} (account, balance, last) VALUES (${aggregateId}, ${amount}, ${version})
ON CONFLICT (account) DO UPDATE SET balance = ${table}.balance + excluded.balance, last = excluded.last
WHERE ${table}.last = excluded.last - 1`
        }
      })
  })

export const options = { pageSize: 50, lease: "1 second", maxDelay: "50 millis", poison: "parkStream" } as const
