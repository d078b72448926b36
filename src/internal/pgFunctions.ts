import { type Names, quoted } from "./tables.js"

/**
 * What a command waits for, as functions: the server plans it once on a connection, which takes longer than to run it.
 * Programs of two versions share a database while one replaces the other, so a function whose body or arguments change
 * gets another number, and a migration of its own. Why: docs/decisions/0052-functions.md.
 *
 * @internal
 */
export const make = (names: Names): { readonly append: Function; readonly load: Function } => {
  const events = quoted(names.events)
  return {
    append: {
      name: `${names.prefix}_append_1`,
      // aggregate, stream id, event ids, types, payloads, metadata, lowest and highest version to append to
      parameters: ["text", "text", "text[]", "text[]", "text[]", "text[]", "bigint", "bigint"],
      columns: "version integer, transaction bigint, \"position\" bigint",
      volatility: "VOLATILE",
      // within a stream the transaction never falls: that of a caller may have begun before the one that wrote the head
      query: `INSERT INTO ${events}
  (transaction, version, aggregate, stream_id, event_id, type, payload, metadata)
SELECT greatest(
    coalesce((SELECT base FROM ${
        quoted(names.cluster)
      } WHERE id), 0) + pg_current_xact_id()::text::bigint, head.transaction
  ), coalesce(head.version, 0) + row.number, $1, $2, row.event_id, row.type, row.payload, row.metadata
FROM unnest($3, $4, $5, $6) WITH ORDINALITY AS row (event_id, type, payload, metadata, number)
LEFT JOIN (
  SELECT version, transaction FROM ${events} WHERE aggregate = $1 AND stream_id = $2 ORDER BY version DESC LIMIT 1
) AS head ON true
WHERE coalesce(head.version, 0) BETWEEN $7 AND $8
ORDER BY row.number
RETURNING version, transaction, position`
    },
    load: {
      name: `${names.prefix}_load_1`,
      // aggregate, stream id, schema version, fingerprint or NULL for any, what can be migrated from, most events
      parameters: ["text", "text", "bigint", "text", "text[]", "bigint"],
      columns: "version integer, type text, payload text, proof text",
      volatility: "STABLE",
      query: load(names.events, names.snapshots)
    }
  }
}

/**
 * The load as a statement: for tables of two prefixes there is no function.
 *
 * @internal
 */
export const load = (events: string, snapshots: string): string =>
  `WITH snapshot AS (
  SELECT version, state, event_id, schema_version, fingerprint, time,
    schema_version || ' ' || fingerprint = ANY ($5) AS migratable
  FROM ${quoted(snapshots)} WHERE aggregate = $1 AND stream_id = $2
  ORDER BY schema_version = $3 DESC, schema_version || ' ' || fingerprint = ANY ($5) DESC, schema_version <= $3 DESC,
    schema_version DESC
  LIMIT 1
)
SELECT version, NULL, state, json_build_array(event_id, schema_version, fingerprint, time)::text FROM snapshot
UNION ALL (
  SELECT version, type, payload, event_id FROM ${quoted(events)}
  WHERE aggregate = $1 AND stream_id = $2 AND version >= coalesce((
    SELECT version FROM snapshot WHERE migratable OR schema_version = $3 AND ($4::text IS NULL OR fingerprint = $4)
  ), 1)
  ORDER BY version LIMIT $6
)`

/** @internal */
export const call = ({ name, parameters }: Function): string =>
  `SELECT * FROM ${quoted(name)}(${parameters.map((_, index) => `$${index + 1}`).join(", ")})`

interface Function {
  readonly name: string
  readonly parameters: ReadonlyArray<string>
  readonly columns: string
  readonly volatility: "STABLE" | "VOLATILE"
  readonly query: string
}

/** @internal */
export const statements = (names: Names): ReadonlyArray<string> =>
  Object.values(make(names)).map(({ columns, name, parameters, query, volatility }) =>
    `CREATE OR REPLACE FUNCTION ${quoted(name)} (${parameters.join(", ")})
RETURNS TABLE (${columns}) LANGUAGE plpgsql ${volatility}
${settings.map((setting) => `SET ${setting}`).join(" ")}
AS $body$
#variable_conflict use_column
BEGIN
RETURN QUERY ${query};
END
$body$`
  )

// one plan for all streams, which must not be one for the handful of rows that the table had when it was made
const settings = [
  "plan_cache_mode = force_generic_plan",
  "enable_seqscan = off",
  "enable_bitmapscan = off",
  "jit = off"
]

/**
 * The function with its types, as `to_regprocedure` knows it.
 *
 * @internal
 */
export const signatures = (names: Names): ReadonlyArray<string> =>
  Object.values(make(names)).map(({ name, parameters }) => `${quoted(name)}(${parameters.join(",")})`)
