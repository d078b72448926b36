import type * as Event from "../../Event.js"

/** The index of the first record with a property that all later ones have too. */
export const search = (
  records: ReadonlyArray<Event.EncodedRecord>,
  isAfter: (record: Event.EncodedRecord) => boolean
): number => {
  let low = 0
  let high = records.length
  while (low < high) {
    const middle = (low + high) >>> 1
    if (isAfter(records[middle])) high = middle
    else low = middle + 1
  }
  return low
}
