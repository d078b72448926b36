import { type Names, quoted } from "../names.js"
import * as Appends from "./appendFunctions.js"
import { claim } from "./claims.js"
import { create, type Function } from "./function.js"
import { pgText } from "./text.js"
import * as PgTime from "./time.js"

/**
 * The statements of a command as functions, which the server plans once on a connection: planning takes longer than running.
 * During a deployment programs of two versions share a database. So a function whose body or arguments change gets another
 * number and a migration of its own, and the older one stays (olderFunctions.ts). Why: docs/decisions/0052-functions.md.
 */
export const make = (names: Names) => {
  return {
    append: Appends.append(names),
    appendGroup: Appends.appendGroup(names),
    claim: claim(names),
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

/** Each function with its types, as `to_regprocedure` takes it, and the statement that creates it. */
export const statements = (names: Names): ReadonlyArray<{ readonly name: string; readonly statement: string }> =>
  Object.values(make(names)).map((created) => ({
    name: `${quoted(created.name)}(${created.parameters.join(",")})`,
    statement: create(created)
  }))

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
