// what is old goes, in bounded steps, and nothing that is still needed goes with it
import { assert, describe, it } from "@effect/vitest"
import {
  Chunk,
  Clock,
  Duration,
  Effect,
  Fiber,
  Layer,
  Metric,
  Option,
  Ref,
  type Scope,
  Stream,
  TestClock
} from "effect"
import {
  CheckpointStore,
  EventStore,
  ExpectedVersion,
  InvalidOption,
  Metrics,
  Position,
  Repository,
  Retention,
  SnapshotPolicy,
  SnapshotStore,
  SqlEventStore,
  Streams
} from "effect-eventsourcing"
import { Account, deposit, event, id, open, stream } from "./fixtures/Account.js"
import {
  memoryStores,
  postgresTemporaryDatabase,
  sqliteFile,
  sqliteTemporaryFile,
  sqlStores
} from "./utils/backends.js"
import { everything } from "./utils/mode.js"

type Services = EventStore.EventStore | SnapshotStore.SnapshotStore | CheckpointStore.CheckpointStore | Streams.Streams

const layers: ReadonlyArray<readonly [name: string, layer: Layer.Layer<Services, unknown>]> = [
  ["memory", Layer.provideMerge(Streams.layer, Layer.merge(memoryStores, CheckpointStore.layerMemory))],
  ["SQLite :memory:", Layer.provide(sqlStores, sqliteFile(":memory:"))],
  ...(everything
    ? [
      ["SQLite file", Layer.provide(sqlStores, sqliteTemporaryFile)],
      ["PostgreSQL", Layer.provide(sqlStores, postgresTemporaryDatabase)]
    ] as const
    : [])
]

/** Snapshots that are not in the database of the events. */
const apart: typeof layers = [
  layers[0],
  [
    "SQLite :memory:, snapshots in memory",
    Streams.layer.pipe(
      Layer.provideMerge(Layer.mergeAll(SqlEventStore.layer, SnapshotStore.layerMemory, CheckpointStore.layerMemory)),
      Layer.provide(sqliteFile(":memory:"))
    )
  ]
]

const each = (name: string, body: () => Effect.Effect<void, unknown, Services | Scope.Scope>) => {
  for (const [backend, layer] of layers) {
    // PostgreSQL gives the events its own time
    const now = TestClock.setTime(Date.now())
    it.effect(`${name} (${backend})`, () => Effect.provide(Effect.scoped(Effect.zipRight(now, body())), layer))
  }
}

const later = (duration: Duration.DurationInput) => TestClock.adjust(duration)

const end = (text: string, events: Streams.DeleteOptions["events"]) =>
  Effect.flatMap(Streams.Streams, (streams) => streams.delete(stream(text), { events }))

const append = (text: string, count: number, expectedVersion = ExpectedVersion.any) =>
  Effect.flatMap(
    EventStore.EventStore,
    (store) => store.append(stream(text), Array.from({ length: count }, event), { expectedVersion })
  )

const versionsOf = (text: string) =>
  Effect.flatMap(
    EventStore.EventStore,
    (store) =>
      Effect.map(store.readEvents(stream(text), { limit: 1_000 }), (events) => events.map(({ version }) => version))
  )

const tombstones = (options?: Retention.Options) =>
  Effect.map(
    Retention.run({ tombstones: { olderThan: "30 days" } }, { pause: 0, ...options }),
    ({ tombstones }) => tombstones ?? assert.fail("no report")
  )

const key = { name: "balances", version: 1 }

const register = (given: CheckpointStore.Key = key) =>
  Effect.flatMap(
    CheckpointStore.CheckpointStore,
    (store) =>
      store.register({ ...given, kind: "Projection", definition: "Account", partitions: 1, from: Position.start })
  )

