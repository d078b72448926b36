/**
 * Watches and operates projections and subscriptions: their lag, their owners, parked events, and the switch to a new
 * version.
 *
 * @since 0.1.0
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import { CheckpointStore, type CheckpointStoreError, type SubscriptionMismatch } from "./CheckpointStore.js"
import type { EventStore, EventStoreError } from "./EventStore.js"
import * as Awaiting from "./internal/projection/awaiting.js"
import { within } from "./internal/projection/handlerTimeout.js"
import * as Looking from "./internal/projection/looking.js"
import type { Key, ParkedEvent } from "./internal/projection/model.js"
import * as Parked from "./internal/projection/parked.js"
import * as Promotion from "./internal/projection/promotion.js"
import * as Status from "./internal/projection/status.js"
import type * as StatusModel from "./internal/projection/statusModel.js"
import * as Position from "./Position.js"
import type { Projection } from "./Projection.js"
import type { Subscription } from "./Subscription.js"

export { AwaitTimeout, ProjectionStopped } from "./internal/projection/awaiting.js"
export type { AwaitError } from "./internal/projection/awaiting.js"
export type { Retried } from "./internal/projection/parked.js"
export { PromotionTimeout } from "./internal/projection/promotion.js"
export type { PromotionError } from "./internal/projection/promotion.js"
export { Lag, LocalStatus, PartitionStatus, Progress, Status } from "./internal/projection/statusModel.js"

/**
 * Waits until the active version of a projection has handled the events up to a position: that of an append, or of the
 * result of a command. A command without events has no position, and is not waited for. Fails with `AwaitTimeout` after
 * `timeout`, by default 5 seconds, and with `ProjectionStopped` if the projection stopped before the position.
 *
 * @example
 * ```ts
 * import { Projections, type Repository } from "effect-eventsourcing"
 *
 * const visible = ({ position }: Pick<Repository.Executed<unknown, unknown>, "position">) =>
 *   Projections.awaitPosition("balances", position, { timeout: "2 seconds" })
 * ```
 *
 * @since 0.1.0
 * @category waiting
 */
export const awaitPosition = (
  name: string,
  position: Position.Position | Option.Option<Position.Position>,
  options?: { readonly timeout?: Duration.DurationInput | undefined }
): Effect.Effect<void, Awaiting.AwaitError, CheckpointStore> => {
  const given = typeof position === "string" ? Option.some(position) : position
  return Option.match(given, {
    onNone: () => Effect.void,
    onSome: (position) => Awaiting.awaitPosition(name, position, options?.timeout ?? "5 seconds")
  })
}

/**
 * Waits, after a command, until the active version of a projection has handled its events, and gives the result of the
 * command. A command that was executed before under its id is waited for too. A command without events is not.
 *
 * If it fails with `AwaitTimeout` (by default after 5 seconds), `ProjectionStopped` or an error of the checkpoint store,
 * the command has been executed all the same.
 *
 * @example
 * ```ts
 * import { Projections, type Repository } from "effect-eventsourcing"
 * import { Effect } from "effect"
 *
 * const visible = <S, Ev, E, R>(executed: Effect.Effect<Repository.Executed<S, Ev>, E, R>) =>
 *   executed.pipe(
 *     Projections.thenAwait("balances", { timeout: "2 seconds" }),
 *     Projections.thenAwait("history")
 *   )
 * ```
 *
 * @since 0.1.0
 * @category waiting
 */
export const thenAwait = (
  name: string,
  options?: { readonly timeout?: Duration.DurationInput | undefined }
) =>
<A extends { readonly position: Option.Option<Position.Position> }, E, R>(
  executed: Effect.Effect<A, E, R>
): Effect.Effect<A, E | Awaiting.AwaitError, R | CheckpointStore> =>
  Effect.tap(executed, ({ position }) => awaitPosition(name, position, options))

/**
 * Gives the version of a projection that readers use: the first one that was registered, until another one is promoted.
 * Queries choose their tables by it. Fails with `SubscriptionMismatch` if no version is registered.
 *
 * @example
 * ```ts
 * import { SqlClient } from "@effect/sql"
 * import { Projections } from "effect-eventsourcing"
 * import { Effect } from "effect"
 *
 * const balances = Effect.gen(function*() {
 *   const sql = yield* SqlClient.SqlClient
 *   const version = yield* Projections.activeVersion("balances")
 *   return yield* sql`SELECT * FROM ${sql(`balances_${version}`)}`
 * })
 * ```
 *
 * @since 0.1.0
 * @category rebuilding
 */
export const activeVersion = (
  name: string
): Effect.Effect<number, SubscriptionMismatch | CheckpointStoreError, CheckpointStore> =>
  Effect.flatMap(
    CheckpointStore,
    (checkpoints) => Effect.map(Looking.activeOf(checkpoints, name), ({ version }) => version)
  )

