// Keeps events in memory, for the event store in memory.
// Everything is kept as text and copied on its way out, so that no caller can change it.
// An append costs a map entry an event; a read by stream costs what it returns, a read of all streams begins at its
// position.
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type * as Event from "../../Event.js"
import * as ExpectedVersion from "../../ExpectedVersion.js"
import * as Position from "../../Position.js"
import * as StreamId from "../../StreamId.js"
import { pageBytes } from "../constants.js"
import * as EventTime from "../eventTime.js"
import * as Markers from "../markers.js"
import { isSameStream, streamKey } from "../streamKey.js"
import { byteOrder } from "../text.js"
import { judge } from "./appendVerdict.js"
import type { Counted, Driver as CountAfter } from "./countAfter.js"
import { DuplicateEventId, StreamDeleted, VersionConflict } from "./eventErrors.js"
import * as Pages from "./eventPages.js"
import { mostHashed, mostLooked } from "./feed.js"
import type { EncodedPage, EncodedPageOptions } from "./feedModel.js"
import { handedOut } from "./handedOut.js"
import type { ImportDriver } from "./importModel.js"
import type { LifeDriver, Place, Replacement } from "./life.js"
import * as Archive from "./memoryArchive.js"
import { eventAt, headOf, indexOf } from "./memoryEvents.js"
import { search } from "./memorySearch.js"
import { eventsOf, sizeOf, type Tables } from "./memoryTables.js"
import * as MemoryTransaction from "./memoryTransaction.js"
import type { ArchivedStreamOptions } from "./oldArchives.js"
import type { Tombstone, TombstoneOptions } from "./tombstones.js"

interface Append {
  readonly stream: StreamId.StreamId
  readonly events: ReadonlyArray<Event.EncodedEvent>
  readonly expected: ExpectedVersion.ExpectedVersion
  readonly time: number
}

/** Makes the driver of an event store in memory. */
export const makeEvents = () => {
  const tables: Tables = { all: [], byId: new Map(), streams: new Map(), archive: new Map(), sequence: 0 }
  return {
    append: (options: Append) =>
      Effect.suspend(() =>
        append(tables, { ...options, stream: StreamId.make(options.stream.aggregate, options.stream.id) })
      ),
    read: ({ fromVersion, limit, reverse, stream, toVersion }: {
      readonly stream: StreamId.StreamId
      readonly fromVersion: number
      readonly toVersion: number
      readonly limit: number
      readonly reverse: boolean
    }) =>
      Effect.sync(() => {
        const events = eventsOf(tables, stream)
        const from = indexOf(events, fromVersion)
        const to = indexOf(events, toVersion + 1)
        return bounded(
          reverse
            ? events.slice(Math.max(from, to - limit), to).map(handedOut).reverse()
            : events.slice(from, Math.min(from + limit, to)).map(handedOut)
        )
      }),
    readPage: (options: EncodedPageOptions) => Effect.sync(() => pageOf(tables, options)),
    head: Effect.sync(() => tables.all.at(-1)?.position ?? Position.start),
    countAfter: (options: Parameters<CountAfter["countAfter"]>[0]) => Effect.sync(() => countOf(tables.all, options)),
    streams: ({ after, aggregate, limit }: {
      readonly aggregate: string
      readonly after: string | undefined
      readonly limit: number
    }) =>
      Effect.sync(() =>
        Array.from(tables.streams.values(), (events) => ({ ...events[0].stream, version: headOf(events) }))
          .filter((stream) =>
            stream.aggregate === aggregate && (after === undefined || byteOrder(stream.id, after) > 0)
          )
          .sort((a, b) => byteOrder(a.id, b.id))
          .slice(0, limit)
          .map(({ id, version }) => ({ id, version }))
      ),
    version: (stream: StreamId.StreamId) => Effect.sync(() => headOf(eventsOf(tables, stream))),
    find: (eventIds: ReadonlyArray<string>) =>
      Effect.sync(() =>
        eventIds.flatMap((eventId) => {
          const found = tables.byId.get(eventId)
          return found === undefined
            ? []
            : [{ eventId, stream: { ...found.stream }, version: found.version, position: found.position }]
        })
      ),
    import: importDriver(tables),
    readTail: (stream: StreamId.StreamId, options: { readonly fromVersion: number; readonly limit: number }) =>
      Effect.sync(() => {
        const events = eventsOf(tables, stream)
        const start = indexOf(events, options.fromVersion)
        return events.slice(start, start + options.limit).map((
          { id, payload, time, type, version }
        ) => (
          { version, type, payload, eventId: id, time }
        ))
      }),
    withSnapshots: () => Option.none(),
    inTransaction: Effect.succeed(false),
    life: lifeDriver(tables)
  }
}

