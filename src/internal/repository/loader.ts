import * as Cause from "effect/Cause"
import * as Data from "effect/Data"
import * as DateTime from "effect/DateTime"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import type * as Aggregate from "../../Aggregate.js"
import * as EventStore from "../../EventStore.js"
import * as Snapshot from "../../Snapshot.js"
import type { SnapshotStore } from "../../SnapshotStore.js"
import * as StreamId from "../../StreamId.js"
import { maxVersion, shortPage } from "../constants.js"
import { reason } from "../schema/reason.js"
import * as BackOff from "./backOff.js"
import type { LoadError } from "./errors.js"
import { type Folded, foldPage } from "./fold.js"
import type { Source } from "./source.js"
import * as StateCache from "./stateCache.js"

/** @internal */
export interface Baseline<out State> extends Folded<State>, Origin {}

/**
 * How a state was come by.
 *
 * @internal
 */
export interface Origin {
  readonly stream: StreamId.StreamId
  /** The version of the snapshot that was used, 0 for none. */
  readonly snapshotVersion: number
  /** The snapshot that was used. */
  readonly used: Option.Option<Used>
  readonly outcome: Snapshot.SnapshotOutcome
  /** How many milliseconds the load took. */
  readonly took: number
  /** The snapshot of the aggregate's own schema version that this load refuted: it must go before another is saved. */
  readonly refuted: Option.Option<{ readonly version: number; readonly eventId: string }>
  /** Whether it came by the cache: of the stored snapshot below it that may have been refuted since. */
  readonly cached: boolean
}

/**
 * Field by field: to spread two objects of that size costs more than half a statement on SQLite.
 *
 * @internal
 */
export const baselineOf = <State>(folded: Folded<State>, origin: Origin): Baseline<State> => ({
  state: folded.state,
  version: folded.version,
  eventId: folded.eventId,
  replayed: folded.replayed,
  stream: origin.stream,
  snapshotVersion: origin.snapshotVersion,
  used: origin.used,
  outcome: origin.outcome,
  took: origin.took,
  refuted: origin.refuted,
  cached: origin.cached
})

/** @internal */
export interface Used {
  readonly version: number
  readonly eventId: string
  readonly schemaVersion: number
  /** Milliseconds since 1970. */
  readonly time: number
}

/** @internal */
export interface Loader<in Id, in out State> {
  readonly load: (id: Id, options?: LoadOptions<State>) => Effect.Effect<Baseline<State>, LoadError>
  /** The state at a version by full replay, whatever stands after it. */
  readonly replayTo: (id: Id, version: number) => Effect.Effect<Folded<State>, LoadError>
  /** Has the next load look for the stored snapshot. */
  readonly forget: (stream: StreamId.StreamId) => void
  /**
   * The events appended since, folded onto the state once more: one of a history that is no more is loaded anew.
   */
  readonly advance: (
    id: Id,
    baseline: Baseline<State>,
    options: Required<Pick<LoadOptions<State>, "source" | "onRefused">> & { readonly source: Source<State> }
  ) => Effect.Effect<Baseline<State>, LoadError>
}

/** @internal */
export interface LoadOptions<in out State> {
  /** However long the replay: for whoever makes the next one short. */
  readonly unbounded?: boolean | undefined
  /** Told why the snapshot was not used, where the replay instead of it fails. */
  readonly onRefused?: ((failure: Snapshot.SnapshotFailure) => Effect.Effect<void>) | undefined
  /** Told of every page of events that was read. */
  readonly onPage?: (() => void) | undefined
  /** Told of what the state is folded from. */
  readonly source?: Source<State> | undefined
}

/**
 * Loads by the newest snapshot that proves itself, and by full replay otherwise.
 *
 * @internal
 */
