// Tells which of some events of a stream were emptied by a truncation, and when those were stored that cannot be read.
import * as Effect from "effect/Effect"
import * as Event from "../../Event.js"
import * as Inspection from "../sql/inspection.js"
import type { Stored } from "./eventRow.js"

interface Content {
  readonly content?: Inspection.Elsewhere | ""
}

/** For each event: where its content is. Empty if none of them was emptied, so that it adds no column. */
export const among = (options: { readonly prefix: string }, events: ReadonlyArray<Stored>) =>
  Effect.gen(function*() {
    const [first] = events
    if (first === undefined) return (): Content => ({})
    const found = yield* Inspection.emptied(options, first.stream, rangeOf(events))
    return ({ version }: Stored): Content => found.size === 0 ? {} : { content: found.get(version) ?? "" }
  })

/** The times of those events that cannot be read: the error that a read gives in their place has none. */
export const times = (options: { readonly prefix: string }, events: ReadonlyArray<Stored>) =>
  Effect.gen(function*() {
    const unreadable = events.filter(Event.isUnreadable)
    const [first] = unreadable
    if (first === undefined) return events
    const times = yield* Inspection.times(options, first.stream, rangeOf(unreadable))
    return events.map((event): Stored =>
      Event.isUnreadable(event)
        ? new Event.UnreadableEvent({ ...event, time: times.get(event.version) ?? event.time })
        : event
    )
  })

const rangeOf = (events: ReadonlyArray<Stored>) => {
  const versions = events.map(({ version }) => version)
  return { from: versions.reduce((a, b) => Math.min(a, b)), to: versions.reduce((a, b) => Math.max(a, b)) }
}
