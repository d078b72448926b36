// The statements of the feed on SQLite.
//
// What a filter matches is looked up by position first, for a limited number of rows, then the wanted rows are read whole.
// Several aggregates are several searches of the feed's index, which SQLite merges in order. A list of them would make it
// sort. Why: docs/decisions/0094-pages-of-the-feed.md.
import * as Position from "../../../Position.js"
import * as Tenant from "../../store/tenant.js"
import type { FeedStatements, PageOptions } from "../dialect.js"
import { type Names, quoted, schemaOf, unqualified } from "../names.js"
import { byShape, sqlite as write } from "../statement.js"
import * as SqliteTables from "./tables.js"

/** `record` has the columns of a stored event. */
export const make = (names: Names, record: ReadonlyArray<string>, position: string): FeedStatements => {
  const events = quoted(names.events)
  const place = ["aggregate", "stream_id", "type", position]
  const page = byShape(
    ({ aggregates, branches, excludedTypes, looked, partition, places, tenant, types }: PageOptions) =>
      JSON.stringify([places, looked, branches, [aggregates, types, excludedTypes, partition, tenant].map(isGiven)]),
    (options) => write(pageText(events, options.partition === undefined ? record : place, options))
  )
  const at = write(`SELECT ${record.join(", ")} FROM ${events}
WHERE position IN (SELECT CAST(value AS INTEGER) FROM json_each(:positions))`)
  const sequences = quoted(`${schemaOf(names) ?? "main"}.sqlite_sequence`)
  const counted = write(`SELECT (SELECT count(*) FROM (
SELECT 1 FROM ${events} WHERE position > CAST(:sequence AS INTEGER) ORDER BY position LIMIT :limit
)) AS events, (
SELECT time FROM ${events} WHERE position > CAST(:sequence AS INTEGER) ORDER BY position LIMIT 1
) AS time`)
  return {
    countAfter: ({ after, limit }) => counted({ sequence: sequenceOf(after), limit }),
    page: (options) => {
      const { after, aggregates = [], branches, bytes, excludedTypes = [], tenant, types } = options
      return page(options)({
        ...Object.fromEntries(
          aggregates.slice(0, branches).map((aggregate, index) => [`aggregate${index}`, aggregate])
        ),
        sequence: sequenceOf(after),
        aggregates: JSON.stringify(aggregates),
        types: JSON.stringify(types),
        tenant: tenant === undefined ? undefined : Tenant.keyOf(tenant),
        excluded: JSON.stringify(
          excludedTypes.flatMap(({ aggregate, types }) => types.map((type) => [aggregate, type]))
        ),
        bytes
      })
    },
    at: (positions, bytes) => at({ positions: JSON.stringify(positions.map(sequenceOf)), bytes }),
    head: { text: `SELECT ${position} FROM (${head(events)})`, params: [] },
    // AUTOINCREMENT gives no position twice, so that the highest one is known also after the last event was deleted
    end: {
      text: `SELECT ${position} FROM (SELECT max(
  coalesce((SELECT max(position) FROM ${events}), 0),
  coalesce((SELECT max(seq) FROM ${sequences} WHERE name = ?), 0)
) AS position)`,
      params: [unqualified(names.events)]
    },
    streams: streams(events)
  }
}

// a position of PostgreSQL is after all of SQLite
export const sequenceOf = (position: Position.Position): string => {
  const { sequence, transaction } = Position.toParts(position)
  return transaction === "0" ? sequence : "9223372036854775807"
}

const isGiven = (option: unknown): boolean => option !== undefined

// one row, also without any event. The maximum in a subquery of its own is one search
const head = (events: string): string => `SELECT (SELECT max(position) FROM ${events}) AS position`

const pageText = (events: string, columns: ReadonlyArray<string>, options: PageOptions): string => {
  const { aggregates, branches, excludedTypes, looked, partition, places, tenant, types } = options
  const isWhole = [types, excludedTypes, partition, tenant].every((filter) => filter === undefined)
  const after = "position > CAST(:sequence AS INTEGER)"
  const rows = (condition: string, limit: number) =>
    `SELECT ${columns.join(", ")} FROM ${events} WHERE ${condition} ORDER BY ${events}.position LIMIT ${limit}`
  if (aggregates === undefined && isWhole) return rows(after, places)
  const marked = (name: "head" | "looked", from: string) => `UNION ALL SELECT ${mark(columns, name)} FROM (${from})`
  if (branches === 1 && isWhole) {
    return `SELECT * FROM (${rows(`${ofAggregate(0)} AND ${after}`, places)}) ${marked("head", head(events))}`
  }
  const positions = (condition: string) =>
    `SELECT position FROM ${events} WHERE ${condition}${after} ORDER BY position LIMIT ${looked}`
  const looks = branches === 0
    ? positions(tenant === undefined ? "" : `unlikely(${SqliteTables.tenant} = :tenant) AND `)
    : `SELECT position FROM (${
      Array.from({ length: branches }, (_, index) => `SELECT * FROM (${positions(`${ofAggregate(index)} AND `)})`)
        .join(" UNION ALL ")
    }) ORDER BY position LIMIT ${looked}`
  const conditions = [
    `position IN (${looks})`,
    ...(branches === 0 && aggregates !== undefined ? ["aggregate IN (SELECT value FROM json_each(:aggregates))"] : []),
    ...(types === undefined ? [] : ["type IN (SELECT value FROM json_each(:types))"]),
    ...(excludedTypes === undefined
      ? []
      : ["(aggregate, type) NOT IN (SELECT value->>0, value->>1 FROM json_each(:excluded))"])
  ]
  return `SELECT * FROM (${rows(conditions.join(" AND "), places)})
${
    marked(
      "looked",
      `SELECT * FROM (SELECT max(position) AS position, count(*) AS count FROM (${looks})) WHERE count = ${looked}`
    )
  }
${marked("head", head(events))}`
}

// after ANALYZE of a table with one aggregate, SQLite would follow the positions and filter, also for a new aggregate
const ofAggregate = (index: number): string => `unlikely(aggregate = :aggregate${index})`

/** A row that tells a position, in the columns of an event, without an aggregate. */
const mark = (columns: ReadonlyArray<string>, name: string): string =>
  columns.map((column) => column === "type" ? `'${name}'` : column.endsWith("position") ? column : "NULL").join(", ")

/** Jumps from stream to stream on the unique index: its cost is that of the streams, and not of their events. */
const streams = (events: string): FeedStatements["streams"] => {
  const first = (after: string) =>
    `(SELECT min(stream_id) FROM ${events} WHERE aggregate = :aggregate AND stream_id > ${after})`
  const statement = write(`WITH RECURSIVE found (id, number) AS (
SELECT ${first(":after")}, 1
UNION ALL
SELECT ${first("found.id")}, number + 1 FROM found WHERE id IS NOT NULL AND number < :limit
)
SELECT id AS stream_id, (
SELECT max(version) FROM ${events} WHERE aggregate = :aggregate AND stream_id = found.id
) AS version
FROM found WHERE id IS NOT NULL ORDER BY number`)
  return ({ after = "", aggregate, limit }) => statement({ aggregate, after, limit })
}
