import { assert, describe, it } from "@effect/vitest"
import { Cause, Chunk, Effect, Exit, FastCheck as fc, Fiber, Layer, Option, Scope, Stream, TestClock } from "effect"
import {
  EventStore,
  ExpectedVersion,
  InvalidOption,
  Repository,
  type Snapshot,
  SnapshotPolicy,
  SnapshotStore,
  StreamId
} from "effect-eventsourcing"
import { EventStoreContract, Faults, SnapshotStoreContract } from "effect-eventsourcing/testing"
import * as vitest from "vitest"
import { Account, id } from "./fixtures/Account.js"
import { memoryStores, sqliteFile, sqlStores } from "./utils/backends.js"
import { sizes } from "./utils/mode.js"

const stream = StreamId.make("Account", "a")

const event = (id: string) => ({ id, type: "Deposited", payload: { _tag: "Deposited", amount: 1 } })

const exact = (version: number) => ({ expectedVersion: ExpectedVersion.exact(version) })

const snapshot: Snapshot.EncodedSnapshot = {
  stream,
  version: 3,
  eventId: "e3",
  schemaVersion: 1,
  fingerprint: "f",
  state: "{}",
  time: 0
}

const faulty = (plan: Faults.Plan) =>
  Effect.gen(function*() {
    const store = yield* EventStore.makeMemory
    return { store, wrapped: Faults.makeEventStore(store, plan) }
  })

/** How an effect ends: its value, its error, its defect, or a word. */
const ending = <A, E>(effect: Effect.Effect<A, E>) =>
  Effect.gen(function*() {
    // a stuck fiber would block its parent
    const fiber = yield* Effect.forkDaemon(effect)
    yield* TestClock.adjust("1 hours")
    const exit = yield* Fiber.poll(fiber)
    if (Option.isNone(exit)) return "hangs"
    if (Exit.isSuccess(exit.value)) return "ok"
    const failure = Cause.failureOption(exit.value.cause)
    if (Option.isSome(failure)) return failure.value
    return Cause.isInterruptedOnly(exit.value.cause) ? "interrupted" : Cause.squash(exit.value.cause)
  })

// without faults the wrapped stores keep the contracts
for (
  const [name, inner] of [
    ["memory", memoryStores],
    ["SQLite", Layer.provide(sqlStores, sqliteFile(":memory:"))]
  ] as const
) {
  const wrapped = Layer.merge(Faults.layerEventStore(Faults.none), Faults.layerSnapshotStore(Faults.none)).pipe(
    Layer.provide(inner)
  )
  EventStoreContract.suite(vitest, `wrapped ${name}`, wrapped, sizes)
  SnapshotStoreContract.suite(vitest, `wrapped ${name}`, wrapped)
}

