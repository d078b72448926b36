import type * as SqlClient from "@effect/sql/SqlClient"
import type * as Statement from "@effect/sql/Statement"
import * as Effect from "effect/Effect"
import { InvalidOption } from "../../InvalidOption.js"
import { booleanProblem, recordProblem } from "../options.js"
import { quote } from "../text.js"

export interface Names {
  readonly prefix: string
  readonly events: string
  /** The contents of emptied events. */
  readonly archive: string
  readonly snapshots: string
  readonly migrations: string
  /** The base to which the transaction ids of this cluster are added. PostgreSQL only. */
  readonly cluster: string
  readonly subscriptions: string
  readonly checkpoints: string
  readonly parked: string
  readonly members: string
  /** How far the streams were handled by inline projections, beyond the checkpoints. */
  readonly inline: string
}

const defaultPrefix = "eventsourcing"

// PostgreSQL cuts names at 63 bytes without an error, and our longest suffix, `_subscriptions_active`, has 21
const pattern = /^(?:[A-Za-z_][A-Za-z0-9_]{0,39}\.)?[A-Za-z_][A-Za-z0-9_]{0,39}$/

export const names = (
  options: { readonly prefix?: string | undefined; readonly migrate?: boolean | undefined } | undefined,
  more: ReadonlyArray<string> = []
): Effect.Effect<Names, InvalidOption> => {
  // a misspelt option would be ignored, and the default prefix used
  const problem = recordProblem("options of the tables", options, ["prefix", "migrate", ...more]) ??
    booleanProblem("migrate", options?.migrate)
  if (problem !== undefined) return problem
  const { prefix = defaultPrefix } = options ?? {}
  return typeof prefix === "string" && pattern.test(prefix)
    ? Effect.succeed({
      prefix,
      events: `${prefix}_events`,
      archive: `${prefix}_archive`,
      snapshots: `${prefix}_snapshots`,
      migrations: `${prefix}_migrations`,
      cluster: `${prefix}_cluster`,
      subscriptions: `${prefix}_subscriptions`,
      checkpoints: `${prefix}_checkpoints`,
      parked: `${prefix}_parked`,
      members: `${prefix}_members`,
      inline: `${prefix}_inline`
    })
    : new InvalidOption({
      option: "prefix",
      value: quote(prefix),
      expected: "an identifier of at most 40 letters, digits and underscores that does not begin with a digit, " +
        "with or without a schema name and a dot before it"
    })
}

/** The name in SQL. The pattern of the prefix leaves nothing to escape. */
export const quoted = (name: string): string => name.split(".").map((part) => `"${part}"`).join(".")

/** The name as a fragment, without the client's transform of names. */
export const identifier = (sql: SqlClient.SqlClient, name: string): Statement.Fragment => sql.literal(quoted(name))

export const schemaOf = ({ events }: Names): string | undefined => {
  const dot = events.indexOf(".")
  return dot < 0 ? undefined : events.slice(0, dot)
}

export const unqualified = (name: string): string => name.slice(name.indexOf(".") + 1)

/** The columns of the unique indexes that decide between appends: an index may be rebuilt under another name. */
export const eventKeys: ReadonlyArray<string> = ["event_id", "aggregate,stream_id,version"]

/** The tables of the events and their snapshots, or those of the checkpoints. */
export type Group = "events" | "checkpoints"

/** The columns and unique indexes that the stores need in each table. */
export const required = (
  names: Names,
  group: Group,
  dialect: { readonly eventColumns: ReadonlyArray<string> }
): ReadonlyArray<{
  readonly table: string
  readonly columns: ReadonlyArray<string>
  readonly uniqueKeys: ReadonlyArray<string>
}> => group === "events" ? requiredOfEvents(names, dialect) : requiredOfCheckpoints(names)

const requiredOfEvents = (names: Names, dialect: { readonly eventColumns: ReadonlyArray<string> }) => [
  {
    table: names.events,
    columns: ["aggregate", "stream_id", "version", "event_id", "type", "payload", "metadata", ...dialect.eventColumns],
    uniqueKeys: eventKeys
  },
  {
    table: names.archive,
    columns: ["aggregate", "stream_id", "version", "archived_at", "payload", "metadata"],
    uniqueKeys: ["aggregate,stream_id,version"]
  },
  {
    table: names.snapshots,
    columns: ["aggregate", "stream_id", "schema_version", "version", "event_id", "fingerprint", "state", "time"],
    uniqueKeys: ["aggregate,stream_id,schema_version"]
  }
]

const requiredOfCheckpoints = ({ checkpoints, inline, members, parked, subscriptions }: Names) => [
  {
    table: subscriptions,
    columns: ["name", "version", "kind", "definition", "wanted", "active"],
    uniqueKeys: ["name,version"]
  },
  {
    table: checkpoints,
    columns: [
      ...["name", "version", "part", "parts", "position", "handled", "owner", "epoch", "lease_until"],
      ...["stopped_at", "stopped_position", "stopped_reason", "hold", "hold_until"]
    ],
    uniqueKeys: ["name,version,part"]
  },
  {
    table: parked,
    columns: ["name", "version", "position", "event_id", "stream", "kind", "reason", "parked_at"],
    uniqueKeys: ["name,version,position"]
  },
  { table: members, columns: ["name", "version", "owner", "until"], uniqueKeys: ["name,version,owner"] },
  { table: inline, columns: ["name", "version", "stream", "position"], uniqueKeys: ["name,version,stream"] }
]
