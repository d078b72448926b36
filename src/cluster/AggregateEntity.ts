/**
 * Spreads aggregates over the processes of a cluster. Each aggregate lives in one process at a time, as an entity of
 * `@effect/cluster` that holds its state in memory.
 *
 * @since 0.1.0
 */
import type * as Entity from "@effect/cluster/Entity"
import * as MessageStorage from "@effect/cluster/MessageStorage"
import * as Sharding from "@effect/cluster/Sharding"
import { ShardingConfig } from "@effect/cluster/ShardingConfig"
import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import type * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import type * as Aggregate from "../Aggregate.js"
import * as EventStore from "../EventStore.js"
import * as Calls from "../internal/cluster/calls.js"
import * as Closing from "../internal/cluster/closing.js"
import * as Handlers from "../internal/cluster/handlers.js"
import * as Local from "../internal/cluster/local.js"
import * as Messages from "../internal/cluster/messages.js"
import type { Client } from "../internal/cluster/model.js"
import * as Options from "../internal/cluster/options.js"
import * as Protocol from "../internal/cluster/protocol.js"
import type * as Wire from "../internal/cluster/wire.js"
import { orThrow } from "../internal/options.js"
import * as Codec from "../internal/schema/codec.js"
import { InvalidOption } from "../InvalidOption.js"
import * as Repository from "../Repository.js"
import * as SnapshotPolicy from "../SnapshotPolicy.js"
import type * as SnapshotStore from "../SnapshotStore.js"

export { CommandTimeout, LoadTimeout, UnreadableAnswer } from "../internal/cluster/errors.js"
export type { Client, ClientExecute } from "../internal/cluster/model.js"
export type { ClientOptions, LayerOptions, MakeOptions } from "../internal/cluster/options.js"

/**
 * Identifies the entity of an aggregate.
 *
 * @since 0.1.0
 * @category Type IDs
 */
export const TypeId: TypeId = "~effect-eventsourcing/AggregateEntity"

/**
 * Identifies the entity of an aggregate.
 *
 * @since 0.1.0
 * @category Type IDs
 */
export type TypeId = "~effect-eventsourcing/AggregateEntity"

/**
 * The entity of an aggregate. Runners and clients share it.
 *
 * @since 0.1.0
 * @category models
 */
export interface AggregateEntity<A extends Aggregate.Any> {
  readonly [TypeId]: TypeId
  readonly aggregate: A
  readonly persisted: boolean
  /** @internal */
  readonly messages: Effect.Effect<Messages.Messages | undefined, InvalidOption>
  /** The entity as `@effect/cluster` knows it. */
  readonly entity: Entity.Entity<string, Protocol.Rpcs>
  /** @internal */
  readonly codecs: Wire.Codecs<
    Aggregate.Id<A>,
    Aggregate.State<A>,
    Aggregate.Event<A>,
    Aggregate.Command<A>,
    Aggregate.Rejection<A>
  >
}

/**
 * The sentence that the compiler prints for an aggregate whose rejections cannot travel.
 *
 * @since 0.1.0
 * @category type helpers
 */
export type Travels<A extends Aggregate.Any> = [Aggregate.Rejection<A>] extends [never] ? unknown
  : A extends { readonly schemas: { readonly rejection: Schema.Schema.Any } } ? unknown
  : "decide of this aggregate can reject commands: give Aggregate.make a `rejection` schema, by which a rejection travels"

