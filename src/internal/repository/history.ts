// Reads the events of a stream, decoded and in their envelopes.
// Mechanism: the pages of the store are decoded one by one. It is an error if the stream lacks a version, between two
// events or at an end of the range. It is also an error if the event before a page is not the one that was read there,
// or if the stream was deleted.
// Cost: one statement for the first page and two for each further page, and no Effect for an event. One statement more
// if the stream ends before `toVersion`.
import * as Chunk from "effect/Chunk"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import type * as Event from "../../Event.js"
import * as EventStore from "../../EventStore.js"
import type * as StreamId from "../../StreamId.js"
import * as Markers from "../markers.js"
import { gapBefore, type HistoryError, HistoryRewritten, orGap } from "./errors.js"
import type { HistoryOptions } from "./options.js"
import type { Services } from "./services.js"

type History<Event> = Stream.Stream<Event.Envelope<Event> | Event.Retired, HistoryError>

interface Reading<in out Id, in out State, in out Event> extends Pick<Services<Id, State, Event>, "decode" | "events"> {
  readonly stream: StreamId.StreamId
  readonly fromVersion: number
  readonly toVersion: number | undefined
  readonly reverse: boolean
}

export const read = <Id, State, Event>(
  { decode, events, loadable }: Services<Id, State, Event>,
  id: Id,
  { fromVersion = 1, reverse = false, toVersion }: HistoryOptions
): History<Event> =>
  Stream.unwrap(
    Effect.map(
      loadable.streamOf(id),
      (stream) => pages({ decode, events, stream, fromVersion, toVersion, reverse })
    )
  )

const pages = <Id, State, Event>(reading: Reading<Id, State, Event>): History<Event> =>
  Stream.suspend((): History<Event> => {
    const { events, fromVersion, reverse, stream, toVersion } = reading
    /** The version before the next one. Unknown before the first event of a stream that is read backwards. */
    let last = reverse ? undefined : fromVersion - 1
    let before: Event.RecordedEvent | undefined
    const page = (recorded: Chunk.Chunk<Event.RecordedEvent>): History<Event> => {
      const first = Chunk.head(recorded)
      const begins = last === undefined && Option.isSome(first)
        ? nothingAfter(reading, first.value.version)
        : Stream.empty
      const decoded = decodePage(reading, last, recorded)
      last = decoded.last
      const sound = Stream.fromChunk(Chunk.unsafeFromArray(decoded.events))
      const failure = decoded.failure === undefined ? Stream.empty : Stream.fail(decoded.failure)
      const follows = before === undefined ? Stream.empty : stands(reading, before)
      before = Option.getOrElse(Chunk.last(recorded), () => before)
      return Stream.concat(Stream.concat(follows, begins), Stream.concat(sound, failure))
    }
    const ends = Stream.suspend((): Stream.Stream<never, HistoryError> => {
      if (!reverse || last === undefined) return nothingAfter(reading, last ?? fromVersion - 1)
      return last > fromVersion ? Stream.fail(gap(stream, fromVersion - 1, last)) : Stream.empty
    })
    const read = Stream.mapError(Stream.chunks(events.read(stream, { fromVersion, toVersion, reverse })), orGap)
    return Stream.concat(Stream.flatMap(read, page), ends)
  })

/** Fails if the stream holds another event now where this one was read: the page after it may be of another history. */
const stands = <Id, State, E>(
  { events, stream }: Reading<Id, State, E>,
  { id, time, version }: Event.RecordedEvent
): Stream.Stream<never, HistoryError> => {
  const held = events.readEvents(stream, { fromVersion: version, toVersion: version, limit: 1 })
  return Stream.drain(
    Stream.fromEffect(
      Effect.flatMap(held, ([event]) =>
        event?.id === id && event.time.epochMillis === time.epochMillis
          ? Effect.void
          : new HistoryRewritten({ stream }))
    )
  )
}

const decodePage = <Id, State, Event>(
  { decode, reverse, stream }: Reading<Id, State, Event>,
  before: number | undefined,
  page: Chunk.Chunk<Event.RecordedEvent>
) => {
  const events: Array<Event.Envelope<Event> | Event.Retired> = []
  let last = before
  for (const recorded of page) {
    const { type, version } = recorded
    if (type === Markers.deleted) return { events, last, failure: new EventStore.StreamDeleted({ stream }) }
    if (last !== undefined && version !== (reverse ? last - 1 : last + 1)) {
      return { events, last, failure: gap(stream, Math.min(last, version), Math.max(last, version)) }
    }
    const decoded = decode(recorded)
    if (Either.isLeft(decoded)) return { events, last, failure: decoded.left }
    events.push(decoded.right)
    last = version
  }
  return { events, last, failure: undefined }
}

/** Fails if the caller asked for the version after this one, and the stream lacks it but goes on behind it. */
const nothingAfter = <Id, State, Event>(
  { events, stream, toVersion }: Reading<Id, State, Event>,
  version: number
): Stream.Stream<never, HistoryError> => {
  if (toVersion === undefined || version >= toVersion) return Stream.empty
  const next = events.readEvents(stream, { fromVersion: version + 1, limit: 1 })
  return Stream.drain(Stream.fromEffect(Effect.flatMap(next, ([event]): Effect.Effect<void, HistoryError> =>
    // the stream may have grown meanwhile
    event !== undefined && event.version > version + 1 ? gapBefore(stream, version + 1, event) : Effect.void)))
}

const gap = (stream: StreamId.StreamId, before: number, after: number): EventStore.HistoryGap =>
  new EventStore.HistoryGap({ stream, expected: before + 1, actual: after })
