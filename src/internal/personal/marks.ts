// Finds personal data in JSON.
// Cost: one search in the text for the marker. A text that has it is parsed, walked and written again.
import * as Either from "effect/Either"
import * as Option from "effect/Option"
import { maxSubjectBytes } from "../constants.js"
import * as Json from "../schema/json.js"
import { marker } from "../schema/personal.js"
import { keyProblem } from "../text.js"

const quotedMarker = JSON.stringify(marker)

/** Whether a text may have personal data. A string in JSON that shows the marker has its quotes escaped. */
export const mayHave = (text: string): boolean => text.includes(quotedMarker)

/** An object with the marker. */
export interface Mark {
  readonly path: string
  readonly form: Form
  /** Puts another object in its place. */
  readonly replace: (value: unknown) => void
}

export type Form =
  | { readonly _tag: "Clear"; readonly subject: string; readonly value: unknown }
  | { readonly _tag: "Erased"; readonly subject: string }
  | { readonly _tag: "Sealed"; readonly subject: string; readonly sealed: string }
  | { readonly _tag: "Malformed"; readonly problem: string }

export interface Marked {
  readonly marks: ReadonlyArray<Mark>
  /** `None`: it is nested more deeply than the stack allows. */
  readonly write: () => Option.Option<string>
}

/** Finds the personal data in a text. `undefined` if there is none, or if the text is not JSON. */
export const find = (text: string): Marked | undefined => {
  if (!mayHave(text)) return undefined
  const parsed = Json.parse(text)
  if (Either.isLeft(parsed)) return undefined
  const root = { value: parsed.right }
  const marks = marksIn(root)
  return marks.length === 0 ? undefined : {
    marks,
    write: () => Option.getRight(Json.stringify(root.value))
  }
}

interface Place {
  readonly within: Place | undefined
  readonly key: string | number
}

// a list of the values that remain: JSON may be nested more deeply than the stack allows
const marksIn = (root: { readonly value: unknown }): ReadonlyArray<Mark> => {
  const marks: Array<Mark> = []
  const open: Array<{ readonly holder: object; readonly key: string; readonly at: Place | undefined }> = [
    { holder: root, key: "value", at: undefined }
  ]
  for (let next = open.pop(); next !== undefined; next = open.pop()) {
    const { at, holder, key } = next
    const value: unknown = Reflect.get(holder, key)
    if (typeof value !== "object" || value === null) continue
    if (Object.hasOwn(value, marker)) {
      marks.push({ path: pathOf(at), form: formOf(value), replace: (value) => put(holder, key, value) })
      continue
    }
    const isArray = Array.isArray(value)
    for (const key of Object.keys(value)) {
      open.push({ holder: value, key, at: { within: at, key: isArray ? Number(key) : key } })
    }
  }
  return marks
}

// an assignment to the key __proto__ would set the prototype
const put = (holder: object, key: string, value: unknown): void => {
  Object.defineProperty(holder, key, { value, configurable: true, enumerable: true, writable: true })
}

const pathOf = (place: Place | undefined): string => {
  const path: Array<string | number> = []
  for (let at = place; at !== undefined; at = at.within) path.push(at.key)
  return Json.formatPath(path.reverse())
}

const formOf = (value: object): Form => {
  const { [marker]: subject, ...rest }: Record<string, unknown> = { ...value }
  const problem = keyProblem(subject, maxSubjectBytes)
  if (problem !== undefined || typeof subject !== "string") {
    return { _tag: "Malformed", problem: `has a subject that ${problem}` }
  }
  const [key, ...more] = Object.keys(rest)
  if (more.length === 0) {
    if (key === "value") return { _tag: "Clear", subject, value: rest.value }
    if (key === "erased" && rest.erased === true) return { _tag: "Erased", subject }
    if (key === "sealed" && typeof rest.sealed === "string") return { _tag: "Sealed", subject, sealed: rest.sealed }
  }
  return {
    _tag: "Malformed",
    problem: `is an object with ${quotedMarker} that Personal.schema did not make: that key is reserved`
  }
}

/** Whether a value has personal data inside. */
export const isNested = (value: unknown): boolean => marksIn({ value }).length > 0
