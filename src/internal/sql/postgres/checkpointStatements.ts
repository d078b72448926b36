import type { Spec } from "../checkpointSpec.js"
import { type Names, quoted } from "../names.js"

// the beginning of the transaction is too long ago for a lease
const now = "(extract(epoch FROM clock_timestamp()) * 1000)::bigint"

/** A setting of the transaction as a table, so that a statement needs no round trip of its own for it. */
const setting = (name: string, value: string): string => `(SELECT set_config('${name}', ${value}, true)) AS setting`

/** A process that is frozen within a transaction keeps its locks until the server ends its session. */
const endsIdle = (millis: string) => setting("idle_in_transaction_session_timeout", millis)

/** The advisory lock that the claims on a version share. A row of the version would be one that all appends write to. */
const claimsOf = ({ inline }: Names, version: string): string =>
  `hashtext('${inline}'), hashtext(${version}.version || ' ' || ${version}.name)`

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
  // a transaction with a snapshot of its own may still see a version that is removed: the lock of the row refuses it
  claiming: `pg_try_advisory_xact_lock_shared(${claimsOf(names, "subscription")})
  AND (current_setting('transaction_isolation') = 'read committed' OR EXISTS (
    SELECT NULL FROM ${quoted(names.subscriptions)} WHERE name = :name AND version = :version FOR KEY SHARE SKIP LOCKED
  ))`,
  removing: (condition) =>
    `SELECT set_config('idle_in_transaction_session_timeout', '30000', true), set_config('lock_timeout', '10000', true),
  pg_advisory_xact_lock(${claimsOf(names, "known")})
FROM ${quoted(names.subscriptions)} AS known WHERE ${condition}`,
  forUpdate: " FOR UPDATE",
  skipLocked: " FOR UPDATE SKIP LOCKED",
  briefly: [setting("lock_timeout", "'1000'")],
  endsIdle: [endsIdle(":idle")]
})
