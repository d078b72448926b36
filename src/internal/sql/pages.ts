// Reads pages of events that are bounded by the length of their payloads, too. Why: docs/decisions/0115-bounded-pages.md.
// Mechanism: the statement leaves out each payload that is longer than its share of the page, and gives its length
// instead. If a page has such an event, it is read again, with as many events as fit.
// Cost: a comparison for each event. Only pages with long events take a second statement.
import * as Effect from "effect/Effect"
import { pageBytes } from "../constants.js"
import * as Row from "./row.js"

/** The columns of an event: version, type, payload, id, time. The payload may be null, and the id its length. */
export type EventRow = ReadonlyArray<unknown>

export interface Page {
  readonly events: ReadonlyArray<EventRow>
  /** Whether the page has fewer events than asked for, although more may follow. */
  readonly continued: boolean
}

/** The limits of a statement. */
export interface Limits {
  readonly limit: number
  /** The most bytes of a payload. */
  readonly bytes: number
}

/** The limits of the first statement for a page. */
export const first = (limit: number): Limits => ({
  limit,
  // two events of any length: one continues the page before, and the other is new
  bytes: limit <= 2 ? longest : Math.max(least, Math.floor(pageBytes / limit))
})

export const bounded = <A extends { readonly events: ReadonlyArray<EventRow> }, E, R>(
  limit: number,
  read: (limits: Limits) => Effect.Effect<A, E, R>
): Effect.Effect<A & Page, E, R> => {
  const attempt = (limits: Limits): Effect.Effect<A & Page, E, R> =>
    Effect.flatMap(read(limits), (page) => {
      const { events } = page
      return events.some(isLeftOut)
        ? attempt(fitting(limits, events))
        : Effect.succeed({ ...page, continued: limits.limit < limit && events.length === limits.limit })
    })
  return attempt(first(limit))
}

const isLeftOut = ([, , payload]: EventRow): boolean => payload === null

/** The limits that give as many of these events as fit into a page. */
const fitting = ({ limit }: Limits, events: ReadonlyArray<EventRow>): Limits => {
  let count = 0
  let sum = 0
  let bytes = 0
  for (const [, , payload, id] of events) {
    const size = payload === null ? Row.number(id) : Row.text(payload).length
    sum += size
    if (count >= 2 && sum > pageBytes) return { limit: count, bytes }
    bytes = Math.max(bytes, size)
    count++
  }
  // all of them fit, and short ones may follow
  return { limit, bytes: Math.max(bytes, first(limit).bytes) }
}

// below this a payload counts as short, however long a page the program asks for
const least = 4_000

const longest = 2_147_483_647
