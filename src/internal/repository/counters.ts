import * as Metric from "effect/Metric"
import * as MetricKey from "effect/MetricKey"
import * as MetricLabel from "effect/MetricLabel"

// The keys of the metrics in Metrics.ts. A tagged metric looks itself up at every update, one made from a key only once.

const counter = (name: string, description: string) =>
  MetricKey.counter(`effect_eventsourcing_${name}`, { description, incremental: true })

const gauge = (name: string, description: string) => MetricKey.gauge(`effect_eventsourcing_${name}`, { description })

export const snapshotLoads = counter("snapshot_loads", "Loads of aggregates by what became of their snapshot")

export const snapshotSaves = counter("snapshot_saves", "Snapshots saved, or found to be superseded")

export const snapshotSaveFailures = counter("snapshot_save_failures", "Snapshots that could not be saved")

export const snapshotsDropped = counter(
  "snapshots_dropped",
  "Due snapshots dropped because too many were waiting or hanging"
)

export const snapshotsPending = gauge("snapshots_pending", "Background snapshots waiting or being written")

export const snapshotVerifications = counter(
  "snapshot_verifications",
  "Sampled loads by what full replay said of their snapshot"
)

export const stateCache = counter("state_cache", "Loads of aggregates by what they found in the state cache")

export type Saves = ReturnType<typeof saves>

/** Counts the saves of an aggregate. */
export const saves = (aggregate: string) => {
  const done = Metric.fromMetricKey(MetricKey.tagged(snapshotSaves, "aggregate", aggregate))
  const failed = Metric.fromMetricKey(MetricKey.tagged(snapshotSaveFailures, "aggregate", aggregate))
  const dropped = Metric.fromMetricKey(MetricKey.tagged(snapshotsDropped, "aggregate", aggregate))
  const pending = Metric.fromMetricKey(MetricKey.tagged(snapshotsPending, "aggregate", aggregate))
  return {
    done: () => done.unsafeUpdate(1, []),
    failed: () => failed.unsafeUpdate(1, []),
    dropped: () => dropped.unsafeUpdate(1, []),
    // a change, not a total: several repositories of one aggregate share the gauge
    pending: (change: number) => pending.unsafeModify(change, [])
  }
}

/** Makes the function that counts a metric of an aggregate by outcome. */
export const byOutcome = (key: MetricKey.MetricKey.Counter<number>, aggregate: string) => {
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
