// Looks at the end of the feed once for all partitions of a subscription in this process. Each page of a partition at the
// end of the feed says where that is, and a partition that is there too has nothing to read. Costs no statement.
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as FiberId from "effect/FiberId"
import type * as EventStore from "../../EventStore.js"
import type * as Position from "../../Position.js"

export interface Lookout {
  /**
   * When a look since some time began that found nothing after a position, in elapsed milliseconds. Waits for a look that is
   * under way.
   */
  readonly quietAt: (position: Position.Position, since: number) => Effect.Effect<number | undefined>
  /** Reads a page, and tells the others where the feed ended. `at` is when that begins. */
  readonly look: <E>(at: number, page: Effect.Effect<EventStore.Page, E>) => Effect.Effect<EventStore.Page, E>
}

interface End {
  readonly position: Position.Position
  /** When the look began: later events may have been appended since. */
  readonly at: number
}

export const make = (): Lookout => {
  let last: End | undefined
  let looking: Deferred.Deferred<void> | undefined

  const note = (at: number, { atEnd, settled }: EventStore.Page): void => {
    if (atEnd && (last === undefined || at >= last.at)) last = { position: settled, at }
  }
  const look: Lookout["look"] = (at, page) =>
    Effect.suspend(() => {
      const noted = Effect.tap(page, (page) => Effect.sync(() => note(at, page)))
      if (looking !== undefined) return noted
      const mine = Deferred.unsafeMake<void>(FiberId.none)
      looking = mine
      const end = Effect.sync(() => {
        looking = undefined
        Deferred.unsafeDone(mine, Effect.void)
      })
      return Effect.ensuring(noted, end)
    })
  return {
    look,
    quietAt: (position, since) =>
      Effect.map(
        Effect.suspend(() => looking === undefined ? Effect.void : Deferred.await(looking)),
        () => last !== undefined && last.at >= since && last.position === position ? last.at : undefined
      )
  }
}
