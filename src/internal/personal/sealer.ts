// Seals and opens the personal data in texts.
//
//   1. Find the marked objects in all of the texts.
//   2. Ask once for the keys of all their subjects.
//   3. Encrypt or decrypt each of them, in memory.
//
// Costs one search a text. Texts with personal data also cost a parse, a walk and a stringify each, and a key store call
// if the keys are not in memory.
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Option from "effect/Option"
import * as KeyStore from "../../KeyStore.js"
import { maxSubjectBytes } from "../constants.js"
import * as Json from "../schema/json.js"
import { marker } from "../schema/personal.js"
import { type Opened, type Sealing, type Text, Unsealable } from "../store/sealing.js"
import { keyProblem } from "../text.js"
import type { Cipher } from "./cipher.js"
import type { KeyCache, Subjects } from "./keyCache.js"
import * as Marks from "./marks.js"

export const make = (store: KeyStore.KeyStore["Type"], cache: KeyCache, cipher: Cipher): Sealing["Type"] => {
  const changing = <A>(
    operation: "destroy" | "rotate",
    subject: string,
    change: (subject: string) => Effect.Effect<A, KeyStore.KeyStoreError>
  ) => {
    const problem = keyProblem(subject, maxSubjectBytes)
    return problem === undefined
      ? cache.change(operation, subject, Effect.suspend(() => change(subject)))
      : new KeyStore.KeyStoreError({ operation, reason: "InvalidInput", detail: `the subject ${problem}` })
  }
  return {
    seal: (texts) => {
      if (!texts.some(({ text }) => Marks.mayHave(text))) return Effect.succeed(texts.map(({ text }) => text))
      return Effect.suspend(() => {
        const found = texts.map(({ text }) => Marks.find(text))
        const problem = sealingProblem(found)
        if (problem !== undefined) return problem
        const subjects = subjectsOf(found, (form) => form._tag === "Clear")
        if (subjects.size === 0) return Effect.succeed(texts.map(({ text }) => text))
        return Effect.flatMap(cache.getOrCreate(subjects), (keys) => sealAll(cipher, texts, found, keys))
      })
    },
    open: (texts) => {
      if (!texts.some(({ text }) => Marks.mayHave(text))) return Effect.succeed(texts.map(asItIs))
      return Effect.suspend(() => {
        const found = texts.map(({ text }) => Marks.find(text))
        const subjects = subjectsOf(found, (form) => form._tag === "Sealed")
        if (subjects.size === 0) return Effect.succeed(texts.map(asItIs))
        return Effect.map(
          Effect.flatMap(cache.get(subjects), (keys) => withNewer(cache, cipher, found, keys)),
          (keys) => texts.map((text, index) => openOne(cipher, text, found[index], keys))
        )
      })
    },
    isOutdated: (texts) => {
      const subjects = subjectsOf(texts.map(Marks.find), (form) => form._tag === "Clear")
      if (subjects.size === 0) return Effect.succeed(false)
      return Effect.map(
        cache.get(subjects),
        (keys) => Array.from(subjects).some((subject) => keys.get(subject)?._tag === "Destroyed")
      )
    },
    erase: (subject) => changing("destroy", subject, store.destroy),
    rotate: (subject) => changing("rotate", subject, store.rotate)
  }
}

type Found = ReadonlyArray<Marks.Marked | undefined>

const asItIs = ({ text }: Text): Opened => ({ text, erased: false })

const subjectsOf = (found: Found, isWanted: (form: Marks.Form) => boolean): ReadonlySet<string> => {
  const subjects = new Set<string>()
  for (const marked of found) {
    for (const { form } of marked?.marks ?? []) {
      if (form._tag !== "Malformed" && isWanted(form)) subjects.add(form.subject)
    }
  }
  return subjects
}

/**
 * Reads the keys again of subjects whose data was sealed by a key that is not in memory: another process has rotated
 * them since.
 */
