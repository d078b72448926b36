// a command with an id counts once
import { SqlClient } from "@effect/sql"
import { assert, describe, it } from "@effect/vitest"
import {
  Cause,
  Chunk,
  Effect,
  Exit,
  FastCheck as fc,
  Fiber,
  Layer,
  Logger,
  LogLevel,
  Option,
  Schedule,
  Stream,
  TestClock
} from "effect"
import { Event, EventStore, ExpectedVersion, Repository, SnapshotPolicy } from "effect-eventsourcing"
import { Faults } from "effect-eventsourcing/testing"
import { PCGRandom } from "effect/Utils"
import { Account, deposit, id, InsufficientFunds, NotOpen, open, stream } from "./fixtures/Account.js"
import {
  backends,
  each as inProcess,
  kinds,
  memoryStores,
  on,
  postgresTemporaryDatabase,
  sqliteFile,
  sqlStores
} from "./utils/backends.js"
import { everything } from "./utils/mode.js"
import { typedFailure } from "./utils/observe.js"

const each = on(backends)

const clients: ReadonlyArray<readonly [name: string, client: Layer.Layer<SqlClient.SqlClient, unknown>]> = [
  ["SQLite", sqliteFile(":memory:")],
  ["PostgreSQL", postgresTemporaryDatabase]
]

const withdraw = (amount: number) => ({ _tag: "Withdraw", amount }) as const

type Store = EventStore.EventStore["Type"]

const storedIn = (name: string) =>
  Effect.flatMap(
    EventStore.EventStore,
    (store) => Effect.map(Stream.runCollect(store.read(stream(name))), Chunk.toReadonlyArray)
  )

/** Counts the calls of the event store that are round trips. */
const counting = Effect.map(EventStore.EventStore, (store) => {
  const calls = { append: 0, find: 0, read: 0 }
  const counted = EventStore.EventStore.of({
    ...store,
    append: (...input) =>
      Effect.suspend(() => {
        calls.append++
        return store.append(...input)
      }),
    find: (ids) =>
      Effect.suspend(() => {
        calls.find++
        return store.find(ids)
      }),
    read: (...input) =>
      Stream.suspend(() => {
        calls.read++
        return store.read(...input)
      })
  })
  return { calls, counted }
})

const using = (store: Store, options: Repository.Options = {}) =>
  Effect.provideService(Repository.make(Account, options), EventStore.EventStore, store)

/** Fails the next appends after they were carried out. */
const losing = (store: Store) => {
  const state = { lost: 0 }
  return {
    state,
    store: EventStore.EventStore.of({
      ...store,
      append: (...input) =>
        Effect.flatMap(store.append(...input), (result) =>
          state.lost-- > 0
            ? new EventStore.EventStoreError({
              operation: "append",
              reason: "Unavailable",
              mayHaveAppended: true,
              detail: "the acknowledgement is lost"
            })
            : Effect.succeed(result))
    })
  }
}

/** Lets something happen before the next append, and before the transaction that it is in. */
const beforeAppend = (store: Store) => {
  const next: { effect: Effect.Effect<unknown, unknown> | undefined } = { effect: undefined }
  const first = Effect.suspend(() => {
    const effect = next.effect ?? Effect.void
    next.effect = undefined
    return Effect.orDie(effect)
  })
  return {
    next,
    store: EventStore.EventStore.of({
      ...store,
      append: (...input) => Effect.zipRight(first, store.append(...input)),
      replay: {
        ...store.replay,
        withSnapshots: (snapshots) =>
          Option.map(store.replay.withSnapshots(snapshots), (shared) => ({
            ...shared,
            transaction: (effect) => Effect.zipRight(first, shared.transaction(effect))
          }))
      }
    })
  }
}

