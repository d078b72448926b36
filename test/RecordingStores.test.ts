import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Schedule, type Scope, Stream } from "effect"
import {
  EventStore,
  ExpectedVersion,
  Position,
  Repository,
  SnapshotPolicy,
  SnapshotStore,
  StreamId
} from "effect-eventsourcing"
import { EventStoreContract, RecordingStores, SnapshotStoreContract } from "effect-eventsourcing/testing"
import { afterAll, describe as vitestDescribe, it as vitestIt } from "vitest"
import { Account, AccountV2, id, open } from "./fixtures/Account.js"
import { sizes } from "./utils/mode.js"

const runner = { afterAll, describe: vitestDescribe, it: vitestIt }
EventStoreContract.suite(runner, "RecordingStores.layer", RecordingStores.layer, sizes)
SnapshotStoreContract.suite(runner, "RecordingStores.layer", RecordingStores.layer)

const deposit = { _tag: "Deposit", amount: 1 } as const
const stream = StreamId.make("Account", "a")

const test = (
  name: string,
  body: Effect.Effect<
    void,
    unknown,
    EventStore.EventStore | SnapshotStore.SnapshotStore | RecordingStores.Stores | Scope.Scope
  >
) => it.scoped(name, () => Effect.provide(body, RecordingStores.layer))

