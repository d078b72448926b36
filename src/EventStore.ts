/**
 * Keeps streams of events, and the order over all of them.
 *
 * @since 0.1.0
 */
import * as Arr from "effect/Array"
import * as Chunk from "effect/Chunk"
import * as Context from "effect/Context"
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import type * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import * as Event from "./Event.js"
import * as ExpectedVersion from "./ExpectedVersion.js"
import { isDate, noDate } from "./internal/constants.js"
import { unknownKey } from "./internal/options.js"
import * as Json from "./internal/schema/json.js"
import { reason } from "./internal/schema/reason.js"
import { judge } from "./internal/sql/appendVerdict.js"
import { streamProblem } from "./internal/streamProblem.js"
import { keyProblem, quote, unreadable } from "./internal/text.js"
import * as Position from "./Position.js"
import type * as Snapshot from "./Snapshot.js"
import type { GetOptions, SnapshotStore } from "./SnapshotStore.js"
import * as StreamId from "./StreamId.js"

/**
 * @since 0.1.0
 * @category services
 */
export class EventStore extends Context.Tag("effect-eventsourcing/EventStore")<EventStore, {
  /**
   * Appends events to a stream, all or none, if its version is as expected.
   *
   * It is safe to repeat after a lost acknowledgement: where the stream already holds these very event ids right after
   * the expected version, the append succeeds with their original versions. No events append nothing, but the
   * expectation is checked all the same.
   */
  readonly append: (
    stream: StreamId.StreamId,
    events: ReadonlyArray<Event.ProposedEvent>,
    options: { readonly expectedVersion: ExpectedVersion.ExpectedVersion }
  ) => Effect.Effect<AppendResult, VersionConflict | DuplicateEventId | EventStoreError>

  /**
   * The events of a stream in order, read in pages while the consumer asks for more.
   */
  readonly read: (
    stream: StreamId.StreamId,
    options?: ReadOptions
  ) => Stream.Stream<Event.RecordedEvent, EventDecodeError | EventStoreError>

  /**
   * The events of all streams after a position, in the order of positions, until there are no more: what is appended
   * while it reads is read too. No event appears later before one that was given: where appends may commit out of order,
   * what is not settled yet is held back.
   */
  readonly readAll: (
    options?: ReadAllOptions
  ) => Stream.Stream<Event.RecordedEvent, EventDecodeError | EventStoreError>

  /**
   * The version of a stream: that of its last event, 0 without events.
   */
  readonly version: (stream: StreamId.StreamId) => Effect.Effect<number, EventStoreError>

  /**
   * Serves the repositories. Programs need none of it.
   */
  readonly replay: ReplaySeam
}>() {}

/**
 * @since 0.1.0
 * @category models
 */
export interface AppendResult {
  /** The version of the last event appended; for no events, the version of the stream. */
  readonly version: number
  /** The position of the last event appended; none for no events. */
  readonly position: Option.Option<Position.Position>
}

/**
 * @since 0.1.0
 * @category models
 */
export interface ReadOptions {
  /** The first version to read. Default 1. */
  readonly fromVersion?: number | undefined
  /** The last version to read. Default: up to the end. */
  readonly toVersion?: number | undefined
  /** How many events are read at a time. Default 1,000. */
  readonly pageSize?: number | undefined
}

/**
 * @since 0.1.0
 * @category models
 */
export interface ReadAllOptions {
  /** Read what stands after this position. Default: from the start. */
  readonly after?: Position.Position | undefined
  /** Only the streams of this aggregate. */
  readonly aggregate?: string | undefined
  /** How many events are read at a time. Default 1,000. */
  readonly pageSize?: number | undefined
}

/**
 * The operations that only repositories use. A store that wraps another one passes them on:
 * `{ ...store, replay: { ...store.replay, readTail } }`.
 *
 * @since 0.1.0
 * @category models
 */
export interface ReplaySeam {
  /**
   * Reads one page of the events that a replay folds, with the fields that a fold needs.
   */
  readonly readTail: (
    stream: StreamId.StreamId,
    options: { readonly fromVersion: number; readonly limit: number }
  ) => Effect.Effect<ReadonlyArray<TailEvent>, EventStoreError>

  /**
   * Gives the operations that need both stores in one database: reading a snapshot and its tail in one round trip, and
   * writing both in one transaction. Stores in different databases give `Option.none()`.
   */
  readonly withSnapshots: (snapshots: SnapshotStore["Type"]) => Option.Option<SharedDatabase>

