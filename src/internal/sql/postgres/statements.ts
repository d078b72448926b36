import type { EncodedEvent } from "../../../Event.js"
import * as ExpectedVersion from "../../../ExpectedVersion.js"
import * as Position from "../../../Position.js"
import { pageBytes, shortPage } from "../../constants.js"
import * as Markers from "../../markers.js"
import * as ArchiveStatements from "../archiveStatements.js"
import type { AppendOptions, Dialect, EventStatements, LoadGroup, LoadOptions, ReadOptions } from "../dialect.js"
import { eventKeys, type Names, quoted } from "../names.js"
import * as Row from "../row.js"
import { keyOf, ofStream } from "../snapshotChoice.js"
import { byShape, postgres as write, type Query } from "../statement.js"
import * as Tombstones from "../tombstoneStatements.js"
import * as Checkpoints from "./checkpointStatements.js"
import * as Feed from "./feedStatements.js"
import type { Function } from "./function.js"
import * as PgFunctions from "./functions.js"
import * as GroupStatement from "./groupStatement.js"
import * as Import from "./importStatements.js"
import * as PreparedTexts from "./preparedTexts.js"
import * as PgTables from "./tables.js"
import { keyOfIndex } from "./tables.js"
import { pgText } from "./text.js"
import * as PgTime from "./time.js"

const time = pgText(PgTime.column("time"), "text")

const where = {
  aggregate: pgText("aggregate", "text"),
  stream_id: pgText("stream_id", "text"),
  version: pgText("version", "integer"),
  transaction: pgText("transaction", "bigint"),
  position: pgText("position", "bigint"),
  event_id: pgText("event_id", "text"),
  time
}

const { aggregate, position, stream_id, transaction } = where

const type = pgText("type", "text")

// the length of a text is known without reading it
const length = "(octet_length(payload)::bigint + octet_length(metadata))"

const record = {
  ...where,
  type,
  payload: pgText(`CASE WHEN ${length} <= :bytes::bigint THEN payload END`, "text"),
  metadata: pgText(`CASE WHEN ${length} <= :bytes::bigint THEN metadata ELSE ${length}::text END`, "text")
}

/** Notes a text with the server's own placeholders, which nearly every command runs: it can be prepared by name. */
const prepared = (text: string): string => {
  PreparedTexts.note(text)
  return text
}

const fixed = (text: string): Query => ({ text, params: [] })

