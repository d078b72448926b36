// Tells whether streams were deleted, for operations that stored nothing and look for the reason.
import * as Effect from "effect/Effect"
import type * as Event from "../../Event.js"
import type * as StreamId from "../../StreamId.js"
import { maxVersion } from "../constants.js"
import * as Markers from "../markers.js"
import { streamKey } from "../streamKey.js"
import { type EventStoreError, StreamDeleted } from "./eventErrors.js"

/** The part of a driver that reads the last event of a stream. */
export interface Driver {
  readonly read: (options: {
    readonly stream: StreamId.StreamId
    readonly fromVersion: number
    readonly toVersion: number
    readonly limit: number
    readonly reverse: boolean
  }) => Effect.Effect<ReadonlyArray<Event.EncodedRecord>, EventStoreError>
}

export const last = (
  { read }: Driver,
  stream: StreamId.StreamId
): Effect.Effect<Event.EncodedRecord | undefined, EventStoreError> =>
  Effect.map(read({ stream, fromVersion: 1, toVersion: maxVersion, limit: 1, reverse: true }), ([last]) => last)

/** Fails if one of the streams was deleted. Reads the last event of each. */
export const refuse = (
  driver: Driver,
  streams: ReadonlyArray<StreamId.StreamId>
): Effect.Effect<void, StreamDeleted | EventStoreError> =>
  Effect.forEach(
    new Map(streams.map((stream) => [streamKey(stream), stream])).values(),
    (stream) =>
      Effect.flatMap(last(driver, stream), (last) =>
        last?.type === Markers.deleted ? new StreamDeleted({ stream }) : Effect.void),
    { discard: true }
  )
