// Truncates streams. Why: docs/decisions/0162-truncated-streams.md.
// Mechanism: a snapshot is verified first. Then one transaction appends the marker, gives the events to a sink if there is
// one, deletes the snapshots that give no state any more, saves the verified one again, and empties the rows. Events that
// others append meanwhile change nothing that the snapshot was folded from. If one of its events was rewritten meanwhile,
// the transaction is undone, and all is done again.
// Cost: a load and a full replay, and one transaction of nine statements, or ten.
import * as Chunk from "effect/Chunk"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import type * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import * as Event from "../../Event.js"
import * as ExpectedVersion from "../../ExpectedVersion.js"
import type * as Position from "../../Position.js"
import type * as Snapshot from "../../Snapshot.js"
import type { SnapshotStoreError } from "../../SnapshotStore.js"
import type * as StreamId from "../../StreamId.js"
import { maxVersion } from "../constants.js"
import { expectedOf } from "../expectedVersion.js"
import * as Markers from "../markers.js"
import { isRecord, unknownKey } from "../options.js"
import { isOvertaken, Overtaken } from "../overtaken.js"
import { streamProblem } from "../streamProblem.js"
import { quote } from "../text.js"
import * as Changing from "./changing.js"
import {
  type EventDecodeError,
  EventNotFound,
  type EventStoreError,
  HistoryGap,
  StreamDeleted,
  StreamNotFound,
  VersionConflict
} from "./eventErrors.js"
import * as Input from "./eventInput.js"
import type { ReadOptions } from "./readModel.js"
import type { Sealing } from "./sealing.js"

/**
 * Takes the events that a truncation is about to remove, in their order and page by page. Personal data is sealed, as it
 * is stored.
 *
 * @since 0.1.0
 * @category models
 */
export interface Sink<out E, out R> {
  (events: Stream.Stream<Event.RecordedEvent, EventDecodeError | EventStoreError>): Effect.Effect<void, E, R>
}

/**
 * The options of `truncate`.
 *
 * @since 0.1.0
 * @category models
 */
export interface TruncateOptions<out A, out E = never, out R = never> {
  /** The aggregate of the stream, which verifies the snapshot. */
  readonly aggregate: A
  /** The first version that keeps its content. */
  readonly before: number
  /**
   * - `archive`: the contents go to the archive, from which all reads take them.
   * - `remove`: the contents are deleted, also from the archive. This cannot be undone.
   * - a sink: it gets the events first. Then they are deleted, if it succeeds. It runs in the transaction, which may be
   *   repeated.
   */
  readonly events: "archive" | "remove" | Sink<E, R>
  /** The version that the stream must have. Default: any. */
  readonly expectedVersion?: ExpectedVersion.ExpectedVersion | undefined
  /**
   * Whether the proof of the snapshot is enough where full replay is not possible, because the beginning of the stream
   * was removed already. Default false: then the truncation fails with `HistoryGap`.
   */
  readonly unverified?: boolean | undefined
  /** Metadata of the marker, such as who truncated the stream and why. They are added to `Event.CurrentMetadata`. */
  readonly metadata?: Event.Metadata | undefined
}

/**
 * A stream that was truncated.
 *
 * @since 0.1.0
 * @category models
 */
export interface TruncatedStream {
  readonly stream: StreamId.StreamId
  readonly before: number
  /** How many events this truncation has archived or removed. */
  readonly events: number
  /** The marker. `None` if there was nothing to archive or to remove. */
  readonly marker: Option.Option<TruncationMarker>
}

/**
 * The marker of a truncation.
 *
 * @since 0.1.0
 * @category models
 */
export interface TruncationMarker {
  readonly version: number
  readonly position: Position.Position
  readonly time: DateTime.Utc
}

/** What a truncation works with. */
export interface Stores extends Changing.Stores {
  readonly read: (
    stream: StreamId.StreamId,
    options: ReadOptions
  ) => Stream.Stream<Event.RecordedEvent, EventDecodeError | EventStoreError>
  readonly sealing: Option.Option<Sealing["Type"]>
}

/** A snapshot that gives the same state as full replay. */
export interface Verified {
  /** As it is stored. */
  readonly snapshot: Snapshot.EncodedSnapshot
  /** No event was rewritten after this version of the stream. */
  readonly version: number
}

export type TruncateError =
  | StreamNotFound
  | StreamDeleted
  | EventNotFound
  | VersionConflict
  | EventStoreError
  | SnapshotStoreError

interface Truncation<out E, out R> {
  readonly before: number
  readonly events: TruncateOptions<never, E, R>["events"]
  readonly expected: ExpectedVersion.ExpectedVersion
  readonly marker: Event.EncodedEvent
}

