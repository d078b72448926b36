import { SqlClient, SqlError } from "@effect/sql"
import { SqliteClient } from "@effect/sql-sqlite-node"
import { assert, describe, it } from "@effect/vitest"
import Database from "better-sqlite3"
import { Context, Effect, Exit, Layer, Option, Scope, Stream } from "effect"
import {
  EventStore,
  ExpectedVersion,
  InvalidOption,
  Position,
  Repository,
  SnapshotPolicy,
  SqlEventStore,
  Sqlite,
  SqlMigrations,
  SqlSnapshotStore,
  SqlStores
} from "effect-eventsourcing"
import { SqlFaults } from "effect-eventsourcing/testing"
import * as fs from "node:fs"
import * as path from "node:path"
import { classify } from "../../src/internal/sql/failure.js"
import { Account, deposit, event, id, open, stream } from "../fixtures/Account.js"
import { sqliteFile, sqlStores, temporaryFolder } from "../utils/backends.js"
import { fourProcesses } from "../utils/increments.js"
import { typedFailure } from "../utils/observe.js"
import { start } from "../utils/process.js"

const onFile = (file: string) => Layer.provideMerge(sqlStores, sqliteFile(file))

const memory = Layer.provideMerge(sqlStores, sqliteFile(":memory:"))

const build = <A, E>(layer: Layer.Layer<A, E>) => Effect.exit(Effect.scoped(Layer.build(layer)))

