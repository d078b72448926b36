/**
 * Stores how far projections and subscriptions have read the feed, who may advance them, and the events they parked.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Option from "effect/Option"
import type { InlineClaim, InlinePositions } from "./internal/projection/inlineModel.js"
import * as Local from "./internal/projection/local.js"
import * as Memory from "./internal/projection/memory.js"
import type * as Model from "./internal/projection/model.js"
import { CheckpointStoreError, LeaseLost, SubscriptionMismatch } from "./internal/projection/storeErrors.js"
import * as Input from "./internal/projection/storeInput.js"
import type * as Position from "./Position.js"

/**
 * Stores the checkpoints of subscriptions. A projection is a subscription whose handler writes in the transaction of the
 * checkpoint.
 *
 * A subscription has a name and a version. Its streams are divided into partitions, and each partition has a checkpoint.
 * Only the owner of a partition advances its checkpoint. An owner holds a lease, by the clock of the database, and an
 * epoch, which is higher for each new owner. An owner that lost its lease writes nothing, because its epoch has passed.
 *
 * Programs use `Projection`, `Subscription` and `Projections`. This service is for authors of a backend.
 *
 * @example
 * ```ts
 * import { CheckpointStore } from "effect-eventsourcing"
 * import { Effect } from "effect"
 *
 * const names = Effect.gen(function*() {
 *   const store = yield* CheckpointStore.CheckpointStore
 *   return (yield* store.list).map(({ name, version }) => `${name} ${version}`)
 * })
 * ```
 *
 * @since 0.1.0
 * @category services
 */
export class CheckpointStore extends Context.Tag("effect-eventsourcing/CheckpointStore")<CheckpointStore, {
  /**
   * Creates the partitions of a subscription if they are missing. The first version of a name becomes the active one.
   * Fails with `SubscriptionMismatch` if the subscription is stored with another definition, or if the version is new
   * and a higher one exists. If the number of partitions differs from the stored one, the new number is only noted:
   * `repartition` changes it.
   */
  readonly register: (
    registration: Model.Registration
  ) => Effect.Effect<void, SubscriptionMismatch | CheckpointStoreError>

  /**
   * Reports that a process works for a subscription, for the time of its leases, and reads the partitions with their
   * owners.
   */
  readonly attend: (
    key: Model.Key,
    options: { readonly owner: string; readonly ttl: number }
  ) => Effect.Effect<Model.Attendance, CheckpointStoreError>

  /** Reports that a process no longer works for a subscription. It does not release leases. */
  readonly leave: (key: Model.Key, owner: string) => Effect.Effect<void, CheckpointStoreError>

  /** Takes the lease of a partition that is free and was not taken since it was read. `None` if it is not free. */
  readonly acquire: (
    key: Model.Key,
    options: { readonly owner: string; readonly ttl: number; readonly index: number; readonly of: number }
  ) => Effect.Effect<Option.Option<Model.Lease>, CheckpointStoreError>

  /** Extends a lease and reads the checkpoint. Fails with `LeaseLost` if there is a new owner. */
  readonly renew: (lease: Model.Lease, ttl: number) => Effect.Effect<Model.Lease, LeaseLost | CheckpointStoreError>

  /** Gives a lease back, so that another process can take it at once. Does nothing if the lease is lost. */
  readonly release: (lease: Model.Lease) => Effect.Effect<void, CheckpointStoreError>

  /**
   * Advances the checkpoint from the position of the lease, runs the effect, and extends the lease, in one transaction.
   * The checkpoint is first: it fails with `LeaseLost` before the effect runs if there is a new owner. Returns `Held`
   * without running the effect if the partition must not pass a position before `to`. The effect receives those of
   * `streams` from which events are parked, and whether the subscription has any inline positions.
   */
  readonly advance: <A, E, R>(
    lease: Model.Lease,
    options: Model.AdvanceOptions,
    effect: (parked: ReadonlySet<string>, someInline: boolean) => Effect.Effect<A, E, R>
  ) => Effect.Effect<Model.Advanced<A>, E | LeaseLost | CheckpointStoreError, R>

  /** Stops a partition with a reason and releases the lease. A stopped partition has no owner until `resume`. */
  readonly stop: (
    lease: Model.Lease,
    stopped: Model.Stopped
  ) => Effect.Effect<void, LeaseLost | CheckpointStoreError>

