/**
 * Defines when a snapshot is due and how it is taken.
 *
 * A policy is a plain value: a mode, and a condition that is built with {@link and}, {@link or} and {@link not}. Cost:
 * the repository evaluates the condition, without an Effect, after each load and each command. If a snapshot is due, it
 * may evaluate the condition again.
 *
 * @since 0.1.0
 */
import * as Duration from "effect/Duration"
import { dual } from "effect/Function"
import type * as Schedule from "effect/Schedule"
import { orThrow, recordProblem } from "./internal/options.js"
import { InvalidOption } from "./InvalidOption.js"

/**
 * The facts of a load or a command on which a condition is evaluated.
 *
 * @since 0.1.0
 * @category models
 */
export interface Progress<out State = unknown, out Event = unknown> {
  /** The version of the loaded state, or of the state after the command. */
  readonly version: number
  /** The version of the snapshot that the load used. It is 0 if the load used none of the current schema version. */
  readonly snapshotVersion: number
  /** How many events the load folded. */
  readonly replayed: number
  /** The duration of the load in milliseconds. Default 0. */
  readonly took?: number | undefined
  /** The age in milliseconds of the snapshot at `snapshotVersion`. Default: `Infinity`, as without a snapshot. */
  readonly age?: number | undefined
  /** The change that a command made. Undefined for a load, and for a command without events. */
  readonly change?: Change<State, Event> | undefined
}

/**
 * The change that a command made to the state.
 *
 * @since 0.1.0
 * @category models
 */
export interface Change<out State, out Event> {
  /** The state that the command was decided on. */
  readonly before: State
  /** The state after the command's events. */
  readonly after: State
  readonly events: ReadonlyArray<Event>
}

/**
 * The condition under which a snapshot is due. A condition that inspects states and events belongs to their aggregate;
 * all other conditions fit every aggregate.
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
 * Is due when at least `events` events follow the snapshot that the load used, or the start of the stream if it used
 * none. An append of several events cannot skip the snapshot. After a failed save the next command tries again.
 *
 * @example
 * ```ts
 * import { SnapshotPolicy } from "effect-eventsourcing"
 *
 * const policy = SnapshotPolicy.sync({ when: SnapshotPolicy.every(100) })
 * ```
 *
 * @since 0.1.0
 * @category when
 */
export const every = (events: number): When => ({ _tag: "Every", events })

/**
 * Is due when the load folded at least `events` events.
 *
 * @example
 * ```ts
 * import { SnapshotPolicy } from "effect-eventsourcing"
 *
 * const policy = SnapshotPolicy.background({ when: SnapshotPolicy.whenReplayed(500) })
 * ```
 *
 * @since 0.1.0
 * @category when
 */
export const whenReplayed = (events: number): When => ({ _tag: "WhenReplayed", events })

/**
 * Is due when the load took at least this long by Effect's `Clock`, reading and folding included.
 *
 * @example
 * ```ts
 * import { SnapshotPolicy } from "effect-eventsourcing"
 *
 * const policy = SnapshotPolicy.background({ when: SnapshotPolicy.whenReplayTook("50 millis") })
 * ```
 *
 * @since 0.1.0
 * @category when
 */
export const whenReplayTook = (duration: Duration.DurationInput): When => ({ _tag: "WhenReplayTook", duration })

/**
 * Is due when the snapshot that the load used is at least this old by Effect's `Clock`, or when the load used none.
 *
 * @example
 * ```ts
 * import { SnapshotPolicy } from "effect-eventsourcing"
 *
 * const policy = SnapshotPolicy.sync({ when: SnapshotPolicy.olderThan("1 day") })
 * ```
 *
 * @since 0.1.0
 * @category when
 */
export const olderThan = (duration: Duration.DurationInput): When => ({ _tag: "OlderThan", duration })

/**
 * Is due when the predicate returns true for the change that a command made: a month was closed, an order was shipped.
 * It is never due for a load or for a command without events.
 *
 * @example
 * ```ts
 * import { SnapshotPolicy } from "effect-eventsourcing"
 *
 * type Order = { readonly lines: number; readonly shipped: boolean }
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
 * Is due when both conditions are due. If the left one is not, the right one is not evaluated.
 *
 * @example
 * ```ts
 * import { SnapshotPolicy } from "effect-eventsourcing"
 *
 * const old = SnapshotPolicy.and(SnapshotPolicy.every(10), SnapshotPolicy.olderThan("1 day"))
 * ```
 *
 * @since 0.1.0
 * @category when
 */
export const and: {
  <State2, Event2>(
    right: When<State2, Event2>
  ): <State, Event>(left: When<State, Event>) => When<State & State2, Event & Event2>
  <State = unknown, Event = unknown>(left: When<State, Event>, right: When<State, Event>): When<State, Event>
} = dual(2, <S, E>(left: When<S, E>, right: When<S, E>): When<S, E> => ({ _tag: "And", left, right }))

/**
 * Is due when at least one of the two conditions is due. If the left one is, the right one is not evaluated.
 *
 * @example
 * ```ts
 * import { SnapshotPolicy } from "effect-eventsourcing"
 *
 * const long = SnapshotPolicy.or(SnapshotPolicy.every(1_000), SnapshotPolicy.whenReplayTook("50 millis"))
 * ```
 *
 * @since 0.1.0
 * @category when
 */
