/**
 * Removes data that is no longer needed, in the background: snapshots of old schema versions, what is left of deleted
 * streams, parked events, and archives.
 *
 * A pass works in bounded steps, with a pause between. It may be interrupted, and may run in several processes at once:
 * each step is safe alone, and the next pass continues.
 *
 * @since 0.1.0
 */
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import { CheckpointStore } from "./CheckpointStore.js"
import { EventStore } from "./EventStore.js"
import { finiteDurationProblem } from "./internal/options.js"
import type * as Model from "./internal/retention/model.js"
import * as Checked from "./internal/retention/options.js"
import * as Pass from "./internal/retention/pass.js"
import type { InvalidOption } from "./InvalidOption.js"
import { SnapshotStore } from "./SnapshotStore.js"
import * as Streams from "./Streams.js"

export type {
  KeptReason,
  Options,
  Policies,
  Policy,
  Progress,
  Report,
  RetentionError
} from "./internal/retention/model.js"

/**
 * The options of {@link layer}.
 *
 * @since 0.1.0
 * @category models
 */
export interface LayerOptions extends Model.Options {
  /** How long it waits after a pass. Default 1 hour. */
  readonly every?: Duration.DurationInput | undefined
}

/**
 * Makes one pass, for a program that runs by a schedule of its own. A policy that fails does not keep the others from
 * their work: the pass fails with the first error at its end, and the next one continues.
 *
 * Do not run it inside a transaction.
 *
 * @example
 * ```ts
 * import { Aggregate, Retention } from "effect-eventsourcing"
 *
 * const cleanUp = (aggregates: ReadonlyArray<Aggregate.Any>) =>
 *   Retention.run({
 *     snapshots: { aggregates },
 *     tombstones: { olderThan: "30 days" },
 *     parked: { olderThan: "90 days" }
 *   })
 * ```
 *
 * @since 0.1.0
 * @category running
 */
export const run = (
  policies: Model.Policies,
  options?: Model.Options
): Effect.Effect<
  Model.Report,
  InvalidOption | Model.RetentionError,
  EventStore | SnapshotStore | CheckpointStore
> => Effect.flatten(prepare(policies, options, []))

/**
 * Makes a pass when the layer is built, and again and again until its scope closes. A pass that fails is logged and
 * counted, and the next one continues: it never fails the program.
 *
 * @example
 * ```ts
 * import { Retention, SqlStores } from "effect-eventsourcing"
 * import { Layer } from "effect"
 *
 * const RetentionLive = Retention.layer({ tombstones: { olderThan: "30 days" } }, { every: "1 hour" }).pipe(
 *   Layer.provide(SqlStores.layer)
 * )
 * ```
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = (
  policies: Model.Policies,
  options?: LayerOptions
): Layer.Layer<never, InvalidOption, EventStore | SnapshotStore | CheckpointStore> =>
  Layer.scopedDiscard(Effect.gen(function*() {
    const pass = yield* prepare(policies, options, ["every"])
    const every = options?.every ?? "1 hour"
    const problem = finiteDurationProblem("every", every)
    if (problem !== undefined) return yield* problem
    const passes = Effect.repeat(Effect.catchAllCause(pass, () => Effect.void), Schedule.spaced(every))
    yield* Effect.forkScoped(Effect.interruptible(passes))
  }))

/** Checks all that can be wrong before the first step. */
const prepare = (
  policies: Model.Policies,
  options: Model.Options | undefined,
  more: ReadonlyArray<string>
): Effect.Effect<
  Effect.Effect<Model.Report, Model.RetentionError>,
  InvalidOption,
  EventStore | SnapshotStore | CheckpointStore
> =>
  Effect.gen(function*() {
    const settings = yield* Checked.check(policies, options, more)
    const events = yield* EventStore
    const life = yield* Pass.lifeOf(events, policies)
    const streams = yield* Option.match(life, {
      onNone: () => Effect.succeedNone,
      onSome: () => Effect.asSome(Streams.make)
    })
    const stores = { events, snapshots: yield* SnapshotStore, checkpoints: yield* CheckpointStore }
    return Pass.run(stores, { life, truncate: Option.map(streams, ({ truncate }) => truncate) }, policies, settings)
  })
