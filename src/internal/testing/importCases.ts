import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import * as assert from "node:assert/strict"
import type * as Event from "../../Event.js"
import type * as EventStore from "../../EventStore.js"
import * as ExpectedVersion from "../../ExpectedVersion.js"
import * as Position from "../../Position.js"
import * as StreamId from "../../StreamId.js"
import {
  type Case,
  event,
  eventsOf,
  failureOf,
  type Fresh,
  plain,
  range,
  readAll,
  settledFeed,
  versions,
  withFresh
} from "./fresh.js"

type Store = Fresh["store"]

const importAll = (store: Store, events: ReadonlyArray<EventStore.ImportedEvent>, options?: EventStore.ImportOptions) =>
  readAll(store.import(Stream.fromIterable(events), options))

const counts = (progress: ReadonlyArray<EventStore.ImportProgress>) =>
  progress.map(({ imported, skipped }) => [imported, skipped])

/** A history over several streams, whose events come in no order of streams or of times. */
const history = (stream: Fresh["stream"], count: number): ReadonlyArray<EventStore.ImportedEvent> =>
  range(1, count).map((n) => ({
    stream: stream(["a", "b", "a b", "__proto__"][n * n % 4]),
    type: n % 2 === 0 ? "Even" : "Odd",
    payload: { n, text: "\u0000\"ä😀" },
    ...(n % 3 === 0 ? {} : { time: DateTime.unsafeMake((n * 7919 % 100) * 1_000 - 1) }),
    ...(n % 5 === 0 ? { metadata: { n } } : {})
  }))

const feedOf = ({ store, stream }: Pick<Fresh, "store" | "stream">, count: number) =>
  settledFeed(store.readAll({ aggregates: [stream("a").aggregate] }), count)

const contentOf = ({ payload, stream, type }: Event.RecordedEvent | EventStore.ImportedEvent) => ({
  payload,
  stream: { ...stream },
  type
})

