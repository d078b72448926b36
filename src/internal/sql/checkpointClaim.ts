// The statement of a claim, as far as both databases share it: it notes that an append handles the events of its stream
// inline, if all earlier ones were handled. Why: docs/decisions/0128-inline-projections.md.
import { type Names, quoted } from "./names.js"

/** The values of a claim in SQL: names of a statement, or parameters of a function. */
export interface ClaimValues {
  readonly name: string
  readonly version: string
  readonly stream: string
  readonly last: string
  readonly previous: string
  /** 1 if events of a stream with parked events are not handled. */
  readonly ordered: string
}

/** Gives a row if the claim was noted. `condition` is one on a `subscription`. */
export const claim = (names: Names, values: ClaimValues, condition: string): string => {
  const marks = quoted(names.inline)
  const ofKey = `name = ${values.name} AND version = ${values.version}`
  const settled = `(SELECT min(position) FROM ${quoted(names.checkpoints)} WHERE ${ofKey})`
  return `INSERT INTO ${marks} AS mark (name, version, stream, position)
SELECT name, version, CAST(${values.stream} AS text), CAST(${values.last} AS text)
FROM ${quoted(names.subscriptions)} AS subscription
WHERE ${ofKey} AND ${condition} AND (
    CAST(${values.previous} AS text) IS NULL OR ${values.previous} <= ${settled} OR
    ${values.previous} <= (SELECT position FROM ${marks} WHERE ${ofKey} AND stream = ${values.stream})
  ) AND NOT (${values.ordered} = 1 AND EXISTS (
    SELECT NULL FROM ${quoted(names.parked)} WHERE ${ofKey} AND stream = ${values.stream}
  ))
ON CONFLICT (name, version, stream) DO UPDATE SET position = excluded.position`
}
