import { SqlClient } from "@effect/sql"
import { assert, describe, it } from "@effect/vitest"
import {
  Cause,
  Chunk,
  Context,
  Effect,
  Either,
  Exit,
  Fiber,
  Layer,
  Logger,
  ManagedRuntime,
  Option,
  Schedule,
  Schema,
  Scope,
  Stream,
  TestClock
} from "effect"
import {
  Aggregate,
  EventStore,
  InvalidOption,
  Metrics,
  Repository,
  SnapshotPolicy,
  SnapshotStore,
  StreamId
} from "effect-eventsourcing"
import * as EventLoop from "../src/internal/sql/eventLoop.js"
import { Account, deposit, id, open, stream } from "./fixtures/Account.js"
import {
  memoryStores,
  postgresTemporaryDatabase,
  sqliteFile,
  sqliteTemporaryFile,
  sqlStores
} from "./utils/backends.js"
import { collectGarbage } from "./utils/garbage.js"
import { everything } from "./utils/mode.js"
import { counted, lines } from "./utils/observe.js"
import { start } from "./utils/process.js"

const snapshotOf = (text: string) =>
  Effect.flatMap(SnapshotStore.SnapshotStore, (store) => store.get(stream(text), { schemaVersion: 1 }))

const snapshotVersion = (text: string) =>
  Effect.map(snapshotOf(text), Option.match({ onNone: () => 0, onSome: ({ version }) => version }))

const unavailable = (operation: "get" | "save") =>
  new SnapshotStore.SnapshotStoreError({ operation, aggregate: "Account", reason: "Unavailable", detail: "planned" })

/** The snapshot store of the context, its saves held back until the gate opens. */
const heldBack = Effect.gen(function*() {
  const store = yield* SnapshotStore.SnapshotStore
  const gate = yield* Effect.makeLatch(false)
  const waiting = yield* Effect.makeLatch(false)
  const save: SnapshotStore.SnapshotStore["Type"]["save"] = (snapshot) =>
    waiting.open.pipe(Effect.zipRight(gate.await), Effect.zipRight(store.save(snapshot)))
  return { gate, waiting, store: SnapshotStore.SnapshotStore.of({ ...store, save }) }
})

/** Interrupts what has come to a place, and lets it go on from there only then. */
const interruptedAt = <A, E, R>(place: Effect.Latch, gate: Effect.Latch, effect: Effect.Effect<A, E, R>) =>
  Effect.gen(function*() {
    const fiber = yield* Effect.fork(effect)
    yield* place.await
    yield* Fiber.interruptFork(fiber)
    yield* Effect.yieldNow()
    yield* gate.open
    return yield* Fiber.await(fiber)
  })

describe("a background snapshot has the committed state", () => {
  it.scoped("later changes to a state do not reach a snapshot", () =>
    Effect.gen(function*() {
      const Added = Schema.TaggedStruct("Added", { item: Schema.String })
      const Cart = Aggregate.make({
        name: "Cart",
        id: Schema.String,
        state: Schema.mutable(Schema.Struct({ items: Schema.mutable(Schema.Array(Schema.String)) })),
        event: Added,
        command: Schema.String,
        initial: () => ({ items: [] }),
        evolve: (state, { item }) => ({ items: [...state.items, item] }),
        decide: (_, item) => Either.right([Added.make({ item })])
      })
      const { gate, store, waiting } = yield* heldBack
      const carts = yield* Repository.make(Cart, { snapshots: SnapshotPolicy.background({ every: 2, workers: 1 }) })
        .pipe(Effect.provideService(SnapshotStore.SnapshotStore, store))
      yield* carts.executeAll("busy", ["x", "y"])
      yield* waiting.await
      // the only worker is busy: what this command hands over is taken later
      const { state } = yield* carts.executeAll("c", ["a", "b"])
      state.items.push("never happened")
      const loaded = yield* carts.load("c")
      loaded.state.items.length = 0
      yield* gate.open
      yield* carts.awaitPendingSnapshots
      const [snapshot] = yield* Effect.map(
        store.get(StreamId.make("Cart", "c"), { schemaVersion: 1 }),
        Option.toArray
      )
      assert.deepStrictEqual([snapshot.version, JSON.parse(snapshot.state)], [2, { items: ["a", "b"] }])
    }).pipe(Effect.provide(memoryStores)))

  it.scoped("a snapshot that waits keeps neither the state nor the events of its command in memory", () =>
    Effect.gen(function*() {
      let states: Array<WeakRef<object>> = []
      const Counted = Schema.TaggedStruct("Counted", {})
      const Counter = Aggregate.make({
        name: "Counter",
        id: Schema.String,
        state: Schema.Struct({ count: Schema.Int }),
        event: Counted,
        command: Schema.String,
        initial: () => ({ count: 0 }),
        evolve: ({ count }) => {
          const state = { count: count + 1 }
          states.push(new WeakRef(state))
          return state
        },
        decide: () => Either.right([Counted.make()])
      })
      const { gate, store, waiting } = yield* heldBack
      const counters = yield* Repository.make(Counter, {
        snapshots: SnapshotPolicy.background({ every: 1, workers: 1 })
      }).pipe(Effect.provideService(SnapshotStore.SnapshotStore, store))
      yield* counters.execute("busy", "count")
      yield* waiting.await
      states = []
      // the only worker is busy: the snapshots of these wait
      yield* Effect.asVoid(counters.executeAll("a", ["count", "count"]))
      yield* Effect.asVoid(counters.execute("b", "count"))
      yield* Effect.asVoid(counters.load("b"))
      assert.isNotEmpty(states)
      const kept = () => states.filter((state) => state.deref() !== undefined).length
      for (let tries = 0; kept() > 0 && tries < 10; tries++) yield* collectGarbage
      assert.strictEqual(kept(), 0)
      yield* gate.open
      yield* counters.awaitPendingSnapshots
      assert.deepInclude(yield* counters.load("a"), { snapshotVersion: 2 })
    }).pipe(Effect.provide(memoryStores)))

  it.scoped("state and version of a snapshot agree, also if events are appended while it waits", () =>
    Effect.gen(function*() {
      const { gate, store, waiting } = yield* heldBack
      const accounts = yield* Repository.make(Account, {
        snapshots: SnapshotPolicy.background({ every: 5, workers: 1 })
      }).pipe(Effect.provideService(SnapshotStore.SnapshotStore, store))
      yield* accounts.executeAll(id("busy"), [open, deposit(1, 5)])
      yield* waiting.await
      yield* accounts.executeAll(id("a"), [open, deposit(1, 4)])
      yield* accounts.execute(id("a"), deposit(10, 2))
      yield* gate.open
      yield* accounts.awaitPendingSnapshots
      const snapshot = yield* Effect.flatten(snapshotOf("a"))
      assert.deepStrictEqual([snapshot.version, JSON.parse(snapshot.state)], [7, { open: true, balance: 24 }])
      assert.deepInclude(yield* accounts.load(id("a")), { version: 7, snapshotVersion: 7, replayed: 0 })
    }).pipe(Effect.provide(memoryStores)))
})

