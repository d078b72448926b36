// Loads the state of an aggregate: from the newest snapshot that passes the proof and the events after it, or from all
// events. A load finds the snapshot (snapshotSource), folds the events after it (replay), and begins again if the
// history was rewritten meanwhile. If the repository has a cache (stateCache), the load looks for a state there first.
// Costs one round trip if both stores share a database, otherwise two, and one more for each further page.
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Option from "effect/Option"
import * as EventStore from "../../EventStore.js"
import type * as Snapshot from "../../Snapshot.js"
import type { SnapshotStore } from "../../SnapshotStore.js"
import type * as StreamId from "../../StreamId.js"
import { type Baseline, baselineOf } from "./baseline.js"
import { contain } from "./contain.js"
import type { IdEncodeError, LoadError } from "./errors.js"
import { type Folded, isContinued, type Loadable } from "./loadable.js"
import * as Replay from "./replay.js"
import * as SnapshotSource from "./snapshotSource.js"
import type { Source } from "./source.js"
import * as StateCache from "./stateCache.js"

export interface Loader<in Id, in out State> {
  readonly load: (id: Id, options?: LoadOptions<State>) => Effect.Effect<Baseline<State>, LoadError>
  /** Gives the state at a version by full replay, also where newer events follow. */
  readonly replayTo: (id: Id, version: number) => Effect.Effect<Folded<State>, LoadError>
  /**
   * Gives the state at a version, also where newer events follow, or at the end of the stream if that comes first. It
   * uses a stored snapshot of that version or an older one, and not the cache.
   */
  readonly loadTo: (
    id: Id,
    version: number,
    options: Pick<LoadOptions<State>, "onRefused">
  ) => Effect.Effect<Baseline<State>, LoadError>
  /** Makes the next load look for the stored snapshot. */
  readonly forget: (stream: StreamId.StreamId) => void
  /** Folds the source once more, and the events since. If the history was rewritten or the source is gone, it loads. */
  readonly advance: (
    id: Id,
    baseline: Baseline<State>,
    options: Required<Pick<LoadOptions<State>, "source" | "onRefused">> & { readonly source: Source<State> }
  ) => Effect.Effect<Baseline<State>, LoadError>
  /** Reads and folds the events after a held state. If the history was rewritten, it loads. */
  readonly proceed: (
    id: Id,
    baseline: Baseline<State>,
    options: Required<Pick<LoadOptions<State>, "source" | "onRefused">> & { readonly source: Source<State> }
  ) => Effect.Effect<Baseline<State>, LoadError>
}

export interface LoadOptions<in out State> {
  /** Ignores `maxReplay` and the cache: used for snapshots and verifications. */
  readonly unbounded?: boolean | undefined
  readonly onRefused?: Replay.Request<never, State>["onRefused"] | undefined
  readonly onPage?: (() => void) | undefined
  readonly source?: Source<State> | undefined
}

export const make = <Id, State>(
  loadable: Loadable<Id, State>,
  options: {
    readonly events: EventStore.EventStore["Type"]
    readonly snapshots: Option.Option<SnapshotStore["Type"]>
    readonly pageSize: number
    readonly timeout: Duration.DurationInput
    readonly onDrift: "replay" | "decode"
    readonly maxReplay: number
    readonly concurrentReplays: number | undefined
    readonly cache: { readonly capacity: number; readonly timeToLive: Duration.DurationInput } | undefined
  }
): Loader<Id, State> => {
  const find = SnapshotSource.make(loadable, options)
  const replay = Replay.make(loadable, options)
  const limited = Replay.limits(options.pageSize, options.maxReplay)
  const unlimited = Replay.limits(options.pageSize, Infinity)

  const resume: StateCache.Uncached<Id, State>["resume"] = (request, found) => {
    if (found._tag === "Unused") return replayAll(replay, request, found)
    return found.snapshot.version <= request.upTo
      ? foldTail(loadable, replay, request, found)
      : replayAll(replay, request, SnapshotSource.unused(SnapshotSource.none))
  }

  const loadStored = loadingStored(find, resume, options)

  const cache = options.cache &&
    StateCache.make(loadable, options.cache, options.events.replay, { load: loadStored, resume })

  const load: Loader<Id, State>["load"] = (id, options = {}) =>
    Effect.flatMap(requestOf(loadable, id, options.unbounded === true ? unlimited : limited, options), (request) => {
      const { source } = request
      const loading = Replay.repeatRewritten(
        cache === undefined || options.unbounded === true ? loadStored(request) : cache.load(request),
        request
      )
      return source === undefined ? loading : Effect.map(loading, (loaded) => {
        source.settle(loaded)
        return loaded
      })
    })

  const proceed = (id: Id, baseline: Baseline<State>, from: Folded<State>, options: LoadOptions<State>) =>
    Effect.flatMap(
      requestOf(loadable, id, limited, options),
      (request) => Effect.catchIf(readOn(replay, request, baseline, from), Replay.isRewritten, () => load(id, options))
    )

  const { lastRewritten } = options.events.replay
  return {
    load,
    replayTo: (id, version) =>
      Effect.flatMap(requestOf(loadable, id, unlimited, {}), (request) => {
        const upTo = { ...request, upTo: version }
        const folding = Effect.suspend(() => replay.fromStart(upTo, undefined))
        return Replay.repeatRewritten(Replay.unlessRewritten(lastRewritten, upTo, folding, folding), upTo)
      }),
    loadTo: (id, version, options) =>
      Effect.flatMap(requestOf(loadable, id, limited, options), (request) => {
        const upTo = { ...request, upTo: version }
        return Replay.repeatRewritten(settled(replay, lastRewritten, upTo, loadStored(upTo)), upTo)
      }),
    forget: (stream) => cache?.forget(stream),
    advance: (id, baseline, options) =>
      Effect.suspend(() => {
        const again = options.source.again()
        return Option.isNone(again)
          ? load(id, options)
          // the events that are folded once more count once
          : proceed(id, baseline, { ...again.value, replayed: baseline.replayed }, options)
      }),
    proceed: (id, baseline, options) => proceed(id, baseline, { ...baseline, replayed: 0 }, options)
  }
}

