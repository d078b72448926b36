// loads of several fibers in one statement
import { SqlClient } from "@effect/sql"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer, Option } from "effect"
import { EventStore, ExpectedVersion, SnapshotStore, SqlEventStore, SqlStores } from "effect-eventsourcing"
import { pageBytes } from "../src/internal/constants.js"
import * as Names from "../src/internal/sql/names.js"
import { dialect } from "../src/internal/sql/postgres/statements.js"
import { event, stream } from "./fixtures/Account.js"
import { groupingStores, migratedDatabase, postgresTemporaryDatabase } from "./utils/backends.js"
import { poolClient } from "./utils/postgres.js"

type Store = EventStore.EventStore["Type"]

const fingerprint = "f"
const migratable = [{ schemaVersion: 1, fingerprint: "old" }, { schemaVersion: 3, fingerprint: "new" }]

const readerOf = (store: Store) =>
  Effect.map(SnapshotStore.SnapshotStore, (snapshots) => Option.getOrThrow(store.replay.withSnapshots(snapshots)).read)

const append = (store: Store, name: string, count: number, payload?: string) =>
  store.append(
    stream(name),
    Array.from({ length: count }, () => payload === undefined ? event() : { ...event(), payload }),
    { expectedVersion: ExpectedVersion.any }
  )

/** Saves a snapshot with the id of the event at its version. */
const save = (store: Store, name: string, version: number, options: Partial<Parameters<SaveSnapshot>[0]> = {}) =>
  Effect.gen(function*() {
    const snapshots = yield* SnapshotStore.SnapshotStore
    const [{ eventId }] = yield* store.replay.readTail(stream(name), { fromVersion: version, limit: 1 })
    yield* snapshots.save({
      stream: stream(name),
      version,
      eventId: eventId ?? "",
      schemaVersion: 2,
      fingerprint,
      state: "{}",
      time: 1,
      ...options
    })
  })

type SaveSnapshot = SnapshotStore.SnapshotStore["Type"]["save"]

/** Streams with snapshots of all kinds, and with tails that fit into a group and that do not. */
const fill = (store: Store) =>
  Effect.gen(function*() {
    yield* append(store, "plain", 3)
    yield* append(store, "head", 5)
    yield* save(store, "head", 5)
    yield* append(store, "tail", 9)
    yield* save(store, "tail", 4)
    for (const count of [98, 99, 100, 101, 250]) yield* append(store, `events-${count}`, count)
    yield* append(store, "long tail", 300)
    yield* save(store, "long tail", 10)
    yield* append(store, "foreign", 4)
    yield* save(store, "foreign", 3, { fingerprint: "other" })
    for (const { fingerprint, schemaVersion } of [...migratable, { schemaVersion: 1, fingerprint: "unknown" }]) {
      yield* append(store, `schema ${fingerprint}`, 6)
      yield* save(store, `schema ${fingerprint}`, 2, { schemaVersion, fingerprint })
    }
    yield* append(store, "several", 6)
    for (const schemaVersion of [1, 2, 3]) yield* save(store, "several", 1 + schemaVersion, { schemaVersion })
    yield* append(store, "large state", 3)
    yield* save(store, "large state", 2, { state: JSON.stringify("x".repeat(40_000)) })
    yield* append(store, "large event", 2)
    yield* append(store, "large event", 1, "é".repeat(10_000))
    yield* append(store, "large event", 1)
  })

const names = [
  ...["none", "plain", "head", "tail", "events-98", "events-99", "events-100", "events-101", "events-250"],
  ...["long tail", "foreign", "schema old", "schema new", "schema unknown", "several", "large state", "large event"]
]

const variants: ReadonlyArray<Omit<EventStore.ReaderOptions, "schemaVersion">> = [
  { fingerprint, limit: 1_000 },
  { fingerprint, limit: 1_000, migratable },
  { limit: 1_000, migratable },
  { fingerprint, limit: 2 },
  { fingerprint, limit: 100 },
  { fingerprint, limit: 1_000, migratable: [...migratable, { schemaVersion: 1, fingerprint: "unknown\n1 old" }] }
]

/** Without the ids and times in the midst of a page, which a store may leave out. */
const answerOf = ({ events, snapshot }: Effect.Effect.Success<ReturnType<EventStore.SnapshotReader>>) => ({
  snapshot,
  events: events.map((event, index) =>
    index === 0 || index === events.length - 1 ? event : { ...event, eventId: null, time: null }
  )
})

