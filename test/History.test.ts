import { SqlClient } from "@effect/sql"
import { assert, describe, it } from "@effect/vitest"
import { Chunk, DateTime, Effect, Layer, Option, Schema, Stream, TestClock } from "effect"
import { Aggregate, EventStore, ExpectedVersion, Repository, SnapshotPolicy, StreamId } from "effect-eventsourcing"
import * as fs from "node:fs"
import { Account, AccountEvent, type AccountId, deposit, event, id, open, stream } from "./fixtures/Account.js"
import { Order, OrderEvent } from "./fixtures/Order.js"
import { backends, each as inProcess, kinds, on, sqliteFile, sqlStores } from "./utils/backends.js"

const each = on(backends)

const range = (from: number, to: number) => Array.from({ length: to - from + 1 }, (_, n) => from + n)

const collect = <A, E>(history: Stream.Stream<A, E>) => Effect.map(Stream.runCollect(history), Chunk.toReadonlyArray)

/** What a stream gives, and the error with which it ends. */
const until = <A, E>(history: Stream.Stream<A, E>) => {
  const given: Array<A> = []
  return Effect.map(
    Effect.flip(Stream.runForEach(history, (event) => Effect.sync(() => given.push(event)))),
    (error) => ({ error, given })
  )
}

const versionsOf = (events: ReadonlyArray<{ readonly version: number }>) => events.map(({ version }) => version)

