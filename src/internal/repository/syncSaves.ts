// Saves snapshots before a load or a command returns.
// Mechanism: the save runs in a fiber of its own within the timeout. A failure is logged and never fails the command. A
// save that cannot be interrupted is left behind; while it hangs, its stream is not saved again.
// Cost: the command waits for the save, at most for the timeout. Why: docs/decisions/0037-hanging-sync-saves.md.
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Option from "effect/Option"
import type { EventStoreError } from "../../EventStore.js"
import type * as StreamId from "../../StreamId.js"
import { contain } from "./contain.js"
import { giveUp, isLasting } from "./saves.js"
import type { Services } from "./services.js"
import * as Telemetry from "./telemetry.js"

/** Runs a save. It fails only if the caller's transaction is lost. */
export const run = <Id, State, Event>(
  services: Services<Id, State, Event>,
  stream: StreamId.StreamId,
  /** Returns `false` if no snapshot was due any more. */
  save: Effect.Effect<unknown, unknown>,
  /** Whether the state is that of stored events. If it is not, the save does not run. */
  isStored: Effect.Effect<boolean, unknown>
): Effect.Effect<void, EventStoreError> =>
  Effect.suspend(() => {
    const { hanging, inTransaction, saves } = services
    const { aggregate, id } = stream
    if (hanging.size >= mostHanging || Array.from(hanging).some((other) => other.id === id)) {
      saves.dropped()
      const message = "a due snapshot was dropped, as earlier saves still hang; the next command tries again"
      return Telemetry.warn(message, "the snapshot store does not answer", { aggregate, id })
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
    const saving = Effect.interruptible(contain(tracked, services))
    // after an append only the timeout interrupts the save; in a transaction the save ends before the transaction does
    return Effect.flatMap(inTransaction, (open) => open ? saving : Effect.disconnect(saving)).pipe(
      Effect.onInterrupt(() => Effect.sync(leave)),
      Effect.flatMap(Either.match({
        onLeft: (cause) => {
          leave()
          if (isLasting(cause)) return giveUp(services, stream, cause)
          saves.failed()
          const message = "a snapshot could not be saved; the next command that finds it due tries again"
          return Telemetry.warn(message, cause, { aggregate, id })
        },
        onRight: (saved) => Option.isSome(saved) && saved.value !== false ? Effect.sync(saves.done) : Effect.void
      }))
    )
  })

// as many hanging saves show that the snapshot store does not answer
const mostHanging = 16
