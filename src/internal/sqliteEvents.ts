import type * as SqlClient from "@effect/sql/SqlClient"
import * as ExpectedVersion from "../ExpectedVersion.js"
import * as Position from "../Position.js"
import type { EventStatements } from "./eventStatements.js"
import * as SnapshotChoice from "./snapshotChoice.js"
import { identifier, type Names } from "./tables.js"

/** @internal */
export const make = (sql: SqlClient.SqlClient, names: Names): EventStatements => {
  const events = identifier(sql, names.events)
  // a position above 2^53, which a row edited by hand may bring about, is none that a number can hold
  const position = sql.literal("CAST(position AS TEXT) AS position")
  // SQLite plans a statement anew at every run while a bound value stands in its LIMIT
  const literal = (limit: number) => sql.literal(String(limit))

  return {
    // one statement whatever the number of events, with one text, so that it stays prepared. The head is a subquery in a
    // subquery: with the condition on it in sight, SQLite would count through all of the stream instead of seeking its end
    append: ({ events: appended, expected, stream, time }) => {
      const { max, min } = ExpectedVersion.bounds(expected)
      const rows = JSON.stringify(appended.map((event) => [event.id, event.type, event.payload, event.metadata]))
      return sql`INSERT INTO ${events} (aggregate, stream_id, version, event_id, type, payload, metadata, time)
SELECT ${stream.aggregate}, ${stream.id}, head.version + 1 + row.key,
  row.value->>0, row.value->>1, row.value->>2, row.value->>3, ${time}
FROM (SELECT coalesce((SELECT max(version) FROM ${events}
  WHERE aggregate = ${stream.aggregate} AND stream_id = ${stream.id}), 0) AS version) AS head, json_each(${rows}) AS row
WHERE head.version BETWEEN ${min} AND ${max}
ORDER BY row.key
RETURNING version, ${position}`
    },

    standing: (ids) =>
      sql`SELECT event_id, aggregate, stream_id, version, ${position} FROM ${events}
WHERE event_id IN (SELECT value FROM json_each(${JSON.stringify(ids)}))`,

    version: (stream) =>
      sql`SELECT coalesce(max(version), 0) AS version FROM ${events}
WHERE aggregate = ${stream.aggregate} AND stream_id = ${stream.id}`,

    read: ({ fromVersion, limit, stream, toVersion }) =>
      sql`SELECT aggregate, stream_id, version, ${position}, event_id, type, payload, metadata, time FROM ${events}
WHERE aggregate = ${stream.aggregate} AND stream_id = ${stream.id} AND version BETWEEN ${fromVersion} AND ${toVersion}
ORDER BY version LIMIT ${literal(limit)}`,

    readAll: ({ after, aggregate, limit }) => {
      const { sequence } = Position.toParts(after)
      const columns = sql`aggregate, stream_id, version, ${position}, event_id, type, payload, metadata, time`
      return aggregate === undefined
        ? sql`SELECT ${columns} FROM ${events} WHERE position > CAST(${sequence} AS INTEGER)
ORDER BY ${events}.position LIMIT ${literal(limit)}`
        : sql`SELECT ${columns} FROM ${events} WHERE aggregate = ${aggregate} AND position > CAST(${sequence} AS INTEGER)
ORDER BY ${events}.position LIMIT ${literal(limit)}`
    },

    position: ({ position }) => Position.fromParts(0, position),

    // event ids are long: only the first, which may prove a snapshot, and the last, which a new one refers to
    readTail: (stream, { fromVersion, limit }) =>
      sql`SELECT version, type, payload, CASE WHEN version = ${fromVersion} OR version = (
    SELECT max(version) FROM ${events} WHERE aggregate = ${stream.aggregate} AND stream_id = ${stream.id}
  ) THEN event_id END AS "eventId"
FROM ${events}
WHERE aggregate = ${stream.aggregate} AND stream_id = ${stream.id} AND version >= ${fromVersion}
ORDER BY version LIMIT ${literal(limit)}`,

    // the snapshot comes as the row without a type; what it has beside its state stands in the place of the event id.
    // no common table expressions: SQLite materializes them, which costs more than all the rest
    readWithSnapshot: (table, stream, options) => {
      const ofStream = sql`aggregate = ${stream.aggregate} AND stream_id = ${stream.id}`
      const snapshots = identifier(sql, table)
      const start = SnapshotChoice.start(sql, snapshots, ofStream, options)
      return sql`SELECT version, NULL AS type, state AS payload,
  json_array(event_id, schema_version, fingerprint, time) AS "eventId"
FROM ${snapshots} WHERE ${ofStream}
  AND schema_version = ${SnapshotChoice.schemaVersionOf(sql, snapshots, ofStream, options)}
UNION ALL
SELECT * FROM (
  SELECT version, type, payload, CASE WHEN version = ${start} OR version = (
      SELECT max(version) FROM ${events} WHERE ${ofStream}
    ) THEN event_id END AS "eventId"
  FROM ${events} WHERE ${ofStream} AND version >= ${start} ORDER BY version LIMIT ${literal(options.limit)}
)`
    }
  }
}
