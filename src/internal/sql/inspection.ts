// What an operator sees of streams and snapshots that no store tells.
import * as SqlClient from "@effect/sql/SqlClient"
import type { SqlError } from "@effect/sql/SqlError"
import * as Effect from "effect/Effect"
import type { InvalidOption } from "../../InvalidOption.js"
import type * as StreamId from "../../StreamId.js"
import * as Tables from "./names.js"
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
