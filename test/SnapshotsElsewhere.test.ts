// operations on streams whose snapshots are in another database than the events
import { SqlClient } from "@effect/sql"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Layer, TestClock } from "effect"
import { Repository, SnapshotPolicy, SnapshotStore, SqlEventStore, Streams } from "effect-eventsourcing"
import { Account, deposit, id, open, stream } from "./fixtures/Account.js"
import { sqliteFile } from "./utils/stores.js"

const a = id("a")

const stores = Layer.provideMerge(
  Streams.layer,
  Layer.provideMerge(Layer.merge(Layer.fresh(SnapshotStore.layerMemory), SqlEventStore.layer), sqliteFile(":memory:"))
)

const written = Effect.gen(function*() {
  const accounts = yield* Repository.make(Account, { snapshots: SnapshotPolicy.manual })
  yield* accounts.executeAll(a, [open, deposit(1), deposit(2)])
  yield* accounts.createSnapshot(a)
  return accounts
})

const truncation = { aggregate: Account, before: 4, events: "remove" } as const

describe("with snapshots in another database", () => {
  it.scoped("a deletion that is rolled back leaves the only source of the state", () =>
    Effect.gen(function*() {
      const accounts = yield* written
      const streams = yield* Streams.Streams
      yield* streams.truncate(stream("a"), truncation)
      const { withTransaction } = yield* SqlClient.SqlClient
      for (const events of ["keep", "remove"] as const) {
        const deleting = streams.delete(stream("a"), { events })
        const undone = yield* Effect.flip(withTransaction(Effect.zipRight(deleting, Effect.fail("undone"))))
        assert.strictEqual(undone, "undone")
        assert.strictEqual((yield* accounts.load(a)).state.balance, 3)
      }
      yield* withTransaction(streams.delete(stream("a"), { events: "keep" }))
      assert.strictEqual((yield* Effect.flip(accounts.load(a)))._tag, "StreamDeleted")
    }).pipe(Effect.provide(stores)))

  for (const operation of ["get", "save"] as const) {
    it.scoped(`a truncation does not wait for a snapshot store that hangs (${operation})`, () =>
      Effect.gen(function*() {
        const accounts = yield* written
        const snapshots = yield* SnapshotStore.SnapshotStore
        const hanging: SnapshotStore.SnapshotStore["Type"] = operation === "save"
          ? { ...snapshots, save: () => Effect.never }
          // a load asks for snapshots that can be migrated too
          : { ...snapshots, get: (of, options) => options.migratable ? snapshots.get(of, options) : Effect.never }
        const streams = yield* Effect.provideService(Streams.make, SnapshotStore.SnapshotStore, hanging)
        const truncating = yield* Effect.fork(Effect.flip(streams.truncate(stream("a"), truncation)))
        // a command of another stream waits for the transaction of the truncation
        const command = yield* Effect.fork(Effect.zipRight(Effect.yieldNow(), accounts.execute(id("b"), open)))
        while (command.unsafePoll() === null || truncating.unsafePoll() === null) {
          yield* TestClock.adjust("1 second")
          yield* Effect.promise(() => new Promise<void>((resolve) => setImmediate(resolve)))
        }
        assert.deepInclude(yield* Fiber.join(truncating), {
          _tag: "SnapshotStoreError",
          operation,
          reason: "Unavailable"
        })
        assert.strictEqual((yield* Fiber.join(command)).version, 1)
        assert.strictEqual((yield* accounts.load(a)).version, 3)
      }).pipe(Effect.provide(stores)))
  }
})
