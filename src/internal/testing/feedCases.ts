import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import * as Stream from "effect/Stream"
import * as assert from "node:assert/strict"
import * as Event from "../../Event.js"
import type * as EventStore from "../../EventStore.js"
import * as ExpectedVersion from "../../ExpectedVersion.js"
import * as Position from "../../Position.js"
import * as StreamId from "../../StreamId.js"
import { type Case, event, eventsOf, failureOf, type Fresh, range, readAll, withFresh } from "./fresh.js"
import { plain } from "./streamsCases.js"

type Store = EventStore.EventStore["Type"]

/** Reads pages up to the end, and checks what each one promises about the positions. */
export const walk = (store: Store, options: EventStore.ReadPageOptions) =>
  Effect.gen(function*() {
    const events: Array<Event.RecordedEvent | Event.UnreadableEvent> = []
    let after = options.after ?? Position.start
    for (;;) {
      const page = yield* store.readPage({ ...options, after })
      const positions = [after, ...page.events.map(({ position }) => position)]
      for (let i = 1; i < positions.length; i++) assert.equal(Position.Order(positions[i - 1], positions[i]), -1)
      const last = positions[positions.length - 1]
      assert.ok(page.events.length <= (options.limit ?? 1_000))
      assert.ok(Position.Order(page.settled, last) >= 0, "settled is before the last event")
      if (page.events.length === options.limit) assert.equal(page.settled, last)
      for (const event of page.events) events.push(event)
      assert.ok(page.atEnd || Position.Order(page.settled, after) > 0, "a page that is not the last one must move on")
      after = page.settled
      if (page.atEnd) return { events, settled: after }
    }
  })

/** Waits until an event is settled: other transactions of the server may hold the feed back for a moment. */
export const settles = (store: Store, position: Option.Option<Position.Position>) =>
  Effect.repeat(store.head, {
    until: (head) => Option.isSome(position) && Position.Order(head, position.value) >= 0,
    schedule: Schedule.spaced("20 millis").pipe(Schedule.upTo("20 seconds"))
  }).pipe(Effect.zipRight(store.head), Effect.withClock(Clock.make()))

const whole = { index: 0, of: 1 }

const typed = (type: string): Event.ProposedEvent => ({ ...event(type), type })

/** Whether an event passes the filters by aggregate and type. */
export const isWanted = (
  { aggregates, excludedTypes = [], types }: EventStore.FeedFilter,
  { stream, type }: { readonly stream: StreamId.StreamId; readonly type: string }
): boolean =>
  (aggregates?.includes(stream.aggregate) ?? true) &&
  (types?.includes(type) ?? true) &&
  !excludedTypes.some((excluded) => excluded.aggregate === stream.aggregate && excluded.types.includes(type))

export const idsOf = (events: ReadonlyArray<{ readonly id: string }>) => events.map(({ id }) => id)

/** Appends to three aggregates of its own, and gives all events in order, and the position before them. */
const mixed = ({ store, stream }: Fresh) =>
  Effect.gen(function*() {
    const before = yield* store.head
    const { aggregate } = stream("a")
    const aggregates = [aggregate, `${aggregate}-b`, `${aggregate}-c`]
    const types = ["x", "y", "z"].map((type) => `${type}-${aggregate}`)
    const appended: Array<{ readonly id: string; readonly stream: StreamId.StreamId; readonly type: string }> = []
    let position: Option.Option<Position.Position> = Option.none()
    for (let i = 0; i < 24; i++) {
      const stream = StreamId.make(aggregates[i % 5 % 3], `s${i % 4}`)
      const events = range(0, i % 3).map((n) => typed(types[(i + n) % 7 % 3]))
      position = (yield* store.append(stream, events, { expectedVersion: ExpectedVersion.any })).position
      for (const { id, type } of events) appended.push({ id, stream, type })
    }
    yield* settles(store, position)
    return { aggregates, appended, before, last: Option.getOrThrow(position), types }
  })

