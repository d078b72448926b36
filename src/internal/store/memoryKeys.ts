// Keeps keys in the memory of the process.
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"

type Keys = {
  readonly _tag: "Keys"
  readonly current: number
  readonly keys: ReadonlyMap<number, Redacted.Redacted<Uint8Array>>
}

type Kept = Keys | { readonly _tag: "Destroyed" }

export const make = Effect.sync(() => {
  const kept = new Map<string, Kept>()
  const found = (subjects: ReadonlyArray<string>) => ({
    subjects: new Map(subjects.flatMap((subject) => {
      const keys = kept.get(subject)
      return keys === undefined ? [] : [[subject, keys] as const]
    })),
    settled: true
  })
  return {
    get: (subjects: ReadonlyArray<string>) => Effect.sync(() => found(subjects)),
    getOrCreate: (subjects: ReadonlyArray<string>) =>
      Effect.sync(() => {
        for (const subject of subjects) if (!kept.has(subject)) kept.set(subject, first())
        return found(subjects)
      }),
    destroy: (subject: string) =>
      Effect.sync(() => {
        const had = kept.get(subject)?._tag === "Keys"
        kept.set(subject, { _tag: "Destroyed" })
        return had
      }),
    rotate: (subject: string) =>
      Effect.sync((): Kept => {
        const now = kept.get(subject)
        const next = now === undefined ? first() : now._tag === "Keys" ? rotated(now) : now
        kept.set(subject, next)
        return next
      })
  }
})

/** The highest number of a key: a sealed text has four bytes for it. */
export const maxKeyNumber = 0xffffffff

/** A new key of 256 bits. */
export const random = (): Redacted.Redacted<Uint8Array> => Redacted.make(crypto.getRandomValues(new Uint8Array(32)))

export const first = (): Keys => ({ _tag: "Keys", current: 1, keys: new Map([[1, random()]]) })

export const rotated = ({ current, keys }: Keys): Keys => ({
  _tag: "Keys",
  current: current + 1,
  keys: new Map([...keys, [current + 1, random()]])
})
