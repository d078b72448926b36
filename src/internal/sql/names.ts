import type * as SqlClient from "@effect/sql/SqlClient"
import type * as Statement from "@effect/sql/Statement"
import * as Effect from "effect/Effect"
import { InvalidOption } from "../../InvalidOption.js"
import { booleanProblem, recordProblem } from "../options.js"
import { quote } from "../text.js"

/** @internal */
export interface Names {
  readonly prefix: string
  readonly events: string
  readonly snapshots: string
  readonly migrations: string
  /** What the transaction ids of this cluster are counted from. PostgreSQL only. */
  readonly cluster: string
}

const defaultPrefix = "eventsourcing"

// PostgreSQL cuts names at 63 bytes in silence: the longest of ours adds 14
const pattern = /^(?:[A-Za-z_][A-Za-z0-9_]{0,39}\.)?[A-Za-z_][A-Za-z0-9_]{0,39}$/

/** @internal */
export const names = (
  options: { readonly prefix?: string | undefined; readonly migrate?: boolean | undefined } | undefined,
  more: ReadonlyArray<string> = []
): Effect.Effect<Names, InvalidOption> => {
  // a misspelt prefix would read and write other tables
  const problem = recordProblem("options of the tables", options, ["prefix", "migrate", ...more]) ??
    booleanProblem("migrate", options?.migrate)
  if (problem !== undefined) return problem
  const { prefix = defaultPrefix } = options ?? {}
  return typeof prefix === "string" && pattern.test(prefix)
    ? Effect.succeed({
      prefix,
      events: `${prefix}_events`,
      snapshots: `${prefix}_snapshots`,
      migrations: `${prefix}_migrations`,
      cluster: `${prefix}_cluster`
    })
    : new InvalidOption({
      option: "prefix",
      value: quote(prefix),
      expected: "an identifier of at most 40 letters, digits and underscores that begins with no digit, " +
        "with or without a schema name and a dot before it"
    })
}

/**
 * The name as it stands in SQL: the pattern of the prefix leaves nothing to escape.
 *
 * @internal
 */
export const quoted = (name: string): string => name.split(".").map((part) => `"${part}"`).join(".")

/**
 * The name as a fragment. The client's own identifiers go through its transform of names, which only some clients can do
 * without.
 *
 * @internal
 */
export const identifier = (sql: SqlClient.SqlClient, name: string): Statement.Fragment => sql.literal(quoted(name))

/** @internal */
export const schemaOf = ({ events }: Names): string | undefined => {
  const dot = events.indexOf(".")
  return dot < 0 ? undefined : events.slice(0, dot)
}

/** @internal */
export const unqualified = (name: string): string => name.slice(name.indexOf(".") + 1)

/**
 * The columns of the unique indexes that decide between appends. Their names may be others than those that the migration
 * gave them: an index can be rebuilt, renamed or restored.
 *
 * @internal
 */
export const eventKeys: ReadonlyArray<string> = ["event_id", "aggregate,stream_id,version"]

/**
 * What the stores rely on in each table: its columns, and the columns of its unique indexes.
 *
 * @internal
 */
export const required = (
  names: Names,
  dialect: { readonly eventColumns: ReadonlyArray<string> }
): ReadonlyArray<{
  readonly table: string
  readonly columns: ReadonlyArray<string>
  readonly uniqueKeys: ReadonlyArray<string>
}> => [
  {
    table: names.events,
    columns: ["aggregate", "stream_id", "version", "event_id", "type", "payload", "metadata", ...dialect.eventColumns],
    uniqueKeys: eventKeys
  },
  {
    table: names.snapshots,
    columns: ["aggregate", "stream_id", "schema_version", "version", "event_id", "fingerprint", "state", "time"],
    uniqueKeys: ["aggregate,stream_id,schema_version"]
  }
]
