import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as assert from "node:assert/strict"
import type * as CheckpointStore from "../../CheckpointStore.js"
import type { Case } from "./fresh.js"
import { at, type Fresh, parkedEvent, ttl, withFresh } from "./freshSubscription.js"

const names = ["", "\u0000", "\uD800", "x".repeat(256), "ä".repeat(128)]
const numbers = [NaN, -1, 1.5, Infinity, 2 ** 53]

// what a program without types may give
const untyped = <A>(value: unknown): A => JSON.parse("{}", () => value)

/** The cases of input that no store can keep, and of unusual input that each store keeps. */
export const cases: ReadonlyArray<Case<CheckpointStore.CheckpointStore>> = [
  withFresh("invalid input is a typed error", function*(fresh) {
    yield* fresh.register()
    const lease = yield* fresh.take()
    const before = yield* fresh.versions
    for (const [index, attempt] of [...ofEachKind(fresh, lease), ...alone(fresh, lease)].entries()) {
      const failure = yield* Effect.flip(attempt)
      assert.equal(failure._tag, "CheckpointStoreError", `attempt ${index}`)
      assert.equal(Reflect.get(failure, "reason"), "InvalidInput")
    }
    assert.deepEqual(yield* fresh.versions, before)
  }),

  withFresh("subscriptions with unusual names do not see each other", function*({ key, store }) {
    const unusual = [
      "a",
      "A",
      "a ",
      "ä",
      "a\u0308",
      "'; DROP TABLE x; --",
      "\"",
      "%",
      "_",
      "__proto__",
      "\n",
      ":to",
      "$1"
    ]
    const keys = unusual.map((suffix) => ({ name: `${key.name}${suffix}`, version: 1 }))
    for (const [index, each] of keys.entries()) {
      yield* store.register({
        ...each,
        kind: "Subscription",
        definition: each.name,
        partitions: 1,
        from: at(index)
      })
      const owner = `owner ${unusual[index]}`
      const lease = yield* Effect.flatten(store.acquire(each, { owner, ttl, index: 0, of: 1 }))
      yield* store.advance(
        lease,
        { to: at(100 + index), handled: 1, ttl, streams: [`s${each.name}`] },
        () => store.park(each, [parkedEvent(index, { eventId: each.name, stream: `s${each.name}` })])
      )
    }
    const found = (yield* store.list).filter(({ name }) => keys.some((each) => each.name === name))
    assert.deepEqual(found.map(({ name }) => name).sort(), keys.map(({ name }) => name).sort())
    for (const { name, partitions: [{ owner, position }] } of found) {
      const index = keys.findIndex((each) => each.name === name)
      assert.equal(position, at(100 + index))
      assert.equal(Option.getOrNull(owner), `owner ${unusual[index]}`)
      const stream = `s${name}`
      const [parked, ...others] = yield* store.parked(keys[index], { after: at(0), limit: 9, stream })
      if (index > 0) assert.deepEqual({ id: parked.eventId, stream: parked.stream }, { id: name, stream })
      assert.deepEqual(others, [])
    }
  }),

  withFresh("a subscription has as many partitions as it may", function*({ partitions, register, take }) {
    yield* register({ partitions: 1_024 })
    yield* take("ada", { index: 1_023, of: 1_024 })
    const found = yield* partitions
    assert.equal(found.length, 1_024)
    assert.deepEqual(found.map(({ index }) => index), Array.from({ length: 1_024 }, (_, index) => index))
  })
]

type Attempts = ReadonlyArray<Effect.Effect<unknown, { readonly _tag: string }>>

const mustNotRun = Effect.die("the effect must not run")

const notAPosition: CheckpointStore.Lease["position"] = untyped("7")

const onLease = (store: Fresh["store"], lease: CheckpointStore.Lease): Attempts => [
  store.renew(lease, ttl),
  store.release(lease),
  store.stop(lease, { position: Option.none(), reason: "", time: 0 }),
  store.advance(lease, { to: at(20), handled: 0, ttl, streams: [] }, () => mustNotRun)
]

