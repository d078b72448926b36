import { assert, describe, it } from "@effect/vitest"
import { Duration, Effect, FastCheck as fc, Layer, Option, pipe, TestClock } from "effect"
import { EventStore, InvalidOption, Repository, SnapshotPolicy, SnapshotStore, StreamId } from "effect-eventsourcing"
import * as Policy from "../src/internal/repository/policy.js"
import { Account, type AccountEvent, type AccountState, deposit, id, open } from "./fixtures/Account.js"
import { backends, memoryStores } from "./utils/backends.js"
import { everything } from "./utils/mode.js"

const { and, every, isDue, never, not, olderThan, or, when, whenReplayed, whenReplayTook } = SnapshotPolicy

type When = SnapshotPolicy.When<number, string>
type Progress = SnapshotPolicy.Progress<number, string>

const anyWhen: fc.Arbitrary<When> = fc.letrec<{ when: When }>((tie) => ({
  when: fc.oneof(
    { maxDepth: 4 },
    fc.integer({ min: 1, max: 20 }).map((n): When => every(n)),
    fc.integer({ min: 1, max: 20 }).map((n): When => whenReplayed(n)),
    fc.integer({ min: 1, max: 20 }).map((n): When => whenReplayTook(Duration.millis(n))),
    fc.integer({ min: 1, max: 20 }).map((n): When => olderThan(n)),
    fc.integer({ min: 0, max: 3 }).map((n): When =>
      when((before, after, events) => before + after > n * events.length)
    ),
    fc.constant<When>(never),
    fc.tuple(tie("when"), tie("when")).map(([a, b]) => and(a, b)),
    fc.tuple(tie("when"), tie("when")).map(([a, b]) => or(a, b)),
    tie("when").map((a) => not(a))
  )
})).when

const change = fc.record({
  before: fc.integer({ min: 0, max: 3 }),
  after: fc.integer({ min: 0, max: 3 }),
  events: fc.array(fc.string(), { maxLength: 3 })
})
const anyProgress: fc.Arbitrary<Progress> = fc.record({
  version: fc.integer({ min: 0, max: 60 }),
  snapshotVersion: fc.integer({ min: 0, max: 60 }),
  replayed: fc.integer({ min: 0, max: 60 }),
  took: fc.option(fc.integer({ min: 0, max: 30 }), { nil: undefined }),
  age: fc.option(fc.integer({ min: 0, max: 30 }), { nil: undefined }),
  change: fc.option(change, { nil: undefined })
})

describe("the algebra", () => {
  it.prop("is that of logic", [anyWhen, anyWhen, anyWhen, anyProgress], ([a, b, c, p]) => {
    const same = (left: When, right: When) => assert.strictEqual(isDue(left, p), isDue(right, p))
    assert.strictEqual(isDue(and(a, b), p), isDue(a, p) && isDue(b, p))
    assert.strictEqual(isDue(or(a, b), p), isDue(a, p) || isDue(b, p))
    assert.strictEqual(isDue(not(a), p), !isDue(a, p))
    assert.isFalse(isDue(never, p))
    same(and(a, b), and(b, a))
    same(or(a, or(b, c)), or(or(a, b), c))
    same(and(a, or(b, c)), or(and(a, b), and(a, c)))
    same(not(and(a, b)), or(not(a), not(b)))
    same(not(not(a)), a)
    same(or(a, never), a)
    same(and(a, not(never)), a)
  })

  it.prop("and, or: both forms build the same condition", [anyWhen, anyWhen], ([a, b]) => {
    assert.deepStrictEqual(pipe(a, and(b)), and(a, b))
    assert.deepStrictEqual(pipe(a, or(b)), or(a, b))
  })

  it.prop("a settled condition keeps its answer", [anyWhen, anyProgress], ([a, p]) => {
    assert.strictEqual(isDue(Policy.settle(a, p), p), isDue(a, p))
    // and it does not need the facts that only this command knew
    const { change: _change, took: _took, ...later } = p
    assert.strictEqual(isDue(Policy.settle(a, p), later), isDue(a, p))
  })

  it.prop("a predicate is never due for a load, which changes nothing", [anyProgress], ([{ change: _, ...p }]) => {
    assert.isFalse(isDue(when<number, string>(() => true), p))
  })

  it.prop(
    "a condition that is due stays due with more events, a longer load and an older snapshot",
    [fc.integer({ min: 1, max: 30 }), anyProgress],
    ([n, p]) => {
      for (const policy of [every(n), whenReplayed(n), whenReplayTook(n), olderThan(n)]) {
        const more = {
          ...p,
          version: p.version + 1,
          replayed: p.replayed + 1,
          took: (p.took ?? 0) + 1,
          age: (p.age ?? Infinity) + 1
        }
        if (isDue(policy, p)) assert.isTrue(isDue(policy, more))
      }
    }
  )
})

