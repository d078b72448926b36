// Appends the events of a command, and takes its snapshot.
// Mechanism: one append at the loaded version. No interruption can come between an append and its snapshot. In mode
// inline both are written in one transaction. If that fails, the append is tried without the transaction.
// Cost: one round trip, and the snapshot if one is due.
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type * as Event from "../../Event.js"
import * as EventStore from "../../EventStore.js"
import * as ExpectedVersion from "../../ExpectedVersion.js"
import { type Baseline, baselineOf } from "./baseline.js"
import { type Held, timeOf } from "./held.js"
import { proofOf, stands } from "./loadable.js"
import { dueNow } from "./saves.js"
import type { Services } from "./services.js"
import { afterAppend, type Commanded, noteAsked, saveInTime } from "./snapshots.js"
import type { Source } from "./source.js"
import type { Decided } from "./storedEvents.js"
import { unsure } from "./unsure.js"

/** The input of {@link append}. */
export interface Appending<in out Id, in out State, in out Event> {
  readonly services: Services<Id, State, Event>
  readonly id: Id
  readonly before: Baseline<State>
  readonly source: Source<State>
  /** Exists for a command of a writer. */
  readonly held: Held<State> | undefined
  readonly decided: Decided<State, Event>
  /** The decided events alone. */
  readonly events: ReadonlyArray<Event>
  readonly proposed: ReadonlyArray<Event.ProposedEvent>
  /** Whether the event ids are derived, so that another writer may have stored other events under them. */
  readonly derived: boolean
}

type AppendError = Effect.Effect.Error<ReturnType<EventStore.EventStore["Type"]["append"]>>

export const append = <Id, State, Event>(
  appending: Appending<Id, State, Event>
): Effect.Effect<EventStore.AppendResult, AppendError> => {
  const { before, decided, events, id, proposed, services } = appending
  const version = before.version + proposed.length
  const eventId = proposed[proposed.length - 1].id
  const after = baselineOf({ state: decided.state, version, eventId, time: null, replayed: before.replayed }, before)
  const change = { before: before.state, after: decided.state, events }
  const commanded = commandedBy(appending, after, change)
  const stored = services.events.append(before.stream, proposed, {
    expectedVersion: ExpectedVersion.exact(before.version)
  })
  const appended = services.meter === undefined ? stored : services.meter.append(stored)
  // a command that is interrupted during its append, or after it, still queues or saves its due snapshot
  const keep = (result: EventStore.AppendResult) => keepHeld(appending, after, result)
  const thenSnapshot = Effect.uninterruptibleMask((restore) =>
    restore(appended).pipe(
      Effect.tapErrorCause((cause) =>
        // an interrupted append may have succeeded: only the store can tell
        Cause.isInterrupted(cause) ? afterAppend(services, id, after, commanded(undefined)) : Effect.void
      ),
      Effect.tap((result) => {
        keep(result)
        return afterAppend(services, id, after, commanded(result))
      })
    )
  )
  const { inTransaction, policy, shared } = services
  if (policy._tag !== "Inline" || Option.isNone(shared)) return thenSnapshot
  return Effect.flatMap(
    dueNow(services, after, change),
    (when) =>
      when === undefined ? Effect.tap(appended, keep) : Effect.flatMap(inTransaction, (open) => {
        const both = shared.value.transaction(
          Effect.tap(appended, (result) => saveInTime(services, id, after, when, commanded(result)))
        )
        // only the caller can repeat a transaction that the caller began
        if (open) return both
        const kept = Effect.tap(both, (result) => {
          keep(result)
          return noteAsked(services, appending.held)
        })
        return Effect.catchIf(kept, isUnavailable, (first) => alone(thenSnapshot, first))
      })
  )
}

/** Gives the state after an append to its writer, unless the store may hold other events than those of this append. */
const keepHeld = <Id, State, Event>(
  appending: Appending<Id, State, Event>,
  after: Baseline<State>,
  result: EventStore.AppendResult
): void => {
  const { held } = appending
  if (held === undefined || result.duplicate) return
  const time = timeOf(result)
  held.appended(baselineOf({ ...after, time }, after), tailOf(appending, time))
}

/** The events of an append, as the store returns them. */
const tailOf = <Id, State, Event>(
  { before, decided, proposed }: Appending<Id, State, Event>,
  time: number | null
): ReadonlyArray<EventStore.TailEvent> =>
  decided.events.map(({ text, type }, index) => ({
    version: before.version + index + 1,
    type,
    payload: text,
    eventId: proposed[index].id,
    time
  }))

const commandedBy = <Id, State, Event>(
  appending: Appending<Id, State, Event>,
  after: Baseline<State>,
  change: NonNullable<Commanded<State, Event>["change"]>
) =>
(result: EventStore.AppendResult | undefined): Commanded<State, Event> => {
  const { before, derived, held, services, source } = appending
  // the append was interrupted
  const interrupted = result === undefined
  const time = interrupted ? null : timeOf(result)
  // a snapshot at an event with a derived id needs its time, which a user-provided store may not give
  const unproved = proofOf({ eventId: after.eventId, time }) === null
  const mayBeOthers = unproved || (interrupted ? derived : result.duplicate)
  return {
    change,
    source,
    // after an interruption only the store knows the state
    held: interrupted ? undefined : held,
    appended: mayBeOthers ? undefined : () => tailOf(appending, time),
    // a state that is read again needs no other proof
    isStored: mayBeOthers
      ? Effect.succeed(true)
      : isStored(services.events, before, interrupted ? after : undefined),
    interrupted
  }
}

// Without the transaction the append may succeed. The event ids are the same, so the events are not appended twice.
const alone = <A, E extends { readonly _tag: string }>(
  appending: Effect.Effect<A, E>,
  { mayHaveAppended }: EventStore.EventStoreError
): Effect.Effect<A, E | EventStore.EventStoreError> =>
  Effect.mapError(appending, (error) => mayHaveAppended && isUnavailable(error) ? unsure(error) : error)

const isUnavailable = (error: { readonly _tag: string }): error is EventStore.EventStoreError =>
  error instanceof EventStore.EventStoreError && error.reason === "Unavailable"

/** Asks the store whether the history before the command still stands and, if `after` is given, its own events too. */
const isStored = <State>(
  events: EventStore.EventStore["Type"],
  before: Baseline<State>,
  after: Baseline<State> | undefined
): Effect.Effect<boolean, EventStore.EventStoreError> => {
  // the append succeeds on any history of the same length, even on one that was restored since the load
  const holds = before.version === 0 ? Effect.succeed(true) : stands(events.replay, before)
  return after === undefined
    ? holds
    : Effect.if(holds, { onTrue: () => stands(events.replay, after), onFalse: () => Effect.succeed(false) })
}
