// What became of a stream as a whole, and of its events: deleted, truncated or rewritten.
// Mechanism: the last event of a stream that was deleted is a marker. A truncation leaves rows without contents at the
// beginning, and a marker. A rewritten event says so in its metadata.
// Cost: one event and two counts over the rows of the stream. If it was truncated, one more of each.
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Event from "../../../Event.js"
import type * as StreamId from "../../../StreamId.js"
import * as Markers from "../../markers.js"
import * as Inspection from "../../sql/inspection.js"
import type { Stored } from "../eventRow.js"
import * as StreamEvents from "../streamEvents.js"
import { type Html, html, none, time } from "./html.js"

export interface Standing {
  readonly last: Stored
  /** The number of rows. */
  readonly rows: number
  /** How many of the first events have lost their contents. */
  readonly removed: number
  /** How many events after those have their contents in the archive. */
  readonly archived: number
  /** The marker of the last truncation. */
  readonly truncation: Stored | undefined
}

/** Gives `undefined` if the stream has no events. */
export const of = (prefix: string, stream: StreamId.StreamId) =>
  Effect.gen(function*() {
    const [last] = yield* StreamEvents.read(stream, { reverse: true, limit: 1 })
    if (last === undefined) return undefined
    const { events } = yield* Inspection.contentsOf({ prefix }, stream)
    // events that are appended meanwhile do not count
    const rows = Math.min(events, last.version)
    const { archived, stored } = yield* Inspection.contentsBefore({ prefix }, stream, last.version + 1)
    const removed = Math.max(0, rows - stored - archived)
    const truncation = removed + archived === 0 ? undefined : yield* lastTruncation(prefix, stream)
    return { last, rows, removed, archived, truncation } satisfies Standing
  })

const lastTruncation = (prefix: string, stream: StreamId.StreamId) =>
  Effect.gen(function*() {
    const version = yield* Inspection.lastTruncation({ prefix }, stream)
    if (version === undefined) return undefined
    const [marker] = yield* StreamEvents.read(stream, { fromVersion: version, toVersion: version, limit: 1 })
    return marker
  })

/** What the top of the page says. */
export const notes = ({ archived, last, removed, rows, truncation }: Standing): Html => {
  const isDeleted = last.type === Markers.deleted
  const by = html`<span class="quiet">${truncation === undefined ? none : auditOf(truncation)}</span>`
  return html`${
    isDeleted
      ? html`<p><b>deleted</b>${rows < last.version ? ", with its events" : ""}
<span class="quiet">${auditOf(last)}</span></p>`
      : none
  }${removed === 0 ? none : html`<p><b>${eventsOf(1, removed)} removed</b> ${by}</p>`}${
    archived === 0 ? none : html`<p><b>${eventsOf(removed + 1, removed + archived)} archived</b> ${by}</p>`
  }`
}

const eventsOf = (first: number, last: number): string =>
  first === last ? `the content of event ${first} was` : `the contents of events ${first} to ${last} were`

const auditOf = (event: Stored): Html => {
  const time = Event.isUnreadable(event) ? Option.getOrUndefined(event.time) : event.time
  return audit(
    time === undefined ? undefined : DateTime.formatIso(time),
    Event.isUnreadable(event) ? {} : event.metadata
  )
}

/** When it was done, by whom, and why. */
const audit = (when: string | undefined, metadata: unknown): Html => {
  const by = textIn(metadata, "by")
  const reason = textIn(metadata, "reason")
  const parts = [
    ...when === undefined ? [] : [time(when)],
    ...by === undefined ? [] : [html`by ${by}`],
    ...reason === undefined ? [] : [html`${reason}`]
  ]
  return html`${parts.map((part, index) => html`${index === 0 ? "" : ", "}${part}`)}`
}

const textIn = (record: unknown, key: string): string | undefined => {
  const value: unknown = Reflect.get(Object(record), key)
  return typeof value === "string" ? value : undefined
}

/** Says that an event was rewritten: when, by whom, and which of these events is the marker of it. */
export const rewriteOf = (event: Stored, events: ReadonlyArray<Stored>): Html => {
  const entries: unknown = Event.isUnreadable(event) ? undefined : event.metadata[Markers.rewritten]
  if (!Array.isArray(entries)) return none
  const entry: unknown = entries.at(-1)
  const marker = events.find(({ id, type }) => type === Markers.rewritten && id === textIn(entry, "marker"))
  return html`<div><b>rewritten</b> <span class="quiet">${audit(textIn(entry, "time"), entry)}${
    marker === undefined ? "" : `, see version ${marker.version}`
  }</span></div>`
}
