// Rewrites events. Why: docs/decisions/0161-rewritten-events.md.
// Mechanism: one transaction replaces the event, appends the marker and deletes the snapshots. The event comes first: a
// store without transactions may give the new event before the marker, but never the old one after it.
// Cost: one transaction of four statements.
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Option from "effect/Option"
import * as Event from "../../Event.js"
import * as ExpectedVersion from "../../ExpectedVersion.js"
import type * as Position from "../../Position.js"
import type { SnapshotStoreError } from "../../SnapshotStore.js"
import type * as StreamId from "../../StreamId.js"
import { maxVersion } from "../constants.js"
import { isEmptied } from "../emptied.js"
import * as Markers from "../markers.js"
import { isRecord, unknownKey } from "../options.js"
import { unknownType } from "../schema/eventCodec.js"
import * as Json from "../schema/json.js"
import { streamProblem } from "../streamProblem.js"
import { quote } from "../text.js"
import * as Changing from "./changing.js"
import type { Stores } from "./changing.js"
import {
  EventDecodeError,
  EventNotFound,
  EventStoreError,
  type HistoryGap,
  removedContent,
  StreamDeleted,
  StreamNotFound
} from "./eventErrors.js"
import * as Input from "./eventInput.js"
import * as Overtaking from "./overtaking.js"
import type { AnyDecodable } from "./recorded.js"

/**
 * The options of `rewrite`.
 *
 * @since 0.1.0
 * @category models
 */
export interface RewriteOptions {
  /** The aggregate of the stream. Its event schema must be able to read the new payload. */
  readonly aggregate: AnyDecodable
  /** Metadata of the marker, such as who rewrote the event and why. They are added to `Event.CurrentMetadata`. */
  readonly metadata?: Event.Metadata | undefined
}

/**
 * An event that was rewritten.
 *
 * @since 0.1.0
 * @category models
 */
export interface RewrittenEvent {
  readonly stream: StreamId.StreamId
  /** The version of the event that was rewritten. */
  readonly version: number
  /** The version of the marker, which is the last event of the stream. */
  readonly marker: number
  /** The position of the marker in the feed. */
  readonly position: Position.Position
  /** The time of the marker. */
  readonly time: DateTime.Utc
}

/**
 * The errors of `rewrite`.
 *
 * @since 0.1.0
 * @category errors
 */
export type RewriteError =
  | StreamNotFound
  | StreamDeleted
  | EventNotFound
  | EventDecodeError
  | HistoryGap
  | EventStoreError
  | SnapshotStoreError

interface Rewriting {
  readonly aggregate: AnyDecodable
  readonly version: number
  readonly payload: string
  readonly metadata: Event.Metadata
  readonly marker: Event.EncodedEvent
}

export const rewrite = (
  stores: Stores,
  given: StreamId.StreamId,
  version: number,
  payload: unknown,
  options: RewriteOptions
): Effect.Effect<RewrittenEvent, RewriteError> =>
  Effect.flatMap(
    Effect.all([Event.CurrentMetadata, Effect.flatten(Event.IdGenerator)]),
    ([ambient, id]) =>
      Input.whenReadable("rewrite", given, () => {
        const stream = Input.streamOf(given)
        const input = inputOf(stream, version, payload, options, ambient, id)
        return Either.isLeft(input) ? input.left : () => run(stores, stream, input.right)
      })
  )

const inputOf = (
  stream: StreamId.StreamId,
  version: number,
  payload: unknown,
  options: RewriteOptions,
  ambient: Event.Metadata,
  id: string
): Either.Either<Rewriting, string> => {
  const wrong = streamProblem(stream) ?? versionProblem(version) ??
    (isRecord(options)
      ? undefined
      : `the options of rewrite are ${quote(options)}; they must be a record with aggregate`) ??
    unknownKey("the options of rewrite", options, ["aggregate", "metadata"])
  if (wrong !== undefined) return Either.left(wrong)
  const { aggregate, metadata } = options
  const name: unknown = isRecord(aggregate) ? aggregate.name : undefined
  if (name !== stream.aggregate) {
    return Either.left(`aggregate has the name ${quote(name)}, and the stream is one of ${quote(stream.aggregate)}`)
  }
  if (metadata !== undefined && !isRecord(metadata)) return Either.left("metadata is not an object")
  const all = { ...ambient, ...metadata }
  const text = Json.stringify(payload)
  if (Either.isLeft(text)) return Either.left(`the payload at ${text.left.path} ${text.left.reason}`)
  if (text.right.length > Input.maxAppendLength) {
    return Either.left(`the payload is longer than ${Input.maxAppendLength} characters of JSON`)
  }
  return Either.map(
    Input.encodeEvent({ id, type: "marker", payload: { version }, metadata: all }),
    (marker) => ({
      aggregate,
      version,
      payload: text.right,
      metadata: all,
      marker: { ...marker, type: Markers.rewritten }
    })
  )
}