  /**
   * Tells whether the calling fiber is inside an open transaction of this store. Events appended there may still be
   * rolled back.
   */
  readonly inTransaction: Effect.Effect<boolean>

  /**
   * Runs an effect and gives its exit, for a caller that continues after a failure. Inside an open transaction of this
   * store a failure undoes the effect's own statements and leaves the transaction usable. If the transaction itself is
   * lost, `attempt` fails.
   */
  readonly attempt: <A, E>(effect: Effect.Effect<A, E>) => Effect.Effect<Exit.Exit<A, unknown>, EventStoreError>
}

/**
 * @since 0.1.0
 * @category models
 */
export interface TailEvent {
  readonly version: number
  readonly type: string
  /** The encoded event as JSON text. */
  readonly payload: string
  /** Given for the first event asked for and for the last of those that are given; between them it may be `null`. */
  readonly eventId: string | null
}

/**
 * @since 0.1.0
 * @category models
 */
export interface SharedDatabase {
  readonly read: SnapshotReader
  /**
   * Runs what it is given in one transaction, that of the caller if there is one. A transaction that could not begin or
   * commit is an `EventStoreError` too.
   */
  readonly transaction: <A, E>(effect: Effect.Effect<A, E>) => Effect.Effect<A, E | EventStoreError>
}

/**
 * @since 0.1.0
 * @category models
 */
export interface SnapshotReader {
  (stream: StreamId.StreamId, options: ReaderOptions): Effect.Effect<
    {
      /** What `SnapshotStore.get` would give. */
      readonly snapshot: Option.Option<Snapshot.EncodedSnapshot>
      /**
       * The tail from the snapshot's own version on if schema version and fingerprint fit or it is migratable, else from
       * version 1.
       */
      readonly events: ReadonlyArray<TailEvent>
    },
    EventStoreError
  >
}

/**
 * @since 0.1.0
 * @category models
 */
export interface ReaderOptions extends GetOptions {
  /** The fingerprint that a snapshot of the schema version must have. Without one, any will do. */
  readonly fingerprint?: string | undefined
  readonly limit: number
}

/**
 * @since 0.1.0
 * @category errors
 */
export class VersionConflict extends Schema.TaggedError<VersionConflict>("effect-eventsourcing/VersionConflict")(
  "VersionConflict",
  {
    stream: StreamId.StreamId,
    expected: ExpectedVersion.ExpectedVersion,
    /** The version that the stream has. */
    actual: Schema.Number
  }
) {
  /**
   * @since 0.1.0
   */
  override get message(): string {
    return `${StreamId.format(this.stream)} is at version ${this.actual}, the writer expected ` +
      `${ExpectedVersion.format(this.expected)}: load again and decide anew`
  }
}

/**
 * An event id of this append already belongs to another event, or stands twice in the append.
 *
 * @since 0.1.0
 * @category errors
 */
export class DuplicateEventId extends Schema.TaggedError<DuplicateEventId>("effect-eventsourcing/DuplicateEventId")(
  "DuplicateEventId",
  {
    stream: StreamId.StreamId,
    eventId: Schema.String
  }
) {
  /**
   * @since 0.1.0
   */
  override get message(): string {
    return `event id ${quote(this.eventId)} in an append to ${StreamId.format(this.stream)} already belongs to ` +
      `another event: give every event an id of its own`
  }
}

/**
 * A stored event that no longer decodes. Nothing is skipped: the load fails until the code can read it again.
 *
 * @since 0.1.0
 * @category errors
 */
export class EventDecodeError extends Schema.TaggedError<EventDecodeError>("effect-eventsourcing/EventDecodeError")(
  "EventDecodeError",
  {
    stream: StreamId.StreamId,
    version: Schema.Number,
    type: Schema.String,
    cause: Schema.Defect
  }
) {
  /**
   * @since 0.1.0
   */
  override get message(): string {
    return `event ${this.version} of ${StreamId.format(this.stream)}, of type ${quote(this.type)}, does not decode: ` +
      reason(this.cause)
  }
}

/**
 * The stream lacks an event that a replay needs: its beginning was archived, or a row was lost.
 *
 * @since 0.1.0
 * @category errors
 */