export const make = <Name extends string, Id, State, Event, Command, Rejection>(
  aggregate: Aggregate.Aggregate<Name, Id, State, Event, Command, Rejection>,
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
  const { concurrentReplays, events, maxReplay, onDrift, pageSize, snapshots, timeout } = options
  const { schemaVersion } = aggregate
  const migratable = aggregate.migrations.map(({ fingerprint, version }) => ({ schemaVersion: version, fingerprint }))
  const fingerprint = onDrift === "decode" ? undefined : aggregate.fingerprint
  const cache = options.cache && StateCache.make<Used>(aggregate.name, options.cache)
  const uncachable = BackOff.make()
  const permits = concurrentReplays === undefined ? undefined : Effect.unsafeMakeSemaphore(concurrentReplays)

  interface Bounds {
    readonly onRefused: NonNullable<LoadOptions<State>["onRefused"]>
    readonly onPage: NonNullable<LoadOptions<State>["onPage"]>
    readonly source: Source<State> | undefined
    readonly most: number
    readonly upTo: number
    /** How many events are read at first, where a snapshot or a state of the cache leaves few. */
    readonly first: number
    /** How many events are read at a time. */
    readonly limit: number
    /** How many milliseconds the load has taken. */
    readonly elapsed: () => number
  }
  const boundsOf = (most: number): Bounds => {
    // no more than what shows that it is too much
    const limit = Math.min(pageSize, Math.max(2, most + 1), maxVersion)
    return {
      onRefused: () => Effect.void,
      onPage: () => {},
      source: undefined,
      most,
      upTo: Infinity,
      first: Math.min(limit, shortPage),
      limit,
      elapsed: () => 0
    }
  }
  const within = boundsOf(maxReplay)
  const anyLength = boundsOf(Infinity)

  const fold = (
    stream: StreamId.StreamId,
    from: Folded<State>,
    page: ReadonlyArray<EventStore.TailEvent>,
    more: boolean,
    bounds: Bounds
  ): Effect.Effect<Folded<State>, LoadError | Rewritten> =>
    Effect.suspend(() => {
      bounds.onPage()
      if (from.replayed + page.length > bounds.most) {
        return new EventStore.EventStoreError({
          operation: "read",
          stream,
          reason: "ReplayTooLong",
          mayHaveAppended: false,
          detail: `more than ${bounds.most} events would have to be folded from version ${from.version + 1} on, ` +
            "which is the limit of maxReplay: take a snapshot with createSnapshot, which has no such limit"
        })
      }
      const folded = foldPage(aggregate, stream, from, page)
      if (Either.isLeft(folded)) return Effect.fail(folded.left)
      bounds.source?.add(page)
      return more
        // a long replay lets other fibers run between its pages
        ? Effect.zipRight(Effect.yieldNow(), readOn(stream, folded.right, bounds))
        : Effect.succeed(folded.right)
    })

  const readOn = (
    stream: StreamId.StreamId,
    from: Folded<State>,
    bounds: Bounds
  ): Effect.Effect<Folded<State>, LoadError | Rewritten> => {
    if (from.version >= bounds.upTo) return Effect.succeed(from)
    // the last event once more: what follows another one is of another history
    const known = from.version === 0 ? 0 : 1
    const limit = bounds.limit + known
    return Effect.flatMap(
      events.replay.readTail(stream, { fromVersion: from.version + 1 - known, limit }),
      (page) => {
        const [first] = page
        const proved = known === 0 || (first?.version === from.version &&
          (from.eventId === null || first.eventId === null || first.eventId === from.eventId))
        if (!proved) return new Rewritten({ refused: undefined })
        const unread = page.slice(known)
        const next = bounds.upTo === Infinity ? unread : unread.filter(({ version }) => version <= bounds.upTo)
        return next.length === 0
          ? Effect.succeed(from)
          : fold(stream, from, next, page.length === limit, bounds)
      }
    )
  }

  // whoever holds a connection must not wait for one who may be waiting for that connection
  const capped = <A, E>(replay: Effect.Effect<A, E>): Effect.Effect<A, E> =>
    permits === undefined
      ? replay
      : Effect.flatMap(events.replay.inTransaction, (open) => open ? replay : permits.withPermits(1)(replay))

  const start = (id: Id, source?: Source<State>): Folded<State> => {
    source?.begin(() => Option.some(aggregate.initial(id)), beginning)
    return { ...beginning, state: aggregate.initial(id) }
  }

  // from the beginning: what was folded so far is of a history that is no more
  const anew = <A>(
    stream: StreamId.StreamId,
    reading: Effect.Effect<A, LoadError | Rewritten>,
    { onRefused }: Pick<Bounds, "onRefused">
  ): Effect.Effect<A, LoadError> =>
    Effect.catchIf(reading, isRewritten, () =>
      Effect.catchIf(
        Effect.retry(reading, { while: isRewritten, times: 10 }),
        isRewritten,
        ({ refused }) =>
          Effect.zipRight(
            refused === undefined ? Effect.void : onRefused(refused),
            new EventStore.EventStoreError({
              operation: "read",
              stream,
              reason: "Unavailable",
              mayHaveAppended: false,
              detail: "the stream got another history each time between two pages of it: try again when it is at rest"
            })
          )
      ))

  type Loading = Effect.Effect<Baseline<State>, LoadError | Rewritten>

  const replay = (
    id: Id,
    stream: StreamId.StreamId,
    bounds: Bounds,
    outcome: Snapshot.SnapshotOutcome,
    found?: {
      /** The events from version 1 on, where they are at hand. */
      readonly page?: ReadonlyArray<EventStore.TailEvent> | undefined
      readonly refuted?: Snapshot.EncodedSnapshot | undefined
    }
  ): Loading => {
    const page = found?.page
    const refuted = found?.refuted?.schemaVersion === schemaVersion ? found.refuted : undefined
    const replaying = page === undefined
      ? capped(readOn(stream, start(id, bounds.source), bounds))
      : page.length < bounds.first
      // nothing is left to read
      ? fold(stream, start(id, bounds.source), page, false, bounds)
      : capped(fold(stream, start(id, bounds.source), page, true, bounds))
    const told = isFailure(outcome) ?
      Effect.catchAll(
        replaying,
        (error): Effect.Effect<never, LoadError | Rewritten> =>
          isRewritten(error)
            // it is read again, and told of once
            ? new Rewritten({ refused: outcome })
            : Effect.zipRight(bounds.onRefused(outcome), Effect.fail(error))
      ) :
      replaying
    return Effect.map(told, (folded) =>
      baselineOf(folded, {
        stream,
        snapshotVersion: 0,
        used: Option.none(),
        outcome,
        took: bounds.elapsed(),
        refuted: Option.fromNullable(refuted),
        cached: false
      }))
  }

  const useSnapshot = (
    id: Id,
    stream: StreamId.StreamId,
    bounds: Bounds,
    encoded: Snapshot.EncodedSnapshot,
    page: ReadonlyArray<EventStore.TailEvent> | undefined
  ): Loading => {
    const decoded = Snapshot.decode(aggregate, encoded, { onDrift })
    if (Either.isLeft(decoded)) {
      const failure = decoded.left
      switch (failure._tag) {
        // no tail of such a snapshot was read, but the events from version 1 on
        case "SchemaVersionMismatch":
        case "SchemaDrift":
          return replay(id, stream, bounds, failure, { page, refuted: encoded })
        case "StateDecodeError":
          return replay(id, stream, bounds, failure, { refuted: encoded })
      }
    }
    const { eventId, state, time, version } = decoded.right
    const [proof, ...tail] = page ?? []
    if (proof === undefined || proof.version !== version || proof.eventId !== eventId) {
      const actual = proof?.version === version ? proof.eventId : null
      const failure = new Snapshot.HistoryMismatch({ stream, version, expected: eventId, actual })
      return replay(id, stream, bounds, failure, { refuted: encoded })
    }
    bounds.source?.begin(
      () => Option.map(Either.getRight(Snapshot.decode(aggregate, encoded, { onDrift })), ({ state }) => state),
      { version, eventId }
    )
    return Effect.map(
      fold(stream, { state, version, eventId, replayed: 0 }, tail, page?.length === bounds.first, bounds),
      (folded) =>
        baselineOf(folded, {
          stream,
          snapshotVersion: version,
          used: Option.some({ version, eventId, schemaVersion: decoded.right.schemaVersion, time: time.epochMillis }),
          outcome: decoded.right.schemaVersion !== schemaVersion
            ? { _tag: "Migrated", from: decoded.right.schemaVersion }
            : decoded.right.fingerprint !== aggregate.fingerprint
            ? { _tag: "Drifted", fingerprint: decoded.right.fingerprint }
            : { _tag: "Hit" },
          took: bounds.elapsed(),
          refuted: Option.none(),
          cached: false
        })
    )
  }

  type Found = {
    readonly snapshot: Either.Either<Option.Option<Snapshot.EncodedSnapshot>, Snapshot.StoreUnavailable>
    /** The tail of a snapshot that can be used, else the events from version 1 on, if they were read already. */
    readonly page?: ReadonlyArray<EventStore.TailEvent> | undefined
  }

  const unavailable = (stream: StreamId.StreamId, cause: unknown): Found => ({
    snapshot: Either.left(new Snapshot.StoreUnavailable({ stream, cause }))
  })

  const readAtOnce =
    (reader: EventStore.SnapshotReader) =>
    (stream: StreamId.StreamId, limit: number): Effect.Effect<Found, EventStore.EventStoreError> =>
      Effect.map(
        events.replay.attempt(reader(stream, { schemaVersion, fingerprint, migratable, limit })),
        Exit.match({
          onSuccess: ({ events, snapshot }): Found => ({ snapshot: Either.right(snapshot), page: events }),
          // the snapshot's half of the statement may be what failed
          onFailure: (cause) => unavailable(stream, Cause.squash(cause))
        })
      )

  const isUsable = (found: Snapshot.EncodedSnapshot): boolean =>
    Number.isSafeInteger(found.version) && found.version >= 1 && (found.schemaVersion === schemaVersion
      ? fingerprint === undefined || found.fingerprint === fingerprint
      : migratable.some((schema) =>
        schema.schemaVersion === found.schemaVersion && schema.fingerprint === found.fingerprint
      ))

  const readInTurn =
    (snapshots: SnapshotStore["Type"]) =>
    (stream: StreamId.StreamId, limit: number): Effect.Effect<Found, EventStore.EventStoreError> =>
      contain(
        Effect.flatMap(
          Effect.suspend(() => snapshots.get(stream, { schemaVersion, migratable })),
          (found) => isFound(found) ? Effect.succeed(found) : Effect.fail(new Error("what it gave is no snapshot"))
        ),
        { timeout, events }
      ).pipe(
        Effect.flatMap((snapshot): Effect.Effect<Found, EventStore.EventStoreError> => {
          if (Either.isLeft(snapshot)) return Effect.succeed(unavailable(stream, snapshot.left))
          const found = Option.getOrUndefined(snapshot.right)
          const fromVersion = found === undefined ? 1 : isUsable(found) ? found.version : undefined
          return fromVersion === undefined ? Effect.succeed({ snapshot: Either.right(snapshot.right) }) : Effect.map(
            events.replay.readTail(stream, { fromVersion, limit }),
            (page) => ({ snapshot: Either.right(snapshot.right), page })
          )
        })
      )

  const read = Option.map(snapshots, (snapshots) =>
    Option.match(events.replay.withSnapshots(snapshots), {
      onNone: () => readInTurn(snapshots),
      onSome: ({ read }) => readAtOnce(read)
    }))

  const streamOf = (id: Id): Either.Either<StreamId.StreamId, EventStore.EventStoreError> =>
    Either.mapBoth(aggregate.id.encode(id), {
      onLeft: (cause) =>
        new EventStore.EventStoreError({
          operation: "read",
          reason: "InvalidInput",
          mayHaveAppended: false,
          detail: `the id of the ${aggregate.name} does not encode: ${reason(cause)}`,
          cause
        }),
      onRight: (encoded) => StreamId.make(aggregate.name, encoded)
    })

  const loadStored = (id: Id, stream: StreamId.StreamId, bounds: Bounds): Loading =>
    Effect.suspend(() => {
      if (Option.isNone(read)) return replay(id, stream, bounds, disabled)
      return Effect.flatMap(read.value(stream, bounds.first), ({ page, snapshot }) =>
        Either.match(snapshot, {
          onLeft: (failure) => replay(id, stream, bounds, failure),
          onRight: Option.match({
            onNone: () => replay(id, stream, bounds, { _tag: "None" }, { page }),
            onSome: (encoded) => useSnapshot(id, stream, bounds, encoded, page)
          })
        }))
    })

  // only what others see too gets into the cache, and only what was read: no append writes it
  const remember = (
    cache: StateCache.StateCache<Used>,
    loaded: Baseline<State>,
    used: Option.Option<Used>,
    now: number
  ): void => {
    const { eventId, state, stream, version } = loaded
    if (version === 0 || eventId === null || uncachable.waits(stream.id, now)) return
    const time = DateTime.make(Math.trunc(now))
    // a clock beyond what a date can be dates no entry either
    if (Option.isNone(time)) return
    const encoded = Snapshot.encode(aggregate, { stream, version, eventId, state, time: DateTime.toUtc(time.value) })
    if (Either.isRight(encoded)) {
      uncachable.succeeded(stream.id)
      cache.set(stream.id, { encoded: encoded.right, used })
    } else {
      uncachable.failed(stream.id, now)
      cache.delete(stream.id)
    }
  }

  const loadCached = (
    cache: StateCache.StateCache<Used>,
    id: Id,
    stream: StreamId.StreamId,
    bounds: Bounds,
    again = false
  ): Loading =>
    Effect.clockWith((clock) => {
      const missed = Effect.map(loadStored(id, stream, bounds), (loaded) => {
        remember(cache, loaded, loaded.used, clock.unsafeCurrentTimeMillis())
        return loaded
      })
      const find = () => cache.get(stream.id, clock.unsafeCurrentTimeMillis())
      // a load counts once, and waits once
      const found = (outcome: "Hit" | "Miss" | "Stale") => {
        if (!again) cache.count(outcome)
      }
      const next = Effect.suspend(() => loadCached(cache, id, stream, bounds, true))
      const miss = () => again ? missed : cache.single(stream.id, missed, next)
      const entry = find()
      if (entry === undefined) {
        found("Miss")
        return miss()
      }
      const { encoded, used } = entry
      return Effect.flatMap(
        events.replay.readTail(stream, { fromVersion: encoded.version, limit: bounds.first }),
        (page) => {
          const proved = page[0]?.version === encoded.version && page[0].eventId === encoded.eventId
          // one that so much was appended to may have a newer snapshot
          if (!proved || page.length === bounds.first) {
            found("Stale")
            const current = find()
            // another load was sooner, and has put in what it found
            if (current !== undefined && current !== entry && !again) return next
            if (current === entry) cache.delete(stream.id)
            return miss()
          }
          found("Hit")
          return Effect.map(useSnapshot(id, stream, bounds, encoded, page), (folded) => {
            const { refuted, took } = folded
            const cached = Option.isSome(folded.used)
            const origin = { stream, snapshotVersion: 0, used, outcome: disabled, took, refuted, cached }
            const loaded = baselineOf(folded, origin)
            // to encode the state costs about as much as to read as much text again
            if (folded.replayed > 0 && lengthOf(page) >= encoded.state.length) {
              remember(cache, loaded, used, clock.unsafeCurrentTimeMillis())
            }
            return loaded
          })
        }
      )
    })

  const load = (id: Id, bounds: Bounds, unbounded: boolean): Effect.Effect<Baseline<State>, LoadError> => {
    const named = streamOf(id)
    if (Either.isLeft(named)) return named.left
    const stream = named.right
    // who looks for a snapshot's sake asks the store
    return anew(
      stream,
      cache === undefined || unbounded
        ? loadStored(id, stream, bounds)
        : Effect.flatMap(
          events.replay.inTransaction,
          (open) => open ? loadStored(id, stream, bounds) : loadCached(cache, id, stream, bounds)
        ),
      bounds
    )
  }

  const loadWith = (id: Id, options?: LoadOptions<State>): Effect.Effect<Baseline<State>, LoadError> =>
    Effect.clockWith((clock) => {
      const began = clock.unsafeCurrentTimeNanos()
      const { onPage, onRefused, source, unbounded = false } = options ?? {}
      const { first, limit, most, upTo } = unbounded ? anyLength : within
      const elapsed = () => Number(clock.unsafeCurrentTimeNanos() - began) / 1_000_000
      const loading = load(id, {
        onRefused: onRefused ?? within.onRefused,
        onPage: onPage ?? within.onPage,
        source,
        most,
        upTo,
        first,
        limit,
        elapsed
      }, unbounded)
      return source === undefined ? loading : Effect.map(loading, (loaded) => {
        source.settle(loaded)
        return loaded
      })
    })

  return {
    load: loadWith,
    replayTo: (id, version) =>
      Effect.flatMap(
        streamOf(id),
        (stream) =>
          anew(
            stream,
            capped(Effect.suspend(() => readOn(stream, start(id), { ...anyLength, upTo: version }))),
            anyLength
          )
      ),
    forget: (stream) => cache?.delete(stream.id),
    advance: (id, baseline, options) =>
      Effect.suspend(() => {
        const { source } = options
        const again = source.again()
        if (Option.isNone(again)) return loadWith(id, options)
        // its own count: what is folded once more was read once
        const from = { ...again.value, replayed: baseline.replayed }
        const advanced = Effect.map(readOn(baseline.stream, from, { ...within, source }), (folded) => {
          source.settle(folded)
          return baselineOf(folded, baseline)
        })
        return Effect.catchIf(advanced, isRewritten, () => loadWith(id, options))
      })
  }
}

