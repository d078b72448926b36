/**
 * Tests the promises of an event store, for authors of a backend.
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Fiber from "effect/Fiber"
import type * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import * as assert from "node:assert/strict"
import type * as Event from "../Event.js"
import type * as EventStore from "../EventStore.js"
import * as ExpectedVersion from "../ExpectedVersion.js"
import * as Feed from "../internal/testing/feedCases.js"
import * as Find from "../internal/testing/findCases.js"
import {
  event,
  eventsOf,
  failureOf,
  plain,
  range,
  readAll,
  settledFeed,
  versions,
  withFresh
} from "../internal/testing/fresh.js"
import * as Imports from "../internal/testing/importCases.js"
import * as Streams from "../internal/testing/streamsCases.js"
import * as Tenants from "../internal/testing/tenantCases.js"
import * as Times from "../internal/testing/timeCases.js"
import * as Position from "../Position.js"
import type * as Snapshot from "../Snapshot.js"
import * as SnapshotStore from "../SnapshotStore.js"
import * as StreamId from "../StreamId.js"
import * as Contract from "./Contract.js"

/**
 * Features that some backends do not have, and manipulations that some backends do not offer to a test. All are optional.
 *
 * @since 0.1.0
 * @category models
 */
export interface Capabilities<out R> {
  /** Whether appends may run concurrently. Default true. */
  readonly concurrentWriters?: boolean | undefined
  /** Whether one append may have tens of thousands of events. Default true. */
  readonly largeAppends?: boolean | undefined
  /** Whether one event may have several megabytes. Default true. */
  readonly largePayloads?: boolean | undefined
  /** Deletes the events of a stream up to a version, as an archive does. Without it those cases are left out. */
  readonly remove?: ((stream: StreamId.StreamId, upTo: number) => Effect.Effect<void, unknown, R>) | undefined
  /** Replaces the payload of an event by text that is not JSON, as a damaged disk does. Without it that case is left out. */
  readonly corrupt?: ((stream: StreamId.StreamId, version: number) => Effect.Effect<void, unknown, R>) | undefined
}

/**
 * Declares the contract as tests of the given runner.
 *
 * @example
 * ```ts skip-run
 * import { EventStore } from "effect-eventsourcing"
 * import { EventStoreContract } from "effect-eventsourcing/testing"
 * import { afterAll, describe, it } from "vitest"
 *
 * EventStoreContract.suite({ afterAll, describe, it }, "my store", EventStore.layerMemory)
 * ```
 *
 * @since 0.1.0
 * @category suites
 */
export const suite = <R = never>(
  runner: Contract.Runner,
  name: string,
  layer: Layer.Layer<EventStore.EventStore | R, unknown>,
  capabilities: Capabilities<R> = {}
): void => Contract.declare(runner, { name: `EventStore contract: ${name}`, layer, cases: cases(capabilities) })

/**
 * Gives the cases one by one, without those that need a missing capability.
 *
 * @example
 * ```ts skip-run
 * import { EventStoreContract } from "effect-eventsourcing/testing"
 *
 * const names = EventStoreContract.cases({ largePayloads: false }).map(({ name }) => name)
 * ```
 *
 * @since 0.1.0
 * @category suites
 */
export const cases = <R = never>(
  capabilities: Capabilities<R> = {}
): ReadonlyArray<Contract.Case<EventStore.EventStore | R>> => {
  const { concurrentWriters = true, corrupt, largeAppends = true, largePayloads = true, remove } = capabilities
  return [
    ...basic,
    ...Find.cases,
    ...Times.cases,
    ...Feed.cases,
    ...Tenants.cases,
    ...Streams.cases,
    ...Imports.cases,
    ...(concurrentWriters ? [...concurrent, ...Feed.concurrent, ...Imports.concurrent] : []),
    ...(largeAppends ? largeAppend : []),
    ...(largePayloads ? [...largePayload, ...Feed.long] : []),
    ...(remove === undefined ? [] : [...removed(remove), ...Feed.removed(remove), ...Imports.removed(remove)]),
    ...(corrupt === undefined ? [] : [...corrupted(corrupt), ...Feed.corrupted(corrupt)])
  ]
}

// -------------------------------------------------------------------------------------
// internal
// -------------------------------------------------------------------------------------

const expectations: ReadonlyArray<
  readonly [name: string, expected: ExpectedVersion.ExpectedVersion, accepts: (version: number) => boolean]
