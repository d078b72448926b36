// Writes the statements of the checkpoint store, for both databases. What differs between them is in a `Spec`, which the
// room of each database makes.
//
// A transaction that concerns all partitions of a subscription locks the rows of its versions first, then those of its
// partitions, in one order. A batch locks the row of its partition only.
import * as Option from "effect/Option"
import type * as Position from "../../Position.js"
import type { InlineClaim } from "../projection/inlineModel.js"
import type { AdvanceOptions, Key, Lease, ParkedEvent, Registration, Stopped } from "../projection/model.js"
import type { Spec } from "./checkpointSpec.js"
import type { Dialect } from "./dialect.js"
import { type Names, quoted } from "./names.js"
import type { Query } from "./statement.js"

const ofKey = "name = :name AND version = :version"
const ofPart = `${ofKey} AND part = :index`
const owned = `${ofPart} AND parts = :of AND epoch = :epoch AND owner = :owner`

/** Makes the statements for a database. */
export const make = (room: Room) => ({
  ...registrations(room),
  ...leases(room),
  ...advances(room),
  ...parking(room),
  ...locks(room),
  ...inline(room)
})

export type CheckpointStatements = ReturnType<typeof make>

/** What the statements of a database are made from. */
interface Room extends Pick<Dialect, "column" | "write" | "writePrepared"> {
  readonly names: Names
  readonly spec: Spec
}

const flag = (condition: string) => `CASE WHEN ${condition} THEN 1 ELSE 0 END`

const from = (tables: ReadonlyArray<string>): string => tables.length === 0 ? "" : `\nFROM ${tables.join(", ")}`

/** The columns of a partition, as its readers see it. */
const partition = (column: Dialect["column"], { now }: Spec): string =>
  [
    `${column("part", "integer")} AS part`,
    `${column("parts", "integer")} AS parts`,
    `${column("position", "text")} AS position`,
    `${column("handled", "bigint")} AS handled`,
    `${column(`CASE WHEN lease_until > ${now} THEN owner END`, "text")} AS owner`,
    `${column("epoch", "bigint")} AS epoch`,
    `${column("stopped_at", "bigint")} AS stopped_at`,
    `${column("stopped_position", "text")} AS stopped_position`,
    `${column("stopped_reason", "text")} AS stopped_reason`,
    `${column(`CASE WHEN hold_until > ${now} THEN hold END`, "text")} AS hold`
  ].join(", ")