describe("inside a transaction of the caller's", () => {
  const databases: ReadonlyArray<readonly [name: string, client: Layer.Layer<SqlClient.SqlClient, unknown>]> = [
    ["SQLite :memory:", sqliteFile(":memory:")],
    ["SQLite file", sqliteTemporaryFile],
    ["PostgreSQL", postgresTemporaryDatabase]
  ]
  for (const [name, client] of everything ? databases : databases.slice(0, 1)) {
    const stores = Layer.provideMerge(sqlStores, client)

    it.scoped(`a due stream is queued, and its snapshot is taken after the commit (${name})`, () =>
      Effect.gen(function*() {
        const sql = yield* SqlClient.SqlClient
        const accounts = yield* Repository.make(Account, { snapshots: SnapshotPolicy.background({ every: 5 }) })
        yield* sql.withTransaction(Effect.gen(function*() {
          yield* accounts.executeAll(id("a"), [open, deposit(1, 10)])
          // the worker looks meanwhile, where it has a connection of its own
          yield* TestClock.adjust("50 millis")
          yield* accounts.awaitPendingSnapshots
        }))
        yield* accounts.awaitPendingSnapshots
        assert.deepInclude(yield* accounts.load(id("a")), { version: 11, snapshotVersion: 11, replayed: 0 })
      }).pipe(Effect.provide(stores)))

    it.scoped(`a rollback leaves no snapshot, but an earlier due snapshot is still taken (${name})`, () =>
      Effect.gen(function*() {
        const sql = yield* SqlClient.SqlClient
        const accounts = yield* Repository.make(Account, { snapshots: SnapshotPolicy.background({ every: 5 }) })
        const quiet = yield* Repository.make(Account)
        yield* accounts.execute(id("a"), open)
        yield* quiet.executeAll(id("b"), [open, deposit(1, 6)])
        yield* sql.withTransaction(Effect.gen(function*() {
          yield* accounts.execute(id("a"), deposit(1, 10))
          yield* accounts.execute(id("b"), deposit(100, 3))
          yield* accounts.awaitPendingSnapshots
          return yield* Effect.fail("roll back")
        })).pipe(Effect.flip)
        yield* accounts.awaitPendingSnapshots
        assert.strictEqual(yield* snapshotVersion("a"), 0)
        assert.deepInclude(yield* accounts.load(id("a")), { version: 1, state: { open: true, balance: 0 } })
        const snapshot = yield* Effect.flatten(snapshotOf("b"))
        assert.deepStrictEqual([snapshot.version, JSON.parse(snapshot.state)], [7, { open: true, balance: 6 }])
      }).pipe(Effect.provide(stores)))

    it.scoped(`a worker that waits for a commit replays the stream once (${name})`, () =>
      Effect.gen(function*() {
        const sql = yield* SqlClient.SqlClient
        const events = yield* EventStore.EventStore
        let replays = 0
        const accounts = yield* Repository.make(Account, { snapshots: SnapshotPolicy.background({ every: 5 }) }).pipe(
          Effect.provideService(EventStore.EventStore, {
            ...events,
            replay: {
              ...events.replay,
              withSnapshots: () => Option.none(),
              readTail: (readFrom, options) => {
                if (options.fromVersion === 1) replays++
                return events.replay.readTail(readFrom, options)
              }
            }
          })
        )
        yield* (yield* Repository.make(Account)).executeAll(id("a"), [open, deposit(1, 6)])
        yield* Effect.flip(sql.withTransaction(
          Effect.zipRight(accounts.execute(id("a"), deposit(1, 3)), Effect.fail("roll back"))
        ))
        replays = 0
        yield* accounts.awaitPendingSnapshots
        assert.strictEqual(yield* snapshotVersion("a"), 7)
        assert.strictEqual(replays, 1)
      }).pipe(Effect.provide(stores)))

    it.scoped(`an earlier due snapshot is taken although a later request is rolled back (${name})`, () =>
      Effect.gen(function*() {
        const sql = yield* SqlClient.SqlClient
        const { gate, store, waiting } = yield* heldBack
        const rich = SnapshotPolicy.when((_, after: typeof Account.state.schema.Type) => after.balance >= 100)
        const quiet = yield* Repository.make(Account)
        const accounts = yield* Repository.make(Account, {
          snapshots: SnapshotPolicy.background({ when: SnapshotPolicy.or(rich, SnapshotPolicy.every(8)), workers: 1 }),
          maxReplay: 5
        }).pipe(Effect.provideService(SnapshotStore.SnapshotStore, store))
        yield* quiet.executeAll(id("a"), [open, deposit(99)])
        yield* quiet.execute(id("b"), open)
        // the only worker is busy until the gate opens
        yield* accounts.executeAll(id("busy"), [open, deposit(100)])
        yield* waiting.await
        // due because of what it did, which no later look can tell
        yield* accounts.execute(id("a"), deposit(1))
        yield* sql.withTransaction(Effect.gen(function*() {
          yield* accounts.execute(id("a"), deposit(-100, 10))
          yield* accounts.execute(id("b"), deposit(1, 8))
          return yield* Effect.fail("roll back")
        })).pipe(Effect.flip)
        // too long to be loaded: a worker is asked for a snapshot, wherever it stands
        yield* quiet.execute(id("b"), deposit(1, 6))
        assert.deepInclude(yield* Effect.flip(accounts.load(id("b"))), { _tag: "ReplayTooLong" })
        yield* gate.open
        yield* accounts.awaitPendingSnapshots
        assert.deepStrictEqual([yield* snapshotVersion("a"), yield* snapshotVersion("b")], [3, 7])
        assert.deepInclude(yield* accounts.load(id("b")), { version: 7, replayed: 0 })
      }).pipe(Effect.provide(stores)))

    it.scoped(`closing the repository in it does not wait, and the transaction continues (${name})`, () =>
      Effect.gen(function*() {
        const { logged, observed } = yield* lines
        const sql = yield* SqlClient.SqlClient
        // the clock stands still: whoever waits for the drain timeout waits for ever
        yield* observed(sql.withTransaction(
          Effect.gen(function*() {
            const accounts = yield* Repository.make(Account, { snapshots: SnapshotPolicy.background({ every: 1 }) })
            yield* accounts.execute(id("a"), open)
          }).pipe(
            Effect.scoped,
            Effect.zipRight(
              Effect.flatMap(Repository.make(Account), (accounts) => accounts.execute(id("a"), deposit(1)))
            )
          )
        ))
        assert.strictEqual(logged.filter(({ message }) => message.includes("inside a transaction")).length, 1)
        const accounts = yield* Repository.make(Account)
        assert.deepInclude(yield* accounts.load(id("a")), { version: 2 })
      }).pipe(Effect.provide(stores)))

    it.scoped(`a repository may be built in a transaction, and its workers are not in it (${name})`, () =>
      Effect.gen(function*() {
        const sql = yield* SqlClient.SqlClient
        const accounts = yield* sql.withTransaction(
          Repository.make(Account, { snapshots: SnapshotPolicy.background({ every: 1 }) })
        )
        yield* accounts.execute(id("a"), open)
        yield* accounts.awaitPendingSnapshots
        yield* sql.withTransaction(Effect.zipRight(accounts.execute(id("a"), deposit(1)), Effect.fail("roll back")))
          .pipe(Effect.flip)
        yield* accounts.awaitPendingSnapshots
        assert.strictEqual(yield* snapshotVersion("a"), 1)
      }).pipe(Effect.provide(stores)))
  }
})

