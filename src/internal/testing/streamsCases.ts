import * as assert from "node:assert/strict"
import type * as EventStore from "../../EventStore.js"
import * as ExpectedVersion from "../../ExpectedVersion.js"
import * as StreamId from "../../StreamId.js"
import { type Case, eventsOf, failureOf, withFresh } from "./fresh.js"

/** The cases of `EventStore.streams`. */
export const cases: ReadonlyArray<Case<EventStore.EventStore>> = [
  withFresh("streams lists the ids of an aggregate in the order of their bytes", function*({ append, store, stream }) {
    const { aggregate } = stream("a")
    const ids = [
      "a",
      "A",
      "a b",
      "aa",
      "ä",
      "\u00E4b",
      "\uE000",
      "\uFFFD",
      "😀",
      "\u{10FFFF}",
      "__proto__",
      "%",
      "_",
      "'"
    ]
    ids.push("x".repeat(1_024), "1", "10", "2")
    for (const [index, id] of ids.entries()) yield* append(id, eventsOf(1 + index % 3))
    yield* append("a", eventsOf(200))
    yield* store.append(StreamId.make(`${aggregate}x`, "b"), eventsOf(1), { expectedVersion: ExpectedVersion.any })
    const wanted = ids.map((id, index) => ({ id, version: id === "a" ? 201 : 1 + index % 3 }))
      .sort((a, b) => Buffer.compare(Buffer.from(a.id), Buffer.from(b.id)))
    assert.deepEqual(plain(yield* store.streams({ aggregate })), wanted)
    for (const limit of [1, 4, 100]) {
      const listed: Array<EventStore.ListedStream> = []
      for (;;) {
        const page = yield* store.streams({ aggregate, after: listed.at(-1)?.id, limit })
        for (const found of plain(page)) listed.push(found)
        if (page.length < limit) break
      }
      assert.deepEqual(listed, wanted)
    }
    assert.deepEqual(plain(yield* store.streams({ aggregate, after: "aaa", limit: 1 })), [
      wanted.find(({ id }) => Buffer.compare(Buffer.from(id), Buffer.from("aaa")) > 0)
    ])
    assert.deepEqual(yield* store.streams({ aggregate, after: "\u{10FFFF}" }), [])
    assert.deepEqual(yield* store.streams({ aggregate: `${aggregate}-absent` }), [])
  }),

  withFresh("invalid input of streams is a typed error", function*({ store }) {
    for (
      const options of [
        ...["", "\u0000", "\uD800", "x".repeat(256)].map((aggregate) => ({ aggregate })),
        ...["", "\u0000", "\uD800", "x".repeat(1_025)].map((after) => ({ aggregate: "a", after })),
        ...[0, -1, 1.5, NaN, Infinity].map((limit) => ({ aggregate: "a", limit }))
      ]
    ) {
      const failure = yield* failureOf(store.streams(options))
      assert.deepEqual([failure.operation, failure.reason], ["streams", "InvalidInput"])
    }
  })
]

/** Lists of streams without the prototypes of a backend. */
export const plain = (streams: ReadonlyArray<EventStore.ListedStream>) =>
  streams.map(({ id, version }) => ({ id, version }))
