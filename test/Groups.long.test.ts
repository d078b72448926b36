// appends of several fibers in one statement or one transaction
import { SqlClient } from "@effect/sql"
import { SqliteClient } from "@effect/sql-sqlite-node"
import { assert, describe, it } from "@effect/vitest"
import {
  Chunk,
  Context,
  DateTime,
  Deferred,
  Effect,
  Either,
  Exit,
  FastCheck as fc,
  Fiber,
  Layer,
  Option,
  Stream
} from "effect"
import { Event, EventStore, ExpectedVersion, SqlEventStore, Sqlite, SqlStores } from "effect-eventsourcing"
import { SqlFaults } from "effect-eventsourcing/testing"
import * as path from "node:path"
import * as EventLoop from "../src/internal/sql/eventLoop.js"
import { event, stream } from "./fixtures/Account.js"
import {
  groupingStores,
  migratedDatabase,
  postgresTemporaryDatabase,
  sqliteFile,
  sqliteTemporaryFile,
  temporaryFolder
} from "./utils/backends.js"
import { pgClient, poolClient } from "./utils/postgres.js"

const { any, exact, noStream, streamExists } = ExpectedVersion

type Store = EventStore.EventStore["Type"]

const append = (store: Store, name: string, events: ReadonlyArray<Event.ProposedEvent>, expected = any) =>
  store.append(stream(name), events, { expectedVersion: expected })

const together = <A, E, R>(effects: ReadonlyArray<Effect.Effect<A, E, R>>) =>
  Effect.all(effects.map(Effect.either), { concurrency: "unbounded" })

/** The answer of an append, without what differs between stores. */
const answer = (
  result: Either.Either<EventStore.AppendResult, Effect.Effect.Error<ReturnType<Store["append"]>>>
): unknown =>
  Either.match(result, {
    onLeft: (error) =>
      error._tag === "VersionConflict"
        ? { conflict: error.actual }
        : error._tag === "DuplicateEventId"
        ? { duplicate: error.eventId }
        : { failed: error.message },
    onRight: ({ duplicate, version }) => ({ version, repeated: duplicate })
  })

const kinds: ReadonlyArray<readonly [name: string, client: Layer.Layer<SqlClient.SqlClient, unknown>]> = [
  ["SQLite", sqliteFile(":memory:")],
  ["PostgreSQL", postgresTemporaryDatabase]
]

