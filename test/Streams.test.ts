// a stream that was deleted has no state, for any process and from any source
import { assert, describe, it } from "@effect/vitest"
import { Chunk, Effect, Either, Exit, Layer, Schema, Scope, Stream, TestClock } from "effect"
import {
  Aggregate,
  CheckpointStore,
  EventStore,
  ExpectedVersion,
  Projection,
  Repository,
  SnapshotPolicy,
  SnapshotStore,
  Streams
} from "effect-eventsourcing"
import { Account, deposit, id, open, stream } from "./fixtures/Account.js"
import { backends, memoryStores, on, type Stores } from "./utils/backends.js"

const each = (name: string, body: () => Effect.Effect<void, unknown, Stores | Streams.Streams | Scope.Scope>) =>
  on(backends)(name, () => Effect.provide(body(), Streams.layer))

const both = ["keep", "remove"] as const

const end = (text: string, events: Streams.DeleteOptions["events"]) =>
  Effect.flatMap(Streams.Streams, (streams) => streams.delete(stream(text), { events }))

/** Lets the event loop go on, as a server does between requests. */
const turn = Effect.async<void>((resume) => void setImmediate(() => resume(Effect.void)))

const tagOf = <A, E extends { readonly _tag: string }, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.map(Effect.flip(effect), ({ _tag }) => _tag)

