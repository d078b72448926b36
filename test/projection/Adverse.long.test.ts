// Handlers, operators and databases that do what they should not: on SQLite and on PostgreSQL, nothing is skipped and nothing
// is handled twice.
import { SqlClient } from "@effect/sql"
import type { SqlError } from "@effect/sql/SqlError"
import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Exit, Fiber, Layer, Option, Ref, Schedule, Scope, Stream } from "effect"
import {
  CheckpointStore,
  EventStore,
  Position,
  Projection,
  Projections,
  Repository,
  SqlStores,
  Subscription
} from "effect-eventsourcing"
import { Account, deposit, id, open, stream } from "../fixtures/Account.js"
import { migratedDatabase } from "../utils/backends.js"
import { pgClient } from "../utils/postgres.js"
import { onBoth, processOn } from "./databases.js"
import { append } from "./fixture.js"

const key = { name: "log", version: 1 }

interface Written {
  readonly id: string
}

/** Writes a row for each event, without a key that would hide a double. */
const insert = (events: ReadonlyArray<Written>) =>
  Effect.flatMap(SqlClient.SqlClient, (sql) => sql`INSERT INTO log ${sql.insert(events.map(({ id }) => ({ id })))}`)

const logged = <E, R>(handle: (events: ReadonlyArray<Written>) => Effect.Effect<unknown, E, R>, version = 1) =>
  Projection.make({ name: "log", version, on: [Account], handle })

const table = Effect.flatMap(SqlClient.SqlClient, (sql) => sql`CREATE TABLE log (id TEXT)`)

const options = { lease: "1 second", maxDelay: "20 millis", retry: Schedule.recurs(0) } as const

const caughtUp = (position: Position.Position) => Projections.awaitPosition("log", position, { timeout: "30 seconds" })

const ids = Effect.flatMap(
  SqlClient.SqlClient,
  (sql) => Effect.map(sql<Written>`SELECT id FROM log`, (rows) => rows.map(({ id }) => id).sort())
)

const feed = Effect.flatMap(
  EventStore.EventStore,
  ({ readAll }) => Effect.map(Stream.runCollect(readAll()), (events) => Array.from(events, ({ id }) => id).sort())
)

/** The read model is the fold of the feed, when that has ended. */
const isComplete: Effect.Effect<
  void,
  | SqlError
  | Effect.Effect.Error<ReturnType<typeof caughtUp>>
  | EventStore.EventStoreError
  | EventStore.EventDecodeError,
  SqlClient.SqlClient | CheckpointStore.CheckpointStore | EventStore.EventStore
> = Effect.gen(function*() {
  const store = yield* EventStore.EventStore
  const head = yield* store.head
  yield* caughtUp(head)
  // a handler that executes commands has appended meanwhile
  if ((yield* store.head) !== head) return yield* isComplete
  assert.deepStrictEqual(yield* ids, yield* feed)
})