describe("opening a file", () => {
  it.scoped("sets write-ahead log, synchronous and busy timeout", () =>
    Effect.gen(function*() {
      const folder = yield* temporaryFolder
      const pragmas = Effect.gen(function*() {
        const sql = yield* SqlClient.SqlClient
        const [journal] = yield* sql`PRAGMA journal_mode`
        const [synchronous] = yield* sql`PRAGMA synchronous`
        const [busy] = yield* sql`PRAGMA busy_timeout`
        return { ...journal, ...synchronous, ...busy }
      })
      const opened = (options: Sqlite.Options & { readonly disableWAL?: boolean }) =>
        pragmas.pipe(Effect.provide(
          Sqlite.layer(SqliteClient.layer, {
            filename: path.join(folder, `${Object.values(options).join()}.db`),
            ...options
          })
        ))
      assert.deepStrictEqual(yield* opened({}), { journal_mode: "wal", synchronous: 2, timeout: 10 })
      assert.deepStrictEqual(yield* opened({ synchronous: "NORMAL", busyTimeout: "1 seconds" }), {
        journal_mode: "wal",
        synchronous: 1,
        timeout: 1_000
      })
      // the deletion of a rollback journal has to reach the disk too
      assert.deepInclude(yield* opened({ disableWAL: true }), { journal_mode: "delete", synchronous: 3 })
      assert.deepInclude(yield* opened({ disableWAL: true, synchronous: "NORMAL" }), {
        journal_mode: "delete",
        synchronous: 1
      })
      // a client opened in another way keeps what its owner chose, but for the driver's five seconds
      const plain = SqliteClient.layer({ filename: path.join(folder, "plain.db") })
      const after = yield* Effect.zipRight(SqlEventStore.make(), pragmas).pipe(Effect.provide(plain))
      assert.deepInclude(after, { journal_mode: "wal", timeout: 10 })
    }))

  it.scoped("a file that is not a database fails with its name, and is not changed", () =>
    Effect.gen(function*() {
      const folder = yield* temporaryFolder
      const text = path.join(folder, "notes.txt")
      fs.writeFileSync(text, "no database at all, but long enough to look like something ".repeat(100))
      const before = fs.readFileSync(text)
      for (
        const [filename, says] of [[text, "not a database"], [folder, "folder"], [
          path.join(folder, "a", "b.db"),
          "folder"
        ]]
      ) {
        const failure = typedFailure(yield* build(onFile(filename)))
        assert.instanceOf(failure, Sqlite.DatabaseError)
        assert.include(failure.message, says)
        assert.include(failure.message, path.basename(filename))
      }
      assert.deepStrictEqual(fs.readFileSync(text), before)
      for (const filename of ["", " ", "\t", " :memory:", "bank.db ", "a\u0000b"]) {
        assert.instanceOf(typedFailure(yield* build(onFile(filename))), InvalidOption.InvalidOption)
      }
      const synchronous: unknown = typedFailure(
        yield* build(
          Sqlite.layer(SqliteClient.layer, { filename: ":memory:", ...JSON.parse("{\"synchronous\":\"OFF\"}") })
        )
      )
      assert.instanceOf(synchronous, InvalidOption.InvalidOption)
    }))

  it.scoped("read-only: reads succeed, and a write is a typed error", () =>
    Effect.gen(function*() {
      const file = path.join(yield* temporaryFolder, "bank.db")
      const readOnly = Layer.provideMerge(
        sqlStores,
        Sqlite.layer(SqliteClient.layer, { filename: file, readonly: true })
      )
      assert.instanceOf(typedFailure(yield* build(readOnly)), Sqlite.DatabaseError)
      yield* Effect.flatMap(Repository.make(Account), (accounts) => accounts.execute(id("a"), open)).pipe(
        Effect.provide(onFile(file))
      )
      yield* Effect.gen(function*() {
        const accounts = yield* Repository.make(Account, { snapshots: SnapshotPolicy.sync({ every: 1 }) })
        assert.deepInclude(yield* accounts.load(id("a")), { version: 1, state: { open: true, balance: 0 } })
        const failure = yield* Effect.flip(accounts.execute(id("a"), deposit(1)))
        assert.isTrue(failure._tag === "EventStoreError" && !failure.mayHaveAppended)
        assert.include(failure.message, "readonly")
      }).pipe(Effect.provide(readOnly))
      // tables that are not there cannot be made
      const empty = path.join(path.dirname(file), "empty.db")
      new Database(empty).exec("CREATE TABLE t (x)").close()
      const failure = typedFailure(
        yield* build(Layer.provide(sqlStores, Sqlite.layer(SqliteClient.layer, { filename: empty, readonly: true })))
      )
      assert.instanceOf(failure, SqlMigrations.MigrationError)
      assert.include(failure.message, "readonly")
    }).pipe(Effect.scoped))

  it.scopedLive(
    "locked by another process: a typed error in the end, and the event loop is not blocked",
    () =>
      Effect.gen(function*() {
        const file = path.join(yield* temporaryFolder, "bank.db")
        yield* Effect.scoped(Layer.build(onFile(file)))
        const holder = start("test/utils/hold-lock.ts", [file, "exclusive"])
        yield* Effect.promise(() => holder.line("locked"))
        let ticks = 0
        const ticking = setInterval(() => ticks++, 10)
        const failure = typedFailure(yield* build(onFile(file)))
        clearInterval(ticking)
        assert.isTrue(failure instanceof Sqlite.DatabaseError)
        assert.include(String(failure), "another process")
        // one that is blocked has none
        assert.isAbove(ticks, 10)
        holder.tell("let go")
        yield* Effect.promise(() => holder.exited)
        yield* Effect.scoped(Layer.build(onFile(file)))
      })
  )

  it.scopedLive(
    "an append waits for a writer of another process, and succeeds when that writer has committed",
    () =>
      Effect.gen(function*() {
        const file = path.join(yield* temporaryFolder, "bank.db")
        yield* Effect.gen(function*() {
          const store = yield* EventStore.EventStore
          const holder = start("test/utils/hold-lock.ts", [file, "immediate"])
          yield* Effect.promise(() => holder.line("locked"))
          let ticks = 0
          const ticking = setInterval(() => {
            if (++ticks === 50) holder.tell("let go")
          }, 10)
          const result = yield* store.append(stream("a"), [event(1)], { expectedVersion: ExpectedVersion.noStream })
          clearInterval(ticking)
          assert.strictEqual(result.version, 1)
          assert.isAtLeast(ticks, 50)
          yield* Effect.promise(() => holder.exited)
        }).pipe(Effect.provide(onFile(file)))
      })
  )

  it.scoped("the same file may be opened twice, and again later", () =>
    Effect.gen(function*() {
      const file = path.join(yield* temporaryFolder, "bank.db")
      const write = Effect.flatMap(EventStore.EventStore, (store) =>
        store.append(stream("a"), [event(1)], { expectedVersion: ExpectedVersion.any }))
      for (let i = 0; i < 3; i++) {
        yield* Effect.all([
          Effect.provide(write, Layer.fresh(onFile(file))),
          Effect.provide(write, Layer.fresh(onFile(file)))
        ], { concurrency: "unbounded" })
      }
      const version = yield* Effect.flatMap(EventStore.EventStore, (store) =>
        store.version(stream("a"))).pipe(
          Effect.provide(onFile(file))
        )
      assert.strictEqual(version, 6)
    }))

  for (const mode of ["sync", "background"]) {
    it.scopedLive(
      `four processes open a new file at once and lose no increment (${mode})`,
      () =>
        Effect.gen(function*() {
          const file = path.join(yield* temporaryFolder, "bank.db")
          yield* fourProcesses(file, mode, onFile(file))
        })
    )
  }
})

