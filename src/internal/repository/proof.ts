import * as Effect from "effect/Effect"
import type * as EventStore from "../../EventStore.js"
import type * as StreamId from "../../StreamId.js"

/** The event that stands at a version. Without an id (`null`) the version alone decides. */
export interface Place {
  readonly version: number
  readonly eventId: string | null
}

/** Tells whether a page that was read from `place.version` on begins with its event. If not, the history changed. */
export const holds = (page: ReadonlyArray<EventStore.TailEvent>, { eventId, version }: Place): boolean => {
  const [first] = page
  return first?.version === version && (eventId === null || first.eventId === eventId)
}

/** Asks the store whether a stream holds an event. */
export const stands = (
  events: EventStore.ReplaySeam,
  place: Place & { readonly stream: StreamId.StreamId }
): Effect.Effect<boolean, EventStore.EventStoreError> =>
  Effect.map(
    Effect.suspend(() => events.readTail(place.stream, { fromVersion: place.version, limit: 1 })),
    (page) => holds(page, place)
  )