const stored: ReadonlyArray<Case<EventStore.EventStore>> = [
  withFresh("an imported history is read back whole, in the order given", function*({ read, store, stream }) {
    const events = history(stream, 23)
    const progress = yield* importAll(store, events, { batchSize: 5 })
    assert.deepEqual(counts(progress), [[5, 0], [10, 0], [15, 0], [20, 0], [23, 0]])
    const feed = yield* feedOf({ store, stream }, 23)
    assert.deepEqual(feed.map(contentOf), events.map(contentOf))
    for (const [index, { metadata, time }] of events.entries()) {
      assert.deepEqual(feed[index].metadata, metadata ?? {})
      if (time !== undefined) assert.equal(feed[index].time.epochMillis, time.epochMillis)
    }
    for (const id of ["a", "b", "a b", "__proto__"]) {
      const own = yield* read(id)
      assert.deepEqual(versions(own), range(1, events.filter((event) => event.stream.id === id).length))
    }
    for (const [index, end] of [4, 9, 14, 19, 22].entries()) assert.equal(progress[index].position, feed[end].position)
    assert.deepEqual(yield* importAll(store, []), [])
  }),

  withFresh("an import that is run again stores nothing twice", function*({ store, stream }) {
    const events = history(stream, 20).map((event, index) => index < 10 ? event : { ...event, id: crypto.randomUUID() })
    const first = yield* importAll(store, events)
    const feed = yield* feedOf({ store, stream }, 20)
    for (const batchSize of [1, 3, 1_000]) {
      const again = yield* importAll(store, events, { batchSize })
      assert.deepEqual(again.at(-1), { imported: 0, skipped: 20, position: first[0].position })
    }
    assert.deepEqual((yield* feedOf({ store, stream }, 20)).map(plain), feed.map(plain))
    const more = [...events, { stream: stream("a"), type: "Odd", payload: 1 }]
    assert.deepEqual(counts(yield* importAll(store, more, { batchSize: 20 })), [[0, 20], [1, 20]])
    // a batch that is stored in part
    assert.deepEqual(counts(yield* importAll(store, [...more, ...history(stream, 2)])), [[2, 21]])
  }),

  withFresh("an import that breaks off keeps whole batches, and goes on from there", function*({ store, stream }) {
    const events = history(stream, 30)
    const broken = Stream.concat(Stream.fromIterable(events.slice(0, 17)), Stream.fail("broken" as const))
    assert.equal(yield* failureOf(Stream.runDrain(store.import(broken, { batchSize: 5 }))), "broken")
    assert.equal((yield* feedOf({ store, stream }, 17)).length, 17)
    // a bad event stores nothing of its batch
    const bad = events.map((event, index) => index === 23 ? { ...event, payload: undefined } : event)
    const failure = yield* failureOf(importAll(store, bad, { batchSize: 5 }))
    assert.equal(failure._tag === "EventStoreError" && failure.reason, "InvalidInput")
    assert.equal((yield* feedOf({ store, stream }, 20)).length, 20)
    // a reader that stops early
    yield* Stream.runDrain(Stream.take(store.import(Stream.fromIterable(events), { batchSize: 25 }), 1))
    assert.equal((yield* feedOf({ store, stream }, 25)).length, 25)
    const rest = yield* importAll(store, events, { batchSize: 5 })
    assert.deepEqual(rest.at(-1), { imported: 5, skipped: 25, position: rest.at(-1)?.position })
    assert.deepEqual((yield* feedOf({ store, stream }, 30)).map(contentOf), events.map(contentOf))
  }),

  withFresh("events with ids or versions continue a stream", function*({ append, read, store, stream }) {
    yield* append("a", eventsOf(2))
    const withIds = eventsOf(3).map((event) => ({ ...event, stream: stream("a") }))
    assert.deepEqual(counts(yield* importAll(store, withIds, { batchSize: 2 })), [[2, 0], [3, 0]])
    assert.deepEqual(counts(yield* importAll(store, withIds)), [[0, 3]])
    // one without an id follows the one before it
    const derived = { stream: stream("a"), type: "Derived", payload: 0 }
    assert.deepEqual(counts(yield* importAll(store, [...withIds, derived])), [[1, 3]])
    const withVersions = range(7, 9).map((version) => ({ ...derived, payload: version, version }))
    assert.deepEqual(counts(yield* importAll(store, withVersions)), [[3, 0]])
    assert.deepEqual(counts(yield* importAll(store, withVersions)), [[0, 3]])
    const { version } = yield* append("a", eventsOf(1), ExpectedVersion.exact(9))
    assert.equal(version, 10)
    assert.deepEqual(versions(yield* read("a")), range(1, 10))
    // an id, then a version
    const [eleventh, other] = eventsOf(2).map((event) => ({ ...event, stream: stream("a") }))
    const mixed = [eleventh, { ...derived, version: 12 }, derived]
    for (const [batchSize, expected] of [[3, [3, 0]], [1, [0, 3]], [2, [0, 3]], [3, [0, 3]]] as const) {
      assert.deepEqual(counts(yield* importAll(store, mixed, { batchSize })).at(-1), expected)
    }
    for (
      const [first, at] of [[eleventh, 13], [other, 16], [{ ...other, stream: stream("new") }, 3]] as const
    ) {
      const wrong = [first, { ...derived, stream: first.stream, version: at }]
      const failure = yield* failureOf(importAll(store, wrong))
      assert.equal(failure._tag === "EventStoreError" && failure.reason, "InvalidInput")
      assert.ok(failure.message.includes(`its version is ${at}, and the next one of its stream is ${at - 1}`))
    }
    assert.deepEqual([yield* store.version(stream("a")), yield* store.version(stream("new"))], [13, 0])
  }),

  withFresh("a batch of several thousand events and streams", function*({ store, stream }) {
    const events = range(1, 2_500).map((n) => ({ stream: stream(`s${n * n % 1_009}`), type: "E", payload: n }))
    assert.deepEqual(counts(yield* importAll(store, events, { batchSize: 2_000 })), [[2_000, 0], [2_500, 0]])
    assert.deepEqual(counts(yield* importAll(store, events, { batchSize: 2_000 })), [[0, 2_000], [0, 2_500]])
    assert.equal(yield* store.version(stream("s1")), events.filter((event) => event.stream.id === "s1").length)
  })
]

