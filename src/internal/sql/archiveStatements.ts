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
  readonly contents: ArchiveStatements["contents"]
}

export const make = (names: Names, { contents, count, integer, tenant, text, write }: Own): ArchiveStatements => {
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
  return {
    left: (stream, before) => left({ ...keyOf(stream), before }),
    keep: (stream, options) => keep({ ...keyOf(stream), ...options }),
    empty: (stream, before) => empty({ ...keyOf(stream), before }),
    clear: ({ eventId, stream, version }) => clear({ ...keyOf(stream), version, eventId }),
    drop: (stream, before) => drop({ ...keyOf(stream), before }),
    replace: (stream, { before, ...event }) => replace({ ...keyOf(stream), ...event, previous: before }),
    contents
  }
}
