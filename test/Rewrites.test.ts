// no load gives a state that was folded from the old payload of a rewritten event
import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, FastCheck as fc, Layer, Option, Ref, Scope, Stream, TestClock } from "effect"
import {
  CheckpointStore,
  EventStore,
  ExpectedVersion,
  Personal,
  Projection,
  Repository,
  type Snapshot,
  SnapshotPolicy,
  SnapshotStore,
  Streams
} from "effect-eventsourcing"
import { Account, deposit, id, open, stream } from "./fixtures/Account.js"
import { Customer, stream as customerStream } from "./fixtures/Customer.js"
import { backends, memoryStores, on, sqliteFile, type Stores } from "./utils/backends.js"
import { everything } from "./utils/mode.js"
import { everyRow, sql as sealingStores } from "./utils/personal.js"

const each = (name: string, body: () => Effect.Effect<void, unknown, Stores | Streams.Streams | Scope.Scope>) =>
  on(backends)(name, () => Effect.provide(body(), Streams.layer))

const a = id("a")

const rewrite = (version: number, amount: number) =>
  Effect.flatMap(
    Streams.Streams,
    (streams) => streams.rewrite(stream("a"), version, { _tag: "Deposited", amount }, { aggregate: Account })
  )

/** The balance by the stored events, without the library's folds. */
const balanceAt = (toVersion?: number) =>
  Effect.flatMap(EventStore.EventStore, (store) =>
    Stream.runFold(
      store.read(stream("a"), { toVersion }),
      0,
      (sum, { payload }) => sum + Number(Reflect.get(Object(payload), "amount") ?? 0)
    ))

const currentSnapshot = Effect.flatMap(
  SnapshotStore.SnapshotStore,
  (store) => store.get(stream("a"), { schemaVersion: 1 })
)

const save = (snapshot: Snapshot.EncodedSnapshot) =>
  Effect.flatMap(SnapshotStore.SnapshotStore, (store) => store.save(snapshot))

