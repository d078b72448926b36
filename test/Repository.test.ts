import { assert, describe, it } from "@effect/vitest"
import {
  Cause,
  Chunk,
  Context,
  DateTime,
  Deferred,
  Effect,
  Either,
  Exit,
  Fiber,
  Layer,
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
  Event,
  EventStore,
  ExpectedVersion,
  InvalidOption,
  Repository,
  Snapshot,
  SnapshotPolicy,
  SnapshotStore,
  StreamId
} from "effect-eventsourcing"
import { Account, AccountId, AccountV2, event, id, InsufficientFunds, NotOpen, open } from "./fixtures/Account.js"
import { backends, memoryStores, on } from "./utils/backends.js"

const each = on(backends)

const deposit = (amount: number, times?: number) =>
  ({ _tag: "Deposit", amount, ...(times === undefined ? {} : { times }) }) as const
const withdraw = (amount: number) => ({ _tag: "Withdraw", amount }) as const

const repository = (policy: SnapshotPolicy.SnapshotPolicy, options: Repository.Options = {}) =>
  Repository.make(Account, { snapshots: policy, ...options })

const streamOf = (text: string) => StreamId.make("Account", text)

const snapshotVersion = (text: string, schemaVersion = 1) =>
  Effect.flatMap(SnapshotStore.SnapshotStore, (store) =>
    Effect.map(
      store.get(streamOf(text), { schemaVersion }),
      Option.match({ onNone: () => 0, onSome: ({ version }) => version })
    ))

const eventsOf = (text: string) =>
  Effect.flatMap(
    EventStore.EventStore,
    (store) => Effect.map(Stream.runCollect(store.read(streamOf(text))), Chunk.toReadonlyArray)
  )

/** Every test has a database of its own. */

