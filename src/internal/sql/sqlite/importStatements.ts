import * as Option from "effect/Option"
import * as Markers from "../../markers.js"
import type { ImportStatements } from "../dialect.js"
import { type Names, quoted } from "../names.js"
import * as Row from "../row.js"
import { sqlite as write } from "../statement.js"
import { streamStarts } from "../streamStarts.js"

/** The statements of an import. */
export const make = (names: Names, position: string): ImportStatements => {
  const events = quoted(names.events)
  const headOf = (row: string) =>
    `coalesce((SELECT max(version) FROM ${events} WHERE aggregate = ${row}.value->>0 AND stream_id = ${row}.value->>1), 0)`
  const insert = write(`INSERT INTO ${events} (aggregate, stream_id, version, event_id, type, payload, metadata, time)
SELECT row.value->>0, row.value->>1, row.value->>2, row.value->>3, row.value->>4, row.value->>5, row.value->>6,
  coalesce(row.value->>7, :time)
FROM json_each(:rows) AS row
WHERE NOT EXISTS (
  SELECT 1 FROM json_each(:streams) AS stream
  WHERE ${headOf("stream")} NOT IN (stream.value->>2 - 1, stream.value->>3) OR EXISTS (
    SELECT 1 FROM ${events} WHERE aggregate = stream.value->>0 AND stream_id = stream.value->>1
      AND version = stream.value->>2 - 1 AND type = '${Markers.deleted}'
  )
)
ORDER BY row.key
RETURNING ${position}`)
  const versions = write(`SELECT ${headOf("stream")} AS version FROM json_each(:streams) AS stream ORDER BY stream.key`)
  const eventsAt = write(
    `SELECT event.event_id, event.time FROM json_each(:places) AS place LEFT JOIN ${events} AS event
ON event.aggregate = place.value->>0 AND event.stream_id = place.value->>1 AND event.version = place.value->>2
ORDER BY place.key`
  )
  return {
    insert: ({ events, time }) =>
      insert({
        rows: JSON.stringify(events.map((event) => [
          event.stream.aggregate,
          event.stream.id,
          event.version,
          event.id,
          event.type,
          event.payload,
          event.metadata,
          event.time
        ])),
        streams: JSON.stringify(
          // the second version is that of a stream without events, if it may be without them
          streamStarts(events).map(({ mayBegin, stream, version }) => [
            stream.aggregate,
            stream.id,
            version,
            mayBegin ? 0 : version - 1
          ])
        ),
        time
      }),
    inserted: (rows) =>
      rows.length === 0 ? Option.none() : Option.some({ position: rows.map(([position]) => position).reduce(higher) }),
    versions: (streams) => versions({ streams: JSON.stringify(streams.map(({ aggregate, id }) => [aggregate, id])) }),
    eventsAt: (places) =>
      eventsAt({
        places: JSON.stringify(places.map(({ stream, version }) => [stream.aggregate, stream.id, version]))
      })
  }
}

// the rows come in no promised order
const higher = (one: unknown, other: unknown): unknown => BigInt(Row.text(one)) < BigInt(Row.text(other)) ? other : one
