import { type Names, quoted } from "../names.js"
import { base, type Function } from "./function.js"
import * as PgTime from "./time.js"

/** The functions that older programs call. They stay as they were, because programs of two versions share a database. */
export const make = (names: Names): ReadonlyArray<Function> => {
  const events = quoted(names.events)
  const transaction = `greatest(${base(names)} + pg_current_xact_id()::text::bigint, head_transaction)`
  return [
    {
      name: `${names.prefix}_append_1`,
      parameters: ["text", "text", "text[]", "text[]", "text[]", "text[]", "bigint", "bigint"],
      returns: "text",
      volatility: "VOLATILE",
      body: `DECLARE
  head_version bigint;
  head_transaction bigint;
  last_transaction bigint;
  last_position bigint;
BEGIN
SELECT version, transaction INTO head_version, head_transaction FROM ${events}
WHERE aggregate = $1 AND stream_id = $2 ORDER BY version DESC LIMIT 1;
head_version := coalesce(head_version, 0);
IF head_version NOT BETWEEN $7 AND $8 THEN
  RETURN NULL;
END IF;
IF cardinality($3) = 1 THEN
  INSERT INTO ${events} (transaction, version, aggregate, stream_id, event_id, type, payload, metadata)
  VALUES (${transaction}, head_version + 1, $1, $2, $3[1], $4[1], $5[1], $6[1])
  RETURNING transaction, position INTO last_transaction, last_position;
ELSE
  WITH inserted AS (
    INSERT INTO ${events} (transaction, version, aggregate, stream_id, event_id, type, payload, metadata)
    SELECT ${transaction}, head_version + row.number, $1, $2, row.event_id, row.type, row.payload, row.metadata
    FROM unnest($3, $4, $5, $6) WITH ORDINALITY AS row (event_id, type, payload, metadata, number)
    ORDER BY row.number
    RETURNING transaction, position
  )
  SELECT max(transaction), max(position) INTO last_transaction, last_position FROM inserted;
END IF;
RETURN head_version + cardinality($3) || ' ' || last_transaction || ' ' || last_position;
END`
    },
    {
      name: `${names.prefix}_load_1`,
      parameters: ["text", "text", "bigint", "text", "text[]", "bigint"],
      returns: "TABLE (version integer, type text, payload text, proof text)",
      volatility: "STABLE",
      body: `BEGIN
RETURN QUERY ${load(names, "", tail(events, "(SELECT version FROM start)", "$6"))};
END`
    },
    {
      name: `${names.prefix}_tail_1`,
      parameters: ["text", "text", "bigint", "bigint"],
      returns: "TABLE (version integer, type text, payload text, event_id text)",
      volatility: "STABLE",
      body: `BEGIN
RETURN QUERY ${tail(events, "$3", "$4")};
END`
    }
  ]
}

/** The functions of version 2, which also give times. */
export const withTimes = (names: Names): ReadonlyArray<Function> => {
  const events = quoted(names.events)
  return [
    {
      name: `${names.prefix}_load_2`,
      parameters: ["text", "text", "bigint", "text", "text[]", "bigint"],
      returns: "TABLE (version integer, type text, payload text, proof text, \"time\" text)",
      volatility: "STABLE",
      body: `BEGIN
RETURN QUERY ${load(names, ", NULL AS time", tailWithTimes(events, "(SELECT version FROM start)", "$6"))};
END`
    },
    {
      name: `${names.prefix}_tail_2`,
      parameters: ["text", "text", "bigint", "bigint"],
      returns: "TABLE (version integer, type text, payload text, event_id text, \"time\" text)",
      volatility: "STABLE",
      body: `BEGIN
RETURN QUERY ${tailWithTimes(events, "$3", "$4")};
END`
    }
  ]
}

