import * as ExpectedVersion from "../../../ExpectedVersion.js"
import * as Position from "../../../Position.js"
import * as Markers from "../../markers.js"
import * as ArchiveStatements from "../archiveStatements.js"
import type { AppendedRow, Dialect, EventStatements, LoadOptions, ReadOptions, TailOptions } from "../dialect.js"
import { eventKeys, type Names, quoted, unqualified } from "../names.js"
import * as Row from "../row.js"
import * as SnapshotChoice from "../snapshotChoice.js"
import { byShape, sqlite as write } from "../statement.js"
import * as Tombstones from "../tombstoneStatements.js"
import * as Checkpoints from "./checkpointStatements.js"
import * as Feed from "./feedStatements.js"
import * as Import from "./importStatements.js"
import * as SqliteTables from "./tables.js"

const { keyOf, ofStream } = SnapshotChoice

// a position above 2^53, which a row edited by hand may have, does not fit into a number
const position = "CAST(position AS TEXT) AS position"

// the length of a text is known without reading it
const length = "octet_length(payload) + octet_length(metadata)"

const columns = [
  "aggregate",
  "stream_id",
  "version",
  position,
  "event_id",
  "type",
  `CASE WHEN ${length} <= :bytes THEN payload END AS payload`,
  `CASE WHEN ${length} <= :bytes THEN metadata ELSE ${length} END AS metadata`,
  "time"
]

const record = columns.join(", ")

// SQLite plans a statement anew at every run while a bound value stands in its LIMIT, so that the limit is in the text
const events = (names: Names): EventStatements => {
  const events = quoted(names.events)
  const standing = write(`SELECT event_id, aggregate, stream_id, version, ${position}, time FROM ${events}
WHERE event_id IN (SELECT value FROM json_each(:ids))`)
  const head = write(`SELECT version, type FROM ${events} WHERE ${ofStream} ORDER BY version DESC LIMIT 1`)
  const replace = write(`UPDATE ${events} SET payload = :payload, metadata = :metadata
WHERE ${ofStream} AND version = :version AND metadata = :before AND payload <> '' RETURNING version`)
  const lastRewritten = write(`SELECT coalesce(max(version), 0) AS version FROM ${events}
WHERE ${ofStream} AND version > :after AND type = '${Markers.rewritten}'`)
  const remove = write(`DELETE FROM ${events} WHERE ${ofStream} AND version < :before`)
  const read = byShape(
    ({ limit, reverse }: ReadOptions) => `${limit} ${reverse}`,
    ({ limit, reverse }) =>
      write(`SELECT ${record} FROM ${events} WHERE ${ofStream} AND version BETWEEN :fromVersion AND :toVersion
ORDER BY version${reverse ? " DESC" : ""} LIMIT ${limit}`)
  )
  const tail = byShape(
    ({ limit }: TailOptions) => limit,
    ({ limit }) =>
      write(`SELECT version, type, ${bounded}, time FROM ${events}
WHERE ${ofStream} AND version >= :fromVersion
ORDER BY version LIMIT ${limit}`)
  )
  return {
    append: append(events),
    // the rows come in no promised order
    appended: (rows, { events, time: now }) => {
      const time = events[events.length - 1].time ?? now
      return rows.reduce<AppendedRow | undefined>(
        (last, [version, position]) =>
          last === undefined || Row.number(version) > last.version
            ? { version: Row.number(version), position, time }
            : last,
        undefined
      )
    },
    standing: (ids) => standing({ ids: JSON.stringify(ids) }),
    head: (stream) => head(keyOf(stream)),
    replace: (stream, event) => replace({ ...keyOf(stream), ...event }),
    lastRewritten: (stream, after) => lastRewritten({ ...keyOf(stream), after }),
    remove: (stream, before) => remove({ ...keyOf(stream), before }),
    tombstones: tombstones(events),
    archive: ArchiveStatements.make(names, archive(names)),
    // SQLite names the columns: "UNIQUE constraint failed: t.a, t.b"
    isOurs: ({ detail }) => {
      const violated = detail.slice(detail.indexOf(":") + 1).split(",").map((column) => column.trim().toLowerCase())
      const table = unqualified(names.events).toLowerCase()
      return eventKeys.some((key) =>
        key.split(",").map((column) => `${table}.${column}`).sort().join() === violated.sort().join()
      )
    },
    read: (options) => read(options)({ ...options, ...keyOf(options.stream) }),
    import: Import.make(names, position),
    millis: Row.number,
    feed: Feed.make(names, columns, position),
    position: ({ position }) => Position.fromParts(0, Row.text(position)),
    readTail: (options) => {
      const { bytes, fromVersion, stream } = options
      return tail(options)({ ...keyOf(stream), fromVersion, bytes })
    },
    readWithSnapshot: (table) => {
      const statement = byShape(
        ({ fingerprint, limit, migratable }: LoadOptions) =>
          `${limit} ${migratable?.length ?? 0} ${fingerprint === undefined}`,
        (options) => write(load(events, quoted(table), options))
      )
      return { one: (options) => statement(options)({ ...SnapshotChoice.values(options), bytes: options.bytes }) }
    }
  }
}