  /** Makes stopped partitions free again, and returns how many it resumed. */
  readonly resume: (key: Model.Key) => Effect.Effect<number, CheckpointStoreError>

  /** Parks events. Inside the effect of `advance` it is part of the transaction. */
  readonly park: (
    key: Model.Key,
    events: ReadonlyArray<Model.ParkedEvent>
  ) => Effect.Effect<void, CheckpointStoreError>

  /** Lists parked events in the order of their positions. */
  readonly parked: (
    key: Model.Key,
    options: {
      readonly after: Position.Position
      readonly limit: number
      /** The key of a stream, as in `ParkedEvent`. Default: all streams. */
      readonly stream?: string | undefined
    }
  ) => Effect.Effect<ReadonlyArray<Model.ParkedEvent>, CheckpointStoreError>

  /**
   * Runs an effect and unparks events, in one transaction during which no partition of the subscription advances.
   * Returns `None` without running the effect if one of the events is not parked.
   */
  readonly unpark: <A, E, R>(
    key: Model.Key,
    positions: ReadonlyArray<Position.Position>,
    effect: Effect.Effect<A, E, R>
  ) => Effect.Effect<Option.Option<A>, E | CheckpointStoreError, R>

  /**
   * Keeps all partitions of these subscriptions from passing the highest of their checkpoints, for `ttl` milliseconds,
   * and returns that position. Their owners then advance to it, and stand at the same position. A hold that is in place
   * is not lowered. It keeps no batch waiting, so a partition whose batch takes longer than a second may not be held yet:
   * call it again until all stand there.
   */
  readonly hold: (
    keys: ReadonlyArray<Model.Key>,
    ttl: number
  ) => Effect.Effect<Position.Position, CheckpointStoreError>

  /**
   * Changes the number of partitions to the one that was registered last, if all partitions are at the same position
   * and none is stopped. The new partitions have no owner and a higher epoch. Returns whether the number is now that.
   */
  readonly repartition: (key: Model.Key) => Effect.Effect<boolean, CheckpointStoreError>

  /**
   * Makes a version the active one of its name, and runs an effect in the same transaction, if all partitions of both
   * versions are at the same position. Returns `None` without running the effect if they are not. It ends the hold of
   * both versions.
   */
  readonly promote: <A, E, R>(
    key: Model.Key,
    effect: Effect.Effect<A, E, R>
  ) => Effect.Effect<Option.Option<A>, E | SubscriptionMismatch | CheckpointStoreError, R>

  /**
   * Removes a version with its checkpoints and parked events. Fails with `SubscriptionMismatch` if it has an owner, or a
   * process that reports, and if it is the active one, unless `active` is true. Then no version of the name is active.
   * Returns whether it existed.
   */
  readonly remove: (
    key: Model.Key,
    options: { readonly active: boolean }
  ) => Effect.Effect<boolean, SubscriptionMismatch | CheckpointStoreError>

  /** Lists all versions of all subscriptions with their partitions. */
  readonly list: Effect.Effect<ReadonlyArray<Model.Registered>, CheckpointStoreError>

  /** Tells whether an effect that uses this context writes into the database of the checkpoints. */
  readonly sharesDatabase: (context: Context.Context<never>) => boolean

  /** Keeps what inline projections have handled. `None` if the store has no transactions that an event store can share. */
  readonly inline: Option.Option<InlinePositions>

  /** What this process knows of its own work. A store makes it with `CheckpointStore.makeLocal`. */
  readonly local: Local.Local
}>() {}

export type {
  Advanced,
  AdvanceOptions,
  Attendance,
  Key,
  Lease,
  ParkedEvent,
  PartitionState,
  Registered,
  Registration,
  Stopped
} from "./internal/projection/model.js"

export type { InlineClaim, InlinePositions }

export type { Local, LocalReport } from "./internal/projection/local.js"

export { CheckpointStoreError, LeaseLost, SubscriptionMismatch }

/**
 * Makes what a store keeps of the work of its own process, for drivers.
 *
 * @example
 * ```ts
 * import { CheckpointStore } from "effect-eventsourcing"
 *
 * const local = CheckpointStore.makeLocal()
 * ```
 *
 * @since 0.1.0
 * @category drivers
 */
