// Finds events by their ids: checks the ids, asks the driver in chunks, and orders the answer as the ids were asked.
// Costs one statement for each thousand ids.
import * as Effect from "effect/Effect"
import * as Event from "../../Event.js"
import type * as Position from "../../Position.js"
import type * as StreamId from "../../StreamId.js"
import { keyProblem } from "../text.js"
import type { EventStoreError } from "./eventErrors.js"

/**
 * The place of a stored event.
 *
 * @since 0.1.0
 * @category models
 */
export interface FoundEvent {
  readonly eventId: string
  readonly stream: StreamId.StreamId
  readonly version: number
  readonly position: Position.Position
}

/** Asks the driver for at most a thousand ids, all different. The answer may come in any order. */
export type Find = (eventIds: ReadonlyArray<string>) => Effect.Effect<ReadonlyArray<FoundEvent>, EventStoreError>

/** Reads the ids once, or gives a problem. */
export const input = (eventIds: ReadonlyArray<string>): ReadonlyArray<string> | string => {
  if (!Array.isArray(eventIds)) return `the event ids are ${typeof eventIds}, not an array`
  const ids: Array<string> = []
  for (const id of eventIds) {
    const problem = keyProblem(id, Event.maxIdBytes)
    if (problem !== undefined) return `event id ${ids.length + 1} of ${eventIds.length} ${problem}`
    ids.push(id)
  }
  return ids
}

export const inChunks = (
  ids: ReadonlyArray<string>,
  find: Find
): Effect.Effect<ReadonlyArray<FoundEvent>, EventStoreError> => {
  const different = Array.from(new Set(ids))
  const chunks = Array.from(
    { length: Math.ceil(different.length / chunkSize) },
    (_, index) => different.slice(index * chunkSize, (index + 1) * chunkSize)
  )
  return Effect.map(Effect.forEach(chunks, find), (found) => {
    const byId = new Map(found.flat().map((event) => [event.eventId, event]))
    return ids.flatMap((id) => byId.get(id) ?? [])
  })
}

const chunkSize = 1_000
