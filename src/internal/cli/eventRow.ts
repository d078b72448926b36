// An event as the command line shows and exports it.
import * as DateTime from "effect/DateTime"
import * as Option from "effect/Option"
import * as Event from "../../Event.js"
import { HistoryGap } from "../../EventStore.js"
import { streamText } from "./options.js"
import type { Row } from "./output.js"

export type Stored = Event.RecordedEvent | Event.UnreadableEvent

/** The whole event, as `export` writes it and `import` reads it. */
export const toJson = (event: Stored): Row => ({
  stream: event.stream,
  version: event.version,
  position: event.position,
  id: event.id,
  type: event.type,
  time: timeOf(event),
  ...Event.isUnreadable(event)
    ? { unreadable: event.error.message }
    : { payload: event.payload, metadata: event.metadata }
})

/** The event in one line. */
export const toLine = (event: Stored): Row => ({
  stream: streamText(event.stream),
  version: event.version,
  time: timeOf(event),
  type: event.type,
  payload: Event.isUnreadable(event) ? `(${problemOf(event)})` : event.payload,
  id: event.id
})

/** Why an event cannot be read. A truncated stream has many of them. */
export const problemOf = ({ error }: Event.UnreadableEvent): string =>
  error.cause instanceof HistoryGap && error.cause.removed === true ? "its content was removed" : error.message

const timeOf = (event: Stored): string | null => {
  const time = Event.isUnreadable(event) ? Option.getOrNull(event.time) : event.time
  return time === null ? null : DateTime.formatIso(time)
}

export const of = (isJson: boolean) => (event: Stored): Row => isJson ? toJson(event) : toLine(event)
