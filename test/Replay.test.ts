import { SqlClient } from "@effect/sql"
import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Fiber, Layer, Option, Schedule, type Scope } from "effect"
import { EventStore, Repository, SnapshotPolicy, SnapshotStore, StreamId } from "effect-eventsourcing"
import { Account, type AccountEvent, type AccountState, AccountV2, id } from "./fixtures/Account.js"
import { backends, memoryStores, sqliteFile, sqlStores, type Stores } from "./utils/backends.js"

const open = { _tag: "Open" } as const
const deposit = (amount: number, times = 1) => ({ _tag: "Deposit", amount, times }) as const
const stream = StreamId.make("Account", "a")

const each = (name: string, body: () => Effect.Effect<void, unknown, Stores | Scope.Scope>) => {
  for (const [backend, layer] of backends) {
    // the repositories close before the stores
    it.effect(`${name} (${backend})`, () => Effect.provide(Effect.scoped(body()), layer))
  }
}

const write = (events: number, text = "a") =>
  Effect.flatMap(
    Repository.make(Account),
    (accounts) => accounts.executeAll(id(text), [open, ...Array.from({ length: events - 1 }, () => deposit(1))])
  )

const tooLong = (error: { readonly _tag: string }) =>
  error instanceof EventStore.EventStoreError && error.reason === "ReplayTooLong" && !error.mayHaveAppended

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

  each("a budget of one", () =>
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

  each("in background mode a worker makes the next one short", () =>
    Effect.gen(function*() {
      yield* write(50)
      const bounded = yield* Repository.make(Account, {
        snapshots: SnapshotPolicy.background({ every: 1_000 }),
        maxReplay: 10
      })
      assert.isTrue(tooLong(yield* Effect.flip(bounded.load(id("a")))))
      yield* bounded.awaitPendingSnapshots
      assert.deepInclude(yield* bounded.load(id("a")), { snapshotVersion: 50, replayed: 0 })
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
  const watched = Effect.map(EventStore.EventStore, (store) => {
    const seen = { now: 0, most: 0 }
    const reading = EventStore.EventStore.of({
      ...store,
      readTail: (stream, options) =>
        Effect.acquireUseRelease(
          Effect.sync(() => {
            seen.most = Math.max(seen.most, ++seen.now)
          }),
          () => Effect.zipRight(Effect.repeatN(Effect.yieldNow(), 20), store.readTail(stream, options)),
          () =>
            Effect.sync(() => {
              seen.now--
            })
        )
    })
    return { seen, reading }
  })

  const ids = Array.from({ length: 20 }, (_, n) => `s-${n}`)

  each("a mass invalidation does not become a stampede", () =>
    Effect.gen(function*() {
      const old = yield* Repository.make(Account, { snapshots: SnapshotPolicy.manual })
      for (const text of ids) {
        yield* write(9, text)
        yield* old.createSnapshot(id(text))
      }
      const { reading, seen } = yield* watched
      for (const pageSize of [3, 2_000]) {
        for (const cap of [1, 3]) {
          seen.most = 0
          const now = yield* Repository.make(AccountV2, {
            snapshots: SnapshotPolicy.manual,
            concurrentReplays: cap,
            pageSize
          }).pipe(
            Effect.provideService(EventStore.EventStore, { ...reading, withSnapshots: () => Option.none() })
          )
          const loaded = yield* Effect.forEach(ids, (text) => now.load(id(text)), { concurrency: "unbounded" })
          assert.isTrue(
            loaded.every(({ replayed, snapshot }) => replayed === 9 && snapshot._tag === "SchemaVersionMismatch")
          )
          assert.strictEqual(seen.most, cap)
        }
      }
      // nobody is in the way of those whose snapshots are good
      seen.most = 0
      const good = yield* Repository.make(Account, { snapshots: SnapshotPolicy.manual, concurrentReplays: 1 }).pipe(
        Effect.provideService(EventStore.EventStore, { ...reading, withSnapshots: () => Option.none() })
      )
      yield* Effect.forEach(ids, (text) => good.load(id(text)), { concurrency: "unbounded" })
      assert.isAbove(seen.most, 1)
    }))

  each("nor where snapshot and tail come at once", () =>
    Effect.gen(function*() {
      for (const text of ids) yield* write(9, text)
      const { reading, seen } = yield* watched
      const accounts = yield* Repository.make(Account, {
        snapshots: SnapshotPolicy.manual,
        concurrentReplays: 2,
        pageSize: 3
      }).pipe(Effect.provideService(EventStore.EventStore, reading))
      const loaded = yield* Effect.forEach(ids, (text) => accounts.load(id(text)), { concurrency: "unbounded" })
      assert.isTrue(loaded.every(({ version }) => version === 9))
      // the first page, which comes with the look for a snapshot, is nobody's to wait for
      const atOnce = Option.isSome(reading.withSnapshots(yield* SnapshotStore.SnapshotStore))
      assert.strictEqual(seen.most, atOnce ? 2 : ids.length)
    }))

  it.scoped("an interrupted replay gives its place to the next", () =>
    Effect.gen(function*() {
      for (const text of ["a", "b"]) yield* write(9, text)
      const store = yield* EventStore.EventStore
      const reached = yield* Deferred.make<void>()
      const accounts = yield* Repository.make(Account, { concurrentReplays: 1 }).pipe(
        Effect.provideService(EventStore.EventStore, {
          ...store,
          readTail: (at, options) =>
            at.id === "a"
              ? Effect.zipRight(Deferred.succeed(reached, void 0), Effect.never)
              : store.readTail(at, options)
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

  it.scoped("nobody who holds a connection waits for one who waits for it", () =>
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
          readTail: (at, options) =>
            at.id === "a" ? store.readTail(at, options) : Deferred.succeed(reached, void 0).pipe(
              Effect.zipRight(Deferred.await(inside)),
              Effect.zipRight(store.readTail(at, options))
            )
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

  /** Two histories of nine events, and a store that reads now the one, now the other. */
  const twoHistories = Effect.gen(function*() {
    const one = yield* EventStore.makeMemory
    const other = yield* EventStore.makeMemory
    for (const [store, amount] of [[one, 1], [other, 100]] as const) {
      const accounts = yield* accountsOn(store)
      yield* accounts.executeAll(id("a"), [open, deposit(amount, 8)])
    }
    const reads = { count: 0, of: (_count: number): EventStore.EventStore["Type"] => one }
    const store = EventStore.EventStore.of({
      ...other,
      withSnapshots: () => Option.none(),
      readTail: (at, options) => Effect.suspend(() => reads.of(++reads.count).readTail(at, options))
    })
    return { one, other, reads, store }
  })

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
    const { mode } = policy({ every: 1 })
    it.scopedLive(`between a load and the append that fits it all the same: no snapshot is of both (${mode})`, () =>
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

  it.scoped("a few times: the load goes on until it is at rest", () =>
    Effect.gen(function*() {
      const { one, other, reads, store } = yield* twoHistories
      reads.of = (count) => count % 2 === 0 && count < 8 ? one : other
      const accounts = yield* accountsOn(store, { pageSize: 3 })
      assert.deepInclude(yield* accounts.load(id("a")), { version: 9, state: { open: true, balance: 800 } })
      assert.isAbove(reads.count, 8)
    }).pipe(Effect.provide(memoryStores)))

  it.scoped("between the two looks of a verification: no snapshot is refuted by another history", () =>
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
      assert.deepInclude(yield* Effect.flip(flickering.verify(id("a"))), {
        _tag: "EventStoreError",
        reason: "Unavailable"
      })
    }).pipe(Effect.provide(memoryStores)))

  it.scoped("a store that gives no ids has nothing to prove", () =>
    Effect.gen(function*() {
      const { other, reads, store } = yield* twoHistories
      reads.of = () => other
      for (const isGiven of [() => false, (index: number) => index > 0]) {
        const accounts = yield* Effect.provideService(
          Repository.make(Account, { pageSize: 3 }),
          EventStore.EventStore,
          {
            ...store,
            readTail: (at, options) =>
              Effect.map(
                store.readTail(at, options),
                (page) => page.map((event, index) => isGiven(index) ? event : { ...event, eventId: null })
              )
          }
        )
        assert.deepInclude(yield* accounts.load(id("a")), { version: 9, state: { open: true, balance: 800 } })
      }
    }).pipe(Effect.provide(memoryStores)))

  it.scoped("without end: an error that says so", () =>
    Effect.gen(function*() {
      const { one, other, reads, store } = yield* twoHistories
      reads.of = (count) => count % 2 === 0 ? one : other
      const accounts = yield* accountsOn(store, { pageSize: 3 })
      const failure = yield* Effect.flip(accounts.load(id("a")))
      assert.deepInclude(failure, { _tag: "EventStoreError", operation: "read", reason: "Unavailable", stream })
      assert.include(failure.message, "another history")
    }).pipe(Effect.provide(memoryStores)))
})

describe("pages", () => {
  const few = [1, 2, 998, 999, 1_000, 1_001, 1_002, 2_000, 3_999, 4_000, 4_001, 4_002, 8_001]
  const huge = Number.MAX_SAFE_INTEGER

  each("streams and tails that end where a page ends, or just beyond", () =>
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

  it.scoped("a command that lost a race reads no more than maxReplay allows, and asks for no more than a store takes", () =>
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
