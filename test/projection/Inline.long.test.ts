// Inline projections: handled in the transaction of the append, once and in order, whoever else follows the feed.
import { SqlClient } from "@effect/sql"
import { assert, describe, it } from "@effect/vitest"
import { type Context, Data, Effect, Exit, Fiber, Layer, Option, type Scope, Stream, TestClock } from "effect"
import {
  CheckpointStore,
  EventStore,
  ExpectedVersion,
  Projection,
  Projections,
  Repository,
  SnapshotPolicy
} from "effect-eventsourcing"
import { ProjectionTest } from "effect-eventsourcing/testing"
import { Account, deposit, event, id, open, stream } from "../fixtures/Account.js"
import { Order } from "../fixtures/Order.js"
import {
  append,
  caughtUp,
  createTables,
  databases,
  feed,
  isFoldOfFeed,
  Model,
  type Process,
  process,
  rows,
  start,
  write
} from "./inlineFixture.js"

type ServicesOf<C> = C extends Context.Context<infer R> ? R : never

class Refused extends Data.TaggedError("Refused") {}

const inline = { inline: true, lease: "1 second" } as const

const named = <E, R>(
  name: string,
  handle: (
    events: ReadonlyArray<{ readonly id: string; readonly aggregateId: string; readonly version: number }>
  ) => Effect.Effect<unknown, E, R>
) => Projection.make({ name, on: [Account], handle })