const advance = (to: Position.Position) =>
  Effect.gen(function*() {
    const store = yield* CheckpointStore.CheckpointStore
    const options = { owner: "a", ttl: 600_000 }
    const lease = Option.getOrThrow(yield* store.acquire(key, { ...options, index: 0, of: 1 }))
    yield* store.advance(lease, { to, handled: 1, ttl: options.ttl, streams: [] }, () => Effect.void)
    yield* store.release(lease)
  })

describe("tombstones", () => {
  for (const events of ["keep", "remove"] as const) {
    each(
      `are removed with their events and snapshots, and the id begins again, ${events}`,
      () =>
        Effect.gen(function*() {
          const accounts = yield* Repository.make(Account, { snapshots: SnapshotPolicy.manual })
          const snapshots = yield* SnapshotStore.SnapshotStore
          yield* accounts.executeAll(id("a"), [open, deposit(1), deposit(2)])
          yield* accounts.execute(id("b"), open)
          const late = (yield* accounts.createSnapshot(id("a"))).snapshot
          const saved = yield* Effect.flatten(snapshots.get(stream("a"), { schemaVersion: late.schemaVersion }))
          yield* end("a", events)
          yield* snapshots.save(saved)
          yield* later("29 days")
          assert.deepStrictEqual(yield* tombstones(), { streams: 0, removed: 0, heldBackBy: [] })
          yield* later("2 days")
          const removed = events === "keep" ? 4 : 1
          assert.deepStrictEqual(yield* tombstones(), { streams: 1, removed, heldBackBy: [] })
          assert.deepStrictEqual(yield* tombstones(), { streams: 0, removed: 0, heldBackBy: [] })
          assert.isFalse(yield* snapshots.exists(stream("a")))
          assert.deepInclude(yield* accounts.load(id("a")), { version: 0, exists: false })
          assert.deepInclude(yield* accounts.execute(id("a"), open), { version: 1 })
          assert.deepInclude(yield* accounts.load(id("b")), { version: 1 })
          const store = yield* EventStore.EventStore
          const left = Chunk.toReadonlyArray(yield* Stream.runCollect(store.readAll()))
          assert.deepStrictEqual(left.map(({ stream, version }) => [stream.id, version]), [["b", 1], ["a", 1]])
        })
    )
  }

  each("stay until every projection and subscription has passed them", () =>
    Effect.gen(function*() {
      yield* append("a", 3)
      const first = yield* end("a", "keep")
      yield* append("b", 1)
      const second = yield* end("b", "remove")
      yield* later("31 days")
      yield* register()
      yield* register({ name: "behind", version: 2 })
      const store = yield* CheckpointStore.CheckpointStore
      assert.deepStrictEqual(yield* tombstones(), {
        streams: 0,
        removed: 0,
        heldBackBy: [{ name: "balances", version: 1 }, { name: "behind", version: 2 }]
      })
      yield* advance(first.position)
      assert.deepInclude(yield* tombstones(), { streams: 0, removed: 0 })
      yield* store.remove({ name: "behind", version: 2 }, { active: true })
      assert.deepStrictEqual(yield* tombstones(), { streams: 1, removed: 4, heldBackBy: [key] })
      assert.deepStrictEqual(yield* versionsOf("a"), [])
      assert.deepStrictEqual(yield* versionsOf("b"), [2])
      yield* advance(second.position)
      assert.deepStrictEqual(yield* tombstones(), { streams: 1, removed: 1, heldBackBy: [] })
    }))

  each("stay while events are parked that come before them", () =>
    Effect.gen(function*() {
      yield* append("a", 2)
      const { position } = yield* end("a", "keep")
      yield* register()
      yield* advance(position)
      const store = yield* CheckpointStore.CheckpointStore
      const parked = {
        position,
        eventId: "e",
        stream: "Account/a",
        reason: "r",
        kind: "Poison",
        time: Date.now()
      } as const
      yield* store.park(key, [parked])
      yield* later("31 days")
      assert.deepStrictEqual(yield* tombstones(), { streams: 0, removed: 0, heldBackBy: [key] })
      yield* store.unpark(key, [position], Effect.void)
      assert.deepStrictEqual(yield* tombstones(), { streams: 1, removed: 3, heldBackBy: [] })
    }))

  each(
    "stay for a subscription that begins between two steps, and has seen events of theirs",
    () =>
      Effect.gen(function*() {
        yield* append("a", 2)
        yield* end("a", "keep")
        yield* later("31 days")
        const store = yield* CheckpointStore.CheckpointStore
        let lists = 0
        // it reads the feed at once, while the stream has its events
        const beginning = Effect.orDie(Effect.provideService(register(), CheckpointStore.CheckpointStore, store))
        const registering = {
          ...store,
          list: Effect.suspend(() => ++lists === 2 ? Effect.zipRight(beginning, store.list) : store.list)
        }
        const pass = Effect.provideService(tombstones({ limit: 2 }), CheckpointStore.CheckpointStore, registering)
        const { heldBackBy, streams } = yield* Effect.provideService(pass, CheckpointStore.CheckpointStore, registering)
        assert.deepStrictEqual({ heldBackBy, streams }, { heldBackBy: [key], streams: 0 })
        assert.include(yield* versionsOf("a"), 3)
        // and one that begins when the marker was found alone has seen nothing of it, but it is not passed over either
        yield* store.remove(key, { active: true })
        lists = -1
        assert.deepInclude(yield* pass, { streams: 0, heldBackBy: [key] })
        assert.deepStrictEqual(yield* versionsOf("a"), [3])
      })
  )

  each("go in bounded steps, and what is left at any time is a stream that has ended", () =>
    Effect.gen(function*() {
      const accounts = yield* Repository.make(Account)
      yield* accounts.executeAll(id("a"), [open, ...Array.from({ length: 9 }, () => deposit(1))])
      yield* append("b", 1)
      yield* end("a", "keep")
      yield* end("b", "keep")
      yield* later("31 days")
      const seen: Array<readonly [Retention.Progress, ReadonlyArray<number>]> = []
      const onProgress = (progress: Retention.Progress) =>
        Effect.gen(function*() {
          const left = yield* versionsOf("a")
          seen.push([progress, left])
          if (left.length === 0) return
          const failure = yield* Effect.flip(accounts.load(id("a")))
          assert.strictEqual(failure._tag, "StreamDeleted")
        }).pipe(Effect.provide(yield_), Effect.orDie)
      const yield_ = yield* Effect.context<Services>()
      assert.deepStrictEqual(yield* tombstones({ limit: 4, onProgress }), { streams: 2, removed: 13, heldBackBy: [] })
      assert.deepStrictEqual(
        seen.map(([{ removed, total }, left]) => [removed, total, left.join()]),
        [
          [4, 4, "1,2,3,4,5,6,11"],
          [4, 8, "1,2,11"],
          [3, 11, "11"],
          [2, 13, ""]
        ]
      )
      assert.isTrue(seen.every(([{ policy }]) => policy === "tombstones"))
    }))

  each("wait between the steps, and a pass that is cut off is finished by the next one", () =>
    Effect.gen(function*() {
      yield* append("a", 9)
      yield* end("a", "keep")
      yield* later("31 days")
      const steps = yield* Ref.make(0)
      const onProgress = () => Ref.update(steps, (n) => n + 1)
      const pass = yield* Effect.fork(tombstones({ limit: 4, pause: "1 second", onProgress }))
      yield* Effect.yieldNow().pipe(Effect.repeat({ until: () => Effect.map(Ref.get(steps), (n) => n === 1) }))
      assert.deepStrictEqual(yield* versionsOf("a"), [1, 2, 3, 4, 5, 10])
      yield* Fiber.interrupt(pass)
      assert.deepStrictEqual(yield* versionsOf("a"), [1, 2, 3, 4, 5, 10])
      assert.deepStrictEqual(yield* tombstones(), { streams: 1, removed: 6, heldBackBy: [] })
    }))

  each("can be removed by several passes at once, while the ids begin again", () =>
    Effect.gen(function*() {
      const ids = Array.from({ length: 12 }, (_, index) => `s${index}`)
      yield* Effect.forEach(ids, (text, index) => Effect.zipRight(append(text, index % 4 + 1), end(text, "keep")))
      yield* later("31 days")
      const passes = Effect.all(Array.from({ length: 3 }, () => tombstones({ limit: 2 })), { concurrency: 3 })
      // each id begins anew as soon as it can
      const beginning = Effect.forEach(ids, (text) =>
        append(text, 2, ExpectedVersion.noStream).pipe(
          Effect.tapError(() => Effect.promise(() => new Promise((resolve) => setImmediate(resolve)))),
          Effect.retry({ while: ({ _tag }) => _tag === "StreamDeleted" })
        ), { concurrency: "unbounded" })
      const [reports] = yield* Effect.all([passes, beginning], { concurrency: 2 })
      assert.strictEqual(reports.reduce((sum, { streams }) => sum + streams, 0), 12)
      assert.strictEqual(reports.reduce((sum, { removed }) => sum + removed, 0), 12 + 3 * (1 + 2 + 3 + 4))
      for (const text of ids) assert.deepStrictEqual(yield* versionsOf(text), [1, 2])
    }))

  each("are not removed by what another process has found before", () =>
    Effect.gen(function*() {
      const store = yield* EventStore.EventStore
      yield* append("a", 1)
      const life = Option.getOrThrow(store.replay.life)
      yield* end("a", "keep")
      const [marker] = yield* life.tombstones({ before: Date.now() + 86_400_000, after: Position.start, limit: 10 })
      // not the marker of this stream: the stream may have begun again
      for (const stale of [{ ...marker, eventId: "other" }, { ...marker, version: 1 }]) {
        assert.strictEqual(yield* life.clear(stale, 10), 0)
        assert.isFalse(yield* life.forget(stale))
      }
      assert.isFalse(yield* life.forget(marker))
      assert.deepStrictEqual(yield* versionsOf("a"), [1, 2])
    }))
})

