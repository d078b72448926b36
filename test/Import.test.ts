import type { SqlClient } from "@effect/sql"
import { assert, describe, it } from "@effect/vitest"
import {
  Array as Arr,
  Chunk,
  Data,
  DateTime,
  Effect,
  Either,
  Equal,
  Exit,
  FastCheck as fc,
  Layer,
  Option,
  Stream,
  TestClock
} from "effect"
import {
  EventStore,
  ExpectedVersion,
  Position,
  Repository,
  type Snapshot,
  SnapshotPolicy,
  SnapshotStore,
  SqlStores,
  StreamId
} from "effect-eventsourcing"
import { SqlFaults } from "effect-eventsourcing/testing"
import * as ImportEvents from "../src/internal/store/importEvents.js"
import { Account, deposit, event, id, open, stream } from "./fixtures/Account.js"
import { backends, on, postgresTemporaryDatabase, sqliteFile, sqlStores, type Stores } from "./utils/backends.js"
import { everything } from "./utils/mode.js"

type Imported = EventStore.ImportedEvent

const importAll = (events: Iterable<Imported>, options?: EventStore.ImportOptions) =>
  Effect.flatMap(
    EventStore.EventStore,
    (store) => Effect.map(Stream.runCollect(store.import(Stream.fromIterable(events), options)), Chunk.toReadonlyArray)
  )

const read = (of: StreamId.StreamId) =>
  Effect.flatMap(
    EventStore.EventStore,
    (store) => Effect.map(Stream.runCollect(store.read(of)), Chunk.toReadonlyArray)
  )

const deposits = (count: number): ReadonlyArray<Imported> =>
  Array.from({ length: count }, (_, index) => ({
    stream: stream(`s${index % 3}`),
    type: "Deposited",
    payload: { _tag: "Deposited", amount: index }
  }))

const amounts = Effect.map(
  Effect.forEach([0, 1, 2], (n) => read(stream(`s${n}`))),
  (streams) => streams.flat().map(({ payload }) => payload)
)

const amountsOf = (events: ReadonlyArray<Imported>) =>
  [0, 1, 2].flatMap((n) => events.filter(({ stream }) => stream.id === `s${n}`)).map(({ payload }) => payload)

describe("derived event ids", () => {
  const numbered = (history: ReadonlyArray<Partial<Imported>>) => {
    const items = history.map((imported, index) =>
      Either.getOrThrow(ImportEvents.read(index + 1, { stream: stream("a"), type: "E", payload: 1, ...imported }))
    )
    return Either.getOrThrow(ImportEvents.number(items, new Map(), new Map())).events
  }
  const names = fc.string({ unit: fc.constantFrom("a", "1", ":", ",", "ä"), minLength: 1, maxLength: 5 })
  const content = fc.record({
    stream: fc.tuple(names, names).map(([aggregate, id]) => StreamId.make(aggregate, id)),
    type: names,
    payload: names,
    time: fc.option(fc.integer({ min: 0, max: 3 }).map(DateTime.unsafeMake), { nil: undefined }),
    metadata: fc.dictionary(names, names, { maxKeys: 1 })
  })

  it.prop("are the same for the same event, and different for another", [content, content], ([one, other]) => {
    const [first, again, second] = [one, one, other].map((event) => numbered([event])[0].id)
    assert.strictEqual(first, again)
    assert.strictEqual(first === second, Equal.equals(Data.struct(plain(one)), Data.struct(plain(other))))
  })

  const plain = ({ metadata, stream, time, ...event }: Imported) => ({
    ...event,
    ...stream,
    time: time?.epochMillis,
    metadata: JSON.stringify(metadata)
  })

  const histories = fc.array(
    fc.record({ payload: fc.nat(1), id: fc.option(fc.constantFrom("x", "y"), { nil: undefined }) }),
    { minLength: 1, maxLength: 6 }
  )

  it.prop("depend on the whole history before them", [histories, histories], ([one, other]) => {
    const [first, second] = [one, other].map(numbered)
    const contentOf = (events: typeof first) =>
      events.map(({ id: _, ...event }, index) => ({ ...event, own: one[index] }))
    for (const [index, { id }] of first.entries()) {
      if (one[index].id !== undefined || second[index]?.id !== id) continue
      assert.deepStrictEqual(contentOf(second.slice(0, index)), contentOf(first.slice(0, index)))
    }
  })

  it("are the same in every release, and begin with the time", () => {
    const history = [{}, { time: DateTime.unsafeMake(1_764_547_200_000) }, { id: "x" }, {}]
    assert.deepStrictEqual(numbered(history).map(({ id }) => id), [
      "71bdb2ec-031c-8660-9732-4f5f19dfbe3b",
      "019ad735-8400-8611-9542-9e241e4aaafa",
      "x",
      "b8f211f4-a297-8b22-b258-01d23bd4c08c"
    ])
  })
})