const tablesOf = (prefix: string) =>
  ["archive", "checkpoints", "events", "inline", "members", "migrations", "parked", "snapshots", "subscriptions"].map(
    (name) => `${prefix}_${name}`
  )

describe("prefix", () => {
  it.scoped("SqlStores.layerWith gives it to both stores, which share the client", () =>
    Effect.gen(function*() {
      const accounts = yield* Repository.make(Account, { snapshots: SnapshotPolicy.sync({ every: 1 }) }).pipe(
        Effect.provide(SqlStores.layerWith({ prefix: "bank" }))
      )
      yield* accounts.execute(id("a"), open)
      const sql = yield* SqlClient.SqlClient
      assert.deepStrictEqual(
        yield* sql`SELECT (SELECT count(*) FROM bank_events) AS events, (SELECT count(*) FROM bank_snapshots) AS snapshots`,
        [{ events: 1, snapshots: 1 }]
      )
    }).pipe(Effect.provide(sqliteFile(":memory:"))))

  it.effect("one that is not an identifier is rejected", () =>
    Effect.gen(function*() {
      for (
        const prefix of [
          "",
          " ",
          "a b",
          "1a",
          "a-b",
          "a;",
          "a\"",
          "'",
          "a.b.c",
          ".a",
          "a.",
          "ä",
          "\u0000",
          "x".repeat(41)
        ]
      ) {
        const layers: ReadonlyArray<Layer.Layer<never, unknown>> = [
          Layer.provide(SqlEventStore.layerWith({ prefix }), sqliteFile(":memory:")),
          Layer.provide(SqlSnapshotStore.layerWith({ prefix }), sqliteFile(":memory:"))
        ]
        for (const layer of layers) {
          const failure = typedFailure(yield* build(layer))
          assert.instanceOf(failure, InvalidOption.InvalidOption)
          assert.strictEqual(failure.option, "prefix")
        }
      }
    }))

  it.scoped("tables of two prefixes are separate, and a prefix may name a schema", () =>
    Effect.gen(function*() {
      const append = Effect.flatMap(EventStore.EventStore, (store) =>
        store.append(stream("a"), [event(1)], { expectedVersion: ExpectedVersion.noStream }))
      for (const prefix of ["one", "two", "main.three", "__proto__", "select"]) {
        yield* Effect.provide(append, SqlEventStore.layerWith({ prefix }))
        const snapshots = yield* SqlSnapshotStore.make({ prefix })
        assert.isFalse(yield* snapshots.exists(stream("a")))
        assert.strictEqual(
          yield* snapshots.save({
            stream: stream("a"),
            version: 1,
            eventId: "e",
            schemaVersion: 1,
            fingerprint: "f",
            state: "{}",
            time: 0
          }),
          "Saved"
        )
      }
      const sql = yield* SqlClient.SqlClient
      const tables =
        yield* sql`SELECT name FROM sqlite_master WHERE type = 'table' AND name LIKE 'three%' ORDER BY name`
      assert.deepStrictEqual(tables.map(({ name }) => name), tablesOf("three"))
    }).pipe(Effect.provide(sqliteFile(":memory:"))))

  it.scoped("one that differs from another only in case is rejected, and so is a database that is not attached", () =>
    Effect.gen(function*() {
      yield* SqlEventStore.make({ prefix: "Acme" })
      yield* SqlSnapshotStore.make({ prefix: "Acme" })
      for (const prefix of ["acme", "ACME", "main.acme"]) {
        const stores: ReadonlyArray<
          Effect.Effect<unknown, Effect.Effect.Error<ReturnType<typeof SqlEventStore.make>>, SqlClient.SqlClient>
        > = [SqlEventStore.make({ prefix }), SqlSnapshotStore.make({ prefix })]
        for (const make of stores) {
          const failure = yield* Effect.flip(make)
          assert.instanceOf(failure, SqlMigrations.MigrationError)
          assert.include(failure.message, "Acme_events is there, whose name differs only in upper and lower case")
        }
      }
      yield* SqlEventStore.make({ prefix: "main.Acme" })
      for (const [prefix, says] of [["acme.es", "attached as acme"], ["temp.es", "end with the connection"]]) {
        assert.include((yield* Effect.flip(SqlEventStore.make({ prefix }))).message, says)
      }
    }).pipe(Effect.provide(sqliteFile(":memory:"))))

  it.scoped("a database that is attached is as durable as the main one", () =>
    Effect.gen(function*() {
      const folder = yield* temporaryFolder
      const levels = (synchronous: "FULL" | "NORMAL", mode: string) =>
        Effect.gen(function*() {
          const sql = yield* SqlClient.SqlClient
          yield* sql`ATTACH ${path.join(folder, `${synchronous}${mode}.db`)} AS other`
          yield* sql`PRAGMA other.journal_mode = ${sql.literal(mode)}`
          yield* sql`PRAGMA other.synchronous = OFF`
          yield* SqlEventStore.make({ prefix: "other.es" })
          return yield* sql`PRAGMA other.synchronous`
        }).pipe(
          Effect.provide(Sqlite.layer(SqliteClient.layer, { filename: path.join(folder, "main.db"), synchronous }))
        )
      assert.deepStrictEqual(yield* levels("FULL", "WAL"), [{ synchronous: 2 }])
      assert.deepStrictEqual(yield* levels("FULL", "DELETE"), [{ synchronous: 3 }])
      assert.deepStrictEqual(yield* levels("NORMAL", "WAL"), [{ synchronous: 1 }])
    }))

  it.effect("the statements of the migration can be read", () =>
    Effect.gen(function*() {
      const db = new Database(":memory:")
      for (const statement of yield* SqlMigrations.statementsSqlite({ prefix: "bank" })) db.exec(statement)
      const names = db.prepare("SELECT name FROM sqlite_master WHERE type = 'table' AND name LIKE 'bank%'").pluck()
        .all()
      assert.deepStrictEqual(names.sort(), tablesOf("bank"))
    }))
})