const events = (names: Names): EventStatements => {
  const events = quoted(names.events)
  const functions = PgFunctions.make(names)
  const append = prepared(`SELECT ${pgText(PgFunctions.call(functions.append), "text")}`)
  const appendGroup = prepared(`SELECT ${pgText(PgFunctions.call(functions.appendGroup), "text")}`)
  const head = prepared(`SELECT ${pgText("version", "integer")} AS version, ${pgText("type", "text")} AS type
FROM ${events} AS event WHERE aggregate = $1 AND stream_id = $2 ORDER BY event.version DESC LIMIT 1`)
  const standing = write(`SELECT ${Feed.select(where)} FROM ${events} WHERE event_id = ANY (:ids::text[])`)
  const replace = write(`UPDATE ${events} SET payload = :payload::text, metadata = :metadata::text
WHERE ${ofStream} AND version = :version::bigint AND metadata = :before::text AND payload <> ''
RETURNING ${pgText("version", "integer")}`)
  const lastRewritten = write(`SELECT ${pgText("coalesce(max(version), 0)", "integer")} AS version FROM ${events}
WHERE ${ofStream} AND version > :after::bigint AND type = '${Markers.rewritten}'`)
  const remove = write(`DELETE FROM ${events} WHERE ${ofStream} AND version < :before::bigint`)
  const read = byShape(
    ({ limit, reverse }: ReadOptions) => `${limit} ${reverse}`,
    ({ limit, reverse }) =>
      write(`SELECT ${Feed.select(record)} FROM ${events} AS event
WHERE ${ofStream} AND version BETWEEN :fromVersion::bigint AND :toVersion::bigint
ORDER BY event.version${reverse ? " DESC" : ""} LIMIT ${limit}`)
  )
  return {
    append: (options) => ({ text: append, params: appendParams(options) }),
    appended: ([[last]], { events }) => {
      if (last === null) return undefined
      const [version, transaction, position, time] = Row.text(last).split(" ")
      const own = events[events.length - 1].time
      return { version: Row.number(version), transaction, position, time: own ?? PgTime.millis(time) }
    },
    appendGroup: GroupStatement.make(appendGroup),
    standing: (ids) => standing({ ids }),
    head: ({ aggregate, id }) => ({ text: head, params: [aggregate, id] }),
    isOurs: ({ violated }) => ({
      text: `SELECT NULL AS ours FROM pg_index JOIN pg_class AS index ON index.oid = indexrelid
WHERE indrelid = to_regclass($1) AND index.relname = $2 AND ${keyOfIndex} = ANY ($3::text[])`,
      params: [events, violated ?? null, eventKeys]
    }),

    read: (options) => read(options)({ ...options, ...keyOf(options.stream) }),
    feed: Feed.make(names, { record, place: { aggregate, stream_id, type, transaction, position } }),
    isolation: fixed(`SELECT ${pgText("current_setting('transaction_isolation')", "text")} AS level`),
    import: Import.make(names),
    replace: (stream, event) => replace({ ...keyOf(stream), ...event }),
    lastRewritten: (stream, after) => lastRewritten({ ...keyOf(stream), after }),
    remove: (stream, before) => remove({ ...keyOf(stream), before }),
    tombstones: tombstones(events),
    archive: ArchiveStatements.make(names, archive(names)),
    millis: PgTime.millis,
    position: ({ position, transaction }) => Position.fromParts(Row.text(transaction), Row.text(position)),
    readTail: tail(names.events, functions.tail),
    readWithSnapshot: (table) => {
      const load = prepared(
        table === names.snapshots
          ? PgFunctions.select(PgFunctions.call(functions.load), "proof")
          : PgFunctions.select(`(${PgFunctions.load(names.events, table)}) AS load`, "proof")
      )
      return {
        one: (options) => ({ text: load, params: loadParams(options) }),
        group: table === names.snapshots ? loadGroup(functions.loadGroup) : undefined
      }
    }
  }
}

const tombstones = (events: string): Tombstones.TombstoneStatements =>
  Tombstones.make({
    write,
    counted: dialect.counted,
    number: (expression) => pgText(expression, "integer"),
    events,
    columns: Feed.select({
      aggregate,
      stream_id,
      version: where.version,
      event_id: where.event_id,
      transaction,
      position
    }),
    place: "(transaction, position)",
    placeOf: (name) => `(:${name}Transaction::bigint, :${name}Sequence::bigint)`,
    valuesOf: (name, position) => {
      const { sequence, transaction } = Position.toParts(position)
      return { [`${name}Transaction`]: transaction, [`${name}Sequence`]: sequence }
    },
    time: (name) => PgTime.ofMillis(`:${name}::bigint`),
    whole: (name) => `:${name}::bigint`
  })

const archive = (names: Names): ArchiveStatements.Own => {
  const archive = quoted(names.archive)
  const textBefore = (column: string): string =>
    pgText(`CASE WHEN earlier < :bytes::bigint THEN archive.${column} END`, "text")
  // the lengths are added up before a text is read
  const contents = write(`WITH found AS (
  SELECT wanted.place, archive.aggregate, archive.stream_id, archive.version, ${length} AS size
  FROM unnest(:aggregates::text[], :ids::text[], :versions::bigint[]) WITH ORDINALITY
    AS wanted (aggregate, stream_id, version, place)
  JOIN ${archive} AS archive ON archive.aggregate = wanted.aggregate AND archive.stream_id = wanted.stream_id
    AND archive.version = wanted.version
), summed AS (
  SELECT place, aggregate, stream_id, version, sum(size) OVER (ORDER BY place) - size AS earlier FROM found
)
SELECT ${pgText("place - 1", "bigint")} AS place, ${textBefore("payload")} AS payload, ${
    textBefore("metadata")
  } AS metadata
FROM summed JOIN ${archive} AS archive USING (aggregate, stream_id, version)`)
  return {
    write,
    count: (expression) => pgText(`(${expression})::bigint`, "bigint"),
    integer: (name) => `:${name}::bigint`,
    text: (name) => `:${name}::text`,
    tenant: PgTables.storedTenant,
    words: (expression) => pgText(expression, "text"),
    contents: (places, bytes) =>
      contents({
        aggregates: places.map(({ stream }) => stream.aggregate),
        ids: places.map(({ stream }) => stream.id),
        versions: places.map(({ version }) => version),
        bytes
      })
  }
}