const registrations = ({ column, names, spec, write, writePrepared }: Room) => {
  const subscriptions = quoted(names.subscriptions)
  const checkpoints = quoted(names.checkpoints)
  const members = quoted(names.members)
  const registering = write(spec.registering)
  const versions = write(`SELECT ${column("version", "integer")} AS version, ${column("kind", "text")} AS kind,
  ${column("definition", "text")} AS definition, ${column("wanted", "integer")} AS wanted
FROM ${subscriptions} WHERE name = :name`)
  const add = write(`INSERT INTO ${subscriptions} (name, version, kind, definition, wanted, active)
SELECT CAST(:name AS text), CAST(:version AS integer), CAST(:kind AS text), CAST(:definition AS text),
  CAST(:partitions AS integer), NOT EXISTS (SELECT NULL FROM ${subscriptions} WHERE name = :name)`)
  const want = write(`UPDATE ${subscriptions} SET wanted = :partitions WHERE ${ofKey}`)
  const addPartitions = write(`WITH RECURSIVE part (part) AS (
  SELECT 0 UNION ALL SELECT part + 1 FROM part WHERE part + 1 < CAST(:of AS integer)
)
INSERT INTO ${checkpoints} (name, version, part, parts, position, handled, epoch, lease_until)
SELECT CAST(:name AS text), CAST(:version AS integer), part, CAST(:of AS integer), CAST(:position AS text),
  CASE part WHEN 0 THEN CAST(:handled AS bigint) ELSE 0 END, CAST(:epoch AS bigint), 0
FROM part`)
  const forget = write(`DELETE FROM ${members} WHERE ${ofKey} AND until <= ${spec.now}`)
  const removing = spec.removing(ofKey)
  const forgetMarks = write(`DELETE FROM ${quoted(names.inline)} WHERE ${ofKey}`)
  const removal = [names.members, names.parked, names.inline, names.checkpoints, names.subscriptions].map((table) =>
    write(`DELETE FROM ${quoted(table)} WHERE ${ofKey}`)
  )
  const removePartitions = write(`DELETE FROM ${checkpoints} WHERE ${ofKey}`)
  const list = writePrepared(`WITH subscription AS MATERIALIZED (
  SELECT name, version, kind, active,
    (SELECT count(*) FROM ${members} AS member
      WHERE member.name = known.name AND member.version = known.version AND until > ${spec.now}) AS members,
    (SELECT count(*) FROM ${quoted(names.parked)} AS parked
      WHERE parked.name = known.name AND parked.version = known.version) AS parked
  FROM ${subscriptions} AS known
)
SELECT ${column("subscription.name", "text")} AS name, ${column("subscription.version", "integer")} AS version,
  ${column("kind", "text")} AS kind, ${column(flag("active"), "integer")} AS active,
  ${column("members", "bigint")} AS members, ${column("parked", "bigint")} AS parked, ${partition(column, spec)}
FROM subscription JOIN ${checkpoints} AS checkpoint
  ON checkpoint.name = subscription.name AND checkpoint.version = subscription.version
ORDER BY checkpoint.name, checkpoint.version, checkpoint.part`)
  return {
    registering: (name: string) => registering({ name, table: names.subscriptions }),
    /** `version`, `kind`, `definition` and `wanted` of each version. */
    versions: (name: string) => versions({ name }),
    /** Adds a version, without partitions. It is active if it is the first one of its name. */
    add: (registration: Registration) => add({ ...registration }),
    want: (registration: Registration) => want({ ...registration }),
    addPartitions: (key: Key, partitions: NewPartitions) => addPartitions({ ...key, ...partitions }),
    removePartitions: (key: Key) => removePartitions({ ...key }),
    /** Forgets processes that no longer report. */
    forget: (key: Key) => forget({ ...key }),
    /** Forgets what was handled inline for an earlier version of the same number. */
    forgetMarks: (key: Key) => forgetMarks({ ...key }),
    /** Before a removal: an append that is open may be about to note how far its stream is handled. */
    removing: (key: Key): ReadonlyArray<Query> => removing === undefined ? [] : [write(removing)({ ...key })],
    /** Removes a version from all tables. */
    remove: (key: Key): ReadonlyArray<Query> => removal.map((statement) => statement({ ...key })),
    /** A row for each partition: the version's `name`, `version`, `kind`, `active`, `members`, `parked`. */
    list: list({})
  }
}

/** The partitions of a version, all at the same position. The first one counts the events handled so far. */
export interface NewPartitions {
  readonly of: number
  readonly position: Position.Position
  readonly handled: number
  readonly epoch: number
}

