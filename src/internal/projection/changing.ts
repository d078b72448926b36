// When a process holds the partitions of a subscription, so that their number can change. Pure.
//
// One process does it for all: the owner of the first partition that has one. It looks often at first, and then seldom.
//
// All partitions have to reach the same position, and the first ones wait for the last one. A partition whose next event
// fails again and again, for a reason that passes, would let them wait without end. So a process lets them go when none has
// moved for a while, and waits for four times as long, until the next try. Each try lasts twice as long as the one before.
import * as Option from "effect/Option"
import type { Attendance, PartitionState } from "./model.js"

export interface Change {
  /** Where the partitions were at the last look. */
  readonly positions: string
  /** When one of them moved last, or when the try began. Milliseconds. */
  readonly moved: number
  /** For how long none has to move until the try ends. */
  readonly patience: number
  /** No partition is held before that. */
  readonly next: number
  /** The number of looks at partitions that are held. */
  readonly looks: number
}

/** Whether a process holds the partitions, and changes their number, for all of them. */
export const isDriver = ({ partitions }: Attendance, owner: string): boolean => {
  const first = partitions.find((partition) => Option.isSome(partition.owner))
  return first === undefined || Option.contains(first.owner, owner)
}

/** The milliseconds until the next look at partitions that are held. `chance` is between 0 and 1. */
export const delay = ({ looks }: Change, ttl: number, chance: number): number =>
  Math.min(20 * 2 ** Math.min(looks, 10), 250, ttl / 3) * (1 + chance) / 2

/** Begins the first try. */
export const begin = (now: number, ttl: number): Change => ({
  positions: "",
  moved: now,
  patience: 2 * ttl,
  next: now,
  looks: 0
})

/** Whether to hold the partitions until the next look. */
export const look = (
  change: Change,
  partitions: ReadonlyArray<Pick<PartitionState, "position" | "hold">>,
  now: number
): readonly [isHolding: boolean, change: Change] => {
  const positions = partitions.map(({ position }) => position).join()
  if (now < change.next) {
    // other processes end their tries at the same time as this one
    const isHeld = partitions.some(({ hold }) => Option.isSome(hold))
    const next = isHeld ? Math.max(change.next, now + rest * change.patience / 2) : change.next
    return [false, { ...change, positions, moved: next, next }]
  }
  const moved = positions === change.positions ? change.moved : now
  if (now - moved < change.patience) return [true, { ...change, positions, moved, looks: change.looks + 1 }]
  const next = now + rest * change.patience
  return [false, { positions, moved: next, patience: Math.min(change.patience * 2, longest), next, looks: 0 }]
}

/** How many times as long as a try the rest after it is. */
const rest = 4

/** More than the time limit of a handler, by default. */
const longest = 60_000
