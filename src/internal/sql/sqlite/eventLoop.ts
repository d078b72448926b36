import * as Context from "effect/Context"

/**
 * Milliseconds of continuous work after which timers and sockets get their turn. Statements of SQLite are synchronous and
 * fibers go on in microtasks: thousands of commands would otherwise hold the event loop for seconds.
 */
const longest = 20

// taken when the module is loaded: a test may replace the timers later
const nextTurn: (callback: () => void) => unknown = globalThis.setImmediate ?? ((callback) => setTimeout(callback, 0))
const { performance } = globalThis

const waiting = new Set<() => void>()
let since: number | undefined

interface Shape {
  /** Whether the work of this turn of the event loop has lasted long enough. The first caller of a turn starts its time. */
  readonly isOverdue: () => boolean
  /** Calls back in the next turn of the event loop, once for each callback. Only after `isOverdue` was true. */
  readonly afterwards: (callback: () => void) => void
}

const isOverdue = (): boolean => {
  if (since !== undefined) return performance.now() - since > longest
  since = performance.now()
  nextTurn(() => {
    since = undefined
    const callbacks = Array.from(waiting)
    waiting.clear()
    for (const callback of callbacks) callback()
  })
  return false
}

/** @internal */
export const real: Shape = {
  isOverdue,
  afterwards: (callback) => {
    waiting.add(callback)
  }
}

/**
 * The event loop that a SQLite client lets go of, read when its layer is built. A simulation runs whole programs in one turn
 * of it, and gives one that is never overdue.
 *
 * @internal
 */
export class EventLoop extends Context.Reference<EventLoop>()("effect-eventsourcing/internal/EventLoop", {
  defaultValue: () => real
}) {}
