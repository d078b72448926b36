// Finds events of a stream in memory. They are in the order of their versions, perhaps with gaps.
// Costs a binary search.
import type * as Event from "../../Event.js"
import { search } from "./memorySearch.js"

export const headOf = (events: ReadonlyArray<Event.EncodedRecord>): number => events.at(-1)?.version ?? 0

/** The index of the first event of a stream from a version on. */
export const indexOf = (events: ReadonlyArray<Event.EncodedRecord>, version: number): number =>
  search(events, (event) => event.version >= version)

export const eventAt = (
  events: ReadonlyArray<Event.EncodedRecord>,
  version: number
): Event.EncodedRecord | undefined => {
  const found = events.at(indexOf(events, version))
  return found?.version === version ? found : undefined
}
