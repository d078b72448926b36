// Switching a projection between inline and the feed while processes append, also while an append is held open.
import { SqlClient } from "@effect/sql"
import { assert, describe, it } from "@effect/vitest"
import { Data, Deferred, Effect, Exit, Fiber, Random, Schedule, Scope } from "effect"
import { Projection, Projections } from "effect-eventsourcing"
import { Account } from "../fixtures/Account.js"
import { everything } from "../utils/mode.js"
import {
  append,
  caughtUp,
  createTables,
  databases,
  isFoldOfFeed,
  Model,
  type Process,
  process,
  rows,
  start,
  write
} from "./inlineFixture.js"

class RolledBack extends Data.TaggedError("RolledBack") {}

const options = { lease: "1 second", pageSize: 5, maxDelay: "50 millis" } as const
const inline = { ...options, inline: true } as const

const accounts = Effect.map(rows, (rows) => rows.map(({ account }) => account))

/** Begins a transaction of a process with an effect, and holds it open until it is ended. */
const holdOpen = <A, E, R>(context: Process, effect: Effect.Effect<A, E, R | SqlClient.SqlClient>) =>
  Effect.gen(function*() {
    const begun = yield* Deferred.make<void>()
    const end = yield* Deferred.make<void, RolledBack>()
    const fiber = yield* Effect.flatMap(SqlClient.SqlClient, (sql) =>
      sql.withTransaction(Effect.gen(function*() {
        yield* effect
        yield* Deferred.succeed(begun, undefined)
        yield* Deferred.await(end)
      }))).pipe(Effect.provide(context), Effect.fork)
    yield* Effect.raceFirst(Deferred.await(begun), Fiber.join(fiber))
    return {
      commit: Effect.zipRight(Deferred.succeed(end, undefined), Fiber.join(fiber)),
      rollBack: Effect.zipRight(Deferred.fail(end, new RolledBack()), Fiber.await(fiber))
    }
  })

/** Starts a projection, and returns how to stop it. */
const startFor = <E, Err, R>(
  context: Process,
  projection: Projection.Projection<E, Err, R>,
  options: Projection.Options
) =>
  Effect.gen(function*() {
    const scope = yield* Effect.acquireRelease(Scope.make(), (scope) => Scope.close(scope, Exit.void))
    yield* Scope.extend(start(context, projection, options), scope)
    return Effect.uninterruptible(Scope.close(scope, Exit.void))
  })

for (const [name, connect] of databases) {
  /** Two processes on one database, which has the tables of the model. */
  const two = Effect.gen(function*() {
    const client = yield* connect
    const older = yield* process(client)
    yield* Effect.provide(createTables, older)
    return { older, newer: yield* process(client) }
  })

  describe(`switching a projection on ${name}`, () => {
    it.scopedLive("to inline takes what was appended before from the feed, and the rest inline", () =>
      Effect.gen(function*() {
        const { newer, older } = yield* two
        yield* Effect.provide(append("a", 12), older)
        const stop = yield* startFor(older, Model, options)
        yield* Effect.provide(caughtUp("model"), older)
        yield* startFor(newer, Model, inline)
        // the older process goes on to append for a while
        yield* Effect.provide(append("b"), older)
        yield* Effect.provide(append("a"), newer)
        yield* stop
        yield* Effect.provide(append("b"), newer)
        yield* Effect.provide(append("b"), older)
        yield* Effect.provide(append("c"), newer)
        assert.include(yield* Effect.provide(accounts, newer), "c")
        yield* Effect.provide(Effect.zipRight(caughtUp("model"), isFoldOfFeed), newer)
      }))

    it.scopedLive(
      "has each event once and in order, with writers and switches in two processes",
      () =>
        Effect.gen(function*() {
          const { newer, older } = yield* two
          const appends = everything ? 400 : 30
          const writer = (context: Process) =>
            Effect.gen(function*() {
              for (let i = 0; i < appends; i++) {
                yield* Effect.provide(append(`account ${yield* Random.nextIntBetween(0, 5)}`), context)
                yield* Effect.yieldNow()
              }
            })
          const switching = (context: Process) =>
            Effect.gen(function*() {
              const stop = yield* startFor(context, Model, { ...options, inline: yield* Random.nextBoolean })
              yield* Effect.sleep(yield* Random.nextIntBetween(5, 60))
              yield* stop
              if (yield* Random.nextBoolean) yield* Effect.sleep(yield* Random.nextIntBetween(0, 30))
            }).pipe(Effect.scoped, Effect.forever)
          const both = [older, newer]
          yield* Effect.raceFirst(
            Effect.all([...both, ...both].map(writer), { concurrency: "unbounded" }),
            Effect.all(both.map(switching), { concurrency: "unbounded" })
          )
          yield* startFor(newer, Model, options)
          yield* Effect.provide(Effect.zipRight(caughtUp("model"), isFoldOfFeed), newer)
        }),
      120_000
    )

    it.scopedLive("to a version that is rebuilt beside it loses nothing, with writers", () =>
      Effect.gen(function*() {
        const { older, newer } = yield* two
        const sql = yield* Effect.provide(SqlClient.SqlClient, older)
        yield* sql`CREATE TABLE second (id TEXT)`
        const Second = Projection.make({
          name: "model",
          version: 2,
          on: [Account],
          handle: (events) =>
            Effect.flatMap(SqlClient.SqlClient, (sql) =>
              sql`INSERT INTO second ${sql.insert(events.map(({ id }) => ({ id })))}`)
        })
        yield* startFor(older, Model, inline)
        yield* Effect.provide(append("a", 23), older)
        const writing = yield* Effect.fork(
          Effect.forEach(Array.from({ length: 40 }), (_, i) =>
            Effect.provide(append(`account ${i % 4}`), i % 2 === 0 ? older : newer))
        )
        yield* startFor(older, Second, inline)
        yield* startFor(newer, Second, inline)
        yield* Effect.provide(Projections.promote({ name: "model", version: 2 }, { timeout: "20 seconds" }), newer)
        assert.strictEqual(yield* Effect.provide(Projections.activeVersion("model"), newer), 2)
        yield* Fiber.join(writing)
        // the former version follows the feed where a process runs only the new one
        const areEqual = Effect.map(Projections.status("model"), (versions) =>
          new Set(versions.flatMap(({ partitions }) =>
            partitions.map(({ position }) =>
              position
            )
          )).size === 1)
        yield* Effect.gen(function*() {
          yield* caughtUp("model")
          yield* Effect.repeat(areEqual, {
            until: (equal) =>
              equal,
            schedule: Schedule.spaced("20 millis")
          })
          yield* isFoldOfFeed
          const second = yield* sql<{ readonly id: string }>`SELECT id FROM second`
          assert.deepStrictEqual(
            second.map(({ id }) =>
              id
            ).sort(),
            (yield* rows).map(({ id }) => id).sort()
          )
        }).pipe(Effect.provide(older))
      }), 40_000)
  })
}

