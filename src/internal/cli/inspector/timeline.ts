// The states of a stream, event by event.
// Mechanism: the state before the first event of the page is loaded, and the events of the page are folded onto it.
// Cost: a load, and a page of events.
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Event from "../../../Event.js"
import { type EventStore, type EventStoreError, HistoryGap } from "../../../EventStore.js"
import type * as StreamId from "../../../StreamId.js"
import * as Markers from "../../markers.js"
import type * as Equality from "../../schema/equality.js"
import * as Recorded from "../../store/recorded.js"
import type { Stored } from "../eventRow.js"
import type { Unknown } from "../module.js"
import type { Looking } from "../repository.js"
import * as StreamEvents from "../streamEvents.js"
import * as Changes from "./changes.js"

export interface Step {
  readonly event: Stored
  /** What the event changed. Undefined if no aggregate is known, or an earlier event cannot be folded. */
  readonly changes: ReadonlyArray<Equality.Difference> | undefined
  /** The encoded state after the event. */
  readonly state: unknown
  readonly problem: Problem | undefined
}

/** Why there is no state. */
export interface Problem {
  readonly message: string
  /** Whether nothing is out of order: the content was removed on purpose. */
  readonly isExpected: boolean
}

export const steps = (
  stream: StreamId.StreamId,
  looking: Looking | undefined,
  range: {
    readonly fromVersion: number
    readonly limit: number
    /** After an event that cannot be folded, states are known from the next of these on. */
    readonly snapshots: ReadonlyArray<number>
  }
): Effect.Effect<ReadonlyArray<Step>, EventStoreError, EventStore> =>
  Effect.gen(function*() {
    const { fromVersion, limit, snapshots } = range
    const events = yield* StreamEvents.read(stream, { fromVersion, limit })
    if (looking === undefined) return events.map((event) => unknown(event, undefined))
    const stateAt = (version: number) => Effect.either(Effect.mapError(looking.stateAt(stream.id, version), problemOf))
    const steps: Array<Step> = []
    let state = yield* stateAt(fromVersion - 1)
    // what the first event says
    let problem = Either.isLeft(state) ? state.left : undefined
    for (const event of events) {
      const before = state
      const next = Either.flatMap(before, (state) => evolve(looking.aggregate, state, event))
      if (Either.isLeft(next)) problem = Either.isRight(before) || Event.isUnreadable(event) ? next.left : problem
      state = Either.isLeft(next) && snapshots.includes(event.version) ? yield* stateAt(event.version) : next
      steps.push(
        Either.isLeft(state)
          ? unknown(event, Event.isUnreadable(event) ? problemOf(event.error) : problem)
          : known(looking.aggregate, event, before, state.right)
      )
      problem = undefined
    }
    return steps
  })

const unknown = (event: Stored, problem: Problem | undefined): Step => ({
  event,
  changes: undefined,
  state: undefined,
  problem
})

const known = (aggregate: Unknown, event: Stored, before: Either.Either<unknown, Problem>, state: unknown): Step => ({
  event,
  changes: Either.isLeft(before) ? undefined : Changes.between(aggregate, before.right, state),
  state: Either.getOrUndefined(aggregate.state.encode(state)),
  problem: Event.isUnreadable(event) ? problemOf(event.error) : undefined
})

const problemOf = (error: Failure): Problem => ({ message: error.message, isExpected: isExpected(error) })

type Failure = Effect.Effect.Error<ReturnType<Looking["stateAt"]>> | Event.UnreadableEvent["error"]

/** Whether the content was removed on purpose. If the snapshot cannot be used that stands for it, the state is lost. */
const isExpected = (error: Failure): boolean => {
  switch (error._tag) {
    case "EventDecodeError":
      return error.cause instanceof HistoryGap && error.cause.removed === true
    case "HistoryGap":
      return error.removed === true && error.cause === undefined
    case "StreamDeleted":
      return true
    default:
      return false
  }
}

const evolve = (aggregate: Unknown, state: unknown, event: Stored): Either.Either<unknown, Problem> => {
  if (Event.isUnreadable(event)) return Either.left(problemOf(event.error))
  if (event.type === Markers.deleted) return Either.left({ message: "the stream was deleted", isExpected: true })
  const decoded = Recorded.decodeEvent(aggregate.event, event)
  if (Either.isLeft(decoded)) return Either.left(problemOf(decoded.left))
  if (decoded.right._tag === "Retired") return Either.right(state)
  try {
    return Either.right(aggregate.evolve(state, decoded.right.event))
  } catch (cause) {
    return Either.left({ message: `evolve fails: ${String(cause)}`, isExpected: false })
  }
}
