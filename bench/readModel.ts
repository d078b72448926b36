// the read model of the benchmark: a row for each event, all rows of a batch by one statement, for the library, the
// drivers and the peers
import { SqlClient } from "@effect/sql"
import { Context, Effect, Layer, ManagedRuntime } from "effect"
import { CheckpointStore, type EventStore, Projection, SqlCheckpointStore, Wakeup } from "effect-eventsourcing"
import { createRequire } from "node:module"
import type * as Pg from "pg"
import { existing } from "./backend.js"
import { Account } from "./fixtures.js"
import * as Postgres from "./postgres.js"
import * as Sqlite from "./sqlite.js"

export type Services = EventStore.EventStore | CheckpointStore.CheckpointStore | SqlClient.SqlClient

/** Sees where a checkpoint is as soon as it is committed. */
export type OnAdvance = (to: string) => void

export const isPostgres = (database: string): boolean => database.startsWith("postgres://")

// the copy that the library's driver uses
const pg: typeof Pg = createRequire(new URL("../package.json", import.meta.url))("pg")

const checkpointsSeen = (onAdvance: OnAdvance) =>
  Layer.map(SqlCheckpointStore.layer, (context) => {
    const store = Context.get(context, CheckpointStore.CheckpointStore)
    const advance: typeof store.advance = (lease, options, effect) =>
      Effect.tap(store.advance(lease, options, effect), () => Effect.sync(() => onAdvance(options.to)))
    return Context.make(CheckpointStore.CheckpointStore, { ...store, advance })
  })

/** The stores, the checkpoints and, if it is wanted, what wakes readers in other processes. */
export const layerOn = (database: string, options: {
  readonly onAdvance?: OnAdvance | undefined
  readonly isWoken?: boolean | undefined
} = {}) => {
  const { isWoken = false, onAdvance } = options
  const checkpoints = checkpointsSeen(onAdvance ?? (() => {}))
  const stores: Layer.Layer<EventStore.EventStore | SqlClient.SqlClient, unknown> = isPostgres(database)
    ? Postgres.storesOn(database, { prepared: false })
    : Sqlite.storesOn(database)
  const wakeup: Layer.Layer<never, unknown, EventStore.EventStore> = !isWoken
    ? Layer.empty
    : isPostgres(database)
    ? Wakeup.layerPostgres({ client: () => new pg.Client({ connectionString: database }) })
    : Wakeup.layerSqlite({ filename: database })
  return Layer.provideMerge(Layer.merge(checkpoints, wakeup), stores)
}

/** A process's own runtime. The tables of the read model are there. */
export const open = (database: string, options: Parameters<typeof layerOn>[1] = {}) =>
  ManagedRuntime.make(Layer.provideMerge(tables(isPostgres(database)), layerOn(database, options)))

const tables = (onPostgres: boolean) =>
  Layer.effectDiscard(Effect.gen(function*() {
    const sql = yield* SqlClient.SqlClient
    // in a transaction SQLite waits for the writers of other processes: a statement alone fails after ten milliseconds
    yield* sql.withTransaction(Effect.gen(function*() {
      yield* sql.unsafe(
        `CREATE TABLE IF NOT EXISTS read_model (id text PRIMARY KEY, account text NOT NULL, version integer NOT NULL, type text NOT NULL)`
      )
      yield* sql.unsafe(
        "CREATE TABLE IF NOT EXISTS raw_checkpoint (transaction_id text NOT NULL, position text NOT NULL)"
      )
      yield* sql.unsafe(onPostgres ? "TRUNCATE raw_checkpoint" : "DELETE FROM raw_checkpoint")
      yield* sql.unsafe("INSERT INTO raw_checkpoint VALUES ('0', '0')")
    }))
  }))

export const clear = (database: string) =>
  Effect.flatMap(
    SqlClient.SqlClient,
    (sql) => sql.unsafe(isPostgres(database) ? "TRUNCATE read_model" : "DELETE FROM read_model")
  )

/** A row of the read model: id, account, version, type. */
export type Row = readonly [id: string, account: string, version: number, type: string]

/** One statement for all rows, which are one text. Several projections write to one table, one after the other. */
export const insertText = (onPostgres: boolean): string =>
  onPostgres
    ? `INSERT INTO read_model (id, account, version, type)
SELECT value->>0, value->>1, (value->>2)::integer, value->>3 FROM json_array_elements($1::json)
ON CONFLICT DO NOTHING`
    : `INSERT INTO read_model (id, account, version, type)
SELECT value->>0, value->>1, value->>2, value->>3 FROM json_each(?) WHERE true
ON CONFLICT DO NOTHING`