describe("faults of an event store", () => {
  const append = (fault: Faults.Fault) =>
    Effect.gen(function*() {
      const { store, wrapped } = yield* faulty(Faults.onCall("EventStore.append", 2, fault))
      yield* wrapped.append(stream, [event("1")], exact(0))
      const end = yield* ending(wrapped.append(stream, [event("2")], exact(1)))
      const version = yield* store.version(stream)
      yield* wrapped.append(stream, [event("3")], exact(version))
      return { end, version }
    })

  for (
    const [name, fault, version] of [["before", Faults.fail, 1], ["after", Faults.lostAcknowledgement, 2]] as const
  ) {
    it.effect(`a typed failure ${name} the append is carried out`, () =>
      Effect.gen(function*() {
        const { end, version: reached } = yield* append(fault)
        assert.instanceOf(end, EventStore.EventStoreError)
        assert.strictEqual(end.mayHaveAppended, version === 2)
        assert.isTrue(Faults.isInjected(end))
        assert.include(end.message, "injected into call 2 of EventStore.append")
        assert.strictEqual(reached, version)
      }))
  }

  for (
    const [name, fault, expected] of [
      ["a defect", Faults.die, "defect"],
      ["a hang", Faults.hang, "hangs"],
      ["an interruption", Faults.interrupt, "interrupted"],
      ["a delay", Faults.delay("1 minutes"), "ok"]
    ] as const
  ) {
    it.effect(name, () =>
      Effect.gen(function*() {
        const before = yield* append(fault)
        const after = yield* append(Faults.after(fault))
        for (const { end } of [before, after]) {
          if (expected === "defect") assert.isTrue(Faults.isInjected(end))
          else assert.strictEqual(end, expected)
        }
        assert.strictEqual(before.version, expected === "ok" ? 2 : 1)
        assert.strictEqual(after.version, 2)
      }))
  }

  for (
    const [name, fault, version] of [["before", Faults.fail, 0], ["after", Faults.lostAcknowledgement, 1]] as const
  ) {
    it.effect(`a typed failure ${name} the transaction of events and a snapshot`, () =>
      Effect.gen(function*() {
        const store = yield* EventStore.EventStore
        const wrapped = Faults.makeEventStore(store, Faults.onCall("EventStore.transaction", 1, fault))
        const shared = yield* wrapped.replay.withSnapshots(yield* SnapshotStore.SnapshotStore)
        const end = yield* Effect.flip(shared.transaction(store.append(stream, [event("1")], exact(0))))
        assert.deepInclude(end, { _tag: "EventStoreError", operation: "append", mayHaveAppended: version === 1 })
        assert.strictEqual(yield* store.version(stream), version)
      }).pipe(Effect.provide(Layer.provide(sqlStores, sqliteFile(":memory:")))))
  }

  it.effect("an interruption ends a hanging call, and does not end a stuck one", () =>
    Effect.gen(function*() {
      for (const fault of [Faults.hang, Faults.stuck, Faults.after(Faults.stuck)]) {
        const { wrapped } = yield* faulty(Faults.when(() => true, fault))
        const fiber = yield* Effect.forkDaemon(wrapped.version(stream))
        yield* Effect.yieldNow()
        yield* Fiber.interruptFork(fiber)
        yield* TestClock.adjust("1 seconds")
        const ended = yield* Fiber.poll(fiber)
        assert.strictEqual(Option.isSome(ended), fault === Faults.hang)
      }
    }))

  it.effect("a delay takes the given duration", () =>
    Effect.gen(function*() {
      const { wrapped } = yield* faulty(Faults.when(() => true, Faults.delay("5 seconds")))
      const fiber = yield* Effect.fork(wrapped.version(stream))
      yield* TestClock.adjust("4999 millis")
      assert.isTrue(Option.isNone(yield* Fiber.poll(fiber)))
      yield* TestClock.adjust("1 millis")
      assert.strictEqual(yield* Fiber.join(fiber), 0)
    }))

  it.effect("an append that is delivered twice appends once and gives the same answer", () =>
    Effect.gen(function*() {
      let asked = 0
      const store = yield* EventStore.makeMemory
      const counting = {
        ...store,
        append: (...args: Parameters<typeof store.append>) =>
          Effect.suspend(() => {
            asked++
            return store.append(...args)
          })
      }
      const wrapped = Faults.makeEventStore(counting, Faults.when(() => true, Faults.duplicate))
      assert.deepInclude(yield* wrapped.append(stream, [event("1"), event("2")], exact(0)), { version: 2 })
      assert.deepInclude(yield* wrapped.append(stream, [event("3")], exact(2)), { version: 3 })
      assert.strictEqual(asked, 4)
      assert.strictEqual(yield* store.version(stream), 3)
    }))

  it.effect("corrupt rows: a load fails with a typed error, and the stored rows are intact", () =>
    Effect.gen(function*() {
      const store = yield* EventStore.makeMemory
      const calls = [1, 2, 3]
      const wrapped = Faults.makeEventStore(store, Faults.onCall("EventStore.readTail", calls, Faults.corrupt))
      yield* store.append(stream, [event("1"), event("2"), event("3")], exact(0))
      const accounts = yield* Repository.make(Account).pipe(
        Effect.provideService(EventStore.EventStore, wrapped),
        Effect.provide(SnapshotStore.layerNoop)
      )
      const tags: Array<string> = []
      for (const _ of calls) tags.push((yield* Effect.flip(accounts.load(id("a"))))._tag)
      assert.deepStrictEqual(tags, ["EventDecodeError", "HistoryGap", "EventDecodeError"])
      assert.deepInclude(yield* accounts.load(id("a")), { version: 3 })
    }).pipe(Effect.scoped))

  it.effect("a read meets every fault", () =>
    Effect.gen(function*() {
      const { store } = yield* faulty(Faults.none)
      yield* store.append(stream, [event("1"), event("2")], exact(0))
      for (const operation of ["EventStore.read", "EventStore.readEvents", "EventStore.readAll"] as const) {
        const reading = (fault: Faults.Fault) => {
          const wrapped = Faults.makeEventStore(store, Faults.onCall(operation, 1, fault))
          return operation === "EventStore.readEvents"
            ? Effect.map(wrapped.readEvents(stream, { limit: 5 }), Chunk.fromIterable)
            : Stream.runCollect(operation === "EventStore.read" ? wrapped.read(stream) : wrapped.readAll())
        }
        for (const fault of [Faults.fail, Faults.lostAcknowledgement, Faults.die, Faults.after(Faults.die)]) {
          assert.isTrue(Faults.isInjected(yield* ending(reading(fault))))
        }
        for (const fault of [Faults.hang, Faults.after(Faults.hang)]) {
          assert.strictEqual(yield* ending(reading(fault)), "hangs")
        }
        assert.strictEqual(yield* ending(reading(Faults.interrupt)), "interrupted")
        assert.strictEqual(yield* ending(reading(Faults.delay("1 seconds"))), "ok")
        assert.strictEqual(Chunk.size(yield* reading(Faults.duplicate)), 2)
        assert.instanceOf(yield* ending(reading(Faults.corrupt)), EventStore.EventDecodeError)
      }
    }))

  it.effect("the round trip of stores that share a database meets faults", () =>
    Effect.gen(function*() {
      const events = yield* EventStore.EventStore
      const snapshots = yield* SnapshotStore.SnapshotStore
      const met: Array<string> = []
      const wrapped = Faults.makeEventStore(
        events,
        Faults.onCall("EventStore.readWithSnapshot", [2, 3, 5], Faults.corrupt),
        { onFault: ({ n, operation }, { _tag }) => met.push(`${operation} ${n} ${_tag}`) }
      )
      const accounts = yield* Repository.make(Account, { snapshots: SnapshotPolicy.manual }).pipe(
        Effect.provideService(EventStore.EventStore, wrapped)
      )
      yield* accounts.executeAll(id("a"), [{ _tag: "Open" }, { _tag: "Deposit", amount: 1, times: 5 }])
      assert.isFalse(yield* snapshots.exists(stream))
      // call 2 breaks an event: the load says so; 3 breaks the snapshot, but there is none
      assert.strictEqual((yield* Effect.flip(accounts.load(id("a"))))._tag, "HistoryGap")
      yield* accounts.createSnapshot(id("a"))
      assert.deepInclude(yield* accounts.load(id("a")), { version: 6, snapshotVersion: 6 })
      const fallback = yield* accounts.load(id("a"))
      assert.deepInclude(fallback, { version: 6, snapshotVersion: 0, replayed: 6 })
      assert.strictEqual(fallback.snapshotOutcome._tag, "StateDecodeError")
      assert.deepStrictEqual(met, [2, 5].map((n) => `EventStore.readWithSnapshot ${n} Corrupt`))
    }).pipe(Effect.scoped, Effect.provide(Layer.provide(sqlStores, sqliteFile(":memory:")))))
})

