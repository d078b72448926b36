// The types of an import, which EventStore exports.
import type * as DateTime from "effect/DateTime"
import type * as Effect from "effect/Effect"
import type * as Option from "effect/Option"
import type * as Event from "../../Event.js"
import type * as Position from "../../Position.js"
import type * as StreamId from "../../StreamId.js"
import type { EventStoreError } from "./eventErrors.js"

/**
 * An event of a history that is imported.
 *
 * @since 0.1.0
 * @category models
 */
export interface ImportedEvent {
  readonly stream: StreamId.StreamId
  readonly type: string
  /** The encoded event: a JSON value. */
  readonly payload: unknown
  /**
   * Default: derived from the content of the event and of the events before it in the import of its stream. A repeated
   * import gives the event the same id. An import of a corrected history gives it another id.
   */
  readonly id?: string | undefined
  /** Default: the time of the import. */
  readonly time?: DateTime.Utc | undefined
  readonly metadata?: Event.Metadata | undefined
  /**
   * The version of the event in its stream. Default: the version after the event before it in the import. A first event
   * without version and id is version 1. A first event with an id has the version at which the stream holds this id. If
   * the stream does not hold the id, the event follows the last event of the stream.
   */
  readonly version?: number | undefined
}

/**
 * The progress of an import after a batch. All numbers count from its beginning.
 *
 * @since 0.1.0
 * @category models
 */
export interface ImportProgress {
  /** The number of events that were stored. */
  readonly imported: number
  /** The number of events that the store already held, from an earlier run of the import. */
  readonly skipped: number
  /** The highest position of these events. */
  readonly position: Position.Position
}

/**
 * The options of `import`.
 *
 * @since 0.1.0
 * @category models
 */
export interface ImportOptions {
  /**
   * The number of events in a batch, which is stored as a whole or not at all. Default 1,000. A batch ends earlier when
   * it reaches 16 million characters.
   */
  readonly batchSize?: number | undefined
  /**
   * Whether the events may be the markers of streams that were deleted, rewritten or truncated, as the feed of another
   * store has them. Default `refuse`: their types are reserved, and a marker changes what a stream is.
   */
  readonly markers?: "refuse" | "keep" | undefined
}

/**
 * An imported event as a driver writes it.
 *
 * @since 0.1.0
 * @category drivers
 */
export interface EncodedImport extends Event.EncodedEvent {
  readonly stream: StreamId.StreamId
  readonly version: number
}

/**
 * The operations of a driver that an import needs.
 *
 * @since 0.1.0
 * @category drivers
 */
export interface ImportDriver {
  /**
   * Inserts events of several streams in their order, all or none, if each stream is at the version before its first
   * event. A stream without events may also begin at any version with `$deleted`, as one whose events were removed. No
   * stream takes events after a stored `$deleted`. There is at least one event, and the versions of a stream have no gap.
   */
  readonly insert: (options: {
    readonly events: ReadonlyArray<EncodedImport>
    /** The time of the events that have none, as for an append. */
    readonly time: number
    /** A position that the store has given. The positions of the events must be higher. */
    readonly after: Position.Position
  }) => Effect.Effect<
    {
      /** The highest position. `None` if nothing was inserted: a stream is at another version, or an id is stored. */
      readonly position: Option.Option<Position.Position>
      /** Whether an earlier try of this call may have inserted the events, as its answer was lost. */
      readonly mayHaveInserted: boolean
    },
    EventStoreError
  >
  /** Reads the versions of streams, in their order. */
  readonly versions: (
    streams: ReadonlyArray<StreamId.StreamId>
  ) => Effect.Effect<ReadonlyArray<number>, EventStoreError>
  /** Reads the ids and times of the events at these places, in their order. `None` where no event is stored. */
  readonly eventsAt: (
    places: ReadonlyArray<{ readonly stream: StreamId.StreamId; readonly version: number }>
  ) => Effect.Effect<
    ReadonlyArray<
      Option.Option<{
        readonly eventId: string
        /** Milliseconds since 1970. */
        readonly time: number
      }>
    >,
    EventStoreError
  >
}
