/**
 * Stores events in streams, with an order over the events of all streams.
 *
 * @since 0.1.0
 */
import * as Arr from "effect/Array"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import type * as Event from "./Event.js"
import type * as ExpectedVersion from "./ExpectedVersion.js"
import { isDate, mostInPage, noDate } from "./internal/constants.js"
import * as Personal from "./internal/personal/driver.js"
import type { AppendResult } from "./internal/store/appendResult.js"
import * as Archived from "./internal/store/archived.js"
import * as Checking from "./internal/store/checking.js"
import * as CountAfter from "./internal/store/countAfter.js"
import {
  DuplicateEventId,
  EventDecodeError,
  EventStoreError,
  HistoryGap,
  InlineProjectionError,
  StreamDeleted,
  VersionConflict
} from "./internal/store/eventErrors.js"
import * as Input from "./internal/store/eventInput.js"
import * as Pages from "./internal/store/eventPages.js"
import * as Feed from "./internal/store/feed.js"
import type * as FeedModel from "./internal/store/feedModel.js"
import * as Find from "./internal/store/find.js"
import type { FoundEvent } from "./internal/store/find.js"
import * as Import from "./internal/store/import.js"
import type {
  EncodedImport,
  ImportDriver,
  ImportedEvent,
  ImportOptions,
  ImportProgress
} from "./internal/store/importModel.js"
import * as Inline from "./internal/store/inline.js"
import type { Appended, InlineDriver, InlineHandler, InlineSeam } from "./internal/store/inline.js"
import * as Life from "./internal/store/life.js"
import type { ArchivedContent, LifeDriver, LifeSeam, Place } from "./internal/store/life.js"
import * as Listeners from "./internal/store/listeners.js"
import * as Memory from "./internal/store/memory.js"
import type { ReadEventsOptions, ReadOptions } from "./internal/store/readModel.js"
import type {
  ReaderOptions,
  ReplaySeam,
  SharedDatabase,
  SnapshotReader,
  TailEvent
} from "./internal/store/replaySeam.js"
import { Sealing } from "./internal/store/sealing.js"
import { streamProblem } from "./internal/streamProblem.js"
import type * as Position from "./Position.js"
import type * as StreamId from "./StreamId.js"

/**
 * Stores events in streams, with an order over the events of all streams.
 *
 * @example
 * ```ts
 * import { Event, EventStore, ExpectedVersion, StreamId } from "effect-eventsourcing"
 * import { Effect, Stream } from "effect"
 *
 * const program = Effect.gen(function*() {
 *   const store = yield* EventStore.EventStore
 *   const stream = StreamId.make("Account", "a")
 *   const id = yield* yield* Event.IdGenerator
 *   yield* store.append(stream, [{ id, type: "Opened", payload: {} }], { expectedVersion: ExpectedVersion.noStream })
 *   return yield* Stream.runCollect(store.read(stream))
 * })
 * ```
 *
 * @since 0.1.0
 * @category services
 */
export class EventStore extends Context.Tag("effect-eventsourcing/EventStore")<EventStore, {
  /**
   * Appends events to a stream, all or none, if the stream is at the expected version.
   *
   * An append may be repeated after a lost acknowledgement. If the stream already holds these event ids in this order,
   * the append succeeds with their original versions. If an exact version is expected, the stored events must follow it
   * directly. Inline projections handle the events in its transaction. An append of no events only checks the version.
   * A stream that was deleted takes no events. The types `$deleted`, `$rewritten` and `$truncated` are reserved.
   */
  readonly append: (
    stream: StreamId.StreamId,
    events: ReadonlyArray<Event.ProposedEvent>,
    options: { readonly expectedVersion: ExpectedVersion.ExpectedVersion }
  ) => Effect.Effect<
    AppendResult,
    VersionConflict | DuplicateEventId | StreamDeleted | EventStoreError | InlineProjectionError
  >

  /** Reads the events of a stream in order, or backwards, page by page, as the consumer asks for more. */
  readonly read: (
    stream: StreamId.StreamId,
    options?: ReadOptions
  ) => Stream.Stream<Event.RecordedEvent, EventDecodeError | EventStoreError>

