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

/** The smallest number of partitions that a process has. */
const fewestOf = ({ members }: Attendance, owned: ReadonlyMap<string, number>): number =>
  members > owned.size ? 0 : Math.min(...owned.values())

/**
 * The free partitions that a process may take now. It leaves them to processes that have fewer than itself, unless it
 * is `impatient`, because those have not taken them for a while.
 */
export const toTake = (
  attendance: Attendance,
  owner: string,
  isImpatient: boolean
): ReadonlyArray<number> => {
  const owned = counts(attendance)
  const mine = owned.get(owner) ?? 0
  const most = Math.ceil(attendance.partitions.length / Math.max(attendance.members, 1))
  const mayTake = mine <= fewestOf(attendance, owned) || (isImpatient && mine < most)
  return mayTake ? free(attendance) : []
}

/** The partitions that have no owner and are not stopped. */
export const free = ({ partitions }: Attendance): ReadonlyArray<number> =>
  partitions
    .filter((partition) => ownerOf(partition) === undefined && Option.isNone(partition.stopped))
    .map(({ index }) => index)

/** The partition that a process gives back because another process has too few, or `undefined`. */
export const toGiveBack = (attendance: Attendance, owner: string): number | undefined => {
  const owned = counts(attendance)
  const mine = owned.get(owner) ?? 0
  // the process with most partitions gives back: of two with as many, the one whose name comes last
  const isLargest = Array.from(owned).every(([other, size]) => size < mine || (size === mine && other <= owner))
  const isUneven = mine > fewestOf(attendance, owned) + 1
  // a free partition is for the process that has too few
  return isLargest && isUneven && free(attendance).length === 0
    ? attendance.partitions.filter((partition) => ownerOf(partition) === owner).at(-1)?.index
    : undefined
}