/** The cases of `EventStore.readPage` and `head`. */
export const cases: ReadonlyArray<Case<EventStore.EventStore>> = [
  withFresh("pages of any filter give each wanted event once, in order", function*(fresh) {
    const { store } = fresh
    const { aggregates, appended, before, last, types } = yield* mixed(fresh)
    const [a, b, c] = aggregates
    const absent = range(1, 30).map((n) => `${a}-absent-${n}`)
    const hostile = ["__proto__", "constructor", "'; --", "%", "\"", "\\", "null", "😀", "x".repeat(255)]
    const thousands = range(1, 5_000).map((n) => `absent-${n}`)
    const filters: ReadonlyArray<EventStore.FeedFilter> = [
      { aggregates: [a] },
      { aggregates: [c, b] },
      { aggregates: [b, b, a, b] },
      { aggregates: [...absent.slice(0, 7), b, c] },
      { aggregates: [...absent, b, c] },
      { aggregates, types: [types[0]] },
      { aggregates: [a, c], types: [types[1], types[2], types[1]] },
      { types: [types[2], "absent"] },
      { types },
      { aggregates: [a], excludedTypes: [{ aggregate: a, types: [types[0]] }] },
      { aggregates: [a], excludedTypes: [{ aggregate: a, types: [] }] },
      { aggregates: [a], excludedTypes: [{ aggregate: b, types }, { aggregate: "__proto__", types: hostile }] },
      { aggregates, excludedTypes: [{ aggregate: a, types }, { aggregate: b, types: [types[1], "absent"] }] },
      {
        aggregates: [a, c],
        types: [types[1], types[2]],
        excludedTypes: [{ aggregate: c, types: [types[2]] }, { aggregate: c, types: [types[0]] }]
      },
      { aggregates: [...absent, b, c], excludedTypes: [{ aggregate: b, types: [types[0], types[0]] }] },
      { aggregates: [a, b], excludedTypes: [{ aggregate: b, types: [...hostile, ...thousands, types[2]] }] }
    ]
    for (const filter of filters) {
      const wanted = appended.filter((event) => isWanted(filter, event))
      for (const limit of [2, 1_000]) {
        const { events, settled } = yield* walk(store, { ...filter, after: before, limit })
        assert.deepEqual(idsOf(events), idsOf(wanted))
        assert.ok(Position.Order(settled, last) >= 0)
      }
      const all = yield* readAll(store.readAll({ ...filter, after: before, pageSize: 4 }))
      assert.deepEqual(idsOf(all), idsOf(wanted))
    }
    for (const filter of [{}, { excludedTypes: [{ aggregate: a, types: [types[1]] }] }]) {
      const { events } = yield* walk(store, { ...filter, after: before, limit: 5 })
      assert.deepEqual(
        idsOf(events.filter(({ stream }) => aggregates.includes(stream.aggregate))),
        idsOf(appended.filter((event) => isWanted(filter, event)))
      )
    }
  }),

  withFresh("the events after a position are counted up to a limit, with the time of the first", function*(fresh) {
    const { store } = fresh
    const { before } = yield* mixed(fresh)
    const { events } = yield* walk(store, { after: before })
    for (const [i, after] of [before, ...events.map(({ position }) => position)].entries()) {
      for (const limit of [1, 7, undefined]) {
        const counted = yield* store.countAfter(after, { limit })
        assert.ok(counted.events >= Math.min(events.length - i, limit ?? events.length), `${counted.events} events`)
        assert.ok(limit === undefined || counted.events <= limit)
        const next = events.at(i)
        if (next !== undefined) {
          assert.deepEqual(counted.first, Event.isUnreadable(next) ? next.time : Option.some(next.time))
        }
      }
    }
    const head = yield* store.head
    for (const limit of [0, -1, NaN, 1.5]) {
      assert.equal((yield* failureOf(store.countAfter(head, { limit })))?._tag, "EventStoreError")
    }
  }),

  withFresh("each stream is in the partition that StreamId.partition gives", function*(fresh) {
    const { store } = fresh
    const { aggregates, appended, before, types } = yield* mixed(fresh)
    const filters: ReadonlyArray<EventStore.FeedFilter> = [
      { aggregates },
      { aggregates: [aggregates[1]] },
      { types: [types[0]] },
      { aggregates, types },
      { aggregates, excludedTypes: [{ aggregate: aggregates[0], types: types.slice(1) }] }
    ]
    for (const  of of[1, 2, 5]) {
      for (let index = 0; index < of; index++) {
        for (const filter of filters) {
          for (const limit of of === 2 ? [3, 1_000] : [1_000]) {
            const { events } = yield* walk(store, { ...filter, after: before, limit, partition: { index, of } })
            const wanted = appended.filter((event) =>
              StreamId.partition(event.stream, of) === index && isWanted(filter, event)
            )
            assert.deepEqual(idsOf(events), idsOf(wanted))
          }
        }
      }
    }
    const all = yield* walk(store, { after: before, partition: { index: 0, of: 1 } })
    assert.deepEqual(idsOf(all.events.filter(({ stream }) => aggregates.includes(stream.aggregate))), idsOf(appended))
  }),

  withFresh("a filter that matches nothing moves on to the end of the feed", function*({ append, store, stream }) {
    const before = yield* store.head
    const { position } = yield* append("a", eventsOf(3))
    const head = yield* settles(store, position)
    const { aggregate } = stream("a")
    for (
      const filter of [
        { aggregates: [] },
        { types: [] },
        { aggregates: [aggregate], types: [] },
        { aggregates: ["absent"] },
        { aggregates: ["absent", "__proto__"] },
        { types: ["absent", "'; --"] },
        { aggregates: [aggregate], excludedTypes: [{ aggregate, types: ["Happened"] }] },
        { aggregates: [aggregate], types: ["Happened"], excludedTypes: [{ aggregate, types: ["Happened"] }] },
        {
          aggregates: [aggregate],
          excludedTypes: [{ aggregate, types: ["Happened"] }],
          partition: { index: StreamId.partition(stream("a"), 2), of: 2 }
        },
        { aggregates: [aggregate], types: ["absent"] }
      ]
    ) {
      const { events, settled } = yield* walk(store, { ...filter, after: before })
      assert.deepEqual(events, [])
      assert.ok(Position.Order(settled, head) >= 0)
      const page = yield* store.readPage({ ...filter, after: settled })
      assert.ok(Position.Order(page.settled, settled) >= 0)
    }
  }),

  withFresh("a filter that matches few of many events finds them", function*({ append, store, stream }) {
    const before = yield* store.head
    const { aggregate } = stream("a")
    yield* append("a", eventsOf(1_200))
    const rare = typed(`rare-${aggregate}`)
    yield* append("b", [rare])
    yield* append("a", eventsOf(1_200))
    const again = typed(rare.type)
    const { position } = yield* append("c", [again])
    yield* settles(store, position)
    const types = { types: [rare.type] }
    const others = { aggregates: [aggregate], excludedTypes: [{ aggregate, types: ["Happened"] }] }
    for (const filter of [types, others, { ...types, aggregates: [aggregate] }, { ...types, partition: whole }]) {
      const { events } = yield* walk(store, { ...filter, after: before, limit: 10 })
      assert.deepEqual(idsOf(events), [rare.id, again.id])
    }
  }),

  withFresh("the events of a page are whole, and the head is the position of the last event", function*(fresh) {
    const { append, read, store, stream } = fresh
    const proposed = { ...event({ n: [1, null, "ä😀"] }), metadata: { correlationId: "c" } }
    const before = yield* store.head
    const { position } = yield* append("a", [proposed])
    const head = yield* settles(store, position)
    assert.ok(Position.Order(head, Option.getOrThrow(position)) >= 0)
    const [stored] = yield* read("a")
    const { aggregate } = stream("a")
    const of = 3
    const partition = { index: StreamId.partition(stream("a"), of), of }
    for (const filter of [{}, { types: [proposed.type] }, { partition }]) {
      const { events: [found] } = yield* store.readPage({ ...filter, aggregates: [aggregate], after: before })
      assert.ok(found !== undefined && !Event.isUnreadable(found))
      assert.deepEqual({ ...found, stream: { ...found.stream } }, { ...stored, stream: { ...stored.stream } })
    }
  }),

  withFresh("invalid input of readPage and readAll is a typed error", function*({ store }) {
    const partitions = [{ index: 0, of: 0 }, { index: 5, of: 4 }, { index: 4, of: 4 }, { index: -1, of: 4 }]
    const fractions = [{ index: 0.5, of: 4 }, { index: 0, of: 1.5 }, { index: NaN, of: 4 }, { index: 0, of: Infinity }]
    const keys = ["", "\u0000", "\uD800", "x".repeat(256)]
    const far = Position.fromParts(2n ** 63n, 1)
    const wrong: ReadonlyArray<EventStore.ReadPageOptions> = [
      ...[...partitions, ...fractions].map((partition) => ({ partition })),
      ...keys.flatMap((key) => [
        { aggregates: ["a", key] },
        { types: [key] },
        { excludedTypes: [{ aggregate: key, types: ["a"] }] },
        { excludedTypes: [{ aggregate: "a", types: ["a", key] }] }
      ]),
      ...[0, -1, 1.5, NaN, Infinity].map((limit) => ({ limit })),
      { after: far }
    ]
    for (const { limit, ...filter } of wrong) {
      const options = limit === undefined ? filter : { limit }
      for (
        const [operation, reading] of [
          ["readPage", Effect.asVoid(store.readPage(options))],
          [
            "readAll",
            Stream.runDrain(store.readAll({ ...filter, ...(limit === undefined ? {} : { pageSize: limit }) }))
          ]
        ] as const
      ) {
        const failure = yield* failureOf(reading)
        assert.ok(failure._tag === "EventStoreError", failure.message)
        assert.deepEqual([failure.operation, failure.reason], [operation, "InvalidInput"])
      }
    }
  })
]

