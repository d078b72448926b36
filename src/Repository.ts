/**
 * What an application holds: loads aggregates, executes commands, takes snapshots.
 *
 * @since 0.1.0
 */
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import * as Tracer from "effect/Tracer"
import type * as Aggregate from "./Aggregate.js"
import * as Event from "./Event.js"
import * as EventStore from "./EventStore.js"
import * as ExpectedVersion from "./ExpectedVersion.js"
import { maxVersion, noDate } from "./internal/constants.js"
import { liveClock } from "./internal/liveClock.js"
import {
  booleanProblem,
  finiteDurationProblem,
  recordProblem,
  requiredCount,
  scheduleProblem,
  unknownKey,
  wholeFromOne
} from "./internal/options.js"
import * as Hopeless from "./internal/repository/hopeless.js"
import { type Baseline, baselineOf, contain, type LoadError, make as makeLoader } from "./internal/repository/loader.js"
import * as Logs from "./internal/repository/logs.js"
import * as Policy from "./internal/repository/policy.js"
import { RetryClock } from "./internal/repository/retryClock.js"
import * as Source from "./internal/repository/source.js"
import { decideStored, type Stored, tagOf } from "./internal/repository/storedEvents.js"
import * as SyncSaves from "./internal/repository/syncSaves.js"
import * as Tracing from "./internal/repository/tracing.js"
import * as Verifier from "./internal/repository/verification.js"
import { compare } from "./internal/schema/equality.js"
import { reason } from "./internal/schema/reason.js"
import { quote, unreadable } from "./internal/text.js"
import { InvalidOption } from "./InvalidOption.js"
import * as Metrics from "./Metrics.js"
import * as Snapshot from "./Snapshot.js"
import * as SnapshotPolicy from "./SnapshotPolicy.js"
import * as SnapshotStore from "./SnapshotStore.js"
import * as Snapshotter from "./Snapshotter.js"
import * as StreamId from "./StreamId.js"

/**
 * The repository of an aggregate, with that aggregate as its type parameter.
 *
 * @example
 * ```ts
 * import { Aggregate, Repository } from "effect-eventsourcing"
 * import { Context, Either, Schema } from "effect"
 *
 * const Counted = Schema.TaggedStruct("Counted", {})
 *
 * const Counter = Aggregate.make({
 *   name: "Counter",
 *   id: Schema.String,
 *   state: Schema.Int,
 *   event: Counted,
 *   command: Schema.TaggedStruct("Count", {}),
 *   initial: () => 0,
 *   evolve: (state) => state + 1,
 *   decide: () => Either.right([Counted.make()])
 * })
 *
 * class Counters extends Context.Tag("app/Counters")<Counters, Repository.Repository<typeof Counter>>() {}
 * ```
 *
 * @since 0.1.0
 * @category models
 */
export interface Repository<in out A extends Aggregate.Any> {
  /**
   * Loads the aggregate, decides the command, appends its events. After a conflict it reads the new events onto the
   * state in hand and decides again, as often as the `retry` schedule allows. A command that decides no events appends
   * nothing.
   */
  readonly execute: (
    id: Aggregate.Id<A>,
    command: Aggregate.Command<A>,
    options?: ExecuteOptions
  ) => Effect.Effect<Executed<Aggregate.State<A>, Aggregate.Event<A>>, Aggregate.Rejection<A> | ExecuteError>

  /**
   * Decides commands in turn, each on the state that the one before left, and appends all of their events at once. The
   * first rejection refuses them all.
   */
  readonly executeAll: (
    id: Aggregate.Id<A>,
    commands: ReadonlyArray<Aggregate.Command<A>>,
    options?: ExecuteOptions
  ) => Effect.Effect<Executed<Aggregate.State<A>, Aggregate.Event<A>>, Aggregate.Rejection<A> | ExecuteError>

  /**
   * The state of an aggregate. One without events is at version 0, in its initial state, with `exists: false`.
   */
  readonly load: (id: Aggregate.Id<A>) => Effect.Effect<Loaded<Aggregate.Id<A>, Aggregate.State<A>>, LoadError>

  /**
   * Takes a snapshot of the committed state now, and says so if it cannot: in mode `none` it never can.
   */
  readonly createSnapshot: (
    id: Aggregate.Id<A>
  ) => Effect.Effect<CreatedSnapshot<Aggregate.State<A>>, CreateSnapshotError>

  /**
   * Compares what a load gives with what full replay gives at the same version, whatever is appended meanwhile. It finds
   * what no proof on load can see: an `evolve`, or a migration, that is not what the snapshot was made with. What it
   * refutes it removes, unless `remove` is false.
   */
  readonly verify: (id: Aggregate.Id<A>, options?: VerifyOptions) => Effect.Effect<Verification, LoadError>

  /**
   * Waits until no background snapshot is pending. Inside a transaction it returns at once: the writers may need the
   * connection that the transaction holds.
   */
  readonly awaitPendingSnapshots: Effect.Effect<void>
}

/**
 * @since 0.1.0
 * @category models
 */
export interface ExecuteOptions {
  /** Put beside what the fiber carries (`Event.CurrentMetadata`) and the trace context, over both. */
  readonly metadata?: Event.Metadata | undefined
}

/**
 * @since 0.1.0
 * @category models
 */
export interface Executed<out State, out Event> {
  /** The state after the events. */
  readonly state: State
  /** The version after the events. */
  readonly version: number
  /** The events that the command decided, as they are read back. */
  readonly events: ReadonlyArray<Event>
}

/**
 * @since 0.1.0
 * @category models
 */
export interface Loaded<out Id, out State> {
  readonly id: Id
  readonly state: State
  readonly version: number
  readonly exists: boolean
  /** The version of the snapshot that was used, 0 for none. */
  readonly snapshotVersion: number
  /** How many events were folded. */
  readonly replayed: number
  /** What became of the snapshot: used, none there, or the typed reason why it was not used. */
  readonly snapshotOutcome: Snapshot.SnapshotOutcome
}

/**
 * @since 0.1.0
 * @category models
 */