describe("a group of loads on PostgreSQL", () => {
  it.effect("asks for no more bytes of events than a page has", () =>
    Effect.gen(function*() {
      const tables = yield* Names.names(undefined)
      const { group } = dialect.events(tables).readWithSnapshot(tables.snapshots)
      for (const loads of [1, 9, 10, 33, 64]) {
        const options = { stream: stream("a"), schemaVersion: 2, limit: 1_000, bytes: 16_000 }
        const query = group?.query(Array.from({ length: loads }, () => options))
        const [events, bytes] = query?.params.slice(-2).map(Number) ?? []
        assert.isAtMost(loads * events * bytes, pageBytes)
        assert.isAtLeast(bytes, 2_500)
      }
    }))

  const stores = Layer.provideMerge(groupingStores, postgresTemporaryDatabase)

  it.live("each load has the answer that it has alone", () =>
    Effect.gen(function*() {
      const grouping = yield* EventStore.EventStore
      yield* fill(grouping)
      const together = yield* readerOf(grouping)
      const alone = yield* readerOf(yield* SqlEventStore.make({ groupLoads: false }))
      const loads = names.flatMap((name) =>
        variants.map((options) => [stream(name), { ...options, schemaVersion: 2 }] as const)
      )
      const expected = yield* Effect.forEach(loads, ([stream, options]) => alone(stream, options))
      const actual = yield* Effect.forEach(loads, ([stream, options]) => together(stream, options), {
        concurrency: "unbounded"
      })
      for (const [index, load] of loads.entries()) {
        assert.deepStrictEqual(answerOf(actual[index]), answerOf(expected[index]), JSON.stringify(load))
      }
    }).pipe(Effect.provide(stores)))

  it.live("a load sees each append that was acknowledged before it", () =>
    Effect.gen(function*() {
      const store = yield* EventStore.EventStore
      const read = yield* readerOf(store)
      const acknowledged = new Map<string, number>()
      const work = (n: number) =>
        Effect.gen(function*() {
          const name = `s-${n % 4}`
          for (let round = 0; round < 10; round++) {
            const { version } = yield* append(store, name, 1)
            acknowledged.set(name, Math.max(acknowledged.get(name) ?? 0, version))
            const other = `s-${(n + round) % 4}`
            const known = acknowledged.get(other) ?? 0
            const { events } = yield* read(stream(other), { schemaVersion: 2, limit: 1_000 })
            assert.isAtLeast(events.length, known)
          }
        })
      yield* Effect.forEach(Array.from({ length: 24 }, (_, n) => n), work, { concurrency: "unbounded" })
    }).pipe(Effect.provide(Layer.provideMerge(SqlStores.layer, postgresTemporaryDatabase))))

  it.live("a load inside a transaction of the caller sees its events, and no other load does", () =>
    Effect.gen(function*() {
      const store = yield* EventStore.EventStore
      const read = yield* readerOf(store)
      const count = Effect.map(read(stream("a"), { schemaVersion: 2, limit: 10 }), ({ events }) => events.length)
      const appended = yield* Effect.makeLatch(false)
      const seen = yield* Effect.makeLatch(false)
      const inside = SqlStores.transaction(
        append(store, "a", 1).pipe(Effect.zipRight(appended.open), Effect.zipRight(seen.await), Effect.zipRight(count))
      )
      const outside = Effect.zipLeft(
        Effect.zipRight(appended.await, Effect.all([count, count, count], { concurrency: "unbounded" })),
        seen.open
      )
      assert.deepStrictEqual(yield* Effect.all([inside, outside], { concurrency: "unbounded" }), [1, [0, 0, 0]])
    }).pipe(Effect.provide(stores)))

  it.live("each load is sent alone if the statement of the group fails", () =>
    Effect.gen(function*() {
      const store = yield* EventStore.EventStore
      const sql = yield* SqlClient.SqlClient
      const read = yield* readerOf(store)
      for (const name of ["a", "b", "c"]) yield* append(store, name, 2)
      yield* sql.unsafe(`DROP FUNCTION eventsourcing_load_many_1`)
      const loads = yield* Effect.forEach(
        ["a", "b", "c"],
        (name) => read(stream(name), { schemaVersion: 2, limit: 10 }),
        { concurrency: "unbounded" }
      )
      assert.deepStrictEqual(loads.map(({ events }) => events.length), [2, 2, 2])
    }).pipe(Effect.provide(stores)))

  it.live("loads that have to wait share statements, unless the option turns groups off", () =>
    Effect.gen(function*() {
      const texts: Array<string> = []
      const client = poolClient(yield* migratedDatabase, (pool) =>
        pool.on("connect", (connection) => {
          const query = connection.query.bind(connection)
          Object.assign(connection, {
            query: (...args: Parameters<typeof query>) => {
              texts.push(JSON.stringify(args[0]))
              return query(...args)
            }
          })
        }))
      yield* Effect.gen(function*() {
        const load = (store: Store) =>
          Effect.flatMap(readerOf(store), (read) =>
            Effect.forEach(
              Array.from({ length: 20 }, (_, n) => stream(`s-${n}`)),
              (stream) => read(stream, { schemaVersion: 2, limit: 10 }),
              { concurrency: "unbounded" }
            ))
        const sent = () => texts.splice(0).filter((text) => text.includes("_load_")).length
        const grouped = yield* EventStore.EventStore
        const alone = yield* SqlEventStore.make({ groupLoads: false })
        texts.length = 0
        yield* load(grouped)
        assert.isAtMost(sent(), 6)
        yield* load(alone)
        assert.strictEqual(sent(), 20)
        const wrong = yield* Effect.flip(SqlEventStore.make(JSON.parse(`{"groupLoads":1}`)))
        assert.include(wrong.message, "groupLoads")
      }).pipe(Effect.provide(Layer.provideMerge(SqlStores.layer, client)))
    }).pipe(Effect.scoped))
})
