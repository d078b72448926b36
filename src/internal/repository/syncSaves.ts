import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Option from "effect/Option"
import type { EventStoreError } from "../../EventStore.js"
import type * as Metrics from "../../Metrics.js"
import type * as StreamId from "../../StreamId.js"
import * as Logs from "./logs.js"

/**
 * Saves that a command waits for, but never fails by nor for longer than its bound. Why: docs/decisions/0037-hanging-sync-saves.md.
 *
 * @internal
 */
export interface SyncSaves {
  readonly run: (
    stream: StreamId.StreamId,
    /** Gives `false` where nothing was saved, and that is all right. */
    save: Effect.Effect<unknown, unknown>,
    /** Whether what the snapshot is of got into the store; then alone it is saved. */
    isStored: Effect.Effect<boolean, unknown>
    // fails only where the caller's transaction is lost
  ) => Effect.Effect<void, EventStoreError>
}

/** @internal */
export const make = (options: {
  /** Whatever an effect does within its time limit, as a value. */
  readonly contained: <A, E>(effect: Effect.Effect<A, E>) => Effect.Effect<Either.Either<A, unknown>, EventStoreError>
  readonly inTransaction: Effect.Effect<boolean>
  readonly count: ReturnType<typeof Metrics.snapshotter>
  /** Whether a failure would come again at once. */
  readonly isHopeless: (cause: unknown) => boolean
  readonly giveUp: (stream: StreamId.StreamId, cause: unknown) => Effect.Effect<void>
}): SyncSaves => {
  const { contained, count, giveUp, inTransaction, isHopeless } = options
  // the streams whose saves were given up and go on all the same
  const hanging = new Set<StreamId.StreamId>()

  return {
    run: (stream, save, isStored) =>
      Effect.suspend(() => {
        const { aggregate, id } = stream
        if (hanging.size >= mostHanging || Array.from(hanging).some((other) => other.id === id)) {
          count.dropped()
          const message = "a due snapshot was dropped, as saves before it still hang; the next command asks again"
          return Logs.warn(message, "the snapshot store does not answer", { aggregate, id })
        }
        let running = false
        const tracked = Effect.suspend(() => {
          running = true
          return Effect.whenEffect(save, isStored)
        }).pipe(
          Effect.ensuring(Effect.sync(() => {
            running = false
            hanging.delete(stream)
          }))
        )
        const leave = () => {
          if (running) hanging.add(stream)
        }
        const saving = Effect.interruptible(contained(tracked))
        return Effect.flatMap(
          // after an append nothing interrupts it but its own time limit; in a transaction it ends before that does
          Effect.flatMap(inTransaction, (open) => open ? saving : Effect.disconnect(saving)).pipe(
            Effect.onInterrupt(() => Effect.sync(leave))
          ),
          Either.match({
            onLeft: (cause) => {
              leave()
              if (isHopeless(cause)) return giveUp(stream, cause)
              count.failed()
              const message = "a snapshot could not be saved; the next command that finds it due tries again"
              return Logs.warn(message, cause, { aggregate, id })
            },
            onRight: (saved) => Option.isSome(saved) && saved.value !== false ? Effect.sync(count.done) : Effect.void
          })
        )
      })
  }
}

// more of them say no more of a snapshot store than these
const mostHanging = 16