describe("a deleted stream", () => {
  for (const events of both) {
    each(`has no state in any operation of a repository, ${events}`, () =>
      Effect.gen(function*() {
        const accounts = yield* Repository.make(Account, { snapshots: SnapshotPolicy.sync({ every: 2 }) })
        const a = id("a")
        yield* accounts.executeAll(a, [open, deposit(1), deposit(2)])
        yield* accounts.createSnapshot(a)
        const { time } = yield* end("a", events)
        assert.strictEqual(yield* tagOf(accounts.load(a)), "StreamDeleted")
        for (const command of [open, deposit(1)]) {
          assert.strictEqual(yield* tagOf(accounts.execute(a, command)), "StreamDeleted")
          assert.strictEqual(yield* tagOf(accounts.execute(a, command, { commandId: "c" })), "StreamDeleted")
        }
        const expecting = accounts.execute(a, deposit(1), { expectedVersion: ExpectedVersion.exact(3) })
        assert.strictEqual(yield* tagOf(expecting), "StreamDeleted")
        assert.strictEqual(yield* tagOf(accounts.createSnapshot(a)), "StreamDeleted")
        assert.strictEqual(yield* tagOf(accounts.verify(a)), "StreamDeleted")
        assert.strictEqual(yield* tagOf(accounts.loadAt(a, 4)), "StreamDeleted")
        assert.strictEqual(yield* tagOf(accounts.loadAt(a, time)), "StreamDeleted")
        assert.strictEqual(yield* tagOf(Stream.runDrain(accounts.history(a))), "StreamDeleted")
        assert.strictEqual(yield* tagOf(Stream.runDrain(accounts.history(a, { reverse: true }))), "StreamDeleted")
        const first = accounts.loadAt(a, 2)
        // what was there before the deletion is still there, or is not
        if (events === "keep") assert.deepInclude(yield* first, { version: 2, state: { open: true, balance: 1 } })
        else assert.strictEqual(yield* tagOf(first), "StreamDeleted")
        assert.deepInclude(yield* accounts.load(id("b")), { version: 0, exists: false })
      }))

    each(`is deleted for the caches and the writers of others, ${events}`, () =>
      Effect.gen(function*() {
        const options = { snapshots: SnapshotPolicy.manual, cache: { capacity: 10 } }
        const [accounts, others] = yield* Effect.all([
          Repository.make(Account, options),
          Repository.make(Account, options)
        ])
        const a = id("a")
        yield* accounts.executeAll(a, [open, deposit(1)])
        const writers = yield* Effect.all([others.hold(a), others.hold(a), others.hold(a)])
        yield* Effect.forEach(writers, (writer) => writer.load)
        yield* others.load(a)
        yield* accounts.load(a)
        yield* end("a", events)
        for (const repository of [accounts, others]) {
          assert.strictEqual(yield* tagOf(repository.load(a)), "StreamDeleted")
          assert.strictEqual(yield* tagOf(repository.execute(a, deposit(1))), "StreamDeleted")
        }
        const [loading, appending, deciding] = writers
        assert.strictEqual(yield* tagOf(loading.load), "StreamDeleted")
        assert.strictEqual(yield* tagOf(appending.execute(deposit(1))), "StreamDeleted")
        assert.strictEqual(yield* tagOf(appending.execute(deposit(1))), "StreamDeleted")
        // it decides no events, so no append tells it
        assert.strictEqual(yield* tagOf(deciding.execute(open)), "StreamDeleted")
        for (const writer of writers) assert.strictEqual(yield* tagOf(writer.createSnapshot), "StreamDeleted")
        assert.isFalse(yield* Effect.flatMap(SnapshotStore.SnapshotStore, (store) => store.exists(stream("a"))))
      }))

    each(`is deleted although a snapshot is saved late, ${events}`, () =>
      Effect.gen(function*() {
        const accounts = yield* Repository.make(Account, { snapshots: SnapshotPolicy.manual })
        const snapshots = yield* SnapshotStore.SnapshotStore
        const a = id("a")
        yield* accounts.executeAll(a, [open, deposit(1)])
        yield* accounts.createSnapshot(a)
        const late = yield* Effect.flatten(snapshots.get(stream("a"), { schemaVersion: 1 }))
        yield* end("a", events)
        assert.isFalse(yield* snapshots.exists(stream("a")))
        yield* snapshots.save(late)
        assert.strictEqual(yield* tagOf(accounts.load(a)), "StreamDeleted")
        assert.strictEqual(yield* tagOf(accounts.execute(a, deposit(1))), "StreamDeleted")
        assert.strictEqual(yield* tagOf(accounts.loadAt(a, 3)), "StreamDeleted")
      }))
  }

  each("ends commands that run at the same time, and loses none that was acknowledged", () =>
    Effect.gen(function*() {
      const a = id("a")
      const accounts = yield* Repository.make(Account, { snapshots: SnapshotPolicy.background({ every: 2 }) })
      const cached = yield* Repository.make(Account, {
        snapshots: SnapshotPolicy.background({ every: 3 }),
        cache: { capacity: 10 }
      })
      const writer = yield* cached.hold(a)
      yield* accounts.execute(a, open)
      const commanding = (execute: Effect.Effect<{ readonly version: number }, { readonly _tag: string }>) =>
        Effect.gen(function*() {
          const versions: Array<number> = []
          for (;;) {
            yield* turn
            const result = yield* Effect.either(execute)
            if (Either.isRight(result)) versions.push(result.right.version)
            else if (result.left._tag === "StreamDeleted") return versions
            else assert.strictEqual(result.left._tag, "VersionConflict")
          }
        })
      const [{ version }, ...executed] = yield* Effect.all([
        Effect.zipRight(Effect.repeatN(turn, 20), end("a", "keep")),
        commanding(accounts.execute(a, deposit(1))),
        commanding(cached.execute(a, deposit(1))),
        commanding(writer.execute(deposit(1)))
      ], { concurrency: "unbounded" })
      const versions = executed.flat().sort((one, other) => one - other)
      assert.deepStrictEqual(versions, Array.from({ length: version - 2 }, (_, index) => index + 2))
      assert.deepInclude(yield* accounts.loadAt(a, version - 1), {
        state: { open: true, balance: version - 2 }
      })
      yield* Effect.all([accounts.awaitPendingSnapshots, cached.awaitPendingSnapshots])
      for (const repository of [accounts, cached]) {
        assert.strictEqual(yield* tagOf(repository.load(a)), "StreamDeleted")
      }
    }))

  each("can be deleted in a transaction of the caller, which may roll back", () =>
    Effect.gen(function*() {
      const { replay } = yield* EventStore.EventStore
      const snapshots = yield* SnapshotStore.SnapshotStore
      const shared = replay.withSnapshots(snapshots)
      if (shared._tag === "None") return
      const accounts = yield* Repository.make(Account, { snapshots: SnapshotPolicy.manual })
      const a = id("a")
      yield* accounts.executeAll(a, [open, deposit(1)])
      yield* accounts.createSnapshot(a)
      const streams = yield* Streams.Streams
      const removal = streams.delete(stream("a"), { events: "remove" })
      const undone = shared.value.transaction(Effect.zipRight(removal, Effect.fail("undone")))
      assert.strictEqual(yield* Effect.flip(undone), "undone")
      assert.deepInclude(yield* accounts.load(a), { version: 2, snapshotVersion: 2 })
      yield* shared.value.transaction(removal)
      assert.strictEqual(yield* tagOf(accounts.load(a)), "StreamDeleted")
      assert.isFalse(yield* snapshots.exists(stream("a")))
    }))
})

