import { assert, describe, it } from "@effect/vitest"
import { Effect, FastCheck as fc, Layer, Option, Ref, TestClock } from "effect"
import { CheckpointStore, Position, Projections, StreamId, Subscription } from "effect-eventsourcing"
import * as Changing from "../../src/internal/projection/changing.js"
import { Account } from "../fixtures/Account.js"
import { append, asProcess, memory, settle } from "./fixture.js"

const partition = (position: number, isHeld = false) => ({
  position: Position.fromParts(0, position),
  hold: isHeld ? Option.some(Position.fromParts(0, position)) : Option.none()
})

const ttl = 5_000

describe("a process that waits for another number of partitions", () => {
  it("holds the partitions as long as one of them moves", () => {
    let change = Changing.begin(0, ttl)
    for (let now = 0; now < 300_000; now += ttl) {
      const [isHolding, next] = Changing.look(change, [partition(1), partition(now)], now)
      assert.isTrue(isHolding, `${now}`)
      change = next
    }
  })

  it("leaves the hold to the owner of the first partition that has one, and looks less and less often", () => {
    const owned = (owners: ReadonlyArray<string | undefined>) => ({
      members: 2,
      wanted: 3,
      partitions: owners.map((owner, index) => ({
        index,
        of: owners.length,
        position: Position.start,
        handled: 0,
        owner: Option.fromNullable(owner),
        epoch: 1,
        stopped: Option.none(),
        hold: Option.none()
      }))
    })
    const drivers = (owners: ReadonlyArray<string | undefined>) =>
      ["a", "b"].filter((owner) => Changing.isDriver(owned(owners), owner))
    assert.deepStrictEqual(drivers(["b", "a"]), ["b"])
    assert.deepStrictEqual(drivers([undefined, "a", "b"]), ["a"])
    assert.deepStrictEqual(drivers([undefined, undefined]), ["a", "b"])
    let change = Changing.begin(0, ttl)
    const delays: Array<number> = []
    for (let now = 0; now < 8; now++) {
      delays.push(Changing.delay(change, ttl, 1))
      change = Changing.look(change, [partition(now)], now)[1]
    }
    assert.deepStrictEqual(delays, [20, 40, 80, 160, 250, 250, 250, 250])
    assert.isBelow(Changing.delay(change, 90, 1), 31)
    assert.isAbove(Changing.delay(change, 90, 0), 14)
  })

  it("leaves partitions that do not move alone for most of the time, and tries again for longer each time", () =>
    fc.assert(
      fc.property(fc.integer({ min: 600, max: 1_700 }), fc.integer({ min: 1, max: 4 }), (every, processes) => {
        const changes = Array.from({ length: processes }, (_, i) => Changing.begin(i * every, ttl))
        const still = [false, true].map((isHeld) => [partition(1), partition(2, isHeld)])
        let held = 0
        let until = 0
        const tries: Array<number> = []
        for (let now = 0; now < 3_600_000; now += every) {
          for (const [i, change] of changes.entries()) {
            if (now < i * every) continue
            const [isHolding, next] = Changing.look(change, still[now < until ? 1 : 0], now)
            if (isHolding) {
              if (now >= until) tries.push(0)
              until = now + ttl
            }
            changes[i] = next
          }
          if (now < until) {
            held += every
            tries[tries.length - 1] += every
          }
        }
        assert.isAbove(tries.length, 5)
        assert.isBelow(held, 3_600_000 / 3)
        assert.isAbove(tries[4], tries[0])
      }),
      { numRuns: 10 }
    ))
})

