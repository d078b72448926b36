// a load by the state cache is full replay, whatever happened to the stream meanwhile
import { SqlClient } from "@effect/sql"
import { assert, describe, it } from "@effect/vitest"
import {
  Deferred,
  Effect,
  Exit,
  FastCheck as fc,
  Fiber,
  Layer,
  Metric,
  Option,
  Schema,
  type Scope,
  Stream,
  TestClock
} from "effect"
import {
  EventStore,
  ExpectedVersion,
  InvalidOption,
  Metrics,
  Repository,
  SnapshotPolicy,
  SnapshotStore
} from "effect-eventsourcing"
import * as path from "node:path"
import { Account, AccountEvent, deposit, id, open, stream } from "./fixtures/Account.js"
import {
  backends,
  memoryStores,
  sqliteFile,
  sqliteTemporaryFile,
  sqlStores,
  type Stores,
  temporaryFolder
} from "./utils/backends.js"
import { everything } from "./utils/mode.js"
import { lines } from "./utils/observe.js"
import { pgClient, temporaryDatabase } from "./utils/postgres.js"
import { start } from "./utils/process.js"
import { postgresUrl } from "./utils/server.js"

const cache = { capacity: 100 }

/** Counts since it was made. */
const counting = Effect.sync(() => {
  const counters = ["Hit", "Miss", "Stale"].map((outcome) => {
    const counter = Metrics.stateCache.pipe(Metric.tagged("aggregate", Account.name), Metric.tagged("outcome", outcome))
    return [outcome, () => counter.unsafeValue([]).count] as const
  })
  const before = counters.map(([, count]) => count())
  return () => Object.fromEntries(counters.map(([outcome, count], index) => [outcome, count() - before[index]]))
})

for (const [name, layer] of backends) {
  describe.sequential(`the state cache, ${name}`, () => {
    it.scoped("serves commands and loads, and sees the events of other writers", () =>
      Effect.gen(function*() {
        const cached = yield* Repository.make(Account, { cache })
        const other = yield* Repository.make(Account)
        yield* other.executeAll(id("a"), [open, deposit(1, 99)])
        const counts = yield* counting
        assert.deepInclude(yield* cached.load(id("a")), { version: 100, replayed: 100 })
        assert.deepInclude(yield* cached.load(id("a")), { version: 100, replayed: 0, snapshotVersion: 0 })
        yield* other.execute(id("a"), deposit(5))
        const loaded = yield* cached.load(id("a"))
        assert.deepInclude(loaded, { version: 101, replayed: 1, state: { open: true, balance: 104 } })
        assert.deepInclude(loaded.snapshotOutcome, { _tag: "Disabled" })
        const { logged, observed } = yield* lines
        yield* observed(cached.load(id("a")))
        assert.deepStrictEqual(logged.map(({ message }) => message), ["loaded by the cache"])
        assert.deepInclude(yield* cached.execute(id("a"), deposit(1)), {
          version: 102,
          state: { open: true, balance: 105 }
        })
        assert.deepStrictEqual(counts(), { Hit: 4, Miss: 1, Stale: 0 })
      }).pipe(Effect.provide(layer)))
  })
}