for (const [name, client] of kinds) {
  const layer = Layer.provideMerge(groupingStores, client)

  describe(`a group of appends on ${name}`, () => {
    it.effect("each append has its own result", () =>
      Effect.gen(function*() {
        const store = yield* EventStore.EventStore
        const [first, second, third] = [event(), event(), event()]
        yield* append(store, "there", [first, second])
        yield* append(store, "far", [event()])
        const results = yield* together([
          append(store, "new", [event(), event(), event()], noStream),
          append(store, "far", [event()], exact(7)),
          append(store, "there", [third], exact(2)),
          append(store, "there", [first, second], noStream),
          append(store, "missing", [event()], streamExists),
          append(store, "other", [event()])
        ])
        assert.deepStrictEqual(results.map(answer), [
          { version: 3, repeated: false },
          { conflict: 1 },
          { version: 3, repeated: false },
          { version: 2, repeated: true },
          { conflict: 0 },
          { version: 1, repeated: false }
        ])
        // the positions and times are those that a reader sees
        for (const [stream, result] of [["new", results[0]], ["there", results[2]], ["other", results[5]]] as const) {
          const found = yield* Effect.flatMap(
            store.readPage({ aggregates: ["Account"], limit: 100 }),
            ({ events }) => Effect.succeed(events.filter((event) => event.stream.id === stream).at(-1))
          )
          const { position, time } = Either.getOrThrow(result)
          assert.strictEqual(found?.position, Option.getOrThrow(position))
          if (found === undefined || Event.isUnreadable(found)) return assert.fail("it is unreadable")
          assert.deepStrictEqual(found.time, Option.getOrThrow(time))
        }
      }).pipe(Effect.provide(layer)))

    it.effect("each append has its own result where one reuses the id of an event", () =>
      Effect.gen(function*() {
        const store = yield* EventStore.EventStore
        const first = event()
        yield* append(store, "there", [first])
        const results = yield* together([
          append(store, "new", [event(), event()], noStream),
          append(store, "other", [first]),
          append(store, "there", [event()], exact(7)),
          append(store, "other", [event()])
        ])
        assert.deepStrictEqual(results.map(answer), [
          { version: 2, repeated: false },
          { duplicate: first.id },
          { conflict: 1 },
          { version: 1, repeated: false }
        ])
      }).pipe(Effect.provide(layer)))

    it.effect("an append that is refused does not get the result of another one with the same event id", () =>
      Effect.gen(function*() {
        const store = yield* EventStore.EventStore
        const reused = event()
        const results = yield* together([
          append(store, "missing", [reused], streamExists),
          append(store, "other", [event()]),
          append(store, "there", [reused])
        ])
        assert.deepStrictEqual(results.map(answer), [
          { duplicate: reused.id },
          { version: 1, repeated: false },
          { version: 1, repeated: false }
        ])
        assert.strictEqual(yield* store.version(stream("missing")), 0)
      }).pipe(Effect.provide(layer)))

    it.effect("appends to one stream see one another in the order of their arrival", () =>
      Effect.gen(function*() {
        const store = yield* EventStore.EventStore
        const names = Array.from({ length: 60 }, (_, n) => `s-${n % 3}`)
        const results = yield* together(
          names.map((name, n) => append(store, name, [event(), event()], exact(2 * Math.floor(n / 3))))
        )
        assert.deepStrictEqual(
          results.map(answer),
          names.map((_, n) => ({ version: 2 * Math.floor(n / 3) + 2, repeated: false }))
        )
      }).pipe(Effect.provide(layer)))

    it.effect("events keep their own times, in a group with others", () =>
      Effect.gen(function*() {
        const store = yield* EventStore.EventStore
        const time = Option.getOrThrow(DateTime.make("1999-12-31T23:59:59.999Z"))
        const results = yield* together([
          append(store, "a", [event(), { ...event(), time }]),
          append(store, "b", [{ ...event(), time }]),
          append(store, "c", [event(), event()])
        ])
        const told = results.map((result) =>
          Option.exists(Option.flatMap(Either.getRight(result), (appended) => appended.time), (told) =>
            DateTime.Equivalence(told, time))
        )
        assert.deepStrictEqual(told, [true, true, false])
        const times = yield* Effect.forEach(["a", "b", "c"], (name) =>
          Stream.runCollect(store.read(stream(name))))
        const isOld = times.map((events) =>
          Chunk.toReadonlyArray(events).map((event) => DateTime.Equivalence(event.time, time))
        )
        assert.deepStrictEqual(isOld, [[false, true], [true], [false, false]])
      }).pipe(Effect.provide(layer)))

    it.effect("texts are stored as they are", () =>
      Effect.gen(function*() {
        const store = yield* EventStore.EventStore
        const texts = [
          "\"",
          "\\",
          "\\\"",
          "{a,b}",
          "NULL",
          " a ",
          "\n\t\u0001\u007f",
          "\u2028\ud83d\ude00",
          "\\n",
          "', $1 %s"
        ]
        const proposed = texts.map((text) => ({
          id: `id ${text}`,
          type: text,
          payload: { [text]: [text, "\ud800", "\u0000"] },
          metadata: { [text]: text }
        }))
        const results = yield* together(proposed.map((event) => append(store, event.type, [event], noStream)))
        assert.isTrue(results.every(Either.isRight))
        for (const { id, metadata, payload, type } of proposed) {
          const [read] = yield* Stream.runCollect(store.read(stream(type)))
          assert.deepStrictEqual(
            { id: read.id, type: read.type, payload: read.payload, metadata: read.metadata },
            { id, type, payload, metadata }
          )
        }
      }).pipe(Effect.provide(layer)))

    it.effect("an append inside a transaction of the caller belongs only to that transaction", () =>
      Effect.gen(function*() {
        const store = yield* EventStore.EventStore
        const [rolledBack, ...others] = yield* Effect.all([
          Effect.either(SqlStores.transaction(Effect.zipRight(append(store, "inside", [event()]), Effect.fail("no")))),
          ...["a", "b", "c"].map((name) => Effect.either(append(store, name, [event()])))
        ], { concurrency: "unbounded" })
        assert.isTrue(Either.isLeft(rolledBack))
        assert.isTrue(others.every(Either.isRight))
        assert.strictEqual(yield* store.version(stream("inside")), 0)
      }).pipe(Effect.provide(layer)))

    const drawn = fc.record({
      stream: fc.nat(2),
      count: fc.integer({ min: 1, max: 3 }),
      expected: fc.oneof(fc.constantFrom(any, noStream, streamExists), fc.nat(5).map(exact)),
      // the ids of an earlier append, or new ones
      again: fc.option(fc.nat(9), { nil: undefined })
    })

    it.effect.prop(
      "the answers agree with the stored events",
      { appends: fc.array(drawn, { minLength: 2, maxLength: 12 }) },
      ({ appends }) =>
        Effect.gen(function*() {
          const store = yield* EventStore.EventStore
          const run = crypto.randomUUID()
          const proposed: Array<{ readonly name: string; readonly events: ReadonlyArray<Event.ProposedEvent> }> = []
          for (const { again, count, stream } of appends) {
            const earlier = again === undefined ? undefined : proposed[again]
            const name = `${run}-${stream}`
            proposed.push(
              earlier?.name === name ? earlier : { name, events: Array.from({ length: count }, () => event()) }
            )
          }
          const results = yield* together(
            proposed.map(({ events, name }, n) => append(store, name, events, appends[n].expected))
          )
          const stored = new Map<string, ReadonlyArray<string>>()
          for (const { name } of proposed) {
            const read = Chunk.toReadonlyArray(yield* Stream.runCollect(store.read(stream(name))))
            assert.deepStrictEqual(read.map(({ version }) => version), read.map((_, index) => index + 1))
            stored.set(name, read.map(({ id }) => id))
          }
          const written = new Set<string>()
          for (const [n, result] of results.entries()) {
            const { events, name } = proposed[n]
            const ids = stored.get(name) ?? []
            const own = events.map(({ id }) => id)
            if (Either.isRight(result)) {
              const { version } = result.right
              assert.deepStrictEqual(ids.slice(version - own.length, version), own)
              for (const id of own) written.add(id)
            } else {
              assert.isTrue(result.left._tag === "VersionConflict" || result.left._tag === "DuplicateEventId")
              if (result.left._tag === "VersionConflict") assert.isAtMost(result.left.actual, ids.length)
            }
          }
          const all = Array.from(stored.values()).flat()
          assert.deepStrictEqual([...all].sort(), Array.from(written).sort())
        }).pipe(Effect.provide(layer), Effect.orDie),
      { fastCheck: { numRuns: name === "SQLite" ? 50 : 20 } }
    )

    it.effect("an option turns groups off, and is checked", () =>
      Effect.gen(function*() {
        const store = yield* SqlEventStore.make({ groupAppends: false })
        const results = yield* together(["a", "b", "c"].map((name) => append(store, name, [event()])))
        assert.isTrue(results.every(Either.isRight))
        const wrong = yield* Effect.flip(SqlEventStore.make(JSON.parse(`{"groupAppends":"yes"}`)))
        assert.include(wrong.message, "groupAppends")
      }).pipe(Effect.provide(client)))
  })
}

