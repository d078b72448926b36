import type * as SqlClient from "@effect/sql/SqlClient"
import type * as Statement from "@effect/sql/Statement"

/**
 * What a load can use, as values or as what stands for them in a text.
 *
 * @internal
 */
export interface Choice {
  readonly schemaVersion: number | string
  readonly fingerprint?: string | undefined
  readonly migratable?: ReadonlyArray<StateSchema> | undefined
}

interface StateSchema {
  readonly schemaVersion: number | string
  readonly fingerprint: string
}

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
  { migratable = [], schemaVersion }: Choice
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
  options: Choice
): Statement.Fragment => {
  const condition = options.migratable === undefined || options.migratable.length === 0
    ? usable(sql, options)
    : sql`schema_version = ${schemaVersionOf(sql, snapshots, ofStream, options)} AND ${usable(sql, options)}`
  return sql`coalesce((SELECT version FROM ${snapshots} WHERE ${ofStream} AND ${condition}), 1)`
}

/**
 * Whether the tail of a snapshot is read.
 *
 * @internal
 */
export const usable = (
  sql: SqlClient.SqlClient,
  { fingerprint, migratable = [], schemaVersion }: Choice
): Statement.Fragment => {
  const own = fingerprint === undefined
    ? sql`schema_version = ${schemaVersion}`
    : anyOf(sql, [{ schemaVersion, fingerprint }])
  return migratable.length === 0 ? own : sql.or([own, anyOf(sql, migratable)])
}

const anyOf = (sql: SqlClient.SqlClient, schemas: ReadonlyArray<StateSchema>): Statement.Fragment =>
  sql.or(
    schemas.map(({ fingerprint, schemaVersion }) =>
      sql`(schema_version = ${schemaVersion} AND fingerprint = ${fingerprint})`
    )
  )
