// Advances a checkpoint, and tells a store that dies from a handler that dies inside its transaction.
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Failures from "./failures.js"
import type { Advanced, AdvanceOptions, Lease } from "./model.js"
import { CheckpointStoreError, type LeaseLost } from "./storeErrors.js"
import type { Site } from "./worker.js"

/**
 * Like `advance` of the checkpoint store. If the store dies or interrupts itself, although the effect did not fail, no
 * event is to blame: the store is away, and may have committed.
 */
export const advance = <A, E, R>(
  { checkpoints }: Pick<Site, "checkpoints">,
  lease: Lease,
  options: AdvanceOptions,
  effect: (parked: ReadonlySet<string>, someInline: boolean) => Effect.Effect<A, E, R>
): Effect.Effect<Advanced<A>, E | LeaseLost | CheckpointStoreError, R> =>
  Effect.suspend(() => {
    let hasFailed = false
    const watched = (...seen: Parameters<typeof effect>) =>
      Effect.tapErrorCause(Effect.suspend(() => effect(...seen)), () => Effect.sync(() => hasFailed = true))
    return Effect.catchAllCause(checkpoints.advance(lease, options, watched), (cause) =>
      hasFailed || Option.isSome(Cause.failureOption(cause))
        ? Effect.failCause(cause)
        : new CheckpointStoreError({
          operation: "advance",
          subscription: lease.name,
          reason: "Unavailable",
          mayHaveHappened: true,
          detail: `the store died: ${Failures.reasonOf(cause)}`
        }))
  })
