import * as Effect from "effect/Effect"
import * as FiberRef from "effect/FiberRef"
import type * as StreamId from "../../StreamId.js"

/** One change of streams at a time. There is no way back: what a change has done before it failed stays. */
export const make = () => {
  const { withPermits } = Effect.unsafeMakeSemaphore(1)
  const isInside = FiberRef.unsafeMake(false)
  return <A, E>(_: StreamId.StreamId, effect: Effect.Effect<A, E>): Effect.Effect<A, E> =>
    Effect.flatMap(
      FiberRef.get(isInside),
      (inside) => inside ? effect : withPermits(1)(Effect.uninterruptible(Effect.locally(effect, isInside, true)))
    )
}
