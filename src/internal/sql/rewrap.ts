// Wraps the keys of all subjects again, for a new key of a key service.
// Mechanism: pages of rows, in the order of their subjects. Each row is replaced only if it has not changed since it was
// read, so a rotation or an erasure at the same time wins, and a stop at any moment leaves rows of which each opens.
// Cost: one statement a page and one a row, and the calls of the key service. No event is read.
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import { KeyStoreError } from "../../KeyStore.js"
import type { KeyRow, KeyRows } from "./keyRows.js"
import * as Keys from "./keys.js"

/**
 * How far the keys were wrapped again.
 *
 * @since 0.1.0
 * @category models
 */
export interface Rewrapped {
  /** The last subject that was looked at. To go on from here, give it as `after`. */
  readonly subject: string
  /** The number of subjects whose keys were wrapped again, from the beginning of this run. */
  readonly rewrapped: number
  /** The number of subjects whose keys were left as they are, because all were current or have been erased since. */
  readonly kept: number
}

export interface Options {
  readonly from: Keys.Wrapping["unwrap"]
  readonly to: Keys.Wrapping["wrap"]
  readonly isCurrent: (wrapped: string) => boolean
  readonly after: string
  readonly pageSize: number
  readonly concurrency: number
}

export const stream = (rows: KeyRows, options: Options): Stream.Stream<Rewrapped, KeyStoreError> => {
  const row = rowOf(rows, options)
  return Stream.unfoldEffect(
    { subject: options.after, rewrapped: 0, kept: 0 },
    (before: Rewrapped) =>
      Effect.gen(function*() {
        const page = yield* Effect.mapError(rows.page(before.subject, options.pageSize), Keys.failure("rewrap"))
        const last = page.at(-1)
        if (last === undefined) return Option.none()
        const done = yield* Effect.forEach(page, ([subject, found]) => row(subject, found, attempts), {
          concurrency: options.concurrency
        })
        // the wrapped keys that were replaced
        yield* rows.checkpoint
        const rewrapped = done.filter((isDone) => isDone).length
        const after = {
          subject: last[0],
          rewrapped: before.rewrapped + rewrapped,
          kept: before.kept + done.length - rewrapped
        }
        return Option.some([after, after] as const)
      })
  )
}

const attempts = 10

/** Wraps the keys of a row again. Gives false if it leaves them as they are. */
const rowOf = (rows: KeyRows, { from, isCurrent, to }: Options) => {
  // what is unwrapped is not kept: each key is needed once
  const codec = Keys.makeCodec({ unwrap: from, wrap: to })
  const allCurrent = (text: string) =>
    Effect.try({
      try: () => Option.exists(Keys.wrappedIn(text), (wrapped) => wrapped.every((one) => isCurrent(one))),
      catch: (cause) => unavailable("isCurrent threw", cause)
    })
  const one = (subject: string, { keys, revision }: KeyRow, left: number): Effect.Effect<boolean, KeyStoreError> =>
    Effect.gen(function*() {
      if (keys === null || (yield* allCurrent(keys))) return false
      const opened = yield* codec.decode("rewrap", subject, keys)
      const text = yield* codec.encode("rewrap", subject, opened)
      const replaced = rows.replace(subject, { revision, keys: text })
      if (yield* Effect.mapError(replaced, Keys.failure("rewrap"))) return true
      if (left === 1) return yield* unavailable("another process was first at every try: try again")
      // rotated, erased, or wrapped again by another run
      const now = (yield* Effect.mapError(rows.read([subject]), Keys.failure("rewrap"))).get(subject)
      return now === undefined ? false : yield* one(subject, now, left - 1)
    })
  return one
}

const unavailable = (detail: string, cause?: unknown): KeyStoreError =>
  new KeyStoreError({
    operation: "rewrap",
    reason: "Unavailable",
    detail,
    ...(cause === undefined ? {} : { cause })
  })