describe("interruption of the command", () => {
  it.scoped("during a sync save: the save ends, and no error says that the append failed", () =>
    Effect.gen(function*() {
      const { gate, store, waiting } = yield* heldBack
      const accounts = yield* Repository.make(Account, { snapshots: SnapshotPolicy.sync({ every: 1 }) }).pipe(
        Effect.provideService(SnapshotStore.SnapshotStore, store)
      )
      const exit = yield* interruptedAt(waiting, gate, accounts.execute(id("a"), open))
      assert.isTrue(Exit.isSuccess(exit) || Cause.isInterruptedOnly(exit.cause))
      assert.strictEqual(yield* snapshotVersion("a"), 1)
    }).pipe(Effect.provide(memoryStores)))

  it.effect("during a sync save that hangs: it ends within snapshotTimeout", () =>
    Effect.gen(function*() {
      const store = yield* SnapshotStore.makeMemory
      const accounts = yield* Repository.make(Account, {
        snapshots: SnapshotPolicy.sync({ every: 1 }),
        snapshotTimeout: "3 seconds",
        snapshotOnLoad: false
      }).pipe(
        Effect.provideService(SnapshotStore.SnapshotStore, {
          ...store,
          save: () => Effect.uninterruptible(Effect.never)
        })
      )
      const fiber = yield* Effect.fork(accounts.execute(id("a"), open))
      yield* TestClock.adjust("1 seconds")
      yield* Fiber.interruptFork(fiber)
      yield* TestClock.adjust("2 seconds")
      const exit = yield* Fiber.await(fiber)
      assert.isTrue(Exit.isSuccess(exit) || Cause.isInterruptedOnly(exit.cause))
      assert.deepInclude(yield* accounts.load(id("a")), { version: 1 })
    }).pipe(Effect.scoped, Effect.provide(memoryStores)))

  /** An event store whose appends cannot be interrupted, and wait at a gate. */
  const slowAppends = Effect.gen(function*() {
    const events = yield* EventStore.EventStore
    const appending = yield* Effect.makeLatch(false)
    const gate = yield* Effect.makeLatch(false)
    const append: EventStore.EventStore["Type"]["append"] = (...args) =>
      Effect.uninterruptible(
        appending.open.pipe(Effect.zipRight(gate.await), Effect.zipRight(events.append(...args)))
      )
    return { appending, gate, events: EventStore.EventStore.of({ ...events, append }) }
  })

  for (const mode of ["sync", "background"] as const) {
    it.scoped(`during an append that succeeds: the due snapshot is taken (${mode})`, () =>
      Effect.gen(function*() {
        const { appending, events, gate } = yield* slowAppends
        const accounts = yield* Repository.make(Account, { snapshots: SnapshotPolicy[mode]({ every: 1 }) }).pipe(
          Effect.provideService(EventStore.EventStore, events)
        )
        const exit = yield* interruptedAt(appending, gate, accounts.execute(id("a"), open))
        assert.isTrue(Exit.isFailure(exit) && Cause.isInterruptedOnly(exit.cause))
        yield* accounts.awaitPendingSnapshots
        assert.strictEqual(yield* events.version(stream("a")), 1)
        assert.strictEqual(yield* snapshotVersion("a"), 1)
      }).pipe(Effect.provide(memoryStores)))

    it.scoped(`during an append that fails: no snapshot (${mode})`, () =>
      Effect.gen(function*() {
        const events = yield* EventStore.EventStore
        const accounts = yield* Repository.make(Account, { snapshots: SnapshotPolicy[mode]({ every: 2 }) }).pipe(
          Effect.provideService(EventStore.EventStore, { ...events, append: () => Effect.never })
        )
        yield* (yield* Repository.make(Account)).execute(id("a"), open)
        const fiber = yield* Effect.fork(accounts.execute(id("a"), deposit(1)))
        yield* Effect.repeatN(Effect.yieldNow(), 10)
        yield* Fiber.interrupt(fiber)
        yield* accounts.awaitPendingSnapshots
        assert.strictEqual(yield* snapshotVersion("a"), 0)
      }).pipe(Effect.provide(memoryStores)))
  }

  it.scoped("during an append that fails: an earlier due snapshot is still taken", () =>
    Effect.gen(function*() {
      const { gate, store, waiting } = yield* heldBack
      const events = yield* EventStore.EventStore
      let down = false
      const rich = SnapshotPolicy.when((_, after: typeof Account.state.schema.Type) => after.balance >= 100)
      const accounts = yield* Repository.make(Account, {
        snapshots: SnapshotPolicy.background({ when: SnapshotPolicy.or(rich, SnapshotPolicy.every(8)), workers: 1 })
      }).pipe(
        Effect.provideService(SnapshotStore.SnapshotStore, store),
        Effect.provideService(EventStore.EventStore, {
          ...events,
          append: (...args) => down ? Effect.never : events.append(...args)
        })
      )
      yield* accounts.executeAll(id("busy"), [open, deposit(100)])
      yield* waiting.await
      yield* accounts.executeAll(id("a"), [open, deposit(100)])
      down = true
      const fiber = yield* Effect.fork(accounts.execute(id("a"), deposit(-100, 10)))
      yield* Effect.repeatN(Effect.yieldNow(), 10)
      yield* Fiber.interrupt(fiber)
      yield* gate.open
      yield* accounts.awaitPendingSnapshots
      assert.strictEqual(yield* snapshotVersion("a"), 2)
    }).pipe(Effect.provide(memoryStores)))

  it.scoped("during an append with unknown outcome: no snapshot, and no other error", () =>
    Effect.gen(function*() {
      const events = yield* EventStore.EventStore
      let down = false
      const accounts = yield* Repository.make(Account, {
        snapshots: SnapshotPolicy.sync({ every: 1 }),
        snapshotTimeout: "3 seconds"
      }).pipe(
        Effect.provideService(EventStore.EventStore, {
          ...events,
          append: () =>
            Effect.suspend(() => {
              down = true
              return Effect.never
            }),
          replay: { ...events.replay, readTail: (...args) => down ? Effect.never : events.replay.readTail(...args) }
        })
      )
      const fiber = yield* Effect.fork(accounts.execute(id("a"), open))
      yield* Effect.repeatN(Effect.yieldNow(), 10)
      yield* Fiber.interruptFork(fiber)
      yield* TestClock.adjust("3 seconds")
      const exit = yield* Fiber.await(fiber)
      assert.isTrue(Exit.isFailure(exit) && Cause.isInterruptedOnly(exit.cause))
      assert.strictEqual(yield* snapshotVersion("a"), 0)
    }).pipe(Effect.provide(memoryStores)))
})