describe("RecordingStores.layer", () => {
  test(
    "a load uses the snapshot and replays exactly the tail",
    Effect.gen(function*() {
      const stores = yield* RecordingStores.Stores
      const accounts = yield* Repository.make(Account, { snapshots: SnapshotPolicy.manual })
      yield* accounts.executeAll(id("a"), [open, deposit, deposit])
      yield* accounts.createSnapshot(id("a"))
      yield* accounts.executeAll(id("a"), [deposit, deposit])
      yield* stores.forget
      assert.deepStrictEqual(yield* stores.calls, [])

      yield* accounts.load(id("a"))
      assert.deepStrictEqual(yield* stores.loads, [{ stream, snapshot: 3, cached: 0, tail: [4, 5] }])
      assert.deepStrictEqual(
        (yield* stores.calls).map(({ operation }) => operation),
        ["get", "readTail"]
      )
    })
  )

  test(
    "loads without snapshots are recorded page by page and one by one",
    Effect.gen(function*() {
      const stores = yield* RecordingStores.Stores
      const accounts = yield* Repository.make(Account, { pageSize: 2 })
      yield* accounts.executeAll(id("a"), [open, deposit, deposit, deposit, deposit])
      yield* stores.forget
      yield* accounts.load(id("a"))
      yield* accounts.load(id("a"))
      yield* accounts.load(id("b"))
      const all = { stream, snapshot: 0, cached: 0, tail: [1, 2, 3, 4, 5] }
      const nothing = { stream: StreamId.make("Account", "b"), snapshot: 0, cached: 0, tail: [] }
      assert.deepStrictEqual(yield* stores.loads, [all, all, nothing])
    })
  )

  test(
    "concurrent loads of one stream are recorded one by one",
    Effect.gen(function*() {
      const stores = yield* RecordingStores.Stores
      const accounts = yield* Repository.make(Account, { pageSize: 2, snapshots: SnapshotPolicy.manual })
      yield* accounts.executeAll(id("a"), [open, deposit, deposit])
      yield* accounts.createSnapshot(id("a"))
      yield* accounts.executeAll(id("a"), [deposit, deposit, deposit])
      yield* stores.forget
      // the loads yield to each other between two pages
      yield* Effect.replicateEffect(accounts.load(id("a")), 5).pipe(Effect.withConcurrency("unbounded"))
      const load = { stream, snapshot: 3, cached: 0, tail: [4, 5, 6] }
      assert.deepStrictEqual(yield* stores.loads, [load, load, load, load, load])
    })
  )

  test(
    "the background worker has loads of its own",
    Effect.gen(function*() {
      const stores = yield* RecordingStores.Stores
      const accounts = yield* Repository.make(Account, { snapshots: SnapshotPolicy.background({ every: 2 }) })
      yield* accounts.executeAll(id("a"), [open, deposit, deposit])
      yield* stores.forget
      yield* accounts.load(id("a"))
      yield* accounts.awaitPendingSnapshots
      const loads = yield* stores.loads
      assert.isAtLeast(loads.length, 2)
      // it reads once more after the load, when it may have saved already
      for (const load of loads) {
        const { snapshot } = load
        assert.deepStrictEqual(load, { stream, snapshot, cached: 0, tail: snapshot === 0 ? [1, 2, 3] : [] })
      }
    })
  )

  for (const snapshots of [SnapshotPolicy.manual, SnapshotPolicy.none]) {
    test(
      `a load from the cache begins at the cached state: ${snapshots._tag}`,
      Effect.gen(function*() {
        const stores = yield* RecordingStores.Stores
        const accounts = yield* Repository.make(Account, { snapshots, cache: { capacity: 10 } })
        const others = yield* Repository.make(Account, { snapshots: SnapshotPolicy.none })
        yield* accounts.executeAll(id("a"), [open, deposit, deposit])
        yield* accounts.load(id("a"))
        yield* others.executeAll(id("a"), [deposit, deposit])
        yield* stores.forget
        yield* accounts.load(id("a"))
        yield* accounts.load(id("a"))
        // the next load begins at the state that this one reached
        assert.deepStrictEqual(yield* stores.loads, [
          { stream, snapshot: 0, cached: 3, tail: [4, 5] },
          { stream, snapshot: 0, cached: 5, tail: [] }
        ])
      })
    )
  }

  test(
    "the events of a lost race are part of its load, and no others",
    Effect.gen(function*() {
      const stores = yield* RecordingStores.Stores
      const others = yield* Repository.make(Account, { snapshots: SnapshotPolicy.none })
      yield* others.executeAll(id("a"), [open, deposit, deposit])
      const events = yield* EventStore.EventStore
      let races = 0
      const racing = EventStore.EventStore.of({
        ...events,
        append: (stream, added, options) =>
          Effect.zipRight(
            Effect.when(
              events.append(stream, [{ ...added[0], id: `${added[0].id} was late` }], {
                expectedVersion: ExpectedVersion.any
              }),
              () => races-- > 0
            ),
            events.append(stream, added, options)
          )
      })
      const make = (retry: Schedule.Schedule<number>) =>
        Effect.provideService(
          Repository.make(Account, { cache: { capacity: 10 }, retry }),
          EventStore.EventStore,
          racing
        )
      const loads = (use: Effect.Effect<unknown, unknown>) =>
        Effect.zipRight(
          Effect.zipRight(stores.forget, use),
          Effect.map(stores.loads, (loads) => loads.map(({ cached, tail }) => [cached, ...tail]))
        )

      const accounts = yield* make(Schedule.recurs(2))
      yield* accounts.load(id("a"))
      races = 2
      assert.deepStrictEqual(yield* loads(accounts.execute(id("a"), deposit)), [[3, 4, 5]])
      assert.deepStrictEqual(yield* loads(accounts.load(id("a"))), [[3, 4, 5, 6]])

      const hasty = yield* make(Schedule.recurs(0))
      yield* hasty.load(id("a"))
      races = 1
      const lost = Effect.zipRight(Effect.flip(hasty.execute(id("a"), deposit)), hasty.load(id("a")))
      assert.deepStrictEqual(yield* loads(lost), [[6], [6, 7]])

      const other = events.append(StreamId.make("Account", "b"), [], { expectedVersion: ExpectedVersion.exact(3) })
      const between = Effect.zipRight(hasty.load(id("a")), Effect.zipRight(Effect.flip(other), hasty.load(id("a"))))
      assert.deepStrictEqual(yield* loads(between), [[7], [7]])
    })
  )

  test(
    "a snapshot that a load does not use is not part of it",
    Effect.gen(function*() {
      const stores = yield* RecordingStores.Stores
      const events = yield* EventStore.EventStore
      const snapshots = yield* SnapshotStore.SnapshotStore
      const accounts = yield* Repository.make(Account, { snapshots: SnapshotPolicy.manual })
      yield* accounts.executeAll(id("a"), [open, deposit, deposit])
      const { snapshot } = yield* accounts.createSnapshot(id("a"))
      const forged = {
        ...snapshot,
        state: "{\"open\":true,\"balance\":1000}",
        time: 0,
        stream: StreamId.make("Account", "a")
      }
      const replayed = { stream, snapshot: 0, cached: 0, tail: [1, 2, 3] }
      const loadsWith = (change: object, aggregate: typeof Account = Account) =>
        Effect.gen(function*() {
          yield* snapshots.delete(stream)
          yield* snapshots.save({ ...forged, ...change })
          yield* stores.forget
          const repository = yield* Repository.make(aggregate, {
            snapshots: SnapshotPolicy.manual
          })
          yield* repository.load(id("a"))
          return yield* stores.loads
        })
      // another event stands at its version, its state does not decode, its schema is another one or of another version
      assert.deepStrictEqual(yield* loadsWith({ eventId: "other" }), [replayed])
      assert.deepStrictEqual(yield* loadsWith({ version: 1, eventId: "other" }), [replayed])
      assert.deepStrictEqual(yield* loadsWith({ state: "{}" }), [replayed])
      assert.deepStrictEqual(yield* loadsWith({ fingerprint: "other" }), [replayed])
      assert.deepStrictEqual(yield* loadsWith({}, AccountV2), [replayed])
      assert.deepStrictEqual(yield* loadsWith({}), [{ stream, snapshot: 3, cached: 0, tail: [] }])
      assert.strictEqual(yield* events.version(stream), 3)
    })
  )

  test(
    "appended events, saved snapshots and failed calls are recorded",
    Effect.gen(function*() {
      const stores = yield* RecordingStores.Stores
      const events = yield* EventStore.EventStore
      const snapshots = yield* SnapshotStore.SnapshotStore
      const append = (ids: ReadonlyArray<string>, expected: number) =>
        events.append(stream, ids.map((id) => ({ id, type: "T", payload: id })), {
          expectedVersion: ExpectedVersion.exact(expected)
        })
      yield* append(["e1", "e2"], 0)
      yield* append(["e1", "e2"], 0) // repeated
      yield* Effect.flip(append(["e3"], 0))
      yield* append(["e4"], 2)
      assert.deepStrictEqual(
        (yield* stores.appended).map(({ id, payload, version }) => ({ id, payload, version })),
        [
          { id: "e1", payload: "e1", version: 1 },
          { id: "e2", payload: "e2", version: 2 },
          { id: "e4", payload: "e4", version: 3 }
        ]
      )
      const snapshot = { stream, version: 3, eventId: "e4", schemaVersion: 1, fingerprint: "f", state: "1", time: 0 }
      yield* snapshots.save(snapshot)
      yield* snapshots.save({ ...snapshot, version: 2 }) // superseded
      assert.deepStrictEqual(yield* stores.saved, [snapshot])

      yield* Stream.runDrain(events.read(stream))
      yield* events.readEvents(stream, { limit: 2 })
      yield* Stream.runDrain(events.readAll())
      yield* events.readPage()
      yield* events.head
      yield* events.countAfter(Position.start)
      yield* events.streams({ aggregate: "Account" })
      yield* events.version(stream)
      yield* events.find(["e1"])
      yield* Stream.runDrain(events.import(Stream.empty))
      yield* snapshots.exists(stream)
      yield* snapshots.delete(stream)
      yield* snapshots.deleteByType("Account")
      assert.deepStrictEqual(yield* stores.counts, {
        append: 4,
        read: 1,
        readEvents: 1,
        readAll: 1,
        readPage: 1,
        head: 1,
        countAfter: 1,
        streams: 1,
        readTail: 0,
        version: 1,
        find: 1,
        import: 1,
        get: 0,
        save: 2,
        exists: 1,
        delete: 1,
        deleteByType: 1
      })
      const outcomes = (yield* stores.calls).flatMap((call) =>
        call.operation === "append" ? [Exit.isSuccess(call.outcome)] : []
      )
      assert.deepStrictEqual(outcomes, [true, true, false, true])
    })
  )
})
