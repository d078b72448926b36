// a snapshot that was refuted is removed late, when others have replaced it and removed the beginning of the stream
import { assert, describe } from "@effect/vitest"
import { Effect, Option, TestClock } from "effect"
import { Repository, SnapshotPolicy, SnapshotStore, Streams } from "effect-eventsourcing"
import { Account, deposit, id, open, stream } from "./fixtures/Account.js"
import { backends, on } from "./utils/backends.js"

const a = id("a")

const manual = { snapshots: SnapshotPolicy.manual }

/** A stream with a snapshot whose state is another one. */
const wrong = (state: string) =>
  Effect.gen(function*() {
    const accounts = yield* Repository.make(Account, manual)
    const snapshots = yield* SnapshotStore.SnapshotStore
    yield* accounts.executeAll(a, [open, deposit(1), deposit(2)])
    yield* accounts.createSnapshot(a)
    const right = Option.getOrThrow(yield* snapshots.get(stream("a"), { schemaVersion: 1 }))
    yield* snapshots.delete(stream("a"))
    yield* snapshots.save({ ...right, state })
    yield* TestClock.adjust(1)
    return { accounts, snapshots }
  })

/** Removes the wrong snapshot, takes the right one, and removes the events. */
const replace = (accounts: Repository.Repository<typeof Account>) =>
  Effect.gen(function*() {
    const streams = yield* Streams.Streams
    yield* accounts.verify(a)
    yield* accounts.createSnapshot(a)
    yield* streams.truncate(stream("a"), { aggregate: Account, before: 4, events: "remove" })
  })

describe("the removal of a snapshot that was refuted leaves the one that has replaced it", () => {
  on(backends)("of a verification", () =>
    Effect.gen(function*() {
      const { accounts, snapshots } = yield* wrong(`{"open":true,"balance":4}`)
      const streams = yield* Streams.Streams
      const others = yield* Effect.cached(Effect.provideService(replace(accounts), Streams.Streams, streams))
      const late = yield* Effect.provideService(Repository.make(Account, manual), SnapshotStore.SnapshotStore, {
        ...snapshots,
        delete: (stream, options) => Effect.zipRight(Effect.orDie(others), snapshots.delete(stream, options))
      })
      yield* Effect.ignore(late.verify(a))
      assert.strictEqual((yield* accounts.load(a)).state.balance, 3)
    }).pipe(Effect.provide(Streams.layer)))

  on(backends)("of a save that ends after it", () =>
    Effect.gen(function*() {
      const { accounts, snapshots } = yield* wrong("{}")
      const streams = yield* Streams.Streams
      const others = yield* Effect.cached(Effect.provideService(replace(accounts), Streams.Streams, streams))
      const late = yield* Effect.provideService(Repository.make(Account, manual), SnapshotStore.SnapshotStore, {
        ...snapshots,
        delete: (stream, options) => Effect.zipRight(Effect.orDie(others), snapshots.delete(stream, options)),
        save: () => Effect.die("killed")
      })
      assert.strictEqual((yield* Effect.flip(late.createSnapshot(a)))._tag, "SnapshotStoreError")
      assert.strictEqual((yield* accounts.load(a)).state.balance, 3)
    }).pipe(Effect.provide(Streams.layer)))
})
