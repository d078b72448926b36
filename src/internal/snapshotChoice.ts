import type * as SqlClient from "@effect/sql/SqlClient"
import type * as Statement from "@effect/sql/Statement"
import type * as EventStore from "../EventStore.js"
import type { GetOptions, StateSchema } from "../SnapshotStore.js"

/**
 * The schema version of the one snapshot among a stream's that a load looks at, see `SnapshotStore.get`. Every step is
 * a look into the index of the key, and the steps after the first that finds one are not taken.
 *
 * @internal
 */
export const schemaVersionOf = (
  sql: SqlClient.SqlClient,
  snapshots: Statement.Fragment,
  ofStream: Statement.Fragment,
  { migratable = [], schemaVersion }: GetOptions
): Statement.Fragment => {
  const highest = (condition: Statement.Fragment) =>
    sql`(SELECT max(schema_version) FROM ${snapshots} WHERE ${ofStream} AND ${condition})`
  const steps = migratable.length === 0
    ? []
    : [highest(sql`schema_version = ${schemaVersion}`), highest(anyOf(sql, migratable))]
  return sql`coalesce(${
    sql.csv([
      ...steps,
      highest(sql`schema_version <= ${schemaVersion}`),
      sql`(SELECT max(schema_version) FROM ${snapshots} WHERE ${ofStream})`
    ])
  })`
}

/**
 * The version from which the tail is read: that of the snapshot looked at, where it can be used.
 *
 * @internal
 */
export const start = (
  sql: SqlClient.SqlClient,
  snapshots: Statement.Fragment,
  ofStream: Statement.Fragment,
  options: EventStore.ReaderOptions
): Statement.Fragment => {
  const { fingerprint, migratable = [], schemaVersion } = options
  const own = fingerprint === undefined
    ? sql`schema_version = ${schemaVersion}`
    : anyOf(sql, [{ schemaVersion, fingerprint }])
  const usable = migratable.length === 0 ?
    own :
    sql`schema_version = ${schemaVersionOf(sql, snapshots, ofStream, options)} AND ${
      sql.or([own, anyOf(sql, migratable)])
    }`
  return sql`coalesce((SELECT version FROM ${snapshots} WHERE ${ofStream} AND ${usable}), 1)`
}

const anyOf = (sql: SqlClient.SqlClient, schemas: ReadonlyArray<StateSchema>): Statement.Fragment =>
  sql.or(
    schemas.map(({ fingerprint, schemaVersion }) =>
      sql`(schema_version = ${schemaVersion} AND fingerprint = ${fingerprint})`
    )
  )
