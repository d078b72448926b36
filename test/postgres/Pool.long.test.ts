import { SqlClient, type SqlConnection as Connection } from "@effect/sql"
import { assert, describe, it } from "@effect/vitest"
import { Context, Effect, Exit, Fiber, Layer, Scope, Stream } from "effect"
import { EventStore, ExpectedVersion, SqlStores, StreamId } from "effect-eventsourcing"
import { vi } from "vitest"
import * as Pool from "../../src/internal/sql/postgres/pool.js"
import { migratedDatabase, sqlStores } from "../utils/backends.js"
import { pgClient } from "../utils/postgres.js"

const event = () => ({ id: crypto.randomUUID(), type: "Noted", payload: { _tag: "Noted" } })
const stream = (id: string) => StreamId.make("Account", id)
const append = (store: EventStore.EventStore["Type"], id: string) =>
  store.append(stream(id), [event()], { expectedVersion: ExpectedVersion.any })

type Failure = Effect.Effect.Error<ReturnType<typeof append>> | SqlStores.TransactionError

const waitingForLocks = (count: number) =>
  Effect.flatMap(SqlClient.SqlClient, (sql) =>
    Effect.repeat(
      sql`SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'`,
      { until: (rows) => rows.length === count }
    ))

// as README shows it: without a connectTimeout
describe("a pool without a connectTimeout", () => {
  it.scopedLive(
    "that is closed fails the waiting statements, which did nothing, and lets the running ones finish",
    () =>
      Effect.gen(function*() {
        const url = yield* migratedDatabase
        const scope = yield* Scope.make()
        const context = yield* Layer.buildWithScope(
          Layer.provideMerge(sqlStores, pgClient(url, { maxConnections: 2 })),
          scope
        )
        const store = Context.get(context, EventStore.EventStore)
        const observer = yield* Layer.build(Layer.fresh(pgClient(url, { maxConnections: 2 })))
        const sql = Context.get(observer, SqlClient.SqlClient)

        // two statements have the connections, and wait for a lock
        const lock = yield* Scope.make()
        const holder = yield* Scope.extend(sql.reserve, lock)
        yield* holder.executeUnprepared("BEGIN; LOCK TABLE eventsourcing_events", [], undefined)
        const running = yield* Effect.forEach(["a", "b"], (id) => Effect.forkDaemon(append(store, id)))
        yield* Effect.provide(waitingForLocks(2), observer)
        const kinds: Readonly<Record<string, (id: string) => Effect.Effect<unknown, Failure>>> = {
          append: (id) => append(store, id),
          version: (id) => store.version(stream(id)),
          transaction: () => Effect.provide(SqlStores.transaction(Effect.void), context),
          "uninterruptible append": (id) => Effect.uninterruptible(append(store, id))
        }
        const waiting = yield* Effect.forEach(Object.entries(kinds), ([kind, of]) =>
          Effect.forEach(
            Array.from({ length: 10 }, (_, n) => `${kind} ${n}`),
            (id) => Effect.forkDaemon(of(id))
          ))
        yield* Effect.yieldNow()
        yield* Scope.close(scope, Exit.void)

        for (const fiber of waiting.flat()) {
          const error = yield* Effect.flip(Fiber.join(fiber))
          assert.include(error.message, "the database was closed")
          assert.isTrue(
            error._tag === "TransactionError"
              ? error.reason === "NotBegun"
              : error._tag === "EventStoreError" && !error.mayHaveAppended
          )
        }
        yield* holder.executeUnprepared("ROLLBACK", [], undefined)
        yield* Scope.close(lock, Exit.void)
        assert.deepStrictEqual(
          (yield* Effect.forEach(running, Fiber.join)).map(({ version }) => version),
          [1, 1]
        )
      })
  )

  it.scopedLive(
    "returns the connection of each of the many statements that were interrupted while they waited",
    () =>
      Effect.gen(function*() {
        const url = yield* migratedDatabase
        yield* Effect.gen(function*() {
          const store = yield* EventStore.EventStore
          const sql = yield* SqlClient.SqlClient
          yield* Effect.scoped(Effect.zipRight(
            sql.reserve,
            Effect.gen(function*() {
              const waiting = yield* Effect.forEach(Array.from({ length: 2_000 }), (_, n) =>
                Effect.fork<unknown, Failure, SqlClient.SqlClient>(
                  n % 2 === 0 ? append(store, "a") : SqlStores.transaction(append(store, "a"))
                ))
              yield* Effect.yieldNow()
              yield* Fiber.interruptAll(waiting)
            })
          ))
          assert.strictEqual((yield* append(store, "a")).version, 1)
        }).pipe(Effect.provide(Layer.provideMerge(sqlStores, pgClient(url, { maxConnections: 1 }))))
      })
  )
})

describe("a pool without a free connection", () => {
  it("is waited for while other fibers get connections, and then for half a minute", async () => {
    vi.useFakeTimers({ toFake: ["setInterval", "clearInterval", "performance"] })
    try {
      const connection: Connection.Connection = {
        execute: () => Effect.never,
        executeRaw: () => Effect.never,
        executeStream: () => Stream.never,
        executeValues: () => Effect.never,
        executeUnprepared: () => Effect.never
      }
      const silence = Effect.async<never>(() => {})
      // the first to come gets none, and is not told
      const answers: Array<Effect.Effect<Connection.Connection>> = [silence]
      let serves = true
      const reserve = Effect.suspend(() => answers.pop() ?? (serves ? Effect.succeed(connection) : silence))
      const waiting = Effect.runFork(Pool.make(reserve).use(() => Effect.void, (error) => error))
      vi.advanceTimersByTime(120_000)
      assert.isNull(waiting.unsafePoll())
      serves = false
      vi.advanceTimersByTime(31_000)
      const error = await Effect.runPromise(Effect.flip(Fiber.join(waiting)))
      assert.include(error.message, "no connection for 30 seconds")
      // nothing is left that keeps the process running
      vi.advanceTimersByTime(1_000)
      assert.strictEqual(vi.getTimerCount(), 0)
    } finally {
      vi.useRealTimers()
    }
  })
})
