// A version that is removed while appends are open leaves nothing behind that a later version of its number would believe.
import { SqlClient } from "@effect/sql"
import { assert, describe, it } from "@effect/vitest"
import { Context, Deferred, Effect, Exit, Fiber, Option, Schedule, Scope } from "effect"
import { CheckpointStore, Position, Projection, Projections } from "effect-eventsourcing"
import { Account } from "../fixtures/Account.js"
import {
  append,
  caughtUp,
  createTables,
  databases,
  isFoldOfFeed,
  Model,
  type Process,
  process,
  start,
  write
} from "./inlineFixture.js"

const key = { name: Model.name, version: 2 }

const options = { lease: "1 second", maxDelay: "20 millis", retry: Schedule.recurs(0) } as const

const active = Projection.make({ name: key.name, version: 1, on: [Account], handle: () => Effect.void })

/** Stops at the first event, so that nobody owns it while appends are handled inline. */
const stopping = Projection.make({
  ...key,
  on: [Account],
  handle: (events) =>
    Effect.if(events.some(({ aggregateId }) => aggregateId === "poison"), {
      onTrue: () => Effect.fail("poison"),
      onFalse: () => write(events)
    })
})

/** Stopped, and no process reports that it works for it. */
const isLeft = Effect.map(
  Projections.status(key.name),
  (all) =>
    all.some(({ members, partitions, version }) =>
      version === 2 && partitions[0].stopped._tag === "Some" && members === 0
    )
)

/** A process of which the part that reports freezes as soon as its partition has stopped. */
const freezing = (process: Process): Process => {
  const store = Context.get(process, CheckpointStore.CheckpointStore)
  let isFrozen = false
  return Context.add(process, CheckpointStore.CheckpointStore, {
    ...store,
    attend: (...args) => Effect.suspend(() => isFrozen ? Effect.never : store.attend(...args)),
    stop: (...args) => Effect.zipRight(Effect.sync(() => isFrozen = true), store.stop(...args))
  })
}