export const truncate = <A extends { readonly name: string }, E, R, F>(
  stores: Stores,
  given: StreamId.StreamId,
  options: TruncateOptions<A, E, R>,
  verify: (stream: StreamId.StreamId, options: TruncateOptions<A, E, R>) => Effect.Effect<Verified, F>
): Effect.Effect<TruncatedStream, E | F | TruncateError, R> =>
  Effect.flatMap(
    Effect.all([Event.CurrentMetadata, Effect.flatten(Event.IdGenerator), Effect.context<R>()]),
    ([ambient, id, context]) =>
      Input.whenReadable("truncate", given, () => {
        const stream = Input.streamOf(given)
        const input = inputOf(stream, options, ambient, id)
        if (Either.isLeft(input)) return input.left
        return () => run(stores, stream, provided(input.right, context), verify(stream, options))
      })
  )

const inputOf = <A extends { readonly name: string }, E, R>(
  stream: StreamId.StreamId,
  options: TruncateOptions<A, E, R>,
  ambient: Event.Metadata,
  id: string
): Either.Either<Truncation<E, R>, string> => {
  const wrong = streamProblem(stream) ??
    (isRecord(options)
      ? undefined
      : `the options of truncate are ${quote(options)}; they must be a record with aggregate, before and events`) ??
    unknownKey("the options of truncate", options, known)
  if (wrong !== undefined) return Either.left(wrong)
  const { aggregate, before, events, expectedVersion = ExpectedVersion.streamExists, metadata, unverified } = options
  const name: unknown = isRecord(aggregate) ? aggregate.name : undefined
  if (name !== stream.aggregate) {
    return Either.left(`aggregate has the name ${quote(name)}, and the stream is one of ${quote(stream.aggregate)}`)
  }
  if (!("migrations" in aggregate && "decide" in aggregate)) {
    return Either.left("aggregate is not an aggregate from Aggregate.make")
  }
  if (!Number.isSafeInteger(before) || before < 2 || before > maxVersion) {
    return Either.left(`before is ${quote(before)}; it must be a whole number from 2 to ${maxVersion}`)
  }
  if (events !== "archive" && events !== "remove" && typeof events !== "function") {
    return Either.left(`events is ${quote(events)}; it must be "archive", "remove" or a function`)
  }
  if (unverified !== undefined && typeof unverified !== "boolean") {
    return Either.left(`unverified is ${quote(unverified)}; it must be true or false`)
  }
  if (metadata !== undefined && !isRecord(metadata)) return Either.left("metadata is not an object")
  return Either.flatMap(expectedOf(expectedVersion), (expected) =>
    Either.map(
      Input.encodeEvent({ id, type: "marker", payload: { before }, metadata: { ...ambient, ...metadata } }),
      (marker) => ({ before, events, expected, marker: { ...marker, type: Markers.truncated } })
    ))
}

const known = ["aggregate", "before", "events", "expectedVersion", "unverified", "metadata"]

/** Gives the sink its services. Those of the transaction come first. */
const provided = <E, R>(truncation: Truncation<E, R>, context: Context.Context<R>): Truncation<E, never> => {
  const { events } = truncation
  if (typeof events !== "function") return { ...truncation, events }
  return {
    ...truncation,
    events: (removed) =>
      Effect.mapInputContext(events(removed), (inner: Context.Context<never>) => Context.merge(context, inner))
  }
}

const run = <E, F>(
  stores: Stores,
  stream: StreamId.StreamId,
  truncation: Truncation<E, never>,
  verify: Effect.Effect<Verified, F>
): Effect.Effect<TruncatedStream, E | F | TruncateError> =>
  // a verification takes long enough for the others to end
  Effect.retry(attempt(stores, stream, truncation, verify), { times: 10, while: isOvertaken }).pipe(
    Effect.mapError((error) => isOvertaken(error) ? Changing.unusable("truncate", stream, overtaken, error) : error)
  )

const attempt = <E, F>(
  stores: Stores,
  stream: StreamId.StreamId,
  truncation: Truncation<E, never>,
  verify: Effect.Effect<Verified, F>
): Effect.Effect<TruncatedStream, E | F | TruncateError | Overtaken> =>
  Effect.gen(function*() {
    const { before, events, expected } = truncation
    const { life } = stores
    const last = yield* life.last(stream)
    if (Option.isNone(last)) return yield* new StreamNotFound({ stream })
    if (last.value.type === Markers.deleted) return yield* new StreamDeleted({ stream })
    if (last.value.version < before - 1) return yield* new EventNotFound({ stream, version: before - 1 })
    const nothing = Effect.map(life.left(stream, before), (left) => isNothing(events, left))
    if (yield* nothing) return { stream, before, events: 0, marker: Option.none() }
    const { max, min } = ExpectedVersion.bounds(expected)
    const actual = last.value.version
    if (actual < min || actual > max) return yield* new VersionConflict({ stream, expected, actual })
    // another truncation may remove the events while they are verified
    const verified = yield* Effect.catchIf(verify, isRemoved, (error) =>
      Effect.flatMap(nothing, (isLate): Effect.Effect<never, F | Overtaken> =>
        isLate ? new Overtaken() : Effect.fail(error)))
    return yield* empty(stores, stream, truncation, verified)
  })

