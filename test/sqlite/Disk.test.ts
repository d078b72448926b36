import { SqlClient } from "@effect/sql"
import { assert, describe, it } from "@effect/vitest"
import Database from "better-sqlite3"
import { Chunk, Effect, Exit, Layer, Logger, Scope, Stream } from "effect"
import { EventStore, Repository, SnapshotPolicy, SnapshotStore, StreamId } from "effect-eventsourcing"
import * as childProcess from "node:child_process"
import * as fs from "node:fs"
import * as path from "node:path"
import { Account, id, open } from "../fixtures/Account.js"
import { sqliteFile, sqlStores, temporaryFolder } from "../utils/backends.js"

const deposit = { _tag: "Deposit", amount: 1, times: 20 } as const
const stream = StreamId.make("Account", "a")

const onFile = (file: string) => Layer.provideMerge(sqlStores, sqliteFile(file))

const policies = [SnapshotPolicy.sync({ every: 1 }), SnapshotPolicy.background({ every: 1 })]

const quiet = Effect.provide(Logger.replace(Logger.defaultLogger, Logger.none))

const integrity = Effect.flatMap(
  SqlClient.SqlClient,
  (sql) =>
    Effect.map(sql<{ readonly integrity_check: string }>`PRAGMA integrity_check`, (rows) => {
      assert.deepStrictEqual(rows.map((row) => row.integrity_check), ["ok"])
    })
)

/** Commands until one fails. */
const fill = (accounts: Repository.Repository<typeof Account>) =>
  Effect.gen(function*() {
    let version = (yield* accounts.load(id("a"))).version
    while (true) {
      const outcome = yield* Effect.either(accounts.execute(id("a"), deposit))
      if (outcome._tag === "Left") return { failure: outcome.left, version }
      version = outcome.right.version
    }
  })

const fullThenNot = (
  policy: SnapshotPolicy.SnapshotPolicy,
  room: {
    readonly shrink: Effect.Effect<void, unknown, SqlClient.SqlClient>
    readonly grow: Effect.Effect<void, unknown, SqlClient.SqlClient>
  }
) =>
  Effect.gen(function*() {
    const events = yield* EventStore.EventStore
    const accounts = yield* Repository.make(Account, { snapshots: policy })
    yield* accounts.execute(id("a"), open)
    yield* room.shrink
    const { failure, version } = yield* fill(accounts)
    assert.instanceOf(failure, EventStore.EventStoreError)
    assert.deepInclude({ ...failure }, { reason: "Unavailable", mayHaveAppended: false })
    assert.include(failure.message, "full")
    // what was acknowledged is there, and what was refused is not
    assert.strictEqual(yield* events.version(stream), version)
    assert.deepInclude(yield* accounts.load(id("a")), { version, state: { open: true, balance: version - 1 } })
    assert.instanceOf(yield* Effect.flip(accounts.execute(id("a"), deposit)), EventStore.EventStoreError)
    yield* accounts.awaitPendingSnapshots
    yield* room.grow
    const after = yield* accounts.execute(id("a"), deposit)
    assert.strictEqual(after.version, version + 20)
    yield* accounts.awaitPendingSnapshots
    assert.deepInclude(yield* accounts.load(id("a")), { version: version + 20, snapshotVersion: version + 20 })
    const all = Chunk.toReadonlyArray(yield* Stream.runCollect(events.read(stream)))
    assert.deepStrictEqual(all.map((event) => event.version), Array.from({ length: version + 20 }, (_, n) => n + 1))
    yield* integrity
  }).pipe(Effect.scoped, quiet)

describe("a full disk", () => {
  const limited = (pages: number) =>
    Effect.flatMap(
      SqlClient.SqlClient,
      (sql) => Effect.asVoid(sql`PRAGMA max_page_count = ${sql.literal(String(pages))}`)
    )

  for (const policy of policies) {
    it.scopedLive(`a database that may not grow (${policy._tag})`, () =>
      Effect.gen(function*() {
        const file = path.join(yield* temporaryFolder, "full.db")
        yield* fullThenNot(policy, { shrink: limited(60), grow: limited(100_000) }).pipe(Effect.provide(onFile(file)))
      }))
  }

  const mounted = Effect.acquireRelease(
    Effect.sync(() => {
      const folder = fs.mkdtempSync("/tmp/eventsourcing-full-")
      const { status } = childProcess.spawnSync("mount", ["-t", "tmpfs", "-o", "size=1m", "tmpfs", folder])
      return { folder, works: status === 0 }
    }),
    ({ folder, works }) =>
      Effect.sync(() => {
        if (works) childProcess.spawnSync("umount", [folder])
        fs.rmdirSync(folder)
      })
  )
  const mayMount = Effect.runSync(Effect.scoped(Effect.map(mounted, ({ works }) => works)))

  // only root may mount a disk that is that small
  for (const policy of policies) {
    it.scopedLive.skipIf(!mayMount)(`a disk of one megabyte (${policy._tag})`, () =>
      Effect.gen(function*() {
        const { folder } = yield* mounted
        const ballast = path.join(folder, "ballast")
        yield* fullThenNot(policy, {
          shrink: Effect.sync(() => fs.writeFileSync(ballast, Buffer.alloc(400_000))),
          grow: Effect.sync(() => fs.rmSync(ballast))
        }).pipe(Effect.provide(onFile(path.join(folder, "full.db"))))
      }))
  }
})

