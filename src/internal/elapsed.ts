// Time that passes, for leases and durations. A clock that is set forwards or backwards does not change it.
import * as Effect from "effect/Effect"

/** The milliseconds since some moment. Only differences mean something. */
export const elapsedMillis: Effect.Effect<number> = Effect.clockWith((clock) =>
  Effect.sync(() => Number(clock.unsafeCurrentTimeNanos() / 1_000n) / 1_000)
)
