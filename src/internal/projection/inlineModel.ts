// What a checkpoint store keeps for inline projections. CheckpointStore exports the models.
import type * as Effect from "effect/Effect"
import type * as Option from "effect/Option"
import type * as Position from "../../Position.js"
import type { Key } from "./model.js"
import type { CheckpointStoreError } from "./storeErrors.js"

/**
 * An append whose events a projection is about to handle in the transaction of the append.
 *
 * @since 0.1.0
 * @category models
 */
export interface InlineClaim {
  /** The key of the stream, as in `ParkedEvent`. */
  readonly stream: string
  /** The position of the event before those of the append in the stream. `None` if they are the first ones. */
  readonly previous: Option.Option<Position.Position>
  /** The position of the last event of the append. */
  readonly last: Position.Position
  /** Whether events of a stream with parked events are not handled. */
  readonly ordered: boolean
  /** Whether the transaction is nested in one of the caller. */
  readonly nested: boolean
  /** The time limit of the handler, in milliseconds. */
  readonly timeout: number
}

/**
 * What a checkpoint store keeps for inline projections: for each stream the position up to which its events were handled
 * inline, as far as that is beyond the checkpoints.
 *
 * An event counts as handled if its position is not after that of its stream, or not after the checkpoint. Both change
 * in the transaction in which the event is handled, so that it is handled once, by its append or by a reader of the feed.
 *
 * @since 0.1.0
 * @category models
 */
export interface InlinePositions {
  /** The client of the store. Stores with the same one can write in one transaction. */
  readonly client: unknown
  /**
   * Notes in the open transaction that the events of an append are handled there, if all earlier events of their stream
   * were handled. Returns `false` if they were not, or if the subscription is not registered: the events are then left to
   * the reader of the feed.
   */
  readonly claim: (key: Key, claim: InlineClaim) => Effect.Effect<boolean, CheckpointStoreError>
  /** Reads the positions of those of these streams that have one. */
  readonly of: (
    key: Key,
    streams: ReadonlyArray<string>
  ) => Effect.Effect<ReadonlyMap<string, Position.Position>, CheckpointStoreError>
  /** Forgets the positions that all checkpoints have passed. */
  readonly forget: (key: Key) => Effect.Effect<void, CheckpointStoreError>
}