export interface CreatedSnapshot<out State> {
  readonly snapshot: Snapshot.Snapshot<State>
  /** `Superseded` where the store already had this version, or a newer one. */
  readonly outcome: SnapshotStore.SaveOutcome
}

/**
 * @since 0.1.0
 * @category models
 */
export interface VerifyOptions {
  /** Whether a refuted snapshot is removed. Default true. */
  readonly remove?: boolean | undefined
}

/**
 * - `Verified`: the load by snapshot and full replay came to equivalent states.
 * - `Refuted`: they did not; `differences` tells where, at most twenty times.
 * - `NoSnapshot`: the load used none, for the reason in `snapshot`.
 *
 * @since 0.1.0
 * @category models
 */
export type Verification =
  | { readonly _tag: "Verified"; readonly version: number; readonly snapshotVersion: number }
  | {
    readonly _tag: "Refuted"
    readonly version: number
    readonly snapshotVersion: number
    readonly differences: ReadonlyArray<Difference>
    /** Whether the snapshot is gone. */
    readonly removed: boolean
  }
  | { readonly _tag: "NoSnapshot"; readonly version: number; readonly snapshotOutcome: Snapshot.SnapshotOutcome }

/**
 * Where two states differ, with their values as short text.
 *
 * @since 0.1.0
 * @category models
 */
export interface Difference {
  /** Such as `$.lines[3].price`. */
  readonly path: string
  /** What full replay gives. */
  readonly replayed: string
  /** What the load by snapshot gives. */
  readonly loaded: string
}

export type {
  /**
   * @since 0.1.0
   * @category errors
   */
  LoadError
}

/**
 * Besides the aggregate's own rejections.
 *
 * @since 0.1.0
 * @category errors
 */
export type ExecuteError = LoadError | EventStore.VersionConflict | EventEncodeError | InvalidCommand

/**
 * A command that is none of the aggregate's, as an untyped border may let in: `decide` threw, or gave no `Either`. A
 * `decide` that throws for a command of its schema is a defect. Commands that it decides all the same are not checked:
 * decode what comes from outside.
 *
 * @since 0.1.0
 * @category errors
 */
export class InvalidCommand extends Schema.TaggedError<InvalidCommand>("effect-eventsourcing/InvalidCommand")(
  "InvalidCommand",
  {
    stream: StreamId.StreamId,
    /** Its `_tag`, or what it is instead of a tagged record. */
    command: Schema.String,
    /** Its place among the commands, from 1 on. */
    index: Schema.Number,
    /** What `decide` made of it. */
    cause: Schema.optional(Schema.Defect)
  }
) {
  /**
   * @since 0.1.0
   */
  override get message(): string {
    return `command ${this.index} for ${StreamId.format(this.stream)}, ${quote(this.command)}, does not fit the ` +
      "aggregate's command schema: decode what comes from outside with it"
  }
}

/**
 * An event that a command decided cannot be stored: its schema, or JSON, does not hold it. Nothing was appended.
 *
 * @since 0.1.0
 * @category errors
 */
export class EventEncodeError extends Schema.TaggedError<EventEncodeError>("effect-eventsourcing/EventEncodeError")(
  "EventEncodeError",
  {
    stream: StreamId.StreamId,
    /** The `_tag` of the command, or what it is instead of a tagged record. */
    command: Schema.String,
    /** The `_tag` of the event. */
    type: Schema.String,
    /** Its place among the events of all commands, from 1 on. */
    index: Schema.Number,
    detail: Schema.String,
    cause: Schema.optional(Schema.Defect)
  }
) {
  /**
   * @since 0.1.0
   */
  override get message(): string {
    return `${quote(this.command)} for ${StreamId.format(this.stream)}: event ${this.index}, ${quote(this.type)}, ` +
      this.detail
  }
}

/**
 * @since 0.1.0
 * @category errors
 */
export type CreateSnapshotError =
  | LoadError
  | EmptyStream
  | Snapshot.StateEncodeError
  | SnapshotStore.SnapshotStoreError

/**
 * There is nothing to take a snapshot of.
 *
 * @since 0.1.0
 * @category errors
 */
export class EmptyStream extends Schema.TaggedError<EmptyStream>("effect-eventsourcing/EmptyStream")("EmptyStream", {
  stream: StreamId.StreamId
}) {
  /**
   * @since 0.1.0
   */
  override get message(): string {
    return `${StreamId.format(this.stream)} has no events`
  }
}

/**
 * @since 0.1.0
 * @category models
 */
export interface Options<State = unknown, Event = unknown> {
  /** Default: `SnapshotPolicy.none`. */
  readonly snapshots?: SnapshotPolicy.SnapshotPolicy<State, Event> | undefined
  /**
   * When a command that lost a race is decided again, in real time whatever the `Clock`. Default: up to 30 times,
   * waiting a random time that grows from 1 to 50 milliseconds.
   */
  readonly retry?: Schedule.Schedule<unknown, EventStore.VersionConflict> | undefined
  /** How many events are read at a time. Default 4,000. */
  readonly pageSize?: number | undefined
  /**
   * How long a load or a command waits for the snapshot store, in each of its calls, and `createSnapshot` for its save.
   * Default 5 seconds.
   */
  readonly snapshotTimeout?: Duration.DurationInput | undefined
  /**
   * Whether loads, and commands that append nothing, take snapshots that are due. Default true; false for processes that must
   * not write.
   */
  readonly snapshotOnLoad?: boolean | undefined
  /**
   * What to do with a snapshot whose schema changed while `schemaVersion` did not. `replay` (the default) refuses it.
   * `decode` uses it if it decodes: only right where every change was an addition that old states decode to.
   */
  readonly onDrift?: "replay" | "decode" | undefined
  /**
   * How many events a load or a command may fold. A longer replay fails with an `EventStoreError` of reason
   * `ReplayTooLong`, and in background mode a worker, which has no such limit, is asked for a snapshot; neither has
   * `createSnapshot` one. Default: no limit.
   */
  readonly maxReplay?: number | undefined
  /**
   * How many full replays may read from the store at a time; more of them wait. It keeps a deployment that invalidates
   * all snapshots from becoming a stampede. Inside a transaction nobody waits. Default: no limit.
   */
  readonly concurrentReplays?: number | undefined
  /** Keeps folded states in memory. Default: none are kept. */
  readonly cache?: CacheOptions | undefined
  /** Verifies a share of the loads in the background. Default: none. */
  readonly verify?: VerifySample | undefined
}