describe("Repository", () => {
  each("executes, loads, and folds what it stored", () =>
    Effect.gen(function*() {
      const accounts = yield* repository(SnapshotPolicy.none)
      const opened = yield* accounts.execute(id("a"), open)
      assert.deepInclude(opened, { state: { open: true, balance: 0 }, version: 1, events: [{ _tag: "Opened" }] })
      const deposited = yield* accounts.execute(id("a"), deposit(10))
      assert.strictEqual(deposited.version, 2)
      const [, last] = yield* eventsOf("a")
      assert.deepStrictEqual(yield* accounts.load(id("a")), {
        id: id("a"),
        state: { open: true, balance: 10 },
        version: 2,
        exists: true,
        lastEventId: Option.some(last.id),
        lastEventTime: Option.some(last.time),
        snapshotVersion: 0,
        replayed: 2,
        snapshotOutcome: { _tag: "Disabled" }
      })
    }))

  each("an id without events is in the initial state at version 0", () =>
    Effect.gen(function*() {
      const accounts = yield* repository(SnapshotPolicy.sync({ every: 1 }))
      const loaded = yield* accounts.load(id("nobody"))
      assert.deepStrictEqual(loaded, {
        id: id("nobody"),
        state: { open: false, balance: 0 },
        version: 0,
        exists: false,
        lastEventId: Option.none(),
        lastEventTime: Option.none(),
        snapshotVersion: 0,
        replayed: 0,
        snapshotOutcome: { _tag: "None" }
      })
    }))

  for (
    const [name, policy, options] of [
      ["full replay", SnapshotPolicy.none, {}],
      ["pages", SnapshotPolicy.none, { pageSize: 2 }],
      ["a snapshot and its tail", SnapshotPolicy.manual, {}],
      ["a cached state", SnapshotPolicy.none, { cache: { capacity: 10 } }],
      ["a cached state and a snapshot", SnapshotPolicy.manual, { cache: { capacity: 10 } }]
    ] as const
  ) {
    each(`a load gives the id and the time of the last event, by ${name}`, () =>
      Effect.gen(function*() {
        const accounts = yield* repository(policy, options)
        const store = yield* EventStore.EventStore
        const check = Effect.gen(function*() {
          const last = (yield* eventsOf("a")).at(-1)
          assert.isDefined(last)
          for (let i = 0; i < 2; i++) {
            const { lastEventId, lastEventTime } = yield* accounts.load(id("a"))
            assert.deepStrictEqual(lastEventId, Option.some(last.id))
            assert.deepStrictEqual(lastEventTime, Option.some(last.time))
          }
        })
        yield* accounts.execute(id("a"), open)
        yield* check
        for (let day = 1; day <= 4; day++) {
          const dated = { ...event(day), time: DateTime.unsafeMake(day * 86_400_000) }
          yield* store.append(streamOf("a"), [event(1), event(2), dated], {
            expectedVersion: ExpectedVersion.any
          })
          yield* check
          // with a snapshot of the last event there is no tail
          if (day === 2 && policy._tag === "Manual") yield* accounts.createSnapshot(id("a"))
          yield* check
        }
      }))
  }

  each("a rejection is the aggregate's own and leaves nothing behind", () =>
    Effect.gen(function*() {
      const accounts = yield* repository(SnapshotPolicy.none)
      assert.instanceOf(yield* Effect.flip(accounts.execute(id("a"), deposit(1))), NotOpen)
      yield* accounts.execute(id("a"), open)
      const refused = yield* Effect.flip(accounts.execute(id("a"), withdraw(1)))
      assert.isTrue(refused instanceof InsufficientFunds && refused.balance === 0)
      assert.strictEqual((yield* accounts.load(id("a"))).version, 1)
    }))

  each("a command that decides no events appends nothing", () =>
    Effect.gen(function*() {
      const accounts = yield* repository(SnapshotPolicy.sync({ every: 1 }))
      yield* accounts.execute(id("a"), open)
      const again = yield* accounts.execute(id("a"), open)
      assert.deepStrictEqual(again, {
        state: { open: true, balance: 0 },
        version: 1,
        events: [],
        recorded: [],
        position: Option.none(),
        duplicate: false
      })
      const none = yield* accounts.executeAll(id("b"), [])
      assert.deepInclude(none, { state: { open: false, balance: 0 }, version: 0, events: [] })
      assert.strictEqual(yield* (yield* EventStore.EventStore).version(streamOf("a")), 1)
    }))

  each("executeAll decides in turn and appends at once", () =>
    Effect.gen(function*() {
      const accounts = yield* repository(SnapshotPolicy.none)
      const done = yield* accounts.executeAll(id("a"), [open, deposit(10), withdraw(4)])
      assert.deepStrictEqual(done.state, { open: true, balance: 6 })
      assert.strictEqual(done.version, 3)
      const refused = yield* Effect.flip(accounts.executeAll(id("a"), [deposit(1), withdraw(100), deposit(5)]))
      assert.isTrue(refused instanceof InsufficientFunds && refused.balance === 7)
      assert.strictEqual((yield* accounts.load(id("a"))).version, 3)
    }))

  each("a conflict reads the new events onto the state in hand and decides again", () =>
    Effect.gen(function*() {
      const store = yield* EventStore.EventStore
      let races = 3
      let rivals = 0
      const reads: Array<number> = []
      const racing = EventStore.EventStore.of({
        ...store,
        replay: {
          ...store.replay,
          withSnapshots: () => Option.none(),
          readTail: (stream, options) => {
            reads.push(options.fromVersion)
            return store.replay.readTail(stream, options)
          }
        },
        append: (stream, events, options) =>
          races-- > 0
            ? Effect.zipRight(
              store.append(stream, [{
                id: `rival-${++rivals}`,
                type: "Deposited",
                payload: { _tag: "Deposited", amount: 1 }
              }], {
                expectedVersion: ExpectedVersion.any
              }),
              store.append(stream, events, options)
            )
            : store.append(stream, events, options)
      })
      yield* (yield* repository(SnapshotPolicy.none)).executeAll(id("a"), [open, deposit(5)])
      const accounts = yield* repository(SnapshotPolicy.none, { retry: Schedule.recurs(3) }).pipe(
        Effect.provideService(EventStore.EventStore, racing)
      )
      const done = yield* accounts.execute(id("a"), withdraw(5))
      assert.deepStrictEqual(done.state, { open: true, balance: 3 })
      assert.strictEqual(done.version, 6)
      assert.deepStrictEqual(reads, [1, 2, 3, 4])
      races = 2
      const lost = yield* repository(SnapshotPolicy.none, { retry: Schedule.recurs(1) }).pipe(
        Effect.provideService(EventStore.EventStore, racing),
        Effect.flatMap((accounts) => accounts.execute(id("a"), deposit(1))),
        Effect.flip
      )
      assert.instanceOf(lost, EventStore.VersionConflict)
    }))

  each("writers at the same time lose nothing", () =>
    Effect.gen(function*() {
      const accounts = yield* repository(SnapshotPolicy.sync({ every: 3 }), { retry: Schedule.forever })
      yield* accounts.execute(id("a"), open)
      const bump = accounts.execute(id("a"), deposit(1))
      yield* Effect.forEach(
        Array.from({ length: 8 }),
        () => Effect.repeatN(Effect.zipRight(Effect.yieldNow(), bump), 4),
        { concurrency: "unbounded" }
      )
      const loaded = yield* accounts.load(id("a"))
      assert.deepStrictEqual([loaded.state.balance, loaded.version], [40, 41])
    }))

  it.scoped("metadata of the call overrides that of the fiber; ids and time are replaceable", () =>
    Effect.gen(function*() {
      const accounts = yield* repository(SnapshotPolicy.none)
      let n = 0
      yield* TestClock.setTime(1_234)
      yield* accounts.execute(id("a"), open, { metadata: { user: "ada", tenant: "t2" } }).pipe(
        Effect.provideService(Event.CurrentMetadata, { correlationId: "c", tenant: "t1" }),
        Effect.provideService(Event.IdGenerator, Effect.sync(() => `id-${++n}`))
      )
      yield* accounts.execute(id("a"), deposit(1))
      const [first, second] = yield* eventsOf("a")
      assert.strictEqual(first.id, "id-1")
      assert.strictEqual(first.time.epochMillis, 1_234)
      assert.deepStrictEqual(first.metadata, { correlationId: "c", tenant: "t2", user: "ada" })
      assert.deepStrictEqual(second.metadata, {})
      assert.match(second.id, /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/)
    }).pipe(Effect.provide(memoryStores)))
})

