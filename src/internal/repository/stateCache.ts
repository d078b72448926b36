import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Option from "effect/Option"
import type * as Snapshot from "../../Snapshot.js"
import * as Counters from "./counters.js"

/**
 * What a load of a stream came to, as a snapshot in the process's own memory. It holds text, as whoever was given a state
 * may change it.
 *
 * @internal
 */
export interface Entry<out Used> {
  readonly encoded: Snapshot.EncodedSnapshot
  /** The stored snapshot that the load used: policies count from it. */
  readonly used: Option.Option<Used>
}

/** @internal */
export interface StateCache<in out Used> {
  readonly get: (id: string, now: number) => Entry<Used> | undefined
  readonly set: (id: string, entry: Entry<Used>) => void
  readonly delete: (id: string) => void
  readonly count: (outcome: "Hit" | "Miss" | "Stale") => void
  /** Runs the first for one fiber at a time; for those that came meanwhile, then, the second. */
  readonly single: <A, E>(
    id: string,
    first: Effect.Effect<A, E>,
    others: Effect.Effect<A, E>
  ) => Effect.Effect<A, E>
}

/** @internal */
export const make = <Used>(
  aggregate: string,
  options: { readonly capacity: number; readonly timeToLive: Duration.DurationInput }
): StateCache<Used> => {
  const timeToLive = Duration.toMillis(options.timeToLive)
  // least recently used first
  const entries = new Map<string, Entry<Used>>()
  const loading = new Map<string, Effect.Latch>()

  const set = (id: string, entry: Entry<Used>) => {
    entries.delete(id)
    entries.set(id, entry)
    if (entries.size <= options.capacity) return
    for (const oldest of entries.keys()) {
      entries.delete(oldest)
      return
    }
  }

  return {
    get: (id, now) => {
      const entry = entries.get(id)
      if (entry === undefined) return undefined
      if (now - entry.encoded.time >= timeToLive) {
        entries.delete(id)
        return undefined
      }
      set(id, entry)
      return entry
    },
    set,
    delete: (id) => {
      entries.delete(id)
    },
    count: Counters.byOutcome(Counters.stateCache, aggregate),
    single: (id, first, others) =>
      Effect.uninterruptibleMask((restore) => {
        const leader = loading.get(id)
        if (leader !== undefined) return restore(Effect.zipRight(leader.await, others))
        const latch = Effect.unsafeMakeLatch()
        loading.set(id, latch)
        return Effect.ensuring(
          restore(first),
          Effect.suspend(() => {
            loading.delete(id)
            return latch.open
          })
        )
      })
  }
}
