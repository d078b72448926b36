import { SqlClient } from "@effect/sql"
import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Fiber, Layer, Option, Schedule } from "effect"
import {
  EventStore,
  ExpectedVersion,
  Metrics,
  Repository,
  SnapshotPolicy,
  SnapshotStore,
  StreamId
} from "effect-eventsourcing"
import { Account, type AccountEvent, type AccountState, AccountV2, deposit, id, open } from "./fixtures/Account.js"
import { each, memoryStores, sqliteFile, sqlStores } from "./utils/backends.js"
import { everything } from "./utils/mode.js"
import { counted, lines } from "./utils/observe.js"

const stream = StreamId.make("Account", "a")

const write = (events: number, text = "a") =>
  Effect.flatMap(
    Repository.make(Account),
    (accounts) => accounts.executeAll(id(text), [open, ...Array.from({ length: events - 1 }, () => deposit(1))])
  )

const tooLong = (error: { readonly _tag: string }) =>
  error instanceof Repository.ReplayTooLong && error.stream.aggregate === "Account"

describe("maxReplay", () => {
  each(
    "a load or a command that would fold more fails fast, and createSnapshot is the way out",
    () =>
      Effect.gen(function*() {
        yield* write(31)
        for (const pageSize of [2, 7, 2_000]) {
          const bounded = yield* Repository.make(Account, { snapshots: SnapshotPolicy.manual, maxReplay: 30, pageSize })
          const failure = yield* Effect.flip(bounded.load(id("a")))
          assert.isTrue(tooLong(failure))
          assert.include(failure.message, "30 events")
          assert.isTrue(tooLong(yield* Effect.flip(bounded.execute(id("a"), deposit(1)))))
          const exact = yield* Repository.make(Account, { snapshots: SnapshotPolicy.manual, maxReplay: 31, pageSize })
          assert.deepInclude(yield* exact.load(id("a")), { version: 31, replayed: 31 })
        }
        const bounded = yield* Repository.make(Account, { snapshots: SnapshotPolicy.manual, maxReplay: 30 })
        assert.deepInclude(yield* bounded.verify(id("a")), { _tag: "NoSnapshot" })
        yield* bounded.createSnapshot(id("a"))
        assert.deepInclude(yield* bounded.load(id("a")), { snapshotVersion: 31, replayed: 0 })
        // the tail counts likewise
        yield* write(30)
        assert.deepInclude(yield* bounded.load(id("a")), { snapshotVersion: 31, replayed: 29 })
        yield* write(3)
        assert.isTrue(tooLong(yield* Effect.flip(bounded.load(id("a")))))
        assert.deepInclude(yield* bounded.verify(id("a")), { _tag: "Verified" })
      })
  )

  each("a limit of one event", () =>
    Effect.gen(function*() {
      yield* write(1)
      const bounded = yield* Repository.make(Account, { snapshots: SnapshotPolicy.manual, maxReplay: 1 })
      assert.deepInclude(yield* bounded.load(id("a")), { version: 1 })
      yield* bounded.execute(id("a"), deposit(1))
      assert.isTrue(tooLong(yield* Effect.flip(bounded.load(id("a")))))
      yield* bounded.createSnapshot(id("a"))
      assert.deepInclude(yield* bounded.load(id("a")), { version: 2, replayed: 0 })
      yield* bounded.execute(id("a"), deposit(1))
      assert.deepInclude(yield* bounded.load(id("a")), { version: 3, replayed: 1 })
    }))

  each("in background mode a worker takes a snapshot, so that the next load is short", () =>
    Effect.gen(function*() {
      yield* write(50)
      const bounded = yield* Repository.make(Account, {
        snapshots: SnapshotPolicy.background({ every: 1_000 }),
        maxReplay: 10
      })
      assert.isTrue(tooLong(yield* Effect.flip(bounded.load(id("a")))))
      yield* bounded.awaitPendingSnapshots
      assert.deepInclude(yield* bounded.load(id("a")), { snapshotVersion: 50, replayed: 0 })
      // a command asks for it too
      yield* write(50, "c")
      assert.isTrue(tooLong(yield* Effect.flip(bounded.execute(id("c"), deposit(1)))))
      yield* bounded.awaitPendingSnapshots
      assert.deepInclude(yield* bounded.load(id("c")), { snapshotVersion: 50, replayed: 0 })
      yield* write(50, "b")
      const reader = yield* Repository.make(Account, {
        snapshots: SnapshotPolicy.background({ every: 1_000 }),
        maxReplay: 10,
        snapshotOnLoad: false
      })
      assert.isTrue(tooLong(yield* Effect.flip(reader.load(id("b")))))
      yield* reader.awaitPendingSnapshots
      assert.isFalse(yield* (yield* SnapshotStore.SnapshotStore).exists(StreamId.make("Account", "b")))
    }))
})