describe("rows edited by hand", () => {
  const edited = (
    name: string,
    change: string,
    tag: "EventDecodeError" | "HistoryGap" | undefined
  ) =>
    it.scoped(name, () =>
      Effect.gen(function*() {
        const sql = yield* SqlClient.SqlClient
        const accounts = yield* Repository.make(Account, { snapshots: SnapshotPolicy.manual })
        yield* accounts.executeAll(id("a"), [open, deposit(1, 9)])
        yield* sql.unsafe(change)
        const attempts: ReadonlyArray<Effect.Effect<{ readonly version: number }, { readonly _tag: string }>> = [
          accounts.load(id("a")),
          accounts.execute(id("a"), deposit(1))
        ]
        for (const attempt of attempts) {
          const outcome = yield* Effect.either(attempt)
          assert.strictEqual(outcome._tag === "Left" ? outcome.left._tag : undefined, tag)
        }
      }).pipe(Effect.provide(memory)))

  edited(
    "a payload that is no JSON",
    "UPDATE eventsourcing_events SET payload = '{' WHERE version = 4",
    "EventDecodeError"
  )
  edited(
    "a payload of another shape",
    "UPDATE eventsourcing_events SET payload = '{}' WHERE version = 4",
    "EventDecodeError"
  )
  edited("an unknown type", "UPDATE eventsourcing_events SET type = 'toString' WHERE version = 4", "EventDecodeError")
  edited("a missing first event", "DELETE FROM eventsourcing_events WHERE version = 1", "HistoryGap")
  edited("a missing event", "DELETE FROM eventsourcing_events WHERE version = 5", "HistoryGap")
  edited("a version that was raised", "UPDATE eventsourcing_events SET version = 40 WHERE version = 10", "HistoryGap")
  edited("a negative version", "UPDATE eventsourcing_events SET version = -1 WHERE version = 1", "HistoryGap")
  edited(
    "metadata that is no JSON does not concern a replay",
    "UPDATE eventsourcing_events SET metadata = '{'",
    undefined
  )

  it.scoped("metadata that is not JSON is a typed error of read", () =>
    Effect.gen(function*() {
      const store = yield* EventStore.EventStore
      yield* store.append(stream("a"), [event(1), event(2)], { expectedVersion: ExpectedVersion.any })
      yield* (yield* SqlClient.SqlClient)`UPDATE eventsourcing_events SET metadata = '[]' WHERE version = 2`
      for (const reading of [store.read(stream("a")), store.readAll()]) {
        const failure = yield* Effect.flip(Stream.runDrain(reading))
        assert.isTrue(failure._tag === "EventDecodeError" && failure.version === 2)
      }
    }).pipe(Effect.provide(memory)))

  it.scoped("a stream without events before its snapshot loads by it; one without the snapshot's event is replayed", () =>
    Effect.gen(function*() {
      const sql = yield* SqlClient.SqlClient
      const accounts = yield* Repository.make(Account, { snapshots: SnapshotPolicy.manual })
      yield* accounts.executeAll(id("a"), [open, deposit(1, 9)])
      yield* accounts.createSnapshot(id("a"))
      yield* accounts.execute(id("a"), deposit(1, 3))
      yield* sql`DELETE FROM eventsourcing_events WHERE version < 10`
      assert.deepInclude(yield* accounts.load(id("a")), { version: 13, snapshotVersion: 10, replayed: 3 })

      yield* accounts.executeAll(id("b"), [open, deposit(1, 9)])
      yield* accounts.createSnapshot(id("b"))
      yield* sql`DELETE FROM eventsourcing_events WHERE stream_id = 'b' AND version > 6`
      const restored = yield* accounts.load(id("b"))
      assert.deepInclude(restored, { version: 6, snapshotVersion: 0, replayed: 6 })
      assert.strictEqual(restored.snapshotOutcome._tag, "HistoryMismatch")
      yield* accounts.execute(id("b"), deposit(100))
      assert.strictEqual((yield* accounts.createSnapshot(id("b"))).outcome, "Saved")
      assert.deepInclude(yield* accounts.load(id("b")), { version: 7, snapshotVersion: 7 })

      yield* sql`DELETE FROM eventsourcing_events WHERE stream_id = 'b'`
      assert.deepInclude(yield* accounts.load(id("b")), {
        version: 0,
        exists: false,
        state: { open: false, balance: 0 }
      })
    }).pipe(Effect.provide(memory)))

  it.scoped("a missing snapshot table does not fail a command", () =>
    Effect.gen(function*() {
      const sql = yield* SqlClient.SqlClient
      const accounts = yield* Repository.make(Account, { snapshots: SnapshotPolicy.sync({ every: 1 }) })
      yield* accounts.executeAll(id("a"), [open, deposit(1, 9)])
      yield* sql`DROP TABLE eventsourcing_snapshots`
      const loaded = yield* accounts.load(id("a"))
      assert.deepInclude(loaded, { version: 10, replayed: 10 })
      assert.strictEqual(loaded.snapshotOutcome._tag, "StoreUnavailable")
      assert.strictEqual((yield* accounts.execute(id("a"), deposit(1))).version, 11)
    }).pipe(Effect.provide(memory)))

  it.scoped("a missing event table is a typed error", () =>
    Effect.gen(function*() {
      const store = yield* EventStore.EventStore
      yield* (yield* SqlClient.SqlClient)`DROP TABLE eventsourcing_events`
      const attempts: ReadonlyArray<Effect.Effect<unknown, { readonly _tag: string }>> = [
        store.version(stream("a")),
        store.append(stream("a"), [event(1)], { expectedVersion: ExpectedVersion.any }),
        Stream.runDrain(store.read(stream("a"))),
        Stream.runDrain(store.readAll())
      ]
      for (const attempt of attempts) {
        const failure = yield* Effect.flip(attempt)
        assert.strictEqual(failure._tag, "EventStoreError")
      }
    }).pipe(Effect.provide(memory)))
})

