// the contract suites bite: each of these stores breaks one promise, and at least one case fails for it
import { SqlClient } from "@effect/sql"
import { Effect, Exit, Layer, Option, Stream } from "effect"
import { EventStore, ExpectedVersion, SnapshotStore } from "effect-eventsourcing"
import { EventStoreContract, SnapshotStoreContract } from "effect-eventsourcing/testing"
import { assert, describe, it } from "vitest"
import { sqliteFile, sqlStores } from "./utils/backends.js"
import { ofStream, tamper } from "./utils/tamper.js"

const sqlite = Layer.provideMerge(sqlStores, sqliteFile(":memory:"))

type Events = EventStore.EventStore["Type"]

/** The names of the cases that fail on a store. */
const failing = <R>(
  cases: ReadonlyArray<{ readonly name: string; readonly run: Effect.Effect<void, unknown, R> }>,
  layer: Layer.Layer<R, unknown>
) =>
  Effect.filter(cases, ({ run }) => Effect.map(Effect.exit(run), Exit.isFailure)).pipe(
    Effect.map((cases) => cases.map(({ name }) => name)),
    Effect.provide(layer),
    Effect.runPromise
  )

const eventCases = EventStoreContract.cases(tamper)

const broken = (f: (store: Events, sql: SqlClient.SqlClient) => Partial<Events>) =>
  Layer.effect(
    EventStore.EventStore,
    Effect.map(
      Effect.all([EventStore.EventStore, SqlClient.SqlClient]),
      ([store, sql]) => EventStore.EventStore.of({ ...store, ...f(store, sql) })
    )
  ).pipe(Layer.provideMerge(sqlite))

const stores: ReadonlyArray<readonly [name: string, layer: ReturnType<typeof broken>, failing: string]> = [
  [
    "does not check the expected version",
    broken((store) => ({
      append: (stream, events) => store.append(stream, events, { expectedVersion: ExpectedVersion.any })
    })),
    "expecting exact 0 of a stream at version 3"
  ],
  [
    "reports success for an insert that was lost",
    broken((store) => ({
      append: (stream, events, options) =>
        store.append(stream, events, options).pipe(
          Effect.catchTag("VersionConflict", ({ actual }) =>
            Effect.succeed({
              version: actual + events.length,
              position: Option.none(),
              time: Option.none(),
              duplicate: false
            }))
        )
    })),
    "expecting noStream of a stream at version 1"
  ],
  [
    "takes the number of events for the head, which restarts after deletes",
    broken((_store, sql) => ({
      version: (stream) =>
        sql<{ readonly n: number }>`SELECT count(*) AS n FROM eventsourcing_events WHERE ${ofStream(stream, sql)}`.pipe(
          Effect.orDie,
          Effect.map(([{ n }]) => n)
        )
    })),
    "a stream whose beginning was removed keeps its version"
  ],
  [
    "reads from the version after the one asked for",
    broken((store) => ({
      read: (stream, options) => store.read(stream, { ...options, fromVersion: (options?.fromVersion ?? 0) + 1 }),
      replay: {
        ...store.replay,
        readTail: (stream, options) =>
          store.replay.readTail(stream, { ...options, fromVersion: options.fromVersion + 1 })
      }
    })),
    "the tail has the events and ids that a replay needs"
  ],
  [
    "forgets the order and the end of a range in readEvents",
    broken((store) => ({
      readEvents: (stream, { fromVersion, limit }) => store.readEvents(stream, { fromVersion, limit })
    })),
    "readEvents gives the first 10 events of a range"
  ],
  [
    "swallows events that do not decode",
    broken((store) => ({
      read: (stream, options) =>
        Stream.catchTag(
          store.read(stream, options),
          "EventDecodeError",
          (error) => store.read(stream, { ...options, fromVersion: error.version + 1 })
        ),
      readAll: (options) => Stream.catchTag(store.readAll(options), "EventDecodeError", () => Stream.empty)
    })),
    "a stored event that is not JSON is a typed error and is not skipped"
  ]
]

describe("the event store contract", () => {
  it("passes for the store that the other cases break", async () => {
    assert.deepStrictEqual(await failing(eventCases, sqlite), [])
  })

  for (const [name, layer, expected] of stores) {
    it(`fails a store that ${name}`, async () => {
      assert.include(await failing(eventCases, layer), expected)
    })
  }
})

describe("the snapshot store contract", () => {
  it("fails a store that saves unconditionally", async () => {
    const unconditional = Layer.effect(
      SnapshotStore.SnapshotStore,
      Effect.map(SnapshotStore.SnapshotStore, (store) =>
        SnapshotStore.SnapshotStore.of({
          ...store,
          save: (snapshot) =>
            Effect.zipRight(
              store.delete(snapshot.stream, { schemaVersion: snapshot.schemaVersion }),
              store.save(snapshot)
            )
        }))
    )
    assert.deepStrictEqual(await failing(SnapshotStoreContract.cases, sqlite), [])
    const failed = await failing(SnapshotStoreContract.cases, Layer.provide(unconditional, sqlite))
    assert.includeMembers([...failed], ["a save never replaces a newer version, nor an equal one"])
  })
})
