import * as Effect from "effect/Effect"
import * as EventLoop from "./eventLoop.js"

/**
 * Lets one fiber through at a time, first come, first served. A turn passes from one fiber to the next without being free
 * in between, so that a fiber that comes again at once queues behind all others; a semaphore would let it in first.
 */
export interface Turns<out E> {
  /** Waits for the turn interruptibly, then runs the effect to its end. */
  readonly run: <A, E1>(effect: Effect.Effect<A, E1>) => Effect.Effect<A, E | E1>
  /** Waits for the turn, which the caller then has until `give`. For uninterruptible regions, with their `restore`. */
  readonly take: (restore: Restore) => Effect.Effect<void, E>
  readonly give: () => void
  /** Lets all fibers through from now on. */
  readonly finish: () => void
}

export interface Restore {
  <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R>
}

interface Waiting {
  granted: boolean
  wake: () => void
}

/** `bound` limits how long a fiber waits. */
export const make = <E>(
  bound: (waiting: Effect.Effect<void>) => Effect.Effect<void, E>,
  eventLoop: EventLoop.EventLoop["Type"] = EventLoop.real
): Turns<E> => {
  const queue = new Set<Waiting>()
  let taken = false
  let finished = false

  const next = (): void => {
    if (taken) return
    for (const first of queue) {
      if (eventLoop.isOverdue()) return eventLoop.afterwards(next)
      queue.delete(first)
      taken = true
      first.granted = true
      return first.wake()
    }
  }
  const give = (): void => {
    taken = false
    next()
  }
  const wait = (restore: Restore): Effect.Effect<void, E> => {
    const waiting: Waiting = { granted: false, wake: () => {} }
    const woken = Effect.async<void>((resume) => {
      waiting.wake = () => resume(Effect.void)
      if (finished) return resume(Effect.void)
      queue.add(waiting)
      next()
    })
    // outside the region that can be interrupted, so that a turn granted to an interrupted fiber is not lost
    return Effect.onError(restore(bound(woken)), () =>
      Effect.sync(() => {
        if (waiting.granted) give()
        else queue.delete(waiting)
      }))
  }
  const isFree = (): boolean => {
    if (finished) return true
    if (taken || queue.size > 0 || eventLoop.isOverdue()) return false
    taken = true
    return true
  }
  const finish = (): void => {
    finished = true
    for (const waiting of queue) waiting.wake()
    queue.clear()
  }
  const thenGive = <A, E1>(effect: Effect.Effect<A, E1>): Effect.Effect<A, E1> =>
    Effect.matchCauseEffect(effect, {
      onFailure: (cause) => {
        give()
        return Effect.failCause(cause)
      },
      onSuccess: (value) => {
        give()
        return Effect.succeed(value)
      }
    })

  return {
    run: (effect) =>
      Effect.uninterruptibleMask((restore) =>
        isFree() ? thenGive(effect) : Effect.flatMap(wait(restore), () => thenGive(effect))
      ),
    take: (restore) => Effect.suspend(() => isFree() ? Effect.void : wait(restore)),
    give,
    finish
  }
}

/** Runs an effect in a turn. Unlike in `run`, an interruption ends the effect. */
export const around = <A, E, E1, R>(turns: Turns<E1>, effect: Effect.Effect<A, E, R>): Effect.Effect<A, E | E1, R> =>
  Effect.uninterruptibleMask((restore) =>
    Effect.flatMap(turns.take(restore), () => Effect.ensuring(restore(effect), Effect.sync(turns.give)))
  )
