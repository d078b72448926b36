import * as Option from "effect/Option"
import * as assert from "node:assert/strict"
import type * as EventStore from "../../EventStore.js"
import * as ExpectedVersion from "../../ExpectedVersion.js"
import * as Position from "../../Position.js"
import { type Case, eventsOf, failureOf, versions } from "./fresh.js"
import { type Services, withStreams } from "./freshStreams.js"

/** After the markers of all deletions so far. */
const late = 4_000_000_000_000

const lifeOf = ({ replay }: EventStore.EventStore["Type"]): EventStore.LifeSeam => Option.getOrThrow(replay.life)

/** The cases of the operations that `Retention` uses. */
export const cases: ReadonlyArray<Case<Services>> = [
  withStreams("tombstones: lists the markers of deleted streams", function*({ append, end, store, stream }) {
    const life = lifeOf(store)
    const own = (options: Partial<EventStore.TombstoneOptions>) =>
      life.tombstones({ before: late, after: Position.start, limit: 1_000, ...options })
    const listed = (found: ReadonlyArray<EventStore.Tombstone>) =>
      found.filter(({ stream: { aggregate } }) => aggregate === stream("a").aggregate)
        .map(({ eventId: _, stream, ...rest }) => ({ ...rest, id: stream.id }))
    yield* append("a", eventsOf(2))
    yield* append("b", eventsOf(1))
    yield* append("c", eventsOf(3))
    const a = yield* end("a", "keep")
    const c = yield* end("c", "remove")
    const wanted = [
      { id: "a", version: 3, position: a.position, hasEvents: true },
      { id: "c", version: 4, position: c.position, hasEvents: false }
    ]
    assert.deepEqual(listed(yield* own({})), wanted)
    assert.deepEqual(listed(yield* own({ after: a.position })), [wanted[1]])
    assert.deepEqual(listed(yield* own({ upTo: a.position })), [wanted[0]])
    assert.deepEqual(listed(yield* own({ after: a.position, upTo: a.position })), [])
    // all of the cases are deleted now, and none a day ago
    assert.deepEqual(yield* own({ before: 86_400_000 }), [])
    assert.equal((yield* own({ limit: 1 })).length, 1)
  }),

  withStreams(
    "clear and forget: delete the last events first, and the marker last",
    function*({ append, end, read, store, stream }) {
      const life = lifeOf(store)
      yield* append("a", eventsOf(5))
      yield* append("b", eventsOf(2))
      const { position } = yield* end("a", "keep")
      const found = yield* life.tombstones({
        before: late,
        after: Position.start,
        upTo: position,
        limit: 100_000
      })
      const tombstone = Option.getOrThrow(
        Option.fromNullable(found.find(({ position: other }) => other === position))
      )
      for (const stale of [{ ...tombstone, eventId: "other" }, { ...tombstone, version: 4 }]) {
        assert.equal(yield* life.clear(stale, 100), 0)
        assert.equal(yield* life.forget(stale), false)
      }
      assert.equal(yield* life.forget(tombstone), false)
      assert.equal(yield* life.clear(tombstone, 2), 2)
      assert.deepEqual(versions(yield* read("a")), [1, 2, 3, 6])
      assert.equal((yield* failureOf(append("a", eventsOf(1)))).message.includes("deleted"), true)
      assert.equal(yield* life.clear(tombstone, 100), 3)
      assert.equal(yield* life.clear(tombstone, 100), 0)
      assert.deepEqual(versions(yield* read("a")), [6])
      assert.equal(yield* life.forget(tombstone), true)
      assert.equal(yield* life.forget(tombstone), false)
      assert.equal(yield* store.version(stream("a")), 0)
      // the stream that begins again is not the one that was deleted
      yield* append("a", eventsOf(7), ExpectedVersion.noStream)
      assert.equal(yield* life.clear(tombstone, 100), 0)
      assert.equal(yield* life.forget(tombstone), false)
      assert.deepEqual(versions(yield* read("a")), [1, 2, 3, 4, 5, 6, 7])
      assert.deepEqual(versions(yield* read("b")), [1, 2])
    }
  )
]