it.scoped("a partition whose event fails without end does not stop the others for a change of their number", () =>
  Effect.gen(function*() {
    const streams = Array.from({ length: 20 }, (_, i) => `account ${i}`)
    const partitionOf = (account: string) => StreamId.partition(StreamId.make("Account", account), 2)
    const [bad] = streams
    const other = streams.find((account) => partitionOf(account) !== partitionOf(bad))
    assert(other !== undefined)
    const isAway = yield* Ref.make(true)
    const handled = yield* Ref.make<ReadonlyArray<string>>([])
    const subscription = Subscription.make({
      name: "sums",
      on: [Account],
      from: "start",
      handle: ({ aggregateId, id }) =>
        Effect.flatMap(
          Ref.get(isAway),
          (isAway) => isAway && aggregateId === bad ? Effect.fail("away") : Ref.update(handled, (all) => [...all, id])
        )
    })
    const layer = (partitions: number) =>
      Subscription.layer(subscription, { partitions, lease: "1 second", isPassing: () => true })
    const pass = (seconds: number) =>
      Effect.forEach(
        Array.from({ length: seconds * 2 }),
        () => Effect.zipRight(settle, TestClock.adjust("500 millis")),
        { discard: true }
      )
    yield* append(bad, [1])
    yield* append(other, [1])
    yield* asProcess(Layer.build(layer(2)))
    yield* pass(2)
    yield* asProcess(Layer.build(layer(3)))
    yield* pass(8)
    yield* append(other, [2])
    yield* pass(12)
    assert.strictEqual((yield* Ref.get(handled)).length, 2)
    yield* Ref.set(isAway, false)
    yield* pass(24)
    assert.strictEqual((yield* Projections.status("sums"))[0].partitions.length, 3)
    assert.strictEqual(new Set(yield* Ref.get(handled)).size, 3)
    assert.strictEqual((yield* Ref.get(handled)).length, 3)
  }).pipe(Effect.provide(memory)))

it.scoped("a promotion that a failing partition keeps waiting leaves the other partitions alone meanwhile", () =>
  Effect.gen(function*() {
    const checkpoints = yield* CheckpointStore.CheckpointStore
    const holds = yield* Ref.make(0)
    const counting = CheckpointStore.CheckpointStore.of({
      ...checkpoints,
      // later holds of a try are for the time that is left of it
      hold: (keys, ttl) =>
        Effect.zipRight(Ref.update(holds, (n) => ttl === 5_000 ? n + 1 : n), checkpoints.hold(keys, ttl))
    })
    const of = { kind: "Projection", definition: "", partitions: 2 } as const
    yield* checkpoints.register({ ...of, name: "p", version: 1, from: Position.start })
    const owner = { owner: "a", ttl: 3_600_000 }
    const lease = yield* yield* checkpoints.acquire({ name: "p", version: 1 }, { ...owner, index: 0, of: 2 })
    const advanced = { to: Position.fromParts(0, 5), handled: 1, ttl: 3_600_000, streams: [] }
    yield* checkpoints.advance(lease, advanced, () => Effect.void)
    yield* checkpoints.register({ ...of, name: "p", version: 2, from: Position.fromParts(0, 5) })
    const promoting = yield* Effect.fork(
      Effect.flip(Projections.promote({ name: "p", version: 2 }, { timeout: "1 minute" })).pipe(
        Effect.provideService(CheckpointStore.CheckpointStore, counting)
      )
    )
    for (let i = 0; i < 65; i++) yield* Effect.zipRight(settle, TestClock.adjust("1 second"))
    assert.strictEqual((yield* promoting)._tag, "PromotionTimeout")
    assert.isBelow(yield* Ref.get(holds), 7)
    assert.isAbove(yield* Ref.get(holds), 2)
  }).pipe(Effect.provide(memory)))

it.effect("a name that no process has registered is reported without a version", () =>
  Effect.gen(function*() {
    const error = yield* Effect.flip(Projections.activeVersion("balanses"))
    assert(error._tag === "SubscriptionMismatch")
    assert.strictEqual(error.version, undefined)
    assert.strictEqual(
      error.message,
      "no version of \"balanses\" is registered: start its layer first, or correct the name"
    )
  }).pipe(Effect.provide(memory)))