describe("history", () => {
  each("gives typed events in their envelopes, a range of them, in both directions", () =>
    Effect.gen(function*() {
      const accounts = yield* Repository.make(Account, { snapshots: SnapshotPolicy.sync({ every: 3 }) })
      yield* accounts.execute(id("a"), open, { metadata: { user: "ada" } })
      yield* accounts.execute(id("a"), deposit(5, 2_100))
      const all = yield* collect(accounts.history(id("a")))
      const stored = yield* collect((yield* EventStore.EventStore).read(stream("a")))
      assert.deepStrictEqual(
        all,
        stored.map(({ payload, ...fields }) => ({
          ...fields,
          _tag: "Event",
          event: Schema.decodeUnknownSync(AccountEvent)(payload)
        }))
      )
      assert.deepInclude(all[0], { id: stored[0].id, version: 1, type: "Opened", metadata: { user: "ada" } })
      assert.deepStrictEqual(yield* collect(accounts.history(id("a"), { reverse: true })), [...all].reverse())
      const some = { fromVersion: 999, toVersion: 1_002 }
      assert.deepStrictEqual(versionsOf(yield* collect(accounts.history(id("a"), some))), range(999, 1_002))
      assert.deepStrictEqual(
        versionsOf(yield* collect(accounts.history(id("a"), { ...some, reverse: true }))),
        range(999, 1_002).reverse()
      )
      for (const reverse of [false, true]) {
        const beyond = { fromVersion: 2_100, toVersion: 9_999, reverse }
        assert.strictEqual((yield* collect(accounts.history(id("a"), beyond))).length, 2)
        assert.deepStrictEqual(yield* collect(accounts.history(id("a"), { toVersion: 0, reverse })), [])
        assert.deepStrictEqual(yield* collect(accounts.history(id("a"), { fromVersion: 5_000, reverse })), [])
        assert.deepStrictEqual(yield* collect(accounts.history(id("b"), { toVersion: 7, reverse })), [])
      }
    }))

  each("upcasts older events, and marks those that are retired", () =>
    Effect.gen(function*() {
      const golden: ReadonlyArray<{ readonly type: string; readonly payload: unknown }> = JSON.parse(
        fs.readFileSync(new URL("./golden/events/order.json", import.meta.url), "utf8")
      )
      const store = yield* EventStore.EventStore
      yield* store.append(
        StreamId.make("Order", "o-1"),
        golden.map((event, index) => ({ id: `old-${index}`, ...event })),
        { expectedVersion: ExpectedVersion.any }
      )
      const orders = yield* Repository.make(Order)
      const history = yield* collect(orders.history("o-1"))
      assert.deepStrictEqual(history.map(({ type }) => type), golden.map(({ type }) => type))
      assert.deepStrictEqual(
        history.map(({ _tag, type }) => [type, _tag === "Retired"]),
        golden.map(({ type }) => [type, Order.event.isRetired(type)])
      )
      assert.isTrue(history.some(({ _tag }) => _tag === "Retired"))
      const events = history.flatMap((decoded) => decoded._tag === "Event" ? [decoded.event] : [])
      for (const event of events) assert.isTrue(Schema.is(OrderEvent)(event))
      const replayed = Aggregate.replay(Order, "o-1", events)
      assert.deepStrictEqual(replayed, (yield* orders.load("o-1")).state)
    }))

  for (const reverse of [false, true]) {
    it.scoped(`fails if the stream is rewritten between two pages (${reverse ? "backwards" : "forwards"})`, () =>
      Effect.gen(function*() {
        const accounts = yield* Repository.make(Account)
        const sql = yield* SqlClient.SqlClient
        const write = (amount: number) => accounts.execute(id("a"), deposit(amount, 50)).pipe(Effect.repeatN(23))
        yield* accounts.execute(id("a"), open)
        yield* write(1)
        let count = 0
        const rewrites = accounts.history(id("a"), { reverse }).pipe(Stream.tap(() =>
          ++count === 1_000
            ? Effect.zipRight(
              sql`DELETE FROM eventsourcing_events`,
              Effect.zipRight(accounts.execute(id("a"), open), write(2))
            )
            : Effect.void
        ))
        const { error, given } = yield* until(rewrites)
        assert.strictEqual(error._tag, "HistoryRewritten")
        assert.strictEqual(given.length, 1_000)
        for (const decoded of given) {
          if (decoded._tag === "Event" && decoded.event._tag === "Deposited") {
            assert.strictEqual(decoded.event.amount, 1)
          }
        }
        // a stream that only grows is the same history
        count = 0
        const grows = accounts.history(id("a"), { reverse }).pipe(
          Stream.tap(() => ++count === 1_000 ? write(3) : Effect.void)
        )
        assert.strictEqual((yield* collect(grows)).length, reverse ? 1_201 : 2_401)
      }).pipe(Effect.provide(Layer.provideMerge(sqlStores, sqliteFile(":memory:")))))
  }

  inProcess("an id that does not encode, and a range that is none, are typed errors", () =>
    Effect.gen(function*() {
      const accounts = yield* Repository.make(Account)
      const { error } = yield* until(accounts.history("" as typeof AccountId.Type))
      assert.strictEqual(error._tag, "IdEncodeError")
      const wrong: ReadonlyArray<unknown> = [
        { fromVersion: 0 },
        { fromVersion: 1.5 },
        { toVersion: -1 },
        { toVersion: "3" },
        { reverse: "yes" },
        { fromversion: 1 },
        7
      ]
      for (const options of wrong) {
        const { error } = yield* until(accounts.history(id("a"), options as Repository.HistoryOptions))
        assert.deepInclude(error, { _tag: "EventStoreError", reason: "InvalidInput" })
      }
    }))
})