const refused: ReadonlyArray<Case<EventStore.EventStore>> = [
  withFresh("a stream with other events is a conflict, and its batch is not stored", function*(fresh) {
    const { append, store, stream } = fresh
    const { position } = yield* append("a", eventsOf(2))
    const other = { stream: stream("other"), type: "E", payload: 1 }
    const at = (version: number, id?: string) => ({ ...other, stream: stream("a"), version, id })
    const twice = crypto.randomUUID()
    for (
      const [events, tag] of [
        // the stream has other events at this version, or does not reach up to it
        [[other, { ...other, stream: stream("a") }], "VersionConflict"],
        [[other, at(2)], "VersionConflict"],
        [[other, at(4)], "VersionConflict"],
        [[other, at(2, crypto.randomUUID())], "VersionConflict"],
        // the id stands elsewhere, or occurs twice
        [[at(3, twice), { ...other, id: twice }], "DuplicateEventId"]
      ] as const
    ) {
      const failure = yield* failureOf(importAll(store, events))
      assert.equal(failure._tag, tag)
      if (failure._tag === "VersionConflict") {
        assert.deepEqual({ ...failure.stream }, { ...stream("a") })
        assert.equal(failure.actual, 2)
      }
      assert.equal(yield* store.version(stream("other")), 0)
      assert.equal(yield* store.version(stream("a")), 2)
    }
    assert.ok(Option.isSome(position))
  }),

  withFresh("an id of another event is refused", function*({ append, store, stream }) {
    const [a, b] = eventsOf(2)
    yield* append("a", [a, b])
    const of = (id: string, proposed: Event.ProposedEvent, version?: number) => ({
      ...proposed,
      stream: stream(id),
      version
    })
    const elsewhere = StreamId.make(`${stream("a").aggregate}-other`, "a")
    for (
      const events of [
        [of("new", event(1)), of("b", a)],
        [of("new", event(1)), of("a", a, 3)],
        [of("new", event(1)), of("a", event(1)), of("a", b)],
        [of("new", event(1)), { ...a, stream: elsewhere }]
      ]
    ) {
      const failure = yield* failureOf(importAll(store, events))
      assert.equal(failure._tag, "DuplicateEventId")
      assert.equal(yield* store.version(stream("new")), 0)
    }
    assert.equal(yield* store.version(stream("a")), 2)
  }),

  withFresh("another history of the same streams is not taken for the first one", function*({ store, stream }) {
    const first = range(1, 4).map((n) => ({ stream: stream("a"), type: "E", payload: n, metadata: { n } }))
    yield* importAll(store, first)
    for (const change of [{ payload: 0 }, { type: "F" }, { metadata: {} }, { time: DateTime.unsafeMake(0) }]) {
      for (const changed of range(0, 3)) {
        const other = first.map((event, index) => index === changed ? { ...event, ...change } : event)
        const failure = yield* failureOf(importAll(store, other))
        assert.ok(failure._tag === "VersionConflict")
        assert.deepEqual([failure.expected, failure.actual], [ExpectedVersion.exact(changed), 4])
      }
    }
    assert.equal(yield* store.version(stream("a")), 4)
  }),

  withFresh(
    "a stream that changed before its import went on is a conflict",
    function*({ append, read, store, stream }) {
      const events = history(stream, 20)
      yield* Stream.runDrain(Stream.take(store.import(Stream.fromIterable(events), { batchSize: 10 }), 1))
      const before = yield* read("a")
      yield* append("a", eventsOf(2))
      for (const batchSize of [1, 10, 20]) {
        const failure = yield* failureOf(importAll(store, events, { batchSize }))
        assert.ok(failure._tag === "VersionConflict")
        assert.deepEqual(
          [{ ...failure.stream }, failure.expected, failure.actual],
          [{ ...stream("a") }, ExpectedVersion.exact(before.length), before.length + 2]
        )
      }
      assert.equal((yield* read("a")).length, before.length + 2)
    }
  ),

  withFresh("invalid input names its event, and nothing of its batch is stored", function*({ store, stream }) {
    const good = { stream: stream("a"), type: "E", payload: 1 }
    for (
      const bad of [
        { stream: stream("") },
        { stream: StreamId.make("x".repeat(256), "a") },
        { id: "" },
        { id: "\u0000" },
        { id: "x".repeat(256) },
        { type: "" },
        { payload: undefined },
        { payload: { at: NaN } },
        { metadata: { at: NaN } },
        { time: DateTime.unsafeMake(-8_640_000_000_000_000) },
        ...[0, -1, 1.5, NaN, Infinity, 2 ** 31, 1, 4].map((version) => ({ version }))
      ]
    ) {
      const failure = yield* failureOf(importAll(store, [good, good, { ...good, ...bad }, good]))
      assert.ok(failure._tag === "EventStoreError", JSON.stringify(bad))
      assert.equal(failure.operation, "import")
      assert.equal(failure.reason, "InvalidInput")
      assert.ok(failure.message.includes("event 3 of the import"), failure.message)
    }
    for (const batchSize of [0, -1, 1.5, NaN, Infinity]) {
      const failure = yield* failureOf(importAll(store, [good], { batchSize }))
      assert.equal(failure._tag === "EventStoreError" && failure.reason, "InvalidInput")
    }
    assert.equal(yield* store.version(stream("a")), 0)
  })
]

