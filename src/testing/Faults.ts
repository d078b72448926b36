/**
 * Wraps stores, so that chosen calls fail.
 *
 * A plan chooses the calls that fail: the n-th, those that match a predicate, or some at random by a seed. The wrapper
 * passes every other call on to the store below it.
 *
 * @since 0.1.0
 */
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as EventStore from "../EventStore.js"
import { orThrow, waitProblem, wholeFromOne } from "../internal/options.js"
import * as Faulty from "../internal/testing/faultyStores.js"
import * as Internal from "../internal/testing/injected.js"
import { type Call, type Fault, type Operation, start } from "../internal/testing/injection.js"
import * as Plans from "../internal/testing/plans.js"
import * as SnapshotStore from "../SnapshotStore.js"

export { Injected } from "../internal/testing/injected.js"
export type { Call, Fault, Operation } from "../internal/testing/injection.js"

/**
 * The call fails with the store's typed error, and nothing is done. The error's cause is {@link Injected}.
 *
 * @example
 * ```ts
 * import { Faults } from "effect-eventsourcing/testing"
 *
 * // the second append fails, and no event is stored
 * const plan = Faults.onCall("EventStore.append", 2, Faults.fail)
 * ```
 *
 * @since 0.1.0
 * @category faults
 */
export const fail: Fault = { _tag: "Fail", when: "Before" }

/**
 * The call dies, and nothing is done. The defect is {@link Injected}.
 *
 * @example
 * ```ts
 * import { Faults } from "effect-eventsourcing/testing"
 *
 * const plan = Faults.onCall("SnapshotStore.get", 1, Faults.die)
 * ```
 *
 * @since 0.1.0
 * @category faults
 */
export const die: Fault = { _tag: "Die", when: "Before" }

/**
 * The call never returns, and nothing is done. It can be interrupted.
 *
 * @example
 * ```ts
 * import { Faults } from "effect-eventsourcing/testing"
 *
 * const plan = Faults.onCall("SnapshotStore.save", 1, Faults.hang)
 * ```
 *
 * @since 0.1.0
 * @category faults
 */
export const hang: Fault = { _tag: "Hang", when: "Before" }

/**
 * The call never returns and cannot be interrupted, and nothing is done. It imitates a driver that does not cancel.
 * A caller that waits for the call never continues. To stop waiting, put a timeout around `Effect.disconnect`.
 *
 * @example
 * ```ts
 * import { Faults } from "effect-eventsourcing/testing"
 *
 * const plan = Faults.onCall("SnapshotStore.save", 1, Faults.stuck)
 * ```
 *
 * @since 0.1.0
 * @category faults
 */
export const stuck: Fault = { _tag: "Hang", when: "Before", stuck: true }

/**
 * The call interrupts itself, and nothing is done.
 *
 * @example
 * ```ts
 * import { Faults } from "effect-eventsourcing/testing"
 *
 * const plan = Faults.onCall("EventStore.append", 1, Faults.interrupt)
 * ```
 *
 * @since 0.1.0
 * @category faults
 */
export const interrupt: Fault = { _tag: "Interrupt", when: "Before" }

/**
 * The call is delayed by Effect's `Clock` and then carried out. Throws an `InvalidOption` if the duration is negative or
 * infinite.
 *
 * @example
 * ```ts
 * import { Faults } from "effect-eventsourcing/testing"
 *
 * const plan = Faults.when(({ operation }) => operation === "EventStore.append", Faults.delay("50 millis"))
 * ```
 *
 * @since 0.1.0
 * @category faults
 */
export const delay = (duration: Duration.DurationInput): Fault => {
  orThrow(waitProblem("Faults.delay duration", duration))
  return { _tag: "Delay", duration }
}

/**
 * The call is carried out and then fails. The error of an append, transaction or import has `mayHaveAppended: true`.
 *
 * @example
 * ```ts
 * import { Faults } from "effect-eventsourcing/testing"
 *
 * // the first append is stored, but the caller gets an error
 * const plan = Faults.onCall("EventStore.append", 1, Faults.lostAcknowledgement)
 * ```
 *
 * @since 0.1.0
 * @category faults
 */
export const lostAcknowledgement: Fault = { _tag: "Fail", when: "After" }

/**
 * The call is carried out twice, as if a network had delivered the request twice. The caller gets the second answer.
 *
 * @example
 * ```ts
 * import { Faults } from "effect-eventsourcing/testing"
 *
 * const plan = Faults.onCall("EventStore.append", 1, Faults.duplicate)
 * ```
 *
 * @since 0.1.0
 * @category faults
 */
export const duplicate: Fault = { _tag: "Duplicate" }

