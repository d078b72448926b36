/**
 * Read models in the database of the checkpoints: each event counts once.
 *
 * A projection follows the feed. Its handler writes in the transaction that advances the checkpoint, so that neither a
 * failure, a killed process nor a second process makes an event count twice, or not at all. Reading and decoding cost
 * what `readPage` costs. Each batch costs one transaction.
 *
 * @since 0.1.0
 */
import type * as Arr from "effect/Array"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type { CheckpointStore } from "./CheckpointStore.js"
import type { EventStore } from "./EventStore.js"
import { booleanProblem, isRecord } from "./internal/options.js"
import * as Definition from "./internal/projection/definition.js"
import * as Handlers from "./internal/projection/handlers.js"
import * as InTransaction from "./internal/projection/inTransaction.js"
import type { CommonOptions } from "./internal/projection/projectionOptions.js"
import * as Start from "./internal/projection/start.js"
import { quote } from "./internal/text.js"
import * as Position from "./Position.js"

/**
 * Identifies a projection.
 *
 * @since 0.1.0
 * @category Type IDs
 */
export const TypeId: TypeId = "~effect-eventsourcing/Projection"

/**
 * Identifies a projection.
 *
 * @since 0.1.0
 * @category Type IDs
 */
export type TypeId = "~effect-eventsourcing/Projection"

/**
 * The definition of a projection. `E` is the union of the events that it handles.
 *
 * @since 0.1.0
 * @category models
 */
export interface Projection<in out E, out Err, out R> {
  readonly [TypeId]: TypeId
  readonly name: string
  readonly version: number
  readonly reading: Definition.Reading<E>
  /** Handles events in the order of their positions. */
  readonly handle: (events: Arr.NonEmptyReadonlyArray<E>) => Effect.Effect<unknown, Err, R>
}

/**
 * The options of a projection.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options extends CommonOptions {
  /**
   * Whether events are also handled in the transaction of their append. The read model then never lags behind the appends
   * of this process, and a failure of the handler fails the append. Both stores must be SQL stores on one `SqlClient`.
   * Default false.
   */
  readonly inline?: boolean | undefined
}

export { deleted, rewritten, truncated } from "./internal/projection/marked.js"

export type { Deleted, Marker, Rewritten, Truncated } from "./internal/markers.js"
export type {
  AnySelectable,
  Item,
  Marked,
  Of,
  Only,
  Reading,
  Selectable,
  Source,
  TagOf
} from "./internal/projection/definition.js"
export type { ContextOf, ErrorOf, HandlersOf } from "./internal/projection/handlers.js"
export type { CommonOptions } from "./internal/projection/projectionOptions.js"

/**
 * Makes a projection whose handler receives the events of a batch, in their order.
 *
 * The handler should write them with few statements, because the number of statements decides how fast the projection is
 * rebuilt. {@link makeByTag} makes a projection of one function for each event tag.
 *
 * The name and the version identify the checkpoint. Raise the version if the projection has to be rebuilt. It must not
 * read other events under the same version.
 *
 * Throws `InvalidOption` if the name, the version or the list of aggregates is invalid.
 *
 * @example
 * ```ts
 * import { SqlClient } from "@effect/sql"
 * import { Effect, Either, Schema } from "effect"
 * import { Aggregate, Projection } from "effect-eventsourcing"
 *
 * const Account = Aggregate.make({
 *   name: "Account",
 *   id: Schema.NonEmptyString,
 *   state: Schema.Int,
 *   event: Schema.TaggedStruct("Deposited", { amount: Schema.Int }),
 *   command: Schema.TaggedStruct("Deposit", { amount: Schema.Int }),
 *   initial: () => 0,
 *   evolve: (state, { amount }) => state + amount,
 *   decide: (_, { amount }) => Either.right([{ _tag: "Deposited", amount }])
 * })
 *
 * const Deposits = Projection.make({
 *   name: "deposits",
 *   on: [Account],
 *   handle: (events) =>
 *     Effect.flatMap(SqlClient.SqlClient, (sql) =>
 *       sql`INSERT INTO deposits ${
 *         sql.insert(events.map(({ aggregateId, event, id }) => ({ id, account: aggregateId, amount: event.amount })))
 *       }`)
 * })
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = <const Sources extends ReadonlyArray<Definition.Source>, Err, R>(definition: {
  readonly name: string
  /** Default 1. */
  readonly version?: number | undefined
  /** The aggregates whose events are handled, or some of their events, see {@link only}. */
  readonly on: Sources
  readonly handle: (events: Arr.NonEmptyReadonlyArray<Definition.Of<Sources[number]>>) => Effect.Effect<unknown, Err, R>
}): Projection<Definition.Of<Sources[number]>, Err, R> => {
  const { handle, name, on, version = 1 } = definition
  Definition.checkName("Projection.make", name, version)
  return { [TypeId]: TypeId, name, version, reading: Definition.reading(subjectOf(name), on), handle }
}