/**
 * @since 0.1.0
 * @category models
 */
export interface VerifySample {
  /** The share of the loads by snapshot that is verified, from 0 to 1, by Effect's `Random`. */
  readonly sample: number
  /** How many events verifications may fold in a minute; what is over it is skipped and counted. Default 1,000,000. */
  readonly budget?: number | undefined
}

/**
 * A cached state is a baseline like a snapshot: every load and command reads what the stream holds since from the store,
 * in one round trip, and with it the proof that its history is still the one that the state was folded from. So writers
 * in other processes, restores and rollbacks are seen at once. Inside a transaction the cache is neither read nor
 * written. Of a load by it `snapshot` is `Disabled`.
 *
 * @since 0.1.0
 * @category models
 */
export interface CacheOptions {
  /** Of how many streams; the least recently used goes first. */
  readonly capacity: number
  /** How long a state is kept, by Effect's `Clock`. Default: as long as there is room. */
  readonly timeToLive?: Duration.DurationInput | undefined
}

/**
 * Makes the repository of an aggregate. Its background fibers live in the scope.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = <Name extends string, Id, State, Event, Command, Rejection>(
  aggregate: Aggregate.Aggregate<Name, Id, State, Event, Command, Rejection>,
  options: Options<NoInfer<State>, NoInfer<Event>> = {}
): Effect.Effect<
  Repository<Aggregate.Aggregate<Name, Id, State, Event, Command, Rejection>>,
  InvalidOption,
  EventStore.EventStore | SnapshotStore.SnapshotStore | Scope.Scope
> =>
  Effect.gen(function*() {
    const problem = aggregateProblem(aggregate) ?? optionsProblem(options)
    if (problem !== undefined) return yield* problem
    const {
      concurrentReplays,
      maxReplay = Infinity,
      onDrift = "replay",
      pageSize = 4_000,
      retry = defaultRetry,
      snapshotOnLoad = true,
      snapshotTimeout = Duration.seconds(5),
      snapshots: policy = SnapshotPolicy.none
    } = options
    const automatic = policy._tag === "None" || policy._tag === "Manual" ? undefined : policy.when
    const events = yield* EventStore.EventStore
    const snapshots = yield* SnapshotStore.SnapshotStore
    const shared = events.replay.withSnapshots(snapshots)
    if (policy._tag === "Inline" && Option.isNone(shared)) {
      return yield* new InvalidOption({
        option: "SnapshotPolicy mode",
        value: "inline, with stores that share no database",
        expected: "sync or background, or both stores must be SQL stores on one client"
      })
    }
    const loader = makeLoader(aggregate, {
      events,
      snapshots: policy._tag === "None" ? Option.none() : Option.some(snapshots),
      pageSize,
      timeout: snapshotTimeout,
      onDrift,
      maxReplay,
      concurrentReplays,
      cache: options.cache &&
        { capacity: options.cache.capacity, timeToLive: options.cache.timeToLive ?? Duration.infinity }
    })
    const snapshotter = policy._tag === "Background"
      ? yield* Snapshotter.make(aggregate.name, { ...policy.options, inTransaction: events.replay.inTransaction })
      : undefined
    // in a database of its own, a snapshot of uncommitted events would outlive their rollback
    const mayRollBack = Option.isSome(shared) ? Effect.succeed(false) : events.replay.inTransaction
    const contained = <A, E>(effect: Effect.Effect<A, E>) => contain(effect, { timeout: snapshotTimeout, events })
    const span = <A, E>(name: string, effect: Effect.Effect<A, E>): Effect.Effect<A, E> =>
      Tracing.withSpan(effect, `Repository.${name}`, { "eventsourcing.aggregate": aggregate.name })
    const countLoad = Metrics.loads(aggregate.name)
    const countSave = Metrics.snapshotter(aggregate.name)

    const verify = (id: Id, remove: boolean, most = aggregate.migrations.length + 1): Effect.Effect<
      Verification,
      LoadError
    > =>
      Effect.gen(function*() {
        const loaded = yield* loader.load(id, { unbounded: true })
        const { outcome, snapshotVersion, state, stream, used, version } = loaded
        if (Option.isNone(used)) return { _tag: "NoSnapshot", version, snapshotOutcome: outcome }
        const replayed = yield* loader.replayTo(id, version)
        if (replayed.version < version) {
          // events went away between the two
          return yield* new EventStore.HistoryGap({ stream, expected: replayed.version + 1, actual: version })
        }
        // of another history by now: there is nothing to compare
        if (replayed.eventId !== null && loaded.eventId !== null && replayed.eventId !== loaded.eventId) {
          return yield* verify(id, remove, most)
        }
        const differences = compare(aggregate.state.schema, replayed.state, state, 20)
        if (differences.length === 0) return { _tag: "Verified", version, snapshotVersion }
        loader.forget(stream)
        const { eventId, schemaVersion } = used.value
        const identity = { version: snapshotVersion, eventId }
        const removal = remove
          ? yield* contained(Effect.suspend(() => snapshots.delete(stream, { schemaVersion, identity })))
          : undefined
        const removed = removal !== undefined && Either.isRight(removal) && removal.right > 0
        // another one may have taken its place, or the next load would migrate an older one: perhaps as wrong
        const again = removal !== undefined && Either.isRight(removal) && most > (removed ? 1 : 0)
          ? yield* verify(id, remove, most - 1)
          : undefined
        // the one that stood in for it is gone
        if (!removed && again?._tag === "Refuted") return again
        return {
          _tag: "Refuted",
          version,
          snapshotVersion,
          differences: differences.map(({ left, path, right }) => ({ path, replayed: left, loaded: right })),
          removed
        }
      })

    const verifier = options.verify === undefined ? undefined : yield* Verifier.make({
      aggregate: aggregate.name,
      sample: options.verify.sample,
      budget: options.verify.budget ?? 1_000_000
    })

    const note = (id: Id, { cached, outcome, replayed, snapshotVersion, stream, used, version }: Baseline<State>) =>
      Effect.withFiberRuntime((fiber) => {
        countLoad(outcome._tag)
        const told = Tracing.isTraced(fiber) || Tracing.isLogged(fiber, Logs.levelOf(outcome))
          ? Effect.zipRight(
            Tracing.annotate(() => ({
              "eventsourcing.id": stream.id,
              "eventsourcing.snapshot": outcome._tag,
              "eventsourcing.snapshot_version": snapshotVersion,
              "eventsourcing.replayed": replayed
            })),
            Logs.logLoad(outcome, stream, { replayed, snapshotVersion }, cached)
          )
          : Effect.void
        return verifier === undefined || Option.isNone(used)
          ? told
          : Effect.zipRight(told, verifier.offer({ stream, version, verify: verify(id, snapshotOnLoad) }))
      })

    // a load that fails has no result to tell of its snapshot
    const refused = (failure: Snapshot.SnapshotFailure): Effect.Effect<void> =>
      Effect.suspend(() => {
        countLoad(failure._tag)
        return Effect.zipRight(
          Tracing.annotate(() => ({ "eventsourcing.snapshot": failure._tag })),
          Logs.logLoad(failure, failure.stream, { replayed: 0, snapshotVersion: 0 }, false)
        )
      })

    // whoever may not replay so much has it done by one who may
    const repair = (id: Id, error: LoadError): Effect.Effect<void> =>
      Effect.sync(() => {
        if (snapshotter === undefined || error._tag !== "EventStoreError" || error.reason !== "ReplayTooLong") return
        const { stream } = error
        if (stream === undefined) return
        snapshotter.offer({ stream, version: Infinity, save: saveCommitted(id, stream, always, 0) })
      })

    const observe = (id: Id, options: { readonly mayWrite: boolean; readonly source?: Source.Source<State> }) =>
      loader.load(id, { onRefused: refused, source: options.source }).pipe(
        Effect.tap((baseline) => note(id, baseline)),
        Effect.tapError((error) => options.mayWrite ? repair(id, error) : Effect.void)
      )

    // whatever stands at that version by now proves nothing
    const lastEventId = (
      { eventId, stream, version }: Baseline<State>
    ): Effect.Effect<string, EventStore.EventStoreError> =>
      eventId !== null ? Effect.succeed(eventId) : new EventStore.EventStoreError({
        operation: "read",
        stream,
        reason: "Unavailable",
        mayHaveAppended: false,
        detail: `the store did not give the id of event ${version}, the last of those that it gave`
      })

    const save = (
      baseline: Baseline<State>
    ): Effect.Effect<
      CreatedSnapshot<State>,
      EventStore.EventStoreError | Snapshot.StateEncodeError | SnapshotStore.SnapshotStoreError
    > =>
      Effect.gen(function*() {
        const { refuted, state, stream, version } = baseline
        const eventId = yield* lastEventId(baseline)
        const time = yield* timeOf(stream, yield* Clock.currentTimeMillis)
        const encoded = yield* Snapshot.encode(aggregate, { stream, version, eventId, state, time })
        if (Option.isSome(refuted)) {
          // a save never replaces a newer version by an older one: what the load refuted must not stand in its way
          const { eventId, version } = refuted.value
          yield* snapshots.delete(stream, {
            schemaVersion: aggregate.schemaVersion,
            // no store takes a version beyond the limit, but a row may have been given one by hand
            identity: Math.abs(version) <= maxVersion ? { version, eventId } : undefined
          })
        }
        const outcome = yield* snapshots.save(encoded)
        const snapshot: Snapshot.Snapshot<State> = {
          stream,
          version,
          eventId,
          schemaVersion: encoded.schemaVersion,
          fingerprint: encoded.fingerprint,
          state,
          time
        }
        return { snapshot, outcome }
      })

    const hopeless = Hopeless.make()

    /** What policies ask for. Its failure passes through the savepoint around it, and is judged outside. */
    const saveDue = (baseline: Baseline<State>) =>
      Effect.tap(save(baseline), () => hopeless.succeeded(baseline.stream.id))

    /** A failure that would come again at once is a warning the first time. */
    const giveUp = ({ aggregate, id }: StreamId.StreamId, error: unknown): Effect.Effect<void> =>
      Effect.clockWith((clock) => {
        countSave.failed()
        if (!hopeless.failed(id, clock.unsafeCurrentTimeMillis())) return Effect.void
        const message = "a snapshot cannot be kept: none is taken of this stream until that is over; " +
          "it is tried again a minute later, and then ever more seldom"
        return Logs.warn(message, error, { aggregate, id })
      })

    const syncSaves = SyncSaves.make({
      contained,
      inTransaction: events.replay.inTransaction,
      count: countSave,
      isHopeless,
      giveUp
    })

    /**
     * Saves what nothing of the program has changed since it was folded. What came by a snapshot or the cache is read
     * from the store again: that snapshot may have been refuted and removed since.
     */
    const saveInTime = (
      id: Id,
      baseline: Baseline<State>,
      when: SnapshotPolicy.When,
      command: Commanded<State, Event> | undefined
    ): Effect.Effect<void, EventStore.EventStoreError> => {
      const { stream, used } = baseline
      const isRead = command === undefined ? !baseline.cached : Option.isNone(used) && !baseline.cached
      const saving = Effect.suspend((): Effect.Effect<unknown, unknown> => {
        if (isRead && command === undefined) return saveDue(baseline)
        const again = isRead && command !== undefined ? command.source.again(command.appended) : Option.none()
        return Option.match(again, {
          onNone: () => saveStored(id, stream, when, 0),
          onSome: (folded) => saveDue(baselineOf(folded, baseline))
        })
      })
      // what is read again needs no other proof
      return syncSaves.run(stream, saving, isRead && command !== undefined ? command.isStored : Effect.succeed(true))
    }

    /** Whether the event that a state was folded up to stands in the store. */
    const stands = ({ eventId, stream, version }: Baseline<State>) =>
      Effect.map(
        Effect.suspend(() => events.replay.readTail(stream, { fromVersion: version, limit: 1 })),
        ([event]) => event?.version === version && event.eventId === eventId
      )

    const createSnapshot = (id: Id): Effect.Effect<CreatedSnapshot<State>, CreateSnapshotError> =>
      Effect.gen(function*() {
        const baseline = yield* loader.load(id, { unbounded: true })
        const { stream } = baseline
        if (baseline.version === 0) return yield* new EmptyStream({ stream })
        if (policy._tag === "None") {
          return yield* notTaken(
            stream,
            "the repository is in mode none, in which no snapshot is taken and none is read: " +
              "give it SnapshotPolicy.manual, or another mode"
          )
        }
        if (yield* mayRollBack) {
          return yield* notTaken(
            stream,
            "the open transaction may still roll the events back, and the snapshot store has no part in it: " +
              "take the snapshot after the transaction"
          )
        }
        const saved = yield* contained(save(baseline))
        if (Either.isRight(saved)) {
          hopeless.succeeded(stream.id)
          if (saved.right.outcome !== "Discarded") return saved.right
          return yield* notTaken(
            stream,
            "the snapshot store keeps nothing, as SnapshotStore.layerNoop: give the repository another one"
          )
        }
        const cause = saved.left
        return yield* isSaveError(cause) ? cause : new SnapshotStore.SnapshotStoreError({
          operation: "save",
          aggregate: stream.aggregate,
          id: stream.id,
          reason: "Unavailable",
          detail: `the store did not do it: ${
            Cause.isInterruptedException(cause) ? "it was interrupted" : reason(cause)
          }`,
          cause
        })
      })

    const isDue = (
      when: SnapshotPolicy.When<State, Event>,
      baseline: Baseline<State>,
      progress: SnapshotPolicy.Progress<State, Event>
    ): boolean =>
      baseline.version > progress.snapshotVersion &&
      ((isMendable(baseline.outcome) && when._tag !== "Never") || SnapshotPolicy.isDue(when, progress))

    const progressOf = (
      { replayed, took, used, version }: Baseline<State>,
      now: number,
      change: SnapshotPolicy.Change<State, Event> | undefined
    ): SnapshotPolicy.Progress<State, Event> => {
      // the distance counts from the row of the own schema version
      const own = Option.getOrUndefined(Option.filter(used, (used) => used.schemaVersion === aggregate.schemaVersion))
      return {
        version,
        snapshotVersion: own?.version ?? 0,
        replayed,
        took,
        age: own === undefined ? undefined : now - own.time,
        change
      }
    }

    // the worker reads again what is committed by then: nothing that a caller holds, may change or may roll back gets
    // into a background snapshot
    const saveCommitted = (id: Id, stream: StreamId.StreamId, when: SnapshotPolicy.When, uncommitted: number) =>
      Effect.catchIf(
        saveStored(id, stream, when, uncommitted),
        isHopeless,
        (error) => Effect.as(giveUp(stream, error), false)
      )

    const saveStored = (id: Id, stream: StreamId.StreamId, when: SnapshotPolicy.When, uncommitted: number) =>
      Effect.gen(function*() {
        // asked for while another try was under way
        if (hopeless.waits(stream.id, yield* Clock.currentTimeMillis)) return false
        const onPage = () => snapshotter?.headway(stream)
        if (uncommitted > 0) yield* untilCommitted(stream, uncommitted)
        const baseline = yield* loader.load(id, { unbounded: true, onPage })
        // the save has its time to itself
        onPage()
        const progress = progressOf(baseline, yield* Clock.currentTimeMillis, undefined)
        return isDue(when, baseline, progress) && (yield* saveDue(baseline))
      })

    // another connection may look before the caller's transaction commits; if that rolls back, this version never comes
    const untilCommitted = (
      stream: StreamId.StreamId,
      version: number,
      wait = 5
    ): Effect.Effect<void, EventStore.EventStoreError> =>
      Effect.flatMap(events.version(stream), (current) => {
        snapshotter?.headway(stream)
        return current >= version || wait > longestWait
          ? Effect.void
          : Effect.zipRight(
            Effect.withClock(Effect.sleep(wait), liveClock),
            untilCommitted(stream, version, wait * 2)
          )
      })

    /** The policy as it is left for later, if a snapshot is due now. */
    const dueNow = (
      baseline: Baseline<State>,
      change: SnapshotPolicy.Change<State, Event> | undefined
    ): Effect.Effect<SnapshotPolicy.When | undefined> => {
      if (baseline.version === 0 || automatic === undefined) return Effect.succeed(undefined)
      return Effect.clockWith((clock) => {
        try {
          const now = clock.unsafeCurrentTimeMillis()
          if (hopeless.waits(baseline.stream.id, now)) return Effect.succeed(undefined)
          const progress = progressOf(baseline, now, change)
          if (!isDue(automatic, baseline, progress)) return Effect.succeed(undefined)
          // the next load counts from the stored snapshot
          loader.forget(baseline.stream)
          return Effect.succeed(Policy.settle(automatic, progress))
        } catch (error) {
          const message = "the snapshot policy threw; no snapshot is taken"
          return Effect.as(Logs.warn(message, error, { aggregate: aggregate.name }), undefined)
        }
      })
    }

    const snapshotIfDue = (
      id: Id,
      baseline: Baseline<State>,
      command?: Commanded<State, Event>
    ): Effect.Effect<void, EventStore.EventStoreError> =>
      Effect.flatMap(dueNow(baseline, command?.change), (when) => {
        if (when === undefined) return Effect.void
        const { stream, version } = baseline
        return snapshotter === undefined
          ? Effect.flatMap(
            mayRollBack,
            (uncommitted) => uncommitted ? Effect.void : saveInTime(id, baseline, when, command)
          )
          : Effect.flatMap(events.replay.inTransaction, (open) => {
            const tentative = open || command?.interrupted === true
            snapshotter.offer({ stream, version, tentative, save: saveCommitted(id, stream, when, open ? version : 0) })
            // on SQLite all is synchronous: a loop of commands would never let a worker run
            return Effect.yieldNow()
          })
      })

    // what only reads must not take a lock that it keeps until the end of the caller's transaction
    const snapshotOnLoadIfDue = (
      id: Id,
      baseline: Baseline<State>,
      command?: Commanded<State, Event>
    ): Effect.Effect<void, EventStore.EventStoreError> =>
      !snapshotOnLoad || automatic === undefined
        ? Effect.void
        : snapshotter !== undefined
        ? snapshotIfDue(id, baseline, command)
        : Effect.flatMap(
          events.replay.inTransaction,
          (open) => open ? Effect.void : snapshotIfDue(id, baseline, command)
        )

    const propose = (
      stored: ReadonlyArray<Stored<Event>>,
      metadata: Event.Metadata
    ): Effect.Effect<ReadonlyArray<Event.ProposedEvent>> =>
      Effect.flatMap(
        Event.IdGenerator,
        (newId) =>
          // most commands decide one event, for which a loop costs more than its body
          Effect.reduce(
            stored,
            new Array<Event.ProposedEvent>(),
            (proposed, { payload, type }) =>
              Effect.map(newId, (id) => {
                proposed.push({ id, type, payload, metadata })
                return proposed
              })
          )
      )

    const decideAndAppend = (
      id: Id,
      baseline: Baseline<State>,
      commands: ReadonlyArray<Command>,
      metadata: Event.Metadata,
      source: Source.Source<State>
    ): Effect.Effect<Either.Either<Executed<State, Event>, Rejection>, ExecuteError> =>
      Effect.suspend((): Effect.Effect<Either.Either<Executed<State, Event>, Rejection>, ExecuteError> => {
        const { stream, version: before } = baseline
        const decision = decideStored(aggregate, baseline.state, commands)
        switch (decision._tag) {
          case "Rejected":
            return Effect.as(snapshotOnLoadIfDue(id, baseline, { ...nothing, source }), Either.left(decision.rejection))
          case "Invalid":
            return new InvalidCommand({
              stream,
              command: tagOf(decision.command),
              index: decision.index,
              cause: decision.cause
            })
          case "Unstorable":
            return new EventEncodeError({
              stream,
              command: tagOf(decision.command),
              type: decision.type,
              index: decision.index,
              detail: decision.problem,
              cause: decision.cause
            })
        }
        const { events: stored, state } = decision
        const decided = stored.map(({ event }) => event)
        if (decided.length === 0) {
          const executed = { state, version: before, events: decided }
          return Effect.as(snapshotOnLoadIfDue(id, baseline, { ...nothing, source }), Either.right(executed))
        }
        const change = { before: baseline.state, after: state, events: decided }
        return Effect.flatMap(propose(stored, metadata), (proposed) => {
          const version = before + proposed.length
          const eventId = proposed[proposed.length - 1].id
          const after = baselineOf({ state, version, eventId, replayed: baseline.replayed }, baseline)
          const appended = events.append(stream, proposed, { expectedVersion: ExpectedVersion.exact(before) })
          // the expected version fits another history of the same length too: one that was restored since the load
          const isOfHistory = before === 0 ? Effect.succeed(true) : stands(baseline)
          const command = (interrupted: boolean): Commanded<State, Event> => ({
            change,
            source,
            appended: stored.map(({ text, type }, index) => ({
              version: before + index + 1,
              type,
              payload: text,
              eventId: proposed[index].id
            })),
            isStored: interrupted
              ? Effect.if(isOfHistory, { onTrue: () => stands(after), onFalse: () => Effect.succeed(false) })
              : isOfHistory,
            interrupted
          })
          const snapshot = (interrupted: boolean) => snapshotIfDue(id, after, command(interrupted))
          // an interruption that comes after the append, or during it, finds the snapshot noted or saved
          const appendThenSnapshot = Effect.uninterruptibleMask((restore) =>
            restore(appended).pipe(
              Effect.tapErrorCause((cause) =>
                // whether it went through is not known: the store is asked
                Cause.isInterrupted(cause) ? snapshot(true) : Effect.void
              ),
              Effect.zipRight(snapshot(false))
            )
          )
          const append = policy._tag !== "Inline" || Option.isNone(shared)
            ? appendThenSnapshot
            : Effect.flatMap(dueNow(after, change), (when) => {
              if (when === undefined) return appended
              const both = shared.value.transaction(
                Effect.zipRight(appended, saveInTime(id, after, when, command(false)))
              )
              // without its snapshot it may go through; with the same ids it happens once, whatever became of it
              const alone = (first: EventStore.EventStoreError) =>
                Effect.mapError(appendThenSnapshot, (error) =>
                  first.mayHaveAppended && isUnavailable(error)
                    ? new EventStore.EventStoreError({ ...error, mayHaveAppended: true })
                    : error)
              return Effect.flatMap(events.replay.inTransaction, (open) =>
                // a transaction of the caller's is the caller's to begin again
                open ? both : Effect.catchIf(both, isUnavailable, alone))
            })
          return append.pipe(
            Effect.catchTag("DuplicateEventId", (error) =>
              new EventStore.EventStoreError({
                operation: "append",
                stream,
                reason: "InvalidInput",
                mayHaveAppended: false,
                detail: error.message,
                cause: error
              })),
            Effect.as(Either.right({ state, version, events: decided }))
          )
        })
      })

    const executeAll = (
      id: Id,
      commands: ReadonlyArray<Command>,
      options?: ExecuteOptions
    ): Effect.Effect<Executed<State, Event>, Rejection | ExecuteError> =>
      Effect.contextWithEffect((context: Context.Context<never>) => {
        // before the span of our own: what is recorded is the caller's
        const own = metadataOf(options)
        if (Either.isLeft(own)) return invalidOptions("append", own.left)
        const metadata = {
          ...traceContext(context),
          ...Context.get(context, Event.CurrentMetadata),
          ...own.right
        }
        return span("execute", run(id, commands, metadata))
      })

    const run = (
      id: Id,
      commands: ReadonlyArray<Command>,
      metadata: Event.Metadata
    ): Effect.Effect<Executed<State, Event>, Rejection | ExecuteError> =>
      Effect.suspend(() => {
        const source = Source.make(aggregate)
        return Effect.flatMap(
          observe(id, { mayWrite: true, source }),
          (loaded) => decideUntilAppended(id, loaded, commands, metadata, source)
        )
      })

    const decideUntilAppended = (
      id: Id,
      loaded: Baseline<State>,
      commands: ReadonlyArray<Command>,
      metadata: Event.Metadata,
      source: Source.Source<State>
    ): Effect.Effect<Executed<State, Event>, Rejection | ExecuteError> =>
      Effect.suspend(() => {
        let baseline = loaded
        let conflict: EventStore.VersionConflict | undefined
        const refresh = Effect.suspend((): Effect.Effect<Baseline<State>, LoadError> =>
          conflict === undefined
            ? Effect.succeed(baseline)
            : loader.advance(id, baseline, { source, onRefused: refused })
        )
        const attempt: Effect.Effect<
          Either.Either<Executed<State, Event>, Rejection | Exclude<ExecuteError, EventStore.VersionConflict>>,
          EventStore.VersionConflict
        > = refresh.pipe(
          Effect.flatMap((current) => {
            baseline = current
            return decideAndAppend(id, current, commands, metadata, source)
          }),
          // a rejection may have any tag, so it must not meet the retry: only conflicts stay in the error channel
          Effect.catchAll((error): Effect.Effect<
            Either.Either<never, Exclude<ExecuteError, EventStore.VersionConflict>>,
            EventStore.VersionConflict
          > => {
            if (!(error instanceof EventStore.VersionConflict)) {
              return Effect.succeed(Either.left(error))
            }
            conflict = error
            return Effect.fail(error)
          })
        )
        return Effect.flatten(
          Effect.catchAll(attempt, (lost) =>
            Effect.flatMap(Effect.zip(Schedule.driver(retry), RetryClock), ([driver, retryClock]) => {
              const again = (lost: EventStore.VersionConflict): typeof attempt =>
                // in real time: others append in theirs, whatever clock dates the events
                Effect.matchEffect(Effect.withClock(driver.next(lost), retryClock), {
                  onFailure: () => Effect.fail(lost),
                  onSuccess: () => Effect.catchAll(attempt, again)
                })
              return again(lost)
            }))
        )
      })

    return {
      execute: (id, command, options) => executeAll(id, [command], options),
      executeAll,
      load: (id) =>
        span(
          "load",
          Effect.flatMap(
            observe(id, { mayWrite: snapshotOnLoad }),
            (baseline) => Effect.as(snapshotOnLoadIfDue(id, baseline), toLoaded(id, baseline))
          )
        ),
      createSnapshot: (id) => span("createSnapshot", createSnapshot(id)),
      verify: (id, options) =>
        Effect.suspend(() => {
          const remove = removeOf(options)
          return Either.isLeft(remove)
            ? invalidOptions("read", remove.left)
            : span("verify", verify(id, remove.right))
        }),
      awaitPendingSnapshots: snapshotter === undefined
        ? Effect.void
        : Effect.flatMap(events.replay.inTransaction, (open) => open ? Effect.void : snapshotter.awaitPending)
    }
  })

