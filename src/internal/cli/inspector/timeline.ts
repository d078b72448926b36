// The states of a stream, event by event.
// Mechanism: the state before the first event of the page is loaded, and the events of the page are folded onto it.
// Cost: a load, and a page of events.
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import type * as Event from "../../../Event.js"
import type { EventDecodeError, EventStoreError } from "../../../EventStore.js"
import { EventStore } from "../../../EventStore.js"
import type * as StreamId from "../../../StreamId.js"
import * as Equality from "../../schema/equality.js"
import * as Recorded from "../../store/recorded.js"
import type { Unknown } from "../module.js"
import type { Looking } from "../repository.js"

export interface Step {
  readonly event: Event.RecordedEvent
  /** What the event changed. Undefined if no aggregate is known, or an earlier event cannot be folded. */
  readonly changes: ReadonlyArray<Equality.Difference> | undefined
  /** The encoded state after the event. */
  readonly state: unknown
  readonly problem: string | undefined
}

/** How many changes of one event are shown. */
const mostChanges = 20

export const steps = (
  stream: StreamId.StreamId,
  looking: Looking | undefined,
  range: { readonly fromVersion: number; readonly limit: number }
): Effect.Effect<ReadonlyArray<Step>, EventDecodeError | EventStoreError, EventStore> =>
  Effect.gen(function*() {
    const store = yield* EventStore
    const events = yield* store.readEvents(stream, range)
    if (looking === undefined) return events.map((event) => unknown(event, undefined))
    const before = yield* Effect.either(looking.stateAt(stream.id, range.fromVersion - 1))
    return Either.match(before, {
      onLeft: ({ message }) => events.map((event, index) => unknown(event, index === 0 ? message : undefined)),
      onRight: (state) => fold(looking.aggregate, state, events)
    })
  })

const unknown = (event: Event.RecordedEvent, problem: string | undefined): Step => ({
  event,
  changes: undefined,
  state: undefined,
  problem
})

const fold = (
  aggregate: Unknown,
  initial: unknown,
  events: ReadonlyArray<Event.RecordedEvent>
): ReadonlyArray<Step> => {
  const steps: Array<Step> = []
  let state = initial
  let isKnown = true
  for (const event of events) {
    const next = isKnown ? evolve(aggregate, state, event) : undefined
    if (next === undefined || Either.isLeft(next)) {
      steps.push(unknown(event, next?.left))
      isKnown = false
      continue
    }
    steps.push({
      event,
      changes: Equality.compare(aggregate.state.schema, state, next.right, mostChanges),
      state: Either.getOrUndefined(aggregate.state.encode(next.right)),
      problem: undefined
    })
    state = next.right
  }
  return steps
}

const evolve = (aggregate: Unknown, state: unknown, event: Event.RecordedEvent): Either.Either<unknown, string> => {
  const decoded = Recorded.decodeEvent(aggregate.event, event)
  if (Either.isLeft(decoded)) return Either.left(decoded.left.message)
  if (decoded.right._tag === "Retired") return Either.right(state)
  try {
    return Either.right(aggregate.evolve(state, decoded.right.event))
  } catch (cause) {
    return Either.left(`evolve fails: ${String(cause)}`)
  }
}