export const makeLocal: () => Local.Local = Local.make

/**
 * Makes a checkpoint store from a driver. Input that no backend can keep fails with a typed error before it reaches the
 * driver: names and owners have at most 255 bytes, and a subscription at most 1,024 partitions. Long reasons are cut.
 *
 * @example
 * ```ts
 * import { CheckpointStore } from "effect-eventsourcing"
 * import { Layer } from "effect"
 *
 * const layer = (driver: CheckpointStore.CheckpointStore["Type"]) =>
 *   Layer.succeed(CheckpointStore.CheckpointStore, CheckpointStore.makeEncoded(driver))
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const makeEncoded = (driver: CheckpointStore["Type"]): CheckpointStore["Type"] => {
  const { guard } = Input
  /** An operation on a version, or on a lease of one. */
  const on = <A, E, R>(
    operation: string,
    of: Model.Key,
    problem: () => string | undefined,
    run: () => Effect.Effect<A, E, R>
  ) => guard(operation, () => of.name, () => Input.key(of) ?? problem(), run)
  return CheckpointStore.of({
    register: (registration) =>
      on("register", registration, () => Input.registration(registration), () => driver.register(registration)),
    attend: (key, options) => on("attend", key, () => Input.member(options), () => driver.attend(key, options)),
    leave: (key, owner) => on("leave", key, () => Input.owner(owner), () => driver.leave(key, owner)),
    acquire: (key, options) => on("acquire", key, () => Input.acquisition(options), () => driver.acquire(key, options)),
    renew: (lease, ttl) =>
      on("renew", lease, () => Input.lease(lease) ?? Input.ttl(ttl), () => driver.renew(lease, ttl)),
    release: (lease) => on("release", lease, () => Input.lease(lease), () => driver.release(lease)),
    advance: (lease, options, effect) =>
      on(
        "advance",
        lease,
        () => Input.lease(lease) ?? Input.advance(lease, options),
        () => driver.advance(lease, options, effect)
      ),
    stop: (lease, stopped) =>
      on(
        "stop",
        lease,
        () => Input.lease(lease) ?? Input.stopped(stopped),
        () => driver.stop(lease, Input.readable(stopped))
      ),
    resume: (key) => on("resume", key, () => undefined, () => driver.resume(key)),
    park: (key, events) =>
      on("park", key, () => Input.events(events), () => driver.park(key, events.map(Input.readable))),
    parked: (key, options) => on("parked", key, () => Input.parked(options), () => driver.parked(key, options)),
    unpark: (key, positions, effect) =>
      on("unpark", key, () => Input.positions(positions), () => driver.unpark(key, positions, effect)),
    hold: (keys, ttl) =>
      guard("hold", () => keys[0].name, () => Input.keys(keys) ?? Input.ttl(ttl), () => driver.hold(keys, ttl)),
    repartition: (key) => on("repartition", key, () => undefined, () => driver.repartition(key)),
    promote: (key, effect) => on("promote", key, () => undefined, () => driver.promote(key, effect)),
    remove: (key, options) => on("remove", key, () => Input.removal(options), () => driver.remove(key, options)),
    list: driver.list,
    sharesDatabase: driver.sharesDatabase,
    inline: driver.inline,
    local: driver.local
  })
}

/**
 * Makes a store in memory. A failed effect of `advance` leaves the store as it was, but what the effect changed in
 * memory stays changed.
 *
 * @example
 * ```ts
 * import { CheckpointStore } from "effect-eventsourcing"
 * import { Effect } from "effect"
 *
 * const list = Effect.flatMap(CheckpointStore.makeMemory, (store) => store.list)
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const makeMemory: Effect.Effect<CheckpointStore["Type"]> = Effect.suspend(() =>
  Effect.map(Memory.make, makeEncoded)
)

/**
 * Provides a store in memory, for tests and experiments.
 *
 * @example
 * ```ts
 * import { CheckpointStore, EventStore } from "effect-eventsourcing"
 * import { Layer } from "effect"
 *
 * const StoresTest = Layer.merge(EventStore.layerMemory, CheckpointStore.layerMemory)
 * ```
 *
 * @since 0.1.0
 * @category layers
 */
export const layerMemory: Layer.Layer<CheckpointStore> = Layer.effect(CheckpointStore, makeMemory)