const onKey = ({ register, store }: Fresh, lease: CheckpointStore.Lease, key: CheckpointStore.Key): Attempts => [
  store.attend(key, { owner: "ada", ttl }),
  store.leave(key, "ada"),
  store.acquire(key, { owner: "ada", ttl, index: 0, of: 1 }),
  store.resume(key),
  store.park(key, []),
  store.parked(key, { after: at(0), limit: 1 }),
  store.unpark(key, [], mustNotRun),
  store.hold([key], ttl),
  store.repartition(key),
  store.promote(key, mustNotRun),
  store.remove(key, { active: false }),
  register(key),
  ...onLease(store, { ...lease, ...key })
]

const advanceWith =
  ({ store }: Fresh, lease: CheckpointStore.Lease) => (changes: Partial<CheckpointStore.AdvanceOptions>) =>
    store.advance(lease, { to: at(20), handled: 0, ttl, streams: [], ...changes }, () => mustNotRun)

const ofEachKind = (fresh: Fresh, lease: CheckpointStore.Lease): Attempts => {
  const { key, register, store } = fresh
  const advance = advanceWith(fresh, lease)
  return [
    ...names.flatMap((name) => [
      ...onKey(fresh, lease, { ...key, name }),
      ...onLease(store, { ...lease, owner: name }),
      store.attend(key, { owner: name, ttl }),
      store.leave(key, name),
      store.acquire(key, { owner: name, ttl, index: 0, of: 1 })
    ]),
    ...[...numbers, 0, 2 ** 31].flatMap((number) => [
      ...onKey(fresh, lease, { ...key, version: number }),
      register({ partitions: number }),
      store.parked(key, { after: at(0), limit: number }),
      store.acquire(key, { owner: "ada", ttl, index: 0, of: number })
    ]),
    ...numbers.flatMap((number) => [
      ...onLease(store, { ...lease, epoch: number }),
      ...onLease(store, { ...lease, index: number }),
      advance({ handled: number }),
      store.park(key, [parkedEvent(1, { time: number === -1 ? NaN : number })]),
      store.stop(lease, { position: Option.none(), reason: "", time: number === -1 ? NaN : number })
    ]),
    ...[NaN, -1, 0, Infinity, 2 ** 31].flatMap((time) => [
      store.attend(key, { owner: "ada", ttl: time }),
      store.acquire(key, { owner: "ada", ttl: time, index: 0, of: 1 }),
      store.renew(lease, time),
      store.hold([key], time),
      advance({ ttl: time })
    ])
  ]
}

const alone = (fresh: Fresh, lease: CheckpointStore.Lease): Attempts => {
  const { key, register, store } = fresh
  const advance = advanceWith(fresh, lease)
  return [
    register({ partitions: 1_025 }),
    register({ kind: untyped("Reactor") }),
    register({ definition: "\u0000" }),
    register({ from: notAPosition }),
    ...onLease(store, { ...lease, position: notAPosition }),
    ...onLease(store, { ...lease, index: 1 }),
    advance({ to: notAPosition }),
    advance({ to: at(9) }),
    advance({ streams: [""] }),
    advance({ streams: ["x".repeat(2_301)] }),
    advance({ streams: untyped(undefined) }),
    store.parked(key, { after: notAPosition, limit: 1 }),
    store.parked(key, { after: at(1), limit: 1, stream: "\u0000" }),
    store.unpark(key, [notAPosition], mustNotRun),
    store.park(key, [parkedEvent(1, { position: notAPosition })]),
    store.park(key, [parkedEvent(1, { eventId: "" })]),
    store.park(key, [parkedEvent(1, { stream: "" })]),
    store.park(key, [parkedEvent(1, { kind: untyped("Reactor") })]),
    store.park(key, [parkedEvent(1, { reason: untyped(7) })]),
    store.park(key, untyped(undefined)),
    store.stop(lease, { position: Option.some(notAPosition), reason: "", time: 0 }),
    store.hold(untyped(undefined), ttl),
    store.attend(untyped(undefined), { owner: "ada", ttl }),
    store.attend(key, untyped(undefined)),
    store.renew(untyped(null), ttl)
  ]
}
