import type * as SqlClient from "@effect/sql/SqlClient"
import * as ExpectedVersion from "../ExpectedVersion.js"
import * as Position from "../Position.js"
import type { AppendOptions, EventStatements, TailOptions } from "./eventStatements.js"
import * as FixedStatement from "./fixedStatement.js"
import { shortPage } from "./limits.js"
import * as PgFunctions from "./pgFunctions.js"
import { identifier, type Names, quoted } from "./tables.js"

/** @internal */
export const make = (sql: SqlClient.SqlClient, names: Names): EventStatements => {
  const events = identifier(sql, names.events)
  const functions = PgFunctions.make(names)
  const columns = sql.literal(
    "aggregate, stream_id, version, transaction, position, event_id, type, payload, metadata, " +
      "floor(extract(epoch FROM time) * 1000)::bigint AS time"
  )
  // whatever stands below has been committed or rolled back: no event can still appear there
  const settled = sql`${sql.literal(PgFunctions.base(names))} + pg_snapshot_xmin(pg_current_snapshot())::text::bigint`
  const literal = (limit: number) => sql.literal(String(limit))

  const append = FixedStatement.of<AppendOptions>({
    text: `SELECT ${PgFunctions.call(functions.append)}`,
    params: ({ events, expected, stream }) => {
      const { max, min } = ExpectedVersion.bounds(expected)
      return [
        stream.aggregate,
        stream.id,
        events.map(({ id }) => id),
        events.map(({ type }) => type),
        events.map(({ payload }) => payload),
        events.map(({ metadata }) => metadata),
        min,
        max
      ]
    }
  })

  return {
    append: () => append,

    appended: ([[last]]) => {
      if (last === null) return undefined
      const [version, transaction, position] = String(last).split(" ")
      return { version: Number(version), transaction, position }
    },

    standing: (ids) =>
      sql`SELECT event_id, aggregate, stream_id, version, transaction, position FROM ${events}
WHERE event_id = ANY (${ids}::text[])`,

    version: FixedStatement.of({
      text: `SELECT coalesce(max(version), 0) AS version FROM ${quoted(names.events)}
WHERE aggregate = $1 AND stream_id = $2`,
      params: ({ aggregate, id }) => [aggregate, id]
    }),

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

    readTail: (limit, from) => {
      const params = ({ fromVersion, stream }: TailOptions) => [stream.aggregate, stream.id, fromVersion, limit]
      return limit > shortPage
        ? { text: PgFunctions.longTail(names.events, from), params }
        : FixedStatement.of({ text: `SELECT * FROM ${PgFunctions.call(functions.tail)}`, params })
    },

    readWithSnapshot: (table) =>
      FixedStatement.of({
        text: table === names.snapshots
          ? `SELECT * FROM ${PgFunctions.call(functions.load)}`
          : PgFunctions.load(names.events, table),
        params: ({ fingerprint, limit, migratable = [], schemaVersion, stream }) => [
          stream.aggregate,
          stream.id,
          schemaVersion,
          fingerprint ?? null,
          migratable.map(({ fingerprint, schemaVersion }) => `${schemaVersion} ${fingerprint}`),
          limit
        ]
      })
  }
}
