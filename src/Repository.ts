/**
 * Loads aggregates, executes commands and takes snapshots.
 *
 * @since 0.1.0
 */
import type * as Context from "effect/Context"
import type * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type * as Aggregate from "./Aggregate.js"
import type * as Event from "./Event.js"
import type * as EventStore from "./EventStore.js"
import * as EventTime from "./internal/eventTime.js"
import type { Baseline } from "./internal/repository/baseline.js"
import type {
  CreateSnapshotError,
  ExecuteError,
  HistoryError,
  LoadError,
  VersionNotReached
} from "./internal/repository/errors.js"
import * as Executing from "./internal/repository/executing.js"
import * as History from "./internal/repository/history.js"
import { loadAt } from "./internal/repository/loadAt.js"
import { load } from "./internal/repository/loads.js"
import { makeServices } from "./internal/repository/makeServices.js"
import type { CreatedSnapshot, Executed, Loaded, Verification } from "./internal/repository/model.js"
import * as Options from "./internal/repository/options.js"
import type { Services } from "./internal/repository/services.js"
import * as Snapshots from "./internal/repository/snapshots.js"
import { verify } from "./internal/repository/verification.js"
import * as Watching from "./internal/repository/watching.js"
import * as Holding from "./internal/repository/writer.js"
import * as Recorded from "./internal/store/recorded.js"
import type { InvalidOption } from "./InvalidOption.js"
import type * as SnapshotStore from "./SnapshotStore.js"

export {
  type CreateSnapshotError,
  EmptyStream,
  EventEncodeError,
  type ExecuteError,
  type HistoryError,
  HistoryRewritten,
  IdEncodeError,
  InvalidCommand,
  InvalidCommandId,
  type LoadError,
  maxCommandIdBytes,
  ReplayTooLong,
  VersionNotReached
} from "./internal/repository/errors.js"
export type {
  CreatedSnapshot,
  Difference,
  Executed,
  Loaded,
  Verification,
  Written
} from "./internal/repository/model.js"
export type {
  CacheOptions,
  ExecuteOptions,
  HistoryOptions,
  Options,
  VerifyOptions,
  VerifySample
} from "./internal/repository/options.js"
export type { HoldOptions, Writer, WriterExecute } from "./internal/repository/writer.js"

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
   * Loads the aggregate, decides the command and appends its events. If another writer appended first, the command
   * folds the new events onto the loaded state and decides again, as often as the `retry` schedule allows. A command
   * that decides no events appends nothing. If `decide` is a record of handlers, `execute` fails only with the
   * rejections of the handler of this command.
   */
  readonly execute: Execute<A>

  /**
   * Decides commands in turn, each on the state after the previous one, and appends all of their events at once. If one
   * command is rejected, nothing is appended.
   */
  readonly executeAll: (
    id: Aggregate.Id<A>,
    commands: ReadonlyArray<Aggregate.Command<A>>,
    options?: Options.ExecuteOptions
  ) => Effect.Effect<Executed<Aggregate.State<A>, Aggregate.Event<A>>, Aggregate.Rejection<A> | ExecuteError>

  /**
   * Loads the state of an aggregate. An aggregate without events is at version 0, in its initial state, with
   * `exists: false`.
   */
  readonly load: (id: Aggregate.Id<A>) => Effect.Effect<Loaded<Aggregate.Id<A>, Aggregate.State<A>>, LoadError>

  /**
   * Loads the state as it was at a version or at a time. The state at a time is the state after the last event that is
   * not later. A number is always a version, not a time in milliseconds. The load uses no snapshot of a newer version,
   * and saves no snapshot.
   *
   * Fails with `VersionNotReached` if the aggregate has no such version yet. At version 0, and at a time before the
   * first event, the state is the initial one. For a time, the load also reads the events after it.
   */
  readonly loadAt: (
    id: Aggregate.Id<A>,
    point: number | DateTime.DateTime
  ) => Effect.Effect<Loaded<Aggregate.Id<A>, Aggregate.State<A>>, LoadError | VersionNotReached>

  /**
   * Reads the events of an aggregate in their envelopes, decoded as a replay decodes them, page by page. Events that
   * are ignored on purpose are `Retired`. If a version is missing, the stream gives the events before it and then fails
   * with `HistoryGap`. It fails with `HistoryRewritten` if events that it has already given are replaced during the
   * read.
   */
  readonly history: (
    id: Aggregate.Id<A>,
    options?: Options.HistoryOptions
  ) => Stream.Stream<Event.Envelope<Aggregate.Event<A>> | Event.Retired, HistoryError>

  /**
   * Takes a snapshot of the stored state now, or fails with a typed error. It always fails in mode `none`. Inside a
   * transaction that both stores share, the snapshot is committed or rolled back with the events.
   */
  readonly createSnapshot: (
    id: Aggregate.Id<A>
  ) => Effect.Effect<CreatedSnapshot<Aggregate.State<A>>, CreateSnapshotError>

  /**
   * Compares the state of a load by snapshot with the state of a full replay at the same version. It detects that
   * `evolve`, a migration or the stored state was changed after the snapshot was taken. The check on load cannot detect
   * this. A refuted snapshot is removed, unless `remove` is false.
   */
  readonly verify: (id: Aggregate.Id<A>, options?: Options.VerifyOptions) => Effect.Effect<Verification, LoadError>

  /**
   * Makes a writer that keeps the state of one aggregate in memory, for a program that sends all commands of an
   * aggregate through one place. A command then takes one round trip instead of two. Other writers may append at the
   * same time. The writer loads the state with its first operation, and keeps it until the scope closes.
   *
   * The writer decides on the same state value that it returns, so a program must not change that value. A restore of
   * an older database below a running writer is noticed by its loads and snapshots, and not by its commands: start the
   * processes again after a restore.
   */
  readonly hold: (
    id: Aggregate.Id<A>,
    options?: Holding.HoldOptions
  ) => Effect.Effect<Holding.Writer<A>, InvalidOption, Scope.Scope>

  /**
   * Waits until no background snapshot is pending. Inside a transaction it returns at once, because the workers may
   * need the connection that the transaction holds.
   */
  readonly awaitPendingSnapshots: Effect.Effect<void>
}