describe("a repeat", () => {
  each("gives the original events, version and position, and the state as it is now", () =>
    Effect.gen(function*() {
      const { calls, counted } = yield* counting
      const accounts = yield* using(counted)
      yield* accounts.execute(id("a"), open)
      const first = yield* accounts.execute(id("a"), deposit(5, 2), { commandId: "c1" })
      assert.deepStrictEqual([first.version, first.duplicate], [3, false])
      yield* accounts.execute(id("a"), deposit(100))
      assert.deepStrictEqual(calls, { append: 3, find: 0, read: 0 })
      const again = yield* accounts.execute(id("a"), deposit(5, 2), { commandId: "c1" })
      assert.deepStrictEqual(again.state, { open: true, balance: 110 })
      assert.deepInclude(again, { version: 3, duplicate: true, events: first.events, position: first.position })
      const stored = yield* storedIn("a")
      assert.strictEqual(stored.length, 4)
      assert.deepStrictEqual(
        again.recorded.map((
          { event, id, metadata, position, time, version }
        ) => [event, id, metadata, position, time, version]),
        stored.slice(1, 3).map((
          { id, metadata, payload, position, time, version }
        ) => [payload, id, metadata, Option.some(position), time, version])
      )
    }))

  each("of a command that its own effect forbids", () =>
    Effect.gen(function*() {
      const accounts = yield* Repository.make(Account)
      yield* accounts.executeAll(id("a"), [open, deposit(10)])
      const first = yield* accounts.execute(id("a"), withdraw(10), { commandId: "w" })
      const again = yield* accounts.execute(id("a"), withdraw(10), { commandId: "w" })
      assert.deepStrictEqual(again, { ...first, duplicate: true, recorded: again.recorded })
      assert.instanceOf(
        yield* Effect.flip(accounts.execute(id("a"), withdraw(10), { commandId: "x" })),
        InsufficientFunds
      )
      assert.instanceOf(yield* Effect.flip(accounts.execute(id("a"), withdraw(10))), InsufficientFunds)
    }))

  inProcess("of a command that decides nothing any more", () =>
    Effect.gen(function*() {
      const accounts = yield* Repository.make(Account)
      yield* accounts.execute(id("a"), open, { commandId: "o" })
      const again = yield* accounts.execute(id("a"), open, { commandId: "o" })
      assert.deepInclude(again, { version: 1, duplicate: true, events: [{ _tag: "Opened" }] })
      assert.deepInclude(yield* accounts.execute(id("a"), open, { commandId: "p" }), {
        version: 1,
        duplicate: false,
        events: []
      })
    }))

  inProcess("on a version that the caller does not see any more", () =>
    Effect.gen(function*() {
      const accounts = yield* Repository.make(Account)
      const options = { commandId: "o", expectedVersion: ExpectedVersion.noStream }
      yield* accounts.execute(id("a"), open, options)
      assert.deepInclude(yield* accounts.execute(id("a"), open, options), { version: 1, duplicate: true })
      const other = yield* Effect.flip(accounts.execute(id("a"), open, { ...options, commandId: "p" }))
      assert.deepInclude(other, { _tag: "VersionConflict", actual: 1 })
    }))

  inProcess("of a command that is not valid any more, or that decide throws for", () =>
    Effect.gen(function*() {
      const accounts = yield* Repository.make(Account)
      yield* accounts.execute(id("a"), open, { commandId: "o" })
      // as a program without types may send it
      const unknown = JSON.parse(`{"_tag":"Unknown"}`)
      assert.deepInclude(yield* accounts.execute(id("a"), unknown, { commandId: "o" }), { version: 1, duplicate: true })
      const unstorable = deposit(0.5)
      assert.deepInclude(yield* accounts.execute(id("a"), unstorable, { commandId: "o" }), {
        version: 1,
        duplicate: true
      })
      const throwing = yield* Repository.make({
        ...Account,
        decide: () => {
          throw new Error("decide throws")
        }
      })
      assert.deepInclude(yield* throwing.execute(id("a"), open, { commandId: "o" }), { version: 1, duplicate: true })
      const exit = yield* Effect.exit(throwing.execute(id("a"), open, { commandId: "p" }))
      assert.isTrue(Exit.isFailure(exit) && /decide throws/.test(Cause.pretty(exit.cause)))
    }))

  each("of many commands under one id, on more events than a page", () =>
    Effect.gen(function*() {
      const accounts = yield* Repository.make(Account)
      const commands = [open, deposit(1, 45), withdraw(3), deposit(2, 4)]
      const first = yield* accounts.executeAll(id("a"), commands, { commandId: "all" })
      yield* accounts.execute(id("a"), deposit(1, 30), { commandId: "more" })
      const again = yield* accounts.executeAll(id("a"), commands, { commandId: "all" })
      assert.strictEqual(again.events.length, 51)
      assert.deepInclude(again, { version: 51, duplicate: true, events: first.events, position: first.position })
    }))

  inProcess("of another command under the same id gives the result of the first", () =>
    Effect.gen(function*() {
      const accounts = yield* Repository.make(Account)
      yield* accounts.execute(id("a"), open)
      const first = yield* accounts.execute(id("a"), deposit(1, 3), { commandId: "c" })
      for (const other of [deposit(7), deposit(7, 3), deposit(7, 5), withdraw(1), withdraw(999)]) {
        const again = yield* accounts.execute(id("a"), other, { commandId: "c" })
        assert.deepInclude(again, { version: 4, duplicate: true, events: first.events, state: first.state })
      }
      assert.strictEqual((yield* storedIn("a")).length, 4)
    }))

  inProcess("the same id counts once for each aggregate", () =>
    Effect.gen(function*() {
      const Other = { ...Account, name: "Other" as const }
      const accounts = yield* Repository.make(Account)
      const others = yield* Repository.make(Other)
      for (const expected of [false, true]) {
        for (const name of ["a", "b", "__proto__"]) {
          for (const each of [accounts, others]) {
            const { duplicate, version } = yield* each.execute(id(name), open, { commandId: "__proto__" })
            assert.deepStrictEqual([duplicate, version], [expected, 1])
          }
        }
      }
    }))

  inProcess("a command that was rejected, or that decided no events, is not remembered", () =>
    Effect.gen(function*() {
      const accounts = yield* Repository.make(Account)
      assert.instanceOf(yield* Effect.flip(accounts.execute(id("a"), deposit(3), { commandId: "d" })), NotOpen)
      assert.deepInclude(yield* accounts.executeAll(id("a"), [], { commandId: "e" }), { version: 0, duplicate: false })
      yield* accounts.execute(id("a"), open)
      for (const commandId of ["d", "e"]) {
        const versions = yield* Effect.forEach([1, 2], () => accounts.execute(id("a"), deposit(3), { commandId }))
        assert.deepStrictEqual(versions.map(({ duplicate }) => duplicate), [false, true])
      }
      assert.strictEqual((yield* accounts.load(id("a"))).state.balance, 6)
    }))

  inProcess("an event that is retired since is left out of the events", () =>
    Effect.gen(function*() {
      const accounts = yield* Repository.make(Account)
      yield* accounts.execute(id("a"), open)
      yield* accounts.executeAll(id("a"), [deposit(1), withdraw(1), deposit(2)], { commandId: "c" })
      const { decoder, isRetired, ...codec } = Account.event
      const later = yield* Repository.make({
        ...Account,
        event: {
          ...codec,
          decoder: (type: string) => type === "Withdrawn" ? undefined : decoder(type),
          isRetired: (type: string) => type === "Withdrawn" || isRetired(type)
        }
      })
      const again = yield* later.executeAll(id("a"), [deposit(1)], { commandId: "c" })
      assert.deepStrictEqual(again.events, [{ _tag: "Deposited", amount: 1 }, { _tag: "Deposited", amount: 2 }])
      assert.deepStrictEqual(again.recorded.map(({ version }) => version), [2, 4])
      assert.strictEqual(again.version, 4)
    }))
})

