// A read model that shows everything that can go wrong: a row for each event in the order in which it was handled, without a
// key that would hide a double, and a balance that only comes out right if each event counts once and in its order.
import { SqlClient } from "@effect/sql"
import { assert } from "@effect/vitest"
import { type Context, Effect, Layer, Schedule, type Scope, Stream } from "effect"
import {
  type CheckpointStore,
  EventStore,
  ExpectedVersion,
  Projection,
  Projections,
  type SnapshotStore,
  SqlStores
} from "effect-eventsourcing"
import * as path from "node:path"
import { Account, event, stream } from "../fixtures/Account.js"
import { migratedDatabase, sqliteFile, temporaryFolder } from "../utils/backends.js"
import { pgClient } from "../utils/postgres.js"

type Client = Layer.Layer<SqlClient.SqlClient, unknown>

/** How to connect to a new database, as several processes would. */
export const databases: ReadonlyArray<readonly [string, Effect.Effect<() => Client, unknown, Scope.Scope>]> = [
  ["SQLite", Effect.map(temporaryFolder, (folder) => () => sqliteFile(path.join(folder, "test.db")))],
  ["PostgreSQL", Effect.map(migratedDatabase, (url) => () => pgClient(url))]
]

export type Process = Context.Context<
  SqlClient.SqlClient | EventStore.EventStore | SnapshotStore.SnapshotStore | CheckpointStore.CheckpointStore
>

/** Builds what a process has: its own client and its own stores. */
export const process = (client: () => Client): Effect.Effect<Process, unknown, Scope.Scope> =>
  Layer.build(Layer.fresh(Layer.provideMerge(SqlStores.layer, client())))

export const createTables = Effect.flatMap(SqlClient.SqlClient, (sql) =>
  Effect.zipRight(
    sql`CREATE TABLE model (seq ${sql.literal(serial(sql))}, id TEXT, account TEXT, version INTEGER)`,
    sql`CREATE TABLE balances (account TEXT PRIMARY KEY, balance INTEGER NOT NULL)`
  ))

const serial = (sql: SqlClient.SqlClient) =>
  sql.onDialectOrElse({
    pg: () => "BIGINT GENERATED ALWAYS AS IDENTITY",
    orElse: () => "INTEGER PRIMARY KEY AUTOINCREMENT"
  })

export const write = (
  events: ReadonlyArray<{ readonly id: string; readonly aggregateId: string; readonly version: number }>
) =>
  Effect.flatMap(
    SqlClient.SqlClient,
    (sql) =>
      sql`INSERT INTO model ${
        sql.insert(events.map(({ id, aggregateId, version }) => ({ id, account: aggregateId, version })))
      }`
  )

export const Model = Projection.make({ name: "model", on: [Account], handle: write })

/** Starts the layer of a projection in a process until the scope closes. */
export const start = <E, Err, R>(
  process: Process,
  projection: Projection.Projection<E, Err, R>,
  options: Projection.Options
) => Effect.provide(Layer.build(Layer.fresh(Projection.layer(projection, options))), process)

export const append = (
  account: string,
  count = 1,
  expectedVersion: ExpectedVersion.ExpectedVersion = ExpectedVersion.any
) =>
  Effect.flatMap(
    EventStore.EventStore,
    (store) => store.append(stream(account), Array.from({ length: count }, () => event()), { expectedVersion })
  )

export interface Row {
  readonly id: string
  readonly account: string
  readonly version: number
}

/** The rows of the model, in the order in which they were written. */
export const rows = Effect.flatMap(
  SqlClient.SqlClient,
  (sql) => sql<Row>`SELECT id, account, version FROM model ORDER BY seq`
)

export const feed = Effect.flatMap(
  EventStore.EventStore,
  ({ readAll }) => Effect.map(Stream.runCollect(readAll()), (events) => Array.from(events))
)

/** Waits until the feed shows all events that are stored, and a projection has handled them. */
export const caughtUp = (name: string) =>
  Effect.gen(function*() {
    const store = yield* EventStore.EventStore
    const sql = yield* SqlClient.SqlClient
    const isShown = Effect.map(
      Effect.zip(feed, sql<{ readonly count: unknown }>`SELECT count(*) AS count FROM eventsourcing_events`),
      ([events, [{ count }]]) => events.length === Number(count)
    )
    yield* Effect.repeat(isShown, { until: (shown) => shown, schedule: Schedule.spaced("10 millis") })
    yield* Projections.awaitPosition(name, yield* store.head, { timeout: "20 seconds" })
  })

/** The law: each event of the feed is in the model once, and those of a stream are in their order. */
export const isFoldOfFeed = Effect.gen(function*() {
  const found = yield* rows
  const events = yield* feed
  assert.deepStrictEqual(found.map(({ id }) => id).sort(), events.map(({ id }) => id).sort())
  const versions = new Map<string, number>()
  for (const { account, version } of found) {
    assert.strictEqual(Number(version), (versions.get(account) ?? 0) + 1, `the next event of ${account}`)
    versions.set(account, Number(version))
  }
})