describe("a history with gaps and unreadable events", () => {
  const stores = Layer.provideMerge(sqlStores, sqliteFile(":memory:"))
  const with20 = (statement: string) =>
    Effect.gen(function*() {
      const accounts = yield* Repository.make(Account)
      yield* accounts.execute(id("a"), open)
      yield* accounts.execute(id("a"), deposit(1, 19))
      const sql = yield* SqlClient.SqlClient
      yield* sql.unsafe(statement)
      return accounts
    })
  const remove = (versions: string) => `DELETE FROM eventsourcing_events WHERE version IN (${versions})`

  const cases: ReadonlyArray<
    readonly [
      name: string,
      statement: string,
      range: Repository.HistoryOptions,
      given: ReadonlyArray<number>,
      error: Readonly<Record<string, unknown>>
    ]
  > = [
    ["in the middle", remove("7, 8"), {}, range(1, 6), { expected: 7, actual: 9 }],
    ["in the middle, backwards", remove("7, 8"), { reverse: true }, range(9, 20).reverse(), { expected: 7, actual: 9 }],
    ["at the beginning", remove("1, 2"), {}, [], { expected: 1, actual: 3 }],
    ["at the beginning, backwards", remove("1, 2"), { reverse: true }, range(3, 20).reverse(), {
      expected: 1,
      actual: 3
    }],
    ["at the first version of the range", remove("7"), { fromVersion: 7 }, [], { expected: 7, actual: 8 }],
    [
      "at the first version of the range, backwards",
      remove("7"),
      { fromVersion: 7, toVersion: 9, reverse: true },
      [9, 8],
      { expected: 7, actual: 8 }
    ],
    ["at the last version of the range", remove("7"), { toVersion: 7 }, range(1, 6), { expected: 7, actual: 8 }],
    ["at the last version of the range, backwards", remove("7"), { toVersion: 7, reverse: true }, [], {
      expected: 7,
      actual: 8
    }],
    ["all over the range", remove("7, 8, 9"), { fromVersion: 7, toVersion: 9 }, [], { expected: 7, actual: 10 }],
    ["all over the range, backwards", remove("7, 8, 9"), { fromVersion: 7, toVersion: 9, reverse: true }, [], {
      expected: 7,
      actual: 10
    }]
  ]
  for (const [name, statement, options, versions, expected] of cases) {
    it.scoped(`a hole ${name}`, () =>
      Effect.gen(function*() {
        const { error, given } = yield* until((yield* with20(statement)).history(id("a"), options))
        assert.deepStrictEqual(versionsOf(given), versions)
        assert.deepInclude(error, { _tag: "HistoryGap", ...expected })
      }).pipe(Effect.provide(stores)))
  }

  for (
    const [name, column] of [
      ["is not JSON", "payload = '{'"],
      ["does not match its schema", `payload = '{"_tag":"Deposited","amount":"much"}'`],
      ["has an unknown type", "type = 'Unknown'"]
    ]
  ) {
    it.scoped(`an event that ${name} fails the stream after the events before it`, () =>
      Effect.gen(function*() {
        const accounts = yield* with20(`UPDATE eventsourcing_events SET ${column} WHERE version = 5`)
        for (const reverse of [false, true]) {
          const { error, given } = yield* until(accounts.history(id("a"), { reverse }))
          assert.deepStrictEqual(versionsOf(given), reverse ? range(6, 20).reverse() : range(1, 4))
          assert.deepInclude(error, { _tag: "EventDecodeError", version: 5 })
        }
      }).pipe(Effect.provide(stores)))
  }

  it.scoped("reads backwards by the index of versions", () =>
    Effect.gen(function*() {
      const sql = yield* SqlClient.SqlClient
      const plan = yield* sql.unsafe<{ readonly detail: string }>(
        "EXPLAIN QUERY PLAN SELECT payload FROM eventsourcing_events WHERE aggregate = 'a' AND stream_id = 'b' " +
          "AND version BETWEEN 1 AND 9 ORDER BY version DESC LIMIT 5"
      )
      assert.match(plan.map(({ detail }) => detail).join(), /^SEARCH eventsourcing_events USING INDEX .*version>/)
    }).pipe(Effect.provide(stores)))
})

