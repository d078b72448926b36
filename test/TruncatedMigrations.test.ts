// snapshots of other schema versions in a stream whose beginning was removed
import { assert, describe } from "@effect/vitest"
import { Effect, Fiber, TestClock } from "effect"
import { CheckpointStore, Repository, Retention, SnapshotPolicy, SnapshotStore, Streams } from "effect-eventsourcing"
import { deposit, id, open, stream } from "./fixtures/Account.js"
import { AccountV2, AccountV3 } from "./fixtures/AccountVersions.js"
import { backends, kinds, on } from "./utils/backends.js"

const a = id("a")

const manual = { snapshots: SnapshotPolicy.manual }

describe("a new schema version that was deployed, rolled back and deployed again", () => {
  for (const events of ["archive", "remove"] as const) {
    on(backends)(
      `migrates the snapshot below which the stream was truncated meanwhile (${events})`,
      () =>
        Effect.gen(function*() {
          const before = yield* Repository.make(AccountV2, manual)
          const after = yield* Repository.make(AccountV3, manual)
          const streams = yield* Streams.Streams
          yield* before.executeAll(a, [open, deposit(1), deposit(2)])
          yield* after.createSnapshot(a)
          yield* before.executeAll(a, [deposit(3), deposit(4)])
          const { state } = yield* after.load(a)
          yield* before.createSnapshot(a)
          yield* streams.truncate(stream("a"), { aggregate: AccountV2, before: 6, events })
          assert.deepStrictEqual((yield* after.load(a)).state, state)
        }).pipe(Effect.provide(Streams.layer))
    )
  }
})

/** A new schema version saves the snapshot of version 3 late: what came after it was removed below an older schema version. */
const savedLate = Effect.gen(function*() {
  const before = yield* Repository.make(AccountV2, manual)
  const after = yield* Repository.make(AccountV3, manual)
  const streams = yield* Streams.Streams
  const snapshots = yield* SnapshotStore.SnapshotStore
  yield* before.executeAll(a, [open, deposit(1), deposit(2)])
  yield* after.createSnapshot(a)
  const late = yield* Effect.flatten(snapshots.get(stream("a"), { schemaVersion: 3 }))
  yield* before.executeAll(a, [deposit(3), deposit(4)])
  yield* before.createSnapshot(a)
  yield* streams.truncate(stream("a"), { aggregate: AccountV2, before: 6, events: "remove" })
  const { state } = yield* after.load(a)
  yield* snapshots.save(late)
  return { before, after, snapshots, state }
})

const yieldToOthers = Effect.promise(() => new Promise((resolve) => setImmediate(resolve)))

describe("a late snapshot of a new schema version, whose tail was removed", () => {
  on(kinds)("does not let Retention remove the older one, which has the state", () =>
    Effect.gen(function*() {
      const { before } = yield* savedLate
      const report = yield* Retention.run({ snapshots: { aggregates: [AccountV3] } }, { pause: 0 })
      assert.deepStrictEqual(report, { snapshots: { removed: 0 } })
      assert.strictEqual((yield* before.load(a)).state.balance, 10)
    }).pipe(Effect.provide(Streams.layer), Effect.provide(CheckpointStore.layerMemory)))

  on(kinds)("gives way to the older one, which is migrated", () =>
    Effect.gen(function*() {
      const { after, snapshots, state } = yield* savedLate
      const loaded = yield* after.load(a)
      assert.deepStrictEqual(loaded.state, state)
      assert.deepStrictEqual(loaded.snapshotOutcome, { _tag: "Migrated", from: 2 })
      assert.isFalse(yield* snapshots.exists(stream("a"), { schemaVersion: 3 }))
      assert.deepInclude((yield* after.createSnapshot(a)).snapshot, { schemaVersion: 3, version: 6 })
    }).pipe(Effect.provide(Streams.layer)))

  on(backends)(
    "fails the load as before if it cannot be deleted, or the store says so in vain",
    () =>
      Effect.gen(function*() {
        const { snapshots } = yield* savedLate
        const down = new SnapshotStore.SnapshotStoreError({
          operation: "delete",
          aggregate: "Account",
          reason: "Unavailable",
          detail: "down"
        })
        for (const deletion of [down, Effect.die("broken"), Effect.never, Effect.succeed(0), Effect.succeed(1)]) {
          const poor = { ...snapshots, delete: () => deletion }
          const after = yield* Effect.provideService(
            Repository.make(AccountV3, { ...manual, snapshotTimeout: "20 millis" }),
            SnapshotStore.SnapshotStore,
            poor
          )
          const loading = yield* Effect.fork(Effect.flip(after.load(a)))
          yield* Effect.repeatN(Effect.zipRight(yieldToOthers, TestClock.adjust("20 millis")), 20)
          assert.deepInclude(yield* Fiber.join(loading), { _tag: "HistoryGap", removed: true })
        }
      }).pipe(Effect.provide(Streams.layer))
  )
})
