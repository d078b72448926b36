// appends to accounts and keeps their balances, as one of several processes on a database, until its input ends
import { type SqlClient } from "@effect/sql"
import { Effect, Layer, Random, Schedule } from "effect"
import { EventStore, ExpectedVersion, Projection, SqlCheckpointStore } from "effect-eventsourcing"
import { once } from "node:events"
import * as fs from "node:fs"
import { event, stream } from "../fixtures/Account.js"
import { balances, options } from "./balances.js"
import { pgClient } from "./postgres.js"
import { sqliteFile, sqlStores } from "./stores.js"

const { database, partitions, versions }: {
  readonly database: string
  readonly partitions: number
  readonly versions: ReadonlyArray<number>
} = JSON.parse(process.argv[2])

// written at once: what was printed has happened, even if the process is killed next
const say = (line: string) => fs.writeSync(1, `${line}\n`)

const client: Layer.Layer<SqlClient.SqlClient, unknown> = database.startsWith("postgres://")
  ? pgClient(database, { maxConnections: 6 })
  : sqliteFile(database)

// slow enough for a handler that writes each event by itself
const writer = Effect.gen(function*() {
  const store = yield* EventStore.EventStore
  const account = yield* Random.nextIntBetween(0, 30)
  const events = [event(yield* Random.nextIntBetween(1, 100)), event(1)]
  yield* store.append(stream(`account ${account}`), events, { expectedVersion: ExpectedVersion.any })
  for (const { id } of events) say(`acknowledged ${id}`)
  yield* Effect.sleep("40 millis")
}).pipe(Effect.retry(Schedule.spaced("20 millis")), Effect.forever)

const program = Effect.gen(function*() {
  const layers = versions.map((version) =>
    Projection.layer(balances(version, { isRepaired: false }), { ...options, partitions })
  )
  yield* Effect.retry(Effect.forEach(layers, Layer.build), Schedule.spaced("100 millis"))
  yield* Effect.forkScoped(writer)
  say("ready")
  process.stdin.resume()
  yield* Effect.promise(() => once(process.stdin, "end"))
}).pipe(Effect.scoped)

await Effect.runPromise(
  Effect.provide(program, Layer.provideMerge(Layer.merge(sqlStores, SqlCheckpointStore.layer), client))
)
say("closed")
