// The events of the feed for people who look for a fault: those that do not decode are among them.
import * as Effect from "effect/Effect"
import * as EventStore from "../../EventStore.js"
import type { Position } from "../../Position.js"
import type { Stored } from "./eventRow.js"

/**
 * Gives each event up to the end of the feed to a function. Returns the position to go on after. It is a loop, because a
 * recursion would keep all pages in memory.
 */
export const forEach = <R>(
  { after, ...filter }: EventStore.ReadPageOptions & { readonly after: Position },
  use: (event: Stored) => Effect.Effect<void, never, R>
): Effect.Effect<Position, EventStore.EventStoreError, EventStore.EventStore | R> =>
  Effect.gen(function*() {
    const { readPage } = yield* EventStore.EventStore
    let position = after
    let atEnd = false
    while (!atEnd) {
      const page = yield* readPage({ ...filter, after: position })
      yield* Effect.forEach(page.events, use, { discard: true })
      position = page.settled
      atEnd = page.atEnd
    }
    return position
  })
