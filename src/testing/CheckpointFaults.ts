/**
 * Faults of checkpoint stores: lost leases, commits that fail, and processes that freeze in a transaction.
 *
 * The plans and the other faults are those of `Faults`.
 *
 * @since 0.1.0
 */
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { CheckpointStore } from "../CheckpointStore.js"
import { orThrow, waitProblem } from "../internal/options.js"
import * as FaultyCheckpoints from "../internal/testing/faultyCheckpoints.js"
import { start } from "../internal/testing/injection.js"
import type { Fault, Options, Plan } from "./Faults.js"

/**
 * Another process takes the lease before the call is carried out, so that the call fails with `LeaseLost`. It changes
 * `CheckpointStore.advance`, `renew` and `stop`.
 *
 * @example
 * ```ts
 * import { CheckpointFaults, Faults } from "effect-eventsourcing/testing"
 *
 * const plan = Faults.onCall("CheckpointStore.advance", 3, CheckpointFaults.loseLease)
 * ```
 *
 * @since 0.1.0
 * @category faults
 */
export const loseLease: Fault = { _tag: "LoseLease" }

/**
 * The effect of the call runs, and its transaction is rolled back. The call fails with the store's typed error. It changes
 * `CheckpointStore.advance`, `unpark` and `promote`.
 *
 * @example
 * ```ts
 * import { CheckpointFaults, Faults } from "effect-eventsourcing/testing"
 *
 * // the first batch of a projection is handled, but not committed
 * const plan = Faults.onCall("CheckpointStore.advance", 1, CheckpointFaults.failCommit)
 * ```
 *
 * @since 0.1.0
 * @category faults
 */
export const failCommit: Fault = { _tag: "FailCommit" }

/**
 * The process stands still inside its transaction, after the effect of the call and before its commit, by Effect's
 * `Clock`. It changes `CheckpointStore.advance`, `unpark` and `promote`; `Faults.delay` stops a process before any call.
 * Throws an `InvalidOption` if the duration is negative or infinite.
 *
 * @example
 * ```ts
 * import { CheckpointFaults, Faults } from "effect-eventsourcing/testing"
 *
 * const plan = Faults.onCall("CheckpointStore.advance", 1, CheckpointFaults.freeze("10 seconds"))
 * ```
 *
 * @since 0.1.0
 * @category faults
 */
export const freeze = (duration: Duration.DurationInput): Fault => {
  orThrow(waitProblem("CheckpointFaults.freeze duration", duration))
  return { _tag: "Freeze", duration }
}

/**
 * Wraps a checkpoint store, so that its calls meet the faults of a plan. The error of a call that fails before it was
 * carried out has `mayHaveHappened: false`, that of `Faults.lostAcknowledgement` has `true`.
 *
 * @example
 * ```ts
 * import { CheckpointStore } from "effect-eventsourcing"
 * import { CheckpointFaults, Faults } from "effect-eventsourcing/testing"
 * import { Effect } from "effect"
 *
 * const plan = Faults.onCall("CheckpointStore.advance", 1, Faults.lostAcknowledgement)
 * const flaky = Effect.map(CheckpointStore.makeMemory, (store) => CheckpointFaults.make(store, plan))
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (
  store: CheckpointStore["Type"],
  plan: Plan,
  options: Options = {}
): CheckpointStore["Type"] => FaultyCheckpoints.checkpointStore(store, start(plan, options.onFault))

/**
 * Wraps the checkpoint store of another layer.
 *
 * @example
 * ```ts
 * import { CheckpointStore } from "effect-eventsourcing"
 * import { CheckpointFaults, Faults } from "effect-eventsourcing/testing"
 * import { Layer } from "effect"
 *
 * const plan = Faults.seeded({ seed: 1, rate: 0.1, faults: [Faults.fail, Faults.lostAcknowledgement, CheckpointFaults.loseLease] })
 * const Flaky = Layer.provide(CheckpointFaults.layer(plan), CheckpointStore.layerMemory)
 * ```
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = (
  plan: Plan,
  options?: Options
): Layer.Layer<CheckpointStore, never, CheckpointStore> =>
  Layer.effect(
    CheckpointStore,
    Effect.map(CheckpointStore, (store) => make(store, plan, options))
  )
