import { type Names, quoted } from "../names.js"
import { pgText } from "./text.js"
import * as PgTime from "./time.js"

/** The base to which transaction ids are added: a dump may be restored into a cluster with lower ids. */
export const base = (names: Names): string => `coalesce((SELECT base FROM ${quoted(names.cluster)} WHERE id), 0)`

/**
 * The statements of a command as functions, which the server plans once on a connection: planning takes longer than running.
 * During a deployment programs of two versions share a database. So a function whose body or arguments change gets another
 * number and a migration of its own, and the older one stays (olderFunctions.ts). Why: docs/decisions/0052-functions.md.
 */
export const make = (names: Names) => {
  return {
    append: append(names),
    appendGroup: appendGroup(names),
    load: {
      name: `${names.prefix}_load_3`,
      // aggregate, stream id, schema version, fingerprint or NULL for any, migratable schemas, limit, most bytes of an event
      parameters: ["text", "text", "bigint", "text", "text[]", "bigint", "bigint"],
      returns: "TABLE (version integer, type text, payload text, proof text, \"time\" text)",
      volatility: "STABLE",
      body: `BEGIN
RETURN QUERY ${load(names.events, names.snapshots)};
END`
    },
    loadGroup: {
      name: `${names.prefix}_load_many_1`,
      // for each load: aggregate, stream id, schema version, fingerprint or NULL for any, migratable schemas in lines; then the
      // most events of each, and the most bytes of a state or an event
      parameters: ["text[]", "text[]", "bigint[]", "text[]", "text[]", "bigint", "bigint"],
      returns: "TABLE (version integer, type text, payload text, proof text, \"time\" text, number bigint)",
      volatility: "STABLE",
      body: `BEGIN
RETURN QUERY ${loadGroup(names.events, names.snapshots)};
END`
    },
    tail: {
      name: `${names.prefix}_tail_3`,
      // aggregate, stream id, first version, limit, most bytes of an event
      parameters: ["text", "text", "bigint", "bigint", "bigint"],
      returns: "TABLE (version integer, type text, payload text, event_id text, \"time\" text)",
      volatility: "STABLE",
      body: `BEGIN
RETURN QUERY ${tail(names.events, "$3", "$4", "$5")};
END`
    }
  } as const satisfies Record<string, Function>
}

/**
 * Appends to one stream. A single event is checked and inserted by one statement, which starts the executor once. The
 * transaction does not decrease within a stream, although that of the caller may be older than that of the head.
 */
