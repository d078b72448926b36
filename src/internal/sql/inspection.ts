// What an operator sees of streams and snapshots that no store tells.
import * as SqlClient from "@effect/sql/SqlClient"
import type { SqlError } from "@effect/sql/SqlError"
import type * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import type * as Option from "effect/Option"
import type { InvalidOption } from "../../InvalidOption.js"
import type * as StreamId from "../../StreamId.js"
import * as EventTime from "../eventTime.js"
import * as Markers from "../markers.js"
import * as Tables from "./names.js"
import * as PgTime from "./postgres/time.js"
import * as Row from "./row.js"
import * as Statement from "./statement.js"

interface Options {
  readonly prefix: string
}

/** How many rows a stream has. */
export interface Contents {
  readonly events: number
  readonly snapshots: number
}

export const contentsOf = (
  options: Options,
  { aggregate, id }: StreamId.StreamId
): Effect.Effect<Contents, SqlError | InvalidOption, SqlClient.SqlClient> =>
  Effect.map(
    select(
      options,
      ({ events, snapshots }) =>
        `SELECT (SELECT count(*) FROM ${Tables.quoted(events)} WHERE ${ofStream}) AS events,
  (SELECT count(*) FROM ${Tables.quoted(snapshots)} WHERE ${ofStream}) AS snapshots`,
      { aggregate, id }
    ),
    ([row]) => ({ events: Row.number(row.events), snapshots: Row.number(row.snapshots) })
  )

const ofStream = "aggregate = :aggregate AND stream_id = :id"

/** Where the contents of the first events of a stream are. */
export interface ContentsBefore {
  /** The number of events that have their content. */
  readonly stored: number
  /** The number of events whose content is in the archive. */
  readonly archived: number
}

export const contentsBefore = (
  options: Options,
  { aggregate, id }: StreamId.StreamId,
  before: number
): Effect.Effect<ContentsBefore, SqlError | InvalidOption, SqlClient.SqlClient> =>
  Effect.map(
    select(
      options,
      ({ archive, events }) =>
        `SELECT (SELECT count(*) FROM ${
          Tables.quoted(events)
        } WHERE ${ofStream} AND version < :before AND payload <> '')
  AS stored, (SELECT count(*) FROM ${Tables.quoted(archive)} WHERE ${ofStream} AND version < :before) AS archived`,
      { aggregate, id, before }
    ),
    ([row]) => ({ stored: Row.number(row.stored), archived: Row.number(row.archived) })
  )

/** Where the content of an event is that is not in its place. */
export type Elsewhere = "archived" | "removed"

/** The events of a range of a stream that a truncation has emptied, by their versions. */
export const emptied = (
  options: Options,
  { aggregate, id }: StreamId.StreamId,
  range: { readonly from: number; readonly to: number }
): Effect.Effect<ReadonlyMap<number, Elsewhere>, SqlError | InvalidOption, SqlClient.SqlClient> =>
  Effect.map(
    select(options, ({ archive, events }) =>
      `SELECT version, CASE WHEN EXISTS (
  SELECT NULL FROM ${Tables.quoted(archive)} AS archive WHERE archive.aggregate = event.aggregate
    AND archive.stream_id = event.stream_id AND archive.version = event.version
) THEN 1 ELSE 0 END AS archived
FROM ${Tables.quoted(events)} AS event WHERE ${ofStream} AND version BETWEEN :from AND :to AND payload = ''`, {
      aggregate,
      id,
      ...range
    }),
    (rows) =>
      new Map(rows.map((row) => [Row.number(row.version), Row.number(row.archived) === 1 ? "archived" : "removed"]))
  )

/** The times of the events of a range of a stream, also of those that cannot be read. `None`: a row was edited by hand. */
export const times = (
  options: Options,
  { aggregate, id }: StreamId.StreamId,
  range: { readonly from: number; readonly to: number }
): Effect.Effect<ReadonlyMap<number, Option.Option<DateTime.Utc>>, SqlError | InvalidOption, SqlClient.SqlClient> =>
  Effect.gen(function*() {
    const sql = yield* SqlClient.SqlClient
    const { column, millis } = sql.onDialectOrElse({
      pg: () => ({ column: PgTime.column("time"), millis: PgTime.millis }),
      orElse: () => ({ column: "time", millis: Row.number })
    })
    const rows = yield* select(
      options,
      ({ events }) =>
        `SELECT version, ${column} AS time FROM ${Tables.quoted(events)}
WHERE ${ofStream} AND version BETWEEN :from AND :to`,
      { aggregate, id, ...range }
    )
    return new Map(rows.map((row) => [Row.number(row.version), EventTime.decode(millis(row.time))]))
  })

