import type { SqlClient } from "@effect/sql"
import { assert, describe, it } from "@effect/vitest"
import { Array as Arr, Chunk, DateTime, Effect, Either, Exit, FastCheck as fc, Layer, Option, Stream } from "effect"
import { EventStore, ExpectedVersion, Repository, SqlStores, StreamId } from "effect-eventsourcing"
import { SqlFaults } from "effect-eventsourcing/testing"
import * as ImportEvents from "../src/internal/store/importEvents.js"
import { Account, event, id, stream } from "./fixtures/Account.js"
import { backends, kinds, on, postgresTemporaryDatabase, sqliteFile, sqlStores } from "./utils/backends.js"
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
  const idOf = (imported: Partial<Imported>, version?: number) => {
    const item = Either.getOrThrow(ImportEvents.read(1, { stream: stream("a"), type: "E", payload: 1, ...imported }))
    const first = new Map(version === undefined ? [] : [[item.key, version]])
    return Either.getOrThrow(ImportEvents.number([item], new Map(), first)).events[0].id
  }
  const names = fc.string({ unit: fc.constantFrom("a", "1", ":", ",", "ä"), minLength: 1, maxLength: 5 })
  const times = fc.option(fc.integer({ min: 0, max: 3 }).map(DateTime.unsafeMake), { nil: undefined })
  const places = fc.tuple(names, names, fc.integer({ min: 1, max: 12 }), times)

  it.prop("are the same for the same place, and different for another", [places, places], ([one, other]) => {
    const [first, again, second] = [one, one, other].map(([aggregate, id, version, time]) =>
      idOf({ stream: StreamId.make(aggregate, id), time }, version)
    )
    assert.strictEqual(first, again)
    assert.strictEqual(first === second, JSON.stringify(one) === JSON.stringify(other))
  })

  it("are the same in every release, and begin with the time", () => {
    assert.strictEqual(idOf({}), "e5f40eb5-fdbf-83e1-be4b-22cf4ff0d0a5")
    assert.strictEqual(idOf({ time: DateTime.unsafeMake(1_764_547_200_000) }), "019ad735-8400-73e1-be4b-22cf4ff0d0a5")
  })
})

describe("an import that breaks off", () => {
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

  /** Gives the events streams of their own; some of them bring their id or their version. */
  const prepare = (history: ReadonlyArray<Omit<Imported, "id" | "version"> & { id: boolean; version: boolean }>) => {
    const aggregate = `import-${++aggregates}`
    const reached = new Map<string, number>()
    return history.map(({ id, stream, version, ...event }, index): Imported => {
      const next = (reached.get(stream.id) ?? 0) + 1
      reached.set(stream.id, next)
      return {
        ...event,
        stream: StreamId.make(aggregate, stream.id),
        ...(id ? { id: `${aggregate}-${index}` } : {}),
        ...(version ? { version: next } : {})
      }
    })
  }

  on(backends)("anywhere and any number of times stores its history once", () =>
    Effect.gen(function*() {
      const runtime = yield* Effect.runtime<EventStore.EventStore>()
      const store = yield* EventStore.EventStore
      const check = fc.asyncProperty(histories, runs, (history, runs) =>
        Effect.runPromise(Effect.provide(
          Effect.gen(function*() {
            const events = prepare(history)
            for (const { batchSize, batches } of runs) {
              const some = Stream.take(store.import(Stream.fromIterable(events), { batchSize }), batches)
              yield* Stream.runDrain(some)
            }
            const stored = yield* Effect.map(
              Effect.forEach(
                new Set(events.map(({ stream }) => stream.id)),
                (id) => store.version(StreamId.make(events[0].stream.aggregate, id))
              ),
              (versions) => versions.reduce((sum, version) => sum + version, 0)
            )
            const progress = (yield* importAll(events, { batchSize: 7 })).at(-1)
            assert.deepStrictEqual([progress?.imported ?? 0, progress?.skipped ?? 0], [events.length - stored, stored])
            for (const own of Object.values(Arr.groupBy(events, ({ stream }) => stream.id))) {
              const found = yield* read(own[0].stream)
              assert.deepStrictEqual(
                found.map(({ payload, type, version }) => ({ payload, type, version })),
                own.map(({ payload, type }, index) => ({ payload, type, version: index + 1 }))
              )
            }
          }),
          runtime
        )))
      yield* Effect.promise(() => fc.assert(check, { numRuns: everything ? 300 : 40 }))
    }))
})

describe("an import", () => {
  on(kinds)("gives histories that repositories load and continue", () =>
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
