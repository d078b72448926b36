import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type * as Snapshot from "../../Snapshot.js"
import * as SnapshotPolicy from "../../SnapshotPolicy.js"
import type { Baseline } from "./loader.js"
import { settle } from "./policy.js"
import type { Services } from "./services.js"
import * as Telemetry from "./telemetry.js"

/**
 * The condition under which a snapshot is always due.
 *
 * @internal
 */
export const always = SnapshotPolicy.not(SnapshotPolicy.never)

/**
 * Whether a snapshot of this state is due. Migrated and refuted snapshots are due at once; otherwise every load repeats
 * the work.
 *
 * @internal
 */
export const isDue = <State, Event>(
  when: SnapshotPolicy.When<State, Event>,
  baseline: Baseline<State>,
  progress: SnapshotPolicy.Progress<State, Event>
): boolean =>
  baseline.version > progress.snapshotVersion &&
  ((isRepairable(baseline.outcome) && when._tag !== "Never") || SnapshotPolicy.isDue(when, progress))

const isRepairable = (outcome: Snapshot.SnapshotOutcome): boolean =>
  outcome._tag === "Migrated" || outcome._tag === "StateDecodeError" || outcome._tag === "HistoryMismatch"

/** @internal */
export const progressOf = <Id, State, Event>(
  services: Services<Id, State, Event>,
  { replayed, took, used, version }: Baseline<State>,
  now: number,
  change: SnapshotPolicy.Change<State, Event> | undefined
): SnapshotPolicy.Progress<State, Event> => {
  // a distance counts from the snapshot of the aggregate's own schema version
  const own = Option.getOrUndefined(Option.filter(used, (used) => used.schemaVersion === services.schemaVersion))
  return {
    version,
    snapshotVersion: own?.version ?? 0,
    replayed,
    took,
    age: own === undefined ? undefined : now - own.time,
    change
  }
}

/**
 * Returns the settled policy if a snapshot is due now. The save may come later and ask the policy again.
 *
 * @internal
 */
export const dueNow = <Id, State, Event>(
  services: Services<Id, State, Event>,
  baseline: Baseline<State>,
  change: SnapshotPolicy.Change<State, Event> | undefined
): Effect.Effect<SnapshotPolicy.When | undefined> => {
  const { backOff, loader, name, when } = services
  if (baseline.version === 0 || when === undefined) return Effect.succeed(undefined)
  return Effect.clockWith((clock) => {
    try {
      const now = clock.unsafeCurrentTimeMillis()
      if (backOff.waits(baseline.stream.id, now)) return Effect.succeed(undefined)
      const progress = progressOf(services, baseline, now, change)
      if (!isDue(when, baseline, progress)) return Effect.succeed(undefined)
      // the next load counts from the stored snapshot
      loader.forget(baseline.stream)
      return Effect.succeed(settle(when, progress))
    } catch (error) {
      const message = "the snapshot policy threw; no snapshot is taken"
      return Effect.as(Telemetry.warn(message, error, { aggregate: name }), undefined)
    }
  })
}