/** Appends to the stream "blocked" in a transaction that stays open. Gives the effect that ends it. */
const holdStream = (store: Store) =>
  Effect.gen(function*() {
    const sql = yield* SqlClient.SqlClient
    const appended = yield* Effect.makeLatch(false)
    const end = yield* Effect.makeLatch(false)
    const holding = yield* Effect.fork(sql.withTransaction(
      append(store, "blocked", [event()]).pipe(Effect.zipRight(appended.open), Effect.zipRight(end.await))
    ))
    yield* appended.await
    return Effect.zipRight(end.open, Fiber.join(holding))
  })

describe("a group on PostgreSQL", () => {
  const stores = Layer.provideMerge(groupingStores, postgresTemporaryDatabase)

  it.live("does not wait for a stream to which another transaction appends", () =>
    Effect.gen(function*() {
      const store = yield* EventStore.EventStore
      const release = yield* holdStream(store)
      const blocked = yield* Effect.fork(Effect.either(append(store, "blocked", [event()], noStream)))
      const others = yield* together(["a", "b", "c"].map((name) => append(store, name, [event()])))
      assert.isTrue(others.every(Either.isRight))
      assert.isTrue(Option.isNone(yield* Fiber.poll(blocked)))
      yield* release
      assert.deepStrictEqual(answer(yield* Fiber.join(blocked)), { conflict: 1 })
    }).pipe(Effect.scoped, Effect.provide(stores)))

  it.live("tells each append its own result where a trigger skips the event of one", () =>
    Effect.gen(function*() {
      const store = yield* EventStore.EventStore
      const sql = yield* SqlClient.SqlClient
      yield* sql.unsafe(`CREATE FUNCTION skip() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$`)
      yield* sql.unsafe(`CREATE TRIGGER skip BEFORE INSERT ON eventsourcing_events
FOR EACH ROW WHEN (NEW.stream_id = 'skipped') EXECUTE FUNCTION skip()`)
      const [a, skipped, b] = yield* together(
        ["a", "skipped", "z"].map((name) => append(store, name, [event()], noStream))
      )
      assert.deepStrictEqual([a, b].map(answer), [{ version: 1, repeated: false }, { version: 1, repeated: false }])
      assert.isTrue(Either.isLeft(skipped))
    }).pipe(Effect.provide(stores)))

  it.live("that loses its connection is sent again, and no event is stored twice", () =>
    Effect.gen(function*() {
      const url = yield* migratedDatabase
      yield* Effect.gen(function*() {
        const store = yield* EventStore.EventStore
        const sql = yield* SqlClient.SqlClient
        const killing = Effect.forever(
          Effect.zipRight(
            Effect.ignore(sql`SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid() AND query LIKE '%append_many%'`),
            Effect.yieldNow()
          )
        )
        const killer = yield* Effect.fork(killing)
        const ids = Array.from({ length: 200 }, (_, n) => ({ name: `s-${n % 20}`, event: event() }))
        const results = yield* together(ids.map(({ event, name }) => append(store, name, [event])))
        yield* Fiber.interrupt(killer)
        const found = yield* store.find(ids.map(({ event }) => event.id))
        const stored = new Set(found.map(({ eventId }) => eventId))
        for (const [index, result] of results.entries()) {
          if (Either.isRight(result)) assert.isTrue(stored.has(ids[index].event.id))
          else {
            assert.isTrue(result.left._tag === "EventStoreError" && result.left.reason === "Unavailable")
            if (result.left._tag === "EventStoreError" && !result.left.mayHaveAppended) {
              assert.isFalse(stored.has(ids[index].event.id))
            }
          }
        }
        const streams = yield* store.streams({ aggregate: "Account", limit: 100 })
        assert.strictEqual(streams.reduce((sum, { version }) => sum + version, 0), stored.size)
      }).pipe(Effect.provide(Layer.provideMerge(groupingStores, pgClient(url, { maxConnections: 8 }))))
    }).pipe(Effect.scoped))
})