describe("a repeat reads the events of its command", () => {
  it.scoped("and fails for an unreadable event among them, but not for one after them", () =>
    Effect.gen(function*() {
      const sql = yield* SqlClient.SqlClient
      const accounts = yield* Repository.make(Account, { snapshots: SnapshotPolicy.manual })
      yield* accounts.execute(id("a"), open)
      yield* accounts.execute(id("a"), deposit(1, 20), { commandId: "long" })
      const first = yield* accounts.execute(id("a"), deposit(5, 2), { commandId: "c" })
      yield* accounts.execute(id("a"), deposit(1, 3))
      yield* accounts.createSnapshot(id("a"))
      const repeat = (commandId: string) => accounts.execute(id("a"), deposit(5, 2), { commandId })
      yield* sql`UPDATE eventsourcing_events SET payload = 'not json' WHERE version = 24`
      assert.deepInclude(yield* repeat("c"), { duplicate: true, version: 23, events: first.events })
      yield* sql`UPDATE eventsourcing_events SET payload = 'not json' WHERE version = 23`
      assert.deepInclude(yield* Effect.flip(repeat("c")), { _tag: "EventDecodeError", version: 23 })
      yield* sql`UPDATE eventsourcing_events SET payload = 'not json' WHERE version = 22`
      assert.deepInclude(yield* repeat("long"), { duplicate: true, version: 21 })
    }).pipe(Effect.provide(Layer.provideMerge(sqlStores, sqliteFile(":memory:")))))

  it.scoped("and fails if one is missing, although a snapshot hides the gap from its load", () =>
    Effect.gen(function*() {
      const sql = yield* SqlClient.SqlClient
      const accounts = yield* Repository.make(Account, { snapshots: SnapshotPolicy.manual })
      yield* accounts.execute(id("a"), open)
      // between two events, at the end, and on both sides of the border of the short page
      const missing: Array<number> = []
      for (const [commandId, times, at] of [["c1", 4, 2], ["c2", 3, 3], ["c3", 30, 7], ["c4", 30, 21]] as const) {
        const { version } = yield* accounts.execute(id("a"), deposit(1, times), { commandId })
        missing.push(version - times + at)
      }
      yield* accounts.execute(id("a"), deposit(1))
      yield* accounts.createSnapshot(id("a"))
      for (const version of missing) yield* sql`DELETE FROM eventsourcing_events WHERE version = ${version}`
      for (const [index, expected] of missing.entries()) {
        const exit = yield* Effect.exit(accounts.execute(id("a"), deposit(1), { commandId: `c${index + 1}` }))
        assert.deepInclude(typedFailure(exit), { _tag: "HistoryGap", expected, actual: expected + 1 })
      }
    }).pipe(Effect.provide(Layer.provideMerge(sqlStores, sqliteFile(":memory:")))))

  inProcess("in a short page, and those of a large command in long ones", () =>
    Effect.gen(function*() {
      const store = yield* EventStore.EventStore
      const pages: Array<readonly [from: number | undefined, size: number | undefined]> = []
      const accounts = yield* using({
        ...store,
        read: (stream, options) => {
          pages.push([options?.fromVersion, options?.pageSize])
          return store.read(stream, options)
        }
      })
      yield* accounts.execute(id("a"), open)
      for (const [commandId, times, read] of [["small", 19, 1], ["full", 20, 2], ["large", 45, 2]] as const) {
        const first = yield* accounts.execute(id("a"), deposit(1, times), { commandId })
        yield* accounts.execute(id("a"), deposit(9))
        pages.length = 0
        const again = yield* accounts.execute(id("a"), deposit(1, times), { commandId })
        assert.deepInclude(again, { duplicate: true, version: first.version, events: first.events })
        const from = first.version - times + 1
        assert.deepStrictEqual(pages, [[from, 20] as const, [from + 20, 1_000] as const].slice(0, read))
      }
    }))
})