  /**
   * Reads at most `limit` events of a stream into an array, in order or backwards. For a few events it is many times as
   * fast as running the stream of `read`. Fails with an `EventDecodeError` if one of the events does not decode.
   */
  readonly readEvents: (
    stream: StreamId.StreamId,
    options: ReadEventsOptions
  ) => Effect.Effect<ReadonlyArray<Event.RecordedEvent>, EventDecodeError | EventStoreError>

  /**
   * Reads the feed, the events of all streams in the order of their positions, up to the end. The result includes
   * events that are appended during the read. A reader misses no event: if appends may commit out of order, the store
   * holds events back until no event can appear at an earlier position. The stream fails at an event that does not
   * decode.
   */
  readonly readAll: (
    options?: FeedModel.ReadAllOptions
  ) => Stream.Stream<Event.RecordedEvent, EventDecodeError | EventStoreError>

  /**
   * Reads one page of the feed. The page has the position from which a reader with this filter continues. An event that
   * does not decode is a value in the page. Fails with `InvalidInput` if it is certain that `after` is not a position
   * of this store.
   */
  readonly readPage: (options?: FeedModel.ReadPageOptions) => Effect.Effect<FeedModel.Page, EventStoreError>

  /**
   * Reads the position of the last event of the feed, or `Position.start` if it has none. No further event can appear
   * at this position or before it.
   */
  readonly head: Effect.Effect<Position.Position, EventStoreError>

  /**
   * Counts the events of the feed after a position, up to a limit, and gives the time of the first of them. It reads no
   * payload: its cost is that of a look at as many entries of an index. `limit` is 10,000 by default.
   */
  readonly countAfter: (
    after: Position.Position,
    options?: CountAfter.CountOptions
  ) => Effect.Effect<CountAfter.Counted, EventStoreError>

  /**
   * Lists the streams of an aggregate with their versions, in the order of the UTF-8 bytes of their ids. The cost
   * depends on `limit`, and not on the number of events.
   */
  readonly streams: (
    options: FeedModel.StreamsOptions
  ) => Effect.Effect<ReadonlyArray<FeedModel.ListedStream>, EventStoreError>

  /** Reads the version of a stream: the version of its last event, or 0 if it has no events. */
  readonly version: (stream: StreamId.StreamId) => Effect.Effect<number, EventStoreError>

  /**
   * Finds where the events with these ids are stored, in the order of the ids. The result omits ids that are not
   * stored. A look-up takes one statement for each thousand ids, and no statement for an empty list.
   */
  readonly find: (eventIds: ReadonlyArray<string>) => Effect.Effect<ReadonlyArray<FoundEvent>, EventStoreError>

  /**
   * Imports a history: events of any number of streams, in the order given, with their own times and ids. Each batch is
   * stored as a whole or not at all, and gives one element of progress.
   *
   * To resume an import that failed, run it again with the same events: it skips the events that are stored. The import
   * fails with a `VersionConflict` if a stream holds another event at the version of an imported event, or has too few
   * events before that version. It fails with a `DuplicateEventId` if an id belongs to another event. The import keeps
   * the last event of each of its streams in memory. Inline projections handle imported events from the feed.
   */
  readonly import: <E, R>(
    events: Stream.Stream<ImportedEvent, E, R>,
    options?: ImportOptions
  ) => Stream.Stream<ImportProgress, E | VersionConflict | DuplicateEventId | StreamDeleted | EventStoreError, R>

  /** Holds the operations that only repositories, `Streams` and `Retention` use. */
  readonly replay: ReplaySeam
}>() {}

export type {
  Appended,
  ArchivedContent,
  EncodedImport,
  FoundEvent,
  ImportDriver,
  ImportedEvent,
  ImportOptions,
  ImportProgress,
  InlineDriver,
  InlineHandler,
  InlineSeam,
  LifeDriver,
  LifeSeam,
  Place,
  ReaderOptions,
  ReplaySeam,
  SharedDatabase,
  SnapshotReader,
  TailEvent
}

export type { ReadEventsOptions, ReadOptions, ReadRange } from "./internal/store/readModel.js"

export type { AppendResult } from "./internal/store/appendResult.js"
export type { Counted, CountOptions } from "./internal/store/countAfter.js"