/**
 * Describes the projections and subscriptions that are registered, or those with a name: checkpoints, lag, owners,
 * stopped partitions, parked events, and the work of this process. From the second call on it knows how fast each version
 * comes nearer to the end of the feed. It sets the metrics `projectionRemaining` and `projectionRate`.
 *
 * It is cheap enough for a metrics scrape: it reads the checkpoints and the head of the feed, and counts at most 10,000
 * entries of an index for each checkpoint that is not at the head.
 *
 * @example
 * ```ts
 * import { Projections } from "effect-eventsourcing"
 * import { Effect, Option } from "effect"
 *
 * const unhealthy = Effect.map(Projections.status(), (all) =>
 *   all.filter(({ active, partitions }) =>
 *     active && partitions.some(({ owner, stopped }) => Option.isNone(owner) || Option.isSome(stopped))
 *   ))
 * ```
 *
 * @since 0.1.0
 * @category operating
 */
export const status: (
  name?: string
) => Effect.Effect<
  ReadonlyArray<StatusModel.Status>,
  CheckpointStoreError | EventStoreError,
  CheckpointStore | EventStore
> = Status.status

/**
 * Resumes the stopped partitions of a version, and returns how many there were. Their next event is tried again. Fails
 * with `SubscriptionMismatch` if the version is not registered.
 *
 * @example
 * ```ts
 * import { Projections } from "effect-eventsourcing"
 *
 * const resumed = Projections.resume({ name: "balances", version: 2 })
 * ```
 *
 * @since 0.1.0
 * @category operating
 */
export const resume = (
  key: Key
): Effect.Effect<number, SubscriptionMismatch | CheckpointStoreError, CheckpointStore> =>
  Effect.flatMap(
    CheckpointStore,
    (checkpoints) => unlessMistyped(checkpoints, key, checkpoints.resume(key), (resumed) => resumed === 0)
  )

/** An operator who mistypes a key finds nothing: this is not to look like a version without any trouble. */
const unlessMistyped = <A, E, R>(
  checkpoints: CheckpointStore["Type"],
  key: Key,
  operation: Effect.Effect<A, E, R>,
  isNothing: (result: A) => boolean
): Effect.Effect<A, E | SubscriptionMismatch | CheckpointStoreError, R> =>
  Effect.tap(operation, (result) => isNothing(result) ? Looking.versionOf(checkpoints, key) : Effect.void)

/**
 * Lists parked events in the order of their positions: by default the first 100 of them. Fails with
 * `SubscriptionMismatch` if the version is not registered.
 *
 * @example
 * ```ts
 * import { Projections } from "effect-eventsourcing"
 * import { Effect } from "effect"
 *
 * const reasons = Effect.map(
 *   Projections.parked({ name: "balances", version: 2 }),
 *   (parked) => parked.map(({ eventId, reason }) => `${eventId}: ${reason}`)
 * )
 * ```
 *
 * @since 0.1.0
 * @category operating
 */
export const parked = (
  key: Key,
  options?: { readonly after?: Position.Position | undefined; readonly limit?: number | undefined }
): Effect.Effect<ReadonlyArray<ParkedEvent>, SubscriptionMismatch | CheckpointStoreError, CheckpointStore> =>
  Effect.flatMap(CheckpointStore, (checkpoints) => {
    const page = { after: options?.after ?? Position.start, limit: options?.limit ?? 100 }
    return unlessMistyped(checkpoints, key, checkpoints.parked(key, page), (found) => found.length === 0)
  })

/**
 * Tries all parked events of a projection or a subscription again, in order. Those that are handled are no longer parked.
 * After a failure, later events of its stream are not tried. A call of the handler may take `timeout`, by default 30
 * seconds. While it runs, no partition of a projection advances. Fails with `SubscriptionMismatch` if the version is not
 * registered.
 *
 * @example
 * ```ts
 * import { type Projection, Projections } from "effect-eventsourcing"
 * import { Effect } from "effect"
 *
 * const repaired = <E, R>(projection: Projection.Projection<E, unknown, R>) =>
 *   Effect.map(Projections.retryParked(projection), ({ failed }) => failed.length === 0)
 * ```
 *
 * @since 0.1.0
 * @category operating
 */
export const retryParked = <E, Err, R>(
  definition: Projection<E, Err, R> | Subscription<E, Err, R>,
  options?: { readonly timeout?: Duration.DurationInput | undefined }
): Effect.Effect<
  Parked.Retried,
  SubscriptionMismatch | CheckpointStoreError | EventStoreError,
  CheckpointStore | EventStore | R