describe("a writer that holds a state for a long time", () => {
  each("does not decide on the state of the stream before", () =>
    Effect.gen(function*() {
      const accounts = yield* Repository.make(Account)
      const writer = yield* accounts.hold(id("a"))
      yield* writer.executeAll([open, deposit(100)])
      yield* end("a", "remove")
      yield* later("31 days")
      yield* tombstones()
      const others = yield* Repository.make(Account)
      // the version is that of the held state by chance
      yield* others.executeAll(id("a"), [open, deposit(1)])
      const { state, version } = yield* writer.execute(deposit(1))
      assert.deepStrictEqual({ state, version }, { state: { open: true, balance: 2 }, version: 3 })
      assert.deepInclude(yield* others.load(id("a")), { state: { open: true, balance: 2 } })
    }))
})

describe("snapshots", () => {
  each("of schema versions below the aggregate's own are removed, in bounded steps", () =>
    Effect.gen(function*() {
      const store = yield* SnapshotStore.SnapshotStore
      const save = (text: string, schemaVersion: number) =>
        store.save({
          stream: stream(text),
          version: 1,
          eventId: "e",
          schemaVersion,
          fingerprint: "f",
          state: "{}",
          time: 1
        })
      for (const text of ["a", "b", "c", "d", "e"]) {
        for (const schemaVersion of [1, 2, 3, 4]) yield* save(text, schemaVersion)
      }
      const steps: Array<number> = []
      const onProgress = ({ policy, removed }: Retention.Progress) =>
        Effect.sync(() => steps.push(policy === "snapshots" ? removed : NaN))
      const aggregates = [{ name: "Account", schemaVersion: 3 }, { name: "Other", schemaVersion: 2 }]
      const pass = Retention.run({ snapshots: { aggregates } }, { limit: 4, pause: 0, onProgress })
      assert.deepStrictEqual(yield* pass, { snapshots: { removed: 10 } })
      assert.deepStrictEqual(steps, [4, 4, 2])
      assert.deepStrictEqual(yield* pass, { snapshots: { removed: 0 } })
      for (const text of ["a", "e"]) {
        const left = yield* Effect.filter(
          [1, 2, 3, 4],
          (schemaVersion) => store.exists(stream(text), { schemaVersion })
        )
        assert.deepStrictEqual(left, [3, 4])
      }
      // an aggregate is one of the list as it is
      assert.deepStrictEqual(yield* Retention.run({ snapshots: { aggregates: [Account] } }), {
        snapshots: { removed: 0 }
      })
    }))
})