describe("a unique index", () => {
  const any = { expectedVersion: ExpectedVersion.any }
  const indexes: ReadonlyArray<readonly [what: string, on: string, says: string]> = [
    ["on a part of the rows", "(type) WHERE type = 'Deposited'", "eventsourcing_events.type"],
    ["on an expression", "(payload ->> 'amount')", "index 'rule'"],
    ["on a column and an expression", "(type, lower(payload))", "index 'rule'"],
    ["on our columns, of which it compares one in another way", "(event_id COLLATE NOCASE)", "events.event_id"],
    ["on the columns of a stream, the same", "(aggregate, stream_id COLLATE NOCASE, version)", "events.stream_id"]
  ]
  for (const [what, on, says] of indexes) {
    it.scoped(`of the program's own, ${what}, is named at once`, () => {
      const sent: Array<string> = []
      const observed = SqlFaults.layer(SqlFaults.none, { onStatement: ({ text }) => sent.push(text) })
      return Effect.gen(function*() {
        const sql = yield* SqlClient.SqlClient
        const store = yield* EventStore.EventStore
        yield* sql.unsafe(`CREATE UNIQUE INDEX rule ON eventsourcing_events ${on}`)
        const first = event(1)
        yield* store.append(stream("a"), [{ ...first, id: "id" }], any)
        sent.length = 0
        const second = on.includes("event_id") ? { ...first, id: "ID" } : event(1)
        const failure = yield* Effect.flip(store.append(stream("A"), [second], any))
        assert.deepInclude(failure, { _tag: "EventStoreError", reason: "Unavailable", mayHaveAppended: false })
        assert.include(String(failure), says)
        // two appends at most, and after each of them two looks at what stands in the store
        assert.isBelow(sent.length, 8, sent.join("\n"))
      }).pipe(Effect.provide(Layer.provideMerge(sqlStores, observed(sqliteFile(":memory:")))))
    })
  }

  it.scoped("of the store that was created again under another name still detects a repeated append and a used id", () =>
    Effect.gen(function*() {
      const sql = yield* SqlClient.SqlClient
      const store = yield* EventStore.EventStore
      yield* sql`ALTER TABLE eventsourcing_events RENAME TO old`
      yield* sql`CREATE TABLE eventsourcing_events (position INTEGER PRIMARY KEY AUTOINCREMENT, aggregate, stream_id,
version, event_id, type, payload, metadata, time)`
      yield* sql`CREATE UNIQUE INDEX built_1 ON eventsourcing_events (event_id)`
      yield* sql`CREATE UNIQUE INDEX built_2 ON eventsourcing_events (version, stream_id, aggregate)`
      const first = event(1)
      assert.strictEqual((yield* store.append(stream("a"), [first], any)).version, 1)
      assert.strictEqual((yield* store.append(stream("a"), [first], any)).version, 1)
      assert.strictEqual((yield* Effect.flip(store.append(stream("b"), [first], any)))._tag, "DuplicateEventId")
      const stale = { expectedVersion: ExpectedVersion.noStream }
      assert.strictEqual((yield* Effect.flip(store.append(stream("a"), [event(2)], stale)))._tag, "VersionConflict")
    }).pipe(Effect.provide(memory)))
})

