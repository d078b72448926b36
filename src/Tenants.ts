/**
 * Keeps the stores of tenants apart: each tenant has tables, a schema or a database of its own.
 *
 * @since 0.1.0
 */
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as LayerMap from "effect/LayerMap"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import { recordProblem, requiredCount } from "./internal/options.js"
import { sha256 } from "./internal/schema/sha256.js"
import * as Slots from "./internal/tenants/slots.js"
import type { InvalidOption } from "./InvalidOption.js"

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
  const name = /^[a-z0-9]{1,30}$/.test(tenant) ? `t_${tenant}` : `h_${sha256(tenant).slice(0, 32)}`
  return options?.schema === true ? `${name}.eventsourcing` : name
}

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
