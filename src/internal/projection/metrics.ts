// The metrics of projections, which Metrics exports.
import * as Metric from "effect/Metric"
import * as Counters from "../counters.js"

/**
 * Counts events that projections and subscriptions handled in this process, tagged with `name` and `version`.
 *
 * @example
 * ```ts
 * import { Metrics } from "effect-eventsourcing"
 * import { Metric } from "effect"
 *
 * const projectionHandled = Metrics.projectionHandled.pipe(
 *   Metric.tagged("name", "balances"),
 *   Metric.tagged("version", "2"),
 *   Metric.value
 * )
 * ```
 *
 * @since 0.1.0
 * @category metrics
 */
export const projectionHandled: Metric.Metric.Counter<number> = Metric.fromMetricKey(Counters.projectionHandled)

/**
 * Counts batches and events that were not handled, tagged with `name`, `version` and `kind`: `Passing` for a failure that is
 * repeated without end, or of the checkpoint store, `Poison` for one of an event, `Inline` for one that failed a command.
 *
 * @example
 * ```ts
 * import { Metrics } from "effect-eventsourcing"
 * import { Metric } from "effect"
 *
 * const projectionFailures = Metrics.projectionFailures.pipe(
 *   Metric.tagged("name", "balances"),
 *   Metric.tagged("version", "2"),
 *   Metric.tagged("kind", "Poison"),
 *   Metric.value
 * )
 * ```
 *
 * @since 0.1.0
 * @category metrics
 */
export const projectionFailures: Metric.Metric.Counter<number> = Metric.fromMetricKey(Counters.projectionFailures)

/**
 * Counts events that were parked, tagged with `name` and `version`.
 *
 * @example
 * ```ts
 * import { Metrics } from "effect-eventsourcing"
 * import { Metric } from "effect"
 *
 * const projectionParked = Metrics.projectionParked.pipe(
 *   Metric.tagged("name", "balances"),
 *   Metric.tagged("version", "2"),
 *   Metric.value
 * )
 * ```
 *
 * @since 0.1.0
 * @category metrics
 */
export const projectionParked: Metric.Metric.Counter<number> = Metric.fromMetricKey(Counters.projectionParked)

/**
 * Counts leases that another process took from this one, tagged with `name` and `version`.
 *
 * @example
 * ```ts
 * import { Metrics } from "effect-eventsourcing"
 * import { Metric } from "effect"
 *
 * const projectionLost = Metrics.projectionLost.pipe(
 *   Metric.tagged("name", "balances"),
 *   Metric.tagged("version", "2"),
 *   Metric.value
 * )
 * ```
 *
 * @since 0.1.0
 * @category metrics
 */
export const projectionLost: Metric.Metric.Counter<number> = Metric.fromMetricKey(Counters.projectionLost)

/**
 * Shows how many partitions this process owns, tagged with `name` and `version`.
 *
 * @example
 * ```ts
 * import { Metrics } from "effect-eventsourcing"
 * import { Metric } from "effect"
 *
 * const projectionOwned = Metrics.projectionOwned.pipe(
 *   Metric.tagged("name", "balances"),
 *   Metric.tagged("version", "2"),
 *   Metric.value
 * )
 * ```
 *
 * @since 0.1.0
 * @category metrics
 */
export const projectionOwned: Metric.Metric.Gauge<number> = Metric.fromMetricKey(Counters.projectionOwned)

/**
 * Shows how many partitions no process owns, tagged with `name` and `version`. Stopped partitions are not counted.
 *
 * @example
 * ```ts
 * import { Metrics } from "effect-eventsourcing"
 * import { Metric } from "effect"
 *
 * const projectionUnowned = Metrics.projectionUnowned.pipe(
 *   Metric.tagged("name", "balances"),
 *   Metric.tagged("version", "2"),
 *   Metric.value
 * )
 * ```
 *
 * @since 0.1.0
 * @category metrics
 */
export const projectionUnowned: Metric.Metric.Gauge<number> = Metric.fromMetricKey(Counters.projectionUnowned)

/**
 * Shows how many partitions are stopped, tagged with `name` and `version`.
 *
 * @example
 * ```ts
 * import { Metrics } from "effect-eventsourcing"
 * import { Metric } from "effect"
 *
 * const projectionStopped = Metrics.projectionStopped.pipe(
 *   Metric.tagged("name", "balances"),
 *   Metric.tagged("version", "2"),
 *   Metric.value
 * )
 * ```
 *
 * @since 0.1.0
 * @category metrics
 */
export const projectionStopped: Metric.Metric.Gauge<number> = Metric.fromMetricKey(Counters.projectionStopped)

/**
 * Shows the milliseconds since the oldest event that is not handled was appended, or 0, tagged with `name`, `version` and
 * `partition`.
 *
 * @example
 * ```ts
 * import { Metrics } from "effect-eventsourcing"
 * import { Metric } from "effect"
 *
 * const projectionLag = Metrics.projectionLag.pipe(
 *   Metric.tagged("name", "balances"),
 *   Metric.tagged("version", "2"),
 *   Metric.tagged("partition", "0"),
 *   Metric.value
 * )
 * ```
 *
 * @since 0.1.0
 * @category metrics
 */
export const projectionLag: Metric.Metric.Gauge<number> = Metric.fromMetricKey(Counters.projectionLag)

/**
 * Counts appends whose events an inline projection left to the reader of the feed, because earlier events of their stream
 * were not handled yet, tagged with `name` and `version`.
 *
 * @example
 * ```ts
 * import { Metrics } from "effect-eventsourcing"
 * import { Metric } from "effect"
 *
 * const projectionDeferred = Metrics.projectionDeferred.pipe(
 *   Metric.tagged("name", "balances"),
 *   Metric.tagged("version", "2"),
 *   Metric.value
 * )
 * ```
 *
 * @since 0.1.0
 * @category metrics
 */
export const projectionDeferred: Metric.Metric.Counter<number> = Metric.fromMetricKey(Counters.projectionDeferred)

/**
 * Shows how many events of the feed are after the lowest checkpoint, as `Projections.status` found it last, tagged with
 * `name` and `version`.
 *
 * @example
 * ```ts
 * import { Metrics } from "effect-eventsourcing"
 * import { Metric } from "effect"
 *
 * const projectionRemaining = Metrics.projectionRemaining.pipe(
 *   Metric.tagged("name", "balances"),
 *   Metric.tagged("version", "2"),
 *   Metric.value
 * )
 * ```
 *
 * @since 0.1.0
 * @category metrics
 */
export const projectionRemaining: Metric.Metric.Gauge<number> = Metric.fromMetricKey(Counters.projectionRemaining)

/**
 * Shows how many events of the feed the lowest checkpoint passes in a second, as `Projections.status` found it last, tagged
 * with `name` and `version`.
 *
 * @example
 * ```ts
 * import { Metrics } from "effect-eventsourcing"
 * import { Metric } from "effect"
 *
 * const projectionRate = Metrics.projectionRate.pipe(
 *   Metric.tagged("name", "balances"),
 *   Metric.tagged("version", "2"),
 *   Metric.value
 * )
 * ```
 *
 * @since 0.1.0
 * @category metrics
 */
export const projectionRate: Metric.Metric.Gauge<number> = Metric.fromMetricKey(Counters.projectionRate)
