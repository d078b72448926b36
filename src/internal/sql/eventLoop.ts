import * as Context from "effect/Context"

/** Milliseconds of work after which timers and sockets get a turn: fibers on SQLite never wait for the event loop. */
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
  /** Milliseconds, to measure how long something took. */
  readonly now: () => number
  /** Calls back when the callbacks of all sockets that are ready have run. */
  readonly afterSockets: (callback: () => void) => void
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
  },
  now: () => performance.now(),
  afterSockets: nextTurn
}

/** The event loop of a SQLite client. A simulation runs in one turn, and gives one that is never overdue. */
export class EventLoop extends Context.Reference<EventLoop>()("effect-eventsourcing/internal/EventLoop", {
  defaultValue: () => real
}) {}