describe.sequential("the state cache", () => {
  const stores = Layer.provideMerge(sqlStores, sqliteTemporaryFile)

  type Step =
    | { readonly do: "execute" | "load" | "rolled back" | "committed" | "interrupted"; readonly by: number }
    | { readonly do: "restore" | "rewrite"; readonly keep: number }
    | { readonly do: "wait"; readonly minutes: number }
    | { readonly do: "snapshot" }
  const by = fc.integer({ min: 0, max: 1 })
  const step: fc.Arbitrary<Step> = fc.oneof(
    fc.record({
      do: fc.constantFrom(
        "execute" as const,
        "load" as const,
        "rolled back" as const,
        "committed" as const,
        "interrupted" as const
      ),
      by
    }),
    fc.record({
      do: fc.constantFrom("restore" as const, "rewrite" as const),
      keep: fc.double({ min: 0, max: 1, noNaN: true })
    }),
    fc.record({ do: fc.constant("wait" as const), minutes: fc.integer({ min: 1, max: 30 }) }),
    fc.record({ do: fc.constant("snapshot" as const) })
  )

  it.scoped(
    "two repositories with caches and one without agree after any appends, rollbacks and restores",
    () =>
      Effect.gen(function*() {
        const sql = yield* SqlClient.SqlClient
        const store = yield* EventStore.EventStore
        const options = { cache: { capacity: 1, timeToLive: "20 minutes" }, pageSize: 40 } as const
        const repositories = [
          yield* Repository.make(Account, { ...options, snapshots: SnapshotPolicy.sync({ every: 50 }) }),
          yield* Repository.make(Account, options)
        ]
        const plain = yield* Repository.make(Account)
        let runs = 0
        const agree = (account: ReturnType<typeof id>) =>
          Effect.gen(function*() {
            const expected = yield* plain.load(account)
            for (const repository of repositories) {
              const { state, version } = yield* repository.load(account)
              assert.deepStrictEqual({ state, version }, { state: expected.state, version: expected.version })
            }
          })
        const run = (account: ReturnType<typeof id>, step: Step) =>
          Effect.gen(function*() {
            switch (step.do) {
              case "execute":
                return yield* repositories[step.by].execute(account, deposit(runs, 1 + runs % 20))
              case "load":
                return yield* repositories[step.by].load(account)
              case "committed":
                return yield* sql.withTransaction(
                  Effect.zipRight(
                    repositories[step.by].execute(account, deposit(2)),
                    repositories[step.by].load(account)
                  )
                )
              case "rolled back":
                return yield* repositories[step.by].execute(account, deposit(3, 20)).pipe(
                  Effect.zipRight(repositories[step.by].load(account)),
                  Effect.zipRight(Effect.fail("roll back" as const)),
                  sql.withTransaction,
                  Effect.flip
                )
              case "interrupted": {
                const fiber = yield* Effect.fork(repositories[step.by].execute(account, deposit(4)))
                yield* Effect.yieldNow()
                return yield* Fiber.interrupt(fiber)
              }
              case "restore":
              case "rewrite": {
                const head = yield* store.version(stream(account))
                const kept = Math.max(1, Math.floor(head * step.keep))
                yield* sql`DELETE FROM eventsourcing_events WHERE stream_id = ${account} AND version > ${kept}`
                // as many as before, with another history
                const events = Array.from({ length: step.do === "rewrite" ? head - kept : 0 }, () => ({
                  id: crypto.randomUUID(),
                  type: "Deposited",
                  payload: { _tag: "Deposited", amount: 1_000 }
                }))
                return yield* store.append(stream(account), events, { expectedVersion: ExpectedVersion.exact(kept) })
              }
              case "wait":
                return yield* TestClock.adjust(`${step.minutes} minutes`)
              case "snapshot":
                return yield* repositories[0].createSnapshot(account)
            }
          })
        const counts = yield* counting
        const runtime = yield* Effect.runtime<never>()
        yield* Effect.promise(() =>
          fc.assert(
            fc.asyncProperty(fc.array(step, { maxLength: 25 }), (steps) =>
              Effect.gen(function*() {
                const account = id(`account-${++runs}`)
                yield* plain.execute(account, open)
                for (const step of steps) {
                  yield* run(account, step)
                  yield* agree(account)
                }
              }).pipe(Effect.provide(runtime), Effect.runPromise)),
            {
              numRuns: everything ? 60 : 15,
              // whatever else is generated, both caches meet a history in place of the one they hold, and a shorter one
              examples: [[[
                { do: "execute", by: 0 },
                { do: "rewrite", keep: 0.5 },
                { do: "execute", by: 1 },
                { do: "restore", keep: 0.5 }
              ]]]
            }
          )
        )
        const { Hit, Miss, Stale } = counts()
        assert.isTrue(Hit > 50 && Miss > 20 && Stale >= 4, `${Hit} ${Miss} ${Stale}`)
      }).pipe(Effect.provide(stores))
  )

  it.scoped("a caller's change to a state does not reach the cache", () =>
    Effect.gen(function*() {
      const cached = yield* Repository.make(Account, { cache })
      yield* cached.executeAll(id("a"), [open, deposit(1, 20)])
      for (let i = 0; i < 3; i++) {
        const { state } = yield* cached.load(id("a"))
        assert.deepStrictEqual(state, { open: true, balance: 20 })
        Object.assign(state, { balance: 666 })
      }
    }).pipe(Effect.provide(memoryStores)))

  it.scoped("a transaction neither reads nor writes it", () =>
    Effect.gen(function*() {
      const sql = yield* SqlClient.SqlClient
      const cached = yield* Repository.make(Account, { cache })
      const counts = yield* counting
      yield* cached.executeAll(id("a"), [open, deposit(1, 20)])
      yield* cached.load(id("a"))
      yield* sql.withTransaction(Effect.zipRight(cached.execute(id("a"), deposit(1, 30)), cached.load(id("a"))))
      assert.deepStrictEqual(counts(), { Hit: 0, Miss: 2, Stale: 0 })
      assert.deepInclude(yield* cached.load(id("a")), { version: 51, replayed: 30 })
    }).pipe(Effect.provide(stores)))

  it.scoped("a state is kept for its time, and as long as there is room", () =>
    Effect.gen(function*() {
      const cached = yield* Repository.make(Account, { cache: { capacity: 2, timeToLive: "1 minute" } })
      // the text of the last event, which every load reads again, is longer than that of the state
      for (const name of ["a", "b", "c"]) {
        yield* cached.executeAll(id(name), [open, deposit(1)])
        yield* cached.load(id(name))
      }
      const replayed = (name: string) => Effect.map(cached.load(id(name)), ({ replayed }) => replayed)
      assert.deepStrictEqual(yield* Effect.all([replayed("c"), replayed("b"), replayed("a")]), [0, 0, 2])
      assert.deepStrictEqual(yield* Effect.all([replayed("b"), replayed("c")]), [0, 2])
      yield* TestClock.adjust("59 seconds")
      assert.strictEqual(yield* replayed("c"), 0)
      // a hit does not prolong it
      yield* TestClock.adjust("1 second")
      assert.strictEqual(yield* replayed("c"), 2)
    }).pipe(Effect.provide(memoryStores)))

  it.scoped("the policy counts from the stored snapshot", () =>
    Effect.gen(function*() {
      const snapshots = yield* SnapshotStore.SnapshotStore
      const cached = yield* Repository.make(Account, { cache, snapshots: SnapshotPolicy.sync({ every: 10 }) })
      const versions: Array<number> = []
      yield* cached.execute(id("a"), open)
      for (let i = 0; i < 35; i++) {
        yield* cached.execute(id("a"), deposit(1))
        const found = yield* snapshots.get(stream("a"), { schemaVersion: 1 })
        const version = Option.match(found, { onNone: () => 0, onSome: ({ version }) => version })
        if (version !== versions[versions.length - 1]) versions.push(version)
      }
      assert.deepStrictEqual(versions, [0, 10, 20, 30])
    }).pipe(Effect.provide(memoryStores)))

  it.scoped("a state from a refuted snapshot is removed with the snapshot", () =>
    Effect.gen(function*() {
      const sql = yield* SqlClient.SqlClient
      const cached = yield* Repository.make(Account, { cache, snapshots: SnapshotPolicy.manual })
      yield* cached.executeAll(id("a"), [open, deposit(1, 20)])
      yield* cached.createSnapshot(id("a"))
      yield* sql`UPDATE eventsourcing_snapshots SET state = replace(state, '20', '21')`
      // no load by itself can tell
      const fresh = yield* Repository.make(Account, { cache, snapshots: SnapshotPolicy.manual })
      assert.strictEqual((yield* fresh.load(id("a"))).state.balance, 21)
      assert.deepInclude(yield* fresh.verify(id("a")), { _tag: "Refuted", removed: true })
      assert.strictEqual((yield* fresh.load(id("a"))).state.balance, 20)
    }).pipe(Effect.provide(stores)))

  it.scoped("loads of a stream that is not cached wait for the first one, unless it was interrupted", () =>
    Effect.gen(function*() {
      const events = yield* EventStore.EventStore
      const gate = yield* Deferred.make<void>()
      let reads = 0
      const slow = Layer.succeed(EventStore.EventStore, {
        ...events,
        replay: {
          ...events.replay,
          readTail: (stream, options) =>
            Effect.zipRight(
              Effect.sync(() => {
                if (options.fromVersion === 1) reads++
              }),
              Effect.zipRight(Deferred.await(gate), events.replay.readTail(stream, options))
            )
        }
      })
      const cached = yield* Repository.make(Account, { cache }).pipe(Effect.provide(slow))
      yield* Effect.provide(
        Effect.flatMap(Repository.make(Account), (plain) => plain.execute(id("a"), open)),
        memoryOf(events)
      )
      const first = yield* Effect.fork(cached.load(id("a")))
      const others = yield* Effect.fork(
        Effect.all(Array.from({ length: 20 }, () => cached.load(id("a"))), { concurrency: "unbounded" })
      )
      yield* Effect.yieldNow()
      assert.strictEqual(reads, 1)
      yield* Fiber.interrupt(first)
      yield* Deferred.succeed(gate, undefined)
      const loaded = yield* Fiber.join(others)
      assert.isTrue(loaded.every(({ version }) => version === 1))
      yield* cached.load(id("a"))
      assert.isTrue(Exit.isInterrupted(yield* Fiber.await(first)))
    }).pipe(Effect.provide(memoryStores)))

  it.scoped("loads of a stream with too many new events wait for the first one too, and each counts once", () =>
    Effect.gen(function*() {
      const events = yield* EventStore.EventStore
      let replays = 0
      let calls = 0
      const slow = Layer.succeed(EventStore.EventStore, {
        ...events,
        replay: {
          ...events.replay,
          readTail: (stream, options) =>
            Effect.zipRight(
              Effect.sync(() => {
                if (options.fromVersion === 1) replays++
              }),
              // some find out later than others
              Effect.suspend(() =>
                Effect.zipRight(
                  Effect.repeatN(Effect.yieldNow(), options.fromVersion === 2 ? ++calls % 7 * 100 : 0),
                  Effect.tap(events.replay.readTail(stream, options), () => Effect.yieldNow())
                )
              )
            )
        }
      })
      const cached = yield* Repository.make(Account, { cache, pageSize: 3 }).pipe(Effect.provide(slow))
      const plain = yield* Effect.provide(Repository.make(Account), memoryOf(events))
      const counts = yield* counting
      yield* plain.executeAll(id("a"), [open, deposit(1)])
      const together = Effect.all(Array.from({ length: 50 }, () => cached.load(id("a"))), { concurrency: "unbounded" })
      yield* together
      assert.deepStrictEqual(counts(), { Hit: 0, Miss: 50, Stale: 0 })
      assert.strictEqual(replays, 1)
      yield* plain.execute(id("a"), deposit(1, 9))
      const loaded = yield* together
      assert.isTrue(loaded.every(({ state, version }) => version === 11 && state.balance === 10))
      assert.strictEqual(replays, 2)
      assert.deepStrictEqual(counts(), { Hit: 0, Miss: 50, Stale: 50 })
    }).pipe(Effect.provide(memoryStores)))

  const memoryOf = (events: EventStore.EventStore["Type"]) =>
    Layer.merge(Layer.succeed(EventStore.EventStore, events), SnapshotStore.layerMemory)

  it.scoped("invalid options are rejected", () =>
    Effect.gen(function*() {
      const absent = yield* Effect.flip(Repository.make(Account, JSON.parse("{ \"cache\": null }")))
      assert.instanceOf(absent, InvalidOption.InvalidOption)
      const bad = [{ capacity: 0 }, { capacity: NaN }, { capacity: 1.5 }, { capacity: 1, timeToLive: 0 }, {
        capacity: 1,
        timeToLive: -1
      }]
      for (const cache of bad) {
        const error = yield* Effect.flip(Repository.make(Account, { cache }))
        assert.instanceOf(error, InvalidOption.InvalidOption)
        assert.match(error.message, /cache/)
      }
    }).pipe(Effect.provide(memoryStores)))
})

