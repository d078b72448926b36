// old archives go below a snapshot that was verified, and nothing else of the stream does
import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer, Option, type Scope, TestClock } from "effect"
import {
  CheckpointStore,
  EventStore,
  InvalidOption,
  Repository,
  Retention,
  SnapshotPolicy,
  SnapshotStore,
  Streams
} from "effect-eventsourcing"
import { Account, deposit, id, open, stream } from "./fixtures/Account.js"
import { AccountV2, AccountV3 } from "./fixtures/AccountVersions.js"
import { backends } from "./utils/backends.js"

type Services = EventStore.EventStore | SnapshotStore.SnapshotStore | CheckpointStore.CheckpointStore | Streams.Streams

const each = (name: string, body: () => Effect.Effect<void, unknown, Services | Scope.Scope>) => {
  for (const [backend, stores] of backends) {
    const layer = Layer.provideMerge(Streams.layer, Layer.merge(stores, CheckpointStore.layerMemory))
    it.effect(`${name} (${backend})`, () => Effect.provide(Effect.scoped(body()), layer))
  }
}

const archives = (options?: Retention.Options) =>
  Effect.map(
    Retention.run({ archives: { aggregates: [Account], olderThan: "30 days" } }, { pause: 0, ...options }),
    ({ archives }) => archives ?? assert.fail("no report")
  )

/** An account with ten events and a snapshot, whose events before a version are archived. */
const archived = (text: string, before: number) =>
  Effect.gen(function*() {
    const accounts = yield* Repository.make(Account, { snapshots: SnapshotPolicy.manual })
    yield* accounts.executeAll(id(text), [open, ...Array.from({ length: 9 }, () => deposit(1))])
    yield* accounts.createSnapshot(id(text))
    yield* archive(text, before)
    return accounts
  })

const archive = (text: string, before: number) =>
  Effect.flatMap(
    Streams.Streams,
    (streams) => streams.truncate(stream(text), { aggregate: Account, before, events: "archive" })
  )

const contentsOf = (text: string) =>
  Effect.flatMap(EventStore.EventStore, ({ replay }) => Option.getOrThrow(replay.life).left(stream(text), 1_000))

const nothing = { streams: 0, removed: 0, kept: {} }