describe("the metadata of a command with an id", () => {
  inProcess(
    "has the id, and correlation and causation ids that follow from it unless they are given",
    () =>
      Effect.gen(function*() {
        const accounts = yield* Repository.make(Account)
        yield* accounts.execute(id("a"), open, { commandId: "c1" })
        yield* accounts.execute(id("a"), deposit(1), {
          commandId: "c2",
          metadata: { causationId: "own", commandId: "x" }
        })
          .pipe(
            Effect.provideService(Event.CurrentMetadata, { correlationId: "flow", commandId: "outer", user: "ada" })
          )
        yield* accounts.execute(id("a"), deposit(1), { metadata: { commandId: "free" } })
        assert.deepStrictEqual((yield* storedIn("a")).map(({ metadata }) => metadata), [
          { commandId: "c1", correlationId: "c1", causationId: "c1" },
          { commandId: "c2", correlationId: "flow", causationId: "own", user: "ada" },
          { commandId: "free" }
        ])
      })
  )

  inProcess("has no command id of the event that the fiber's metadata comes from", () =>
    Effect.gen(function*() {
      const accounts = yield* Repository.make(Account)
      const { recorded: [{ metadata }] } = yield* accounts.execute(id("a"), open, { commandId: "c1" })
      yield* Effect.provideService(accounts.execute(id("a"), deposit(1)), Event.CurrentMetadata, metadata)
      assert.deepStrictEqual((yield* storedIn("a"))[1].metadata, { correlationId: "c1", causationId: "c1" })
    }))

  inProcess(
    "is a typed error where that of the fiber is no record or cannot be read, and nothing is done",
    () =>
      Effect.gen(function*() {
        const { calls, counted } = yield* counting
        const accounts = yield* using(counted)
        const unreadable = {
          get user() {
            throw new Error("unreadable")
          }
        }
        const keyless = new Proxy({}, {
          ownKeys: () => {
            throw new Error("unreadable")
          }
        })
        // a program without types may give it, and what is lost on the way would be lost in silence
        for (const wrong of [null, "ada", 7, ["ada"], new Map([["user", "ada"]]), unreadable, keyless]) {
          const error = yield* Effect.flip(accounts.execute(id("a"), open)).pipe(
            Effect.provideService(Event.CurrentMetadata, wrong as Event.Metadata)
          )
          assert.deepInclude(error, { _tag: "EventStoreError", reason: "InvalidInput", mayHaveAppended: false })
        }
        assert.strictEqual(calls.append, 0)
      })
  )

  inProcess(
    "keeps its correlation id where the options or the fiber have an undefined one",
    () =>
      Effect.gen(function*() {
        const accounts = yield* Repository.make(Account)
        const metadata = { correlationId: undefined, causationId: "own" }
        const done = yield* accounts.execute(id("a"), open, { commandId: "c1", metadata }).pipe(
          Effect.provideService(Event.CurrentMetadata, { correlationId: undefined, user: "ada" })
        )
        const expected = { commandId: "c1", correlationId: "c1", causationId: "own", user: "ada" }
        assert.deepStrictEqual(done.recorded[0].metadata, expected)
        assert.deepStrictEqual((yield* storedIn("a"))[0].metadata, expected)
      })
  )
})

describe("a command id that no store can keep", () => {
  inProcess("is a typed error, and nothing is done", () =>
    Effect.gen(function*() {
      const { calls, counted } = yield* counting
      const accounts = yield* using(counted)
      const wrong: ReadonlyArray<unknown> = [
        "",
        "x".repeat(1_025),
        "x".repeat(5_000_000),
        "a\u0000b",
        "\ud800",
        7,
        null,
        {}
      ]
      for (const commandId of wrong) {
        const error = yield* Effect.flip(accounts.execute(id("a"), open, { commandId: commandId as string }))
        assert.deepInclude(error, { _tag: "InvalidCommandId", aggregate: "Account" })
        assert.isBelow(error.message.length, 200)
      }
      assert.strictEqual(calls.append, 0)
      for (const commandId of ["é".repeat(512), "__proto__", " ", "constructor"]) {
        const { duplicate } = yield* accounts.execute(id(`for ${commandId.length}`), open, { commandId })
        assert.isFalse(duplicate)
      }
    }))
})

