// Keeps the states that loads folded, as snapshots in the memory of the process. A load reads the event that proves the
// cached state, and the events after it. If the proof fails, the load looks for the stored snapshot. An entry is text,
// because a caller may change the state that a load returned. A hit costs one read.
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Option from "effect/Option"
import type * as EventStore from "../../EventStore.js"
import type * as Snapshot from "../../Snapshot.js"
import type * as StreamId from "../../StreamId.js"
import * as Counters from "../counters.js"
import { setNewest } from "../recent.js"
import * as BackOff from "./backOff.js"
import { type Baseline, baselineOf, type Used } from "./baseline.js"
import type { LoadError } from "./errors.js"
import { isContinued, type Loadable, type Page, proofOf, proves } from "./loadable.js"
import { isRewritten, type Loading, type Request, type Rewritten } from "./replay.js"
import * as Sealed from "./sealed.js"
import { type Found, prove } from "./snapshotSource.js"

/** The loader without the cache. */
export interface Uncached<Id, State> {
  readonly load: (request: Request<Id, State>) => Loading<State>
  /** Folds the events after a snapshot, or all of them. */
  readonly resume: (request: Request<Id, State>, found: Found<State>) => Loading<State>
}

export interface StateCache<Id, State> {
  readonly load: (request: Request<Id, State>) => Loading<State>
  /** Removes the state of a stream, so that the next load looks for the stored snapshot. */
  readonly forget: (stream: StreamId.StreamId) => void
}

export const make = <Id, State>(
  aggregate: Loadable<Id, State>,
  options: { readonly capacity: number; readonly timeToLive: Duration.DurationInput },
  events: EventStore.ReplaySeam,
  uncached: Uncached<Id, State>
): StateCache<Id, State> => {
  const entries = makeEntries(aggregate, options)
  const kept = Sealed.kept(events, aggregate)
  const remember = remembering(entries, kept)
  const oneAtATime = makeOneAtATime()
  const count = Counters.byOutcome(Counters.stateCache, aggregate.name)

  const resume = (
    request: Request<Id, State>,
    { encoded, used }: Entry,
    page: Page,
    now: () => number
  ): Loading<State> =>
    Effect.flatMap(uncached.resume(request, prove(aggregate, encoded, page)), (folded) => {
      const { refuted, stream, took } = folded
      const cached = Option.isSome(folded.used)
      const loaded = baselineOf(folded, { stream, snapshotVersion: 0, used, outcome: disabled, took, refuted, cached })
      // to encode the state costs about as much as to read as much text again
      const isLong = folded.replayed > 0 && lengthOf(page) >= encoded.state.length
      return !cached || isLong ? remember(loaded, used, now()) : Effect.succeed(loaded)
    })

  // `again`: the load waited for another one of the stream. It counts once, and waits once.
  const loadCached = (request: Request<Id, State>, again: boolean): Loading<State> =>
    Effect.clockWith((clock) => {
      const { limits, stream } = request
      const now = () => clock.unsafeCurrentTimeMillis()
      const next = Effect.suspend(() => loadCached(request, true))
      const miss = (outcome: "Miss" | "Stale"): Loading<State> => {
        const loading = Effect.flatMap(uncached.load(request), (loaded) => remember(loaded, loaded.used, now()))
        if (again) return loading
        count(outcome)
        return oneAtATime(stream.id, loading, next)
      }
      const entry = entries.get(stream.id, now())
      if (entry === undefined) return miss("Miss")
      const drop = () => {
        if (entries.get(stream.id, now()) === entry) entries.delete(stream.id)
      }
      const { encoded } = entry
      return Effect.flatMap(events.readTail(stream, { fromVersion: encoded.version, limit: limits.first }), (page) => {
        if (proves(page, encoded) && !isContinued(page, limits.first)) {
          const hit = (entry: Entry) => {
            if (!again) count("Hit")
            // the stream was truncated behind the cached state
            return Effect.catchIf(resume(request, entry, page, now), isEmptied, () => {
              drop()
              return miss("Stale")
            })
          }
          return kept === undefined ? hit(entry) : Effect.flatMap(kept.use(encoded), (opened) => {
            if (opened !== undefined) return hit({ ...entry, encoded: opened })
            drop()
            return miss("Stale")
          })
        }
        // the history is another one, or so many events were appended that there may be a newer snapshot
        const current = entries.get(stream.id, now())
        if (current !== undefined && current !== entry && !again) {
          // another load has replaced the entry meanwhile
          count("Stale")
          return next
        }
        if (current === entry) entries.delete(stream.id)
        return miss("Stale")
      })
    })

  return {
    load: (request) =>
      Effect.flatMap(events.inTransaction, (open) => open ? uncached.load(request) : loadCached(request, false)),
    forget: (stream) => entries.delete(stream.id)
  }
}

