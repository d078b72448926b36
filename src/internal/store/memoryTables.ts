// What the event store in memory keeps.
import type * as Event from "../../Event.js"
import type * as StreamId from "../../StreamId.js"
import { streamKey } from "../streamKey.js"

export interface Tables {
  /** In the order of their positions. */
  all: Array<Event.EncodedRecord>
  readonly byId: Map<string, Event.EncodedRecord>
  readonly streams: Map<string, Array<Event.EncodedRecord>>
  /** The contents of emptied events by their ids. */
  readonly archive: Map<string, Archived>
  /** The number of the last position given. */
  sequence: number
}

/** The content of an emptied event. */
export interface Archived extends Pick<Event.EncodedRecord, "payload" | "metadata"> {
  readonly archivedAt: number
}

export const eventsOf = ({ streams }: Tables, stream: StreamId.StreamId): ReadonlyArray<Event.EncodedRecord> =>
  streams.get(streamKey(stream)) ?? []

export const sizeOf = ({ metadata, payload }: Pick<Archived, "payload" | "metadata">): number =>
  payload.length + metadata.length
