// Reads records in pages that are bounded by the length of their payloads and metadata, too.
// Mechanism: the statement leaves out the texts of each record that is longer than its share of the page, and gives their
// length instead. As many records as fit into the page are kept, and those of them that were left out are read by their
// positions. Why: docs/decisions/0129-types-left-out.md.
// Cost: a comparison for each record. Only pages with long records take a second statement.
import type { SqlError } from "@effect/sql/SqlError"
import * as Effect from "effect/Effect"
import type * as Event from "../../Event.js"
import type * as Position from "../../Position.js"
import * as StreamId from "../../StreamId.js"
import { mostInPage, pageBytes } from "../constants.js"
import * as Pages from "../store/eventPages.js"
import type { EventStatements } from "./dialect.js"
import * as Row from "./row.js"
import type { Services } from "./services.js"

/** The most bytes of a record in a page of so many. */
export const shareOf = (limit: number): number =>
  limit <= 1 ? longest : Math.max(Math.floor(pageBytes / mostInPage), Math.floor(pageBytes / limit))

const longest = Number.MAX_SAFE_INTEGER

/** The records of a page. */
export interface Records {
  readonly records: ReadonlyArray<Event.EncodedRecord>
  /** The position up to which the page has the records, if more were found. */
  readonly cutAt: Position.Position | undefined
}

/** Rows of events and their positions, in one order. */
export interface Found {
  readonly rows: ReadonlyArray<Row.Row>
  readonly positions: ReadonlyArray<Position.Position>
}

/** Makes the page of the rows that a statement with a share gave. */
export const bounded = (
  { client: { execute, repeat }, statements }: Services,
  { positions, rows }: Found
): Effect.Effect<Records, SqlError> => {
  const count = Pages.fitting(rows, sizeOf)
  const kept = count === rows.length ? rows : rows.slice(0, count)
  const cutAt = count === rows.length ? undefined : positions[count - 1]
  const long = positions.filter((_, index) => index < count && isLeftOut(rows[index]))
  if (long.length === 0) {
    return Effect.succeed({ records: kept.map((row, index) => recordOf(statements, row, positions[index])), cutAt })
  }
  return Effect.map(repeat(execute(statements.feed.at(long, longest))), (read) => {
    const whole = new Map(read.map((row) => [statements.position(row), row]))
    const records = kept.flatMap((row, index): ReadonlyArray<Event.EncodedRecord> => {
      const position = positions[index]
      // an event that was deleted in between is missing
      const found = isLeftOut(row) ? whole.get(position) : row
      return found === undefined ? [] : [recordOf(statements, found, position)]
    })
    return { records, cutAt }
  })
}

const isLeftOut = ({ payload }: Row.Row): boolean => payload === null

const sizeOf = (row: Row.Row): number =>
  isLeftOut(row) ? Row.number(row.metadata) : Row.text(row.payload).length + Row.text(row.metadata).length

export const streamOf = (row: Row.Row): StreamId.StreamId =>
  StreamId.make(Row.text(row.aggregate), Row.text(row.stream_id))

const recordOf = (
  { millis }: EventStatements,
  row: Row.Row,
  position: Position.Position
): Event.EncodedRecord => ({
  id: Row.text(row.event_id),
  stream: streamOf(row),
  version: Row.number(row.version),
  position,
  type: Row.text(row.type),
  payload: Row.text(row.payload),
  metadata: Row.text(row.metadata),
  time: millis(row.time)
})
