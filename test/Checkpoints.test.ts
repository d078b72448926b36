import { SqlClient } from "@effect/sql"
import { SqliteClient } from "@effect/sql-sqlite-node"
import { assert, describe, it } from "@effect/vitest"
import { Context, Effect, Layer, Option, type Scope } from "effect"
import { CheckpointStore, SqlCheckpointStore, Sqlite, SqlStores } from "effect-eventsourcing"
import { SqlFaults } from "effect-eventsourcing/testing"
import * as path from "node:path"
import { migratedDatabase, postgresTemporaryDatabase, sqliteFile, temporaryFolder } from "./utils/backends.js"
import { advance, at, key, progress, register, take, ttl } from "./utils/checkpoints.js"
import { everything } from "./utils/mode.js"
import { pgClient } from "./utils/postgres.js"

type Client = Layer.Layer<SqlClient.SqlClient, unknown>

/** The clients, and those whose statements meet faults. */
const clients: ReadonlyArray<readonly [name: string, client: Client, faulty: (plan: SqlFaults.Plan) => Client]> = [
  [
    "SQLite",
    sqliteFile(":memory:"),
    (plan) => Sqlite.layer((config) => SqlFaults.layer(plan)(SqliteClient.layer(config)), { filename: ":memory:" })
  ],
  ["PostgreSQL", postgresTemporaryDatabase, (plan) => SqlFaults.layer(plan)(postgresTemporaryDatabase)]
]

const isCommitOfBatch = () => {
  let updates = 0
  return ({ kind, text }: SqlFaults.Statement) => {
    if (text.startsWith("UPDATE \"eventsourcing_checkpoints\" SET position")) updates++
    return kind === "Commit" && updates === 1
  }
}

const faults = [
  ["the commit fails", SqlFaults.fail, false],
  ["the connection is lost after the commit", SqlFaults.lostAnswer, true]
] as const

const storeOn = <E>(client: Layer.Layer<SqlClient.SqlClient, E>) => Layer.provideMerge(SqlCheckpointStore.layer, client)

const balances = Effect.flatMap(SqlClient.SqlClient, (sql) => sql`CREATE TABLE balances (amount integer PRIMARY KEY)`)

const insert = (amount: number) =>
  Effect.flatMap(SqlClient.SqlClient, (sql) => sql`INSERT INTO balances (amount) VALUES (${amount})`)

const amounts = Effect.flatMap(
  SqlClient.SqlClient,
  (sql) =>
    Effect.map(
      sql<{ readonly amount: number }>`SELECT amount FROM balances ORDER BY amount`,
      (rows) => rows.map(({ amount }) => amount)
    )
)

for (const [name, client, faulty] of clients) {
  describe(`checkpoints and the writes of an effect, on ${name}`, () => {
    it.scopedLive("are committed together, or not at all", () =>
      Effect.gen(function*() {
        yield* balances
        yield* register()
        const lease = yield* take("ada")
        yield* Effect.exit(advance(lease, 10, Effect.zipRight(insert(1), Effect.fail("planned"))))
        yield* Effect.exit(advance(lease, 10, Effect.zipRight(insert(1), Effect.die("planned"))))
        // a failure of the effect's own is not one of the store
        const failed = yield* Effect.flip(advance(lease, 10, Effect.zipRight(insert(1), insert(1))))
        assert.strictEqual(failed._tag, "SqlError")
        assert.deepStrictEqual([yield* amounts, yield* progress], [[], { at: [0], handled: 0 }])
        yield* advance(lease, 10, insert(1))
        assert.deepStrictEqual([yield* amounts, yield* progress], [[1], { at: [10], handled: 1 }])
      }).pipe(Effect.provide(storeOn(client))))

    // SQLite has no connection to lose
    for (const [what, fault, mayHaveHappened] of faults.slice(0, name === "SQLite" ? 1 : 2)) {
      it.scopedLive(`if ${what}, the error says whether they may have been committed`, () =>
        Effect.gen(function*() {
          yield* balances
          yield* register()
          const failure = yield* Effect.flip(advance(yield* take("ada"), 10, insert(1)))
          assert.deepInclude(failure, { _tag: "CheckpointStoreError", operation: "advance", mayHaveHappened })
          const isDone = (yield* progress).handled === 1
          assert.deepStrictEqual(yield* amounts, isDone ? [1] : [])
          assert.strictEqual(isDone, mayHaveHappened)
        }).pipe(Effect.provide(storeOn(faulty(SqlFaults.when(isCommitOfBatch(), fault))))))
    }

    it.scopedLive("a transaction of the caller's is refused, and a batch does not run in it", () =>
      Effect.gen(function*() {
        yield* register()
        const lease = yield* take("ada")
        const refused = yield* Effect.flip(SqlStores.transaction(advance(lease, 10, Effect.die("it must not run"))))
        assert.deepInclude(refused, { _tag: "CheckpointStoreError", reason: "InvalidInput" })
        const nested = advance(lease, 10, advance(lease, 10, Effect.die("it must not run")))
        assert.deepInclude(yield* Effect.flip(nested), { _tag: "CheckpointStoreError", reason: "InvalidInput" })
        assert.deepStrictEqual(yield* progress, { at: [0], handled: 0 })
      }).pipe(Effect.provide(storeOn(client))))

    it.scopedLive("statements on another client do not take part", () =>
      Effect.gen(function*() {
        const store = yield* CheckpointStore.CheckpointStore
        const other = Context.get(yield* Layer.build(Layer.fresh(client)), SqlClient.SqlClient)
        const sql = yield* SqlClient.SqlClient
        const contextOf = (client: SqlClient.SqlClient) => Context.make(SqlClient.SqlClient, client)
        assert.isTrue(store.sharesDatabase(Context.empty()))
        assert.isTrue(store.sharesDatabase(contextOf(sql)))
        assert.isTrue(store.sharesDatabase(contextOf(sql.withoutTransforms())))
        assert.isFalse(store.sharesDatabase(contextOf(other)))
        yield* register()
        const lease = yield* take("ada")
        // an open transaction of the other client does not matter
        yield* other.withTransaction(advance(lease, 10, Effect.void))
        assert.deepStrictEqual(yield* progress, { at: [10], handled: 1 })
      }).pipe(Effect.provide(storeOn(client))))

    it.scopedLive("a missing table is refused", () =>
      Effect.gen(function*() {
        yield* register()
        const lease = yield* take("ada")
        const sql = yield* SqlClient.SqlClient
        yield* sql`DROP TABLE eventsourcing_checkpoints`
        const store = yield* CheckpointStore.CheckpointStore
        const attempts: ReadonlyArray<
          Effect.Effect<unknown, { readonly _tag: string; readonly reason?: string }, CheckpointStore.CheckpointStore>
        > = [advance(lease, 10, Effect.void), store.renew(lease, ttl), store.list, store.hold([key], 1)]
        for (const attempt of attempts) {
          assert.deepInclude(yield* Effect.flip(attempt), { _tag: "CheckpointStoreError", reason: "Refused" })
        }
      }).pipe(Effect.provide(storeOn(client))))
  })
}