export class HistoryGap extends Schema.TaggedError<HistoryGap>("effect-eventsourcing/HistoryGap")("HistoryGap", {
  stream: StreamId.StreamId,
  expected: Schema.Number,
  actual: Schema.Number
}) {
  /**
   * @since 0.1.0
   */
  override get message(): string {
    return `${StreamId.format(this.stream)} has no event ${this.expected}, the next one it holds is ${this.actual}: ` +
      `restore the missing events`
  }
}

/**
 * The store could not do what it was asked: the input is one that no store can keep (`InvalidInput`), the database
 * failed (`Unavailable`), or a repository with a `maxReplay` gave up a replay (`ReplayTooLong`).
 *
 * `mayHaveAppended` is true where an append was on its way when the failure came, so that nobody knows whether it
 * happened. Repeat it with the same event ids: it will happen once.
 *
 * @since 0.1.0
 * @category errors
 */
export class EventStoreError extends Schema.TaggedError<EventStoreError>("effect-eventsourcing/EventStoreError")(
  "EventStoreError",
  {
    operation: Schema.Literal("append", "read", "readAll", "version"),
    stream: Schema.optional(StreamId.StreamId),
    reason: Schema.Literal("InvalidInput", "Unavailable", "ReplayTooLong"),
    mayHaveAppended: Schema.Boolean,
    detail: Schema.String,
    cause: Schema.optional(Schema.Defect)
  }
) {
  /**
   * @since 0.1.0
   */
  override get message(): string {
    const subject = this.stream === undefined ? "" : ` of ${StreamId.format(this.stream)}`
    return `EventStore.${this.operation}${subject}: ${this.detail}` +
      (this.mayHaveAppended ? " (the append may have happened: repeat it with the same event ids)" : "")
  }
}

/**
 * What a driver implements: text and numbers in, text and numbers out. {@link makeEncoded} adds guards, encoding and
 * paging.
 *
 * @since 0.1.0
 * @category drivers
 */
export interface Encoded {
  readonly append: (options: {
    readonly stream: StreamId.StreamId
    readonly events: Arr.NonEmptyReadonlyArray<EncodedEvent>
    readonly expected: ExpectedVersion.ExpectedVersion
    /** Milliseconds since 1970, by the writer's clock; a server with a clock of its own may use that. */
    readonly time: number
  }) => Effect.Effect<AppendResult, VersionConflict | DuplicateEventId | EventStoreError>
  readonly read: (options: {
    readonly stream: StreamId.StreamId
    readonly fromVersion: number
    readonly toVersion: number
    readonly limit: number
  }) => Effect.Effect<ReadonlyArray<EncodedRecord>, EventStoreError>
  readonly readAll: (options: {
    readonly after: Position.Position
    readonly aggregate: string | undefined
    readonly limit: number
  }) => Effect.Effect<ReadonlyArray<EncodedRecord>, EventStoreError>
  readonly version: EventStore["Type"]["version"]
  readonly readTail: ReplaySeam["readTail"]
  readonly withSnapshots: ReplaySeam["withSnapshots"]
  readonly inTransaction: ReplaySeam["inTransaction"]
  /** Needed where a failed statement aborts the transaction, as on PostgreSQL. Default: `Effect.exit`. */
  readonly attempt?: ReplaySeam["attempt"] | undefined
}

/**
 * @since 0.1.0
 * @category drivers
 */
export interface EncodedEvent {
  readonly id: string
  readonly type: string
  /** JSON text. */
  readonly payload: string
  /** JSON text of a record. */
  readonly metadata: string
}

/**
 * @since 0.1.0
 * @category drivers
 */
export interface EncodedRecord extends EncodedEvent {
  readonly stream: StreamId.StreamId
  readonly version: number
  readonly position: Position.Position
  /** Milliseconds since 1970. */
  readonly time: number
}

/**
 * An event store over a driver.
 *
 * @since 0.1.0
 * @category constructors
 */
