import { PgClient } from "@effect/sql-pg"
import { Effect, Layer, ManagedRuntime } from "effect"
import {
  Postgres,
  Repository,
  SnapshotPolicy,
  type SqlEventStore,
  SqlStores,
  type StreamId
} from "effect-eventsourcing"
import { createRequire } from "node:module"
import type * as Pg from "pg"
import { pgClient, type Server, startServer } from "../test/utils/postgres.js"
import { type Backend, decideOn, type Driver, existing } from "./backend.js"
import { Account, type AccountEvent, id, newId, seed, streamOf } from "./fixtures.js"

const sized = { shared_buffers: "256MB", max_wal_size: "4GB", max_connections: "300" }

/** Beyond these the server has its own defaults. Without fsync no commit waits for the disk, whoever made it. */
export const settings = { fsync: "off", full_page_writes: "off", ...sized }

/** With the safety of the server's own defaults: each commit waits for the disk. */
export const safeSettings = { fsync: "on", full_page_writes: "on", ...sized }

/** As many as the stores, the driver and each peer have that lets a program choose. */
export const connections = 16

// the copy that the library's driver uses: the peers bring one of their own into this folder
const pg: typeof Pg = createRequire(new URL("../package.json", import.meta.url))("pg")

export const start = (options = { fsync: false }): Promise<Server> =>
  startServer(options.fsync ? safeSettings : settings)

const preparedClient = (url: string) =>
  PgClient.layerFromPool({
    acquire: Effect.acquireRelease(
      Effect.sync(() =>
        Postgres.preparePool(new pg.Pool({ connectionString: url, max: connections })).on("error", () => {})
      ),
      (pool) => Effect.promise(() => pool.end())
    )
  })

export const storesOn = (
  url: string,
  { prepared, ...options }: SqlEventStore.Options & { readonly prepared: boolean }
) =>
  SqlStores.layerWith(options).pipe(
    Layer.provideMerge(prepared ? preparedClient(url) : pgClient(url, { maxConnections: connections }))
  )

const driverOn = (url: string, client: Pg.Client): Driver => {
  // a named statement is prepared once on each connection
  const insert =
    (client: Pg.Pool | Pg.Client) => async (stream: StreamId.StreamId, version: number, event: AccountEvent) => {
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
    workers: (connections) => {
      const pool = new pg.Pool({ connectionString: url, max: connections }).on("error", () => {})
      const insertOne = insert(pool)
      const command = async (stream: StreamId.StreamId) => {
        const { rows } = await pool.query<{ version: number; state: string }>({
          name: "select snapshot",
          text: `SELECT version, state FROM eventsourcing_snapshots
WHERE aggregate = $1 AND stream_id = $2 AND schema_version = 1`,
          values: [stream.aggregate, stream.id]
        })
        const { state, version } = existing(rows[0])
        const [events] = decideOn(JSON.parse(state))
        for (const [index, event] of events.entries()) await insertOne(stream, version + index + 1, event)
      }
      return {
        insert: async (streams, version, times, event) => {
          await Promise.all(streams.map(async (stream) => {
            for (let i = 0; i < times; i++) await insertOne(stream, version + i, event)
          }))
        },
        command: async (streams) => {
          await Promise.all(streams.map(async (list) => {
            for (const stream of list) await command(stream)
          }))
        },
        close: () => pool.end()
      }
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

/** Counts and times what the library's driver sends while the work runs. */
const watch = async (work: () => Promise<unknown>, sent: () => () => void): Promise<void> => {
  const { query } = pg.Client.prototype
  Object.assign(pg.Client.prototype, {
    query(this: Pg.Client, ...args: ReadonlyArray<unknown>) {
      const answered = sent()
      const last = args[args.length - 1]
      if (typeof last !== "function") return Reflect.apply(query, this, args)
      const callback = (...results: ReadonlyArray<unknown>) => {
        answered()
        return Reflect.apply(last, undefined, results)
      }
      return Reflect.apply(query, this, [...args.slice(0, -1), callback])
    }
  })
  try {
    await work()
  } finally {
    Object.assign(pg.Client.prototype, { query })
  }
}

export const open = async (url: string, options: {
  readonly prepared?: boolean | undefined
  readonly fsync?: boolean | undefined
} = {}): Promise<Backend> => {
  const { fsync = false, prepared = false } = options
  const stores: Backend["stores"] = (options) => ManagedRuntime.make(storesOn(url, { ...options, prepared }))
  const runtime = stores({})
  await runtime.runPromise(others)
  const client = new pg.Client({ connectionString: url })
  // the server is stopped at the end while connections are idle
  client.on("error", () => {})
  await client.connect()
  return {
    name: `PostgreSQL${prepared ? ", prepared" : ""}${fsync ? ", fsync" : ""}`,
    database: url,
    runtime,
    stores,
    driver: driverOn(url, client),
    version: async () => (await client.query<{ server_version: string }>("SHOW server_version")).rows[0].server_version,
    settle: async () => {
      await client.query("VACUUM ANALYZE")
    },
    countStatements: async (effect) => {
      let count = 0
      await watch(() => runtime.runPromise(effect), () => {
        count++
        return () => {}
      })
      return count
    },
    timeStatements: async (work) => {
      const times: Array<number> = []
      await watch(work, () => {
        const start = performance.now()
        return () => times.push(performance.now() - start)
      })
      return times
    },
    close: async () => {
      await client.end()
      await runtime.dispose()
    }
  }
}
