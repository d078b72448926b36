/**
 * The metrics of the library. Those of commands, loads and snapshots are tagged with the name of the `aggregate`. Tags
 * are part of a metric's key: to read a metric, add its tags in the order of its docstring.
 *
 * The metrics of commands are off unless {@link layerCommandMetrics} is provided to the repository.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Layer from "effect/Layer"
import * as Metric from "effect/Metric"
import * as Counters from "./internal/counters.js"

/**
 * Counts loads, tagged with `aggregate` and `outcome`: `Hit`, `Migrated`, `Drifted`, `None`, `Disabled`, or the tag of
 * a `SnapshotFailure`.
 *
 * @example
 * ```ts
 * import { Metrics } from "effect-eventsourcing"
 * import { Metric } from "effect"
 *
 * const snapshotLoads = Metrics.snapshotLoads.pipe(
 *   Metric.tagged("aggregate", "Account"),
 *   Metric.tagged("outcome", "Hit"),
 *   Metric.value
 * )
 * ```
 *
 * @since 0.1.0
 * @category metrics
 */
export const snapshotLoads: Metric.Metric.Counter<number> = Metric.fromMetricKey(Counters.snapshotLoads)

/**
 * Counts saves that failed, in sync and in background mode.
 *
 * @example
 * ```ts
 * import { Metrics } from "effect-eventsourcing"
 * import { Metric } from "effect"
 *
 * const snapshotSaveFailures = Metric.value(Metric.tagged(Metrics.snapshotSaveFailures, "aggregate", "Account"))
 * ```
 *
 * @since 0.1.0
 * @category metrics
 */
export const snapshotSaveFailures: Metric.Metric.Counter<number> = Metric.fromMetricKey(Counters.snapshotSaveFailures)

/**
 * Counts saves that succeeded, in sync and in background mode.
 *
 * @example
 * ```ts
 * import { Metrics } from "effect-eventsourcing"
 * import { Metric } from "effect"
 *
 * const snapshotSaves = Metric.value(Metric.tagged(Metrics.snapshotSaves, "aggregate", "Account"))
 * ```
 *
 * @since 0.1.0
 * @category metrics
 */
export const snapshotSaves: Metric.Metric.Counter<number> = Metric.fromMetricKey(Counters.snapshotSaves)

/**
 * Counts due snapshots that were dropped: in background mode because the queue was full or closed, in sync mode because
 * earlier saves still hang.
 *
 * @example
 * ```ts
 * import { Metrics } from "effect-eventsourcing"
 * import { Metric } from "effect"
 *
 * const snapshotsDropped = Metric.value(Metric.tagged(Metrics.snapshotsDropped, "aggregate", "Account"))
 * ```
 *
 * @since 0.1.0
 * @category metrics
 */
export const snapshotsDropped: Metric.Metric.Counter<number> = Metric.fromMetricKey(Counters.snapshotsDropped)

/**
 * Shows the number of streams whose background snapshot waits or is being written.
 *
 * @example
 * ```ts
 * import { Metrics } from "effect-eventsourcing"
 * import { Metric } from "effect"
 *
 * const snapshotsPending = Metric.value(Metric.tagged(Metrics.snapshotsPending, "aggregate", "Account"))
 * ```
 *
 * @since 0.1.0
 * @category metrics
 */
export const snapshotsPending: Metric.Metric.Gauge<number> = Metric.fromMetricKey(Counters.snapshotsPending)

/**
 * Shows the number of committed events that the feed holds back, up to 10,000. The feed holds an event back while a
 * transaction that began before it is open, because that transaction may commit an event with a lower position. A read
 * that reaches the end of the feed sets the gauge. It is tagged with the table of the `events`. PostgreSQL only.
 *
 * @example
 * ```ts
 * import { Metrics } from "effect-eventsourcing"
 * import { Metric } from "effect"
 *
 * const feedHeldBack = Metric.value(Metric.tagged(Metrics.feedHeldBack, "events", "eventsourcing_events"))
 * ```
 *
 * @since 0.1.0
 * @category metrics
 */
export const feedHeldBack: Metric.Metric.Gauge<number> = Metric.fromMetricKey(Counters.feedHeldBack)