/**
 * The type of a repository's `execute`.
 *
 * @since 0.1.0
 * @category models
 */
export type Execute<A extends Aggregate.Any> = Aggregate.IsHandled<A> extends true ? <Tag extends TagOf<A>>(
    id: Aggregate.Id<A>,
    command: Aggregate.Command<A> & { readonly _tag: Tag },
    options?: Options.ExecuteOptions
  ) => Effect.Effect<
    Executed<Aggregate.State<A>, Aggregate.Event<A>>,
    Aggregate.RejectionOf<A, Tag> | ExecuteError
  >
  : (
    id: Aggregate.Id<A>,
    command: Aggregate.Command<A>,
    options?: Options.ExecuteOptions
  ) => Effect.Effect<Executed<Aggregate.State<A>, Aggregate.Event<A>>, Aggregate.Rejection<A> | ExecuteError>

type TagOf<A extends Aggregate.Any> = Aggregate.Command<A> extends { readonly _tag: infer Tag extends string } ? Tag
  : never

/**
 * Makes the repository of an aggregate. Its background fibers live in the scope.
 *
 * Closing the scope waits for background snapshots, for up to `drainTimeout`. It then interrupts the rest and logs
 * their streams.
 *
 * @example
 * ```ts
 * import { Aggregate, Repository, SnapshotPolicy } from "effect-eventsourcing"
 * import { Effect, Either, Schema } from "effect"
 *
 * const Counter = Aggregate.make({
 *   name: "Counter",
 *   id: Schema.String,
 *   state: Schema.Int,
 *   event: Schema.TaggedStruct("Counted", {}),
 *   command: Schema.TaggedStruct("Count", {}),
 *   initial: () => 0,
 *   evolve: (state) => state + 1,
 *   decide: () => Either.right([{ _tag: "Counted" }])
 * })
 *
 * const program = Effect.gen(function*() {
 *   const counters = yield* Repository.make(Counter, { snapshots: SnapshotPolicy.sync({ every: 100 }) })
 *   yield* counters.execute("a", { _tag: "Count" })
 *   return yield* counters.load("a")
 * })
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const make: <A extends Aggregate.Any>(
  aggregate: A,
  options?: Options.Options<Aggregate.State<A>, Aggregate.Event<A>>
) => Effect.Effect<
  Repository<A>,
  InvalidOption,
  EventStore.EventStore | SnapshotStore.SnapshotStore | Scope.Scope
> = makeOf

// the type checker does not see that the types of an aggregate are those of its interface
function makeOf<A extends Aggregate.Any>(
  aggregate: A,
  options?: Options.Options<Aggregate.State<A>, Aggregate.Event<A>>
): Effect.Effect<Repository<A>, InvalidOption, EventStore.EventStore | SnapshotStore.SnapshotStore | Scope.Scope>
function makeOf<Name extends string, Id, State, Event, Command, Rejection>(
  aggregate: Aggregate.Aggregate<Name, Id, State, Event, Command, Rejection>,
  options: Options.Options<State, Event> = {}
): Effect.Effect<
  Repository<Aggregate.Aggregate<Name, Id, State, Event, Command, Rejection>>,
  InvalidOption,
  EventStore.EventStore | SnapshotStore.SnapshotStore | Scope.Scope
> {
  const decode = (recorded: Event.RecordedEvent) => Recorded.decodeEvent(aggregate.event, recorded)
  return Effect.map(makeServices(aggregate, options, decode), (services) => {
    const span = <A, E>(name: string, id: Id, effect: Effect.Effect<A, E>): Effect.Effect<A, E> =>
      Watching.operation(services, name, id, effect)

    const executeAll = Executing.make(aggregate, services)

    return {
      execute: (id, command, options) => executeAll(id, [command], options),
      executeAll: (id, commands, options) => executeAll(id, commands, options),
      load: (id) =>
        span(
          "Repository.load",
          id,
          Effect.flatMap(
            load(services, id, { mayWrite: services.snapshotOnLoad }),
            (baseline) => Effect.as(Snapshots.afterLoad(services, id, baseline), toLoaded(id, baseline))
          )
        ),
      loadAt: (id, point) =>
        Effect.suspend(() => {
          const problem = Options.pointProblem(point)
          return problem === undefined
            ? span(
              "Repository.loadAt",
              id,
              Effect.map(loadAt(services, id, point), (baseline) => toLoaded(id, baseline))
            )
            : Executing.invalidOptions("read", problem)
        }),
      history: (id, options) =>
        Stream.suspend(() => {
          const range = Options.rangeOf(options)
          return Either.isLeft(range)
            ? Stream.fail(Executing.invalidOptions("read", range.left))
            : History.read(services, id, range.right)
        }),
      createSnapshot: (id) =>
        span(
          "Repository.createSnapshot",
          id,
          Snapshots.create(services, services.loader.load(id, { unbounded: true }))
        ),
      verify: (id, options) =>
        Effect.suspend(() => {
          const remove = Options.removeOf(options)
          return Either.isLeft(remove)
            ? Executing.invalidOptions("read", remove.left)
            : span("Repository.verify", id, verify(services, id, remove.right))
        }),
      hold: (id, options = {}) =>
        Effect.map(Holding.make(services, id, aggregate.state, options, toLoaded), (writer) => {
          const decided = (commands: ReadonlyArray<Command>, options?: Options.ExecuteOptions) =>
            writer.withHeld((held) => executeAll(id, commands, options, held))
          return {
            execute: (command, options) => decided([command], options),
            executeAll: decided,
            load: span("Repository.load", id, writer.load),
            createSnapshot: span("Repository.createSnapshot", id, writer.createSnapshot)
          }
        }),
      awaitPendingSnapshots: awaitPending(services)
    }
  })
}

/**
 * Provides the repository of an aggregate as a layer, under a tag of the application.
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
export const layer = <Self, A extends Aggregate.Any>(
  tag: Context.Tag<Self, Repository<A>>,
  aggregate: A,
  options?: Options.Options<Aggregate.State<A>, Aggregate.Event<A>>
): Layer.Layer<Self, InvalidOption, EventStore.EventStore | SnapshotStore.SnapshotStore> =>
  Layer.scoped(tag, make(aggregate, options))

const toLoaded = <Id, State>(id: Id, baseline: Baseline<State>): Loaded<Id, State> => ({
  id,
  state: baseline.state,
  version: baseline.version,
  exists: baseline.version > 0,
  lastEventId: Option.fromNullable(baseline.eventId),
  lastEventTime: baseline.time === null ? Option.none() : EventTime.decode(baseline.time),
  snapshotVersion: baseline.snapshotVersion,
  replayed: baseline.replayed,
  snapshotOutcome: baseline.outcome
})

const awaitPending = <Id, State, Event>(
  { inTransaction, snapshotter }: Services<Id, State, Event>
): Effect.Effect<void> =>
  snapshotter === undefined
    ? Effect.void
    : Effect.flatMap(inTransaction, (open) => open ? Effect.void : snapshotter.awaitPending)
