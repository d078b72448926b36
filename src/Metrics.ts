/**
 * The metrics of the library. Those of loads and snapshots are tagged with the name of the `aggregate`. Tags are part
 * of a metric's key: to read a metric, add its tags in the order of its docstring.
 *
 * @since 0.1.0
 */
import * as Metric from "effect/Metric"
import * as Counters from "./internal/repository/counters.js"

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
export const feedHeldBack: Metric.Metric.Gauge<number> = Metric.gauge("effect_eventsourcing_feed_held_back", {
  description: "Committed events that the feed holds back"
})

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
export const feedLag: Metric.Metric.Gauge<number> = Metric.gauge("effect_eventsourcing_feed_lag", {
  description: "Milliseconds since the oldest event that the feed holds back was appended"
})

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