describe("an error names the invalid option", () => {
  const durations: ReadonlyArray<Duration.DurationInput> = [
    0,
    -1,
    NaN,
    Infinity,
    "0 millis",
    Duration.infinity,
    JSON.parse("\"5 parsecs\""),
    JSON.parse("\"soon\""),
    JSON.parse("null"),
    JSON.parse("{}")
  ]
  for (const bad of durations) {
    it(`a duration of ${JSON.stringify(bad)}`, () => {
      for (const policy of [whenReplayTook(bad), olderThan(bad), and(every(1), not(or(olderThan(bad), never)))]) {
        for (const mode of [SnapshotPolicy.sync, SnapshotPolicy.background, SnapshotPolicy.inline]) {
          const problem = Policy.problem(mode({ when: policy }))
          assert.instanceOf(problem, InvalidOption.InvalidOption)
          assert.include(problem!.message, "finite duration")
        }
      }
    })
  }

  it("a number, a function, a timeout", () => {
    for (const n of [0, -1, 1.5, NaN, Infinity]) {
      for (const policy of [every(n), whenReplayed(n)]) {
        assert.instanceOf(Policy.problem(SnapshotPolicy.inline({ when: policy })), InvalidOption.InvalidOption)
      }
    }
    const broken: SnapshotPolicy.When = JSON.parse("{\"_tag\":\"When\",\"predicate\":\"yes\"}")
    for (
      const policy of [
        SnapshotPolicy.sync({ when: broken }),
        SnapshotPolicy.background({ every: 1, timeout: NaN }),
        SnapshotPolicy.background({ every: 1, drainTimeout: JSON.parse("\"a while\"") })
      ]
    ) {
      assert.instanceOf(Policy.problem(policy), InvalidOption.InvalidOption)
    }
    assert.isUndefined(
      Policy.problem(SnapshotPolicy.sync({ when: and(olderThan("1 day"), whenReplayTook(5)) }))
    )
  })

  it.scoped("Repository.make fails with it", () =>
    Effect.gen(function*() {
      const options: ReadonlyArray<Repository.Options> = [
        { snapshots: SnapshotPolicy.sync({ when: olderThan(NaN) }) },
        { snapshotTimeout: NaN },
        { maxReplay: 0 },
        { maxReplay: 1.5 },
        { concurrentReplays: 0 },
        { concurrentReplays: Infinity },
        { verify: { sample: -0.1 } },
        { verify: { sample: 2 } },
        { verify: { sample: NaN } },
        { verify: { sample: 0.5, budget: 0 } },
        JSON.parse("{\"onDrift\":\"ignore\"}")
      ]
      for (const bad of options) {
        const failure = yield* Effect.flip(Repository.make(Account, bad))
        assert.instanceOf(failure, InvalidOption.InvalidOption)
      }
    }).pipe(Effect.provide(memoryStores)))
})

const versionOf = (name: string) =>
  Effect.flatMap(SnapshotStore.SnapshotStore, (store) =>
    Effect.map(
      store.get(StreamId.make("Account", name), { schemaVersion: 1 }),
      Option.match({ onNone: () => 0, onSome: ({ version }) => version })
    ))