/** Whether a truncation has nothing to archive or to remove. */
const isNothing = (
  events: Truncation<unknown, unknown>["events"],
  { archived, kept }: { readonly archived: number; readonly kept: number }
): boolean => kept === 0 && (events === "archive" || archived === 0)

const isRemoved = (error: unknown): boolean => error instanceof HistoryGap && error.removed === true

const overtaken = "its events were rewritten at every try while the snapshot was checked: begin again"

const empty = <E>(
  stores: Stores,
  stream: StreamId.StreamId,
  truncation: Truncation<E, never>,
  { snapshot, version }: Verified
): Effect.Effect<TruncatedStream, E | TruncateError | Overtaken> => {
  const { before, events, expected, marker } = truncation
  const { life, snapshots } = stores
  const proven = Effect.gen(function*() {
    if ((yield* life.lastRewritten(stream, version)) > 0) return yield* new Overtaken()
    const left = yield* life.left(stream, before)
    return isNothing(events, left) ? yield* new Overtaken() : left
  })
  const changed = Effect.gen(function*() {
    // before the marker, which a store without transactions would keep
    yield* proven
    // after whatever others have appended
    const marked = yield* Changing.mark("truncate", stores, stream, marker, expected)
    // and after it, so that nothing can come in between
    const { archived, kept } = yield* proven
    if (typeof events === "function") yield* give(stores, stream, events, before, archived + kept)
    // those of other schema versions would be found instead of one that can be migrated, and give no state any more
    if (events !== "archive") yield* snapshots.delete(stream, { versionBelow: before - 1 })
    yield* keep(stores, snapshot)
    const time = Math.trunc(yield* Clock.currentTimeMillis)
    yield* life.empty(stream, { before, archive: events === "archive", time })
    return {
      stream,
      before,
      events: events === "archive" ? kept : kept + archived,
      marker: Option.some(marked)
    }
  })
  return Effect.mapError(
    life.transaction(stream, changed),
    (error) => error._tag === "SinkFailed" ? error.error : error
  )
}

/**
 * Keeps the verified snapshot, which may have been deleted or replaced since. It takes the place of a newer one, which is
 * not verified. On PostgreSQL, a deletion of old snapshots that waits for this transaction would delete a row that stays.
 */
const keep = (
  { isShared, snapshots }: Stores,
  snapshot: Snapshot.EncodedSnapshot
): Effect.Effect<void, EventStoreError | SnapshotStoreError> => {
  const { schemaVersion, stream } = snapshot
  // in another database, a crash between the deletion and the save would leave none
  const saving = isShared
    ? Effect.zipRight(snapshots.delete(stream, { schemaVersion }), snapshots.save(snapshot))
    : snapshots.save(snapshot)
  return Effect.flatMap(
    saving,
    (outcome) =>
      outcome === "Discarded" ? Changing.unusable("truncate", stream, "the snapshot store keeps nothing") : Effect.void
  )
}

/** The failure of a sink, which may be anything. */
interface SinkFailed<out E> {
  readonly _tag: "SinkFailed"
  readonly error: E
  /** A failure of the database undoes the transaction, which is then repeated. */
  readonly cause: unknown
}

/** Gives the events to the sink. Where the beginning was removed, it gets the rest. */
const give = <E>(
  { read, sealing }: Stores,
  stream: StreamId.StreamId,
  sink: Sink<E, never>,
  before: number,
  count: number
): Effect.Effect<void, SinkFailed<E>> => {
  const events = read(stream, { fromVersion: before - count, toVersion: before - 1 })
  const given = Option.match(sealing, {
    onNone: () => events,
    onSome: (sealing) => Stream.mapChunksEffect(events, (page) => sealed(stream, sealing, page))
  })
  return Effect.mapError(
    Effect.suspend(() => sink(given)),
    (error): SinkFailed<E> => ({ _tag: "SinkFailed", error, cause: error })
  )
}

const sealed = (
  stream: StreamId.StreamId,
  { seal }: Sealing["Type"],
  page: Chunk.Chunk<Event.RecordedEvent>
): Effect.Effect<Chunk.Chunk<Event.RecordedEvent>, EventStoreError> => {
  const texts = Array.from(page, ({ payload }) => ({ kind: "event" as const, stream, text: JSON.stringify(payload) }))
  return Effect.mapBoth(seal(texts), {
    onFailure: ({ message }) => Changing.unusable("truncate", stream, `the events cannot be sealed: ${message}`),
    onSuccess: (texts) => Chunk.map(page, (event, index) => ({ ...event, payload: JSON.parse(texts[index]) }))
  })
}
