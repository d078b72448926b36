import type { Spec } from "../checkpointSpec.js"
import { type Names, quoted } from "../names.js"
import * as PgClaims from "./claims.js"

// the beginning of the transaction is too long ago for a lease
const now = "(extract(epoch FROM clock_timestamp()) * 1000)::bigint"

/** A setting of the transaction as a table, so that a statement needs no round trip of its own for it. */
const setting = (name: string, value: string): string => `(SELECT set_config('${name}', ${value}, true)) AS setting`

/** A process that is frozen within a transaction keeps its locks until the server ends its session. */
const endsIdle = (millis: string) => setting("idle_in_transaction_session_timeout", millis)

export const spec = (names: Names): Spec => ({
  now,
  listed: (name) => `unnest(:${name}::text[]) AS given (value)`,
  list: (values) => values,
  isOneOf: "(name, version) IN (SELECT * FROM unnest(:names::text[], :versions::integer[]))",
  keys: (keys) => ({ names: keys.map(({ name }) => name), versions: keys.map(({ version }) => version) }),
  events: `unnest(:positions::text[], :eventIds::text[], :streams::text[], :kinds::text[], :reasons::text[],
  :times::bigint[]) AS event (position, event_id, stream, kind, reason, parked_at)`,
  eventValues: (events) => ({
    positions: events.map(({ position }) => position),
    eventIds: events.map(({ eventId }) => eventId),
    streams: events.map(({ stream }) => stream),
    kinds: events.map(({ kind }) => kind),
    reasons: events.map(({ reason }) => reason),
    times: events.map(({ time }) => time)
  }),
  registering: `SELECT set_config('idle_in_transaction_session_timeout', '30000', true),
  set_config('lock_timeout', '10000', true), pg_advisory_xact_lock(hashtext(:table), hashtext(:name))`,
  lockVersions: (columns, condition) =>
    `SELECT ${columns} FROM ${quoted(names.subscriptions)} AS known, ${endsIdle("'30000'")}
WHERE ${condition} ORDER BY known.name, known.version FOR UPDATE OF known`,
  claim: `SELECT NULL AS claimed
FROM ${quoted(PgClaims.claim(names).name)}(:name, :version, :stream, :last, :previous, :ordered, :idle) AS claimed
WHERE claimed`,
  removing: (condition) =>
    `SELECT set_config('idle_in_transaction_session_timeout', '30000', true), set_config('lock_timeout', '10000', true),
  pg_advisory_xact_lock(${PgClaims.lockOf(names, "known.version", "known.name")})
FROM ${quoted(names.subscriptions)} AS known WHERE ${condition}`,
  forUpdate: " FOR UPDATE",
  skipLocked: " FOR UPDATE SKIP LOCKED",
  briefly: [setting("lock_timeout", "'1000'")],
  unchanged: {
    tables: [
      `(SELECT xmin AS seen FROM ${
        quoted(names.checkpoints)
      } WHERE name = :name AND version = :version AND part = :index) AS found`
    ],
    condition: ` AND ${quoted(names.checkpoints)}.xmin = found.seen`
  },
  endsIdle: [endsIdle(":idle")]
})
