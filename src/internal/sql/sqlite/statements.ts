import type * as SqlClient from "@effect/sql/SqlClient"
import * as ExpectedVersion from "../../../ExpectedVersion.js"
import * as Position from "../../../Position.js"
import type * as StreamId from "../../../StreamId.js"
import { type AppendedRow, type AppendOptions, choiceOf, type EventStatements } from "../dialect.js"
import { eventKeys, identifier, type Names, unqualified } from "../names.js"
import * as Row from "../row.js"
import * as SnapshotChoice from "../snapshotChoice.js"
import * as FixedStatement from "../statement.js"

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

  // a subquery in a subquery: with the condition on it in sight, SQLite would count through all of the stream instead of
  // seeking its end
  const head = (parameter: FixedStatement.Parameter<AppendOptions>) =>
    sql`(SELECT coalesce((SELECT max(version) FROM ${events} WHERE ${ofStream(parameter)}), 0) AS version) AS head`
  const isExpected = (parameter: FixedStatement.Parameter<AppendOptions>) =>
    sql`head.version BETWEEN ${parameter(({ expected }) => ExpectedVersion.bounds(expected).min)} AND ${
      parameter(({ expected }) => ExpectedVersion.bounds(expected).max)
    }`
  const columns = sql`aggregate, stream_id, version, event_id, type, payload, metadata, time`

  // a command decides one event more often than not, and to unpack a list of one costs a tenth of the statement
  const appendOne = FixedStatement.make<AppendOptions>((parameter) =>
    sql`INSERT INTO ${events} (${columns})
SELECT ${parameter(({ stream }) => stream.aggregate)}, ${parameter(({ stream }) => stream.id)}, head.version + 1,
  ${parameter(({ events: [event] }) => event.id)}, ${parameter(({ events: [event] }) => event.type)},
  ${parameter(({ events: [event] }) => event.payload)}, ${parameter(({ events: [event] }) => event.metadata)},
  ${parameter(({ time }) => time)}
FROM ${head(parameter)} WHERE ${isExpected(parameter)}
RETURNING version, ${position}`
  )
  // one text whatever the number of events, so that it stays prepared
  const appendAll = FixedStatement.make<AppendOptions>((parameter) => {
    const rows = parameter(({ events }) =>
      JSON.stringify(events.map((event) => [event.id, event.type, event.payload, event.metadata]))
    )
    return sql`INSERT INTO ${events} (${columns})
SELECT ${parameter(({ stream }) => stream.aggregate)}, ${parameter(({ stream }) => stream.id)},
  head.version + 1 + row.key, row.value->>0, row.value->>1, row.value->>2, row.value->>3, ${
      parameter(({ time }) => time)
    }
FROM ${head(parameter)}, json_each(${rows}) AS row WHERE ${isExpected(parameter)}
ORDER BY row.key
RETURNING version, ${position}`
  })

  return {
    append: (count) => count === 1 ? appendOne : appendAll,

    // the rows come in no promised order
    appended: (rows) =>
      rows.reduce<AppendedRow | undefined>(
        (last, [version, position]) =>
          last === undefined || Row.number(version) > last.version
            ? { version: Row.number(version), position }
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

    // SQLite names the columns: "UNIQUE constraint failed: t.a, t.b"
    isOurs: ({ detail }) => {
      const violated = detail.slice(detail.indexOf(":") + 1).split(",").map((column) => column.trim().toLowerCase())
        .sort()
      const table = unqualified(names.events).toLowerCase()
      return eventKeys.some((key) =>
        key.split(",").map((column) => `${table}.${column}`).sort().join() === violated.join()
      )
    },

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

    position: ({ position }) => Position.fromParts(0, Row.text(position)),

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
