// Tells which of some events of a stream were emptied by a truncation.
import * as Effect from "effect/Effect"
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
    const versions = events.map(({ version }) => version)
    const range = { from: versions.reduce((a, b) => Math.min(a, b)), to: versions.reduce((a, b) => Math.max(a, b)) }
    const found = yield* Inspection.emptied(options, first.stream, range)
    return ({ version }: Stored): Content => found.size === 0 ? {} : { content: found.get(version) ?? "" }
  })