describe("appends behind two that wait for a lock on PostgreSQL", () => {
  /** Runs with a stream to which an open transaction has appended, and two appends to it that take both lanes. */
  const behindTwo = <A, E>(
    run: (store: Store, held: ReadonlyArray<Fiber.Fiber<unknown, unknown>>) => Effect.Effect<A, E, SqlClient.SqlClient>
  ) =>
    Effect.gen(function*() {
      const store = yield* EventStore.EventStore
      const release = yield* holdStream(store)
      const held = yield* Effect.forEach([1, 2], () => Effect.fork(append(store, "blocked", [event()])))
      assert.strictEqual(yield* waitingForLocks(2), 2)
      const result = yield* run(store, held)
      yield* release
      return result
    })

  const waitingForLocks = (count: number) =>
    Effect.flatMap(SqlClient.SqlClient, (sql) =>
      Effect.map(
        Effect.repeat(
          sql`SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'`,
          { until: (rows) => rows.length === count, times: 1_000 }
        ),
        ({ length }) => length
      ))

  it.live("are cancelled at the server when no fiber waits for them any more", () =>
    behindTwo((store, held) =>
      Effect.gen(function*() {
        const behind = yield* Effect.fork(append(store, "blocked", [event()]))
        assert.strictEqual(yield* waitingForLocks(3), 3)
        yield* Fiber.interruptAll([...held, behind])
        assert.strictEqual(yield* waitingForLocks(0), 0)
      })
    ).pipe(Effect.provide(Layer.provideMerge(SqlStores.layer, postgresTemporaryDatabase))))

  it.live("are sent once if they are alone in a group", () =>
    Effect.gen(function*() {
      const sql = yield* SqlClient.SqlClient
      // a sequence counts also what is undone
      yield* sql.unsafe("CREATE SEQUENCE tries")
      yield* sql.unsafe(`CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN PERFORM nextval('tries'); RAISE EXCEPTION 'refused'; END $$`)
      yield* sql.unsafe(`CREATE TRIGGER refuse BEFORE INSERT ON eventsourcing_events
FOR EACH ROW WHEN (NEW.stream_id = 'bad') EXECUTE FUNCTION refuse()`)
      yield* behindTwo((store) => Effect.flip(append(store, "bad", [event()])))
      const [{ tries }] = yield* sql<{ readonly tries: string }>`SELECT last_value::text AS tries FROM tries`
      assert.strictEqual(tries, "1")
    }).pipe(Effect.provide(Layer.provideMerge(SqlStores.layer, postgresTemporaryDatabase))))

  it.live("do not wait for a connection twice", () =>
    Effect.gen(function*() {
      const url = yield* migratedDatabase
      let waits = 0
      const client = poolClient(url, (pool) => {
        pool.options.connectionTimeoutMillis = 100
        const connect = pool.connect.bind(pool)
        return Object.assign(pool, {
          connect: (...args: Parameters<typeof connect>) => {
            waits++
            return connect(...args)
          }
        })
      })
      yield* Effect.gen(function*() {
        const store = yield* EventStore.EventStore
        yield* SqlStores.transaction(Effect.gen(function*() {
          waits = 0
          const outside = yield* Effect.forEach(["a", "b", "c", "d", "e"], (name) =>
            append(store, name, [event()]).pipe(
              Effect.mapInputContext((_: Context.Context<never>) => Context.empty()),
              Effect.flip,
              Effect.fork
            ))
          for (const error of yield* Fiber.join(Fiber.all(outside))) {
            assert.isTrue(error._tag === "EventStoreError" && !error.mayHaveAppended)
          }
        }))
        // two alone, and two groups
        assert.strictEqual(waits, 4)
      }).pipe(Effect.provide(Layer.provideMerge(SqlStores.layer, client)))
    }).pipe(Effect.scoped))
})