const lifeDriver = (tables: Tables): LifeDriver => ({
  transaction: MemoryTransaction.make(),
  replace: (stream: StreamId.StreamId, event: Replacement) => Effect.sync(() => Archive.replace(tables, stream, event)),
  lastRewritten: (stream: StreamId.StreamId, after: number) =>
    Effect.sync(() => {
      const events = eventsOf(tables, stream)
      const marker = events.findLast(({ type, version }) => type === Markers.rewritten && version > after)
      return marker?.version ?? 0
    }),
  remove: (stream: StreamId.StreamId, before: number) => Effect.sync(() => remove(tables, stream, 1, before)),
  left: (stream: StreamId.StreamId, before: number) => Effect.sync(() => Archive.left(tables, stream, before)),
  empty: (stream: StreamId.StreamId, options: Archive.Emptying) =>
    Effect.sync(() => Archive.empty(tables, stream, options)),
  contents: (places: ReadonlyArray<Place>, bytes: number) => Effect.sync(() => Archive.contents(tables, places, bytes)),
  nextArchived: (options: ArchivedStreamOptions) => Effect.sync(() => Archive.nextArchived(tables, options)),
  oldContents: (stream: StreamId.StreamId, options: { readonly before: number; readonly limit: number }) =>
    Effect.sync(() => Archive.oldContents(tables, stream, options)),
  tombstones: (options: TombstoneOptions) => Effect.sync(() => tombstonesOf(tables, options)),
  clear: (tombstone: Tombstone, limit: number) =>
    Effect.sync(() => {
      const events = eventsOf(tables, tombstone.stream)
      if (!isLast(events, tombstone)) return 0
      const from = events.slice(0, -1).at(-limit)?.version ?? 1
      return remove(tables, tombstone.stream, from, tombstone.version)
    }),
  forget: (tombstone: Tombstone) =>
    Effect.sync(() => {
      const events = eventsOf(tables, tombstone.stream)
      if (events.length !== 1 || !isLast(events, tombstone)) return false
      return remove(tables, tombstone.stream, 1, tombstone.version + 1) === 1
    })
})

const importDriver = (tables: Tables): ImportDriver => ({
  insert: (options: Parameters<ImportDriver["insert"]>[0]) => Effect.sync(() => insert(tables, options)),
  versions: (streams: ReadonlyArray<StreamId.StreamId>) =>
    Effect.sync(() => streams.map((stream) => headOf(eventsOf(tables, stream)))),
  eventsAt: (places: Parameters<ImportDriver["eventsAt"]>[0]) =>
    Effect.sync(() =>
      places.map(({ stream, version }) =>
        Option.map(
          Option.fromNullable(eventAt(eventsOf(tables, stream), version)),
          ({ id, time }) => ({ eventId: id, time })
        )
      )
    )
})

const countOf = (
  all: ReadonlyArray<Event.EncodedRecord>,
  { after, limit }: Parameters<CountAfter["countAfter"]>[0]
): Counted => {
  const next = firstAfter(all, after)
  return next === all.length
    ? { events: 0, first: Option.none() }
    : { events: Math.min(all.length - next, limit), first: DateTime.make(all[next].time) }
}

const pageOf = ({ all, sequence: given }: Tables, options: EncodedPageOptions): EncodedPage => {
  const { after, aggregates, excludedTypes = [], limit, partition, types } = options
  const excluded = new Map(excludedTypes.map(({ aggregate, types }) => [aggregate, new Set(types)]))
  const isWanted = ({ stream, type }: Event.EncodedRecord) =>
    (aggregates === undefined || aggregates.includes(stream.aggregate)) &&
    (types === undefined || types.includes(type)) &&
    excluded.get(stream.aggregate)?.has(type) !== true
  const isOfPartition = ({ stream }: Event.EncodedRecord) =>
    partition === undefined || StreamId.partition(stream, partition.of) === partition.index
  const start = firstAfter(all, after)
  const most = Math.min(all.length, start + mostLooked(options))
  const mostWanted = partition === undefined ? Infinity : mostHashed
  const records: Array<Event.EncodedRecord> = []
  let wanted = 0
  let bytes = 0
  let next = start
  for (; next < most && records.length < limit && wanted < mostWanted; next++) {
    const record = all[next]
    if (!isWanted(record)) continue
    wanted++
    if (!isOfPartition(record)) continue
    bytes += sizeOf(record)
    if (records.length > 0 && bytes > pageBytes) break
    records.push(handedOut(record))
  }
  const settled = next > start ? all[next - 1].position : after
  return { records, settled, atEnd: next >= all.length, isAhead: Position.Order(after, positionOf(given)) > 0 }
}

/** The events of a page that are not too long together. */
const bounded = (records: ReadonlyArray<Event.EncodedRecord>): ReadonlyArray<Event.EncodedRecord> => {
  const count = Pages.fitting(records, sizeOf)
  return count === records.length
    ? records
    : records.slice(0, count).map((record, index) => index === count - 1 ? { ...record, continued: true } : record)
}

const firstAfter = (all: ReadonlyArray<Event.EncodedRecord>, after: Position.Position): number =>
  search(all, ({ position }) => Position.Order(position, after) > 0)

const positionOf = (sequence: number): Position.Position =>
  sequence === 0 ? Position.start : Position.fromParts(0, sequence)

