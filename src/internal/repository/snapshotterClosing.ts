import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Scope from "effect/Scope"
import * as StreamId from "../../StreamId.js"
import { detached } from "./detached.js"
import * as Slots from "./snapshotterSlots.js"
import * as Telemetry from "./telemetry.js"

export interface Closing {
  readonly aggregate: string
  readonly slots: Slots.Slots
  readonly drainTimeout: Duration.DurationInput
  readonly inTransaction: Effect.Effect<boolean>
}

/** Waits at the closing of the scope for interrupted tries, at most a second. The stores are still open then. */
export const awaitTries = (
  { aggregate, drainTimeout, slots: { quiet, running } }: Closing
): Effect.Effect<void, never, Scope.Scope> => {
  const logRunning = Effect.suspend(() =>
    Telemetry.notice(
      "background snapshots could not be interrupted: they continue while the stores close: " +
        namesOf([...running.values()]),
      { aggregate, running: running.size }
    )
  )
  return Effect.addFinalizer(() =>
    quiet.await.pipe(
      Effect.interruptible,
      Effect.timeoutOption(Duration.min(drainTimeout, mostAfterInterruption)),
      Effect.flatMap((ended) => ended._tag === "Some" ? Effect.void : logRunning),
      Effect.catchAllCause(() => Effect.void)
    )
  )
}

/**
 * Waits at the closing of the scope until nothing is pending, at most for the drain timeout. Then it drops the requests
 * that wait and logs their streams. It does not wait inside a transaction, which the saves themselves may wait for.
 */
export const drain = (closing: Closing): Effect.Effect<void, never, Scope.Scope> => {
  const { drainTimeout, inTransaction, slots } = closing
  let closedInTransaction = false
  const abandon = Effect.suspend(() =>
    dropAll(closing, closedInTransaction ? "the scope was closed inside a transaction" : "the drain timeout is over")
  )
  const drained = slots.idle.await.pipe(
    Effect.interruptible,
    Effect.timeoutOption(drainTimeout),
    Effect.flatMap((drained) => drained._tag === "Some" ? Effect.void : abandon)
  )
  const close = Effect.suspend(() => {
    slots.open = false
    return (closedInTransaction ? Effect.when(abandon, () => Slots.pending(slots) > 0) : drained).pipe(
      Effect.zipRight(logDropped(closing)),
      Effect.catchAllCause(() => Effect.void)
    )
  })
  const look = Effect.map(inTransaction, (open) => {
    closedInTransaction = open
  })
  return Effect.zipRight(
    Effect.addFinalizer(() => close),
    // this finalizer has the context of the fiber that closes the scope, the other that of the fiber that built it
    Effect.flatMap(Effect.scope, (scope) => Scope.addFinalizer(scope, look))
  )
}

/** Logs dropped requests, at most once a second. */
export const logOverflow = (closing: Closing): Effect.Effect<never> =>
  closing.slots.overflow.await.pipe(
    Effect.zipRight(logDropped(closing)),
    Effect.zipRight(Effect.sleep(betweenOverflowLogs)),
    Effect.forever,
    Effect.interruptible,
    detached
  )

const logDropped = ({ aggregate, slots }: Closing): Effect.Effect<void> =>
  Effect.suspend(() => {
    const { capacity, dropped } = slots
    if (dropped === 0) return Effect.void
    slots.dropped = 0
    slots.overflow.unsafeClose()
    const message = `${dropped} due background snapshots were dropped; a later command or load asks again`
    return Telemetry.notice(message, { aggregate, dropped, waiting: Slots.waiting(slots), capacity })
  })

const dropAll = ({ aggregate, slots }: Closing, why: string): Effect.Effect<void> => {
  const { active, behind, ready } = slots
  const requests = [...active.values(), ...ready.values(), ...behind.values()].map(([request]) => request)
  const log = Telemetry.notice(
    `background snapshots were abandoned, as ${why}; the streams are asked again when they are next due: ` +
      namesOf(requests),
    { aggregate, waiting: Slots.waiting(slots), active: active.size }
  )
  // awaitPending returns
  Slots.clear(slots)
  return log
}

const namesOf = (requests: ReadonlyArray<Slots.Request>): string => {
  const named = requests.slice(0, mostNamed).map(({ stream, version }) =>
    Number.isFinite(version) ? `${StreamId.format(stream)} at ${version}` : StreamId.format(stream)
  )
  const more = requests.length - named.length
  return `${named.join(", ")}${more > 0 ? ` and ${more} more` : ""}`
}

const mostNamed = 20

const betweenOverflowLogs = Duration.seconds(1)

// an interrupted try may need a round trip to end
const mostAfterInterruption = Duration.seconds(1)
