/**
 * What the library counts. The metrics of loads and snapshots are tagged with the `aggregate`.
 *
 * @since 0.1.0
 */
import * as Metric from "effect/Metric"
import * as MetricKey from "effect/MetricKey"
import * as MetricLabel from "effect/MetricLabel"

// a counter with tags of its own looks itself up at every update; one made from a key does so once
const snapshotLoadsKey = MetricKey.counter("effect_eventsourcing_snapshot_loads", {
  description: "Loads of aggregates by what became of their snapshot",
  incremental: true
})

const snapshotVerificationsKey = MetricKey.counter(
  "effect_eventsourcing_snapshot_verifications",
  { description: "Sampled loads by what full replay said of their snapshot", incremental: true }
)

const stateCacheKey = MetricKey.counter("effect_eventsourcing_state_cache", {
  description: "Loads of aggregates by what they found in the state cache",
  incremental: true
})

/**
 * How loads ended, tagged with `outcome`: `Hit`, `Migrated`, `Drifted`, `None`, `Disabled` or the tag of a
 * `SnapshotFailure`.
 *
 * @since 0.1.0
 * @category metrics
 */
export const snapshotLoads: Metric.Metric.Counter<number> = Metric.fromMetricKey(snapshotLoadsKey)

/**
 * Saves that failed, in sync and in background mode.
 *
 * @since 0.1.0
 * @category metrics
 */
export const snapshotSaveFailures: Metric.Metric.Counter<number> = Metric.counter(
  "effect_eventsourcing_snapshot_save_failures",
  { description: "Snapshots that could not be saved", incremental: true }
)

/**
 * Saves that went through, in sync and in background mode.
 *
 * @since 0.1.0
 * @category metrics
 */
export const snapshotSaves: Metric.Metric.Counter<number> = Metric.counter("effect_eventsourcing_snapshot_saves", {
  description: "Snapshots saved, or found to be superseded",
  incremental: true
})

/**
 * Due snapshots that found the background full or closed; in sync mode, those not begun as saves before them still hang.
 *
 * @since 0.1.0
 * @category metrics
 */
export const snapshotsDropped: Metric.Metric.Counter<number> = Metric.counter(
  "effect_eventsourcing_snapshots_dropped",
  { description: "Due snapshots dropped because too many were waiting or hanging", incremental: true }
)

/**
 * Streams whose background snapshot waits or is being written.
 *
 * @since 0.1.0
 * @category metrics
 */
export const snapshotsPending: Metric.Metric.Gauge<number> = Metric.gauge("effect_eventsourcing_snapshots_pending", {
  description: "Background snapshots waiting or being written"
})

/**
 * How many committed events `readAll` holds back, because a transaction that began before them is still open and may yet
 * commit an event that stands before theirs. Measured when a reading reaches the end, up to 10,000, and tagged with the
 * table of the `events`; PostgreSQL only.
 *
 * @since 0.1.0
 * @category metrics
 */
export const feedHeldBack: Metric.Metric.Gauge<number> = Metric.gauge("effect_eventsourcing_feed_held_back", {
  description: "Committed events that the feed holds back"
})

/**
 * The age, in milliseconds, of the oldest event that `readAll` holds back; 0 where it holds back none.
 *
 * @since 0.1.0
 * @category metrics
 */
export const feedLag: Metric.Metric.Gauge<number> = Metric.gauge("effect_eventsourcing_feed_lag", {
  description: "Milliseconds since the oldest event that the feed holds back was appended"
})

/**
 * Verifications of sampled loads, tagged with `outcome`: `Verified`, `Refuted`, `NoSnapshot` (it was gone by then),
 * `Failed`, or `Skipped` (too many waited, or the budget was spent).
 *
 * @since 0.1.0
 * @category metrics
 */
export const snapshotVerifications: Metric.Metric.Counter<number> = Metric.fromMetricKey(snapshotVerificationsKey)

/**
 * What loads found in the state cache of a repository, tagged with `outcome`: `Hit`, `Miss`, or `Stale` (the stream no
 * longer has the history that the state was folded from, or grew by more than a page).
 *
 * @since 0.1.0
 * @category metrics
 */
export const stateCache: Metric.Metric.Counter<number> = Metric.fromMetricKey(stateCacheKey)

/** @internal */
export const snapshotter = (aggregate: string) => {
  const saves = Metric.tagged(snapshotSaves, "aggregate", aggregate)
  const failures = Metric.tagged(snapshotSaveFailures, "aggregate", aggregate)
  const dropped = Metric.tagged(snapshotsDropped, "aggregate", aggregate)
  const pending = Metric.tagged(snapshotsPending, "aggregate", aggregate)
  return {
    done: () => saves.unsafeUpdate(1, []),
    failed: () => failures.unsafeUpdate(1, []),
    dropped: () => dropped.unsafeUpdate(1, []),
    // a change and no count: several repositories of one aggregate share the gauge
    pending: (change: number) => pending.unsafeModify(change, [])
  }
}

/** @internal */
export const loads = (aggregate: string) => byOutcome(snapshotLoadsKey, aggregate)

/** @internal */
export const cachedStates = (aggregate: string) => byOutcome(stateCacheKey, aggregate)

/** @internal */
export const verifications = (aggregate: string) => byOutcome(snapshotVerificationsKey, aggregate)

const byOutcome = (key: MetricKey.MetricKey.Counter<number>, aggregate: string) => {
  const ofAggregate = MetricLabel.make("aggregate", aggregate)
  const counters = new Map<string, Metric.Metric.Counter<number>>()
  return (outcome: string): void => {
    let counter = counters.get(outcome)
    if (counter === undefined) {
      const labels = [ofAggregate, MetricLabel.make("outcome", outcome)]
      counter = Metric.fromMetricKey(MetricKey.taggedWithLabels(key, labels))
      counters.set(outcome, counter)
    }
    counter.unsafeUpdate(1, [])
  }
}
