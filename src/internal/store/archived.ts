// Gives events of truncated streams their content back as they are read. Why: docs/decisions/0162-truncated-streams.md.
// Mechanism: the row of such an event is empty. The contents of the empty rows of a page are read from the archive, as
// many as fit into a page, and the page ends where they end. A row without content in the archive stays empty.
// Cost: a comparison for each event, and one statement for a page with empty rows. If some of them have no content, both
// are read twice.
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type * as Event from "../../Event.js"
import type * as StreamId from "../../StreamId.js"
import { pageBytes } from "../constants.js"
import { isEmptied } from "../emptied.js"
import type { EventStoreError } from "./eventErrors.js"
import type { EncodedPage, EncodedPageOptions } from "./feedModel.js"
import type { ArchivedContent, LifeDriver, Place } from "./life.js"
import type { ReplaySeam, SharedDatabase, TailEvent } from "./replaySeam.js"

interface Read {
  readonly stream: StreamId.StreamId
}

/** The operations of a driver that read events. */
interface Driver<in R extends Read> {
  readonly read: (options: R) => Effect.Effect<ReadonlyArray<Event.EncodedRecord>, EventStoreError>
  readonly readPage: (options: EncodedPageOptions) => Effect.Effect<EncodedPage, EventStoreError>
  readonly readTail: ReplaySeam["readTail"]
  readonly withSnapshots: ReplaySeam["withSnapshots"]
  readonly life?: LifeDriver | undefined
}

export const over = <R extends Read, D extends Driver<R>>(driver: D & Driver<R>): D & Driver<R> => {
  const { life, read, readPage, readTail, withSnapshots } = driver
  if (life === undefined) return driver
  return {
    ...driver,
    read: (options: R) =>
      whole(life, read(options), (records) => records, (_, { cut, events }) => cut ? continued(events) : events),
    readPage: (options: EncodedPageOptions) =>
      whole(life, readPage(options), ({ records }) => records, (page, { cut, events }) =>
        cut
          ? { ...page, records: events, settled: events[events.length - 1].position, atEnd: false }
          : { ...page, records: events }),
    readTail: (stream: StreamId.StreamId, options: Parameters<ReplaySeam["readTail"]>[1]) =>
      Effect.map(
        tail(life, stream, options.limit, (limit) =>
          Effect.map(readTail(stream, { ...options, limit }), (events) => ({ events }))),
        ({ events }) =>
          events
      ),
    withSnapshots: (snapshots: Parameters<ReplaySeam["withSnapshots"]>[0]) =>
      Option.map(withSnapshots(snapshots), (shared): SharedDatabase => ({
        ...shared,
        read: (stream, options) =>
          tail(life, stream, options.limit, (limit) => shared.read(stream, { ...options, limit }))
      }))
  }
}

interface Filled<out A> {
  readonly events: ReadonlyArray<A>
  /** Whether the contents of later events did not fit. */
  readonly cut: boolean
}

/** Fills the empty ones of some events. Its first one has its content, if there is any. */
const fill = <A extends { readonly payload: string }>(
  life: LifeDriver,
  events: ReadonlyArray<A>,
  placeOf: (event: A) => Place,
  filled: (event: A, content: ArchivedContent) => A
): Effect.Effect<Filled<A>, EventStoreError> => {
  const empty = Array.from(events.keys()).filter((index) => isEmptied(events[index]))
  return Effect.map(life.contents(empty.map((index) => placeOf(events[index])), pageBytes), (contents) => {
    const found = new Map(contents.map((content) => [empty[content.place], content]))
    const whole: Array<A> = []
    for (const [index, event] of events.entries()) {
      const content = found.get(index)
      if (content?.payload === null) return { events: whole, cut: true }
      whole.push(content === undefined ? event : filled(event, content))
    }
    return { events: whole, cut: false }
  })
}

const ofRecords = (
  life: LifeDriver,
  records: ReadonlyArray<Event.EncodedRecord>
): Effect.Effect<Filled<Event.EncodedRecord>, EventStoreError> =>
  fill(life, records, (record) => record, (record, { metadata, payload }) => ({
    ...record,
    payload: payload ?? record.payload,
    metadata: metadata ?? record.metadata
  }))

/**
 * Reads and fills a page. A row without content may have been deleted between the two statements, with its content. So the
 * page is read again, until each such row had no content before, and is still there.
 */
const whole = <Page>(
  life: LifeDriver,
  read: Effect.Effect<Page, EventStoreError>,
  recordsOf: (page: Page) => ReadonlyArray<Event.EncodedRecord>,
  withRecords: (page: Page, filled: Filled<Event.EncodedRecord>) => Page
): Effect.Effect<Page, EventStoreError> => {
  const attempt = (known: ReadonlySet<string>): Effect.Effect<Page, EventStoreError> =>
    Effect.flatMap(read, (page) => {
      const records = recordsOf(page)
      if (!records.some(isEmptied)) return Effect.succeed(page)
      return Effect.flatMap(ofRecords(life, records), (filled) => {
        const gone = filled.events.filter(isEmptied).map(({ id }) => id)
        return gone.every((id) => known.has(id))
          ? Effect.succeed(withRecords(page, filled))
          : attempt(new Set(gone))
      })
    })
  return attempt(new Set())
}

const continued = <A extends { readonly continued?: true | undefined }>(events: ReadonlyArray<A>): ReadonlyArray<A> =>
  events.map((event, index) => index === events.length - 1 ? { ...event, continued: true } : event)

/**
 * Reads and fills a page for a fold. Where it begins after version 1, its first event is the proof of a state, and its
 * content is not needed. A page that ends earlier is read again, because only its last event need have an id and a time.
 */
const tail = <A extends { readonly events: ReadonlyArray<TailEvent> }>(
  life: LifeDriver,
  stream: StreamId.StreamId,
  limit: number,
  read: (limit: number) => Effect.Effect<A, EventStoreError>
): Effect.Effect<A, EventStoreError> => {
  const attempt = (most: number): Effect.Effect<A, EventStoreError> =>
    Effect.flatMap(read(most), (page) => {
      const { events } = page
      const known = events.length > 0 && events[0].version > 1 ? 1 : 0
      if (!events.some((event, index) => index >= known && isEmptied(event))) return Effect.succeed(page)
      const unread = events.slice(known)
      return Effect.flatMap(
        fill(life, unread, ({ version }) => ({ stream, version }), (event, { payload }) => ({
          ...event,
          payload: payload ?? event.payload
        })),
        ({ cut, events: filled }) => {
          if (cut) return attempt(known + filled.length)
          const whole = [...events.slice(0, known), ...filled]
          return Effect.succeed({ ...page, events: most < limit && whole.length === most ? continued(whole) : whole })
        }
      )
    })
  return attempt(limit)
}
