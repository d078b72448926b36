import * as Either from "effect/Either"
import * as Order from "effect/Order"
import type * as Event from "../../Event.js"
import * as ExpectedVersion from "../../ExpectedVersion.js"
import * as Position from "../../Position.js"
import { isSameStream } from "../streamKey.js"
import { DuplicateEventId, VersionConflict } from "./eventErrors.js"
import type { Numbered } from "./importEvents.js"

/** The part of the store that a batch meets. */
export interface Look {
  /** The version of each stream of the batch. */
  readonly heads: ReadonlyMap<string, number>
  /** The stored events that have an id of the batch. */
  readonly stored: ReadonlyMap<string, Event.EncodedRecord>
}

export interface Verdict {
  /** The events that are still to be stored. */
  readonly rest: ReadonlyArray<Numbered>
  /** The highest position of the events that are stored. */
  readonly position: Position.Position
}

/** Gives the higher one of two positions. */
export const later: (one: Position.Position, other: Position.Position) => Position.Position = Order.max(Position.Order)

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
    const conflict = () =>
      Either.left(new VersionConflict({ stream, expected: ExpectedVersion.exact(version - 1), actual: head }))
    if (found === undefined) {
      if (version !== head + 1) return conflict()
      rest.push(event)
    } else {
      const isThere = found.version === version && isSameStream(found.stream, stream)
      if (!isThere) return Either.left(new DuplicateEventId({ stream, eventId: event.id }))
      // a derived id names a place: another import may have stored another event there
      if (event.derived && !isSame(event, found)) return conflict()
      position = later(position, found.position)
    }
    // the stream may have grown since its version was read
    reached.set(key, Math.max(head, version))
  }
  return Either.right({ rest, position })
}

const isSame = (event: Numbered, { metadata, payload, time, type }: Event.EncodedRecord): boolean =>
  event.type === type && event.payload === payload && event.metadata === metadata &&
  (event.time === undefined || event.time === time)