export type {
  ArchivedStream,
  ArchivedStreamOptions,
  OldArchiveDriver,
  OldContents
} from "./internal/store/oldArchives.js"
export type { Tombstone, TombstoneDriver, TombstoneOptions } from "./internal/store/tombstones.js"

export type {
  EncodedPage,
  EncodedPageOptions,
  ExcludedTypes,
  FeedFilter,
  ListedStream,
  Page,
  Partition,
  ReadAllOptions,
  ReadPageOptions,
  StreamsOptions
} from "./internal/store/feedModel.js"

export {
  DuplicateEventId,
  EventDecodeError,
  EventStoreError,
  HistoryGap,
  InlineProjectionError,
  StreamDeleted,
  VersionConflict
}

/**
 * The interface of a driver, which stores payloads as text. {@link makeEncoded} adds validation, encoding and paging.
 *
 * @since 0.1.0
 * @category drivers
 */
export interface Encoded {
  readonly append: (options: {
    readonly stream: StreamId.StreamId
    readonly events: Arr.NonEmptyReadonlyArray<Event.EncodedEvent>
    readonly expected: ExpectedVersion.ExpectedVersion
    /**
     * The time of the events that have none, in milliseconds since 1970 by the writer's clock. A server may use its own
     * clock instead.
     */
    readonly time: number
  }) => Effect.Effect<AppendResult, VersionConflict | DuplicateEventId | StreamDeleted | EventStoreError>
  /** Reads a page of a stream. It may end before its limit, to bound its length, if its last event is `continued`. */
  readonly read: (options: {
    readonly stream: StreamId.StreamId
    readonly fromVersion: number
    readonly toVersion: number
    readonly limit: number
    /** Whether the page begins at `toVersion` or at the last event before it, and goes backwards. */
    readonly reverse: boolean
  }) => Effect.Effect<ReadonlyArray<Event.EncodedRecord>, EventStoreError>
  readonly readPage: Feed.Driver["readPage"]
  readonly head: Feed.Driver["head"]
  readonly countAfter: CountAfter.Driver["countAfter"]
  readonly streams: Feed.Driver["streams"]
  readonly version: EventStore["Type"]["version"]
  /** Finds at most a thousand ids, all different. The result may be in any order. */
  readonly find: EventStore["Type"]["find"]
  readonly import: ImportDriver
  readonly readTail: ReplaySeam["readTail"]
  readonly withSnapshots: ReplaySeam["withSnapshots"]
  readonly inTransaction: ReplaySeam["inTransaction"]
  /** Needed if a failed statement aborts the transaction, as on PostgreSQL. Default: `Effect.exit`. */
  readonly attempt?: ReplaySeam["attempt"] | undefined
  /** Needed for inline projections. */
  readonly inline?: InlineDriver | undefined
  /** Needed for `Streams` and `Retention`. */
  readonly life?: LifeDriver | undefined
  /** Exists if the driver seals personal data. `Personal.driver` adds it. */
  readonly sealing?: Sealing["Type"] | undefined
}

