// Decodes the events that a driver reads, and reads on from page to page. An event that does not decode becomes a value
// in its page, so that the other events of the page are not lost. A stream gives the events before it, and then fails.
// Costs one parse of each payload and metadata, and no Effect for an event.
import * as Chunk from "effect/Chunk"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import * as Event from "../../Event.js"
import type * as StreamId from "../../StreamId.js"
import { mostInPage, pageBytes } from "../constants.js"
import { isEmptied } from "../emptied.js"
import * as EventTime from "../eventTime.js"
import { isRecord } from "../options.js"
import * as Json from "../schema/json.js"
import { EventDecodeError, removedContent } from "./eventErrors.js"

/** Decodes the events of a page. */
export const decode = (
  records: ReadonlyArray<Event.EncodedRecord>
): ReadonlyArray<Event.RecordedEvent | Event.UnreadableEvent> => records.map(decodeRecord)

/** Decodes all of the events, or fails with the first that does not decode. */
export const decodeAll = (
  records: ReadonlyArray<Event.EncodedRecord>
): Effect.Effect<ReadonlyArray<Event.RecordedEvent>, EventDecodeError> => {
  const events: Array<Event.RecordedEvent> = []
  for (const record of records) {
    const event = decodeRecord(record)
    if (Event.isUnreadable(event)) return Effect.fail(event.error)
    events.push(event)
  }
  return Effect.succeed(events)
}

const decodeRecord = (record: Event.EncodedRecord): Event.RecordedEvent | Event.UnreadableEvent => {
  const payload = Json.parse(record.payload)
  if (Either.isLeft(payload)) {
    return unreadable(record, isEmptied(record) ? removedContent(record.stream, record.version) : payload.left)
  }
  const metadata = Json.parse(record.metadata)
  if (Either.isLeft(metadata)) return unreadable(record, metadata.left)
  if (!isRecord(metadata.right)) return unreadable(record, new Error("its metadata is not an object"))
  const time = EventTime.decode(record.time)
  if (Option.isNone(time)) return unreadable(record, new Error(`its time is ${record.time}`))
  const { id, position, stream, type, version } = record
  return {
    id,
    stream,
    version,
    position,
    type,
    payload: payload.right,
    time: time.value,
    metadata: metadata.right
  }
}

const unreadable = (record: Event.EncodedRecord, cause: Error): Event.UnreadableEvent => {
  const { id, position, stream, type, version } = record
  return new Event.UnreadableEvent({
    id,
    stream,
    version,
    position,
    type,
    time: EventTime.decode(record.time),
    // rows may be edited by hand, and an error must not fail for a position that no store gave
    error: new EventDecodeError({ stream, version, type, eventId: id, position, cause }, true)
  })
}

/** A page, and where the next one begins unless this is the last one. */
export interface Page<Start> {
  readonly events: ReadonlyArray<Event.RecordedEvent | Event.UnreadableEvent>
  readonly next: Option.Option<Start>
}

/** Makes a page of what a driver reads. A page that is not full is the last one, unless its last event says that it is not. */
export const whileFull = <Start, E>(
  limit: number,
  read: (start: Start) => Effect.Effect<ReadonlyArray<Event.EncodedRecord>, E>,
  next: (last: Event.EncodedRecord) => Start
) =>
(start: Start): Effect.Effect<Page<Start>, E> =>
  Effect.map(read(start), (records) => ({
    events: decode(records),
    next: Option.map(following(limit, records), next)
  }))

/** The last event of a page, if more may follow. */
const following = (
  limit: number,
  records: ReadonlyArray<Event.EncodedRecord>
): Option.Option<Event.EncodedRecord> => {
  const last = records.at(-1)
  return last === undefined || (records.length < limit && last.continued !== true) ? Option.none() : Option.some(last)
}

interface Range {
  readonly fromVersion: number
  readonly toVersion: number
  readonly reverse: boolean
}

/** How to read a range of a stream in pages, in the order of the range. */
export const ofRange = <E>(
  read: (
    options: Range & { readonly stream: StreamId.StreamId; readonly limit: number }
  ) => Effect.Effect<ReadonlyArray<Event.EncodedRecord>, E>,
  stream: StreamId.StreamId,
  { fromVersion, reverse, toVersion }: Range
) => ({
  start: reverse ? toVersion : fromVersion,
  read: (at: number, limit: number) =>
    read(
      reverse
        ? { stream, fromVersion, toVersion: at, limit, reverse }
        : { stream, fromVersion: at, toVersion, limit, reverse }
    ),
  next: ({ version }: Event.EncodedRecord) => version + (reverse ? -1 : 1)
})

/** Reads pages until they have `count` events, or until the last one. */
export const upTo = <Start, E>(
  count: number,
  start: Start,
  read: (start: Start, limit: number) => Effect.Effect<ReadonlyArray<Event.EncodedRecord>, E>,
  next: (last: Event.EncodedRecord) => Start
): Effect.Effect<ReadonlyArray<Event.EncodedRecord>, E> => {
  const limit = Math.min(count, mostInPage)
  return Effect.flatMap(read(start, limit), (records) => {
    const rest = count - records.length
    const last = following(limit, records)
    if (rest <= 0 || Option.isNone(last)) return Effect.succeed(records)
    return Effect.map(upTo(rest, next(last.value), read, next), (more) => [...records, ...more])
  })
}

/**
 * How many of the first elements fit into a page: at least one, and as many as have no more than `pageBytes` together.
 */
export const fitting = <A>(elements: ReadonlyArray<A>, sizeOf: (element: A) => number): number => {
  let bytes = 0
  for (let count = 0; count < elements.length; count++) {
    bytes += sizeOf(elements[count])
    if (count > 0 && bytes > pageBytes) return count
  }
  return elements.length
}

/** Reads pages until the last one, or until an event that does not decode. */
export const stream = <Start, E>(
  start: Start,
  read: (start: Start) => Effect.Effect<Page<Start>, E>
): Stream.Stream<Event.RecordedEvent, E | EventDecodeError> =>
  Stream.paginateChunkEffect<From<Start>, Event.RecordedEvent, E | EventDecodeError, never>(
    { start },
    (from) =>
      "failure" in from ? Effect.fail(from.failure) : Effect.map(read(from.start), ({ events, next }) => {
        const sound: Array<Event.RecordedEvent> = []
        for (const event of events) {
          if (Event.isUnreadable(event)) return [Chunk.unsafeFromArray(sound), Option.some({ failure: event.error })]
          sound.push(event)
        }
        return [Chunk.unsafeFromArray(sound), Option.map(next, (start) => ({ start }))]
      })
  )

type From<Start> = { readonly start: Start } | { readonly failure: EventDecodeError }