/** Removes the events of a stream from a version on and before another, and returns how many there were. */
const remove = (tables: Tables, stream: StreamId.StreamId, from: number, before: number): number => {
  const events = eventsOf(tables, stream)
  const removed = new Set(events.slice(indexOf(events, from), indexOf(events, before)))
  for (const { id } of removed) {
    tables.byId.delete(id)
    tables.archive.delete(id)
  }
  if (removed.size === events.length) tables.streams.delete(streamKey(stream))
  else tables.streams.set(streamKey(stream), events.filter((event) => !removed.has(event)))
  tables.all = tables.all.filter((event) => !removed.has(event))
  return removed.size
}

/** Whether a marker is still the last event of its stream. */
const isLast = (events: ReadonlyArray<Event.EncodedRecord>, { eventId, version }: Tombstone): boolean => {
  const last = events.at(-1)
  return last?.id === eventId && last.version === version
}

const tombstonesOf = ({ streams }: Tables, options: TombstoneOptions): ReadonlyArray<Tombstone> => {
  const { after, before, limit, upTo } = options
  const isWanted = ({ position, time, type }: Event.EncodedRecord) =>
    type === Markers.deleted && time < before && Position.Order(position, after) > 0 &&
    (upTo === undefined || Position.Order(position, upTo) <= 0)
  return Array.from(streams.values())
    .flatMap((events) => {
      const marker = events.at(-1)
      return marker !== undefined && isWanted(marker) ? [{ marker, hasEvents: events.length > 1 }] : []
    })
    .sort((a, b) => a.marker.time - b.marker.time || Position.Order(a.marker.position, b.marker.position))
    .slice(0, limit)
    .map(({ hasEvents, marker: { id, position, stream, version } }) => ({
      stream: { ...stream },
      version,
      eventId: id,
      position,
      hasEvents
    }))
}

const append = (tables: Tables, { events: added, expected, stream, time }: Append): Effect.Effect<
  {
    readonly version: number
    readonly position: Option.Option<Position.Position>
    readonly time: Option.Option<DateTime.Utc>
    readonly duplicate: boolean
  },
  VersionConflict | DuplicateEventId | StreamDeleted
> => {
  const { byId } = tables
  const events = eventsOf(tables, stream)
  const head = headOf(events)
  const isDeleted = events.at(-1)?.type === Markers.deleted
  const { max, min } = ExpectedVersion.bounds(expected)
  const standing = added.flatMap(({ id }) => byId.get(id) ?? [])
  if (isDeleted || head < min || head > max || standing.length > 0) {
    const verdict = judge({
      expected,
      isDeleted,
      head,
      ids: added.map(({ id }) => id),
      standing: standing.map((event) => ({
        id: event.id,
        sameStream: isSameStream(event.stream, stream),
        version: event.version
      }))
    })
    switch (verdict._tag) {
      case "Repeated": {
        const { version } = verdict
        const last = standing.find((event) => event.version === version)
        return Effect.succeed({ version, ...placeOf(last), duplicate: true })
      }
      case "Deleted":
        return new StreamDeleted({ stream })
      case "Duplicate":
        return new DuplicateEventId({ stream, eventId: verdict.id })
      case "Conflict":
        return new VersionConflict({ stream, expected, actual: head })
    }
  }
  for (const event of added) add(tables, stream, event, time)
  return Effect.succeed({ version: head + added.length, ...placeOf(tables.all.at(-1)), duplicate: false })
}

const add = (
  tables: Tables,
  stream: StreamId.StreamId,
  { id, metadata, payload, time, type }: Event.EncodedEvent,
  now: number,
  version?: number
): void => {
  const { all, byId, streams } = tables
  const events = streams.get(streamKey(stream)) ?? []
  streams.set(streamKey(stream), events)
  const position = positionOf(++tables.sequence)
  const record = {
    id,
    type,
    payload,
    metadata,
    stream,
    version: version ?? headOf(events) + 1,
    position,
    time: time ?? now
  }
  events.push(record)
  all.push(record)
  byId.set(record.id, record)
}

const insert = (tables: Tables, { events, time }: Parameters<ImportDriver["insert"]>[0]) => {
  const reached = new Map<string, number>()
  for (const { id, stream, type, version } of events) {
    const events = eventsOf(tables, stream)
    const head = reached.get(streamKey(stream)) ?? headOf(events)
    const isDeleted = events.at(-1)?.type === Markers.deleted
    const follows = version === head + 1 || (head === 0 && type === Markers.deleted)
    if (isDeleted || !follows || tables.byId.has(id)) return { position: Option.none(), mayHaveInserted: false }
    reached.set(streamKey(stream), version)
  }
  for (const event of events) {
    add(tables, StreamId.make(event.stream.aggregate, event.stream.id), event, time, event.version)
  }
  return { position: Option.some(tables.all[tables.all.length - 1].position), mayHaveInserted: false }
}

const placeOf = (record: Event.EncodedRecord | undefined) => ({
  position: Option.fromNullable(record?.position),
  time: record === undefined ? Option.none() : EventTime.decode(record.time)
})
