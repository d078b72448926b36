/**
 * Tests the promises of a snapshot store, for authors of a backend.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import type * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as assert from "node:assert/strict"
import type * as Snapshot from "../Snapshot.js"
import * as SnapshotStore from "../SnapshotStore.js"
import * as StreamId from "../StreamId.js"
import * as Contract from "./Contract.js"

/**
 * Declares the contract as tests of the given runner.
 *
 * @example
 * ```ts skip-run
 * import { SnapshotStore } from "effect-eventsourcing"
 * import { SnapshotStoreContract } from "effect-eventsourcing/testing"
 * import { afterAll, describe, it } from "vitest"
 *
 * SnapshotStoreContract.suite({ afterAll, describe, it }, "my store", SnapshotStore.layerMemory)
 * ```
 *
 * @since 0.1.0
 * @category suites
 */
export const suite = (
  runner: Contract.Runner,
  name: string,
  layer: Layer.Layer<SnapshotStore.SnapshotStore, unknown>
): void => Contract.declare(runner, { name: `SnapshotStore contract: ${name}`, layer, cases })

const withFresh = (
  name: string,
  body: (
    store: SnapshotStore.SnapshotStore["Type"],
    aggregate: string,
    snapshot: (id: string, version: number, schemaVersion?: number, state?: string) => Snapshot.EncodedSnapshot
  ) => Contract.Body<never>
): Contract.Case<SnapshotStore.SnapshotStore> => ({
  name,
  run: Effect.flatMap(SnapshotStore.SnapshotStore, (store) => {
    const aggregate = `contract-${crypto.randomUUID()}`
    const snapshot = (id: string, version: number, schemaVersion = 1, state = `{"at":${version}}`) => ({
      stream: StreamId.make(aggregate, id),
      version,
      eventId: `event-${version}`,
      schemaVersion,
      fingerprint: `fingerprint of ${schemaVersion}`,
      state,
      time: 1_700_000_000_000 + version
    })
    return Effect.gen(() => body(store, aggregate, snapshot))
  })
})

const plain = (found: Option.Option<Snapshot.EncodedSnapshot>) =>
  Option.getOrNull(Option.map(found, (snapshot) => ({ ...snapshot, stream: { ...snapshot.stream } })))

/**
 * Lists the cases one by one.
 *
 * @example
 * ```ts
 * import { SnapshotStore } from "effect-eventsourcing"
 * import { SnapshotStoreContract } from "effect-eventsourcing/testing"
 * import { Effect } from "effect"
 *
 * for (const { run } of SnapshotStoreContract.cases) {
 *   await Effect.runPromise(Effect.provide(run, SnapshotStore.layerMemory))
 * }
 * ```
 *
 * @since 0.1.0
 * @category suites
 */