/** A projection that writes a batch by one statement. */
export const projection = (name: string, database: string) => {
  const text = insertText(isPostgres(database))
  return Projection.make({
    name,
    on: [Account],
    handle: (events) =>
      Effect.flatMap(SqlClient.SqlClient, (sql) =>
        sql.unsafe(text, [
          JSON.stringify(
            events.map(({ aggregateId, event, id, version }): Row => [id, aggregateId, version, event._tag])
          )
        ]))
  })
}

/** Follows the events by the driver alone: a page, then a transaction with the checkpoint and the rows. */
export interface Follower {
  /** Handles one page, and gives the number of its events. */
  readonly next: () => number | Promise<number>
  /** Begins again at the start of the feed, with an empty read model. */
  readonly reset: () => void | Promise<void>
  readonly close: () => void | Promise<void>
}

export const follower = (database: string, limit: number): Promise<Follower> =>
  isPostgres(database) ? onPostgres(database, limit) : Promise.resolve(onSqlite(database, limit))

interface Stored {
  readonly transaction: string
  readonly position: string
  readonly event_id: string
  readonly stream_id: string
  readonly version: number
  readonly payload: string
}

const toRow = ({ event_id, payload, stream_id, version }: Stored): Row => [
  event_id,
  stream_id,
  version,
  JSON.parse(payload)._tag
]

const onPostgres = async (database: string, limit: number): Promise<Follower> => {
  const client = new pg.Client({ connectionString: database })
  client.on("error", () => {})
  await client.connect()
  let at: Pick<Stored, "transaction" | "position"> = { transaction: "0", position: "0" }
  return {
    next: async () => {
      const { rows } = await client.query<Stored>({
        name: "page",
        text: `SELECT transaction, position, event_id, aggregate, stream_id, version, type, payload, metadata, time
FROM eventsourcing_events
WHERE (transaction, position) > ($1::bigint, $2::bigint)
  AND transaction < pg_snapshot_xmin(pg_current_snapshot())::text::bigint
ORDER BY transaction, position LIMIT $3`,
        values: [at.transaction, at.position, limit]
      })
      if (rows.length === 0) return 0
      const { position, transaction } = rows[rows.length - 1]
      const values = JSON.stringify(rows.map(toRow))
      await client.query("BEGIN")
      await client.query({
        name: "checkpoint",
        text:
          "UPDATE raw_checkpoint SET transaction_id = $1, position = $2 WHERE transaction_id = $3 AND position = $4",
        values: [transaction, position, at.transaction, at.position]
      })
      await client.query({ name: "rows", text: insertText(true), values: [values] })
      await client.query("COMMIT")
      at = { transaction, position }
      return rows.length
    },
    reset: async () => {
      await client.query("TRUNCATE read_model")
      await client.query("UPDATE raw_checkpoint SET transaction_id = '0', position = '0'")
      at = { transaction: "0", position: "0" }
    },
    close: () => client.end()
  }
}

const onSqlite = (database: string, limit: number): Follower => {
  const driver = Sqlite.openDriver(database)
  const select = driver.prepare<[string, number], Stored>(
    `SELECT position, event_id, aggregate, stream_id, version, type, payload, metadata, time FROM eventsourcing_events
WHERE position > CAST(? AS integer) ORDER BY position LIMIT ?`
  )
  const checkpoint = driver.prepare("UPDATE raw_checkpoint SET position = ? WHERE position = ?")
  const insert = driver.prepare(insertText(false))
  let at = "0"
  const handle = driver.transaction((rows: ReadonlyArray<Stored>, to: string) => {
    checkpoint.run(to, at)
    insert.run(JSON.stringify(rows.map(toRow)))
  })
  return {
    next: () => {
      const rows = select.all(at, limit)
      if (rows.length === 0) return 0
      const to = String(existing(rows.at(-1)).position)
      handle.immediate(rows, to)
      at = to
      return rows.length
    },
    reset: () => {
      driver.exec("DELETE FROM read_model; UPDATE raw_checkpoint SET position = '0'")
      at = "0"
    },
    close: () => void driver.close()
  }
}
