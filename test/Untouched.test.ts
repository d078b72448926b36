// what a program does to a state, and what happens to a snapshot while a state of it is in hand, gets into no other state
import { SqlClient } from "@effect/sql"
import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Either, Fiber, Layer, List, Option, Schedule, Schema, Stream, TestClock } from "effect"
import {
  Aggregate,
  EventStore,
  ExpectedVersion,
  Repository,
  SnapshotPolicy,
  SnapshotStore,
  StreamId
} from "effect-eventsourcing"
import { Account, AccountEvent, AccountId, AccountState, deposit, id, open } from "./fixtures/Account.js"
import { memoryStores, postgresTemporaryDatabase, sqliteFile, sqlStores } from "./utils/backends.js"
import { lines } from "./utils/observe.js"

const sqlite = Layer.provide(sqlStores, sqliteFile(":memory:"))
const both = [["memory", memoryStores], ["SQLite", sqlite]] as const

const Added = Schema.TaggedStruct("Added", { n: Schema.Int })
const Add = Schema.TaggedStruct("Add", { n: Schema.Int })
const Refuse = Schema.TaggedStruct("Refuse", {})
const Sum = Schema.mutable(Schema.Struct({
  sum: Schema.Int,
  seen: Schema.mutable(Schema.Array(Schema.Int))
}))
type Sum = typeof Sum.Type

const shared: Sum = { sum: 0, seen: [] }

/** Changes every state that it is given, and begins every stream with the same object. */
const Summer = Aggregate.make({
  name: "Summer",
  id: Schema.String,
  state: Sum,
  event: Added,
  command: Schema.Union(Add, Refuse),
  initial: () => shared,
  evolve: (state, { n }) => {
    state.sum += n
    state.seen.push(n)
    return state
  },
  decide: (state, command) => {
    if (command._tag === "Refuse") {
      state.sum = -1_000
      return Either.left("refused" as const)
    }
    return Either.right([Added.make({ n: command.n })])
  }
})

const add = (n: number) => Add.make({ n })

/** A store in which others win so many races for a stream, by adding 1 each time. */
const rivals = (wins: number, name = "") =>
  Effect.map(EventStore.EventStore, (store) => {
    let left = wins
    return EventStore.EventStore.of({
      ...store,
      append: (stream, events, options) =>
        Effect.suspend(() => {
          if (left === 0) return store.append(stream, events, options)
          const rival = { id: `rival-${name}-${left--}`, type: "Added", payload: { _tag: "Added", n: 1 } }
          return Effect.zipRight(
            store.append(stream, [rival], { expectedVersion: ExpectedVersion.any }),
            store.append(stream, events, options)
          )
        })
    })
  })

