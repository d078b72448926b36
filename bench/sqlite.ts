import { SqliteClient } from "@effect/sql-sqlite-node"
import Database from "better-sqlite3"
import { Layer, ManagedRuntime } from "effect"
import { type SqlEventStore, Sqlite, SqlStores } from "effect-eventsourcing"
import * as fs from "node:fs"
import * as os from "node:os"
import * as path from "node:path"
import { type Backend, decideOn, type Driver, existing } from "./backend.js"
import { newId } from "./fixtures.js"

type Synchronous = "NORMAL" | "FULL"

/** The settings of every contender. With NORMAL a commit waits for the operating system, with FULL for the disk. */
export const settings = (synchronous: Synchronous): string => `journal_mode = WAL, synchronous = ${synchronous}`

export const storesOn = (
  filename: string,
  { synchronous = "NORMAL", ...options }: SqlEventStore.Options & { readonly synchronous?: Synchronous } = {}
) =>
  SqlStores.layerWith(options).pipe(
    Layer.provideMerge(Sqlite.layer(SqliteClient.layer, { filename, synchronous }))
  )

export const temporaryFolder = () => fs.mkdtempSync(path.join(os.tmpdir(), "eventsourcing-bench-"))

export const openDriver = (filename: string, synchronous: Synchronous = "NORMAL") => {
  const database = new Database(filename)
  database.pragma("journal_mode = WAL")
  database.pragma(`synchronous = ${synchronous}`)
  return database
}

export const driverOn = (database: Database.Database): Driver => {
  const select = database.prepare<[string, string], { version: number; type: string; payload: string }>(
    `SELECT version, type, payload FROM eventsourcing_events WHERE aggregate = ? AND stream_id = ? ORDER BY version`
  )
  const selectPayloads = database.prepare<[string, string], string>(
    `SELECT payload FROM eventsourcing_events WHERE aggregate = ? AND stream_id = ? ORDER BY version`
  ).pluck()
  const insert = database.prepare(
    `INSERT INTO eventsourcing_events (aggregate, stream_id, version, event_id, type, payload, metadata, time)
VALUES (?, ?, ?, ?, ?, ?, '{}', ?)`
  )
  const insertAll = database.prepare(
    `INSERT INTO eventsourcing_events (aggregate, stream_id, version, event_id, type, payload, metadata, time)
SELECT ?, ?, ? + key, value->>0, value->>1, value->>2, '{}', ? FROM json_each(?)`
  )
  const insertMany = database.prepare(
    `INSERT INTO eventsourcing_events (aggregate, stream_id, version, event_id, type, payload, metadata, time)
SELECT value->>0, value->>1, value->>2, value->>3, value->>4, value->>5, '{}', value->>6 FROM json_each(?)`
  )
  const selectSnapshot = database.prepare<[string, string], { version: number; state: string }>(
    `SELECT version, state FROM eventsourcing_snapshots
WHERE aggregate = ? AND stream_id = ? AND schema_version = 1`
  )
  const insertOne: Driver["insert"] = ({ aggregate, id }, version, event) => {
    insert.run(aggregate, id, version, newId(), event._tag, JSON.stringify(event), Date.now())
  }
  return {
    replay: (stream, state, evolve) => {
      for (const { payload } of select.all(stream.aggregate, stream.id)) state = evolve(state, JSON.parse(payload))
      return state
    },
    payloads: (stream, state, evolve) => {
      for (const payload of selectPayloads.all(stream.aggregate, stream.id)) state = evolve(state, JSON.parse(payload))
      return state
    },
    insert: insertOne,
    insertAll: ({ aggregate, id }, version, events) => {
      const rows = JSON.stringify(events.map((event) => [newId(), event._tag, JSON.stringify(event)]))
      insertAll.run(aggregate, id, version, Date.now(), rows)
    },
    insertMany: (events) => {
      insertMany.run(JSON.stringify(events.map(({ event, stream, time, version }) => [
        stream.aggregate,
        stream.id,
        version,
        newId(),
        event._tag,
        JSON.stringify(event),
        time
      ])))
    },
    // the driver is synchronous: workers at once are workers in turn
    workers: () => ({
      insert: async (streams, version, times, event) => {
        for (let i = 0; i < times; i++) {
          for (const stream of streams) insertOne(stream, version + i, event)
        }
      },
      command: async (streams) => {
        for (const list of streams) {
          for (const stream of list) {
            const { state, version } = existing(selectSnapshot.get(stream.aggregate, stream.id))
            const [events] = decideOn(JSON.parse(state))
            for (const [index, event] of events.entries()) insertOne(stream, version + index + 1, event)
          }
        }
      },
      close: async () => {}
    })
  }
}

export const open = async (synchronous: Synchronous = "NORMAL"): Promise<Backend> => {
  const folder = temporaryFolder()
  const filename = path.join(folder, "bench.db")
  const stores: Backend["stores"] = (options) => ManagedRuntime.make(storesOn(filename, { ...options, synchronous }))
  const runtime = stores({})
  await runtime.runtime()
  const database = openDriver(filename, synchronous)
  return {
    name: synchronous === "NORMAL" ? "SQLite" : "SQLite, FULL",
    database: filename,
    runtime,
    stores,
    driver: driverOn(database),
    version: async () => String(database.prepare("SELECT sqlite_version()").pluck().get()),
    settle: async () => {},
    countStatements: async (effect) => {
      // every statement of the library's driver runs through this one method
      const prototype = Object.getPrototypeOf(database.prepare("SELECT 1"))
      const { all } = prototype
      let count = 0
      prototype.all = function(...args: ReadonlyArray<unknown>) {
        count++
        return all.apply(this, args)
      }
      try {
        await runtime.runPromise(effect)
      } finally {
        prototype.all = all
      }
      return count
    },
    close: async () => {
      database.close()
      await runtime.dispose()
      fs.rmSync(folder, { recursive: true, force: true })
    }
  }
}
