// a module whose layer has a client of its own: its handler would write in another transaction
import { SqliteClient } from "@effect/sql-sqlite-node"
import { Layer } from "effect"
import { Sqlite } from "effect-eventsourcing"
import { layer as services } from "./deposits.js"

export { Deposits } from "./deposits.js"

export const layer = Layer.merge(services, Sqlite.layer(SqliteClient.layer, { filename: ":memory:" }))