describe("a program that changes states", () => {
  for (const [name, layer] of both) {
    const cases = {
      "after full replay": { before: 1, options: {} },
      "after a long replay": { before: 3_000, options: { pageSize: 500 } },
      "by a snapshot": { before: 4, options: { snapshots: SnapshotPolicy.manual } },
      "by the cache": { before: 4, options: { cache: { capacity: 10 } } },
      "on an empty stream": { before: 0, options: {} }
    }
    for (const [how, { before, options }] of Object.entries(cases)) {
      it.scoped(
        `decides again on the stored events after lost races, ${how} (${name})`,
        () =>
          Effect.gen(function*() {
            const plain = yield* Repository.make(Summer)
            if (before > 0) yield* plain.executeAll("a", Array.from({ length: before }, () => add(2)))
            const manual = yield* Repository.make(Summer, { snapshots: SnapshotPolicy.manual })
            if (options === cases["by a snapshot"].options) yield* manual.createSnapshot("a")
            const contended = yield* Repository.make(Summer, options).pipe(
              Effect.provideServiceEffect(EventStore.EventStore, rivals(3))
            )
            if (before > 0) yield* contended.load("a")
            const done = yield* contended.execute("a", add(10))
            assert.strictEqual(done.version, before + 4)
            assert.strictEqual(done.state.sum, before * 2 + 3 + 10)
            assert.strictEqual(done.state.seen.length, before + 4)
            assert.deepStrictEqual((yield* plain.load("a")).state, done.state)
            assert.deepStrictEqual(shared, { sum: 0, seen: [] })
          }).pipe(Effect.provide(layer))
      )
    }

    it.scoped(`has no snapshot of a state that decide has changed (${name})`, () =>
      Effect.gen(function*() {
        const sync = yield* Repository.make(Summer, { snapshots: SnapshotPolicy.sync({ every: 2 }) })
        const plain = yield* Repository.make(Summer)
        yield* plain.executeAll("a", [add(1), add(2), add(3)])
        assert.strictEqual(yield* Effect.flip(sync.execute("a", Refuse.make())), "refused")
        assert.deepInclude(yield* sync.load("a"), { snapshotVersion: 3, state: { sum: 6, seen: [1, 2, 3] } })
        yield* plain.executeAll("a", [add(4), add(5)])
        // by the snapshot this time
        assert.strictEqual(yield* Effect.flip(sync.execute("a", Refuse.make())), "refused")
        assert.deepInclude(yield* sync.load("a"), { snapshotVersion: 5, state: { sum: 15, seen: [1, 2, 3, 4, 5] } })
      }).pipe(Effect.provide(layer)))

    it.scoped(`has no snapshot of a state that a policy's predicate has changed (${name})`, () =>
      Effect.gen(function*() {
        const meddling = SnapshotPolicy.when((_before: Sum, after: Sum) => {
          after.sum += 1_000
          return true
        })
        const sync = yield* Repository.make(Summer, { snapshots: SnapshotPolicy.sync({ when: meddling }) })
        for (const version of [1, 2]) {
          yield* sync.execute("a", add(1))
          assert.deepInclude(yield* sync.load("a"), { snapshotVersion: version, replayed: 0 })
          assert.strictEqual((yield* sync.load("a")).state.sum, version)
        }
      }).pipe(Effect.provide(layer)))

    it.scoped(`changes neither the cache nor the result of another load (${name})`, () =>
      Effect.gen(function*() {
        const summers = yield* Repository.make(Summer, { cache: { capacity: 10 } })
        yield* summers.executeAll("a", [add(1), add(2)])
        for (let i = 0; i < 3; i++) {
          const { state } = yield* summers.load("a")
          assert.deepStrictEqual(state, { sum: 3, seen: [1, 2] })
          state.sum = 99
          state.seen.length = 0
        }
        const none = yield* summers.load("b")
        none.state.seen.push(1)
        assert.deepStrictEqual((yield* summers.load("c")).state, { sum: 0, seen: [] })
        assert.deepStrictEqual(Aggregate.replay(Summer, "d", [Added.make({ n: 1 })]), { sum: 1, seen: [1] })
        assert.deepStrictEqual(Aggregate.replay(Summer, "d", []), { sum: 0, seen: [] })
      }).pipe(Effect.provide(layer)))
  }

  it.scoped("cannot change the state of a save that was given up and still runs", () =>
    Effect.gen(function*() {
      const events = yield* EventStore.EventStore
      const plain = yield* Repository.make(Summer)
      yield* plain.execute("a", add(1))
      const looking = yield* Deferred.make<void>()
      const go = yield* Deferred.make<void>()
      const saved = yield* Deferred.make<void>()
      const store = yield* SnapshotStore.SnapshotStore
      let appended = false
      const sync = yield* Repository.make(Summer, { snapshots: SnapshotPolicy.sync({ every: 2 }) }).pipe(
        Effect.provideService(EventStore.EventStore, {
          ...events,
          append: (...args) => Effect.tap(events.append(...args), () => Effect.sync(() => appended = true)),
          // the look at the stream that the save begins with, in vain interrupted
          replay: {
            ...events.replay,
            readTail: (...args) =>
              Effect.suspend(() => {
                if (!appended) return events.replay.readTail(...args)
                appended = false
                return Effect.uninterruptible(
                  Deferred.succeed(looking, void 0).pipe(
                    Effect.zipRight(Deferred.await(go)),
                    Effect.zipRight(events.replay.readTail(...args))
                  )
                )
              })
          }
        }),
        Effect.provideService(SnapshotStore.SnapshotStore, {
          ...store,
          save: (snapshot) => Effect.ensuring(store.save(snapshot), Deferred.succeed(saved, void 0))
        })
      )
      const fiber = yield* Effect.fork(sync.execute("a", add(2)))
      yield* Deferred.await(looking)
      yield* TestClock.adjust("10 seconds")
      const done = yield* Fiber.join(fiber)
      done.state.sum = 99
      yield* Deferred.succeed(go, void 0)
      // an interrupted save may end without a snapshot; one that there is holds what the stream holds
      yield* Effect.raceFirst(Deferred.await(saved), Effect.repeatN(Effect.yieldNow(), 100))
      const found = yield* store.get(StreamId.make("Summer", "a"), { schemaVersion: 1 })
      const state = Option.map(found, ({ state }): unknown => JSON.parse(state))
      assert.deepStrictEqual(Option.getOrElse(state, () => ({ sum: 3, seen: [1, 2] })), { sum: 3, seen: [1, 2] })
    }).pipe(Effect.provide(memoryStores)))
})

