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

  it.scopedLive("stands a flood of notifications: a reader does not look once for each, and misses no event", () =>
    Effect.gen(function*() {
      const url = yield* migratedDatabase
      const notifications = 20_000
      let received = 0
      const client = (): Wakeup.Client => {
        const client = new pg.Client({ connectionString: url })
        client.on("notification", () => received += 1)
        return {
          connect: () => client.connect(),
          // a channel of the program's on the same connection
          query: (text, values) => client.query(text.startsWith("LISTEN") ? `${text}; LISTEN other` : text, values),
          end: () => client.end(),
          on: (event: string, listener: (message: never) => void) => client.on(event as never, listener as never)
        }
      }
      const stores = yield* Layer.build(Layer.fresh(
        Layer.provideMerge(
          Wakeup.layerPostgres({ client }),
          Layer.provide(SqlStores.layer, pgClient(url))
        )
      ))
      const writing = yield* processOn(url)
      const admin = yield* connection(url)
      let looks = 0
      const handled: Array<string> = []
      const projection = Projection.make({
        name: "all",
        on: [Account],
        handle: (events) => Effect.sync(() => void handled.push(...events.map(({ aggregateId }) => aggregateId)))
      })
      yield* Effect.flatMap(
        EventStore.EventStore,
        (store) =>
          Layer.build(Projection.layer(projection, { maxDelay: "1 hour", lease: "1 hour" })).pipe(
            Effect.provideService(EventStore.EventStore, {
              ...store,
              readPage: (options) => Effect.suspend(() => (looks += 1, store.readPage(options)))
            })
          )
      ).pipe(Effect.provide(CheckpointStore.layerMemory), Effect.provide(stores))
      // the connection is there
      yield* eventually(Effect.map(Effect.provide(append("first", [1]), writing.context), () => handled.length > 0))
      const flood = (channel: string) =>
        Effect.promise(() =>
          admin.query("SELECT pg_notify($1, 'flood ' || n) FROM generate_series(1, $2::int) AS n", [
            channel,
            notifications
          ])
        )
      /** Waits until so many have arrived, and the reader does not look any more. */
      const arrived = (count: number) =>
        eventually(Effect.suspend(() => {
          const before = looks
          return Effect.map(Effect.sleep("100 millis"), () => received >= count && looks === before)
        }))
      const before = { looks, received }
      yield* flood("other")
      yield* arrived(before.received + notifications)
      // hints of the processes themselves, and looks that were due
      assert.isBelow(looks - before.looks, 100)
      const accounts = Array.from({ length: 50 }, (_, n) => `account ${n}`)
      const appends = Effect.forEach(accounts, (account) => Effect.provide(append(account, [1]), writing.context))
      yield* Effect.all([flood("effect_eventsourcing"), appends], { concurrency: "unbounded" })
      yield* arrived(before.received + 2 * notifications)
      yield* eventually(Effect.sync(() => accounts.every((account) => handled.includes(account))))
      assert.isBelow(looks - before.looks, notifications / 10)
      assert.strictEqual(new Set(handled).size, accounts.length + 1)
      assert.strictEqual(handled.filter((account) => account !== "first").length, accounts.length)
    }))

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

  it.scoped("watches the folder that its name leads to, when the folder was created again, or a link leads elsewhere", () =>
    Effect.gen(function*() {
      const parent = yield* temporaryFolder
      const folder = path.join(parent, "data")
      const filename = path.join(parent, "link", "bank.db")
      const create = (folder: string) => {
        fs.mkdirSync(folder)
        fs.writeFileSync(path.join(folder, "bank.db"), "")
      }
      create(folder)
      fs.symlinkSync(folder, path.join(parent, "link"))
      let rings = 0
      yield* Effect.flatMap(
        EventStore.makeMemory,
        (events) => Effect.flatMap(Wakeup.Wakeup, ({ subscribe }) => subscribe(events, () => rings += 1))
      ).pipe(
        Effect.provide(yield* Layer.build(Wakeup.layerSqlite({ filename })))
      )
      /** Changes the file until that rings. */
      const isWatched = (folder: string) =>
        Effect.suspend(() => {
          const before = rings
          return eventually(Effect.suspend(() => {
            fs.appendFileSync(path.join(folder, "bank.db"), "x")
            return Effect.as(TestClock.adjust("5 millis"), rings > before + 1)
          }))
        })
      yield* isWatched(folder)
      // the first one is kept under another name: its number must not be used again
      fs.renameSync(folder, path.join(parent, "old"))
      create(folder)
      yield* TestClock.adjust("10 seconds")
      yield* isWatched(folder)
      const other = path.join(parent, "other")
      create(other)
      fs.unlinkSync(path.join(parent, "link"))
      yield* TestClock.adjust("10 seconds")
      fs.symlinkSync(other, path.join(parent, "link"))
      yield* TestClock.adjust("10 seconds")
      yield* isWatched(other)
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
