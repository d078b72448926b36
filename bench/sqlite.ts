import { SqliteClient } from "@effect/sql-sqlite-node"
import Database from "better-sqlite3"
import { Layer, ManagedRuntime } from "effect"
import { Sqlite, SqlStores } from "effect-eventsourcing"
import * as fs from "node:fs"
import * as os from "node:os"
import * as path from "node:path"
import type { Backend, Driver } from "./backend.js"
import { newId } from "./fixtures.js"

/** The settings of every contender: a write-ahead log, whose commits the operating system has. */
export const settings = "journal_mode = WAL, synchronous = NORMAL"

export const storesOn = (filename: string) =>
  SqlStores.layer.pipe(
    Layer.provideMerge(Sqlite.layer(SqliteClient.layer, { filename, synchronous: "NORMAL" }))
  )

export const temporaryFolder = () => fs.mkdtempSync(path.join(os.tmpdir(), "eventsourcing-bench-"))

export const openDriver = (filename: string) => {
  const database = new Database(filename)
  database.pragma("journal_mode = WAL")
  database.pragma("synchronous = NORMAL")
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
    // the driver is synchronous: writers at once are writers in turn
    writeAtOnce: async (streams, version, times, event) => {
      for (let i = 0; i < times; i++) {
        for (const stream of streams) insertOne(stream, version + i, event)
      }
    }
  }
}

export const open = async (): Promise<Backend> => {
  const folder = temporaryFolder()
  const filename = path.join(folder, "bench.db")
  const runtime = ManagedRuntime.make(storesOn(filename))
  await runtime.runtime()
  const database = openDriver(filename)
  return {
    name: "SQLite",
    database: filename,
    runtime,
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