describe("a snapshot that was refuted and removed", () => {
  /** The same schemas as those of `Account`, and another meaning: deposits count twice. */
  const Doubled = Aggregate.make({
    name: "Account",
    id: AccountId,
    state: AccountState,
    event: AccountEvent,
    command: Account.command,
    initial: Account.initial,
    evolve: (state, event) => Account.evolve(Account.evolve(state, event), event),
    decide: Account.decide
  })

  // the snapshot was made by code of another meaning, and one process has a state of it
  const wrong = Effect.gen(function*() {
    const old = yield* Repository.make(Account, { snapshots: SnapshotPolicy.manual })
    yield* old.executeAll(id("a"), [open, deposit(1, 9)])
    yield* old.createSnapshot(id("a"))
  })
  const replayed = Effect.map(
    Effect.flatMap(Repository.make(Doubled), (accounts) => accounts.load(id("a"))),
    ({ state }) => state
  )

  for (const [name, layer] of both) {
    const ways = {
      sync: SnapshotPolicy.sync({ every: 5 }),
      background: SnapshotPolicy.background({ every: 5 }),
      ...(name === "SQLite" ? { inline: SnapshotPolicy.inline({ every: 5 }) } : {})
    }
    for (const [mode, snapshots] of Object.entries(ways)) {
      it.scoped(`does not come back from the cache of another process, ${mode} (${name})`, () =>
        Effect.gen(function*() {
          yield* wrong
          const cached = yield* Repository.make(Doubled, { snapshots, cache: { capacity: 10 } })
          yield* cached.load(id("a"))
          const other = yield* Repository.make(Doubled, { snapshots: SnapshotPolicy.manual })
          assert.deepInclude(yield* other.verify(id("a")), { _tag: "Refuted", removed: true })
          yield* cached.execute(id("a"), deposit(1, 5))
          yield* cached.awaitPendingSnapshots
          const loaded = yield* other.load(id("a"))
          assert.deepStrictEqual(loaded.state, yield* replayed)
          assert.strictEqual(loaded.snapshotVersion, 15)
          assert.deepInclude(yield* other.verify(id("a")), { _tag: "Verified" })
          // and by what it saved, the cache is right again
          assert.deepStrictEqual((yield* cached.load(id("a"))).state, loaded.state)
        }).pipe(Effect.provide(layer)))
    }

    it.scoped(`does not come back by a load from the cache of another process (${name})`, () =>
      Effect.gen(function*() {
        yield* wrong
        const cached = yield* Repository.make(Doubled, {
          snapshots: SnapshotPolicy.sync({ every: 5 }),
          cache: { capacity: 10 }
        })
        yield* cached.load(id("a"))
        const other = yield* Repository.make(Doubled, { snapshots: SnapshotPolicy.manual })
        assert.deepInclude(yield* other.verify(id("a")), { _tag: "Refuted", removed: true })
        yield* other.execute(id("a"), deposit(1, 5))
        yield* cached.load(id("a"))
        const loaded = yield* other.load(id("a"))
        assert.strictEqual(loaded.snapshotVersion, 15)
        assert.deepStrictEqual(loaded.state, yield* replayed)
      }).pipe(Effect.provide(layer)))

    it.scoped(`does not come back by a command that was running (${name})`, () =>
      Effect.gen(function*() {
        yield* wrong
        const events = yield* EventStore.EventStore
        const other = yield* Repository.make(Doubled, { snapshots: SnapshotPolicy.manual })
        const under = yield* Repository.make(Doubled, { snapshots: SnapshotPolicy.sync({ every: 5 }) }).pipe(
          Effect.provideService(EventStore.EventStore, {
            ...events,
            append: (...args) => Effect.zipRight(Effect.orDie(other.verify(id("a"))), events.append(...args))
          })
        )
        yield* under.execute(id("a"), deposit(1, 5))
        const loaded = yield* other.load(id("a"))
        assert.strictEqual(loaded.snapshotVersion, 15)
        assert.deepStrictEqual(loaded.state, yield* replayed)
      }).pipe(Effect.provide(layer)))

    it.scoped(`is reported as removed only if a row was deleted, and its successor is verified too (${name})`, () =>
      Effect.gen(function*() {
        yield* wrong
        const store = yield* SnapshotStore.SnapshotStore
        const gone = yield* Repository.make(Doubled, { snapshots: SnapshotPolicy.manual }).pipe(
          Effect.provideService(SnapshotStore.SnapshotStore, {
            ...store,
            delete: (stream) => Effect.as(Effect.orDie(store.delete(stream)), 0)
          })
        )
        assert.deepInclude(yield* gone.verify(id("a")), { _tag: "Refuted", removed: false })
        const old = yield* Repository.make(Account, { snapshots: SnapshotPolicy.manual })
        yield* old.createSnapshot(id("a"))
        let raced = false
        const racing = yield* Repository.make(Doubled, { snapshots: SnapshotPolicy.manual }).pipe(
          Effect.provideService(SnapshotStore.SnapshotStore, {
            ...store,
            delete: (...args) =>
              Effect.zipRight(
                raced ? Effect.void : Effect.suspend(() => {
                  raced = true
                  return Effect.orDie(Effect.zipRight(old.execute(id("a"), deposit(1)), old.createSnapshot(id("a"))))
                }),
                store.delete(...args)
              )
          })
        )
        assert.deepInclude(yield* racing.verify(id("a")), { _tag: "Refuted", removed: true, snapshotVersion: 11 })
        assert.isFalse(yield* store.exists(StreamId.make("Account", "a")))
      }).pipe(Effect.provide(layer)))
  }
})

