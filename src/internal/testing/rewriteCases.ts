import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as assert from "node:assert/strict"
import * as Event from "../../Event.js"
import * as ExpectedVersion from "../../ExpectedVersion.js"
import * as StreamId from "../../StreamId.js"
import type * as Streams from "../../Streams.js"
import { type Case, event, eventsOf, failureOf, settledFeed, versions } from "./fresh.js"
import { type Services, sumOf, withStreams } from "./freshStreams.js"

const plain = ({ marker, position, stream, time, version }: Streams.RewrittenEvent) => ({
  stream: { ...stream },
  version,
  marker,
  position,
  time: DateTime.toEpochMillis(time)
})

/** The cases of `Streams.rewrite`. */
export const cases: ReadonlyArray<Case<Services>> = [
  withStreams("rewrite replaces the payload of an event, and appends a marker", function*(fresh) {
    const { append, hasSnapshot, read, saveSnapshot, store, stream, streams } = fresh
    const aggregate = sumOf(stream("a"))
    const events = eventsOf(3)
    yield* append("a", events.map((event) => ({ ...event, metadata: { by: "x" } })))
    yield* append("b", eventsOf(1))
    yield* saveSnapshot("a", 2, events[1].id)
    yield* saveSnapshot("b", 1, "x")
    const before = yield* read("a")
    const rewritten = yield* Effect.provideService(
      streams.rewrite(stream("a"), 2, { _tag: "Happened", n: 20 }, { aggregate, metadata: { reason: "r" } }),
      Event.CurrentMetadata,
      { by: "y" }
    )
    const after = yield* read("a")
    const marker = after[3]
    assert.deepEqual(versions(after), [1, 2, 3, 4])
    assert.deepEqual([after[0], after[2]], [before[0], before[2]])
    const { metadata, payload, ...rest } = after[1]
    assert.deepEqual({ ...rest, metadata: { by: "x" }, payload: before[1].payload }, before[1])
    assert.deepEqual(payload, { _tag: "Happened", n: 20 })
    const { $rewritten, ...own } = metadata
    assert.deepEqual(own, { by: "x" })
    assert.ok(Array.isArray($rewritten) && $rewritten.length === 1)
    const [{ time, ...entry }] = $rewritten
    assert.deepEqual(entry, { marker: marker.id, by: "y", reason: "r" })
    assert.equal(typeof time, "string")
    assert.deepEqual([marker.type, marker.payload, marker.metadata], ["$rewritten", { version: 2 }, {
      by: "y",
      reason: "r"
    }])
    assert.deepEqual(plain(rewritten), {
      stream: { ...stream("a") },
      version: 2,
      marker: 4,
      position: marker.position,
      time: DateTime.toEpochMillis(marker.time)
    })
    assert.equal(yield* hasSnapshot("a"), false)
    assert.equal(yield* hasSnapshot("b"), true)
    const feed = yield* settledFeed(store.readAll({ aggregates: [stream("a").aggregate] }), 5)
    assert.deepEqual(feed.map(({ payload, stream, type }) => [stream.id, type, payload]), [
      ["a", "Happened", { n: 1 }],
      ["a", "Happened", { _tag: "Happened", n: 20 }],
      ["a", "Happened", { n: 3 }],
      ["b", "Happened", { n: 1 }],
      ["a", "$rewritten", { version: 2 }]
    ])
    // the marker is a version like any other
    assert.equal((yield* failureOf(append("a", eventsOf(1), ExpectedVersion.exact(3))))._tag, "VersionConflict")
    assert.equal((yield* append("a", eventsOf(1), ExpectedVersion.exact(4))).version, 5)
  }),

  withStreams("an event can be rewritten again, also at the same time", function*({ append, read, stream, streams }) {
    const aggregate = sumOf(stream("a"))
    yield* append("a", eventsOf(2))
    const rewrite = (n: number) => streams.rewrite(stream("a"), 1, { _tag: "Happened", n }, { aggregate })
    const results = yield* Effect.all([rewrite(1), rewrite(2), rewrite(3), rewrite(4)], { concurrency: "unbounded" })
    yield* rewrite(5)
    assert.deepEqual(results.map(({ marker }) => marker).sort(), [3, 4, 5, 6])
    const [first, , ...markers] = yield* read("a")
    assert.deepEqual(first.payload, { _tag: "Happened", n: 5 })
    const entries = first.metadata.$rewritten
    assert.ok(Array.isArray(entries))
    assert.deepEqual(entries.map(({ marker }) => marker).sort(), markers.map(({ id }) => id).sort())
  }),

  withStreams("rewrite refuses what cannot be rewritten, and changes nothing", function*(fresh) {
    const { append, end, read, stream, streams } = fresh
    const aggregate = sumOf(stream("a"))
    const payload = { _tag: "Happened", n: 7 }
    yield* append("a", [...eventsOf(2), { ...event({}), type: "Other" }])
    yield* append("gone", eventsOf(2))
    yield* end("gone")
    const before = yield* read("a")
    const tagOf = (id: string, version: number, payload: unknown) =>
      Effect.map(failureOf(streams.rewrite(stream(id), version, payload, { aggregate })), ({ _tag }) => _tag)
    assert.equal(yield* tagOf("a", 4, payload), "EventNotFound")
    assert.equal(yield* tagOf("a", 2_147_483_647, payload), "EventNotFound")
    assert.equal(yield* tagOf("none", 1, payload), "StreamNotFound")
    assert.equal(yield* tagOf("gone", 1, payload), "StreamDeleted")
    for (const bad of [null, 1, "x", {}, { _tag: "Happened" }, { _tag: "Happened", n: "7" }, { _tag: "Other", n: 1 }]) {
      assert.equal(yield* tagOf("a", 1, bad), "EventDecodeError")
    }
    // the aggregate does not know its type
    assert.equal(yield* tagOf("a", 3, payload), "EventDecodeError")
    assert.deepEqual(yield* read("a"), before)
    yield* streams.rewrite(stream("a"), 1, payload, { aggregate })
    assert.equal(yield* tagOf("a", 4, payload), "EventStoreError")
  }),

  withStreams("invalid input of rewrite is a typed error", function*({ append, read, stream, streams }) {
    const aggregate = sumOf(stream("a"))
    yield* append("a", eventsOf(1))
    const cyclic: Record<string, unknown> = {}
    cyclic.self = cyclic
    const payload = { _tag: "Happened", n: 1 }
    const call = (...input: ReadonlyArray<unknown>) => Reflect.apply(streams.rewrite, streams, input)
    const inputs: ReadonlyArray<() => Effect.Effect<unknown, Streams.RewriteError>> = [
      ...["", "\u0000", "\uD800", "x".repeat(1_025)].map((id) => () =>
        streams.rewrite(stream(id), 1, payload, { aggregate })
      ),
      ...[0, -1, 1.5, NaN, Infinity, 2_147_483_648].map((version) => () =>
        streams.rewrite(stream("a"), version, payload, { aggregate })
      ),
      ...[undefined, NaN, 1n, new Map(), cyclic, () => 1].map((payload) => () =>
        streams.rewrite(stream("a"), 1, payload, { aggregate })
      ),
      ...[{ n: NaN }, cyclic].map((metadata) => () =>
        streams.rewrite(stream("a"), 1, payload, { aggregate, metadata })
      ),
      () => streams.rewrite(StreamId.make("other", "a"), 1, payload, { aggregate }),
      // programs without types
      ...[undefined, null, 1, {}, { aggregate: 1 }, { aggregate, type: "x" }].map((options) => () =>
        call(stream("a"), 1, payload, options)
      ),
      ...[undefined, null, 1, "a", {}].map((stream) => () => call(stream, 1, payload, { aggregate }))
    ]
    for (const [index, input] of inputs.entries()) {
      const failure = yield* failureOf(Effect.suspend(input))
      assert.ok(failure._tag === "EventStoreError", `input ${index}: ${failure._tag}`)
      assert.deepEqual([failure.operation, failure.reason], ["rewrite", "InvalidInput"], `input ${index}`)
    }
    assert.deepEqual(versions(yield* read("a")), [1])
  })
]