describe("a repository evaluates its policy", () => {
  for (const [backend, layer] of backends) {
    it.scoped(`olderThan: by the clock (${backend})`, () =>
      Effect.gen(function*() {
        const policy = SnapshotPolicy.sync({ when: olderThan("1 hours") })
        const accounts = yield* Repository.make(Account, { snapshots: policy })
        // no snapshot counts as older than any duration
        yield* accounts.execute(id("a"), open)
        assert.strictEqual(yield* versionOf("a"), 1)
        yield* TestClock.adjust("59 minutes")
        yield* accounts.execute(id("a"), deposit(1))
        assert.strictEqual(yield* versionOf("a"), 1)
        yield* TestClock.adjust("1 minutes")
        yield* accounts.load(id("a"))
        assert.strictEqual(yield* versionOf("a"), 2)
        // without a new event no snapshot is taken, at any age
        yield* TestClock.adjust("10 hours")
        yield* accounts.load(id("a"))
        assert.deepInclude(yield* accounts.load(id("a")), { snapshotVersion: 2, replayed: 0 })
      }).pipe(Effect.provide(layer)))

    for (const mode of ["sync", "background"] as const) {
      it.scoped(`when: by the change of the command, in ${mode} mode (${backend})`, () =>
        Effect.gen(function*() {
          const seen: Array<readonly [AccountState, AccountState, number]> = []
          const round = when((before: AccountState, after: AccountState, events: ReadonlyArray<AccountEvent>) => {
            seen.push([before, after, events.length])
            return Math.floor(before.balance / 100) < Math.floor(after.balance / 100)
          })
          const policy = SnapshotPolicy[mode]({ when: round })
          const accounts = yield* Repository.make(Account, { snapshots: policy })
          yield* accounts.executeAll(id("a"), [open, deposit(50)])
          yield* accounts.load(id("a"))
          yield* accounts.awaitPendingSnapshots
          assert.strictEqual(yield* versionOf("a"), 0)
          yield* accounts.execute(id("a"), deposit(30, 2))
          yield* accounts.awaitPendingSnapshots
          assert.strictEqual(yield* versionOf("a"), 4)
          yield* accounts.execute(id("a"), deposit(10))
          yield* accounts.awaitPendingSnapshots
          assert.strictEqual(yield* versionOf("a"), 4)
          assert.deepStrictEqual(seen[1], [{ open: true, balance: 50 }, { open: true, balance: 110 }, 2])
        }).pipe(Effect.provide(layer)))
    }
  }

  for (const mode of ["sync", "background"] as const) {
    it.scoped(`whenReplayed: by the events that the load of a command folded, in ${mode} mode`, () =>
      Effect.gen(function*() {
        const writer = yield* Repository.make(Account)
        const reading = (n: number) =>
          Repository.make(Account, { snapshots: SnapshotPolicy[mode]({ when: whenReplayed(n) }) })
        for (const name of ["few", "enough"]) yield* writer.executeAll(id(name), [open, deposit(1, 9)])
        // its own events were not folded by its load
        const few = yield* reading(11)
        assert.strictEqual((yield* few.execute(id("few"), deposit(1, 5))).version, 15)
        yield* few.awaitPendingSnapshots
        assert.strictEqual(yield* versionOf("few"), 0)
        const enough = yield* reading(10)
        assert.strictEqual((yield* enough.execute(id("enough"), deposit(1))).version, 11)
        yield* enough.awaitPendingSnapshots
        assert.strictEqual(yield* versionOf("enough"), 11)
        // later loads fold few events
        yield* enough.execute(id("enough"), deposit(1, 9))
        yield* enough.execute(id("enough"), deposit(1))
        yield* enough.awaitPendingSnapshots
        assert.strictEqual(yield* versionOf("enough"), 11)
      }).pipe(Effect.provide(memoryStores)))
  }

  it.scoped("whenReplayTook: by the clock", () =>
    Effect.gen(function*() {
      const store = yield* EventStore.EventStore
      let delay = 0
      const slow = EventStore.EventStore.of({
        ...store,
        replay: {
          ...store.replay,
          readTail: (stream, options) => Effect.delay(store.replay.readTail(stream, options), delay)
        }
      })
      const accounts = yield* Repository.make(Account, {
        snapshots: SnapshotPolicy.sync({ when: whenReplayTook("200 millis") })
      }).pipe(Effect.provideService(EventStore.EventStore, slow))
      const load = Effect.gen(function*() {
        const fiber = yield* Effect.fork(accounts.load(id("a")))
        yield* TestClock.adjust("1 minutes")
        return yield* fiber
      })
      yield* accounts.execute(id("a"), open)
      delay = 199
      yield* load
      assert.strictEqual(yield* versionOf("a"), 0)
      delay = 200
      yield* load
      assert.strictEqual(yield* versionOf("a"), 1)
    }).pipe(Effect.provide(memoryStores)))

  it.scoped("a predicate that throws does not fail the command", () =>
    Effect.gen(function*() {
      for (const mode of ["sync", "background"] as const) {
        const accounts = yield* Repository.make(Account, {
          snapshots: SnapshotPolicy[mode]({
            when: when(() => {
              throw new Error("planned")
            })
          })
        })
        assert.strictEqual((yield* accounts.execute(id(mode), open)).version, 1)
        assert.deepInclude(yield* accounts.load(id(mode)), { version: 1, snapshotVersion: 0 })
      }
    }).pipe(Effect.provide(memoryStores)))

  it.effect.prop(
    "with every(n) no load folds n events or more, for appends of any size",
    [fc.integer({ min: 1, max: 12 }), fc.array(fc.integer({ min: 1, max: 15 }), { minLength: 1, maxLength: 12 })],
    ([n, strides]) =>
      Effect.gen(function*() {
        const saves: Array<number> = []
        const store = yield* SnapshotStore.SnapshotStore
        const counting = {
          ...store,
          save: (row: Parameters<typeof store.save>[0]) => {
            saves.push(row.version)
            return store.save(row)
          }
        }
        for (const stride of strides) {
          // a new repository for every command
          const accounts = yield* Repository.make(Account, { snapshots: SnapshotPolicy.sync({ every: n }) }).pipe(
            Effect.provideService(SnapshotStore.SnapshotStore, counting)
          )
          const { replayed } = yield* accounts.load(id("a"))
          assert.isBelow(replayed, n)
          yield* accounts.executeAll(id("a"), [open, deposit(1, stride)])
        }
        // each snapshot is taken once, and not too early
        for (const [index, version] of saves.entries()) {
          assert.isAtLeast(version - (index === 0 ? 0 : saves[index - 1]), n)
        }
      }).pipe(Effect.scoped, Effect.provide(Layer.fresh(memoryStores))),
    { fastCheck: { numRuns: everything ? 100 : 25 } }
  )
})
