// The options of Repository, which exports them, and their validation.
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Either from "effect/Either"
import * as Schedule from "effect/Schedule"
import type * as Event from "../../Event.js"
import type * as EventStore from "../../EventStore.js"
import type * as ExpectedVersion from "../../ExpectedVersion.js"
import type { InvalidOption } from "../../InvalidOption.js"
import * as SnapshotPolicy from "../../SnapshotPolicy.js"
import { expectedOf } from "../expectedVersion.js"
import {
  booleanProblem,
  finiteDurationProblem,
  recordProblem,
  requiredCount,
  scheduleProblem,
  unknownKey,
  unless,
  wholeFromOne
} from "../options.js"
import { quote, unreadable } from "../text.js"
import * as CommandIds from "./commandIds.js"
import { InvalidCommandId } from "./errors.js"
import * as Policy from "./policy.js"

/**
 * The options of a repository.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options<State = unknown, Event = unknown> {
  /** Default: `SnapshotPolicy.none`. */
  readonly snapshots?: SnapshotPolicy.SnapshotPolicy<State, Event> | undefined
  /**
   * The waits before a command is decided again because another writer appended first. They pass in real time, not by
   * Effect's `Clock`. Default: up to 30 times, after a random wait that grows from 1 to 50 milliseconds.
   */
  readonly retry?: Schedule.Schedule<unknown, EventStore.VersionConflict> | undefined
  /** How many events a load reads at a time, at most. Default 4,000. */
  readonly pageSize?: number | undefined
  /**
   * How long a load waits for `SnapshotStore.get`, and how long a load, a command or `createSnapshot` waits for a save.
   * A load from SQL stores on one client reads the snapshot together with the events, without this timeout. Default 5
   * seconds.
   */
  readonly snapshotTimeout?: Duration.DurationInput | undefined
  /**
   * Whether loads, and commands that append nothing, take due snapshots, and whether sampled verification removes
   * refuted ones. Default true. Set it to false in processes that must not write.
   */
  readonly snapshotOnLoad?: boolean | undefined
  /**
   * How to treat a snapshot whose schema changed while `schemaVersion` did not. `replay` (the default) refuses it.
   * `decode` uses it if it decodes. That is correct only if old states decode to the state that a replay returns, as
   * with an added optional field.
   */
  readonly onDrift?: "replay" | "decode" | undefined
  /**
   * How many events a load or a command may fold. A longer replay fails with `ReplayTooLong`. In background mode it also
   * asks a worker for a snapshot, except for a load where `snapshotOnLoad` is false. Workers, `createSnapshot` and
   * `verify` have no such limit. Default: no limit.
   */
  readonly maxReplay?: number | undefined
  /**
   * How many full replays may read from the store at a time. Further replays wait, except inside a transaction. The limit
   * protects the store after a deployment that invalidates all snapshots. Default: no limit.
   */
  readonly concurrentReplays?: number | undefined
  /** Keeps folded states in memory. Default: no cache. */
  readonly cache?: CacheOptions | undefined
  /** Verifies a share of the loads in the background. Default: none. */
  readonly verify?: VerifySample | undefined
}

/**
 * The options of sampled verification.
 *
 * @since 0.1.0
 * @category models
 */
export interface VerifySample {
  /** The share of the loads by snapshot that is verified, from 0 to 1. Effect's `Random` chooses the loads. */
  readonly sample: number
  /**
   * How many events the verifications of one minute may fold. A verification that would exceed the budget is skipped,
   * and the metric counts it as skipped. Default 1,000,000.
   */
  readonly budget?: number | undefined
}

/**
 * The options of the state cache.
 *
 * A load starts from a cached state as from a snapshot. One round trip reads the last event of the cached state, which
 * proves that the stream still has the same history, and the events after it. A load therefore sees the appends,
 * restores and rollbacks of other processes at once. Inside a transaction the cache is neither read nor written. A load
 * from the cache has the `snapshotOutcome` `Disabled`.
 *
 * @since 0.1.0
 * @category models
 */
export interface CacheOptions {
  /** How many streams the cache holds. The least recently used one is dropped first. */
  readonly capacity: number
  /** How long a state is kept, by Effect's `Clock`. Default: without limit. */
  readonly timeToLive?: Duration.DurationInput | undefined
}

/**
 * The options of one command.
 *
 * @since 0.1.0
 * @category models
 */
