import * as Metric from "effect/Metric"
import * as MetricBoundaries from "effect/MetricBoundaries"
import * as MetricKey from "effect/MetricKey"
import * as MetricLabel from "effect/MetricLabel"

// The keys of the metrics in Metrics.ts. A tagged metric looks itself up at every update, one made from a key only once.

const counter = (name: string, description: string) =>
  MetricKey.counter(`effect_eventsourcing_${name}`, { description, incremental: true })

const gauge = (name: string, description: string) => MetricKey.gauge(`effect_eventsourcing_${name}`, { description })

const histogram = (name: string, description: string, boundaries: MetricBoundaries.MetricBoundaries) =>
  MetricKey.histogram(`effect_eventsourcing_${name}`, boundaries, description)

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

export const feedHeldBack = gauge("feed_held_back", "Committed events that the feed holds back")

export const feedLag = gauge(
  "feed_lag",
  "Milliseconds since the oldest event that the feed holds back was appended"
)

export const commands = counter("commands", "Commands by tag and outcome")

export const commandConflicts = counter("command_conflicts", "Appends of commands that another writer was ahead of")

export const commandAttempts = histogram(
  "command_attempts",
  "How often a command was decided",
  MetricBoundaries.fromIterable([1, 2, 3, 4, 5, 10, 20, 50])
)

// from a load in memory to one that waits for a failover
const milliseconds = MetricBoundaries.exponential({ start: 0.125, factor: 2, count: 18 })

export const loadDuration = histogram("load_duration", "Milliseconds of the loads of an aggregate", milliseconds)

export const appendDuration = histogram("append_duration", "Milliseconds of the appends of commands", milliseconds)

export const projectionHandled = counter("projection_handled", "Events that projections and subscriptions handled")

export const projectionFailures = counter("projection_failures", "Batches and events that were not handled")

export const projectionParked = counter("projection_parked", "Events that were parked")

export const projectionLost = counter("projection_lost", "Leases that another process took")

export const projectionOwned = gauge("projection_owned", "Partitions that this process owns")

export const projectionUnowned = gauge("projection_unowned", "Partitions that no process owns")

export const projectionStopped = gauge("projection_stopped", "Partitions that are stopped at an event")

export const projectionLag = gauge(
  "projection_lag",
  "Milliseconds since the oldest event that is not handled was appended"
)

export const projectionDeferred = counter(
  "projection_deferred",
  "Appends whose events an inline projection left to the feed"
)

export const projectionRemaining = gauge("projection_remaining", "Events of the feed after the lowest checkpoint")

export const projectionRate = gauge(
  "projection_rate",
  "Events of the feed that the lowest checkpoint passes in a second"
)

export const retentionRemoved = counter("retention_removed", "Rows that retention removed")

export const retentionFailures = counter("retention_failures", "Policies of retention that failed in a pass")

/** Makes the function that counts a metric of a policy of retention. */
export const byPolicy = (key: MetricKey.MetricKey.Counter<number>, policy: string) => {
  const counter = Metric.fromMetricKey(MetricKey.tagged(key, "policy", policy))
  return (count: number): void => counter.unsafeUpdate(count, [])
}

export type Projections = ReturnType<typeof projections>

/** Measures a version of a projection or a subscription. */
export const projections = (name: string, version: number) => {
  const labels = [MetricLabel.make("name", name), MetricLabel.make("version", String(version))]
  const counting = (key: MetricKey.MetricKey.Counter<number>, ...more: ReadonlyArray<MetricLabel.MetricLabel>) =>
    Metric.fromMetricKey(MetricKey.taggedWithLabels(key, [...labels, ...more]))
  const showing = (key: MetricKey.MetricKey.Gauge<number>, ...more: ReadonlyArray<MetricLabel.MetricLabel>) =>
    Metric.fromMetricKey(MetricKey.taggedWithLabels(key, [...labels, ...more]))
  const [handled, parked, lost] = [projectionHandled, projectionParked, projectionLost].map((key) => counting(key))
  const failures = (kind: string) => counting(projectionFailures, MetricLabel.make("kind", kind))
  const failed = { Passing: failures("Passing"), Poison: failures("Poison"), Inline: failures("Inline") }
  const deferred = counting(projectionDeferred)
  const [owned, unowned, stopped] = [projectionOwned, projectionUnowned, projectionStopped].map((key) => showing(key))
  const [remaining, rate] = [projectionRemaining, projectionRate].map((key) => showing(key))
  return {
    remaining: (events: number) => remaining.unsafeUpdate(events, []),
    rate: (events: number) => rate.unsafeUpdate(events, []),
    handled: (events: number) => handled.unsafeUpdate(events, []),
    parked: (events: number) => parked.unsafeUpdate(events, []),
    lost: () => lost.unsafeUpdate(1, []),
    failed: (kind: keyof typeof failed) => failed[kind].unsafeUpdate(1, []),
    deferred: () => deferred.unsafeUpdate(1, []),
    owned: (partitions: number) => owned.unsafeUpdate(partitions, []),
    unowned: (partitions: number) => unowned.unsafeUpdate(partitions, []),
    stopped: (partitions: number) => stopped.unsafeUpdate(partitions, []),
    lag: (partition: number, millis: number) =>
      showing(projectionLag, MetricLabel.make("partition", String(partition))).unsafeUpdate(millis, [])
  }
}

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
export const byOutcome = (
  key: MetricKey.MetricKey.Counter<number>,
  aggregate: string,
  more: ReadonlyArray<MetricLabel.MetricLabel> = []
) => {
  const ofAggregate = MetricLabel.make("aggregate", aggregate)
  const counters = new Map<string, Metric.Metric.Counter<number>>()
  return (outcome: string): void => {
    let counter = counters.get(outcome)
    if (counter === undefined) {
      const labels = [ofAggregate, ...more, MetricLabel.make("outcome", outcome)]
      counter = Metric.fromMetricKey(MetricKey.taggedWithLabels(key, labels))
      counters.set(outcome, counter)
    }
    counter.unsafeUpdate(1, [])
  }
}
