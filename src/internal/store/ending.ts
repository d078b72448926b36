// Deletes streams. Why: docs/decisions/0160-streams-end.md.
// Mechanism: one transaction appends the marker, deletes the events before it, if asked, and the snapshots. The
// marker comes first: after it no append can succeed, so that a store without transactions loses nothing in between.
// Cost: one transaction of three statements.
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Option from "effect/Option"
import * as Event from "../../Event.js"
import * as ExpectedVersion from "../../ExpectedVersion.js"
import type * as Position from "../../Position.js"
import type { SnapshotStoreError } from "../../SnapshotStore.js"
import type * as StreamId from "../../StreamId.js"
import { expectedOf } from "../expectedVersion.js"
import * as Markers from "../markers.js"
import { isRecord, unknownKey } from "../options.js"
import { streamProblem } from "../streamProblem.js"
import { quote } from "../text.js"
import * as Changing from "./changing.js"
import type { Stores } from "./changing.js"
import { type EventStoreError, StreamNotFound, type VersionConflict } from "./eventErrors.js"
import * as Input from "./eventInput.js"
import type { LifeSeam } from "./life.js"

/**
 * The options of `delete`.
 *
 * @since 0.1.0
 * @category models
 */
export interface DeleteOptions {
  /**
   * - `keep`: the stream ends, and its events can still be read from the store and from the feed.
   * - `remove`: its events are deleted too. This cannot be undone.
   */
  readonly events: "keep" | "remove"
  /** The version that the stream must have. Default: any. A stream that is deleted already has no such check. */
  readonly expectedVersion?: ExpectedVersion.ExpectedVersion | undefined
  /** Metadata of the marker, such as who deleted the stream and why. They are added to `Event.CurrentMetadata`. */
  readonly metadata?: Event.Metadata | undefined
}

/**
 * A stream that was deleted.
 *
 * @since 0.1.0
 * @category models
 */
export interface DeletedStream {
  readonly stream: StreamId.StreamId
  /** The version of the marker, which is the last event of the stream. */
  readonly version: number
  /** The position of the marker in the feed. */
  readonly position: Position.Position
  /** The time of the marker. */
  readonly time: DateTime.Utc
}

/**
 * The errors of `delete`.
 *
 * @since 0.1.0
 * @category errors
 */
export type DeleteError = StreamNotFound | VersionConflict | EventStoreError | SnapshotStoreError

export const deleteStream = (
  stores: Stores,
  given: StreamId.StreamId,
  options: DeleteOptions
): Effect.Effect<DeletedStream, DeleteError> =>
  Effect.flatMap(
    Effect.all([Event.CurrentMetadata, Effect.flatten(Event.IdGenerator)]),
    ([ambient, id]) =>
      Input.whenReadable("delete", given, () => {
        const stream = Input.streamOf(given)
        const input = inputOf(stream, options, ambient, id)
        if (Either.isLeft(input)) return input.left
        return () => run(stores, stream, input.right)
      })
  )

interface Deletion {
  readonly removes: boolean
  readonly expected: ExpectedVersion.ExpectedVersion
  readonly marker: Event.EncodedEvent
}

const inputOf = (
  stream: StreamId.StreamId,
  options: DeleteOptions,
  ambient: Event.Metadata,
  id: string
): Either.Either<Deletion, string> => {
  const wrong = streamProblem(stream) ?? (isRecord(options) ? undefined : noOptions(options)) ??
    unknownKey("the options of delete", options, ["events", "expectedVersion", "metadata"])
  if (wrong !== undefined) return Either.left(wrong)
  const { events, expectedVersion = ExpectedVersion.streamExists, metadata } = options
  if (events !== "keep" && events !== "remove") return Either.left(`events is ${quote(events)}; it must be ${choices}`)
  if (metadata !== undefined && !isRecord(metadata)) return Either.left("metadata is not an object")
  return Either.flatMap(expectedOf(expectedVersion), (expected) =>
    Either.map(
      Input.encodeEvent({ id, type: "marker", payload: {}, metadata: { ...ambient, ...metadata } }),
      (marker) => ({ removes: events === "remove", expected, marker: { ...marker, type: Markers.deleted } })
    ))
}

const choices = "\"keep\" or \"remove\""

const noOptions = (options: unknown): string =>
  `the options of delete are ${quote(options)}; they must be a record with events, which is ${choices}`

const run = (
  stores: Stores,
  stream: StreamId.StreamId,
  { expected, marker, removes }: Deletion
): Effect.Effect<DeletedStream, DeleteError> =>
  Changing.change(
    stores,
    stream,
    Effect.tap(
      end(stores.life, stream, marker, expected),
      ({ version }) => removes ? stores.life.remove(stream, version) : Effect.void
    ),
    () => ({})
  )

/** Appends the marker, or finds the one that is there. */
const end = (
  life: LifeSeam,
  stream: StreamId.StreamId,
  marker: Event.EncodedEvent,
  expected: ExpectedVersion.ExpectedVersion
): Effect.Effect<DeletedStream, StreamNotFound | VersionConflict | EventStoreError> =>
  life.mark(stream, marker, expected).pipe(
    Effect.map(({ position, time, version }) =>
      Option.zipWith(position, time, (position, time): DeletedStream => ({ stream, version, position, time }))
    ),
    Effect.catchTags({
      StreamDeleted: () =>
        Effect.map(
          life.last(stream),
          Option.flatMap(({ position, time, version }) =>
            Option.map(DateTime.make(time), (time): DeletedStream => ({
              stream,
              version,
              position,
              time: DateTime.toUtc(time)
            }))
          )
        ),
      VersionConflict: (conflict) => conflict.actual === 0 ? new StreamNotFound({ stream }) : Effect.fail(conflict),
      DuplicateEventId: (error) => Changing.unusable("delete", stream, error.message)
    }),
    Effect.flatMap(Option.match({
      onSome: Effect.succeed,
      onNone: () => Changing.unusable("delete", stream, Changing.noPlace)
    }))
  )