/**
 * The repository of an aggregate behind a tag of the application's.
 *
 * @example
 * ```ts
 * import { Aggregate, EventStore, Repository, SnapshotPolicy, SnapshotStore } from "effect-eventsourcing"
 * import { Context, Either, Layer, Schema } from "effect"
 *
 * const Counted = Schema.TaggedStruct("Counted", {})
 *
 * const Counter = Aggregate.make({
 *   name: "Counter",
 *   id: Schema.String,
 *   state: Schema.Int,
 *   event: Counted,
 *   command: Schema.TaggedStruct("Count", {}),
 *   initial: () => 0,
 *   evolve: (state) => state + 1,
 *   decide: () => Either.right([Counted.make()])
 * })
 *
 * class Counters extends Context.Tag("app/Counters")<Counters, Repository.Repository<typeof Counter>>() {}
 *
 * const CountersLive = Repository.layer(Counters, Counter, {
 *   snapshots: SnapshotPolicy.background({ every: 100 })
 * }).pipe(Layer.provide([EventStore.layerMemory, SnapshotStore.layerMemory]))
 * ```
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = <Self, Name extends string, Id, State, Event, Command, Rejection>(
  tag: Context.Tag<Self, Repository<Aggregate.Aggregate<Name, Id, State, Event, Command, Rejection>>>,
  aggregate: Aggregate.Aggregate<Name, Id, State, Event, Command, Rejection>,
  options?: Options<NoInfer<State>, NoInfer<Event>>
): Layer.Layer<Self, InvalidOption, EventStore.EventStore | SnapshotStore.SnapshotStore> =>
  Layer.scoped(tag, make(aggregate, options))

// -------------------------------------------------------------------------------------
// internal
// -------------------------------------------------------------------------------------

const defaultRetry: Schedule.Schedule<unknown> = Schedule.exponential("1 millis", 1.5).pipe(
  Schedule.union(Schedule.spaced("50 millis")),
  Schedule.jittered,
  Schedule.intersect(Schedule.recurs(30))
)

const longestWait = 160

const toLoaded = <Id, State>(id: Id, baseline: Baseline<State>): Loaded<Id, State> => ({
  id,
  state: baseline.state,
  version: baseline.version,
  exists: baseline.version > 0,
  snapshotVersion: baseline.snapshotVersion,
  replayed: baseline.replayed,
  snapshotOutcome: baseline.outcome
})

const traceContext = (context: Context.Context<never>): Event.Metadata =>
  Option.match(Context.getOption(context, Tracer.ParentSpan), {
    onNone: () => ({}),
    onSome: ({ sampled, spanId, traceId }) => ({ traceparent: `00-${traceId}-${spanId}-${sampled ? "01" : "00"}` })
  })

// what was migrated is saved as what it is now, and what was refuted is replaced, lest every load does it again
const isMendable = (outcome: Snapshot.SnapshotOutcome): boolean =>
  outcome._tag === "Migrated" || outcome._tag === "StateDecodeError" || outcome._tag === "HistoryMismatch"

const always = SnapshotPolicy.not(SnapshotPolicy.never)

const isSaveError = (
  error: unknown
): error is EventStore.EventStoreError | Snapshot.StateEncodeError | SnapshotStore.SnapshotStoreError =>
  error instanceof EventStore.EventStoreError || error instanceof Snapshot.StateEncodeError ||
  error instanceof SnapshotStore.SnapshotStoreError

/** What a command makes of a state in hand, for a snapshot of it. */
interface Commanded<State, Event> {
  readonly change: SnapshotPolicy.Change<State, Event> | undefined
  /** What the state before the command was folded from. */
  readonly source: Source.Source<State>
  /** The events of the command, as they are read back. */
  readonly appended: ReadonlyArray<EventStore.TailEvent>
  readonly isStored: Effect.Effect<boolean, EventStore.EventStoreError>
  /** Whether it is not known if the append went through. */
  readonly interrupted: boolean
}

