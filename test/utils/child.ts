// What the processes of tests have in common: their client, what they say, and how they end.
import type { SqlClient } from "@effect/sql"
import { Effect, Layer } from "effect"
import { SqlCheckpointStore } from "effect-eventsourcing"
import { once } from "node:events"
import * as fs from "node:fs"
import { pgClient } from "./postgres.js"
import { sqliteFile, sqlStores } from "./stores.js"

/** Writes a line at once: what was printed has happened, even if the process is killed next. */
export const say = (line: string) => fs.writeSync(1, `${line}\n`)

const clientOn = (database: string): Layer.Layer<SqlClient.SqlClient, unknown> =>
  database.startsWith("postgres://") ? pgClient(database, { maxConnections: 6 }) : sqliteFile(database)

const storesOn = (database: string) =>
  Layer.provideMerge(Layer.merge(sqlStores, SqlCheckpointStore.layer), clientOn(database))

/** Says that the process is ready, and waits until its input ends. */
export const untilInputEnds = Effect.suspend(() => {
  say("ready")
  process.stdin.resume()
  return Effect.promise(() => once(process.stdin, "end"))
})

/** Runs a program with the stores of a database. */
export const runOn = async <E>(
  database: string,
  program: Effect.Effect<unknown, E, Layer.Layer.Success<ReturnType<typeof storesOn>>>
): Promise<void> => {
  await Effect.runPromise(Effect.provide(program, storesOn(database)))
  say("closed")
}
