import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import * as assert from "node:assert/strict"
import * as Event from "../../Event.js"
import type * as EventStore from "../../EventStore.js"
import * as ExpectedVersion from "../../ExpectedVersion.js"
import * as StreamId from "../../StreamId.js"
import type * as Streams from "../../Streams.js"
import { type Case, event, eventsOf, failureOf, readAll, settledFeed, versions } from "./fresh.js"
import { type Services, withStreams } from "./freshStreams.js"

const expectations = [
  ExpectedVersion.any,
  ExpectedVersion.noStream,
  ExpectedVersion.streamExists,
  ...[0, 2, 3, 4, 5].map(ExpectedVersion.exact)
]

const both = ["keep", "remove"] as const

const plain = ({ position, stream, time, version }: Streams.DeletedStream) => ({
  stream: { ...stream },
  version,
  position,
  time: DateTime.toEpochMillis(time)
})

const tagOf = <A, E extends { readonly _tag: string }>(result: Either.Either<A, E>): string =>
  Either.match(result, { onLeft: ({ _tag }) => _tag, onRight: () => "Right" })

/** The cases of `Streams.delete`. */
export const cases: ReadonlyArray<Case<Services>> = [
  ...both.map((events) =>
    withStreams(`delete, ${events}: the stream takes no more events`, function*({ append, end, read, store, stream }) {
      yield* append("a", eventsOf(3), ExpectedVersion.noStream)
      yield* append("b", eventsOf(2))
      const deleted = yield* end("a", events)
      assert.deepEqual({ ...deleted.stream }, { ...stream("a") })
      assert.equal(deleted.version, 4)
      for (const expected of expectations) {
        for (const count of [0, 1, 2]) {
          const failure = yield* failureOf(append("a", eventsOf(count), expected))
          assert.equal(failure._tag, "StreamDeleted", `${count} events, ${ExpectedVersion.format(expected)}`)
        }
      }
      assert.equal(yield* store.version(stream("a")), 4)
      const stored = yield* read("a")
      assert.deepEqual(versions(stored), events === "keep" ? [1, 2, 3, 4] : [4])
      const marker = stored[stored.length - 1]
      assert.deepEqual([marker.type, marker.payload, marker.position], ["$deleted", {}, deleted.position])
      assert.equal(DateTime.toEpochMillis(marker.time), DateTime.toEpochMillis(deleted.time))
      assert.deepEqual(versions(yield* read("b")), [1, 2])
      yield* append("b", eventsOf(1), ExpectedVersion.exact(2))
    })
  ),

  withStreams("delete, remove: nothing of the events is left", function*({ append, end, read, store, stream }) {
    const events = eventsOf(1_200)
    yield* append("a", events)
    const other = yield* append("b", eventsOf(1))
    const deleted = yield* end("a", "remove")
    assert.deepEqual(yield* store.find(events.slice(0, 50).map(({ id }) => id)), [])
    assert.deepEqual(versions(yield* read("a", { reverse: true })), [1_201])
    assert.deepEqual(versions(yield* store.readEvents(stream("a"), { limit: 2 })), [1_201])
    const tail = yield* store.replay.readTail(stream("a"), { fromVersion: 1, limit: 10 })
    assert.deepEqual(tail.map(({ type, version }) => [type, version]), [["$deleted", 1_201]])
    const { aggregate } = stream("a")
    const feed = yield* settledFeed(store.readAll({ aggregates: [aggregate] }), 2)
    assert.deepEqual(feed.map(({ position }) => position), [Option.getOrThrow(other.position), deleted.position])
    const listed = yield* store.streams({ aggregate })
    assert.deepEqual(listed.map(({ id, version }) => [id, version]), [["a", 1_201], ["b", 1]])
  }),

  withStreams("a second deletion gives the same result", function*({ append, end, read }) {
    yield* append("a", eventsOf(2))
    const first = plain(yield* end("a", "keep", { expectedVersion: ExpectedVersion.exact(2) }))
    assert.deepEqual(plain(yield* end("a", "keep", { expectedVersion: ExpectedVersion.exact(2) })), first)
    assert.deepEqual(plain(yield* end("a", "keep")), first)
    assert.deepEqual(versions(yield* read("a")), [1, 2, 3])
    // the events may be removed later
    assert.deepEqual(plain(yield* end("a", "remove")), first)
    assert.deepEqual(versions(yield* read("a")), [3])
    for (const events of both) assert.deepEqual(plain(yield* end("a", events)), first)
    assert.deepEqual(versions(yield* read("a")), [3])
  }),

  withStreams("a deletion checks the version, and needs a stream", function*({ append, end, read, stream }) {
    assert.deepEqual({ ...(yield* failureOf(end("a"))) }, { _tag: "StreamNotFound", stream: stream("a") })
    assert.deepEqual(yield* read("a"), [])
    yield* append("a", eventsOf(2))
    for (const expected of [ExpectedVersion.noStream, ExpectedVersion.exact(1), ExpectedVersion.exact(3)]) {
      const failure = yield* failureOf(end("a", "remove", { expectedVersion: expected }))
      assert.ok(failure._tag === "VersionConflict", failure._tag)
      assert.equal(failure.actual, 2)
    }
    assert.deepEqual(versions(yield* read("a")), [1, 2])
    yield* end("a", "keep", { expectedVersion: ExpectedVersion.streamExists })
    assert.deepEqual(versions(yield* read("a")), [1, 2, 3])
  }),

  withStreams("a repeated append of a stream that was deleted has its first result", function*({ append, end }) {
    const [a, b, c, d] = eventsOf(4)
    yield* append("a", [a])
    const stored = yield* append("a", [b, c], ExpectedVersion.exact(1))
    yield* end("a")
    assert.deepEqual(yield* append("a", [b, c], ExpectedVersion.exact(1)), { ...stored, duplicate: true })
    assert.deepEqual(yield* append("a", [b, c]), { ...stored, duplicate: true })
    for (const events of [[c, d], [c, b], [b, c, d]]) {
      assert.equal((yield* failureOf(append("a", events, ExpectedVersion.exact(1))))._tag, "StreamDeleted")
    }
    yield* end("a", "remove")
    assert.equal((yield* failureOf(append("a", [b, c], ExpectedVersion.exact(1))))._tag, "StreamDeleted")
    // the ids are free again
    assert.equal((yield* append("b", [b, c])).duplicate, false)
  }),

  withStreams("an import does not go on after a deletion", function*({ append, end, read, store, stream }) {
    const events = eventsOf(3)
    const importing = (more: ReadonlyArray<Omit<EventStore.ImportedEvent, "stream">>) =>
      Effect.either(Stream.runLast(
        store.import(Stream.fromIterable(more.map((event) => ({ ...event, stream: stream("a") }))))
      ))
    yield* append("a", events)
    yield* end("a")
    const repeated = yield* importing(events)
    assert.ok(Either.isRight(repeated))
    assert.equal(Option.getOrThrow(repeated.right).skipped, 3)
    assert.equal(tagOf(yield* importing([...events, ...eventsOf(1)])), "StreamDeleted")
    assert.equal(tagOf(yield* importing([{ ...event(1), version: 5 }])), "StreamDeleted")
    assert.equal(tagOf(yield* importing([{ ...event(1), version: 4 }])), "StreamDeleted")
    yield* end("a", "remove")
    assert.equal(tagOf(yield* importing(events)), "StreamDeleted")
    assert.equal(tagOf(yield* importing(eventsOf(2))), "StreamDeleted")
    assert.deepEqual(versions(yield* read("a")), [4])
  }),

  withStreams("a deletion removes the snapshots of its stream", function*(fresh) {
    const { append, end, hasSnapshot, saveSnapshot } = fresh
    for (const events of both) {
      const [first] = eventsOf(1)
      yield* append(events, [first])
      yield* append(`${events} too`, eventsOf(1))
      yield* saveSnapshot(events, 1, first.id)
      yield* saveSnapshot(`${events} too`, 1, "x")
      yield* end(events, events)
      assert.equal(yield* hasSnapshot(events), false)
      assert.equal(yield* hasSnapshot(`${events} too`), true)
      // one that was saved late is removed by the next deletion
      yield* saveSnapshot(events, 1, first.id)
      yield* end(events, events)
      assert.equal(yield* hasSnapshot(events), false)
    }
  }),

  withStreams("the marker has the metadata of the deletion", function*({ append, end, read }) {
    yield* append("a", eventsOf(1))
    yield* Effect.provideService(
      end("a", "remove", { metadata: { reason: "asked for", by: "support" } }),
      Event.CurrentMetadata,
      { by: "system", correlationId: "c" }
    )
    const [{ metadata }] = yield* read("a")
    assert.deepEqual(metadata, { by: "support", correlationId: "c", reason: "asked for" })
  }),

  withStreams("the types of markers are reserved", function*({ append, read, store, stream }) {
    for (const type of ["$deleted", "$rewritten", "$truncated"]) {
      const marker = { ...event(1), type }
      const appended = yield* failureOf(append("a", [event(1), marker]))
      assert.ok(appended._tag === "EventStoreError" && appended.reason === "InvalidInput", appended._tag)
      assert.ok(appended.message.includes(type), appended.message)
      const imported = yield* failureOf(readAll(store.import(Stream.make({ ...marker, stream: stream("a") }))))
      assert.ok(imported._tag === "EventStoreError" && imported.reason === "InvalidInput", imported._tag)
    }
    assert.deepEqual(yield* read("a"), [])
    yield* append("a", [{ ...event(1), type: "$deleted@2" }, { ...event(1), type: "$other" }])
  }),

  withStreams("invalid input of delete is a typed error", function*({ append, end, read, streams }) {
    yield* append("a", eventsOf(1))
    const cyclic: Record<string, unknown> = {}
    cyclic.self = cyclic
    const inputs: ReadonlyArray<() => Effect.Effect<unknown, Streams.DeleteError>> = [
      ...["", "\u0000", "\uD800", "x".repeat(1_025)].map((id) => () => end(id)),
      ...["", "\u0000", "\uD800", "x".repeat(256)].map((aggregate) => () =>
        streams.delete(StreamId.make(aggregate, "a"), { events: "keep" })
      ),
      ...[NaN, -1, 1.5, Infinity].map((version) => () =>
        end("a", "keep", { expectedVersion: ExpectedVersion.exact(version) })
      ),
      ...[{ n: NaN }, { at: new Map() }, cyclic].map((metadata) => () => end("a", "keep", { metadata })),
      // programs without types
      ...[undefined, null, 1, "keep", {}, { events: "archive" }, { events: "keep", hard: true }].map((options) => () =>
        Reflect.apply(streams.delete, streams, [StreamId.make("a", "a"), options])
      ),
      ...[undefined, null, 1, "a", {}].map((stream) => () =>
        Reflect.apply(streams.delete, streams, [stream, { events: "keep" }])
      )
    ]
    for (const [index, input] of inputs.entries()) {
      const failure = yield* failureOf(Effect.suspend(input))
      assert.equal(failure._tag, "EventStoreError", `input ${index}`)
      assert.ok(failure._tag === "EventStoreError")
      assert.deepEqual([failure.operation, failure.reason], ["delete", "InvalidInput"], `input ${index}`)
    }
    assert.deepEqual(versions(yield* read("a")), [1])
  }),

  ...both.map((events) =>
    withStreams(
      `appends beside a deletion, ${events}, are before it or fail`,
      function*({ append, end, read, store, stream }) {
        for (let round = 0; round < 5; round++) {
          const id = `a${round}`
          yield* append(id, eventsOf(2))
          const appending = (expected: ExpectedVersion.ExpectedVersion | undefined) =>
            Effect.gen(function*() {
              const results: Array<{ readonly id: string; readonly version: number }> = []
              for (;;) {
                const [next] = eventsOf(1)
                const at = expected ?? ExpectedVersion.exact(yield* store.version(stream(id)))
                const result = yield* Effect.either(append(id, [next], at))
                if (Either.isRight(result)) results.push({ id: next.id, version: result.right.version })
                else if (result.left._tag === "StreamDeleted") return results
                else assert.equal(result.left._tag, "VersionConflict")
                yield* Effect.yieldNow()
              }
            })
          const deleting = Effect.zipRight(
            Effect.forEach(Array.from({ length: 10 * round }), () => Effect.yieldNow(), { discard: true }),
            Effect.all([end(id, events), end(id, events), end(id, events)], { concurrency: "unbounded" })
          )
          const [deletions, ...writers] = yield* Effect.all([
            deleting,
            appending(ExpectedVersion.any),
            appending(ExpectedVersion.streamExists),
            appending(undefined),
            appending(undefined)
          ], { concurrency: "unbounded" })
          for (const deleted of deletions) assert.deepEqual(plain(deleted), plain(deletions[0]))
          const appended = writers.flat()
          const [{ position, version }] = deletions
          assert.deepEqual(
            appended.map(({ version }) => version).sort((a, b) => a - b),
            Array.from({ length: version - 3 }, (_, index) => index + 3)
          )
          const stored = yield* read(id)
          assert.deepEqual(stored.at(-1)?.position, position)
          if (events === "remove") assert.deepEqual(versions(stored), [version])
          else for (const one of appended) assert.equal(stored[one.version - 1].id, one.id)
        }
      }
    )
  )
]
