// Finds the events that an earlier try of a command has appended.
// Mechanism: the id of the command's first event is derived from the command id, so the store finds it by its index.
// The stored events are read from there on, as long as their ids belong to the command.
// Cost: one statement if there was no earlier try, and three if there was one. A first try that appends costs nothing.
import * as Chunk from "effect/Chunk"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import type * as Event from "../../Event.js"
import type * as EventStore from "../../EventStore.js"
import { isSameStream } from "../streamKey.js"
import type { Baseline } from "./baseline.js"
import * as CommandIds from "./commandIds.js"
import { gapBefore, type LoadError, orGap } from "./errors.js"
import type { Executed } from "./model.js"
import type { Services } from "./services.js"
import { afterLoad } from "./snapshots.js"
import type { Source } from "./source.js"
import { unsure } from "./unsure.js"

export interface Repeat<in out Id, in out State, in out Event> {
  readonly services: Services<Id, State, Event>
  readonly id: Id
  readonly commandId: string
  /** The state that this try has loaded. It may be folded again from the source. */
  readonly baseline: Baseline<State>
  readonly source: Source<State>
}

/** The result of an earlier try: its own events and their version, and the state as it is now. */
export const find = <Id, State, Event>(
  repeat: Repeat<Id, State, Event>
): Effect.Effect<Option.Option<Executed<State, Event>>, LoadError> => {
  const { baseline: { stream }, commandId, services } = repeat
  const idOf = CommandIds.eventIds(stream, commandId)
  const found = Effect.flatMap(
    services.events.find([idOf(0)]),
    ([first]) =>
      first === undefined || !isSameStream(first.stream, stream)
        ? Effect.succeedNone
        : Effect.flatMap(
          read(repeat, first.version, idOf),
          (recorded) => recorded.length === 0 ? Effect.succeedNone : Effect.asSome(resultOf(repeat, recorded))
        ).pipe(Effect.catchIf(isRemoved, () => Effect.asSome(withoutEvents(repeat, first, idOf))))
  )
  // the events of an earlier try may be stored although this one cannot read them
  return Effect.catchTag(found, "EventStoreError", unsure)
}

const isRemoved = (error: LoadError): boolean => error._tag === "HistoryGap" && error.removed === true

const read = <Id, State, Event>(
  { baseline: { stream }, services }: Repeat<Id, State, Event>,
  first: number,
  idOf: (index: number) => string
): Effect.Effect<ReadonlyArray<Event.RecordedEvent>, LoadError> => {
  const isOwn = (id: string, version: number) => id === idOf(version - first)
  const from = (fromVersion: number, pageSize: number) =>
    services.events.read(stream, { fromVersion, pageSize }).pipe(
      // a later snapshot may hide a gap in the history, and the answer would lack an event
      Stream.mapAccumEffect(fromVersion, (expected, event) =>
        event.version === expected
          ? Effect.succeed([expected + 1, event] as const)
          : Effect.fail(gapBefore(stream, expected, event))),
      Stream.takeWhile(({ id, version }) => isOwn(id, version)),
      // the stream reads beyond the command's last event, so an unreadable event of another command only ends it
      Stream.catchSome((error) =>
        error._tag === "EventDecodeError" && error.eventId !== undefined && !isOwn(error.eventId, error.version)
          ? Option.some(Stream.empty)
          : Option.none()
      )
    )
  return Effect.flatMap(Stream.runCollect(Stream.take(from(first, short), short)), (page) =>
    page.length < short
      ? Effect.succeed(Chunk.toReadonlyArray(page))
      : Effect.map(
        Stream.runCollect(from(first + short, long)),
        (more) => Chunk.toReadonlyArray(Chunk.appendAll(page, more))
      )).pipe(Effect.mapError(orGap))
}

// most commands decide fewer events than the short page
const short = 20
const long = 1_000

const resultOf = <Id, State, Event>(
  repeat: Repeat<Id, State, Event>,
  recorded: ReadonlyArray<Event.RecordedEvent>
): Effect.Effect<Executed<State, Event>, LoadError> =>
  Effect.gen(function*() {
    const envelopes = yield* Either.all(recorded.map(repeat.services.decode))
    const written = envelopes.flatMap((envelope) =>
      envelope._tag === "Retired" ? [] : [{ ...envelope, position: Option.some(envelope.position) }]
    )
    return yield* answer(repeat, recorded[recorded.length - 1], written)
  })

/** The result of an earlier try whose events were removed by a truncation: their places are known, and their ids. */
const withoutEvents = <Id, State, Event>(
  repeat: Repeat<Id, State, Event>,
  first: EventStore.FoundEvent,
  idOf: (index: number) => string
): Effect.Effect<Executed<State, Event>, LoadError> => {
  const from = (last: EventStore.FoundEvent): Effect.Effect<EventStore.FoundEvent, LoadError> => {
    const index = last.version - first.version + 1
    const ids = Array.from({ length: long }, (_, more) => idOf(index + more))
    return Effect.flatMap(repeat.services.events.find(ids), (found) => {
      const own = found.at(-1)
      return own === undefined ? Effect.succeed(last) : found.length < long ? Effect.succeed(own) : from(own)
    })
  }
  return Effect.flatMap(from(first), (last) => answer(repeat, last, []))
}

const answer = <Id, State, Event>(
  { baseline, id, services, source }: Repeat<Id, State, Event>,
  { position, version }: Pick<EventStore.FoundEvent, "position" | "version">,
  written: Executed<State, Event>["recorded"]
): Effect.Effect<Executed<State, Event>, LoadError> =>
  Effect.gen(function*() {
    const { loader, loads } = services
    // `decide` may have changed the loaded state
    const current = yield* loader.advance(id, baseline, { source, onRefused: loads.refused })
    yield* afterLoad(services, id, current, { source, held: undefined })
    return {
      state: current.state,
      version,
      events: written.map(({ event }) => event),
      recorded: written,
      position: Option.some(position),
      duplicate: true
    }
  })
