import { SqlClient } from "@effect/sql"
import { PgClient } from "@effect/sql-pg"
import { SqliteClient } from "@effect/sql-sqlite-node"
import { Effect, Layer, Redacted } from "effect"
import { Sqlite } from "effect-eventsourcing"
import * as path from "node:path"
import pg from "pg"
import { temporaryDatabase } from "./postgres.js"
import { postgresUrl } from "./server.js"
import { sqlStores, type Stores, temporaryFolder } from "./stores.js"

/**
 * What a program may do around the stores: ask its driver for other types, have names transformed, and put indexes of
 * its own on the tables. The stores keep their promises in all of them.
 */
export interface Environment {
  readonly name: string
  readonly layer: Layer.Layer<Stores | SqlClient.SqlClient, unknown>
  /** Whether names in statements are transformed, so that a test must write none of its own. */
  readonly transformed?: boolean | undefined
}

// -------------------------------------------------------------------------------------
// what the driver makes of values
// -------------------------------------------------------------------------------------

const sqliteWith = (config: Partial<SqliteClient.SqliteClientConfig> = {}) =>
  Layer.unwrapScoped(
    Effect.map(temporaryFolder, (folder) =>
      Sqlite.layer(SqliteClient.layer, {
        filename: path.join(folder, "test.db"),
        synchronous: "NORMAL",
        ...config
      }))
  )

const postgresWith = (config: Omit<PgClient.PgClientConfig, "url"> = {}) =>
  Layer.unwrapScoped(
    Effect.map(
      Effect.suspend(() => temporaryDatabase(postgresUrl())),
      (url) => PgClient.layer({ url: Redacted.make(url), connectTimeout: "10 seconds", ...config })
    )
  )

const oids = pg.types.builtins

/** The client's own parsers: of these types by `parse`, of all others by the driver's. */
const parsers = (
  parse: (text: string) => unknown,
  ...types: ReadonlyArray<number>
): NonNullable<PgClient.PgClientConfig["types"]> => ({
  getTypeParser: (oid: number, format?: "text" | "binary") =>
    format !== "binary" && types.includes(oid) ? parse : pg.types.getTypeParser(oid, format)
})

/** Every value as the server sends it. */
const unparsed: NonNullable<PgClient.PgClientConfig["types"]> = {
  getTypeParser: () => (text: string) => text
}

/** As a library of decimals or of dates makes of a value. */
class Wrapped {
  constructor(readonly text: string) {}
  toString(): string {
    return this.text
  }
}

const camel = (name: string) => name.replaceAll(/_([a-z])/g, (_, letter: string) => letter.toUpperCase())
const snake = (name: string) => name.replaceAll(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`)
const transforms = { transformQueryNames: snake, transformResultNames: camel }

// -------------------------------------------------------------------------------------
// indexes
// -------------------------------------------------------------------------------------

/** Runs statements once the tables are there. */
const altered = (
  client: Layer.Layer<SqlClient.SqlClient, unknown>,
  ...statements: ReadonlyArray<string>
): Layer.Layer<Stores | SqlClient.SqlClient, unknown> =>
  Layer.tap(Layer.provideMerge(sqlStores, client), (context) =>
    Effect.provide(
      Effect.flatMap(SqlClient.SqlClient, (sql) => Effect.forEach(statements, (text) => sql.unsafe(text))),
      context
    ))

const events = "eventsourcing_events"

/** Unique indexes on what ours are on, and on more: the database may name either of them. */
const programsOwn = [
  `CREATE UNIQUE INDEX program_versions ON ${events} (stream_id, aggregate, version)`,
  `CREATE UNIQUE INDEX program_ids ON ${events} (event_id)`,
  `CREATE UNIQUE INDEX program_all ON ${events} (event_id, aggregate, stream_id, version)`
]

/** Ours, as `REINDEX`, a restore or an administrator leaves them. */
const renamed = [
  `ALTER TABLE ${events} RENAME CONSTRAINT ${events}_stream TO a_stream`,
  `ALTER TABLE ${events} RENAME CONSTRAINT ${events}_id TO an_id`
]
const rebuilt = [
  `CREATE UNIQUE INDEX rebuilt_stream ON ${events} (aggregate, stream_id, version)`,
  `CREATE UNIQUE INDEX rebuilt_id ON ${events} (event_id)`,
  `ALTER TABLE ${events} DROP CONSTRAINT ${events}_stream, DROP CONSTRAINT ${events}_id`
]

const over = (client: Layer.Layer<SqlClient.SqlClient, unknown>) => Layer.provideMerge(sqlStores, client)

// -------------------------------------------------------------------------------------
// all of them
// -------------------------------------------------------------------------------------

/** The conversions that a program may ask of its driver. */
export const conversions: ReadonlyArray<Environment> = [
  {
    name: "SQLite, integers as bigints",
    layer: Layer.merge(over(sqliteWith()), Layer.succeed(SqlClient.SafeIntegers, true))
  },
  { name: "SQLite, names transformed", layer: over(sqliteWith(transforms)), transformed: true },
  { name: "PostgreSQL, names transformed", layer: over(postgresWith(transforms)), transformed: true },
  {
    name: "PostgreSQL, all integers as bigints",
    layer: over(postgresWith({ types: parsers(BigInt, oids.INT2, oids.INT4, oids.INT8) }))
  },
  {
    name: "PostgreSQL, all integers as numbers",
    layer: over(postgresWith({ types: parsers(Number, oids.INT2, oids.INT4, oids.INT8, oids.NUMERIC) }))
  },
  { name: "PostgreSQL, nothing parsed", layer: over(postgresWith({ types: unparsed })) },
  {
    name: "PostgreSQL, numbers, dates and truths as objects",
    layer: over(postgresWith({
      types: parsers(
        (text) => new Wrapped(text),
        ...[oids.INT2, oids.INT4, oids.INT8, oids.NUMERIC, oids.FLOAT4, oids.FLOAT8],
        ...[oids.TIMESTAMP, oids.TIMESTAMPTZ, oids.BOOL, oids.JSON, oids.JSONB]
      )
    }))
  }
]

/** Indexes that the library did not make, or no longer knows by name. */
export const indexes: ReadonlyArray<Environment> = [
  { name: "SQLite, unique indexes of the program's own", layer: altered(sqliteWith(), ...programsOwn) },
  { name: "PostgreSQL, unique indexes of the program's own", layer: altered(postgresWith(), ...programsOwn) },
  { name: "PostgreSQL, our indexes under other names", layer: altered(postgresWith(), ...renamed) },
  { name: "PostgreSQL, our indexes built again", layer: altered(postgresWith(), ...rebuilt) }
]

/** A business rule of the program's on the table of events, which an append may violate. */
export const businessRule: ReadonlyArray<readonly [name: string, client: Layer.Layer<SqlClient.SqlClient, unknown>]> = [
  ["SQLite", sqliteWith()],
  ["PostgreSQL", postgresWith()]
]