export interface ExecuteOptions {
  /**
   * The id under which the command counts once for its aggregate, even if several processes send it several times. A
   * repeat returns the events of the first try and the current state, with `duplicate: true`, even if its command is a
   * different one. `executeAll` has one id for all of its commands. The same id may be used with other aggregates.
   *
   * A command that was rejected, or that decided no events, is not remembered: its repeat is decided again.
   *
   * `duplicate` may be true even if the command was sent only once: if the acknowledgement of its append was lost, the
   * store's retry finds the events of the same call.
   *
   * A repeat finds an earlier try only if its transaction can see the events. In a caller's transaction with the
   * isolation `REPEATABLE READ` or `SERIALIZABLE`, events that another process stores after the transaction's first
   * statement are not visible. The command is then decided on the old state. It may be rejected, or its append fails.
   * Run the whole transaction again.
   *
   * A text of 1 to 1,024 bytes. Version 7 UUIDs and ULIDs keep the index of event ids compact. The metadata has the id
   * as `commandId`. It is also the default of `correlationId` and `causationId`.
   */
  readonly commandId?: string | undefined
  /**
   * The version of the state on which the caller bases the command, such as `ExpectedVersion.exact(3)`. If the
   * aggregate is at another version, the command fails with a `VersionConflict` at once and is not decided. After a
   * lost race the command is decided again only if the new version is also an expected one. Default: any version.
   */
  readonly expectedVersion?: ExpectedVersion.ExpectedVersion | undefined
  /**
   * Metadata of the events. It overrides the trace context, the fiber's `Event.CurrentMetadata`, and the ids that follow
   * from `commandId`.
   */
  readonly metadata?: Event.Metadata | undefined
}

/**
 * The range of a history.
 *
 * @since 0.1.0
 * @category models
 */
export interface HistoryOptions {
  /** The first version. Default 1. */
  readonly fromVersion?: number | undefined
  /** The last version. Default: up to the end. */
  readonly toVersion?: number | undefined
  /** Gives the newest event first. Default false. */
  readonly reverse?: boolean | undefined
}

/**
 * The options of one verification.
 *
 * @since 0.1.0
 * @category models
 */
export interface VerifyOptions {
  /** Whether a refuted snapshot is removed. Default true. */
  readonly remove?: boolean | undefined
}

/** Adds the defaults. */
export const complete = <State, Event>(options: Options<State, Event>) => ({
  snapshots: options.snapshots ?? SnapshotPolicy.none,
  retry: options.retry ?? defaultRetry,
  pageSize: options.pageSize ?? 4_000,
  snapshotTimeout: options.snapshotTimeout ?? Duration.seconds(5),
  snapshotOnLoad: options.snapshotOnLoad ?? true,
  onDrift: options.onDrift ?? "replay",
  maxReplay: options.maxReplay ?? Infinity,
  concurrentReplays: options.concurrentReplays,
  cache: options.cache &&
    { capacity: options.cache.capacity, timeToLive: options.cache.timeToLive ?? Duration.infinity },
  verify: options.verify && { sample: options.verify.sample, budget: options.verify.budget ?? 1_000_000 }
})

const defaultRetry: Schedule.Schedule<unknown> = Schedule.exponential("1 millis", 1.5).pipe(
  Schedule.union(Schedule.spaced("50 millis")),
  Schedule.jittered,
  Schedule.intersect(Schedule.recurs(30))
)

/** Finds a problem of the aggregate or the options. A program without type checks may pass any value. */
export const problem = <State, Event>(
  aggregate: unknown,
  options: Options<State, Event>
): InvalidOption | undefined => {
  const isAggregate = typeof aggregate === "object" && aggregate !== null && "migrations" in aggregate &&
    "decide" in aggregate
  return unless(isAggregate, "Repository aggregate", aggregate, "an aggregate from Aggregate.make") ??
    // the later checks read fields of records that the earlier checks accept
    recordProblem("Repository options", options, known) ??
    (options.snapshots === undefined ? undefined : Policy.problem(options.snapshots)) ??
    scheduleProblem("Repository retry", options.retry) ??
    booleanProblem("Repository snapshotOnLoad", options.snapshotOnLoad) ??
    recordProblem("Repository cache", options.cache, ["capacity", "timeToLive"]) ??
    recordProblem("Repository verify", options.verify, ["sample", "budget"]) ??
    valueProblem(options)
}

const known = [
  ...["snapshots", "retry", "pageSize", "snapshotTimeout", "snapshotOnLoad"],
  ...["onDrift", "maxReplay", "concurrentReplays", "cache", "verify"]
]