> = [
  ["any", ExpectedVersion.any, () => true],
  ["noStream", ExpectedVersion.noStream, (version) => version === 0],
  ["streamExists", ExpectedVersion.streamExists, (version) => version > 0],
  ["exact 0", ExpectedVersion.exact(0), (version) => version === 0],
  ["exact 1", ExpectedVersion.exact(1), (version) => version === 1],
  ["exact 3", ExpectedVersion.exact(3), (version) => version === 3],
  ["exact 4", ExpectedVersion.exact(4), (version) => version === 4]
]

const basic: ReadonlyArray<Contract.Case<EventStore.EventStore>> = [
  withFresh("a stream that was never written is empty, at version 0", function*({ read, store, stream }) {
    assert.equal(yield* store.version(stream("a")), 0)
    assert.deepEqual(yield* read("a"), [])
    assert.deepEqual(yield* store.replay.readTail(stream("a"), { fromVersion: 1, limit: 10 }), [])
  }),

  withFresh("appended events are read back, in order and whole", function*({ append, read, store, stream }) {
    const first: Event.ProposedEvent = {
      id: crypto.randomUUID(),
      type: "Opened",
      payload: { owner: "Ada", tags: ["a", null, 1.5, true], nested: { "": 0 } },
      metadata: { correlationId: "c-1", count: 2 }
    }
    const second = event([1, 2])
    const result = yield* append("a", [first, second], ExpectedVersion.noStream)
    assert.equal(result.version, 2)
    const found = yield* read("a")
    assert.deepEqual(
      found.map(({ id, metadata, payload, stream, type, version }) => ({
        id,
        metadata,
        payload,
        stream: { ...stream },
        type,
        version
      })),
      [
        { ...first, stream: { ...stream("a") }, version: 1 },
        { ...second, metadata: {}, stream: { ...stream("a") }, version: 2 }
      ]
    )
    const day = 24 * 60 * 60 * 1_000
    assert.ok(found.every(({ time }) => DateTime.isDateTime(time) && Math.abs(time.epochMillis - Date.now()) < day))
    assert.deepEqual(result.position, Option.some(found[1].position))
    assert.equal(yield* store.version(stream("a")), 2)
    // the feed gives the same events, whole
    const { aggregate } = stream("a")
    const feed = yield* settledFeed(store.readAll({ aggregates: [aggregate], pageSize: 1 }), 2)
    assert.deepEqual(feed.map(plain), found.map(plain))
    assert.equal(yield* store.replay.inTransaction, false)
  }),

  withFresh("event ids that differ by case only are different ids", function*({ append }) {
    const id = `id-${crypto.randomUUID()}`
    for (const [index, text] of [id, id.toUpperCase(), `${id} `].entries()) {
      const { version } = yield* append("a", [event(1, text)])
      assert.equal(version, index + 1)
    }
  }),

  withFresh("one read of snapshot and events gives the same as both stores", function*({ append, store, stream }) {
    const found = yield* Effect.serviceOption(SnapshotStore.SnapshotStore)
    const reader = Option.flatMap(found, store.replay.withSnapshots)
    if (Option.isNone(found) || Option.isNone(reader)) return
    const snapshots = found.value
    const events = eventsOf(6)
    const { time } = yield* append("a", events, ExpectedVersion.noStream)
    const at = Option.getOrThrow(time).epochMillis
    const snapshot = (schemaVersion: number, version: number, fingerprint: string): Snapshot.EncodedSnapshot => ({
      stream: stream("a"),
      version,
      eventId: events[version - 1].id,
      schemaVersion,
      fingerprint,
      state: `"${fingerprint}"`,
      time: version
    })
    const check = (
      options: { readonly schemaVersion: number; readonly fingerprint: string },
      expected: Snapshot.EncodedSnapshot | undefined,
      from: number
    ) =>
      Effect.gen(function*() {
        const all = { ...options, migratable: [{ schemaVersion: 2, fingerprint: "two" }], limit: 100 }
        const read = yield* reader.value.read(stream("a"), all)
        assert.deepEqual(Option.getOrUndefined(read.snapshot), expected)
        assert.deepEqual(read.snapshot, yield* snapshots.get(stream("a"), all))
        const tail = yield* store.replay.readTail(stream("a"), { fromVersion: from, limit: 100 })
        // the ids and times between the first and the last event may be missing
        const promised = (page: typeof tail) =>
          page.map((event, i) => i === 0 || i === page.length - 1 ? event : { ...event, eventId: null, time: null })
        assert.deepEqual(promised(read.events), promised(tail))
        const [first, last] = [read.events[0], read.events[read.events.length - 1]]
        assert.deepEqual([first.eventId, last.eventId], [events[from - 1].id, events[5].id])
        assert.deepEqual([first.time, last.time], [at, at])
      })
    yield* check({ schemaVersion: 3, fingerprint: "three" }, undefined, 1)
    yield* snapshots.save(snapshot(2, 2, "two"))
    yield* check({ schemaVersion: 3, fingerprint: "three" }, snapshot(2, 2, "two"), 2)
    yield* snapshots.save(snapshot(3, 4, "three"))
    yield* check({ schemaVersion: 3, fingerprint: "three" }, snapshot(3, 4, "three"), 4)
  }),

  withFresh("events are read back as new objects", function*({ append, read }) {
    const payload = { list: [1] }
    const metadata = { tags: ["x"] }
    const proposed: Event.ProposedEvent = { id: crypto.randomUUID(), type: "Happened", payload, metadata }
    yield* append("a", [proposed])
    payload.list.push(2)
    metadata.tags.push("y")
    const [once] = yield* read("a")
    assert.deepEqual(once.payload, { list: [1] })
    assert.deepEqual(once.metadata, { tags: ["x"] })
    const [twice] = yield* read("a")
    assert.notEqual(once.payload, twice.payload)
  }),

  ...[0, 1, 3].flatMap((version) =>
    expectations.map(([name, expected, accepts]) =>
      withFresh(`expecting ${name} of a stream at version ${version}`, function*({ append, read, store, stream }) {
        if (version > 0) yield* append("a", eventsOf(version), ExpectedVersion.noStream)
        const outcome = yield* Effect.either(append("a", [event("new")], expected))
        if (accepts(version)) {
          assert.equal(Either.isRight(outcome) && outcome.right.version, version + 1)
          assert.equal(yield* store.version(stream("a")), version + 1)
        } else {
          assert.ok(Either.isLeft(outcome) && outcome.left._tag === "VersionConflict", "expected a VersionConflict")
          assert.equal(outcome.left.actual, version)
          assert.deepEqual(outcome.left.expected, expected)
          assert.deepEqual({ ...outcome.left.stream }, { ...stream("a") })
          assert.deepEqual(versions(yield* read("a")), range(1, version))
        }
      })
    )
  ),

  withFresh("an append without events checks the expected version", function*({ append, store, stream }) {
    const nothing = yield* append("a", [], ExpectedVersion.noStream)
    assert.deepEqual(nothing, { version: 0, position: Option.none(), time: Option.none(), duplicate: false })
    yield* append("a", eventsOf(2))
    const conflict = yield* failureOf(append("a", [], ExpectedVersion.noStream))
    assert.equal(conflict._tag, "VersionConflict")
    assert.equal(yield* store.version(stream("a")), 2)
  }),

  withFresh("an append is all or nothing", function*({ append, read, store, stream }) {
    const taken = event("taken")
    yield* append("a", [taken])
    const failure = yield* failureOf(append("b", [event("new"), taken, event("newer")]))
    assert.equal(failure._tag, "DuplicateEventId")
    assert.equal(yield* store.version(stream("b")), 0)
    assert.deepEqual(yield* read("b"), [])
  }),

  withFresh("an append repeated with the same ids succeeds with the original versions", function*({ append, read }) {
    const before = eventsOf(2)
    const batch = eventsOf(3)
    const after = eventsOf(2)
    yield* append("a", before, ExpectedVersion.noStream)
    const original = yield* append("a", batch, ExpectedVersion.exact(2))
    yield* append("a", after, ExpectedVersion.exact(5))
    for (const expectedVersion of [ExpectedVersion.exact(2), ExpectedVersion.any, ExpectedVersion.streamExists]) {
      const repeated = yield* append("a", batch, expectedVersion)
      assert.deepEqual(repeated, { ...original, duplicate: true })
    }
    for (const expectedVersion of [ExpectedVersion.noStream, ExpectedVersion.any, ExpectedVersion.streamExists]) {
      const first = yield* append("a", before, expectedVersion)
      assert.equal(first.version, 2)
    }
    assert.deepEqual(versions(yield* read("a")), range(1, 7))
  }),

  withFresh("an append that overlaps in part is a conflict", function*({ append, read }) {
    const [a, b, c, d] = eventsOf(4)
    yield* append("a", [a, b], ExpectedVersion.noStream)
    for (
      const [events, expectedVersion] of [
        [[a, b, c], ExpectedVersion.noStream],
        [[a, c], ExpectedVersion.exact(0)],
        [[b, c], ExpectedVersion.any],
        [[a, c, b], ExpectedVersion.any],
        [[b, a], ExpectedVersion.any],
        [[a, d], ExpectedVersion.streamExists]
      ] as const
    ) {
      const failure = yield* failureOf(append("a", events, expectedVersion))
      assert.equal(failure._tag, "VersionConflict")
    }
    assert.deepEqual((yield* read("a")).map(({ id }) => id), [a.id, b.id])
  }),

  withFresh("an event id that belongs to another event is refused", function*({ append, store, stream }) {
    const [a, b] = eventsOf(2)
    yield* append("a", [a, b], ExpectedVersion.noStream)
    const attempts = [
      append("b", [a]),
      append("b", [a], ExpectedVersion.noStream),
      append("b", [a], ExpectedVersion.exact(7)),
      append("a", [a], ExpectedVersion.exact(2)),
      append("c", [event("x", "twice-" + a.id), event("y", "twice-" + a.id)])
    ]
    for (const attempt of attempts) assert.equal((yield* failureOf(attempt))._tag, "DuplicateEventId")
    assert.equal(yield* store.version(stream("a")), 2)
    assert.equal(yield* store.version(stream("b")), 0)
    assert.equal(yield* store.version(stream("c")), 0)
  }),

  withFresh("an event id of another aggregate with the same stream id is refused", function*({ store, stream }) {
    const batch = eventsOf(2)
    const here = stream("a")
    const there = StreamId.make(`${here.aggregate}-other`, here.id)
    yield* store.append(there, batch, { expectedVersion: ExpectedVersion.noStream })
    // a repeated append to this stream would find them at the same versions
    for (const expectedVersion of [ExpectedVersion.noStream, ExpectedVersion.any, ExpectedVersion.exact(0)]) {
      assert.equal((yield* failureOf(store.append(here, batch, { expectedVersion })))._tag, "DuplicateEventId")
    }
    assert.equal(yield* store.version(here), 0)
    assert.equal(yield* store.version(there), 2)
    assert.deepEqual(yield* readAll(store.read(here)), [])
  }),

  withFresh("event ids at other versions than the exact one are refused", function*({ append, read }) {
    const [a, b, c, d] = eventsOf(4)
    yield* append("a", [a, b, c], ExpectedVersion.noStream)
    for (
      const [events, version] of [
        // beyond the head
        [[a], 4],
        [[a, b, c], 5],
        [[c], 7],
        [[c, d], 4],
        [[d, a], 4],
        // at the head
        [[c, d], 3],
        // before it
        [[c], 0],
        [[c, a], 0],
        [[a, d], 1],
        [[a, b], 2]
      ] as const
    ) {
      const failure = yield* failureOf(append("a", events, ExpectedVersion.exact(version)))
      assert.equal(failure._tag, "DuplicateEventId", `${events.length} events at exact ${version}`)
    }
    const beyond = yield* failureOf(append("a", [d], ExpectedVersion.exact(5)))
    assert.equal(beyond._tag === "VersionConflict" && beyond.actual, 3)
    assert.deepEqual((yield* read("a")).map(({ id }) => id), [a.id, b.id, c.id])
  }),

  ...[1, 2, 3, 10, 1_000].map((pageSize) =>
    withFresh(`pages of ${pageSize} read the same as all at once`, function*({ append, read, store, stream }) {
      yield* append("a", eventsOf(10))
      assert.deepEqual(versions(yield* read("a", { pageSize })), range(1, 10))
      assert.deepEqual(versions(yield* read("a", { pageSize, fromVersion: 4 })), range(4, 10))
      assert.deepEqual(versions(yield* read("a", { pageSize, fromVersion: 4, toVersion: 7 })), range(4, 7))
      assert.deepEqual(versions(yield* read("a", { pageSize, fromVersion: 11 })), [])
      assert.deepEqual(versions(yield* read("a", { pageSize, toVersion: 0 })), [])
      const backwards = (options?: EventStore.ReadOptions) => read("a", { ...options, pageSize, reverse: true })
      assert.deepEqual(yield* backwards(), [...yield* read("a")].reverse())
      assert.deepEqual(versions(yield* backwards({ fromVersion: 4, toVersion: 7 })), [7, 6, 5, 4])
      assert.deepEqual(versions(yield* backwards({ fromVersion: 9, toVersion: 99 })), [10, 9])
      assert.deepEqual(yield* backwards({ fromVersion: 11 }), [])
      assert.deepEqual(yield* backwards({ fromVersion: 5, toVersion: 4 }), [])
      assert.deepEqual(yield* backwards({ toVersion: 0 }), [])
      const aggregate = stream("a").aggregate
      assert.deepEqual(
        versions(yield* settledFeed(store.readAll({ pageSize, aggregates: [aggregate] }), 10)),
        range(1, 10)
      )
    })
  ),

  ...[1, 2, 3, 10, 1_000].map((limit) =>
    withFresh(`readEvents gives the first ${limit} events of a range`, function*({ append, read, store, stream }) {
      yield* append("a", eventsOf(10))
      yield* append("b", eventsOf(1))
      const whole = yield* read("a")
      const found = (options?: EventStore.ReadRange) => store.readEvents(stream("a"), { ...options, limit })
      assert.deepEqual(yield* found(), whole.slice(0, limit))
      assert.deepEqual(yield* found({ fromVersion: 4 }), whole.slice(3).slice(0, limit))
      assert.deepEqual(yield* found({ fromVersion: 4, toVersion: 7 }), whole.slice(3, 7).slice(0, limit))
      assert.deepEqual(yield* found({ reverse: true }), [...whole].reverse().slice(0, limit))
      const inside = { fromVersion: 4, toVersion: 7, reverse: true }
      assert.deepEqual(yield* found(inside), [...whole.slice(3, 7)].reverse().slice(0, limit))
      for (const range of [{ fromVersion: 11 }, { fromVersion: 5, toVersion: 4 }, { toVersion: 0 }]) {
        assert.deepEqual(yield* found(range), [])
        assert.deepEqual(yield* found({ ...range, reverse: true }), [])
      }
      assert.deepEqual(yield* store.readEvents(stream("c"), { limit }), [])
    })
  ),

  withFresh("the tail has the events and ids that a replay needs", function*({ append, store, stream }) {
    const events = eventsOf(6)
    yield* append("a", events)
    yield* append("b", eventsOf(1))
    const tail = yield* store.replay.readTail(stream("a"), { fromVersion: 3, limit: 100 })
    assert.deepEqual(versions(tail), [3, 4, 5, 6])
    assert.deepEqual(tail.map(({ type }) => type), Array(4).fill("Happened"))
    assert.deepEqual(tail.map(({ payload }) => JSON.parse(payload)), [{ n: 3 }, { n: 4 }, { n: 5 }, { n: 6 }])
    assert.equal(tail[0].eventId, events[2].id)
    assert.equal(tail[3].eventId, events[5].id)
    const page = yield* store.replay.readTail(stream("a"), { fromVersion: 2, limit: 2 })
    assert.deepEqual(versions(page), [2, 3])
    assert.equal(page[0].eventId, events[1].id)
    assert.equal(page[1].eventId, events[2].id)
    const last = yield* store.replay.readTail(stream("a"), { fromVersion: 6, limit: 1 })
    assert.equal(last[0].eventId, events[5].id)
    assert.deepEqual(yield* store.replay.readTail(stream("a"), { fromVersion: 7, limit: 1 }), [])
  }),

  withFresh("streams with unusual names do not see each other", function*({ append, read, store, stream }) {
    const ids = [
      "a",
      "A",
      "a ",
      "ä",
      "a\u0308",
      "'; DROP TABLE x; --",
      "\"",
      "`",
      "%",
      "_",
      "__proto__",
      "constructor",
      "a/b",
      "\\",
      "😀",
      "\n",
      "0",
      "00",
      "1e3",
      "null",
      "x".repeat(1_024)
    ]
    for (const [index, id] of ids.entries()) yield* append(id, eventsOf(index + 1), ExpectedVersion.noStream)
    for (const [index, id] of ids.entries()) {
      assert.equal(yield* store.version(stream(id)), index + 1, `the version of ${JSON.stringify(id)}`)
      const found = yield* read(id)
      assert.ok(found.every((event) => event.stream.id === id))
    }
  }),

  withFresh("every JSON value survives", function*({ append, read, store, stream }) {
    let deep: unknown = "bottom"
    for (let i = 0; i < 500; i++) deep = i % 2 === 0 ? [deep] : { deep }
    const payloads: ReadonlyArray<unknown> = [
      null,
      [],
      {},
      "",
      0,
      -0,
      false,
      9007199254740993,
      Number.MAX_VALUE,
      Number.MIN_VALUE,
      "\u0000",
      "\uD800",
      "a\uDC00b",
      "😀",
      "\u2028",
      { "\u0000": "\u0000", "\uD800": 1, "": "" },
      JSON.parse("{\"__proto__\":{\"x\":1},\"constructor\":2}"),
      deep,
      [[[]], [null]],
      "x".repeat(1_000_000)
    ]
    yield* append("a", payloads.map((payload) => event(payload)))
    const found = yield* read("a")
    for (const [index, payload] of payloads.entries()) assert.deepStrictEqual(found[index].payload, payload)
    const tail = yield* store.replay.readTail(stream("a"), { fromVersion: 1, limit: 100 })
    for (const [index, payload] of payloads.entries()) {
      assert.deepStrictEqual(JSON.parse(tail[index].payload), payload)
    }
  }),

  withFresh("values that JSON cannot hold are refused with their path", function*({ append, store, stream }) {
    const cyclic: Record<string, unknown> = {}
    cyclic.self = cyclic
    const bad: ReadonlyArray<readonly [unknown, string]> = [
      [undefined, "$"],
      [{ a: [1, NaN] }, "$.a[1]"],
      [{ a: Infinity }, "$.a"],
      [[undefined], "$[0]"],
      [{ "b c": 1n }, "$[\"b c\"]"],
      [{ at: new Date(0) }, "$.at"],
      [new Map(), "$"],
      [() => 1, "$"],
      [{ s: Symbol("s") }, "$.s"],
      [cyclic, ""]
    ]
    for (const [payload, path] of bad) {
      const failure = yield* failureOf(append("a", [event("good"), event(payload)]))
      assert.equal(failure._tag, "EventStoreError")
      if (failure._tag !== "EventStoreError") return
      assert.equal(failure.reason, "InvalidInput")
      assert.equal(failure.mayHaveAppended, false)
      assert.ok(failure.message.includes(path), failure.message)
    }
    assert.equal(yield* store.version(stream("a")), 0)
  }),

  withFresh("invalid input is a typed error", function*({ append, store, stream }) {
    const expectedVersion = ExpectedVersion.any
    const attempts: ReadonlyArray<Effect.Effect<unknown, { readonly _tag: string }>> = [
      ...["", "\u0000", "a\u0000b", "\uD800", "x".repeat(1_025), "x".repeat(1_000_000)].flatMap((id) => [
        append(id, eventsOf(1), expectedVersion),
        store.version(stream(id)),
        Stream.runDrain(store.read(stream(id))),
        store.readEvents(stream(id), { limit: 1 }),
        store.replay.readTail(stream(id), { fromVersion: 1, limit: 1 })
      ]),
      store.version(StreamId.make("", "a")),
      store.version(StreamId.make("x".repeat(256), "a")),
      ...["", "\u0000", "\uD800", "x".repeat(256)].flatMap((bad) => [
        append("a", [event(1, bad)], expectedVersion),
        append("a", [{ ...event(1), type: bad }], expectedVersion)
      ]),
      append("a", [{ ...event(1), metadata: { bad: NaN } }], expectedVersion),
      ...[-1, 1.5, NaN, Infinity, 2 ** 53].map((version) => append("a", eventsOf(1), ExpectedVersion.exact(version))),
      ...[0, -1, 1.5, NaN, Infinity].flatMap((count) => [
        Stream.runDrain(store.read(stream("a"), { pageSize: count })),
        Stream.runDrain(store.read(stream("a"), { fromVersion: count })),
        store.readEvents(stream("a"), { limit: count }),
        store.readEvents(stream("a"), { fromVersion: count, limit: 1 }),
        Stream.runDrain(store.readAll({ pageSize: count })),
        store.replay.readTail(stream("a"), { fromVersion: 1, limit: count }),
        store.replay.readTail(stream("a"), { fromVersion: count, limit: 1 })
      ])
    ]
    for (const attempt of attempts) {
      const failure = yield* failureOf(attempt)
      assert.equal(failure._tag, "EventStoreError")
    }
    assert.equal(yield* store.version(stream("a")), 0)
  }),

  withFresh("positions grow over all streams, and reads begin after one", function*({ append, store, stream }) {
    const { aggregate } = stream("a")
    for (let i = 0; i < 5; i++) {
      yield* append("a", eventsOf(2))
      yield* append("b", eventsOf(1))
    }
    const all = yield* settledFeed(store.readAll({ aggregates: [aggregate], pageSize: 4 }), 15)
    assert.deepEqual(
      all.map(({ stream, version }) => `${stream.id}${version}`),
      range(0, 4).flatMap((i) => [`a${i * 2 + 1}`, `a${i * 2 + 2}`, `b${i + 1}`])
    )
    for (const [index, { position }] of all.entries()) {
      assert.ok(Schema.is(Position.Position)(position))
      if (index > 0) assert.equal(Position.Order(all[index - 1].position, position), -1)
      const rest = yield* readAll(store.readAll({ aggregates: [aggregate], after: position, pageSize: 3 }))
      assert.deepEqual(rest.map(({ id }) => id), all.slice(index + 1).map(({ id }) => id))
    }
    const unfiltered = yield* readAll(store.readAll({ after: all[0].position }))
    const own = unfiltered.filter(({ stream }) => stream.aggregate === aggregate)
    assert.deepEqual(own.map(({ id }) => id), all.slice(1).map(({ id }) => id))
  }),

  withFresh("a reader that stops early stops the reading", function*({ append, store, stream }) {
    yield* append("a", eventsOf(50))
    for (let i = 0; i < 30; i++) {
      const some = yield* readAll(Stream.take(store.read(stream("a"), { pageSize: 5 }), 3))
      assert.deepEqual(versions(some), [1, 2, 3])
    }
  })
]