export const makeEncoded = (driver: Encoded): EventStore["Type"] => {
  const append: EventStore["Type"]["append"] = (stream, events, options) =>
    Effect.clockWith((clock) =>
      whenReadable("append", stream, () => {
        const problem = streamProblem(stream) ?? appendProblem(events, options)
        if (problem !== undefined) return problem
        const encoded: Array<EncodedEvent> = []
        let length = 0
        const ids = new Set<string>()
        for (const [index, event] of events.entries()) {
          const result = encodeEvent(event)
          if (Either.isLeft(result)) return `event ${index + 1} of ${events.length}: ${result.left}`
          const { id, metadata, payload } = result.right
          if (ids.has(id)) return () => new DuplicateEventId({ stream, eventId: id })
          ids.add(id)
          encoded.push(result.right)
          length += payload.length + metadata.length
          if (length > maxAppendLength) {
            return `event ${index + 1} of ${events.length}: with it the append is longer than ${maxAppendLength} ` +
              "characters of JSON, more than a statement can take: append fewer at a time"
          }
        }
        const expected = options.expectedVersion
        if (!Arr.isNonEmptyReadonlyArray(encoded)) return () => expectVersion(stream, expected)
        const now = clock.unsafeCurrentTimeMillis()
        // what is beyond a date could be stored, and never be read again
        if (!isDate(now)) return `the Clock gives ${now} for the time, which is ${noDate}`
        return () => driver.append({ stream, events: encoded, expected, time: Math.trunc(now) })
      })
    )

  const expectVersion = (
    stream: StreamId.StreamId,
    expected: ExpectedVersion.ExpectedVersion
  ): Effect.Effect<AppendResult, VersionConflict | EventStoreError> => {
    const { max, min } = ExpectedVersion.bounds(expected)
    return Effect.flatMap(driver.version(stream), (version) =>
      version < min || version > max
        ? new VersionConflict({ stream, expected, actual: version })
        : Effect.succeed({ version, position: Option.none() }))
  }

  const read: EventStore["Type"]["read"] = (stream, options) =>
    Stream.unwrap(whenReadable("read", stream, () => {
      const wrong = streamProblem(stream) ??
        unknownKey("the options of read", options, ["fromVersion", "toVersion", "pageSize"])
      if (wrong !== undefined) return wrong
      const { fromVersion = 1, pageSize = defaultPageSize, toVersion = Number.MAX_SAFE_INTEGER } = options ?? {}
      const problem = countProblem({ fromVersion, pageSize }) ??
        (Number.isSafeInteger(toVersion) && toVersion >= 0
          ? undefined
          : `toVersion is ${quote(toVersion)}; it must be a whole number, 0 or more`)
      if (problem !== undefined) return problem
      const pages = Stream.paginateChunkEffect(fromVersion, (from) =>
        Effect.flatMap(
          driver.read({ stream, fromVersion: from, toVersion, limit: pageSize }),
          (records) => {
            const next = records.length < pageSize ? undefined : records[records.length - 1].version + 1
            return decodePage(records, next)
          }
        ))
      return () => Effect.succeed(pages)
    }))

  const readAll: EventStore["Type"]["readAll"] = (options) =>
    Stream.unwrap(whenReadable("readAll", undefined, () => {
      const wrong = unknownKey("the options of readAll", options, ["after", "aggregate", "pageSize"])
      if (wrong !== undefined) return wrong
      const { after = Position.start, aggregate, pageSize = defaultPageSize } = options ?? {}
      const problem = countProblem({ pageSize }) ??
        (aggregate === undefined ? undefined : streamProblem(StreamId.make(aggregate, "-"))) ??
        (Schema.is(Position.Position)(after)
          ? undefined
          : `after is ${quote(after)}; it must be a position of this store`)
      if (problem !== undefined) return problem
      const pages = Stream.paginateChunkEffect(
        after,
        (position) =>
          Effect.flatMap(driver.readAll({ after: position, aggregate, limit: pageSize }), (records) => {
            const next = records.length < pageSize ? undefined : records[records.length - 1].position
            return decodePage(records, next)
          })
      )
      return () => Effect.succeed(pages)
    }))

  return EventStore.of({
    append,
    read,
    readAll,
    version: (stream) => whenReadable("version", stream, () => streamProblem(stream) ?? (() => driver.version(stream))),
    replay: {
      readTail: (stream, options) =>
        whenReadable("read", stream, () =>
          streamProblem(stream) ??
            countProblem({ fromVersion: options?.fromVersion, limit: options?.limit }) ??
            (() => driver.readTail(stream, options))),
      withSnapshots: (snapshots) =>
        Option.map(driver.withSnapshots(snapshots), (shared): SharedDatabase => ({
          ...shared,
          read: (stream, options) =>
            whenReadable("read", stream, () =>
              streamProblem(stream) ??
                countProblem({ limit: options?.limit }) ??
                (() => shared.read(stream, options)))
        })),
      inTransaction: driver.inTransaction,
      attempt: driver.attempt ?? Effect.exit
    }
  })
}

/**
 * A store in memory. It keeps what it is given as text: nothing read back is an object that was written.
 *
 * @since 0.1.0
 * @category constructors
 */