> => {
  const key = { name: definition.name, version: isProjection(definition) ? definition.version : 1 }
  const timeout = Duration.decode(options?.timeout ?? "30 seconds")
  const bounded = (handle: () => Effect.Effect<unknown, Err, R>) => within(Effect.suspend(handle), timeout)
  const retried = isProjection(definition)
    ? Parked.retry(
      key,
      definition.reading,
      (checkpoints, key, position, event: E) =>
        checkpoints.unpark(key, [position], bounded(() => definition.handle([event])))
    )
    : Parked.retry(
      key,
      definition.reading,
      (checkpoints, key, position, event: E) =>
        Effect.zipRight(
          bounded(() => definition.handle(event)),
          checkpoints.unpark(key, [position], Effect.void)
        )
    )
  return Effect.flatMap(
    CheckpointStore,
    (checkpoints) => unlessMistyped(checkpoints, key, retried, ({ failed, handled }) => failed.length + handled === 0)
  )
}

const isProjection = <E, Err, R>(
  definition: Projection<E, Err, R> | Subscription<E, Err, R>
): definition is Projection<E, Err, R> => "version" in definition

/**
 * Drops parked events: they are never handled. Returns whether all of them were parked; if not, none is dropped. Fails
 * with `SubscriptionMismatch` if the version is not registered.
 *
 * @example
 * ```ts
 * import { type CheckpointStore, Projections } from "effect-eventsourcing"
 *
 * const drop = ({ position }: CheckpointStore.ParkedEvent) =>
 *   Projections.dropParked({ name: "balances", version: 2 }, [position])
 * ```
 *
 * @since 0.1.0
 * @category operating
 */
export const dropParked = (
  key: Key,
  positions: ReadonlyArray<Position.Position>
): Effect.Effect<boolean, SubscriptionMismatch | CheckpointStoreError, CheckpointStore> =>
  Effect.flatMap(CheckpointStore, (checkpoints) => {
    const dropped = Effect.map(checkpoints.unpark(key, positions, Effect.void), Option.isSome)
    return unlessMistyped(checkpoints, key, dropped, (dropped) => !dropped)
  })

/**
 * Makes a version of a projection the active one, when it stands at the same position as the version that is active now.
 * `swap` runs in the same transaction: it may rename tables, or replace a view. The former version stays up to date as
 * long as its layer is in use, and is promoted in the same way if the new one disappoints.
 *
 * Fails with `PromotionTimeout` after `timeout`, by default one minute, at once with `ProjectionStopped` if one of both
 * versions is stopped, and with `SubscriptionMismatch` if the version is not registered. Then nothing has changed. If no
 * version is active, because that was removed, it does not wait for the end of the feed.
 *
 * @example
 * ```ts
 * import { SqlClient } from "@effect/sql"
 * import { Projections } from "effect-eventsourcing"
 * import { Effect } from "effect"
 *
 * const promoted = Projections.promote({ name: "balances", version: 3 }, {
 *   swap: Effect.flatMap(SqlClient.SqlClient, (sql) =>
 *     sql`CREATE OR REPLACE VIEW balances AS SELECT * FROM balances_3`)
 * })
 * ```
 *
 * @since 0.1.0
 * @category rebuilding
 */
export const promote = <E = never, R = never>(
  key: Key,
  options?: {
    readonly swap?: Effect.Effect<unknown, E, R> | undefined
    readonly timeout?: Duration.DurationInput | undefined
  }
): Effect.Effect<void, E | Promotion.PromotionError, CheckpointStore | R> =>
  Promotion.promote<unknown, E, R>(key, options?.swap ?? Effect.void, options?.timeout ?? "1 minute")

/**
 * Removes a version that is no longer used: its checkpoints and parked events. Its tables are the program's. Returns
 * whether the version existed. Fails with `SubscriptionMismatch` if it is active, or if a process works for it.
 *
 * With `active: true` it removes the active version too. This is the way back from a checkpoint of another database: stop
 * the processes, remove the version, empty its tables, and start the processes. The projection then begins again.
 *
 * @example
 * ```ts
 * import { Projections } from "effect-eventsourcing"
 *
 * const removed = Projections.remove({ name: "balances", version: 2 })
 *
 * const begunAgain = Projections.remove({ name: "balances", version: 3 }, { active: true })
 * ```
 *
 * @since 0.1.0
 * @category rebuilding
 */
export const remove = (
  key: Key,
  options?: { readonly active?: boolean | undefined }
): Effect.Effect<boolean, SubscriptionMismatch | CheckpointStoreError, CheckpointStore> =>
  Effect.flatMap(CheckpointStore, (checkpoints) => checkpoints.remove(key, { active: options?.active ?? false }))