export const or: {
  <State2, Event2>(
    right: When<State2, Event2>
  ): <State, Event>(left: When<State, Event>) => When<State & State2, Event & Event2>
  <State = unknown, Event = unknown>(left: When<State, Event>, right: When<State, Event>): When<State, Event>
} = dual(2, <S, E>(left: When<S, E>, right: When<S, E>): When<S, E> => ({ _tag: "Or", left, right }))

/**
 * Is due when the given condition is not due.
 *
 * @example
 * ```ts
 * import { SnapshotPolicy } from "effect-eventsourcing"
 *
 * const fresh = SnapshotPolicy.not(SnapshotPolicy.olderThan("1 day"))
 * ```
 *
 * @since 0.1.0
 * @category when
 */
export const not = <State = unknown, Event = unknown>(when: When<State, Event>): When<State, Event> => ({
  _tag: "Not",
  when
})

/**
 * Is never due.
 *
 * @example
 * ```ts
 * import { SnapshotPolicy } from "effect-eventsourcing"
 *
 * const policy = SnapshotPolicy.background({ when: SnapshotPolicy.never })
 * ```
 *
 * @since 0.1.0
 * @category when
 */
export const never: When = { _tag: "Never" }

/**
 * Evaluates a condition: `true` if a snapshot is due.
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
 * The way in which snapshots of an aggregate are taken.
 *
 * - `None`: never taken, never read.
 * - `Manual`: read by every load, taken by `createSnapshot` only.
 * - `Sync`: taken before the command or the load returns.
 * - `Background`: taken by supervised fibers. Commands and loads do not wait.
 * - `Inline`: like `Sync`, and taken in the transaction that appends the events.
 *
 * @since 0.1.0
 * @category models
 */
export type SnapshotPolicy<State = unknown, Event = unknown> =
  | { readonly _tag: "None" }
  | { readonly _tag: "Manual" }
  | { readonly _tag: "Sync"; readonly when: When<State, Event> }
  | { readonly _tag: "Background"; readonly when: When<State, Event>; readonly options: BackgroundOptions }
  | { readonly _tag: "Inline"; readonly when: When<State, Event> }

/**
 * The condition of a mode: `when: condition`, or `every: n` as a short form of `when: every(n)`. The constructors of
 * the modes throw `InvalidOption` if both are given, or if an option is unknown.
 *
 * @since 0.1.0
 * @category models
 */
export type DueOptions<State = unknown, Event = unknown> =
  | { readonly every: number; readonly when?: never }
  | { readonly when: When<State, Event>; readonly every?: never }

/**
 * The settings of the background workers.
 *
 * @since 0.1.0
 * @category models
 */
export interface BackgroundOptions {
  /** How many snapshots are taken at a time. Default 2. */
  readonly workers?: number | undefined
  /**
   * How many streams may wait for a snapshot. Further requests are dropped and counted; a later command of the stream
   * requests its snapshot again. Default 1,024.
   */
  readonly capacity?: number | undefined
  /** The retries of a failed snapshot. Default: two, after 100 ms and another 200 ms. */
  readonly retry?: Schedule.Schedule<unknown> | undefined
  /** The timeout for each step of an attempt: to read a page of events, or to save. Default 5 seconds. */
  readonly timeout?: Duration.DurationInput | undefined
  /** How long closing the scope waits for pending snapshots. Default 5 seconds. */
  readonly drainTimeout?: Duration.DurationInput | undefined
}

/**
 * Takes and uses no snapshots: every load is a full replay.
 *
 * @example
 * ```ts
 * import { SnapshotPolicy } from "effect-eventsourcing"
 *
 * const options = { snapshots: SnapshotPolicy.none }
 * ```
 *
 * @since 0.1.0
 * @category modes
 */
export const none: SnapshotPolicy = { _tag: "None" }

/**
 * Uses snapshots in loads. Only `createSnapshot` takes them.
 *
 * @example
 * ```ts
 * import { SnapshotPolicy } from "effect-eventsourcing"
 *
 * const options = { snapshots: SnapshotPolicy.manual }
 * ```
 *
 * @since 0.1.0
 * @category modes
 */
export const manual: SnapshotPolicy = { _tag: "Manual" }

/**
 * Writes a due snapshot before the command or the load returns. A save that fails or times out is
 * logged, and the command succeeds.
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
): SnapshotPolicy<State, Event> => ({ _tag: "Sync", when: toWhen("sync", options) })

/**
 * Writes a due snapshot in the transaction that appends the events: other readers see both at the same time. A save
 * that fails is rolled back alone and logged, and the events are appended. If the transaction cannot begin or commit,
 * the command appends without it and then saves, except in a transaction of the caller. A snapshot that is due after a
 * load, or after a command without events, is written as in `sync`. `Repository.make` fails with `InvalidOption` unless
 * both stores are SQL stores on one client.
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
): SnapshotPolicy<State, Event> => ({ _tag: "Inline", when: toWhen("inline", options) })

/**
 * Writes a due snapshot in a background fiber of the repository. Commands and loads do not wait for it.
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
  _tag: "Background",
  when: toWhen("background", options, ["workers", "capacity", "retry", "timeout", "drainTimeout"]),
  options
})

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