/**
 * Makes the entity of an aggregate. If `decide` can reject commands, the aggregate must have a `rejection` schema, so
 * that a rejection reaches the caller as the aggregate's own type.
 *
 * Throws `InvalidOption` for an invalid option, and for an aggregate whose name has more than 150 characters or space at
 * either end.
 *
 * @example
 * ```ts
 * import { Aggregate } from "effect-eventsourcing"
 * import { AggregateEntity } from "effect-eventsourcing/cluster"
 * import { Either, Schema } from "effect"
 *
 * const Counted = Schema.TaggedStruct("Counted", {})
 *
 * const Counter = Aggregate.make({
 *   name: "Counter",
 *   id: Schema.NonEmptyString,
 *   state: Schema.Int,
 *   event: Counted,
 *   command: Schema.TaggedStruct("Count", {}),
 *   rejection: Schema.Literal("full"),
 *   initial: () => 0,
 *   evolve: (state) => state + 1,
 *   decide: (state) => state === 100 ? Either.left("full" as const) : Either.right([Counted.make()])
 * })
 *
 * const CounterEntity = AggregateEntity.make(Counter, { persisted: false })
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const make: <A extends Aggregate.Any>(
  aggregate: A & Travels<A>,
  options?: Options.MakeOptions
) => AggregateEntity<A> = makeOf

// the type checker does not see that the types of an aggregate are those of its interface
function makeOf<A extends Aggregate.Any>(aggregate: A, options?: Options.MakeOptions): AggregateEntity<A>
function makeOf<Name extends string, Id, State, Event, Command, Rejection>(
  aggregate: Aggregate.Aggregate<Name, Id, State, Event, Command, Rejection>,
  options: Options.MakeOptions = {}
): AggregateEntity<Aggregate.Aggregate<Name, Id, State, Event, Command, Rejection>> {
  orThrow(Options.makeProblem(aggregate, options))
  // the type of an aggregate has its schemas only as a parameter, in which they are not those of its other types
  const { command, rejection } = aggregate.schemas as {
    readonly command: Schema.Schema<Command, unknown>
    readonly rejection?: Schema.Schema<Rejection, unknown>
  }
  const persisted = options.persisted ?? false
  const { event, state } = aggregate
  return {
    [TypeId]: TypeId,
    aggregate,
    persisted,
    messages: Messages.make(aggregate.name, {
      persisted,
      schemas: [command, event.schema, state.schema, ...(rejection ? [rejection] : [])]
    }),
    entity: Protocol.make(aggregate.name, persisted),
    codecs: {
      name: aggregate.name,
      id: aggregate.id,
      state: aggregate.state,
      event: aggregate.event,
      command: { encode: Codec.encoder(command), decode: Codec.decoder(command) },
      rejection: rejection && { encode: Codec.encoder(rejection), decode: Codec.decoder(rejection) }
    }
  }
}

/**
 * Runs the entities of an aggregate in this process. An entity loads the state once, keeps it in memory, and executes
 * the commands of its aggregate one after another. A command takes one round trip to the store.
 *
 * The options are those of `Repository.make`, which all entities share, and those of the cluster. Snapshots are taken
 * from the held state by the policy, and when an entity ends.
 *
 * @example
 * ```ts
 * import { Aggregate, SnapshotPolicy } from "effect-eventsourcing"
 * import { AggregateEntity } from "effect-eventsourcing/cluster"
 * import { Either, Schema } from "effect"
 *
 * const Counted = Schema.TaggedStruct("Counted", {})
 *
 * const Counter = Aggregate.make({
 *   name: "Counter",
 *   id: Schema.NonEmptyString,
 *   state: Schema.Int,
 *   event: Counted,
 *   command: Schema.TaggedStruct("Count", {}),
 *   initial: () => 0,
 *   evolve: (state) => state + 1,
 *   decide: () => Either.right([Counted.make()])
 * })
 *
 * const CounterEntity = AggregateEntity.make(Counter)
 *
 * const CountersRunner = AggregateEntity.layer(CounterEntity, {
 *   maxIdleTime: "5 minutes",
 *   snapshots: SnapshotPolicy.background({ every: 100 }),
 *   snapshotOnPassivation: { after: 20 }
 * })
 * ```
 *
 * @since 0.1.0
 * @category layers
 */
export const layer: <A extends Aggregate.Any>(
  entity: AggregateEntity<A>,
  options?: Options.LayerOptions<Aggregate.State<A>, Aggregate.Event<A>>
) => Layer.Layer<never, InvalidOption, Sharding.Sharding | EventStore.EventStore | SnapshotStore.SnapshotStore> = (
  entity,
  options
) => Layer.scopedDiscard(register(entity, options))

function register<A extends Aggregate.Any>(
  entity: AggregateEntity<A>,
  options?: Options.LayerOptions<Aggregate.State<A>, Aggregate.Event<A>>
): Effect.Effect<
  void,
  InvalidOption,
  Sharding.Sharding | EventStore.EventStore | SnapshotStore.SnapshotStore | Scope.Scope