/**
 * Corrupts one event or snapshot that the call reads or saves:
 *
 * - `EventStore.readTail`: one event gets a payload that is not JSON, an unknown type, or another version.
 * - `EventStore.read`, `readEvents`, `readAll`: the read fails with an `EventDecodeError` for one of the events.
 * - `EventStore.readPage`: one event of the page does not decode.
 * - `SnapshotStore.get`, `save`: a state that is not JSON, another event id or fingerprint, version 0 or one too high.
 * - `EventStore.readWithSnapshot`: one event or the snapshot, as above, but the fingerprint stays.
 *
 * Other calls, appends included, stay unchanged. The number of the call selects the row and the kind of corruption.
 *
 * @example
 * ```ts
 * import { Faults } from "effect-eventsourcing/testing"
 *
 * // the first three snapshots that are read are damaged
 * const plan = Faults.onCall("SnapshotStore.get", [1, 2, 3], Faults.corrupt)
 * ```
 *
 * @since 0.1.0
 * @category faults
 */
export const corrupt: Fault = { _tag: "Corrupt" }

/**
 * Lets the call be carried out before the fault happens. It changes {@link die}, {@link hang}, {@link stuck} and
 * {@link interrupt}, and turns {@link fail} into {@link lostAcknowledgement}. Other faults stay as they are.
 *
 * @example
 * ```ts
 * import { Faults } from "effect-eventsourcing/testing"
 *
 * // the append is stored, and then the store dies
 * const plan = Faults.onCall("EventStore.append", 1, Faults.after(Faults.die))
 * ```
 *
 * @since 0.1.0
 * @category faults
 */
export const after = (fault: Fault): Fault => "when" in fault ? { ...fault, when: "After" } : fault

/**
 * Tests whether an error or a defect was injected, or was caused by an injected one.
 *
 * @example
 * ```ts
 * import { Faults } from "effect-eventsourcing/testing"
 * import { Effect } from "effect"
 *
 * // a failure that is not injected still fails the test
 * const test = Effect.catchIf(Effect.fail(new Error()), Faults.isInjected, () => Effect.void)
 * ```
 *
 * @since 0.1.0
 * @category guards
 */
export const isInjected: (error: unknown) => boolean = Internal.isInjected

/**
 * Decides which calls meet a fault. Each store that is wrapped with the plan starts it anew, with its own counts.
 *
 * @since 0.1.0
 * @category models
 */
export interface Plan extends Plans.Plan<Call, Fault> {}

/**
 * Injects no faults.
 *
 * @example
 * ```ts
 * import { Faults } from "effect-eventsourcing/testing"
 *
 * const plan = process.env.FAULTS === "on" ? Faults.onCall("EventStore.append", 1, Faults.fail) : Faults.none
 * ```
 *
 * @since 0.1.0
 * @category plans
 */
export const none: Plan = Plans.none

/**
 * Injects the fault into the n-th call of an operation, counted from 1, or into several of its calls. Throws an
 * `InvalidOption` if a number is not a whole number from 1 on.
 *
 * @example
 * ```ts
 * import { Faults } from "effect-eventsourcing/testing"
 *
 * const plan = Faults.onCall("EventStore.append", [2, 5], Faults.fail)
 * ```
 *
 * @since 0.1.0
 * @category plans
 */
export const onCall = (operation: Operation, n: number | ReadonlyArray<number>, fault: Fault): Plan => {
  const calls = new Set(typeof n === "number" ? [n] : n)
  for (const call of calls) orThrow(wholeFromOne("Faults.onCall n", call))
  return when((call) => call.operation === operation && calls.has(call.n), fault)
}

/**
 * Injects the fault into the calls that match the predicate.
 *
 * @example
 * ```ts
 * import { Faults } from "effect-eventsourcing/testing"
 *
 * // every read of one stream fails
 * const plan = Faults.when(({ operation, stream }) => operation === "EventStore.read" && stream?.id === "a", Faults.fail)
 * ```
 *
 * @since 0.1.0
 * @category plans
 */
export const when: (predicate: (call: Call) => boolean, fault: Fault) => Plan = Plans.when

/**
 * Injects faults at random: each call meets a fault with probability `rate`, and every one of `faults` is equally
 * likely. The same seed and the same calls give the same faults. Throws an `InvalidOption` for an invalid seed or rate,
 * and for an empty list of faults.
 *
 * @example
 * ```ts
 * import { Faults } from "effect-eventsourcing/testing"
 *
 * const operations = ["EventStore.append"] as const
 * const plan = Faults.seeded({ seed: 42, rate: 0.1, faults: [Faults.fail, Faults.lostAcknowledgement], operations })
 * ```
 *
 * @since 0.1.0
 * @category plans
 */
