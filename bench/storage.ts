// what an event takes on disk, with all indexes, in a database that holds nothing else
import { PgClient } from "@effect/sql-pg"
import { Effect, Layer, ManagedRuntime } from "effect"
import { EventStore, ExpectedVersion, SqlStores } from "effect-eventsourcing"
import * as fs from "node:fs"
import * as path from "node:path"
import { pgClient, temporaryDatabase } from "../test/utils/postgres.js"
import type { Backend } from "./backend.js"
import { deposited, newId, streamOf } from "./fixtures.js"
import { exactly } from "./rows.js"
import * as Sqlite from "./sqlite.js"
import type { Suite } from "./suite.js"

const payload = { ...deposited, reference: "2024-06-30/invoice/42" }
const content = JSON.stringify(payload).length

/** Appends of one event each, by sixteen writers, whose streams grow beside one another as those of a program do. */
const fill = (options: Options) =>
  Effect.gen(function*() {
    const store = yield* EventStore.EventStore
    const streams = Array.from(
      { length: options.streams },
      (_, index) => streamOf(options.ids === "UUIDs" ? crypto.randomUUID() : `stream-${index}`)
    )
    for (let version = 0; version < options.length; version++) {
      yield* Effect.forEach(
        streams,
        (stream) =>
          store.append(stream, [{ id: newId(), type: payload._tag, payload }], {
            expectedVersion: ExpectedVersion.exact(version)
          }),
        { concurrency: 16, discard: true }
      )
    }
  })

interface Options {
  readonly streams: number
  readonly length: number
  readonly ids: "short" | "UUIDs"
  readonly limit?: number | undefined
}

const nameOf = ({ ids }: Options) =>
  `size of an event of ${content} bytes on disk${ids === "UUIDs" ? ", stream ids are UUIDs" : ""}`

const add = (suite: Suite, backend: Backend, bytes: number, options: Options) => {
  const { length, limit, streams } = options
  const events = length * streams
  const each = exactly(bytes / events)
  const floors = [
    { against: "the payload", floor: content, target: undefined },
    ...limit === undefined ? [] : [{ against: "the limit", floor: limit, target: 1 }]
  ]
  for (const { against, floor, target } of floors) {
    suite.add({
      name: nameOf(options),
      backend: backend.name,
      size: events,
      unit: "bytes",
      measured: each,
      against,
      floor: exactly(floor),
      ratio: exactly(each.median / floor),
      target
    })
  }
}

/** After VACUUM (ANALYZE), which frees no page of an index that is half full. */
export const onPostgres = async (suite: Suite, backend: Backend, options: Options): Promise<void> => {
  if (!suite.wants(nameOf(options), backend.name)) return
  const measured = Effect.gen(function*() {
    const url = yield* temporaryDatabase(backend.database)
    const stores = SqlStores.layer.pipe(Layer.provideMerge(pgClient(url, { maxConnections: 16 })))
    return yield* Effect.gen(function*() {
      const sql = yield* PgClient.PgClient
      yield* fill(options)
      yield* sql`VACUUM (ANALYZE) eventsourcing_events`
      const [{ bytes }] = yield* sql<
        { bytes: number }
      >`SELECT pg_total_relation_size('eventsourcing_events')::float8 AS bytes`
      return bytes
    }).pipe(Effect.provide(stores))
  })
  add(suite, backend, await Effect.runPromise(Effect.scoped(measured)), options)
}

/** The file after a checkpoint, without a VACUUM. */
export const onSqlite = async (suite: Suite, backend: Backend, options: Options): Promise<void> => {
  if (!suite.wants(nameOf(options), backend.name)) return
  const folder = Sqlite.temporaryFolder()
  const filename = path.join(folder, "storage.db")
  const runtime = ManagedRuntime.make(Sqlite.storesOn(filename))
  try {
    await runtime.runtime()
    const empty = fs.statSync(filename).size
    await runtime.runPromise(fill(options))
    const database = Sqlite.openDriver(filename)
    database.pragma("wal_checkpoint(TRUNCATE)")
    database.close()
    add(suite, backend, fs.statSync(filename).size - empty, options)
  } finally {
    await runtime.dispose()
    fs.rmSync(folder, { recursive: true, force: true })
  }
}
