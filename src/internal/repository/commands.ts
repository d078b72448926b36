// Executes commands.
// Mechanism: load, decide, append at the loaded version. If another writer appended first, the command folds the new
// events onto its state and decides again. No interruption can come between an append and its snapshot.
// Cost: the load, one round trip for the append, and two more for each lost race.
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
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

/** The input of {@link execute}: the aggregate's id, and commands that are decided and appended together. */
export interface Execution<in out Id, in out State, in out Event, out Rejection> {
  readonly services: Services<Id, State, Event>
  readonly id: Id
  readonly decide: (state: State) => Decision<State, Event, Rejection>
  /** The source from which the state is folded again, after a conflict or for a snapshot. */
  readonly source: Source<State>
  /** The version that the caller expects. Default: any. */
  readonly expected: ExpectedVersion.ExpectedVersion | undefined
  readonly metadata: Event.Metadata
}

/**
 * Keeps a rejection, and the refusal of a version that the caller does not expect, as a value until the end. As a failure
 * either could be taken for a lost race and decided again.
 */
type Outcome<State, Event, Rejection> = Effect.Effect<
  Either.Either<Executed<State, Event>, Rejection | EventStore.VersionConflict>,
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
      decideAndAppend(execution, baseline, 1),
      isConflict,
      (conflict) => readOnAndDecide(execution, baseline, conflict)
    ))
  return Effect.flatten(executed)
}

const decideAndAppend = <Id, State, Event, Rejection>(
  execution: Execution<Id, State, Event, Rejection>,
  baseline: Baseline<State>,
  attempt: number
): Outcome<State, Event, Rejection> =>
  Effect.suspend((): Outcome<State, Event, Rejection> => {
    const { expected, id, services, source } = execution
    const { stream, version } = baseline
    const refuse = (reason: Rejection | EventStore.VersionConflict) =>
      Effect.as(afterLoad(services, id, baseline, source), Either.left(reason))
    const unexpected = expected && unexpectedVersion(stream, expected, version, attempt)
    if (unexpected !== undefined) return refuse(unexpected)
    // 2. decide
    const decision = execution.decide(baseline.state)
    if (decision._tag === "Rejected") return refuse(decision.rejection)
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
  const { expected, id, services: { loader, loads, retry }, source } = execution
  return Effect.flatMap(Effect.zip(Schedule.driver(retry), RetryClock), ([driver, clock]) => {
    const again = (
      baseline: Baseline<State>,
      lost: EventStore.VersionConflict,
      attempts: number
    ): Outcome<State, Event, Rejection> => {
      const conflict = attempts === 1 ? lost : new EventStore.VersionConflict({ ...lost, attempts })
      const unexpected = expected && unexpectedVersion(lost.stream, expected, lost.actual, attempts)
      if (unexpected !== undefined) return Effect.succeed(Either.left(unexpected))
      // the other writers append in real time, so the wait passes in real time too
      return Effect.matchEffect(Effect.withClock(driver.next(conflict), clock), {
        onFailure: () => Effect.fail(conflict),
        onSuccess: () =>
          Effect.flatMap(
            loader.advance(id, baseline, { source, onRefused: loads.refused }),
            (current) =>
              Effect.catchIf(
                decideAndAppend(execution, current, attempts + 1),
                isConflict,
                (next) => again(current, next, attempts + 1)
              )
          )
      })
    }
    return again(baseline, conflict, 1)
  })
}

const unexpectedVersion = (
  stream: StreamId.StreamId,
  expected: ExpectedVersion.ExpectedVersion,
  actual: number,
  attempts: number
): EventStore.VersionConflict | undefined => {
  const { max, min } = ExpectedVersion.bounds(expected)
  return actual >= min && actual <= max
    ? undefined
    : new EventStore.VersionConflict({ stream, expected, actual, attempts })
}

/**
 * The clock of the waits after a lost race. It is real time even if a test has stopped the `Clock`, because the other
 * writers append in real time. A simulation, which runs all writers itself, provides its own clock.
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
      // most commands decide one event, for which Effect.reduce costs less than a loop
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
  const after = baselineOf({ state, version, eventId, time: null, replayed: before.replayed }, before)
  const change = { before: before.state, after: state, events }
  const commanded = (interrupted: boolean): Commanded<State, Event> => ({
    change,
    source,
    appended: () =>
      stored.map(({ text, type }, index) => ({
        version: before.version + index + 1,
        type,
        payload: text,
        eventId: proposed[index].id,
        time: null
      })),
    isStored: isStored(services.events, before, interrupted ? after : undefined),
    interrupted
  })
  const appended = services.events.append(stream, proposed, { expectedVersion: ExpectedVersion.exact(before.version) })
  // a command that is interrupted during its append, or after it, still queues or saves its due snapshot
  const thenSnapshot = Effect.uninterruptibleMask((restore) =>
    restore(appended).pipe(
      Effect.tapErrorCause((cause) =>
        // an interrupted append may have succeeded: only the store can tell
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
          // a transaction that the caller began can only be repeated by the caller
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

// Without the transaction the append may succeed. The event ids are the same, so the events are not appended twice.
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
