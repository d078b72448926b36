import type * as SqlClient from "@effect/sql/SqlClient"
import type * as EventStore from "../EventStore.js"
import * as ExpectedVersion from "../ExpectedVersion.js"
import * as Position from "../Position.js"
import type * as StreamId from "../StreamId.js"
import { choiceOf, type EventStatements } from "./eventStatements.js"
import * as FixedStatement from "./fixedStatement.js"
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
  const ofStream = (parameter: FixedStatement.Parameter<{ readonly stream: StreamId.StreamId }>) =>
    sql`aggregate = ${parameter(({ stream }) => stream.aggregate)} AND stream_id = ${
      parameter(({ stream }) => stream.id)
    }`

  return {
    // within a stream the transaction never falls: that of a caller may have begun before the one that wrote the head
    append: FixedStatement.make((parameter) => {
      const column = (value: (event: EventStore.EncodedEvent) => string) =>
        sql`${parameter(({ events }) => events.map(value))}::text[]`
      const aggregate = parameter(({ stream }) => stream.aggregate)
      const id = parameter(({ stream }) => stream.id)
      return sql`INSERT INTO ${events}
  (transaction, version, aggregate, stream_id, event_id, type, payload, metadata)
SELECT greatest(${base} + pg_current_xact_id()::text::bigint, head.transaction), coalesce(head.version, 0) + row.number,
  ${aggregate}, ${id}, row.event_id, row.type, row.payload, row.metadata
FROM unnest(${column(({ id }) => id)}, ${column(({ type }) => type)}, ${column(({ payload }) => payload)},
  ${column(({ metadata }) => metadata)}) WITH ORDINALITY AS row (event_id, type, payload, metadata, number)
LEFT JOIN (
  SELECT version, transaction FROM ${events} WHERE aggregate = ${aggregate} AND stream_id = ${id}
  ORDER BY version DESC LIMIT 1
) AS head ON true
WHERE coalesce(head.version, 0) BETWEEN ${parameter(({ expected }) => ExpectedVersion.bounds(expected).min)}::bigint
  AND ${parameter(({ expected }) => ExpectedVersion.bounds(expected).max)}::bigint
ORDER BY row.number
RETURNING version, transaction, position`
    }),

    standing: (ids) =>
      sql`SELECT event_id, aggregate, stream_id, version, transaction, position FROM ${events}
WHERE event_id = ANY (${ids}::text[])`,

    version: FixedStatement.make((parameter) =>
      sql`SELECT coalesce(max(version), 0) AS version FROM ${events}
WHERE aggregate = ${parameter(({ aggregate }) => aggregate)} AND stream_id = ${parameter(({ id }) => id)}`
    ),

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

    readTail: (limit) =>
      FixedStatement.make((parameter) =>
        sql`SELECT version, type, payload, event_id FROM ${events}
WHERE ${ofStream(parameter)} AND version >= ${parameter(({ fromVersion }) => fromVersion)}::bigint
ORDER BY version LIMIT ${literal(limit)}`
      ),

    // planning costs more than running: the snapshot is looked at once, for both halves
    readWithSnapshot: (table, options) =>
      FixedStatement.make((parameter) => {
        const snapshots = identifier(sql, table)
        const stream = ofStream(parameter)
        const choice = choiceOf(options, parameter)
        return sql`WITH snapshot AS (
  SELECT version, state, event_id, schema_version, fingerprint, time FROM ${snapshots}
  WHERE ${stream} ORDER BY ${SnapshotChoice.order(sql, choice)} LIMIT 1
)
SELECT version, NULL AS type, state AS payload, json_build_array(event_id, schema_version, fingerprint, time)::text
FROM snapshot
UNION ALL (
  SELECT version, type, payload, event_id FROM ${events} WHERE ${stream} AND version >= coalesce(
    (SELECT version FROM snapshot WHERE ${SnapshotChoice.usable(sql, choice)}), 1
  ) ORDER BY version LIMIT ${literal(options.limit)}
)`
      })
  }
}