describe("another try of the same command", () => {
  each("at the same time: many senders, one counts", () =>
    Effect.gen(function*() {
      const options: Repository.Options = { retry: Schedule.forever }
      const senders = yield* Effect.all([
        Repository.make(Account, { ...options, snapshots: SnapshotPolicy.sync({ every: 3 }) }),
        Repository.make(Account, { ...options, cache: { capacity: 9 } })
      ])
      yield* senders[0].execute(id("a"), open)
      const ids = Array.from({ length: 12 }, (_, n) => `c${n}`)
      const sent = yield* Effect.forEach(
        [...ids, ...ids, ...ids],
        (commandId, n) =>
          Effect.zipRight(Effect.yieldNow(), senders[n % 2].execute(id("a"), deposit(1, 1 + n % 3), { commandId })),
        { concurrency: "unbounded" }
      )
      assert.strictEqual(sent.filter(({ duplicate }) => !duplicate).length, 12)
      const stored = yield* storedIn("a")
      const counted = new Map<unknown, Array<number>>()
      for (const { metadata: { commandId }, version } of stored.slice(1)) {
        counted.set(commandId, [...counted.get(commandId) ?? [], version])
      }
      assert.strictEqual(counted.size, 12)
      for (const { events, recorded, version } of sent) {
        const versions = recorded.map(({ version }) => version)
        assert.deepStrictEqual(versions, counted.get(recorded[0].metadata.commandId))
        assert.deepStrictEqual([versions.at(-1), versions.length], [version, events.length])
      }
    }))

  // what another sender of the command stores just before the append, and what this one has decided
  const decisions = [[deposit(5), deposit(7)], [deposit(5, 3), deposit(7)], [deposit(5), deposit(7, 3)]] as const
  for (const mode of ["sync", "inline", "background", "none"] as const) {
    const snapshots = mode === "none" ? SnapshotPolicy.none : SnapshotPolicy[mode]({ every: 2 })
    const some = kinds.filter(([name]) =>
      name === "PostgreSQL" ? everything || mode === "inline" : mode !== "inline" || name !== "memory"
    )
    on(some)(
      `just before the append: its events are the result, and no snapshot is of others (${mode})`,
      () =>
        Effect.gen(function*() {
          const other = yield* Repository.make(Account)
          const { next, store } = beforeAppend(yield* EventStore.EventStore)
          for (const cache of [undefined, { capacity: 9 }]) {
            const accounts = yield* using(store, { snapshots, cache })
            for (const [n, [theirs, ours]] of decisions.entries()) {
              // the first snapshot of a stream is folded from the events in hand, and a later one is read again
              const name = `${n} ${cache?.capacity}`
              yield* accounts.execute(id(name), open)
              for (const commandId of ["c1", "c2"]) {
                next.effect = other.execute(id(name), theirs, { commandId })
                const done = yield* accounts.execute(id(name), ours, { commandId })
                assert.isTrue(done.duplicate)
                for (const event of done.events) assert.deepStrictEqual(event, { _tag: "Deposited", amount: 5 })
                yield* accounts.awaitPendingSnapshots
                const loaded = yield* accounts.load(id(name))
                assert.deepStrictEqual(loaded.state, done.state)
                assert.deepStrictEqual(loaded.state, (yield* other.load(id(name))).state)
              }
            }
          }
        })
    )
  }
})

describe("after a lost acknowledgement", () => {
  each("the repeat finds what was stored, whatever it would decide now", () =>
    Effect.gen(function*() {
      const { state, store } = losing(yield* EventStore.EventStore)
      const accounts = yield* using(store, { snapshots: SnapshotPolicy.sync({ every: 2 }) })
      yield* accounts.execute(id("a"), open)
      for (const [n, later] of [deposit(1, 3), deposit(9), deposit(9, 7), withdraw(1_000), open].entries()) {
        state.lost = 1
        const options = { commandId: `c${n}` }
        const lost = yield* Effect.flip(accounts.execute(id("a"), deposit(1, 3), options))
        assert.deepInclude(lost, { _tag: "EventStoreError", mayHaveAppended: true })
        const done = yield* accounts.execute(id("a"), later, options)
        assert.deepInclude(done, { version: 4 + 3 * n, duplicate: true, state: { open: true, balance: 3 + 3 * n } })
        assert.deepStrictEqual(done.events, Array.from({ length: 3 }, () => ({ _tag: "Deposited", amount: 1 })))
      }
    }))

  inProcess("the store's own repeat of the append is a success", () =>
    Effect.gen(function*() {
      const store = yield* EventStore.EventStore
      const accounts = yield* using(
        Faults.makeEventStore(store, Faults.onCall("EventStore.append", [1, 2], Faults.duplicate))
      )
      yield* accounts.execute(id("a"), open)
      const done = yield* accounts.execute(id("a"), deposit(3, 2), { commandId: "c" })
      assert.deepInclude(done, { version: 3, state: { open: true, balance: 6 } })
      assert.strictEqual((yield* storedIn("a")).length, 3)
    }))

  each("an interrupted command counts once, and no snapshot is of others", () =>
    Effect.gen(function*() {
      const inner = yield* EventStore.EventStore
      const other = yield* Repository.make(Account)
      yield* other.execute(id("a"), open)
      for (const [n, mode] of (["sync", "background"] as const).entries()) {
        const commandId = `c${n}`
        // another sender of the same command is first, and the append of this one never answers
        const hanging = EventStore.EventStore.of({
          ...inner,
          append: () =>
            Effect.zipRight(Effect.orDie(other.execute(id("a"), deposit(5), { commandId })), Effect.interrupt)
        })
        const accounts = yield* using(hanging, { snapshots: SnapshotPolicy[mode]({ every: 1 }) })
        assert.isTrue(Exit.isInterrupted(yield* Effect.exit(accounts.execute(id("a"), deposit(7), { commandId }))))
        yield* accounts.awaitPendingSnapshots
        const loaded = yield* accounts.load(id("a"))
        assert.strictEqual(loaded.state.balance, 5 * (n + 1))
        assert.isTrue((yield* other.execute(id("a"), deposit(7), { commandId })).duplicate)
      }
    }))
})