for (const [name, connect] of databases) {
  describe(`an inline projection on ${name}`, () => {
    /** A process with the tables of the model. */
    const one = Effect.gen(function*() {
      const context = yield* process(yield* connect)
      yield* Effect.provide(createTables, context)
      return context
    })

    /** Runs a test in a process that handles the model inline. */
    const withModel = <A, E>(test: Effect.Effect<A, E, ServicesOf<Process> | Scope.Scope>) =>
      Effect.gen(function*() {
        const context = yield* one
        yield* start(context, Model, inline)
        return yield* Effect.provide(test, context)
      })

    it.scopedLive("has the events of a command when the command ends, and of each append once", () =>
      withModel(Effect.gen(function*() {
        const accounts = yield* Repository.make(Account)
        yield* accounts.execute(id("a"), open)
        assert.strictEqual((yield* rows).length, 1)
        const { events } = yield* accounts.executeAll(id("a"), [deposit(1, 3), deposit(2)])
        assert.strictEqual((yield* rows).length, 1 + events.length)
        yield* append("b", 2)
        assert.strictEqual((yield* rows).length, 7)
        yield* caughtUp("model")
        yield* isFoldOfFeed
      })))

    it.scopedLive("does not handle a repeated append, a repeated command or a conflict", () =>
      withModel(Effect.gen(function*() {
        const store = yield* EventStore.EventStore
        const events = [event(), event()]
        const repeat = store.append(stream("a"), events, { expectedVersion: ExpectedVersion.exact(0) })
        yield* repeat
        assert.isTrue((yield* repeat).duplicate)
        const conflict = yield* Effect.flip(append("a", 1, ExpectedVersion.exact(1)))
        assert.strictEqual(conflict._tag, "VersionConflict")
        const taken = yield* Effect.flip(
          store.append(stream("b"), [events[0]], { expectedVersion: ExpectedVersion.any })
        )
        assert.strictEqual(taken._tag, "DuplicateEventId")
        const accounts = yield* Repository.make(Account)
        yield* accounts.execute(id("c"), open, { commandId: "open c" })
        assert.isTrue((yield* accounts.execute(id("c"), open, { commandId: "open c" })).duplicate)
        assert.strictEqual((yield* rows).length, 3)
        yield* caughtUp("model")
        yield* isFoldOfFeed
      })))

    it.scopedLive("handles each command once where many commands of one stream race", () =>
      withModel(Effect.gen(function*() {
        const accounts = yield* Repository.make(Account)
        yield* accounts.execute(id("a"), open)
        yield* Effect.forEach(Array.from({ length: 12 }), () => accounts.execute(id("a"), deposit(1)), {
          concurrency: 6
        })
        assert.strictEqual((yield* rows).length, 13)
        yield* caughtUp("model")
        yield* isFoldOfFeed
      })))

    const failures: ReadonlyArray<readonly [string, Effect.Effect<unknown, unknown, SqlClient.SqlClient>, RegExp]> = [
      ["fails", new Refused(), /Refused/],
      ["dies", Effect.die(new Error("a defect")), /a defect/],
      [
        "throws",
        Effect.suspend(() => {
          throw new Error("thrown")
        }),
        /thrown/
      ],
      ["interrupts itself", Effect.interrupt, /interrupted itself/],
      [
        "writes to a table that is missing",
        Effect.flatMap(SqlClient.SqlClient, (sql) => sql`INSERT INTO missing VALUES (1)`),
        /Failed to .*: .*missing.* \((SQLITE_ERROR|42P01)\)$/
      ]
    ]
    for (const [how, failure, message] of failures) {
      it.scopedLive(`fails the command if its handler ${how}, and nothing is stored`, () =>
        Effect.gen(function*() {
          const context = yield* one
          yield* start(context, Model, inline)
          yield* start(context, named("other", () => failure), { ...inline, poison: "park" })
          yield* Effect.gen(function*() {
            const accounts = yield* Repository.make(Account)
            const error = yield* Effect.flip(accounts.execute(id("a"), open))
            assert(error._tag === "InlineProjectionError", error._tag)
            assert.strictEqual(error.projection, "other")
            assert.deepStrictEqual(error.stream, stream("a"))
            assert.match(error.message, message)
            assert.match(error.message, /nothing was appended/)
            assert.deepStrictEqual(yield* rows, [])
            assert.deepStrictEqual(yield* feed, [])
            assert.strictEqual((yield* accounts.load(id("a"))).version, 0)
            const [{ local }] = yield* Projections.status("other")
            assert.isTrue(Option.exists(local, ({ lastError }) => Option.isSome(lastError)))
          }).pipe(Effect.provide(context))
        }))
    }

    it.scoped("fails the command if its handler hangs for longer than its time limit", () =>
      Effect.gen(function*() {
        const context = yield* one
        yield* start(context, named("hangs", () => Effect.never), { inline: true, timeout: "3 seconds" })
        yield* Effect.gen(function*() {
          const fiber = yield* Effect.fork(Effect.flip(append("a")))
          const store = yield* EventStore.EventStore
          // until the handler hangs, time stands still
          yield* Effect.iterate(0, {
            while: (n) => n < 400 && Option.isNone(fiber.unsafePoll() === null ? Option.none() : Option.some(1)),
            body: (n) =>
              Effect.as(
                Effect.zipRight(
                  TestClock.adjust("100 millis"),
                  Effect.promise(() => new Promise((r) => setTimeout(r, 2)))
                ),
                n + 1
              )
          })
          const error = yield* Fiber.join(fiber)
          assert.strictEqual(error._tag, "InlineProjectionError")
          assert.match(error.message, /longer than 3s/)
          assert.strictEqual(yield* store.version(stream("a")), 0)
        }).pipe(Effect.provide(context))
      }))

    it.scopedLive("rolls back if the command is interrupted", () =>
      Effect.gen(function*() {
        const context = yield* one
        let began = () => {}
        const beginning = new Promise<void>((resolve) => began = resolve)
        const hangs = Effect.zipRight(Effect.sync(began), Effect.never)
        yield* start(context, named("hangs", (events) => Effect.zipRight(write(events), hangs)), inline)
        yield* Effect.gen(function*() {
          const fiber = yield* Effect.fork(append("a"))
          yield* Effect.promise(() => beginning)
          assert.isTrue(Exit.isInterrupted(yield* Fiber.interrupt(fiber)))
          assert.deepStrictEqual(yield* rows, [])
          assert.deepStrictEqual(yield* feed, [])
        }).pipe(Effect.provide(context))
      }))

    it.scopedLive("is part of the caller's transaction, in a savepoint", () =>
      Effect.gen(function*() {
        const context = yield* one
        const refusing = named("model", (events) =>
          Effect.if(
            events.some(({ aggregateId }) => aggregateId === "refused"),
            {
              onTrue: () => new Refused(),
              onFalse: () => write(events)
            }
          ))
        yield* start(context, refusing, { ...inline, poison: "park" })
        yield* Effect.gen(function*() {
          const sql = yield* SqlClient.SqlClient
          const undone = yield* Effect.flip(sql.withTransaction(Effect.zipRight(append("a"), new Refused())))
          assert.strictEqual(undone._tag, "Refused")
          assert.deepStrictEqual(yield* rows, [])
          // a failed projection leaves the transaction usable
          const failed = yield* sql.withTransaction(Effect.gen(function*() {
            yield* append("b")
            const error = yield* Effect.flip(append("refused"))
            yield* append("c")
            return error._tag
          }))
          assert.strictEqual(failed, "InlineProjectionError")
          assert.deepStrictEqual((yield* rows).map(({ account }) => account), ["b", "c"])
          yield* caughtUp("model")
          yield* isFoldOfFeed
        }).pipe(Effect.provide(context))
      }))

    it.scopedLive("takes part in a transaction with an inline snapshot", () =>
      withModel(Effect.gen(function*() {
        const accounts = yield* Repository.make(Account, { snapshots: SnapshotPolicy.inline({ every: 1 }) })
        yield* accounts.execute(id("a"), open)
        yield* accounts.execute(id("a"), deposit(4))
        assert.strictEqual((yield* accounts.load(id("a"))).snapshotVersion, 2)
        yield* caughtUp("model")
        yield* isFoldOfFeed
      })))

    it.scopedLive("gets the events of several aggregates that it asks for, in their newest shape", () =>
      Effect.gen(function*() {
        const context = yield* one
        const seen: Array<string> = []
        const Several = Projection.make({
          name: "several",
          on: [Account, Projection.only(Order, ["LineAdded", "Placed"])],
          handle: (events) =>
            Effect.sync(() => {
              for (const { aggregate, event } of events) {
                seen.push(`${aggregate} ${event._tag === "LineAdded" ? `LineAdded ${event.cents}` : event._tag}`)
              }
            })
        })
        yield* start(context, Several, inline)
        yield* Effect.gen(function*() {
          const store = yield* EventStore.EventStore
          const order = { aggregate: "Order", id: "o" }
          const given = [
            { type: "OrderPlaced", payload: { _tag: "OrderPlaced", customer: "c", total: 1 } },
            { type: "Closed", payload: { _tag: "Closed" } },
            { type: "QuoteRequested", payload: { _tag: "QuoteRequested" } },
            { type: "LineAdded", payload: { _tag: "LineAdded", sku: "s", price: "1.50" } }
          ]
          for (const event of given) {
            yield* store.append({ ...order }, [{ id: crypto.randomUUID(), ...event }], {
              expectedVersion: ExpectedVersion.any
            })
          }
          yield* append("a")
          assert.deepStrictEqual(seen, ["Order Placed", "Order LineAdded 150", "Account Deposited"])
          yield* caughtUp("several")
          assert.strictEqual(seen.length, 3)
        }).pipe(Effect.provide(context))
      }))

    it.scopedLive("handles an append that is longer than a page", () =>
      withModel(Effect.gen(function*() {
        yield* append("a")
        yield* append("a", 4_200)
        assert.strictEqual((yield* rows).length, 4_201)
        yield* caughtUp("model")
        yield* isFoldOfFeed
      })))

    it.scopedLive("fails an append whose event does not decode", () =>
      withModel(Effect.gen(function*() {
        const store = yield* EventStore.EventStore
        const error = yield* Effect.flip(
          store.append(stream("a"), [{ ...event(), type: "Unheard" }], { expectedVersion: ExpectedVersion.any })
        )
        assert.strictEqual(error._tag, "InlineProjectionError")
        assert.match(error.message, /Unheard/)
        assert.deepStrictEqual(yield* feed, [])
      })))

    it.scopedLive("lets a handler execute a command, and open a transaction of its own", () =>
      Effect.gen(function*() {
        const context = yield* one
        const Echo = Projection.make({
          name: "echo",
          on: [Account],
          handle: (events) =>
            Effect.gen(function*() {
              const sql = yield* SqlClient.SqlClient
              yield* sql.withTransaction(write(events))
              if (events[0].aggregateId === "a") yield* append("echo")
            })
        })
        yield* start(context, Echo, inline)
        yield* Effect.gen(function*() {
          yield* append("a")
          assert.deepStrictEqual((yield* rows).map(({ account }) => account), ["a", "echo"])
          yield* caughtUp("echo")
          yield* isFoldOfFeed
        }).pipe(Effect.provide(context))
      }))

    it.scopedLive("leaves imported events to the feed, and later appends of their streams until then", () =>
      Effect.gen(function*() {
        const context = yield* one
        // without an owner nothing follows the feed
        yield* start(context, Model, { lease: "1 second" }).pipe(Effect.scoped)
        yield* start(context, Model, inline)
        yield* Effect.gen(function*() {
          const store = yield* EventStore.EventStore
          const imported = Array.from(
            { length: 3 },
            (_, index) => ({ ...event(), stream: stream("a"), version: index + 1 })
          )
          yield* Stream.runDrain(store.import(Stream.fromIterable(imported)))
          yield* append("a")
          yield* append("b")
          yield* caughtUp("model")
          yield* isFoldOfFeed
        }).pipe(Effect.provide(context))
      }))

    it.scopedLive("is refused where the stores share no transaction", () =>
      Effect.gen(function*() {
        const client = yield* connect
        const context = yield* process(client)
        const memory = yield* Effect.flip(
          Effect.provide(
            Layer.build(Projection.layer(Model, inline)),
            yield* Layer.build(
              Layer.merge(Layer.succeedContext(context), CheckpointStore.layerMemory)
            )
          )
        )
        assert.strictEqual(memory._tag, "InvalidOption")
        const events = yield* Effect.flip(
          Effect.provide(
            Layer.build(Projection.layer(Model, inline)),
            yield* Layer.build(
              Layer.merge(Layer.succeedContext(context), EventStore.layerMemory)
            )
          )
        )
        assert.match(events.message, /share no transaction/)
        const wrong: Projection.Options = Object.assign({}, JSON.parse("{ \"inline\": 1 }"))
        assert.match((yield* Effect.flip(start(context, Model, wrong))).message, /inline/)
      }))
  })
}

it.scopedLive("ProjectionTest shows what a projection does inline: the handler is the same", () =>
  Effect.gen(function*() {
    const [, connect] = databases[0]
    const context = yield* process(yield* connect)
    yield* Effect.gen(function*() {
      yield* createTables
      const sql = yield* SqlClient.SqlClient
      const history = ["a", "b", "a", "a"]
      const plain = Effect.map(rows, (found) => found.map(({ account, version }) => `${account} ${version}`))
      const expected = ["a 1", "b 1", "a 2", "a 3"]
      const given = ProjectionTest.given(
        Model,
        history.map((account) => ProjectionTest.event(Account, id(account), { _tag: "Deposited", amount: 1 }))
      )
      yield* given.then(plain, expected)
      yield* sql`DELETE FROM model`
      yield* start(context, Model, inline)
      for (const account of history) yield* append(account)
      assert.deepStrictEqual(yield* plain, expected)
    }).pipe(Effect.provide(context))
  }))