describe("a rewritten event", () => {
  each("is in every state, whatever it was folded from before", () =>
    Effect.gen(function*() {
      const options = { snapshots: SnapshotPolicy.manual, cache: { capacity: 10 } }
      const [own, other] = yield* Effect.all([Repository.make(Account, options), Repository.make(Account, options)])
      const plain = yield* Repository.make(Account, { snapshots: SnapshotPolicy.manual })
      yield* own.executeAll(a, [open, deposit(1), deposit(2)])
      yield* own.createSnapshot(a)
      const writers = yield* Effect.all([other.hold(a), other.hold(a), other.hold(a), other.hold(a)])
      yield* Effect.forEach([own.load(a), other.load(a), ...writers.map(({ load }) => load)], (load) => load)
      yield* rewrite(2, 10)
      const wanted = { version: 4, state: { open: true, balance: 12 } }
      for (const repository of [own, other, plain]) {
        assert.deepInclude(yield* repository.load(a), wanted)
        assert.deepInclude(yield* repository.load(a), wanted)
      }
      const [loading, appending, deciding, saving] = writers
      assert.deepInclude(yield* loading.load, wanted)
      assert.deepInclude(yield* deciding.execute(open), { ...wanted, events: [] })
      assert.deepInclude((yield* saving.createSnapshot).snapshot, wanted)
      assert.deepInclude(yield* appending.execute(deposit(5)), { version: 5, state: { open: true, balance: 17 } })
      assert.strictEqual((yield* plain.verify(a))._tag, "Verified")
    }))

  each("refutes a snapshot that is saved late, and removes it", () =>
    Effect.gen(function*() {
      const accounts = yield* Repository.make(Account, { snapshots: SnapshotPolicy.sync({ every: 1_000 }) })
      yield* accounts.executeAll(a, [open, deposit(1), deposit(2)])
      yield* accounts.createSnapshot(a)
      const late = yield* Effect.flatten(currentSnapshot)
      yield* rewrite(2, 10)
      assert.isTrue(Option.isNone(yield* currentSnapshot))
      yield* accounts.execute(a, deposit(3))
      yield* save(late)
      const wanted = { version: 5, state: { open: true, balance: 15 } }
      assert.deepInclude(yield* accounts.loadAt(a, 3), { version: 3, state: { open: true, balance: 12 } })
      assert.deepInclude(yield* accounts.loadAt(a, 4), { version: 4, state: { open: true, balance: 12 } })
      const loaded = yield* accounts.load(a)
      assert.deepInclude(loaded, { ...wanted, replayed: 5, snapshotVersion: 0 })
      assert.strictEqual(loaded.snapshotOutcome._tag, "HistoryMismatch")
      yield* save(late)
      // the load has repaired it
      assert.strictEqual((yield* accounts.verify(a))._tag, "Verified")
      assert.deepInclude(yield* accounts.load(a), { ...wanted, replayed: 0, snapshotVersion: 5 })
    }))

  each("is read by a load that had read the page with the old payload", () =>
    Effect.gen(function*() {
      const store = yield* EventStore.EventStore
      const pages = yield* Ref.make(0)
      // the rewrite comes between the first and the second page
      const interleaved = EventStore.EventStore.of({
        ...store,
        replay: {
          ...store.replay,
          withSnapshots: () => Option.none(),
          readTail: (of, options) =>
            Effect.zipLeft(
              store.replay.readTail(of, options),
              Effect.flatMap(Ref.updateAndGet(pages, (n) => n + 1), (n) =>
                n === 1 ? Effect.orDie(rewriting) : Effect.void)
            )
        }
      })
      const streams = yield* Streams.Streams
      const rewriting = Effect.all([
        streams.rewrite(stream("a"), 2, { _tag: "Deposited", amount: 100 }, { aggregate: Account }),
        streams.rewrite(stream("a"), 9, { _tag: "Deposited", amount: 1_000 }, { aggregate: Account })
      ])
      const { accounts, paged } = yield* Effect.all({
        accounts: Repository.make(Account),
        paged: Effect.provideService(
          Repository.make(Account, { pageSize: 4 }),
          EventStore.EventStore,
          interleaved
        )
      })
      yield* accounts.executeAll(a, [open, deposit(1, 9)])
      const state = (balance: number) => ({ open: true, balance })
      assert.deepInclude(yield* paged.load(a), { version: 12, state: state(7 + 1_100) })
      // up to a version before the markers: of one moment too
      yield* rewrite(2, 1)
      yield* rewrite(9, 1)
      yield* Ref.set(pages, 0)
      assert.deepInclude(yield* paged.loadAt(a, 10), { version: 10, state: state(7 + 1_100) })
    }))

  each("is told to those who follow the history", () =>
    Effect.gen(function*() {
      const accounts = yield* Repository.make(Account)
      yield* accounts.executeAll(a, [open, deposit(1)])
      yield* rewrite(2, 7)
      const history = yield* Stream.runCollect(accounts.history(a))
      assert.deepStrictEqual(
        Array.from(history, (event) => event._tag === "Event" ? event.event : event.type),
        [{ _tag: "Opened" }, { _tag: "Deposited", amount: 7 }, "$rewritten"]
      )
    }))

  each("commands that run at the same time decide on the payload that is stored", () =>
    Effect.gen(function*() {
      const accounts = yield* Repository.make(Account, {
        snapshots: SnapshotPolicy.sync({ every: 3 }),
        cache: { capacity: 2 },
        pageSize: 5
      })
      const other = yield* Repository.make(Account, { snapshots: SnapshotPolicy.sync({ every: 4 }) })
      const writer = yield* other.hold(a)
      yield* accounts.executeAll(a, [open, deposit(1), deposit(1)])
      const turn = Effect.async<void>((resume) => void setImmediate(() => resume(Effect.void)))
      // a command may lose against others at each of its attempts, and a load against the rewrites
      const lost = ["VersionConflict", "HistoryRewritten"]
      const times = (effect: Effect.Effect<unknown, { readonly _tag: string }>) =>
        Effect.forEach(Array.from({ length: 12 }), () =>
          Effect.zipRight(turn, Effect.catchIf(effect, ({ _tag }) => lost.includes(_tag), () => Effect.void)))
      const streams = yield* Streams.Streams
      let amount = 1
      const rewriting = Effect.suspend(() =>
        streams.rewrite(stream("a"), 2 + amount % 2, { _tag: "Deposited", amount: ++amount }, { aggregate: Account })
      )
      yield* Effect.all([
        times(accounts.execute(a, deposit(1))),
        times(other.execute(a, deposit(1))),
        times(writer.execute(deposit(1))),
        times(rewriting)
      ], { concurrency: "unbounded" })
      const expected = yield* balanceAt()
      for (const load of [accounts.load(a), other.load(a), writer.load, accounts.load(a)]) {
        assert.strictEqual((yield* load).state.balance, expected)
      }
      assert.include(["Verified", "NoSnapshot"], (yield* other.verify(a))._tag)
    }))
})

type Step = { readonly _tag: "Deposit"; readonly by: number } | {
  readonly _tag: "Rewrite" | "SaveLate" | "Keep" | "Snapshot" | "Load"
  readonly n: number
}

const steps = fc.array(
  fc.oneof(
    fc.nat(2).map((by): Step => ({ _tag: "Deposit", by })),
    fc.tuple(
      fc.constantFrom("Rewrite" as const, "SaveLate" as const, "Keep" as const, "Snapshot" as const, "Load" as const),
      fc.nat(30)
    )
      .map(([_tag, n]): Step => ({ _tag, n }))
  ),
  { minLength: 1, maxLength: 25 }
)

