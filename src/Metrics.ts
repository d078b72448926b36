/**
 * The metrics of the library. Those of loads and snapshots are tagged with the name of the `aggregate`.
 *
 * @since 0.1.0
 */
import * as Metric from "effect/Metric"
import * as Counters from "./internal/repository/counters.js"

/**
 * Counts loads, tagged with `outcome`: `Hit`, `Migrated`, `Drifted`, `None`, `Disabled` or the tag of a
 * `SnapshotFailure`.
 *
 * @since 0.1.0
 * @category metrics
 */
export const snapshotLoads: Metric.Metric.Counter<number> = Metric.fromMetricKey(Counters.snapshotLoads)

/**
 * Counts saves that failed, in sync and in background mode.
 *
 * @since 0.1.0
 * @category metrics
 */
export const snapshotSaveFailures: Metric.Metric.Counter<number> = Metric.fromMetricKey(Counters.snapshotSaveFailures)

/**
 * Counts saves that succeeded, in sync and in background mode.
 *
 * @since 0.1.0
 * @category metrics
 */
export const snapshotSaves: Metric.Metric.Counter<number> = Metric.fromMetricKey(Counters.snapshotSaves)

/**
 * Counts due snapshots that were dropped. In background mode the queue was full or closed. In sync mode earlier saves
 * still hang.
 *
 * @since 0.1.0
 * @category metrics
 */
export const snapshotsDropped: Metric.Metric.Counter<number> = Metric.fromMetricKey(Counters.snapshotsDropped)

/**
 * Shows the number of streams whose background snapshot waits or is being written.
 *
 * @since 0.1.0
 * @category metrics
 */
export const snapshotsPending: Metric.Metric.Gauge<number> = Metric.fromMetricKey(Counters.snapshotsPending)

/**
 * Shows how many committed events `readAll` holds back. It holds an event back while a transaction that began before it is
 * open: that transaction may still commit an event with a lower position. The gauge is set when a read reaches the end of
 * the feed, counts up to 10,000, and is tagged with the table of the `events`. PostgreSQL only.
 *
 * @since 0.1.0
 * @category metrics
 */
export const feedHeldBack: Metric.Metric.Gauge<number> = Metric.gauge("effect_eventsourcing_feed_held_back", {
  description: "Committed events that the feed holds back"
})

/**
 * Shows the age, in milliseconds, of the oldest event that `readAll` holds back. It is 0 while `readAll` holds back none.
 *
 * @since 0.1.0
 * @category metrics
 */
export const feedLag: Metric.Metric.Gauge<number> = Metric.gauge("effect_eventsourcing_feed_lag", {
  description: "Milliseconds since the oldest event that the feed holds back was appended"
})

/**
 * Counts verifications of sampled loads, tagged with `outcome`: `Verified`, `Refuted`, `NoSnapshot` (the snapshot was gone
 * by then), `Failed`, or `Skipped` (too many were waiting, or the budget was spent).
 *
 * @since 0.1.0
 * @category metrics
 */
export const snapshotVerifications: Metric.Metric.Counter<number> = Metric.fromMetricKey(Counters.snapshotVerifications)

/**
 * Counts look-ups in the state cache of a repository, tagged with `outcome`: `Hit`, `Miss`, or `Stale` (the stream no
 * longer has the history of the cached state, or grew by more than a page).
 *
 * @since 0.1.0
 * @category metrics
 */
export const stateCache: Metric.Metric.Counter<number> = Metric.fromMetricKey(Counters.stateCache)
