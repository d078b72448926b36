// The cases of imports that carry markers: streams of another store arrive as they are.
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import * as assert from "node:assert/strict"
import type * as Event from "../../Event.js"
import type * as EventStore from "../../EventStore.js"
import * as StreamId from "../../StreamId.js"
import { type Case, eventsOf, failureOf, type Fresh, readAll, versions } from "./fresh.js"
import { type Services, sumOf, withStreams } from "./freshStreams.js"

const importAll = (
  store: Fresh["store"],
  events: ReadonlyArray<EventStore.ImportedEvent>,
  options: EventStore.ImportOptions = { markers: "keep" }
) => Effect.map(readAll(store.import(Stream.fromIterable(events), options)), (progress) => progress.at(-1))

/** Gives the event another stream, and ids of its own. */
const copy = ({ id, metadata, payload, stream, time, type, version }: Event.RecordedEvent, to: string) => {
  const changes = metadata.$rewritten
  return {
    stream: StreamId.make(stream.aggregate, `${stream.id}${to}`),
    id: `${id}${to}`,
    type,
    payload,
    time,
    version,
    metadata: Array.isArray(changes)
      ? { ...metadata, $rewritten: changes.map((entry) => ({ ...entry, marker: `${entry.marker}${to}` })) }
      : metadata
  }
}

const plain = ({ id, metadata, payload, time, type, version }: ReturnType<typeof copy> | Event.RecordedEvent) => ({
  id,
  metadata,
  payload,
  time: DateTime.toEpochMillis(time),
  type,
  version
})

/** The cases of `EventStore.import` with the markers of `Streams`. */
export const cases: ReadonlyArray<Case<Services>> = [
  withStreams("an import that keeps markers gives the streams of the other store, in any batches", function*(fresh) {
    const { append, end, read, store, stream, streams } = fresh
    for (const id of ["kept", "removed", "rewritten"]) yield* append(id, eventsOf(4))
    const aggregate = sumOf(stream("rewritten"))
    for (const n of [7, 8]) {
      yield* streams.rewrite(stream("rewritten"), 2, { _tag: "Happened", n }, { aggregate, metadata: { n } })
    }
    yield* end("kept", "keep", { metadata: { by: "x" } })
    yield* end("removed", "remove")
    const ids = ["kept", "removed", "rewritten"]
    const source = (yield* Effect.forEach(ids, (id) => read(id))).flat()
    assert.deepEqual(versions(source), [1, 2, 3, 4, 5, 5, 1, 2, 3, 4, 5, 6])
    for (const batchSize of [1, 2, 5, 1_000]) {
      const copies = source.map((event) => copy(event, `-${batchSize}`))
      const some = Stream.take(store.import(Stream.fromIterable(copies), { batchSize, markers: "keep" }), 1)
      yield* Stream.runDrain(some)
      const whole = yield* importAll(store, copies, { batchSize, markers: "keep" })
      assert.equal((whole?.imported ?? 0) + (whole?.skipped ?? 0), 12)
      const again = yield* importAll(store, copies, { batchSize: 3, markers: "keep" })
      assert.deepEqual([again?.imported, again?.skipped], [0, 12])
      const stored = yield* Effect.forEach(ids, (id) => read(`${id}-${batchSize}`))
      assert.deepEqual(stored.flat().map(plain), copies.map(plain))
      for (const id of ["kept", "removed"]) {
        assert.equal((yield* failureOf(append(`${id}-${batchSize}`, eventsOf(1))))._tag, "StreamDeleted")
        const more = [1, 6].map((version) => ({
          stream: stream(`${id}-${batchSize}`),
          type: "E",
          payload: 1,
          ...(version === 1 ? {} : { version })
        }))
        for (const event of more) assert.notEqual((yield* failureOf(importAll(store, [event])))._tag, "EventStoreError")
        assert.equal((yield* end(`${id}-${batchSize}`, "keep")).version, 5)
      }
      assert.equal((yield* append(`rewritten-${batchSize}`, eventsOf(1))).version, 7)
    }
  }),

  withStreams(
    "an import refuses markers that no store could have, and stores nothing of their batch",
    function*(fresh) {
      const { append, read, store, stream } = fresh
      yield* append("a", eventsOf(3))
      const marker = (type: string, version: number, payload: unknown) => ({
        stream: stream("a"),
        id: crypto.randomUUID(),
        type,
        version,
        payload
      })
      const deleted = marker("$deleted", 4, {})
      const next = { stream: stream("a"), type: "E", payload: 1 }
      const refused: ReadonlyArray<ReadonlyArray<EventStore.ImportedEvent>> = [
        [{ ...deleted, id: undefined }],
        [{ ...deleted, version: undefined }],
        [{ ...deleted, stream: stream("b"), version: 1 }],
        [{ ...deleted, payload: { n: 1 } }],
        [deleted, next],
        [deleted, marker("$deleted", 5, {})],
        ...[undefined, {}, { version: 0 }, { version: 4 }, { version: "1" }, null].map((payload) => [
          marker("$rewritten", 4, payload)
        ]),
        ...[{}, { before: 0 }, { before: 5 }].map((payload) => [marker("$truncated", 4, payload)]),
        // the event is as it was before the rewrite
        [marker("$rewritten", 4, { version: 2 })]
      ]
      for (const events of refused) {
        const failure = yield* failureOf(importAll(store, events))
        assert.ok(failure._tag === "EventStoreError" && failure.reason === "InvalidInput", JSON.stringify(events))
      }
      for (const options of [{}, { markers: "refuse" }] as const) {
        const failure = yield* failureOf(importAll(store, [deleted], options))
        assert.ok(failure.message.includes("its type is reserved"), failure.message)
      }
      // only the end of a stream may stand without the events before it, and only in a stream without events
      const conflicts = [
        [{ ...marker("$truncated", 4, { before: 2 }), stream: stream("b") }],
        [{ ...marker("$rewritten", 4, { version: 2 }), stream: stream("b") }],
        [marker("$deleted", 5, {})],
        [marker("$deleted", 3, {})]
      ]
      for (const events of conflicts) {
        assert.equal((yield* failureOf(importAll(store, events)))._tag, "VersionConflict")
      }
      for (const id of ["$deleted", "$rewritten", "$truncated"]) {
        const failure = yield* failureOf(append("a", [{ id: "x", type: id, payload: {} }]))
        assert.equal(failure._tag, "EventStoreError")
      }
      assert.deepEqual([versions(yield* read("a")), yield* store.version(stream("b"))], [[1, 2, 3], 0])
      yield* importAll(store, [deleted])
      assert.equal((yield* failureOf(importAll(store, [{ ...next, version: 5 }])))._tag, "StreamDeleted")
    }
  )
]
