import type * as SqlClient from "@effect/sql/SqlClient"
import type * as Snapshot from "../../Snapshot.js"
import type { DeleteByTypeOptions, DeleteOptions, SnapshotStore } from "../../SnapshotStore.js"
import type * as StreamId from "../../StreamId.js"
import * as Emptied from "../emptied.js"
import type { Dialect } from "./dialect.js"
import { type Names, quoted } from "./names.js"
import * as Row from "./row.js"
import * as SnapshotChoice from "./snapshotChoice.js"
import { byShape } from "./statement.js"

const { keyOf, ofStream } = SnapshotChoice

const types = {
  version: "integer",
  event_id: "text",
  schema_version: "integer",
  fingerprint: "text",
  state: "text",
  time: "bigint"
} as const

/** The snapshot in a row. */
export const decode = (stream: StreamId.StreamId, row: Row.Row): Snapshot.EncodedSnapshot => ({
  stream,
  version: Row.number(row.version),
  eventId: Row.text(row.event_id),
  schemaVersion: Row.number(row.schema_version),
  fingerprint: Row.text(row.fingerprint),
  state: Row.text(row.state),
  time: Row.number(row.time)
})

const key = "aggregate, stream_id, schema_version"

/** The statements of the snapshot store, for both databases. */
export const statements = (
  { column, counted, write }: Dialect,
  names: Pick<Names, "archive" | "events" | "snapshots">
) => {
  const table = quoted(names.snapshots)
  const columns = Object.entries(types).map(([name, type]) => `${column(name, type)} AS ${name}`).join(", ")
  const save = write(`INSERT INTO ${table} AS existing
  (aggregate, stream_id, schema_version, version, event_id, fingerprint, state, time)
VALUES (:aggregate, :id, :schemaVersion, :version, :eventId, :fingerprint, :state, :time)
ON CONFLICT (aggregate, stream_id, schema_version) DO UPDATE SET version = excluded.version,
  event_id = excluded.event_id, fingerprint = excluded.fingerprint, state = excluded.state, time = excluded.time
WHERE excluded.version > existing.version
RETURNING NULL AS saved`)
  const get = byShape(
    ({ migratable }: SnapshotChoice.Choice) => migratable?.length ?? 0,
    (choice) =>
      write(`SELECT ${columns} FROM ${table}
WHERE ${ofStream} AND schema_version = ${SnapshotChoice.schemaVersionOf(table, choice)}`)
  )
  const onlyIf = (value: unknown, condition: string) => value === undefined ? "" : ` AND ${condition}`
  const ofSchema = (schemaVersion: number | undefined) => onlyIf(schemaVersion, "schema_version = :schemaVersion")
  return {
    /** At most one row. */
    get: (choice: SnapshotChoice.Choice) => get(choice)(SnapshotChoice.values(choice)),
    /** A row if the snapshot was saved. */
    save: ({ stream, ...snapshot }: Snapshot.EncodedSnapshot) => save({ ...snapshot, ...keyOf(stream) }),
    /** A row for each that was deleted. */
    delete: (stream: StreamId.StreamId, { identity, schemaVersion, versionBelow }: DeleteOptions = {}) =>
      write(
        `DELETE FROM ${table} WHERE ${ofStream}${ofSchema(schemaVersion)}${
          onlyIf(identity, "version = :version AND event_id = :eventId")
        }${onlyIf(identity?.time, "time = :time")}${
          onlyIf(versionBelow, "version < :versionBelow")
        } RETURNING NULL AS deleted`
      )({ ...identity, ...keyOf(stream), schemaVersion, versionBelow }),
    /** A row if there is one. */
    exists: (stream: StreamId.StreamId, schemaVersion: number | undefined) =>
      write(
        `SELECT NULL AS found FROM ${table} WHERE ${ofStream}${ofSchema(schemaVersion)} LIMIT 1`
      )({ ...keyOf(stream), schemaVersion }),
    /**
     * Leaves the snapshots that are the only source of a state, see `onlySource`. The condition is one look into an index
     * for each snapshot, and more for truncated streams only.
     *
     * One row with `count`; on SQLite a DELETE gives a row without one for each that it deleted.
     */
    deleteByType: (aggregate: string, { dryRun, limit, schemaVersionBelow }: DeleteByTypeOptions = {}) => {
      const below = onlyIf(schemaVersionBelow, "schema_version < :schemaVersionBelow")
      const all = `FROM ${table} AS own WHERE aggregate = :aggregate${below} AND NOT (${onlySource(names, below)})`
      // in the order of an index, so that the cost is that of what is deleted
      const some = `SELECT ${key} ${all} ORDER BY schema_version, stream_id LIMIT :limit`
      const counting = limit === undefined ? all : `FROM (${some}) AS chosen`
      const deleting = limit === undefined ? all : `FROM ${table} WHERE (${key}) IN (${some})`
      return write(
        dryRun === true
          ? `SELECT ${column("count(*)", "bigint")} AS count ${counting}`
          : counted(`DELETE ${deleting} RETURNING NULL AS count`)
      )({ aggregate, schemaVersionBelow, limit })
    }
  }
}

/**
 * Whether the beginning of the stream was removed, so that no replay gives its state, and no snapshot stays that gives it.
 * The first event is the first that a truncation empties, and what is removed is always a beginning. So a snapshot gives
 * no state if the event after it was removed.
 */
const onlySource = (names: Pick<Names, "archive" | "events" | "snapshots">, below: string): string => {
  const has = (table: string, name: string, condition: string) =>
    `EXISTS (SELECT NULL FROM ${quoted(table)} AS ${name}
  WHERE ${name}.aggregate = own.aggregate AND ${name}.stream_id = own.stream_id AND ${condition})`
  const isRemoved = (name: string, version: string) =>
    has(names.events, name, `${name}.version = ${version} AND ${name}.payload = '${Emptied.payload}'`) +
    ` AND NOT ${has(names.archive, `${name}_archived`, `${name}_archived.version = ${version}`)}`
  const staying = `newer.schema_version >= :schemaVersionBelow AND NOT (${isRemoved("following", "newer.version + 1")})`
  return isRemoved("beginning", "1") + (below === "" ? "" : ` AND NOT ${has(names.snapshots, "newer", staying)}`)
}

type Store = SnapshotStore["Type"]

/** Where a SQL snapshot store keeps its rows: an event store on the same client reads them together with its events. */
export interface SnapshotTable {
  readonly client: SqlClient.SqlClient
  readonly name: string
}

/** A snapshot store that knows its table. A copy of it does not: one with other methods must be asked by them. */
export interface StoreWithTable extends Store {}

export class StoreWithTable {
  readonly #table: SnapshotTable
  constructor(store: Store, table: SnapshotTable) {
    Object.assign(this, store)
    this.#table = table
  }
  static tableOf(store: Store): SnapshotTable | undefined {
    return #table in store ? store.#table : undefined
  }
}