describe("a database file that was removed or replaced", () => {
  const parts = (file: string) => ["", "-wal", "-shm"].map((suffix) => file + suffix)

  const away: ReadonlyArray<readonly [name: string, says: string, take: (file: string) => void]> = [
    ["removed", "removed", (file) => parts(file).slice(0, 1).forEach((part) => fs.renameSync(part, `${part}.away`))],
    ["removed with its log", "removed", (file) => parts(file).forEach((part) => fs.renameSync(part, `${part}.away`))],
    ["replaced by another database", "replaced", (file) => {
      parts(file).forEach((part) => fs.renameSync(part, `${part}.away`))
      new Database(file).exec("CREATE TABLE t (x)").close()
    }],
    ["replaced by something else", "replaced", (file) => {
      parts(file).forEach((part) => fs.renameSync(part, `${part}.away`))
      fs.writeFileSync(file, "no database")
    }]
  ]
  const beside = (suffix: string): ReadonlyArray<typeof away[number]> => [
    [`its ${suffix} removed`, "removed", (file) => fs.renameSync(file + suffix, `${file + suffix}.away`)],
    [`its ${suffix} replaced`, "replaced", (file) => {
      fs.copyFileSync(file + suffix, `${file + suffix}.copy`)
      fs.renameSync(file + suffix, `${file + suffix}.away`)
      fs.renameSync(`${file + suffix}.copy`, file + suffix)
    }]
  ]

  for (const [name, says, take] of [...beside("-wal"), ...beside("-shm")]) {
    it.scopedLive(`${name}: no write is acknowledged, and reads succeed`, () =>
      Effect.gen(function*() {
        const file = path.join(yield* temporaryFolder, "bank.db")
        yield* Effect.gen(function*() {
          const sql = yield* SqlClient.SqlClient
          const accounts = yield* Repository.make(Account)
          yield* accounts.execute(id("a"), open)
          take(file)
          const attempts: ReadonlyArray<Effect.Effect<unknown, { readonly message: string }>> = [
            Effect.mapError(accounts.execute(id("a"), deposit), ({ message }) => ({ message })),
            sql.withTransaction(accounts.execute(id("a"), deposit)),
            Effect.mapError(sql`CREATE TABLE t (x)`, ({ cause }) => ({ message: String(cause) }))
          ]
          for (const attempt of attempts) {
            assert.include((yield* Effect.flip(attempt)).message, `was ${says} while it was open`)
          }
          assert.strictEqual((yield* accounts.load(id("a"))).version, 1)
          for (const part of parts(file)) {
            if (fs.existsSync(`${part}.away`)) fs.renameSync(`${part}.away`, part)
          }
          assert.strictEqual((yield* accounts.execute(id("a"), deposit)).version, 21)
        }).pipe(Effect.provide(onFile(file)))
        yield* Effect.provide(integrity, onFile(file))
      }))
  }

  const cuts: ReadonlyArray<readonly [name: string, part: string, length: (size: number) => number]> = [
    ["its log emptied", "-wal", () => 0],
    ["its log cut in the middle", "-wal", (size) => Math.floor(size / 2)],
    ["emptied", "", () => 0]
  ]
  for (const [name, suffix, length] of cuts) {
    it.scopedLive(`${name}: nothing is acknowledged`, () =>
      Effect.gen(function*() {
        const file = path.join(yield* temporaryFolder, "bank.db")
        yield* Effect.gen(function*() {
          const sql = yield* SqlClient.SqlClient
          const accounts = yield* Repository.make(Account)
          yield* accounts.execute(id("a"), open)
          yield* accounts.execute(id("a"), deposit)
          // of another process: to close a file would free the locks that SQLite has on it
          const before = childProcess.execFileSync("cat", [file + suffix])
          fs.truncateSync(file + suffix, length(before.length))
          for (let i = 0; i < 2; i++) {
            const attempts: ReadonlyArray<Effect.Effect<unknown, { readonly message: string }>> = [
              Effect.mapError(accounts.execute(id("a"), deposit), ({ message }) => ({ message })),
              sql.withTransaction(accounts.execute(id("a"), deposit))
            ]
            for (const attempt of attempts) {
              assert.include((yield* Effect.flip(attempt)).message, "was cut short while it was open")
            }
          }
          // put back as it was, it goes on
          childProcess.execFileSync("tee", [file + suffix], { input: before, stdio: ["pipe", "ignore", "inherit"] })
          assert.strictEqual((yield* accounts.execute(id("a"), deposit)).version, 41)
        }).pipe(Effect.provide(onFile(file)))
        yield* Effect.provide(integrity, onFile(file))
      }))
  }

  it.scopedLive("a log that a checkpoint of this process or another one empties is accepted", () =>
    Effect.gen(function*() {
      const file = path.join(yield* temporaryFolder, "bank.db")
      yield* Effect.gen(function*() {
        const sql = yield* SqlClient.SqlClient
        const accounts = yield* Repository.make(Account)
        yield* accounts.execute(id("a"), open)
        let { version } = yield* accounts.execute(id("a"), deposit)
        const other = yield* Effect.acquireRelease(
          Effect.sync(() => new Database(file)),
          (other) => Effect.sync(() => other.close())
        )
        for (
          const empty of [
            sql`PRAGMA wal_checkpoint(TRUNCATE)`,
            Effect.sync(() => other.pragma("wal_checkpoint(TRUNCATE)"))
          ]
        ) {
          yield* empty
          assert.strictEqual(fs.statSync(`${file}-wal`).size, 0)
          for (
            const execute of [
              accounts.execute(id("a"), deposit),
              sql.withTransaction(accounts.execute(id("a"), deposit))
            ]
          ) {
            version += 20
            assert.strictEqual((yield* execute).version, version)
          }
        }
      }).pipe(Effect.provide(onFile(file)))
      yield* Effect.provide(integrity, onFile(file))
    }))

  it.scopedLive("its log removed during a transaction: the transaction fails", () =>
    Effect.gen(function*() {
      const file = path.join(yield* temporaryFolder, "bank.db")
      yield* Effect.gen(function*() {
        const sql = yield* SqlClient.SqlClient
        const accounts = yield* Repository.make(Account)
        const failure = yield* Effect.flip(sql.withTransaction(
          Effect.tap(accounts.execute(id("a"), open), () =>
            Effect.sync(() => fs.renameSync(`${file}-wal`, `${file}-wal.away`)))
        ))
        assert.include(failure.message, "was removed while it was open")
        fs.renameSync(`${file}-wal.away`, `${file}-wal`)
        assert.strictEqual((yield* accounts.execute(id("a"), open)).version, 1)
      }).pipe(Effect.provide(onFile(file)))
    }))

  it.scopedLive("a change of the journal mode is not taken for a removal", () =>
    Effect.gen(function*() {
      const file = path.join(yield* temporaryFolder, "bank.db")
      yield* Effect.gen(function*() {
        const sql = yield* SqlClient.SqlClient
        const accounts = yield* Repository.make(Account)
        yield* accounts.execute(id("a"), open)
        for (const mode of ["DELETE", "WAL"]) {
          yield* sql`PRAGMA journal_mode = ${sql.literal(mode)}`
          yield* accounts.execute(id("a"), deposit)
        }
        fs.renameSync(`${file}-wal`, `${file}-wal.away`)
        yield* Effect.flip(accounts.execute(id("a"), deposit))
        fs.renameSync(`${file}-wal.away`, `${file}-wal`)
      }).pipe(Effect.provide(onFile(file)))
    }))

  it.scopedLive("a path that cannot be checked is a typed error", () =>
    Effect.gen(function*() {
      const parent = yield* temporaryFolder
      const folder = path.join(parent, "folder")
      const file = path.join(folder, "bank.db")
      fs.mkdirSync(folder)
      yield* Effect.gen(function*() {
        const store = yield* EventStore.EventStore
        const sql = yield* SqlClient.SqlClient
        const accounts = yield* Repository.make(Account)
        yield* accounts.execute(id("a"), open)
        const instead: ReadonlyArray<readonly [code: string, put: () => void]> = [
          ["ENOTDIR", () => fs.writeFileSync(folder, "")],
          ["ELOOP", () => fs.symlinkSync(folder, folder)],
          ["ENAMETOOLONG", () => fs.symlinkSync("x".repeat(300), folder)]
        ]
        for (const [code, put] of instead) {
          fs.renameSync(folder, `${folder}.away`)
          try {
            put()
          } catch {
            // the system itself refuses such a link
            fs.renameSync(`${folder}.away`, folder)
            continue
          }
          const attempts: ReadonlyArray<Effect.Effect<unknown, { readonly message: string }>> = [
            accounts.load(id("a")),
            Effect.mapError(accounts.execute(id("a"), deposit), ({ message }) => ({ message })),
            store.version(stream),
            sql.withTransaction(store.version(stream))
          ]
          for (const attempt of attempts) assert.include((yield* Effect.flip(attempt)).message, code)
          fs.rmSync(folder)
          fs.renameSync(`${folder}.away`, folder)
        }
        assert.strictEqual((yield* accounts.execute(id("a"), deposit)).version, 21)
      }).pipe(Effect.provide(onFile(file)))
    }))

  for (const policy of policies) {
    for (const [name, says, take] of away) {
      it.scopedLive(`${name}: typed errors, and no acknowledged event is lost (${policy._tag})`, () =>
        Effect.gen(function*() {
          const file = path.join(yield* temporaryFolder, "bank.db")
          const scope = yield* Scope.make()
          const stores = yield* Layer.buildWithScope(onFile(file), scope)
          const accounts = yield* Repository.make(Account, { snapshots: policy }).pipe(
            Effect.provide(stores),
            Scope.extend(scope)
          )
          yield* accounts.execute(id("a"), open)
          yield* accounts.execute(id("a"), deposit)
          yield* accounts.awaitPendingSnapshots
          take(file)
          const attempts: ReadonlyArray<Effect.Effect<unknown, { readonly _tag: string; readonly message: string }>> = [
            accounts.load(id("a")),
            accounts.execute(id("a"), deposit),
            accounts.createSnapshot(id("a")),
            Effect.flatMap(EventStore.EventStore, (store) => Stream.runDrain(store.readAll())).pipe(
              Effect.provide(stores)
            ),
            Effect.flatMap(
              EventStore.EventStore,
              (store) =>
                store.append(stream, [{ id: "x", type: "Opened", payload: { _tag: "Opened" } }], {
                  expectedVersion: { _tag: "Any" }
                })
            ).pipe(Effect.provide(stores))
          ]
          for (const attempt of attempts) {
            const failure = yield* Effect.flip(attempt)
            assert.instanceOf(failure, EventStore.EventStoreError)
            assert.isFalse(failure.mayHaveAppended)
            assert.include(failure.message, `was ${says} while it was open`)
            assert.include(failure.message, "bank.db")
          }
          const snapshots = yield* Effect.provide(SnapshotStore.SnapshotStore, stores)
          assert.instanceOf(yield* Effect.flip(snapshots.exists(stream)), SnapshotStore.SnapshotStoreError)
          yield* accounts.awaitPendingSnapshots
          // put back, it goes on
          for (const part of parts(file)) {
            if (fs.existsSync(`${part}.away`)) fs.renameSync(`${part}.away`, part)
          }
          const { version } = yield* accounts.execute(id("a"), deposit)
          assert.strictEqual(version, 41)
          yield* accounts.awaitPendingSnapshots
          yield* Scope.close(scope, Exit.void)
          yield* Effect.gen(function*() {
            const reopened = yield* Repository.make(Account, { snapshots: SnapshotPolicy.manual })
            assert.deepInclude(yield* reopened.load(id("a")), {
              version: 41,
              snapshotVersion: 41,
              state: { open: true, balance: 40 }
            })
            yield* integrity
          }).pipe(Effect.provide(onFile(file)))
        }).pipe(quiet))
    }
  }

  it.scopedLive("removed for good: closing ends, and a layer that is built then opens a new file", () =>
    Effect.gen(function*() {
      const file = path.join(yield* temporaryFolder, "bank.db")
      const scope = yield* Scope.make()
      const stores = yield* Layer.buildWithScope(onFile(file), scope)
      const accounts = yield* Repository.make(Account, {
        snapshots: SnapshotPolicy.background({ every: 1, drainTimeout: "2 seconds" })
      }).pipe(Effect.provide(stores), Scope.extend(scope))
      yield* accounts.execute(id("a"), open)
      for (const part of parts(file)) fs.rmSync(part, { force: true })
      yield* Effect.flip(accounts.execute(id("a"), deposit))
      yield* Scope.close(scope, Exit.void)
      const loaded = yield* Effect.flatMap(Repository.make(Account), (accounts) => accounts.load(id("a"))).pipe(
        Effect.provide(onFile(file))
      )
      assert.deepInclude(loaded, { version: 0, exists: false })
    }).pipe(quiet))

  it.scopedLive("a change of the working directory and a database in memory are not taken for a removal", () =>
    Effect.gen(function*() {
      const folder = yield* temporaryFolder
      const before = process.cwd()
      process.chdir(folder)
      const execute = Effect.flatMap(Repository.make(Account), (accounts) => accounts.execute(id("a"), open))
      yield* Effect.zipRight(Effect.sync(() => process.chdir(before)), execute).pipe(
        Effect.provide(onFile("relative.db")),
        Effect.ensuring(Effect.sync(() => process.chdir(before)))
      )
      assert.isTrue(fs.existsSync(path.join(folder, "relative.db")))
      yield* Effect.provide(execute, onFile(":memory:"))
    }))
})