/**
 * Makes an event store from a driver. The store validates and encodes its input, decodes its output, and reads in
 * pages.
 *
 * @example
 * ```ts
 * import { EventStore } from "effect-eventsourcing"
 * import { Layer } from "effect"
 *
 * const layer = (driver: EventStore.Encoded) =>
 *   Layer.succeed(EventStore.EventStore, EventStore.makeEncoded(driver))
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const makeEncoded = (driver: Encoded): EventStore["Type"] => storeOf(Archived.over(driver))

const storeOf = (driver: Encoded): EventStore["Type"] => {
  const listeners = Listeners.make()
  const inline = Inline.make(driver)
  return EventStore.of({
    append: (given, events, options) =>
      Effect.clockWith((clock) =>
        Input.whenReadable("append", given, () => {
          const stream = Input.streamOf(given)
          const input = Input.encodeAppend(stream, events, options)
          if (Either.isLeft(input)) {
            const problem = input.left
            return typeof problem === "string" ? problem : () => problem
          }
          const { events: encoded, expected } = input.right
          if (!Arr.isNonEmptyReadonlyArray(encoded)) return () => Checking.version(driver, stream, expected)
          const time = clock.unsafeCurrentTimeMillis()
          // a time outside the range of a date could be stored, but not read back
          if (!isDate(time)) return `the Clock gives ${time} for the time, which is ${noDate}`
          return () => listeners.after(inline.append({ stream, events: encoded, expected, time: Math.trunc(time) }))
        })
      ),
    read: (stream, options) =>
      Stream.unwrap(Input.whenReadable("read", stream, () => {
        const input = Input.readInput(stream, options)
        if (typeof input === "string") return input
        const limit = Math.min(input.pageSize, mostInPage)
        const { next, read, start } = Pages.ofRange(driver.read, stream, input)
        return () => Effect.succeed(Pages.stream(start, Pages.whileFull(limit, (at) => read(at, limit), next)))
      })),
    readEvents: (stream, options) =>
      Input.whenReadable("read", stream, () => {
        const input = Input.readEventsInput(stream, options)
        if (typeof input === "string") return input
        const { next, read, start } = Pages.ofRange(driver.read, stream, input)
        return () => Effect.flatMap(Pages.upTo(input.limit, start, read, next), Pages.decodeAll)
      }),
    readAll: (options) => Feed.readAll(driver, options),
    readPage: (options) => Feed.readPage(driver, options),
    head: driver.head,
    countAfter: (after, options) => CountAfter.countAfter(driver, after, options),
    streams: (options) => Feed.streams(driver, options),
    version: (stream) =>
      Input.whenReadable("version", stream, () => streamProblem(stream) ?? (() => driver.version(stream))),
    find: (eventIds) =>
      Input.whenReadable("find", undefined, () => {
        const ids = Find.input(eventIds)
        return typeof ids === "string" ? ids : () => Find.inChunks(ids, driver.find)
      }),
    import: (events, options) =>
      Stream.unwrap(Input.whenReadable("import", undefined, () => {
        const input = Import.input(events, options)
        return typeof input === "string"
          ? input
          : () => Effect.succeed(Import.run(driver, events, input).pipe(Stream.tap(() => listeners.ring)))
      })),
    replay: {
      readTail: (stream, options) =>
        Input.whenReadable("read", stream, () =>
          streamProblem(stream) ??
            Input.countProblem({ fromVersion: options?.fromVersion, limit: options?.limit }) ??
            (() => driver.readTail(stream, options))),
      withSnapshots: (snapshots) =>
        Option.map(driver.withSnapshots(snapshots), (shared): SharedDatabase => ({
          ...shared,
          read: (stream, options) =>
            Input.whenReadable("read", stream, () =>
              streamProblem(stream) ??
                Input.countProblem({ limit: options?.limit }) ??
                (() => shared.read(stream, options)))
        })),
      inTransaction: driver.inTransaction,
      attempt: driver.attempt ?? Effect.exit,
      onAppend: listeners.add,
      inline: inline.seam,
      lastRewritten: driver.life?.lastRewritten ?? (() => Effect.succeed(0)),
      life: Life.make(driver, listeners),
      sealing: Option.fromNullable(driver.sealing)
    }
  })
}

/**
 * Makes a store in memory. It keeps events as text, so that reading returns new objects.
 *
 * @example
 * ```ts
 * import { EventStore, StreamId } from "effect-eventsourcing"
 * import { Effect } from "effect"
 *
 * const version = Effect.flatMap(EventStore.makeMemory, (store) => store.version(StreamId.make("Account", "a")))
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const makeMemory: Effect.Effect<EventStore["Type"]> = Effect.map(Effect.serviceOption(Sealing), (sealing) => {
  const driver: Encoded = Memory.makeEvents()
  return makeEncoded({ ...driver, ...Personal.over(driver, sealing) })
})

/**
 * Provides a store in memory, for tests and experiments.
 *
 * @example
 * ```ts
 * import { EventStore, SnapshotStore } from "effect-eventsourcing"
 * import { Layer } from "effect"
 *
 * const StoresTest = Layer.merge(EventStore.layerMemory, SnapshotStore.layerMemory)
 * ```
 *
 * @since 0.1.0
 * @category layers
 */
export const layerMemory: Layer.Layer<EventStore> = Layer.effect(EventStore, makeMemory)
