import { assert, describe, it } from "@effect/vitest"
import { Effect, Either, FastCheck as fc, Layer, TestClock } from "effect"
import { CheckpointStore, EventStore, Position, Projection, Projections, StreamId } from "effect-eventsourcing"
import { batches } from "../../src/internal/projection/batches.js"
import type { Item } from "../../src/internal/projection/definition.js"
import { Account } from "../fixtures/Account.js"
import { append, memory, settle } from "./fixture.js"

const broken = new EventStore.EventDecodeError({
  stream: StreamId.make("A", "a"),
  version: 1,
  type: "T",
  cause: new Error("broken")
})

const itemOf = (isSound: boolean, index: number): Item<number> => ({
  id: `e${index}`,
  position: Position.fromParts(0, index + 1),
  stream: "a",
  metadata: {},
  event: isSound ? Either.right(index) : Either.left(broken)
})

const page = fc.record({
  items: fc.array(fc.boolean(), { maxLength: 30 }).map((sound) => sound.map(itemOf)),
  size: fc.integer({ min: 1, max: 12 }),
  beyond: fc.nat(3)
})

describe("batches", () => {
  it("have all events once and in order, unreadable ones alone, and end where the page is settled", () => {
    fc.assert(fc.property(page, ({ beyond, items, size }) => {
      const settled = Position.fromParts(0, items.length + beyond)
      const found = batches(items, size, settled)
      const flat = found.flatMap(Either.match({ onLeft: ({ item }) => [item], onRight: ({ items }) => items }))
      assert.deepStrictEqual(flat, items)
      let before = Position.start
      for (const [index, batch] of found.entries()) {
        const to = Either.match(batch, { onLeft: ({ to }) => to, onRight: ({ to }) => to })
        // no checkpoint goes back, passes an event of a later batch, or stays behind its own
        assert.isAtMost(Position.Order(before, to), 0)
        const own = Either.match(batch, { onLeft: ({ item }) => [item], onRight: ({ items }) => items })
        const last = own.at(-1)
        if (last !== undefined) assert.isAtMost(Position.Order(last.position, to), 0)
        const next = found.slice(index + 1).flatMap((later) =>
          Either.match(later, {
            onLeft: ({ item }) => [item],
            onRight: ({ items }) => items
          })
        )[0]
        if (next !== undefined) assert.strictEqual(Position.Order(to, next.position), -1)
        before = to
        if (Either.isRight(batch)) {
          assert.isAtMost(batch.right.items.length, size)
          assert.isTrue(batch.right.items.every(({ event }) => Either.isRight(event)))
          assert.isTrue(batch.right.items.length > 0 || items.length === 0)
        } else assert.isTrue(Either.isLeft(batch.left.item.event))
      }
      assert.strictEqual(before, settled)
    }))
  })
})

describe("a batch on its way", () => {
  /** The sizes of the batches, if a call of the handler and the lock of the checkpoint take some time. */
  const sizes = (millis: { readonly handler: (size: number) => number; readonly lock: number }) =>
    Effect.gen(function*() {
      const found: Array<number> = []
      const projection = Projection.make({
        name: "all",
        on: [Account],
        handle: ({ length }) =>
          Effect.suspend(() => {
            found.push(length)
            return Effect.sleep(millis.handler(length))
          })
      })
      const last = yield* append("a", Array.from({ length: 300 }, () => 1))
      const store = yield* CheckpointStore.CheckpointStore
      yield* Layer.build(Projection.layer(projection, { pageSize: 64, lease: "1 minute" })).pipe(
        Effect.provideService(CheckpointStore.CheckpointStore, {
          ...store,
          advance: (...args) => Effect.delay(store.advance(...args), millis.lock)
        })
      )
      const position = Effect.map(Projections.status("all"), ([{ partitions: [{ position }] }]) => position)
      for (let n = 0; n < 100 && (yield* position) !== last; n++) {
        yield* settle
        yield* TestClock.adjust("1 second")
      }
      assert.strictEqual(yield* position, last, found.join(" "))
      return found
    }).pipe(Effect.scoped, Effect.provide(memory))

  it.effect("gets smaller until it takes a second at most, because an open transaction holds others back", () =>
    Effect.gen(function*() {
      // 40 milliseconds an event
      const found = yield* sizes({ handler: (size) => size * 40, lock: 0 })
      assert.strictEqual(found[0], 64)
      assert.isAtMost(found[1], 32)
      // a page that was read already keeps its batches
      assert.isTrue(found.slice(3).every((size) => size * 40 <= 1_000), found.join(" "))
      assert.strictEqual(found.reduce((sum, size) => sum + size), 300)
    }))

  it.effect("gets larger again when its events take less", () =>
    Effect.gen(function*() {
      let handled = 0
      const found = yield* sizes({
        handler: (size) => {
          handled += size
          return handled <= 130 ? size * 100 : 1
        },
        lock: 0
      })
      assert.isBelow(Math.min(...found.slice(0, -1)), 20)
      assert.isAbove(Math.max(...found.slice(found.indexOf(Math.min(...found)))), 30)
    }))

  it.effect("stays as it is where only its lock is waited for: a smaller one would wait as long", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual(yield* sizes({ handler: () => 1, lock: 3_000 }), [64, 64, 64, 64, 44])
    }))
})
