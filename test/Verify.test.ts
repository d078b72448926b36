import { assert, describe, it } from "@effect/vitest"
import {
  Chunk,
  Data,
  Effect,
  Fiber,
  HashMap,
  identity,
  Layer,
  List,
  Logger,
  Option,
  Random,
  Schema,
  TestClock
} from "effect"
import {
  Aggregate,
  EventStore,
  ExpectedVersion,
  Metrics,
  Repository,
  SnapshotPolicy,
  SnapshotStore,
  StreamId
} from "effect-eventsourcing"
import { compare } from "../src/internal/schema/equality.js"
import {
  Account,
  AccountCommand,
  AccountEvent,
  AccountId,
  AccountState,
  deposit,
  id,
  open
} from "./fixtures/Account.js"
import { AccountV3, AccountV3Broken, Doubled } from "./fixtures/AccountVersions.js"
import { backends, each, memoryStores } from "./utils/backends.js"
import { counted, eventually, lines } from "./utils/observe.js"

const stream = StreamId.make("Account", "a")

const written = Effect.gen(function*() {
  const accounts = yield* Repository.make(Account, { snapshots: SnapshotPolicy.manual })
  yield* accounts.executeAll(id("a"), [open, deposit(1, 9)])
  yield* accounts.createSnapshot(id("a"))
  yield* accounts.execute(id("a"), deposit(1, 2))
  return accounts
})

