import type { SqlClient } from "@effect/sql"
import { Effect, Layer, type Scope } from "effect"
import { SqlStores } from "effect-eventsourcing"
import { sharedDatabases } from "../utils/backends.js"
import { everything } from "../utils/mode.js"
import { accounts } from "./accounts.js"

type Stores = Layer.Layer.Success<typeof SqlStores.layer>

/** A kind of database for tests of the command line. */
export interface Database {
  readonly name: "SQLite" | "PostgreSQL"
  /** The URL of a new one, with three accounts. */
  readonly written: Effect.Effect<string, unknown, Scope.Scope>
  /** The URL of a new one, with the tables. */
  readonly empty: Effect.Effect<string, unknown, Scope.Scope>
  /** What a program does with its stores. */
  readonly on: <A, E, R>(url: string, effect: Effect.Effect<A, E, R>) => Effect.Effect<
    A,
    unknown,
    Exclude<R, Stores | SqlClient.SqlClient>
  >
}

const all = sharedDatabases.map(([name, target, client]): Database => {
  const on: Database["on"] = (url, effect) => Effect.provide(effect, Layer.provideMerge(SqlStores.layer, client(url)))
  return {
    name,
    on,
    written: Effect.tap(target, (url) => on(url, accounts)),
    empty: Effect.tap(target, (url) => on(url, Effect.void))
  }
})

/** A short run has SQLite. */
export const databases = all.filter(({ name }) => everything || name === "SQLite")
