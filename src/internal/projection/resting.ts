// Waits at the end of the feed, with delays that double. A ring of an append ends the wait. Partitions of one process that
// wait for a while share their looks: see lookout.ts.
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Position from "../../Position.js"
import { elapsedMillis } from "../elapsed.js"
import { type Site, unlessClosing } from "./worker.js"

/** How a partition waits. Times are in elapsed milliseconds. */
export interface Resting {
  /** How often the page was empty, or failed, since the last event. */
  idle: number
  /** How often events had been appended at the last look. */
  rings: number
  /** When the last look began. */
  looked: number
  /** The longest time from that look to the next one. */
  delay: number
}

export const make = (now: number): Resting => ({ idle: 0, rings: 0, looked: now, delay: 0 })

/** Whether another partition of this process has looked since, and found nothing that this one does not have. */
export const isQuiet = (
  { appended, lookout }: Site,
  resting: Resting,
  position: Position.Position
): Effect.Effect<boolean> =>
  resting.idle === 0 || appended.count() > resting.rings ? Effect.succeed(false) : Effect.gen(function*() {
    const since = (yield* elapsedMillis) - resting.delay
    const at = yield* lookout.quietAt(position, since)
    // its own look was before the delay
    if (at === undefined || at <= resting.looked) return false
    resting.looked = at
    return true
  })

/** Waits after a page that had events, or had none, or after a look of another partition. */
export const wait = (
  site: Site,
  resting: Resting,
  after: "Events" | "Nothing" | "Look"
): Effect.Effect<void> =>
  Effect.flatMap(elapsedMillis, (now) => {
    const { appended, options } = site
    const { rings } = resting
    // the first looks come soon, because an append may not be settled yet when it rings
    resting.idle = after === "Events" || appended.count() > rings ? 0 : resting.idle + 1
    resting.delay = Math.min(
      5 * 2 ** Math.min(resting.idle, 12),
      Duration.toMillis(options.maxDelay),
      options.ttl / 3
    )
    const delay = after === "Look" ? Math.max(0, resting.looked + resting.delay - now) : resting.delay
    // a command that has appended answers first: on SQLite a batch keeps the event loop
    const wait = Effect.zipLeft(appended.wait(rings, delay), Effect.zipRight(Effect.yieldNow(), Effect.yieldNow()))
    return options.rest === 0 ? wait : Effect.zipRight(unlessClosing(site, Effect.sleep(options.rest)), wait)
  })
