// Which partitions a process takes and gives back, so that all processes have a fair share. Pure.
import * as Option from "effect/Option"
import type { Attendance, PartitionState } from "./model.js"

const ownerOf = (partition: PartitionState): string | undefined => Option.getOrUndefined(partition.owner)

const counts = ({ partitions }: Attendance): ReadonlyMap<string, number> => {
  const owned = new Map<string, number>()
  for (const partition of partitions) {
    const owner = ownerOf(partition)
    if (owner !== undefined) owned.set(owner, (owned.get(owner) ?? 0) + 1)
  }
  return owned
}

/** The free partitions that a process may take now, in the order in which it tries them. */
export const toTake = (attendance: Attendance, owner: string): ReadonlyArray<number> => {
  const { members, partitions } = attendance
  const most = Math.ceil(partitions.length / Math.max(members, 1))
  const room = most - (counts(attendance).get(owner) ?? 0)
  return room <= 0 ? [] : partitions
    .filter((partition) => ownerOf(partition) === undefined && Option.isNone(partition.stopped))
    .map(({ index }) => index)
}

/** The partition that a process gives back because another process has too few, or `undefined`. */
export const toGiveBack = (attendance: Attendance, owner: string): number | undefined => {
  const { members, partitions } = attendance
  const owned = counts(attendance)
  const mine = owned.get(owner) ?? 0
  const least = Math.floor(partitions.length / Math.max(members, 1))
  const sizes = Array.from(owned.values())
  const fewest = members > owned.size ? 0 : Math.min(...sizes)
  // the process with most partitions gives back: of two with as many, the one whose name comes last
  const isLargest = Array.from(owned).every(([other, size]) => size < mine || (size === mine && other <= owner))
  // a free partition is taken by the process that has too few
  const isNeeded = fewest < least && mine > least && isLargest && toTake(attendance, "").length === 0
  return isNeeded
    ? partitions.filter((partition) => ownerOf(partition) === owner).at(-1)?.index
    : undefined
}
