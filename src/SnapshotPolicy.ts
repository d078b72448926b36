/**
 * When a snapshot is due, and how it is taken. Policies are plain values.
 *
 * @since 0.1.0
 */
import * as Duration from "effect/Duration"
import type * as Schedule from "effect/Schedule"
import { backgroundProblem, finiteDurationProblem, orThrow, recordProblem, requiredCount } from "./internal/options.js"
import { quote } from "./internal/text.js"
import { InvalidOption } from "./InvalidOption.js"

/**
 * What a load or a command knows when it asks whether a snapshot is due.
 *
 * @since 0.1.0
 * @category models
 */
export interface Progress<out State = unknown, out Event = unknown> {
  /** The version of the state in hand. */
  readonly version: number
  /** The version of the snapshot of the own schema version that the load used, 0 for none. */
  readonly snapshotVersion: number
  /** How many events the load folded. */
  readonly replayed: number
  /** How many milliseconds the load took. Default 0. */
  readonly took?: number | undefined
  /** How many milliseconds ago that snapshot was taken. Default, and where there is none: infinitely long ago. */
  readonly age?: number | undefined
  /** What the command did. None for a load. */
  readonly change?: Change<State, Event> | undefined
}

/**
 * @since 0.1.0
 * @category models
 */
export interface Change<out State, out Event> {
  /** The state that the command was decided on. */
  readonly before: State
  /** The state after its events. */
  readonly after: State
  readonly events: ReadonlyArray<Event>
}

/**
 * When a snapshot is due. A policy that looks into states and events is one of their aggregate; all others fit any.
 *
 * @since 0.1.0
 * @category models
 */
export type When<State = unknown, Event = unknown> =
  | { readonly _tag: "Every"; readonly events: number }
  | { readonly _tag: "WhenReplayed"; readonly events: number }
  | { readonly _tag: "WhenReplayTook"; readonly duration: Duration.DurationInput }
  | { readonly _tag: "OlderThan"; readonly duration: Duration.DurationInput }
  | {
    readonly _tag: "When"
    readonly predicate: (before: State, after: State, events: ReadonlyArray<Event>) => boolean
  }
  | { readonly _tag: "And"; readonly left: When<State, Event>; readonly right: When<State, Event> }
  | { readonly _tag: "Or"; readonly left: When<State, Event>; readonly right: When<State, Event> }
  | { readonly _tag: "Not"; readonly when: When<State, Event> }
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
 * Due when the load, reading and folding, took at least this long by Effect's `Clock`.
 *
 * @since 0.1.0
 * @category when
 */
export const whenReplayTook = (duration: Duration.DurationInput): When => ({ _tag: "WhenReplayTook", duration })

/**
 * Due when the snapshot that the load used is at least this old, by Effect's `Clock`, or when there was none.
 *
 * @since 0.1.0
 * @category when
 */
export const olderThan = (duration: Duration.DurationInput): When => ({ _tag: "OlderThan", duration })

/**
 * Due when a command changed the state in a way that matters: a month was closed, an order shipped. A load changes
 * nothing, so that it never is.
 *
 * @example
 * ```ts
 * import { SnapshotPolicy } from "effect-eventsourcing"
 *
 * interface Order {
 *   readonly lines: number
 *   readonly shipped: boolean
 * }
 *
 * const shipped = SnapshotPolicy.when((before: Order, after: Order) => after.shipped && !before.shipped)
 * const policy = SnapshotPolicy.sync({ when: SnapshotPolicy.or(shipped, SnapshotPolicy.every(1_000)) })
 * ```
 *
 * @since 0.1.0
 * @category when
 */
export const when = <State, Event = unknown>(
  predicate: (before: State, after: State, events: ReadonlyArray<Event>) => boolean
): When<State, Event> => ({ _tag: "When", predicate })

/**
 * @since 0.1.0
 * @category when
 */
export const and = <State = unknown, Event = unknown>(
  left: When<State, Event>,
  right: When<State, Event>
): When<State, Event> => ({ _tag: "And", left, right })

/**
 * @since 0.1.0
 * @category when
 */
export const or = <State = unknown, Event = unknown>(
  left: When<State, Event>,
  right: When<State, Event>
): When<State, Event> => ({ _tag: "Or", left, right })

/**
 * @since 0.1.0
 * @category when
 */
