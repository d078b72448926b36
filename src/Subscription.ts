/**
 * Handlers that act on the outside of the database: each event counts at least once.
 *
 * A subscription follows the feed. Its handler runs outside of any transaction: it sends a mail, calls another service,
 * or executes a command on another aggregate. The checkpoint advances after the handler. An event may therefore be
 * handled again after a crash, and its id is the key by which the outside recognises it.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type { CheckpointStore } from "./CheckpointStore.js"
import * as EventStore from "./EventStore.js"
import { requiredCount } from "./internal/options.js"
import * as Definition from "./internal/projection/definition.js"
import * as Handlers from "./internal/projection/handlers.js"
import * as Outside from "./internal/projection/outside.js"
import type { CommonOptions } from "./internal/projection/projectionOptions.js"
import * as Start from "./internal/projection/start.js"
import { quote } from "./internal/text.js"
import * as Position from "./Position.js"

/**
 * Identifies a subscription.
 *
 * @since 0.1.0
 * @category Type IDs
 */
export const TypeId: TypeId = "~effect-eventsourcing/Subscription"

/**
 * Identifies a subscription.
 *
 * @since 0.1.0
 * @category Type IDs
 */
export type TypeId = "~effect-eventsourcing/Subscription"

/**
 * The definition of a subscription. `E` is the union of the events that it handles.
 *
 * @since 0.1.0
 * @category models
 */
export interface Subscription<in out E, out Err, out R> {
  readonly [TypeId]: TypeId
  readonly name: string
  readonly from: "start" | "now"
  readonly reading: Definition.Reading<E>
  readonly handle: (event: E) => Effect.Effect<unknown, Err, R>
}

/**
 * The options of a subscription.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options extends CommonOptions {
  /**
   * The number of streams of a partition whose events are handled at the same time. The events of each stream are handled
   * in their order. Default 1.
   */
  readonly concurrency?: number | undefined
}

/**
 * Makes a subscription. Its handler is called for one event at a time, and may see an event again.
 *
 * Throws `InvalidOption` if the name, the list of aggregates or `from` is invalid.
 *
 * @example
 * ```ts
 * import { Effect, Either, Schema } from "effect"
 * import { Aggregate, Subscription } from "effect-eventsourcing"
 *
 * const Order = Aggregate.make({
 *   name: "Order",
 *   id: Schema.NonEmptyString,
 *   state: Schema.Boolean,
 *   event: Schema.TaggedStruct("Shipped", { carrier: Schema.String }),
 *   command: Schema.TaggedStruct("Ship", { carrier: Schema.String }),
 *   initial: () => false,
 *   evolve: () => true,
 *   decide: (_, { carrier }) => Either.right([{ _tag: "Shipped", carrier }])
 * })
 *
 * const Mails = Subscription.make({
 *   name: "mails",
 *   on: [Order],
 *   from: "now",
 *   handle: ({ aggregateId, event, id }) => Effect.log(`mail ${id}: ${aggregateId} goes by ${event.carrier}`)
 * })
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = <const Sources extends ReadonlyArray<Definition.Source>, Err, R>(definition: {
  readonly name: string
  /** The aggregates whose events are handled, or some of their events, see `Projection.only`. */
  readonly on: Sources
  /**
   * Where the subscription begins when it is registered first: at the first event of the store, or at the end of the feed.
   * An event whose transaction is open then is handled, and so is one that the feed does not show yet because of another
   * open transaction. Later the subscription continues at its checkpoint.
   */
  readonly from: "start" | "now"
  readonly handle: (event: Definition.Of<Sources[number]>) => Effect.Effect<unknown, Err, R>
}): Subscription<Definition.Of<Sources[number]>, Err, R> => {
  const { from, handle, name, on } = definition
  Definition.checkName("Subscription.make", name, 1)
  if (from !== "start" && from !== "now") {
    throw Definition.refuse(subjectOf(name), "from", quote(from), "\"start\" or \"now\"")
  }
  return { [TypeId]: TypeId, name, from, reading: Definition.reading(subjectOf(name), on), handle }
}