/**
 * Shows the age, in milliseconds, of the oldest event that the feed holds back, or 0 if it holds back none. It is set
 * and tagged like {@link feedHeldBack}.
 *
 * @example
 * ```ts
 * import { Metrics } from "effect-eventsourcing"
 * import { Metric } from "effect"
 *
 * const feedLag = Metric.value(Metric.tagged(Metrics.feedLag, "events", "eventsourcing_events"))
 * ```
 *
 * @since 0.1.0
 * @category metrics
 */
export const feedLag: Metric.Metric.Gauge<number> = Metric.fromMetricKey(Counters.feedLag)

export {
  projectionDeferred,
  projectionFailures,
  projectionHandled,
  projectionLag,
  projectionLost,
  projectionOwned,
  projectionParked,
  projectionRate,
  projectionRemaining,
  projectionStopped,
  projectionUnowned
} from "./internal/projection/metrics.js"

/**
 * Counts verifications of sampled loads, tagged with `aggregate` and `outcome`: `Verified`, `Refuted`, `NoSnapshot`
 * (the snapshot is gone), `Failed`, or `Skipped` (too many were waiting, or the budget was spent).
 *
 * @example
 * ```ts
 * import { Metrics } from "effect-eventsourcing"
 * import { Metric } from "effect"
 *
 * const snapshotVerifications = Metrics.snapshotVerifications.pipe(
 *   Metric.tagged("aggregate", "Account"),
 *   Metric.tagged("outcome", "Refuted"),
 *   Metric.value
 * )
 * ```
 *
 * @since 0.1.0
 * @category metrics
 */
export const snapshotVerifications: Metric.Metric.Counter<number> = Metric.fromMetricKey(Counters.snapshotVerifications)

/**
 * Counts look-ups in the state cache of a repository, tagged with `aggregate` and `outcome`: `Hit`, `Miss`, or `Stale`
 * (the stream no longer has the history of the cached state, or grew by more than a page).
 *
 * @example
 * ```ts
 * import { Metrics } from "effect-eventsourcing"
 * import { Metric } from "effect"
 *
 * const stateCache = Metrics.stateCache.pipe(
 *   Metric.tagged("aggregate", "Account"),
 *   Metric.tagged("outcome", "Hit"),
 *   Metric.value
 * )
 * ```
 *
 * @since 0.1.0
 * @category metrics
 */
export const stateCache: Metric.Metric.Counter<number> = Metric.fromMetricKey(Counters.stateCache)

/**
 * Counts commands, tagged with `aggregate`, `command` and `outcome`. Off by default, see {@link CommandMetrics}.
 *
 * `command` is the `_tag` of the command, or `unknown` if the command schema declares no such tag. `outcome` is
 * `Committed`, `Duplicate` (an earlier try had appended the events), `Empty` (no events were decided), `Rejected`,
 * `Conflict`, `Interrupted` or `Failed`. Each command of `executeAll` has the outcome of the whole. `Committed` inside a
 * transaction of the caller means appended: the transaction may still be rolled back.
 *
 * @example
 * ```ts
 * import { Metrics } from "effect-eventsourcing"
 * import { Metric } from "effect"
 *
 * const rejectedWithdrawals = Metrics.commands.pipe(
 *   Metric.tagged("aggregate", "Account"),
 *   Metric.tagged("command", "Withdraw"),
 *   Metric.tagged("outcome", "Rejected"),
 *   Metric.value
 * )
 * ```
 *
 * @since 0.1.0
 * @category metrics
 */
export const commands: Metric.Metric.Counter<number> = Metric.fromMetricKey(Counters.commands)

/**
 * Counts the appends of commands that failed because another writer had appended first. It also counts those of
 * commands that then succeeded. Off by default, see {@link CommandMetrics}.
 *
 * @example
 * ```ts
 * import { Metrics } from "effect-eventsourcing"
 * import { Metric } from "effect"
 *
 * const commandConflicts = Metric.value(Metric.tagged(Metrics.commandConflicts, "aggregate", "Account"))
 * ```
 *
 * @since 0.1.0
 * @category metrics
 */
export const commandConflicts: Metric.Metric.Counter<number> = Metric.fromMetricKey(Counters.commandConflicts)

/**
 * Shows how many attempts commands took: 1, and 1 more for each lost race after which the command was decided again. A
 * command that is refused because of its expected version has 1 attempt. Off by default, see {@link CommandMetrics}.
 *
 * @example
 * ```ts
 * import { Metrics } from "effect-eventsourcing"
 * import { Metric } from "effect"
 *
 * const commandAttempts = Metric.value(Metric.tagged(Metrics.commandAttempts, "aggregate", "Account"))
 * ```
 *
 * @since 0.1.0
 * @category metrics
 */
