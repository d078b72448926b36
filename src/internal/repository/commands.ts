// Executes commands.
// Mechanism: load, decide, append at the loaded version. If another writer appended first, the command folds the new
// events onto its state and decides again. If a command with an id has appended nothing, it looks for an earlier try
// before it answers. A writer has no load: it decides on the state that it holds.
// Cost: the load, one round trip for the append, and two more for each lost race.
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import * as Event from "../../Event.js"
import * as EventStore from "../../EventStore.js"
import * as ExpectedVersion from "../../ExpectedVersion.js"
import type * as StreamId from "../../StreamId.js"
import * as Appending from "./appending.js"
import type { Baseline } from "./baseline.js"
import * as CommandIds from "./commandIds.js"
import { EventEncodeError, type ExecuteError, InvalidCommand } from "./errors.js"
import type { Held } from "./held.js"
import { load } from "./loads.js"
import type { Executed, Written } from "./model.js"
import * as Repeats from "./repeats.js"
import type { Services } from "./services.js"
import { afterLoad } from "./snapshots.js"
import type { Source } from "./source.js"
import { type Decided, type Decision, type Stored, tagOf } from "./storedEvents.js"
import type { Watch } from "./watching.js"

/** The input of {@link execute}: the aggregate's id, and commands that are decided and appended together. */
export interface Execution<in out Id, in out State, in out Event, out Rejection> {
  readonly services: Services<Id, State, Event>
  readonly id: Id
  readonly decide: (state: State) => Decision<State, Event, Rejection>
  /** The source from which the state is folded again, after a conflict or for a snapshot. */
  readonly source: Source<State>
  /** Exists for a command of a writer, which holds the state. */
  readonly held: Held<State> | undefined
  /** The version that the caller expects. Default: any. */
  readonly expected: ExpectedVersion.ExpectedVersion | undefined
  /** The id under which the commands count once. Default: they count each time. */
  readonly commandId: string | undefined
  readonly metadata: Event.Metadata
  /** Exists if a span or a meter follows the command. */
  readonly watch: Watch | undefined
}

/**
 * Keeps a rejection, and the conflict with a version that the caller does not expect, as a value until the end. As a
 * failure, either could be mistaken for a lost race, and the command would be decided again.
 */
type Outcome<State, Event, Rejection> = Effect.Effect<
  Either.Either<Executed<State, Event>, Rejection | EventStore.VersionConflict>,
  ExecuteError
>

export const execute = <Id, State, Event, Rejection>(
  execution: Execution<Id, State, Event, Rejection>
): Effect.Effect<Executed<State, Event>, Rejection | ExecuteError> => {
  const { held, id, services, source, watch } = execution
  // 1. load
  const loading = load(services, id, { mayWrite: true, source })
  const begin = (baseline: Baseline<State>, isCurrent: boolean) =>
    Effect.catchIf(
      decideAndAppend(execution, baseline, 1, isCurrent),
      isConflict,
      (conflict) => readOnAndDecide(execution, baseline, conflict)
    )
  const executed = Effect.suspend(() => {
    const taken = held === undefined ? Option.none() : held.take()
    return Option.isNone(taken)
      ? Effect.flatMap(loading, (baseline) => begin(baseline, true))
      : begin(taken.value, false)
  })
  return Effect.flatten(watch === undefined ? executed : Effect.onExit(executed, watch.ended))
}

/**
 * `isCurrent`: the state was read for this command. A held state may be old. An append proves that it is not; before any
 * other answer the command reads on and decides again.
 */
const decideAndAppend = <Id, State, Event, Rejection>(
  execution: Execution<Id, State, Event, Rejection>,
  baseline: Baseline<State>,
  attempt: number,
  isCurrent: boolean
): Outcome<State, Event, Rejection> =>
  Effect.suspend((): Outcome<State, Event, Rejection> => {
    const { held, id, services, source, watch } = execution
    const { stream, version } = baseline
    if (watch !== undefined) watch.attempts = attempt
    const afterwards = <A>(answer: A) => Effect.as(afterLoad(services, id, baseline, { source, held }), answer)
    const unlessRepeated = (answer: Outcome<State, Event, Rejection>) =>
      orEarlier(
        execution,
        baseline,
        held === undefined ? answer : Effect.suspend(() => {
          held.untouched(baseline)
          return answer
        })
      )
    const readOn = () => {
      if (watch !== undefined) watch.refused = false
      return Effect.flatMap(
        services.loader.advance(id, baseline, { source, onRefused: services.loads.refused }),
        (current) => decideAndAppend(execution, current, attempt, true)
      )
    }
    const unexpected = unexpectedVersion(execution, stream, version, attempt)
    if (unexpected !== undefined && !isCurrent) return readOn()
    if (unexpected !== undefined) return unlessRepeated(afterwards(Either.left(unexpected)))
    // 2. decide
    const decision = decide(execution, baseline.state)
    if (!isCurrent && (decision._tag !== "Decided" || decision.events.length === 0)) return readOn()
    switch (decision._tag) {
      case "Threw":
        return unlessRepeated(Effect.die(decision.defect))
      case "Rejected":
        return unlessRepeated(afterwards(Either.left(decision.rejection)))
      case "Invalid":
      case "Unstorable":
        return unlessRepeated(notDecided(stream, decision))
    }
    if (decision.events.length === 0) {
      return unlessRepeated(afterwards(Either.right({ ...nothing, state: decision.state, version })))
    }
    // 3. append
    return Effect.flatMap(
      propose(execution, stream, decision.events),
      (proposed) => append(execution, baseline, decision, proposed)
    )
  })

type Threw = { readonly _tag: "Threw"; readonly defect: unknown }