export const seeded = (
  options: Plans.Seeded<Fault> & {
    /** The operations whose calls may meet a fault. Default: all. */
    readonly operations?: ReadonlyArray<Operation> | undefined
  }
): Plan =>
  Plans.seeded("Faults.seeded", options, ({ operation }: Call) => options.operations?.includes(operation) !== false)

/**
 * Combines plans: a call meets the fault of the first plan that has one for it.
 *
 * @example
 * ```ts
 * import { Faults } from "effect-eventsourcing/testing"
 *
 * const some = Faults.seeded({ seed: 42, rate: 0.1, faults: [Faults.fail] })
 * const plan = Faults.firstOf(Faults.onCall("EventStore.append", 1, Faults.lostAcknowledgement), some)
 * ```
 *
 * @since 0.1.0
 * @category plans
 */
export const firstOf = (...plans: ReadonlyArray<Plan>): Plan => ({
  start: () => {
    const started = plans.map((plan) => plan.start())
    // call every plan, as a plan may count the calls
    return (call) => started.map((next) => next(call)).find((fault) => fault !== undefined)
  }
})

/**
 * Settings of a wrapped store.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options {
  /**
   * Called just before each fault happens. It is not called for a fault without effect: a `corrupt` of a call that has
   * no event or snapshot, or a fault after a call that failed by itself.
   */
  readonly onFault?: ((call: Call, fault: Fault) => void) | undefined
}

/**
 * Wraps an event store, so that its calls meet the faults of a plan.
 *
 * @example
 * ```ts
 * import { EventStore } from "effect-eventsourcing"
 * import { Faults } from "effect-eventsourcing/testing"
 * import { Effect } from "effect"
 *
 * const plan = Faults.onCall("EventStore.append", 1, Faults.fail)
 * const flaky = Effect.map(EventStore.makeMemory, (store) => Faults.makeEventStore(store, plan))
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const makeEventStore = (
  store: EventStore.EventStore["Type"],
  plan: Plan,
  options: Options = {}
): EventStore.EventStore["Type"] => Faulty.eventStore(store, start(plan, options.onFault))

/**
 * Wraps a snapshot store, so that its calls meet the faults of a plan.
 *
 * @example
 * ```ts
 * import { SnapshotStore } from "effect-eventsourcing"
 * import { Faults } from "effect-eventsourcing/testing"
 * import { Effect } from "effect"
 *
 * const plan = Faults.onCall("SnapshotStore.get", 1, Faults.corrupt)
 * const flaky = Effect.map(SnapshotStore.makeMemory, (store) => Faults.makeSnapshotStore(store, plan))
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const makeSnapshotStore = (
  store: SnapshotStore.SnapshotStore["Type"],
  plan: Plan,
  options: Options = {}
): SnapshotStore.SnapshotStore["Type"] => Faulty.snapshotStore(store, start(plan, options.onFault))

/**
 * Wraps the event store of another layer.
 *
 * @example
 * ```ts
 * import { EventStore } from "effect-eventsourcing"
 * import { Faults } from "effect-eventsourcing/testing"
 * import { Layer } from "effect"
 *
 * const Flaky = Faults.layerEventStore(Faults.onCall("EventStore.append", 3, Faults.lostAcknowledgement)).pipe(
 *   Layer.provide(EventStore.layerMemory)
 * )
 * ```
 *
 * @since 0.1.0
 * @category layers
 */
export const layerEventStore = (
  plan: Plan,
  options?: Options
): Layer.Layer<EventStore.EventStore, never, EventStore.EventStore> =>
  Layer.effect(
    EventStore.EventStore,
    Effect.map(EventStore.EventStore, (store) => makeEventStore(store, plan, options))
  )

/**
 * Wraps the snapshot store of another layer.
 *
 * @example
 * ```ts
 * import { SnapshotStore } from "effect-eventsourcing"
 * import { Faults } from "effect-eventsourcing/testing"
 * import { Layer } from "effect"
 *
 * const plan = Faults.seeded({ seed: 1, rate: 0.2, faults: [Faults.fail, Faults.die, Faults.hang, Faults.corrupt] })
 * const Flaky = Layer.provide(Faults.layerSnapshotStore(plan), SnapshotStore.layerMemory)
 * ```
 *
 * @since 0.1.0
 * @category layers
 */
export const layerSnapshotStore = (
  plan: Plan,
  options?: Options
): Layer.Layer<SnapshotStore.SnapshotStore, never, SnapshotStore.SnapshotStore> =>
  Layer.effect(
    SnapshotStore.SnapshotStore,
    Effect.map(SnapshotStore.SnapshotStore, (store) => makeSnapshotStore(store, plan, options))
  )