const nothing = { change: undefined, appended: [], isStored: Effect.succeed(true), interrupted: false }

// a state that does not encode, what no store can keep, and what the database would refuse again
const isHopeless = (
  error: unknown
): error is Snapshot.StateEncodeError | SnapshotStore.SnapshotStoreError =>
  error instanceof Snapshot.StateEncodeError ||
  (error instanceof SnapshotStore.SnapshotStoreError && error.reason !== "Unavailable")

const notTaken = ({ aggregate, id }: StreamId.StreamId, detail: string): SnapshotStore.SnapshotStoreError =>
  new SnapshotStore.SnapshotStoreError({ operation: "save", aggregate, id, reason: "InvalidInput", detail })

const timeOf = (
  stream: StreamId.StreamId,
  now: number
): Either.Either<DateTime.Utc, SnapshotStore.SnapshotStoreError> =>
  Either.fromOption(
    Option.map(DateTime.make(Math.trunc(now)), DateTime.toUtc),
    () => notTaken(stream, `the Clock gives ${now} for the time, which is ${noDate}`)
  )

const isUnavailable = (error: { readonly _tag: string }): error is EventStore.EventStoreError =>
  error instanceof EventStore.EventStoreError && error.reason === "Unavailable"

const invalidOptions = (
  operation: EventStore.EventStoreError["operation"],
  detail: string
): EventStore.EventStoreError =>
  new EventStore.EventStoreError({ operation, reason: "InvalidInput", mayHaveAppended: false, detail })