describe("an imported history that is corrected", () => {
  const amount = (n: number) => ({ type: "Deposited", payload: { _tag: "Deposited", amount: n } })
  const length = 4
  // which events bring an id, and which one is corrected; an id of the last event would be the one of its snapshot
  const variants = Array.from({ length: 2 ** (length - 1) }, (_, ids) => ids).flatMap((ids) =>
    Array.from({ length }, (_, corrected) => ({ ids, corrected, name: `${ids}-${corrected}` }))
  )
  const histories = (isCorrected: boolean, part: "first" | "second" | "whole") =>
    variants.flatMap(({ corrected, ids, name }) =>
      Array.from({ length }, (_, n): Imported => ({
        stream: stream(name),
        ...(n === 0 ? { type: "Opened", payload: { _tag: "Opened" } } : amount(10 ** n)),
        ...(isCorrected && n === corrected ? amount(5 * 10 ** n) : {}),
        ...((ids & 2 ** n) === 0 ? {} : { id: `${name}-${n}` }),
        ...(part === "whole" ? {} : { version: n + 1 }),
        time: DateTime.unsafeMake(1_000)
      })).filter((_, n) => part === "whole" || (part === "first" ? n < 2 : n >= 2))
    )

  /** Imports a history into stores of their own, with these snapshots. */
  const load = (
    layer: Layer.Layer<Stores, unknown>,
    parts: ReadonlyArray<ReadonlyArray<Imported>>,
    stale: ReadonlyArray<Snapshot.EncodedSnapshot>
  ) =>
    Effect.gen(function*() {
      const accounts = yield* Repository.make(Account, { snapshots: SnapshotPolicy.manual })
      const snapshots = yield* SnapshotStore.SnapshotStore
      for (const part of parts) yield* importAll(part)
      yield* Effect.forEach(stale, snapshots.save)
      return yield* Effect.forEach(variants, ({ name }) =>
        Effect.gen(function*() {
          const loaded = yield* accounts.load(id(name))
          yield* accounts.createSnapshot(id(name))
          const snapshot = yield* Effect.flatten(snapshots.get(stream(name), { schemaVersion: 1 }))
          return { loaded, snapshot }
        }))
    }).pipe(Effect.scoped, Effect.provide(layer))

  for (const [backend, layer] of backends) {
    for (const parts of [["whole"], ["first", "second"]] as const) {
      it.effect(`refutes the snapshots of the history before (${parts.join(" and ")}, ${backend})`, () =>
        Effect.gen(function*() {
          const [imported, corrected] = [false, true].map((isCorrected) =>
            parts.map((part) => histories(isCorrected, part))
          )
          const stale = (yield* load(layer, imported, [])).map(({ snapshot }) => snapshot)
          const again = yield* load(layer, imported, stale)
          for (const { loaded } of again) assert.strictEqual(loaded.snapshotOutcome._tag, "Hit")
          for (const [index, { loaded }] of (yield* load(layer, corrected, stale)).entries()) {
            const { corrected, ids, name } = variants[index]
            // the second import begins after an event that vouches by its own id for all events before it
            if (parts.length === 2 && corrected < 2 && (ids & 2) !== 0) continue
            const added = corrected === 0 ? 5 : 4 * 10 ** corrected
            assert.deepStrictEqual(loaded.state, { open: corrected > 0, balance: 1_110 + added }, name)
            assert.strictEqual(loaded.snapshotOutcome._tag, "HistoryMismatch", name)
          }
        }))
    }
  }
})