/** The cases of `EventStore.import`. */
export const cases: ReadonlyArray<Case<EventStore.EventStore>> = [...stored, ...refused]

/** Cases of a store whose events can be deleted. */
export const removed = <R>(
  remove: (stream: StreamId.StreamId, upTo: number) => Effect.Effect<void, unknown, R>
): ReadonlyArray<Case<EventStore.EventStore | R>> => [
  withFresh("a corrected history has other ids from its correction on", function*({ append, read, store, stream }) {
    const own = crypto.randomUUID()
    const imported = range(1, 6).map((n) => ({
      stream: stream("a"),
      type: "E",
      payload: n,
      ...(n === 3 ? { id: own } : {})
    }))
    const corrected = (n: number) =>
      imported.map((event, index) => index === n - 1 ? { ...event, payload: "other" } : event)
    const ids = (events: ReadonlyArray<EventStore.ImportedEvent>) =>
      Effect.gen(function*() {
        yield* importAll(store, events)
        const found = yield* read("a")
        yield* remove(stream("a"), found.length)
        return found.map(({ id }) => id)
      })
    const first = yield* ids(imported)
    assert.equal(new Set(first).size, 6)
    assert.equal(first[2], own)
    assert.deepEqual(yield* ids(imported), first)
    for (const n of range(1, 6)) {
      const other = yield* ids(corrected(n))
      // an event keeps the id that it brings
      assert.deepEqual(other.map((id, index) => id === first[index]), range(1, 6).map((m) => m < n || m === 3))
    }
    // a further import goes on from the event before it
    const rest = range(4, 6).map((version) => ({ ...imported[version - 1], version }))
    const continued = (before: ReadonlyArray<Event.ProposedEvent>) =>
      Effect.zipRight(append("a", before), Effect.zipRight(importAll(store, rest), ids(rest)))
    const before = eventsOf(3)
    const once = yield* continued(before)
    assert.deepEqual(yield* continued(before), once)
    const others = yield* continued(eventsOf(3))
    assert.deepEqual(others.map((id) => once.includes(id)), range(1, 6).map(() => false))
    // a command that is sent again gives its events the same ids, perhaps on another history, but not the same times
    const derived = "00000000-0000-8000-8000-000000000000".slice(0, -12) + crypto.randomUUID().slice(-12)
    const sentAt = (millis: number) => [...eventsOf(2), { ...event(1, derived), time: DateTime.unsafeMake(millis) }]
    const sent = yield* continued(sentAt(1))
    const again = yield* continued(sentAt(2))
    assert.deepEqual(again.map((id) => sent.includes(id)), range(1, 6).map((version) => version === 3))
    assert.deepEqual((yield* continued(sentAt(1))).slice(3), sent.slice(3))
  })
]

/** The cases of imports beside other writers. */
export const concurrent: ReadonlyArray<Case<EventStore.EventStore>> = [
  withFresh("imports of one history at the same time store it once", function*({ append, store, stream }) {
    const events = history(stream, 60)
    const results = yield* Effect.all(
      [
        ...[7, 10, 60].map((batchSize) => importAll(store, events, { batchSize })),
        ...range(1, 10).map(() => Effect.as(append("beside", eventsOf(1)), []))
      ],
      { concurrency: "unbounded" }
    )
    const last = results.flatMap((progress) => progress.slice(-1))
    assert.equal(last.reduce((sum, { imported }) => sum + imported, 0), 60)
    for (const { imported, position, skipped } of last) {
      assert.equal(imported + skipped, 60)
      assert.equal(position, last.map(({ position }) => position).reduce((a, b) => Position.Order(a, b) < 0 ? b : a))
    }
    const feed = yield* feedOf({ store, stream }, 70)
    const imported = feed.filter((event) => event.stream.id !== "beside")
    assert.equal(feed.length, 70)
    for (const id of new Set(imported.map(({ stream }) => stream.id))) {
      const own = imported.filter((event) => event.stream.id === id)
      assert.deepEqual(versions(own), range(1, own.length))
      assert.deepEqual(own.map(contentOf), events.filter((event) => event.stream.id === id).map(contentOf))
    }
  })
]
