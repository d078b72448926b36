import { CommandHandler, type EventStore, STREAM_DOES_NOT_EXIST } from "@event-driven-io/emmett"
import { getPostgreSQLEventStore, postgreSQLEventStoreConsumer } from "@event-driven-io/emmett-postgresql"
import { getSQLiteEventStore, sqliteConnection } from "@event-driven-io/emmett-sqlite"
import pg from "pg"
import {
  type AccountEvent,
  type AccountState,
  decide,
  deposit,
  deposited,
  eventAt,
  evolve,
  initial
} from "../fixtures.js"
import type { Peer } from "../peer.js"
import type { PeerConsumer } from "../projections.js"

interface StoredEvent {
  readonly type: string
  readonly data: AccountEvent
}

const toStored = (event: AccountEvent): StoredEvent => ({ type: event._tag, data: event })
const evolveStored = (state: AccountState, event: { readonly data: AccountEvent }) => evolve(state, event.data)

const peer = (
  options: Pick<Peer, "name" | "backend" | "close"> & {
    readonly store: EventStore
    readonly expected: (version: number) => Parameters<EventStore["appendToStream"]>[2]
  }
): Peer => {
  const { expected, store } = options
  const handle = CommandHandler<AccountState, StoredEvent>({ evolve: evolveStored, initialState: initial })
  const append = async (stream: string, version: number, events: ReadonlyArray<AccountEvent>) => {
    await store.appendToStream(`account-${stream}`, events.map(toStored), expected(version))
  }
  return {
    ...options,
    seed: async (stream, events) => {
      for (let version = 0; version < events; version += 1_000) {
        const page = Array.from({ length: Math.min(1_000, events - version) }, (_, i) => eventAt(version + i + 1))
        await append(stream, version, page)
      }
    },
    load: (stream) =>
      store.aggregateStream<AccountState, StoredEvent>(`account-${stream}`, {
        evolve: evolveStored,
        initialState: initial
      }),
    read: (stream) => store.readStream<StoredEvent>(`account-${stream}`),
    append: (stream, version, events) => append(stream, version, Array.from({ length: events }, () => deposited)),
    command: async (stream) => {
      await handle(store, `account-${stream}`, (state) => decide(state, deposit).map(toStored))
    }
  }
}

// its own versions are bigints; 0 is a stream that does not exist
const expected = (version: number) => ({
  expectedStreamVersion: version === 0 ? STREAM_DOES_NOT_EXIST : BigInt(version)
})

export const onSqlite = async (fileName: string): Promise<Peer> => {
  // by default it opens the file anew for every call; one connection, which it offers too, is faster
  const connection = sqliteConnection({ fileName })
  await connection.command("PRAGMA synchronous = NORMAL")
  const store = getSQLiteEventStore({ fileName, connectionOptions: { singleton: true, connection } })
  await store.schema.migrate()
  return peer({
    name: "emmett-sqlite",
    backend: "SQLite",
    store,
    expected,
    close: async () => connection.close()
  })
}

export const onPostgres = async (url: string): Promise<Peer> => {
  // by default it makes one of ten connections, and takes none but a ready one instead
  const pool = new pg.Pool({ connectionString: url, max: 16 })
  pool.on("error", () => {})
  const store = getPostgreSQLEventStore(url, { connectionOptions: { pool } })
  await store.schema.migrate()
  return peer({
    name: "emmett-postgresql",
    backend: "PostgreSQL",
    store,
    expected,
    close: async () => {
      await store.close()
      await pool.end()
    }
  })
}

/** Its consumer of all events. It reads them in batches, and hands them on one by one in the transaction of the checkpoint. */
export const consumerOnPostgres = async (connectionString: string, batchSize: number): Promise<PeerConsumer> => {
  const pool = new pg.Pool({ connectionString, max: 16 })
  pool.on("error", () => {})
  const store = getPostgreSQLEventStore(connectionString, { connectionOptions: { pool } })
  await store.schema.migrate()
  await pool.query("CREATE TABLE emt_read_model (id text PRIMARY KEY, account text, version integer, type text)")
  let runs = 0
  return {
    name: "emmett-postgresql, consumer",
    seed: async (events) => {
      const streams = 50
      for (let part = 0; part < streams; part++) {
        const all = Array.from({ length: Math.ceil(events / streams) }, (_, i) => toStored(eventAt(i + 1)))
        for (let from = 0; from < all.length; from += 1_000) {
          await store.appendToStream(`account-${part}`, all.slice(from, from + 1_000), expected(from))
        }
      }
    },
    catchUp: async () => {
      const consumer = postgreSQLEventStoreConsumer<StoredEvent>({
        connectionString,
        stopWhen: { noMessagesLeft: true },
        // by default it waits for 50 milliseconds after each batch
        pulling: { batchSize, pullingFrequencyInMs: 0 }
      })
      consumer.reactor<StoredEvent>({
        processorId: `catch-up-${runs++}`,
        startFrom: "BEGINNING",
        eachMessage: async ({ metadata, type }, { connection }) => {
          await connection.client.query("INSERT INTO emt_read_model VALUES ($1, $2, $3, $4)", [
            metadata.messageId,
            metadata.streamName,
            Number(metadata.streamPosition),
            type
          ])
        }
      })
      await consumer.start()
      await consumer.close()
    },
    reset: async () => {
      const { rows } = await pool.query("SELECT count(*) FROM emt_read_model")
      if (Number(rows[0].count) === 0) throw new Error("emmett's consumer handled nothing")
      await pool.query("TRUNCATE emt_read_model")
    },
    close: async () => {
      await store.close()
      await pool.end()
    }
  }
}