const tombstones = (events: string): Tombstones.TombstoneStatements =>
  Tombstones.make({
    write,
    counted: dialect.counted,
    number: (expression) => expression,
    events,
    columns: `aggregate, stream_id, version, ${position}, event_id`,
    // without the sign SQLite would follow the positions, through the whole table
    place: "+position",
    placeOf: (name) => `CAST(:${name} AS INTEGER)`,
    valuesOf: (name, position) => ({ [name]: Feed.sequenceOf(position) }),
    time: (name) => `:${name}`,
    whole: (name) => `:${name}`
  })

const archive = (names: Names): ArchiveStatements.Own => {
  const archive = quoted(names.archive)
  // the lengths are added up before a text is read
  const contents = write(`WITH found AS (
  SELECT wanted.key AS place, archive.rowid AS id, ${length} AS size
  FROM json_each(:places) AS wanted JOIN ${archive} AS archive ON archive.aggregate = wanted.value->>0
    AND archive.stream_id = wanted.value->>1 AND archive.version = wanted.value->>2
), summed AS (SELECT place, id, sum(size) OVER (ORDER BY place) - size AS earlier FROM found)
SELECT place, CASE WHEN earlier < :bytes THEN payload END AS payload,
  CASE WHEN earlier < :bytes THEN metadata END AS metadata
FROM summed JOIN ${archive} AS archive ON archive.rowid = summed.id`)
  const named = (name: string): string => `:${name}`
  return {
    write,
    count: (expression) => expression,
    integer: named,
    text: named,
    tenant: SqliteTables.storedTenant,
    words: (expression) => expression,
    contents: (places, bytes) =>
      contents({
        places: JSON.stringify(places.map(({ stream, version }) => [stream.aggregate, stream.id, version])),
        bytes
      })
  }
}

export const dialect: Dialect = {
  write,
  writePrepared: write,
  column: (expression) => expression,
  counted: (deletion) => deletion,
  events,
  checkpoints: Checkpoints.spec
}

const append = (events: string): EventStatements["append"] => {
  // a limit in the inner subquery: with the condition in sight of it, SQLite would count through all of the stream instead
  // of seeking its end
  const head = `(SELECT coalesce(max(version), 0) AS version, max(type) AS type FROM (
  SELECT version, type FROM ${events} WHERE ${ofStream} ORDER BY version DESC LIMIT 1
)) AS head`
  const fits = `head.version BETWEEN :min AND :max AND head.type IS NOT '${Markers.deleted}'`
  const insert = `INSERT INTO ${events} (aggregate, stream_id, version, event_id, type, payload, metadata, time)`
  // a command decides one event more often than not, and to unpack a list of one costs a tenth of the statement
  const one = write(`${insert}
SELECT :aggregate, :id, head.version + 1, :eventId, :type, :payload, :metadata, :time
FROM ${head} WHERE ${fits}
RETURNING version, ${position}`)
  // one text for any number of events, so that it stays prepared
  const allAt = (time: string) =>
    write(`${insert}
SELECT :aggregate, :id, head.version + 1 + row.key, row.value->>0, row.value->>1, row.value->>2, row.value->>3, ${time}
FROM ${head}, json_each(:rows) AS row WHERE ${fits}
ORDER BY row.key
RETURNING version, ${position}`)
  const allNow = allAt(":time")
  const allTimed = allAt("coalesce(row.value->>4, :time)")
  return ({ events, expected, stream, time }) => {
    const { max, min } = ExpectedVersion.bounds(expected)
    const { aggregate, id } = stream
    if (events.length > 1) {
      const timed = events.some((event) => event.time !== undefined)
      const rows = JSON.stringify(
        events.map(({ id, metadata, payload, time, type }) =>
          timed ? [id, type, payload, metadata, time] : [id, type, payload, metadata]
        )
      )
      return (timed ? allTimed : allNow)({ aggregate, id, rows, time, min, max })
    }
    const [{ id: eventId, metadata, payload, time: given, type }] = events
    return one({ aggregate, id, eventId, type, payload, metadata, time: given ?? time, min, max })
  }
}

// A payload that is too long is null, and the id of its event is its length. SQLite knows that without reading the text.
const isShort = "CASE WHEN octet_length(payload) <= :bytes"
const bounded = `${isShort} THEN payload END, ${isShort} THEN event_id ELSE octet_length(payload) END`

// no common table expressions: SQLite materializes them, which costs more than all the rest
const load = (events: string, snapshots: string, options: LoadOptions): string =>
  `SELECT version, NULL AS type, state AS payload, json_array(event_id, schema_version, fingerprint, time), NULL
FROM ${snapshots} WHERE ${ofStream} AND schema_version = ${SnapshotChoice.schemaVersionOf(snapshots, options)}
UNION ALL
SELECT * FROM (
  SELECT version, type, ${bounded}, time FROM ${events}
  WHERE ${ofStream} AND version >= ${SnapshotChoice.start(snapshots, options)}
  ORDER BY version LIMIT ${options.limit}
)`