interface Stores {
  readonly events: EventStore.EventStore["Type"]
  readonly snapshots: Option.Option<SnapshotStore["Type"]>
  readonly timeout: Duration.DurationInput
}

const loadingStored = <Id, State>(
  find: SnapshotSource.Find<State>,
  resume: StateCache.Uncached<Id, State>["resume"],
  stores: Stores
): StateCache.Uncached<Id, State>["load"] => {
  // 1. find the snapshot  2. fold the events after it, or all events  3. if the next event was removed, find another one
  const load = (request: Replay.Request<Id, State>, tries: number): Replay.Loading<State> =>
    Effect.flatMap(
      Effect.suspend(() => find(request.stream, { limit: request.limits.first, isOnlySource: request.met.emptied })),
      (found) => {
        const resumed = resume(request, found)
        if (found._tag === "Unused" || tries === 1) return resumed
        return Effect.catchIf(resumed, isRemovedAfter(found.encoded), (gap) =>
          Effect.flatMap(discard(found.encoded, stores), (isGone) =>
            isGone ? load(request, tries - 1) : Effect.fail(gap)))
      }
    )
  return (request) => load(request, 5)
}

const isRemovedAfter = ({ version }: Snapshot.EncodedSnapshot) => (error: LoadError | Replay.Rewritten): boolean =>
  error._tag === "HistoryGap" && error.removed === true && error.expected === version + 1

/**
 * Deletes a snapshot that gives no state any more, because the event after it was removed: it was saved after the
 * truncation, and hides one of another schema version that can be migrated. Tells whether the store deleted it. A store
 * that fails does not change the error of the load.
 */
const discard = (
  { eventId, schemaVersion, stream, time, version }: Snapshot.EncodedSnapshot,
  { snapshots, ...options }: Stores
): Effect.Effect<boolean, EventStore.EventStoreError> =>
  Option.match(snapshots, {
    onNone: () => Effect.succeed(false),
    onSome: (snapshots) => {
      const identity = { version, eventId, time }
      const deletion = Effect.suspend(() => snapshots.delete(stream, { schemaVersion, identity }))
      return Effect.map(
        contain(deletion, options),
        Either.match({ onLeft: () => false, onRight: (count) => count > 0 })
      )
    }
  })

const requestOf = <Id, State>(
  aggregate: Loadable<Id, State>,
  id: Id,
  limits: Replay.Limits,
  { onPage, onRefused, source }: LoadOptions<State>
): Effect.Effect<Replay.Request<Id, State>, IdEncodeError> =>
  Effect.clockWith((clock) => {
    const began = clock.unsafeCurrentTimeNanos()
    return Either.map(aggregate.streamOf(id), (stream) => ({
      id,
      stream,
      limits,
      upTo: Infinity,
      onRefused: onRefused ?? (() => Effect.void),
      onPage: onPage ?? (() => {}),
      source,
      elapsed: () => Number(clock.unsafeCurrentTimeNanos() - began) / 1_000_000,
      met: { marker: 0, emptied: false }
    }))
  })