const isEmptied = (error: LoadError | Rewritten): error is Rewritten => isRewritten(error) && error.emptied

// Only a load writes the cache, and only outside of transactions: other processes see the same events.
const remembering = <State>(
  entries: Pick<ReturnType<typeof makeEntries<never, State>>, "delete" | "encode" | "set">,
  kept: Sealed.Kept | undefined
) =>
(loaded: Baseline<State>, used: Option.Option<Used>, now: number): Effect.Effect<Baseline<State>> => {
  const encoded = entries.encode(loaded, now)
  if (encoded === undefined) return Effect.succeed(loaded)
  if (kept === undefined) {
    entries.set(loaded.stream.id, { encoded, used })
    return Effect.succeed(loaded)
  }
  return Effect.map(kept.keep(encoded), (sealed) => {
    if (sealed === undefined) entries.delete(loaded.stream.id)
    else entries.set(loaded.stream.id, { encoded: sealed, used })
    return loaded
  })
}

const disabled: Snapshot.SnapshotOutcome = { _tag: "Disabled" }

const lengthOf = (page: Page): number => page.reduce((length, { payload }) => length + payload.length, 0)

interface Entry {
  readonly encoded: Snapshot.EncodedSnapshot
  /** The stored snapshot that the load used: policies count from it. */
  readonly used: Option.Option<Used>
}

const makeEntries = <Id, State>(
  aggregate: Loadable<Id, State>,
  options: { readonly capacity: number; readonly timeToLive: Duration.DurationInput }
) => {
  const uncachable = BackOff.make()
  const timeToLive = Duration.toMillis(options.timeToLive)
  // least recently used first
  const entries = new Map<string, Entry>()

  const set = (id: string, entry: Entry): void => setNewest(entries, id, entry, options.capacity)

  const remove = (id: string): void => {
    entries.delete(id)
  }

  /** `undefined` if the state cannot be kept. */
  const encode = (loaded: Baseline<State>, now: number): Snapshot.EncodedSnapshot | undefined => {
    const { state, stream, version } = loaded
    const eventId = proofOf(loaded)
    if (version === 0 || eventId === null || uncachable.waits(stream.id, now)) return undefined
    const time = DateTime.make(Math.trunc(now))
    // the clock may give a time that is not a date
    if (Option.isNone(time)) return undefined
    const encoded = aggregate.encode({ stream, version, eventId, state, time: DateTime.toUtc(time.value) })
    if (Either.isRight(encoded)) {
      uncachable.succeeded(stream.id)
      return encoded.right
    }
    uncachable.failed(stream.id, now)
    entries.delete(stream.id)
    return undefined
  }

  return {
    encode,
    set,
    get: (id: string, now: number): Entry | undefined => {
      const entry = entries.get(id)
      if (entry === undefined) return undefined
      if (now - entry.encoded.time >= timeToLive) {
        entries.delete(id)
        return undefined
      }
      set(id, entry)
      return entry
    },
    delete: remove
  }
}

/** Runs `first` for one fiber of a stream at a time. The fibers that come meanwhile wait for it, and run `others`. */
const makeOneAtATime = () => {
  const loading = new Map<string, Effect.Latch>()
  return <A, E>(id: string, first: Effect.Effect<A, E>, others: Effect.Effect<A, E>): Effect.Effect<A, E> =>
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