describe("after a restore that lost events", () => {
  for (const mode of ["sync", "inline", "background", "none"] as const) {
    const snapshots = mode === "none" ? SnapshotPolicy.none : SnapshotPolicy[mode]({ every: 1 })
    for (const [name, client] of clients) {
      const short = name === "SQLite" || mode === "sync"
      it.scoped.runIf(everything || short)(
        `a command that is sent again proves no snapshot and no cached state (${mode}, ${name})`,
        () =>
          Effect.gen(function*() {
            const sql = yield* SqlClient.SqlClient
            const accounts = yield* Repository.make(Account, { snapshots, cache: { capacity: 9 } })
            yield* TestClock.setTime(1_000)
            yield* accounts.execute(id("a"), open)
            yield* accounts.execute(id("a"), deposit(5), { commandId: "lost" })
            yield* accounts.execute(id("a"), deposit(1), { commandId: "sent again" })
            yield* accounts.awaitPendingSnapshots
            yield* accounts.load(id("a"))
            assert.deepInclude(yield* accounts.load(id("a")), { version: 3, replayed: 0 })
            yield* sql`DELETE FROM eventsourcing_events WHERE version > 1`
            yield* TestClock.adjust("1 minutes")
            const restored = yield* Repository.make(Account)
            yield* restored.execute(id("a"), deposit(70), { commandId: "another" })
            const again = yield* restored.execute(id("a"), deposit(1), { commandId: "sent again" })
            assert.deepInclude(again, { version: 3, duplicate: false })
            assert.deepInclude((yield* accounts.load(id("a"))).state, { balance: 71 })
            assert.deepInclude((yield* accounts.execute(id("a"), deposit(1))).state, { balance: 72 })
            yield* accounts.awaitPendingSnapshots
            assert.deepInclude((yield* accounts.load(id("a"))).state, { balance: 72 })
          }).pipe(Effect.provide(Layer.provideMerge(sqlStores, client)))
      )
    }
  }
})

describe("a restore during a command or a load", () => {
  /** Replaces the events after the first one, so that the derived id of the third one stands at its version again. */
  const restore = (other: Repository.Repository<typeof Account>) =>
    Effect.gen(function*() {
      const sql = yield* SqlClient.SqlClient
      yield* sql`DELETE FROM eventsourcing_events WHERE version > 1`
      yield* TestClock.adjust("1 minutes")
      yield* other.execute(id("a"), deposit(7), { commandId: "another" })
      yield* other.execute(id("a"), deposit(1), { commandId: "sent again" })
    })

  const begin = Effect.gen(function*() {
    const other = yield* Repository.make(Account)
    yield* TestClock.setTime(1_000)
    yield* other.execute(id("a"), open)
    yield* other.execute(id("a"), deposit(500), { commandId: "lost" })
    yield* other.execute(id("a"), deposit(1), { commandId: "sent again" })
    return other
  })

  for (const [name, client] of clients) {
    const stores = Layer.provideMerge(sqlStores, client)

    it.scoped(`a command that lost a race decides on the history that stands, on ${name}`, () =>
      Effect.gen(function*() {
        const other = yield* begin
        const sql = yield* SqlClient.SqlClient
        const { next, store } = beforeAppend(yield* EventStore.EventStore)
        const accounts = yield* using(store)
        next.effect = Effect.zipRight(restore(other), other.execute(id("a"), deposit(1))).pipe(
          Effect.provideService(SqlClient.SqlClient, sql)
        )
        const rejected = yield* Effect.flip(accounts.execute(id("a"), withdraw(400)))
        assert.deepStrictEqual(rejected, new InsufficientFunds({ balance: 9 }))
      }).pipe(Effect.provide(stores)))

    it.scoped(`a load begins again if it is between two pages, on ${name}`, () =>
      Effect.gen(function*() {
        const other = yield* begin
        yield* other.execute(id("a"), deposit(1))
        const sql = yield* SqlClient.SqlClient
        const store = yield* EventStore.EventStore
        let reads = 0
        const restored = Effect.zipRight(restore(other), other.execute(id("a"), deposit(1))).pipe(
          Effect.provideService(SqlClient.SqlClient, sql),
          Effect.orDie
        )
        const readTail: EventStore.ReplaySeam["readTail"] = (...input) =>
          Effect.tap(store.replay.readTail(...input), () => reads++ === 0 ? restored : Effect.void)
        const accounts = yield* using({ ...store, replay: { ...store.replay, readTail } }, { pageSize: 3 })
        assert.deepInclude(yield* accounts.load(id("a")), { version: 4, state: { open: true, balance: 9 } })
      }).pipe(Effect.provide(stores)))

    for (const mode of ["sync", "inline", "background"] as const) {
      it.scoped.runIf(everything || name === "SQLite" || mode === "sync")(
        `no snapshot is taken of a state whose history is lost (${mode}, ${name})`,
        () =>
          Effect.gen(function*() {
            const other = yield* begin
            const sql = yield* SqlClient.SqlClient
            const { next, store } = beforeAppend(yield* EventStore.EventStore)
            const accounts = yield* using(store, { snapshots: SnapshotPolicy[mode]({ every: 4 }) })
            next.effect = Effect.provideService(restore(other), SqlClient.SqlClient, sql)
            yield* accounts.execute(id("a"), deposit(2))
            yield* accounts.awaitPendingSnapshots
            assert.deepInclude((yield* accounts.load(id("a"))).state, { balance: 10 })
          }).pipe(Effect.provide(stores))
      )
    }
  }
})