describe("Aggregate.make", () => {
  it("refuses the types of markers", () => {
    for (const tag of ["$deleted", "$rewritten", "$truncated"]) {
      const event = Schema.TaggedStruct(tag, {})
      assert.throws(() =>
        Aggregate.make({
          name: "A",
          id: Schema.String,
          state: Schema.Int,
          event,
          command: Schema.Int,
          initial: () => 0,
          evolve: (state) => state,
          decide: () => Either.right([])
        }), /reserved/)
    }
  })
})

const balancesOf = Effect.sync(() => {
  const balances = new Map<string, number>()
  const add = (account: string, amount: number) =>
    Effect.sync(() => balances.set(account, (balances.get(account) ?? 0) + amount))
  return {
    balances,
    told: Projection.layer(Projection.makeByTag({
      name: "balances",
      on: [Projection.only(Account, ["Deposited"]), Projection.deleted(Account)],
      handlers: {
        Account: {
          Deposited: ({ aggregateId, event }) => add(aggregateId, event.amount),
          $deleted: ({ aggregateId, event }) =>
            Effect.sync(() => {
              assert.deepStrictEqual(event, { _tag: "$deleted" })
              balances.delete(aggregateId)
            })
        }
      }
    })),
    notTold: Projection.layer(Projection.make({
      name: "counts",
      on: [Account],
      handle: (events) => Effect.forEach(events, ({ aggregateId }) => add(aggregateId, 1), { discard: true })
    }))
  }
})

const services = Streams.layer.pipe(
  Layer.provideMerge(memoryStores),
  Layer.provideMerge(CheckpointStore.layerMemory)
)

describe("a projection", () => {
  const follow = (layer: Layer.Layer<never, unknown, EventStore.EventStore | CheckpointStore.CheckpointStore>) =>
    Effect.gen(function*() {
      const scope = yield* Scope.make()
      yield* Effect.orDie(Layer.buildWithScope(layer, scope))
      yield* TestClock.adjust("1 minute")
      yield* Scope.close(scope, Exit.void)
    })

  it.effect("is told of deleted streams in order, if it asks for them", () =>
    Effect.gen(function*() {
      const accounts = yield* Repository.make(Account)
      const { balances, told } = yield* balancesOf
      for (const account of ["a", "b", "c"]) yield* accounts.executeAll(id(account), [open, deposit(2), deposit(3)])
      yield* end("a", "keep")
      yield* follow(told)
      assert.deepStrictEqual(Object.fromEntries(balances), { b: 5, c: 5 })
      yield* accounts.execute(id("c"), deposit(1))
      yield* end("b", "remove")
      yield* end("c", "remove")
      yield* follow(told)
      assert.deepStrictEqual(Object.fromEntries(balances), {})
    }).pipe(Effect.scoped, Effect.provide(services)))

  it.effect("skips the markers if it does not ask for them", () =>
    Effect.gen(function*() {
      const accounts = yield* Repository.make(Account)
      const { balances, notTold } = yield* balancesOf
      for (const account of ["a", "b"]) yield* accounts.executeAll(id(account), [open, deposit(2)])
      yield* end("a", "keep")
      yield* end("b", "remove")
      yield* follow(notTold)
      assert.deepStrictEqual(Object.fromEntries(balances), { a: 2 })
    }).pipe(Effect.scoped, Effect.provide(services)))

  it.effect("gets the marker from the feed as a retired event", () =>
    Effect.gen(function*() {
      const accounts = yield* Repository.make(Account)
      const store = yield* EventStore.EventStore
      yield* accounts.execute(id("a"), open)
      yield* end("a", "keep")
      const decode = Aggregate.decoder(Account)
      const feed = Chunk.toReadonlyArray(yield* Stream.runCollect(store.readAll()))
      assert.deepStrictEqual(
        feed.map((event) => Either.map(decode(event), ({ _tag, type }) => [_tag, type])),
        [Either.right(["Event", "Opened"]), Either.right(["Retired", "$deleted"])]
      )
    }).pipe(Effect.scoped, Effect.provide(services)))
})