describe("after a restore to an older backup", () => {
  const append = (text: string) =>
    Effect.flatMap(EventStore.EventStore, (store) =>
      Effect.map(
        store.append(stream(text), [event(1)], { expectedVersion: ExpectedVersion.any }),
        ({ position }) => Option.getOrThrow(position)
      ))
  const since = (after: Position.Position) =>
    Effect.flatMap(
      EventStore.EventStore,
      (store) =>
        Effect.map(
          Stream.runCollect(store.readAll({ after })),
          (events) => Array.from(events, ({ stream }) => stream.id)
        )
    )

  for (const prefix of ["eventsourcing", "main.Bank"]) {
    it.scoped(`a reader with a higher checkpoint skips nothing (${prefix})`, () =>
      Effect.gen(function*() {
        const folder = yield* temporaryFolder
        const [file, backup] = [path.join(folder, "bank.db"), path.join(folder, "backup.db")]
        const onFile = (file: string) => Layer.provideMerge(SqlEventStore.layerWith({ prefix }), sqliteFile(file))
        const checkpoint = yield* Effect.gen(function*() {
          const sql = yield* SqlClient.SqlClient
          yield* append("before")
          yield* sql`VACUUM INTO ${backup}`
          yield* append("lost")
          return yield* append("lost")
        }).pipe(Effect.provide(onFile(file)))
        yield* Effect.gen(function*() {
          const restored = SqlMigrations.afterRestore({ prefix, after: checkpoint })
          yield* restored
          // twice is once, and a lower one takes nothing back
          yield* restored
          yield* SqlMigrations.afterRestore({ prefix, after: Position.start })
          yield* append("after")
          assert.deepStrictEqual(yield* since(checkpoint), ["after"])
          assert.deepStrictEqual(yield* since(Position.start), ["before", "after"])
        }).pipe(Effect.provide(onFile(backup)))
        // a backup of a store that was still empty
        yield* Effect.gen(function*() {
          yield* SqlMigrations.afterRestore({ prefix, after: checkpoint })
          yield* append("first")
          assert.deepStrictEqual(yield* since(checkpoint), ["first"])
        }).pipe(Effect.provide(onFile(path.join(folder, "empty.db"))))
      }))
  }

  it.scoped("a value that is not a position of SQLite is rejected", () =>
    Effect.gen(function*() {
      const positions = [
        "",
        "12",
        "-1",
        `${"0".repeat(20)}--${"1".repeat(19)}`,
        `${"0".repeat(20)}-${"9".repeat(20)}`,
        // of PostgreSQL
        Position.fromParts(7, 7)
      ]
      for (const after of positions) {
        const failure = yield* Effect.flip(SqlMigrations.afterRestore(JSON.parse(JSON.stringify({ after }))))
        assert.instanceOf(failure, InvalidOption.InvalidOption)
        assert.strictEqual(failure.option, "after")
      }
      yield* append("a")
    }).pipe(Effect.provide(memory)))
})

