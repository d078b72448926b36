// Delivers the events of a projection: its handler writes in the transaction that advances the checkpoint.
import * as Arr from "effect/Array"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import type { Item } from "./definition.js"
import { within } from "./handlerTimeout.js"
import type { ParkedEvent } from "./model.js"
import type { Deliver } from "./worker.js"

export const make = <E, Err, R>(
  handle: (events: Arr.NonEmptyReadonlyArray<E>) => Effect.Effect<unknown, Err, R>
): Deliver<E, R> =>
({ checkpoints, key, options }, lease, { items, to }) => {
  const { poison, timeout, ttl } = options
  const streams = poison === "parkStream" ? Arr.dedupe(items.map(({ stream }) => stream)) : []
  return checkpoints.advance(lease, { to, handled: items.length, ttl, streams }, (parked) => {
    const [sound, following] = Arr.partition(items, ({ stream }) => parked.has(stream))
    const events = Arr.filterMap(sound, ({ event }) => Either.getRight(event))
    const handled = Arr.isNonEmptyReadonlyArray(events)
      ? within(Effect.suspend(() => handle(events)), timeout)
      : Effect.void
    return following.length === 0 ? handled : Effect.zipRight(handled, parkAll(following))
  })

  function parkAll(following: ReadonlyArray<Item<E>>) {
    return Effect.clockWith((clock) =>
      checkpoints.park(key, following.map((item) => followingOf(item, Math.trunc(clock.unsafeCurrentTimeMillis()))))
    )
  }
}

/** An event that is parked because an earlier one of its stream is. */
export const followingOf = ({ id, position, stream }: Item<unknown>, time: number): ParkedEvent => ({
  position,
  eventId: id,
  stream,
  reason: "an earlier event of its stream is parked",
  kind: "Following",
  time
})