const versionProblem = (version: number): string | undefined =>
  Number.isSafeInteger(version) && version >= 1 && version <= maxVersion
    ? undefined
    : `the version is ${quote(version)}; it must be a whole number from 1 to ${maxVersion}`

const run = (
  stores: Stores,
  stream: StreamId.StreamId,
  rewriting: Rewriting
): Effect.Effect<RewrittenEvent, RewriteError> =>
  Changing.change(
    stores,
    stream,
    Effect.gen(function*() {
      const { life } = stores
      yield* Effect.retry(replace(life, stream, rewriting), {
        schedule: Overtaking.schedule(100),
        while: (error) => error === "Overtaken"
      }).pipe(Effect.mapError((error) => error === "Overtaken" ? overtaken(stream) : error))
      const marked = yield* Effect.catchTag(
        Changing.mark("rewrite", stores, stream, rewriting.marker, ExpectedVersion.streamExists),
        "VersionConflict",
        () => new StreamNotFound({ stream })
      )
      // after the marker, so that no truncation can come in between
      if (Option.exists(yield* life.at(stream, 1), isEmptied)) return yield* removedContent(stream, 1)
      return { ...marked, stream, version: rewriting.version, marker: marked.version }
    }),
    ({ marker }) => ({ versionBelow: marker })
  )

/** Replaces the event, unless another rewrite of it comes in between. */
const replace = (
  life: Stores["life"],
  stream: StreamId.StreamId,
  { aggregate, marker, metadata, payload, version }: Rewriting
): Effect.Effect<void, RewriteError | "Overtaken"> =>
  Effect.gen(function*() {
    const last = yield* life.last(stream)
    if (Option.isNone(last)) return yield* new StreamNotFound({ stream })
    if (last.value.type === Markers.deleted) return yield* new StreamDeleted({ stream })
    if (Option.exists(yield* life.at(stream, 1), isEmptied)) return yield* removedContent(stream, 1)
    const found = yield* life.at(stream, version)
    if (Option.isNone(found)) return yield* new EventNotFound({ stream, version })
    if (isEmptied(found.value)) return yield* removedContent(stream, version)
    const { metadata: before, type } = found.value
    yield* readable(stream, aggregate, { version, type, payload })
    const now = DateTime.formatIso(yield* DateTime.now)
    const replacement = {
      version,
      payload,
      before,
      metadata: audited(before, { ...metadata, marker: marker.id, time: now })
    }
    const isReplaced = yield* life.replace(stream, replacement)
    if (!isReplaced) return yield* Effect.fail("Overtaken" as const)
  })

/** Fails unless the aggregate can read the event. */
const readable = (
  stream: StreamId.StreamId,
  { event }: AnyDecodable,
  { payload, type, version }: { readonly version: number; readonly type: string; readonly payload: string }
): Effect.Effect<void, EventDecodeError | EventStoreError> => {
  if (Markers.isMarker(type)) {
    return new EventStoreError({
      operation: "rewrite",
      stream,
      reason: "InvalidInput",
      mayHaveAppended: false,
      detail: `version ${version} is a marker of the library, which has no content to rewrite`
    })
  }
  const decode = event.decoder(type)
  // an event of a retired type is never decoded
  if (decode === undefined && event.isRetired(type)) return Effect.void
  const cause = decode === undefined
    ? unknownType(event.types)
    : Option.getOrUndefined(Either.getLeft(decode(JSON.parse(payload))))
  return cause === undefined ? Effect.void : new EventDecodeError({ stream, version, type, cause })
}

/** Adds an entry about the rewrite to the metadata of an event. Metadata that cannot be read are not kept. */
const audited = (before: string, entry: Event.Metadata): string => {
  const parsed = Json.parse(before)
  const metadata = Either.isRight(parsed) && isRecord(parsed.right) ? parsed.right : {}
  const earlier = metadata[Markers.rewritten]
  return JSON.stringify({ ...metadata, [Markers.rewritten]: [...(Array.isArray(earlier) ? earlier : []), entry] })
}

const overtaken = (stream: StreamId.StreamId): EventStoreError =>
  Changing.unusable("rewrite", stream, "another rewrite of the event was first at every try: begin again")
