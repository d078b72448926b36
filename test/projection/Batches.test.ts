import { assert, describe, it } from "@effect/vitest"
import { Either, FastCheck as fc } from "effect"
import { EventStore, Position, StreamId } from "effect-eventsourcing"
import { batches } from "../../src/internal/projection/batches.js"
import type { Item } from "../../src/internal/projection/definition.js"

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
