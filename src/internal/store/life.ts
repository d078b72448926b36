// What `Streams` and `Retention` ask of an event store: to mark the end of a stream, and to remove events.
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type * as Event from "../../Event.js"
import type * as ExpectedVersion from "../../ExpectedVersion.js"
import type * as StreamId from "../../StreamId.js"
import { isDate, maxVersion, noDate } from "../constants.js"
import type { AppendResult } from "./appendResult.js"
import * as Deletion from "./deletion.js"
import { type DuplicateEventId, EventStoreError, type StreamDeleted, type VersionConflict } from "./eventErrors.js"
import type { Listeners } from "./listeners.js"
import type { OldArchiveDriver } from "./oldArchives.js"
import type { TombstoneDriver } from "./tombstones.js"

/**
 * What a driver needs for `Streams` and `Retention`.
 *
 * @since 0.1.0
 * @category drivers
 */
export interface LifeDriver extends TombstoneDriver, OldArchiveDriver {
  /**
   * Runs an effect in a new transaction, or in one nested in the caller's. A new one is repeated if it was undone by a
   * failure that passes. A store without transactions runs the effect as it is, one effect of a stream at a time: a
   * truncation that runs between the event and the marker of a rewrite would leave a stream without a state.
   */
  readonly transaction: <A, E extends { readonly cause?: unknown }>(
    stream: StreamId.StreamId,
    effect: Effect.Effect<A, E>
  ) => Effect.Effect<A, E | EventStoreError>
  /**
   * Replaces the payload and the metadata of an event, if its metadata are still those before. The event may be archived.
   * Returns whether it did.
   */
  readonly replace: (stream: StreamId.StreamId, event: Replacement) => Effect.Effect<boolean, EventStoreError>
  /** Gives the version of the last marker of a rewritten event after a version, or 0. */
  readonly lastRewritten: (stream: StreamId.StreamId, after: number) => Effect.Effect<number, EventStoreError>
  /** Deletes the events of a stream before a version, with their archived contents. */
  readonly remove: (stream: StreamId.StreamId, before: number) => Effect.Effect<void, EventStoreError>
  /** Counts the contents of the events of a stream before a version: those in their place, and those in the archive. */
  readonly left: (
    stream: StreamId.StreamId,
    before: number
  ) => Effect.Effect<{ readonly kept: number; readonly archived: number }, EventStoreError>
  /**
   * Empties the events of a stream before a version: the payload becomes an empty text, the metadata an empty object. Their
   * contents go to the archive. With `archive: false` they are deleted, also from the archive.
   */
  readonly empty: (
    stream: StreamId.StreamId,
    options: { readonly before: number; readonly archive: boolean; readonly time: number }
  ) => Effect.Effect<void, EventStoreError>
  /**
   * Reads contents from the archive, in the order of the places. The result lacks places that are not in the archive. The
   * texts of a content are null if those before it have more than so many bytes.
   */
  readonly contents: (
    places: ReadonlyArray<Place>,
    bytes: number
  ) => Effect.Effect<ReadonlyArray<ArchivedContent>, EventStoreError>
}

/**
 * Where an event is stored.
 *
 * @since 0.1.0
 * @category drivers
 */
export interface Place {
  readonly stream: StreamId.StreamId
  readonly version: number
}

/**
 * The content of an event in the archive.
 *
 * @since 0.1.0
 * @category drivers
 */
export interface ArchivedContent {
  /** The number of the place among those that were asked for, from 0 on. */
  readonly place: number
  readonly payload: string | null
  readonly metadata: string | null
}

/**
 * The new content of an event.
 *
 * @since 0.1.0
 * @category drivers
 */
export interface Replacement {
  readonly version: number
  /** The JSON text of the metadata that the event must have. */
  readonly before: string
  /** JSON text. */
  readonly payload: string
  /** JSON text of an object. */
  readonly metadata: string
}

/**
 * The operations that only `Streams` and `Retention` use.
 *
 * @since 0.1.0
 * @category models
 */
export interface LifeSeam extends LifeDriver {
  /** Reads an event of a stream. */
  readonly at: (
    stream: StreamId.StreamId,
    version: number
  ) => Effect.Effect<Option.Option<Event.EncodedRecord>, EventStoreError>
  /** Reads a page of a stream without decoding it. The last page is empty. */
  readonly page: (
    stream: StreamId.StreamId,
    options: { readonly fromVersion: number; readonly limit: number }
  ) => Effect.Effect<ReadonlyArray<Event.EncodedRecord>, EventStoreError>
  /** Reads the last event of a stream. */
  readonly last: (
    stream: StreamId.StreamId
  ) => Effect.Effect<Option.Option<Event.EncodedRecord>, EventStoreError>
  /** Appends a marker. Appends that may have a reserved type come this way only. */
  readonly mark: (
    stream: StreamId.StreamId,
    marker: Event.EncodedEvent,
    expected: ExpectedVersion.ExpectedVersion
  ) => Effect.Effect<AppendResult, VersionConflict | DuplicateEventId | StreamDeleted | EventStoreError>
}

/** The part of a driver from which the seam is made. */
interface Driver extends Deletion.Driver {
  readonly append: (options: {
    readonly stream: StreamId.StreamId
    readonly events: readonly [Event.EncodedEvent]
    readonly expected: ExpectedVersion.ExpectedVersion
    readonly time: number
  }) => ReturnType<LifeSeam["mark"]>
  readonly life?: LifeDriver | undefined
}

/** Makes the seam. `None` if the driver has no operations for it. */
export const make = (driver: Driver, listeners: Listeners): Option.Option<LifeSeam> =>
  Option.map(Option.fromNullable(driver.life), ({ transaction, ...operations }) => ({
    ...operations,
    // the listeners are for readers of the feed, which sees a marker after the commit
    transaction: (stream, effect) => listeners.after(transaction(stream, effect)),
    at: (stream, version) =>
      Effect.map(
        driver.read({ stream, fromVersion: version, toVersion: version, limit: 1, reverse: false }),
        ([event]) => Option.fromNullable(event)
      ),
    page: (stream, { fromVersion, limit }) =>
      driver.read({ stream, fromVersion, toVersion: maxVersion, limit, reverse: false }),
    last: (stream) => Effect.map(Deletion.last(driver, stream), Option.fromNullable),
    mark: (stream, marker, expected) =>
      Effect.clockWith((clock) => {
        const time = clock.unsafeCurrentTimeMillis()
        return isDate(time)
          ? driver.append({ stream, events: [marker], expected, time: Math.trunc(time) })
          : new EventStoreError({
            operation: "delete",
            stream,
            reason: "InvalidInput",
            mayHaveAppended: false,
            detail: `the Clock gives ${time} for the time, which is ${noDate}`
          })
      })
  }))
