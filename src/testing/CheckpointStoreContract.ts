/**
 * Tests the promises of a checkpoint store, for authors of a backend.
 *
 * @since 0.1.0
 */
import type * as Effect from "effect/Effect"
import type * as Layer from "effect/Layer"
import type * as CheckpointStore from "../CheckpointStore.js"
import * as Advances from "../internal/testing/advanceCases.js"
import * as Input from "../internal/testing/checkpointInputCases.js"
import * as Leases from "../internal/testing/leaseCases.js"
import * as Switches from "../internal/testing/switchCases.js"
import * as Contract from "./Contract.js"

/**
 * What the cases can do with a backend besides its operations.
 *
 * @since 0.1.0
 * @category models
 */
export interface Capabilities<out R> {
  /**
   * Ends the time of all leases, memberships and holds of a subscription, for instance by an `UPDATE` of their columns. In
   * a transaction it is part of that. Without it those cases are left out.
   */
  readonly expire?: ((key: CheckpointStore.Key) => Effect.Effect<void, unknown, R>) | undefined
}

/**
 * Declares the contract as tests of the given runner.
 *
 * @example
 * ```ts skip-run
 * import { CheckpointStore } from "effect-eventsourcing"
 * import { CheckpointStoreContract } from "effect-eventsourcing/testing"
 * import { afterAll, describe, it } from "vitest"
 *
 * CheckpointStoreContract.suite({ afterAll, describe, it }, "my store", CheckpointStore.layerMemory)
 * ```
 *
 * @since 0.1.0
 * @category suites
 */
export const suite = <R = never>(
  runner: Contract.Runner,
  name: string,
  layer: Layer.Layer<CheckpointStore.CheckpointStore | R, unknown>,
  capabilities: Capabilities<R> = {}
): void => Contract.declare(runner, { name: `CheckpointStore contract: ${name}`, layer, cases: cases(capabilities) })

/**
 * Lists the cases one by one.
 *
 * @example
 * ```ts
 * import { CheckpointStore } from "effect-eventsourcing"
 * import { CheckpointStoreContract } from "effect-eventsourcing/testing"
 * import { Effect } from "effect"
 *
 * for (const { run } of CheckpointStoreContract.cases()) {
 *   await Effect.runPromise(Effect.provide(run, CheckpointStore.layerMemory))
 * }
 * ```
 *
 * @since 0.1.0
 * @category suites
 */
export const cases = <R = never>(
  { expire }: Capabilities<R> = {}
): ReadonlyArray<Contract.Case<CheckpointStore.CheckpointStore | R>> => [
  ...Leases.registrations,
  ...Leases.leases,
  ...Advances.advances,
  ...Advances.stops,
  ...Advances.parking,
  ...Switches.repartitions,
  ...Switches.promotions,
  ...Input.cases,
  ...(expire === undefined ? [] : Leases.expiring(expire))
]