/** Two processes on one database: each has its own client. */
const twoOn: Readonly<Record<"SQLite" | "PostgreSQL", Effect.Effect<ReadonlyArray<Client>, unknown, Scope.Scope>>> = {
  SQLite: Effect.map(
    temporaryFolder,
    (folder) => [0, 1].map(() => Layer.fresh(sqliteFile(path.join(folder, "two.db"))))
  ),
  PostgreSQL: Effect.map(migratedDatabase, (url) => [0, 1].map(() => Layer.fresh(pgClient(url, { maxConnections: 4 }))))
}

for (const name of everything ? ["SQLite", "PostgreSQL"] as const : ["SQLite"] as const) {
  describe(`two processes on ${name}`, () => {
    it.scopedLive("race for the lease and the checkpoint, and each step is done once", () =>
      Effect.gen(function*() {
        const processes = yield* Effect.forEach(yield* twoOn[name], (client) => Layer.build(storeOn(client)))
        const [one] = processes
        yield* Effect.provide(Effect.zipRight(balances, register()), one)
        const rounds = everything ? 1_000 : 200
        const race = (owner: string, step: number) =>
          Effect.gen(function*() {
            const store = yield* CheckpointStore.CheckpointStore
            const lease = yield* store.acquire(key, { owner, ttl, index: 0, of: 1 })
            if (Option.isNone(lease)) return []
            const done = yield* advance(lease.value, step, insert(step))
            assert.strictEqual(done._tag, "Advanced")
            return done._tag === "Advanced" ? [{ ...lease.value, position: done.lease.position }] : []
          })
        let epoch = 0
        for (let step = 1; step <= rounds; step++) {
          const won = (yield* Effect.forEach(
            processes.flatMap((process, index) => [{ process, index }, { process, index: index + 2 }]),
            ({ index, process }) => Effect.provide(race(`owner-${index}`, step), process),
            { concurrency: "unbounded" }
          )).flat()
          assert.lengthOf(won, 1)
          assert.strictEqual(won[0].epoch, ++epoch)
          // an owner that goes on with an old lease, beside the one that has it
          const stale = { ...won[0], position: at(step - 1) }
          const results = yield* Effect.forEach(
            [...processes, ...processes],
            (process) => Effect.either(Effect.provide(advance(stale, step + 1, insert(step)), process)),
            { concurrency: "unbounded" }
          )
          assert.isTrue(results.every((result) => result._tag === "Left" && result.left._tag === "LeaseLost"))
          yield* Effect.provide(
            Effect.flatMap(CheckpointStore.CheckpointStore, (store) => store.release(won[0])),
            processes[step % 2]
          )
        }
        assert.deepStrictEqual(yield* Effect.provide(progress, one), { at: [rounds], handled: rounds })
        assert.lengthOf(yield* Effect.provide(amounts, one), rounds)
      }), 60_000)

    it.scopedLive(
      "advance one partition side by side, and no step is lost or done twice",
      () =>
        Effect.gen(function*() {
          const processes = yield* Effect.forEach(yield* twoOn[name], (client) => Layer.build(storeOn(client)))
          const [one] = processes
          yield* Effect.provide(Effect.zipRight(balances, register()), one)
          let lease = yield* Effect.provide(take("ada"), one)
          let step = 0
          const rounds = everything ? 1_000 : 200
          // the same lease in both, as two processes with one owner's name would have it
          while (step < rounds) {
            const next = step + 1
            const results = yield* Effect.forEach(
              processes,
              (process) => Effect.either(Effect.provide(advance(lease, next, insert(next)), process)),
              { concurrency: "unbounded" }
            )
            const advanced = results.flatMap((result) => result._tag === "Right" ? [result.right] : [])
            assert.lengthOf(advanced, 1)
            if (advanced[0]._tag === "Advanced") lease = advanced[0].lease
            step = next
          }
          assert.deepStrictEqual(yield* Effect.provide(progress, one), { at: [rounds], handled: rounds })
          assert.deepStrictEqual(yield* Effect.provide(amounts, one), Array.from({ length: rounds }, (_, n) => n + 1))
        }),
      60_000
    )
  })
}
