// The parts of the contract's cases for event stores: streams of their own, events to append, and readers.
import * as Cause from "effect/Cause"
import * as Chunk from "effect/Chunk"
import * as Clock from "effect/Clock"
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import * as Stream from "effect/Stream"
import type { YieldWrap } from "effect/Utils"
import type * as Event from "../../Event.js"
import * as EventStore from "../../EventStore.js"
import * as ExpectedVersion from "../../ExpectedVersion.js"
import * as StreamId from "../../StreamId.js"

/**
 * One promise of a contract.
 *
 * @since 0.1.0
 * @category models
 */
export interface Case<out R> {
  readonly name: string
  readonly run: Effect.Effect<void, unknown, R>
}

/**
 * The body of a case, as `Effect.gen` runs it.
 *
 * @since 0.1.0
 * @category models
 */
export type Body<R> = Generator<YieldWrap<Effect.Effect<unknown, unknown, R>>, void, never>

export interface Fresh {
  readonly store: EventStore.EventStore["Type"]
  readonly stream: (id: string) => StreamId.StreamId
  /** Appends to a stream. Expects any version by default. */
  readonly append: (
    id: string,
    events: ReadonlyArray<Event.ProposedEvent>,
    expectedVersion?: ExpectedVersion.ExpectedVersion
  ) => ReturnType<EventStore.EventStore["Type"]["append"]>
  readonly read: (
    id: string,
    options?: EventStore.ReadOptions
  ) => Effect.Effect<ReadonlyArray<Event.RecordedEvent>, EventStore.EventStoreError | EventStore.EventDecodeError>
}

// each case has its own aggregate, so that cases can share a database and run concurrently
export const withFresh = <R = never>(
  name: string,
  body: (fresh: Fresh) => Body<R>
): Case<EventStore.EventStore | R> => ({
  name,
  run: Effect.flatMap(EventStore.EventStore, (store) => {
    const aggregate = `contract-${crypto.randomUUID()}`
    const stream = (id: string) => StreamId.make(aggregate, id)
    return Effect.gen(() =>
      body({
        store,
        stream,
        append: (id, events, expectedVersion = ExpectedVersion.any) =>
          store.append(stream(id), events, { expectedVersion }),
        read: (id, options) => readAll(store.read(stream(id), options))
      })
    )
  })
})

export const event = (payload: unknown, id: string = crypto.randomUUID()): Event.ProposedEvent => ({
  id,
  type: "Happened",
  payload
})

export const eventsOf = (count: number): ReadonlyArray<Event.ProposedEvent> =>
  Array.from({ length: count }, (_, index) => event({ n: index + 1 }))

export const readAll = <A, E>(stream: Stream.Stream<A, E>): Effect.Effect<ReadonlyArray<A>, E> =>
  Effect.map(Stream.runCollect(stream), Chunk.toReadonlyArray)

/**
 * Waits for `count` events. A gap-safe feed holds back new events until all older transactions of the server have ended,
 * including those of other tests.
 */
export const settledFeed = <E>(
  feed: Stream.Stream<Event.RecordedEvent, E>,
  count: number
): Effect.Effect<ReadonlyArray<Event.RecordedEvent>, E> =>
  Effect.repeat(readAll(feed), {
    until: (events) => events.length >= count,
    schedule: Schedule.spaced("20 millis").pipe(Schedule.upTo("5 seconds"))
  }).pipe(Effect.zipRight(readAll(feed)), Effect.withClock(Clock.make()))

export const plain = ({ stream, ...event }: Event.RecordedEvent) => ({
  ...event,
  stream: { ...stream },
  time: DateTime.toEpochMillis(event.time)
})

export const versions = (events: ReadonlyArray<{ readonly version: number }>) => events.map(({ version }) => version)

export const range = (from: number, to: number) => Array.from({ length: to - from + 1 }, (_, index) => from + index)

export const failureOf = <A, E>(effect: Effect.Effect<A, E>): Effect.Effect<E> =>
  Effect.flatMap(Effect.exit(effect), (exit) => {
    if (Exit.isSuccess(exit)) return Effect.dieMessage(`expected a failure, got ${JSON.stringify(exit.value)}`)
    const failure = Cause.failureOption(exit.cause)
    return Option.isSome(failure)
      ? Effect.succeed(failure.value)
      : Effect.dieMessage(`expected a typed failure, got ${Cause.pretty(exit.cause)}`)
  })
