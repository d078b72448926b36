import * as Effect from "effect/Effect"
import type * as StreamId from "../../StreamId.js"
import type * as Counters from "../counters.js"

/** Asks for a background snapshot of a stream. */
export interface Request {
  readonly stream: StreamId.StreamId
  /** Replaces a waiting request of its stream and kind at most this high. `Infinity` makes any other unnecessary. */
  readonly version: number
  /**
   * Whether the version may never be committed, as inside an open transaction. Tentative requests are a kind of their own:
   * they wait beside those that are known to be due, and are saved after them. Default false.
   */
  readonly tentative?: boolean | undefined
  /** Takes the snapshot, or returns `false` if none is due. A call of `heartbeat` starts the timeout anew. */
  readonly save: (heartbeat: () => void) => Effect.Effect<unknown, unknown>
}

/** The requests of one stream: at most one of each kind, the tentative one last. */
export type Slot = readonly [Request, ...ReadonlyArray<Request>]

/** The queue: a stream is in one of the three maps, or in `active` and `behind`. It is never searched. */
export interface Slots {
  readonly capacity: number
  readonly saves: Counters.Saves
  readonly ready: Map<string, Slot>
  /** The requests for streams that are being saved. */
  readonly behind: Map<string, Slot>
  readonly active: Map<string, Slot>
  /** The streams with a save that still runs although no worker waits for it any more. */
  readonly abandoned: Set<string>
  /** The tries that have not ended. */
  readonly running: Map<string, Request>
  /** Open while no try runs. */
  readonly quiet: Effect.Latch
  /** Open while a slot is ready. */
  readonly work: Effect.Latch
  /** Open while nothing is pending. */
  readonly idle: Effect.Latch
  /** Open after a request was dropped, until that is logged. */
  readonly overflow: Effect.Latch
  open: boolean
  /** How many of the pending streams the gauge shows. */
  counted: number
  /** How many requests were dropped since the last log line. */
  dropped: number
}

export const make = (capacity: number, saves: Counters.Saves): Slots => ({
  capacity,
  saves,
  ready: new Map(),
  behind: new Map(),
  active: new Map(),
  abandoned: new Set(),
  running: new Map(),
  quiet: Effect.unsafeMakeLatch(true),
  work: Effect.unsafeMakeLatch(false),
  idle: Effect.unsafeMakeLatch(true),
  overflow: Effect.unsafeMakeLatch(false),
  open: true,
  counted: 0,
  dropped: 0
})

export const keyOf = ({ aggregate, id }: StreamId.StreamId): string => JSON.stringify([aggregate, id])

export const waiting = (slots: Slots): number => slots.ready.size + slots.behind.size

export const pending = (slots: Slots): number => waiting(slots) + slots.active.size - slots.abandoned.size

/** Adds a request. Returns false if the request was dropped. */
export const offer = (slots: Slots, request: Request): boolean => {
  const key = keyOf(request.stream)
  const queue = slots.active.has(key) ? slots.behind : slots.ready
  const current = queue.get(key)
  const isFull = current === undefined && waiting(slots) + slots.abandoned.size >= slots.capacity
  if (!slots.open || slots.abandoned.has(key) || isFull) {
    drop(slots)
    return false
  }
  // a stream that is asked for again keeps its place
  queue.set(key, merge(current, request))
  update(slots)
  return true
}

/** Takes the slot that is ready for the longest time. */
export const take = (slots: Slots): Slot | undefined => {
  for (const [key, slot] of slots.ready) {
    slots.ready.delete(key)
    slots.active.set(key, slot)
    update(slots)
    return slot
  }
  return undefined
}

export const start = ({ quiet, running }: Slots, key: string, request: Request): void => {
  running.set(key, request)
  quiet.unsafeClose()
}

export const end = (slots: Slots, key: string): void => {
  slots.running.delete(key)
  if (slots.running.size === 0) slots.quiet.unsafeOpen()
  if (slots.abandoned.has(key)) free(slots, key)
}

/** Ends the turn of a stream. A try that hangs keeps it, and requests are dropped until the try ends. */
export const release = (slots: Slots, key: string): void => {
  if (!slots.running.has(key)) return free(slots, key)
  slots.abandoned.add(key)
  if (slots.behind.delete(key)) drop(slots)
  update(slots)
}

const free = (slots: Slots, key: string): void => {
  slots.active.delete(key)
  slots.abandoned.delete(key)
  const next = slots.behind.get(key)
  if (next !== undefined) {
    slots.behind.delete(key)
    slots.ready.set(key, next)
  }
  update(slots)
}

/** Drops all requests that wait. */
export const clear = (slots: Slots): void => {
  slots.ready.clear()
  slots.behind.clear()
  update(slots)
}

const update = (slots: Slots): void => {
  const now = pending(slots)
  slots.saves.pending(now - slots.counted)
  slots.counted = now
  if (now === 0) slots.idle.unsafeOpen()
  else slots.idle.unsafeClose()
  if (slots.ready.size > 0) slots.work.unsafeOpen()
  else slots.work.unsafeClose()
}

const drop = (slots: Slots): void => {
  slots.saves.dropped()
  slots.dropped++
  slots.overflow.unsafeOpen()
}

const merge = (slot: Slot | undefined, request: Request): Slot => {
  if (slot === undefined) return [request]
  const tentative = request.tentative === true
  const same = slot.find((waiting) => (waiting.tentative === true) === tentative)
  const other = slot.find((waiting) => waiting !== same)
  const latest = same === undefined || request.version >= same.version ? request : same
  return other === undefined ? [latest] : tentative ? [other, latest] : [latest, other]
}
