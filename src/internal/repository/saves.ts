// Decides whether a snapshot is due, and saves it.
// Mechanism: asks the policy, encodes the state, removes the snapshot that the load refuted, saves. A background save reads the stream
// again first, and thus saves only committed events.
// Cost: one encoding and one statement, and one more for a refuted snapshot. A background save adds a load.
import * as Clock from "effect/Clock"
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as EventStore from "../../EventStore.js"
import * as Snapshot from "../../Snapshot.js"
import * as SnapshotPolicy from "../../SnapshotPolicy.js"
import * as SnapshotStore from "../../SnapshotStore.js"
import type * as StreamId from "../../StreamId.js"
import { maxVersion, noDate } from "../constants.js"
import { liveClock } from "../liveClock.js"
import type { Baseline } from "./baseline.js"
import type { LoadError } from "./errors.js"
import type { CreatedSnapshot } from "./model.js"
import { settle } from "./policy.js"
import type { Services } from "./services.js"
import * as Telemetry from "./telemetry.js"

/** The condition under which a snapshot is always due. */
export const always = SnapshotPolicy.not(SnapshotPolicy.never)

// migrated and refuted snapshots are due at once; otherwise every load repeats the work
const isDue = <State, Event>(
  when: SnapshotPolicy.When<State, Event>,
  baseline: Baseline<State>,
  progress: SnapshotPolicy.Progress<State, Event>
): boolean =>
  baseline.version > progress.snapshotVersion &&
  ((isRepairable(baseline.outcome) && when._tag !== "Never") || SnapshotPolicy.isDue(when, progress))

const isRepairable = (outcome: Snapshot.SnapshotOutcome): boolean =>
  outcome._tag === "Migrated" || outcome._tag === "StateDecodeError" || outcome._tag === "HistoryMismatch"

const progressOf = <Id, State, Event>(
  services: Services<Id, State, Event>,
  { replayed, took, used, version }: Baseline<State>,
  now: number,
  change: SnapshotPolicy.Change<State, Event> | undefined
): SnapshotPolicy.Progress<State, Event> => {
  // a distance counts from the snapshot of the aggregate's own schema version
  const own = Option.getOrUndefined(
    Option.filter(used, (used) => used.schemaVersion === services.loadable.schemaVersion)
  )
  return {
    version,
    snapshotVersion: own?.version ?? 0,
    replayed,
    took,
    age: own === undefined ? undefined : now - own.time,
    change
  }
}

/** Returns the settled policy if a snapshot is due now. The save may come later and ask the policy again. */
export const dueNow = <Id, State, Event>(
  services: Services<Id, State, Event>,
  baseline: Baseline<State>,
  change: SnapshotPolicy.Change<State, Event> | undefined
): Effect.Effect<SnapshotPolicy.When | undefined> => {
  const { backOff, loadable, loader, when } = services
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
      return Effect.as(Telemetry.warn(message, error, { aggregate: loadable.name }), undefined)
    }
  })
}

export type SaveError = EventStore.EventStoreError | Snapshot.StateEncodeError | SnapshotStore.SnapshotStoreError

/** Saves a snapshot of a state that was read from the store. */
export const save = <Id, State, Event>(
  { loadable, snapshots }: Services<Id, State, Event>,
  baseline: Baseline<State>
): Effect.Effect<CreatedSnapshot<State>, SaveError> =>
  Effect.gen(function*() {
    const { refuted, state, stream, version } = baseline
    const eventId = yield* lastEventId(baseline)
    const time = yield* timeOf(stream, yield* Clock.currentTimeMillis)
    const encoded = yield* loadable.encode({ stream, version, eventId, state, time })
    if (Option.isSome(refuted)) {
      // a save never replaces a newer version, and the snapshot that the load refuted may claim to be newer
      const { eventId, version } = refuted.value
      yield* snapshots.delete(stream, {
        schemaVersion: loadable.schemaVersion,
        // no store takes a version beyond the limit, but a row may have one that was written by hand
        identity: Math.abs(version) <= maxVersion ? { version, eventId } : undefined
      })
    }
    const outcome = yield* snapshots.save(encoded)
    const { fingerprint, schemaVersion } = encoded
    const snapshot: Snapshot.Snapshot<State> = { stream, version, eventId, schemaVersion, fingerprint, state, time }
    return { snapshot, outcome }
  })

/** Saves a due snapshot. A failure passes through the savepoint around the save; the caller reports it. */
export const saveDue = <Id, State, Event>(
  services: Services<Id, State, Event>,
  baseline: Baseline<State>
): Effect.Effect<CreatedSnapshot<State>, SaveError> =>
  Effect.tap(save(services, baseline), () => services.backOff.succeeded(baseline.stream.id))