describe("loadAt", () => {
  const modes = {
    none: SnapshotPolicy.none,
    sync: SnapshotPolicy.sync({ every: 3 }),
    background: SnapshotPolicy.background({ every: 4 })
  }
  for (const [mode, snapshots] of Object.entries(modes)) {
    each(`gives the state at each version, and uses no newer snapshot (${mode})`, () =>
      Effect.gen(function*() {
        const accounts = yield* Repository.make(Account, { snapshots, cache: { capacity: 5 } })
        yield* accounts.execute(id("a"), open)
        for (const times of [1, 2, 3, 4]) yield* accounts.execute(id("a"), deposit(2, times))
        yield* accounts.awaitPendingSnapshots
        yield* accounts.load(id("a"))
        for (const version of range(0, 11)) {
          const at = yield* accounts.loadAt(id("a"), version)
          assert.deepInclude(at, {
            id: id("a"),
            version,
            exists: version > 0,
            state: { open: version > 0, balance: Math.max(0, version - 1) * 2 }
          })
          assert.isAtMost(at.snapshotVersion, version)
          assert.strictEqual(at.snapshotVersion + at.replayed, version)
        }
        if (mode !== "none") assert.isAbove((yield* accounts.loadAt(id("a"), 11)).snapshotVersion, 0)
        const ahead = yield* Effect.flip(accounts.loadAt(id("a"), 12))
        assert.deepInclude(ahead, { _tag: "VersionNotReached", version: 12, head: 11 })
        assert.deepInclude(yield* Effect.flip(accounts.loadAt(id("b"), 1)), { _tag: "VersionNotReached", head: 0 })
        assert.deepInclude(yield* accounts.loadAt(id("b"), 0), { version: 0, exists: false })
      }))
  }

  for (const pageSize of [undefined, 4]) {
    each(
      `gives the id and the time of the event at each version, in pages of ${pageSize ?? "the default"}`,
      () =>
        Effect.gen(function*() {
          const accounts = yield* Repository.make(Account, { pageSize, snapshots: SnapshotPolicy.manual })
          yield* accounts.execute(id("a"), open)
          for (const n of range(1, 11)) yield* accounts.execute(id("a"), deposit(1), { commandId: `c${n}` })
          const events = Array.from(yield* Stream.runCollect(accounts.history(id("a"))))
          const check = Effect.gen(function*() {
            for (const { id: eventId, time, version } of events) {
              const { lastEventId, lastEventTime } = yield* accounts.loadAt(id("a"), version)
              assert.deepStrictEqual([lastEventId, lastEventTime], [Option.some(eventId), Option.some(time)])
            }
          })
          yield* check
          yield* accounts.createSnapshot(id("a"))
          for (const n of range(12, 20)) yield* accounts.execute(id("a"), deposit(1), { commandId: `c${n}` })
          events.push(
            ...Chunk.toReadonlyArray(yield* Stream.runCollect(accounts.history(id("a"), { fromVersion: 13 })))
          )
          yield* check
          assert.strictEqual((yield* accounts.loadAt(id("a"), 15)).snapshotVersion, 12)
        })
    )
  }

  // PostgreSQL gives events the time of the server
  on(kinds.filter(([name]) => name !== "PostgreSQL"))(
    "a time is after the last event that is not later",
    () =>
      Effect.gen(function*() {
        const accounts = yield* Repository.make(Account, { snapshots: SnapshotPolicy.sync({ every: 2 }) })
        yield* TestClock.setTime(1_000)
        yield* accounts.execute(id("a"), open)
        yield* TestClock.setTime(2_000)
        yield* accounts.execute(id("a"), deposit(5, 2))
        yield* TestClock.setTime(3_000)
        yield* accounts.execute(id("a"), deposit(5))
        const versionAt = (millis: number) =>
          Effect.map(accounts.loadAt(id("a"), DateTime.unsafeMake(millis)), ({ version }) => version)
        for (
          const [millis, version] of [[0, 0], [999, 0], [1_000, 1], [1_999, 1], [2_000, 3], [2_999, 3], [3_000, 4], [
            9_000,
            4
          ]]
        ) {
          assert.strictEqual(yield* versionAt(millis), version, String(millis))
        }
        const zoned = DateTime.unsafeMakeZoned(2_500, { timeZone: "Europe/Berlin" })
        assert.deepInclude(yield* accounts.loadAt(id("a"), zoned), { version: 3, state: { open: true, balance: 10 } })
        assert.deepInclude(yield* accounts.loadAt(id("b"), zoned), { version: 0, exists: false })
      })
  )

  inProcess("keeps to the limit of a replay", () =>
    Effect.gen(function*() {
      const accounts = yield* Repository.make(Account, { maxReplay: 5, snapshots: SnapshotPolicy.manual })
      yield* accounts.execute(id("a"), open)
      yield* accounts.execute(id("a"), deposit(1, 4))
      yield* accounts.execute(id("a"), deposit(1, 4))
      assert.strictEqual((yield* accounts.loadAt(id("a"), 5)).version, 5)
      assert.deepInclude(yield* Effect.flip(accounts.loadAt(id("a"), 6)), { _tag: "ReplayTooLong", maxReplay: 5 })
    }))

  inProcess("something that is neither a version nor a time is a typed error", () =>
    Effect.gen(function*() {
      const accounts = yield* Repository.make(Account)
      for (const point of [-1, 1.5, NaN, Infinity, "3", null, undefined, new Date(), {}]) {
        const error = yield* Effect.flip(accounts.loadAt(id("a"), point as number))
        assert.deepInclude(error, { _tag: "EventStoreError", reason: "InvalidInput", operation: "read" })
      }
    }))

  it.scoped("a stream that is rewritten before it is folded is read again", () =>
    Effect.gen(function*() {
      const store = yield* EventStore.EventStore
      const sql = yield* SqlClient.SqlClient
      const write = (times: ReadonlyArray<number>) =>
        store.append(
          stream("a"),
          times.map((millis) => ({ ...event(millis), time: DateTime.unsafeMake(millis) })),
          { expectedVersion: ExpectedVersion.noStream }
        )
      yield* write([1, 2, 3])
      let rewrites = 0
      const rewrite = Effect.suspend(() =>
        rewrites-- > 0 ? Effect.zipRight(sql`DELETE FROM eventsourcing_events`, write([3, 20, 30])) : Effect.void
      )
      const rewritten = EventStore.EventStore.of({
        ...store,
        read: (stream, options) => Stream.ensuring(store.read(stream, options), Effect.orDie(rewrite))
      })
      const accounts = yield* Effect.provideService(Repository.make(Account), EventStore.EventStore, rewritten)
      rewrites = 1
      const { state, version } = yield* accounts.loadAt(id("a"), DateTime.unsafeMake(10))
      assert.deepStrictEqual([version, state.balance], [1, 3])
      rewrites = Infinity
      const error = yield* Effect.flip(accounts.loadAt(id("a"), DateTime.unsafeMake(50)))
      assert.strictEqual(error._tag, "HistoryRewritten")
    }).pipe(Effect.provide(Layer.provideMerge(sqlStores, sqliteFile(":memory:")))))

  it.scoped("a gap before the version is an error", () =>
    Effect.gen(function*() {
      const accounts = yield* Repository.make(Account)
      yield* accounts.execute(id("a"), open)
      yield* accounts.execute(id("a"), deposit(1, 9))
      const sql = yield* SqlClient.SqlClient
      yield* sql`DELETE FROM eventsourcing_events WHERE version = 5`
      for (const version of [5, 6, 9]) {
        const error = yield* Effect.flip(accounts.loadAt(id("a"), version))
        assert.deepInclude(error, { _tag: "HistoryGap", expected: 5, actual: 6 })
      }
      assert.strictEqual((yield* accounts.loadAt(id("a"), 4)).version, 4)
    }).pipe(Effect.provide(Layer.provideMerge(sqlStores, sqliteFile(":memory:")))))
})