describe("faults of a snapshot store", () => {
  const all = (store: SnapshotStore.SnapshotStore["Type"]): ReadonlyArray<Effect.Effect<unknown, unknown>> => [
    store.get(stream, { schemaVersion: 1 }),
    store.save(snapshot),
    store.delete(stream),
    store.exists(stream),
    store.deleteByType("Account")
  ]

  it.effect("every operation meets every fault", () =>
    Effect.gen(function*() {
      const store = yield* SnapshotStore.makeMemory
      const meeting = (fault: Faults.Fault) => all(Faults.makeSnapshotStore(store, Faults.when(() => true, fault)))
      for (const call of meeting(Faults.fail)) {
        const end = yield* ending(call)
        assert.instanceOf(end, SnapshotStore.SnapshotStoreError)
        assert.isTrue(Faults.isInjected(end))
      }
      for (const call of meeting(Faults.die)) assert.isTrue(Faults.isInjected(yield* ending(call)))
      for (const call of meeting(Faults.hang)) assert.strictEqual(yield* ending(call), "hangs")
      for (const call of meeting(Faults.stuck)) assert.strictEqual(yield* ending(call), "hangs")
      for (const call of meeting(Faults.interrupt)) assert.strictEqual(yield* ending(call), "interrupted")
      for (const call of meeting(Faults.duplicate)) assert.strictEqual(yield* ending(call), "ok")
    }))

  it.effect("a lost acknowledgement: the snapshot is stored", () =>
    Effect.gen(function*() {
      const store = yield* SnapshotStore.makeMemory
      const wrapped = Faults.makeSnapshotStore(
        store,
        Faults.onCall("SnapshotStore.save", 1, Faults.lostAcknowledgement)
      )
      assert.isTrue(Faults.isInjected(yield* Effect.flip(wrapped.save(snapshot))))
      assert.isTrue(yield* store.exists(stream))
    }))

  it.effect("corrupt: the snapshot that is read or written differs in one of five ways", () =>
    Effect.gen(function*() {
      const store = yield* SnapshotStore.makeMemory
      yield* store.save(snapshot)
      const wrapped = Faults.makeSnapshotStore(store, Faults.when(() => true, Faults.corrupt))
      const seen = new Set<string>()
      for (let n = 0; n < 10; n++) {
        const read = yield* Effect.flatten(wrapped.get(stream, { schemaVersion: 1 }))
        assert.notDeepEqual(read, snapshot)
        seen.add(JSON.stringify(read))
      }
      assert.strictEqual(seen.size, 5)
      yield* wrapped.save({ ...snapshot, version: 9 })
      assert.deepInclude(yield* Effect.flatten(store.get(stream, { schemaVersion: 1 })), { version: 1_000_009 })
    }))
})

