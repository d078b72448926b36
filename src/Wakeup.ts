/**
 * Wakes the readers of the feed when events were appended, so that they need not wait for their next look.
 *
 * A wake-up is a hint. A reader that misses it looks at the feed again after `maxDelay`.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import type { EventStore } from "./EventStore.js"

/**
 * Wakes the readers of the feed. Default: the appends of the same event store in this process wake them.
 *
 * @example
 * ```ts
 * import { Wakeup } from "effect-eventsourcing"
 * import { Effect } from "effect"
 *
 * const maxDelay = Effect.map(Wakeup.Wakeup, ({ name }) => name)
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
  /** What wakes the readers, for messages. */
  readonly name: string
  /** Calls `ring` after appends, until the scope closes. */
  readonly subscribe: (events: EventStore["Type"], ring: () => void) => Effect.Effect<void, never, Scope.Scope>
}

const inProcess: Service = {
  name: "appends in this process",
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
  Context.empty().pipe(Context.add(Wakeup, { name: "polling", subscribe: () => Effect.void }))
)
