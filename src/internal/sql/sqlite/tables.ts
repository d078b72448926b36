import * as Markers from "../../markers.js"
import * as Tenant from "../../store/tenant.js"
import { type Names, quoted, unqualified } from "../names.js"

/**
 * The tables. AUTOINCREMENT never gives a position twice, not even after the last event was deleted. STRICT checks the types
 * of columns. The tables have rowids, as rows with states and payloads are too large for a WITHOUT ROWID tree.
 */
export const statements = (names: Names): ReadonlyArray<string> => [
  `CREATE TABLE IF NOT EXISTS ${quoted(names.events)} (
  position INTEGER PRIMARY KEY AUTOINCREMENT,
  aggregate TEXT NOT NULL,
  stream_id TEXT NOT NULL,
  version INTEGER NOT NULL,
  event_id TEXT NOT NULL UNIQUE,
  type TEXT NOT NULL,
  payload TEXT NOT NULL,
  metadata TEXT NOT NULL,
  time INTEGER NOT NULL,
  UNIQUE (aggregate, stream_id, version)
) STRICT`,
  `CREATE INDEX IF NOT EXISTS ${feedIndex(names)} ON ${quoted(unqualified(names.events))} (aggregate, position)`,
  `CREATE TABLE IF NOT EXISTS ${quoted(names.snapshots)} (
  aggregate TEXT NOT NULL,
  stream_id TEXT NOT NULL,
  schema_version INTEGER NOT NULL,
  version INTEGER NOT NULL,
  event_id TEXT NOT NULL,
  fingerprint TEXT NOT NULL,
  state TEXT NOT NULL,
  time INTEGER NOT NULL,
  PRIMARY KEY (aggregate, stream_id, schema_version)
) STRICT`
]

// SQLite takes the schema of an index from the index's name, and looks for the table there
const feedIndex = (names: Names): string => quoted(`${names.events}_feed`)

/** The JSON text of the tenant in the metadata of an event. SQLite refuses JSON that is nested too deeply. */
export const tenant = "CASE WHEN json_valid(metadata) THEN metadata -> '$.tenant' END"

/** {@link tenant} as it stands in the metadata, if it is the name of a tenant. */
export const storedTenant =
  `CASE WHEN ${tenant} LIKE '"%' AND length(${tenant}) <= ${Tenant.maxKeyLength} THEN ${tenant} END`

/** The index by tenant, in the order of the feed. */
export const tenantIndex = (names: Names): string =>
  `CREATE INDEX IF NOT EXISTS ${quoted(`${names.events}_tenant`)} ON ${
    quoted(unqualified(names.events))
  } ((${tenant}), position)`

/** The tables of the checkpoints. */
export const checkpoints = (names: Names): ReadonlyArray<string> => [
  `CREATE TABLE IF NOT EXISTS ${quoted(names.subscriptions)} (
  name TEXT NOT NULL,
  version INTEGER NOT NULL,
  kind TEXT NOT NULL,
  definition TEXT NOT NULL,
  wanted INTEGER NOT NULL,
  active INTEGER NOT NULL,
  PRIMARY KEY (name, version)
) STRICT`,
  `CREATE UNIQUE INDEX IF NOT EXISTS ${quoted(`${names.subscriptions}_active`)} ON ${
    quoted(unqualified(names.subscriptions))
  } (name) WHERE active`,
  `CREATE TABLE IF NOT EXISTS ${quoted(names.checkpoints)} (
  name TEXT NOT NULL,
  version INTEGER NOT NULL,
  part INTEGER NOT NULL,
  parts INTEGER NOT NULL,
  position TEXT NOT NULL,
  handled INTEGER NOT NULL,
  owner TEXT,
  epoch INTEGER NOT NULL,
  lease_until INTEGER NOT NULL,
  stopped_at INTEGER,
  stopped_position TEXT,
  stopped_reason TEXT,
  hold TEXT,
  hold_until INTEGER,
  PRIMARY KEY (name, version, part)
) STRICT`,
  `CREATE TABLE IF NOT EXISTS ${quoted(names.parked)} (
  name TEXT NOT NULL,
  version INTEGER NOT NULL,
  position TEXT NOT NULL,
  event_id TEXT NOT NULL,
  stream TEXT NOT NULL,
  kind TEXT NOT NULL,
  reason TEXT NOT NULL,
  parked_at INTEGER NOT NULL,
  PRIMARY KEY (name, version, position)
) STRICT`,
  `CREATE INDEX IF NOT EXISTS ${quoted(`${names.parked}_stream`)} ON ${
    quoted(unqualified(names.parked))
  } (name, version, stream, position)`,
  `CREATE TABLE IF NOT EXISTS ${quoted(names.members)} (
  name TEXT NOT NULL,
  version INTEGER NOT NULL,
  owner TEXT NOT NULL,
  until INTEGER NOT NULL,
  PRIMARY KEY (name, version, owner)
) STRICT`
]

/** How far the streams were handled by inline projections. */
export const inline = (names: Names): ReadonlyArray<string> => [
  `CREATE TABLE IF NOT EXISTS ${quoted(names.inline)} (
  name TEXT NOT NULL,
  version INTEGER NOT NULL,
  stream TEXT NOT NULL,
  position TEXT NOT NULL,
  PRIMARY KEY (name, version, stream)
) STRICT, WITHOUT ROWID`
]

/** The indexes that lead to what is removed in time: markers of deleted streams, and snapshots of old schema versions. */
export const retention = (names: Names): ReadonlyArray<string> => [
  `CREATE INDEX IF NOT EXISTS ${quoted(`${names.events}_deleted`)} ON ${
    quoted(unqualified(names.events))
  } (time, position) WHERE type = '${Markers.deleted}'`,
  `CREATE INDEX IF NOT EXISTS ${quoted(`${names.snapshots}_schema`)} ON ${
    quoted(unqualified(names.snapshots))
  } (aggregate, schema_version, stream_id)`
]

/** The contents of emptied events, and when they were archived. The index finds the oldest. */
export const archive = (names: Names): ReadonlyArray<string> => [
  `CREATE TABLE IF NOT EXISTS ${quoted(names.archive)} (
  aggregate TEXT NOT NULL,
  stream_id TEXT NOT NULL,
  version INTEGER NOT NULL,
  archived_at INTEGER NOT NULL,
  payload TEXT NOT NULL,
  metadata TEXT NOT NULL,
  PRIMARY KEY (aggregate, stream_id, version)
) STRICT`,
  `CREATE INDEX IF NOT EXISTS ${quoted(`${names.archive}_age`)} ON ${
    quoted(unqualified(names.archive))
  } (archived_at, aggregate, stream_id)`
]

export const migrations = (names: Names): string =>
  `CREATE TABLE IF NOT EXISTS ${quoted(names.migrations)} (
  migration_id INTEGER PRIMARY KEY NOT NULL,
  created_at datetime NOT NULL DEFAULT current_timestamp,
  name VARCHAR(255) NOT NULL
)`