describe("a snapshot of a state that ends with a command with an id", () => {
  each("proves itself, where the events were too long to keep", () =>
    Effect.gen(function*() {
      const store = yield* EventStore.EventStore
      const plain = yield* Repository.make(Account)
      yield* plain.execute(id("a"), open)
      const payload = { _tag: "Deposited", amount: 1, note: "x".repeat(400_000) }
      for (const event of ["1", "2", "3"]) {
        yield* store.append(stream("a"), [{ id: event, type: "Deposited", payload }], {
          expectedVersion: ExpectedVersion.any
        })
      }
      yield* plain.execute(id("a"), deposit(1), { commandId: "c" })
      const accounts = yield* Repository.make(Account, { snapshots: SnapshotPolicy.sync({ every: 2 }) })
      yield* Effect.flip(accounts.execute(id("a"), withdraw(1_000)))
      assert.deepInclude(yield* accounts.load(id("a")), { snapshotVersion: 5, snapshotOutcome: { _tag: "Hit" } })
    }))

  for (const mode of ["sync", "background"] as const) {
    inProcess(`proves itself, where the store gives no time of an append (${mode})`, () =>
      Effect.gen(function*() {
        const store = yield* EventStore.EventStore
        const timeless = EventStore.EventStore.of({
          ...store,
          append: (...input) => Effect.map(store.append(...input), (result) => ({ ...result, time: Option.none() }))
        })
        const accounts = yield* using(timeless, { snapshots: SnapshotPolicy[mode]({ every: 1 }) })
        yield* accounts.execute(id("a"), open, { commandId: "c" })
        yield* accounts.awaitPendingSnapshots
        assert.deepInclude(yield* accounts.load(id("a")), { snapshotVersion: 1, snapshotOutcome: { _tag: "Hit" } })
      }))
  }
})

describe("before a command with an id fails for good", () => {
  each("an earlier try is looked for when the retries end", () =>
    Effect.gen(function*() {
      const inner = yield* EventStore.EventStore
      const other = yield* Repository.make(Account)
      yield* other.execute(id("a"), open)
      const store = EventStore.EventStore.of({
        ...inner,
        append: (stream, events, options) =>
          Effect.zipRight(Effect.orDie(other.execute(id("a"), deposit(1))), inner.append(stream, events, options))
      })
      const accounts = yield* using(store, { retry: Schedule.recurs(2) })
      const conflict = yield* Effect.flip(accounts.execute(id("a"), deposit(9), { commandId: "c" }))
      assert.deepInclude(conflict, { _tag: "VersionConflict", attempts: 3 })
      const { next, store: raced } = beforeAppend(inner)
      const impatient = yield* using(raced, { retry: Schedule.recurs(0) })
      for (const [n, expectedVersion] of [undefined, ExpectedVersion.exact(5)].entries()) {
        const commandId = `d${n}`
        next.effect = other.execute(id("a"), deposit(9), { commandId })
        const done = yield* impatient.execute(id("a"), deposit(9, 2), { commandId, expectedVersion })
        assert.deepInclude(done, { version: 5 + n, duplicate: true })
      }
    }))

  inProcess("an event id of the command that another stream holds is an error", () =>
    Effect.gen(function*() {
      const store = yield* EventStore.EventStore
      const accounts = yield* Repository.make(Account)
      const { recorded } = yield* accounts.execute(id("a"), open, { commandId: "c" })
      const taken = recorded[0].id
      const writer = yield* using(EventStore.EventStore.of({
        ...store,
        append: (stream, [first], options) => store.append(stream, [{ ...first, id: taken }], options)
      }))
      const error = yield* Effect.flip(writer.execute(id("b"), open, { commandId: "c" }))
      assert.deepInclude(error, { _tag: "EventStoreError", reason: "InvalidInput", mayHaveAppended: false })
    }))

  inProcess("a look-up that fails says that the command may have counted", () =>
    Effect.gen(function*() {
      const cause = new Error("the connection ended")
      const accounts = yield* using(EventStore.EventStore.of({
        ...yield* EventStore.EventStore,
        find: () =>
          new EventStore.EventStoreError({
            operation: "find",
            reason: "Unavailable",
            mayHaveAppended: false,
            detail: "planned",
            cause
          })
      }))
      const error = yield* Effect.flip(accounts.execute(id("a"), deposit(1), { commandId: "c" }))
      assert.deepInclude(error, { _tag: "EventStoreError", mayHaveAppended: true })
      assert.strictEqual(error.cause, cause)
    }))
})

for (const [name, client] of clients) {
  describe(`inside a transaction, on ${name}`, () => {
    const stores = Layer.provideMerge(sqlStores, client)

    it.scoped("a repeat finds what the transaction wrote, and a rollback forgets it", () =>
      Effect.gen(function*() {
        const sql = yield* SqlClient.SqlClient
        const accounts = yield* Repository.make(Account, { snapshots: SnapshotPolicy.sync({ every: 2 }) })
        yield* accounts.execute(id("a"), open)
        const twice = Effect.gen(function*() {
          const first = yield* accounts.execute(id("a"), deposit(5, 2), { commandId: "c" })
          const again = yield* accounts.execute(id("a"), withdraw(99), { commandId: "c" })
          assert.deepStrictEqual([first.duplicate, again.duplicate], [false, true])
          assert.deepInclude(again, { version: 3, state: { open: true, balance: 10 } })
          // the transaction can still be used
          assert.isTrue((yield* accounts.execute(id("a"), deposit(7), { commandId: "c" })).duplicate)
          yield* accounts.execute(id("a"), deposit(1))
        })
        const rolledBack = sql.withTransaction(Effect.zipRight(twice, Effect.fail("rolled back" as const)))
        assert.strictEqual(yield* Effect.flip(rolledBack), "rolled back")
        assert.strictEqual((yield* accounts.load(id("a"))).version, 1)
        yield* sql.withTransaction(twice)
        assert.deepInclude(yield* accounts.load(id("a")), { version: 4, state: { open: true, balance: 11 } })
        assert.isTrue((yield* accounts.execute(id("a"), deposit(7), { commandId: "c" })).duplicate)
      }).pipe(Effect.provide(stores)))
  })
}