describe("a group on PostgreSQL that waits for a connection", () => {
  it.live("leaves out an append that was interrupted meanwhile", () =>
    Effect.gen(function*() {
      const url = yield* migratedDatabase
      let asked = () => {}
      const client = poolClient(url, (pool) => {
        const connect = pool.connect.bind(pool)
        return Object.assign(pool, {
          connect: (...args: Parameters<typeof connect>) => {
            asked()
            return connect(...args)
          }
        })
      })
      yield* Effect.gen(function*() {
        const store = yield* EventStore.EventStore
        const names = ["a", "b", "c"]
        const kept = yield* SqlStores.transaction(Effect.gen(function*() {
          const waiting = yield* Deferred.make<void>()
          asked = () => Deferred.unsafeDone(waiting, Exit.void)
          const fibers = yield* Effect.forEach(names, (name) =>
            append(store, name, [event()]).pipe(
              Effect.mapInputContext((_: Context.Context<never>) => Context.empty()),
              Effect.forkDaemon
            ))
          yield* Deferred.await(waiting)
          yield* Fiber.interrupt(fibers[1])
          return [fibers[0], fibers[2]]
        }))
        yield* Fiber.join(Fiber.all(kept))
        assert.deepStrictEqual(yield* Effect.forEach(names, (name) => store.version(stream(name))), [1, 0, 1])
      }).pipe(Effect.provide(Layer.provideMerge(groupingStores, client)))
    }).pipe(Effect.scoped))
})