export const dialect: Dialect = {
  write,
  writePrepared: PreparedTexts.write,
  column: pgText,
  counted: (deletion) => `WITH deleted AS (${deletion}) SELECT ${pgText("count(*)", "bigint")} AS count FROM deleted`,
  events,
  checkpoints: Checkpoints.spec
}

const appendParams = ({ events, expected, stream }: AppendOptions): ReadonlyArray<unknown> => {
  const { max, min } = ExpectedVersion.bounds(expected)
  return [
    stream.aggregate,
    stream.id,
    ...textsOf(events),
    min,
    max,
    events.some(({ time }) => time !== undefined) ? timesOf(events) : null
  ]
}

const textsOf = (events: ReadonlyArray<EncodedEvent>): ReadonlyArray<ReadonlyArray<string>> => [
  events.map(({ id }) => id),
  events.map(({ type }) => type),
  events.map(({ payload }) => payload),
  events.map(({ metadata }) => metadata)
]

const timesOf = (events: ReadonlyArray<EncodedEvent>): ReadonlyArray<number | null> =>
  events.map(({ time }) => time ?? null)

const loadParams = ({ bytes, fingerprint, limit, migratable, schemaVersion, stream }: LoadOptions) => [
  stream.aggregate,
  stream.id,
  schemaVersion,
  fingerprint ?? null,
  schemasOf({ migratable }),
  limit,
  bytes
]

const schemasOf = ({ migratable = [] }: Pick<LoadOptions, "migratable">): ReadonlyArray<string> =>
  migratable.map(({ fingerprint, schemaVersion }) => `${schemaVersion} ${fingerprint}`)

// A load whose rows are more or longer goes alone: a group must not keep the others waiting, nor hold more than a page
const mostInGroup = { rows: 100, bytes: 16_384 }

const mostBytes = (loads: number): number =>
  Math.min(mostInGroup.bytes, Math.floor(pageBytes / (mostInGroup.rows * loads)))

const loadGroup = (called: Function): LoadGroup => {
  const text = prepared(PgFunctions.selectGroup(PgFunctions.call(called)))
  return {
    query: (loads) => ({
      text,
      params: [
        loads.map(({ stream }) => stream.aggregate),
        loads.map(({ stream }) => stream.id),
        loads.map(({ schemaVersion }) => schemaVersion),
        loads.map(({ fingerprint }) => fingerprint ?? null),
        loads.map((options) => schemasOf(options).join("\n")),
        mostInGroup.rows,
        mostBytes(loads.length)
      ]
    }),
    split: (rows, loads) => {
      const parts = loads.map(() => new Array<ReadonlyArray<unknown>>())
      for (const row of rows) parts[Row.number(row[5]) - 1].push(row)
      return parts.map((rows, index) => {
        const { limit } = loads[index]
        const events = rows.filter(isEvent)
        const isWhole = rows.every((row) => row[2] !== null) && events.length < mostInGroup.rows
        if (isWhole && events.length <= limit) return rows
        return undefined
      })
    }
  }
}

const isEvent = ([, type]: ReadonlyArray<unknown>): boolean => type !== null

const tail = (events: string, called: Function): EventStatements["readTail"] => {
  const short = prepared(PgFunctions.select(PgFunctions.call(called), "event_id"))
  const long = PgFunctions.longTail(events)
  return ({ bytes, fromVersion, limit, stream }) => ({
    text: limit <= shortPage ? short : long,
    params: [stream.aggregate, stream.id, fromVersion, limit, bytes]
  })
}
