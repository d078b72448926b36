// Which markers of deleted streams a store lists and removes. Why: docs/decisions/0164-retention.md.
import type * as Effect from "effect/Effect"
import type * as Position from "../../Position.js"
import type * as StreamId from "../../StreamId.js"
import type { EventStoreError } from "./eventErrors.js"

/**
 * The marker of a deleted stream.
 *
 * @since 0.1.0
 * @category drivers
 */
export interface Tombstone {
  readonly stream: StreamId.StreamId
  /** The version of the marker, which is the last event of the stream. */
  readonly version: number
  readonly eventId: string
  readonly position: Position.Position
  /** Whether the stream still has events before the marker. */
  readonly hasEvents: boolean
}

/**
 * Which markers of deleted streams are listed.
 *
 * @since 0.1.0
 * @category drivers
 */
export interface TombstoneOptions {
  /** Those that were appended before this time, in milliseconds since 1970. */
  readonly before: number
  /** Those after this position. */
  readonly after: Position.Position
  /** Those at this position or before it. Default: all. */
  readonly upTo?: Position.Position | undefined
  readonly limit: number
}

/**
 * The operations that remove deleted streams. All of them may run in several processes at once.
 *
 * @since 0.1.0
 * @category drivers
 */
export interface TombstoneDriver {
  /** Lists markers, the oldest first. The cost must not depend on the number of events. */
  readonly tombstones: (
    options: TombstoneOptions
  ) => Effect.Effect<ReadonlyArray<Tombstone>, EventStoreError>
  /**
   * Deletes at most `limit` events before a marker, beginning with the last one, and returns how many it deleted. It
   * deletes nothing if the marker is not stored any more: the stream may have begun again.
   */
  readonly clear: (tombstone: Tombstone, limit: number) => Effect.Effect<number, EventStoreError>
  /** Deletes a marker if it is the only event of its stream. Returns whether it did. */
  readonly forget: (tombstone: Tombstone) => Effect.Effect<boolean, EventStoreError>
}