const append = (names: Names): Function => {
  const transaction = `greatest(${base(names)} + pg_current_xact_id()::text::bigint, head.transaction)`
  const headOfStream = head(names, { aggregate: "$1", id: "$2", low: "$7" })
  const insert = `INSERT INTO ${quoted(names.events)}
    (transaction, version, aggregate, stream_id, event_id, type, payload, metadata, time)`
  return {
    name: `${names.prefix}_append_3`,
    // aggregate, stream id, event ids, types, payloads, metadata, lowest and highest version to append to, times or NULL
    parameters: ["text", "text", "text[]", "text[]", "text[]", "text[]", "bigint", "bigint", "bigint[]"],
    // version, transaction, position and time of the last event; NULL where the stream's version is not as expected
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
  WHERE coalesce(head.version, 0) BETWEEN $7 AND $8
  RETURNING version || ' ' || transaction || ' ' || position || ' ' || ${PgTime.column("time")} INTO verdict;
ELSE
  WITH head AS MATERIALIZED (
    SELECT coalesce(head.version, 0) AS version, ${transaction} AS transaction
    FROM (SELECT) AS always LEFT JOIN LATERAL ${headOfStream} AS head ON true
    WHERE coalesce(head.version, 0) BETWEEN $7 AND $8
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
const appendGroup = (names: Names): Function => ({
  name: `${names.prefix}_append_many_2`,
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
    head(names, { aggregate: "row.aggregate", id: "row.stream_id", low: "row.low" })
  } AS head ON true
    WHERE coalesce(head.version, 0) BETWEEN row.low AND row.high
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
  { aggregate, id, low }: { readonly aggregate: string; readonly id: string; readonly low: string }
): string =>
  `(SELECT version, transaction FROM ${quoted(names.events)}
    WHERE aggregate = ${aggregate} AND stream_id = ${id} AND version >= ${low} ORDER BY version DESC LIMIT 1)`

// in a query around the one that chooses the ids: the last event of the stream is looked for once
const timeWithId = `CASE WHEN event_id IS NOT NULL THEN ${PgTime.column("time")} END`

/** The load as a statement, for tables of two prefixes. */
export const load = (events: string, snapshots: string): string =>
  `WITH snapshot AS (
  SELECT version, state, event_id, schema_version, fingerprint, time,
    schema_version || ' ' || fingerprint = ANY ($5) AS migratable
  FROM ${quoted(snapshots)} WHERE aggregate = $1 AND stream_id = $2
  ORDER BY schema_version = $3 DESC, schema_version || ' ' || fingerprint = ANY ($5) DESC, schema_version <= $3 DESC,
    schema_version DESC
  LIMIT 1
), start AS (
  SELECT coalesce((
    SELECT version FROM snapshot WHERE migratable OR schema_version = $3 AND ($4::text IS NULL OR fingerprint = $4)
  ), 1) AS version
)
SELECT version, NULL AS type, state AS payload, json_build_array(event_id, schema_version, fingerprint, time)::text AS proof, NULL AS time
FROM snapshot
UNION ALL (
  ${tail(events, "(SELECT version FROM start)", "$6", "$7")}
)`

// Like `load`, for many streams. One plan reads them all; to call `load` for each takes twice as long. A state or an event
// that is too long is NULL.
const loadGroup = (events: string, snapshots: string): string => {
  const migratable = (column: string) => `${column} = ANY (string_to_array(item.migratable, chr(10)))`
  const short = (column: string) => `CASE WHEN octet_length(${column}) <= $7 THEN ${column} END`
  return `SELECT loaded.version, loaded.type, loaded.payload, loaded.proof, loaded.time, item.number
FROM unnest($1, $2, $3, $4, $5) WITH ORDINALITY
  AS item (aggregate, stream_id, schema_version, fingerprint, migratable, number),
LATERAL (
  WITH snapshot AS (
    SELECT version, state, event_id, schema_version, fingerprint, time FROM ${quoted(snapshots)} AS stored
    WHERE stored.aggregate = item.aggregate AND stored.stream_id = item.stream_id
    ORDER BY stored.schema_version = item.schema_version DESC,
      ${migratable("stored.schema_version || ' ' || stored.fingerprint")} DESC,
      stored.schema_version <= item.schema_version DESC, stored.schema_version DESC
    LIMIT 1
  ), start AS (
    SELECT coalesce((
      SELECT version FROM snapshot WHERE ${migratable("snapshot.schema_version || ' ' || snapshot.fingerprint")}
        OR snapshot.schema_version = item.schema_version
        AND (item.fingerprint IS NULL OR snapshot.fingerprint = item.fingerprint)
    ), 1) AS version
  )
  SELECT version, NULL AS type, ${short("state")} AS payload,
    json_build_array(event_id, schema_version, fingerprint, time)::text AS proof, NULL AS time
  FROM snapshot
  UNION ALL (
    SELECT version, type, ${short("payload")}, event_id, ${PgTime.column("time")}
    FROM ${quoted(events)} AS event
    WHERE event.aggregate = item.aggregate AND event.stream_id = item.stream_id
      AND event.version >= (SELECT version FROM start)
    ORDER BY event.version LIMIT $6
  )
) AS loaded`
}

/**
 * The tail as a statement, for long ones. The server sends the first rows while it still reads the last ones; a function
 * sends nothing before its end. The server plans the statement at every run, which is cheap compared with a thousand rows.
 * Subqueries hide the values from the planner, which then uses the index in its order. With known values it may sort, and
 * sends nothing before it has all rows.
 */
export const longTail = (events: string): string => {
  const ofStream = `FROM ${quoted(events)} WHERE aggregate = (SELECT $1::text) AND stream_id = (SELECT $2::text)`
  const page = `${ofStream} AND version >= (SELECT $3::bigint)
ORDER BY version LIMIT (SELECT $4::bigint)`
  const columns = bounded("$5::bigint")
  const last = `SELECT version ${ofStream} AND version < (SELECT $3::bigint + $4::bigint) ORDER BY version DESC LIMIT 1`
  return `SELECT ${tailColumns({ ...columns, time: timeWithId })}
FROM (
  SELECT version, type, payload, time,
    CASE WHEN version = (SELECT $3::bigint) OR version = (${last}) THEN event_id END AS event_id
  ${page}
) AS tail ORDER BY version`
}

// ids and times are a third of the data, and a load needs only the first and the last, of the stream or of a full page
const tail = (events: string, from: string, limit: string, bytes: string): string => {
  const { id, payload } = bounded(bytes)
  return `SELECT version, type, ${payload}, ${id}, ${timeWithId}
  FROM (
    SELECT version, type, payload, time, CASE WHEN version IN (${from}, ${from} + ${limit}::bigint - 1) OR version = (
      SELECT version FROM ${quoted(events)} WHERE aggregate = $1 AND stream_id = $2 ORDER BY version DESC LIMIT 1
    ) THEN event_id END AS event_id
    FROM ${quoted(events)} WHERE aggregate = $1 AND stream_id = $2 AND version >= ${from}
    ORDER BY version LIMIT ${limit}
  ) AS tail ORDER BY version`
}

/** An event that is too long has no payload, and its length as id. The server does not read the text for that. */
const bounded = (bytes: string): Pick<TailColumns, "id" | "payload"> => ({
  payload: `CASE WHEN octet_length(payload) <= ${bytes} THEN payload END`,
  id: `CASE WHEN octet_length(payload) <= ${bytes} THEN event_id ELSE octet_length(payload)::text END`
})

export interface Function {
  readonly name: string
  readonly parameters: ReadonlyArray<string>
  readonly returns: string
  readonly volatility: "STABLE" | "VOLATILE"
  /** Settings beside those of all functions. */
  readonly settings?: ReadonlyArray<string> | undefined
  readonly body: string
}

/** Each function with its types, as `to_regprocedure` takes it, and the statement that creates it. */
export const statements = (names: Names): ReadonlyArray<{ readonly name: string; readonly statement: string }> =>
  Object.values(make(names)).map((created) => ({
    name: `${quoted(created.name)}(${created.parameters.join(",")})`,
    statement: create(created)
  }))

export const create = ({ body, name, parameters, returns, settings: own = [], volatility }: Function): string =>
  `CREATE OR REPLACE FUNCTION ${quoted(name)} (${parameters.join(", ")})
RETURNS ${returns} LANGUAGE plpgsql ${volatility}
${[...settings, ...own].map((setting) => `SET ${setting}`).join(" ")}
AS $body$
#variable_conflict use_column
${body}
$body$`

// one plan serves all streams, and must suit more rows than the table had when the server made the plan
const settings = [
  "plan_cache_mode = force_generic_plan",
  "enable_seqscan = off",
  "enable_bitmapscan = off",
  "jit = off"
]

/** Selects the result of a function as the columns of a tail. */
export const select = (source: string, last: "event_id" | "proof"): string =>
  `SELECT ${tailColumns({ payload: "payload", id: last, time: "time" })} FROM ${source}`

/** Selects the result of `loadGroup`: the columns of a tail, and the number of the load. */
export const selectGroup = (source: string): string =>
  `SELECT ${tailColumns({ payload: "payload", id: "proof", time: "time" })}, ${
    pgText("number", "bigint")
  } FROM ${source}`

interface TailColumns {
  readonly payload: string
  readonly id: string
  readonly time: string
}

const tailColumns = ({ id, payload, time }: TailColumns): string =>
  [pgText("version", "integer"), ...["type", payload, id, time].map((column) => pgText(column, "text"))].join(", ")

export const call = ({ name, parameters }: Function): string =>
  `${quoted(name)}(${parameters.map((_, index) => `$${index + 1}`).join(", ")})`
