// Says which snapshot of a stream a load looks at, and whether the load can use that one, as SQL with `:names`. Each step is
// a look into the index of the key, and the database stops at the first step that finds a snapshot.
import type * as EventStore from "../../EventStore.js"
import type * as StreamId from "../../StreamId.js"

export interface Choice {
  readonly stream: StreamId.StreamId
  readonly schemaVersion: number
  readonly fingerprint?: string | undefined
  readonly migratable?: EventStore.ReaderOptions["migratable"]
}

export const ofStream = "aggregate = :aggregate AND stream_id = :id"

/** The values of `ofStream`. */
export const keyOf = ({ aggregate, id }: StreamId.StreamId) => ({ aggregate, id })

/** The values of all names here. */
export const values = ({ fingerprint, migratable = [], schemaVersion, stream }: Choice) => ({
  ...keyOf(stream),
  schemaVersion,
  fingerprint,
  ...Object.fromEntries(migratable.flatMap((schema, index) => [
    [`schemaVersion${index}`, schema.schemaVersion],
    [`fingerprint${index}`, schema.fingerprint]
  ]))
})

/** The schema version of the snapshot that a load looks at, see `SnapshotStore.get`. */
export const schemaVersionOf = (snapshots: string, { migratable = [] }: Choice): string => {
  const highest = (condition: string) => `(SELECT max(schema_version) FROM ${snapshots} WHERE ${ofStream}${condition})`
  const steps = migratable.length === 0
    ? []
    : [highest(" AND schema_version = :schemaVersion"), highest(` AND (${anyOf(migratable)})`)]
  return `coalesce(${[...steps, highest(" AND schema_version <= :schemaVersion"), highest("")].join(", ")})`
}

/** The version at which the tail begins: that of the snapshot, if the load can use it, else 1. */
export const start = (snapshots: string, choice: Choice): string => {
  const { fingerprint, migratable = [] } = choice
  const own = `schema_version = :schemaVersion${fingerprint === undefined ? "" : " AND fingerprint = :fingerprint"}`
  const usable = migratable.length === 0
    ? own
    : `schema_version = ${schemaVersionOf(snapshots, choice)} AND ((${own}) OR ${anyOf(migratable)})`
  return `coalesce((SELECT version FROM ${snapshots} WHERE ${ofStream} AND ${usable}), 1)`
}

const anyOf = (schemas: ReadonlyArray<unknown>): string =>
  schemas.map((_, index) => `(schema_version = :schemaVersion${index} AND fingerprint = :fingerprint${index})`)
    .join(" OR ")