describe("an import that follows the event of a command", () => {
  const later = { stream: stream("a"), type: "Deposited", payload: { _tag: "Deposited", amount: 7 }, version: 4 }

  /** Carries out commands, and imports the event after them; gives the state with that snapshot, and one of its own. */
  const load = (
    layer: Layer.Layer<Stores, unknown>,
    amount: number,
    stale: ReadonlyArray<Snapshot.EncodedSnapshot>
  ) =>
    Effect.gen(function*() {
      const accounts = yield* Repository.make(Account, { snapshots: SnapshotPolicy.manual })
      const snapshots = yield* SnapshotStore.SnapshotStore
      yield* accounts.execute(id("a"), open)
      yield* accounts.execute(id("a"), deposit(amount))
      yield* accounts.execute(id("a"), deposit(1), { commandId: "c" })
      yield* importAll([{ ...later, time: DateTime.unsafeMake(1_000) }])
      yield* Effect.forEach(stale, snapshots.save)
      const { state } = yield* accounts.load(id("a"))
      yield* accounts.createSnapshot(id("a"))
      return { state, snapshot: yield* Effect.flatten(snapshots.get(stream("a"), { schemaVersion: 1 })) }
    }).pipe(Effect.scoped, Effect.provide(layer))

  for (const [backend, layer] of backends) {
    it.effect(`refutes the snapshots of the history before, if the command is sent again (${backend})`, () =>
      Effect.gen(function*() {
        const { snapshot } = yield* load(layer, 100, [])
        yield* TestClock.adjust("1 second")
        const { state } = yield* load(layer, 500, [snapshot])
        assert.deepStrictEqual(state, { open: true, balance: 508 })
      }))
  }
})

describe("the batches of an import", () => {
  it.effect("end at 16 million characters, before the source gives more", () =>
    Effect.gen(function*() {
      const store = yield* EventStore.makeMemory
      const text = "x".repeat(3_000_000)
      let given = 0
      // never ends
      const source = Stream.repeatEffect(Effect.sync((): Imported => ({
        stream: stream("a"),
        type: "E",
        payload: `${++given}${text}`
      })))
      const progress = yield* Stream.runCollect(Stream.take(store.import(source, { batchSize: 1_000_000 }), 2))
      assert.deepStrictEqual(Chunk.toReadonlyArray(progress).map(({ imported }) => imported), [5, 10])
      assert.strictEqual(given, 11)
    }))

  it.effect("do not accept an event that is too long for a statement", () =>
    Effect.gen(function*() {
      const store = yield* EventStore.makeMemory
      const long = { stream: stream("a"), type: "E", payload: "x".repeat(200_000_000) }
      const failure = yield* Effect.flip(Stream.runDrain(store.import(Stream.make(...deposits(1), long))))
      assert.deepInclude(failure, { _tag: "EventStoreError", reason: "InvalidInput" })
      assert.include(failure.message, "event 2 of the import: it is longer than 200000000 characters of JSON")
      assert.strictEqual(yield* store.head, Position.start)
    }))

  it.effect("do not depend on the chunks of the source", () =>
    Effect.gen(function*() {
      for (const size of [1, 2, 3, 7, 100]) {
        const store = yield* EventStore.makeMemory
        const source = Stream.rechunk(Stream.fromIterable(deposits(10)), size)
        const failing = Stream.concat(source, Stream.fail("broken" as const))
        const counts: Array<number> = []
        const failure = yield* Effect.flip(
          Stream.runForEach(store.import(failing, { batchSize: 4 }), ({ imported }) =>
            Effect.sync(() => counts.push(imported)))
        )
        assert.strictEqual(failure, "broken")
        assert.deepStrictEqual(counts, [4, 8, 10])
        const invalid = deposits(10).map((event, index) =>
          index === 9 ? { ...event, type: "" } : event
        )
        const other = yield* EventStore.makeMemory
        const refused = yield* Effect.flip(
          Stream.runDrain(other.import(Stream.fromIterable(invalid), { batchSize: 4 }))
        )
        assert.include(String(refused), "event 10 of the import")
        assert.strictEqual((yield* Stream.runCollect(other.readAll())).length, 8)
      }
    }))
})

