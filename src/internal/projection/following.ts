// Events that are parked because an earlier event of their stream is.
import * as Arr from "effect/Array"
import type { Item } from "./definition.js"
import type { ParkedEvent } from "./model.js"
import type { Options } from "./worker.js"

/** The streams of events for which it matters whether events of them are parked. */
export const streamsToCheck = (
  { poison }: Pick<Options, "poison">,
  items: ReadonlyArray<Item<unknown>>
): ReadonlyArray<string> => poison === "parkStream" ? Arr.dedupe(items.map(({ stream }) => stream)) : []

/** An event that is parked because an earlier one of its stream is. */
export const followingOf = ({ id, position, stream }: Item<unknown>, time: number): ParkedEvent => ({
  position,
  eventId: id,
  stream,
  reason: "an earlier event of its stream is parked",
  kind: "Following",
  time
})