describe("onFault", () => {
  it.effect("is called for the faults that happen, and for no others", () =>
    Effect.gen(function*() {
      const told: Array<string> = []
      const onFault = ({ n, operation }: Faults.Call, { _tag }: Faults.Fault) => {
        told.push(`${operation} ${n} ${_tag}`)
      }
      const during = <A, E>(effect: Effect.Effect<A, E>) =>
        Effect.map(Effect.exit(effect), () => told.splice(0, told.length))
      const plain = yield* EventStore.makeMemory
      const empty = StreamId.make("Account", "empty")
      const always = (fault: Faults.Fault) => ({
        events: Faults.makeEventStore(plain, Faults.when(() => true, fault), { onFault })
      })
      yield* plain.append(stream, [event("1")], exact(0))

      const corrupt = always(Faults.corrupt).events
      const all = { fromVersion: 1, limit: 10 }
      assert.deepStrictEqual(yield* during(corrupt.replay.readTail(empty, all)), [])
      assert.deepStrictEqual(yield* during(corrupt.replay.readTail(stream, all)), ["EventStore.readTail 2 Corrupt"])
      assert.deepStrictEqual(yield* during(Stream.runDrain(corrupt.read(empty))), [])
      assert.deepStrictEqual(yield* during(Stream.runDrain(corrupt.read(stream))), ["EventStore.read 2 Corrupt"])
      assert.deepStrictEqual(yield* during(corrupt.append(stream, [event("2")], exact(1))), [])
      assert.deepStrictEqual(yield* during(corrupt.version(stream)), [])

      const store = yield* SnapshotStore.makeMemory
      const broken = Faults.makeSnapshotStore(store, Faults.when(() => true, Faults.corrupt), { onFault })
      assert.deepStrictEqual(yield* during(broken.get(stream, { schemaVersion: 1 })), [])
      assert.deepStrictEqual(yield* during(broken.save(snapshot)), ["SnapshotStore.save 1 Corrupt"])
      assert.deepStrictEqual(yield* during(broken.get(stream, { schemaVersion: 1 })), ["SnapshotStore.get 2 Corrupt"])
      assert.deepStrictEqual(yield* during(broken.exists(stream)), [])

      // a conflict is no success whose acknowledgement could be lost
      const lost = always(Faults.lostAcknowledgement).events
      assert.deepStrictEqual(yield* during(lost.append(stream, [event("3")], exact(9))), [])
      assert.deepStrictEqual(yield* during(lost.append(stream, [event("3")], exact(2))), ["EventStore.append 2 Fail"])
    }))

  it.effect("is called for the round trip of stores that share a database", () =>
    Effect.gen(function*() {
      const told: Array<number> = []
      const events = Faults.makeEventStore(
        yield* EventStore.EventStore,
        Faults.when(({ operation }) => operation === "EventStore.readWithSnapshot", Faults.corrupt),
        { onFault: ({ n }) => told.push(n) }
      )
      const accounts = yield* Repository.make(Account, { snapshots: SnapshotPolicy.manual }).pipe(
        Effect.provideService(EventStore.EventStore, events)
      )
      // odd calls break the snapshot, even ones an event: there is neither
      yield* accounts.load(id("nothing"))
      yield* accounts.load(id("nothing"))
      assert.deepStrictEqual(told, [])
    }).pipe(Effect.scoped, Effect.provide(Layer.provide(sqlStores, sqliteFile(":memory:")))))
})