describe("a projection", () => {
  it.effect("is told of rewritten events in order, if it asks for them", () =>
    Effect.gen(function*() {
      const accounts = yield* Repository.make(Account)
      const seen: Array<unknown> = []
      const told = Projection.layer(Projection.make({
        name: "told",
        on: [Projection.only(Account, ["Deposited"]), Projection.rewritten(Account)],
        handle: (events) => Effect.sync(() => void seen.push(...events.map(({ event }) => event)))
      }))
      yield* accounts.executeAll(a, [open, deposit(1)])
      yield* rewrite(2, 7)
      yield* accounts.execute(a, deposit(2))
      const scope = yield* Scope.make()
      yield* Layer.buildWithScope(told, scope)
      yield* TestClock.adjust("1 minute")
      yield* Scope.close(scope, Exit.void)
      assert.deepStrictEqual(seen, [
        { _tag: "Deposited", amount: 7 },
        { _tag: "$rewritten", version: 2 },
        { _tag: "Deposited", amount: 2 }
      ])
    }).pipe(
      Effect.scoped,
      Effect.provide(Streams.layer.pipe(
        Layer.provideMerge(Layer.merge(memoryStores, CheckpointStore.layerMemory))
      ))
    ))
})

describe("any order of commands, rewrites and snapshots", () => {
  for (const [name, layer] of backends) {
    it.effect(`gives the states of the stored events (${name})`, () =>
      Effect.promise(() =>
        fc.assert(
          fc.asyncProperty(steps, (steps) =>
            Effect.runPromise(Effect.provide(
              Effect.scoped(run(steps)),
              Layer.provideMerge(Streams.layer, layer)
            ))),
          // each run has a database of its own
          { numRuns: name === "PostgreSQL" ? 5 : everything ? 100 : 25 }
        )
      ), { timeout: 300_000 })
  }

  const run = (steps: ReadonlyArray<Step>) =>
    Effect.gen(function*() {
      const snapshots = SnapshotPolicy.manual
      const cached = yield* Repository.make(Account, { snapshots, cache: { capacity: 1 } })
      const paged = yield* Repository.make(Account, { snapshots, pageSize: 2 })
      const writer = yield* cached.hold(a)
      yield* cached.executeAll(a, [open, deposit(1), deposit(2)])
      const kept: Array<Snapshot.EncodedSnapshot> = []
      for (const step of steps) {
        const version = yield* Effect.flatMap(EventStore.EventStore, (store) => store.version(stream("a")))
        switch (step._tag) {
          case "Deposit":
            yield* step.by === 0 ? writer.execute(deposit(1)) : (step.by === 1 ? cached : paged).execute(a, deposit(2))
            break
          case "Rewrite":
            // markers and the first event cannot be rewritten as deposits
            yield* Effect.ignore(rewrite(2 + step.n % (version - 1), step.n + 3))
            break
          case "Keep":
            kept.push(...Option.toArray(yield* currentSnapshot))
            break
          case "SaveLate":
            for (const snapshot of kept) yield* save(snapshot)
            break
          case "Snapshot":
            yield* step.n % 2 === 0 ? cached.createSnapshot(a) : writer.createSnapshot
            break
          case "Load":
            break
        }
        const expected = yield* balanceAt()
        for (const load of [cached.load(a), paged.load(a), writer.load]) {
          assert.strictEqual((yield* load).state.balance, expected, JSON.stringify(step))
        }
        const at = 1 + ("n" in step ? step.n : step.by) % version
        // before the loads, which refute a snapshot that is saved late
        if (step._tag === "SaveLate") { for (const snapshot of kept) yield* save(snapshot) }
        for (const load of [paged.loadAt(a, at), cached.loadAt(a, at)]) {
          assert.strictEqual((yield* load).state.balance, yield* balanceAt(at), `at ${at}`)
        }
      }
    })
})

describe("a rewritten event with personal data", () => {
  const payload = {
    _tag: "Registered",
    name: { $personal: "c", value: "Grace Hopper" },
    plan: "free"
  }
  const rewriting = Effect.flatMap(
    Streams.Streams,
    (streams) => streams.rewrite(customerStream("c"), 1, payload, { aggregate: Customer })
  )

  it.effect("is sealed like an appended one", () =>
    Effect.gen(function*() {
      const customers = yield* Repository.make(Customer)
      yield* customers.execute("c", {
        _tag: "Register",
        name: Personal.make("c", "Ada Lovelace"),
        plan: "free"
      })
      yield* rewriting
      const { state } = yield* customers.load("c")
      assert.deepStrictEqual(state.name, Option.some(Personal.make("c", "Grace Hopper")))
      const rows = yield* everyRow
      assert.include(rows, "$rewritten")
      assert.notInclude(rows, "Hopper")
      assert.notInclude(rows, "Lovelace")
    }).pipe(Effect.scoped, Effect.provide(Layer.provideMerge(sealingStores, sqliteFile(":memory:")))))

  it.effect("is refused by stores that cannot seal it", () =>
    Effect.gen(function*() {
      const store = yield* EventStore.EventStore
      yield* store.append(customerStream("c"), [{ id: "1", type: "Registered", payload: { plan: "free" } }], {
        expectedVersion: ExpectedVersion.any
      })
      const error = yield* Effect.flip(rewriting)
      assert.deepInclude({ ...error }, { _tag: "EventStoreError", operation: "rewrite", reason: "InvalidInput" })
      assert.strictEqual(yield* store.version(customerStream("c")), 1)
    }).pipe(Effect.provide(Layer.provideMerge(Streams.layer, memoryStores))))
})