describe("snapshots of truncated streams", () => {
  const old = { snapshots: { aggregates: [{ name: "Account", schemaVersion: 2 }] } }

  const truncated = (text: string, events: "archive" | "remove") =>
    Effect.gen(function*() {
      const accounts = yield* Repository.make(Account, { snapshots: SnapshotPolicy.manual })
      yield* accounts.executeAll(id(text), [open, deposit(1), deposit(2)])
      yield* accounts.createSnapshot(id(text))
      const streams = yield* Streams.Streams
      yield* streams.truncate(stream(text), { aggregate: Account, before: 3, events })
      return accounts
    })

  each("stay while they are the only source of the state, whatever their schema version", () =>
    Effect.gen(function*() {
      const accounts = yield* truncated("a", "remove")
      const store = yield* SnapshotStore.SnapshotStore
      assert.deepStrictEqual(yield* Retention.run(old), { snapshots: { removed: 0 } })
      assert.deepInclude(yield* accounts.load(id("a")), { version: 4, state: { open: true, balance: 3 } })
      assert.isTrue(yield* store.exists(stream("a")))
    }))

  for (const [backend, layer] of apart) {
    it.effect(`stay from the step on before which the first stream was truncated (${backend})`, () =>
      Effect.gen(function*() {
        const streams = yield* Streams.Streams
        const accounts = yield* Repository.make(Account, { snapshots: SnapshotPolicy.manual })
        for (const text of ["a", "b", "c"]) {
          yield* accounts.executeAll(id(text), [open, deposit(1), deposit(2)])
          yield* accounts.createSnapshot(id(text))
        }
        const end = streams.truncate(stream("c"), { aggregate: Account, before: 4, events: "remove" })
        const truncating = yield* Effect.cached(Effect.asVoid(Effect.orDie(end)))
        const report = yield* Retention.run(old, { limit: 1, pause: 0, onProgress: () => truncating })
        assert.deepStrictEqual(report, { snapshots: { removed: 1 } })
        assert.deepInclude(yield* accounts.load(id("c")), { version: 4, state: { open: true, balance: 3 } })
      }).pipe(Effect.scoped, Effect.provide(layer)))

    it.effect(`go while no stream is truncated, and each step searches the new part of the feed (${backend})`, () =>
      Effect.gen(function*() {
        const accounts = yield* Repository.make(Account, { snapshots: SnapshotPolicy.manual })
        for (const text of ["a", "b", "c"]) {
          yield* accounts.execute(id(text), open)
          yield* accounts.createSnapshot(id(text))
        }
        const store = yield* EventStore.EventStore
        const searched: Array<Position.Position | undefined> = []
        const watched = EventStore.EventStore.of({
          ...store,
          readPage: (options) =>
            Effect.zipRight(Effect.sync(() => searched.push(options?.after)), store.readPage(options))
        })
        const report = yield* Effect.provideService(
          Retention.run(old, { limit: 1, pause: 0 }),
          EventStore.EventStore,
          watched
        )
        assert.deepStrictEqual(report, { snapshots: { removed: 3 } })
        const head = yield* store.head
        assert.deepStrictEqual(searched, [Position.start, head, head, head])
      }).pipe(Effect.scoped, Effect.provide(layer)))
  }

  // a snapshot store in memory does not know the events
  for (const [backend, layer] of layers.slice(1)) {
    it.effect(`go if a newer snapshot or the archive has the state, and only then (${backend})`, () =>
      Effect.gen(function*() {
        const store = yield* SnapshotStore.SnapshotStore
        yield* truncated("archived", "archive")
        const accounts = yield* truncated("removed", "remove")
        yield* truncated("newer", "remove")
        const own = Option.getOrThrow(yield* store.get(stream("newer"), { schemaVersion: 1 }))
        // version 3 is the first with its content
        yield* store.save({ ...own, schemaVersion: 2, version: 2 })
        // saved late: its tail begins with an event that was removed
        yield* truncated("late", "remove")
        const late = Option.getOrThrow(yield* store.get(stream("late"), { schemaVersion: 1 }))
        yield* store.save({ ...late, schemaVersion: 2, version: 1 })
        assert.strictEqual(yield* store.deleteByType("Account", { schemaVersionBelow: 2, dryRun: true }), 2)
        assert.strictEqual(yield* store.deleteByType("Account", { schemaVersionBelow: 2, limit: 1 }), 1)
        assert.strictEqual(yield* store.deleteByType("Account", { schemaVersionBelow: 2 }), 1)
        const staying = { archived: [], removed: [1], newer: [2], late: [1, 2] }
        for (const [text, left] of Object.entries(staying)) {
          const found = yield* Effect.filter([1, 2], (schemaVersion) => store.exists(stream(text), { schemaVersion }))
          assert.deepStrictEqual(found, left, text)
        }
        assert.strictEqual(yield* store.deleteByType("Account"), 0)
        const whole = { version: 4, state: { open: true, balance: 3 } }
        assert.deepInclude(yield* accounts.load(id("removed")), whole)
        assert.deepInclude(yield* accounts.load(id("archived")), whole)
      }).pipe(Effect.scoped, Effect.provide(layer)))
  }
})

