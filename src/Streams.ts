/**
 * Ends and truncates streams, and rewrites events: what an event store does not do, because its events stay.
 *
 * Code that deletes or changes events uses this service. It appends a marker event in the same transaction. By the marker, the
 * snapshots, caches and writers of all processes see the change at their next proof, and the feed tells its consumers.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import type * as Aggregate from "./Aggregate.js"
import * as EventStore from "./EventStore.js"
import type { LoadError } from "./internal/repository/errors.js"
import * as Truncation from "./internal/repository/truncation.js"
import * as BoundedSnapshots from "./internal/store/boundedSnapshots.js"
import type { DeletedStream, DeleteError, DeleteOptions } from "./internal/store/ending.js"
import * as Ending from "./internal/store/ending.js"
import { EventNotFound, SnapshotRequired, StreamNotFound } from "./internal/store/eventErrors.js"
import type { RewriteError, RewriteOptions, RewrittenEvent } from "./internal/store/rewriting.js"
import * as Rewriting from "./internal/store/rewriting.js"
import type { Sink, TruncatedStream, TruncateOptions, TruncationMarker } from "./internal/store/truncating.js"
import * as Truncating from "./internal/store/truncating.js"
import { InvalidOption } from "./InvalidOption.js"
import * as SnapshotStore from "./SnapshotStore.js"
import type * as StreamId from "./StreamId.js"

export type {
  DeletedStream,
  DeleteError,
  DeleteOptions,
  RewriteError,
  RewriteOptions,
  RewrittenEvent,
  Sink,
  TruncatedStream,
  TruncateOptions,
  TruncationMarker
}

export { EventNotFound, SnapshotRequired, StreamNotFound }

/**
 * The errors of `truncate`, besides those of a sink.
 *
 * @since 0.1.0
 * @category errors
 */
export type TruncateError = Truncating.TruncateError | SnapshotRequired | LoadError

/**
 * Ends streams and rewrites events.
 *
 * @example
 * ```ts
 * import { StreamId, Streams } from "effect-eventsourcing"
 * import { Effect } from "effect"
 *
 * const closed = Effect.flatMap(Streams.Streams, (streams) =>
 *   streams.delete(StreamId.make("Account", "a-1"), {
 *     events: "remove",
 *     metadata: { by: "support", reason: "the customer asked for it" }
 *   }))
 * ```
 *
 * @since 0.1.0
 * @category services
 */
export class Streams extends Context.Tag("effect-eventsourcing/Streams")<Streams, {
  /**
   * Deletes a stream with its snapshots: it takes no more events, and loads of it fail with `StreamDeleted`. With
   * `events: "remove"` its events are deleted too. The marker of the deletion stays as the last event of the stream, so
   * that the id cannot be used again.
   *
   * An append that runs at the same time is stored before the marker, or fails. A second deletion gives the same result.
   * In a transaction of the caller, the deletion is a part of it. Fails with `StreamNotFound` if the stream has no
   * events.
   */
  readonly delete: (stream: StreamId.StreamId, options: DeleteOptions) => Effect.Effect<DeletedStream, DeleteError>

  /**
   * Replaces the payload of a stored event, which is the encoded event as JSON. The type stays. The new payload must be
   * one that the aggregate can read.
   *
   * The transaction deletes the snapshots of the stream, and appends a marker. By the marker, every state that was folded
   * from the old payload loses its proof: in snapshots that are saved late, in caches and in writers of any process. A
   * command that was decided on such a state is decided again. The metadata of the event get an entry under
   * `$rewritten`, with the time, the id of the marker and its metadata. The old payload is not kept.
   *
   * Fails with `StreamNotFound`, `StreamDeleted`, `EventNotFound`, or with `EventDecodeError` if the aggregate cannot
   * read the payload.
   */
  readonly rewrite: (
    stream: StreamId.StreamId,
    version: number,
    payload: unknown,
    options: RewriteOptions
  ) => Effect.Effect<RewrittenEvent, RewriteError>

  /**
   * Archives or removes the events of a stream before a version. Loads begin with the snapshot of the stream, so there
   * must be one at the version before `before` or at a later one. It is verified by full replay first, and the truncation
   * fails with `SnapshotRequired` unless it gives the same state.
   *
   * The rows of the events stay without their contents, so that ids and versions count as before. With `archive`, all
   * reads take the contents from the archive. Contents that were removed are gone: reads of them fail with `HistoryGap`,
   * and only the snapshot gives a state. A marker tells the consumers of the feed.
   *
   * A second truncation changes nothing. In a transaction of the caller, the truncation is a part of it.
   */
  readonly truncate: <Name extends string, Id, State, Event, Command, Rejection, E = never, R = never>(
    stream: StreamId.StreamId,
    options: TruncateOptions<Aggregate.Aggregate<Name, Id, State, Event, Command, Rejection>, E, R>
  ) => Effect.Effect<TruncatedStream, TruncateError | E, R>
}>() {}

/**
 * Makes the service of the two stores. Fails with `InvalidOption` if the event store cannot end streams.
 *
 * @example
 * ```ts
 * import { Streams } from "effect-eventsourcing"
 * import { Layer } from "effect"
 *
 * const StreamsLive = Layer.effect(Streams.Streams, Streams.make)
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const make: Effect.Effect<
  Streams["Type"],
  InvalidOption,
  EventStore.EventStore | SnapshotStore.SnapshotStore
> = Effect.gen(function*() {
  const events = yield* EventStore.EventStore
  const { replay } = events
  const given = yield* SnapshotStore.SnapshotStore
  if (Option.isNone(replay.life)) {
    return yield* new InvalidOption({
      option: "Streams",
      value: "an EventStore without the operations of `life`",
      expected: "a SQL store, the store in memory, or a store whose driver has `life`"
    })
  }
  const isShared = Option.isSome(replay.withSnapshots(given))
  const stores: Truncating.Stores = {
    life: replay.life.value,
    snapshots: isShared ? given : BoundedSnapshots.make(given),
    read: events.read,
    sealing: replay.sealing,
    isShared,
    inTransaction: replay.inTransaction
  }
  return Streams.of({
    delete: (stream, options) => Ending.deleteStream(stores, stream, options),
    rewrite: (stream, version, payload, options) => Rewriting.rewrite(stores, stream, version, payload, options),
    truncate: (stream, options) =>
      Truncating.truncate(stores, stream, options, (stream, { aggregate, before, unverified }) =>
        Effect.catchTag(
          Truncation.verify(aggregate, { events, snapshots: stores.snapshots }, stream, { before, unverified }),
          "Refusal",
          ({ detail, reason }) => new SnapshotRequired({ stream, before, reason, detail })
        ))
  })
})

/**
 * Provides the service for any event store and snapshot store that support it: the SQL stores, and those in memory.
 *
 * @example
 * ```ts
 * import { SqlStores, Streams } from "effect-eventsourcing"
 * import { Layer } from "effect"
 *
 * const StoresLive = Layer.provideMerge(Streams.layer, SqlStores.layer)
 * ```
 *
 * @since 0.1.0
 * @category layers
 */
export const layer: Layer.Layer<
  Streams,
  InvalidOption,
  EventStore.EventStore | SnapshotStore.SnapshotStore
> = Layer.effect(Streams, make)
