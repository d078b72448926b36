// a snapshot that was refuted is removed late, when others have replaced it and removed the beginning of the stream
import { assert, describe } from "@effect/vitest"
import { Effect, Option, Schema, TestClock } from "effect"
import { Aggregate, EventStore, Repository, SnapshotPolicy, SnapshotStore, Streams } from "effect-eventsourcing"
import {
  Account,
  AccountCommand,
  AccountEvent,
  AccountId,
  AccountState,
  deposit,
  id,
  open,
  stream
} from "./fixtures/Account.js"
import { Doubled } from "./fixtures/AccountVersions.js"
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

/** A schema of the state that was changed without a new version. */
const Drifted = Aggregate.make({
  name: "Account",
  id: AccountId,
  state: Schema.Struct({ ...AccountState.fields, closed: Schema.optionalWith(Schema.Boolean, { exact: true }) }),
  event: AccountEvent,
  command: AccountCommand,
  initial: Account.initial,
  evolve: (state, event) => Account.evolve(state, event),
  decide: (state, command) => Account.decide(state, command)
})

describe("a build that refutes the snapshots of another one", () => {
  /** A store in which the other build removes the beginning of a stream just after the first replay. */
  const truncated = Effect.gen(function*() {
    const accounts = yield* Repository.make(Account, manual)
    yield* accounts.executeAll(a, [open, deposit(1), deposit(2)])
    yield* accounts.createSnapshot(a)
    const streams = yield* Streams.Streams
    const store = yield* EventStore.EventStore
    const once = yield* Effect.once(streams.truncate(stream("a"), { aggregate: Account, before: 4, events: "remove" }))
    const readTail: EventStore.ReplaySeam["readTail"] = (of, options) => {
      const read = store.replay.readTail(of, options)
      return options.fromVersion === 1 ? Effect.zipLeft(read, Effect.orDie(once)) : read
    }
    return { accounts, store: { ...store, replay: { ...store.replay, readTail } } }
  })

  on(backends)("leaves one that is the only source of the state: verify", () =>
    Effect.gen(function*() {
      const { accounts, store } = yield* truncated
      const doubled = yield* Effect.provideService(Repository.make(Doubled(), manual), EventStore.EventStore, store)
      assert.strictEqual((yield* Effect.flip(doubled.verify(a)))._tag, "HistoryGap")
      assert.strictEqual((yield* accounts.load(a)).state.balance, 3)
    }).pipe(Effect.provide(Streams.layer)))

  on(backends)("leaves one that is the only source of the state: a save that fails", () =>
    Effect.gen(function*() {
      const { accounts, store } = yield* truncated
      const snapshots = yield* SnapshotStore.SnapshotStore
      const drifted = yield* Repository.make(Drifted, manual).pipe(
        Effect.provideService(EventStore.EventStore, store),
        Effect.provideService(SnapshotStore.SnapshotStore, { ...snapshots, save: () => Effect.die("killed") })
      )
      assert.strictEqual((yield* Effect.flip(drifted.createSnapshot(a)))._tag, "SnapshotStoreError")
      assert.strictEqual((yield* accounts.load(a)).state.balance, 3)
    }).pipe(Effect.provide(Streams.layer)))
})

describe("a writer whose state is based on a snapshot that was refuted", () => {
  on(backends)("does not save it over the right one that has replaced it", () =>
    Effect.gen(function*() {
      const { accounts } = yield* wrong(`{"open":true,"balance":4}`)
      const saving = yield* Repository.make(Account, { snapshots: SnapshotPolicy.sync({ every: 2 }) })
      const writer = yield* saving.hold(a)
      yield* writer.load
      yield* TestClock.adjust(1)
      // of the same version and event
      yield* replace(accounts)
      yield* writer.execute(deposit(1))
      yield* writer.execute(deposit(1))
      assert.deepInclude(yield* accounts.load(a), { version: 6, state: { open: true, balance: 5 } })
    }).pipe(Effect.provide(Streams.layer)))
})

describe("a truncation", () => {
  // the snapshots in memory are not in one transaction with the events
  on(backends.filter(([name]) => name !== "memory"))(
    "keeps the snapshot that it has verified, and not one that has replaced it",
    () =>
      Effect.gen(function*() {
        const { accounts, snapshots } = yield* wrong(`{"open":true,"balance":3}`)
        const store = yield* EventStore.EventStore
        const right = Option.getOrThrow(yield* snapshots.get(stream("a"), { schemaVersion: 1 }))
        const replacing = Effect.zipRight(
          snapshots.delete(stream("a")),
          snapshots.save({ ...right, state: `{"open":true,"balance":4}`, time: right.time + 1 })
        )
        const life = Option.map(store.replay.life, (life): EventStore.LifeSeam => ({
          ...life,
          transaction: (of, effect) => Effect.zipRight(Effect.orDie(replacing), life.transaction(of, effect))
        }))
        const streams = yield* Effect.provideService(Streams.make, EventStore.EventStore, {
          ...store,
          replay: { ...store.replay, life }
        })
        yield* streams.truncate(stream("a"), { aggregate: Account, before: 4, events: "remove" })
        assert.deepInclude(yield* accounts.load(a), { snapshotVersion: 3, state: { open: true, balance: 3 } })
      })
  )
})