describe("parked events", () => {
  each("are dropped when the last of their stream is old", () =>
    Effect.gen(function*() {
      const store = yield* CheckpointStore.CheckpointStore
      yield* register()
      yield* register({ name: "other", version: 1 })
      const now = yield* Effect.clockWith((clock) => clock.currentTimeMillis)
      const day = 86_400_000
      const park = (sequence: number, text: string, age: number, of = key) =>
        store.park(of, [{
          position: Position.fromParts(0, sequence),
          eventId: `e${sequence}`,
          stream: text,
          reason: "r",
          kind: "Poison",
          time: now - age * day
        }])
      yield* park(1, "old", 100)
      yield* park(2, "active", 100)
      yield* park(3, "old", 91)
      yield* park(4, "young", 3)
      yield* park(5, "active", 89)
      yield* park(6, "old", 90.5, { name: "other", version: 1 })
      const steps: Array<number> = []
      const onProgress = ({ removed }: Retention.Progress) => Effect.sync(() => steps.push(removed))
      const pass = Retention.run({ parked: { olderThan: "90 days" } }, { limit: 1, pause: 0, onProgress })
      const left = Effect.map(
        Effect.all([store.parked(key, { after: Position.start, limit: 10 })]),
        ([found]) => found.map(({ eventId }) => eventId)
      )
      assert.deepStrictEqual(yield* pass, { parked: { removed: 3 } })
      assert.deepStrictEqual(steps, [2, 1])
      assert.deepStrictEqual(yield* left, ["e2", "e4", "e5"])
      assert.deepStrictEqual(yield* pass, { parked: { removed: 0 } })
      yield* later("2 days")
      assert.deepStrictEqual(yield* pass, { parked: { removed: 2 } })
      assert.deepStrictEqual(yield* left, ["e4"])
    }))

  each("of long streams go in pages", () =>
    Effect.gen(function*() {
      const store = yield* CheckpointStore.CheckpointStore
      yield* register()
      const events = Array.from({ length: 1_001 }, (_, index) => ({
        position: Position.fromParts(0, index + 1),
        eventId: `e${index}`,
        stream: index === 1_000 ? "other" : "long",
        reason: "r",
        kind: "Following",
        time: 1
      } as const))
      yield* store.park(key, events)
      assert.deepStrictEqual(
        yield* Retention.run({ parked: { olderThan: "1 day" } }, { pause: 0 }),
        { parked: { removed: 1_001 } }
      )
    }))
})