describe("concurrentReplays", () => {
  /** Counts the reads that go on at a time; every read takes a few turns. */
  const watched = (isCounted: (fromVersion: number) => boolean = () => true) =>
    Effect.map(EventStore.EventStore, (store) => {
      const seen = { now: 0, most: 0 }
      const reading = EventStore.EventStore.of({
        ...store,
        replay: {
          ...store.replay,
          readTail: (stream, options) =>
            !isCounted(options.fromVersion) ? store.replay.readTail(stream, options) : Effect.acquireUseRelease(
              Effect.sync(() => {
                seen.most = Math.max(seen.most, ++seen.now)
              }),
              () => Effect.zipRight(Effect.repeatN(Effect.yieldNow(), 20), store.replay.readTail(stream, options)),
              () =>
                Effect.sync(() => {
                  seen.now--
                })
            )
        }
      })
      return { seen, reading }
    })

  const ids = Array.from({ length: 20 }, (_, n) => `s-${n}`)

  each("limits the replays after a mass invalidation", () =>
    Effect.gen(function*() {
      const old = yield* Repository.make(Account, { snapshots: SnapshotPolicy.manual })
      for (const text of ids) {
        yield* write(9, text)
        yield* old.createSnapshot(id(text))
      }
      const { reading, seen } = yield* watched()
      for (const pageSize of [3, 2_000]) {
        for (const cap of [1, 3]) {
          seen.most = 0
          const now = yield* Repository.make(AccountV2, {
            snapshots: SnapshotPolicy.manual,
            concurrentReplays: cap,
            pageSize
          }).pipe(
            Effect.provideService(EventStore.EventStore, {
              ...reading,
              replay: { ...reading.replay, withSnapshots: () => Option.none() }
            })
          )
          const loaded = yield* Effect.forEach(ids, (text) => now.load(id(text)), { concurrency: "unbounded" })
          assert.isTrue(
            loaded.every(({ replayed, snapshotOutcome: snapshot }) =>
              replayed === 9 && snapshot._tag === "SchemaVersionMismatch"
            )
          )
          assert.strictEqual(seen.most, cap)
        }
      }
      // nobody is in the way of those whose snapshots are good
      seen.most = 0
      const good = yield* Repository.make(Account, { snapshots: SnapshotPolicy.manual, concurrentReplays: 1 }).pipe(
        Effect.provideService(EventStore.EventStore, {
          ...reading,
          replay: { ...reading.replay, withSnapshots: () => Option.none() }
        })
      )
      yield* Effect.forEach(ids, (text) => good.load(id(text)), { concurrency: "unbounded" })
      assert.isAbove(seen.most, 1)
    }))

  each("limits the replays of stores that share a database too", () =>
    Effect.gen(function*() {
      for (const text of ids) yield* write(9, text)
      const { reading, seen } = yield* watched()
      const accounts = yield* Repository.make(Account, {
        snapshots: SnapshotPolicy.manual,
        concurrentReplays: 2,
        pageSize: 3
      }).pipe(Effect.provideService(EventStore.EventStore, reading))
      const loaded = yield* Effect.forEach(ids, (text) => accounts.load(id(text)), { concurrency: "unbounded" })
      assert.isTrue(loaded.every(({ version }) => version === 9))
      // the first page, which comes with the look for a snapshot, is nobody's to wait for
      const atOnce = Option.isSome(reading.replay.withSnapshots(yield* SnapshotStore.SnapshotStore))
      assert.strictEqual(seen.most, atOnce ? 2 : ids.length)
    }))

  each("limits the replays of verifications", () =>
    Effect.gen(function*() {
      const { reading, seen } = yield* watched((fromVersion) => fromVersion === 1)
      for (const cap of [1, 3]) {
        const accounts = yield* Repository.make(Account, { snapshots: SnapshotPolicy.manual, concurrentReplays: cap })
          .pipe(Effect.provideService(EventStore.EventStore, reading))
        for (const text of ids) {
          yield* write(9, text)
          yield* accounts.createSnapshot(id(text))
        }
        seen.most = 0
        const verified = yield* Effect.forEach(ids, (text) => accounts.verify(id(text)), { concurrency: "unbounded" })
        assert.isTrue(verified.every(({ _tag }) => _tag === "Verified"))
        assert.strictEqual(seen.most, cap)
      }
    }))

  it.scoped("an interrupted replay releases its permit", () =>
    Effect.gen(function*() {
      for (const text of ["a", "b"]) yield* write(9, text)
      const store = yield* EventStore.EventStore
      const reached = yield* Deferred.make<void>()
      const accounts = yield* Repository.make(Account, { concurrentReplays: 1 }).pipe(
        Effect.provideService(EventStore.EventStore, {
          ...store,
          replay: {
            ...store.replay,
            readTail: (at, options) =>
              at.id === "a"
                ? Effect.zipRight(Deferred.succeed(reached, void 0), Effect.never)
                : store.replay.readTail(at, options)
          }
        })
      )
      const first = yield* Effect.fork(accounts.load(id("a")))
      yield* Deferred.await(reached)
      const waiting = yield* Effect.fork(accounts.load(id("b")))
      const other = yield* Effect.fork(accounts.load(id("b")))
      yield* Effect.yieldNow()
      assert.isTrue(Option.isNone(yield* Fiber.poll(waiting)))
      yield* Fiber.interrupt(waiting)
      yield* Fiber.interrupt(first)
      assert.strictEqual((yield* Fiber.join(other)).version, 9)
    }).pipe(Effect.provide(memoryStores)))

  it.scoped("a load inside a transaction does not wait for a permit", () =>
    Effect.gen(function*() {
      const sql = yield* SqlClient.SqlClient
      for (const text of ["a", "b", "c"]) yield* write(9, text)
      const store = yield* EventStore.EventStore
      const inside = yield* Deferred.make<void>()
      const reached = yield* Deferred.make<void>()
      const accounts = yield* Repository.make(Account, {
        snapshots: SnapshotPolicy.manual,
        concurrentReplays: 1,
        pageSize: 2
      }).pipe(
        Effect.provideService(EventStore.EventStore, {
          ...store,
          replay: {
            ...store.replay,
            readTail: (at, options) =>
              at.id === "a" ? store.replay.readTail(at, options) : Deferred.succeed(reached, void 0).pipe(
                Effect.zipRight(Deferred.await(inside)),
                Effect.zipRight(store.replay.readTail(at, options))
              )
          }
        })
      )
      // the others have the one permit, and need the one connection for their next page
      const others = yield* Effect.fork(
        Effect.forEach(["b", "c"], (text) => accounts.load(id(text)), { concurrency: "unbounded" })
      )
      yield* Deferred.await(reached)
      const holder = yield* sql.withTransaction(
        Effect.zipRight(Deferred.succeed(inside, void 0), Effect.zipRight(Effect.yieldNow(), accounts.load(id("a"))))
      )
      assert.strictEqual(holder.version, 9)
      assert.deepStrictEqual((yield* Fiber.join(others)).map(({ version }) => version), [9, 9])
      assert.isFalse(yield* (yield* SnapshotStore.SnapshotStore).exists(stream))
    }).pipe(Effect.provide(Layer.provideMerge(sqlStores, sqliteFile(":memory:")))))
})

