import * as DateTime from "effect/DateTime"
import * as Option from "effect/Option"
import * as assert from "node:assert/strict"
import type * as Event from "../../Event.js"
import type * as EventStore from "../../EventStore.js"
import * as ExpectedVersion from "../../ExpectedVersion.js"
import { type Case, event, eventsOf, failureOf, range, settledFeed, withFresh } from "./fresh.js"

// the first and the last time that all backends can store, and some where digits or a calendar may be lost
const times = [
  ...[-210_866_803_200_000, -62_135_596_800_001, -12_219_292_800_000, -1_001, -1_000, -999, -1, 0, 1, 999],
  ...[1_764_547_200_000, 1_764_547_200_001, 1_764_547_199_999, 253_402_300_799_999, 8_640_000_000_000_000]
]

const at = (millis: number): Event.ProposedEvent => ({ ...event(millis), time: DateTime.unsafeMake(millis) })

const millisOf = (events: ReadonlyArray<Event.RecordedEvent>) => events.map(({ time }) => time.epochMillis)

const timeOf = ({ time }: EventStore.AppendResult) => Option.getOrThrow(time).epochMillis

/** The cases of the times of events. */
export const cases: ReadonlyArray<Case<EventStore.EventStore>> = [
  withFresh("times are stored as given, and order nothing", function*({ append, read, store, stream }) {
    // the latest comes first
    const given = [...times].reverse()
    for (const millis of given) assert.equal(timeOf(yield* append("a", [at(millis)])), millis)
    assert.equal(timeOf(yield* append("a", given.map(at))), times[0])
    const all = [...given, ...given]
    assert.deepEqual(millisOf(yield* read("a")), all)
    assert.deepEqual(
      millisOf(yield* settledFeed(store.readAll({ aggregates: [stream("a").aggregate] }), all.length)),
      all
    )
    for (const fromVersion of range(1, all.length)) {
      for (const limit of [1, 2, 3, 2_000]) {
        const tail = yield* store.replay.readTail(stream("a"), { fromVersion, limit })
        assert.equal(tail[0].time, all[fromVersion - 1])
        assert.equal(tail[tail.length - 1].time, all[Math.min(fromVersion - 1 + limit, all.length) - 1])
      }
    }
  }),

  withFresh("events without a time have that of the append, all of them the same", function*({ append, read }) {
    const day = 24 * 60 * 60 * 1_000
    for (const count of [1, 2, 50]) {
      const result = yield* append("a", eventsOf(count))
      const appended = (yield* read("a")).slice(-count)
      assert.deepEqual(millisOf(appended), Array(count).fill(timeOf(result)))
      assert.ok(Math.abs(timeOf(result) - Date.now()) < day)
    }
    const mixed = yield* append("b", [event(1), at(5), event(2), at(7), event(3)])
    const now = timeOf(mixed)
    assert.deepEqual(millisOf(yield* read("b")), [now, 5, now, 7, now])
    assert.ok(Math.abs(now - Date.now()) < day)
    assert.equal(timeOf(yield* append("b", [event(4), at(9)])), 9)
  }),

  withFresh("a repeated append tells that, with the time of the first", function*({ append, read }) {
    const events = [at(5), at(7)]
    const first = yield* append("a", events, ExpectedVersion.noStream)
    assert.equal(first.duplicate, false)
    assert.equal(timeOf(first), 7)
    yield* append("a", eventsOf(2))
    const again = events.map((event) => ({ ...event, payload: "another", time: DateTime.unsafeMake(11) }))
    for (const expectedVersion of [ExpectedVersion.noStream, ExpectedVersion.any, ExpectedVersion.exact(0)]) {
      assert.deepEqual(yield* append("a", again, expectedVersion), { ...first, duplicate: true })
    }
    const [alone] = eventsOf(1)
    const now = yield* append("b", [alone])
    assert.deepEqual(yield* append("b", [alone]), { ...now, duplicate: true })
    const stored = yield* read("a")
    assert.deepEqual(stored.slice(0, 2).map(({ payload }) => payload), [5, 7])
    assert.equal(stored.length, 4)
  }),

  withFresh("a time that no backend can store is refused with its event", function*({ append, store, stream }) {
    for (const millis of [times[0] - 1, -8_640_000_000_000_000]) {
      const failure = yield* failureOf(append("a", [at(0), at(millis)]))
      assert.equal(failure._tag, "EventStoreError")
      if (failure._tag !== "EventStoreError") return
      assert.equal(failure.reason, "InvalidInput")
      assert.ok(failure.message.includes("event 2 of 2: its time"), failure.message)
    }
    assert.equal(yield* store.version(stream("a")), 0)
  })
]