/** Lets an event store fail while a reference says so. */
const failing = (isDown: Ref.Ref<boolean>) =>
  Layer.effect(
    SnapshotStore.SnapshotStore,
    Effect.map(SnapshotStore.SnapshotStore, (store) => ({
      ...store,
      deleteByType: (aggregate, options) =>
        Effect.flatMap(Ref.get(isDown), (down) =>
          down
            ? new SnapshotStore.SnapshotStoreError({
              operation: "deleteByType",
              aggregate,
              reason: "Unavailable",
              detail: "down"
            })
            : store.deleteByType(aggregate, options))
    }))
  )

const policies = {
  snapshots: { aggregates: [{ name: "Account", schemaVersion: 2 }] },
  tombstones: { olderThan: "30 days" }
} as const

const saveOld = Effect.flatMap(SnapshotStore.SnapshotStore, (store) =>
  store.save({
    stream: stream("s"),
    version: 1,
    eventId: "e",
    schemaVersion: 1,
    fingerprint: "f",
    state: "{}",
    time: 1
  }))

const hasOld = Effect.flatMap(SnapshotStore.SnapshotStore, (store) => store.exists(stream("s")))

/** Lets other fibers run until a condition holds. */
const until = <E, R>(condition: Effect.Effect<boolean, E, R>) =>
  Effect.promise(() => new Promise((resolve) => setImmediate(resolve))).pipe(
    Effect.zipRight(condition),
    Effect.repeat({ until: (holds) => holds })
  )

