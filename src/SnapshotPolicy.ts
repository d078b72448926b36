/**
 * When a snapshot is due, and how it is taken. Policies are plain values.
 *
 * @since 0.1.0
 */
import type * as Duration from "effect/Duration"
import type * as Schedule from "effect/Schedule"
import { InvalidOption } from "./InvalidOption.js"

/**
 * What a load or a command knows when it asks whether a snapshot is due.
 *
 * @since 0.1.0
 * @category models
 */
export interface Progress {
  /** The version of the state in hand. */
  readonly version: number
  /** The version of the snapshot that the load found and used, 0 for none. */
  readonly snapshotVersion: number
  /** How many events the load folded. */
  readonly replayed: number
}

/**
 * When a snapshot is due.
 *
 * @since 0.1.0
 * @category models
 */
export type When =
  | { readonly _tag: "Every"; readonly events: number }
  | { readonly _tag: "WhenReplayed"; readonly events: number }
  | { readonly _tag: "And"; readonly left: When; readonly right: When }
  | { readonly _tag: "Or"; readonly left: When; readonly right: When }
  | { readonly _tag: "Not"; readonly when: When }
  | { readonly _tag: "Never" }

/**
 * Due when at least `events` events stand after the snapshot that the load found. It is a distance and no modulo: an
 * append of several events cannot step over it, and after a failed save the next command asks again.
 *
 * @since 0.1.0
 * @category when
 */
export const every = (events: number): When => ({ _tag: "Every", events })

/**
 * Due when the load had to fold at least `events` events.
 *
 * @since 0.1.0
 * @category when
 */
export const whenReplayed = (events: number): When => ({ _tag: "WhenReplayed", events })

/**
 * @since 0.1.0
 * @category when
 */
export const and = (left: When, right: When): When => ({ _tag: "And", left, right })

/**
 * @since 0.1.0
 * @category when
 */
export const or = (left: When, right: When): When => ({ _tag: "Or", left, right })

/**
 * @since 0.1.0
 * @category when
 */
export const not = (when: When): When => ({ _tag: "Not", when })

/**
 * @since 0.1.0
 * @category when
 */
export const never: When = { _tag: "Never" }

/**
 * Whether a snapshot is due.
 *
 * @example
 * ```ts
 * import { SnapshotPolicy } from "effect-eventsourcing"
 *
 * const policy = SnapshotPolicy.and(SnapshotPolicy.every(100), SnapshotPolicy.whenReplayed(10))
 * const due = SnapshotPolicy.isDue(policy, { version: 250, snapshotVersion: 100, replayed: 150 }) // true
 * ```
 *
 * @since 0.1.0
 * @category when
 */
export const isDue = (when: When, progress: Progress): boolean => {
  switch (when._tag) {
    case "Every":
      return progress.version - progress.snapshotVersion >= when.events
    case "WhenReplayed":
      return progress.replayed >= when.events
    case "And":
      return isDue(when.left, progress) && isDue(when.right, progress)
    case "Or":
      return isDue(when.left, progress) || isDue(when.right, progress)
    case "Not":
      return !isDue(when.when, progress)
    case "Never":
      return false
  }
}

/**
 * How snapshots of an aggregate are taken.
 *
 * - `None`: never taken, never read.
 * - `Manual`: read by every load, taken by `createSnapshot` only.
 * - `Sync`: taken before the command returns.
 * - `Background`: taken by supervised fibers; the command never waits.
 *
 * @since 0.1.0
 * @category models
 */
export type SnapshotPolicy =
  | { readonly mode: "None" }
  | { readonly mode: "Manual" }
  | { readonly mode: "Sync"; readonly when: When }
  | { readonly mode: "Background"; readonly when: When; readonly options: BackgroundOptions }

/**
 * Either `every: n`, short for `when: every(n)`, or any `when`.
 *
 * @since 0.1.0
 * @category models
 */
export type DueOptions = {
  readonly every: number
  readonly when?: never
} | {
  readonly when: When
  readonly every?: never
}

/**
 * @since 0.1.0
 * @category models
 */
export interface BackgroundOptions {
  /** How many snapshots are written at a time. Default 2. */
  readonly workers?: number | undefined
  /** How many streams may wait for a snapshot; more are dropped and counted, and asked for again by a later command. Default 1,024. */
  readonly capacity?: number | undefined
  /** Retries of a failed snapshot. Default: twice, 100 ms and 200 ms later. */
  readonly retry?: Schedule.Schedule<unknown> | undefined
  /** How long one try may take. Default 5 seconds. */
  readonly timeout?: Duration.DurationInput | undefined
  /** How long closing the scope waits for pending snapshots. Default 5 seconds. */
  readonly drainTimeout?: Duration.DurationInput | undefined
}

/**
 * No snapshots: every load is a full replay.
 *
 * @since 0.1.0
 * @category modes
 */
export const none: SnapshotPolicy = { mode: "None" }

/**
 * Loads use snapshots; only `createSnapshot` takes them.
 *
 * @since 0.1.0
 * @category modes
 */
export const manual: SnapshotPolicy = { mode: "Manual" }

/**
 * A due snapshot is written before the command returns. A save that fails or takes too long is logged; the command
 * succeeds all the same.
 *
 * @example
 * ```ts
 * import { SnapshotPolicy } from "effect-eventsourcing"
 *
 * const policy = SnapshotPolicy.sync({ every: 100 })
 * ```
 *
 * @since 0.1.0
 * @category modes
 */
export const sync = (options: DueOptions): SnapshotPolicy => ({ mode: "Sync", when: toWhen(options) })

/**
 * A due snapshot is written by a background fiber of the repository; the command does not wait for it.
 *
 * @example
 * ```ts
 * import { SnapshotPolicy } from "effect-eventsourcing"
 *
 * const policy = SnapshotPolicy.background({ every: 100, workers: 4 })
 * ```
 *
 * @since 0.1.0
 * @category modes
 */
export const background = (options: DueOptions & BackgroundOptions): SnapshotPolicy => ({
  mode: "Background",
  when: toWhen(options),
  options
})

/**
 * What in a policy cannot work, or `undefined`. `Repository.make` fails with it.
 *
 * @since 0.1.0
 * @category guards
 */
export const problem = (policy: SnapshotPolicy): InvalidOption | undefined => {
  switch (policy.mode) {
    case "None":
    case "Manual":
      return undefined
    case "Sync":
      return whenProblem(policy.when)
    case "Background":
      return whenProblem(policy.when) ??
        atLeastOne("SnapshotPolicy workers", policy.options.workers) ??
        atLeastOne("SnapshotPolicy capacity", policy.options.capacity)
  }
}

// -------------------------------------------------------------------------------------
// internal
// -------------------------------------------------------------------------------------

const toWhen = (options: DueOptions): When => options.when ?? every(options.every)

const whenProblem = (when: When): InvalidOption | undefined => {
  switch (when._tag) {
    case "Every":
      return atLeastOne("SnapshotPolicy every", when.events)
    case "WhenReplayed":
      return atLeastOne("SnapshotPolicy whenReplayed", when.events)
    case "And":
    case "Or":
      return whenProblem(when.left) ?? whenProblem(when.right)
    case "Not":
      return whenProblem(when.when)
    case "Never":
      return undefined
  }
}

const atLeastOne = (option: string, value: number | undefined): InvalidOption | undefined =>
  value === undefined || (Number.isSafeInteger(value) && value >= 1)
    ? undefined
    : new InvalidOption({ option, value: String(value), expected: "a whole number, 1 or more" })