>
function register<Name extends string, Id, State, Event, Command, Rejection>(
  { aggregate, codecs, entity, messages, persisted }: AggregateEntity<
    Aggregate.Aggregate<Name, Id, State, Event, Command, Rejection>
  >,
  options: Options.LayerOptions<State, Event> = {}
): Effect.Effect<
  void,
  InvalidOption,
  Sharding.Sharding | EventStore.EventStore | SnapshotStore.SnapshotStore | Scope.Scope
> {
  return Effect.gen(function*() {
    const problem = Options.layerProblem(options)
    if (problem !== undefined) return yield* problem
    const storage = yield* checkCluster(persisted, true)
    const sealed = yield* messages
    const { mailboxCapacity, maxIdleTime, snapshotOnPassivation, ...own } = options
    const repository = yield* Repository.make(Handlers.boxed(aggregate), own)
    const sharding = yield* Sharding.Sharding
    const hold = (id: Id) => Effect.orDie(repository.hold(id, { snapshotOnClose: snapshotOnPassivation }))
    const { find } = yield* EventStore.EventStore
    const stored = { find, messages: sealed, answers: persisted ? Option.getOrUndefined(storage) : undefined }
    const registered = sharding.registerEntity(entity, Handlers.make(codecs, hold, stored), {
      maxIdleTime,
      mailboxCapacity,
      // one after another: a second command would only wait for the writer
      concurrency: 1,
      // a command that dies would otherwise be repeated without end, and the entity would answer no other
      disableFatalDefects: true
    })
    yield* Closing.entities(aggregate.name, registered)
  })
}

/** What else would be a defect of the first call, or a runner that runs nothing. */
const checkCluster = (persisted: boolean, isRunner: boolean) =>
  Effect.gen(function*() {
    const storage = yield* Effect.serviceOption(MessageStorage.MessageStorage)
    if (persisted && Option.isSome(storage) && storage.value === MessageStorage.noop) {
      return yield* new InvalidOption({
        option: "AggregateEntity persisted",
        value: "true, in a cluster without message storage",
        expected: "a cluster with message storage, such as SqlCluster.layerRunner, or persisted: false"
      })
    }
    const config = yield* Effect.serviceOption(ShardingConfig)
    if (isRunner && Option.isSome(config) && Option.isNone(config.value.runnerAddress)) {
      return yield* new InvalidOption({
        option: "AggregateEntity.layer",
        value: "a cluster that is only a client",
        expected: "a cluster with a runner address, such as SqlCluster.layerRunner"
      })
    }
    return storage
  })