describe("the layer", () => {
  each("makes a pass at once, and one after each interval, until its scope closes", () =>
    Effect.gen(function*() {
      yield* Effect.scoped(Effect.gen(function*() {
        yield* saveOld
        yield* Layer.build(Retention.layer(policies, { every: "2 hours" }))
        yield* until(Effect.negate(hasOld))
        // the pass has ended when the interval is being waited for
        yield* until(Effect.map(Effect.zip(TestClock.sleeps(), Clock.currentTimeMillis), ([ends, now]) =>
          Chunk.some(ends, (end) =>
            end - now === Duration.toMillis("2 hours"))))
        yield* saveOld
        yield* later("119 minutes")
        yield* Effect.forEach(Array.from({ length: 20 }), () =>
          until(Effect.succeed(true)))
        assert.isTrue(yield* hasOld)
        yield* later("1 minute")
        yield* until(Effect.negate(hasOld))
      }))
      yield* saveOld
      yield* later("1 day")
      yield* Effect.forEach(Array.from({ length: 20 }), () => until(Effect.succeed(true)))
      assert.isTrue(yield* hasOld)
    }))

  each("goes on after failures, which keep no other policy from its work", () =>
    Effect.gen(function*() {
      const isDown = yield* Ref.make(true)
      const failures = Metric.value(Metric.tagged(Metrics.retentionFailures, "policy", "snapshots"))
      const removed = Metric.value(Metric.tagged(Metrics.retentionRemoved, "policy", "tombstones"))
      const before = { failures: (yield* failures).count, removed: (yield* removed).count }
      yield* saveOld
      yield* append("a", 1)
      yield* end("a", "remove")
      yield* later("31 days")
      const error = yield* Effect.flip(Effect.provide(Retention.run(policies, { pause: 0 }), failing(isDown)))
      assert.strictEqual(error._tag, "SnapshotStoreError")
      assert.deepStrictEqual(yield* versionsOf("a"), [])
      assert.strictEqual((yield* failures).count, before.failures + 1)
      assert.strictEqual((yield* removed).count, before.removed + 1)
      yield* Layer.build(Layer.provide(Retention.layer(policies), failing(isDown)))
      yield* until(Effect.map(failures, ({ count }) => count === before.failures + 2))
      assert.isTrue(yield* hasOld)
      yield* Ref.set(isDown, false)
      yield* until(Effect.zipRight(later("1 hour"), Effect.negate(hasOld)))
    }))
})

