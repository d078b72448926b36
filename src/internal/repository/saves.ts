// Decides whether a snapshot is due, and saves it.
// Mechanism: a save encodes the state, removes the snapshot that the load refuted, and writes the new one. A background
// save first reads the stream again, so that it saves only committed events.
// Cost: one encoding and one statement, and a second statement after a refuted snapshot. A background save adds a load.
import * as Clock from "effect/Clock"
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as EventStore from "../../EventStore.js"
import * as Snapshot from "../../Snapshot.js"
import * as SnapshotPolicy from "../../SnapshotPolicy.js"
import * as SnapshotStore from "../../SnapshotStore.js"
import type * as StreamId from "../../StreamId.js"
import { isDate, maxVersion, noDate } from "../constants.js"
import { liveClock } from "../liveClock.js"
import type { Baseline } from "./baseline.js"
import type { LoadError } from "./errors.js"
import { proofOf } from "./loadable.js"
import type { CreatedSnapshot } from "./model.js"
import { settle } from "./policy.js"
import { isReplayable } from "./replayable.js"
import * as Sealed from "./sealed.js"
import type { Services } from "./services.js"
import * as Telemetry from "./telemetry.js"

/** The condition under which a snapshot is always due. */
export const always = SnapshotPolicy.not(SnapshotPolicy.never)

// a migrated or refuted snapshot is replaced at once; otherwise every load would repeat the migration or the replay
const isDue = <State, Event>(
  when: SnapshotPolicy.When<State, Event>,
  baseline: Baseline<State>,
  progress: SnapshotPolicy.Progress<State, Event>
): boolean =>
  baseline.version > progress.snapshotVersion &&
  ((isRepairable(baseline.outcome) && when._tag !== "Never") || SnapshotPolicy.isDue(when, progress))

const isRepairable = ({ _tag }: Snapshot.SnapshotOutcome): boolean =>
  _tag === "Migrated" || _tag === "StateDecodeError" || _tag === "HistoryMismatch" || _tag === "SubjectErased"

const progressOf = <Id, State, Event>(
  services: Services<Id, State, Event>,
  { replayed, took, used, version }: Baseline<State>,
  now: number,
  change: SnapshotPolicy.Change<State, Event> | undefined
): SnapshotPolicy.Progress<State, Event> => {
  // conditions count from a snapshot of the current schema version only
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

/** Returns a condition if a snapshot is due now, else undefined. A save that rereads the stream evaluates it again. */
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
      // without the cached state, the next load counts from the stored snapshot
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
  { events, loadable, snapshots }: Services<Id, State, Event>,
  baseline: Baseline<State>
): Effect.Effect<CreatedSnapshot<State>, SaveError> =>
  Effect.gen(function*() {
    const { refuted, state, stream, version } = baseline
    const eventId = yield* proofIn(baseline)
    const time = yield* timeOf(stream, yield* Clock.currentTimeMillis)
    const encoded = yield* loadable.encode({ stream, version, eventId, state, time })
    const sealed = yield* Sealed.state(events, encoded)
    if (Option.isSome(refuted) && (yield* isReplayable(events, stream))) {
      // a save never replaces a newer version, and the refuted snapshot may have one
      const { eventId, time, version } = refuted.value
      yield* snapshots.delete(stream, {
        schemaVersion: loadable.schemaVersion,
        // the store rejects a version or a time beyond the limit, but a row that was edited by hand may have one
        identity: Math.abs(version) <= maxVersion
          ? { version, eventId, time: Number.isInteger(time) && isDate(time) ? time : undefined }
          : undefined
      })
    }
    const outcome = yield* snapshots.save(sealed)
    const { fingerprint, schemaVersion } = encoded
    const snapshot: Snapshot.Snapshot<State> = { stream, version, eventId, schemaVersion, fingerprint, state, time }
    return { snapshot, outcome }
  })

/** Saves a due snapshot. It catches no failure, so that a savepoint around the save is rolled back. */
export const saveDue = <Id, State, Event>(
  services: Services<Id, State, Event>,
  baseline: Baseline<State>
): Effect.Effect<CreatedSnapshot<State>, SaveError> =>
  Effect.tap(save(services, baseline), () => services.backOff.succeeded(baseline.stream.id))

/** How a save reads the stream again. */
export interface Reread {
  /** The version that an open transaction is about to commit, else 0. The save waits a short time for the commit. */
  readonly uncommitted: number
  /** Called at each sign of progress. */
  readonly heartbeat: () => void
}

/** Reads the stream again and saves a snapshot if one is still due. Returns false if it is not. */
export const saveStored = <Id, State, Event>(
  services: Services<Id, State, Event>,
  id: Id,
  stream: StreamId.StreamId,
  when: SnapshotPolicy.When,
  { heartbeat, uncommitted }: Reread
): Effect.Effect<unknown, LoadError | SaveError> =>
  Effect.gen(function*() {
    // an earlier save of the stream may have failed after this one was requested
    if (services.backOff.waits(stream.id, yield* Clock.currentTimeMillis)) return false
    if (uncommitted > 0) yield* untilCommitted(services.events, stream, uncommitted, heartbeat)
    const baseline = yield* services.loader.load(id, { unbounded: true, onPage: heartbeat })
    // the timeout starts anew for the save itself
    heartbeat()
    const progress = progressOf(services, baseline, yield* Clock.currentTimeMillis, undefined)
    return isDue(when, baseline, progress) && (yield* saveDue(services, baseline))
  }).pipe(
    // no load will ask for the snapshot
    Effect.catchTag("StreamDeleted", () => Effect.succeed(false))
  )

/**
 * Makes the save of a background request. The worker folds the committed events, because a caller may change its own
 * state or roll it back. The request keeps no state in memory, because it may wait for long. A failure that would recur
 * is reported here, because the worker would only retry it.
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

/** Tells whether a retry would fail too: the state does not encode, or the store rejects the snapshot. */
export const isLasting = (error: unknown): error is Snapshot.StateEncodeError | SnapshotStore.SnapshotStoreError =>
  error instanceof Snapshot.StateEncodeError ||
  (error instanceof SnapshotStore.SnapshotStoreError && error.reason !== "Unavailable")

/** Counts a failure that would recur. Logs the first one of a stream since its last success. */
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

// the id is not read afterwards: by then the store may hold another event at that version
const proofIn = <State>(baseline: Baseline<State>): Effect.Effect<string, EventStore.EventStoreError> => {
  const proof = proofOf(baseline)
  const { stream, version } = baseline
  return proof !== null ? Effect.succeed(proof) : new EventStore.EventStoreError({
    operation: "read",
    stream,
    reason: "Unavailable",
    mayHaveAppended: false,
    detail: `the store did not return the ${
      baseline.eventId === null ? "id" : "time"
    } of event ${version}, the last event that it returned`
  })
}

const timeOf = (
  stream: StreamId.StreamId,
  now: number
): Effect.Effect<DateTime.Utc, SnapshotStore.SnapshotStoreError> =>
  Effect.mapError(
    Option.map(DateTime.make(Math.trunc(now)), DateTime.toUtc),
    () => notTaken(stream, `the Clock gives ${now} for the time, which is ${noDate}`)
  )

// Waits until the version is visible to the worker's connection. The transaction may roll back, so the wait is limited.
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