export const concurrent: ReadonlyArray<Case<EventStore.EventStore>> = [
  withFresh("a reader of a type misses nothing while others write", function*(fresh) {
    yield* followed(fresh, { types: ["wanted"] })
  }),

  withFresh("a reader that leaves a type out misses nothing while others write", function*(fresh) {
    const { aggregate } = fresh.stream("a")
    const excluded = [aggregate, `${aggregate}-other`].map((aggregate) => ({ aggregate, types: ["unwanted"] }))
    yield* followed(fresh, { excludedTypes: excluded })
  })
]

/** Follows the feed while others write: by aggregate, and by aggregate and another filter. */
const followed = ({ store, stream }: Fresh, filter: EventStore.FeedFilter) =>
  Effect.gen(function*() {
    const { aggregate } = stream("a")
    const total = 60
    const write = (writer: number) =>
      Effect.forEach(range(1, 20), (i) =>
        store.append(
          // most events are not for the reader, so that its checkpoint comes from them
          StreamId.make(i % 3 === 0 ? aggregate : `${aggregate}-other`, `s${writer % 4}`),
          [typed(i % 6 === 0 ? "wanted" : "unwanted")],
          { expectedVersion: ExpectedVersion.any }
        ), { discard: true })
    const before = yield* store.head
    const writing = yield* Effect.fork(Effect.forEach(range(1, 10), write, { concurrency: "unbounded", discard: true }))
    const seen = { aggregate: new Set<string>(), type: new Set<string>() }
    const checkpoints = { aggregate: before, type: before }
    const follow = (name: "aggregate" | "type", filter: EventStore.FeedFilter) =>
      Effect.map(
        Effect.suspend(() => store.readPage({ ...filter, after: checkpoints[name], limit: 7 })),
        ({ events, settled }) => {
          for (const { id } of events) {
            assert.ok(!seen[name].has(id), "an event was read twice")
            seen[name].add(id)
          }
          checkpoints[name] = settled
        }
      )
    const both = Effect.zipRight(
      follow("aggregate", { aggregates: [aggregate] }),
      follow("type", { aggregates: [aggregate, `${aggregate}-other`], ...filter })
    )
    yield* Effect.repeat(both, {
      until: () => seen.aggregate.size >= total && seen.type.size >= 30,
      schedule: Schedule.spaced("1 millis").pipe(Schedule.upTo("20 seconds"))
    }).pipe(Effect.withClock(Clock.make()))
    yield* Fiber.join(writing)
    assert.deepEqual([seen.aggregate.size, seen.type.size], [total, 30])
  })