/**
 * Makes a client of an aggregate's entities. It finds the runner of each aggregate, and sends a request again if the
 * runner died, froze or gave the entity away. Such a command has the same id, so it counts once. A request that is not
 * answered within `timeout` fails with a typed error, which has the command id.
 *
 * @example
 * ```ts
 * import { Aggregate } from "effect-eventsourcing"
 * import { AggregateEntity } from "effect-eventsourcing/cluster"
 * import { Effect, Either, Schema } from "effect"
 *
 * const Counted = Schema.TaggedStruct("Counted", {})
 *
 * const Counter = Aggregate.make({
 *   name: "Counter",
 *   id: Schema.NonEmptyString,
 *   state: Schema.Int,
 *   event: Counted,
 *   command: Schema.TaggedStruct("Count", {}),
 *   initial: () => 0,
 *   evolve: (state) => state + 1,
 *   decide: () => Either.right([Counted.make()])
 * })
 *
 * const CounterEntity = AggregateEntity.make(Counter)
 *
 * const program = Effect.gen(function*() {
 *   const counters = yield* AggregateEntity.client(CounterEntity, { timeout: "10 seconds" })
 *   const { version } = yield* counters.execute("a", { _tag: "Count" })
 *   return version
 * })
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const client: <A extends Aggregate.Any>(
  entity: AggregateEntity<A>,
  options?: Options.ClientOptions
) => Effect.Effect<Client<A>, InvalidOption, Sharding.Sharding> = clientOf

function clientOf<A extends Aggregate.Any>(
  entity: AggregateEntity<A>,
  options?: Options.ClientOptions
): Effect.Effect<Client<A>, InvalidOption, Sharding.Sharding>
function clientOf<Name extends string, Id, State, Event, Command, Rejection>(
  entity: AggregateEntity<Aggregate.Aggregate<Name, Id, State, Event, Command, Rejection>>,
  options?: Options.ClientOptions
): Effect.Effect<
  Client<Aggregate.Aggregate<Name, Id, State, Event, Command, Rejection>>,
  InvalidOption,
  Sharding.Sharding
> {
  return Effect.map(callsOf(entity, options), (calls) => ({
    ...calls,
    execute: (id, command, options) => calls.executeAll(id, [command], options)
  }))
}

const callsOf = <Name extends string, Id, State, Event, Command, Rejection>(
  { codecs, entity, messages, persisted }: AggregateEntity<
    Aggregate.Aggregate<Name, Id, State, Event, Command, Rejection>
  >,
  options: Options.ClientOptions = {}
): Effect.Effect<Calls.Calls<Id, State, Event, Command, Rejection>, InvalidOption, Sharding.Sharding> =>
  Effect.gen(function*() {
    const problem = Options.clientProblem(options)
    if (problem !== undefined) return yield* problem
    yield* checkCluster(persisted, false)
    const sealed = yield* messages
    return Calls.make(codecs, yield* entity.client, Options.completeClient(options), { persisted, messages: sealed })
  })

/**
 * Provides the repository of an aggregate under a tag of the application, with commands and loads by the entities of a
 * cluster. A program moves from one process to a cluster by this layer, in place of `Repository.layer`.
 *
 * - A command that was not answered in time fails with an `EventStoreError` with `mayHaveAppended: true`, whose cause is
 *   the `CommandTimeout` with the command id.
 * - An answer that this version of the program cannot read, as in a rolling deploy, is found in the event store instead.
 * - A command inside a transaction of the event store fails with an `EventStoreError`, because an entity is in another
 *   process and cannot take part in it. A load inside a transaction reads the store itself.
 * - Histories, `loadAt`, `verify`, `createSnapshot` and `hold` read the stores of this process, which must be those of
 *   the runners.
 *
 * @example
 * ```ts
 * import { Aggregate, Repository } from "effect-eventsourcing"
 * import { AggregateEntity } from "effect-eventsourcing/cluster"
 * import { Context, Either, Schema } from "effect"
 *
 * const Counted = Schema.TaggedStruct("Counted", {})
 *
 * const Counter = Aggregate.make({
 *   name: "Counter",
 *   id: Schema.NonEmptyString,
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
 * const CountersLive = AggregateEntity.repository(Counters, AggregateEntity.make(Counter))
 * ```
 *
 * @since 0.1.0
 * @category layers
 */
export const repository = <Self, A extends Aggregate.Any>(
  tag: Context.Tag<Self, Repository.Repository<A>>,
  entity: AggregateEntity<A>,
  options?: Options.ClientOptions
): Layer.Layer<
  Self,
  InvalidOption,
  Sharding.Sharding | EventStore.EventStore | SnapshotStore.SnapshotStore
> => Layer.scoped(tag, repositoryOf(entity, options))

type Requirements = Sharding.Sharding | EventStore.EventStore | SnapshotStore.SnapshotStore | Scope.Scope

function repositoryOf<A extends Aggregate.Any>(
  entity: AggregateEntity<A>,
  options?: Options.ClientOptions
): Effect.Effect<Repository.Repository<A>, InvalidOption, Requirements>
function repositoryOf<Name extends string, Id, State, Event, Command, Rejection>(
  entity: AggregateEntity<Aggregate.Aggregate<Name, Id, State, Event, Command, Rejection>>,
  options?: Options.ClientOptions
): Effect.Effect<
  Repository.Repository<Aggregate.Aggregate<Name, Id, State, Event, Command, Rejection>>,
  InvalidOption,
  Requirements
> {
  return Effect.gen(function*() {
    const calls = yield* callsOf(entity, options)
    const { replay } = yield* EventStore.EventStore
    const local = yield* Repository.make(entity.aggregate, { snapshots: SnapshotPolicy.manual, snapshotOnLoad: false })
    const executeAll = Local.commands(replay, calls, local.executeAll)
    return {
      ...local,
      execute: (id, command, options) => executeAll(id, [command], options),
      executeAll,
      load: Local.loads(replay, calls, local.load)
    }
  })
}
