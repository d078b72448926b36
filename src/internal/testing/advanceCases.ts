import * as Cause from "effect/Cause"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as assert from "node:assert/strict"
import type * as CheckpointStore from "../../CheckpointStore.js"
import * as Position from "../../Position.js"
import type { Case } from "./fresh.js"
import { at, beside, failureOf, parkedEvent, sequenceOf, succeeded, ttl, withFresh } from "./freshSubscription.js"

type Store = CheckpointStore.CheckpointStore

const mustNotRun = () => Effect.die("the effect must not run")

/** The cases of `advance`. */
export const advances: ReadonlyArray<Case<Store>> = [
  withFresh("advance moves the checkpoint and gives the value and the new lease", function*({ key, ...on }) {
    const { partitions, register, store, take } = on
    yield* register()
    const lease = yield* take()
    const options = { to: at(25), handled: 3, ttl, streams: [] }
    const first = yield* store.advance(lease, options, () => Effect.succeed("done"))
    assert.ok(first._tag === "Advanced" && first.value === "done")
    assert.deepEqual({ ...first.lease }, { ...lease, position: at(25) })
    const second = yield* store.advance(first.lease, { ...options, to: at(30), handled: 4 }, () => Effect.void)
    assert.ok(second._tag === "Advanced")
    yield* store.advance(second.lease, { ...options, to: at(30), handled: 0 }, () => Effect.void)
    const [{ at: checkpoint, epoch, handled, owner }] = yield* partitions
    assert.deepEqual({ checkpoint, epoch, handled, owner }, { checkpoint: 30, epoch: 1, handled: 7, owner: "ada" })
    assert.equal((yield* store.renew(lease, ttl)).position, at(30))
    assert.equal(key.version, 1)
  }),

  withFresh("advance is only for the owner, at the checkpoint of the lease", function*({ key, register, ...on }) {
    yield* register({ partitions: 2 })
    yield* register({ version: 2, partitions: 2 })
    const first = yield* on.take("ada", { index: 0, of: 2 })
    const lease = yield* on.move(first, 20)
    const foreign: ReadonlyArray<CheckpointStore.Lease> = [
      first,
      { ...lease, position: at(19) },
      { ...lease, position: at(21) },
      { ...lease, epoch: lease.epoch - 1 },
      { ...lease, epoch: lease.epoch + 1 },
      { ...lease, owner: "bob" },
      { ...lease, index: 1 },
      { ...lease, of: 3 },
      { ...lease, version: 2 },
      { ...lease, name: `${key.name}-other` }
    ]
    for (const other of foreign) assert.equal(yield* failureOf(on.advance(other, 30, mustNotRun)), "LeaseLost")
    assert.deepEqual(yield* on.checkpoints(), [20, 10])
    assert.deepEqual(yield* on.checkpoints({ ...key, version: 2 }), [10, 10])
    yield* on.move(lease, 30)
  }),

  withFresh(
    "what an effect parks is committed with the checkpoint",
    function*({ advance, key, parked, register, ...on }) {
      yield* register()
      yield* advance(yield* on.take(), 20, () => on.store.park(key, [parkedEvent(15)]))
      assert.deepEqual(yield* parked, [15])
      assert.deepEqual(yield* on.checkpoints(), [20])
    }
  ),

  withFresh("a failure or a defect of the effect undoes the checkpoint and what it parked", function*({ key, ...on }) {
    yield* on.register()
    const lease = yield* on.take()
    const before = yield* on.versions
    const park = on.store.park(key, [parkedEvent(15)])
    const failed = yield* Effect.exit(on.advance(lease, 20, () => Effect.zipRight(park, Effect.fail("planned"))))
    assert.deepEqual(Exit.isFailure(failed) && Option.getOrNull(Cause.failureOption(failed.cause)), "planned")
    const died = yield* Effect.exit(on.advance(lease, 20, () => Effect.zipRight(park, Effect.die("planned"))))
    assert.deepEqual(Exit.isFailure(died) && Option.getOrNull(Cause.dieOption(died.cause)), "planned")
    const threw = yield* Effect.exit(on.advance(lease, 20, () => {
      throw new Error("planned")
    }))
    assert.ok(Exit.isFailure(threw) && Cause.isDie(threw.cause))
    assert.deepEqual(yield* on.versions, before)
    assert.deepEqual(yield* on.parked, [])
    yield* on.move(lease, 20)
  }),

  withFresh("an interruption undoes the checkpoint and what the effect parked", function*({ key, ...on }) {
    yield* on.register()
    const lease = yield* on.take()
    const before = yield* on.versions
    const isInside = yield* Deferred.make<void>()
    const inside = on.store.park(key, [parkedEvent(15)]).pipe(
      Effect.zipRight(Deferred.succeed(isInside, undefined)),
      Effect.zipRight(Effect.never)
    )
    const fiber = yield* Effect.fork(on.advance(lease, 20, () => inside))
    yield* Deferred.await(isInside)
    yield* Fiber.interrupt(fiber)
    assert.deepEqual(yield* on.versions, before)
    assert.deepEqual(yield* on.parked, [])
    yield* on.move(lease, 20)
  }),

  withFresh("advance tells of which streams events are parked", function*({ key, register, ...on }) {
    yield* register()
    yield* register({ version: 2 })
    yield* on.store.park(key, [parkedEvent(1, { stream: "Account/a" }), parkedEvent(2, { stream: "Account/b" })])
    yield* on.store.park({ ...key, version: 2 }, [parkedEvent(3, { stream: "Account/c" })])
    const told = (lease: CheckpointStore.Lease, streams: ReadonlyArray<string>) =>
      Effect.map(
        on.advance(
          lease,
          sequenceOf(lease.position) + 1,
          (parked) => Effect.succeed(Array.from(parked).sort()),
          streams
        ),
        (advanced) => {
          assert.ok(advanced._tag === "Advanced")
          return { lease: advanced.lease, parked: advanced.value }
        }
      )
    let { lease, parked } = yield* told(yield* on.take(), [
      "Account/a",
      "Account/c",
      "Account/b",
      "Account/a",
      "Account/d"
    ])
    assert.deepEqual(parked, ["Account/a", "Account/b"])
    ;({ lease, parked } = yield* told(lease, ["Account/c"]))
    assert.deepEqual(parked, [])
    ;({ lease, parked } = yield* told(lease, []))
    assert.deepEqual(parked, [])
    yield* on.store.unpark(key, [at(1)], Effect.void)
    ;({ lease, parked } = yield* told(lease, ["Account/a", "Account/b"]))
    assert.deepEqual(parked, ["Account/b"])
  }),

  withFresh("an advance that is held does not run its effect", function*({ key, register, ...on }) {
    yield* register({ partitions: 2 })
    const zero = yield* on.move(yield* on.take("ada", { index: 0, of: 2 }), 30)
    const one = yield* on.take("ada", { index: 1, of: 2 })
    assert.equal(yield* on.store.hold([key], ttl), at(30))
    assert.deepEqual((yield* on.partitions).map(({ hold }) => hold), [30, 30])
    for (const [lease, to] of [[zero, 31], [one, 31], [one, 99]] as const) {
      const held = yield* on.advance(lease, to, mustNotRun)
      assert.deepEqual({ ...held }, { _tag: "Held", hold: at(30) })
    }
    assert.deepEqual(yield* on.checkpoints(), [30, 10])
    const middle = yield* on.move(one, 20)
    yield* on.move(middle, 30)
    yield* on.move(zero, 30)
    assert.deepEqual(yield* on.checkpoints(), [30, 30])
    // a lost lease is not told of the hold
    assert.equal(yield* failureOf(on.advance(one, 31, mustNotRun)), "LeaseLost")
  }),

  withFresh("many owners advance one partition, and each step is done once", function*({ key, register, ...on }) {
    yield* register()
    const lease = yield* on.take()
    const steps = Array.from({ length: 10 }, () => on.advance(lease, 20, () => on.store.park(key, [parkedEvent(11)])))
    const results = yield* Effect.forEach(steps, Effect.either, { concurrency: "unbounded" })
    assert.equal(results.filter(({ _tag }) => _tag === "Right").length, 1)
    assert.deepEqual((yield* on.partitions).map(({ at, handled }) => [at, handled]), [[20, 1]])
  })
]

