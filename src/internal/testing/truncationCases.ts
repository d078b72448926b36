import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import * as assert from "node:assert/strict"
import * as Event from "../../Event.js"
import type * as EventStore from "../../EventStore.js"
import * as ExpectedVersion from "../../ExpectedVersion.js"
import * as Position from "../../Position.js"
import * as StreamId from "../../StreamId.js"
import type * as Streams from "../../Streams.js"
import { type Case, event, eventsOf, failureOf, plain, range, settledFeed, versions } from "./fresh.js"
import { type FreshStreams, type Services, sumOf, withStreams } from "./freshStreams.js"

/** Appends events, and saves the snapshot of a version that gives the sum of their numbers. */
const filled = (
  { append, snapshots, stream }: FreshStreams,
  count: number,
  options: { readonly at?: number; readonly text?: string } = {}
) =>
  Effect.gen(function*() {
    const { at = count, text } = options
    const events = range(1, count).map((n) => event({ _tag: "Happened", n, ...(text === undefined ? {} : { text }) }))
    for (let start = 0; start < count; start += 1_000) {
      yield* append("a", events.slice(start, start + 1_000).map((event) => ({ ...event, metadata: { by: "x" } })))
    }
    const aggregate = sumOf(stream("a"))
    yield* snapshots.save({
      stream: stream("a"),
      version: at,
      eventId: events[at - 1].id,
      schemaVersion: aggregate.schemaVersion,
      fingerprint: aggregate.fingerprint,
      state: String(at * (at + 1) / 2),
      time: 1
    })
    return { aggregate, events }
  })

