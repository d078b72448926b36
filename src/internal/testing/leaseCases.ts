import type * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Option from "effect/Option"
import * as assert from "node:assert/strict"
import type * as CheckpointStore from "../../CheckpointStore.js"
import * as Position from "../../Position.js"
import type { Case } from "./fresh.js"
import { at, beside, failureOf, parkedEvent, ttl, withFresh } from "./freshSubscription.js"

type Store = CheckpointStore.CheckpointStore

/** The cases of `register`, `attend` and `leave`. */
export const registrations: ReadonlyArray<Case<Store>> = [
  withFresh("a registered subscription has free partitions where it begins", function*({ register, versions }) {
    yield* register({ partitions: 3 })
    const free = { of: 3, at: 10, handled: 0, owner: null, epoch: 0, stopped: null, hold: null }
    assert.deepEqual(yield* versions, [{
      version: 1,
      kind: "Projection",
      active: true,
      members: 0,
      parked: 0,
      partitions: [{ index: 0, ...free }, { index: 1, ...free }, { index: 2, ...free }]
    }])
  }),

  withFresh("the first version of a name is the active one", function*({ register, versions }) {
    yield* register({ version: 2, kind: "Subscription" })
    yield* register({ version: 5, kind: "Subscription", from: at(3) })
    const found = (yield* versions).map(({ active, kind, partitions, version }) => [
      version,
      active,
      kind,
      partitions.map(({ at }) => at)
    ])
    assert.deepEqual(found, [[2, true, "Subscription", [10]], [5, false, "Subscription", [3]]])
  }),

  withFresh("a version that is registered again keeps its checkpoints", function*({ move, register, take, versions }) {
    yield* register({ partitions: 2 })
    yield* move(yield* take("ada", { index: 1, of: 2 }), 20)
    const before = yield* versions
    yield* register({ partitions: 2, from: at(99) })
    assert.deepEqual(yield* versions, before)
  }),

  withFresh("a version with another definition or kind is a mismatch", function*({ register, versions }) {
    yield* register()
    yield* register({ version: 3 })
    const before = yield* versions
    const mismatch = (changes: Partial<CheckpointStore.Registration>) => failureOf(register(changes))
    assert.equal(yield* mismatch({ definition: "{}" }), "SubscriptionMismatch: OtherDefinition")
    assert.equal(yield* mismatch({ kind: "Subscription" }), "SubscriptionMismatch: OtherDefinition")
    assert.equal(yield* mismatch({ version: 4, kind: "Subscription" }), "SubscriptionMismatch: OtherDefinition")
    assert.equal(yield* mismatch({ version: 2 }), "SubscriptionMismatch: OlderVersion")
    assert.deepEqual(yield* versions, before)
    yield* register()
    yield* register({ version: 4, definition: "{}" })
  }),

  withFresh("another number of partitions is only noted", function*({ key, register, store }) {
    yield* register({ partitions: 2 })
    yield* register({ partitions: 3 })
    const { partitions, wanted } = yield* store.attend(key, { owner: "ada", ttl })
    assert.equal(wanted, 3)
    assert.equal(partitions.length, 2)
  }),

  withFresh("many processes register at once", function*({ register, versions }) {
    const all = Array.from({ length: 12 }, (_, index) => register({ version: 1 + index % 2, partitions: 4 }))
    const results = yield* Effect.forEach(all, Effect.either, { concurrency: "unbounded" })
    // the lower version is too late if the higher one was first
    assert.ok(
      results.every((result) =>
        Either.isRight(result) || (result.left._tag === "SubscriptionMismatch" && result.left.reason === "OlderVersion")
      )
    )
    const found = yield* versions
    assert.equal(found.filter(({ active }) => active).length, 1)
    for (const { partitions } of found) assert.deepEqual(partitions.map(({ index }) => index), [0, 1, 2, 3])
  }),

  withFresh("attend counts the processes, and leave keeps leases", function*({ key, register, store, take, versions }) {
    yield* register()
    const members = (owner: string) => Effect.map(store.attend(key, { owner, ttl }), ({ members }) => members)
    assert.equal(yield* members("ada"), 1)
    assert.equal(yield* members("ada"), 1)
    assert.equal(yield* members("bob"), 2)
    const lease = yield* take("ada")
    yield* store.leave(key, "ada")
    yield* store.leave(key, "ada")
    const { members: left, partitions } = yield* store.attend(key, { owner: "bob", ttl })
    assert.equal(left, 1)
    assert.deepEqual(partitions.map(({ owner }) => Option.getOrNull(owner)), ["ada"])
    assert.equal((yield* versions)[0].members, 1)
    assert.equal((yield* store.renew(lease, ttl)).epoch, lease.epoch)
  }),

  withFresh("an unknown subscription has no partitions", function*({ key, move, register, store, take, tryTake }) {
    yield* register({ version: 2 })
    const lease = { ...(yield* take("ada", { key: { ...key, version: 2 } })), version: 1 }
    const { members, partitions, wanted } = yield* store.attend(key, { owner: "ada", ttl })
    assert.deepEqual({ members, partitions, wanted }, { members: 0, partitions: [], wanted: 0 })
    assert.ok(Option.isNone(yield* tryTake("ada")))
    assert.equal(yield* failureOf(store.renew(lease, ttl)), "LeaseLost")
    assert.equal(yield* failureOf(move(lease, 20)), "LeaseLost")
    yield* store.release(lease)
    yield* store.leave(key, "ada")
    yield* store.park(key, [parkedEvent(1)])
    assert.deepEqual(yield* store.parked(key, { after: Position.start, limit: 1 }), [])
    assert.ok(Option.isNone(yield* store.unpark(key, [at(1)], Effect.die("it must not run"))))
    assert.ok(Option.isNone(yield* store.unpark(key, [], Effect.die("it must not run"))))
    assert.equal(yield* store.hold([key], ttl), Position.start)
    assert.equal(yield* store.resume(key), 0)
    assert.equal(yield* store.repartition(key), false)
    assert.equal(yield* store.remove(key, { active: true }), false)
    assert.equal(yield* failureOf(store.promote(key, Effect.die("it must not run"))), "SubscriptionMismatch: Unknown")
  })
]

