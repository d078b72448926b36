// Delivers the events of a projection: its handler writes in the transaction that advances the checkpoint.
import * as Arr from "effect/Array"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import { advance } from "./advancing.js"
import type { Item } from "./definition.js"
import { followingOf, streamsToCheck } from "./following.js"
import { within } from "./handlerTimeout.js"
import type { Deliver, Site } from "./worker.js"

export const make = <E, Err, R>(
  handle: (events: Arr.NonEmptyReadonlyArray<E>) => Effect.Effect<unknown, Err, R>
): Deliver<E, R> =>
(site, lease, { items, to }) => {
  const { options } = site
  const { timeout, ttl } = options
  const streams = streamsToCheck(options, items)
  return advance(site, lease, { to, handled: items.length, ttl, streams }, (parked) => {
    const [sound, following] = Arr.partition(items, ({ stream }) => parked.has(stream))
    const events = Arr.filterMap(sound, ({ event }) => Either.getRight(event))
    const handled = Arr.isNonEmptyReadonlyArray(events)
      ? within(Effect.suspend(() => handle(events)), timeout)
      : Effect.void
    return following.length === 0 ? handled : Effect.zipRight(handled, parkAll(site, following))
  })
}

const parkAll = ({ checkpoints, key }: Site, following: ReadonlyArray<Item<unknown>>) =>
  Effect.clockWith((clock) => {
    const time = Math.trunc(clock.unsafeCurrentTimeMillis())
    return checkpoints.park(key, following.map((item) => followingOf(item, time)))
  })
