// Executes commands.
// Mechanism: load, decide, append at the version that was loaded. If another writer was faster, the command reads the new
// events onto its state and decides again. A due snapshot is taken in the same step as the append, uninterruptibly.
// Cost: one round trip for the load and one for the append, and two more for each lost race.
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import * as Tracer from "effect/Tracer"
import * as Event from "../../Event.js"
import * as EventStore from "../../EventStore.js"
import * as ExpectedVersion from "../../ExpectedVersion.js"
import type * as StreamId from "../../StreamId.js"
import { type Baseline, baselineOf } from "./baseline.js"
import { EventEncodeError, type ExecuteError, InvalidCommand } from "./errors.js"
import { stands } from "./loadable.js"
import { load } from "./loads.js"
import type { Executed } from "./model.js"
import { dueNow } from "./saves.js"
import type { Services } from "./services.js"
import { afterAppend, afterLoad, type Commanded, saveInTime } from "./snapshots.js"
import type { Source } from "./source.js"
import { type Decided, type Decision, type Stored, tagOf } from "./storedEvents.js"

/** A list of commands on its way. */
export interface Execution<in out Id, in out State, in out Event, out Rejection> {
  readonly services: Services<Id, State, Event>
  readonly id: Id
  readonly decide: (state: State) => Decision<State, Event, Rejection>
  /** What the state is folded from. */
  readonly source: Source<State>
  readonly metadata: Event.Metadata
}

/** The rejection is a value until the end: its tag may be that of an error that is retried. */
type Outcome<State, Event, Rejection> = Effect.Effect<
  Either.Either<Executed<State, Event>, Rejection>,
  ExecuteError
>

export const execute = <Id, State, Event, Rejection>(
  execution: Execution<Id, State, Event, Rejection>
): Effect.Effect<Executed<State, Event>, Rejection | ExecuteError> => {
  const { id, services, source } = execution
  // 1. load
  const loaded = load(services, id, { mayWrite: true, source })
  const executed = Effect.flatMap(loaded, (baseline) =>
    Effect.catchIf(
      decideAndAppend(execution, baseline),
      isConflict,
      (conflict) => readOnAndDecide(execution, baseline, conflict)
    ))
  return Effect.flatten(executed)
}

const decideAndAppend = <Id, State, Event, Rejection>(
  execution: Execution<Id, State, Event, Rejection>,
  baseline: Baseline<State>
): Outcome<State, Event, Rejection> =>
  Effect.suspend((): Outcome<State, Event, Rejection> => {
    const { id, services, source } = execution
    const { stream, version } = baseline
    // 2. decide
    const decision = execution.decide(baseline.state)
    if (decision._tag === "Rejected") {
      return Effect.as(afterLoad(services, id, baseline, source), Either.left(decision.rejection))
    }
    if (decision._tag !== "Decided") return notDecided(stream, decision)
    const { state } = decision
    const events = decision.events.map(({ event }) => event)
    if (events.length === 0) {
      return Effect.as(afterLoad(services, id, baseline, source), Either.right({ state, version, events }))
    }
    // 3. append
    return Effect.flatMap(propose(decision.events, execution.metadata), (proposed) =>
      Effect.as(
        append(execution, baseline, decision, proposed, events),
        Either.right({ state, version: version + proposed.length, events })
      ))
  })

// 3b. on a conflict read on, and go to 2
const readOnAndDecide = <Id, State, Event, Rejection>(
  execution: Execution<Id, State, Event, Rejection>,
  baseline: Baseline<State>,
  conflict: EventStore.VersionConflict
): Outcome<State, Event, Rejection> => {
  const { id, services: { loader, loads, retry }, source } = execution
  return Effect.flatMap(Effect.zip(Schedule.driver(retry), RetryClock), ([driver, clock]) => {
    const again = (baseline: Baseline<State>, conflict: EventStore.VersionConflict): Outcome<State, Event, Rejection> =>
      // in real time: the other writers append in theirs, whichever clock dates the events
      Effect.matchEffect(Effect.withClock(driver.next(conflict), clock), {
        onFailure: () => Effect.fail(conflict),
        onSuccess: () =>
          Effect.flatMap(
            loader.advance(id, baseline, { source, onRefused: loads.refused }),
            (current) => Effect.catchIf(decideAndAppend(execution, current), isConflict, (next) => again(current, next))
          )
      })
    return again(baseline, conflict)
  })
}

/**
 * The clock of the waits between the tries of a command that lost a race. It is real time, also where a test has stopped
 * the `Clock`: the writers that won the race append in real time. A simulation of all writers gives its own clock.
 */
export class RetryClock extends Context.Reference<RetryClock>()("effect-eventsourcing/internal/RetryClock", {
  defaultValue: (): Clock.Clock => Clock.make()
}) {}

const isConflict = (error: ExecuteError): error is EventStore.VersionConflict =>
  error instanceof EventStore.VersionConflict