describe("interruption at every step", () => {
  // each yield lets every fiber that can go on take one turn
  const interruptAfter = <A, E, R>(turns: number, effect: Effect.Effect<A, E, R>) =>
    Effect.gen(function*() {
      const fiber = yield* Effect.fork(effect)
      yield* Effect.repeatN(Effect.yieldNow(), turns)
      return yield* Fiber.interrupt(fiber)
    })
  const most = 40
  // after a slow append the next one waits for the sockets, for more turns than these tests count
  const quick = Layer.succeed(EventLoop.EventLoop, { ...EventLoop.real, now: () => 0 })
  const stores = Layer.provideMerge(sqlStores, sqliteFile(":memory:")).pipe(Layer.provide(quick))
  const step = everything ? 1 : 3

  for (const mode of ["sync", "background", "inline"] as const) {
    for (const inside of [false, true]) {
      it.scoped(`${mode}${inside ? ", with its transaction" : ""}: the snapshot is there if the events are`, () =>
        Effect.gen(function*() {
          const sql = yield* SqlClient.SqlClient
          const events = yield* EventStore.EventStore
          const accounts = yield* Repository.make(Account, { snapshots: SnapshotPolicy[mode]({ every: 1 }) })
          const outcomes = new Set<string>()
          for (let turns = 0; turns < most; turns += step) {
            const name = `s${turns}`
            const command = accounts.executeAll(id(name), [open, deposit(1)])
            const exit = yield* interruptAfter(turns, inside ? sql.withTransaction(command) : command)
            assert.isTrue(Exit.isSuccess(exit) || Cause.isInterruptedOnly(exit.cause), name)
            yield* accounts.awaitPendingSnapshots
            const version = yield* events.version(stream(name))
            assert.strictEqual(yield* snapshotVersion(name), version, name)
            if (Exit.isSuccess(exit)) assert.strictEqual(version, 2, name)
            outcomes.add(exit._tag)
          }
          assert.strictEqual(outcomes.size, 2)
        }).pipe(Effect.provide(stores)))
    }
  }

  for (const mode of ["sync", "background", "inline"] as const) {
    it.scoped(`${mode}, in a transaction that continues: no snapshot is ahead, and the next command succeeds`, () =>
      Effect.gen(function*() {
        const sql = yield* SqlClient.SqlClient
        const events = yield* EventStore.EventStore
        const accounts = yield* Repository.make(Account, { snapshots: SnapshotPolicy[mode]({ every: 1 }) })
        for (let turns = 0; turns < most; turns += step) {
          const name = `s${turns}`
          yield* sql.withTransaction(interruptAfter(turns, accounts.executeAll(id(name), [open, deposit(1)])))
          yield* accounts.awaitPendingSnapshots
          const version = yield* events.version(stream(name))
          assert.isAtMost(yield* snapshotVersion(name), version, name)
          yield* accounts.execute(id(name), version === 0 ? open : deposit(1))
          yield* accounts.awaitPendingSnapshots
          const after = version + 1
          assert.deepInclude(yield* accounts.load(id(name)), { version: after, snapshotVersion: after, replayed: 0 })
        }
      }).pipe(Effect.provide(stores)))
  }
})

