import * as Context from "effect/Context"

/**
 * Milliseconds of continuous work after which timers and sockets get their turn. Statements of SQLite are synchronous, and
 * fibers continue in microtasks, so that thousands of commands would hold the event loop for seconds.
 */
const longest = 20

// read when the module is loaded: a test may replace the timers later
const nextTurn: (callback: () => void) => unknown = globalThis.setImmediate ?? ((callback) => setTimeout(callback, 0))
const { performance } = globalThis

const waiting = new Set<() => void>()
let since: number | undefined

interface Shape {
  /** Whether this turn of the event loop has lasted too long. The first call of a turn starts its time. */
  readonly isOverdue: () => boolean
  /** Calls back once in the next turn of the event loop. Only after `isOverdue` was true. */
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

export const real: Shape = {
  isOverdue,
  afterwards: (callback) => {
    waiting.add(callback)
  }
}

/**
 * The event loop as a SQLite client sees it, read when its layer is built. A simulation runs whole programs in one turn, and
 * gives an event loop that is never overdue.
 */
export class EventLoop extends Context.Reference<EventLoop>()("effect-eventsourcing/internal/EventLoop", {
  defaultValue: () => real
}) {}