describe("a database that was closed", () => {
  it.scopedLive("fails at once with an error that says that nothing was appended", () =>
    Effect.gen(function*() {
      const folder = yield* temporaryFolder
      const clients: ReadonlyArray<Layer.Layer<SqlClient.SqlClient, unknown>> = [
        sqliteFile(":memory:"),
        // the close removes the write-ahead log
        sqliteFile(path.join(folder, "test.db")),
        plain
      ]
      for (const client of clients) {
        const scope = yield* Scope.make()
        const stores = yield* Layer.buildWithScope(Layer.provideMerge(sqlStores, client), scope)
        const append = Effect.flatMap(EventStore.EventStore, (store) =>
          store.append(stream("a"), [event(1)], { expectedVersion: ExpectedVersion.any }))
        yield* Effect.provide(append, stores)
        yield* Scope.close(scope, Exit.void)
        const failure = yield* Effect.flip(Effect.provide(append, stores))
        assert.isTrue(failure._tag === "EventStoreError" && !failure.mayHaveAppended)
        assert.include(failure.message, "closed")
        // a kind that nothing repeats
        assert.strictEqual(classify(closed).kind, "Closed")
      }
      const sql = yield* Effect.scoped(Effect.map(
        Layer.build(sqliteFile(":memory:")),
        (context) =>
          Context.get(context, SqlClient.SqlClient)
      ))
      assert.instanceOf(yield* Effect.flip(sql.withTransaction(Effect.void)), SqlError.SqlError)
    }))

  const plain = SqliteClient.layer({ filename: ":memory:" })
  const closed = new SqlError.SqlError({ cause: new TypeError("The database connection is not open") })
})

describe("a Node.js that is too old", () => {
  it.effect("is named", () =>
    Effect.gen(function*() {
      const { versions } = process
      const failure = yield* Effect.acquireUseRelease(
        Effect.sync(() => Object.defineProperty(process, "versions", { value: { ...versions, node: "18.20.4" } })),
        () => Effect.map(build(sqliteFile(":memory:")), typedFailure),
        () => Effect.sync(() => Object.defineProperty(process, "versions", { value: versions }))
      )
      assert.instanceOf(failure, InvalidOption.InvalidOption)
      assert.include(failure.message, "18.20.4")
    }))
})

