import * as ExpectedVersion from "../../ExpectedVersion.js"

export interface Standing {
  readonly id: string
  readonly sameStream: boolean
  readonly version: number
}

export type Verdict =
  | { readonly _tag: "Repeated"; readonly version: number }
  | { readonly _tag: "Duplicate"; readonly id: string }
  | { readonly _tag: "Deleted" }
  | { readonly _tag: "Conflict" }

interface Rejected {
  readonly expected: ExpectedVersion.ExpectedVersion
  readonly head: number
  readonly ids: ReadonlyArray<string>
  readonly standing: ReadonlyArray<Standing>
  /** Whether the stream ends with the marker of a deletion. */
  readonly isDeleted: boolean
}

/** Classifies a rejected append: a retry that had succeeded, a deleted stream, a reused event id, or a conflict. */
export const judge = (rejected: Rejected): Verdict => {
  const verdict = ofIds(rejected)
  return rejected.isDeleted && verdict._tag !== "Repeated" ? { _tag: "Deleted" } : verdict
}

const ofIds = ({ expected, head, ids, standing }: Rejected): Verdict => {
  if (standing.length === 0) return { _tag: "Conflict" }
  const elsewhere = standing.find((event) => !event.sameStream)
  if (elsewhere !== undefined) return { _tag: "Duplicate", id: elsewhere.id }
  const versions = new Map(standing.map((event) => [event.id, event.version]))
  const { max, min } = ExpectedVersion.bounds(expected)
  // if no exact version was expected, the events may be anywhere in the stream
  const first = versions.get(ids[0])
  if (first !== undefined && (min < max || first - 1 === min)) {
    if (ids.every((id, index) => versions.get(id) === first + index)) {
      return { _tag: "Repeated", version: first + ids.length - 1 }
    }
  }
  if (min !== max) return { _tag: "Conflict" }
  const inPlace = ids.some((id, index) => versions.get(id) === min + 1 + index)
  return head !== min && inPlace ? { _tag: "Conflict" } : { _tag: "Duplicate", id: standing[0].id }
}