describe("invalid options", () => {
  const refused = (option: string, make: () => unknown) =>
    it(`${option}: ${make.toString().slice(6)}`, () => {
      try {
        make()
      } catch (error) {
        assert.instanceOf(error, InvalidOption.InvalidOption)
        assert.strictEqual(error.option, option)
        assert.include(error.message, "it must be")
        return
      }
      assert.fail("it was taken")
    })
  const seeded = (options: Partial<Parameters<typeof Faults.seeded>[0]>) =>
    Faults.seeded({ seed: 1, rate: 0.5, faults: [Faults.fail], ...options })

  for (const rate of [NaN, -1, 50, -0.001, 1.001, Infinity]) refused("Faults.seeded rate", () => seeded({ rate }))
  for (const seed of [NaN, 0.5, Infinity, 2 ** 53]) refused("Faults.seeded seed", () => seeded({ seed }))
  refused("Faults.seeded faults", () => seeded({ faults: [] }))
  for (const n of [0, -1, NaN, 1.5, Infinity]) {
    refused("Faults.onCall n", () => Faults.onCall("EventStore.append", n, Faults.fail))
    refused("Faults.onCall n", () => Faults.onCall("EventStore.append", [1, n], Faults.fail))
  }
  for (const millis of [-1, NaN, Infinity]) refused("Faults.delay duration", () => Faults.delay(millis))

  it("the limits themselves are valid", () => {
    for (const rate of [0, 1]) seeded({ rate })
    for (const seed of [0, -1, 2 ** 53 - 1]) seeded({ seed })
    Faults.onCall("EventStore.append", [1, 2 ** 53 - 1], Faults.fail)
    Faults.delay(0)
  })
})

