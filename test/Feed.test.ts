// what our own backends promise beyond the contract: how much a page looks at, and which positions are refused
import { assert, describe } from "@effect/vitest"
import { Clock, Effect, Option, Schedule, Stream } from "effect"
import { EventStore, ExpectedVersion, Position, StreamId } from "effect-eventsourcing"
import { backends, on } from "./utils/backends.js"
import { everything } from "./utils/mode.js"

const each = on(backends)

const append = (aggregate: string, count: number, type = "Noted") =>
  Effect.flatMap(EventStore.EventStore, (store) =>
    store.append(
      StreamId.make(aggregate, "a"),
      Array.from({ length: count }, () => ({ id: crypto.randomUUID(), type, payload: {} })),
      { expectedVersion: ExpectedVersion.any }
    ).pipe(
      Effect.flatMap(({ position }) => position),
      Effect.tap((position) =>
        // transactions of other tests may hold the feed back for a moment
        Effect.repeat(store.head, {
          until: (head) => Position.Order(head, position) >= 0,
          schedule: Schedule.spaced("20 millis").pipe(Schedule.upTo("20 seconds"))
        }).pipe(Effect.withClock(Clock.make()))
      )
    ))

describe("a page of the feed", () => {
  each(
    "looks at 2,000 events at most, or at its limit, at 10,000 by type, and hashes 1,000 streams",
    () =>
      Effect.gen(function*() {
        const store = yield* EventStore.EventStore
        for (const aggregate of ["Account", "Order"]) {
          for (let n = 0; n < 3; n++) yield* append(aggregate, 4_000)
        }
        const all = Array.from(yield* Stream.runCollect(store.readAll()), ({ position }) => position)
        assert.strictEqual(all.length, 24_000)
        const own = StreamId.partition(StreamId.make("Account", "a"), 2)
        const partition = { index: 1 - own, of: 2 }
        const absent = Array.from({ length: 20 }, (_, n) => `Absent${n}`)
        const excludedTypes = ["Account", "Order"].map((aggregate) => ({ aggregate, types: ["Noted"] }))
        for (
          const [filter, size] of [
            [{ types: ["absent"] }, 10_000],
            [{ types: ["absent"], limit: 20_000 }, 10_000],
            [{ types: ["absent"], aggregates: ["Account"] }, 10_000],
            [{ types: ["absent"], aggregates: ["Account", "Order"] }, 5_000],
            [{ aggregates: ["Account"], excludedTypes }, 10_000],
            [{ excludedTypes }, 10_000],
            [{ partition, aggregates: ["Account"] }, 1_000],
            [{ partition, aggregates: ["Account"], limit: 2_400 }, 1_000],
            [{ partition, types: ["Noted"], aggregates: ["Account"] }, 1_000],
            [{ partition, types: ["absent"] }, 10_000],
            [{ partition, excludedTypes }, 10_000],
            [{ partition: { index: 0, of: 1 }, types: ["absent"] }, 10_000],
            [{ aggregates: absent }, 2_000],
            [{ aggregates: absent, limit: 2_400 }, 2_400]
          ] as const
        ) {
          const page = yield* store.readPage({ limit: 10, ...filter })
          assert.deepStrictEqual(page.events, [], JSON.stringify(filter))
          assert.isFalse(page.atEnd)
          const looked = all.indexOf(page.settled) + 1
          // several searches share the events that are looked at
          const most = size === 5_000 ? 10_000 : size
          assert.isTrue(looked >= size && looked <= most, `${JSON.stringify(filter)}: ${looked}`)
        }
        for (const filter of [{}, { aggregates: ["Account"] }, { types: ["Noted"] }]) {
          const page = yield* store.readPage({ ...filter, limit: 1e9 })
          assert.deepStrictEqual([page.events.length, page.settled, page.atEnd], [4_000, all[3_999], false])
        }
        // a limit above that gives a page that is not full, and not the last one
        for (const filter of [{}, { types: ["Noted"] }, { aggregates: ["Account"] }]) {
          const wanted = { ...filter, partition: { index: own, of: 2 } }
          const page = yield* store.readPage({ ...wanted, limit: 3_000 })
          assert.deepStrictEqual([page.events.length, page.settled, page.atEnd], [1_000, all[999], false])
          const events = yield* Stream.runCollect(store.readAll({ ...wanted, pageSize: 3_000 }))
          assert.strictEqual(Array.from(events).filter(({ stream }) => stream.aggregate === "Account").length, 12_000)
        }
        // a full page ends with its last event, and a page that reaches the head knows it
        const [first, last] = [all[4], all[all.length - 1]]
        for (
          const filter of [{}, { aggregates: ["Account"] }, { types: ["Noted"] }, { partition: { index: 0, of: 1 } }]
        ) {
          const page = yield* store.readPage({ ...filter, limit: 5 })
          assert.deepStrictEqual([page.events.length, page.settled, page.atEnd], [5, first, false])
          const rest = yield* store.readPage({ ...filter, after: all[all.length - 3], limit: 5 })
          assert.deepStrictEqual([rest.settled, rest.atEnd], [last, true])
        }
      })
  )

  each("is refused after a position that the store cannot have given", () =>
    Effect.gen(function*() {
      const store = yield* EventStore.EventStore
      const refuses = (after: Position.Position) =>
        Effect.gen(function*() {
          for (
            const filter of [
              {},
              { aggregates: ["Account"] },
              { types: ["absent"] },
              { partition: { index: 0, of: 2 } },
              { aggregates: [] },
              { types: [] }
            ]
          ) {
            const failure = yield* Effect.flip(store.readPage({ ...filter, after }))
            assert.strictEqual(failure.reason, "InvalidInput")
            assert.include(failure.message, "EventStore.readPage: after is ahead of the store's head")
            const failed = yield* Effect.flip(Stream.runDrain(store.readAll({ ...filter, after })))
            assert.include(failed.message, "EventStore.readAll: after is ahead of the store's head")
          }
        })
      const far = Position.fromParts(10n ** 15n, 1)
      assert.strictEqual(yield* store.head, Position.start)
      assert.deepStrictEqual(yield* store.readPage(), { events: [], settled: Position.start, atEnd: true })
      yield* refuses(far)
      const last = yield* append("Account", 3)
      yield* refuses(far)
      const { sequence, transaction } = Position.toParts(last)
      if (transaction === "0") yield* refuses(Position.fromParts(0, BigInt(sequence) + 1n))
      assert.deepStrictEqual(yield* store.readPage({ after: last }), { events: [], settled: last, atEnd: true })
      assert.strictEqual(yield* store.head, last)
    }))
})

