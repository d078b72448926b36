// a read model that asks for all markers: it must end equal to the events that are there
import { SqlClient } from "@effect/sql"
import { Chunk, Effect, Stream } from "effect"
import { EventStore, Projection } from "effect-eventsourcing"
import { Account } from "../../fixtures/Account.js"

export const createLedger = Effect.flatMap(SqlClient.SqlClient, (sql) =>
  Effect.zipRight(
    sql`CREATE TABLE IF NOT EXISTS ledger (
      account TEXT NOT NULL, version INTEGER NOT NULL, amount INTEGER NOT NULL, PRIMARY KEY (account, version)
    )`,
    sql`CREATE TABLE IF NOT EXISTS told (account TEXT PRIMARY KEY, before INTEGER NOT NULL)`
    // on PostgreSQL one of two that create a table at the same time may fail
  ).pipe(Effect.retry({ times: 3 })))

const isGone = (error: EventStore.EventDecodeError | EventStore.EventStoreError): boolean =>
  error._tag === "EventDecodeError" && error.cause instanceof EventStore.HistoryGap && error.cause.removed === true

const amountIn = (payload: unknown): number => Number(Reflect.get(Object(payload), "amount"))

export const Ledger = Projection.makeByTag({
  name: "ledger",
  on: [
    Projection.only(Account, ["Deposited"]),
    Projection.deleted(Account),
    Projection.rewritten(Account),
    Projection.truncated(Account)
  ],
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
            .pipe(
              // it was removed since, and its marker comes later
              Effect.catchIf(isGone, () => Effect.succeed(Chunk.empty()))
            )
          for (const { payload } of Chunk.toReadonlyArray(events)) {
            yield* sql`UPDATE ledger SET amount = ${amountIn(payload)}
              WHERE account = ${aggregateId} AND version = ${version}`
          }
        }),
      $truncated: ({ aggregateId, event: { before } }) =>
        Effect.flatMap(
          SqlClient.SqlClient,
          (sql) =>
            sql`INSERT INTO told (account, before) VALUES (${aggregateId}, ${before}) ON CONFLICT (account)
            DO UPDATE SET before = excluded.before WHERE excluded.before > told.before`
        )
    }
  }
})

/** The rows of a stream by version. */
export const readLedger = Effect.flatMap(SqlClient.SqlClient, (sql) =>
  Effect.map(
    sql<{ readonly account: string; readonly version: number; readonly amount: number }>`SELECT * FROM ledger`,
    (rows) => new Map(rows.map(({ account, amount, version }) => [`${account} ${version}`, Number(amount)]))
  ))

/** The version before which the ledger was told that events of a stream are archived or gone. */
export const readTold = Effect.flatMap(SqlClient.SqlClient, (sql) =>
  Effect.map(
    sql<{ readonly account: string; readonly before: number }>`SELECT * FROM told`,
    (rows) => new Map(rows.map(({ account, before }) => [account, Number(before)]))
  ))
