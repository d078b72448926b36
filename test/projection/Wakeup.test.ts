import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Exit, Layer, Scope, TestClock } from "effect"
import { CheckpointStore, EventStore, Projection, SqlStores, Wakeup } from "effect-eventsourcing"
import * as fs from "node:fs"
import * as path from "node:path"
import pg from "pg"
import { Account } from "../fixtures/Account.js"
import { migratedDatabase, sqliteFile, temporaryFolder } from "../utils/backends.js"
import { eventually } from "../utils/observe.js"
import { pgClient } from "../utils/postgres.js"
import { append } from "./fixture.js"

/** A projection that looks at the feed once an hour, and says when it has handled an event. */
const reader = Effect.gen(function*() {
  const handled = { next: yield* Deferred.make<void>() }
  const projection = Projection.make({
    name: "all",
    on: [Account],
    handle: () => Effect.suspend(() => Deferred.succeed(handled.next, undefined))
  })
  yield* Layer.build(
    Layer.provide(Projection.layer(projection, { maxDelay: "1 hour", lease: "1 hour" }), CheckpointStore.layerMemory)
  )
  return {
    awaitNext: Effect.suspend(() => Deferred.await(handled.next)),
    reset: Effect.map(Deferred.make<void>(), (next) => void (handled.next = next))
  }
})

/** The stores of a process, and how many different senders each of its listening connections has heard. */
const processOn = (url: string) =>
  Effect.gen(function*() {
    const heard: Array<Set<string>> = []
    const client = () => {
      const client = new pg.Client({ connectionString: url })
      const senders = new Set<string>()
      heard.push(senders)
      return client.on("notification", ({ payload = "" }) => senders.add(payload))
    }
    const stores = Layer.provide(SqlStores.layer, pgClient(url))
    const context = yield* Layer.build(Layer.fresh(Layer.provideMerge(Wakeup.layerPostgres({ client }), stores)))
    return { heard, context }
  })

describe("the wake-up of PostgreSQL", () => {
  it.scopedLive(
    "wakes the readers of another process, also after its connection was lost",
    () =>
      Effect.gen(function*() {
        const url = yield* migratedDatabase
        const reading = yield* processOn(url)
        const writing = yield* processOn(url)
        let rings = 0
        const subscribed = Effect.gen(function*() {
          const { subscribe } = yield* Wakeup.Wakeup
          yield* subscribe(yield* EventStore.EventStore, () => rings += 1)
        })
        yield* Effect.provide(subscribed, reading.context)
        // both the reading process itself and the writing one are heard
        const isHeard = (connection: number) =>
          eventually(Effect.map(
            Effect.provide(append("a", [1]), writing.context),
            () => reading.heard[connection]?.size === 2
          ))
        yield* isHeard(0)
        const before = rings
        const admin = yield* connection(url)
        yield* Effect.promise(() =>
          admin.query(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE '%pg_notify%' AND pid <> pg_backend_pid()"
          )
        )
        yield* isHeard(1)
        assert.isAbove(rings, before)
      }),
    20_000
  )

  it.scopedLive("leaves readers to themselves while there is no server", () =>
    Effect.gen(function*() {
      const client = () => new pg.Client({ connectionString: "postgres://127.0.0.1:1/none" })
      const stores = yield* Layer.build(Layer.provideMerge(Wakeup.layerPostgres({ client }), EventStore.layerMemory))
      const { awaitNext } = yield* Effect.provide(reader, stores)
      yield* Effect.provide(append("a", [1]), stores)
      yield* awaitNext
    }))

  it.scoped("lets its layer close while a server does not answer", () =>
    Effect.gen(function*() {
      const connecting = yield* Deferred.make<void>()
      let ends = 0
      const client = (): Wakeup.Client => ({
        connect: () => {
          Deferred.unsafeDone(connecting, Effect.void)
          return new Promise(() => {})
        },
        query: () => Promise.resolve(),
        end: () => Promise.resolve(ends += 1),
        on: () => undefined
      })
      const scope = yield* Scope.make()
      yield* Layer.buildWithScope(Layer.provide(Wakeup.layerPostgres({ client }), EventStore.layerMemory), scope)
      yield* Deferred.await(connecting)
      yield* Scope.close(scope, Exit.void)
      assert.strictEqual(ends, 1)
    }))

  it.scoped("connects again at once after a connection that worked, however many had failed before", () =>
    Effect.gen(function*() {
      const connects: Array<number> = []
      let end = () => {}
      let isAway = true
      const time = Effect.map(TestClock.currentTimeMillis, Number)
      const client = (): Wakeup.Client => {
        let notify = (_: Wakeup.Notification): void => {}
        return {
          connect: () => {
            connects.push(connects.length)
            return isAway ? Promise.reject(new Error("away")) : Promise.resolve()
          },
          query: (_, [channel, payload] = []) => Promise.resolve(channel === undefined || notify({ channel, payload })),
          end: () => Promise.resolve(),
          on: (event: string, listener: (message: never) => void) => {
            if (event === "notification") notify = listener as (message: Wakeup.Notification) => void
            if (event === "end") end = listener as () => void
          }
        }
      }
      yield* Layer.build(Layer.provide(Wakeup.layerPostgres({ client }), EventStore.layerMemory))
      const pass = (millis: number, times: number) =>
        Effect.forEach(
          Array.from({ length: times }),
          () => Effect.zipRight(Effect.promise(() => new Promise(setImmediate)), TestClock.adjust(millis)),
          { discard: true }
        )
      yield* pass(1_000, 60)
      isAway = false
      yield* pass(1_000, 10)
      const before = connects.length
      assert.isAbove(before, 10)
      end()
      yield* pass(20, 5)
      assert.strictEqual(connects.length, before + 1, `${yield* time}`)
    }))

  it.effect("refuses invalid options", () =>
    Effect.gen(function*() {
      const client = () => new pg.Client()
      for (
        const options of [{ client, channel: "a\"b" }, { client, channel: "" }, { client, every: -1 }, {
          client,
          every: NaN
        }]
      ) {
        const layer = Layer.provide(Wakeup.layerPostgres(options), EventStore.layerMemory)
        const error = yield* Effect.flip(Effect.scoped(Layer.build(layer)))
        assert.strictEqual(error._tag, "InvalidOption")
      }
    }))
})