const concurrent: ReadonlyArray<Contract.Case<EventStore.EventStore>> = [
  ...[2, 8, 32].map((writers) =>
    withFresh(`one of ${writers} writers at one expected version wins`, function*({ append, read }) {
      for (const version of [0, 1, 2]) {
        const outcomes = yield* Effect.forEach(
          range(1, writers),
          (writer) => Effect.either(append("a", [event({ writer })], ExpectedVersion.exact(version))),
          { concurrency: "unbounded" }
        )
        assert.equal(outcomes.filter(Either.isRight).length, 1)
        for (const outcome of outcomes) {
          if (Either.isRight(outcome)) continue
          assert.equal(outcome.left._tag, "VersionConflict")
          if (outcome.left._tag === "VersionConflict") assert.ok(outcome.left.actual > version)
        }
      }
      assert.deepEqual(versions(yield* read("a")), [1, 2, 3])
    })
  ),

  withFresh("a reader that follows writers sees every event once and in order", function*({ append, store, stream }) {
    const { aggregate } = stream("a")
    const total = 8 * 15
    const writing = yield* Effect.fork(Effect.forEach(
      range(1, 8),
      (writer) =>
        Effect.forEach(
          range(1, 15),
          (i) => append(`s${(writer + i) % 4}`, eventsOf(1)),
          {
            discard: true
          }
        ),
      { concurrency: "unbounded", discard: true }
    ))
    const seen: Array<Event.RecordedEvent> = []
    const follow = Effect.suspend(() =>
      readAll(store.readAll({ aggregates: [aggregate], after: seen.at(-1)?.position, pageSize: 7 }))
    ).pipe(Effect.tap((page) => {
      for (const event of page) seen.push(event)
    }))
    yield* Effect.repeat(follow, {
      until: () => seen.length >= total,
      schedule: Schedule.spaced("1 millis").pipe(Schedule.upTo("20 seconds"))
    }).pipe(Effect.withClock(Clock.make()))
    yield* Fiber.join(writing)
    yield* follow
    assert.equal(seen.length, total)
    assert.equal(new Set(seen.map(({ id }) => id)).size, total)
    for (const id of new Set(seen.map(({ stream }) => stream.id))) {
      const own = versions(seen.filter((event) => event.stream.id === id))
      assert.deepEqual(own, range(1, own.length))
    }
  }),

  withFresh("writers that expect any version succeed without a gap", function*({ append, read }) {
    const results = yield* Effect.forEach(range(1, 20), () => append("a", eventsOf(3)), { concurrency: "unbounded" })
    assert.deepEqual(results.map(({ version }) => version).sort((a, b) => a - b), range(1, 20).map((i) => i * 3))
    assert.deepEqual(versions(yield* read("a")), range(1, 60))
  })
]

