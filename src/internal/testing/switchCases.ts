import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import * as assert from "node:assert/strict"
import type * as CheckpointStore from "../../CheckpointStore.js"
import * as Position from "../../Position.js"
import type { Case } from "./fresh.js"
import { at, beside, failureOf, parkedEvent, succeeded, ttl, withFresh } from "./freshSubscription.js"

type Store = CheckpointStore.CheckpointStore

const mustNotRun = Effect.die("the effect must not run")

/** A store may leave out whether the version was the active one. */
const tells = (advanced: CheckpointStore.Advanced<unknown>, active: boolean): void => {
  assert.ok(advanced._tag === "Advanced")
  assert.ok(advanced.active === undefined || advanced.active === active, `active is ${advanced.active}`)
}

/** The cases of `hold` and `repartition`. */
export const repartitions: ReadonlyArray<Case<Store>> = [
  withFresh("hold gives the highest checkpoint of all versions", function*({ key, register, ...on }) {
    yield* register({ partitions: 2 })
    yield* register({ version: 2 })
    yield* on.move(yield* on.take("ada", { index: 1, of: 2 }), 40)
    yield* on.move(yield* on.take("ada", { key: on.version(2) }), 35)
    assert.equal(yield* on.store.hold([on.version(2), key, on.version(2), on.version(9)], ttl), at(40))
    const holds = (yield* on.versions).flatMap(({ partitions }) => partitions.map(({ hold }) => hold))
    assert.deepEqual(holds, [40, 40, 40])
    assert.equal(yield* on.store.hold([], ttl), Position.start)
  }),

  withFresh("hold waits for a batch, and counts its checkpoint", function*({ key, register, ...on }) {
    yield* register({ partitions: 2 })
    const lease = yield* on.take("ada", { index: 1, of: 2 })
    const { first, second } = yield* beside((inside) => on.advance(lease, 20, () => inside), on.store.hold([key], ttl))
    assert.equal(succeeded(first)._tag, "Advanced")
    assert.equal(succeeded(second), at(20))
  }),

  withFresh("partitions change if all are at one position", function*({ key, register, ...on }) {
    yield* register({ partitions: 2 })
    const zero = yield* on.move(yield* on.take("ada", { index: 0, of: 2 }), 20)
    const one = yield* on.take("bob", { index: 1, of: 2 })
    assert.equal(yield* on.store.repartition(key), true)
    yield* register({ partitions: 3 })
    yield* on.store.hold([key], ttl)
    const before = yield* on.versions
    assert.equal(yield* on.store.repartition(key), false)
    assert.deepEqual(yield* on.versions, before)
    const last = yield* on.move(one, 20)
    assert.equal(yield* on.store.repartition(key), true)
    const free = { of: 3, at: 20, owner: null, epoch: 2, stopped: null, hold: null }
    assert.deepEqual(yield* on.partitions, [
      { index: 0, handled: 2, ...free },
      { index: 1, handled: 0, ...free },
      { index: 2, handled: 0, ...free }
    ])
    for (const lease of [zero, last]) {
      assert.equal(yield* failureOf(on.store.renew(lease, ttl)), "LeaseLost")
      assert.equal(yield* failureOf(on.move(lease, 30)), "LeaseLost")
      yield* on.store.release(lease)
    }
    assert.ok(Option.isNone(yield* on.tryTake("ada", { index: 0, of: 2 })))
    yield* on.moveAll(key, 3, 30)
    assert.equal(yield* on.store.repartition(key), true)
    assert.deepEqual(yield* on.checkpoints(), [30, 30, 30])
  }),

  withFresh("partitions do not change while one is stopped", function*({ key, register, ...on }) {
    yield* register({ partitions: 2 })
    const stopped = { position: Option.some(at(11)), reason: "planned", time: 0 }
    yield* on.store.stop(yield* on.take("ada", { index: 1, of: 2 }), stopped)
    yield* register({ partitions: 1 })
    assert.equal(yield* on.store.repartition(key), false)
    yield* on.store.resume(key)
    assert.equal(yield* on.store.repartition(key), true)
    assert.deepEqual(yield* on.checkpoints(), [10])
  }),

  withFresh("a change of partitions waits for a batch", function*({ key, register, ...on }) {
    yield* register()
    yield* register({ partitions: 2 })
    const lease = yield* on.take()
    const { first, second } = yield* beside(
      (inside) => on.advance(lease, 20, () => inside),
      on.store.repartition(key)
    )
    assert.equal(succeeded(first)._tag, "Advanced")
    assert.equal(succeeded(second), true)
    assert.deepEqual(yield* on.checkpoints(), [20, 20])
  }),

  withFresh("many processes change partitions and hold them at once", function*({ key, register, ...on }) {
    yield* register()
    yield* register({ partitions: 4 })
    const all = Array.from(
      { length: 8 },
      (_, index) => index % 2 === 0 ? on.store.repartition(key) : Effect.asVoid(on.store.hold([key], ttl))
    )
    yield* Effect.forEach(all, (one) => one, { concurrency: "unbounded", discard: true })
    const found = yield* on.partitions
    assert.deepEqual(
      found.map(({ at, epoch, index }) => ({ at, epoch, index })),
      [0, 1, 2, 3].map((index) => ({
        at: 10,
        epoch: 1,
        index
      }))
    )
  })
]

