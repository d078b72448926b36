/**
 * Tests the promises of streams that end, are truncated or are rewritten, for authors of a backend.
 *
 * @since 0.1.0
 */
import type * as Layer from "effect/Layer"
import type * as EventStore from "../EventStore.js"
import * as Deletions from "../internal/testing/deletionCases.js"
import * as Moving from "../internal/testing/movingCases.js"
import * as Retentions from "../internal/testing/retentionCases.js"
import * as Rewrites from "../internal/testing/rewriteCases.js"
import * as Truncations from "../internal/testing/truncationCases.js"
import type * as SnapshotStore from "../SnapshotStore.js"
import type * as Streams from "../Streams.js"
import * as Contract from "./Contract.js"

/**
 * The stores, and the service on them.
 *
 * @since 0.1.0
 * @category models
 */
export type Services = EventStore.EventStore | SnapshotStore.SnapshotStore | Streams.Streams

/**
 * Declares the contract as tests of the given runner.
 *
 * @example
 * ```ts skip-run
 * import { EventStore, SnapshotStore, Streams } from "effect-eventsourcing"
 * import { StreamsContract } from "effect-eventsourcing/testing"
 * import { Layer } from "effect"
 * import { afterAll, describe, it } from "vitest"
 *
 * const stores = Layer.merge(EventStore.layerMemory, SnapshotStore.layerMemory)
 * StreamsContract.suite({ afterAll, describe, it }, "my store", Layer.provideMerge(Streams.layer, stores))
 * ```
 *
 * @since 0.1.0
 * @category suites
 */
export const suite = (runner: Contract.Runner, name: string, layer: Layer.Layer<Services, unknown>): void =>
  Contract.declare(runner, { name: `Streams contract: ${name}`, layer, cases })

/**
 * Lists the cases one by one.
 *
 * @example
 * ```ts
 * import { StreamsContract } from "effect-eventsourcing/testing"
 *
 * const names = StreamsContract.cases.map(({ name }) => name)
 * ```
 *
 * @since 0.1.0
 * @category suites
 */
export const cases: ReadonlyArray<Contract.Case<Services>> = [
  ...Deletions.cases,
  ...Rewrites.cases,
  ...Truncations.cases,
  ...Retentions.cases,
  ...Moving.cases
]