export const commandAttempts: Metric.Metric.Histogram<number> = Metric.fromMetricKey(Counters.commandAttempts)

/**
 * Shows the durations, in milliseconds, of `load` and of the loads of commands, including those that failed. The loads
 * of background snapshots and verifications are not included. Off by default, see {@link CommandMetrics}.
 *
 * @example
 * ```ts
 * import { Metrics } from "effect-eventsourcing"
 * import { Metric } from "effect"
 *
 * const loadDuration = Metric.value(Metric.tagged(Metrics.loadDuration, "aggregate", "Account"))
 * ```
 *
 * @since 0.1.0
 * @category metrics
 */
export const loadDuration: Metric.Metric.Histogram<number> = Metric.fromMetricKey(Counters.loadDuration)

/**
 * Shows the durations of the appends of commands in milliseconds, including those that failed. Off by default, see
 * {@link CommandMetrics}.
 *
 * @example
 * ```ts
 * import { Metrics } from "effect-eventsourcing"
 * import { Metric } from "effect"
 *
 * const appendDuration = Metric.value(Metric.tagged(Metrics.appendDuration, "aggregate", "Account"))
 * ```
 *
 * @since 0.1.0
 * @category metrics
 */
export const appendDuration: Metric.Metric.Histogram<number> = Metric.fromMetricKey(Counters.appendDuration)

/**
 * Counts the rows that retention removed, tagged with `policy`: `snapshots`, `tombstones` or `parked`.
 *
 * @example
 * ```ts
 * import { Metrics } from "effect-eventsourcing"
 * import { Metric } from "effect"
 *
 * const retentionRemoved = Metric.value(Metric.tagged(Metrics.retentionRemoved, "policy", "tombstones"))
 * ```
 *
 * @since 0.1.0
 * @category metrics
 */
export const retentionRemoved: Metric.Metric.Counter<number> = Metric.fromMetricKey(Counters.retentionRemoved)

/**
 * Counts the policies of retention that failed in a pass, tagged with `policy`.
 *
 * @example
 * ```ts
 * import { Metrics } from "effect-eventsourcing"
 * import { Metric } from "effect"
 *
 * const retentionFailures = Metric.value(Metric.tagged(Metrics.retentionFailures, "policy", "tombstones"))
 * ```
 *
 * @since 0.1.0
 * @category metrics
 */
export const retentionFailures: Metric.Metric.Counter<number> = Metric.fromMetricKey(Counters.retentionFailures)

/**
 * Tells whether a repository counts its commands and measures their loads and appends. A repository reads it when it is
 * made. Default: `false`, because every command pays for the measurements.
 *
 * @example
 * ```ts
 * import { Metrics } from "effect-eventsourcing"
 * import { Effect } from "effect"
 *
 * const measured = Effect.provideService(Metrics.CommandMetrics, true)
 * ```
 *
 * @since 0.1.0
 * @category references
 */
export class CommandMetrics extends Context.Reference<CommandMetrics>()(
  "effect-eventsourcing/Metrics/CommandMetrics",
  { defaultValue: (): boolean => false }
) {}

/**
 * Turns on the metrics of commands in the repositories to which it is provided.
 *
 * @example
 * ```ts
 * import { Aggregate, EventStore, Metrics, Repository, SnapshotStore } from "effect-eventsourcing"
 * import { Context, Either, Layer, Schema } from "effect"
 *
 * const Counter = Aggregate.make({
 *   name: "Counter",
 *   id: Schema.String,
 *   state: Schema.Int,
 *   event: Schema.TaggedStruct("Counted", {}),
 *   command: Schema.TaggedStruct("Count", {}),
 *   initial: () => 0,
 *   evolve: (state) => state + 1,
 *   decide: () => Either.right([{ _tag: "Counted" }])
 * })
 *
 * class Counters extends Context.Tag("app/Counters")<Counters, Repository.Repository<typeof Counter>>() {}
 *
 * const CountersLive = Repository.layer(Counters, Counter).pipe(
 *   Layer.provide([EventStore.layerMemory, SnapshotStore.layerMemory, Metrics.layerCommandMetrics])
 * )
 * ```
 *
 * @since 0.1.0
 * @category layers
 */
export const layerCommandMetrics: Layer.Layer<CommandMetrics> = Layer.succeed(CommandMetrics, true)
