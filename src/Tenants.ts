/**
 * Keeps the stores of tenants apart: each tenant has tables, a schema or a database of its own. Tenants that share tables
 * are told apart by the metadata of events.
 *
 * @since 0.1.0
 */
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { dual } from "effect/Function"
import * as Layer from "effect/Layer"
import * as LayerMap from "effect/LayerMap"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as Event from "./Event.js"
import type * as EventStore from "./EventStore.js"
import { isRecord, recordProblem, requiredCount, unless } from "./internal/options.js"
import { sha256 } from "./internal/schema/sha256.js"
import * as Tenant from "./internal/store/tenant.js"
import type { RemovedStream, RemoveError } from "./internal/tenants/removing.js"
import * as Removing from "./internal/tenants/removing.js"
import * as Slots from "./internal/tenants/slots.js"
import { hasLoneSurrogate } from "./internal/text.js"
import { InvalidOption } from "./InvalidOption.js"
import type * as Streams from "./Streams.js"

export type { RemovedStream, RemoveError }

/**
 * Gives the prefix of a tenant's tables. Two tenants never have the same one, and it never begins as that of another
 * does. A name of up to 30 small letters and digits stands in it as it is. Any other name is hashed, because a database
 * does not tell all names apart.
 *
 * With a `schema`, the tables are in a schema for each tenant, on PostgreSQL.
 *
 * @example
 * ```ts
 * import { SqlStores, Tenants } from "effect-eventsourcing"
 *
 * const storesOf = (tenant: string) => SqlStores.layerWith({ prefix: Tenants.prefixOf(tenant) })
 * ```
 *
 * @since 0.1.0
 * @category naming
 */
export const prefixOf = (tenant: string, options?: { readonly schema?: boolean | undefined }): string => {
  const name = /^[a-z0-9]{1,30}$/.test(tenant) ? `t_${tenant}` : hashOf(tenant)
  return options?.schema === true ? `${name}.eventsourcing` : name
}

// UTF-8 has no lone surrogates: two names with different ones would have one hash
const hashOf = (tenant: string): string =>
  hasLoneSurrogate(tenant) ? `s_${hash(JSON.stringify(tenant))}` : `h_${hash(tenant)}`

const hash = (text: string): string => sha256(text).slice(0, 32)

/**
 * The layers of tenants, opened when they are needed.
 *
 * @since 0.1.0
 * @category models
 */
export interface Tenants<in Tenant, in out Services, out E> {
  /**
   * Provides the services of a tenant. If they are not open, they are opened. If as many tenants as may be open are in
   * use, the layer waits until one of them is not.
   */
  readonly get: (tenant: Tenant) => Layer.Layer<Services, E | TenantsExhausted>
}

/**
 * Signals that a tenant could not be opened in time, because as many tenants as may be open were in use.
 *
 * @example
 * ```ts
 * import type { Tenants } from "effect-eventsourcing"
 * import { Effect } from "effect"
 *
 * const handled = <A>(effect: Effect.Effect<A, Tenants.TenantsExhausted>) =>
 *   Effect.catchTag(effect, "TenantsExhausted", ({ mostOpen }) => Effect.log(`all ${mostOpen} tenants are in use`))
 * ```
 *
 * @since 0.1.0
 * @category errors
 */
export class TenantsExhausted extends Schema.TaggedError<TenantsExhausted>("effect-eventsourcing/TenantsExhausted")(
  "TenantsExhausted",
  { mostOpen: Schema.Number }
) {
  /** @since 0.1.0 */
  override get message(): string {
    return `${this.mostOpen} tenants are open and in use: raise mostOpen, or end their use sooner`
  }
}

/**
 * The options of {@link make}.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options {
  /** How many tenants may be open at the same time, which bounds the connections. */
  readonly mostOpen: number
  /** How long a tenant that is not in use stays open, unless its place is needed. Default one minute. */
  readonly idleTimeToLive?: Duration.DurationInput | undefined
  /** How long a tenant waits for its place. Default 30 seconds. */
  readonly timeout?: Duration.DurationInput | undefined
}