// SQLite has one writer: nothing else is appended while an append is held open
describe("an append that is held open across the switch on PostgreSQL", () => {
  const [, connect] = databases[1]
  const two = Effect.gen(function*() {
    const client = yield* connect
    const older = yield* process(client)
    yield* Effect.provide(createTables, older)
    return { older, newer: yield* process(client) }
  })

  for (const end of ["commit", "rollBack"] as const) {
    it.scopedLive(`of a process that follows the feed, to inline: ${end}`, () =>
      Effect.gen(function*() {
        const { newer, older } = yield* two
        const stop = yield* startFor(older, Model, options)
        yield* Effect.provide(append("a", 2), older)
        yield* Effect.provide(caughtUp("model"), older)
        const held = yield* holdOpen(older, Effect.provide(Effect.zipRight(append("a"), append("c")), older))
        yield* stop
        yield* startFor(newer, Model, inline)
        // handled inline, beyond what the feed shows
        yield* Effect.provide(append("b"), newer)
        assert.deepStrictEqual(yield* Effect.provide(accounts, newer), ["a", "a", "b"])
        // not handled by the older process, and therefore not out of its order by the newer one
        yield* Effect.provide(append("d"), older)
        yield* Effect.provide(append("d"), newer)
        yield* Effect.provide(append("b", 2), newer)
        assert.deepStrictEqual(yield* Effect.provide(accounts, newer), ["a", "a", "b", "b", "b"])
        // the newer process waits for the stream that is held
        const waiting = yield* Effect.fork(Effect.provide(append("a"), newer))
        yield* held[end]
        yield* Fiber.join(waiting)
        yield* Effect.provide(append("c"), newer)
        yield* Effect.provide(Effect.zipRight(caughtUp("model"), isFoldOfFeed), newer)
        assert.strictEqual((yield* Effect.provide(rows, newer)).length, end === "commit" ? 11 : 9)
      }))

    it.scopedLive(`of a process that is inline, to the feed: ${end}`, () =>
      Effect.gen(function*() {
        const { newer, older } = yield* two
        const stop = yield* startFor(older, Model, inline)
        yield* Effect.provide(append("a", 2), older)
        const held = yield* holdOpen(older, Effect.provide(Effect.zipRight(append("a"), append("c")), older))
        yield* Effect.provide(append("d"), older)
        yield* stop
        yield* startFor(newer, Model, options)
        yield* Effect.provide(append("b", 2), newer)
        yield* Effect.provide(append("d"), newer)
        const waiting = yield* Effect.fork(Effect.provide(append("a"), newer))
        yield* held[end]
        yield* Fiber.join(waiting)
        yield* Effect.provide(append("c"), newer)
        yield* Effect.provide(Effect.zipRight(caughtUp("model"), isFoldOfFeed), newer)
        assert.strictEqual((yield* Effect.provide(rows, newer)).length, end === "commit" ? 10 : 8)
      }))
  }

  it.scopedLive("does not wait for a batch of the feed, and is not doubled by it", () =>
    Effect.gen(function*() {
      const { newer, older } = yield* two
      const gate = yield* Deferred.make<void>()
      const begun = yield* Deferred.make<void>()
      let isFirst = true
      const Slow = Projection.make({
        name: "model",
        on: [Account],
        handle: (events) =>
          Effect.gen(function*() {
            yield* write(events)
            if (!isFirst) return
            isFirst = false
            yield* Deferred.succeed(begun, undefined)
            yield* Deferred.await(gate)
          })
      })
      yield* Effect.provide(append("a"), older)
      yield* startFor(older, Slow, options)
      yield* Deferred.await(begun)
      // the batch with the first event of the stream is open
      yield* startFor(newer, Model, inline)
      yield* Effect.provide(append("a"), newer)
      yield* Effect.provide(append("b"), newer)
      assert.deepStrictEqual(yield* Effect.provide(accounts, newer), ["b"])
      yield* Deferred.succeed(gate, undefined)
      yield* Effect.provide(Effect.zipRight(caughtUp("model"), isFoldOfFeed), newer)
    }))
})
