import * as Metric from "effect/Metric"
import * as MetricKey from "effect/MetricKey"
import * as MetricLabel from "effect/MetricLabel"

// The keys of the metrics in Metrics.ts. A tagged metric looks itself up at every update, one made from a key only once.

export const snapshotLoads = MetricKey.counter("effect_eventsourcing_snapshot_loads", {
  description: "Loads of aggregates by what became of their snapshot",
  incremental: true
})

export const snapshotSaves = MetricKey.counter("effect_eventsourcing_snapshot_saves", {
  description: "Snapshots saved, or found to be superseded",
  incremental: true
})

export const snapshotSaveFailures = MetricKey.counter("effect_eventsourcing_snapshot_save_failures", {
  description: "Snapshots that could not be saved",
  incremental: true
})

export const snapshotsDropped = MetricKey.counter("effect_eventsourcing_snapshots_dropped", {
  description: "Due snapshots dropped because too many were waiting or hanging",
  incremental: true
})

export const snapshotsPending = MetricKey.gauge("effect_eventsourcing_snapshots_pending", {
  description: "Background snapshots waiting or being written"
})

export const snapshotVerifications = MetricKey.counter("effect_eventsourcing_snapshot_verifications", {
  description: "Sampled loads by what full replay said of their snapshot",
  incremental: true
})

export const stateCache = MetricKey.counter("effect_eventsourcing_state_cache", {
  description: "Loads of aggregates by what they found in the state cache",
  incremental: true
})

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
