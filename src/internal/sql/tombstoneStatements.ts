// The statements that list and remove deleted streams, for both databases. An index of the markers alone leads to them.
//
// Each of them is one statement that looks at the marker itself: if another process has removed it meanwhile, the stream
// may have begun again, and the statement does nothing.
import * as Position from "../../Position.js"
import * as Markers from "../markers.js"
import type { Tombstone, TombstoneOptions } from "../store/tombstones.js"
import { keyOf, ofStream } from "./snapshotChoice.js"
import type { Query, Write } from "./statement.js"

/** What differs between the databases. */
export interface Parts {
  readonly write: Write
  readonly counted: (deletion: string) => string
  readonly events: string
  /** The columns of a place in a stream, of a position, and the id. */
  readonly columns: string
  /** A whole number as a column. */
  readonly number: (expression: string) => string
  /** The columns of a position, and the values that stand for one. */
  readonly place: string
  readonly placeOf: (name: string) => string
  readonly valuesOf: (name: string, position: Position.Position) => Readonly<Record<string, unknown>>
  /** The time in milliseconds since 1970 as the column has it. */
  readonly time: (name: string) => string
  readonly whole: (name: string) => string
}

export interface TombstoneStatements {
  /** The columns of a place and `has_events`. */
  readonly list: (options: TombstoneOptions) => Query
  /** One row with `count`, or a row without one for each event. */
  readonly clear: (tombstone: Tombstone, limit: number) => Query
  /** A row if the marker was deleted. */
  readonly forget: (tombstone: Tombstone) => Query
}

export const make = (parts: Parts): TombstoneStatements => {
  const { columns, counted, events, number, place, placeOf, time, valuesOf, whole, write } = parts
  const isMarker = `type = '${Markers.deleted}'`
  const sameStream = "other.aggregate = marker.aggregate AND other.stream_id = marker.stream_id"
  const hasOther = (condition: string) =>
    `EXISTS (SELECT NULL FROM ${events} AS other WHERE ${sameStream} AND other.version ${condition} marker.version)`
  const list = write(`SELECT ${columns}, ${number(`CASE WHEN ${hasOther("<")} THEN 1 ELSE 0 END`)} AS has_events
FROM ${events} AS marker WHERE ${isMarker} AND time < ${time("before")}
AND ${place} > ${placeOf("after")} AND ${place} <= ${placeOf("upTo")} AND NOT ${hasOther(">")}
ORDER BY time LIMIT ${whole("limit")}`)
  const marked = `version = ${whole("version")} AND event_id = :eventId AND ${isMarker}`
  const clear = write(counted(`DELETE FROM ${events}
WHERE ${ofStream} AND version < ${whole("version")} AND version >= coalesce((
  SELECT version FROM ${events} WHERE ${ofStream} AND version < ${whole("version")}
  ORDER BY version DESC LIMIT 1 OFFSET ${whole("others")}
), 0) AND EXISTS (SELECT NULL FROM ${events} WHERE ${ofStream} AND ${marked})
RETURNING NULL AS count`))
  const forget = write(`DELETE FROM ${events} WHERE ${ofStream} AND ${marked}
AND NOT EXISTS (SELECT NULL FROM ${events} WHERE ${ofStream} AND version <> ${whole("version")})
RETURNING NULL AS forgotten`)
  return {
    list: ({ after, before, limit, upTo }) =>
      list({ before, limit, ...valuesOf("after", after), ...valuesOf("upTo", upTo ?? last) }),
    clear: ({ eventId, stream, version }, limit) => clear({ ...keyOf(stream), version, eventId, others: limit - 1 }),
    forget: ({ eventId, stream, version }) => forget({ ...keyOf(stream), version, eventId })
  }
}

/** After every position. */
const last = Position.fromParts(2n ** 63n - 1n, 2n ** 63n - 1n)
