import type * as EventStore from "../../EventStore.js"
import type * as StreamId from "../../StreamId.js"
import * as Markers from "../markers.js"
import { streamKey } from "../streamKey.js"

/** A stream of a batch, and the version of its first event there. */
export interface StreamStart {
  readonly stream: StreamId.StreamId
  readonly version: number
  /** Whether the stream may be without events, although its first event here is not version 1. */
  readonly mayBegin: boolean
}

/** Gives the streams of a batch, in the order of their first events. */
export const streamStarts = (events: ReadonlyArray<EventStore.EncodedImport>): ReadonlyArray<StreamStart> => {
  const starts = new Map<string, StreamStart>()
  for (const { stream, type, version } of events) {
    const key = streamKey(stream)
    if (!starts.has(key)) starts.set(key, { stream, version, mayBegin: type === Markers.deleted })
  }
  return Array.from(starts.values())
}