const load = (names: Names, time: string, tail: string): string =>
  `WITH snapshot AS (
  SELECT version, state, event_id, schema_version, fingerprint, time,
    schema_version || ' ' || fingerprint = ANY ($5) AS migratable
  FROM ${quoted(names.snapshots)} WHERE aggregate = $1 AND stream_id = $2
  ORDER BY schema_version = $3 DESC, schema_version || ' ' || fingerprint = ANY ($5) DESC, schema_version <= $3 DESC,
    schema_version DESC
  LIMIT 1
), start AS (
  SELECT coalesce((
    SELECT version FROM snapshot WHERE migratable OR schema_version = $3 AND ($4::text IS NULL OR fingerprint = $4)
  ), 1) AS version
)
SELECT version, NULL AS type, state AS payload, json_build_array(event_id, schema_version, fingerprint, time)::text AS proof${time}
FROM snapshot
UNION ALL (
  ${tail}
)`

const tailWithTimes = (events: string, from: string, limit: string): string =>
  `SELECT version, type, payload, event_id, CASE WHEN event_id IS NOT NULL THEN ${PgTime.column("time")} END
  FROM (
    SELECT version, type, payload, time, CASE WHEN version IN (${from}, ${from} + ${limit}::bigint - 1) OR version = (
      SELECT version FROM ${events} WHERE aggregate = $1 AND stream_id = $2 ORDER BY version DESC LIMIT 1
    ) THEN event_id END AS event_id
    FROM ${events} WHERE aggregate = $1 AND stream_id = $2 AND version >= ${from}
    ORDER BY version LIMIT ${limit}
  ) AS tail ORDER BY version`

const tail = (events: string, from: string, limit: string): string =>
  `SELECT version, type, payload, CASE WHEN version IN (${from}, ${from} + ${limit}::bigint - 1) OR version = (
    SELECT version FROM ${events} WHERE aggregate = $1 AND stream_id = $2 ORDER BY version DESC LIMIT 1
  ) THEN event_id END
  FROM ${events} WHERE aggregate = $1 AND stream_id = $2 AND version >= ${from}
  ORDER BY version LIMIT ${limit}`

/** The append of one or more events, before that of one event became a statement of its own. */
export const append2 = (names: Names): Function => {
  const events = quoted(names.events)
  const transaction = `greatest(${base(names)} + pg_current_xact_id()::text::bigint, head_transaction)`
  return {
    name: `${names.prefix}_append_2`,
    parameters: ["text", "text", "text[]", "text[]", "text[]", "text[]", "bigint", "bigint", "bigint[]"],
    returns: "text",
    volatility: "VOLATILE",
    body: `DECLARE
  head_version bigint;
  head_transaction bigint;
  last_transaction bigint;
  last_position bigint;
  last_time timestamptz := ${PgTime.ofMillis("$9[cardinality($3)]")};
BEGIN
SELECT version, transaction INTO head_version, head_transaction FROM ${events}
WHERE aggregate = $1 AND stream_id = $2 ORDER BY version DESC LIMIT 1;
head_version := coalesce(head_version, 0);
IF head_version NOT BETWEEN $7 AND $8 THEN
  RETURN NULL;
END IF;
IF cardinality($3) = 1 THEN
  INSERT INTO ${events} (transaction, version, aggregate, stream_id, event_id, type, payload, metadata, time)
  VALUES (${transaction}, head_version + 1, $1, $2, $3[1], $4[1], $5[1], $6[1], last_time)
  RETURNING transaction, position INTO last_transaction, last_position;
ELSE
  WITH inserted AS (
    INSERT INTO ${events} (transaction, version, aggregate, stream_id, event_id, type, payload, metadata, time)
    SELECT ${transaction}, head_version + row.number, $1, $2, row.event_id, row.type, row.payload, row.metadata,
      ${PgTime.ofMillis("row.time")}
    FROM unnest($3, $4, $5, $6, $9) WITH ORDINALITY AS row (event_id, type, payload, metadata, time, number)
    ORDER BY row.number
    RETURNING transaction, position
  )
  SELECT max(transaction), max(position) INTO last_transaction, last_position FROM inserted;
END IF;
RETURN head_version + cardinality($3) || ' ' || last_transaction || ' ' || last_position || ' ' || ${
      PgTime.column("last_time")
    };
END`
  }
}
