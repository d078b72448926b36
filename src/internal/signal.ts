// Wakes fibers that wait for something to happen in this process. The wait has one timer, and no race: the fibers of a race
// take longer than most of what is waited for.
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
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
      Effect.withFiberRuntime((fiber) =>
        rings > count ? Effect.void : Effect.async<void>((resume) => {
          const clock = Context.get(fiber.currentDefaultServices, Clock.Clock)
          const { currentScheduler: scheduler } = fiber
          const timer = Effect.runFork(clock.sleep(Duration.decode(atMost)), { scheduler })
          const end = () => {
            waiting.delete(wake)
            timer.unsafeInterruptAsFork(FiberId.none)
          }
          const wake = () => {
            end()
            resume(Effect.void)
          }
          waiting.add(wake)
          timer.addObserver(wake)
          return Effect.sync(end)
        })
      )
  }
}