/** The stream holds another event now where a state was folded up to. */
class Rewritten extends Data.TaggedError("Rewritten")<{
  /** Why the snapshot was not used. */
  readonly refused: Snapshot.SnapshotFailure | undefined
}> {}

const isRewritten = (error: LoadError | Rewritten): error is Rewritten => error._tag === "Rewritten"

const disabled: Snapshot.SnapshotOutcome = { _tag: "Disabled" }

const beginning = { version: 0, eventId: null, replayed: 0 }

const isFailure = (outcome: Snapshot.SnapshotOutcome): outcome is Snapshot.SnapshotFailure => outcome instanceof Error

const lengthOf = (page: ReadonlyArray<EventStore.TailEvent>): number =>
  page.reduce((length, { payload }) => length + payload.length, 0)

// the store may be anybody's
const isFound = Schema.is(Schema.OptionFromSelf(Schema.Struct({
  stream: StreamId.StreamId,
  version: Schema.Number,
  eventId: Schema.String,
  schemaVersion: Schema.Number,
  fingerprint: Schema.String,
  state: Schema.String,
  time: Schema.Number
})))

/**
 * Runs what is only an optimisation: whatever it does, fail, die or hang, comes back as a value. Nothing else keeps a
 * failure to itself, as a failed statement may abort the caller's transaction: the store has it run where it does not.
 * What fails here is a transaction that is lost all the same.
 *
 * Within a transaction what takes too long is waited for until its interruption is through, as it must not go on to use
 * a connection that is no longer its own.
 *
 * @internal
 */
export const contain = <A, E>(
  effect: Effect.Effect<A, E>,
  options: { readonly timeout: Duration.DurationInput; readonly events: EventStore.EventStore["Type"] }
): Effect.Effect<Either.Either<A, unknown>, EventStore.EventStoreError> =>
  Effect.flatMap(options.events.replay.inTransaction, (open) =>
    Effect.map(
      options.events.replay.attempt(Effect.timeoutFail(open ? effect : Effect.disconnect(effect), {
        duration: options.timeout,
        onTimeout: () => new Cause.TimeoutException("it took too long")
      })),
      Exit.match({
        onFailure: (cause) => Either.left(Cause.squash(cause)),
        onSuccess: (value) => Either.right(value)
      })
    ))