const valueProblem = <State, Event>(options: Options<State, Event>): InvalidOption | undefined => {
  const { cache, onDrift, pageSize = 2, verify } = options
  const isPageSize = Number.isSafeInteger(pageSize) && pageSize >= 2
  const isDrift = onDrift === undefined || onDrift === "replay" || onDrift === "decode"
  const isShare = verify === undefined ||
    (typeof verify.sample === "number" && verify.sample >= 0 && verify.sample <= 1)
  return unless(isPageSize, "Repository pageSize", pageSize, "a whole number, 2 or more") ??
    unless(isDrift, "Repository onDrift", onDrift, "replay or decode") ??
    unless(isShare, "Repository verify.sample", verify?.sample, "a share of the loads, from 0 to 1") ??
    wholeFromOne("Repository maxReplay", options.maxReplay) ??
    wholeFromOne("Repository concurrentReplays", options.concurrentReplays) ??
    wholeFromOne("Repository verify.budget", verify?.budget) ??
    (cache === undefined ? undefined : requiredCount("Repository cache.capacity", cache.capacity)) ??
    finiteDurationProblem("Repository cache.timeToLive", cache?.timeToLive) ??
    finiteDurationProblem("Repository snapshotTimeout", options.snapshotTimeout)
}

/** The options of a command, or the problem with them. */
export const ofCommand = (
  aggregate: string,
  options: ExecuteOptions | undefined
): Either.Either<ExecuteOptions, string | InvalidCommandId> => {
  if (options === undefined) return noOptions
  try {
    const problem = unknownKey("the options of execute", options, ["commandId", "expectedVersion", "metadata"])
    if (problem !== undefined) return Either.left(problem)
    // each option is read once, because an accessor may return another value the next time
    const { commandId, expectedVersion, metadata } = options
    const detail = commandId === undefined ? undefined : CommandIds.problem(commandId)
    if (detail !== undefined) return Either.left(new InvalidCommandId({ aggregate, detail }))
    if (metadata !== undefined && !isPlainRecord(metadata)) return Either.left("the metadata is not a plain record")
    const own = { commandId, metadata: { ...metadata } }
    return expectedVersion === undefined
      ? Either.right(own)
      : Either.map(expectedOf(expectedVersion), (expectedVersion) => ({ ...own, expectedVersion }))
  } catch {
    return Either.left(unreadable)
  }
}

/** The metadata of a fiber, or the problem with it. */
export const ambientMetadata = (metadata: Event.Metadata): Either.Either<Event.Metadata, string> => {
  try {
    return isPlainRecord(metadata)
      ? Either.right({ ...metadata })
      : Either.left("the metadata of the fiber, Event.CurrentMetadata, is not a plain record")
  } catch {
    return Either.left(unreadable)
  }
}

const noOptions: Either.Either<{}, never> = Either.right({})

const isPlainRecord = (value: unknown): boolean => {
  if (typeof value !== "object" || value === null) return false
  const prototype: unknown = Object.getPrototypeOf(value)
  return prototype === null || prototype === Object.prototype
}

/** The range of a history, or the problem with it. */
export const rangeOf = (options: HistoryOptions | undefined): Either.Either<HistoryOptions, string> => {
  if (options === undefined) return noOptions
  try {
    const { fromVersion, reverse, toVersion } = options
    const problem = unknownKey("the options of history", options, ["fromVersion", "toVersion", "reverse"]) ??
      wholeFromOne("fromVersion", fromVersion)?.message ??
      (toVersion === undefined ? undefined : versionProblem("toVersion", toVersion)) ??
      booleanProblem("reverse", reverse)?.message
    return problem === undefined ? Either.right({ fromVersion, toVersion, reverse }) : Either.left(problem)
  } catch {
    return Either.left(unreadable)
  }
}

const versionProblem = (name: string, version: unknown): string | undefined =>
  typeof version === "number" && Number.isSafeInteger(version) && version >= 0
    ? undefined
    : `${name} is ${quote(version)}; it must be a whole number, 0 or more`

/** Says why a value is not a version or a time. `undefined` if it is one. */
export const pointProblem = (point: unknown): string | undefined => {
  try {
    return DateTime.isDateTime(point)
      ? (Number.isFinite(point.epochMillis) ? undefined : `the time is ${quote(point.epochMillis)} milliseconds`)
      : versionProblem("the version", point)
  } catch {
    return unreadable
  }
}

/** Whether a verification removes the snapshots that it refutes, or the problem with its options. */
export const removeOf = (options: VerifyOptions | undefined): Either.Either<boolean, string> => {
  try {
    const problem = unknownKey("the options of verify", options, ["remove"]) ??
      booleanProblem("remove", options?.remove)?.message
    return problem === undefined ? Either.right(options?.remove ?? true) : Either.left(problem)
  } catch {
    return Either.left(unreadable)
  }
}
