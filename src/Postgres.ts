/**
 * Prepares the statements of the stores in the `pg` driver.
 *
 * A pool names each statement that runs often, so that the server keeps its plan. That saves a quarter of the time that
 * the server takes for it.
 *
 * @since 0.1.0
 */
import { nameOf } from "./internal/sql/postgres/preparedTexts.js"

/**
 * The part of a `Pool` of the `pg` driver that {@link preparePool} needs.
 *
 * @since 0.1.0
 * @category models
 */
export interface Pool {
  readonly on: (event: "connect", listener: (client: Client) => void) => unknown
}

/**
 * The part of a `Client` of the `pg` driver that {@link preparePool} needs.
 *
 * @since 0.1.0
 * @category models
 */
export interface Client {
  readonly query: (...args: never) => unknown
}

/**
 * Prepares the loads and appends of the stores, the pages of the feed and the statements of checkpoints once on each
 * connection of a pool. The server then does not parse their texts again, which saves a quarter of its time for them.
 * Other statements are not prepared.
 *
 * Use it for connections to the server itself. A proxy that gives each transaction another connection, such as
 * PgBouncer in transaction mode, must support prepared statements.
 *
 * @example
 * ```ts
 * import { PgClient } from "@effect/sql-pg"
 * import { Effect } from "effect"
 * import { Postgres } from "effect-eventsourcing"
 * import pg from "pg"
 *
 * const PgLive = PgClient.layerFromPool({
 *   acquire: Effect.acquireRelease(
 *     Effect.sync(() => Postgres.preparePool(new pg.Pool({ connectionString: "postgres://localhost/bank" }))),
 *     (pool) => Effect.promise(() => pool.end())
 *   )
 * })
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const preparePool = <P extends Pool>(pool: P): P => {
  pool.on("connect", (client) => {
    const driver: Client = Object.getPrototypeOf(client)
    Object.assign(client, {
      query: (...args: ReadonlyArray<unknown>) => Reflect.apply(driver.query, client, named(args))
    })
  })
  return pool
}

// the arguments are a text and its values, or a configuration
const named = ([query, ...rest]: ReadonlyArray<unknown>): ReadonlyArray<unknown> => {
  if (typeof query === "string") {
    const name = nameOf(query)
    return name === undefined ? [query, ...rest] : [{ name, text: query, values: rest[0] }, ...rest.slice(1)]
  }
  // a cursor, too, has a text
  const isConfig = typeof query === "object" && query !== null && Object.getPrototypeOf(query) === Object.prototype
  const name = isConfig && "text" in query ? nameOf(query.text) : undefined
  return [name === undefined ? query : Object.assign({ name }, query), ...rest]
}