const withNewer = (
  cache: KeyCache,
  cipher: Cipher,
  found: Found,
  keys: Subjects
): Effect.Effect<Subjects, KeyStore.KeyStoreError> => {
  const newer = subjectsOf(found, (form) => {
    const own = form._tag === "Sealed" ? keys.get(form.subject) : undefined
    return form._tag === "Sealed" && own?._tag === "Keys" &&
      Option.exists(cipher.versionOf(form.sealed), (version) => version > own.current)
  })
  return newer.size === 0
    ? Effect.succeed(keys)
    : Effect.map(cache.refresh(newer), (fresh) => new Map([...keys, ...fresh]))
}

/** Says why texts cannot be sealed before their keys are known. */
const sealingProblem = (found: Found): Unsealable | undefined => {
  for (const [index, marked] of found.entries()) {
    for (const { form, path } of marked?.marks ?? []) {
      const problem = problemOf(form)
      if (problem !== undefined) return new Unsealable({ index, path, problem })
    }
  }
  return undefined
}

const problemOf = (form: Marks.Form): string | undefined => {
  switch (form._tag) {
    case "Malformed":
      return form.problem
    case "Sealed":
      return "is personal data that is sealed already, and it opens only where it was sealed"
    case "Clear":
      return Marks.isNested(form.value) ? "has personal data inside of personal data" : undefined
    case "Erased":
      return undefined
  }
}

const sealAll = (
  cipher: Cipher,
  texts: ReadonlyArray<Text>,
  found: Found,
  keys: Subjects
): Effect.Effect<ReadonlyArray<string>, Unsealable | KeyStore.KeyStoreError> => {
  const sealed: Array<string> = []
  for (const [index, text] of texts.entries()) {
    const marked = found[index]
    for (const { form, path, replace } of marked?.marks ?? []) {
      if (form._tag !== "Clear") continue
      const { subject } = form
      const own = keys.get(subject)
      if (own === undefined) return unavailable("it made no key of a subject")
      if (own._tag === "Destroyed") return new Unsealable({ index, path, problem: "is of a subject that was erased" })
      const key = own.keys.get(own.current)
      const value = Json.stringify(form.value)
      if (key === undefined || Either.isLeft(value)) return unavailable("it gave no current key of a subject")
      const options = { key, version: own.current, place: placeOf(text, subject, path) }
      replace({ [marker]: subject, sealed: cipher.seal(value.right, options) })
    }
    const written = marked === undefined ? Option.some(text.text) : marked.write()
    // the text as it was has the data in clear
    if (Option.isNone(written)) return new Unsealable({ index, path: "$", problem: "is nested too deeply" })
    sealed.push(written.value)
  }
  return Effect.succeed(sealed)
}

const unavailable = (detail: string): KeyStore.KeyStoreError =>
  new KeyStore.KeyStoreError({ operation: "getOrCreate", reason: "Unavailable", detail })

const openOne = (cipher: Cipher, text: Text, marked: Marks.Marked | undefined, keys: Subjects): Opened => {
  if (marked === undefined) return asItIs(text)
  let erased = false
  for (const { form, path, replace } of marked.marks) {
    if (form._tag !== "Sealed") continue
    const { sealed, subject } = form
    const own = keys.get(subject)
    if (own === undefined) continue
    if (own._tag === "Destroyed") {
      erased = true
      replace({ [marker]: subject, erased: true })
      continue
    }
    const value = cipher.versionOf(sealed).pipe(
      Option.flatMapNullable((version) => own.keys.get(version)),
      Option.flatMap((key) => cipher.open(sealed, { key, place: placeOf(text, subject, path) })),
      Option.flatMap((json) => Option.getRight(Json.parse(json)))
    )
    if (Option.isSome(value)) replace({ [marker]: subject, value: value.value })
  }
  return { text: Option.getOrElse(marked.write(), () => text.text), erased }
}

const placeOf = ({ kind, stream }: Text, subject: string, path: string): string =>
  JSON.stringify([kind, stream.aggregate, stream.id, subject, path])