/** The cases of `stop` and `resume`. */
export const stops: ReadonlyArray<Case<Store>> = [
  withFresh("a stopped partition has a reason, and no owner until it is resumed", function*({ key, register, ...on }) {
    yield* register({ partitions: 3 })
    const stop = (index: number, position: Option.Option<Position.Position>, reason: string) =>
      Effect.flatMap(
        on.take("ada", { index, of: 3 }),
        (lease) => Effect.as(on.store.stop(lease, { position, reason, time: 1_700_000_000_000 }), lease)
      )
    const lease = yield* stop(0, Option.some(at(12)), "planned")
    yield* stop(2, Option.none(), "the feed")
    assert.ok(Option.isNone(yield* on.tryTake("bob", { index: 0, of: 3 })))
    assert.equal(yield* failureOf(on.store.renew(lease, ttl)), "LeaseLost")
    assert.equal(yield* failureOf(on.advance(lease, 20, mustNotRun)), "LeaseLost")
    assert.deepEqual((yield* on.partitions).map(({ at, owner, stopped }) => ({ at, owner, stopped })), [
      { at: 10, owner: null, stopped: { at: 12, reason: "planned", time: 1_700_000_000_000 } },
      { at: 10, owner: null, stopped: null },
      { at: 10, owner: null, stopped: { at: null, reason: "the feed", time: 1_700_000_000_000 } }
    ])
    assert.equal(yield* on.store.resume(key), 2)
    assert.equal(yield* on.store.resume(key), 0)
    assert.deepEqual((yield* on.partitions).map(({ stopped }) => stopped), [null, null, null])
    assert.deepEqual({ ...(yield* on.take("bob", { index: 0, of: 3 })) }, { ...lease, owner: "bob", epoch: 2 })
  }),

  withFresh("a reason is kept as text that every store can hold, and is cut", function*({ key, register, ...on }) {
    yield* register()
    const reason = `'; DROP TABLE x; -- "\u0000 \uD800 😀 ${"x".repeat(100_000)}`
    yield* on.store.stop(yield* on.take(), { position: Option.none(), reason, time: 0 })
    yield* on.store.park(key, [parkedEvent(1, { reason })])
    const [stopped] = yield* on.partitions
    const [parked] = yield* on.store.parked(key, { after: Position.start, limit: 1 })
    for (const kept of [stopped.stopped?.reason, parked.reason]) {
      assert.ok(kept !== undefined && /^'; DROP TABLE x; -- "\uFFFD? \uFFFD 😀 xxx/.test(kept))
      assert.ok(kept.length < 3_000)
    }
  })
]

/** The cases of parked events. */
export const parking: ReadonlyArray<Case<Store>> = [
  withFresh("parked events are listed by position, in pages, of all streams or one", function*({ key, ...on }) {
    yield* on.register()
    const events = Array.from({ length: 7 }, (_, index) =>
      parkedEvent(100 - index * 9, {
        stream: index % 2 === 0 ? "Account/a" : "Account/b",
        reason: `reason ${index}`,
        kind: index === 0 ? "Poison" : "Following"
      }))
    yield* on.store.park(key, events.slice(0, 4))
    yield* on.store.park(key, [])
    yield* on.store.park(key, events.slice(4))
    const inOrder = [...events].reverse()
    const listed = (after: number, limit: number, stream?: string) =>
      Effect.map(
        on.store.parked(key, { after: at(after), limit, ...(stream === undefined ? {} : { stream }) }),
        (found) => found.map((event) => ({ ...event }))
      )
    assert.deepEqual(yield* listed(0, 100), inOrder)
    assert.deepEqual(yield* listed(46, 2), inOrder.slice(1, 3))
    assert.deepEqual(yield* listed(55, 2), inOrder.slice(2, 4))
    assert.deepEqual(yield* listed(100, 2), [])
    assert.deepEqual(yield* listed(0, 100, "Account/b"), inOrder.filter(({ stream }) => stream === "Account/b"))
    assert.deepEqual(yield* listed(55, 1, "Account/a"), [events[4]])
    assert.deepEqual(yield* listed(0, 100, "Account/c"), [])
    assert.equal((yield* on.versions)[0].parked, 7)
  }),

  withFresh("an event that is parked again has the last reason", function*({ key, ...on }) {
    yield* on.register()
    yield* on.store.park(key, [parkedEvent(1, { reason: "one" }), parkedEvent(1, { reason: "two" })])
    yield* on.store.park(key, [parkedEvent(1, { kind: "Following", reason: "three", time: 5 })])
    const found = yield* on.store.parked(key, { after: Position.start, limit: 10 })
    assert.deepEqual(found.map((event) => ({ ...event })), [
      parkedEvent(1, { kind: "Following", reason: "three", time: 5 })
    ])
  }),

  withFresh("versions have parked events of their own", function*({ key, parked, register, store }) {
    yield* register()
    yield* register({ version: 2 })
    yield* store.park(key, [parkedEvent(1)])
    yield* store.park({ ...key, version: 2 }, [parkedEvent(1), parkedEvent(2)])
    yield* store.unpark({ ...key, version: 2 }, [at(1)], Effect.void)
    assert.deepEqual(yield* parked, [1])
  }),

  withFresh("unpark runs the effect and unparks all events, or does nothing", function*({ key, parked, ...on }) {
    yield* on.register()
    yield* on.store.park(key, [1, 2, 3, 4].map((n) => parkedEvent(n)))
    assert.ok(Option.isNone(yield* on.store.unpark(key, [at(1), at(9), at(2)], mustNotRun())))
    assert.deepEqual(yield* parked, [1, 2, 3, 4])
    const done = yield* on.store.unpark(key, [at(3), at(1), at(3)], Effect.succeed("done"))
    assert.equal(Option.getOrNull(done), "done")
    assert.deepEqual(yield* parked, [2, 4])
    const failing = on.store.unpark(key, [at(2)], Effect.fail("planned"))
    assert.equal(yield* Effect.flip(failing), "planned")
    assert.ok(Exit.isFailure(yield* Effect.exit(on.store.unpark(key, [at(2)], Effect.die("planned")))))
    assert.deepEqual(yield* parked, [2, 4])
  }),

  withFresh("the effect of unpark may park an event again", function*({ key, parked, ...on }) {
    yield* on.register()
    yield* on.store.park(key, [parkedEvent(1), parkedEvent(2)])
    yield* on.store.unpark(key, [at(1), at(2)], on.store.park(key, [parkedEvent(2, { reason: "again" })]))
    assert.deepEqual(yield* parked, [2])
  }),

  withFresh("no partition advances while events are unparked", function*({ key, ...on }) {
    yield* on.register()
    const lease = yield* on.take()
    yield* on.store.park(key, [parkedEvent(1, { stream: "Account/a" })])
    let advanced = false
    const { first, second } = yield* beside(
      (inside) => on.store.unpark(key, [at(1)], Effect.map(inside, () => advanced)),
      on.advance(lease, 20, (parked) => {
        advanced = true
        return Effect.succeed(parked.size)
      }, ["Account/a"])
    )
    assert.deepEqual(succeeded(first), Option.some(false))
    const result = succeeded(second)
    assert.equal(result._tag === "Advanced" && result.value, 0)
  })
]