/** The cases of `Streams.truncate`. */
export const cases: ReadonlyArray<Case<Services>> = [
  withStreams("truncate, archive: all reads have the contents", function*(fresh) {
    const { append, read, store, stream, streams } = fresh
    const { aggregate, events } = yield* filled(fresh, 12, { at: 11 })
    yield* append("b", eventsOf(1))
    const before = (yield* read("a")).map(plain)
    const truncated = yield* Effect.provideService(
      streams.truncate(stream("a"), { aggregate, before: 9, events: "archive", metadata: { reason: "r" } }),
      Event.CurrentMetadata,
      { by: "y" }
    )
    const { position, time, version } = Option.getOrThrow(truncated.marker)
    assert.deepEqual([truncated.before, truncated.events, version], [9, 8, 13])
    const [marker] = (yield* read("a")).slice(12)
    assert.deepEqual([marker.type, marker.payload, marker.metadata], ["$truncated", { before: 9 }, {
      by: "y",
      reason: "r"
    }])
    assert.equal(marker.position, position)
    assert.equal(DateTime.toEpochMillis(marker.time), DateTime.toEpochMillis(time))
    for (const pageSize of [2, 3, 5, 100]) {
      assert.deepEqual((yield* read("a", { pageSize })).map(plain).slice(0, 12), before)
      const reversed = yield* read("a", { pageSize, reverse: true, toVersion: 12 })
      assert.deepEqual(reversed.map(plain).reverse(), before)
    }
    assert.deepEqual(
      (yield* store.readEvents(stream("a"), { fromVersion: 8, limit: 3 })).map(plain),
      before.slice(7, 10)
    )
    const feed = yield* settledFeed(store.readAll({ aggregates: [stream("a").aggregate] }), 14)
    assert.deepEqual(feed.map(plain).slice(0, 12), before)
    assert.equal((yield* store.find([events[0].id])).length, 1)
    const tail = yield* store.replay.readTail(stream("a"), { fromVersion: 1, limit: 20 })
    assert.deepEqual(tail.map(({ payload }) => JSON.parse(payload)), [...before.map(({ payload }) => payload), {
      before: 9
    }])
    // the ids count
    assert.equal((yield* append("a", events.slice(0, 3).map(withMetadata), ExpectedVersion.exact(0))).duplicate, true)
    assert.equal((yield* failureOf(append("a", [events[3]], ExpectedVersion.noStream)))._tag, "DuplicateEventId")
    assert.equal((yield* append("a", eventsOf(1), ExpectedVersion.exact(13))).version, 14)
  }),

  withStreams("truncate, remove: the contents are gone, and all readers are told", function*(fresh) {
    const { append, read, store, stream, streams } = fresh
    const { aggregate, events } = yield* filled(fresh, 6)
    const before = (yield* read("a")).map(plain)
    const { marker } = yield* streams.truncate(stream("a"), { aggregate, before: 5, events: "remove" })
    assert.deepEqual((yield* read("a", { fromVersion: 5, toVersion: 6 })).map(plain), before.slice(4))
    const isGap = (error: unknown, version: number) => {
      const { cause } = Object(error)
      assert.deepEqual([cause?._tag, cause?.expected, cause?.removed], ["HistoryGap", version, true])
    }
    isGap(yield* failureOf(read("a")), 1)
    isGap(yield* failureOf(read("a", { fromVersion: 3 })), 3)
    isGap(yield* failureOf(store.readEvents(stream("a"), { fromVersion: 4, limit: 2 })), 4)
    const tail = yield* store.replay.readTail(stream("a"), { fromVersion: 1, limit: 10 })
    assert.deepEqual(tail.map(({ payload }) => payload === ""), [...range(1, 7).map((version) => version < 5)])
    const { position } = Option.getOrThrow(marker)
    yield* settledFeed(store.readAll({ after: before[3].position, aggregates: [stream("a").aggregate] }), 3)
    const page = yield* store.readPage({ aggregates: [stream("a").aggregate] })
    assert.deepEqual(versions(page.events), range(1, 7))
    for (const found of page.events.slice(0, 4)) {
      assert.ok(Event.isUnreadable(found))
      isGap(found.error, found.version)
    }
    assert.ok(Position.Order(page.settled, position) >= 0)
    assert.equal((yield* append("a", events.slice(0, 3).map(withMetadata), ExpectedVersion.exact(0))).duplicate, true)
  }),

  withStreams("truncate gives the events to a sink before it removes them", function*(fresh) {
    const { read, store, stream, streams } = fresh
    const { aggregate } = yield* filled(fresh, 6)
    const before = (yield* read("a")).map(plain)
    const options = { aggregate, before: 4 }
    const failing = yield* failureOf(
      streams.truncate(stream("a"), { ...options, events: () => Effect.fail({ _tag: "Full" as const }) })
    )
    assert.deepEqual(failing, { _tag: "Full" })
    assert.deepEqual((yield* read("a")).map(plain).slice(0, 6), before)
    yield* streams.truncate(stream("a"), { ...options, before: 3, events: "archive" })
    const given: Array<Event.RecordedEvent> = []
    const truncated = yield* streams.truncate(stream("a"), {
      ...options,
      events: (events) => Stream.runForEach(events, (event) => Effect.sync(() => given.push(event)))
    })
    assert.equal(truncated.events, 3)
    assert.deepEqual(given.map(plain), before.slice(0, 3))
    const { left } = Option.getOrThrow(store.replay.life)
    assert.deepEqual(yield* left(stream("a"), 7), { kept: 3, archived: 0 })
  }),

  withStreams("a second truncation changes nothing, and remove drops what was archived", function*(fresh) {
    const { read, stream, streams } = fresh
    const { aggregate } = yield* filled(fresh, 6)
    const truncate = (before: number, events: "archive" | "remove", unverified = false) =>
      Effect.map(
        streams.truncate(stream("a"), { aggregate, before, events, unverified }),
        ({ events, marker }) => [events, Option.isSome(marker)]
      )
    assert.deepEqual(yield* truncate(4, "archive"), [3, true])
    for (const before of [4, 2, 3]) assert.deepEqual(yield* truncate(before, "archive"), [0, false])
    assert.deepEqual(yield* truncate(6, "archive"), [2, true])
    assert.deepEqual(yield* truncate(4, "remove"), [3, true])
    assert.deepEqual(yield* truncate(4, "remove"), [0, false])
    assert.deepEqual(yield* truncate(4, "archive"), [0, false])
    assert.deepEqual(versions(yield* read("a", { fromVersion: 4 })), range(4, 9))
    assert.equal((yield* failureOf(truncate(7, "archive")))._tag, "HistoryGap")
    assert.deepEqual(yield* truncate(7, "remove", true), [3, true])
    assert.deepEqual(versions(yield* read("a", { fromVersion: 7 })), range(7, 10))
  }),

  withStreams("contents that are long together come in several pages", function*(fresh) {
    const { read, store, stream, streams } = fresh
    const count = 10
    const { aggregate } = yield* filled(fresh, count, { text: "x".repeat(1_900_000) })
    yield* streams.truncate(stream("a"), { aggregate, before: count + 1, events: "archive" })
    const numbers = (events: ReadonlyArray<{ readonly payload: unknown }>) =>
      events.flatMap(({ payload }) => Reflect.get(Object(payload), "n") ?? [])
    assert.deepEqual(numbers(yield* read("a")), range(1, count))
    const first = yield* store.replay.readTail(stream("a"), { fromVersion: 1, limit: 100 })
    assert.equal(first.length, 9)
    const last = first[first.length - 1]
    assert.equal(last.continued, true)
    assert.ok(last.eventId !== null && last.time !== null)
    const next = yield* store.replay.readTail(stream("a"), { fromVersion: last.version, limit: 100 })
    assert.deepEqual([next[0].version, next[0].eventId], [last.version, last.eventId])
    assert.deepEqual(versions(next), [9, 10, 11])
    const { aggregate: name } = stream("a")
    yield* Effect.repeat(store.readPage({ aggregates: [name], types: ["$truncated"] }), {
      until: ({ events }) => events.length > 0
    })
    const pages: Array<EventStore.Page> = []
    for (let after: Position.Position | undefined = undefined;;) {
      const page: EventStore.Page = yield* store.readPage({ aggregates: [name], after })
      pages.push(page)
      if (page.atEnd) break
      after = page.settled
    }
    assert.deepEqual(versions(pages.flatMap(({ events }) => events)), range(1, count + 1))
    assert.ok(pages.length > 1 && pages[0].events.length < count)
  }),

  withStreams("invalid input of truncate is a typed error", function*(fresh) {
    const { append, end, read, stream, streams } = fresh
    const { aggregate } = yield* filled(fresh, 3)
    const events = "archive" as const
    const call = (...input: ReadonlyArray<unknown>) => Reflect.apply(streams.truncate, streams, input)
    const cyclic: Record<string, unknown> = {}
    cyclic.self = cyclic
    const inputs: ReadonlyArray<() => Effect.Effect<unknown, Streams.TruncateError>> = [
      ...["", "\u0000", "\uD800", "x".repeat(1_025)].map((id) => () =>
        streams.truncate(stream(id), { aggregate, before: 2, events })
      ),
      ...[0, 1, -1, 1.5, NaN, Infinity, 2_147_483_648].map((before) => () =>
        streams.truncate(stream("a"), { aggregate, before, events })
      ),
      ...[NaN, -1, 1.5].map((version) => () =>
        streams.truncate(stream("a"), {
          aggregate,
          before: 2,
          events,
          expectedVersion: ExpectedVersion.exact(version)
        })
      ),
      ...[{ n: NaN }, cyclic].map((metadata) => () =>
        streams.truncate(stream("a"), { aggregate, before: 2, events, metadata })
      ),
      () => streams.truncate(StreamId.make("other", "a"), { aggregate, before: 2, events }),
      // programs without types
      ...[
        ...[undefined, null, 1, {}],
        ...[{ before: 2, events }, { aggregate: { name: stream("a").aggregate }, before: 2, events }],
        ...[{ aggregate, before: "2", events }, { aggregate, before: 2 }, { aggregate, before: 2, events: "keep" }],
        ...[{ aggregate, before: 2, events, unverified: 1 }, { aggregate, before: 2, events, hard: true }]
      ].map((options) => () => call(stream("a"), options)),
      ...[undefined, null, 1, "a", {}].map((stream) => () => call(stream, { aggregate, before: 2, events }))
    ]
    for (const [index, input] of inputs.entries()) {
      const failure = yield* failureOf(Effect.suspend(input))
      assert.ok(failure._tag === "EventStoreError", `input ${index}: ${failure._tag}`)
      assert.deepEqual([failure.operation, failure.reason], ["truncate", "InvalidInput"], `input ${index}`)
    }
    const tagOf = (id: string, before: number, expectedVersion = ExpectedVersion.any) =>
      Effect.map(
        failureOf(streams.truncate(stream(id), { aggregate, before, events, expectedVersion })),
        ({ _tag }) => _tag
      )
    assert.equal(yield* tagOf("none", 2), "StreamNotFound")
    assert.equal(yield* tagOf("a", 5), "EventNotFound")
    assert.equal(yield* tagOf("a", 2_147_483_647), "EventNotFound")
    assert.equal(yield* tagOf("a", 2, ExpectedVersion.exact(2)), "VersionConflict")
    yield* append("gone", eventsOf(2))
    yield* end("gone")
    assert.equal(yield* tagOf("gone", 2), "StreamDeleted")
    assert.deepEqual(versions(yield* read("a")), [1, 2, 3])
    // above the head by one: all events are archived
    yield* streams.truncate(stream("a"), { aggregate, before: 4, events, expectedVersion: ExpectedVersion.exact(3) })
    assert.deepEqual(versions(yield* read("a")), [1, 2, 3, 4])
  })
]

const withMetadata = (event: Event.ProposedEvent): Event.ProposedEvent => ({ ...event, metadata: { by: "x" } })
