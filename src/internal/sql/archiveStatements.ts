// The statements of truncated streams that both databases share.
import * as Emptied from "../emptied.js"
import type { ArchiveStatements } from "./dialect.js"
import { type Names, quoted } from "./names.js"
import { keyOf, ofStream } from "./snapshotChoice.js"
import type { Write } from "./statement.js"

export interface Own {
  readonly write: Write
  /** A count as a column of a result. */
  readonly count: (expression: string) => string
  /** A name that a statement has a value for, with its type where the database needs it. */
  readonly integer: (name: string) => string
  readonly text: (name: string) => string
  /** The JSON text of a tenant in `metadata`, or NULL. */
  readonly tenant: string
  /** A text as a column of a result. */
  readonly words: (expression: string) => string
  readonly contents: ArchiveStatements["contents"]
}

export const make = (names: Names, own: Own): ArchiveStatements => {
  const { contents, count, integer, tenant, text, words, write } = own
  const events = quoted(names.events)
  const archive = quoted(names.archive)
  const isBefore = `${ofStream} AND version < ${integer("before")}`
  const isFull = `${isBefore} AND payload <> '${Emptied.payload}'`
  const left = write(`SELECT ${count(`(SELECT count(*) FROM ${events} WHERE ${isFull})`)} AS kept,
  ${count(`(SELECT count(*) FROM ${archive} WHERE ${isBefore})`)} AS archived`)
  const keep = write(`INSERT INTO ${archive} (aggregate, stream_id, version, archived_at, payload, metadata)
SELECT aggregate, stream_id, version, ${integer("time")}, payload, metadata FROM ${events} WHERE ${isFull}
ON CONFLICT (aggregate, stream_id, version) DO UPDATE
SET archived_at = excluded.archived_at, payload = excluded.payload, metadata = excluded.metadata`)
  const empty = write(`UPDATE ${events} SET payload = '${Emptied.payload}',
  metadata = coalesce('{"tenant":' || ${tenant} || '}', '${Emptied.metadata}')
WHERE ${isFull}`)
  const drop = write(`DELETE FROM ${archive} WHERE ${isBefore}`)
  const clear = write(`DELETE FROM ${archive} WHERE ${ofStream} AND EXISTS (
  SELECT 1 FROM ${events} WHERE ${ofStream} AND version = ${integer("version")} AND event_id = ${text("eventId")}
)`)
  const replace = write(`UPDATE ${archive} SET payload = ${text("payload")}, metadata = ${text("metadata")}
WHERE ${ofStream} AND version = ${integer("version")}
  AND metadata = ${text("previous")} RETURNING ${count("version")}`)
  // Only the index by age leads to the oldest: the concatenation keeps a database from looking for the aggregate
  const next = write(`SELECT ${count("archived_at")} AS archived_at, ${words("stream_id")} AS stream_id
FROM ${archive} AS place WHERE archived_at < ${integer("before")} AND aggregate || '' = ${text("aggregate")}
AND (archived_at, aggregate, stream_id) > (${integer("archivedAt")}, ${text("aggregate")}, ${text("id")})
ORDER BY place.archived_at, place.aggregate, place.stream_id LIMIT 1`)
  const old = write(`WITH oldest AS (
  SELECT version, archived_at FROM ${archive} WHERE ${ofStream} ORDER BY version LIMIT ${integer("limit")}
), found AS (
  SELECT version FROM oldest WHERE version < coalesce(
    (SELECT min(version) FROM oldest WHERE archived_at >= ${integer("before")}),
    (SELECT max(version) FROM oldest) + 1
  )
)
SELECT ${count("(SELECT count(*) FROM found)")} AS count,
  ${count("coalesce((SELECT max(version) FROM found), 0)")} AS up_to,
  ${
    count(`coalesce((
    SELECT version FROM ${archive} WHERE ${ofStream} AND archived_at < ${integer("before")}
    ORDER BY version DESC LIMIT 1
  ), 0)`)
  } AS last`)
  return {
    next: ({ after: { archivedAt, id }, aggregate, before }) => next({ before, aggregate, archivedAt, id }),
    old: (stream, options) => old({ ...keyOf(stream), ...options }),
    left: (stream, before) => left({ ...keyOf(stream), before }),
    keep: (stream, options) => keep({ ...keyOf(stream), ...options }),
    empty: (stream, before) => empty({ ...keyOf(stream), before }),
    clear: ({ eventId, stream, version }) => clear({ ...keyOf(stream), version, eventId }),
    drop: (stream, before) => drop({ ...keyOf(stream), before }),
    replace: (stream, { before, ...event }) => replace({ ...keyOf(stream), ...event, previous: before }),
    contents
  }
}
