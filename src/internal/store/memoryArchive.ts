// Rewrites, archives and removes the contents of events, for the event store in memory.
import * as Option from "effect/Option"
import type * as Event from "../../Event.js"
import * as StreamId from "../../StreamId.js"
import * as Emptied from "../emptied.js"
import { streamKey } from "../streamKey.js"
import { byteOrder } from "../text.js"
import type { ArchivedContent, Place, Replacement } from "./life.js"
import { eventAt, indexOf } from "./memoryEvents.js"
import { eventsOf, sizeOf, type Tables } from "./memoryTables.js"
import type { ArchivedStream, ArchivedStreamOptions, OldContents } from "./oldArchives.js"
import * as Tenant from "./tenant.js"

export const replace = (
  tables: Tables,
  stream: StreamId.StreamId,
  { before, metadata, payload, version }: Replacement
): boolean => {
  const record = eventAt(eventsOf(tables, stream), version)
  if (record === undefined) return false
  const archived = tables.archive.get(record.id)
  if ((Emptied.isEmptied(record) ? archived : record)?.metadata !== before) return false
  if (archived !== undefined && Emptied.isEmptied(record)) {
    tables.archive.set(record.id, { ...archived, payload, metadata })
  } else exchange(tables, stream, new Map([[record, { ...record, payload, metadata }]]))
  return true
}

const exchange = (
  tables: Tables,
  stream: StreamId.StreamId,
  exchanged: ReadonlyMap<Event.EncodedRecord, Event.EncodedRecord>
): void => {
  const own = (event: Event.EncodedRecord) => exchanged.get(event) ?? event
  tables.streams.set(streamKey(stream), eventsOf(tables, stream).map(own))
  tables.all = tables.all.map(own)
  for (const event of exchanged.values()) tables.byId.set(event.id, event)
}

const before = (tables: Tables, stream: StreamId.StreamId, version: number): ReadonlyArray<Event.EncodedRecord> => {
  const events = eventsOf(tables, stream)
  return events.slice(0, indexOf(events, version))
}

export const left = (tables: Tables, stream: StreamId.StreamId, version: number) => {
  const events = before(tables, stream, version)
  return {
    kept: events.filter((event) => !Emptied.isEmptied(event)).length,
    archived: events.filter(({ id }) => tables.archive.has(id)).length
  }
}

export interface Emptying {
  readonly before: number
  readonly archive: boolean
  readonly time: number
}

export const empty = (
  tables: Tables,
  stream: StreamId.StreamId,
  options: Emptying
): void => {
  const events = before(tables, stream, options.before)
  const full = events.filter((event) => !Emptied.isEmptied(event))
  if (options.archive) {
    for (const { id, metadata, payload } of full) {
      tables.archive.set(id, { payload, metadata, archivedAt: options.time })
    }
  } else {
    for (const { id } of events) tables.archive.delete(id)
  }
  exchange(
    tables,
    stream,
    new Map(full.map((event) => [event, { ...event, payload: Emptied.payload, metadata: Tenant.emptied(event) }]))
  )
}

export const contents = (
  tables: Tables,
  places: ReadonlyArray<Place>,
  bytes: number
): ReadonlyArray<ArchivedContent> => {
  let sum = 0
  return places.flatMap(({ stream, version }, place): ReadonlyArray<ArchivedContent> => {
    const content = tables.archive.get(eventAt(eventsOf(tables, stream), version)?.id ?? "")
    if (content === undefined) return []
    const fits = sum < bytes
    sum += sizeOf(content)
    const { metadata, payload } = content
    return fits ? [{ place, payload, metadata }] : [{ place, payload: null, metadata: null }]
  })
}

export const nextArchived = (
  { archive, byId }: Tables,
  { after, aggregate, before }: ArchivedStreamOptions
): Option.Option<ArchivedStream> => {
  const inOrder = (a: ArchivedStream, b: ArchivedStream): number =>
    a.archivedAt - b.archivedAt || byteOrder(a.stream.id, b.stream.id)
  const from = { stream: StreamId.make(aggregate, after.id), archivedAt: after.archivedAt }
  let next: ArchivedStream | undefined
  for (const [eventId, { archivedAt }] of archive) {
    const stream = byId.get(eventId)?.stream
    if (stream?.aggregate !== aggregate || archivedAt >= before) continue
    const found = { stream: { ...stream }, archivedAt }
    if (inOrder(found, from) > 0 && (next === undefined || inOrder(found, next) < 0)) next = found
  }
  return Option.fromNullable(next)
}

export const oldContents = (
  tables: Tables,
  stream: StreamId.StreamId,
  { before, limit }: { readonly before: number; readonly limit: number }
): OldContents => {
  const archived = eventsOf(tables, stream).flatMap(({ id, version }) => {
    const content = tables.archive.get(id)
    return content === undefined ? [] : [{ version, isOld: content.archivedAt < before }]
  })
  const first = archived.slice(0, limit)
  const young = first.findIndex(({ isOld }) => !isOld)
  const old = young === -1 ? first : first.slice(0, young)
  return {
    count: old.length,
    upTo: old.at(-1)?.version ?? 0,
    last: archived.findLast(({ isOld }) => isOld)?.version ?? 0
  }
}