describe("a history that is replaced while it is read", () => {
  const accountsOn = (
    store: EventStore.EventStore["Type"],
    options?: Repository.Options<AccountState, AccountEvent>
  ) => Effect.provideService(Repository.make(Account, options), EventStore.EventStore, store)

  /** Two histories of nine events, the other perhaps of another length; a store reads now the one, now the other. */
  const historiesOf = (length: number) =>
    Effect.gen(function*() {
      const one = yield* EventStore.makeMemory
      const other = yield* EventStore.makeMemory
      for (const [store, amount, events] of [[one, 1, 9], [other, 100, length]] as const) {
        const accounts = yield* accountsOn(store)
        if (events > 0) yield* accounts.executeAll(id("a"), [open, deposit(amount, events - 1)])
      }
      const reads = { count: 0, of: (_count: number): EventStore.EventStore["Type"] => one }
      const store = EventStore.EventStore.of({
        ...other,
        replay: {
          ...other.replay,
          withSnapshots: () => Option.none(),
          readTail: (at, options) => Effect.suspend(() => reads.of(++reads.count).replay.readTail(at, options))
        }
      })
      return { one, other, reads, store }
    })
  const twoHistories = historiesOf(9)

  for (const cache of [undefined, { capacity: 10 }]) {
    for (const replacedAt of [2, 3, 4]) {
      const title = `before page ${replacedAt} of a load${cache === undefined ? "" : ", cached"}`
      it.scoped(title, () =>
        Effect.gen(function*() {
          const { one, other, reads, store } = yield* twoHistories
          reads.of = (count) => count < replacedAt ? one : other
          const accounts = yield* accountsOn(store, { snapshots: SnapshotPolicy.manual, pageSize: 3, cache })
          const { snapshot } = yield* accounts.createSnapshot(id("a"))
          assert.deepInclude(snapshot, { version: 9, state: { open: true, balance: 800 } })
          for (let i = 0; i < 2; i++) {
            assert.deepInclude(yield* accounts.load(id("a")), { version: 9, state: { open: true, balance: 800 } })
          }
        }).pipe(Effect.provide(memoryStores)))
    }
  }

  // shorter than what was read, of that very length, at the edges of the pages, gone altogether, and longer
  for (const length of [0, 1, 2, 3, 4, 5, 6, 8, 12]) {
    const balance = 100 * Math.max(0, length - 1)
    const state = { open: length > 0, balance }

    it.scoped(`by a history of ${length} events, between two pages`, () =>
      Effect.gen(function*() {
        for (const replacedAt of [2, 3, 4]) {
          for (const cache of [undefined, { capacity: 10 }]) {
            const { one, other, reads, store } = yield* historiesOf(length)
            reads.of = (count) => count < replacedAt ? one : other
            const accounts = yield* accountsOn(store, { pageSize: 3, cache })
            for (let i = 0; i < 2; i++) {
              assert.deepInclude(yield* accounts.load(id("a")), { version: length, state }, `at page ${replacedAt}`)
            }
          }
        }
      }).pipe(Effect.provide(memoryStores)))

    it.scoped(`by a history of ${length} events, between two pages of the tail of a snapshot`, () =>
      Effect.gen(function*() {
        const snapshots = yield* SnapshotStore.SnapshotStore
        for (const replacedAt of [2, 3]) {
          const { one, other, reads, store } = yield* historiesOf(length)
          yield* snapshots.delete(stream)
          const early = EventStore.EventStore.of({
            ...one,
            replay: {
              ...one.replay,
              readTail: (...args) =>
                Effect.map(one.replay.readTail(...args), (page) => page.filter(({ version }) => version <= 3))
            }
          })
          yield* (yield* accountsOn(early, { snapshots: SnapshotPolicy.manual })).createSnapshot(id("a"))
          const accounts = yield* accountsOn(store, { snapshots: SnapshotPolicy.manual, pageSize: 3 })
          reads.of = () => one
          assert.deepInclude(yield* accounts.load(id("a")), { version: 9, snapshotVersion: 3 })
          reads.count = 0
          reads.of = (count) => count < replacedAt ? one : other
          const loaded = yield* accounts.load(id("a"))
          assert.deepInclude(loaded, { version: length, snapshotVersion: 0, state })
          assert.strictEqual(loaded.snapshotOutcome._tag, "HistoryMismatch")
        }
      }).pipe(Effect.provide(memoryStores)))

    it.scoped(`by a history of ${length} events, between a load and the append that finds a conflict`, () =>
      Effect.gen(function*() {
        for (const pageSize of [3, 4_000]) {
          for (const snapshots of [SnapshotPolicy.none, SnapshotPolicy.manual]) {
            const { one, other, reads, store } = yield* historiesOf(length)
            const accounts = yield* accountsOn(
              {
                ...store,
                // the append is to the new history, and so is what is read from then on
                append: (...args) => {
                  reads.of = () => other
                  return store.append(...args)
                }
              },
              { retry: Schedule.recurs(1), pageSize, snapshots }
            )
            reads.of = () => one
            const executed = yield* accounts.executeAll(id("a"), [open, deposit(1)])
            const version = length === 0 ? 2 : length + 1
            assert.deepInclude(executed, { version, state: { open: true, balance: balance + 1 } })
            const replayed = yield* accountsOn(other)
            assert.deepInclude(yield* replayed.load(id("a")), { version, state: executed.state })
          }
        }
      }).pipe(Effect.provide(memoryStores)))
  }

  it.scoped("between a load at version 1 and the append that finds a conflict", () =>
    Effect.gen(function*() {
      const { other, reads, store } = yield* twoHistories
      const short = yield* EventStore.makeMemory
      yield* short.append(stream, [
        { id: crypto.randomUUID(), type: "Deposited", payload: { _tag: "Deposited", amount: 1_000 } }
      ], { expectedVersion: ExpectedVersion.noStream })
      reads.of = (count) => count === 1 ? short : other
      const accounts = yield* accountsOn(store, { retry: Schedule.recurs(1) })
      // by the old history it was not open
      assert.deepInclude(yield* accounts.executeAll(id("a"), [open, deposit(1)]), {
        version: 10,
        state: { open: true, balance: 801 }
      })
    }).pipe(Effect.provide(memoryStores)))

  it.scoped("a refuted snapshot is counted and logged once", () =>
    Effect.gen(function*() {
      const { one, other, reads, store } = yield* twoHistories
      const { logged, observed } = yield* lines
      const snapshots = yield* SnapshotStore.SnapshotStore
      const manual = yield* accountsOn(one, { snapshots: SnapshotPolicy.manual })
      yield* manual.createSnapshot(id("a"))
      const row = Option.getOrThrow(yield* snapshots.get(stream, { schemaVersion: 1 }))
      yield* snapshots.delete(stream)
      yield* snapshots.save({ ...row, state: "{" })
      const refused = counted(Metrics.snapshotLoads, { aggregate: "Account", outcome: "StateDecodeError" })
      const accounts = yield* accountsOn(store, { snapshots: SnapshotPolicy.manual, pageSize: 3 })
      // the replay begins at the second read: it is of the one, of the other, and then at rest
      for (const [replacements, of] of [[1, [3]], [4, [3, 4, 5, 6, 7, 8, 9, 10]]] as const) {
        const at = new Set<number>(of)
        const before = yield* refused
        logged.length = 0
        reads.count = 0
        reads.of = (count) => at.has(count) && count % 2 === 1 ? one : other
        const loaded = yield* observed(accounts.load(id("a")))
        assert.deepInclude(loaded, { version: 9, state: { open: true, balance: 800 } })
        assert.strictEqual(loaded.snapshotOutcome._tag, "StateDecodeError")
        assert.isAbove(reads.count, 4 + replacements)
        assert.strictEqual((yield* refused) - before, 1)
        assert.strictEqual(logged.filter(({ annotations }) => annotations.id === "a").length, 1)
      }
      // without end: the load fails, and tells of the snapshot all the same
      const before = yield* refused
      logged.length = 0
      reads.of = (count) => count % 2 === 0 ? one : other
      assert.strictEqual((yield* Effect.flip(observed(accounts.load(id("a")))))._tag, "HistoryRewritten")
      assert.strictEqual((yield* refused) - before, 1)
      assert.strictEqual(logged.filter(({ annotations }) => annotations.id === "a").length, 1)
    }).pipe(Effect.provide(memoryStores)))

  it.scoped("a snapshot that is refuted by the load after a conflict is logged too", () =>
    Effect.gen(function*() {
      const { one, other, reads, store } = yield* twoHistories
      const snapshots = yield* SnapshotStore.SnapshotStore
      yield* (yield* accountsOn(one, { snapshots: SnapshotPolicy.manual })).createSnapshot(id("a"))
      const row = Option.getOrThrow(yield* snapshots.get(stream, { schemaVersion: 1 }))
      yield* snapshots.delete(stream)
      const accounts = yield* accountsOn(
        {
          ...store,
          append: () =>
            Effect.zipRight(
              Effect.ignore(snapshots.save({ ...row, state: "{" })),
              new EventStore.VersionConflict({ stream, expected: ExpectedVersion.any, actual: 9 })
            )
        },
        { retry: Schedule.recurs(1), snapshots: SnapshotPolicy.manual, maxReplay: 9 }
      )
      reads.of = (count) => count === 1 ? one : other
      // longer than what may be folded, so that the load that the conflict asks for fails
      yield* (yield* accountsOn(other)).execute(id("a"), deposit(1))
      const refused = counted(Metrics.snapshotLoads, { aggregate: "Account", outcome: "StateDecodeError" })
      const before = yield* refused
      const failure = yield* Effect.flip(accounts.execute(id("a"), deposit(1)))
      assert.deepInclude(failure, { _tag: "ReplayTooLong" })
      assert.strictEqual((yield* refused) - before, 1)
    }).pipe(Effect.provide(memoryStores)))

  it.scoped("between a load and the append that finds a conflict", () =>
    Effect.gen(function*() {
      const { one, other, reads, store } = yield* twoHistories
      // the load is of the old history, the conflict is with the new one, at a version beyond
      yield* (yield* accountsOn(other)).execute(id("a"), deposit(1))
      reads.of = (count) => count === 1 ? one : other
      const accounts = yield* accountsOn(store, { retry: Schedule.recurs(1) })
      assert.deepInclude(yield* accounts.execute(id("a"), deposit(1)), {
        version: 11,
        state: { open: true, balance: 802 }
      })
    }).pipe(Effect.provide(memoryStores)))

  for (const policy of [SnapshotPolicy.sync, SnapshotPolicy.background]) {
    const { _tag: mode } = policy({ every: 1 })
    it.scopedLive(`between a load and an append without a conflict: no snapshot mixes both histories (${mode})`, () =>
      Effect.gen(function*() {
        const { one, other, reads, store } = yield* twoHistories
        const accounts = yield* accountsOn(store, { snapshots: policy({ every: 1 }) })
        reads.of = (count) => count === 1 ? one : other
        assert.deepInclude(yield* accounts.execute(id("a"), deposit(1)), { version: 10 })
        yield* accounts.awaitPendingSnapshots
        const replayed = yield* accountsOn(other)
        for (let i = 0; i < 2; i++) {
          const { state } = yield* accounts.load(id("a"))
          assert.deepStrictEqual(state, { open: true, balance: 801 })
          assert.deepStrictEqual(state, (yield* replayed.load(id("a"))).state)
        }
        // it is taken of the one that is there
        assert.deepInclude(yield* accounts.execute(id("a"), deposit(1)), { version: 11 })
        yield* accounts.awaitPendingSnapshots
        assert.deepInclude(yield* accounts.load(id("a")), { snapshotVersion: 11, state: { open: true, balance: 802 } })
      }).pipe(Effect.provide(memoryStores)))
  }

  it.scoped("inline, in the transaction of the append", () =>
    Effect.gen(function*() {
      const sql = yield* SqlClient.SqlClient
      const events = yield* EventStore.EventStore
      yield* (yield* Repository.make(Account)).executeAll(id("a"), [open, deposit(1, 8)])
      yield* (yield* Repository.make(Account)).executeAll(id("b"), [open, deposit(100, 8)])
      let replaced = false
      const accounts = yield* Effect.provideService(
        Repository.make(Account, { snapshots: SnapshotPolicy.inline({ every: 1 }) }),
        EventStore.EventStore,
        {
          ...events,
          append: (...args) =>
            Effect.zipRight(
              Effect.orDie(Effect.when(
                Effect.zipRight(
                  sql`UPDATE eventsourcing_events SET stream_id = 'gone' WHERE stream_id = 'a'`,
                  sql`UPDATE eventsourcing_events SET stream_id = 'a' WHERE stream_id = 'b'`
                ),
                () => !replaced && (replaced = true)
              )),
              events.append(...args)
            )
        }
      )
      assert.deepInclude(yield* accounts.execute(id("a"), deposit(1)), { version: 10 })
      assert.deepInclude(yield* accounts.load(id("a")), { state: { open: true, balance: 801 } })
    }).pipe(Effect.provide(Layer.provideMerge(sqlStores, sqliteFile(":memory:")))))

  it.scoped("a few times: the load repeats until the history is stable", () =>
    Effect.gen(function*() {
      const { one, other, reads, store } = yield* twoHistories
      reads.of = (count) => count % 2 === 0 && count < 8 ? one : other
      const accounts = yield* accountsOn(store, { pageSize: 3 })
      assert.deepInclude(yield* accounts.load(id("a")), { version: 9, state: { open: true, balance: 800 } })
      assert.isAbove(reads.count, 8)
    }).pipe(Effect.provide(memoryStores)))

  it.scoped("between the two loads of a verification: no snapshot is refuted by another history", () =>
    Effect.gen(function*() {
      const { one, other, reads, store } = yield* twoHistories
      const accounts = yield* accountsOn(store, { snapshots: SnapshotPolicy.manual })
      yield* accounts.createSnapshot(id("a"))
      reads.count = 0
      // the load is by the snapshot of the one history, the replay is of the other
      reads.of = (count) => count === 2 ? other : one
      assert.deepInclude(yield* accounts.verify(id("a")), { _tag: "Verified" })
      reads.of = (count) => count % 2 === 0 ? one : other
      const flickering = yield* accountsOn(store, { snapshots: SnapshotPolicy.manual, pageSize: 3 })
      assert.deepInclude(yield* Effect.flip(flickering.verify(id("a"))), { _tag: "HistoryRewritten" })
    }).pipe(Effect.provide(memoryStores)))

  const idsOf = (
    store: EventStore.EventStore["Type"],
    isGiven: (version: number, index: number) => boolean
  ): EventStore.EventStore["Type"] => ({
    ...store,
    replay: {
      ...store.replay,
      readTail: (at, options) =>
        Effect.map(
          store.replay.readTail(at, options),
          (page) => page.map((event, index) => isGiven(event.version, index) ? event : { ...event, eventId: null })
        )
    }
  })

  it.scoped("a store without event ids is checked by versions alone", () =>
    Effect.gen(function*() {
      const { other, reads, store } = yield* twoHistories
      reads.of = () => other
      const givings: ReadonlyArray<(index: number) => boolean> = [
        () => false,
        // none for the first of a page, for all but that, for one in between
        (index) => index > 0,
        (index) => index === 0,
        (index) => index === 1
      ]
      for (const isGiven of givings) {
        for (const pageSize of [2, 3, 4]) {
          const accounts = yield* accountsOn(idsOf(store, (_, index) => isGiven(index)), { pageSize })
          assert.deepInclude(yield* accounts.load(id("a")), { version: 9, state: { open: true, balance: 800 } })
        }
      }
    }).pipe(Effect.provide(memoryStores)))

  it.scoped("a store with the ids of some events: a snapshot has only the id of its own last event", () =>
    Effect.gen(function*() {
      const snapshots = yield* SnapshotStore.SnapshotStore
      const { other, reads, store } = yield* twoHistories
      reads.of = () => other
      for (const pageSize of [2, 3, 4, 4_000]) {
        const options = { snapshots: SnapshotPolicy.manual, pageSize }
        for (let given = 1; given <= 8; given++) {
          const some = yield* accountsOn(idsOf(store, (version) => version === given), options)
          const failure = yield* Effect.flip(some.createSnapshot(id("a")))
          assert.deepInclude(failure, { _tag: "EventStoreError", reason: "Unavailable" })
          assert.include(failure.message, "event 9")
          assert.isFalse(yield* snapshots.exists(stream))
        }
        const last = yield* accountsOn(idsOf(store, (version) => version === 9), options)
        const { snapshot } = yield* last.createSnapshot(id("a"))
        const [event] = yield* other.replay.readTail(stream, { fromVersion: 9, limit: 1 })
        assert.strictEqual(snapshot.eventId, event.eventId)
        // the tail of the snapshot begins with an id, and the replay that it is compared with ends without one
        const first = yield* accountsOn(idsOf(store, (_, index) => index === 0), options)
        assert.deepInclude(yield* first.verify(id("a")), { _tag: "Verified", snapshotVersion: 9 })
        yield* snapshots.delete(stream)
      }
    }).pipe(Effect.provide(memoryStores)))

  it.scoped("one that gives no id of the last event: a command takes no snapshot of a state that it cannot prove", () =>
    Effect.gen(function*() {
      const { one, other, reads, store } = yield* twoHistories
      reads.of = (count) => count === 1 ? one : other
      const first = idsOf(store, (_, index) => index === 0)
      const accounts = yield* accountsOn(first, { snapshots: SnapshotPolicy.sync({ every: 1 }) })
      assert.deepInclude(yield* accounts.execute(id("a"), deposit(1)), { version: 10 })
      assert.deepInclude(yield* accounts.load(id("a")), { version: 10, state: { open: true, balance: 801 } })
    }).pipe(Effect.provide(memoryStores)))

  it.scoped("again and again: the load fails with HistoryRewritten", () =>
    Effect.gen(function*() {
      const { one, other, reads, store } = yield* twoHistories
      reads.of = (count) => count % 2 === 0 ? one : other
      const accounts = yield* accountsOn(store, { pageSize: 3 })
      const failure = yield* Effect.flip(accounts.load(id("a")))
      assert.deepInclude(failure, { _tag: "HistoryRewritten", stream })
      assert.include(failure.message, "was rewritten between two reads")
    }).pipe(Effect.provide(memoryStores)))
})