export const makeMemory: Effect.Effect<EventStore["Type"]> = Effect.sync(() => {
  const all: Array<EncodedRecord> = []
  const byId = new Map<string, EncodedRecord>()
  const streams = new Map<string, Map<string, Array<EncodedRecord>>>()
  const eventsOf = (stream: StreamId.StreamId): ReadonlyArray<EncodedRecord> =>
    streams.get(stream.aggregate)?.get(stream.id) ?? []
  const writable = (stream: StreamId.StreamId): Array<EncodedRecord> => {
    const ids = streams.get(stream.aggregate) ?? new Map<string, Array<EncodedRecord>>()
    streams.set(stream.aggregate, ids)
    const events = ids.get(stream.id) ?? []
    ids.set(stream.id, events)
    return events
  }

  return makeEncoded({
    append: (options) =>
      Effect.suspend((): Effect.Effect<AppendResult, VersionConflict | DuplicateEventId> => {
        const stream = StreamId.make(options.stream.aggregate, options.stream.id)
        const head = eventsOf(stream).length
        const { max, min } = ExpectedVersion.bounds(options.expected)
        const standing = options.events.flatMap((event) => byId.get(event.id) ?? [])
        if (head < min || head > max || standing.length > 0) {
          const verdict = judge({
            expected: options.expected,
            head,
            ids: options.events.map((event) => event.id),
            standing: standing.map((event) => ({
              id: event.id,
              sameStream: event.stream.aggregate === stream.aggregate && event.stream.id === stream.id,
              version: event.version
            }))
          })
          switch (verdict._tag) {
            case "Repeated":
              return Effect.succeed({
                version: verdict.version,
                position: Option.fromNullable(eventsOf(stream)[verdict.version - 1]?.position)
              })
            case "Duplicate":
              return new DuplicateEventId({ stream, eventId: verdict.id })
            case "Conflict":
              return new VersionConflict({ stream, expected: options.expected, actual: head })
          }
        }
        const events = writable(stream)
        for (const event of options.events) {
          const record: EncodedRecord = {
            ...event,
            stream,
            version: events.length + 1,
            position: Position.fromParts(0, all.length + 1),
            time: options.time
          }
          events.push(record)
          all.push(record)
          byId.set(record.id, record)
        }
        return Effect.succeed({ version: events.length, position: Option.some(all[all.length - 1].position) })
      }),
    read: ({ fromVersion, limit, stream, toVersion }) =>
      Effect.sync(() =>
        eventsOf(stream).slice(fromVersion - 1, Math.min(fromVersion - 1 + limit, toVersion)).map(handedOut)
      ),
    readAll: ({ after, aggregate, limit }) =>
      Effect.sync(() => {
        const page: Array<EncodedRecord> = []
        const start = Number(Position.toParts(after).sequence)
        for (let i = start; i < all.length && page.length < limit; i++) {
          if (aggregate === undefined || all[i].stream.aggregate === aggregate) page.push(handedOut(all[i]))
        }
        return page
      }),
    version: (stream) => Effect.sync(() => eventsOf(stream).length),
    readTail: (stream, { fromVersion, limit }) =>
      Effect.sync(() =>
        eventsOf(stream).slice(fromVersion - 1, fromVersion - 1 + limit).map((event) => ({
          version: event.version,
          type: event.type,
          payload: event.payload,
          eventId: event.id
        }))
      ),
    withSnapshots: () => Option.none(),
    inTransaction: Effect.succeed(false)
  })
})

/**
 * A store in memory, for tests and for trying things out.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerMemory: Layer.Layer<EventStore> = Layer.effect(EventStore, makeMemory)

// -------------------------------------------------------------------------------------
// internal
// -------------------------------------------------------------------------------------

const defaultPageSize = 1_000

// what is in the store nothing outside it can change
const handedOut = (record: EncodedRecord): EncodedRecord => ({ ...record, stream: { ...record.stream } })

// escaped in one text, this is still below the longest string of V8, the longest value of SQLite and of PostgreSQL
const maxAppendLength = 200_000_000

const invalidInput = (
  operation: EventStoreError["operation"],
  stream: StreamId.StreamId | undefined,
  detail: string,
  cause?: unknown
): EventStoreError =>
  new EventStoreError({
    operation,
    // the stream may be what is wrong: it must not make the error fail too
    ...(stream === undefined ? {} : { stream: shown(stream) }),
    reason: "InvalidInput",
    mayHaveAppended: false,
    detail,
    ...(cause === undefined ? {} : { cause })
  })

const shown = (stream: StreamId.StreamId | null): StreamId.StreamId => {
  try {
    return StreamId.make(String(stream?.aggregate), String(stream?.id))
  } catch {
    return StreamId.make("?", "?")
  }
}

/**
 * Reads what a program gave, which has no types where the program has none, and then does what it asks for. What is read
 * gives a problem, or what is to be done; where reading throws, that is the problem.
 */
