import * as Effect from "effect/Effect"

/**
 * Runs what has the same key one after the other.
 *
 * @internal
 */
export const inTurn = (): <A, E, R>(key: object, effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R> => {
  const permits = new WeakMap<object, Effect.Semaphore>()
  return (key, effect) => {
    const permit = permits.get(key) ?? Effect.unsafeMakeSemaphore(1)
    permits.set(key, permit)
    return permit.withPermits(1)(effect)
  }
}
