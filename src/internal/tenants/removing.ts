// Removes the streams of a tenant that shares tables. Why: docs/decisions/0174-tenants-in-shared-tables.md.
// Mechanism: it walks the tenant's events in the feed and removes each stream that it meets, until a walk meets markers
// only. So it can be ended and begun again at any time. A stream is read before it is removed, and removed at the version
// that was read. Only its metadata are decoded: an event that cannot be read must not keep the others from being deleted.
// Cost: one page, and a read and a deletion of each of its streams, at a time.
import * as Chunk from "effect/Chunk"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import type * as Event from "../../Event.js"
import * as EventStore from "../../EventStore.js"
import * as ExpectedVersion from "../../ExpectedVersion.js"
import * as Position from "../../Position.js"
import type * as StreamId from "../../StreamId.js"
import * as Streams from "../../Streams.js"
import * as Markers from "../markers.js"
import type { LifeSeam } from "../store/life.js"
import * as Tenant from "../store/tenant.js"
import { streamKey } from "../streamKey.js"

/**
 * What became of a stream that has events of the tenant.
 *
 * - `Removed`: it was the tenant's, and its events and snapshots are gone.
 * - `Shared`: it has events of another tenant too, and is as it was.
 *
 * @since 0.1.0
 * @category models
 */
export interface RemovedStream {
  readonly stream: StreamId.StreamId
  readonly outcome: "Removed" | "Shared"
}

/**
 * The errors of `removeStreams`.
 *
 * @since 0.1.0
 * @category errors
 */
export type RemoveError = Streams.DeleteError

interface Walk {
  readonly after: Position.Position
  /** Whether this walk has removed a stream, so that there is another one. */
  readonly hasRemoved: boolean
}

const pageSize = 100

const lifeless = new EventStore.EventStoreError({
  operation: "delete",
  reason: "InvalidInput",
  mayHaveAppended: false,
  detail: "the driver of the event store has no operations of `life`, so it cannot delete streams"
})

export const removeStreams = (
  tenant: string,
  metadata: Event.Metadata
): Stream.Stream<RemovedStream, RemoveError, EventStore.EventStore | Streams.Streams> =>
  Stream.unwrap(Effect.map(
    Effect.all([EventStore.EventStore, Streams.Streams]),
    ([store, streams]) => {
      if (Option.isNone(store.replay.life)) return Stream.fail(lifeless)
      const remove = removal(store.replay.life.value, streams, tenant, metadata)
      // streams that are shared stay, and each walk meets them
      const shared = new Set<string>()
      const step = ({ after, hasRemoved }: Walk) =>
        Effect.gen(function*() {
          const page = yield* store.readPage({ tenant, after, limit: pageSize })
          const removed: Array<RemovedStream> = []
          for (const stream of streamsOf(page.events)) {
            if (shared.has(streamKey(stream))) continue
            const outcome = yield* remove(stream)
            if (outcome === "Shared") shared.add(streamKey(stream))
            if (outcome !== undefined) removed.push({ stream, outcome })
          }
          const removes = hasRemoved || removed.some(({ outcome }) => outcome === "Removed")
          const next: Option.Option<Walk> = !page.atEnd
            ? Option.some({ after: page.settled, hasRemoved: removes })
            : removes
            ? Option.some({ after: Position.start, hasRemoved: false })
            : Option.none()
          return [Chunk.unsafeFromArray(removed), next] as const
        })
      return Stream.paginateChunkEffect<Walk, RemovedStream, RemoveError, never>(
        { after: Position.start, hasRemoved: false },
        step
      )
    }
  ))

/** The streams of the events of a page that are not gone already, each once. */
const streamsOf = (
  events: ReadonlyArray<Event.RecordedEvent | Event.UnreadableEvent>
): Iterable<StreamId.StreamId> => {
  const streams = new Map<string, StreamId.StreamId>()
  for (const { stream, type } of events) if (!Markers.isMarker(type)) streams.set(streamKey(stream), stream)
  return streams.values()
}

/** Removes a stream if all of its events are the tenant's, or have no tenant. Gives nothing if another one has removed it. */
const removal = (
  life: LifeSeam,
  streams: Streams.Streams["Type"],
  tenant: string,
  metadata: Event.Metadata
) => {
  const remove = (
    stream: StreamId.StreamId,
    last: number,
    attempts: number
  ): Effect.Effect<RemovedStream["outcome"] | undefined, RemoveError> =>
    Effect.flatMap(
      look(life, stream, tenant, last),
      ({ isShared, version }) => {
        if (isShared) return Effect.succeed<RemovedStream["outcome"]>("Shared")
        if (version === 0) return Effect.succeed(undefined)
        const expectedVersion = ExpectedVersion.exact(version)
        return streams.delete(stream, { events: "remove", expectedVersion, metadata: { ...metadata, tenant } }).pipe(
          Effect.as<RemovedStream["outcome"]>("Removed"),
          Effect.catchTags({
            StreamNotFound: () => Effect.succeed(undefined),
            // an event was appended meanwhile, perhaps one of another tenant
            VersionConflict: (conflict) => attempts > 1 ? remove(stream, version, attempts - 1) : Effect.fail(conflict)
          })
        )
      }
    )
  return (stream: StreamId.StreamId) => remove(stream, 0, mostAttempts)
}

const mostAttempts = 100

interface Seen {
  /** The last version that was read. */
  readonly version: number
  /** Whether one of the events is of another tenant. */
  readonly isShared: boolean
}

/** Reads the metadata of the events after a version. */
const look = (
  life: LifeSeam,
  stream: StreamId.StreamId,
  tenant: string,
  version: number
): Effect.Effect<Seen, EventStore.EventStoreError> =>
  Effect.flatMap(life.page(stream, { fromVersion: version + 1, limit: pageSize }), (records) => {
    const last = records.at(-1)
    if (last === undefined) return Effect.succeed({ version, isShared: false })
    return records.some((record) => isForeign(record, tenant))
      ? Effect.succeed({ version: last.version, isShared: true })
      : look(life, stream, tenant, last.version)
  })

// the metadata of a marker say who made the change, and not whose the stream is
const isForeign = (record: Event.EncodedRecord, tenant: string): boolean => {
  const of = Tenant.ofRecord(record)
  return of !== undefined && of !== tenant && !Markers.isMarker(record.type)
}