/**
 * Makes a subscription of one function for each event tag of each aggregate.
 *
 * Throws `InvalidOption` like {@link make}, or if a tag has no function.
 *
 * @example
 * ```ts
 * import { Effect, Either, Schema } from "effect"
 * import { Aggregate, Subscription } from "effect-eventsourcing"
 *
 * const Order = Aggregate.make({
 *   name: "Order",
 *   id: Schema.NonEmptyString,
 *   state: Schema.Boolean,
 *   event: Schema.TaggedStruct("Shipped", { carrier: Schema.String }),
 *   command: Schema.TaggedStruct("Ship", { carrier: Schema.String }),
 *   initial: () => false,
 *   evolve: () => true,
 *   decide: (_, { carrier }) => Either.right([{ _tag: "Shipped", carrier }])
 * })
 *
 * const Mails = Subscription.makeByTag({
 *   name: "mails",
 *   on: [Order],
 *   from: "now",
 *   handlers: { Order: { Shipped: ({ aggregateId }) => Effect.log(`mail for ${aggregateId}`) } }
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
  /** The aggregates whose events are handled, or some of their events, see `Projection.only`. */
  readonly on: Sources
  /** Where the subscription begins when it is registered first, see {@link make}. */
  readonly from: "start" | "now"
  /** One function for each event tag of each aggregate. */
  readonly handlers: H
}): Subscription<Definition.Of<Sources[number]>, Handlers.ErrorOf<H>, Handlers.ContextOf<H>> => {
  const { from, handlers, name, on } = definition
  return make({ name, on, from, handle: Handlers.dispatcher(subjectOf(name), on, handlers) })
}

const subjectOf = (name: unknown): string => `Subscription.make of ${quote(name)}`

/**
 * Handles the events of a subscription while the layer is in use.
 *
 * If several processes provide the layer, each partition has one owner at a time. When the layer is closed, the handlers
 * in progress may end, and other processes take over at once.
 *
 * Building the layer fails with `InvalidOption`, with `SubscriptionMismatch` if a projection has this name, or with the
 * error of a store. After that it does not fail: failures that pass are repeated, an event that cannot be handled is
 * treated as the option `poison` says, and `Projections.status` shows both.
 *
 * @example
 * ```ts
 * import { Effect, Either, Layer, Schema } from "effect"
 * import { Aggregate, CheckpointStore, EventStore, Subscription } from "effect-eventsourcing"
 *
 * const Order = Aggregate.make({
 *   name: "Order",
 *   id: Schema.NonEmptyString,
 *   state: Schema.Boolean,
 *   event: Schema.TaggedStruct("Shipped", { carrier: Schema.String }),
 *   command: Schema.TaggedStruct("Ship", { carrier: Schema.String }),
 *   initial: () => false,
 *   evolve: () => true,
 *   decide: (_, { carrier }) => Either.right([{ _tag: "Shipped", carrier }])
 * })
 *
 * const Mails = Subscription.make({
 *   name: "mails",
 *   on: [Order],
 *   from: "start",
 *   handle: ({ aggregateId }) => Effect.log(`mail for ${aggregateId}`)
 * })
 *
 * const MailsTest = Subscription.layer(Mails, { concurrency: 4, poison: "parkStream" }).pipe(
 *   Layer.provideMerge(Layer.merge(EventStore.layerMemory, CheckpointStore.layerMemory))
 * )
 * ```
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = <E, Err, R>(
  subscription: Subscription<E, Err, R>,
  options?: Options
): Layer.Layer<never, Start.StartError, EventStore.EventStore | CheckpointStore | R> =>
  Layer.scopedDiscard(Effect.suspend(() => {
    const { from, handle, name, reading } = subscription
    const { concurrency = 1, ...common } = { ...options }
    const problem = requiredCount(`Subscription ${quote(name)} concurrency`, concurrency)
    if (problem !== undefined) return problem
    return Start.start({
      kind: "Subscription",
      name,
      version: 1,
      reading,
      deliver: Outside.make({ handle, concurrency }),
      from: from === "start"
        ? Effect.succeed(Position.start)
        : Effect.flatMap(EventStore.EventStore, ({ head }) => head)
    }, common)
  }))
