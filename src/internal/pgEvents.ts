import type * as SqlClient from "@effect/sql/SqlClient"
import * as ExpectedVersion from "../ExpectedVersion.js"
import * as Position from "../Position.js"
import type { EventStatements } from "./eventStatements.js"
import * as SnapshotChoice from "./snapshotChoice.js"
import { identifier, type Names } from "./tables.js"

/** @internal */
export const make = (sql: SqlClient.SqlClient, names: Names): EventStatements => {
  const events = identifier(sql, names.events)
  const columns = sql.literal(
    "aggregate, stream_id, version, transaction, position, event_id, type, payload, metadata, " +
      "floor(extract(epoch FROM time) * 1000)::bigint AS time"
  )
  // a dump restored into another cluster meets lower transaction ids: they are counted on from the base
  const base = sql`coalesce((SELECT base FROM ${identifier(sql, names.cluster)}), 0)`
  // whatever stands below has been committed or rolled back: no event can still appear there
  const settled = sql`${base} + pg_snapshot_xmin(pg_current_snapshot())::text::bigint`
  const literal = (limit: number) => sql.literal(String(limit))

  return {
    // within a stream the transaction never falls: that of a caller may have begun before the one that wrote the head
    append: ({ events: appended, expected, stream }) => {
      const { max, min } = ExpectedVersion.bounds(expected)
      const ids = appended.map((event) => event.id)
      const types = appended.map((event) => event.type)
      const payloads = appended.map((event) => event.payload)
      const metadata = appended.map((event) => event.metadata)
      return sql`INSERT INTO ${events}
  (transaction, version, aggregate, stream_id, event_id, type, payload, metadata)
SELECT greatest(${base} + pg_current_xact_id()::text::bigint, head.transaction), coalesce(head.version, 0) + row.number,
  ${stream.aggregate}, ${stream.id}, row.event_id, row.type, row.payload, row.metadata
FROM unnest(${ids}::text[], ${types}::text[], ${payloads}::text[], ${metadata}::text[]) WITH ORDINALITY
  AS row (event_id, type, payload, metadata, number)
LEFT JOIN (
  SELECT version, transaction FROM ${events} WHERE aggregate = ${stream.aggregate} AND stream_id = ${stream.id}
  ORDER BY version DESC LIMIT 1
) AS head ON true
WHERE coalesce(head.version, 0) BETWEEN ${min}::bigint AND ${max}::bigint
ORDER BY row.number
RETURNING version, transaction, position`
    },

    standing: (ids) =>
      sql`SELECT event_id, aggregate, stream_id, version, transaction, position FROM ${events}
WHERE event_id = ANY (${ids}::text[])`,

    version: (stream) =>
      sql`SELECT coalesce(max(version), 0) AS version FROM ${events}
WHERE aggregate = ${stream.aggregate} AND stream_id = ${stream.id}`,

    read: ({ fromVersion, limit, stream, toVersion }) =>
      sql`SELECT ${columns} FROM ${events}
WHERE aggregate = ${stream.aggregate} AND stream_id = ${stream.id}
  AND version BETWEEN ${fromVersion}::bigint AND ${toVersion}::bigint
ORDER BY version LIMIT ${literal(limit)}`,

    readAll: ({ after, aggregate, limit }) => {
      const { sequence, transaction } = Position.toParts(after)
      const ofAggregate = aggregate === undefined ? sql`` : sql`aggregate = ${aggregate} AND`
      return sql`SELECT ${columns} FROM ${events}
WHERE ${ofAggregate} (transaction, position) > (${transaction}::bigint, ${sequence}::bigint) AND transaction < ${settled}
ORDER BY transaction, position LIMIT ${literal(limit)}`
    },

    isolation: sql`SELECT current_setting('transaction_isolation') AS level`,

    heldBack: sql`SELECT count(*) AS events, extract(epoch FROM clock_timestamp() - min(time)) * 1000 AS lag
FROM (SELECT time FROM ${events} WHERE transaction >= ${settled} ORDER BY transaction, position LIMIT 10000) AS held`,

    position: ({ position, transaction = 0 }) => Position.fromParts(transaction, position),

    // event ids are long: only the first, which may prove a snapshot, and the last, which a new one refers to
    readTail: (stream, { fromVersion, limit }) =>
      sql`SELECT version, type, payload, CASE WHEN version = ${fromVersion}::bigint OR version = (
    SELECT max(version) FROM ${events} WHERE aggregate = ${stream.aggregate} AND stream_id = ${stream.id}
  ) THEN event_id END AS "eventId"
FROM ${events}
WHERE aggregate = ${stream.aggregate} AND stream_id = ${stream.id} AND version >= ${fromVersion}::bigint
ORDER BY version LIMIT ${literal(limit)}`,

    // the snapshot comes as the row without a type; what it has beside its state stands in the place of the event id
    readWithSnapshot: (table, stream, options) => {
      const ofStream = sql`aggregate = ${stream.aggregate} AND stream_id = ${stream.id}`
      const snapshots = identifier(sql, table)
      const start = SnapshotChoice.start(sql, snapshots, ofStream, options)
      return sql`SELECT version, NULL AS type, state AS payload,
  json_build_array(event_id, schema_version, fingerprint, time)::text AS "eventId"
FROM ${snapshots} WHERE ${ofStream}
  AND schema_version = ${SnapshotChoice.schemaVersionOf(sql, snapshots, ofStream, options)}
UNION ALL
SELECT * FROM (
  SELECT version, type, payload, CASE WHEN version = ${start} OR version = (
      SELECT max(version) FROM ${events} WHERE ${ofStream}
    ) THEN event_id END AS "eventId"
  FROM ${events} WHERE ${ofStream} AND version >= ${start} ORDER BY version LIMIT ${literal(options.limit)}
) AS tail`
    }
  }
}