/** Cases of a store that takes long events. Pages of them may end before their limits. */
export const long: ReadonlyArray<Case<EventStore.EventStore>> = [
  withFresh("pages of long events give each event once, in order", function*({ append, store, stream }) {
    const before = yield* store.head
    const megabytes = (count: number) => ({ text: "x".repeat(count * 1_000_000) })
    const payloads = [1, 7, 0, 7, 0, 7, 0, 0].map(megabytes)
    const proposed = payloads.map((payload, n) => n === 1 ? { ...event({}), metadata: payload } : event(payload))
    let position: Option.Option<Position.Position> = Option.none()
    for (const event of proposed) position = (yield* append("a", [event])).position
    yield* settles(store, position)
    const { aggregate } = stream("a")
    const wanted = idsOf(proposed)
    for (const filter of [{}, { excludedTypes: [{ aggregate, types: ["absent"] }] }, { partition: whole }]) {
      const options = { ...filter, aggregates: [aggregate], after: before }
      const { events } = yield* walk(store, { ...options, limit: 1_000 })
      assert.deepEqual(idsOf(events), wanted)
      const read = yield* readAll(store.readAll({ ...options, pageSize: 1_000 }))
      assert.deepEqual(read.map(({ payload }) => payload), proposed.map(({ payload }) => payload))
    }
    for (const reverse of [false, true]) {
      const ordered = reverse ? wanted.toReversed() : wanted
      assert.deepEqual(idsOf(yield* readAll(store.read(stream("a"), { reverse }))), ordered)
      assert.deepEqual(idsOf(yield* store.readEvents(stream("a"), { reverse, limit: 1_000 })), ordered)
      assert.deepEqual(idsOf(yield* store.readEvents(stream("a"), { reverse, limit: 6 })), ordered.slice(0, 6))
    }
  })
]

