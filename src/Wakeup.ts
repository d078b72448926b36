/**
 * Wakes the readers of the feed when events were appended, so that they need not wait for their next look.
 *
 * A wake-up is a hint. A reader that misses it looks at the feed again after `maxDelay`.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import { EventStore } from "./EventStore.js"
import { recordProblem, unless, waitProblem } from "./internal/options.js"
import * as FileWakeup from "./internal/projection/fileWakeup.js"
import * as PostgresWakeup from "./internal/projection/postgresWakeup.js"
import * as Signal from "./internal/signal.js"
import type { InvalidOption } from "./InvalidOption.js"

/**
 * Wakes the readers of the feed. Default: the appends of the same event store in this process wake them.
 *
 * @example
 * ```ts
 * import { Wakeup } from "effect-eventsourcing"
 * import { Effect, Layer } from "effect"
 *
 * // a message of a broker wakes the readers of each process
 * const byBroker = (onMessage: (listener: () => void) => () => void) =>
 *   Layer.succeed(Wakeup.Wakeup, {
 *     subscribe: (_, ring) =>
 *       Effect.asVoid(Effect.acquireRelease(Effect.sync(() => onMessage(ring)), (end) => Effect.sync(end)))
 *   })
 * ```
 *
 * @since 0.1.0
 * @category services
 */
export class Wakeup extends Context.Reference<Wakeup>()("effect-eventsourcing/Wakeup", {
  defaultValue: (): Service => inProcess
}) {}

/**
 * The interface of `Wakeup`.
 *
 * @since 0.1.0
 * @category models
 */
export interface Service {
  /** Calls `ring` after appends, until the scope closes. */
  readonly subscribe: (events: EventStore["Type"], ring: () => void) => Effect.Effect<void, never, Scope.Scope>
}

export type { Client, Notification } from "./internal/projection/postgresWakeup.js"

const inProcess: Service = {
  subscribe: (events, ring) =>
    Effect.asVoid(
      Effect.acquireRelease(Effect.sync(() => events.replay.onAppend(ring)), (end) => Effect.sync(end))
    )
}

/**
 * Wakes the readers after appends of the same event store in this process. This is the default.
 *
 * @example
 * ```ts
 * import { Wakeup } from "effect-eventsourcing"
 * import { Layer } from "effect"
 *
 * const quick = <A, E, R>(projections: Layer.Layer<A, E, R>) => Layer.provide(projections, Wakeup.layerMemory)
 * ```
 *
 * @since 0.1.0
 * @category layers
 */
export const layerMemory: Layer.Layer<never> = Layer.succeedContext(
  Context.empty().pipe(Context.add(Wakeup, inProcess))
)

/**
 * Wakes no reader: each looks at the feed again after the delay of its own options.
 *
 * @example
 * ```ts
 * import { Wakeup } from "effect-eventsourcing"
 * import { Layer } from "effect"
 *
 * const polling = <A, E, R>(projections: Layer.Layer<A, E, R>) => Layer.provide(projections, Wakeup.layerPolling)
 * ```
 *
 * @since 0.1.0
 * @category layers
 */
export const layerPolling: Layer.Layer<never> = Layer.succeedContext(
  Context.empty().pipe(Context.add(Wakeup, { subscribe: () => Effect.void }))
)

/**
 * Wakes the readers of all processes on one PostgreSQL database. Each process that appends or reads needs this layer. It
 * opens one connection beside the pool. A connection that is lost is opened again, and meanwhile readers look at the
 * feed themselves.
 *
 * `every` is the shortest time between two hints of a process, by default 10 milliseconds. The connection must go to the
 * server itself: a proxy such as PgBouncer in transaction mode does not pass notifications.
 *
 * Fails with `InvalidOption` if `every` or `channel` is invalid. The layer does not fail if there is no server.
 *
 * @example
 * ```ts
 * import { Wakeup } from "effect-eventsourcing"
 * import pg from "pg"
 *
 * const WakeupLive = Wakeup.layerPostgres({
 *   client: () => new pg.Client({ connectionString: "postgres://localhost/bank" })
 * })
 * ```
 *
 * @since 0.1.0
 * @category layers
 */
export const layerPostgres = (options: {
  /** Makes a client of the `pg` driver that is not connected yet. */
  readonly client: () => PostgresWakeup.Client
  readonly every?: Duration.DurationInput | undefined
  /** The channel of the notifications. Default `effect_eventsourcing`. */
  readonly channel?: string | undefined
}): Layer.Layer<never, InvalidOption, EventStore> =>
  Layer.unwrapScoped(Effect.gen(function*() {
    const { channel = "effect_eventsourcing", client, every = "10 millis" } = options
    const problem = recordProblem("the options of layerPostgres", options, ["client", "every", "channel"]) ??
      waitProblem("layerPostgres every", every) ??
      unless(typeof client === "function", "layerPostgres client", client, "a function that makes a client") ??
      unless(
        typeof channel === "string" && /^[a-z_][a-z0-9_]{0,62}$/.test(channel),
        "layerPostgres channel",
        channel,
        "an identifier of at most 63 lower case letters, digits and underscores"
      )
    if (problem !== undefined) return yield* problem
    const rings = new Set<() => void>()
    const appended = Signal.make()
    yield* inProcess.subscribe(yield* EventStore, appended.ring)
    const ring = () => rings.forEach((one) => one())
    yield* PostgresWakeup.run({ client, channel, every: Duration.decode(every), appended, ring })
    return serviceOf(rings)
  }))

/** Wakes the readers after appends of this process, and when all of these ring. */
const serviceOf = (rings: Set<() => void>): Layer.Layer<never> => {
  const service: Service = {
    subscribe: (events, ring) =>
      Effect.zipRight(
        inProcess.subscribe(events, ring),
        Effect.asVoid(
          Effect.acquireRelease(Effect.sync(() => rings.add(ring)), () => Effect.sync(() => rings.delete(ring)))
        )
      )
  }
  return Layer.succeedContext(Context.empty().pipe(Context.add(Wakeup, service)))
}

/**
 * Wakes the readers of all processes on one SQLite file. Each process that reads needs this layer; one that only appends
 * does not. The operating system reports changes of the file, so a reader that waits costs nothing. A file system that
 * reports none, such as one of another machine, leaves readers to look at the feed themselves.
 *
 * `filename` is that of the client. `every` is the shortest time between two looks that changes cause, by default 5
 * milliseconds.
 *
 * Fails with `InvalidOption` if `filename` or `every` is invalid. The layer does not fail if there is no file.
 *
 * @example
 * ```ts
 * import { Wakeup } from "effect-eventsourcing"
 *
 * const WakeupLive = Wakeup.layerSqlite({ filename: "bank.db" })
 * ```
 *
 * @since 0.1.0
 * @category layers
 */
export const layerSqlite = (options: {
  readonly filename: string
  readonly every?: Duration.DurationInput | undefined
}): Layer.Layer<never, InvalidOption> =>
  Layer.unwrapScoped(Effect.gen(function*() {
    const { every = "5 millis", filename } = options
    const problem = recordProblem("the options of layerSqlite", options, ["filename", "every"]) ??
      waitProblem("layerSqlite every", every) ??
      unless(
        typeof filename === "string" && filename !== "" && filename !== ":memory:",
        "layerSqlite filename",
        filename,
        "the name of a file, which other processes can open"
      )
    if (problem !== undefined) return yield* problem
    const rings = new Set<() => void>()
    const ring = () => rings.forEach((one) => one())
    yield* FileWakeup.run({ filename, every: Duration.decode(every), ring })
    return serviceOf(rings)
  }))