const leases = ({ column, names, spec, write, writePrepared }: Room) => {
  const subscriptions = quoted(names.subscriptions)
  const checkpoints = quoted(names.checkpoints)
  const members = quoted(names.members)
  const { briefly, now, skipLocked } = spec
  const attend = writePrepared(`INSERT INTO ${members} AS known (name, version, owner, until)
SELECT name, version, CAST(:owner AS text), ${now} + CAST(:ttl AS bigint)
FROM ${[subscriptions, ...briefly].join(", ")} WHERE ${ofKey}
ON CONFLICT (name, version, owner) DO UPDATE SET until = excluded.until`)
  const reporting = column(`(SELECT count(*) FROM ${members} WHERE ${ofKey} AND until > ${now})`, "bigint")
  const count = write(`SELECT ${reporting} AS members`)
  const attended = writePrepared(
    `SELECT ${reporting} AS members, ${column("wanted", "integer")} AS wanted, ${partition(column, spec)}
FROM ${subscriptions} AS subscription JOIN ${checkpoints} AS checkpoint
  ON checkpoint.name = subscription.name AND checkpoint.version = subscription.version
WHERE subscription.name = :name AND subscription.version = :version
ORDER BY checkpoint.part`
  )
  const leave = write(`DELETE FROM ${members} WHERE ${ofKey} AND owner = :owner`)
  const free = `parts = :of AND stopped_at IS NULL AND (owner IS NULL OR lease_until <= ${now})`
  const acquire = write(`UPDATE ${checkpoints} SET owner = :owner, epoch = epoch + 1, lease_until = ${now} + :ttl
WHERE ${ofKey} AND part = (SELECT part FROM ${checkpoints} WHERE ${ofPart} AND ${free}${skipLocked})
RETURNING ${column("epoch", "bigint")} AS epoch, ${column("position", "text")} AS position`)
  const renew = writePrepared(`UPDATE ${checkpoints} SET lease_until = ${now} + :ttl${from(briefly)}
WHERE ${owned} RETURNING ${column("position", "text")} AS position`)
  const release = write(`UPDATE ${checkpoints} SET owner = NULL, lease_until = 0${from(briefly)}
WHERE ${owned}`)
  const stop = write(`UPDATE ${checkpoints} SET owner = NULL, lease_until = 0, stopped_at = :time,
  stopped_position = :stoppedPosition, stopped_reason = :reason
WHERE ${owned} RETURNING NULL AS stopped`)
  const resume = write(`UPDATE ${checkpoints} SET stopped_at = NULL, stopped_position = NULL, stopped_reason = NULL
WHERE ${ofKey} AND stopped_at IS NOT NULL RETURNING NULL AS resumed`)
  return {
    attend: (key: Key, member: Member) => attend({ ...key, ...member }),
    /** A row for each partition, with the `members` and the `wanted` of the version. */
    attended: (key: Key) => attended({ ...key }),
    leave: (key: Key, owner: string) => leave({ ...key, owner }),
    /** One row with `members`: how many processes report that they work for the version. */
    members: (key: Key) => count({ ...key }),
    /** A row with `epoch` and `position` if the partition was free. */
    acquire: (key: Key, options: Acquisition) => acquire({ ...key, ...options }),
    /** A row with `position` if the lease is not lost. */
    renew: (lease: Lease, ttl: number) => renew({ ...lease, ttl }),
    release: (lease: Lease) => release({ ...lease }),
    /** A row if the lease is not lost. */
    stop: (lease: Lease, stopped: Omit<Stopped, "position">, stoppedPosition: string | null) =>
      stop({ ...lease, ...stopped, stoppedPosition }),
    /** A row for each partition that was stopped. */
    resume: (key: Key) => resume({ ...key })
  }
}

interface Member {
  readonly owner: string
  readonly ttl: number
}

export interface Acquisition extends Member {
  readonly index: number
  readonly of: number
}

const advances = ({ column, names, spec, write, writePrepared }: Room) => {
  const checkpoints = quoted(names.checkpoints)
  const parked = quoted(names.parked)
  const { now } = spec
  const some = (table: string, condition = ofKey) =>
    column(flag(`EXISTS (SELECT NULL FROM ${table} WHERE ${condition})`), "integer")
  const advance = writePrepared(`UPDATE ${checkpoints} SET position = :to, handled = handled + :handled,
  lease_until = ${now} + :ttl${from([...spec.endsIdle, ...spec.unchanged.tables])}
WHERE ${owned} AND position = :position AND (hold IS NULL OR hold_until <= ${now} OR hold >= :to)${spec.unchanged.condition}
RETURNING ${some(parked)} AS parked, ${some(quoted(names.inline))} AS inline,
  ${some(quoted(names.subscriptions), `${ofKey} AND active`)} AS active`)
  const held = write(`SELECT ${column("hold", "text")} AS hold FROM ${checkpoints}
WHERE ${owned} AND position = :position`)
  const extend = writePrepared(`UPDATE ${checkpoints} SET lease_until = ${now} + :ttl WHERE ${ofPart}`)
  const parkedOf = write(`SELECT ${column("given.value", "text")} AS stream FROM ${spec.listed("streams")}
WHERE EXISTS (SELECT NULL FROM ${parked} WHERE ${ofKey} AND stream = given.value)`)
  return {
    /**
     * A row if the checkpoint was advanced. Its `parked` is 0 if nothing of the version is parked, its `inline` if
     * nothing beyond the checkpoints was handled inline, and its `active` if the version is not the active one.
     */
    advance: (lease: Lease, { handled, to, ttl }: AdvanceOptions) =>
      advance({ ...lease, handled, to, ttl, idle: idle(ttl) }),
    /** A row if the lease is not lost, with the `hold`. */
    held: (lease: Lease) => held({ ...lease }),
    extend: (lease: Lease, ttl: number) => extend({ ...lease, ttl }),
    /** A row with `stream` for each of these streams of which events are parked. */
    parkedOf: (key: Key, streams: ReadonlyArray<string>) => parkedOf({ ...key, streams: spec.list(streams) })
  }
}