describe("a stream too long to be loaded", () => {
  it.scoped("the snapshot that it needs is taken, even if a request that is no longer due waits already", () =>
    Effect.gen(function*() {
      const { gate, store, waiting } = yield* heldBack
      const other = yield* Repository.make(Account, { snapshots: SnapshotPolicy.manual })
      const accounts = yield* Repository.make(Account, {
        snapshots: SnapshotPolicy.background({ every: 8, workers: 1 }),
        maxReplay: 5
      }).pipe(Effect.provideService(SnapshotStore.SnapshotStore, store))
      yield* accounts.executeAll(id("busy"), [open, deposit(1, 8)])
      yield* waiting.await
      yield* accounts.executeAll(id("a"), [open, deposit(1, 8)])
      // another process takes it, and appends less than makes the next one due
      yield* other.createSnapshot(id("a"))
      yield* other.execute(id("a"), deposit(1, 6))
      assert.deepInclude(yield* Effect.flip(accounts.load(id("a"))), { _tag: "ReplayTooLong" })
      yield* gate.open
      yield* accounts.awaitPendingSnapshots
      assert.strictEqual(yield* snapshotVersion("a"), 15)
    }).pipe(Effect.provide(memoryStores)))
})

describe("a snapshot that is no longer due", () => {
  it.scoped("another process took it: the worker does not save, and does not count a save", () =>
    Effect.gen(function*() {
      const { gate, store, waiting } = yield* heldBack
      const other = yield* Repository.make(Account, { snapshots: SnapshotPolicy.manual })
      const accounts = yield* Repository.make(Account, {
        snapshots: SnapshotPolicy.background({ every: 5, workers: 1 })
      }).pipe(Effect.provideService(SnapshotStore.SnapshotStore, store))
      const saves = counted(Metrics.snapshotSaves, { aggregate: "Account" })
      const before = yield* saves
      yield* accounts.executeAll(id("busy"), [open, deposit(1, 5)])
      yield* waiting.await
      yield* accounts.executeAll(id("a"), [open, deposit(1, 5)])
      yield* other.createSnapshot(id("a"))
      yield* other.execute(id("a"), deposit(1))
      yield* gate.open
      yield* accounts.awaitPendingSnapshots
      assert.deepStrictEqual([yield* snapshotVersion("busy"), yield* snapshotVersion("a")], [6, 6])
      assert.strictEqual((yield* saves) - before, 1)
    }).pipe(Effect.provide(memoryStores)))

  for (const mode of ["sync", "background"] as const) {
    it.scoped(`a policy that is always due saves no version twice (${mode})`, () =>
      Effect.gen(function*() {
        const store = yield* SnapshotStore.SnapshotStore
        const saved: Array<number> = []
        const accounts = yield* Repository.make(Account, {
          snapshots: SnapshotPolicy[mode]({ when: SnapshotPolicy.not(SnapshotPolicy.never) })
        }).pipe(Effect.provideService(SnapshotStore.SnapshotStore, {
          ...store,
          save: (snapshot) => Effect.zipRight(Effect.sync(() => saved.push(snapshot.version)), store.save(snapshot))
        }))
        for (const command of [open, deposit(1)]) {
          yield* accounts.execute(id("a"), command)
          yield* accounts.awaitPendingSnapshots
          yield* accounts.load(id("a"))
          yield* accounts.awaitPendingSnapshots
        }
        assert.deepStrictEqual(saved, [1, 2])
      }).pipe(Effect.provide(memoryStores)))
  }
})

