// Delivers the events of a projection: its handler writes in the transaction that advances the checkpoint. Events that were
// handled in the transaction of their append are left out.
import * as Arr from "effect/Array"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import { elapsedMillis } from "../elapsed.js"
import { advance } from "./advancing.js"
import type { Item } from "./definition.js"
import { followingOf, streamsToCheck } from "./following.js"
import { within } from "./handlerTimeout.js"
import * as Inline from "./inline.js"
import type { Deliver, Site } from "./worker.js"

export const make = <E, R>(handle: Inline.Handle<E, R>): Deliver<E, R> => (site, lease, { items, to }) => {
  const { options } = site
  const { timeout, ttl } = options
  const streams = streamsToCheck(options, items)
  let mayForget = false
  let begun = 0
  const handleSome = (items: ReadonlyArray<Item<E>>, parked: ReadonlySet<string>) => {
    // the text of a stream is made only where it is needed
    const [sound, following] = parked.size === 0
      ? [items, []]
      : Arr.partition(items, ({ stream }) => parked.has(stream))
    const events = Arr.filterMap(sound, ({ event }) => Either.getRight(event))
    const handled = Arr.isNonEmptyReadonlyArray(events)
      ? within(Effect.suspend(() => handle(events)), timeout)
      : Effect.void
    return following.length === 0 ? handled : Effect.zipRight(handled, parkAll(site, following))
  }
  const advanced = advance(site, lease, { to, handled: items.length, ttl, streams }, (parked, someInline) => {
    mayForget = someInline
    const handled = someInline
      ? Effect.flatMap(Inline.without(site, items), (left) => handleSome(left, parked))
      : handleSome(items, parked)
    return Effect.flatMap(elapsedMillis, (now) => {
      begun = now
      return handled
    })
  })
  return Effect.map(
    Effect.tap(advanced, () => mayForget ? Inline.forget(site) : Effect.void),
    (delivered) => delivered._tag === "Held" ? delivered : { ...delivered, begun }
  )
}

const parkAll = ({ checkpoints, key }: Site, following: ReadonlyArray<Item<unknown>>) =>
  Effect.clockWith((clock) => {
    const time = Math.trunc(clock.unsafeCurrentTimeMillis())
    return checkpoints.park(key, following.map((item) => followingOf(item, time)))
  })