describe("a row of events that was edited by hand", () => {
  const Named = Schema.TaggedStruct("Named", { name: Schema.String })
  const Person = Aggregate.make({
    name: "Person",
    id: Schema.String,
    state: Schema.Struct({ name: Schema.String }),
    event: Named,
    command: Named,
    initial: () => ({ name: "" }),
    evolve: (_, { name }) => ({ name }),
    decide: (_, command) => Either.right([command])
  })

  it.scoped("is refuted by verify, and the steps of docs/snapshots.md make loads right", () =>
    Effect.gen(function*() {
      const people = yield* Repository.make(Person, { snapshots: SnapshotPolicy.manual })
      const sql = yield* SqlClient.SqlClient
      const edit = (name: string) =>
        sql`UPDATE eventsourcing_events SET payload = ${JSON.stringify({ _tag: "Named", name })} WHERE version = 1`
      yield* people.execute("p", Named.make({ name: "Ada" }))
      yield* people.createSnapshot("p")
      yield* edit("redacted")
      assert.deepInclude(yield* people.load("p"), { state: { name: "Ada" } })
      assert.deepInclude(yield* people.verify("p"), { _tag: "Refuted", removed: true })
      assert.deepInclude(yield* people.load("p"), { state: { name: "redacted" } })

      yield* people.createSnapshot("p")
      yield* edit("redacted again")
      yield* (yield* SnapshotStore.SnapshotStore).delete(StreamId.make("Person", "p"))
      const started = yield* Repository.make(Person, { snapshots: SnapshotPolicy.manual, cache: { capacity: 10 } })
      assert.deepInclude(yield* started.load("p"), { state: { name: "redacted again" } })
    }).pipe(Effect.provide(Layer.provideMerge(sqlStores, sqliteFile(":memory:")))))
})