describe("a store that is slow or hangs", () => {
  it.scoped("the timeout of a save does not limit a long replay", () =>
    Effect.gen(function*() {
      const events = yield* EventStore.EventStore
      yield* (yield* Repository.make(Account)).executeAll(id("a"), [open, deposit(1, 19)])
      const store = yield* SnapshotStore.SnapshotStore
      const accounts = yield* Repository.make(Account, {
        snapshots: SnapshotPolicy.background({ every: 10, timeout: "3500 millis" }),
        pageSize: 2
      }).pipe(
        // the last read finds nothing more; the save has its time from there on
        Effect.provideService(SnapshotStore.SnapshotStore, {
          ...store,
          save: (snapshot) => Effect.delay(store.save(snapshot), "3300 millis")
        }),
        Effect.provideService(EventStore.EventStore, {
          ...events,
          replay: {
            ...events.replay,
            readTail: (...args) => Effect.delay(events.replay.readTail(...args), "3 seconds")
          }
        })
      )
      const loading = yield* Effect.fork(accounts.load(id("a")))
      yield* TestClock.adjust("40 seconds")
      assert.deepInclude(yield* Fiber.join(loading), { version: 20, replayed: 20 })
      assert.strictEqual(yield* snapshotVersion("a"), 0)
      yield* TestClock.adjust("40 seconds")
      assert.strictEqual(yield* snapshotVersion("a"), 20)
    }).pipe(Effect.provide(memoryStores)))

  for (
    const [name, hang] of [["", Effect.never], [
      " and cannot be interrupted",
      Effect.uninterruptible(Effect.never)
    ]] as const
  ) {
    it.effect(`a read of events that hangs${name}: the worker continues with other streams`, () =>
      Effect.gen(function*() {
        const events = yield* EventStore.EventStore
        let down = false
        const scope = yield* Scope.make()
        const accounts = yield* Repository.make(Account, {
          snapshots: SnapshotPolicy.background({ every: 2, workers: 1, timeout: "5 seconds" })
        }).pipe(
          Effect.provideService(EventStore.EventStore, {
            ...events,
            append: (appendTo, ...args) =>
              Effect.tap(events.append(appendTo, ...args), () =>
                Effect.sync(() => {
                  if (appendTo.id === "a") down = true
                })),
            replay: {
              ...events.replay,
              readTail: (readFrom, options) =>
                down && readFrom.id === "a" ? hang : events.replay.readTail(readFrom, options)
            }
          }),
          Scope.extend(scope)
        )
        yield* accounts.executeAll(id("a"), [open, deposit(1)])
        yield* accounts.executeAll(id("b"), [open, deposit(1)])
        const waiting = yield* Effect.fork(accounts.awaitPendingSnapshots)
        yield* TestClock.adjust("1 minutes")
        yield* Fiber.join(waiting)
        assert.deepStrictEqual([yield* snapshotVersion("a"), yield* snapshotVersion("b")], [0, 2])
        const closing = yield* Effect.fork(Scope.close(scope, Exit.void))
        yield* TestClock.adjust("1 minutes")
        yield* Fiber.join(closing)
      }).pipe(Effect.provide(memoryStores)))
  }

  it.scoped("hanging sync saves do not accumulate, and delay only one command", () =>
    Effect.gen(function*() {
      const { logged, observed } = yield* lines
      yield* observed(Effect.gen(function*() {
        const store = yield* SnapshotStore.SnapshotStore
        const gate = yield* Effect.makeLatch(false)
        let begun = 0
        const Teller = Aggregate.make({
          name: "Teller",
          id: Schema.String,
          state: Schema.Int,
          event: Schema.TaggedStruct("Counted", {}),
          command: Schema.Literal("Count"),
          initial: () => 0,
          evolve: (state) => state + 1,
          decide: () => Either.right([{ _tag: "Counted" } as const])
        })
        const tellers = yield* Repository.make(Teller, {
          snapshots: SnapshotPolicy.sync({ every: 1 }),
          snapshotTimeout: "3 seconds"
        }).pipe(
          Effect.provideService(SnapshotStore.SnapshotStore, {
            ...store,
            save: (snapshot) =>
              Effect.uninterruptible(Effect.suspend(() => {
                begun++
                return Effect.zipRight(gate.await, store.save(snapshot))
              }))
          })
        )
        const dropped = counted(Metrics.snapshotsDropped, { aggregate: "Teller" })
        const before = yield* dropped
        const first = yield* Effect.fork(tellers.execute("s0", "Count"))
        yield* TestClock.adjust("3 seconds")
        assert.deepInclude(yield* Fiber.join(first), { version: 1 })
        // no time passes
        for (let n = 0; n < 4; n++) yield* tellers.execute("s0", "Count")
        assert.strictEqual(begun, 1)
        assert.strictEqual((yield* dropped) - before, 4)
        assert.deepStrictEqual(
          logged.filter(({ message }) => message.includes("dropped")).map(({ annotations }) => annotations),
          Array.from({ length: 4 }, () => ({ aggregate: "Teller", id: "s0" }))
        )
        for (let n = 1; n < 40; n++) {
          const command = yield* Effect.fork(tellers.execute(`s${n}`, "Count"))
          yield* TestClock.adjust("3 seconds")
          yield* Fiber.join(command)
        }
        assert.strictEqual(begun, 16)
        // it answers again
        yield* gate.open
        yield* Effect.repeatN(Effect.yieldNow(), 20)
        yield* tellers.execute("s0", "Count")
        yield* tellers.execute("s39", "Count")
        const versionOf = (name: string) =>
          Effect.map(
            store.get(StreamId.make("Teller", name), { schemaVersion: 1 }),
            Option.map(({ version }) => version)
          )
        assert.deepStrictEqual(yield* versionOf("s0"), Option.some(6))
        assert.deepStrictEqual(yield* versionOf("s39"), Option.some(2))
      }))
    }).pipe(Effect.provide(memoryStores)))

  it.scoped("hanging reads of the stream for a sync save do not accumulate", () =>
    Effect.gen(function*() {
      const store = yield* EventStore.EventStore
      const gate = yield* Effect.makeLatch(true)
      let looks = 0
      const accounts = yield* Repository.make(Account, {
        snapshots: SnapshotPolicy.sync({ every: 1 }),
        snapshotTimeout: "3 seconds"
      }).pipe(
        Effect.provideService(EventStore.EventStore, {
          ...store,
          replay: {
            ...store.replay,
            readTail: (stream, options) => {
              if (options.limit !== 1) return store.replay.readTail(stream, options)
              looks++
              return Effect.uninterruptible(Effect.zipRight(gate.await, store.replay.readTail(stream, options)))
            }
          }
        })
      )
      yield* accounts.execute(id("a"), open)
      yield* (yield* SnapshotStore.SnapshotStore).delete(StreamId.make("Account", "a"))
      yield* gate.close
      const first = yield* Effect.fork(accounts.execute(id("a"), deposit(1)))
      yield* TestClock.adjust("3 seconds")
      yield* Fiber.join(first)
      const before = looks
      // no time passes
      yield* (yield* SnapshotStore.SnapshotStore).delete(StreamId.make("Account", "a"))
      yield* accounts.execute(id("a"), deposit(1))
      assert.deepStrictEqual([before, looks], [1, 1])
      yield* gate.open
      yield* Effect.repeatN(Effect.yieldNow(), 20)
      yield* accounts.execute(id("a"), deposit(1))
      assert.isTrue(yield* (yield* SnapshotStore.SnapshotStore).exists(StreamId.make("Account", "a")))
    }).pipe(Effect.provide(memoryStores)))

  it.scoped("uninterruptible saves of interrupted loads do not accumulate", () =>
    Effect.gen(function*() {
      const { logged, observed } = yield* lines
      const store = yield* SnapshotStore.SnapshotStore
      const gate = yield* Effect.makeLatch(false)
      let begun = 0
      const accounts = yield* Repository.make(Account, { snapshots: SnapshotPolicy.sync({ every: 1 }) }).pipe(
        Effect.provideService(SnapshotStore.SnapshotStore, {
          ...store,
          save: (snapshot) =>
            Effect.uninterruptible(Effect.suspend(() => {
              begun++
              return Effect.zipRight(gate.await, store.save(snapshot))
            }))
        })
      )
      yield* (yield* Repository.make(Account)).execute(id("a"), open)
      for (let n = 0; n < 5; n++) {
        const loading = yield* Effect.fork(observed(accounts.load(id("a"))))
        yield* Effect.repeatN(Effect.yieldNow(), 20)
        yield* Fiber.interrupt(loading)
      }
      assert.strictEqual(begun, 1)
      assert.strictEqual(logged.filter(({ message }) => message.includes("dropped")).length, 4)
      yield* gate.open
      yield* Effect.repeatN(Effect.yieldNow(), 20)
      assert.deepInclude(yield* accounts.load(id("a")), { version: 1, snapshotVersion: 1 })
    }).pipe(Effect.provide(memoryStores)))

  it.scoped("a logger that throws at a snapshot's log line fails neither load nor command", () =>
    Effect.gen(function*() {
      const store = yield* SnapshotStore.SnapshotStore
      for (
        const snapshots of [
          SnapshotPolicy.sync({ every: 1 }),
          SnapshotPolicy.background({ every: 1, retry: Schedule.stop })
        ]
      ) {
        const name = id(snapshots._tag)
        yield* Effect.gen(function*() {
          const accounts = yield* Repository.make(Account, { snapshots }).pipe(
            Effect.provideService(SnapshotStore.SnapshotStore, {
              ...store,
              get: () => Effect.fail(unavailable("get")),
              save: () => Effect.fail(unavailable("save"))
            })
          )
          assert.deepInclude(yield* accounts.execute(name, open), { version: 1 })
          assert.deepInclude(yield* accounts.load(name), { version: 1, replayed: 1 })
        }).pipe(
          Effect.scoped,
          Effect.provide(Logger.replace(
            Logger.defaultLogger,
            Logger.make(() => {
              throw new Error("logger")
            })
          ))
        )
      }
    }).pipe(Effect.provide(memoryStores)))

  const broken: ReadonlyArray<
    readonly [name: string, save: SnapshotStore.SnapshotStore["Type"]["save"], says: string]
  > = [
    ["hangs", () => Effect.never, "took too long"],
    ["hangs and cannot be interrupted", () => Effect.uninterruptible(Effect.never), "took too long"],
    ["dies", () => Effect.die(new Error("planned")), "planned"],
    ["interrupts itself", () => Effect.interrupt, "it was interrupted"],
    ["throws", () => {
      throw new Error("planned")
    }, "planned"]
  ]
  for (const [name, save, says] of broken) {
    it.scoped(`createSnapshot with a store that ${name} fails with a typed error, in time`, () =>
      Effect.gen(function*() {
        const store = yield* SnapshotStore.SnapshotStore
        const accounts = yield* Repository.make(Account, {
          snapshots: SnapshotPolicy.manual,
          snapshotTimeout: "3 seconds"
        }).pipe(Effect.provideService(SnapshotStore.SnapshotStore, { ...store, save }))
        yield* accounts.execute(id("a"), open)
        const creating = yield* Effect.fork(Effect.flip(accounts.createSnapshot(id("a"))))
        yield* TestClock.adjust("3 seconds")
        const failure = yield* Fiber.join(creating)
        assert.instanceOf(failure, SnapshotStore.SnapshotStoreError)
        assert.deepInclude({ ...failure }, { operation: "save", reason: "Unavailable", id: "a" })
        assert.include(failure.message, says)
      }).pipe(Effect.provide(memoryStores)))
  }
})

