// a read model that asks for all markers: it must end equal to the events that are there
import { SqlClient } from "@effect/sql"
import { Chunk, Effect, Stream } from "effect"
import { EventStore, Projection } from "effect-eventsourcing"
import { Account } from "../../fixtures/Account.js"

export const createLedger = Effect.flatMap(SqlClient.SqlClient, (sql) =>
  sql`CREATE TABLE IF NOT EXISTS ledger (
    account TEXT NOT NULL, version INTEGER NOT NULL, amount INTEGER NOT NULL, PRIMARY KEY (account, version)
  )`)

const amountIn = (payload: unknown): number => Number(Reflect.get(Object(payload), "amount"))

export const Ledger = Projection.makeByTag({
  name: "ledger",
  on: [Projection.only(Account, ["Deposited"]), Projection.deleted(Account), Projection.rewritten(Account)],
  handlers: {
    Account: {
      // an event that was removed and was still in the page comes before its marker
      Deposited: ({ aggregateId, event, version }) =>
        Effect.flatMap(
          SqlClient.SqlClient,
          (sql) =>
            sql`INSERT INTO ledger (account, version, amount) VALUES (${aggregateId}, ${version}, ${event.amount})`
        ),
      $deleted: ({ aggregateId }) =>
        Effect.flatMap(SqlClient.SqlClient, (sql) => sql`DELETE FROM ledger WHERE account = ${aggregateId}`),
      $rewritten: ({ aggregateId, event, stream }) =>
        Effect.gen(function*() {
          const sql = yield* SqlClient.SqlClient
          const store = yield* EventStore.EventStore
          const { version } = event
          const events = yield* Stream.runCollect(store.read(stream, { fromVersion: version, toVersion: version }))
          for (const { payload } of Chunk.toReadonlyArray(events)) {
            yield* sql`UPDATE ledger SET amount = ${amountIn(payload)}
              WHERE account = ${aggregateId} AND version = ${version}`
          }
        })
    }
  }
})

/** The rows of a stream by version. */
export const readLedger = Effect.flatMap(SqlClient.SqlClient, (sql) =>
  Effect.map(
    sql<{ readonly account: string; readonly version: number; readonly amount: number }>`SELECT * FROM ledger`,
    (rows) => new Map(rows.map(({ account, amount, version }) => [`${account} ${version}`, Number(amount)]))
  ))
