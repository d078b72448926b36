// The streams of an aggregate for people: those that were deleted are said to be.
import * as Effect from "effect/Effect"
import { EventStore } from "../../EventStore.js"
import * as Inspection from "../sql/inspection.js"

export interface ListOptions {
  readonly prefix: string
  readonly aggregate: string
  readonly after: string | undefined
  readonly limit: number
}

/** A stream of a list. */
export interface Listed {
  readonly id: string
  readonly version: number
  readonly deleted?: "deleted" | ""
}

/** The key `deleted` is there only if one of them was deleted, so that it adds no column. */
export const streams = ({ prefix, ...options }: ListOptions) =>
  Effect.gen(function*() {
    const store = yield* EventStore
    const found = yield* store.streams(options)
    const [first, last] = [found.at(0), found.at(-1)]
    if (first === undefined || last === undefined) return []
    const deleted = yield* Inspection.deleted({ prefix }, options.aggregate, { first: first.id, last: last.id })
    return found.map(({ id, version }): Listed =>
      deleted.size === 0 ? { id, version } : { id, version, deleted: deleted.has(id) ? "deleted" : "" }
    )
  })