describe("any interleaving of repeats, conflicts and faults", () => {
  /** Lets other fibers run before and after each call of the store. */
  const yielding = (store: Store, seed: number): Store => {
    const random = new PCGRandom(seed)
    const pause = Effect.suspend(() => Effect.repeatN(Effect.yieldNow(), random.integer(4)))
    const around = <A, E>(effect: Effect.Effect<A, E>) => Effect.zipLeft(Effect.zipRight(pause, effect), pause)
    return EventStore.EventStore.of({
      ...store,
      append: (...input) => around(store.append(...input)),
      find: (ids) => around(store.find(ids)),
      replay: { ...store.replay, readTail: (...input) => around(store.replay.readTail(...input)) }
    })
  }

  interface Sending {
    readonly stream: string
    readonly commandId: string
    readonly amount: number
    readonly times: number
    readonly sender: number
  }

  const sendings: fc.Arbitrary<ReadonlyArray<Sending>> = fc.array(
    fc.record({
      stream: fc.constantFrom("a", "b"),
      commandId: fc.constantFrom("c1", "c2", "c3", "c4"),
      amount: fc.integer({ min: 1, max: 1_000 }),
      times: fc.integer({ min: 0, max: 3 }),
      sender: fc.integer({ min: 0, max: 2 })
    }),
    { minLength: 4, maxLength: 30 }
  )

  const faults = [
    Faults.fail,
    Faults.lostAcknowledgement,
    Faults.duplicate,
    Faults.interrupt,
    Faults.after(Faults.interrupt)
  ]

  const policies: ReadonlyArray<Repository.Options> = [
    { snapshots: SnapshotPolicy.sync({ every: 2 }), cache: { capacity: 1 } },
    { snapshots: SnapshotPolicy.background({ every: 1 }) },
    { cache: { capacity: 9 }, pageSize: 2 }
  ]

  const run = (all: ReadonlyArray<Sending>, seed: number) =>
    Effect.gen(function*() {
      const inner = yield* EventStore.EventStore
      const plain = yield* Repository.make(Account)
      for (const name of ["a", "b"]) yield* plain.execute(id(name), open)
      const senders = yield* Effect.forEach(policies, (options, n) =>
        using(
          yielding(Faults.makeEventStore(inner, Faults.seeded({ seed: seed + n, rate: 0.2, faults })), seed),
          { ...options, retry: Schedule.recurs(100) }
        ))
      /** Sends the command until it has an answer. */
      const send = ({ amount, commandId, sender, stream, times }: Sending) =>
        Effect.gen(function*() {
          for (;;) {
            const sent = yield* Effect.fork(senders[sender].execute(id(stream), deposit(amount, times), { commandId }))
            const exit = yield* Fiber.await(sent)
            if (Exit.isSuccess(exit)) return exit.value
            assert.isTrue(Exit.isInterrupted(exit) || /injected/.test(String(exit.cause)), String(exit.cause))
          }
        })
      const answers = yield* Effect.forEach(
        all,
        (sending) => Effect.map(send(sending), (done) => ({ sending, done })),
        {
          concurrency: "unbounded"
        }
      )
      for (const name of ["a", "b"]) {
        const stored = yield* storedIn(name)
        assert.strictEqual(new Set(stored.map(({ id }) => id)).size, stored.length)
        for (const { done, sending } of answers) {
          if (sending.stream !== name) continue
          const own = stored.filter(({ metadata }) => metadata.commandId === sending.commandId)
          if (done.events.length === 0) continue
          // in one piece, and the same for all who sent it
          assert.deepStrictEqual(own.map(({ payload }) => payload), [...done.events])
          assert.deepStrictEqual(own.map(({ version }) => version), own.map((_, n) => own[0].version + n))
          assert.strictEqual(own.at(-1)?.version, done.version)
          assert.deepStrictEqual(Option.getOrUndefined(done.position), own.at(-1)?.position)
        }
        const truth = (yield* plain.load(id(name))).state
        for (const sender of senders) {
          yield* sender.awaitPendingSnapshots
          const loaded = yield* Effect.retry(sender.load(id(name)), { times: 100 }).pipe(
            Effect.sandbox,
            Effect.retry({ times: 100 })
          )
          assert.deepStrictEqual(loaded.state, truth)
        }
      }
      const first = answers.filter(({ done }) => !done.duplicate && done.events.length > 0)
      const keys = first.map(({ sending }) => `${sending.stream} ${sending.commandId}`)
      assert.strictEqual(new Set(keys).size, keys.length)
    })

  it("each command counts once", () =>
    fc.assert(
      fc.asyncProperty(sendings, fc.integer({ min: 0, max: 1_000_000 }), (all, seed) =>
        Effect.runPromise(
          run(all, seed).pipe(Effect.scoped, Effect.provide(memoryStores), Logger.withMinimumLogLevel(LogLevel.None))
        )),
      { numRuns: everything ? 150 : 10 }
    ))
})
