import * as Either from "effect/Either"
import * as ExpectedVersion from "../../ExpectedVersion.js"
import * as Position from "../../Position.js"
import type * as StreamId from "../../StreamId.js"
import * as Markers from "../markers.js"
import { isSameStream } from "../streamKey.js"
import { DuplicateEventId, VersionConflict } from "./eventErrors.js"
import type { FoundEvent } from "./find.js"
import type { Numbered } from "./importEvents.js"
import { later } from "./later.js"

/** The part of the store that a batch meets. */
export interface Look {
  /** The version of each stream of the batch. */
  readonly heads: ReadonlyMap<string, number>
  /** Where the stored events that have an id of the batch are. */
  readonly stored: ReadonlyMap<string, FoundEvent>
}

export interface Verdict {
  /** The events that are still to be stored. */
  readonly rest: ReadonlyArray<Numbered>
  /** The highest position of the events that are stored. */
  readonly position: Position.Position
}

/** Tells the events of a batch that are stored from those that can follow them, and refuses all others. */
export const judge = (
  events: ReadonlyArray<Numbered>,
  { heads, stored }: Look
): Either.Either<Verdict, DuplicateEventId | VersionConflict> => {
  const rest: Array<Numbered> = []
  const reached = new Map(heads)
  let position = Position.start
  for (const event of events) {
    const { key, stream, version } = event
    const head = reached.get(key) ?? 0
    const found = stored.get(event.id)
    if (found === undefined) {
      const isAlone = head === 0 && event.type === Markers.deleted
      if (version !== head + 1 && !isAlone) return Either.left(conflict(stream, version, head))
      rest.push(event)
    } else {
      const isThere = found.version === version && isSameStream(found.stream, stream)
      if (!isThere) return Either.left(new DuplicateEventId({ stream, eventId: event.id }))
      position = later(position, found.position)
    }
    // the stream may have grown since its version was read
    reached.set(key, Math.max(head, version))
  }
  return Either.right({ rest, position })
}

/** The error for a stream that is not at the version before an event. */
export const conflict = (stream: StreamId.StreamId, version: number, actual: number): VersionConflict =>
  new VersionConflict({ stream, expected: ExpectedVersion.exact(version - 1), actual })
