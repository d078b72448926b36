/**
 * Declares the cases of the contract suites as tests of any runner.
 *
 * @since 0.1.0
 */
import * as Layer from "effect/Layer"
import * as ManagedRuntime from "effect/ManagedRuntime"
import type { Body, Case } from "../internal/testing/fresh.js"

export type { Body, Case }

/**
 * The functions of a test runner that a suite calls: those of vitest, jest, mocha and `node:test` fit.
 *
 * @since 0.1.0
 * @category models
 */
export interface Runner {
  readonly describe: (name: string, body: () => void) => unknown
  /** The timeout is in milliseconds. A runner without timeouts may ignore it. */
  readonly it: (name: string, body: () => Promise<void>, timeout?: number) => unknown
  readonly afterAll: (body: () => Promise<void>) => unknown
}

/**
 * Declares one test for each case. All cases share one instance of the layer.
 *
 * @example
 * ```ts skip-run
 * import { SnapshotStore } from "effect-eventsourcing"
 * import { Contract, SnapshotStoreContract } from "effect-eventsourcing/testing"
 * import { afterAll, describe, it } from "vitest"
 *
 * const cases = SnapshotStoreContract.cases.filter(({ name }) => !name.startsWith("deleteByType"))
 * Contract.declare({ afterAll, describe, it }, { name: "my store", layer: SnapshotStore.layerMemory, cases })
 * ```
 *
 * @since 0.1.0
 * @category suites
 */
export const declare = <R>(
  runner: Runner,
  options: {
    readonly name: string
    readonly layer: Layer.Layer<R, unknown>
    readonly cases: ReadonlyArray<Case<R>>
  }
): void => {
  runner.describe(options.name, () => {
    const runtime = ManagedRuntime.make(Layer.orDie(options.layer))
    runner.afterAll(() => runtime.dispose())
    for (const { name, run } of options.cases) runner.it(name, () => runtime.runPromise(run))
  })
}