const metadataOf = (options: ExecuteOptions | undefined): Either.Either<Event.Metadata | undefined, string> => {
  if (options === undefined) return noMetadata
  try {
    const problem = unknownKey("the options of execute", options, ["metadata"]) ??
      (options.metadata === undefined || isPlainRecord(options.metadata)
        ? undefined
        : "the metadata is no plain record")
    return problem === undefined ? Either.right({ ...options.metadata }) : Either.left(problem)
  } catch {
    return Either.left(unreadable)
  }
}

const noMetadata: Either.Either<undefined, string> = Either.right(undefined)

const isPlainRecord = (value: unknown): boolean => {
  if (typeof value !== "object" || value === null) return false
  const prototype: unknown = Object.getPrototypeOf(value)
  return prototype === null || prototype === Object.prototype
}

const removeOf = (options: VerifyOptions | undefined): Either.Either<boolean, string> => {
  try {
    const problem = unknownKey("the options of verify", options, ["remove"]) ??
      booleanProblem("remove", options?.remove)?.message
    return problem === undefined ? Either.right(options?.remove ?? true) : Either.left(problem)
  } catch {
    return Either.left(unreadable)
  }
}

const known: ReadonlyArray<keyof Options> = [
  "snapshots",
  "retry",
  "pageSize",
  "snapshotTimeout",
  "snapshotOnLoad",
  "onDrift",
  "maxReplay",
  "concurrentReplays",
  "cache",
  "verify"
]