/** How a save reads the stream again. */
export interface Reread {
  /** The version that an open transaction appends, 0 without one. The save waits a short time for its commit. */
  readonly uncommitted: number
  /** Called at each sign of progress. */
  readonly heartbeat: () => void
}

/** Reads the stream again and saves its snapshot if one is still due. Returns false if none is. */
export const saveStored = <Id, State, Event>(
  services: Services<Id, State, Event>,
  id: Id,
  stream: StreamId.StreamId,
  when: SnapshotPolicy.When,
  { heartbeat, uncommitted }: Reread
): Effect.Effect<unknown, LoadError | SaveError> =>
  Effect.gen(function*() {
    // an earlier save may have failed since this one was asked for
    if (services.backOff.waits(stream.id, yield* Clock.currentTimeMillis)) return false
    if (uncommitted > 0) yield* untilCommitted(services.events, stream, uncommitted, heartbeat)
    const baseline = yield* services.loader.load(id, { unbounded: true, onPage: heartbeat })
    // the save itself has the whole timeout
    heartbeat()
    const progress = progressOf(services, baseline, yield* Clock.currentTimeMillis, undefined)
    return isDue(when, baseline, progress) && (yield* saveDue(services, baseline))
  })

/**
 * Makes the save of a background request. The worker reads the committed events: a state that a caller holds, may change
 * or may roll back does not get into the snapshot. The request does not keep such a state in memory either, although it
 * may wait for long. A failure that lasts is reported here, as the worker would only try again.
 */
export const saveCommitted = <Id, State, Event>(
  services: Services<Id, State, Event>,
  id: Id,
  stream: StreamId.StreamId,
  when: SnapshotPolicy.When,
  uncommitted: number
) =>
(heartbeat: () => void): Effect.Effect<unknown, LoadError | SaveError> =>
  Effect.catchIf(
    saveStored(services, id, stream, when, { uncommitted, heartbeat }),
    isLasting,
    (error) => Effect.as(giveUp(services, stream, error), false)
  )

/** Whether a failure would come again at once: a state that does not encode, or a snapshot that the store rejects. */
export const isLasting = (error: unknown): error is Snapshot.StateEncodeError | SnapshotStore.SnapshotStoreError =>
  error instanceof Snapshot.StateEncodeError ||
  (error instanceof SnapshotStore.SnapshotStoreError && error.reason !== "Unavailable")

/** Counts a failure that lasts. Only the first failure of a stream is logged. */
export const giveUp = <Id, State, Event>(
  { backOff, saves }: Services<Id, State, Event>,
  { aggregate, id }: StreamId.StreamId,
  error: unknown
): Effect.Effect<void> =>
  Effect.clockWith((clock) => {
    saves.failed()
    if (!backOff.failed(id, clock.unsafeCurrentTimeMillis())) return Effect.void
    const message =
      "a snapshot cannot be kept; the next try of this stream is a minute later, and each further wait is " +
      "twice as long, up to an hour"
    return Telemetry.warn(message, error, { aggregate, id })
  })

export const notTaken = ({ aggregate, id }: StreamId.StreamId, detail: string): SnapshotStore.SnapshotStoreError =>
  new SnapshotStore.SnapshotStoreError({ operation: "save", aggregate, id, reason: "InvalidInput", detail })

// the store may hold an event with another id at that version by now
const lastEventId = <State>(
  { eventId, stream, version }: Baseline<State>
): Effect.Effect<string, EventStore.EventStoreError> =>
  eventId !== null ? Effect.succeed(eventId) : new EventStore.EventStoreError({
    operation: "read",
    stream,
    reason: "Unavailable",
    mayHaveAppended: false,
    detail: `the store did not return the id of event ${version}, the last event that it returned`
  })

const timeOf = (
  stream: StreamId.StreamId,
  now: number
): Effect.Effect<DateTime.Utc, SnapshotStore.SnapshotStoreError> =>
  Effect.mapError(
    Option.map(DateTime.make(Math.trunc(now)), DateTime.toUtc),
    () => notTaken(stream, `the Clock gives ${now} for the time, which is ${noDate}`)
  )

// the worker's connection may look before the caller's transaction commits; if that rolls back, the version never comes
const untilCommitted = (
  events: EventStore.EventStore["Type"],
  stream: StreamId.StreamId,
  version: number,
  heartbeat: () => void,
  wait = 5
): Effect.Effect<void, EventStore.EventStoreError> =>
  Effect.flatMap(events.version(stream), (current) => {
    heartbeat()
    return current >= version || wait > longestWait
      ? Effect.void
      : Effect.zipRight(
        Effect.withClock(Effect.sleep(wait), liveClock),
        untilCommitted(events, stream, version, heartbeat, wait * 2)
      )
  })

// in milliseconds
const longestWait = 160
