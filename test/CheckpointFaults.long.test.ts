import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer, Option, Ref, Scope, TestClock } from "effect"
import { CheckpointStore, Position, Projection, Projections } from "effect-eventsourcing"
import { CheckpointFaults, Faults } from "effect-eventsourcing/testing"
import { append, counting, memory, settle } from "./projection/fixture.js"

const key = { name: "sums", version: 1 }
const registration = { ...key, kind: "Projection", definition: "", partitions: 1, from: Position.start } as const
const to = Position.fromParts(0, 5)
const options = { to, handled: 1, ttl: 1_000, streams: [] }

/** A store of which the first advance meets a fault, with a lease. */
const leased = (fault: Faults.Fault) =>
  Effect.gen(function*() {
    const met: Array<string> = []
    const store = CheckpointFaults.make(
      yield* CheckpointStore.makeMemory,
      Faults.onCall("CheckpointStore.advance", 1, fault),
      { onFault: ({ n, operation }, fault) => void met.push(`${operation} ${n} ${fault._tag}`) }
    )
    yield* store.register(registration)
    const acquired = yield* store.acquire(key, { owner: "me", ttl: 1_000, index: 0, of: 1 })
    const runs = yield* Ref.make(0)
    const lease = yield* acquired
    return {
      met,
      lease,
      store,
      runs: Ref.get(runs),
      advance: store.advance(lease, options, () => Ref.update(runs, (n) => n + 1)),
      position: Effect.map(store.list, ([{ partitions }]) => partitions[0].position)
    }
  })

describe("the first advance", () => {
  for (
    const [name, fault, hasRun, isCommitted] of [
      ["fails before the effect runs", Faults.fail, 0, false],
      ["runs the effect and rolls it back", CheckpointFaults.failCommit, 1, false],
      ["commits and loses its answer", Faults.lostAcknowledgement, 1, true]
    ] as const
  ) {
    it.effect(name, () =>
      Effect.gen(function*() {
        const { advance, met, position, runs } = yield* leased(fault)
        const error = yield* Effect.flip(advance)
        assert.isTrue(Faults.isInjected(error))
        assert.strictEqual(error._tag === "CheckpointStoreError" && error.mayHaveHappened, isCommitted)
        assert.strictEqual(yield* runs, hasRun)
        assert.strictEqual(yield* position, isCommitted ? to : Position.start)
        assert.deepStrictEqual(met, [`CheckpointStore.advance 1 ${fault._tag}`])
        // the next call meets no fault
        if (!isCommitted) assert.strictEqual((yield* advance)._tag, "Advanced")
      }))
  }

  it.effect("loses its lease to another owner, who gives it back", () =>
    Effect.gen(function*() {
      const { advance, position, runs, store } = yield* leased(CheckpointFaults.loseLease)
      assert.strictEqual((yield* Effect.flip(advance))._tag, "LeaseLost")
      assert.deepStrictEqual([yield* runs, yield* position], [0, Position.start])
      yield* TestClock.adjust("10 millis")
      assert.isTrue(Option.isSome(yield* store.acquire(key, { owner: "me", ttl: 1_000, index: 0, of: 1 })))
    }))

  it.effect("freezes between its effect and its commit, and nobody takes its place meanwhile", () =>
    Effect.gen(function*() {
      const { advance, position, runs, store } = yield* leased(CheckpointFaults.freeze("3 seconds"))
      const fiber = yield* Effect.fork(advance)
      yield* TestClock.adjust("2 seconds")
      assert.deepStrictEqual([yield* runs, yield* position], [1, Position.start])
      assert.isTrue(Option.isNone(yield* store.acquire(key, { owner: "you", ttl: 1_000, index: 0, of: 1 })))
      yield* TestClock.adjust("1 second")
      assert.strictEqual((yield* fiber)._tag, "Advanced")
      assert.strictEqual(yield* position, to)
    }))
})

describe("a projection on a faulty checkpoint store", () => {
  const faults = [
    Faults.fail,
    Faults.lostAcknowledgement,
    Faults.die,
    Faults.delay("50 millis"),
    CheckpointFaults.loseLease,
    CheckpointFaults.freeze("100 millis")
  ]
  const operations = ["CheckpointStore.advance", "CheckpointStore.renew", "CheckpointStore.acquire"] as const
  for (const seed of [1, 2, 3, 4, 5]) {
    it.scoped(`reads every event once, seed ${seed}`, () =>
      Effect.gen(function*() {
        const { counts, projection } = yield* counting
        // a defect in advance may be the handler's
        const plan = Faults.firstOf(
          Faults.seeded({ seed, rate: 0.2, faults: faults.filter(({ _tag }) => _tag !== "Die"), operations }),
          Faults.seeded({ seed, rate: 0.1, faults, operations: ["CheckpointStore.attend", "CheckpointStore.release"] })
        )
        const layer = Projection.layer(projection, {
          pageSize: 2,
          partitions: 2,
          lease: "1 second",
          // the clock stands still when the test ends
          closeWithin: "10 millis"
        })
        const scope = yield* Scope.Scope
        yield* Effect.forEach(Array.from({ length: 6 }), (_, n) => append(`account ${n}`, [1, 2]))
        yield* Effect.flatMap(CheckpointStore.CheckpointStore, (store) =>
          Layer.buildWithScope(layer, scope).pipe(
            Effect.provideService(CheckpointStore.CheckpointStore, CheckpointFaults.make(store, plan))
          ))
        const last = yield* append("account 1", [3])
        for (let n = 0; n < 20; n++) {
          yield* TestClock.adjust("500 millis")
          yield* settle
        }
        yield* Projections.awaitPosition("sums", last)
        assert.deepStrictEqual(Object.values(yield* Ref.get(counts)), Array.from({ length: 13 }, () => 1))
      }).pipe(Effect.provide(memory)))
  }
})
