// The statements of the feed on PostgreSQL.
//
// What a filter matches is looked up by keys first, for a limited number of rows, then the wanted rows are read whole.
//
// The texts leave the planner one index, also before the first ANALYZE. With `aggregate = ...` it may follow the primary key
// and filter, which reads to the end of the table for an aggregate that has no more events. So the aggregate stands in an
// array, and comes first in the order: only the feed's index has that order. Subqueries hide the array and the limit, as
// the planner may prefer to sort all rows if it knows that they are few. Why: docs/decisions/0094-pages-of-the-feed.md.
import * as Position from "../../../Position.js"
import type { FeedStatements, PageOptions } from "../dialect.js"
import { type Names, quoted } from "../names.js"
import { byShape, postgres as write, type Query } from "../statement.js"
import * as PgFunction from "./function.js"
import * as PreparedTexts from "./preparedTexts.js"
import * as PgTables from "./tables.js"
import { pgText } from "./text.js"

/** The columns of a stored event, each as an expression, and those that the places of events have. */
export interface Columns {
  readonly record: Readonly<Record<string, string>>
  readonly place: Readonly<Record<string, string>>
}

export const select = (columns: Readonly<Record<string, string>>): string =>
  Object.entries(columns).map(([name, column]) => `${column} AS ${name}`).join(", ")

export const make = (names: Names, { place, record }: Columns): FeedStatements => {
  const events = quoted(names.events)
  const base = PgFunction.base(names)
  // every event below this was committed or rolled back: no event can still appear there
  const settled = `${base} + pg_snapshot_xmin(pg_current_snapshot())::text::bigint`
  // a subscription that is disabled counts too, as it may go on at any time. Not every user may read all of pg_subscription
  const isSubscribed = `EXISTS (SELECT FROM pg_subscription_rel WHERE srrelid = to_regclass('${events}'))`
  const subscribed = pgText(isSubscribed, "boolean")
  const inFeed = `transaction < ${settled} AND NOT ${isSubscribed}`
  const texts: Texts = {
    events,
    inFeed,
    after: `(transaction, position) > (:transaction::bigint, :sequence::bigint) AND ${inFeed}`
  }
  const page = byShape(
    ({ aggregates, branches, excludedTypes, partition, tenant, types }: PageOptions) =>
      JSON.stringify([
        branches > 0,
        aggregates?.length === 1,
        [aggregates, types, excludedTypes, partition, tenant].map(isGiven)
      ]),
    // the plan does not depend on the values, so it can be kept
    (options) => PreparedTexts.write(pageText(texts, options.partition === undefined ? record : place, options))
  )
  const at = write(`SELECT ${select(record)}
FROM unnest(:transactions::bigint[], :sequences::bigint[]) AS place (at_transaction, at_position)
CROSS JOIN LATERAL ${rowOfPlace(events)} AS event`)
  return {
    countAfter: countAfter(texts, { subscribed, time: record.time }),
    page: (options) => {
      const excluded = (options.excludedTypes ?? []).flatMap(({ aggregate, types }) =>
        types.map((type) => [aggregate, type])
      )
      return page(options)({
        ...options,
        ...Position.toParts(options.after),
        excludedAggregates: excluded.map(([aggregate]) => aggregate),
        excludedTypes: excluded.map(([, type]) => type),
        tenant: options.tenant === undefined ? undefined : PgTables.tenantKey(options.tenant)
      })
    },
    at: (positions, bytes) => {
      const parts = positions.map(Position.toParts)
      return at({
        bytes,
        transactions: parts.map(({ transaction }) => transaction),
        sequences: parts.map(({ sequence }) => sequence)
      })
    },
    head: fixed(`SELECT ${select({ subscribed, transaction: record.transaction, position: record.position })}
FROM (SELECT) AS always LEFT JOIN LATERAL (
SELECT transaction, position FROM ${events} WHERE ${inFeed}
ORDER BY transaction DESC, position DESC LIMIT 1
) AS event ON true`),
    subscribed: fixed(`SELECT ${select({ subscribed })}`),
    end: fixed(`SELECT ${
      select({
        subscribed,
        events: pgText("count(*)", "bigint"),
        lag: pgText("(extract(epoch FROM clock_timestamp() - min(time)) * 1000)::numeric", "numeric"),
        transaction: pgText(`(${lastTransaction(events, base)})`, "bigint"),
        position: pgText("9223372036854775807", "bigint")
      })
    }
FROM (SELECT time FROM ${events} WHERE transaction >= ${settled} ORDER BY transaction, position LIMIT 10000) AS held`),
    streams: streams(events)
  }
}

interface Texts {
  readonly events: string
  readonly after: string
  readonly inFeed: string
}

const isGiven = (option: unknown): boolean => option !== undefined

const fixed = (text: string): Query => ({ text, params: [] })

