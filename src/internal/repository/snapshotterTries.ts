import * as Cause from "effect/Cause"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import type * as Option from "effect/Option"
import * as Slots from "./snapshotterSlots.js"

/**
 * The tries of a snapshotter that have not ended.
 *
 * @internal
 */
export interface Tries {
  readonly running: Map<string, Slots.Request>
  /** Open while no try runs. */
  readonly quiet: Effect.Latch
  readonly timeout: Duration.DurationInput
}

/** @internal */
export const make = (timeout: Duration.DurationInput): Tries => ({
  running: new Map(),
  quiet: Effect.unsafeMakeLatch(true),
  timeout
})

/**
 * Tries a save once. The try is a fiber of its own: a save that cannot be interrupted delays neither the worker nor the
 * closing of the scope. After the timeout without a heartbeat the try is interrupted, and has as much time to end.
 *
 * @internal
 */
export const attempt = (
  { quiet, running, timeout }: Tries,
  slots: Slots.Slots,
  key: string,
  request: Slots.Request
): Effect.Effect<unknown, unknown> =>
  Effect.uninterruptibleMask((restore) => {
    if (running.has(key)) return new Cause.TimeoutException("the save before it goes on")
    let progress = false
    const save = Effect.suspend(() =>
      request.save(() => {
        progress = true
      })
    )
    return Effect.flatMap(Effect.forkDaemon(Effect.interruptible(save)), (fiber) => {
      running.set(key, request)
      quiet.unsafeClose()
      fiber.addObserver(() => {
        running.delete(key)
        if (running.size === 0) quiet.unsafeOpen()
        if (slots.abandoned.has(key)) Slots.free(slots, key)
      })
      const ended = Effect.timeoutOption(Fiber.await(fiber), timeout)
      const inTime: Effect.Effect<Option.Option<Exit.Exit<unknown, unknown>>> = Effect.suspend(() => {
        progress = false
        return Effect.flatMap(ended, (exit) => exit._tag === "None" && progress ? inTime : Effect.succeed(exit))
      })
      const result = Effect.flatMap(inTime, (exit) =>
        exit._tag === "Some" ? exit.value : Fiber.interruptFork(fiber).pipe(
          Effect.zipRight(ended),
          Effect.zipRight(new Cause.TimeoutException("the save took too long"))
        ))
      return Effect.onInterrupt(restore(result), () => Fiber.interruptFork(fiber))
    })
  })

/**
 * Ends the turn of a stream. A try that still runs keeps its stream.
 *
 * @internal
 */
export const release = ({ running }: Tries, slots: Slots.Slots, key: string): void =>
  running.has(key) ? Slots.abandon(slots, key) : Slots.free(slots, key)