describe("verify", () => {
  each(
    "a reducer that was changed is caught, the snapshot removed, and the next load right",
    () =>
      Effect.gen(function*() {
        const before = yield* written
        assert.deepStrictEqual(yield* before.verify(id("a")), { _tag: "Verified", version: 12, snapshotVersion: 10 })
        const after = yield* Repository.make(Doubled(), { snapshots: SnapshotPolicy.manual })
        // no proof on load can see it
        assert.deepInclude(yield* after.load(id("a")), {
          snapshotOutcome: { _tag: "Hit" },
          state: { open: true, balance: 13 }
        })
        assert.deepStrictEqual(yield* after.verify(id("a"), { remove: false }), {
          _tag: "Refuted",
          version: 12,
          snapshotVersion: 10,
          differences: [{ path: "$.balance", replayed: "22", loaded: "13" }],
          removed: false
        })
        assert.deepInclude(yield* after.verify(id("a")), { _tag: "Refuted", removed: true })
        assert.deepInclude(yield* after.load(id("a")), {
          snapshotOutcome: { _tag: "None" },
          state: { open: true, balance: 22 }
        })
        assert.deepStrictEqual(yield* after.verify(id("a")), {
          _tag: "NoSnapshot",
          version: 12,
          snapshotOutcome: { _tag: "None" }
        })
        yield* after.createSnapshot(id("a"))
        assert.deepInclude(yield* after.verify(id("a")), { _tag: "Verified" })
      })
  )

  it.effect("if the store cannot remove a refuted snapshot, the result says that it is still there", () =>
    Effect.gen(function*() {
      yield* written
      const store = yield* SnapshotStore.SnapshotStore
      const ways: ReadonlyArray<SnapshotStore.SnapshotStore["Type"]["delete"]> = [
        () => Effect.die(new Error("planned")),
        () => Effect.interrupt,
        () => {
          throw new Error("planned")
        }
      ]
      for (const remove of ways) {
        const after = yield* Repository.make(Doubled(), { snapshots: SnapshotPolicy.manual }).pipe(
          Effect.provideService(SnapshotStore.SnapshotStore, { ...store, delete: remove })
        )
        assert.deepInclude(yield* after.verify(id("a")), { _tag: "Refuted", removed: false })
      }
    }).pipe(Effect.scoped, Effect.provide(memoryStores)))

  each("compares at one version, while events are appended, in pages of any size", () =>
    Effect.gen(function*() {
      yield* written
      const store = yield* EventStore.EventStore
      let n = 0
      const busy = EventStore.EventStore.of({
        ...store,
        replay: {
          ...store.replay,
          readTail: (stream, options) =>
            Effect.zipRight(
              Effect.orDie(store.append(stream, [
                { id: `rival-${++n}`, type: "Deposited", payload: { _tag: "Deposited", amount: 100 } }
              ], { expectedVersion: ExpectedVersion.any })),
              store.replay.readTail(stream, options)
            )
        }
      })
      for (const pageSize of [2, 3, 5, 12, 13, 2_000]) {
        const accounts = yield* Repository.make(Account, { snapshots: SnapshotPolicy.manual, pageSize }).pipe(
          Effect.provideService(EventStore.EventStore, busy)
        )
        const verified = yield* accounts.verify(id("a"))
        assert.deepInclude(verified, { _tag: "Verified", snapshotVersion: 10 })
        assert.isAtLeast(verified.version, 12)
      }
      assert.isAbove(n, 6)
    }))

  each("a wrong migration is detected, from every older row", () =>
    Effect.gen(function*() {
      yield* written
      const wrong = AccountV3Broken((state) => ({ ...AccountV3.initial(id("a")), cents: BigInt(state.balance) }))
      const now = yield* Repository.make(wrong, { snapshots: SnapshotPolicy.sync({ every: 10 }) })
      assert.strictEqual((yield* now.load(id("a"))).snapshotOutcome._tag, "Migrated")
      assert.strictEqual((yield* now.load(id("a"))).snapshotOutcome._tag, "Hit")
      const refuted = yield* now.verify(id("a"))
      assert.isTrue(refuted._tag === "Refuted" && refuted.removed)
      if (refuted._tag === "Refuted") {
        assert.deepStrictEqual(refuted.differences.map(({ path }) => path).sort(), ["$.cents", "$.status"])
      }
      // neither its own row nor what the next load would have migrated
      const right = yield* now.load(id("a"))
      assert.deepInclude(right, { snapshotVersion: 0, snapshotOutcome: { _tag: "None" } })
      assert.deepStrictEqual(right.state.cents, 1_100n)
    }))

  it.scoped("events removed between the two loads are a gap, not a refutation", () =>
    Effect.gen(function*() {
      yield* written
      const store = yield* EventStore.EventStore
      const accounts = yield* Repository.make(Account, { snapshots: SnapshotPolicy.manual }).pipe(
        Effect.provideService(EventStore.EventStore, {
          ...store,
          replay: {
            ...store.replay,
            readTail: (stream, options) =>
              Effect.map(
                store.replay.readTail(stream, options),
                (events) => options.fromVersion === 1 ? events.slice(0, 5) : events.filter(({ version }) => version > 5)
              )
          }
        })
      )
      const failure = yield* Effect.flip(accounts.verify(id("a")))
      assert.isTrue(failure._tag === "HistoryGap" && failure.expected === 6)
      assert.isTrue(yield* (yield* SnapshotStore.SnapshotStore).exists(stream))
    }).pipe(Effect.provide(memoryStores)))

  it.scoped("a store that cannot delete or load does not fail a verification", () =>
    Effect.gen(function*() {
      yield* written
      const store = yield* SnapshotStore.SnapshotStore
      const after = yield* Repository.make(Doubled(), { snapshots: SnapshotPolicy.manual }).pipe(
        Effect.provideService(SnapshotStore.SnapshotStore, { ...store, delete: () => Effect.die("planned") })
      )
      assert.deepInclude(yield* after.verify(id("a")), { _tag: "Refuted", removed: false })
      const without = yield* Repository.make(Doubled(), { snapshots: SnapshotPolicy.manual }).pipe(
        Effect.provideService(SnapshotStore.SnapshotStore, { ...store, get: () => Effect.die("planned") })
      )
      const outcome = yield* without.verify(id("a"))
      assert.isTrue(outcome._tag === "NoSnapshot" && outcome.snapshotOutcome._tag === "StoreUnavailable")
    }).pipe(Effect.provide(memoryStores)))
})