/**
 * Makes a projection of one function for each event tag of each aggregate. The compiler asks for a function for each
 * tag; {@link only} leaves tags out.
 *
 * Throws `InvalidOption` like {@link make}, or if a tag has no function.
 *
 * @example
 * ```ts
 * import { SqlClient } from "@effect/sql"
 * import { Effect, Either, Schema } from "effect"
 * import { Aggregate, Projection } from "effect-eventsourcing"
 *
 * const Account = Aggregate.make({
 *   name: "Account",
 *   id: Schema.NonEmptyString,
 *   state: Schema.Int,
 *   event: Schema.TaggedStruct("Deposited", { amount: Schema.Int }),
 *   command: Schema.TaggedStruct("Deposit", { amount: Schema.Int }),
 *   initial: () => 0,
 *   evolve: (state, { amount }) => state + amount,
 *   decide: (_, { amount }) => Either.right([{ _tag: "Deposited", amount }])
 * })
 *
 * const Balances = Projection.makeByTag({
 *   name: "balances",
 *   on: [Account],
 *   handlers: {
 *     Account: {
 *       Deposited: ({ aggregateId, event }) =>
 *         Effect.flatMap(SqlClient.SqlClient, (sql) =>
 *           sql`INSERT INTO balances VALUES (${aggregateId}, ${event.amount})
 *             ON CONFLICT (account) DO UPDATE SET balance = balances.balance + excluded.balance`)
 *     }
 *   }
 * })
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const makeByTag = <
  const Sources extends ReadonlyArray<Definition.Source>,
  H extends Handlers.HandlersOf<Sources>
>(definition: {
  readonly name: string
  /** Default 1. */
  readonly version?: number | undefined
  /** The aggregates whose events are handled, or some of their events, see {@link only}. */
  readonly on: Sources
  /** One function for each event tag of each aggregate, called in the order of the events. */
  readonly handlers: H
}): Projection<Definition.Of<Sources[number]>, Handlers.ErrorOf<H>, Handlers.ContextOf<H>> => {
  const { handlers, name, on, version } = definition
  const handle = Handlers.dispatcher(subjectOf(name), on, handlers)
  return make({ name, version, on, handle: (events) => Effect.forEach(events, handle, { discard: true }) })
}

const subjectOf = (name: unknown): string => `Projection.make of ${quote(name)}`