/** The cases of `promote` and `remove`. */
export const promotions: ReadonlyArray<Case<Store>> = [
  withFresh("promote makes a version the active one, with an effect", function*({ key, register, ...on }) {
    yield* register({ partitions: 2 })
    yield* register({ version: 2 })
    const active = Effect.map(
      on.versions,
      (found) => found.filter(({ active }) => active).map(({ version }) => version)
    )
    yield* on.moveAll(key, 2, 20)
    assert.ok(Option.isNone(yield* on.store.promote(on.version(2), mustNotRun)))
    yield* on.store.hold([key, on.version(2)], ttl)
    yield* on.moveAll(on.version(2), 1, 20)
    const before = yield* on.versions
    assert.equal(yield* Effect.flip(on.store.promote(on.version(2), Effect.fail("planned"))), "planned")
    assert.ok(Exit.isFailure(yield* Effect.exit(on.store.promote(on.version(2), Effect.die("planned")))))
    assert.deepEqual(yield* on.versions, before)
    const parks = Effect.as(on.store.park(on.version(2), [parkedEvent(1)]), "done")
    assert.deepEqual(yield* on.store.promote(on.version(2), parks), Option.some("done"))
    assert.deepEqual(yield* active, [2])
    const holds = (yield* on.versions).flatMap(({ parked, partitions }) => [parked, partitions.map(({ hold }) => hold)])
    assert.deepEqual(holds, [0, [null, null], 1, [null]])
    // the active one again, and the way back
    assert.ok(Option.isSome(yield* on.store.promote(on.version(2), Effect.void)))
    assert.deepEqual(yield* active, [2])
    assert.ok(Option.isSome(yield* on.store.promote(key, Effect.void)))
    assert.deepEqual(yield* active, [1])
  }),

  withFresh(
    "advance tells whether its version is the active one, also after it waited for a promotion",
    function*({ register, ...on }) {
      yield* register()
      yield* register({ version: 2 })
      const first = yield* on.advance(yield* on.take("ada"), 20)
      tells(first, true)
      tells(yield* on.advance(yield* on.take("bob", { key: on.version(2) }), 20), false)
      assert.ok(first._tag === "Advanced")
      const { first: promoted, second } = yield* beside(
        (inside) => on.store.promote(on.version(2), inside),
        on.advance(first.lease, 30)
      )
      assert.ok(Option.isSome(succeeded(promoted)))
      tells(succeeded(second), false)
    }
  ),

  withFresh(
    "a version is not promoted if it is unknown, or a partition is stopped",
    function*({ key, register, ...on }) {
      yield* register()
      yield* register({ version: 3 })
      assert.equal(yield* failureOf(on.store.promote(on.version(2), mustNotRun)), "SubscriptionMismatch: Unknown")
      yield* on.store.stop(yield* on.take(), { position: Option.some(at(11)), reason: "planned", time: 0 })
      assert.ok(Option.isNone(yield* on.store.promote(on.version(3), mustNotRun)))
      yield* on.store.resume(key)
      assert.ok(Option.isSome(yield* on.store.promote(on.version(3), Effect.void)))
    }
  ),

  withFresh("promote waits for a batch of the active version, and of the new one", function*({ key, register, ...on }) {
    yield* register()
    yield* register({ version: 2 })
    for (const each of [key, on.version(2)]) {
      const lease = yield* on.take("ada", { key: each })
      const { first, second } = yield* beside(
        (inside) => on.advance(lease, 20, () => inside),
        on.store.promote(on.version(2), Effect.void)
      )
      assert.equal(succeeded(first)._tag, "Advanced")
      assert.deepEqual(Option.isSome(succeeded(second)), each !== key)
    }
  }),

  withFresh("no version advances while one is promoted", function*({ key, register, ...on }) {
    yield* register()
    yield* register({ version: 2 })
    const lease = yield* on.take()
    let advanced = false
    const { first, second } = yield* beside(
      (inside) => on.store.promote(on.version(2), Effect.map(inside, () => advanced)),
      on.advance(lease, 20, () =>
        Effect.sync(() => {
          advanced = true
        }))
    )
    assert.deepEqual(succeeded(first), Option.some(false))
    assert.equal(succeeded(second)._tag, "Advanced")
    assert.deepEqual(yield* on.checkpoints(key), [20])
  }),

  withFresh("a version is removed with all of it, unless it is active or has an owner", function*({ key, ...on }) {
    const remove = (key: CheckpointStore.Key) => on.store.remove(key, { active: false })
    yield* on.register({ partitions: 2 })
    yield* on.register({ version: 2 })
    yield* on.store.park(on.version(2), [parkedEvent(1)])
    yield* on.store.attend(on.version(2), { owner: "ada", ttl })
    yield* on.store.park(key, [parkedEvent(1)])
    assert.equal(yield* failureOf(remove(key)), "SubscriptionMismatch: Active")
    const lease = yield* on.take("ada", { key: on.version(2) })
    assert.equal(yield* failureOf(remove(on.version(2))), "SubscriptionMismatch: Owned")
    yield* on.store.release(lease)
    // no partition has an owner, but the process that reports may take one at any time
    assert.equal(yield* failureOf(remove(on.version(2))), "SubscriptionMismatch: Owned")
    assert.equal((yield* on.versions).length, 2)
    yield* on.store.leave(on.version(2), "ada")
    assert.equal(yield* remove(on.version(2)), true)
    assert.equal(yield* remove(on.version(2)), false)
    assert.deepEqual((yield* on.versions).map(({ parked, version }) => ({ parked, version })), [{
      parked: 1,
      version: 1
    }])
    assert.equal(yield* failureOf(on.store.renew(lease, ttl)), "LeaseLost")
    yield* on.register({ version: 2 })
    const [, { members, parked, partitions }] = yield* on.versions
    assert.deepEqual({ members, parked, at: partitions.map(({ at }) => at) }, { members: 0, parked: 0, at: [10] })
  }),

  withFresh("the active version is removed if that is asked for, and another one can be promoted", function*(fresh) {
    const { key, register, store, version, versions } = fresh
    const remove = store.remove(key, { active: true })
    yield* register()
    yield* register({ version: 2 })
    const lease = yield* fresh.take()
    assert.equal(yield* failureOf(remove), "SubscriptionMismatch: Owned")
    yield* store.stop(lease, { position: Option.none(), reason: "planned", time: 0 })
    assert.equal(yield* remove, true)
    assert.deepEqual((yield* versions).map(({ active, version }) => [version, active]), [[2, false]])
    assert.equal(yield* failureOf(register()), "SubscriptionMismatch: OlderVersion")
    assert.ok(Option.isSome(yield* store.promote(version(2), Effect.void)))
    assert.deepEqual((yield* versions).map(({ active, version }) => [version, active]), [[2, true]])
    assert.equal(yield* store.remove(version(2), { active: true }), true)
    yield* register()
    assert.deepEqual((yield* versions).map(({ active, version }) => [version, active]), [[1, true]])
  })
]