const largeAppend: ReadonlyArray<Contract.Case<EventStore.EventStore>> = [
  withFresh("one append takes twenty thousand events", function*({ append, read }) {
    const count = 20_000
    const result = yield* append("a", eventsOf(count), ExpectedVersion.noStream)
    assert.equal(result.version, count)
    const found = yield* read("a")
    assert.deepEqual(versions(found), range(1, count))
    assert.ok(found.every(({ payload }, index) => JSON.stringify(payload) === `{"n":${index + 1}}`))
  })
]

const largePayload: ReadonlyArray<Contract.Case<EventStore.EventStore>> = [
  withFresh("five megabytes in one event survive", function*({ append, read }) {
    const text = "\u0000\uD800\"ä😀 ".repeat(5_000_000 / 10)
    yield* append("a", [event({ text })], ExpectedVersion.noStream)
    const [{ payload }] = yield* read("a")
    // not deepEqual, which would print it all
    assert.ok(JSON.stringify(payload) === JSON.stringify({ text }))
  })
]

const removed = <R>(
  remove: (stream: StreamId.StreamId, upTo: number) => Effect.Effect<void, unknown, R>
): ReadonlyArray<Contract.Case<EventStore.EventStore | R>> => [
  withFresh("a stream whose beginning was removed keeps its version", function*({ append, read, store, stream }) {
    yield* append("a", eventsOf(5), ExpectedVersion.noStream)
    yield* remove(stream("a"), 3)
    assert.equal(yield* store.version(stream("a")), 5)
    assert.deepEqual(versions(yield* read("a")), [4, 5])
    const conflict = yield* failureOf(append("a", eventsOf(1), ExpectedVersion.exact(2)))
    assert.equal(conflict._tag === "VersionConflict" && conflict.actual, 5)
    const { version } = yield* append("a", eventsOf(2), ExpectedVersion.exact(5))
    assert.equal(version, 7)
    assert.deepEqual(versions(yield* read("a")), [4, 5, 6, 7])
  }),

  withFresh("a position is not used again after the last event was removed", function*({ append, store, stream }) {
    const before = yield* append("a", eventsOf(3), ExpectedVersion.noStream)
    yield* remove(stream("a"), 3)
    assert.equal(yield* store.version(stream("a")), 0)
    const after = yield* append("a", eventsOf(1), ExpectedVersion.noStream)
    assert.equal(after.version, 1)
    assert.equal(Option.getOrder(Position.Order)(before.position, after.position), -1)
  })
]