describe("a transaction", () => {
  it.scoped("that cannot begin fails with a typed error", () =>
    Effect.gen(function*() {
      const file = path.join(yield* temporaryFolder, "readonly.db")
      yield* Effect.scoped(Layer.build(onFile(file)))
      const client = Sqlite.layer(SqliteClient.layer, { filename: file, readonly: true })
      const exit = yield* Effect.exit(
        Effect.flatMap(SqlClient.SqlClient, (sql) => sql.withTransaction(sql`DELETE FROM eventsourcing_events`)).pipe(
          Effect.provide(client)
        )
      )
      assert.strictEqual(typedFailure(exit)._tag, "SqlError")
    }))

  it.scoped("of a service in the driver's layer is one like any other", () => {
    class Notes extends Context.Tag("Notes")<Notes, { readonly add: Effect.Effect<void, SqlError.SqlError> }>() {}
    const notes = Layer.effect(
      Notes,
      Effect.map(SqlClient.SqlClient, (sql) => ({
        add: Effect.suspend(() => Effect.asVoid(sql.withTransaction(sql`INSERT INTO notes DEFAULT VALUES`)))
      }))
    )
    const driver = (config: SqliteClient.SqliteClientConfig) => Layer.provideMerge(notes, SqliteClient.layer(config))
    return Effect.gen(function*() {
      const sql = yield* SqlClient.SqlClient
      const { add } = yield* Notes
      yield* sql`CREATE TABLE notes (id INTEGER PRIMARY KEY)`
      const count = Effect.map(sql`SELECT NULL FROM notes`, (rows) => rows.length)
      yield* Effect.all([add, add, sql.withTransaction(add), SqlStores.transaction(add)], { concurrency: "unbounded" })
      assert.strictEqual(yield* count, 4)
      yield* Effect.flip(sql.withTransaction(Effect.zipRight(add, Effect.fail("undone"))))
      assert.strictEqual(yield* count, 4)
    }).pipe(Effect.provide(Sqlite.layer(driver, { filename: ":memory:" })))
  })
})

describe("round trips", () => {
  const prototype = Object.getPrototypeOf(new Database(":memory:").prepare("SELECT 1"))
  const counting = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
    Effect.acquireUseRelease(
      Effect.sync(() => {
        const { all, run } = prototype
        const counter = { count: 0, restore: () => Object.assign(prototype, { all, run }) }
        prototype.all = function(...args: ReadonlyArray<unknown>) {
          counter.count++
          return all.apply(this, args)
        }
        prototype.run = function(...args: ReadonlyArray<unknown>) {
          counter.count++
          return run.apply(this, args)
        }
        return counter
      }),
      (counter) => Effect.map(effect, () => counter.count),
      (counter) => Effect.sync(counter.restore)
    )

  it.scoped("one statement a load, one an append, one a save", () =>
    Effect.gen(function*() {
      const accounts = yield* Repository.make(Account, { snapshots: SnapshotPolicy.sync({ every: 10 }) })
      const store = yield* EventStore.EventStore
      assert.strictEqual(yield* counting(accounts.executeAll(id("a"), [open, deposit(1, 4)])), 2)
      assert.strictEqual(yield* counting(accounts.load(id("a"))), 1)
      // and one that proves the history that the snapshot is of
      assert.strictEqual(yield* counting(accounts.execute(id("a"), deposit(1, 5))), 4)
      assert.strictEqual(yield* counting(accounts.load(id("a"))), 1)
      assert.strictEqual(yield* counting(accounts.execute(id("a"), deposit(1))), 2)
      const many = Array.from({ length: 1_000 }, (_, n) => event(n))
      assert.strictEqual(yield* counting(store.append(stream("b"), many, { expectedVersion: ExpectedVersion.any })), 1)
      assert.strictEqual(yield* counting(accounts.execute(id("a"), open)), 1)
    }).pipe(Effect.provide(memory)))
})