describe("an import that fails in the middle", () => {
  const histories = fc.array(
    fc.record({
      stream: fc.constantFrom("a", "b", "c").map(stream),
      type: fc.constantFrom("E", "F"),
      payload: fc.jsonValue(),
      id: fc.boolean(),
      version: fc.boolean()
    }),
    { maxLength: 30 }
  )
  const runs = fc.array(fc.record({ batches: fc.nat(4), batchSize: fc.integer({ min: 1, max: 9 }) }), { maxLength: 4 })
  let aggregates = 0

  /** Gives the events streams of their own, which hold some events; some bring their id or their version. */
  const prepare = (
    history: ReadonlyArray<Omit<Imported, "id" | "version"> & { id: boolean; version: boolean }>,
    held: number
  ) => {
    const aggregate = `import-${++aggregates}`
    const reached = new Map<string, number>()
    return history.map(({ id, stream, version, ...event }, index): Imported => {
      const next = (reached.get(stream.id) ?? held) + 1
      const isFirst = !reached.has(stream.id)
      reached.set(stream.id, next)
      return {
        ...event,
        stream: StreamId.make(aggregate, stream.id),
        ...(id ? { id: `${aggregate}-${index}` } : {}),
        // the first one tells that it continues a stream
        ...(version || (isFirst && held > 0 && !id) ? { version: next } : {})
      }
    })
  }

  on(backends)("anywhere and any number of times stores its history once", () =>
    Effect.gen(function*() {
      const runtime = yield* Effect.runtime<EventStore.EventStore>()
      const store = yield* EventStore.EventStore
      const check = fc.asyncProperty(histories, runs, fc.nat(2), (history, runs, held) =>
        Effect.runPromise(Effect.provide(
          Effect.gen(function*() {
            const events = prepare(history, held)
            const streams = new Map(events.map(({ stream }) => [stream.id, stream]))
            for (const stream of streams.values()) {
              const before = Array.from({ length: held }, () =>
                event())
              yield* store.append(stream, before, { expectedVersion: ExpectedVersion.noStream })
            }
            for (const { batchSize, batches } of runs) {
              const some = Stream.take(store.import(Stream.fromIterable(events), { batchSize }), batches)
              yield* Stream.runDrain(some)
            }
            const stored = yield* Effect.map(
              Effect.forEach(streams.values(), store.version),
              (versions) =>
                versions.reduce((sum, version) =>
                  sum + version - held, 0)
            )
            const progress = (yield* importAll(events, { batchSize: 7 })).at(-1)
            assert.deepStrictEqual([progress?.imported ?? 0, progress?.skipped ?? 0], [events.length - stored, stored])
            for (const own of Object.values(Arr.groupBy(events, ({ stream }) => stream.id))) {
              const found = (yield* read(own[0].stream)).slice(held)
              assert.deepStrictEqual(
                found.map(({ payload, type, version }) => ({ payload, type, version })),
                own.map(({ payload, type }, index) => ({ payload, type, version: held + index + 1 }))
              )
            }
          }),
          runtime
        )))
      yield* Effect.promise(() =>
        fc.assert(check, { numRuns: everything ? 300 : 40 })
      )
    }))
})