/** The cases of leases. */
export const leases: ReadonlyArray<Case<Store>> = [
  withFresh("a partition has one owner, and each has a higher epoch", function*({ key, partitions, register, ...on }) {
    const { move, store, take, tryTake } = on
    yield* register()
    const first = yield* take("ada")
    assert.deepEqual({ ...first }, { ...key, index: 0, of: 1, owner: "ada", epoch: 1, position: at(10) })
    assert.ok(Option.isNone(yield* tryTake("bob")))
    assert.ok(Option.isNone(yield* tryTake("ada")))
    assert.equal((yield* partitions)[0].owner, "ada")
    yield* store.release(yield* move(first, 20))
    assert.deepEqual((yield* partitions).map(({ epoch, owner }) => ({ epoch, owner })), [{ epoch: 1, owner: null }])
    const second = yield* take("bob")
    assert.deepEqual({ ...second }, { ...first, owner: "bob", epoch: 2, position: at(20) })
  }),

  withFresh("a partition is taken by its index and the number of partitions", function*({ register, take, tryTake }) {
    yield* register({ partitions: 2 })
    assert.ok(Option.isNone(yield* tryTake("ada", { index: 0, of: 1 })))
    assert.ok(Option.isNone(yield* tryTake("ada", { index: 0, of: 3 })))
    assert.ok(Option.isNone(yield* tryTake("ada", { index: 2, of: 3 })))
    const [zero, one] = [yield* take("ada", { index: 0, of: 2 }), yield* take("bob", { index: 1, of: 2 })]
    assert.deepEqual([zero.index, one.index], [0, 1])
  }),

  withFresh("many processes take partitions at once, and each goes to one", function*({ partitions, register, ...on }) {
    const indices = [0, 1, 2, 3]
    yield* register({ partitions: indices.length })
    const owners = Array.from({ length: 16 }, (_, index) => `owner-${index}`)
    const taken = yield* Effect.forEach(
      owners.flatMap((owner) => indices.map((index) => ({ owner, index }))),
      ({ index, owner }) => on.tryTake(owner, { index, of: indices.length }),
      { concurrency: "unbounded" }
    )
    const leases = taken.flatMap(Option.toArray)
    assert.deepEqual(leases.map(({ index }) => index).sort(), indices)
    for (const { epoch, index, owner } of yield* partitions) {
      assert.equal(epoch, 1)
      assert.equal(leases.find((lease) => lease.index === index)?.owner, owner)
    }
  }),

  withFresh("renew gives the checkpoint", function*({ move, register, store, take }) {
    yield* register()
    const lease = yield* take()
    yield* move(lease, 20)
    assert.deepEqual({ ...(yield* store.renew(lease, ttl)) }, { ...lease, position: at(20) })
  }),

  withFresh("after a release the lease is lost, and a release of a lost lease does nothing", function*(fresh) {
    const { move, partitions, register, store, take } = fresh
    yield* register()
    const lost = yield* take("ada")
    yield* store.release(lost)
    assert.equal(yield* failureOf(store.renew(lost, ttl)), "LeaseLost")
    assert.equal(yield* failureOf(move(lost, 20)), "LeaseLost")
    yield* take("ada")
    yield* store.release(lost)
    const stopped = { position: Option.none(), reason: "it must not", time: 0 }
    assert.equal(yield* failureOf(store.stop(lost, stopped)), "LeaseLost")
    const [{ at, epoch, owner, stopped: reason }] = yield* partitions
    assert.deepEqual({ at, epoch, owner, reason }, { at: 10, epoch: 2, owner: "ada", reason: null })
  })
]

/** The cases in which the time of leases ends. */
export const expiring = <R>(
  expire: (key: CheckpointStore.Key) => Effect.Effect<void, unknown, R>
): ReadonlyArray<Case<Store | R>> => [...expiringReports(expire), ...expiringLeases(expire)]