const notDecided = (
  stream: StreamId.StreamId,
  decision: Exclude<Decision<unknown, unknown, unknown>, { readonly _tag: "Decided" | "Rejected" }>
): Effect.Effect<never, InvalidCommand | EventEncodeError> => {
  const { cause, index } = decision
  const command = tagOf(decision.command)
  return decision._tag === "Invalid"
    ? new InvalidCommand({ stream, command, index, cause })
    : new EventEncodeError({ stream, command, type: decision.type, index, detail: decision.problem, cause })
}

const propose = <Event>(
  stored: ReadonlyArray<Stored<Event>>,
  metadata: Event.Metadata
): Effect.Effect<ReadonlyArray<Event.ProposedEvent>> =>
  Effect.flatMap(
    Event.IdGenerator,
    (newId) =>
      // most commands decide one event, for which a loop costs more than its body
      Effect.reduce(stored, new Array<Event.ProposedEvent>(), (proposed, { payload, type }) =>
        Effect.map(newId, (id) => {
          proposed.push({ id, type, payload, metadata })
          return proposed
        }))
  )

const append = <Id, State, Event, Rejection>(
  { id, services, source }: Execution<Id, State, Event, Rejection>,
  before: Baseline<State>,
  { events: stored, state }: Decided<State, Event>,
  proposed: ReadonlyArray<Event.ProposedEvent>,
  events: ReadonlyArray<Event>
): Effect.Effect<void, ExecuteError> => {
  const { stream } = before
  const version = before.version + proposed.length
  const eventId = proposed[proposed.length - 1].id
  const after = baselineOf({ state, version, eventId, replayed: before.replayed }, before)
  const change = { before: before.state, after: state, events }
  const commanded = (interrupted: boolean): Commanded<State, Event> => ({
    change,
    source,
    appended: () =>
      stored.map(({ text, type }, index) => ({
        version: before.version + index + 1,
        type,
        payload: text,
        eventId: proposed[index].id
      })),
    isStored: isStored(services.events, before, interrupted ? after : undefined),
    interrupted
  })
  const appended = services.events.append(stream, proposed, { expectedVersion: ExpectedVersion.exact(before.version) })
  // an interruption that comes during the append, or after it, finds the snapshot noted or saved
  const thenSnapshot = Effect.uninterruptibleMask((restore) =>
    restore(appended).pipe(
      Effect.tapErrorCause((cause) =>
        // the store is asked whether an interrupted append succeeded
        Cause.isInterrupted(cause) ? afterAppend(services, id, after, commanded(true)) : Effect.void
      ),
      Effect.zipRight(afterAppend(services, id, after, commanded(false)))
    )
  )
  const { inTransaction, policy, shared } = services
  const appending = policy._tag !== "Inline" || Option.isNone(shared)
    ? thenSnapshot
    : Effect.flatMap(
      dueNow(services, after, change),
      (when) =>
        when === undefined ? appended : Effect.flatMap(inTransaction, (open) => {
          const save = saveInTime(services, id, after, when, commanded(false))
          const both = shared.value.transaction(Effect.zipRight(appended, save))
          // only the caller can begin the caller's own transaction again
          return open ? both : Effect.catchIf(both, isUnavailable, (first) => alone(thenSnapshot, first))
        })
    )
  return Effect.catchTag(
    appending,
    "DuplicateEventId",
    (error) =>
      new EventStore.EventStoreError({
        operation: "append",
        stream,
        reason: "InvalidInput",
        mayHaveAppended: false,
        detail: error.message,
        cause: error
      })
  )
}

// without the snapshot the append may succeed; with the same event ids it happens only once
const alone = <A, E extends { readonly _tag: string }>(
  appending: Effect.Effect<A, E>,
  { mayHaveAppended }: EventStore.EventStoreError
): Effect.Effect<A, E | EventStore.EventStoreError> =>
  Effect.mapError(appending, (error) =>
    mayHaveAppended && isUnavailable(error)
      ? new EventStore.EventStoreError({ ...error, mayHaveAppended: true })
      : error)

const isUnavailable = (error: { readonly _tag: string }): error is EventStore.EventStoreError =>
  error instanceof EventStore.EventStoreError && error.reason === "Unavailable"

/** Proves that the events before a command, and after an interrupted append its own events too, are in the store. */
const isStored = <State>(
  events: EventStore.EventStore["Type"],
  before: Baseline<State>,
  after: Baseline<State> | undefined
): Effect.Effect<boolean, EventStore.EventStoreError> => {
  // the expected version fits another history of the same length too, such as one that was restored since the load
  const holds = before.version === 0 ? Effect.succeed(true) : stands(events.replay, before)
  return after === undefined
    ? holds
    : Effect.if(holds, { onTrue: () => stands(events.replay, after), onFalse: () => Effect.succeed(false) })
}

/** The trace context of the caller, as metadata. */
export const traceContext = (context: Context.Context<never>): Event.Metadata =>
  Option.match(Context.getOption(context, Tracer.ParentSpan), {
    onNone: () => ({}),
    onSome: ({ sampled, spanId, traceId }) => ({ traceparent: `00-${traceId}-${spanId}-${sampled ? "01" : "00"}` })
  })