/**
 * Selects events of an aggregate by their tags. Throws `InvalidOption` if the aggregate has no event with such a tag.
 *
 * @example
 * ```ts
 * import { Effect, Either, Schema } from "effect"
 * import { Aggregate, Projection } from "effect-eventsourcing"
 *
 * const Order = Aggregate.make({
 *   name: "Order",
 *   id: Schema.NonEmptyString,
 *   state: Schema.Boolean,
 *   event: Schema.Union(Schema.TaggedStruct("Placed", {}), Schema.TaggedStruct("Shipped", { carrier: Schema.String })),
 *   command: Schema.TaggedStruct("Place", {}),
 *   initial: () => false,
 *   evolve: () => true,
 *   decide: () => Either.right([{ _tag: "Placed" }])
 * })
 *
 * const Carriers = Projection.make({
 *   name: "carriers",
 *   on: [Projection.only(Order, ["Shipped"])],
 *   handle: (events) => Effect.log(events.map(({ event }) => event.carrier))
 * })
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const only: <A extends Definition.AnySelectable, const Tag extends Definition.TagOf<A>>(
  aggregate: A,
  tags: ReadonlyArray<Tag>
) => Definition.Only<A, Tag> = Definition.only

/**
 * Keeps a projection up to date while the layer is in use.
 *
 * If several processes provide the layer, each partition has one owner at a time. When the layer is closed, the batch in
 * progress may end, and other processes take over at once.
 *
 * Building the layer fails with `InvalidOption`, with `SubscriptionMismatch` if another definition has this name and
 * version, or with the error of a store. After that it does not fail: failures that pass are repeated, an event that
 * cannot be handled is treated as the option `poison` says, and `Projections.status` shows both.
 *
 * With `inline`, events are handled in the transaction of their append as far as the earlier events of their stream were
 * handled. What was not handled there (older events, imports, appends of processes without the option) is handled from
 * the feed. Each event counts once, and the option can be switched at any time, in one process after the other.
 *
 * @example
 * ```ts
 * import { Effect, Either, Layer, Ref, Schema } from "effect"
 * import { Aggregate, CheckpointStore, EventStore, Projection } from "effect-eventsourcing"
 *
 * const Counter = Aggregate.make({
 *   name: "Counter",
 *   id: Schema.NonEmptyString,
 *   state: Schema.Int,
 *   event: Schema.TaggedStruct("Counted", {}),
 *   command: Schema.TaggedStruct("Count", {}),
 *   initial: () => 0,
 *   evolve: (state) => state + 1,
 *   decide: () => Either.right([{ _tag: "Counted" }])
 * })
 *
 * const total = Ref.unsafeMake(0)
 * const Totals = Projection.make({
 *   name: "totals",
 *   on: [Counter],
 *   handle: (events) => Ref.update(total, (sum) => sum + events.length)
 * })
 *
 * const TotalsTest = Projection.layer(Totals, { pageSize: 100 }).pipe(
 *   Layer.provideMerge(Layer.merge(EventStore.layerMemory, CheckpointStore.layerMemory))
 * )
 * ```
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = <E, Err, R>(
  projection: Projection<E, Err, R>,
  options?: Options
): Layer.Layer<never, Start.StartError, EventStore | CheckpointStore | R> =>
  Layer.scopedDiscard(Effect.suspend(() => {
    const { handle, name, reading, version } = projection
    const { inline, ...common } = isRecord(options) ? options : {}
    const problem = booleanProblem(`Projection ${quote(name)} inline`, inline ?? false)
    if (problem !== undefined) return problem
    return Start.start({
      kind: "Projection",
      name,
      version,
      reading,
      deliver: InTransaction.make(handle),
      inline: inline === true ? handle : undefined,
      from: Effect.succeed(Position.start)
    }, isRecord(options) ? common : options)
  }))

/**
 * Keeps two versions of a projection up to date side by side, for a rebuild. Starts the first one first: if neither is
 * registered yet, it is the active one.
 *
 * Fails like {@link layer}, and with `InvalidOption` if the names differ, or if the second version is not the higher one.
 *
 * @example
 * ```ts
 * import { Effect, Either, Schema } from "effect"
 * import { Aggregate, Projection } from "effect-eventsourcing"
 *
 * const Counter = Aggregate.make({
 *   name: "Counter",
 *   id: Schema.NonEmptyString,
 *   state: Schema.Int,
 *   event: Schema.TaggedStruct("Counted", {}),
 *   command: Schema.TaggedStruct("Count", {}),
 *   initial: () => 0,
 *   evolve: (state) => state + 1,
 *   decide: () => Either.right([{ _tag: "Counted" }])
 * })
 *
 * const Totals1 = Projection.make({ name: "totals", version: 1, on: [Counter], handle: () => Effect.void })
 * const Totals2 = Projection.make({ name: "totals", version: 2, on: [Counter], handle: () => Effect.void })
 *
 * const TotalsLive = Projection.layerVersions(Totals1, Totals2, { pageSize: 100 })
 * ```
 *
 * @since 0.1.0
 * @category layers
 */
export const layerVersions = <E1, Err1, R1, E2, Err2, R2>(
  first: Projection<E1, Err1, R1>,
  second: Projection<E2, Err2, R2>,
  options?: Options
): Layer.Layer<never, Start.StartError, EventStore | CheckpointStore | R1 | R2> =>
  first.name === second.name && first.version < second.version
    ? Layer.provide(layer(second, options), layer(first, options))
    : Layer.fail(Definition.refuse(
      "Projection.layerVersions",
      "second",
      `${quote(second.name)}, version ${second.version}`,
      `a version of ${quote(first.name)} that is higher than ${first.version}`
    ))
