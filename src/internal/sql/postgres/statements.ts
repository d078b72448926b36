import type * as SqlClient from "@effect/sql/SqlClient"
import * as ExpectedVersion from "../../../ExpectedVersion.js"
import * as Position from "../../../Position.js"
import { shortPage } from "../../constants.js"
import type { AppendOptions, EventStatements, TailOptions } from "../dialect.js"
import { eventKeys, identifier, type Names, quoted } from "../names.js"
import * as Row from "../row.js"
import * as FixedStatement from "../statement.js"
import * as PgFunctions from "./functions.js"
import { keyOfIndex } from "./tables.js"
import { pgText } from "./text.js"

/** @internal */
export const make = (sql: SqlClient.SqlClient, names: Names): EventStatements => {
  const events = identifier(sql, names.events)
  const functions = PgFunctions.make(names)
  const where = {
    aggregate: pgText("aggregate", "text"),
    stream_id: pgText("stream_id", "text"),
    version: pgText("version", "integer"),
    transaction: pgText("transaction", "bigint"),
    position: pgText("position", "bigint"),
    event_id: pgText("event_id", "text")
  }
  const record = {
    ...where,
    type: pgText("type", "text"),
    payload: pgText("payload", "text"),
    metadata: pgText("metadata", "text"),
    time: pgText("floor(extract(epoch FROM time) * 1000)::bigint", "bigint")
  }
  const select = (columns: Readonly<Record<string, string>>) =>
    sql.literal(Object.entries(columns).map(([name, column]) => `${column} AS ${name}`).join(", "))
  // whatever stands below has been committed or rolled back: no event can still appear there
  const settled = sql`${sql.literal(PgFunctions.base(names))} + pg_snapshot_xmin(pg_current_snapshot())::text::bigint`
  // also one that is disabled, as it may go on at any time. Of pg_subscription not all columns may be read by everyone
  const subscribed = `EXISTS (SELECT FROM pg_subscription_rel WHERE srrelid = to_regclass('${quoted(names.events)}'))`
  const literal = (limit: number) => sql.literal(String(limit))

  const append = FixedStatement.of<AppendOptions>({
    text: `SELECT ${pgText(PgFunctions.call(functions.append), "text")}`,
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
      const [version, transaction, position] = Row.text(last).split(" ")
      return { version: Row.number(version), transaction, position }
    },

    standing: (ids) =>
      sql`SELECT ${select(where)} FROM ${events}
WHERE event_id = ANY (${ids}::text[])`,

    version: FixedStatement.of({
      text: `SELECT ${pgText("coalesce(max(version), 0)", "integer")} AS version FROM ${quoted(names.events)}
WHERE aggregate = $1 AND stream_id = $2`,
      params: ({ aggregate, id }) => [aggregate, id]
    }),

    isOurs: ({ violated }) =>
      sql`SELECT NULL AS ours FROM pg_index JOIN pg_class AS index ON index.oid = indexrelid
WHERE indrelid = to_regclass(${quoted(names.events)}) AND index.relname = ${violated ?? null}
  AND ${sql.literal(keyOfIndex)} = ANY (${eventKeys}::text[])`,

    read: ({ fromVersion, limit, stream, toVersion }) =>
      sql`SELECT ${select(record)} FROM ${events} AS event
WHERE aggregate = ${stream.aggregate} AND stream_id = ${stream.id}
  AND version BETWEEN ${fromVersion}::bigint AND ${toVersion}::bigint
ORDER BY event.version LIMIT ${literal(limit)}`,

    readAll: ({ after, aggregate, limit }) => {
      const { sequence, transaction } = Position.toParts(after)
      const ofAggregate = aggregate === undefined ? sql`` : sql`aggregate = ${aggregate} AND`
      return sql`SELECT ${select(record)} FROM ${events} AS event
WHERE ${ofAggregate} (transaction, position) > (${transaction}::bigint, ${sequence}::bigint) AND transaction < ${settled}
  AND NOT ${sql.literal(subscribed)}
ORDER BY event.transaction, event.position LIMIT ${literal(limit)}`
    },

    isolation: sql`SELECT ${sql.literal(pgText("current_setting('transaction_isolation')", "text"))} AS level`,

    subscribed: sql`SELECT ${select({ subscribed: pgText(subscribed, "boolean") })}`,

    heldBack: sql`SELECT ${
      select({
        subscribed: pgText(subscribed, "boolean"),
        events: pgText("count(*)", "bigint"),
        lag: pgText("(extract(epoch FROM clock_timestamp() - min(time)) * 1000)::numeric", "numeric")
      })
    }
FROM (SELECT time FROM ${events} WHERE transaction >= ${settled} ORDER BY transaction, position LIMIT 10000) AS held`,

    position: ({ position, transaction }) => Position.fromParts(Row.text(transaction), Row.text(position)),

    readTail: (limit, from) => {
      const params = ({ fromVersion, stream }: TailOptions) => [stream.aggregate, stream.id, fromVersion, limit]
      return limit > shortPage
        ? { text: PgFunctions.longTail(names.events, from), params }
        : FixedStatement.of({ text: PgFunctions.select(PgFunctions.call(functions.tail), "event_id"), params })
    },

    readWithSnapshot: (table) =>
      FixedStatement.of({
        text: table === names.snapshots
          ? PgFunctions.select(PgFunctions.call(functions.load), "proof")
          : PgFunctions.select(`(${PgFunctions.load(names.events, table)}) AS load`, "proof"),
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
