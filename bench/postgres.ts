import { PgClient } from "@effect/sql-pg"
import { Effect, Layer, ManagedRuntime } from "effect"
import { Postgres, Repository, SnapshotPolicy, SqlStores } from "effect-eventsourcing"
import { createRequire } from "node:module"
import type * as Pg from "pg"
import { pgClient, type Server, startServer } from "../test/utils/postgres.js"
import type { Backend, Driver } from "./backend.js"
import { Account, id, newId, seed, streamOf } from "./fixtures.js"

/** Beyond these the server has its own defaults. Without fsync a commit does not wait for the disk, for anybody. */
export const settings = { fsync: "off", shared_buffers: "256MB", max_wal_size: "4GB" }

const connections = 16

// the copy that the library's driver uses: the peers bring one of their own into this folder
const pg: typeof Pg = createRequire(new URL("../package.json", import.meta.url))("pg")

export const start = (): Promise<Server> => startServer(settings)

const preparedClient = (url: string) =>
  PgClient.layerFromPool({
    acquire: Effect.acquireRelease(
      Effect.sync(() =>
        Postgres.preparePool(new pg.Pool({ connectionString: url, max: connections })).on("error", () => {})
      ),
      (pool) => Effect.promise(() => pool.end())
    )
  })

export const storesOn = (url: string, options: { readonly prepared: boolean }) =>
  SqlStores.layer.pipe(
    Layer.provideMerge(options.prepared ? preparedClient(url) : pgClient(url, { maxConnections: connections }))
  )

const driverOn = (pool: Pg.Pool, client: Pg.PoolClient): Driver => {
  // a named statement is prepared once on each connection
  const insert: (client: Pg.Pool | Pg.PoolClient) => Driver["insert"] = (client) => async (stream, version, event) => {
    await client.query({
      name: "insert",
      text: `INSERT INTO eventsourcing_events
  (transaction, aggregate, stream_id, version, event_id, type, payload, metadata)
VALUES (pg_current_xact_id()::text::bigint, $1, $2, $3, $4, $5, $6, '{}')`,
      values: [stream.aggregate, stream.id, version, newId(), event._tag, JSON.stringify(event)]
    })
  }
  return {
    replay: async (stream, state, evolve) => {
      const { rows } = await client.query<{ version: number; type: string; payload: string }>({
        name: "select",
        text: `SELECT version, type, payload FROM eventsourcing_events
WHERE aggregate = $1 AND stream_id = $2 ORDER BY version`,
        values: [stream.aggregate, stream.id]
      })
      for (const { payload } of rows) state = evolve(state, JSON.parse(payload))
      return state
    },
    payloads: async (stream, state, evolve) => {
      const { rows } = await client.query<[payload: string]>({
        name: "select payloads",
        text: `SELECT payload FROM eventsourcing_events WHERE aggregate = $1 AND stream_id = $2 ORDER BY version`,
        values: [stream.aggregate, stream.id],
        rowMode: "array"
      })
      for (const [payload] of rows) state = evolve(state, JSON.parse(payload))
      return state
    },
    insert: insert(client),
    insertAll: async (stream, version, events) => {
      await client.query({
        name: "insert all",
        text: `INSERT INTO eventsourcing_events
  (transaction, aggregate, stream_id, version, event_id, type, payload, metadata)
SELECT pg_current_xact_id()::text::bigint, $1, $2, $3 + number - 1, event_id, type, payload, '{}'
FROM unnest($4::text[], $5::text[], $6::text[]) WITH ORDINALITY AS row (event_id, type, payload, number)`,
        values: [
          stream.aggregate,
          stream.id,
          version,
          events.map(() => newId()),
          events.map((event) => event._tag),
          events.map((event) => JSON.stringify(event))
        ]
      })
    },
    insertMany: async (events) => {
      await client.query({
        name: "insert many",
        text: `INSERT INTO eventsourcing_events
  (transaction, aggregate, stream_id, version, event_id, type, payload, metadata, time)
SELECT pg_current_xact_id()::text::bigint, aggregate, stream_id, version, event_id, type, payload, '{}',
  to_timestamp(time / 1000.0)
FROM unnest($1::text[], $2::text[], $3::bigint[], $4::text[], $5::text[], $6::text[], $7::bigint[])
  AS row (aggregate, stream_id, version, event_id, type, payload, time)`,
        values: [
          events.map(({ stream }) => stream.aggregate),
          events.map(({ stream }) => stream.id),
          events.map(({ version }) => version),
          events.map(() => newId()),
          events.map(({ event }) => event._tag),
          events.map(({ event }) => JSON.stringify(event)),
          events.map(({ time }) => time)
        ]
      })
    },
    writeAtOnce: async (streams, version, times, event) => {
      await Promise.all(streams.map(async (stream) => {
        for (let i = 0; i < times; i++) await insert(pool)(stream, version + i, event)
      }))
    }
  }
}

/** The server plans by what it knows of a table: one with a handful of streams is none that anybody has. */
const others = Effect.gen(function*() {
  const accounts = yield* Effect.scoped(Repository.make(Account, { snapshots: SnapshotPolicy.manual }))
  for (let i = 0; i < 300; i++) {
    const stream = streamOf(`other-${i}`)
    yield* seed(stream, 20)
    yield* accounts.createSnapshot(id(stream.id))
  }
})

export const open = async (url: string, options = { prepared: false }): Promise<Backend> => {
  const runtime = ManagedRuntime.make(storesOn(url, options))
  await runtime.runPromise(others)
  const pool = new pg.Pool({ connectionString: url, max: connections })
  // the server is stopped at the end while connections are idle
  pool.on("error", () => {})
  const client = await pool.connect()
  return {
    name: options.prepared ? "PostgreSQL, prepared" : "PostgreSQL",
    database: url,
    runtime,
    driver: driverOn(pool, client),
    version: async () => (await client.query<{ server_version: string }>("SHOW server_version")).rows[0].server_version,
    settle: async () => {
      await client.query("VACUUM ANALYZE")
    },
    countStatements: async (effect) => {
      const { query } = pg.Client.prototype
      let count = 0
      Object.assign(pg.Client.prototype, {
        query(this: Pg.Client, ...args: Parameters<typeof query>) {
          count++
          return query.apply(this, args)
        }
      })
      try {
        await runtime.runPromise(effect)
      } finally {
        Object.assign(pg.Client.prototype, { query })
      }
      return count
    },
    close: async () => {
      client.release()
      await pool.end()
      await runtime.dispose()
    }
  }
}
