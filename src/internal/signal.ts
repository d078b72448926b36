// Wakes fibers that wait for something to happen in this process.
import * as Deferred from "effect/Deferred"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as FiberId from "effect/FiberId"

/** A signal that counts its rings, so that one which rang between a look and a wait is not missed. */
export interface Signal {
  readonly ring: () => void
  /** The number of rings so far. */
  readonly count: () => number
  /** Waits until the signal has rung more often than `count` times, but no longer than `atMost`. */
  readonly wait: (count: number, atMost: Duration.DurationInput) => Effect.Effect<void>
}

export const make = (): Signal => {
  let rings = 0
  const waiting = new Set<() => void>()
  return {
    ring: () => {
      rings += 1
      const woken = Array.from(waiting)
      waiting.clear()
      for (const wake of woken) wake()
    },
    count: () => rings,
    wait: (count, atMost) =>
      Effect.suspend(() => {
        if (rings > count) return Effect.void
        // registered at once: the fibers of a race begin later, and would miss a ring until then
        const rung = Deferred.unsafeMake<void>(FiberId.none)
        const wake = () => Deferred.unsafeDone(rung, Effect.void)
        waiting.add(wake)
        return Effect.ensuring(
          Effect.raceFirst(Deferred.await(rung), Effect.sleep(atMost)),
          Effect.sync(() => waiting.delete(wake))
        )
      })
  }
}