/** Replays all events if the loaded state, which ends before the end of the stream, may have an old payload in it. */
const settled = <Id, State>(
  replay: Replay.Replay<Id, State>,
  lastRewritten: EventStore.ReplaySeam["lastRewritten"],
  request: Replay.Request<Id, State>,
  loading: Replay.Loading<State>
): Replay.Loading<State> =>
  Effect.flatMap(loading, (loaded) => {
    // one statement read it all
    if (Option.isNone(loaded.used) && loaded.replayed < request.limits.first) return Effect.succeed(loaded)
    const whole = Effect.suspend(() => replayAll(replay, request, SnapshotSource.unused(SnapshotSource.none)))
    return Replay.unlessRewritten(lastRewritten, request, Effect.succeed(loaded), whole)
  })

/** Folds the events after a state. The result has the origin of the baseline. */
const readOn = <Id, State>(
  replay: Replay.Replay<Id, State>,
  request: Replay.Request<Id, State>,
  baseline: Baseline<State>,
  from: Folded<State>
): Replay.Loading<State> =>
  Effect.map(replay.readOn(request, from), (folded) => {
    request.source?.settle(folded)
    return baselineOf(folded, baseline)
  })

const foldTail = <Id, State>(
  aggregate: Loadable<Id, State>,
  replay: Replay.Replay<Id, State>,
  request: Replay.Request<Id, State>,
  { encoded, page, snapshot }: SnapshotSource.Proved<State>
): Replay.Loading<State> => {
  const { eventId: proof, schemaVersion, state, version } = snapshot
  // the page begins with the event of the snapshot
  const [{ eventId, time }] = page
  const again = () => Option.map(Either.getRight(aggregate.decode(encoded)), ({ state }) => state)
  request.source?.begin(again, { version, eventId, time })
  const from = { state, version, eventId, time, replayed: 0, base: version }
  const folded = Effect.map(
    replay.fold(request, from, page.slice(1), isContinued(page, request.limits.first)),
    (folded) =>
      baselineOf(folded, {
        stream: request.stream,
        snapshotVersion: version,
        used: Option.some({ version, eventId: proof, schemaVersion, time: snapshot.time.epochMillis }),
        outcome: outcomeOf(aggregate, snapshot),
        took: request.elapsed(),
        refuted: Option.none(),
        cached: false
      })
  )
  // an event that the snapshot was folded from was rewritten
  return Effect.catchIf(
    folded,
    (error) => Replay.isRewritten(error) && error.inBase,
    () => replayAll(replay, request, SnapshotSource.rewritten(aggregate, encoded))
  )
}

const replayAll = <Id, State>(
  replay: Replay.Replay<Id, State>,
  request: Replay.Request<Id, State>,
  { outcome, page, refuted }: SnapshotSource.Unused
): Replay.Loading<State> => {
  const folding = replay.fromStart(request, page)
  return Effect.map(
    isFailure(outcome) ? tellRefused(request, outcome, folding) : folding,
    (folded) =>
      baselineOf(folded, {
        stream: request.stream,
        snapshotVersion: 0,
        used: Option.none(),
        outcome,
        took: request.elapsed(),
        refuted,
        cached: false
      })
  )
}

/** Reports why the snapshot was not used, if the load fails. A load that begins again reports it once, at its end. */
const tellRefused = <State>(
  { onRefused }: Pick<Replay.Request<never, State>, "onRefused">,
  refused: Snapshot.SnapshotFailure,
  folding: Replay.Folding<State>
): Replay.Folding<State> =>
  Effect.catchAll(folding, (error): Effect.Effect<never, LoadError | Replay.Rewritten> =>
    Replay.isRewritten(error)
      ? new Replay.Rewritten({ refused, inBase: error.inBase, emptied: error.emptied })
      : Effect.zipRight(onRefused(refused), Effect.fail(withReason(error, refused))))

/** Where the beginning of a stream was removed, only the snapshot would have given the state. */
const withReason = (error: LoadError, cause: Snapshot.SnapshotFailure): LoadError => {
  if (error._tag !== "HistoryGap" || error.removed !== true) return error
  const { actual, expected, stream } = error
  return new EventStore.HistoryGap({ stream, expected, actual, removed: true, cause })
}

const isFailure = (outcome: Snapshot.SnapshotOutcome): outcome is Snapshot.SnapshotFailure => outcome instanceof Error

const outcomeOf = (
  aggregate: { readonly schemaVersion: number; readonly fingerprint: string },
  { fingerprint, schemaVersion }: { readonly schemaVersion: number; readonly fingerprint: string }
): Snapshot.SnapshotOutcome => {
  if (schemaVersion !== aggregate.schemaVersion) return { _tag: "Migrated", from: schemaVersion }
  return fingerprint === aggregate.fingerprint ? { _tag: "Hit" } : { _tag: "Drifted", fingerprint }
}