describe("two processes, each with a cache", () => {
  const databases: ReadonlyArray<
    readonly [
      name: string,
      database: Effect.Effect<string, unknown, Scope.Scope>,
      stores: (database: string) => Layer.Layer<Stores, unknown>
    ]
  > = [
    [
      "a SQLite file",
      Effect.map(temporaryFolder, (folder) => path.join(folder, "bank.db")),
      (file) => Layer.provide(sqlStores, sqliteFile(file))
    ],
    ["PostgreSQL", temporaryDatabase(postgresUrl()), (url) => Layer.provide(sqlStores, pgClient(url))]
  ]
  for (const [name, database, stores] of databases) {
    it.scopedLive.runIf(everything)(
      `that write the same streams agree with full replay, ${name}`,
      () =>
        Effect.gen(function*() {
          const where = yield* database
          const rivals = yield* Effect.forEach(["one", "two"], (seed) =>
            Effect.acquireRelease(
              Effect.sync(() => start("test/utils/rival.ts", [where, seed])),
              (rival) =>
                Effect.promise(() => {
                  rival.child.kill()
                  return rival.exited
                })
            ))
          yield* Effect.forEach(rivals, (rival) => Effect.promise(() => rival.line("ready")))
          let told = 0
          const tell = (rival: ReturnType<typeof start>, command: string) =>
            Effect.promise(async (): Promise<ReadonlyArray<unknown>> => {
              const number = `${++told}`
              rival.tell(`${number} ${command}`)
              const line = await rival.next((line) => line.startsWith(`${number} `))
              return JSON.parse(line.slice(number.length))
            })
          const both = (command: string) =>
            Effect.forEach(rivals, (rival) => tell(rival, command), { concurrency: "unbounded" })
          const agree = (command: string) =>
            Effect.map(
              both(command),
              (results) => assert.deepStrictEqual(results.flat().filter((difference) => difference !== null), [])
            )
          for (const rival of rivals) {
            yield* agree("work")
            // a deposit behind the back of both caches, then a history of the same lengths in place of what they hold
            for (const command of ["deposit", "rewrite", "deposit"]) {
              yield* agree("check")
              yield* tell(rival, command)
            }
            yield* agree("check")
          }
          yield* agree("work")
          yield* agree("check")
          for (const counts of yield* both("counts")) {
            const [hits, misses, stale] = counts.map(Number)
            assert.isTrue(hits > 50 && misses > 10 && stale >= 4, String(counts))
          }
          // and nobody decided on a state that was not there
          yield* Effect.gen(function*() {
            const store = yield* EventStore.EventStore
            for (const account of ["a", "b", "c"]) {
              let balance = 0
              const events = yield* Stream.runCollect(store.read(stream(account)))
              for (const { payload } of events) {
                balance =
                  Account.evolve({ open: true, balance }, Schema.decodeUnknownSync(AccountEvent)(payload)).balance
                assert.isAtLeast(balance, 0)
              }
              assert.isAbove(events.length, 50)
            }
          }).pipe(Effect.provide(stores(where)))
        })
    )
  }
})