const corrupted = <R>(
  corrupt: (stream: StreamId.StreamId, version: number) => Effect.Effect<void, unknown, R>
): ReadonlyArray<Contract.Case<EventStore.EventStore | R>> => [
  withFresh(
    "a stored event that is not JSON is a typed error and is not skipped",
    function*({ append, store, stream }) {
      yield* append("a", eventsOf(3), ExpectedVersion.noStream)
      const { aggregate } = stream("a")
      const [, bad] = yield* settledFeed(store.readAll({ aggregates: [aggregate] }), 3)
      yield* corrupt(stream("a"), 2)
      for (const pageSize of [1, 10]) {
        for (
          const reading of [store.read(stream("a"), { pageSize }), store.readAll({ aggregates: [aggregate], pageSize })]
        ) {
          const read: Array<number> = []
          const failure = yield* failureOf(
            Stream.runForEach(reading, ({ version }) => Effect.sync(() => read.push(version)))
          )
          assert.ok(failure._tag === "EventDecodeError", failure.message)
          assert.deepEqual([failure.version, failure.eventId, failure.position], [2, bad.id, bad.position])
          // the sound events before it are given, whatever page they are in
          assert.deepEqual(read, [1])
        }
      }
      const failure = yield* failureOf(store.readEvents(stream("a"), { limit: 10 }))
      assert.ok(failure._tag === "EventDecodeError", failure.message)
      assert.deepEqual([failure.version, failure.eventId, failure.position], [2, bad.id, bad.position])
      // the sound events can be read without it
      assert.deepEqual(versions(yield* store.readEvents(stream("a"), { limit: 1 })), [1])
      assert.deepEqual(versions(yield* store.readEvents(stream("a"), { fromVersion: 3, limit: 10 })), [3])
      assert.deepEqual(versions(yield* store.replay.readTail(stream("a"), { fromVersion: 1, limit: 5 })), [1, 2, 3])
    }
  )
]
