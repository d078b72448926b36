import * as Option from "effect/Option"
import * as Position from "../../../Position.js"
import * as Markers from "../../markers.js"
import type { ImportOptions, ImportStatements } from "../dialect.js"
import { type Names, quoted } from "../names.js"
import * as Row from "../row.js"
import { postgres as write } from "../statement.js"
import { streamStarts } from "../streamStarts.js"
import * as PgFunction from "./function.js"
import { pgText } from "./text.js"
import * as PgTime from "./time.js"

/** The statements of an import. */
export const make = (names: Names): ImportStatements => {
  const events = quoted(names.events)
  const headOf = (row: string) =>
    `LEFT JOIN LATERAL (
  SELECT version, transaction, type FROM ${events} WHERE aggregate = ${row}.aggregate AND stream_id = ${row}.stream_id
  ORDER BY version DESC LIMIT 1
) AS head ON true`
  // One number for all events keeps their order. It is not lower than that of any head, so that no stream goes backwards,
  // and not lower than that of the batch before, which may have been raised in the same transaction
  const insert = write(`WITH stream AS MATERIALIZED (
  SELECT coalesce(head.version, 0) AS head, row.version - 1 AS expected, row.may_begin, head.transaction,
    head.type IS DISTINCT FROM '${Markers.deleted}' AS open
  FROM unnest(:aggregates::text[], :ids::text[], :versions::bigint[], :mayBegin::boolean[])
    AS row (aggregate, stream_id, version, may_begin)
  ${headOf("row")}
), inserted AS (
  INSERT INTO ${events} (transaction, version, aggregate, stream_id, event_id, type, payload, metadata, time)
  SELECT
    (
      SELECT greatest(${
    PgFunction.base(names)
  } + pg_current_xact_id()::text::bigint, max(transaction), :transaction::bigint)
      FROM stream
    ),
    row.version, row.aggregate, row.stream_id, row.event_id, row.type, row.payload, row.metadata,
    ${PgTime.ofMillis("row.time")}
  FROM unnest(
    :eventAggregates::text[], :eventStreams::text[], :eventVersions::bigint[], :eventIds::text[], :types::text[],
    :payloads::text[], :metadata::text[], :times::bigint[]
  ) WITH ORDINALITY AS row (aggregate, stream_id, version, event_id, type, payload, metadata, time, number)
  WHERE (SELECT bool_and((head = expected OR (head = 0 AND may_begin)) AND open) FROM stream)
  ORDER BY row.number
  RETURNING transaction, position
)
SELECT ${pgText("max(transaction)", "bigint")}, ${pgText("max(position)", "bigint")} FROM inserted`)
  const versions = write(`SELECT ${pgText("coalesce(head.version, 0)", "integer")} AS version
FROM unnest(:aggregates::text[], :ids::text[]) WITH ORDINALITY AS row (aggregate, stream_id, number)
${headOf("row")}
ORDER BY row.number`)
  const eventsAt = write(`SELECT ${pgText("event.event_id", "text")} AS event_id,
  ${pgText(PgTime.column("event.time"), "text")} AS time
FROM unnest(:aggregates::text[], :ids::text[], :versions::bigint[]) WITH ORDINALITY AS row (aggregate, stream_id, version, number)
LEFT JOIN LATERAL (
  SELECT event_id, time FROM ${events}
  WHERE aggregate = row.aggregate AND stream_id = row.stream_id AND version = row.version LIMIT 1
) AS event ON true
ORDER BY row.number`)
  return {
    insert: (options) => insert(insertValues(options)),
    inserted: ([[transaction, position]]) =>
      transaction === null ? Option.none() : Option.some({ transaction: Row.text(transaction), position }),
    versions: (streams) =>
      versions({ aggregates: streams.map(({ aggregate }) => aggregate), ids: streams.map(({ id }) => id) }),
    eventsAt: (places) =>
      eventsAt({
        aggregates: places.map(({ stream }) => stream.aggregate),
        ids: places.map(({ stream }) => stream.id),
        versions: places.map(({ version }) => version)
      })
  }
}

const insertValues = ({ after, events }: ImportOptions) => {
  const starts = streamStarts(events)
  return {
    aggregates: starts.map(({ stream }) => stream.aggregate),
    ids: starts.map(({ stream }) => stream.id),
    versions: starts.map(({ version }) => version),
    mayBegin: starts.map(({ mayBegin }) => mayBegin),
    eventAggregates: events.map(({ stream }) => stream.aggregate),
    eventStreams: events.map(({ stream }) => stream.id),
    eventVersions: events.map(({ version }) => version),
    eventIds: events.map(({ id }) => id),
    types: events.map(({ type }) => type),
    payloads: events.map(({ payload }) => payload),
    metadata: events.map(({ metadata }) => metadata),
    times: events.map(({ time }) => time ?? null),
    transaction: Position.toParts(after).transaction
  }
}