describe("invalid options", () => {
  const refused: ReadonlyArray<readonly [option: string, policies: unknown, options?: unknown]> = [
    ...[undefined, null, 1, "snapshots", []].map((policies) => ["policies", policies] as const),
    ["policies", { tombstone: { olderThan: "30 days" } }],
    ...[NaN, 0, -1, Infinity, "1 hour", "23 hours", "soon", {}, null, undefined, Duration.hours(23), -(10 ** 20)]
      .flatMap(
        (olderThan) => [
          ["tombstones.olderThan", { tombstones: { olderThan } }] as const,
          ["parked.olderThan", { parked: { olderThan } }] as const
        ]
      ),
    ["tombstones", { tombstones: { olderthan: "30 days" } }],
    ["tombstones", { tombstones: null }],
    ["snapshots", { snapshots: [] }],
    ...[
      undefined,
      null,
      {},
      "Account",
      [null],
      ["Account"],
      [{ name: "a" }],
      [{ name: "", schemaVersion: 1 }],
      [
        { name: "\u0000", schemaVersion: 1 }
      ],
      [{ name: "\uD800", schemaVersion: 1 }],
      [{ name: "a", schemaVersion: NaN }]
    ].map((aggregates) => ["snapshots.aggregates", { snapshots: { aggregates } }] as const),
    ...[0, -1, 1.5, NaN, Infinity, 100_001, "1"].map((limit) => ["limit", {}, { limit }] as const),
    ...[NaN, -1, Infinity, "soon"].map((pause) => ["pause", {}, { pause }] as const),
    ["onProgress", {}, { onProgress: 1 }],
    ["options of Retention", {}, { every: "1 hour" }]
  ]

  for (const [index, [option, policies, options]] of refused.entries()) {
    it.effect(`are named, and nothing is done: ${option}, ${index}`, () =>
      Effect.gen(function*() {
        const run: Effect.Effect<Retention.Report, unknown, Services> = Reflect.apply(Retention.run, undefined, [
          policies,
          options
        ])
        const failure = yield* Effect.flip(run)
        assert.instanceOf(failure, InvalidOption.InvalidOption)
        assert.strictEqual(failure.option, option)
      }).pipe(Effect.provide(layers[0][1])))
  }

  it.scoped("of the layer fail it when it is built", () =>
    Effect.gen(function*() {
      for (const every of [NaN, 0, -1, Infinity, "never"]) {
        const layer: Layer.Layer<never, unknown, Services> = Reflect.apply(Retention.layer, undefined, [{}, { every }])
        const failure = yield* Effect.flip(Layer.build(layer))
        assert.instanceOf(failure, InvalidOption.InvalidOption)
        assert.strictEqual(failure.option, "every")
      }
      const store = yield* EventStore.EventStore
      const poor = { ...store, replay: { ...store.replay, life: Option.none() } }
      const failure = yield* Effect.flip(
        Layer.build(Retention.layer({ tombstones: { olderThan: "1 day" } })).pipe(
          Effect.provideService(EventStore.EventStore, poor)
        )
      )
      assert.strictEqual(failure.option, "tombstones")
    }).pipe(Effect.provide(layers[0][1])))

  it.effect("no policy removes nothing", () =>
    Effect.map(Retention.run({}), (report) => assert.deepStrictEqual(report, {})).pipe(Effect.provide(layers[0][1])))
})