const aggregateProblem = (aggregate: unknown): InvalidOption | undefined =>
  typeof aggregate === "object" && aggregate !== null && "migrations" in aggregate && "decide" in aggregate
    ? undefined
    : new InvalidOption({
      option: "Repository aggregate",
      value: quote(aggregate),
      expected: "what Aggregate.make gives"
    })

const optionsProblem = <State, Event>(options: Options<State, Event>): InvalidOption | undefined => {
  const wrong = recordProblem("Repository options", options, known)
  if (wrong !== undefined) return wrong
  const { cache, concurrentReplays, maxReplay, onDrift, pageSize, snapshotTimeout, verify } = options
  const wrongPart = (options.snapshots === undefined ? undefined : Policy.problem(options.snapshots)) ??
    scheduleProblem("Repository retry", options.retry) ??
    booleanProblem("Repository snapshotOnLoad", options.snapshotOnLoad) ??
    recordProblem("Repository cache", cache, ["capacity", "timeToLive"]) ??
    recordProblem("Repository verify", verify, ["sample", "budget"])
  if (wrongPart !== undefined) return wrongPart
  if (pageSize !== undefined && (!Number.isSafeInteger(pageSize) || pageSize < 2)) {
    return new InvalidOption({
      option: "Repository pageSize",
      value: String(pageSize),
      expected: "a whole number, 2 or more"
    })
  }
  if (onDrift !== undefined && onDrift !== "replay" && onDrift !== "decode") {
    return new InvalidOption({ option: "Repository onDrift", value: quote(onDrift), expected: "replay or decode" })
  }
  if (verify !== undefined && !(typeof verify.sample === "number" && verify.sample >= 0 && verify.sample <= 1)) {
    return new InvalidOption({
      option: "Repository verify.sample",
      value: String(verify.sample),
      expected: "a share of the loads, from 0 to 1"
    })
  }
  return wholeFromOne("Repository maxReplay", maxReplay) ??
    wholeFromOne("Repository concurrentReplays", concurrentReplays) ??
    wholeFromOne("Repository verify.budget", verify?.budget) ??
    (cache === undefined ? undefined : requiredCount("Repository cache.capacity", cache?.capacity)) ??
    finiteDurationProblem("Repository cache.timeToLive", cache?.timeToLive) ??
    finiteDurationProblem("Repository snapshotTimeout", snapshotTimeout)
}