describe("an import", () => {
  on(backends)("gives histories that repositories load and continue", () =>
    Effect.gen(function*() {
      const accounts = yield* Repository.make(Account)
      const opened = { stream: stream("a"), type: "Opened", payload: { _tag: "Opened" }, time: DateTime.unsafeMake(1) }
      const deposited = { ...opened, type: "Deposited", payload: { _tag: "Deposited", amount: 5 } }
      yield* importAll([opened, deposited, { ...deposited, time: DateTime.unsafeMake(2) }])
      const loaded = yield* accounts.load(id("a"))
      assert.deepInclude(loaded, {
        version: 3,
        state: { open: true, balance: 10 },
        lastEventTime: Option.some(DateTime.unsafeMake(2))
      })
      const { version } = yield* accounts.execute(id("a"), { _tag: "Withdraw", amount: 10 })
      assert.strictEqual(version, 4)
    }))

  const clients: ReadonlyArray<readonly [name: string, client: Layer.Layer<SqlClient.SqlClient, unknown>]> = [
    ["SQLite", sqliteFile(":memory:")],
    ["PostgreSQL", postgresTemporaryDatabase]
  ]
  for (const [name, client] of clients) {
    it.scoped(`in a transaction is committed or rolled back with it, and a conflict does not end it (${name})`, () =>
      Effect.gen(function*() {
        const store = yield* EventStore.EventStore
        const events = deposits(20)
        const importing = importAll(events, { batchSize: 6 })
        yield* Effect.exit(SqlStores.transaction(Effect.zipRight(importing, Effect.fail("roll back"))))
        assert.deepStrictEqual(yield* amounts, [])
        yield* SqlStores.transaction(Effect.gen(function*() {
          yield* importing
          const failure = yield* Effect.flip(importAll([{ ...events[0], payload: "another" }]))
          assert.strictEqual(failure._tag, "VersionConflict")
          yield* store.append(stream("s0"), [event(1)], { expectedVersion: ExpectedVersion.exact(7) })
        }))
        assert.strictEqual((yield* amounts).length, 21)
      }).pipe(Effect.provide(Layer.provideMerge(sqlStores, client))))

    const faults = {
      fail: SqlFaults.fail,
      abort: SqlFaults.abort,
      disconnect: SqlFaults.disconnect,
      lostAnswer: SqlFaults.lostAnswer
    }
    for (const [fault, injected] of Object.entries(faults)) {
      it.scopedLive.runIf(everything || fault === "lostAnswer")(
        `whose statement meets ${fault} can be run again (${name})`,
        () =>
          Effect.gen(function*() {
            const events = deposits(20)
            const exit = yield* Effect.exit(importAll(events, { batchSize: 5 }))
            if (Exit.isSuccess(exit)) {
              // the batch whose answer was lost counts as imported
              assert.deepInclude(exit.value.at(-1), { imported: 20, skipped: 0 })
            } else {
              assert.isTrue(exit.cause._tag === "Fail" && exit.cause.error._tag === "EventStoreError")
              assert.strictEqual((yield* amounts).length, 5)
            }
            const again = yield* importAll(events, { batchSize: 5 })
            assert.strictEqual((again.at(-1)?.imported ?? 0) + (again.at(-1)?.skipped ?? 0), 20)
            assert.deepStrictEqual(yield* amounts, amountsOf(events))
          }).pipe(Effect.provide(Layer.provideMerge(sqlStores, failing(client, 2, injected))))
      )
    }
  }
})

/** A client whose nth insert of an import meets a fault. */
const failing = (client: Layer.Layer<SqlClient.SqlClient, unknown>, nth: number, fault: SqlFaults.Fault) => {
  let count = 0
  const isInsert = ({ text }: SqlFaults.Statement) => /^(WITH stream|INSERT INTO "eventsourcing_events")/.test(text)
  return SqlFaults.layer(SqlFaults.when((statement) => isInsert(statement) && ++count === nth, fault))(client)
}