// SQLite has one writer: nothing is removed while an append is open
describe("a version that is removed on PostgreSQL", () => {
  const [, connect] = databases[1]
  for (const when of ["before the claim of an open append", "after it"] as const) {
    for (const level of ["READ COMMITTED", "REPEATABLE READ"]) {
      it.scopedLive(`${when}, ${level}`, () =>
        Effect.gen(function*() {
          const client = yield* connect
          const operator = yield* process(client)
          const writer = yield* process(client)
          yield* Effect.provide(createTables, operator)
          yield* start(operator, active, options)
          yield* Effect.provide(append("poison"), operator)
          const scope = yield* Scope.make()
          yield* Scope.extend(start(freezing(writer), stopping, { ...options, inline: true }), scope)
          yield* Effect.provide(
            Effect.repeat(isLeft, { until: (isLeft) => isLeft, schedule: Schedule.spaced("10 millis") }),
            writer
          )
          const opened = yield* Deferred.make<void>()
          const goOn = yield* Deferred.make<void>()
          const pause = Effect.zipRight(Deferred.succeed(opened, void 0), Deferred.await(goOn))
          const writing = yield* Effect.gen(function*() {
            const sql = yield* SqlClient.SqlClient
            yield* sql.withTransaction(Effect.gen(function*() {
              yield* sql`SET TRANSACTION ISOLATION LEVEL ${sql.literal(level)}`
              yield* sql`SELECT count(*) FROM model`
              if (when === "after it") yield* append("a")
              yield* pause
              if (when !== "after it") yield* append("a")
            }))
          }).pipe(Effect.provide(writer), Effect.exit, Effect.fork)
          yield* Deferred.await(opened)
          const removing = yield* Effect.fork(Effect.provide(Projections.remove(key), operator))
          // the removal waits for the claim, or ends
          const lock = Effect.flatMap(
            SqlClient.SqlClient,
            (sql) => sql`SELECT NULL FROM pg_locks WHERE locktype = 'advisory' AND NOT granted`
          )
          if (when === "after it") {
            yield* Effect.repeat(Effect.zip(Effect.provide(lock, operator), Fiber.poll(removing)), {
              until: ([waiting, ended]) => waiting.length > 0 || ended._tag === "Some",
              schedule: Schedule.spaced("10 millis")
            })
          } else assert.isTrue(yield* Fiber.join(removing))
          yield* Deferred.succeed(goOn, void 0)
          const written = yield* Fiber.join(writing)
          assert.isTrue(yield* Fiber.join(removing))
          if (when === "after it") assert.isTrue(Exit.isSuccess(written))
          yield* Scope.close(scope, Exit.void)
          yield* Effect.gen(function*() {
            const sql = yield* SqlClient.SqlClient
            assert.deepStrictEqual(yield* sql`SELECT * FROM eventsourcing_inline`, [])
            yield* sql`DELETE FROM model`
            yield* start(operator, Projection.make({ ...key, on: [Account], handle: write }), options)
            yield* Projections.promote(key)
            yield* caughtUp(key.name)
            yield* isFoldOfFeed
          }).pipe(Effect.provide(operator))
        }))
    }
  }

  // a trigger of the statement runs when the statement has decided what it sees, and before it looks at anything
  it.scopedLive("and registered again while the server stalls within the claim of an append", () =>
    Effect.gen(function*() {
      const client = yield* connect
      const operator = yield* process(client)
      const writer = yield* process(client)
      const again = Projection.make({ ...key, on: [Account], handle: write })
      yield* Effect.gen(function*() {
        const sql = yield* SqlClient.SqlClient
        yield* createTables
        yield* sql`CREATE FUNCTION stall() RETURNS trigger LANGUAGE plpgsql AS ${
          sql.literal("$$ BEGIN PERFORM pg_advisory_lock(4711); PERFORM pg_advisory_unlock(4711); RETURN NULL; END $$")
        }`
        yield* sql`CREATE TRIGGER stall BEFORE INSERT ON eventsourcing_inline FOR EACH STATEMENT EXECUTE FUNCTION stall()`
        yield* start(operator, active, options)
        yield* append("a")
        yield* append("poison")
        const scope = yield* Scope.make()
        yield* Scope.extend(start(freezing(writer), stopping, { ...options, inline: true }), scope)
        yield* Effect.repeat(isLeft, { until: (isLeft) => isLeft, schedule: Schedule.spaced("10 millis") })
        const stalls = yield* Deferred.make<void>()
        const stalling = yield* sql.withTransaction(
          Effect.zipRight(sql`SELECT pg_advisory_xact_lock(4711)`, Deferred.await(stalls))
        ).pipe(Effect.fork)
        const waiting = (count: number) =>
          Effect.map(
            sql`SELECT NULL FROM pg_locks WHERE locktype = 'advisory' AND NOT granted`,
            ({ length }) => length >= count
          )
        const held = sql`SELECT NULL FROM pg_locks WHERE locktype = 'advisory' AND objid = 4711`
        yield* Effect.repeat(held, { until: ({ length }) => length > 0, schedule: Schedule.spaced("10 millis") })
        const writing = yield* Effect.fork(Effect.provide(append("a"), writer))
        yield* Effect.repeat(waiting(1), { until: (is) => is, schedule: Schedule.spaced("10 millis") })
        const store = yield* CheckpointStore.CheckpointStore
        const { text: definition } = again.reading
        const removing = yield* Projections.remove(key).pipe(
          Effect.zipLeft(sql`DELETE FROM model`),
          Effect.zipLeft(
            store.register({ ...key, kind: "Projection", definition, partitions: 1, from: Position.start })
          ),
          Effect.fork
        )
        // the removal waits for the claim, or ends
        yield* Effect.repeat(Effect.zip(waiting(2), Fiber.poll(removing)), {
          until: ([waits, ended]) => waits || Option.isSome(ended),
          schedule: Schedule.spaced("10 millis")
        })
        yield* Deferred.succeed(stalls, undefined)
        yield* Fiber.join(stalling)
        yield* Fiber.join(writing)
        assert.isTrue(yield* Fiber.join(removing))
        yield* Scope.close(scope, Exit.void)
        yield* start(operator, again, options)
        yield* Projections.promote(key)
        yield* caughtUp(key.name)
        yield* isFoldOfFeed
      }).pipe(Effect.provide(operator))
    }))
})
