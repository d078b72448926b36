import { SqlClient } from "@effect/sql"
import { assert, describe, it } from "@effect/vitest"
import { Chunk, Effect, type Layer, Stream } from "effect"
import { EventStore, ExpectedVersion, SqlEventStore, SqlMigrations, StreamId } from "effect-eventsourcing"
import { postgresTemporaryDatabase, sqliteFile } from "./utils/backends.js"

const suite = (name: string, client: Layer.Layer<SqlClient.SqlClient, unknown>) =>
  describe(`existing tables, on ${name}`, () => {
    const events = "aggregate text, stream_id text, version integer, event_id text, type text, payload text, " +
      "metadata text, time integer, position integer, transaction integer"
    for (
      const [what, statements, says] of [
        [
          "events of another program",
          ["CREATE TABLE x_events (id integer, aggregate text, position integer)"],
          "column"
        ],
        ["snapshots of another program", [
          "CREATE TABLE x_snapshots (x text, aggregate text, stream_id text, schema_version integer)"
        ], ""],
        [
          "events without unique indexes",
          [`CREATE TABLE x_events (${events.replace("transaction", "\"transaction\"")})`],
          "unique index on event_id"
        ],
        [
          "migrations that are noted as run, and no tables",
          [
            "CREATE TABLE x_migrations (migration_id integer PRIMARY KEY, name text)",
            "INSERT INTO x_migrations VALUES (1, 'create_tables')"
          ],
          "x_events"
        ]
      ] as const
    ) {
      it.scoped(`${what} are a typed error when the layer is built`, () =>
        Effect.gen(function*() {
          const sql = yield* SqlClient.SqlClient
          for (const statement of statements) yield* sql.unsafe(statement)
          const failure = yield* Effect.flip(SqlEventStore.make({ prefix: "x" }))
          assert.instanceOf(failure, SqlMigrations.MigrationError)
          assert.include(failure.message, says)
        }).pipe(Effect.provide(client)))
    }

    it.scoped("tables of a newer version of this library are used", () =>
      Effect.gen(function*() {
        const sql = yield* SqlClient.SqlClient
        yield* SqlMigrations.run()
        yield* sql`INSERT INTO eventsourcing_migrations (migration_id, name) VALUES (99, 'of tomorrow')`
        const store = yield* SqlEventStore.make()
        const event = { id: "e", type: "E", payload: null }
        yield* store.append(StreamId.make("A", "a"), [event], { expectedVersion: ExpectedVersion.noStream })
      }).pipe(Effect.provide(client)))
  })

suite("SQLite", sqliteFile(":memory:"))
suite("PostgreSQL", postgresTemporaryDatabase)

describe("a position above the safe integers", () => {
  it.scoped("is read exactly, and reading ends", () =>
    Effect.gen(function*() {
      const sql = yield* SqlClient.SqlClient
      const store = yield* SqlEventStore.make()
      const events = Array.from({ length: 5 }, (_, n) => ({ id: `e${n}`, type: "E", payload: n }))
      yield* store.append(StreamId.make("A", "a"), events, { expectedVersion: ExpectedVersion.noStream })
      yield* sql`UPDATE eventsourcing_events SET position = 9007199254740993 WHERE version = 3`
      yield* store.append(StreamId.make("A", "a"), [{ ...events[0], id: "e5" }], {
        expectedVersion: ExpectedVersion.any
      })
      const read = Chunk.toReadonlyArray(yield* Stream.runCollect(Stream.take(store.readAll({ pageSize: 1 }), 20)))
      assert.deepStrictEqual(read.map(({ id }) => id), ["e0", "e1", "e3", "e4", "e2", "e5"])
    }).pipe(Effect.provide(sqliteFile(":memory:"))))
})

describe("input that does not fit the types", () => {
  it.scoped("is a typed error, not a defect", () =>
    Effect.gen(function*() {
      const store = yield* EventStore.EventStore
      const stream = StreamId.make("A", "a")
      const events = [{ id: "e", type: "E", payload: 1 }]
      const any = { expectedVersion: ExpectedVersion.any }
      // what a program without types may do
      const broken: ReadonlyArray<ReadonlyArray<unknown>> = [
        [undefined, events, any],
        [null, events, any],
        [{}, events, any],
        [stream, events, {}],
        [stream, events, undefined],
        [stream, events, { expectedVersion: { _tag: "Bogus" } }],
        [stream, events, { expectedVersion: { _tag: "Exact" } }],
        [stream, [null], any],
        [stream, [{}], any]
      ]
      for (const parameters of broken) {
        const append: Effect.Effect<unknown, { readonly _tag: string }> = Reflect.apply(
          store.append,
          undefined,
          parameters
        )
        assert.strictEqual((yield* Effect.flip(append))._tag, "EventStoreError")
      }
    }).pipe(Effect.provide(EventStore.layerMemory)))
})