export const not = <State = unknown, Event = unknown>(when: When<State, Event>): When<State, Event> => ({
  _tag: "Not",
  when
})

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
export const isDue = <State, Event>(when: When<State, Event>, progress: Progress<State, Event>): boolean => {
  switch (when._tag) {
    case "Every":
      return progress.version - progress.snapshotVersion >= when.events
    case "WhenReplayed":
      return progress.replayed >= when.events
    case "WhenReplayTook":
      return (progress.took ?? 0) >= Duration.toMillis(when.duration)
    case "OlderThan":
      return (progress.age ?? Infinity) >= Duration.toMillis(when.duration)
    case "When":
      return progress.change !== undefined &&
        when.predicate(progress.change.before, progress.change.after, progress.change.events)
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
 * The policy that is left when the conditions which only this load or command can answer have their answers: whoever
 * reads the stream again later knows neither what the command did nor how long its load took.
 *
 * @since 0.1.0
 * @category when
 */
export const settle = <State, Event>(when: When<State, Event>, progress: Progress<State, Event>): When => {
  switch (when._tag) {
    case "When":
    case "WhenReplayTook":
      return isDue(when, progress) ? not(never) : never
    case "Or":
      // as in isDue, the right side is not asked where the left one has said it
      return isDue(when.left, progress)
        ? settle(when.left, progress)
        : or(settle(when.left, progress), settle(when.right, progress))
    case "And":
      return and(settle(when.left, progress), settle(when.right, progress))
    case "Not":
      return not(settle(when.when, progress))
    default:
      return when
  }
}

/**
 * How snapshots of an aggregate are taken.
 *
 * - `None`: never taken, never read.
 * - `Manual`: read by every load, taken by `createSnapshot` only.
 * - `Sync`: taken before the command returns.
 * - `Background`: taken by supervised fibers; the command never waits.
 * - `Inline`: taken in the transaction that appends the events.
 *
 * @since 0.1.0
 * @category models
 */
export type SnapshotPolicy<State = unknown, Event = unknown> =
  | { readonly mode: "None" }
  | { readonly mode: "Manual" }
  | { readonly mode: "Sync"; readonly when: When<State, Event> }
  | { readonly mode: "Background"; readonly when: When<State, Event>; readonly options: BackgroundOptions }
  | { readonly mode: "Inline"; readonly when: When<State, Event> }

/**
 * Either `every: n`, short for `when: every(n)`, or any `when`. The modes throw `InvalidOption` for both, and for an option
 * that they do not have.
 *
 * @since 0.1.0
 * @category models
 */
export type DueOptions<State = unknown, Event = unknown> = {
  readonly every: number
  readonly when?: never
} | {
  readonly when: When<State, Event>
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
  /** How long a try may take without getting on: to read one page of events, or to save. Default 5 seconds. */
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
export const sync = <State = unknown, Event = unknown>(
  options: DueOptions<State, Event>
): SnapshotPolicy<State, Event> => ({ mode: "Sync", when: toWhen("sync", options) })

/**
 * A due snapshot is written in the transaction that appends the events, so that no other reader ever sees the events
 * without it. It is for SQL stores that share a client: with any others the repository fails with `InvalidOption` when
 * it is made. A save that fails is undone alone and logged; the events are appended all the same.
 *
 * @example
 * ```ts
 * import { SnapshotPolicy } from "effect-eventsourcing"
 *
 * const policy = SnapshotPolicy.inline({ every: 100 })
 * ```
 *
 * @since 0.1.0
 * @category modes
 */
export const inline = <State = unknown, Event = unknown>(
  options: DueOptions<State, Event>
): SnapshotPolicy<State, Event> => ({ mode: "Inline", when: toWhen("inline", options) })

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
export const background = <State = unknown, Event = unknown>(
  options: DueOptions<State, Event> & BackgroundOptions
): SnapshotPolicy<State, Event> => ({
  mode: "Background",
  when: toWhen("background", options, ["workers", "capacity", "retry", "timeout", "drainTimeout"]),
  options
})

/**
 * What in a policy cannot work, or `undefined`. `Repository.make` fails with it.
 *
 * @since 0.1.0
 * @category guards
 */
export const problem = <State, Event>(policy: SnapshotPolicy<State, Event>): InvalidOption | undefined => {
  switch (policy?.mode) {
    case "None":
    case "Manual":
      return undefined
    case "Sync":
    case "Inline":
      return whenProblem(policy.when)
    case "Background":
      return whenProblem(policy.when) ?? backgroundProblem(policy.options)
    default:
      // a program without types
      return new InvalidOption({
        option: "SnapshotPolicy mode",
        value: quote(Object(policy).mode),
        expected: "none, manual, sync, inline or background"
      })
  }
}

// -------------------------------------------------------------------------------------
// internal
// -------------------------------------------------------------------------------------

const toWhen = <State, Event>(
  mode: string,
  options: DueOptions<State, Event>,
  more: ReadonlyArray<string> = []
): When<State, Event> => {
  const option = `SnapshotPolicy.${mode} options`
  orThrow(recordProblem(option, options ?? null, ["every", "when", ...more]))
  if (options.when !== undefined && options.every !== undefined) {
    throw new InvalidOption({ option, value: "a record with both every and when", expected: "one with one of them" })
  }
  return options.when ?? every(options.every)
}

const whenProblem = <State, Event>(when: When<State, Event>): InvalidOption | undefined => {
  switch (when?._tag) {
    case "Every":
      return requiredCount("SnapshotPolicy every", when.events)
    case "WhenReplayed":
      return requiredCount("SnapshotPolicy whenReplayed", when.events)
    case "WhenReplayTook":
      return finiteDurationProblem("SnapshotPolicy whenReplayTook", when.duration)
    case "OlderThan":
      return finiteDurationProblem("SnapshotPolicy olderThan", when.duration)
    case "When":
      return typeof when.predicate === "function" ? undefined : new InvalidOption({
        option: "SnapshotPolicy when",
        value: quote(when.predicate),
        expected: "a function of the state before, the state after and the events"
      })
    case "And":
    case "Or":
      return whenProblem(when.left) ?? whenProblem(when.right)
    case "Not":
      return whenProblem(when.when)
    case "Never":
      return undefined
    default:
      // a program without types
      return new InvalidOption({
        option: "SnapshotPolicy when",
        value: quote(when),
        expected: "a condition, such as SnapshotPolicy.every(100) or SnapshotPolicy.when(predicate)"
      })
  }
}