describe("a state that cannot be stored", () => {
  let encoded = 0
  const Reading = Schema.TaggedStruct("Read", { text: Schema.String })
  const Sensor = Aggregate.make({
    name: "Sensor",
    id: Schema.String,
    state: Schema.Struct({
      last: Schema.transform(Schema.Number, Schema.Number, {
        strict: true,
        decode: (n) => n,
        encode: (n) => {
          encoded++
          return n
        }
      })
    }),
    event: Reading,
    command: Reading,
    initial: () => ({ last: 0 }),
    evolve: (_, { text }) => ({ last: Number(text) }),
    decide: (_, command) => Either.right([command])
  })
  const read = (text: string) => Reading.make({ text })
  const modes = {
    sync: { snapshots: SnapshotPolicy.sync({ every: 1 }) },
    "sync and cache": { snapshots: SnapshotPolicy.sync({ every: 1 }), cache: { capacity: 10 } },
    inline: { snapshots: SnapshotPolicy.inline({ every: 1 }) },
    background: { snapshots: SnapshotPolicy.background({ every: 1 }) }
  }
  for (const [mode, options] of Object.entries(modes)) {
    it.scoped(`is tried once, logged once, and tried again at growing intervals: ${mode}`, () =>
      Effect.gen(function*() {
        const { logged, observed } = yield* lines
        const sensors = yield* observed(Repository.make(Sensor, options))
        const commandAndLoad = Effect.all([sensors.execute("a", read("none")), sensors.load("a")]).pipe(
          Effect.zipRight(sensors.awaitPendingSnapshots),
          observed
        )
        const tries = (effect: Effect.Effect<unknown, unknown>) =>
          Effect.suspend(() => {
            const before = encoded
            return Effect.map(Effect.orDie(effect), () => encoded - before)
          })
        yield* sensors.execute("b", read("1"))
        yield* sensors.awaitPendingSnapshots
        const most = "cache" in options ? 2 : 1
        assert.strictEqual(yield* tries(commandAndLoad), most)
        assert.strictEqual(yield* tries(Effect.repeatN(commandAndLoad, 19)), 0)
        yield* TestClock.adjust("59 seconds")
        assert.strictEqual(yield* tries(commandAndLoad), 0)
        yield* TestClock.adjust("1 seconds")
        assert.strictEqual(yield* tries(commandAndLoad), most)
        yield* TestClock.adjust("119 seconds")
        assert.strictEqual(yield* tries(commandAndLoad), 0)
        assert.strictEqual(logged.filter(({ level }) => level === "WARN").length, 1)
        // to ask for one is strict, and what got well is taken again at once then
        assert.deepInclude(yield* Effect.flip(sensors.createSnapshot("a")), { _tag: "StateEncodeError" })
        yield* sensors.execute("a", read("1"))
        yield* sensors.createSnapshot("a")
        const { version } = yield* sensors.execute("a", read("2"))
        yield* sensors.awaitPendingSnapshots
        assert.isTrue("cache" in options || (yield* sensors.load("a")).snapshotVersion === version)
        // another stream never waited
        yield* sensors.execute("b", read("2"))
        yield* sensors.awaitPendingSnapshots
        assert.isTrue(yield* (yield* SnapshotStore.SnapshotStore).exists(StreamId.make("Sensor", "b")))
      }).pipe(Effect.provide(sqlite)))
  }
})