// in shorter times a process may be busy with something else
const idle = (ttl: number): string => String(Math.max(ttl, 1_000))

const inline = ({ column, names, spec, write, writePrepared }: Room) => {
  const marks = quoted(names.inline)
  const settled = `(SELECT min(position) FROM ${quoted(names.checkpoints)} WHERE ${ofKey})`
  const claim = writePrepared(spec.claim)
  const marksOf = write(`SELECT ${column("stream", "text")} AS stream, ${column("position", "text")} AS position
FROM ${marks} WHERE ${ofKey} AND stream IN (SELECT given.value FROM ${spec.listed("streams")})`)
  const forget = writePrepared(`DELETE FROM ${marks} WHERE ${ofKey} AND stream IN (
  SELECT stream FROM ${marks} WHERE ${ofKey} AND position <= ${settled}${spec.skipLocked}
)`)
  return {
    /** A row if the events before those of an append were handled, and the append's own are handled with it. */
    claim: ({ name, version }: Key, { last, nested, ordered, previous, stream, timeout }: InlineClaim) =>
      claim({
        name,
        version,
        stream,
        last,
        previous: Option.getOrNull(previous),
        ordered: ordered ? 1 : 0,
        // the handler may work between two statements; a transaction of the caller has its own limit
        idle: nested ? null : idle(timeout + 1_000)
      }),
    /** `stream` and `position` of those of these streams that were handled inline beyond a checkpoint. */
    marksOf: (key: Key, streams: ReadonlyArray<string>) => marksOf({ ...key, streams: spec.list(streams) }),
    /** Forgets what all checkpoints have passed, except rows that an append is just changing. */
    forget: (key: Key) => forget({ ...key })
  }
}

const parking = ({ column, names, spec, write }: Room) => {
  const parked = quoted(names.parked)
  const park = write(`INSERT INTO ${parked} (name, version, position, event_id, stream, kind, reason, parked_at)
SELECT name, version, event.position, event.event_id, event.stream, event.kind, event.reason, event.parked_at
FROM ${quoted(names.subscriptions)}, ${spec.events}
WHERE ${ofKey}
ON CONFLICT (name, version, position) DO UPDATE SET event_id = excluded.event_id, stream = excluded.stream,
  kind = excluded.kind, reason = excluded.reason, parked_at = excluded.parked_at`)
  const columns = `${column("position", "text")} AS position, ${column("event_id", "text")} AS event_id,
  ${column("stream", "text")} AS stream, ${column("kind", "text")} AS kind, ${column("reason", "text")} AS reason,
  ${column("parked_at", "bigint")} AS parked_at`
  const parkedWhere = (condition: string) =>
    write(`SELECT ${columns} FROM ${parked} WHERE ${ofKey}${condition} AND position > :after
ORDER BY ${parked}.position LIMIT :limit`)
  const parkedOfAll = parkedWhere("")
  const parkedOfOne = parkedWhere(" AND stream = :stream")
  const among = `position IN (SELECT given.value FROM ${spec.listed("positions")})`
  const count = write(`SELECT ${column("count(*)", "bigint")} AS count FROM ${parked} WHERE ${ofKey} AND ${among}`)
  const unpark = write(`DELETE FROM ${parked} WHERE ${ofKey} AND ${among}`)
  return {
    park: (key: Key, events: ReadonlyArray<ParkedEvent>) => park({ ...key, ...spec.eventValues(events) }),
    parked: (key: Key, options: ParkedOptions) =>
      options.stream === undefined ? parkedOfAll({ ...key, ...options }) : parkedOfOne({ ...key, ...options }),
    /** One row with `count`: how many of these are parked. */
    countParked: (key: Key, positions: ReadonlyArray<Position.Position>) =>
      count({ ...key, positions: spec.list(positions) }),
    unpark: (key: Key, positions: ReadonlyArray<Position.Position>) =>
      unpark({ ...key, positions: spec.list(positions) })
  }
}