describe("closing", () => {
  class Accounts extends Context.Tag("Accounts")<Accounts, Repository.Repository<typeof Account>>() {}

  /** Slow saves, and a record of them and of the closing of the store. */
  const recorded = (record: Array<string>) =>
    Layer.scoped(
      SnapshotStore.SnapshotStore,
      Effect.acquireRelease(
        Effect.map(SnapshotStore.makeMemory, (store) =>
          SnapshotStore.SnapshotStore.of({
            ...store,
            save: (snapshot) =>
              Effect.sleep("20 millis").pipe(
                Effect.zipRight(Effect.sync(() => record.push(`saved ${snapshot.stream.id}`))),
                Effect.zipRight(store.save(snapshot))
              )
          })),
        () => Effect.sync(() => record.push("closed"))
      )
    )

  const live = (record: Array<string>, options: SnapshotPolicy.BackgroundOptions = {}) =>
    Repository.layer(Accounts, Account, { snapshots: SnapshotPolicy.background({ every: 1, ...options }) }).pipe(
      Layer.provide([EventStore.layerMemory, recorded(record)])
    )

  const commands = Effect.flatMap(
    Accounts,
    (accounts) => Effect.forEach(["a", "b", "c", "d", "e"], (name) => accounts.execute(id(name), open))
  )

  const drained = ["saved a", "saved b", "saved c", "saved d", "saved e", "closed"]

  const endings: ReadonlyArray<readonly [name: string, then: Effect.Effect<unknown, string>]> = [
    ["normal end", Effect.void],
    ["failure", Effect.fail("planned")],
    ["defect", Effect.die("planned")],
    ["interruption", Effect.interrupt]
  ]
  for (const [name, then] of endings) {
    it.live(`${name}: pending snapshots are saved while the stores are open`, () =>
      Effect.gen(function*() {
        const record: Array<string> = []
        yield* Effect.exit(Effect.provide(Effect.zipRight(commands, then), live(record)))
        assert.deepStrictEqual(record, drained)
      }))
  }

  it("ManagedRuntime.dispose: pending snapshots are saved while the stores are open", async () => {
    const record: Array<string> = []
    const runtime = ManagedRuntime.make(live(record))
    await runtime.runPromise(commands)
    await runtime.dispose()
    assert.deepStrictEqual(record, drained)
  })

  for (const [ending, code] of [["signal", 0], ["failure", 1], ["defect", 1], ["end", 0]] as const) {
    it.runIf(everything || ending === "signal")(`a whole process, ${ending}`, async () => {
      const process = start("test/utils/ctrl-c.ts", [ending])
      await process.line("ready")
      if (ending === "signal") process.child.kill("SIGINT")
      assert.strictEqual(await process.exited, code, process.errors())
      const saved = process.lines.filter((line) => line.startsWith("saved a")).sort()
      assert.deepStrictEqual(saved, Array.from({ length: 10 }, (_, n) => `saved a${n}`))
      assert.strictEqual(process.lines.at(-1), "closed")
    })
  }

  it.live("while writers still run: closing ends, no command fails, no event is lost", () =>
    Effect.gen(function*() {
      const record: Array<string> = []
      const scope = yield* Scope.make()
      const events = yield* EventStore.makeMemory
      const snapshots = yield* Layer.buildWithScope(recorded(record), scope)
      const accounts = yield* Repository.make(Account, {
        snapshots: SnapshotPolicy.background({ every: 2 }),
        retry: Schedule.forever
      }).pipe(
        Effect.provideService(EventStore.EventStore, events),
        Effect.provide(snapshots),
        Scope.extend(scope)
      )
      let stop = false
      let acknowledged = 0
      const writers = yield* Effect.fork(
        Effect.forEach(["a", "b", "c", "d"], (name) =>
          Effect.zipRight(
            accounts.execute(id(name), open),
            Effect.repeat(
              Effect.zipRight(
                Effect.sleep("1 millis"),
                Effect.tap(accounts.execute(id(name), deposit(1)), () => Effect.sync(() => acknowledged++))
              ),
              { until: () => stop }
            )
          ), { concurrency: "unbounded" })
      )
      yield* Effect.sleep("30 millis")
      yield* Scope.close(scope, Exit.void)
      const atClosing = acknowledged
      yield* Effect.sleep("20 millis")
      stop = true
      yield* Fiber.join(writers)
      assert.isAbove(acknowledged, atClosing)
      assert.strictEqual(record.at(-1), "closed")
      const all = yield* Stream.runCollect(events.readAll())
      assert.strictEqual(Chunk.size(all), acknowledged + 4)
      // a closed repository still reads
      assert.isAbove((yield* accounts.load(id("a"))).version, 1)
      yield* accounts.awaitPendingSnapshots
    }))
})

