import * as Option from "effect/Option"
import * as Position from "../../Position.js"
import type { Held } from "../projection/holding.js"
import type { Attendance, Key, ParkedEvent, PartitionState, Registered, Registration } from "../projection/model.js"
import * as Row from "./row.js"

export const position = ({ position }: Row.Row): Position.Position => read(Row.text(position))

// the text is that of a position that was checked before it was stored
const read = (text: string): Position.Position => Position.Position.make(text, { disableValidation: true })

const optional = (column: unknown): Option.Option<string> => Option.fromNullable(Row.textOrNull(column))

export const partition = (row: Row.Row): PartitionState => ({
  index: Row.number(row.part),
  of: Row.number(row.parts),
  position: position(row),
  handled: Row.number(row.handled),
  owner: optional(row.owner),
  epoch: Row.number(row.epoch),
  stopped: row.stopped_at === null ? Option.none() : Option.some({
    position: Option.map(optional(row.stopped_position), read),
    reason: Row.text(row.stopped_reason),
    time: Row.number(row.stopped_at)
  }),
  hold: hold(row)
})

export const hold = ({ hold }: Row.Row): Option.Option<Position.Position> => Option.map(optional(hold), read)

export const attendance = (rows: ReadonlyArray<Row.Row>): Attendance => ({
  members: rows.length === 0 ? 0 : Row.number(rows[0].members),
  wanted: rows.length === 0 ? 0 : Row.number(rows[0].wanted),
  partitions: rows.map(partition)
})

export const flag = (column: unknown): boolean => Row.number(column) === 1

export const version = (row: Row.Row) => ({
  version: Row.number(row.version),
  kind: kind(row),
  definition: Row.text(row.definition),
  wanted: Row.number(row.wanted)
})

const kind = (row: Row.Row): Registration["kind"] => row.kind === "Subscription" ? "Subscription" : "Projection"

export const lockedVersion = (row: Row.Row) => ({
  version: Row.number(row.version),
  wanted: Row.number(row.wanted),
  active: flag(row.active)
})

export interface HeldPartition extends Held, Key {
  readonly index: number
  readonly stopped: boolean
}

export const heldPartition = (row: Row.Row): HeldPartition => ({
  name: Row.text(row.name),
  version: Row.number(row.version),
  index: Row.number(row.part),
  position: position(row),
  stopped: row.stopped_at !== null,
  hold: hold(row),
  left: Row.number(row.hold_left)
})

export interface LockedPartition {
  readonly position: Position.Position
  readonly handled: number
  readonly epoch: number
  readonly stopped: boolean
  readonly leased: boolean
}

export const lockedPartition = (row: Row.Row): LockedPartition => ({
  position: position(row),
  handled: Row.number(row.handled),
  epoch: Row.number(row.epoch),
  stopped: flag(row.stopped),
  leased: flag(row.leased)
})

/** The versions in rows with a partition each, where those of a version follow each other. */
export const registered = (rows: ReadonlyArray<Row.Row>): ReadonlyArray<Registered> => {
  const found: Array<Registered & { readonly partitions: Array<PartitionState> }> = []
  for (const row of rows) {
    const name = Row.text(row.name)
    const version = Row.number(row.version)
    let last = found.at(-1)
    if (last === undefined || last.name !== name || last.version !== version) {
      last = {
        name,
        version,
        kind: kind(row),
        active: flag(row.active),
        members: Row.number(row.members),
        parked: Row.number(row.parked),
        partitions: []
      }
      found.push(last)
    }
    last.partitions.push(partition(row))
  }
  return found
}

export const parkedEvent = (row: Row.Row): ParkedEvent => ({
  position: position(row),
  eventId: Row.text(row.event_id),
  stream: Row.text(row.stream),
  kind: row.kind === "Following" ? "Following" : "Poison",
  reason: Row.text(row.reason),
  time: Row.number(row.parked_at)
})
