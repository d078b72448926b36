// Keeps the keys of subjects in memory for a short time, so that data of one subject costs one call of the key store in
// that time. After an erasure by another process the keys are used for so long, at most.
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import * as KeyStore from "../../KeyStore.js"
import { liveClock } from "../liveClock.js"
import { setNewest } from "../recent.js"
import { maxKeyNumber } from "../store/memoryKeys.js"

export interface Options {
  /** How long keys stay in memory. */
  readonly timeToLive: Duration.DurationInput
  /** The number of subjects whose keys stay in memory, at most. */
  readonly capacity: number
  /** How long a call of the key store may take. */
  readonly timeout: Duration.DurationInput
}

export type Subjects = ReadonlyMap<string, KeyStore.SubjectKeys>

export interface KeyCache {
  readonly get: (subjects: ReadonlySet<string>) => Effect.Effect<Subjects, KeyStore.KeyStoreError>
  readonly getOrCreate: (subjects: ReadonlySet<string>) => Effect.Effect<Subjects, KeyStore.KeyStoreError>
  /** Reads keys from the store, also those that are in memory: another process may have added one. */
  readonly refresh: (subjects: ReadonlySet<string>) => Effect.Effect<Subjects, KeyStore.KeyStoreError>
  /** Runs a change of a subject's keys. Keys that were read meanwhile are not kept. */
  readonly change: <A>(
    operation: "destroy" | "rotate",
    subject: string,
    change: Effect.Effect<A, KeyStore.KeyStoreError>
  ) => Effect.Effect<A, KeyStore.KeyStoreError>
}

interface Entry {
  readonly keys: KeyStore.SubjectKeys
  readonly until: number
}

export const make = (store: KeyStore.KeyStore["Type"], options: Options): KeyCache => {
  const timeToLive = Duration.toMillis(options.timeToLive)
  // oldest first
  const entries = new Map<string, Entry>()
  let changes = 0

  const bounded = bounding(options)

  const read =
    (operation: "get" | "getOrCreate", known: ReadonlyMap<string, Entry> = entries) =>
    (subjects: ReadonlySet<string>): Effect.Effect<Subjects, KeyStore.KeyStoreError> =>
      Effect.clockWith((clock) => {
        const now = clock.unsafeCurrentTimeMillis()
        const found = new Map<string, KeyStore.SubjectKeys>()
        const missing: Array<string> = []
        for (const subject of subjects) {
          const entry = known.get(subject)
          if (entry !== undefined && now < entry.until) found.set(subject, entry.keys)
          else missing.push(subject)
        }
        if (missing.length === 0) return Effect.succeed(found)
        const before = changes
        // in one order, so that two writers of the same subjects do not wait for each other
        const asked = Effect.suspend(() => store[operation](missing.sort()))
        return Effect.flatMap(bounded(operation, asked), (given) => {
          const problem = foundProblem(given, missing)
          if (problem !== undefined) {
            return new KeyStore.KeyStoreError({ operation, reason: "Unavailable", detail: problem })
          }
          const { settled, subjects } = given
          for (const subject of missing) {
            const keys = subjects.get(subject)
            if (keys === undefined) continue
            found.set(subject, keys)
            if (settled && changes === before) {
              setNewest(entries, subject, { keys, until: now + timeToLive }, options.capacity)
            }
          }
          return Effect.succeed(found)
        })
      })

  return {
    get: read("get"),
    getOrCreate: read("getOrCreate"),
    refresh: read("get", new Map()),
    change: (operation, subject, change) =>
      Effect.suspend(() => {
        const forget = Effect.sync(() => {
          changes++
          entries.delete(subject)
        })
        return Effect.ensuring(Effect.zipRight(forget, bounded(operation, change)), forget)
      })
  }
}

const bounding = ({ timeout }: Options) =>
<A>(
  operation: KeyStore.KeyStoreError["operation"],
  effect: Effect.Effect<A, KeyStore.KeyStoreError>
): Effect.Effect<A, KeyStore.KeyStoreError> =>
  // the store answers in real time, and has the clock of its caller
  Effect.clockWith((clock) =>
    Effect.withClock(
      Effect.timeoutFail(Effect.withClock(withoutDefects(operation, effect), clock), {
        duration: timeout,
        onTimeout: () =>
          new KeyStore.KeyStoreError({
            operation,
            reason: "Unavailable",
            detail: `it did not answer within ${Duration.format(Duration.decode(timeout))}`
          })
      }),
      liveClock
    )
  )

// the store may be user-provided, and may throw
const withoutDefects = <A>(
  operation: KeyStore.KeyStoreError["operation"],
  effect: Effect.Effect<A, KeyStore.KeyStoreError>
): Effect.Effect<A, KeyStore.KeyStoreError> =>
  Effect.catchAllDefect(
    effect,
    (cause) => new KeyStore.KeyStoreError({ operation, reason: "Unavailable", detail: "it died", cause })
  )

// the store may be user-provided: its answers are validated
const foundProblem = (found: KeyStore.Found, missing: ReadonlyArray<string>): string | undefined => {
  try {
    const { subjects } = found
    for (const subject of missing) {
      const keys = subjects.get(subject)
      const problem = keys === undefined ? undefined : problemOf(keys)
      if (problem !== undefined) return problem
    }
    return undefined
  } catch {
    return "its answer is not as the service KeyStore says"
  }
}

const problemOf = (keys: KeyStore.SubjectKeys): string | undefined => {
  if (keys._tag === "Destroyed") return undefined
  if (!keys.keys.has(keys.current)) return "it gave no current key of a subject"
  if (!Number.isSafeInteger(keys.current) || keys.current < 1 || keys.current > maxKeyNumber) {
    return `it gave a key whose number is not from 1 to ${maxKeyNumber}`
  }
  for (const key of keys.keys.values()) {
    if (Redacted.value(key).length !== 32) return "it gave a key that does not have 32 bytes"
  }
  return undefined
}