describe("snapshot modes", () => {
  each("sync: the snapshot is there when the command returns", () =>
    Effect.gen(function*() {
      const accounts = yield* repository(SnapshotPolicy.sync({ every: 10 }))
      yield* accounts.executeAll(id("a"), [open, deposit(1, 8)])
      assert.strictEqual(yield* snapshotVersion("a"), 0)
      yield* accounts.execute(id("a"), deposit(1))
      assert.strictEqual(yield* snapshotVersion("a"), 10)
      const loaded = yield* accounts.load(id("a"))
      assert.deepInclude(loaded, { version: 10, snapshotVersion: 10, replayed: 0, snapshotOutcome: { _tag: "Hit" } })
      assert.deepStrictEqual(loaded.state, { open: true, balance: 9 })
      yield* accounts.execute(id("a"), deposit(1, 3))
      assert.deepInclude(yield* accounts.load(id("a")), { version: 13, snapshotVersion: 10, replayed: 3 })
    }))

  each("an append of several events does not step over the threshold", () =>
    Effect.gen(function*() {
      const accounts = yield* repository(SnapshotPolicy.sync({ every: 10 }))
      yield* accounts.executeAll(id("a"), [open, deposit(1, 15)])
      assert.strictEqual(yield* snapshotVersion("a"), 16)
      yield* accounts.execute(id("a"), deposit(1, 9))
      assert.strictEqual(yield* snapshotVersion("a"), 16)
      yield* accounts.execute(id("a"), deposit(1))
      assert.strictEqual(yield* snapshotVersion("a"), 26)
    }))

  each("background: the snapshot is there after awaiting", () =>
    Effect.gen(function*() {
      const accounts = yield* repository(SnapshotPolicy.background({ every: 10 }))
      yield* accounts.executeAll(id("a"), [open, deposit(1, 15)])
      yield* accounts.awaitPendingSnapshots
      assert.strictEqual(yield* snapshotVersion("a"), 16)
      assert.deepInclude(yield* accounts.load(id("a")), { version: 16, snapshotVersion: 16, replayed: 0 })
      yield* accounts.awaitPendingSnapshots
    }))

  each("background: a loop of commands does not keep the workers from their work", () =>
    Effect.gen(function*() {
      const accounts = yield* repository(SnapshotPolicy.background({ every: 10 }))
      yield* accounts.execute(id("a"), open)
      yield* Effect.repeatN(accounts.execute(id("a"), deposit(1)), 299)
      const { replayed, snapshotVersion } = yield* accounts.load(id("a"))
      assert.isAbove(snapshotVersion, 150)
      assert.strictEqual(snapshotVersion + replayed, 301)
    }))

  each("manual: only createSnapshot takes one, and loads use it", () =>
    Effect.gen(function*() {
      const accounts = yield* repository(SnapshotPolicy.manual)
      yield* accounts.executeAll(id("a"), [open, deposit(1, 20)])
      yield* accounts.load(id("a"))
      assert.strictEqual(yield* snapshotVersion("a"), 0)
      const created = yield* accounts.createSnapshot(id("a"))
      assert.strictEqual(created.outcome, "Saved")
      assert.deepInclude(created.snapshot, { version: 21, schemaVersion: 1, state: { open: true, balance: 20 } })
      assert.strictEqual(yield* snapshotVersion("a"), 21)
      assert.deepInclude(yield* accounts.load(id("a")), { snapshotVersion: 21, replayed: 0 })
      assert.strictEqual((yield* accounts.createSnapshot(id("a"))).outcome, "Superseded")
    }))

  each("none: snapshots are neither taken nor used", () =>
    Effect.gen(function*() {
      const manual = yield* repository(SnapshotPolicy.manual)
      yield* manual.executeAll(id("a"), [open, deposit(1, 5)])
      yield* manual.createSnapshot(id("a"))
      const accounts = yield* repository(SnapshotPolicy.none)
      assert.deepInclude(yield* accounts.load(id("a")), { snapshotVersion: 0, replayed: 6 })
    }))

  each("createSnapshot of an empty stream is a typed error", () =>
    Effect.gen(function*() {
      const accounts = yield* repository(SnapshotPolicy.manual)
      const failure = yield* Effect.flip(accounts.createSnapshot(id("nobody")))
      assert.instanceOf(failure, Repository.EmptyStream)
    }))

  each("a load takes the snapshot that is due, unless that is switched off", () =>
    Effect.gen(function*() {
      yield* (yield* repository(SnapshotPolicy.none)).executeAll(id("a"), [open, deposit(1, 15)])
      const reader = yield* repository(SnapshotPolicy.sync({ every: 10 }), { snapshotOnLoad: false })
      yield* reader.load(id("a"))
      assert.strictEqual(yield* snapshotVersion("a"), 0)
      yield* (yield* repository(SnapshotPolicy.sync({ every: 10 }))).load(id("a"))
      assert.strictEqual(yield* snapshotVersion("a"), 16)
    }))

  each("so does a command that is rejected, or decides no events", () =>
    Effect.gen(function*() {
      const reader = yield* repository(SnapshotPolicy.sync({ every: 10 }), { snapshotOnLoad: false })
      const accounts = yield* repository(SnapshotPolicy.sync({ every: 10 }))
      for (const [account, command] of [["a", { _tag: "Withdraw", amount: 100 }], ["b", open]] as const) {
        yield* (yield* repository(SnapshotPolicy.none)).executeAll(id(account), [open, deposit(1, 15)])
        yield* Effect.either(reader.execute(id(account), command))
        assert.strictEqual(yield* snapshotVersion(account), 0)
        yield* Effect.either(accounts.execute(id(account), command))
        assert.strictEqual(yield* snapshotVersion(account), 16)
      }
    }))

  each("a restart takes no extra snapshot", () =>
    Effect.gen(function*() {
      const saves: Array<number> = []
      const store = yield* SnapshotStore.SnapshotStore
      const counting = SnapshotStore.SnapshotStore.of({
        ...store,
        save: (snapshot) => {
          saves.push(snapshot.version)
          return store.save(snapshot)
        }
      })
      for (let i = 0; i < 10; i++) {
        const accounts = yield* repository(SnapshotPolicy.sync({ every: 5 })).pipe(
          Effect.provideService(SnapshotStore.SnapshotStore, counting)
        )
        yield* accounts.executeAll(id("a"), [open, deposit(1)])
      }
      assert.deepStrictEqual(saves, [5, 10])
    }))

  each("pages of two fold the same as one page", () =>
    Effect.gen(function*() {
      for (const count of [0, 1, 2, 3, 4, 5]) {
        const accounts = yield* repository(SnapshotPolicy.manual, { pageSize: 2 })
        yield* accounts.executeAll(id(`p${count}`), [open, deposit(1, 3)])
        yield* accounts.createSnapshot(id(`p${count}`))
        yield* accounts.execute(id(`p${count}`), deposit(1, count))
        const loaded = yield* accounts.load(id(`p${count}`))
        assert.deepInclude(loaded, { version: 4 + count, snapshotVersion: 4, replayed: count })
        assert.strictEqual(loaded.state.balance, 3 + count)
      }
    }))
})