const connection = (url: string): Effect.Effect<pg.Client, never, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.promise(async () => {
      const client = new pg.Client({ connectionString: url })
      await client.connect()
      return client
    }),
    (client) => Effect.promise(() => client.end())
  )

/** The stores of a process on a file. */
const storesOnFile = (filename: string) =>
  Layer.build(Layer.fresh(Layer.provide(SqlStores.layer, sqliteFile(filename))))

const onFile = Effect.gen(function*() {
  const filename = path.join(yield* temporaryFolder, "bank.db")
  const writing = yield* storesOnFile(filename)
  const reading = yield* storesOnFile(filename)
  return { filename, writing, reading }
})

describe("the wake-up of SQLite", () => {
  it.scopedLive("wakes the readers of another process after each commit", () =>
    Effect.gen(function*() {
      const { filename, reading, writing } = yield* onFile
      const wakeup = yield* Layer.build(Wakeup.layerSqlite({ filename }))
      const { awaitNext, reset } = yield* reader.pipe(Effect.provide(reading), Effect.provide(wakeup))
      for (const amount of [1, 2, 3]) {
        yield* Effect.provide(append("a", [amount]), writing)
        yield* awaitNext
        yield* reset
      }
    }))

  it.scopedLive("watches the file behind a symbolic link, as SQLite does", () =>
    Effect.gen(function*() {
      const { filename, reading, writing } = yield* onFile
      const link = path.join(yield* temporaryFolder, "link.db")
      yield* Effect.sync(() => fs.symlinkSync(filename, link))
      const wakeup = yield* Layer.build(Wakeup.layerSqlite({ filename: link }))
      const { awaitNext } = yield* reader.pipe(Effect.provide(reading), Effect.provide(wakeup))
      yield* Effect.provide(append("a", [1]), writing)
      yield* awaitNext
    }))

  it.scopedLive("leaves readers to themselves while there is no file", () =>
    Effect.gen(function*() {
      const { filename, reading } = yield* onFile
      const wakeup = yield* Layer.build(Wakeup.layerSqlite({ filename: `${filename}/none/bank.db` }))
      const { awaitNext } = yield* reader.pipe(Effect.provide(reading), Effect.provide(wakeup))
      yield* Effect.provide(append("a", [1]), reading)
      yield* awaitNext
    }))

  it.effect("refuses invalid options", () =>
    Effect.gen(function*() {
      for (
        const options of [{ filename: "" }, { filename: ":memory:" }, { filename: "a.db", every: -1 }, {
          filename: "a.db",
          every: NaN
        }]
      ) {
        const error = yield* Effect.flip(Effect.scoped(Layer.build(Wakeup.layerSqlite(options))))
        assert.strictEqual(error._tag, "InvalidOption")
      }
    }))
})
