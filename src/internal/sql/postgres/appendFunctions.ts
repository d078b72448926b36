// The functions that append.
import * as Markers from "../../markers.js"
import { type Names, quoted } from "../names.js"
import { base, type Function } from "./function.js"
import * as PgTime from "./time.js"

/** A version of the functions, with their numbers. */
interface Generation {
  readonly append: number
  readonly group: number
  /** The columns of the head of a stream. */
  readonly columns: string
  /** The condition that a stream was not deleted. */
  readonly isOpen: string
}

const current: Generation = {
  append: 4,
  group: 3,
  columns: "version, transaction, type",
  isOpen: ` AND head.type IS DISTINCT FROM '${Markers.deleted}'`
}

/** The functions before streams could be deleted. */
export const beforeDeletions: Generation = { append: 3, group: 2, columns: "version, transaction", isOpen: "" }

/**
 * Appends to one stream. A single event is checked and inserted by one statement, which starts the executor once. The
 * transaction does not decrease within a stream, although that of the caller may be older than that of the head.
 */
export const append = (names: Names, { append: number, columns, isOpen }: Generation = current): Function => {
  const transaction = `greatest(${base(names)} + pg_current_xact_id()::text::bigint, head.transaction)`
  const headOfStream = head(names, { aggregate: "$1", id: "$2", low: "$7", columns })
  const insert = `INSERT INTO ${quoted(names.events)}
    (transaction, version, aggregate, stream_id, event_id, type, payload, metadata, time)`
  return {
    name: `${names.prefix}_append_${number}`,
    // aggregate, stream id, event ids, types, payloads, metadata, lowest and highest version to append to, times or NULL
    parameters: ["text", "text", "text[]", "text[]", "text[]", "text[]", "bigint", "bigint", "bigint[]"],
    // version, transaction, position and time of the last event; NULL where the stream is not at an expected version, or was
    // deleted
    returns: "text",
    volatility: "VOLATILE",
    // a set of one costs more than the row
    body: `DECLARE
  verdict text;
BEGIN
IF cardinality($3) = 1 THEN
  ${insert}
  SELECT ${transaction}, coalesce(head.version, 0) + 1, $1, $2, $3[1], $4[1], $5[1], $6[1], ${PgTime.ofMillis("$9[1]")}
  FROM (SELECT) AS always LEFT JOIN LATERAL ${headOfStream} AS head ON true
  WHERE coalesce(head.version, 0) BETWEEN $7 AND $8${isOpen}
  RETURNING version || ' ' || transaction || ' ' || position || ' ' || ${PgTime.column("time")} INTO verdict;
ELSE
  WITH head AS MATERIALIZED (
    SELECT coalesce(head.version, 0) AS version, ${transaction} AS transaction
    FROM (SELECT) AS always LEFT JOIN LATERAL ${headOfStream} AS head ON true
    WHERE coalesce(head.version, 0) BETWEEN $7 AND $8${isOpen}
  ), inserted AS (
    ${insert}
    SELECT head.transaction, head.version + row.number, $1, $2, row.event_id, row.type, row.payload, row.metadata,
      ${PgTime.ofMillis("row.time")}
    FROM head CROSS JOIN unnest($3, $4, $5, $6, $9)
      WITH ORDINALITY AS row (event_id, type, payload, metadata, time, number)
    ORDER BY row.number
    RETURNING version, transaction, position, time
  )
  SELECT max(version) || ' ' || max(transaction) || ' ' || max(position) || ' ' ||
    ${PgTime.column(PgTime.ofMillis("$9[cardinality($3)]"))} INTO verdict FROM inserted;
END IF;
RETURN verdict;
END`
  }
}

/**
 * Appends to several streams, each append with its own verdict. The appends come in rounds, with one append of a stream
 * in a round at most. A round is one statement: the executor is started once for all events. If an append has to wait for
 * an uncommitted append of another transaction, the group fails after a moment, and its appends are sent alone. Otherwise
 * all would wait for one stream.
 */
export const appendGroup = (names: Names, { columns, group: number, isOpen }: Generation = current): Function => ({
  name: `${names.prefix}_append_many_${number}`,
  // for each event: aggregate, stream id, event id, type, payload, metadata, lowest and highest version to append to, its
  // number in its append; the number of events up to the end of each round; the times of the events or NULL
  parameters: [
    ...["text[]", "text[]", "text[]", "text[]", "text[]", "text[]"],
    ...["bigint[]", "bigint[]", "integer[]", "integer[]", "bigint[]"]
  ],
  // the time of the statement, and a line for each event: version, transaction and position, or nothing
  returns: "text",
  volatility: "VOLATILE",
  settings: ["lock_timeout = '20ms'"],
  body: `DECLARE
  own_transaction bigint := ${base(names)} + pg_current_xact_id()::text::bigint;
  first integer := 1;
  last integer;
  ids text[];
  lines text;
  verdicts text := ${PgTime.column("statement_timestamp()")};
BEGIN
FOREACH last IN ARRAY $10 LOOP
  WITH inserted AS (
    INSERT INTO ${quoted(names.events)}
      (transaction, version, aggregate, stream_id, event_id, type, payload, metadata, time)
    SELECT greatest(own_transaction, head.transaction), coalesce(head.version, 0) + row.number, row.aggregate,
      row.stream_id, row.event_id, row.type, row.payload, row.metadata, ${PgTime.ofMillis("row.time")}
    FROM unnest($1[first : last], $2[first : last], $3[first : last], $4[first : last], $5[first : last],
      $6[first : last], $7[first : last], $8[first : last], $9[first : last], $11[first : last])
      WITH ORDINALITY AS row (aggregate, stream_id, event_id, type, payload, metadata, low, high, number, time, place)
    LEFT JOIN LATERAL ${
    head(names, { aggregate: "row.aggregate", id: "row.stream_id", low: "row.low", columns })
  } AS head ON true
    WHERE coalesce(head.version, 0) BETWEEN row.low AND row.high${isOpen}
    ORDER BY row.place
    RETURNING event_id, version, transaction, position
  )
  SELECT array_agg(event_id), string_agg(version || ' ' || transaction || ' ' || position, chr(10)) INTO ids, lines
  FROM inserted;
  IF cardinality(ids) IS DISTINCT FROM last - first + 1 THEN
    SELECT string_agg(coalesce(row.line, ''), chr(10) ORDER BY event.place) INTO lines
    FROM unnest($3[first : last]) WITH ORDINALITY AS event (id, place)
    LEFT JOIN unnest(ids, string_to_array(lines, chr(10))) AS row (id, line) ON row.id = event.id;
  END IF;
  verdicts := verdicts || chr(10) || lines;
  first := last + 1;
END LOOP;
RETURN verdicts;
END`
})

/**
 * The head of a stream, if its version is not below the lowest that is expected. An index scan reads all matching entries
 * of a page before it gives the first one, and without the lowest version that is most of the stream.
 */
const head = (
  names: Names,
  { aggregate, columns, id, low }: {
    readonly aggregate: string
    readonly id: string
    readonly low: string
    readonly columns: string
  }
): string =>
  `(SELECT ${columns} FROM ${quoted(names.events)}
    WHERE aggregate = ${aggregate} AND stream_id = ${id} AND version >= ${low} ORDER BY version DESC LIMIT 1)`
