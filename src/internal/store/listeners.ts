// Calls functions after appends. Without a listener an append costs nothing more.
import * as Effect from "effect/Effect"

export interface Listeners {
  readonly add: (listener: () => void) => () => void
  /** Calls the listeners. */
  readonly ring: Effect.Effect<void>
  /** Calls the listeners if the effect succeeds. */
  readonly after: <A, E>(effect: Effect.Effect<A, E>) => Effect.Effect<A, E>
}

export const make = (): Listeners => {
  const listeners = new Set<{ readonly call: () => void }>()
  const ring = Effect.sync(() => {
    for (const { call } of listeners) {
      try {
        call()
      } catch {
        // the append has succeeded, whatever a listener does
      }
    }
  })
  return {
    add: (call) => {
      const listener = { call }
      listeners.add(listener)
      return () => void listeners.delete(listener)
    },
    ring,
    after: (effect) => listeners.size === 0 ? effect : Effect.tap(effect, ring)
  }
}
