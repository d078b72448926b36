// Measures the commands of an aggregate. The meter exists only if the metrics of commands are on. Why:
// docs/decisions/0100-command-metrics.md.
// Cost: a counter for each command and conflict, and a histogram and two readings of the clock for each load and
// append.
import * as Effect from "effect/Effect"
import * as Metric from "effect/Metric"
import * as MetricKey from "effect/MetricKey"
import * as MetricLabel from "effect/MetricLabel"
import * as EventStore from "../../EventStore.js"
import * as Counters from "../counters.js"

/** The end of a command. An interrupted command may have appended its events or not. */
export type Outcome = "Committed" | "Duplicate" | "Empty" | "Rejected" | "Conflict" | "Interrupted" | "Failed"

export interface CommandMeter {
  /** Counts commands that were executed together. Their tags are those of the command schema, or `unknown`. */
  readonly ended: (tags: ReadonlyArray<string>, outcome: Outcome, attempts: number) => void
  readonly load: <A, E>(load: Effect.Effect<A, E>) => Effect.Effect<A, E>
  readonly append: <A, E>(append: Effect.Effect<A, E>) => Effect.Effect<A, E>
}

export const make = (aggregate: string): CommandMeter => {
  const ofAggregate = MetricLabel.make("aggregate", aggregate)
  const conflicts = Metric.fromMetricKey(MetricKey.taggedWithLabels(Counters.commandConflicts, [ofAggregate]))
  const attempted = Metric.fromMetricKey(MetricKey.taggedWithLabels(Counters.commandAttempts, [ofAggregate]))
  const loads = Metric.fromMetricKey(MetricKey.taggedWithLabels(Counters.loadDuration, [ofAggregate]))
  const appends = Metric.fromMetricKey(MetricKey.taggedWithLabels(Counters.appendDuration, [ofAggregate]))
  const byTag = new Map<string, (outcome: string) => void>()
  const counterOf = (tag: string) => {
    let count = byTag.get(tag)
    if (count === undefined) {
      count = Counters.byOutcome(Counters.commands, aggregate, [MetricLabel.make("command", tag)])
      byTag.set(tag, count)
    }
    return count
  }
  return {
    ended: (tags, outcome, attempts) => {
      for (const tag of tags) counterOf(tag)(outcome)
      if (attempts > 0) attempted.unsafeUpdate(attempts, [])
    },
    load: (load) => timed(load, loads),
    append: (append) =>
      timed(
        Effect.tapError(append, (error) =>
          error instanceof EventStore.VersionConflict
            ? Effect.sync(() => conflicts.unsafeUpdate(1, []))
            : Effect.void),
        appends
      )
  }
}

const timed = <A, E>(effect: Effect.Effect<A, E>, durations: Metric.Metric.Histogram<number>): Effect.Effect<A, E> =>
  Effect.clockWith((clock) => {
    const began = clock.unsafeCurrentTimeNanos()
    return Effect.onExit(effect, () =>
      Effect.sync(() => {
        durations.unsafeUpdate(Number(clock.unsafeCurrentTimeNanos() - began) / 1e6, [])
      }))
  })