describe("plans", () => {
  const calls = (plan: Faults.Plan, count: number) => {
    const ask = plan.start()
    return Array.from(
      { length: count },
      (_, index) =>
        ask({ operation: index % 2 === 0 ? "EventStore.append" : "SnapshotStore.save", n: (index >> 1) + 1, stream })
          ?._tag
    )
  }

  it("choose the n-th call of an operation, or several", () => {
    assert.deepStrictEqual(calls(Faults.onCall("SnapshotStore.save", 2, Faults.die), 6), [
      undefined,
      undefined,
      undefined,
      "Die",
      undefined,
      undefined
    ])
    assert.deepStrictEqual(calls(Faults.onCall("EventStore.append", [1, 3], Faults.hang), 6), [
      "Hang",
      undefined,
      undefined,
      undefined,
      "Hang",
      undefined
    ])
  })

  it("choose calls by a predicate, and take the first plan that has a fault", () => {
    const plan = Faults.firstOf(
      Faults.when(({ n }) => n === 2, Faults.fail),
      Faults.when(({ n, stream }) => n >= 2 && stream?.id === "a", Faults.hang)
    )
    assert.deepStrictEqual(calls(plan, 6), [undefined, undefined, "Fail", "Fail", "Hang", "Hang"])
  })

  it.prop(
    "seeded: the same seed gives the same faults, at about the rate, only in the given operations",
    [fc.integer({ min: 0, max: 2 ** 31 - 1 }), fc.constantFrom(0, 0.1, 0.5, 1)],
    ([seed, rate]) => {
      const options = { seed, rate, faults: [Faults.fail, Faults.die] }
      const met = calls(Faults.seeded(options), 400)
      assert.deepStrictEqual(calls(Faults.seeded(options), 400), met)
      const share = met.filter((tag) => tag !== undefined).length / met.length
      assert.isBelow(Math.abs(share - rate), 0.15)
      const some = calls(Faults.seeded({ ...options, operations: ["SnapshotStore.save"] }), 400)
      assert.isTrue(some.every((tag, index) => tag === undefined || index % 2 === 1))
      if (rate === 1) assert.strictEqual(new Set(met).size, 2)
    }
  )

  it.effect("a layer that is built twice starts its plan twice", () =>
    Effect.gen(function*() {
      const layer = Faults.layerEventStore(Faults.onCall("EventStore.version", 1, Faults.fail)).pipe(
        Layer.provide(EventStore.layerMemory)
      )
      for (let n = 0; n < 2; n++) {
        yield* Effect.scoped(Effect.gen(function*() {
          const scope = yield* Scope.make()
          const store = yield* Effect.provide(EventStore.EventStore, yield* Layer.buildWithScope(layer, scope))
          assert.isTrue(Faults.isInjected(yield* Effect.flip(store.version(stream))))
          assert.strictEqual(yield* store.version(stream), 0)
        }))
      }
    }))
})

describe("loads and commands are correct under each single fault", () => {
  const faults: ReadonlyArray<readonly [name: string, fault: Faults.Fault]> = [
    ["fail", Faults.fail],
    ["die", Faults.die],
    ["hang", Faults.hang],
    ["stuck", Faults.stuck],
    ["interrupt", Faults.interrupt],
    ["delay", Faults.delay("1 hours")],
    ["lost acknowledgement", Faults.lostAcknowledgement],
    ["hang after", Faults.after(Faults.hang)],
    ["stuck after", Faults.after(Faults.stuck)],
    ["duplicate", Faults.duplicate],
    ["corrupt", Faults.corrupt]
  ]
  for (const [name, fault] of faults) {
    for (const policy of [SnapshotPolicy.sync({ every: 2 }), SnapshotPolicy.background({ every: 2 })]) {
      it.effect(
        `on every call of the snapshot store: ${name} (${policy._tag})`,
        () =>
          Effect.gen(function*() {
            const scope = yield* Scope.make()
            const snapshots = Faults.makeSnapshotStore(
              yield* SnapshotStore.SnapshotStore,
              Faults.when(() => true, fault)
            )
            const accounts = yield* Repository.make(Account, { snapshots: policy }).pipe(
              Effect.provideService(SnapshotStore.SnapshotStore, snapshots),
              Scope.extend(scope)
            )
            const fiber = yield* Effect.fork(Effect.gen(function*() {
              yield* accounts.execute(id("a"), { _tag: "Open" })
              for (let n = 1; n <= 10; n++) {
                const { state, version } = yield* accounts.execute(id("a"), { _tag: "Deposit", amount: n })
                assert.strictEqual(version, n + 1)
                assert.deepStrictEqual((yield* accounts.load(id("a"))).state, state)
              }
              yield* accounts.awaitPendingSnapshots
            }))
            yield* TestClock.adjust("1 days")
            yield* Fiber.join(fiber)
            const closing = yield* Effect.fork(Scope.close(scope, Exit.void))
            yield* TestClock.adjust("1 days")
            yield* Fiber.join(closing)
          }).pipe(Effect.provide(memoryStores))
      )
    }
  }
})