describe("a snapshot is an optimisation only", () => {
  const save = (change: Partial<Snapshot.EncodedSnapshot>) =>
    Effect.gen(function*() {
      const store = yield* SnapshotStore.SnapshotStore
      const found = yield* Effect.flatten(store.get(streamOf("a"), { schemaVersion: 1 }))
      yield* store.delete(streamOf("a"))
      yield* store.save({ ...found, ...change })
    })

  const tampered: ReadonlyArray<
    readonly [name: string, change: Partial<Snapshot.EncodedSnapshot>, reason: Snapshot.SnapshotOutcome["_tag"]]
  > = [
    ["ahead of the stream", { version: 99 }, "HistoryMismatch"],
    ["behind, with the id of another event", { version: 3 }, "HistoryMismatch"],
    ["of another history", { eventId: "somebody-else" }, "HistoryMismatch"],
    ["of a schema with another fingerprint", { fingerprint: "f" }, "SchemaDrift"],
    ["with a state that is no JSON", { state: "{" }, "StateDecodeError"],
    ["with a state of another shape", { state: "{\"balance\":1}" }, "StateDecodeError"],
    ["of a newer schema version", { schemaVersion: 2 }, "SchemaVersionMismatch"],
    ["at version 0", { version: 0 }, "StateDecodeError"],
    ["at a negative version", { version: -7 }, "StateDecodeError"]
  ]
  for (const [name, change, reason] of tampered) {
    for (const mode of ["sync", "background"] as const) {
      each(`a snapshot ${name} is not used, and is repaired (${mode})`, () =>
        Effect.gen(function*() {
          const accounts = yield* repository(SnapshotPolicy[mode]({ every: 5 }))
          yield* accounts.executeAll(id("a"), [open, deposit(1, 6)])
          yield* accounts.awaitPendingSnapshots
          yield* save(change)
          const loaded = yield* accounts.load(id("a"))
          assert.deepStrictEqual(loaded.state, { open: true, balance: 6 })
          assert.deepInclude(loaded, { version: 7, snapshotVersion: 0, replayed: 7 })
          assert.strictEqual(loaded.snapshotOutcome._tag, reason)
          yield* accounts.awaitPendingSnapshots
          const repaired = yield* accounts.load(id("a"))
          assert.deepInclude(repaired, {
            version: 7,
            snapshotVersion: 7,
            replayed: 0,
            snapshotOutcome: { _tag: "Hit" }
          })
          assert.deepStrictEqual(repaired.state, loaded.state)
        }))
    }
  }

  const brokenStores: ReadonlyArray<
    readonly [name: string, broken: Effect.Effect<never, SnapshotStore.SnapshotStoreError>]
  > = [
    [
      "fails",
      new SnapshotStore.SnapshotStoreError({
        operation: "get",
        aggregate: "Account",
        reason: "Unavailable",
        detail: "planned"
      })
    ],
    ["dies", Effect.die("planned")],
    ["interrupts itself", Effect.interrupt],
    ["hangs", Effect.never],
    ["hangs and cannot be interrupted", Effect.uninterruptible(Effect.never)]
  ]
  for (const [name, broken] of brokenStores) {
    for (const policy of [SnapshotPolicy.sync({ every: 1 }), SnapshotPolicy.background({ every: 1 })]) {
      it.effect(`a snapshot store that ${name} does not fail a command or a load (${policy._tag})`, () =>
        Effect.gen(function*() {
          const store = SnapshotStore.SnapshotStore.of({
            get: () => broken,
            save: () => broken,
            delete: () => broken,
            exists: () => broken,
            deleteByType: () => broken
          })
          const scope = yield* Scope.make()
          const accounts = yield* repository(policy).pipe(
            Effect.provideService(SnapshotStore.SnapshotStore, store),
            Scope.extend(scope)
          )
          const fiber = yield* Effect.fork(Effect.gen(function*() {
            yield* accounts.execute(id("a"), open)
            const done = yield* accounts.execute(id("a"), deposit(3))
            assert.strictEqual(done.version, 2)
            const loaded = yield* accounts.load(id("a"))
            assert.deepStrictEqual(loaded.state, { open: true, balance: 3 })
            assert.strictEqual(loaded.snapshotOutcome._tag, "StoreUnavailable")
          }))
          yield* TestClock.adjust("2 minutes")
          yield* Fiber.join(fiber)
          const closing = yield* Effect.fork(Scope.close(scope, Exit.void))
          yield* TestClock.adjust("2 minutes")
          yield* Fiber.join(closing)
          assert.strictEqual((yield* eventsOf("a")).length, 2)
        }).pipe(Effect.provide(memoryStores)))
    }
  }

  it.effect("a hanging store delays a sync command by at most snapshotTimeout", () =>
    Effect.gen(function*() {
      const store = yield* SnapshotStore.makeMemory
      const accounts = yield* repository(SnapshotPolicy.sync({ every: 1 }), { snapshotTimeout: "3 seconds" }).pipe(
        Effect.provideService(SnapshotStore.SnapshotStore, { ...store, save: () => Effect.never })
      )
      const fiber = yield* Effect.fork(accounts.execute(id("a"), open))
      yield* TestClock.adjust("2999 millis")
      assert.isTrue(Option.isNone(yield* Fiber.poll(fiber)))
      yield* TestClock.adjust("1 millis")
      assert.strictEqual((yield* Fiber.join(fiber)).version, 1)
    }).pipe(Effect.scoped, Effect.provide(memoryStores)))

  it.effect("a late save does not replace a newer snapshot", () =>
    Effect.gen(function*() {
      const store = yield* SnapshotStore.SnapshotStore
      const gate = yield* Deferred.make<void>()
      let first = true
      const slow = SnapshotStore.SnapshotStore.of({
        ...store,
        save: (snapshot) => {
          if (!first) return store.save(snapshot)
          first = false
          return Effect.zipRight(Deferred.await(gate), store.save(snapshot))
        }
      })
      const late = yield* repository(SnapshotPolicy.background({ every: 5 })).pipe(
        Effect.provideService(SnapshotStore.SnapshotStore, slow)
      )
      const accounts = yield* repository(SnapshotPolicy.sync({ every: 5 }))
      yield* late.executeAll(id("a"), [open, deposit(1, 4)])
      yield* Effect.yieldNow()
      yield* accounts.execute(id("a"), deposit(1, 5))
      assert.strictEqual(yield* snapshotVersion("a"), 10)
      yield* Deferred.succeed(gate, void 0)
      yield* late.awaitPendingSnapshots
      assert.strictEqual(yield* snapshotVersion("a"), 10)
    }).pipe(Effect.scoped, Effect.provide(memoryStores)))

  each("old and new code each keep a snapshot of their own", () =>
    Effect.gen(function*() {
      const old = yield* repository(SnapshotPolicy.sync({ every: 5 }))
      const now = yield* Repository.make(AccountV2, { snapshots: SnapshotPolicy.sync({ every: 5 }) })
      yield* old.executeAll(id("a"), [open, deposit(1, 9)])
      const first = yield* now.load(id("a"))
      assert.deepInclude(first, { version: 10, snapshotVersion: 0, replayed: 10 })
      assert.instanceOf(first.snapshotOutcome, Snapshot.SchemaVersionMismatch)
      assert.deepInclude(first.snapshotOutcome, { found: 1, expected: 2 })
      assert.deepInclude(yield* now.load(id("a")), { snapshotVersion: 10, replayed: 0 })
      assert.deepInclude(yield* old.load(id("a")), { snapshotVersion: 10, replayed: 0 })
      const snapshots = yield* SnapshotStore.SnapshotStore
      assert.strictEqual(yield* snapshots.deleteByType("Account", { schemaVersionBelow: 2 }), 1)
      assert.deepInclude(yield* now.load(id("a")), { snapshotVersion: 10 })
      assert.strictEqual((yield* old.load(id("a"))).snapshotOutcome._tag, "SchemaVersionMismatch")
    }))
})

