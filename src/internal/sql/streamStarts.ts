import type * as EventStore from "../../EventStore.js"
import type * as StreamId from "../../StreamId.js"
import { streamKey } from "../streamKey.js"

/** A stream of a batch, and the version of its first event there. */
export interface StreamStart {
  readonly stream: StreamId.StreamId
  readonly version: number
}

/** Gives the streams of a batch, in the order of their first events. */
export const streamStarts = (events: ReadonlyArray<EventStore.EncodedImport>): ReadonlyArray<StreamStart> => {
  const starts = new Map<string, StreamStart>()
  for (const { stream, version } of events) {
    const key = streamKey(stream)
    if (!starts.has(key)) starts.set(key, { stream, version })
  }
  return Array.from(starts.values())
}
