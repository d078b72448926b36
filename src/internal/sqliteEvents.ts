import type * as SqlClient from "@effect/sql/SqlClient"
import * as ExpectedVersion from "../ExpectedVersion.js"
import * as Position from "../Position.js"
import type * as StreamId from "../StreamId.js"
import { type AppendedRow, choiceOf, type EventStatements } from "./eventStatements.js"
import * as FixedStatement from "./fixedStatement.js"
import * as SnapshotChoice from "./snapshotChoice.js"
import { identifier, type Names } from "./tables.js"

/** @internal */
export const make = (sql: SqlClient.SqlClient, names: Names): EventStatements => {
  const events = identifier(sql, names.events)
  // a position above 2^53, which a row edited by hand may bring about, is none that a number can hold
  const position = sql.literal("CAST(position AS TEXT) AS position")
  // SQLite plans a statement anew at every run while a bound value stands in its LIMIT
  const literal = (limit: number) => sql.literal(String(limit))
  const ofStream = (parameter: FixedStatement.Parameter<{ readonly stream: StreamId.StreamId }>) =>
    sql`aggregate = ${parameter(({ stream }) => stream.aggregate)} AND stream_id = ${
      parameter(({ stream }) => stream.id)
    }`

  return {
    // one statement whatever the number of events, with one text, so that it stays prepared. The head is a subquery in a
    // subquery: with the condition on it in sight, SQLite would count through all of the stream instead of seeking its end
    append: FixedStatement.make((parameter) => {
      const aggregate = parameter(({ stream }) => stream.aggregate)
      const id = parameter(({ stream }) => stream.id)
      const rows = parameter(({ events }) =>
        JSON.stringify(events.map((event) => [event.id, event.type, event.payload, event.metadata]))
      )
      return sql`INSERT INTO ${events} (aggregate, stream_id, version, event_id, type, payload, metadata, time)
SELECT ${aggregate}, ${id}, head.version + 1 + row.key,
  row.value->>0, row.value->>1, row.value->>2, row.value->>3, ${parameter(({ time }) => time)}
FROM (SELECT coalesce((SELECT max(version) FROM ${events}
  WHERE aggregate = ${aggregate} AND stream_id = ${id}), 0) AS version) AS head, json_each(${rows}) AS row
WHERE head.version BETWEEN ${parameter(({ expected }) => ExpectedVersion.bounds(expected).min)}
  AND ${parameter(({ expected }) => ExpectedVersion.bounds(expected).max)}
ORDER BY row.key
RETURNING version, ${position}`
    }),

    // the rows come in no promised order
    appended: (rows) =>
      rows.reduce<AppendedRow | undefined>(
        (last, [version, position]) =>
          last === undefined || Number(version) > last.version
            ? { version: Number(version), position: String(position) }
            : last,
        undefined
      ),

    standing: (ids) =>
      sql`SELECT event_id, aggregate, stream_id, version, ${position} FROM ${events}
WHERE event_id IN (SELECT value FROM json_each(${JSON.stringify(ids)}))`,

    version: FixedStatement.make((parameter) =>
      sql`SELECT coalesce(max(version), 0) AS version FROM ${events}
WHERE aggregate = ${parameter(({ aggregate }) => aggregate)} AND stream_id = ${parameter(({ id }) => id)}`
    ),

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

    readTail: (limit) =>
      FixedStatement.make((parameter) =>
        sql`SELECT version, type, payload, event_id FROM ${events}
WHERE ${ofStream(parameter)} AND version >= ${parameter(({ fromVersion }) => fromVersion)}
ORDER BY version LIMIT ${literal(limit)}`
      ),

    // no common table expressions: SQLite materializes them, which costs more than all the rest
    readWithSnapshot: (table, options) =>
      FixedStatement.make((parameter) => {
        const snapshots = identifier(sql, table)
        const stream = ofStream(parameter)
        const choice = choiceOf(options, parameter)
        return sql`SELECT version, NULL AS type, state AS payload, json_array(event_id, schema_version, fingerprint, time)
FROM ${snapshots} WHERE ${stream} AND schema_version = ${SnapshotChoice.schemaVersionOf(sql, snapshots, stream, choice)}
UNION ALL
SELECT * FROM (
  SELECT version, type, payload, event_id FROM ${events}
  WHERE ${stream} AND version >= ${SnapshotChoice.start(sql, snapshots, stream, choice)}
  ORDER BY version LIMIT ${literal(options.limit)}
)`
      })
  }
}