describe("bad input", () => {
  it.scoped("an invalid option fails the layer with its name", () =>
    Effect.gen(function*() {
      for (const n of [0, -1, 1.5, NaN]) {
        for (
          const options of [
            { snapshots: SnapshotPolicy.sync({ every: n }) },
            { snapshots: SnapshotPolicy.background({ every: n }) },
            { pageSize: n }
          ]
        ) {
          class Accounts extends Context.Tag("Accounts")<Accounts, Repository.Repository<typeof Account>>() {}
          const failure = yield* Effect.flip(Layer.build(Repository.layer(Accounts, Account, options)))
          assert.instanceOf(failure, InvalidOption.InvalidOption)
          assert.include(failure.message, String(n))
        }
      }
    }).pipe(Effect.provide(memoryStores)))

  each(
    "an id that no store can keep is a typed error of load, execute and createSnapshot",
    () =>
      Effect.gen(function*() {
        const accounts = yield* repository(SnapshotPolicy.sync({ every: 1 }))
        for (const bad of ["\u0000", "a\u0000", "\uD800", "x".repeat(2_000_000)]) {
          const attempts: ReadonlyArray<Effect.Effect<unknown, unknown>> = [
            accounts.load(id(bad)),
            accounts.execute(id(bad), open),
            accounts.createSnapshot(id(bad))
          ]
          for (const attempt of attempts) {
            const failure = yield* Effect.flip(attempt)
            assert.instanceOf(failure, EventStore.EventStoreError)
            assert.strictEqual(failure.reason, "InvalidInput")
            assert.isFalse(failure.mayHaveAppended)
            assert.isBelow(failure.message.length, 400)
          }
        }
      })
  )

  each("an id that its schema does not encode is a typed error of every operation", () =>
    Effect.gen(function*() {
      const empty = AccountId.make("", { disableValidation: true })
      const options = [{}, { snapshots: SnapshotPolicy.sync({ every: 1 }), cache: { capacity: 1 } }]
      for (const option of options) {
        const accounts = yield* Repository.make(Account, option)
        const attempts: ReadonlyArray<Effect.Effect<unknown, unknown>> = [
          accounts.load(empty),
          accounts.execute(empty, open),
          accounts.createSnapshot(empty),
          accounts.verify(empty)
        ]
        for (const attempt of attempts) {
          const failure = yield* Effect.flip(attempt)
          assert.deepInclude(failure, { _tag: "IdEncodeError", aggregate: "Account" })
          assert.include(String(failure), "the id of the Account does not encode")
        }
      }
    }))

  each("an event that does not encode is a typed error, and nothing is appended", () =>
    Effect.gen(function*() {
      const Weighed = Schema.TaggedStruct("Weighed", { grams: Schema.Number })
      const Scale = Aggregate.make({
        name: "Scale",
        id: Schema.String,
        state: Schema.Number,
        event: Weighed,
        command: Schema.Number,
        initial: () => 0,
        evolve: (state, event) => state + event.grams,
        decide: (_, grams) => Either.right([Weighed.make({ grams: 1 }), { _tag: "Weighed", grams }])
      })
      const scales = yield* Repository.make(Scale)
      const failure = yield* Effect.flip(scales.execute("s", NaN))
      assert.strictEqual(failure._tag, "EventEncodeError")
      assert.include(failure.message, "$.grams")
      assert.deepInclude(yield* scales.load("s"), { version: 0, exists: false })
    }))

  each("an event of an unknown type is never skipped", () =>
    Effect.gen(function*() {
      const accounts = yield* repository(SnapshotPolicy.sync({ every: 100 }))
      yield* accounts.execute(id("a"), open)
      const store = yield* EventStore.EventStore
      yield* store.append(streamOf("a"), [{ id: "e", type: "__proto__", payload: {} }], {
        expectedVersion: ExpectedVersion.any
      })
      const attempts: ReadonlyArray<Effect.Effect<unknown, unknown>> = [
        accounts.load(id("a")),
        accounts.execute(id("a"), deposit(1))
      ]
      for (const attempt of attempts) {
        const failure = yield* Effect.flip(attempt)
        assert.instanceOf(failure, EventStore.EventDecodeError)
        assert.deepInclude(failure, { version: 2, type: "__proto__" })
        assert.include(failure.message, "does not know this type")
      }
    }))

  it("a program without snapshots may use a snapshot store that keeps nothing", async () => {
    class Accounts extends Context.Tag("Accounts")<Accounts, Repository.Repository<typeof Account>>() {}
    const runtime = ManagedRuntime.make(
      Repository.layer(Accounts, Account, { snapshots: SnapshotPolicy.sync({ every: 1 }) }).pipe(
        Layer.provide([EventStore.layerMemory, SnapshotStore.layerNoop])
      )
    )
    const loaded = await runtime.runPromise(
      Effect.flatMap(Accounts, (accounts) => Effect.zipRight(accounts.execute(id("a"), open), accounts.load(id("a"))))
    )
    assert.deepInclude(loaded, { version: 1, snapshotOutcome: { _tag: "None" } })
    await runtime.dispose()
  })

  it.effect("an exception of evolve or decide is a defect, not a typed error", () =>
    Effect.gen(function*() {
      const Faulty = Aggregate.make({
        name: "Faulty",
        id: Schema.String,
        state: Schema.Number,
        event: Schema.TaggedStruct("E", {}),
        command: Schema.Number,
        initial: () => 0,
        evolve: (state) => state,
        decide: (): Either.Either<ReadonlyArray<{ readonly _tag: "E" }>> => {
          throw new Error("a bug")
        }
      })
      const faulty = yield* Repository.make(Faulty)
      const exit = yield* Effect.exit(faulty.execute("f", 1))
      assert.isTrue(Exit.isFailure(exit) && Cause.isDie(exit.cause))
    }).pipe(Effect.scoped, Effect.provide(memoryStores)))
})
