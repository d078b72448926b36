// what a program has its driver make of columns is nothing to the stores
import { SqlClient } from "@effect/sql"
import { PgClient } from "@effect/sql-pg"
import { SqliteClient } from "@effect/sql-sqlite-node"
import { Chunk, DateTime, Effect, Layer, Option, Redacted, Stream } from "effect"
import {
  EventStore,
  ExpectedVersion,
  Repository,
  SnapshotPolicy,
  SnapshotStore,
  SqlEventStore,
  SqlMigrations,
  StreamId
} from "effect-eventsourcing"
import { EventStoreContract, SnapshotStoreContract } from "effect-eventsourcing/testing"
import pg from "pg"
import { afterAll, assert, describe, it } from "vitest"
import { Account, Deposit, id, Open } from "./fixtures/Account.js"
import { sqliteFile, sqlStores } from "./utils/backends.js"
import { temporaryDatabase } from "./utils/postgres.js"
import { postgresUrl } from "./utils/server.js"
import { tamper } from "./utils/tamper.js"

type Client = Layer.Layer<SqlClient.SqlClient, unknown>

const upper = (name: string) => name.toUpperCase()
const lower = (name: string) => name.toLowerCase()

/** A client on a database of its own. */
const postgres = (config: Omit<PgClient.PgClientConfig, "url">): Client =>
  Layer.unwrapScoped(
    Effect.map(
      Effect.suspend(() => temporaryDatabase(postgresUrl())),
      (url) => PgClient.layer({ url: Redacted.make(url), ...config })
    )
  )

/** Of void: what a lock gives, which is not a value. */
const nothing = 2278

const cstring = 2275

/** Gives this for every column of every type that a table can have. */
const every = (parse: (text: string) => unknown): pg.CustomTypesConfig => ({
  getTypeParser: (oid: number) => oid === cstring || oid === nothing ? String : parse
})

const safeIntegers = Layer.succeed(SqlClient.SafeIntegers, true)

const clients: ReadonlyArray<readonly [name: string, client: Client]> = [
  ["SQLite with safe integers", Layer.provideMerge(sqliteFile(":memory:"), safeIntegers)],
  [
    "SQLite with other names",
    SqliteClient.layer({ filename: ":memory:", transformResultNames: upper, transformQueryNames: lower })
  ],
  [
    "PostgreSQL with bigints",
    postgres({
      types: {
        getTypeParser: (oid: number, format?: "text" | "binary") =>
          [20, 21, 23].includes(oid) ? BigInt : pg.types.getTypeParser(oid, format)
      }
    })
  ],
  ["PostgreSQL with columns as texts", postgres({ types: { getTypeParser: () => String } })],
  ["PostgreSQL with columns as objects", postgres({ types: every((text) => ({ text })) })],
  [
    "PostgreSQL with parsers that throw, and other names",
    postgres({
      types: {
        getTypeParser: (oid: number) => (text: string) => {
          // the client's own SELECT 1, when it connects
          if (oid === cstring || oid === nothing || oid === 23) return text
          throw new Error("a column was parsed")
        }
      },
      transformResultNames: upper,
      transformQueryNames: lower
    })
  ]
]

const runner = { afterAll, describe, it }

const stream = StreamId.make("Account", "a")

/** What a program does with both stores, through a repository and by hand. */
const program = (snapshots: SnapshotPolicy.SnapshotPolicy) =>
  Effect.gen(function*() {
    const events = yield* EventStore.EventStore
    const stored = yield* SnapshotStore.SnapshotStore
    const accounts = yield* Repository.make(Account, { snapshots })
    yield* accounts.executeAll(id("a"), [Open.make(), Deposit.make({ amount: 1, times: 5 })])
    const loaded = yield* accounts.load(id("a"))
    assert.deepInclude(loaded, { version: 6, snapshotVersion: 6, snapshotOutcome: { _tag: "Hit" } })
    assert.strictEqual((yield* accounts.verify(id("a")))._tag, "Verified")
    assert.strictEqual((yield* accounts.createSnapshot(id("a"))).outcome, "Superseded")

    const append = (eventId: string, expected: number) =>
      events.append(stream, [{ id: eventId, type: "Deposited", payload: { _tag: "Deposited", amount: 1 } }], {
        expectedVersion: ExpectedVersion.exact(expected)
      })
    const first = yield* append("e7", 6)
    assert.deepStrictEqual(yield* append("e7", 6), { ...first, duplicate: true })
    const conflict = yield* Effect.flip(append("e8", 3))
    const imported = StreamId.make("Account", "imported")
    const time = DateTime.unsafeMake(-1)
    const importing = Stream.runLast(events.import(Stream.make(
      { stream: imported, type: "Opened", payload: { _tag: "Opened" }, time },
      { stream: imported, type: "Deposited", payload: { _tag: "Deposited", amount: 1 } }
    )))
    for (const [imported, skipped] of [[2, 0], [0, 2]]) {
      assert.deepInclude(Option.getOrThrow(yield* importing), { imported, skipped })
    }
    const [oldest] = Chunk.toReadonlyArray(yield* Stream.runCollect(events.read(imported)))
    assert.deepStrictEqual(oldest.time, time)
    assert.deepInclude(conflict, { _tag: "VersionConflict", actual: 7 })
    assert.strictEqual((yield* Effect.flip(append("e7", 7)))._tag, "DuplicateEventId")
    assert.strictEqual((yield* accounts.execute(id("a"), Deposit.make({ amount: 1 }))).version, 8)
    assert.strictEqual(yield* events.version(stream), 8)

    const sql = yield* SqlClient.SqlClient
    yield* sql.withTransaction(Effect.gen(function*() {
      assert.deepStrictEqual(yield* append("e7", 6), { ...first, duplicate: true })
      assert.strictEqual((yield* accounts.load(id("a"))).version, 8)
    }))

    assert.isTrue(yield* stored.exists(stream, { schemaVersion: 1 }))
    assert.strictEqual(yield* stored.deleteByType("Account", { dryRun: true }), 1)
    assert.strictEqual(yield* stored.deleteByType("Account"), 1)
    assert.deepInclude(yield* accounts.load(id("a")), { version: 8, snapshotVersion: 0, replayed: 8 })
  }).pipe(Effect.scoped)