describe("pages", () => {
  const few = everything
    ? [1, 2, 998, 999, 1_000, 1_001, 1_002, 2_000, 3_999, 4_000, 4_001, 4_002, 8_001]
    : [1, 999, 1_000, 1_001]
  const huge = Number.MAX_SAFE_INTEGER

  each("streams and tails that end at the end of a page, or just after it", () =>
    Effect.gen(function*() {
      const writer = yield* Repository.make(Account, { cache: { capacity: 1 } })
      const written = (events: number, text: string) =>
        Effect.forEach(
          Array.from({ length: Math.ceil(events / 50) }, (_, index) => Math.min(50, events - 50 * index)),
          (times) => writer.execute(id(text), deposit(1, times))
        )
      for (const size of few) {
        const text = `size-${size}`
        yield* writer.execute(id(text), open)
        yield* written(size - 1, text)
        const whole = { version: size, replayed: size, state: { open: true, balance: size - 1 } }
        const { state, version } = whole
        for (const snapshots of [SnapshotPolicy.none, SnapshotPolicy.manual]) {
          for (const pageSize of [undefined, 1_000, 999, huge]) {
            const accounts = yield* Repository.make(Account, { snapshots, pageSize, maxReplay: size })
            assert.deepInclude(yield* accounts.load(id(text)), whole)
          }
        }
        const cached = yield* Repository.make(Account, { cache: { capacity: 1 } })
        for (let i = 0; i < 2; i++) assert.deepInclude(yield* cached.load(id(text)), { version, state })

        // a snapshot, and a cached state, that are so many events behind
        const behind = `behind-${size}`
        yield* writer.execute(id(behind), open)
        const manual = yield* Repository.make(Account, { snapshots: SnapshotPolicy.manual })
        yield* manual.createSnapshot(id(behind))
        yield* cached.load(id(behind))
        yield* written(size, behind)
        const tail = { version: size + 1, replayed: size, state: { open: true, balance: size } }
        for (const pageSize of [undefined, huge]) {
          const accounts = yield* Repository.make(Account, { snapshots: SnapshotPolicy.manual, pageSize })
          assert.deepInclude(yield* accounts.load(id(behind)), { ...tail, snapshotVersion: 1 })
        }
        assert.deepInclude(yield* cached.load(id(behind)), { version: tail.version, state: tail.state })
      }
    }))

  each("a long replay lets other fibers run after each page", () =>
    Effect.gen(function*() {
      yield* write(61)
      const accounts = yield* Repository.make(Account, { pageSize: 2 })
      let turns = 0
      // it yields after each
      const other = yield* Effect.fork(Effect.forever(Effect.sync(() => turns++)))
      yield* Effect.yieldNow()
      turns = 0
      assert.deepInclude(yield* accounts.load(id("a")), { version: 61, replayed: 61 })
      yield* Fiber.interrupt(other)
      assert.isAtLeast(turns, 25)
    }))

  it.scoped("a command that lost a race keeps to maxReplay and to the limit of the store", () =>
    Effect.gen(function*() {
      yield* write(2)
      const events = yield* EventStore.EventStore
      const writer = yield* Repository.make(Account)
      const nine = writer.executeAll(id("a"), Array.from({ length: 9 }, () => deposit(1)))
      for (const [pageSize, maxReplay] of [[huge, undefined], [undefined, 5]]) {
        let raced = false
        const accounts = yield* Effect.provideService(
          Repository.make(Account, {
            pageSize,
            maxReplay,
            snapshots: SnapshotPolicy.manual,
            retry: Schedule.recurs(1)
          }),
          EventStore.EventStore,
          {
            ...events,
            append: (...args) =>
              Effect.zipRight(
                Effect.orDie(Effect.when(nine, () => !raced && (raced = true))),
                events.append(...args)
              )
          }
        )
        const executed = accounts.execute(id("a"), deposit(1))
        if (maxReplay === undefined) assert.deepInclude(yield* executed, { version: 12 })
        else assert.isTrue(tooLong(yield* Effect.flip(executed)))
        yield* accounts.createSnapshot(id("a"))
      }
    }).pipe(Effect.provide(memoryStores)))
})