describe("the differences", () => {
  class Line extends Schema.Class<Line>("Line")({ sku: Schema.String, tags: Schema.Array(Schema.String) }) {}
  const State = Schema.Struct({
    at: Schema.DateFromString,
    lines: Schema.Array(Line),
    stock: Schema.HashMap({ key: Schema.String, value: Schema.Struct({ n: Schema.Int }) }),
    chunk: Schema.Chunk(Schema.Struct({ n: Schema.Int })),
    note: Schema.optional(Schema.String),
    maybe: Schema.Option(Schema.Struct({ n: Schema.Int })),
    json: Schema.Unknown
  })
  const state = (change: object = {}): typeof State.Type => ({
    at: new Date(7),
    lines: [new Line({ sku: "a", tags: ["x", "y"] })],
    stock: HashMap.make(["a", { n: 1 }], ["b", { n: 2 }]),
    chunk: Chunk.append(Chunk.make({ n: 1 }), { n: 2 }),
    maybe: Option.some({ n: 1 }),
    json: { deep: [{ er: null }] },
    ...change
  })
  const paths = (left: typeof State.Type, right: typeof State.Type) =>
    compare(Schema.typeSchema(State), left, right, 20).map(({ path }) => path)

  it("are none between values with the same contents that were built in different ways", () => {
    const { note: _, ...bare } = state()
    assert.deepStrictEqual(paths(state(), bare), [])
    const other = state({
      note: undefined,
      chunk: Chunk.fromIterable([{ n: 1 }, { n: 2 }]),
      stock: HashMap.remove(HashMap.make(["b", { n: 2 }], ["z", { n: 9 }], ["a", { n: 1 }]), "z")
    })
    assert.deepStrictEqual(paths(state(), other), [])
    const codec = Schema.decodeUnknownSync(State)
    assert.deepStrictEqual(paths(state(), codec(JSON.parse(JSON.stringify(Schema.encodeSync(State)(state()))))), [])
  })

  it("name every path that differs", () => {
    assert.deepStrictEqual(
      paths(
        state(),
        state({
          at: new Date(8),
          lines: [new Line({ sku: "b", tags: ["x"] })],
          note: "new",
          maybe: Option.none(),
          json: { deep: [{ er: 1, st: 2 }] }
        })
      ),
      [
        "$.at",
        "$.lines[0].sku",
        "$.lines[0].tags.length",
        "$.maybe",
        "$.json.deep[0].er",
        "$.json.deep[0].st",
        "$.note"
      ]
    )
    assert.include(paths(state(), state({ stock: HashMap.make(["a", { n: 1 }], ["b", { n: 3 }]) })).join(), "$.stock")
    assert.include(paths(state(), state({ chunk: Chunk.make({ n: 1 }, { n: 3 }) })).join(), "$.chunk")
    assert.include(paths(state(), state({ maybe: Option.some({ n: 2 }) })).join(), "$.maybe")
  })

  it("follow the equivalence of the schema", () => {
    const Name = Schema.String.annotations({ equivalence: () => (a, b) => a.toLowerCase() === b.toLowerCase() })
    const schema = Schema.Struct({ name: Name })
    assert.deepStrictEqual(compare(schema, { name: "ada" }, { name: "ADA" }, 20), [])
    assert.deepStrictEqual(compare(schema, { name: "ada" }, { name: "bob" }, 20).length, 1)
  })

  it("are found with a recursive schema, and in values that are nested too deeply for the stack", () => {
    interface Tree {
      readonly n: number
      readonly inner: Tree | null
    }
    const Tree = Schema.Struct({
      n: Schema.Number,
      inner: Schema.NullOr(Schema.suspend((): Schema.Schema<Tree> => Tree))
    })
    for (const schema of [Tree, Schema.typeSchema(Tree), Schema.encodedSchema(Tree)]) {
      const found = compare<Tree>(schema, { n: 1, inner: { n: 1, inner: null } }, {
        n: 1,
        inner: { n: 2, inner: null }
      }, 20)
      assert.deepStrictEqual(found.map(({ path }) => path), ["$.inner.n"])
    }
    const deep = (make: (fields: Tree) => Tree, n: number) =>
      Array.from({ length: 50_000 }).reduce<Tree>((inner) => make({ n: 0, inner }), make({ n, inner: null }))
    for (const make of [identity<Tree>, Data.struct<Tree>]) {
      assert.deepStrictEqual(compare(Schema.typeSchema(Tree), deep(make, 1), deep(make, 1), 20), [])
      const [{ path }, ...others] = compare(Schema.typeSchema(Tree), deep(make, 1), deep(make, 2), 20)
      assert.match(path, /^\$\.inner\.inner/)
      assert.deepStrictEqual(others, [])
    }
    const list = (n: number) => List.fromIterable(Array.from({ length: 50_000 }, (_, i) => i === 49_999 ? n : 0))
    assert.deepStrictEqual(compare(Schema.Unknown, list(1), list(2), 20).map(({ path }) => path), ["$[49999]"])
  })

  it("end at a cycle, and at the given number", () => {
    const cyclic = (n: number) => {
      const value: Record<string, unknown> = { n }
      value.self = value
      return value
    }
    assert.deepStrictEqual(compare(Schema.Unknown, cyclic(1), cyclic(1), 20), [])
    assert.deepStrictEqual(compare(Schema.Unknown, cyclic(1), cyclic(2), 20).map(({ path }) => path), ["$.n"])
    const many = Array.from({ length: 100 }, (_, n) => n)
    assert.strictEqual(compare(Schema.Unknown, many, many.map((n) => n + 1), 20).length, 20)
  })
})

