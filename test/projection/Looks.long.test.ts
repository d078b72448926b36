// How seldom the database is asked: by those who wait for a position, and by partitions that have nothing to do.
import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Fiber, Layer, Option, Ref, Schedule, TestClock } from "effect"
import { CheckpointStore, EventStore, Projection, Projections, Wakeup } from "effect-eventsourcing"
import { Account } from "../fixtures/Account.js"
import { amountOf, append, counting, memory, settle } from "./fixture.js"

const sums = Projection.make({ name: "sums", on: [Account], handle: () => Effect.void })

/** Counts the calls of `list`, with which `awaitPosition` asks the store. */
const countingLists = Effect.map(Effect.all([CheckpointStore.CheckpointStore, Ref.make(0)]), ([store, lists]) => ({
  lists,
  layer: Layer.succeed(CheckpointStore.CheckpointStore, {
    ...store,
    list: Effect.zipRight(Ref.update(lists, (count) => count + 1), store.list)
  })
}))

describe("awaitPosition", () => {
  it.scoped("asks the store for nothing while this process brings the active version there", () =>
    Effect.gen(function*() {
      const { layer, lists } = yield* countingLists
      yield* Effect.gen(function*() {
        yield* Layer.build(Projection.layer(sums, { partitions: 2 }))
        // each partition has advanced once
        yield* append("a", [1])
        yield* TestClock.adjust("1 second")
        yield* settle
        for (let i = 0; i < 5; i++) {
          const position = yield* append("a", [1])
          const waiting = yield* Effect.fork(Projections.awaitPosition("sums", position))
          yield* settle
          // without time: a ring of the partition woke it
          assert.isTrue(Option.exists(yield* Fiber.poll(waiting), Exit.isSuccess))
          yield* Projections.awaitPosition("sums", position)
        }
        assert.strictEqual(yield* Ref.get(lists), 0)
      }).pipe(Effect.provide(layer))
    }).pipe(Effect.provide(memory)))

  it.scoped("does not trust a version of this process that is not the active one any more", () =>
    Effect.gen(function*() {
      const store = yield* CheckpointStore.CheckpointStore
      yield* Layer.build(Projection.layer(sums))
      const position = yield* append("a", [1])
      yield* Projections.awaitPosition("sums", position)
      // another process brings the next version to the same position, promotes it, and ends
      const next = { name: "sums", version: 2 }
      const [first] = yield* store.list
      yield* store.register({ ...next, kind: "Projection", definition: "Account", partitions: 1, from: position })
      assert.strictEqual(first.partitions[0].position, position)
      assert.isTrue(Option.isSome(yield* store.promote(next, Effect.void)))
      const later = yield* append("a", [1])
      yield* settle
      const former = (yield* store.list).find(({ version }) => version === 1)
      assert.strictEqual(former?.partitions[0].position, later)
      const waiting = yield* Effect.fork(Projections.awaitPosition("sums", later, { timeout: "1 second" }))
      yield* TestClock.adjust("2 seconds")
      const exit = yield* Fiber.await(waiting)
      assert.isTrue(Exit.isFailure(exit))
    }).pipe(Effect.provide(memory)))

  it.scoped("fails at once when the partition of this process stops before the position", () =>
    Effect.gen(function*() {
      const refusing = Projection.make({
        name: "sums",
        on: [Account],
        handle: (events) => events.some(({ event }) => amountOf({ event }) === 13) ? Effect.fail("no") : Effect.void
      })
      yield* Layer.build(Projection.layer(refusing, { retry: Schedule.stop }))
      yield* Projections.awaitPosition("sums", yield* append("a", [1]))
      const waiting = yield* Effect.fork(Effect.flip(Projections.awaitPosition("sums", yield* append("a", [13]))))
      yield* settle
      yield* TestClock.adjust("100 millis")
      assert.strictEqual((yield* Fiber.join(waiting))._tag, "ProjectionStopped")
    }).pipe(Effect.provide(memory)))
})

describe("partitions with nothing to do", () => {
  it.scoped("look at the end of the feed once for all of them, and see what other processes append", () =>
    Effect.gen(function*() {
      const store = yield* EventStore.EventStore
      const pages = yield* Ref.make(0)
      const { counts, projection } = yield* counting
      const counted = Layer.succeed(EventStore.EventStore, {
        ...store,
        readPage: (options) => Effect.zipRight(Ref.update(pages, (count) => count + 1), store.readPage(options))
      })
      yield* Layer.build(Projection.layer(projection, { partitions: 16, maxDelay: "1 second" })).pipe(
        // appends do not ring: they could be those of another process
        Effect.provide(Layer.merge(counted, Wakeup.layerPolling))
      )
      yield* append("a", [1])
      yield* TestClock.adjust("3 seconds")
      yield* Ref.set(pages, 0)
      yield* TestClock.adjust("10 seconds")
      const looks = yield* Ref.get(pages)
      assert.isTrue(looks >= 9 && looks <= 13, `${looks} looks in 10 seconds`)
      for (let account = 0; account < 5; account++) {
        yield* append(`account ${account}`, [1])
        yield* TestClock.adjust("1 second")
        yield* settle
        assert.strictEqual(Object.keys(yield* Ref.get(counts)).length, account + 2)
      }
      assert.isTrue(Object.values(yield* Ref.get(counts)).every((count) => count === 1))
    }).pipe(Effect.provide(memory)))
})