const sizeOf = (value: unknown) => JSON.stringify(value).length

describe("pages of long events", () => {
  on(everything ? backends : backends.slice(0, 1))("have 16 MB at most, or one event", () =>
    Effect.gen(function*() {
      const store = yield* EventStore.EventStore
      const stream = StreamId.make("Note", "a")
      const lengths = [...Array.from({ length: 30 }, () => 1e6), 20e6, 10, 9e6, 10, 8e6, 10]
      let last: Position.Position = Position.start
      for (const [n, length] of lengths.entries()) {
        const text = "x".repeat(length)
        const proposed = n % 2 === 0
          ? { payload: { text }, type: "Even" }
          : { payload: {}, metadata: { text }, type: "Odd" }
        const { position } = yield* store.append(stream, [{ id: `e${n}`, ...proposed }], {
          expectedVersion: ExpectedVersion.any
        })
        last = Option.getOrThrow(position)
      }
      yield* Effect.withClock(
        Effect.repeat(store.head, {
          until: (head) => Position.Order(head, last) >= 0,
          schedule: Schedule.spaced("20 millis").pipe(Schedule.upTo("20 seconds"))
        }),
        Clock.make()
      )
      for (
        const filter of [
          {},
          { aggregates: ["Note"] },
          { aggregates: ["Note"], excludedTypes: [{ aggregate: "Note", types: ["Odd"] }] },
          { partition: { index: StreamId.partition(stream, 2), of: 2 } }
        ]
      ) {
        const found: Array<string> = []
        let after: Position.Position = Position.start
        for (;;) {
          const page = yield* store.readPage({ ...filter, after, limit: 4_000 })
          const size = page.events.reduce((sum, event) => sum + sizeOf(event), 0)
          if (page.events.length > 1) assert.isAtMost(size, 16.1e6)
          for (const { id } of page.events) found.push(id)
          if (page.atEnd) break
          assert.strictEqual(Position.Order(page.settled, after), 1)
          after = page.settled
        }
        const wanted = lengths.flatMap((_, n) => "excludedTypes" in filter && n % 2 === 1 ? [] : [`e${n}`])
        assert.deepStrictEqual(found, wanted)
      }
      for (const reverse of [false, true]) {
        const pages = yield* Stream.runCollect(Stream.chunks(store.read(stream, { pageSize: 4_000, reverse })))
        const ids = Array.from(pages).flatMap((page) => Array.from(page, ({ id }) => id))
        assert.deepStrictEqual(reverse ? ids.toReversed() : ids, lengths.map((_, n) => `e${n}`))
        for (const page of pages) {
          if (page.length > 1) assert.isAtMost(Array.from(page).reduce((sum, event) => sum + sizeOf(event), 0), 16.1e6)
        }
      }
    }))
})