describe("a projection", () => {
  onBoth(
    "stops where its table is missing, and goes on there when it is made",
    Effect.gen(function*() {
      const last = yield* append("a", [1, 2, 3])
      yield* Layer.build(Projection.layer(logged(insert), options))
      const stopped = yield* Effect.flip(caughtUp(last))
      assert.strictEqual(stopped._tag, "ProjectionStopped")
      yield* table
      assert.strictEqual(yield* Projections.resume(key), 1)
      yield* isComplete
    })
  )

  onBoth(
    "reads pages of any size",
    Effect.gen(function*() {
      yield* table
      for (let n = 0; n < 15; n++) yield* append(`account ${n}`, Array.from({ length: 100 }, () => 1))
      yield* Layer.build(Projection.layer(logged(insert), { ...options, pageSize: 1_000_000_000 }))
      yield* isComplete
    })
  )

  onBoth(
    "writes megabytes in a batch",
    Effect.gen(function*() {
      const sql = yield* SqlClient.SqlClient
      yield* table
      yield* sql`CREATE TABLE large (text TEXT)`
      const text = "x".repeat(1_000_000)
      const writing = logged((events) =>
        Effect.zipRight(insert(events), Effect.forEach(events, () => sql`INSERT INTO large (text) VALUES (${text})`))
      )
      yield* append("a", Array.from({ length: 20 }, () => 1))
      yield* Layer.build(Projection.layer(writing, options))
      yield* isComplete
      const [{ size }] = yield* sql<{ readonly size: number }>`SELECT sum(length(text)) AS size FROM large`
      assert.strictEqual(Number(size), 20_000_000)
    })
  )

  onBoth(
    "opens transactions of its own in its batch, and all of it is undone when the batch fails",
    Effect.gen(function*() {
      const sql = yield* SqlClient.SqlClient
      yield* table
      let fails = 3
      const writing = logged((events) =>
        Effect.gen(function*() {
          yield* sql.withTransaction(insert(events.slice(0, 1)))
          yield* Effect.exit(sql.withTransaction(Effect.zipRight(insert(events), Effect.fail("given up"))))
          if (events.length > 1) yield* SqlStores.transaction(insert(events.slice(1)))
          if (fails-- > 0) return yield* Effect.fail("fails")
        })
      )
      yield* append("a", [1, 2, 3, 4])
      yield* append("b", [1, 2, 3, 4])
      yield* Layer.build(Projection.layer(writing, { ...options, retry: Schedule.recurs(5) }))
      yield* isComplete
    })
  )

  onBoth(
    "executes commands in its batch: they count with the batch, or not at all",
    Effect.gen(function*() {
      const accounts = yield* Repository.make(Account)
      const copy = id("copy")
      yield* accounts.execute(copy, open)
      yield* table
      let fails = 3
      const copying = Projection.make({
        name: "log",
        on: [Account],
        handle: (events) =>
          Effect.gen(function*() {
            yield* insert(events)
            for (const { aggregateId, event, id } of events) {
              if (aggregateId === copy || event._tag !== "Deposited") continue
              yield* accounts.execute(copy, deposit(event.amount), { commandId: id })
            }
            if (fails-- > 0) return yield* Effect.fail("fails")
          })
      })
      const last = yield* append("a", [1, 2, 3])
      yield* Layer.build(Projection.layer(copying, { ...options, retry: Schedule.recurs(5) }))
      yield* caughtUp(last)
      yield* append("b", [10, 20])
      yield* isComplete
      const { state, version } = yield* accounts.load(copy)
      assert.deepStrictEqual([state.balance, version], [36, 6])
    })
  )

  onBoth(
    "whose checkpoint is of another database stops, says so, and begins again when it was removed",
    Effect.gen(function*() {
      yield* table
      const projection = logged(insert)
      const { register } = yield* CheckpointStore.CheckpointStore
      const foreign = Position.fromParts(1_000_000_000, 1_000_000_000)
      const definition = projection.reading.text
      yield* register({ ...key, kind: "Projection", definition, partitions: 1, from: foreign })
      const last = yield* append("a", [1])
      const scope = yield* Scope.make()
      yield* Layer.buildWithScope(Projection.layer(projection, options), scope)
      const stops = Effect.flatMap(Projections.status("log"), ([{ partitions: [{ stopped }] }]) => stopped)
      const { reason } = yield* Effect.retry(stops, Schedule.spaced("10 millis"))
      assert.include(reason, "ahead of the store's head")
      // nothing was read, although the checkpoint is after the position
      assert.strictEqual((yield* Effect.flip(caughtUp(last)))._tag, "ProjectionStopped")
      assert.deepStrictEqual(yield* ids, [])
      // the way back, which an operator has to ask for
      assert.include(reason, "Projections.remove")
      yield* Scope.close(scope, Exit.void)
      const refused = yield* Effect.flip(Projections.remove(key))
      assert.strictEqual(refused._tag === "SubscriptionMismatch" ? refused.reason : refused._tag, "Active")
      assert.isTrue(yield* Projections.remove(key, { active: true }))
      yield* Layer.build(Projection.layer(projection, options))
      yield* isComplete
    })
  )
})

describe("an operator", () => {
  onBoth(
    "whose swap hangs gets a timeout, and the versions go on",
    Effect.gen(function*() {
      yield* table
      const sql = yield* SqlClient.SqlClient
      yield* sql`CREATE TABLE log_2 (id TEXT)`
      const second = logged((events) => sql`INSERT INTO log_2 ${sql.insert(events.map(({ id }) => ({ id })))}`, 2)
      yield* append("a", [1, 2])
      yield* Layer.build(Projection.layer(logged(insert), options))
      yield* Layer.build(Projection.layer(second, options))
      yield* isComplete
      const next = { ...key, version: 2 }
      const swap = Effect.zipRight(sql`DELETE FROM log`, Effect.never)
      const error = yield* Effect.flip(Projections.promote(next, { swap, timeout: "2 seconds" }))
      assert.strictEqual(error._tag, "PromotionTimeout")
      assert.strictEqual(yield* Projections.activeVersion("log"), 1)
      yield* append("a", [3])
      yield* isComplete
      const names = sql`ALTER TABLE log RENAME TO log_1`.pipe(Effect.zipRight(sql`ALTER TABLE log_2 RENAME TO log`))
      // the old version is closed first: it would write into a table that is gone
      yield* Projections.promote(next, { swap: Effect.asVoid(sql`SELECT 1`) })
      assert.strictEqual(yield* Projections.activeVersion("log"), 2)
      yield* names
      assert.deepStrictEqual(yield* ids, yield* feed)
    })
  )

  onBoth(
    "cannot remove a version that runs, and can when it has ended",
    Effect.gen(function*() {
      yield* table
      yield* append("a", [1])
      yield* Layer.build(Projection.layer(logged(insert), options))
      const scope = yield* Scope.make()
      yield* Layer.buildWithScope(Projection.layer(logged(() => Effect.void, 2), options), scope)
      const next = { ...key, version: 2 }
      const owned = Effect.map(
        Projections.status("log"),
        (all) =>
          all.some(({ partitions, version }) => version === 2 && partitions.every(({ owner }) => Option.isSome(owner)))
      )
      yield* Effect.repeat(owned, {
        until: (is) => is,
        schedule: Schedule.spaced("10 millis")
      })
      assert.strictEqual((yield* Effect.flip(Projections.remove(next)))._tag, "SubscriptionMismatch")
      yield* Scope.close(scope, Exit.void)
      assert.isTrue(yield* Projections.remove(next))
      yield* append("a", [2])
      yield* isComplete
    })
  )
})