/**
 * Makes layers for tenants that each have a database of their own, with a bound on how many are open. If the bound is
 * reached, the tenant that was not in use for the longest time is closed. Fails with `InvalidOption` if `mostOpen` is not
 * a positive integer.
 *
 * Tenants with tables or schemas in one database share its client, so `effect/LayerMap` is enough for them.
 *
 * @example
 * ```ts
 * import { Sqlite, SqlStores, Tenants } from "effect-eventsourcing"
 * import { SqliteClient } from "@effect/sql-sqlite-node"
 * import { Layer } from "effect"
 *
 * const tenants = Tenants.make(
 *   (tenant: string) =>
 *     Layer.provide(
 *       SqlStores.layer,
 *       Sqlite.layer(SqliteClient.layer, { filename: `${Tenants.prefixOf(tenant)}.db` })
 *     ),
 *   { mostOpen: 50 }
 * )
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = <Tenant, Services, E, R>(
  layerOf: (tenant: Tenant) => Layer.Layer<Services, E, R>,
  options: Options
): Effect.Effect<Tenants<Tenant, Services, E>, InvalidOption, R | Scope.Scope> =>
  Effect.gen(function*() {
    const problem = recordProblem("options of Tenants.make", options, ["mostOpen", "idleTimeToLive", "timeout"]) ??
      requiredCount("mostOpen", options.mostOpen)
    if (problem !== undefined) return yield* problem
    const { idleTimeToLive = "1 minute", mostOpen, timeout = "30 seconds" } = options
    const slots = Slots.make<Tenant>(mostOpen, (tenant) => map.invalidate(tenant))
    const map: LayerMap.LayerMap<Tenant, Services, E | TenantsExhausted> = yield* LayerMap.make(
      (tenant: Tenant) =>
        Layer.unwrapScoped(Effect.as(
          Effect.timeoutFail(slots.take(tenant), {
            duration: timeout,
            onTimeout: () => new TenantsExhausted({ mostOpen })
          }),
          Layer.fresh(layerOf(tenant))
        )),
      { idleTimeToLive }
    )
    return {
      get: (tenant) =>
        Layer.unwrapScoped(Effect.as(
          slots.use(tenant),
          // the map would keep the failure
          Layer.tapErrorCause(map.get(tenant), () => map.invalidate(tenant))
        ))
    }
  })

/**
 * Sets the tenant of all events that an effect appends, for tenants that share tables: it adds `tenant` to
 * `Event.CurrentMetadata`. The filter `tenant` of `EventStore.readPage` and `readAll` finds them.
 *
 * It says whose the events are, and protects nothing: a command of one tenant that is given the id of another tenant's
 * aggregate loads it. Make the tenant a part of the id, too.
 *
 * Fails with `InvalidOption` if the tenant is empty, longer than 255 bytes, or has control characters or lone surrogates.
 *
 * @example
 * ```ts
 * import { Tenants } from "effect-eventsourcing"
 * import { Effect } from "effect"
 *
 * const handled = <A, E, R>(tenant: string, request: Effect.Effect<A, E, R>) =>
 *   Effect.catchTag(Tenants.inTenant(request, tenant), "InvalidOption", () => Effect.log("there is no such tenant"))
 * ```
 *
 * @since 0.1.0
 * @category shared tables
 */
export const inTenant: {
  (tenant: string): <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E | InvalidOption, R>
  <A, E, R>(effect: Effect.Effect<A, E, R>, tenant: string): Effect.Effect<A, E | InvalidOption, R>
} = dual(2, <A, E, R>(effect: Effect.Effect<A, E, R>, tenant: string): Effect.Effect<A, E | InvalidOption, R> => {
  const problem = nameProblem(tenant)
  if (problem !== undefined) return problem
  return Effect.flatMap(
    Event.CurrentMetadata,
    (metadata) => Effect.provideService(effect, Event.CurrentMetadata, { ...metadata, tenant })
  )
})

/**
 * Removes the streams of a tenant that shares tables, by `Streams.delete`, one after the other. Each stream that has events
 * of the tenant gives an element. A stream that has events of another tenant too is left as it is, and is `Shared`.
 *
 * Consumers of the feed get the marker of each stream, which has the tenant in its metadata. The removal can end at any
 * time and run again: it finds those that are left. The commands of the tenant must have ended before, because a command
 * may begin a new stream behind it. Create the index with `SqlMigrations.indexTenants` first.
 *
 * Fails with `InvalidOption` if the tenant cannot be one, or with the errors of the stores.
 *
 * @example
 * ```ts
 * import { Tenants } from "effect-eventsourcing"
 * import { Effect, Stream } from "effect"
 *
 * const leave = (tenant: string) =>
 *   Tenants.removeStreams(tenant, { metadata: { reason: "the contract has ended" } }).pipe(
 *     Stream.filter(({ outcome }) => outcome === "Shared"),
 *     Stream.runForEach(({ stream }) => Effect.logWarning("a stream has events of other tenants too", stream))
 *   )
 * ```
 *
 * @since 0.1.0
 * @category shared tables
 */
export const removeStreams = (tenant: string, options?: {
  /** Metadata of the markers, such as who removes the tenant and why. */
  readonly metadata?: Event.Metadata | undefined
}): Stream.Stream<RemovedStream, InvalidOption | RemoveError, EventStore.EventStore | Streams.Streams> => {
  const metadata = options?.metadata
  const problem = nameProblem(tenant) ??
    recordProblem("options of Tenants.removeStreams", options, ["metadata"]) ??
    unless(metadata === undefined || isRecord(metadata), "metadata", metadata, "an object")
  return problem === undefined ? Removing.removeStreams(tenant, metadata ?? {}) : Stream.fail(problem)
}

// the name itself is not shown: it comes from outside
const nameProblem = (tenant: unknown): InvalidOption | undefined => {
  const problem = Tenant.problem(tenant)
  return problem === undefined ? undefined : new InvalidOption({
    option: "tenant",
    value: `a value that ${problem}`,
    expected: "a text of 1 to 255 bytes without control characters and lone surrogates"
  })
}