const decide = <Id, State, Event, Rejection>(
  execution: Execution<Id, State, Event, Rejection>,
  state: State
): Decision<State, Event, Rejection> | Threw => {
  try {
    return execution.decide(state)
  } catch (defect) {
    return { _tag: "Threw", defect }
  }
}

const nothing = { events: [], recorded: [], position: Option.none(), duplicate: false } as const

/** Returns the answer of a try that appended nothing, unless an earlier try of the command has appended events. */
const orEarlier = <Id, State, Event, Rejection>(
  { commandId, id, services, source }: Execution<Id, State, Event, Rejection>,
  baseline: Baseline<State>,
  answer: Outcome<State, Event, Rejection>
): Outcome<State, Event, Rejection> =>
  commandId === undefined ? answer : Effect.flatMap(
    Repeats.find({ services, id, commandId, baseline, source }),
    (earlier) => Option.isNone(earlier) ? answer : Effect.succeed(Either.right(earlier.value))
  )

const append = <Id, State, Event, Rejection>(
  execution: Execution<Id, State, Event, Rejection>,
  before: Baseline<State>,
  decided: Decided<State, Event>,
  proposed: ReadonlyArray<Event.ProposedEvent>
): Outcome<State, Event, Rejection> => {
  const { commandId, held, id, services, source } = execution
  const { stream } = before
  const events = decided.events.map(({ event }) => event)
  const derived = commandId !== undefined
  return Appending.append({ services, id, before, source, held, decided, events, proposed, derived }).pipe(
    Effect.flatMap((result): Outcome<State, Event, Rejection> => {
      const at = (time: DateTime.Utc) => Either.right(executedOf(stream, decided.state, events, proposed, result, time))
      // a user-provided store may give no time
      const executed = Option.isSome(result.time)
        ? Effect.succeed(at(result.time.value))
        : Effect.map(DateTime.now, at)
      // the store may hold the events of another decision of the same command
      return result.duplicate ? orEarlier(execution, before, executed) : executed
    }),
    Effect.catchTag("DuplicateEventId", (error) =>
      orEarlier(
        execution,
        before,
        new EventStore.EventStoreError({
          operation: "append",
          stream,
          reason: "InvalidInput",
          mayHaveAppended: false,
          detail: error.message,
          cause: error
        })
      ))
  )
}

const executedOf = <State, Event>(
  stream: StreamId.StreamId,
  state: State,
  events: ReadonlyArray<Event>,
  proposed: ReadonlyArray<Event.ProposedEvent>,
  { position, version }: EventStore.AppendResult,
  time: DateTime.Utc
): Executed<State, Event> => {
  const recorded = events.map((event, index): Written<Event> => {
    const { id, metadata = {}, type } = proposed[index]
    const own = version - events.length + 1 + index
    return {
      _tag: "Event",
      event,
      id,
      stream,
      version: own,
      position: own === version ? position : Option.none(),
      type,
      time,
      metadata
    }
  })
  return { state, version, events, recorded, position, duplicate: false }
}

// 3b. on a conflict read on, and go to 2
const readOnAndDecide = <Id, State, Event, Rejection>(
  execution: Execution<Id, State, Event, Rejection>,
  baseline: Baseline<State>,
  conflict: EventStore.VersionConflict
): Outcome<State, Event, Rejection> => {
  const { id, services: { loader, loads, retry }, source } = execution
  return Effect.flatMap(Effect.zip(Schedule.driver(retry), RetryClock), ([driver, clock]) => {
    const again = (
      baseline: Baseline<State>,
      lost: EventStore.VersionConflict,
      attempts: number
    ): Outcome<State, Event, Rejection> => {
      const conflict = attempts === 1 ? lost : new EventStore.VersionConflict({ ...lost, attempts })
      const unexpected = unexpectedVersion(execution, lost.stream, lost.actual, attempts)
      if (unexpected !== undefined) {
        return orEarlier(execution, baseline, Effect.succeed(Either.left(unexpected)))
      }
      // the other writers append in real time, so the wait passes in real time too
      return Effect.matchEffect(Effect.withClock(driver.next(conflict), clock), {
        onFailure: () => orEarlier(execution, baseline, Effect.fail(conflict)),
        onSuccess: () =>
          Effect.flatMap(
            loader.advance(id, baseline, { source, onRefused: loads.refused }),
            (current) =>
              Effect.catchIf(
                decideAndAppend(execution, current, attempts + 1, true),
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
  { expected, watch }: Pick<Execution<never, never, never, unknown>, "expected" | "watch">,
  stream: StreamId.StreamId,
  actual: number,
  attempts: number
): EventStore.VersionConflict | undefined => {
  if (expected === undefined) return undefined
  const { max, min } = ExpectedVersion.bounds(expected)
  if (actual >= min && actual <= max) return undefined
  if (watch !== undefined) watch.refused = true
  return new EventStore.VersionConflict({ stream, expected, actual, attempts })
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

const propose = <Id, State, Event, Rejection>(
  { commandId, metadata }: Execution<Id, State, Event, Rejection>,
  stream: StreamId.StreamId,
  stored: ReadonlyArray<Stored<Event>>
): Effect.Effect<ReadonlyArray<Event.ProposedEvent>> => {
  if (commandId !== undefined) {
    const idOf = CommandIds.eventIds(stream, commandId)
    return Effect.succeed(stored.map(({ payload, type }, index) => ({ id: idOf(index), type, payload, metadata })))
  }
  return Effect.flatMap(
    Event.IdGenerator,
    (newId) =>
      // most commands decide one event, for which Effect.reduce costs less than a loop
      Effect.reduce(stored, new Array<Event.ProposedEvent>(), (proposed, { payload, type }) =>
        Effect.map(newId, (id) => {
          proposed.push({ id, type, payload, metadata })
          return proposed
        }))
  )
}