/** Cases of a store whose first events of a stream can be deleted. */
export const removed = <R>(
  remove: (stream: StreamId.StreamId, upTo: number) => Effect.Effect<void, unknown, R>
): ReadonlyArray<Case<EventStore.EventStore | R>> => [
  withFresh("streams lists what is left of the streams", function*({ append, store, stream }) {
    for (const id of ["a", "b", "c"]) yield* append(id, eventsOf(3))
    yield* remove(stream("a"), 2)
    yield* remove(stream("b"), 3)
    const { aggregate } = stream("a")
    assert.deepEqual(plain(yield* store.streams({ aggregate })), [{ id: "a", version: 3 }, { id: "c", version: 3 }])
  }),

  withFresh("settled does not go back after the last events were removed", function*({ append, store, stream }) {
    const { position } = yield* append("a", eventsOf(3))
    yield* settles(store, position)
    const { aggregate } = stream("a")
    const { settled } = yield* walk(store, { aggregates: [aggregate] })
    yield* remove(stream("a"), 3)
    for (const filter of [{}, { aggregates: [aggregate] }, { aggregates: [] }, { types: ["Happened"] }]) {
      const page = yield* store.readPage({ ...filter, after: settled })
      assert.ok(Position.Order(page.settled, settled) >= 0)
    }
  })
]

/** Cases of a store whose payloads can be damaged. */
export const corrupted = <R>(
  corrupt: (stream: StreamId.StreamId, version: number) => Effect.Effect<void, unknown, R>
): ReadonlyArray<Case<EventStore.EventStore | R>> => [
  withFresh("an event that does not decode is a value in its page", function*({ append, store, stream }) {
    const proposed = eventsOf(3)
    const { position } = yield* append("a", proposed)
    yield* settles(store, position)
    const { aggregate } = stream("a")
    const sound = yield* walk(store, { aggregates: [aggregate] })
    yield* corrupt(stream("a"), 2)
    const partition = { index: StreamId.partition(stream("a"), 3), of: 3 }
    for (const filter of [{}, { types: ["Happened"] }, { partition }]) {
      for (const limit of [1, 10]) {
        const { events } = yield* walk(store, { ...filter, aggregates: [aggregate], limit })
        assert.deepEqual(events.map(Event.isUnreadable), [false, true, false])
        const [, bad] = events
        const [, before] = sound.events
        assert.ok(Event.isUnreadable(bad) && !Event.isUnreadable(before))
        assert.deepEqual(
          [bad.id, { ...bad.stream }, bad.version, bad.position, bad.type, bad.time],
          [before.id, { ...before.stream }, 2, before.position, before.type, Option.some(before.time)]
        )
        const { eventId, position, type, version } = bad.error
        assert.deepEqual([eventId, position, type, version], [before.id, before.position, before.type, 2])
        assert.deepEqual({ ...bad.error.stream }, { ...before.stream })
      }
    }
  })
]