for (const [name, client] of [clients[0], clients[4]]) {
  const stores = Layer.provideMerge(sqlStores, client)
  EventStoreContract.suite(runner, name, stores, tamper)
  SnapshotStoreContract.suite(runner, name, stores)
}

const emptied = Effect.flatMap(
  SqlClient.SqlClient,
  (sql) => Effect.zipRight(sql`DELETE FROM eventsourcing_events`, sql`DELETE FROM eventsourcing_snapshots`)
)

for (const [name, client] of clients) {
  const stores = Layer.provideMerge(sqlStores, client)
  describe(`repositories on ${name}`, () => {
    it("load, execute and take snapshots", () =>
      Effect.runPromise(
        program(SnapshotPolicy.sync({ every: 5 })).pipe(
          Effect.zipRight(emptied),
          Effect.zipRight(program(SnapshotPolicy.inline({ every: 5 }))),
          // the tables are there by now
          Effect.zipRight(SqlEventStore.make({ migrate: false })),
          Effect.provide(stores)
        )
      ))
  })
}

describe("safe integers that one caller turned on in SQLite", () => {
  it("affect only that caller's statements", () =>
    Effect.runPromise(
      program(SnapshotPolicy.sync({ every: 5 })).pipe(
        Effect.provideService(SqlClient.SafeIntegers, true),
        Effect.zipRight(emptied),
        Effect.zipRight(program(SnapshotPolicy.sync({ every: 5 }))),
        Effect.provide(Layer.provideMerge(sqlStores, sqliteFile(":memory:")))
      )
    ))

  it("do not prevent the stores from lowering the driver's busy timeout", () =>
    Effect.runPromise(
      Effect.gen(function*() {
        const sql = yield* SqlClient.SqlClient
        yield* SqlEventStore.make()
        assert.deepStrictEqual(yield* sql`PRAGMA busy_timeout`, [{ timeout: 10n }])
      }).pipe(Effect.provide(Layer.provideMerge(SqliteClient.layer({ filename: ":memory:" }), safeIntegers)))
    ))
})

describe("a PostgreSQL client that converts every value", () => {
  it("is a typed error when the layer is built", () =>
    Effect.runPromise(
      Effect.gen(function*() {
        const failure = yield* Effect.flip(SqlEventStore.make())
        assert.instanceOf(failure, SqlMigrations.MigrationError)
        assert.include(failure.message, "`types`")
      }).pipe(Effect.provide(postgres({ types: { getTypeParser: () => (text: string) => text.trim() } })))
    ))
})

describe("parsers that are replaced for all clients of PostgreSQL", () => {
  const replaced = Object.values(pg.types.builtins)
  const before = replaced.map((oid) => pg.types.getTypeParser(oid))
  afterAll(() => replaced.forEach((oid, index) => pg.types.setTypeParser(oid, before[index])))

  it("do not affect the stores", async () => {
    replaced.forEach((oid) => pg.types.setTypeParser(oid, (text: string) => ({ text })))
    await Effect.runPromise(
      Effect.provide(program(SnapshotPolicy.sync({ every: 5 })), Layer.provideMerge(sqlStores, postgres({})))
    )
  })
})

describe("rows of another type than their columns have", () => {
  it("are converted, or are a typed error", () =>
    Effect.runPromise(
      Effect.gen(function*() {
        const sql = yield* SqlClient.SqlClient
        // as a program made them that knew no STRICT
        yield* sql`CREATE TABLE eventsourcing_events (position INTEGER PRIMARY KEY AUTOINCREMENT, aggregate, stream_id,
version, event_id UNIQUE, type, payload, metadata, time, UNIQUE (aggregate, stream_id, version))`
        const events = yield* SqlEventStore.make()
        const append = events.append(stream, [{ id: "e1", type: "Opened", payload: { _tag: "Opened" } }], {
          expectedVersion: ExpectedVersion.noStream
        })
        yield* append
        yield* sql`UPDATE eventsourcing_events SET version = 1.0, payload = CAST(payload AS BLOB), time = '7'`
        assert.strictEqual(yield* events.version(stream), 1)
        assert.deepStrictEqual(yield* events.replay.readTail(stream, { fromVersion: 1, limit: 1 }), [
          { version: 1, type: "Opened", payload: "{\"_tag\":\"Opened\"}", eventId: "e1", time: 7 }
        ])
        const [read] = Chunk.toReadonlyArray(yield* Stream.runCollect(events.read(stream)))
        assert.deepInclude(read, { version: 1, payload: { _tag: "Opened" } })
        assert.strictEqual(read.time.epochMillis, 7)
        assert.strictEqual((yield* append).version, 1)
        for (const edit of ["time = 'noon'", "time = 7, metadata = 7", "metadata = x'00', payload = x'ff'"]) {
          yield* sql`UPDATE eventsourcing_events SET ${sql.literal(edit)}`
          assert.strictEqual((yield* Effect.flip(Stream.runDrain(events.read(stream))))._tag, "EventDecodeError")
        }
      }).pipe(Effect.provide(sqliteFile(":memory:")))
    ))
})