describe("old archives", () => {
  each("go in bounded steps when they are old, and every load gives the same state", () =>
    Effect.gen(function*() {
      const accounts = yield* archived("a", 8)
      yield* TestClock.adjust("20 days")
      yield* archive("a", 10)
      assert.deepStrictEqual(yield* archives(), nothing)
      yield* TestClock.adjust("15 days")
      const steps: Array<Retention.Progress> = []
      const onProgress = (progress: Retention.Progress) => Effect.sync(() => steps.push(progress))
      assert.deepStrictEqual(yield* archives({ limit: 3, onProgress }), { streams: 1, removed: 7, kept: {} })
      assert.deepStrictEqual(steps.map(({ policy, removed, total }) => [policy, removed, total]), [
        ["archives", 3, 3],
        ["archives", 3, 6],
        ["archives", 1, 7]
      ])
      assert.deepStrictEqual(yield* archives(), nothing)
      assert.strictEqual((yield* contentsOf("a")).archived, 2)
      assert.deepInclude(yield* accounts.load(id("a")), { state: { open: true, balance: 9 } })
      assert.strictEqual((yield* Effect.flip(accounts.loadAt(id("a"), 5)))._tag, "HistoryGap")
      // the rest, for which the proof of the snapshot is enough
      yield* TestClock.adjust("20 days")
      assert.deepStrictEqual(yield* archives(), { streams: 1, removed: 2, kept: {} })
      assert.strictEqual((yield* contentsOf("a")).archived, 0)
      assert.deepInclude(yield* accounts.execute(id("a"), deposit(1)), { state: { open: true, balance: 10 } })
    }))

  each("stay while the snapshot does not allow it, and the report says why", () =>
    Effect.gen(function*() {
      const snapshots = yield* SnapshotStore.SnapshotStore
      const stored = (text: string) => Effect.flatten(snapshots.get(stream(text), { schemaVersion: 1 }))
      for (const text of ["missing", "older", "unusable", "refuted", "deleted", "good"]) yield* archived(text, 9)
      yield* snapshots.delete(stream("missing"))
      const change = (text: string, changes: object) =>
        Effect.flatMap(stored(text), (snapshot) =>
          Effect.zipRight(snapshots.delete(stream(text)), snapshots.save({ ...snapshot, ...changes })))
      const store = yield* EventStore.EventStore
      const fifth = (yield* store.readEvents(stream("older"), { fromVersion: 5, limit: 1 }))[0]
      yield* change("older", {
        version: 5,
        eventId: fifth.id,
        state: JSON.stringify({ open: true, balance: 4 })
      })
      yield* change("unusable", { eventId: "another" })
      yield* change("refuted", { state: JSON.stringify({ open: true, balance: 1_000 }) })
      yield* Effect.flatMap(Streams.Streams, (streams) =>
        streams.delete(stream("deleted"), { events: "keep" }))
      yield* TestClock.adjust("31 days")
      // a step that would be below the older snapshot does not begin
      const report = yield* archives({ limit: 2 })
      assert.deepStrictEqual({ streams: report.streams, removed: report.removed }, { streams: 1, removed: 8 })
      assert.deepStrictEqual(report.kept, { Missing: 1, Older: 1, Unusable: 1, Refuted: 1, Deleted: 1 })
      for (const text of ["missing", "older", "unusable", "refuted", "deleted"]) {
        assert.strictEqual((yield* contentsOf(text)).archived, 8, text)
      }
      const accounts = yield* Repository.make(Account, { snapshots: SnapshotPolicy.manual })
      yield* accounts.createSnapshot(id("missing"))
      assert.deepInclude(yield* archives(), { streams: 1, removed: 8 })
    }))

  each("stay while events are rewritten at every try, and those of other streams go", () =>
    Effect.gen(function*() {
      const accounts = yield* archived("busy", 9)
      yield* archived("good", 9)
      yield* TestClock.adjust("31 days")
      const streams = yield* Streams.Streams
      const store = yield* EventStore.EventStore
      const rewritten = Effect.zipRight(
        streams.rewrite(stream("busy"), 2, { _tag: "Deposited", amount: 1 }, { aggregate: Account }),
        accounts.createSnapshot(id("busy"))
      )
      const life = Option.map(store.replay.life, (life): EventStore.LifeSeam => ({
        ...life,
        // after the verification
        transaction: (of, effect) =>
          of.id === "busy"
            ? Effect.zipRight(Effect.orDie(rewritten), life.transaction(of, effect))
            : life.transaction(of, effect)
      }))
      const report = yield* Effect.provideService(
        archives(),
        EventStore.EventStore,
        { ...store, replay: { ...store.replay, life } }
      )
      assert.deepStrictEqual(report, { streams: 1, removed: 8, kept: { Busy: 1 } })
      assert.strictEqual((yield* contentsOf("busy")).archived, 8)
      assert.deepStrictEqual(yield* archives(), { streams: 1, removed: 8, kept: {} })
    }))

  each("stay while the stream has no snapshot of the aggregate's own schema version", () =>
    Effect.gen(function*() {
      const before = yield* Repository.make(AccountV2, { snapshots: SnapshotPolicy.manual })
      const streams = yield* Streams.Streams
      yield* before.executeAll(id("a"), [open, deposit(1), deposit(2)])
      yield* before.createSnapshot(id("a"))
      yield* streams.truncate(stream("a"), { aggregate: AccountV2, before: 3, events: "archive" })
      yield* TestClock.adjust("31 days")
      const pass = Retention.run({ archives: { aggregates: [AccountV3], olderThan: "30 days" } }, { pause: 0 })
      assert.deepStrictEqual(yield* pass, { archives: { streams: 0, removed: 0, kept: { Missing: 1 } } })
      const after = yield* Repository.make(AccountV3, { snapshots: SnapshotPolicy.manual })
      yield* after.createSnapshot(id("a"))
      assert.deepStrictEqual(yield* pass, { archives: { streams: 1, removed: 2, kept: {} } })
    }))

  each("of aggregates that are not named stay", () =>
    Effect.gen(function*() {
      yield* archived("a", 9)
      yield* TestClock.adjust("31 days")
      const report = yield* Retention.run({ archives: { aggregates: [], olderThan: "30 days" } })
      assert.deepStrictEqual(report, { archives: nothing })
      assert.strictEqual((yield* contentsOf("a")).archived, 8)
    }))
})

describe("invalid policies of archives", () => {
  const valid = { aggregates: [Account], olderThan: "30 days" }
  const refused: ReadonlyArray<readonly [option: string, archives: unknown]> = [
    ["archives", null],
    ["archives", { ...valid, olderthan: "1 day" }],
    ["archives.olderThan", { ...valid, olderThan: "23 hours" }],
    ["archives.olderThan", { aggregates: [Account] }],
    ...[undefined, "Account", [null], [{ name: "Account", schemaVersion: 1 }]].map(
      (aggregates) => ["archives.aggregates", { ...valid, aggregates }] as const
    )
  ]
  for (const [index, [option, policy]] of refused.entries()) {
    it.effect(`are named, and nothing is done: ${option}, ${index}`, () =>
      Effect.gen(function*() {
        const run: Effect.Effect<Retention.Report, unknown, Services> = Reflect.apply(Retention.run, undefined, [
          { archives: policy }
        ])
        const failure = yield* Effect.flip(run)
        assert.instanceOf(failure, InvalidOption.InvalidOption)
        assert.strictEqual(failure.option, option)
      }).pipe(
        Effect.provide(Layer.provideMerge(Streams.layer, Layer.merge(backends[0][1], CheckpointStore.layerMemory)))
      ))
  }
})