const expiringReports = <R>(
  expire: (key: CheckpointStore.Key) => Effect.Effect<void, unknown, R>
): ReadonlyArray<Case<Store | R>> => [
  withFresh("a process that does not report is not counted", function*({ key, register, store, versions }) {
    yield* register()
    yield* store.attend(key, { owner: "ada", ttl })
    yield* store.attend(key, { owner: "bob", ttl })
    yield* expire(key)
    assert.equal((yield* versions)[0].members, 0)
    assert.equal((yield* store.attend(key, { owner: "ada", ttl })).members, 1)
    // a later registration forgets processes that are gone, and no others
    yield* register()
    assert.equal((yield* store.attend(key, { owner: "cleo", ttl })).members, 2)
    assert.equal((yield* store.attend(key, { owner: "bob", ttl })).members, 3)
  }),

  withFresh("a version is removed when its processes no longer report", function*({ key, register, store, take }) {
    yield* register()
    yield* store.attend(key, { owner: "ada", ttl })
    yield* take("ada")
    assert.equal(yield* failureOf(store.remove(key, { active: true })), "SubscriptionMismatch: Owned")
    yield* expire(key)
    assert.equal(yield* store.remove(key, { active: true }), true)
  })
]

const expiringLeases = <R>(
  expire: (key: CheckpointStore.Key) => Effect.Effect<void, unknown, R>
): ReadonlyArray<Case<Store | R>> => [
  withFresh("after its time a lease is free for another owner, who fences the first", function*({ key, ...on }) {
    yield* on.register()
    const first = yield* on.take("ada")
    yield* expire(key)
    assert.equal((yield* on.partitions)[0].owner, null)
    const second = yield* on.take("bob")
    assert.equal(second.epoch, 2)
    const stopped = { position: Option.none(), reason: "it must not", time: 0 }
    assert.equal(yield* failureOf(on.store.renew(first, ttl)), "LeaseLost")
    assert.equal(yield* failureOf(on.advance(first, 20, () => Effect.die("it must not run"))), "LeaseLost")
    assert.equal(yield* failureOf(on.store.stop(first, stopped)), "LeaseLost")
    yield* on.store.release(first)
    yield* on.move(second, 20)
    assert.equal((yield* on.partitions)[0].owner, "bob")
  }),

  withFresh("the same owner fences itself", function*({ key, ...on }) {
    yield* on.register()
    const first = yield* on.take("ada")
    yield* expire(key)
    const second = yield* on.take("ada")
    assert.equal(yield* failureOf(on.move(first, 20)), "LeaseLost")
    yield* on.move(second, 20)
  }),

  withFresh("a lease that ended is extended if there is no new owner", function*({ key, ...on }) {
    yield* on.register()
    const lease = yield* on.take("ada")
    yield* expire(key)
    yield* on.store.renew(lease, ttl)
    assert.ok(Option.isNone(yield* on.tryTake("bob")))
    yield* expire(key)
    yield* on.move(lease, 20)
    assert.ok(Option.isNone(yield* on.tryTake("bob")))
  }),

  withFresh("advance extends the lease after the effect", function*({ key, ...on }) {
    yield* on.register()
    const lease = yield* on.take("ada")
    // an effect that takes longer than the lease, for the database and for this process
    const { clock, skip } = yield* skipping
    yield* Effect.withClock(on.advance(lease, 20, () => Effect.zipRight(Effect.orDie(expire(key)), skip)), clock)
    assert.ok(Option.isNone(yield* on.tryTake("bob")))
  }),

  withFresh("a lease that ended within a batch is not taken before the batch ends", function*({ key, ...on }) {
    yield* on.register()
    const lease = yield* on.take("ada")
    yield* expire(key)
    const { first, second } = yield* beside((inside) => on.advance(lease, 20, () => inside), on.tryTake("bob"))
    assert.equal(first._tag, "Success")
    assert.ok(second._tag === "Success" && Option.isNone(second.value))
  }),

  withFresh("a hold ends by its time", function*({ key, ...on }) {
    yield* on.register()
    const lease = yield* on.take("ada")
    yield* on.store.hold([key], ttl)
    assert.equal((yield* on.advance(lease, 20))._tag, "Held")
    yield* expire(key)
    assert.equal((yield* on.partitions)[0].hold, null)
    assert.equal((yield* on.advance(lease, 20))._tag, "Advanced")
  })
]

/** A clock that skips a day when it is told to. */
const skipping = Effect.map(Effect.clock, (clock) => {
  let skipped = 0
  const skippingClock: Clock.Clock = {
    ...clock,
    sleep: (duration) => clock.sleep(duration),
    unsafeCurrentTimeMillis: () => clock.unsafeCurrentTimeMillis() + skipped,
    currentTimeMillis: Effect.map(clock.currentTimeMillis, (now) => now + skipped),
    unsafeCurrentTimeNanos: () => clock.unsafeCurrentTimeNanos() + BigInt(skipped) * 1_000_000n,
    currentTimeNanos: Effect.map(clock.currentTimeNanos, (now) => now + BigInt(skipped) * 1_000_000n)
  }
  return { clock: skippingClock, skip: Effect.sync(() => skipped = 86_400_000) }
})
