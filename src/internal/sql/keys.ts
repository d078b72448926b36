// The key store on rows: encodes keys as JSON, and wraps them if the program asks for it.
// Cost: one statement to read keys, and two more for new subjects. A wrapped key is unwrapped once in five minutes.
import type { SqlError } from "@effect/sql/SqlError"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Encoding from "effect/Encoding"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import * as KeyStore from "../../KeyStore.js"
import { reason } from "../schema/reason.js"
import * as MemoryKeys from "../store/memoryKeys.js"
import { classify, withoutRows } from "./failure.js"
import type { KeyRow, KeyRows } from "./keyRows.js"

export type Key = Redacted.Redacted<Uint8Array>

export interface Wrapping {
  readonly wrap: (key: Key, subject: string) => Effect.Effect<string, unknown>
  readonly unwrap: (wrapped: string, subject: string) => Effect.Effect<Key, unknown>
}

/** Keeps keys in the table as they are, in base64. */
export const unwrapped: Wrapping = {
  wrap: (key) => Effect.succeed(Encoding.encodeBase64(Redacted.value(key))),
  // the error of the decoder has the text, which is a key or most of one
  unwrap: (text) =>
    Effect.mapBoth(Encoding.decodeBase64(text), { onFailure: () => notBase64, onSuccess: Redacted.make })
}

type Operation = KeyStore.KeyStoreError["operation"]

type Keys = Extract<KeyStore.SubjectKeys, { readonly _tag: "Keys" }>

export const make = (rows: KeyRows, wrapping: Wrapping): KeyStore.KeyStore["Type"] => {
  const codec = makeCodec({ wrap: wrapping.wrap, unwrap: remembering(wrapping) })
  const found = (operation: Operation, rows: ReadonlyMap<string, KeyRow>) =>
    Effect.map(
      Effect.forEach(rows, ([subject, row]) =>
        Effect.map(decode(codec, operation, subject, row), (keys) => [subject, keys] as const)),
      (entries) =>
        new Map(entries)
    )
  const read = (operation: Operation, subjects: ReadonlyArray<string>) =>
    Effect.mapError(rows.read(subjects), failure(operation))
  const settled = Effect.map(rows.inTransaction, (open) => !open)
  return {
    get: (subjects) =>
      Effect.zipWith(
        Effect.flatMap(read("get", subjects), (rows) => found("get", rows)),
        settled,
        (subjects, settled) => ({ subjects, settled })
      ),
    getOrCreate: (subjects) =>
      Effect.gen(function*() {
        const known = yield* read("getOrCreate", subjects)
        const missing = subjects.filter((subject) => !known.has(subject))
        const all = missing.length === 0
          ? known
          : yield* Effect.zipRight(create(rows, codec, missing), read("getOrCreate", subjects))
        return { subjects: yield* found("getOrCreate", all), settled: yield* settled }
      }),
    destroy: (subject) =>
      Effect.gen(function*() {
        const before = yield* read("destroy", [subject])
        const now = yield* Clock.currentTimeMillis
        yield* Effect.mapError(rows.erase(subject, Math.trunc(now)), failure("destroy"))
        return typeof before.get(subject)?.keys === "string"
      }),
    rotate: (subject) => rotate(rows, codec, subject, 10)
  }
}

const create = (rows: KeyRows, codec: Codec, missing: ReadonlyArray<string>) =>
  Effect.gen(function*() {
    const made = yield* Effect.forEach(missing, (subject) =>
      Effect.map(
        codec.encode("getOrCreate", subject, MemoryKeys.first()),
        (keys) => [subject, keys] as const
      ))
    yield* Effect.mapError(rows.add(made), failure("getOrCreate"))
  })

const rotate = (
  rows: KeyRows,
  codec: Codec,
  subject: string,
  attempts: number
): Effect.Effect<KeyStore.SubjectKeys, KeyStore.KeyStoreError> =>
  Effect.gen(function*() {
    const row = (yield* Effect.mapError(rows.read([subject]), failure("rotate"))).get(subject)
    if (row === undefined) {
      yield* create(rows, codec, [subject])
      return yield* rotate(rows, codec, subject, attempts)
    }
    const keys = yield* decode(codec, "rotate", subject, row)
    if (keys._tag === "Destroyed") return keys
    if (keys.current === MemoryKeys.maxKeyNumber) {
      const detail = `the subject has a key of the number ${MemoryKeys.maxKeyNumber}, which is the last one`
      return yield* new KeyStore.KeyStoreError({ operation: "rotate", reason: "Unavailable", detail })
    }
    const next = MemoryKeys.rotated(keys)
    const text = yield* codec.encode("rotate", subject, next)
    const done = yield* Effect.mapError(
      rows.replace(subject, { revision: row.revision, keys: text }),
      failure("rotate")
    )
    if (done) return next
    if (attempts > 1) return yield* rotate(rows, codec, subject, attempts - 1)
    const detail = "another process was first at every try: try again"
    return yield* new KeyStore.KeyStoreError({ operation: "rotate", reason: "Unavailable", detail })
  })