describe("a group on a SQLite file", () => {
  it.live("leaves out an append that was interrupted while another process held the file", () =>
    Effect.gen(function*() {
      const folder = yield* temporaryFolder
      const file = path.join(folder, "test.db")
      yield* Effect.gen(function*() {
        const store = yield* EventStore.EventStore
        const other = yield* Layer.build(Layer.fresh(sqliteFile(file)))
        const held = yield* Effect.makeLatch(false)
        const end = yield* Effect.makeLatch(false)
        const holder = Context.get(other, SqlClient.SqlClient)
        const holding = yield* Effect.fork(holder.withTransaction(Effect.zipRight(held.open, end.await)))
        yield* held.await
        const [a, b] = yield* Effect.forEach(["a", "b"], (name) => Effect.fork(append(store, name, [event()])))
        // the group is sent, and waits for the file
        for (let n = 0; n < 20; n++) yield* Effect.yieldNow({ priority: 2 })
        yield* Fiber.interrupt(a)
        yield* end.open
        yield* Fiber.join(holding)
        assert.strictEqual((yield* Fiber.join(b)).version, 1)
        assert.strictEqual(yield* store.version(stream("a")), 0)
      }).pipe(Effect.provide(Layer.provideMerge(groupingStores, sqliteFile(file))))
    }).pipe(Effect.scoped))

  it.live("takes in appends of separate turns of the event loop if the last append was slow", () =>
    Effect.gen(function*() {
      const folder = yield* temporaryFolder
      const commits: Array<string> = []
      const client = Sqlite.layer(
        (config: SqliteClient.SqliteClientConfig) =>
          SqlFaults.layer(SqlFaults.none, {
            onStatement: ({ kind, text }) => {
              if (kind === "Commit") commits.push(text)
            }
          })(SqliteClient.layer(config)),
        { filename: path.join(folder, "test.db") }
      )
      const callbacks: Array<() => void> = []
      let now = 0
      const slow = Layer.succeed(EventLoop.EventLoop, {
        ...EventLoop.real,
        now: () => now += 2,
        afterSockets: (callback) => void callbacks.push(callback)
      })
      yield* Effect.gen(function*() {
        const store = yield* EventStore.EventStore
        yield* append(store, "first", [event()])
        commits.length = 0
        const fibers: Array<Fiber.Fiber<EventStore.AppendResult, unknown>> = []
        for (const name of ["a", "b", "c"]) {
          yield* Effect.promise(() => new Promise<void>((resolve) => setImmediate(resolve)))
          fibers.push(yield* Effect.fork(append(store, name, [event()])))
          yield* Effect.yieldNow({ priority: 2 })
        }
        for (const callback of callbacks) callback()
        const results = yield* Fiber.join(Fiber.all(fibers))
        assert.deepStrictEqual(results.map(({ version }) => version), [1, 1, 1])
        assert.lengthOf(commits, 1)
      }).pipe(Effect.provide(Layer.provideMerge(Layer.provide(SqlStores.layer, slow), client)))
    }).pipe(Effect.scoped))

  it.effect("is one transaction", () =>
    Effect.gen(function*() {
      const store = yield* EventStore.EventStore
      const sql = yield* SqlClient.SqlClient
      // fails one append of the group
      yield* sql.unsafe(`CREATE TRIGGER refuse BEFORE INSERT ON eventsourcing_events WHEN NEW.stream_id = 'bad'
BEGIN SELECT RAISE(ABORT, 'refused'); END`)
      const results = yield* together(["a", "bad", "b"].map((name) => append(store, name, [event()])))
      assert.deepStrictEqual(results.map(Either.isRight), [true, false, true])
      // ends the whole transaction
      yield* sql.unsafe(`CREATE TRIGGER undo BEFORE INSERT ON eventsourcing_events WHEN NEW.stream_id = 'worse'
BEGIN SELECT RAISE(ROLLBACK, 'undone'); END`)
      const again = yield* together(["c", "worse", "d"].map((name) => append(store, name, [event()])))
      assert.deepStrictEqual(again.map(Either.isRight), [true, false, true])
      const versions = yield* Effect.forEach(
        ["a", "bad", "b", "c", "worse", "d"],
        (name) => store.version(stream(name))
      )
      assert.deepStrictEqual(versions, [1, 0, 1, 1, 0, 1])
    }).pipe(Effect.provide(Layer.provideMerge(groupingStores, sqliteTemporaryFile))))
})
