import { claim } from "../checkpointClaim.js"
import type { Spec } from "../checkpointSpec.js"
import { type Names, quoted } from "../names.js"

/**
 * SQLite has one writer. A transaction of a client of `Sqlite.layer` begins with the lock for writing. One of another client
 * gets it with its first statement, which is therefore a write, also where it changes nothing.
 */
export const spec = (names: Names): Spec => {
  const lockVersions = (columns: string, condition: string) =>
    `UPDATE ${quoted(names.subscriptions)} SET wanted = wanted WHERE ${condition} RETURNING ${columns}`
  return {
    now: "CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER)",
    listed: (name) => `json_each(:${name}) AS given`,
    list: (values) => JSON.stringify(values),
    isOneOf: "(name, version) IN (SELECT value->>0, value->>1 FROM json_each(:keys))",
    keys: (keys) => ({ keys: JSON.stringify(keys.map(({ name, version }) => [name, version])) }),
    events: `(
  SELECT value->>0 AS position, value->>1 AS event_id, value->>2 AS stream, value->>3 AS kind, value->>4 AS reason,
    value->>5 AS parked_at
  FROM json_each(:events)
) AS event`,
    eventValues: (events) => ({
      events: JSON.stringify(
        events.map(({ eventId, kind, position, reason, stream, time }) => [
          position,
          eventId,
          stream,
          kind,
          reason,
          time
        ])
      )
    }),
    registering: lockVersions("NULL AS locked", "name = :name"),
    lockVersions,
    claim: `${
      claim(names, {
        name: ":name",
        version: ":version",
        stream: ":stream",
        last: ":last",
        previous: ":previous",
        ordered: ":ordered"
      }, "TRUE")
    }
RETURNING NULL AS claimed`,
    removing: () => undefined,
    forUpdate: "",
    skipLocked: "",
    briefly: [],
    // statements of writers do not overlap
    unchanged: { tables: [], condition: "" },
    endsIdle: []
  }
}