const whenReadable = <A, E>(
  operation: EventStoreError["operation"],
  stream: StreamId.StreamId | undefined,
  read: () => string | (() => Effect.Effect<A, E>)
): Effect.Effect<A, E | EventStoreError> => {
  let outcome: ReturnType<typeof read>
  try {
    outcome = read()
  } catch (cause) {
    return invalidInput(operation, stream, unreadable, cause)
  }
  return typeof outcome === "string" ? invalidInput(operation, stream, outcome) : outcome()
}

const isExpectedVersion = Schema.is(ExpectedVersion.ExpectedVersion)

const appendProblem = (
  events: unknown,
  options: { readonly expectedVersion: ExpectedVersion.ExpectedVersion } | undefined
): string | undefined => {
  if (!Array.isArray(events)) return `the events are ${typeof events}, not an array`
  const expected = options?.expectedVersion
  if (!isExpectedVersion(expected)) return "the expected version is none that ExpectedVersion makes"
  return expected._tag !== "Exact" || (Number.isSafeInteger(expected.version) && expected.version >= 0)
    ? unknownKey("the options of append", options, ["expectedVersion"])
    : `the expected version is ${expected.version}; it must be a whole number, 0 or more`
}

const countProblem = (counts: Readonly<Record<string, unknown>>): string | undefined => {
  for (const [name, count] of Object.entries(counts)) {
    if (typeof count !== "number" || !Number.isSafeInteger(count) || count < 1) {
      return `${name} is ${quote(count)}; it must be a whole number, 1 or more`
    }
  }
  return undefined
}

const encodeEvent = (event: Event.ProposedEvent): Either.Either<EncodedEvent, string> => {
  if (!isRecord(event)) return Either.left("it is no record")
  // each is read once: an accessor may give something else the next time
  const { id, type } = event
  const idProblem = keyProblem(id, Event.maxIdBytes)
  if (idProblem !== undefined) return Either.left(`its id ${idProblem}`)
  const typeProblem = keyProblem(type, Event.maxTypeBytes)
  if (typeProblem !== undefined) return Either.left(`its type ${typeProblem}`)
  const payload = Json.stringify(event.payload)
  if (Either.isLeft(payload)) return Either.left(`its payload at ${payload.left.path} ${payload.left.reason}`)
  const metadata = Json.stringify(event.metadata ?? {})
  if (Either.isLeft(metadata)) return Either.left(`its metadata at ${metadata.left.path} ${metadata.left.reason}`)
  if (!metadata.right.startsWith("{")) return Either.left(`its metadata is no record`)
  return Either.right({ id, type, payload: payload.right, metadata: metadata.right })
}

const decodePage = <Next>(
  records: ReadonlyArray<EncodedRecord>,
  next: Next | undefined
): Effect.Effect<
  readonly [Chunk.Chunk<Event.RecordedEvent>, Option.Option<Next>],
  EventDecodeError
> => {
  const events: Array<Event.RecordedEvent> = []
  for (const record of records) {
    const { id, position, stream, type, version } = record
    const payload = Json.parse(record.payload)
    if (Either.isLeft(payload)) return new EventDecodeError({ stream, version, type, cause: payload.left })
    const metadata = Either.filterOrLeft(
      Json.parse(record.metadata),
      isRecord,
      () => new Error("metadata is no record")
    )
    if (Either.isLeft(metadata)) return new EventDecodeError({ stream, version, type, cause: metadata.left })
    const time = DateTime.make(record.time)
    if (Option.isNone(time)) {
      return new EventDecodeError({ stream, version, type, cause: new Error(`its time is ${record.time}`) })
    }
    events.push({
      id,
      stream,
      version,
      position,
      type,
      payload: payload.right,
      time: DateTime.toUtc(time.value),
      metadata: metadata.right
    })
  }
  return Effect.succeed([Chunk.unsafeFromArray(events), Option.fromNullable(next)])
}

const isRecord = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value)