describe("a share of the loads", () => {
  const sampled = (name: string, verify: Repository.VerifySample, lots: [number, ...Array<number>]) => {
    const repository = Repository.make(Doubled(name), { snapshots: SnapshotPolicy.manual, verify })
    const outcomes = (outcome: string) => counted(Metrics.snapshotVerifications, { aggregate: name, outcome })
    return { outcomes, random: Effect.withRandom(Random.fixed(lots)), repository }
  }

  /** Streams whose snapshots were made by another reducer under this name. */
  const poisoned = (name: string, ids: ReadonlyArray<string>) =>
    Effect.gen(function*() {
      const Old = Aggregate.make({
        name,
        id: AccountId,
        state: AccountState,
        event: AccountEvent,
        command: AccountCommand,
        initial: Account.initial,
        evolve: Account.evolve,
        decide: Account.decide
      })
      const accounts = yield* Repository.make(Old, { snapshots: SnapshotPolicy.manual })
      for (const text of ids) {
        yield* accounts.executeAll(id(text), [open, deposit(1, 9)])
        yield* accounts.createSnapshot(id(text))
      }
    })

  for (const [backend, layer] of backends) {
    it.scoped(`is chosen by Random, verified in the background, counted and logged, and removed if refuted (${backend})`, () =>
      Effect.gen(function*() {
        const name = `Sampled ${backend}`
        yield* poisoned(name, ["a", "b", "c"])
        const { logged, observed } = yield* lines
        const { outcomes, random, repository } = sampled(name, { sample: 0.01 }, [0.5, 0.0099, 0.01])
        yield* Effect.gen(function*() {
          const accounts = yield* repository
          // the load itself waits for nothing: it gives what the proof lets through
          const states = []
          for (const text of ["a", "b", "c"]) states.push((yield* accounts.load(id(text))).state.balance)
          assert.deepStrictEqual(states, [9, 9, 9])
          yield* eventually(Effect.map(outcomes("Refuted"), (count) => count === 1))
          const store = yield* SnapshotStore.SnapshotStore
          yield* eventually(Effect.map(store.exists(StreamId.make(name, "b")), (there) => !there))
          assert.isTrue(yield* store.exists(StreamId.make(name, "a")))
          assert.isTrue(yield* store.exists(StreamId.make(name, "c")))
          assert.strictEqual((yield* accounts.load(id("b"))).state.balance, 18)
        }).pipe(random, observed)
        const [warning, ...more] = logged.filter(({ level }) => level === "WARN")
        assert.deepStrictEqual(more, [])
        assert.include(warning.message, "refuted")
        assert.deepStrictEqual(warning.annotations, {
          aggregate: name,
          id: "b",
          version: 10,
          snapshotVersion: 10,
          removed: true,
          differences: "$.balance"
        })
      }).pipe(Effect.provide(layer)))
  }

  it.scoped("keeps to its budget in each minute", () =>
    Effect.gen(function*() {
      const name = "Budgeted"
      yield* poisoned(name, ["a", "b", "c", "d"])
      const { outcomes, random, repository } = sampled(name, { sample: 1, budget: 20 }, [0])
      yield* Effect.gen(function*() {
        const accounts = yield* repository
        for (const text of ["a", "b", "c"]) yield* accounts.load(id(text))
        yield* eventually(Effect.map(outcomes("Skipped"), (count) => count === 1))
        // two of ten events each are all of it
        assert.strictEqual(yield* outcomes("Refuted"), 2)
        yield* TestClock.adjust("59 seconds")
        yield* accounts.load(id("c"))
        yield* eventually(Effect.map(outcomes("Skipped"), (count) => count === 2))
        assert.strictEqual(yield* outcomes("Refuted"), 2)
        yield* TestClock.adjust("1 seconds")
        yield* accounts.load(id("c"))
        yield* eventually(Effect.map(outcomes("Refuted"), (count) => count === 3))
      }).pipe(random)
    }).pipe(Effect.provide(memoryStores)))

  it.scoped("does not remove a correct snapshot, nor any in a process that must not write", () =>
    Effect.gen(function*() {
      const name = "ReadOnly"
      yield* poisoned(name, ["a"])
      const store = yield* SnapshotStore.SnapshotStore
      const outcomes = (outcome: string) => counted(Metrics.snapshotVerifications, { aggregate: name, outcome })
      const reader = yield* Repository.make(Doubled(name), {
        snapshots: SnapshotPolicy.manual,
        snapshotOnLoad: false,
        verify: { sample: 1 }
      })
      yield* reader.load(id("a"))
      yield* eventually(Effect.map(outcomes("Refuted"), (count) => count === 1))
      assert.isTrue(yield* store.exists(StreamId.make(name, "a")))
      const right = yield* Repository.make(Doubled(name), { snapshots: SnapshotPolicy.manual, verify: { sample: 1 } })
      yield* store.delete(StreamId.make(name, "a"))
      yield* right.createSnapshot(id("a"))
      yield* right.load(id("a"))
      yield* eventually(Effect.map(outcomes("Verified"), (count) => count === 1))
      assert.isTrue(yield* store.exists(StreamId.make(name, "a")))
    }).pipe(Effect.provide(memoryStores)))

  it.scoped("continues although a logger throws", () =>
    Effect.gen(function*() {
      const name = "Unlogged"
      yield* poisoned(name, ["a", "b"])
      const { outcomes, random, repository } = sampled(name, { sample: 1 }, [0])
      yield* Effect.gen(function*() {
        const accounts = yield* repository
        for (const [index, text] of ["a", "b"].entries()) {
          yield* accounts.load(id(text))
          yield* eventually(Effect.map(outcomes("Refuted"), (count) => count === index + 1))
        }
      }).pipe(
        random,
        Effect.provide(Logger.replace(
          Logger.defaultLogger,
          Logger.make(() => {
            throw new Error("logger")
          })
        ))
      )
    }).pipe(Effect.provide(memoryStores)))

  it.scoped("a verification that fails, or hangs when the scope closes, has no other effect", () =>
    Effect.gen(function*() {
      const name = "Failing"
      yield* poisoned(name, ["a"])
      const store = yield* EventStore.EventStore
      const failing = (readTail: Effect.Effect<never, EventStore.EventStoreError>) => ({
        ...store,
        replay: {
          ...store.replay,
          readTail: (stream: StreamId.StreamId, options: { readonly fromVersion: number; readonly limit: number }) =>
            options.fromVersion === 1 ? readTail : store.replay.readTail(stream, options)
        }
      })
      const load = (reading: Effect.Effect<never, EventStore.EventStoreError>, then: Effect.Effect<void>) =>
        Effect.gen(function*() {
          const accounts = yield* Repository.make(Doubled(name), {
            snapshots: SnapshotPolicy.manual,
            verify: { sample: 1 }
          }).pipe(Effect.provideService(EventStore.EventStore, failing(reading)))
          yield* accounts.load(id("a"))
          yield* then
        }).pipe(Effect.scoped)
      const failed = counted(Metrics.snapshotVerifications, { aggregate: name, outcome: "Failed" })
      yield* load(Effect.die("planned"), eventually(Effect.map(failed, (count) => count === 1)))
      yield* load(Effect.never, Effect.yieldNow())
      const begun = yield* Effect.makeLatch(false)
      const stuck = Effect.zipRight(begun.open, Effect.uninterruptible(Effect.never))
      const closing = yield* Effect.forkDaemon(load(stuck, begun.await))
      yield* eventually(Effect.map(Fiber.poll(closing), Option.isSome))
    }).pipe(Effect.provide(Layer.fresh(memoryStores))))
})