describe("bad input", () => {
  it.effect("an invalid time limit is a typed error", () =>
    Effect.gen(function*() {
      for (const limit of [0, -1, NaN, Infinity, "-5 seconds"] as const) {
        const wrong: ReadonlyArray<readonly [option: string, options: Repository.Options]> = [
          ["snapshotTimeout", { snapshotTimeout: limit }],
          ["timeout", { snapshots: SnapshotPolicy.background({ every: 1, timeout: limit }) }],
          ["drainTimeout", { snapshots: SnapshotPolicy.background({ every: 1, drainTimeout: limit }) }]
        ]
        for (const [option, options] of wrong) {
          const failure = yield* Effect.flip(Repository.make(Account, options))
          assert.instanceOf(failure, InvalidOption.InvalidOption)
          assert.include(failure.option, option)
        }
      }
    }).pipe(Effect.scoped, Effect.provide(memoryStores)))

  class Accounts extends Context.Tag("Accounts")<Accounts, Repository.Repository<typeof Account>>() {}
  const AccountsLive = Repository.layer(Accounts, Account, {
    snapshots: SnapshotPolicy.background({ every: 2 }),
    retry: Schedule.forever
  })

  it.scoped("a layer built twice: two repositories that share the stores, each with workers of its own", () =>
    Effect.gen(function*() {
      const scopes = [yield* Scope.make(), yield* Scope.make()]
      const [one, two] = yield* Effect.forEach(
        scopes,
        (scope) => Effect.map(Layer.buildWithScope(AccountsLive, scope), Context.get(Accounts))
      )
      yield* one.execute(id("a"), open)
      yield* Effect.all(
        [one, two].map((accounts) => Effect.repeatN(accounts.execute(id("a"), deposit(1)), 49)),
        { concurrency: "unbounded" }
      )
      yield* Scope.close(scopes[0], Exit.void)
      yield* two.execute(id("a"), deposit(1))
      yield* two.execute(id("a"), deposit(1))
      yield* two.awaitPendingSnapshots
      assert.deepInclude(yield* two.load(id("a")), { version: 103, state: { open: true, balance: 102 } })
      assert.isAtLeast(yield* snapshotVersion("a"), 102)
      yield* Scope.close(scopes[1], Exit.void)
    }).pipe(Effect.provide(memoryStores)))

  it.scoped("two repositories of one aggregate in one process see each other's events and snapshots", () =>
    Effect.gen(function*() {
      const make = Repository.make(Account, { snapshots: SnapshotPolicy.background({ every: 10 }) })
      const one = yield* make
      const two = yield* make
      yield* one.executeAll(id("a"), [open, deposit(1, 20)])
      yield* one.awaitPendingSnapshots
      assert.deepInclude(yield* two.load(id("a")), { version: 21, snapshotVersion: 21 })
      yield* two.execute(id("a"), deposit(1, 10))
      yield* two.awaitPendingSnapshots
      assert.deepInclude(yield* one.load(id("a")), { version: 31, snapshotVersion: 31, replayed: 0 })
    }).pipe(Effect.provide(Layer.provide(sqlStores, sqliteFile(":memory:")))))

  for (const mode of ["sync", "background"] as const) {
    it.scoped(`a clock that goes backwards, or is before 1970, has no effect (${mode})`, () =>
      Effect.gen(function*() {
        const accounts = yield* Repository.make(Account, { snapshots: SnapshotPolicy[mode]({ every: 2 }) })
        yield* accounts.execute(id("a"), open)
        for (const time of [1_000_000, 500_000, 0, 2_000_000, -1_000_000, 10]) {
          yield* TestClock.setTime(time)
          yield* accounts.execute(id("a"), deposit(1, 2))
          yield* accounts.awaitPendingSnapshots
          const { snapshotVersion, state, version } = yield* accounts.load(id("a"))
          assert.strictEqual(snapshotVersion, version)
          assert.strictEqual(state.balance, version - 1)
        }
        const events = yield* EventStore.EventStore
        const times = Chunk.toReadonlyArray(yield* Stream.runCollect(events.read(stream("a"))))
          .map(({ time }) => time.epochMillis)
        assert.strictEqual(times.length, 13)
        assert.includeMembers(times, [1_000_000, 500_000, -1_000_000])
      }).pipe(Effect.provide(Layer.provide(sqlStores, sqliteFile(":memory:")))))
  }
})