describe("a snapshot that the database rejects", () => {
  const databases: ReadonlyArray<readonly [string, Layer.Layer<SqlClient.SqlClient, unknown>, string]> = [
    [
      "SQLite",
      sqliteFile(":memory:"),
      "CREATE TRIGGER no BEFORE INSERT ON eventsourcing_snapshots " +
      "BEGIN SELECT RAISE(ABORT, 'no'); END"
    ],
    ["PostgreSQL", postgresTemporaryDatabase, "ALTER TABLE eventsourcing_snapshots ADD CHECK (version < 0)"]
  ]
  for (const [name, client, rule] of databases) {
    it.scoped(`is logged once, and is not tried again at once, on ${name}`, () =>
      Effect.gen(function*() {
        yield* Effect.flatMap(SqlClient.SqlClient, (sql) => sql.unsafe(rule))
        for (const mode of ["sync", "inline", "background"] as const) {
          const { logged, observed } = yield* lines
          const accounts = yield* observed(Repository.make(Account, { snapshots: SnapshotPolicy[mode]({ every: 1 }) }))
          yield* observed(accounts.execute(id(mode), { _tag: "Open" }))
          for (let n = 0; n < 4; n++) {
            yield* observed(accounts.execute(id(mode), { _tag: "Deposit", amount: 1 }))
            yield* observed(accounts.load(id(mode)))
            yield* accounts.awaitPendingSnapshots
          }
          assert.lengthOf(logged.filter(({ level }) => level === "WARN"), 1, mode)
          const error = yield* Effect.flip(accounts.createSnapshot(id(mode)))
          assert.deepInclude(error, { _tag: "SnapshotStoreError", reason: "Refused" })
          assert.deepInclude(yield* accounts.load(id(mode)), { version: 5, state: { open: true, balance: 4 } })
        }
      }).pipe(Effect.provide(Layer.provideMerge(sqlStores, client))))
  }
})

describe("an initial state that is nested too deeply for the stack", () => {
  it.scoped("does not fail a command", () =>
    Effect.gen(function*() {
      const initial = List.fromIterable(Array.from({ length: 50_000 }, (_, n) => n))
      const Long = Aggregate.make({
        name: "Long",
        id: Schema.String,
        state: Schema.List(Schema.Number),
        event: Added,
        command: Add,
        initial: () => initial,
        evolve: (state, { n }) => List.prepend(state, n),
        decide: (_state, { n }) => Either.right([{ _tag: "Added" as const, n }])
      })
      const long = yield* Repository.make(Long)
      assert.strictEqual(List.size((yield* long.execute("a", { _tag: "Add", n: 1 })).state), 50_001)
    }).pipe(Effect.provide(memoryStores)))
})

describe("lost races", () => {
  it.scoped("are repeated in real time, also if a test has stopped the clock", () =>
    Effect.gen(function*() {
      for (const [stream, options] of [["a", {}], ["b", { retry: Schedule.spaced("1 millis") }]] as const) {
        const contended = yield* Repository.make(Summer, options).pipe(
          Effect.provideServiceEffect(EventStore.EventStore, rivals(3, stream))
        )
        assert.deepInclude(yield* contended.execute(stream, add(10)), { version: 4 })
      }
    }).pipe(Effect.provide(memoryStores)))

  it.scoped("have events with the time of the program's clock", () =>
    Effect.gen(function*() {
      yield* TestClock.setTime(1_000)
      const contended = yield* Repository.make(Summer).pipe(
        Effect.provideServiceEffect(EventStore.EventStore, rivals(2))
      )
      yield* contended.execute("a", add(1))
      const store = yield* EventStore.EventStore
      const events = Array.from(yield* Stream.runCollect(store.read(StreamId.make("Summer", "a"))))
      assert.deepStrictEqual(events.map(({ time }) => time.epochMillis), [1_000, 1_000, 1_000])
    }).pipe(Effect.provide(memoryStores)))
})