describe("a subscription that begins now", () => {
  onBoth(
    "has all events from one on, while others are appended",
    Effect.gen(function*() {
      const sent = yield* Ref.make<ReadonlyArray<string>>([])
      const mails = Subscription.make({
        name: "log",
        on: [Account],
        from: "now",
        handle: ({ id }) => Ref.update(sent, (all) => [...all, id])
      })
      yield* append("before", [1, 2, 3])
      const store = yield* EventStore.EventStore
      const isBuilt = yield* Deferred.make<void>()
      const begun = yield* Ref.make<ReadonlyArray<string>>([])
      const writer = (name: string) =>
        Effect.gen(function*() {
          const id = crypto.randomUUID()
          if (yield* Deferred.isDone(isBuilt)) yield* Ref.update(begun, (all) => [...all, id])
          const proposed = { id, type: "Deposited", payload: { _tag: "Deposited", amount: 1 } }
          yield* store.append(stream(name), [proposed], { expectedVersion: { _tag: "Any" } })
        })
      const writers = yield* Effect.fork(
        Effect.forEach(["a", "b", "c"], (name) => Effect.repeatN(writer(name), 100), { concurrency: "unbounded" })
      )
      yield* Effect.repeat(store.head, {
        until: (head) => Number(Position.toParts(head).sequence) > 20,
        schedule: Schedule.spaced("5 millis")
      })
      yield* Layer.build(Subscription.layer(mails, options))
      yield* Deferred.succeed(isBuilt, undefined)
      yield* Fiber.join(writers)
      yield* caughtUp(yield* store.head)
      const received = yield* Ref.get(sent)
      const all = Array.from(yield* Stream.runCollect(store.readAll()), ({ id }) => id)
      assert.isAbove(received.length, 0)
      assert.isAtMost(received.length, all.length - 3)
      assert.deepStrictEqual([...received].sort(), all.slice(-received.length).sort())
      const known = new Set(received)
      assert.deepStrictEqual((yield* Ref.get(begun)).filter((id) => !known.has(id)), [])
    })
  )

  it.scopedLive("has what is open at that time, and what was stored behind it, in the order of the feed (PostgreSQL)", () =>
    Effect.gen(function*() {
      const url = yield* migratedDatabase
      const sent = yield* Ref.make<ReadonlyArray<string>>([])
      const mails = Subscription.make({
        name: "log",
        on: [Account],
        from: "now",
        handle: ({ aggregateId }) => Ref.update(sent, (all) => [...all, aggregateId])
      })
      yield* Effect.gen(function*() {
        const isOpen = yield* Deferred.make<void>()
        const commits = yield* Deferred.make<void>()
        yield* append("before", [1])
        const holding = yield* Effect.fork(SqlStores.transaction(
          append("open", [1]).pipe(
            Effect.zipLeft(Deferred.succeed(isOpen, undefined)),
            Effect.zipLeft(Deferred.await(commits))
          )
        ))
        yield* Deferred.await(isOpen)
        // no reader sees this one yet: the open one may be before it
        yield* append("behind", [1])
        yield* Layer.build(Subscription.layer(mails, options))
        yield* Deferred.succeed(commits, undefined)
        yield* Fiber.join(holding)
        yield* caughtUp(yield* append("after", [1]))
        assert.deepStrictEqual(yield* Ref.get(sent), ["open", "behind", "after"])
      }).pipe(Effect.provide(processOn(pgClient(url))))
    }))
})
