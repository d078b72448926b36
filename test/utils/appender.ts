// one of two processes whose groups of appends meet on the same streams
import type { SqlClient } from "@effect/sql"
import { Effect, Layer } from "effect"
import { EventStore } from "effect-eventsourcing"
import * as fs from "node:fs"
import * as readline from "node:readline"
import { type Outcome, work } from "./appends.js"
import { pgClient } from "./postgres.js"
import { groupingStores, sqliteFile } from "./stores.js"

const [database, name, fibers, appends] = process.argv.slice(2)

const say = (line: string) => fs.writeSync(1, `${line}\n`)

const client: Layer.Layer<SqlClient.SqlClient, unknown> = database.startsWith("postgres://")
  ? pgClient(database, { maxConnections: 4 })
  : sqliteFile(database)

await Effect.runPromise(
  Effect.gen(function*() {
    const store = yield* EventStore.EventStore
    say("ready")
    yield* Effect.async<void>((resume) => {
      readline.createInterface({ input: process.stdin }).once("line", () => resume(Effect.void))
    })
    yield* work(store, {
      name,
      fibers: Number(fibers),
      appends: Number(appends),
      onOutcome: (outcome: Outcome) => say(JSON.stringify(outcome))
    })
  }).pipe(Effect.provide(Layer.provide(groupingStores, client)))
)
process.exit(0)
