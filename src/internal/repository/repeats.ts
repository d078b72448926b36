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
import * as EventStore from "../../EventStore.js"
import { isSameStream } from "../streamKey.js"
import type { Baseline } from "./baseline.js"
import * as CommandIds from "./commandIds.js"
import type { LoadError } from "./errors.js"
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
        )
  )
  // the events of an earlier try may be stored although this one cannot read them
  return Effect.catchTag(found, "EventStoreError", unsure)
}

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
          : Effect.fail(new EventStore.HistoryGap({ stream, expected, actual: event.version }))),
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
      ))
}

// most commands decide fewer events than the short page
const short = 20
const long = 1_000

const resultOf = <Id, State, Event>(
  { baseline, id, services, source }: Repeat<Id, State, Event>,
  recorded: ReadonlyArray<Event.RecordedEvent>
): Effect.Effect<Executed<State, Event>, LoadError> =>
  Effect.gen(function*() {
    const { loader, loads } = services
    const envelopes = yield* Either.all(recorded.map(services.decode))
    const written = envelopes.flatMap((envelope) =>
      envelope._tag === "Retired" ? [] : [{ ...envelope, position: Option.some(envelope.position) }]
    )
    // `decide` may have changed the loaded state
    const current = yield* loader.advance(id, baseline, { source, onRefused: loads.refused })
    yield* afterLoad(services, id, current, { source, held: undefined })
    const last = recorded[recorded.length - 1]
    return {
      state: current.state,
      version: last.version,
      events: written.map(({ event }) => event),
      recorded: written,
      position: Option.some(last.position),
      duplicate: true
    }
  })