/** The version of the last truncation of a stream. `undefined` if it was never truncated. */
export const lastTruncation = (
  options: Options,
  { aggregate, id }: StreamId.StreamId
): Effect.Effect<number | undefined, SqlError | InvalidOption, SqlClient.SqlClient> =>
  Effect.map(
    select(
      options,
      ({ events }) =>
        `SELECT version FROM ${Tables.quoted(events)} WHERE ${ofStream} AND type = '${Markers.truncated}'
ORDER BY version DESC LIMIT 1`,
      { aggregate, id }
    ),
    ([row]) => row === undefined ? undefined : Row.number(row.version)
  )

/** Which streams of a range of ids were deleted. */
export const deleted = (
  options: Options,
  aggregate: string,
  range: { readonly first: string; readonly last: string }
): Effect.Effect<ReadonlySet<string>, SqlError | InvalidOption, SqlClient.SqlClient> =>
  Effect.map(
    select(options, ({ events }) =>
      `SELECT stream_id FROM ${Tables.quoted(events)}
WHERE aggregate = :aggregate AND type = '${Markers.deleted}' AND stream_id BETWEEN :first AND :last`, {
      aggregate,
      ...range
    }),
    (rows) => new Set(rows.map((row) => Row.text(row.stream_id)))
  )

/** A snapshot without its state. */
export interface Listed {
  readonly stream: StreamId.StreamId
  readonly version: number
  readonly schemaVersion: number
  readonly fingerprint: string
  /** The size of the stored state. */
  readonly bytes: number
  /** Milliseconds since 1970. */
  readonly time: number
}

export interface ListOptions extends Options {
  readonly aggregate?: string | undefined
  /** Only those of this stream of the aggregate. */
  readonly id?: string | undefined
  /** Only those of streams after this one, in the order of aggregates and ids. */
  readonly after?: StreamId.StreamId | undefined
  /** The number of streams. */
  readonly limit: number
}

/** The snapshots of the first streams that have any, in the order of aggregates, ids and schema versions. */
export const snapshots = (
  { after, aggregate, id, limit, prefix }: ListOptions
): Effect.Effect<ReadonlyArray<Listed>, SqlError | InvalidOption, SqlClient.SqlClient> =>
  Effect.map(
    select({ prefix }, ({ snapshots }, bytes) => {
      const table = Tables.quoted(snapshots)
      const conditions = [
        ...aggregate === undefined ? [] : ["aggregate = :aggregate"],
        ...id === undefined ? [] : ["stream_id = :id"],
        ...after === undefined ? [] : ["(aggregate, stream_id) > (:afterAggregate, :afterId)"]
      ]
      const where = conditions.length === 0 ? "" : ` WHERE ${conditions.join(" AND ")}`
      return `SELECT aggregate, stream_id, version, schema_version, fingerprint, ${bytes} AS bytes, time FROM ${table}
WHERE (aggregate, stream_id) IN (
  SELECT DISTINCT aggregate, stream_id FROM ${table}${where} ORDER BY aggregate, stream_id LIMIT :limit
)
ORDER BY aggregate, stream_id, schema_version`
    }, { aggregate, id, limit, afterAggregate: after?.aggregate, afterId: after?.id }),
    (rows) =>
      rows.map((row) => ({
        stream: { aggregate: Row.text(row.aggregate), id: Row.text(row.stream_id) },
        version: Row.number(row.version),
        schemaVersion: Row.number(row.schema_version),
        fingerprint: Row.text(row.fingerprint),
        bytes: Row.number(row.bytes),
        time: Row.number(row.time)
      }))
  )

const select = (
  options: Options,
  text: (names: Tables.Names, bytes: string) => string,
  values: Readonly<Record<string, unknown>>
): Effect.Effect<ReadonlyArray<Row.Row>, SqlError | InvalidOption, SqlClient.SqlClient> =>
  Effect.gen(function*() {
    const sql = (yield* SqlClient.SqlClient).withoutTransforms()
    const names = yield* Tables.names(options)
    const query = sql.onDialectOrElse({
      pg: () => Statement.postgres(text(names, "octet_length(state)"))(values),
      orElse: () => Statement.sqlite(text(names, "length(CAST(state AS BLOB))"))(values)
    })
    return yield* sql.unsafe<Row.Row>(query.text, query.params)
  })
