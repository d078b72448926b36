import { SqlClient } from "@effect/sql"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Option } from "effect"
import { EventStore, ExpectedVersion, Repository, SnapshotPolicy, SqlSnapshotStore } from "effect-eventsourcing"
import { Account, event, id, stream } from "../fixtures/Account.js"
import { events, stores } from "./setup.js"

describe("the history under a snapshot", () => {
  it.scoped("a tail has the ids of its first and its last event, also if the page is full", () =>
    Effect.gen(function*() {
      const store = yield* EventStore.EventStore
      const appended = events(6)
      yield* store.append(stream("a"), appended, { expectedVersion: ExpectedVersion.any })
      const long = events(1_200)
      yield* store.append(stream("long"), long, { expectedVersion: ExpectedVersion.any })
      const page = yield* store.replay.readTail(stream("long"), { fromVersion: 3, limit: 1_100 })
      assert.deepStrictEqual(
        page.flatMap(({ eventId, version }) => eventId === null ? [] : [[version, eventId]]),
        [[3, long[2].id], [1_102, long[1_101].id]]
      )
      const ids = (fromVersion: number, limit: number) =>
        Effect.map(
          store.replay.readTail(stream("a"), { fromVersion, limit }),
          (tail) => tail.map(({ eventId }) => appended.findIndex(({ id }) => id === eventId) + 1)
        )
      assert.deepStrictEqual(yield* ids(2, 3), [2, 0, 4])
      assert.deepStrictEqual(yield* ids(2, 1), [2])
      assert.deepStrictEqual(yield* ids(2, 5), [2, 0, 0, 0, 6])
      assert.deepStrictEqual(yield* ids(2, Number.MAX_SAFE_INTEGER), [2, 0, 0, 0, 6])
      assert.deepStrictEqual(yield* ids(2, 2_000), [2, 0, 0, 0, 6])
      for (const prefix of ["eventsourcing", "apart"]) {
        const snapshots = yield* SqlSnapshotStore.make({ prefix })
        const { read } = Option.getOrThrow(store.replay.withSnapshots(snapshots))
        const options = { schemaVersion: 1, fingerprint: "f" }
        for (const [limit, last] of [[3, 3], [Number.MAX_SAFE_INTEGER, 6]] as const) {
          const { events } = yield* read(stream("a"), { ...options, limit })
          assert.strictEqual(events.at(-1)?.eventId, appended[last - 1].id)
        }
      }
    }).pipe(Effect.provide(stores)))

  it.scoped("a history that is rewritten between two pages is loaded again before a snapshot is taken", () =>
    Effect.gen(function*() {
      const sql = yield* SqlClient.SqlClient
      const store = yield* EventStore.EventStore
      yield* store.append(stream("a"), events(15), { expectedVersion: ExpectedVersion.any })
      const rewrite = Effect.gen(function*() {
        yield* sql`DELETE FROM eventsourcing_events WHERE version > 9`
        yield* store.append(stream("a"), [event(1_000)], { expectedVersion: ExpectedVersion.exact(9) })
      })
      let pages = 0
      const rewritten = EventStore.EventStore.of({
        ...store,
        replay: {
          ...store.replay,
          withSnapshots: () => Option.none(),
          readTail: (stream, options) =>
            Effect.tap(
              store.replay.readTail(stream, options),
              () => ++pages === 1 ? Effect.orDie(rewrite) : Effect.void
            )
        }
      })
      const snapshots = SnapshotPolicy.manual
      const loader = yield* Effect.provideService(
        Repository.make(Account, { snapshots, pageSize: 10 }),
        EventStore.EventStore,
        rewritten
      )
      yield* loader.createSnapshot(id("a"))
      const replayed = yield* (yield* Repository.make(Account)).load(id("a"))
      const loaded = yield* (yield* Repository.make(Account, { snapshots })).load(id("a"))
      assert.deepStrictEqual(loaded.state, replayed.state)
      assert.deepInclude(loaded, { snapshotVersion: 10, replayed: 0 })
    }).pipe(Effect.provide(stores)))
})