const pageText = (
  { after, events, inFeed }: Texts,
  columns: Columns["record"],
  options: PageOptions
): string => {
  const { aggregates, branches, excludedTypes, partition, tenant, types } = options
  const isWhole = [types, excludedTypes, partition, tenant].every((filter) => filter === undefined)
  if (aggregates === undefined && isWhole) {
    return `SELECT ${select(columns)} FROM ${events} AS event WHERE ${after}
ORDER BY event.transaction, event.position LIMIT :limit`
  }
  const head = `UNION ALL (SELECT ${mark(columns, "head", "transaction", "position")} FROM ${events} AS event
WHERE ${inFeed} ORDER BY event.transaction DESC, event.position DESC LIMIT 1)`
  const ofAggregate = (list: string, columns: string, limit: string) =>
    `(SELECT ${columns} FROM ${events} WHERE aggregate = ANY (ARRAY(${list})) AND ${after}
ORDER BY aggregate, transaction, position LIMIT (SELECT ${limit}::bigint)) AS event`
  if (aggregates?.length === 1 && isWhole) {
    return `SELECT ${select(columns)} FROM ${ofAggregate("SELECT unnest(:aggregates::text[])", "*", ":limit")}
${head}`
  }
  const keys = "aggregate, stream_id, type, transaction, position"
  const looks = tenant !== undefined
    ? `SELECT ${keys} FROM ${events} WHERE ${PgTables.tenant} = ANY (ARRAY(SELECT :tenant::text)) AND ${after}
ORDER BY ${PgTables.tenant}, transaction, position LIMIT (SELECT :looked::bigint)`
    : branches === 0
    ? `SELECT ${keys} FROM ${events} WHERE ${after}
ORDER BY transaction, position LIMIT (SELECT :looked::bigint)`
    : `SELECT event.* FROM unnest(:aggregates::text[]) AS wanted (name)
CROSS JOIN LATERAL ${ofAggregate("SELECT wanted.name", keys, ":looked")}
ORDER BY event.transaction, event.position LIMIT :looked`
  const conditions = [
    ...(branches === 0 && aggregates !== undefined ? ["aggregate = ANY (:aggregates::text[])"] : []),
    ...(types === undefined ? [] : ["type = ANY (:types::text[])"]),
    // a subquery that the server hashes, so that thousands of types cost no more than one
    ...(excludedTypes === undefined
      ? []
      : ["(aggregate, type) NOT IN (SELECT * FROM unnest(:excludedAggregates::text[], :excludedTypes::text[]))"])
  ]
  const isWanted = conditions.length === 0 ? "true" : conditions.join(" AND ")
  // an event is read whole by its place, or its place is all that is asked for
  const [ofPlace, row] = partition === undefined
    ? ["", rowOfPlace(events)]
    : ["aggregate, stream_id, type, ", "(SELECT at_transaction AS transaction, at_position AS position)"]
  return `WITH place AS MATERIALIZED (
SELECT ${ofPlace}transaction AS at_transaction, position AS at_position, number, is_wanted FROM (
SELECT *, ${isWanted} AS is_wanted, row_number() OVER (ORDER BY transaction, position) AS number FROM (${looks}) AS looked
) AS numbered WHERE is_wanted OR number = :looked
ORDER BY transaction, position LIMIT :places
)
SELECT ${select(columns)} FROM place CROSS JOIN LATERAL ${row} AS event WHERE is_wanted
UNION ALL SELECT ${mark(columns, "looked", "at_transaction", "at_position")} FROM place WHERE number = :looked
${head}`
}

// a join might read the whole table in the order of its key
const rowOfPlace = (events: string): string =>
  `(SELECT * FROM ${events} WHERE transaction = at_transaction AND position = at_position LIMIT 1)`

/** A row that tells a position, in the columns of an event, without an aggregate. */
const mark = (columns: Columns["record"], name: "head" | "looked", transaction: string, position: string): string => {
  const values: Readonly<Record<string, string>> = {
    type: `'${name}'::cstring`,
    transaction: pgText(transaction, "bigint"),
    position: pgText(position, "bigint")
  }
  return Object.keys(columns).map((column) => values[column] ?? "NULL").join(", ")
}

/**
 * The highest number that an event can have: that of the last transaction that began, or a higher one that was restored.
 * Unknown on a standby, which receives later transactions.
 */
const lastTransaction = (events: string, base: string): string => {
  const next = "pg_snapshot_xmax(pg_current_snapshot())"
  return `CASE WHEN pg_is_in_recovery() THEN NULL ELSE greatest(
  ${base} + ${next}::text::bigint + age(${next}::xid) - 1, (SELECT max(transaction) FROM ${events})
) END`
}

/** Reads no row but the first. The limit is hidden, so that the planner keeps to the index. */
const countAfter = (
  { after, events }: Texts,
  columns: Readonly<Record<"subscribed" | "time", string>>
): FeedStatements["countAfter"] => {
  const count = `(SELECT count(*) FROM (SELECT FROM ${events} WHERE ${after}
ORDER BY transaction, position LIMIT (SELECT :limit::bigint)) AS counted)`
  const statement = PreparedTexts.write(`SELECT ${select({ ...columns, events: pgText(count, "bigint") })}
FROM (SELECT) AS always LEFT JOIN LATERAL (
SELECT time FROM ${events} WHERE ${after} ORDER BY transaction, position LIMIT 1
) AS event ON true`)
  return ({ after, limit }) => statement({ ...Position.toParts(after), limit })
}

/** Jumps from stream to stream on the unique index: its cost is that of the streams, and not of their events. */
const streams = (events: string): FeedStatements["streams"] => {
  const first = (after: string) =>
    `(SELECT stream_id FROM ${events} WHERE aggregate = :aggregate AND stream_id > ${after}
ORDER BY aggregate, stream_id, version LIMIT 1)`
  const statement = write(`WITH RECURSIVE found AS (
SELECT first.stream_id, 1 AS number FROM ${first(":after")} AS first
UNION ALL
SELECT next.stream_id, number + 1 FROM found CROSS JOIN LATERAL ${first("found.stream_id")} AS next
WHERE number < :limit::bigint
)
SELECT ${pgText("stream_id", "text")} AS stream_id, ${pgText("last.version", "integer")} AS version
FROM found CROSS JOIN LATERAL (
SELECT version FROM ${events} AS event WHERE event.aggregate = :aggregate AND event.stream_id = found.stream_id
ORDER BY version DESC LIMIT 1
) AS last
ORDER BY number`)
  return ({ after = "", aggregate, limit }) => statement({ aggregate, after, limit })
}