export interface Codec {
  readonly encode: (operation: Operation, subject: string, keys: Keys) => Effect.Effect<string, KeyStore.KeyStoreError>
  readonly decode: (operation: Operation, subject: string, text: string) => Effect.Effect<Keys, KeyStore.KeyStoreError>
}

const decode = (
  codec: Codec,
  operation: Operation,
  subject: string,
  { keys }: KeyRow
): Effect.Effect<KeyStore.SubjectKeys, KeyStore.KeyStoreError> =>
  keys === null ? Effect.succeed({ _tag: "Destroyed" }) : codec.decode(operation, subject, keys)

/** The texts of a subject's keys, as `wrap` returned them. */
export const wrappedIn = (text: string): Option.Option<ReadonlyArray<string>> =>
  Option.map(Option.getRight(Schema.decodeEither(Stored)(text)), (keys) => keys.map(([, wrapped]) => wrapped))

/** The keys of a subject as they are stored: each number with its wrapped key. The highest number is the current one. */
const Stored = Schema.parseJson(
  Schema.Array(Schema.Tuple(Schema.Int.pipe(Schema.between(1, MemoryKeys.maxKeyNumber)), Schema.String))
)

/** Makes the form of a subject's keys in the table. */
export const makeCodec = ({ unwrap, wrap }: Wrapping): Codec => {
  const unavailable = (operation: Operation, detail: string) => (cause: unknown) =>
    // the error of a text that is not base64 has the text, and its message a character of it
    Encoding.isDecodeException(cause)
      ? new KeyStore.KeyStoreError({ operation, reason: "Unavailable", detail: `${detail}: ${notBase64}` })
      : new KeyStore.KeyStoreError({ operation, reason: "Unavailable", detail: `${detail}: ${reason(cause)}`, cause })
  return {
    encode: (operation, subject, { keys }) =>
      Effect.forEach(
        keys,
        ([version, key]) => Effect.map(wrap(key, subject), (wrapped) => [version, wrapped] as const)
      ).pipe(
        Effect.mapBoth({
          onFailure: unavailable(operation, "a key could not be wrapped"),
          onSuccess: (entries) => JSON.stringify(entries)
        })
      ),
    decode: (operation, subject, text) =>
      Effect.gen(function*() {
        const stored = Schema.decodeEither(Stored)(text)
        if (Either.isLeft(stored) || stored.right.length === 0) {
          const detail = "the keys of a subject are not as this store writes them"
          return yield* new KeyStore.KeyStoreError({ operation, reason: "Unavailable", detail })
        }
        const keys = yield* Effect.forEach(stored.right, ([version, wrapped]) =>
          Effect.map(
            Effect.mapError(unwrap(wrapped, subject), unavailable(operation, "a key could not be unwrapped")),
            (key) => [version, key] as const
          ))
        // also what a key service has encrypted can be base64
        if (keys.some(([, key]) => Redacted.value(key).length !== keyBytes)) {
          const detail = `a key could not be unwrapped: it does not have ${keyBytes} bytes. ${isWrapped}`
          return yield* new KeyStore.KeyStoreError({ operation, reason: "Unavailable", detail })
        }
        return { _tag: "Keys", current: Math.max(...keys.map(([version]) => version)), keys: new Map(keys) }
      })
  }
}

const isWrapped = "If a key service has wrapped it, the key store needs the unwrap of that service"

const notBase64 = `it is not base64. ${isWrapped}`

const keyBytes = 32

// a service for keys may be slow, and may cost money for each call
const remembering = (wrapping: Wrapping): Wrapping["unwrap"] => {
  if (wrapping === unwrapped) return wrapping.unwrap
  const known = new Map<string, { readonly key: Key; readonly until: number }>()
  return (wrapped, subject) =>
    Effect.flatMap(Clock.currentTimeMillis, (now) => {
      const entry = known.get(wrapped)
      if (entry !== undefined && now < entry.until) return Effect.succeed(entry.key)
      return Effect.map(wrapping.unwrap(wrapped, subject), (key) => {
        if (known.size >= mostKnown) known.clear()
        known.set(wrapped, { key, until: now + rememberedFor })
        return key
      })
    })
}

const mostKnown = 10_000

const rememberedFor = 5 * 60_000

export const failure = (operation: Operation) => (error: SqlError): KeyStore.KeyStoreError =>
  new KeyStore.KeyStoreError({
    operation,
    reason: "Unavailable",
    detail: classify(error).detail,
    cause: withoutRows(error)
  })
