import * as assert from "node:assert/strict"
import type * as Event from "../../Event.js"
import type * as EventStore from "../../EventStore.js"
import * as ExpectedVersion from "../../ExpectedVersion.js"
import { type Case, event, eventsOf, failureOf, withFresh } from "./fresh.js"

/** The cases of `EventStore.find`. */
export const cases: ReadonlyArray<Case<EventStore.EventStore>> = [
  withFresh("find gives the places of events, in the order of the ids", function*({ append, read, store, stream }) {
    const [a, b, c, d, e] = eventsOf(5)
    yield* append("a", [a, b], ExpectedVersion.noStream)
    yield* append("b", [c])
    yield* append("a", [d, e])
    const stored = [...(yield* read("a")), ...(yield* read("b"))]
    const placeOf = ({ id }: Event.ProposedEvent) => {
      const found = stored.find((event) => event.id === id)
      assert.ok(found)
      return {
        eventId: id,
        stream: { ...found.stream },
        version: found.version,
        position: found.position
      }
    }
    const idsOf = (events: ReadonlyArray<Event.ProposedEvent>) => events.map(({ id }) => id)
    for (const asked of [[a, b, c, d, e], [e, c, a], [d], [c, c, b, c]]) {
      const found = yield* store.find(idsOf(asked))
      assert.deepEqual(found.map((event) => ({ ...event, stream: { ...event.stream } })), asked.map(placeOf))
    }
    assert.equal(yield* store.version(stream("a")), 4)
  }),

  withFresh("find leaves out ids that are not stored", function*({ append, store }) {
    const [a, b] = eventsOf(2)
    yield* append("a", [a, b])
    const missing = ["missing", `${a.id} `, a.id.toUpperCase() + "A", "__proto__", "'; --", "x".repeat(255)]
    assert.deepEqual(yield* store.find(missing), [])
    const found = yield* store.find([missing[0], b.id, ...missing, a.id])
    assert.deepEqual(found.map(({ eventId }) => eventId), [b.id, a.id])
    assert.deepEqual(yield* store.find([]), [])
  }),

  withFresh("find takes thousands of ids", function*({ append, store }) {
    const events = eventsOf(1_100)
    yield* append("a", events)
    const asked = events.flatMap(({ id }) => [id, `${id}-missing`]).reverse()
    const found = yield* store.find(asked)
    assert.deepEqual(found.map(({ version }) => version), events.map((_, index) => events.length - index))
  }),

  withFresh("find refuses invalid ids", function*({ append, store }) {
    const good = event(1)
    yield* append("a", [good])
    for (const bad of ["", "\u0000", "a\u0000b", "\uD800", "x".repeat(256), "ä".repeat(128), "x".repeat(1_000_000)]) {
      const failure = yield* failureOf(store.find([good.id, bad]))
      assert.equal(failure.operation, "find")
      assert.equal(failure.reason, "InvalidInput")
      assert.equal(failure.mayHaveAppended, false)
      assert.ok(failure.message.includes("event id 2 of 2"), failure.message)
    }
  })
]