export const cases: ReadonlyArray<Contract.Case<SnapshotStore.SnapshotStore>> = [
  withFresh("a stream without a snapshot has none", function*(store, aggregate) {
    const stream = StreamId.make(aggregate, "a")
    assert.equal(plain(yield* store.get(stream, { schemaVersion: 1 })), null)
    assert.equal(yield* store.exists(stream), false)
    assert.equal(yield* store.delete(stream), 0)
    assert.equal(yield* store.deleteByType(aggregate), 0)
  }),

  withFresh("a saved snapshot is read back", function*(store, _aggregate, snapshot) {
    const states = [
      "{}",
      "null",
      "[]",
      "\"\\u0000\"",
      "\"\\ud800\"",
      "9007199254740993",
      "-0",
      "{\"__proto__\":1}",
      JSON.stringify("😀'\"\\".repeat(100_000))
    ]
    for (const [index, state] of states.entries()) {
      const saved = snapshot(`s-${index}`, 3, 1, state)
      assert.equal(yield* store.save(saved), "Saved")
      assert.deepEqual(plain(yield* store.get(saved.stream, { schemaVersion: 1 })), saved)
      assert.equal(yield* store.exists(saved.stream), true)
    }
  }),

  withFresh("a save never replaces a newer version, nor an equal one", function*(store, _aggregate, snapshot) {
    assert.equal(yield* store.save(snapshot("a", 5)), "Saved")
    assert.equal(yield* store.save(snapshot("a", 4)), "Superseded")
    assert.equal(yield* store.save(snapshot("a", 5, 1, "\"other\"")), "Superseded")
    assert.deepEqual(plain(yield* store.get(snapshot("a", 5).stream, { schemaVersion: 1 })), snapshot("a", 5))
    assert.equal(yield* store.save(snapshot("a", 6)), "Saved")
    assert.deepEqual(plain(yield* store.get(snapshot("a", 5).stream, { schemaVersion: 1 })), snapshot("a", 6))
  }),

  withFresh("concurrent saves in any order keep the highest version", function*(store, _aggregate, snapshot) {
    const versions = [7, 3, 20, 1, 19, 12, 20, 2, 15, 8]
    const outcomes = yield* Effect.forEach(versions, (version) => store.save(snapshot("a", version)), {
      concurrency: "unbounded"
    })
    assert.ok(outcomes.includes("Saved"))
    const found = plain(yield* store.get(snapshot("a", 1).stream, { schemaVersion: 1 }))
    assert.equal(found?.version, 20)
  }),

  withFresh("every schema version keeps its own snapshot", function*(store, _aggregate, snapshot) {
    const { stream } = snapshot("a", 1)
    yield* store.save(snapshot("a", 9, 2))
    yield* store.save(snapshot("a", 5, 3))
    yield* store.save(snapshot("a", 7, 5))
    const found = (schemaVersion: number) =>
      Effect.map(store.get(stream, { schemaVersion }), (found) => plain(found)?.schemaVersion)
    assert.equal(yield* found(3), 3)
    assert.equal(yield* found(2), 2)
    assert.equal(yield* found(4), 3)
    assert.equal(yield* found(9), 5)
    assert.equal(yield* found(1), 5)
    assert.equal(yield* store.exists(stream, { schemaVersion: 3 }), true)
    assert.equal(yield* store.exists(stream, { schemaVersion: 4 }), false)
  }),

  withFresh("get finds a migratable snapshot after the reader's own", function*(store, _aggregate, snapshot) {
    const { stream } = snapshot("a", 1)
    for (const schemaVersion of [1, 2, 3, 7]) {
      yield* store.save({ ...snapshot("a", 5, schemaVersion), fingerprint: `of ${schemaVersion}` })
    }
    const migratable = [
      { schemaVersion: 1, fingerprint: "of 1" },
      { schemaVersion: 2, fingerprint: "of another" }
    ]
    const found = (schemaVersion: number) =>
      Effect.map(store.get(stream, { schemaVersion, migratable }), (found) => plain(found)?.schemaVersion)
    assert.equal(yield* found(7), 7)
    assert.equal(yield* found(3), 3)
    assert.equal(yield* found(5), 1)
    yield* store.delete(stream, { schemaVersion: 1 })
    assert.equal(yield* found(5), 3)
    yield* store.delete(stream, { schemaVersion: 3 })
    yield* store.delete(stream, { schemaVersion: 2 })
    assert.equal(yield* found(5), 7)
  }),

  withFresh("delete removes all, one schema version, or one identity", function*(store, _aggregate, snapshot) {
    const { stream } = snapshot("a", 1)
    const saveAll = Effect.forEach([1, 2, 3], (schemaVersion) => store.save(snapshot("a", 4, schemaVersion)))
    yield* saveAll
    yield* store.save(snapshot("b", 4))
    assert.equal(yield* store.delete(stream, { schemaVersion: 2 }), 1)
    assert.equal(yield* store.exists(stream, { schemaVersion: 2 }), false)
    assert.equal(yield* store.delete(stream, { schemaVersion: 1, identity: { version: 4, eventId: "other" } }), 0)
    assert.equal(yield* store.delete(stream, { schemaVersion: 1, identity: { version: 3, eventId: "event-4" } }), 0)
    assert.equal(yield* store.delete(stream, { schemaVersion: 1, identity: { version: 4, eventId: "event-4" } }), 1)
    assert.equal(yield* store.exists(stream), true)
    yield* saveAll
    const { eventId, time, version } = snapshot("a", 4)
    assert.equal(yield* store.delete(stream, { schemaVersion: 3, identity: { version, eventId, time: time + 1 } }), 0)
    assert.equal(yield* store.delete(stream, { schemaVersion: 3, identity: { version, eventId, time } }), 1)
    assert.equal(yield* store.delete(stream), 2)
    assert.equal(yield* store.exists(stream), false)
    assert.equal(yield* store.exists(snapshot("b", 1).stream), true)
  }),

  withFresh("delete leaves the snapshots at a version or above it", function*(store, _aggregate, snapshot) {
    const { stream } = snapshot("a", 1)
    for (const [schemaVersion, version] of [[1, 3], [2, 4], [3, 5]]) {
      yield* store.save(snapshot("a", version, schemaVersion))
    }
    assert.equal(yield* store.delete(stream, { schemaVersion: 3, versionBelow: 5 }), 0)
    assert.equal(yield* store.delete(stream, { versionBelow: 4 }), 1)
    assert.equal(yield* store.exists(stream, { schemaVersion: 1 }), false)
    assert.equal(yield* store.delete(stream, { versionBelow: 5 }), 1)
    assert.equal(yield* store.exists(stream, { schemaVersion: 3 }), true)
    assert.equal(yield* store.delete(stream), 1)
  }),

  withFresh("after a delete a lower version may be saved", function*(store, _aggregate, snapshot) {
    const { stream } = snapshot("a", 9)
    yield* store.save(snapshot("a", 9))
    yield* store.delete(stream, { schemaVersion: 1, identity: { version: 9, eventId: "event-9" } })
    assert.equal(yield* store.save(snapshot("a", 4)), "Saved")
  }),

  withFresh("deleteByType deletes below a schema version and counts", function*(store, aggregate, snapshot) {
    const other = snapshot("a", 1)
    yield* store.save({ ...other, stream: StreamId.make(`${aggregate}-other`, "a") })
    for (const schemaVersion of [1, 2, 3]) {
      for (const id of ["a", "b"]) yield* store.save(snapshot(id, 4, schemaVersion))
    }
    assert.equal(yield* store.deleteByType(aggregate, { schemaVersionBelow: 3, dryRun: true }), 4)
    assert.equal(yield* store.deleteByType(aggregate, { dryRun: true }), 6)
    assert.equal(yield* store.deleteByType(aggregate, { schemaVersionBelow: 1 }), 0)
    assert.equal(yield* store.deleteByType(aggregate, { schemaVersionBelow: 2 }), 2)
    assert.equal(yield* store.exists(other.stream, { schemaVersion: 1 }), false)
    assert.equal(yield* store.exists(other.stream, { schemaVersion: 2 }), true)
    assert.equal(yield* store.deleteByType(aggregate), 4)
    assert.equal(yield* store.exists(other.stream), false)
    assert.equal(yield* store.deleteByType(`${aggregate}-other`), 1)
  }),

  withFresh("deleteByType with a limit deletes at most so many", function*(store, aggregate, snapshot) {
    for (const schemaVersion of [1, 2, 3]) {
      for (const id of ["a", "b", "c"]) yield* store.save(snapshot(id, 4, schemaVersion))
    }
    const below = { schemaVersionBelow: 3 }
    assert.equal(yield* store.deleteByType(aggregate, { ...below, limit: 4, dryRun: true }), 4)
    assert.equal(yield* store.deleteByType(aggregate, { ...below, limit: 4 }), 4)
    assert.equal(yield* store.deleteByType(aggregate, { ...below, limit: 4 }), 2)
    assert.equal(yield* store.deleteByType(aggregate, { ...below, limit: 4 }), 0)
    assert.equal(yield* store.deleteByType(aggregate, { limit: 1 }), 1)
    assert.equal(yield* store.deleteByType(aggregate), 2)
  }),

  withFresh("streams with unusual names do not see each other", function*(store, _aggregate, snapshot) {
    const ids = [
      "a",
      "A",
      "a ",
      "ä",
      "a\u0308",
      "'; DROP TABLE x; --",
      "\"",
      "%",
      "_",
      "__proto__",
      "constructor",
      "\n"
    ]
    for (const [index, id] of ids.entries()) yield* store.save(snapshot(id, index + 1))
    for (const [index, id] of ids.entries()) {
      const found = plain(yield* store.get(snapshot(id, 1).stream, { schemaVersion: 1 }))
      assert.deepEqual(found, snapshot(id, index + 1))
    }
  }),

  withFresh("invalid input is a typed error", function*(store, aggregate, snapshot) {
    const bad = ["", "\u0000", "\uD800", "x".repeat(1_025)].map((id) => StreamId.make(aggregate, id))
    const attempts: ReadonlyArray<Effect.Effect<unknown, SnapshotStore.SnapshotStoreError>> = [
      ...bad.flatMap((stream) => [
        store.get(stream, { schemaVersion: 1 }),
        store.exists(stream),
        store.delete(stream),
        store.save({ ...snapshot("a", 1), stream })
      ]),
      store.deleteByType(""),
      ...[NaN, 1.5, Infinity, 2 ** 31, -(2 ** 60)].flatMap((number) => [
        store.get(StreamId.make(aggregate, "a"), { schemaVersion: number }),
        store.save(snapshot("a", number)),
        store.deleteByType(aggregate, { schemaVersionBelow: number }),
        ...(Number.isInteger(number) && number > 0 ? [] : [store.deleteByType(aggregate, { limit: number })])
      ])
    ]
    for (const attempt of attempts) {
      const failure = yield* Effect.flip(attempt)
      assert.equal(failure._tag, "SnapshotStoreError")
      assert.equal(failure.reason, "InvalidInput")
    }
  })
]