export interface ParkedOptions {
  readonly after: Position.Position
  readonly limit: number
  readonly stream?: string | undefined
}

const locks = ({ column, names, spec, write, writePrepared }: Room) => {
  const subscriptions = quoted(names.subscriptions)
  const checkpoints = quoted(names.checkpoints)
  const { isOneOf, now } = spec
  const columns = `${column("version", "integer")} AS version, ${column("wanted", "integer")} AS wanted,
  ${column(flag("active"), "integer")} AS active`
  const lockNamed = write(spec.lockVersions(columns, "name = :name"))
  const lockKeys = write(spec.lockVersions(columns, isOneOf))
  const lockPartitions = write(
    `SELECT ${column("position", "text")} AS position, ${column("handled", "bigint")} AS handled,
  ${column("epoch", "bigint")} AS epoch, ${column(flag("stopped_at IS NOT NULL"), "integer")} AS stopped,
  ${column(flag(`owner IS NOT NULL AND lease_until > ${now}`), "integer")} AS leased
FROM ${checkpoints} WHERE ${isOneOf}
ORDER BY ${checkpoints}.name, ${checkpoints}.version, ${checkpoints}.part${spec.forUpdate}`
  )
  const holds = writePrepared(`SELECT ${column("name", "text")} AS name, ${column("version", "integer")} AS version,
  ${column("part", "integer")} AS part, ${column("position", "text")} AS position,
  ${column("stopped_at", "bigint")} AS stopped_at, ${
    column(`CASE WHEN hold_until > ${now} THEN hold END`, "text")
  } AS hold, ${column(`COALESCE(hold_until - ${now}, 0)`, "bigint")} AS hold_left
FROM ${checkpoints} WHERE ${isOneOf}`)
  // the row may have changed while its lock was waited for: the position is that of the row as it is then
  const lowest = "CASE WHEN position > :at THEN position ELSE CAST(:at AS text) END"
  const until = `${now} + CAST(:ttl AS bigint)`
  const hold = write(`UPDATE ${checkpoints}
SET hold = CASE WHEN hold_until > ${now} AND hold > ${lowest} THEN hold ELSE ${lowest} END,
  hold_until = CASE WHEN hold_until > ${until} THEN hold_until ELSE ${until} END${from(spec.briefly)}
WHERE ${ofPart} RETURNING ${column("hold", "text")} AS hold`)
  const endHold = write(`UPDATE ${checkpoints} SET hold = NULL, hold_until = NULL WHERE ${isOneOf}`)
  const deactivate = write(`UPDATE ${subscriptions} SET active = FALSE WHERE name = :name AND active`)
  const activate = write(`UPDATE ${subscriptions} SET active = TRUE WHERE ${ofKey}`)
  return {
    /** `version`, `wanted` and `active` of all versions of a name. */
    lockNamed: (name: string) => lockNamed({ name }),
    /** The same columns, for some versions. */
    lockKeys: (keys: ReadonlyArray<Key>) => lockKeys(spec.keys(keys)),
    /** `position`, `handled`, `epoch`, `stopped` and `leased` of their partitions. */
    lockPartitions: (keys: ReadonlyArray<Key>) => lockPartitions(spec.keys(keys)),
    /** `name`, `version`, `part`, `position`, `stopped_at`, `hold` and `hold_left` of partitions, which are not locked. */
    holds: (keys: ReadonlyArray<Key>) => holds(spec.keys(keys)),
    /** Holds one partition. A row with `hold`, which is not lower than it was, nor than the checkpoint. */
    hold: ({ index, name, version }: Key & { readonly index: number }, at: Position.Position, ttl: number) =>
      hold({ name, version, index, at, ttl }),
    endHold: (keys: ReadonlyArray<Key>) => endHold(spec.keys(keys)),
    /** Makes a version the active one of its name. */
    activate: (key: Key): ReadonlyArray<Query> => [deactivate({ name: key.name }), activate({ ...key })]
  }
}
