import { assert, describe, it } from "@effect/vitest"
import { Effect, Option, Schedule, Schema } from "effect"
import { EventStore, ExpectedVersion, Repository, SnapshotPolicy } from "effect-eventsourcing"
import { Account, id, NotOpen, open } from "./fixtures/Account.js"
import { backends, on } from "./utils/backends.js"

const each = on(backends)

const deposit = (amount: number) => ({ _tag: "Deposit", amount }) as const

type Store = EventStore.EventStore["Type"]

/** Lets another writer deposit 1 before each of the next appends, and counts the calls. */
const racing = (store: Store) => {
  const calls = { races: 0, loads: 0, appends: 0 }
  let rivals = 0
  const rival = Effect.suspend(() =>
    store.append({ aggregate: "Account", id: "a" }, [{
      id: `rival-${++rivals}`,
      type: "Deposited",
      payload: { _tag: "Deposited", amount: 1 }
    }], { expectedVersion: ExpectedVersion.any })
  )
  const wrapped = EventStore.EventStore.of({
    ...store,
    replay: {
      ...store.replay,
      withSnapshots: () => Option.none(),
      readTail: (stream, options) => {
        calls.loads++
        return store.replay.readTail(stream, options)
      }
    },
    append: (stream, events, options) => {
      calls.appends++
      const append = store.append(stream, events, options)
      return calls.races-- > 0 ? Effect.zipRight(rival, append) : append
    }
  })
  return { calls, store: wrapped }
}

const raced = (options: Repository.Options = {}) =>
  Effect.gen(function*() {
    const { calls, store } = racing(yield* EventStore.EventStore)
    const accounts = yield* Repository.make(Account, options).pipe(
      Effect.provideService(EventStore.EventStore, store)
    )
    yield* accounts.executeAll(id("a"), [open, deposit(5)])
    Object.assign(calls, { loads: 0, appends: 0 })
    return { accounts, calls }
  })

describe("the version that the caller expects", () => {
  const { any, exact, noStream, streamExists } = ExpectedVersion

  each(
    "a command on an expected version is executed, and on another one refused without being decided",
    () =>
      Effect.gen(function*() {
        const { accounts, calls } = yield* raced()
        for (const expectedVersion of [any, streamExists, exact(2)]) {
          const done = yield* accounts.executeAll(id("a"), [], { expectedVersion })
          assert.strictEqual(done.version, 2)
        }
        for (const expectedVersion of [any, noStream, exact(0)]) {
          yield* accounts.execute(id(`new ${expectedVersion._tag}`), open, { expectedVersion })
        }
        const refuses = (stream: string, actual: number, unexpected: ReadonlyArray<ExpectedVersion.ExpectedVersion>) =>
          Effect.forEach(unexpected, (expectedVersion) =>
            Effect.gen(function*() {
              Object.assign(calls, { loads: 0, appends: 0 })
              // a rejection if it were decided
              const command = actual === 0 ? deposit(1) : { _tag: "Withdraw", amount: 1_000 } as const
              const error = yield* Effect.flip(accounts.execute(id(stream), command, { expectedVersion }))
              assert.instanceOf(error, EventStore.VersionConflict)
              assert.deepInclude(error, { expected: expectedVersion, actual, attempts: 1 })
              assert.deepStrictEqual(error.stream, { aggregate: "Account", id: stream })
              assert.deepStrictEqual([calls.loads, calls.appends], [1, 0])
            }))
        yield* refuses("a", 2, [noStream, exact(0), exact(1), exact(3), exact(Number.MAX_SAFE_INTEGER)])
        yield* refuses("b", 0, [streamExists, exact(1)])
      })
  )

  each("after a lost race the command is decided again on an expected version only", () =>
    Effect.gen(function*() {
      const { accounts, calls } = yield* raced({ retry: Schedule.recurs(3) })
      calls.races = 1
      const done = yield* accounts.execute(id("a"), deposit(10), { expectedVersion: streamExists })
      assert.deepStrictEqual([done.version, done.state.balance], [4, 16])
      Object.assign(calls, { races: 1, loads: 0, appends: 0 })
      const error = yield* Effect.flip(accounts.execute(id("a"), deposit(10), { expectedVersion: exact(4) }))
      assert.deepInclude(error, { _tag: "VersionConflict", expected: exact(4), actual: 5, attempts: 1 })
      assert.deepStrictEqual([calls.loads, calls.appends], [1, 1])
      assert.strictEqual((yield* accounts.load(id("a"))).state.balance, 17)
    }))

  each(
    "a conflict that the retries could not resolve says how often the command was tried",
    () =>
      Effect.gen(function*() {
        const seen: Array<number> = []
        const retry = Schedule.tapInput(
          Schedule.recurs(2),
          (conflict: EventStore.VersionConflict) => Effect.sync(() => seen.push(conflict.attempts))
        )
        const { accounts, calls } = yield* raced({ retry })
        calls.races = Infinity
        const error = yield* Effect.flip(accounts.execute(id("a"), deposit(10)))
        assert.deepInclude(error, { _tag: "VersionConflict", expected: exact(4), actual: 5, attempts: 3 })
        assert.match(error.message, /at the last of 3 attempts/)
        assert.deepStrictEqual(seen, [1, 2, 3])
        const direct = yield* Effect.flip(
          (yield* EventStore.EventStore).append({ aggregate: "Account", id: "a" }, [], { expectedVersion: exact(1) })
        )
        assert.deepInclude(direct, { _tag: "VersionConflict", attempts: 1 })
      })
  )

  each("a state in the cache does not answer for the stream", () =>
    Effect.gen(function*() {
      const cached = yield* Repository.make(Account, { cache: { capacity: 10 } })
      yield* cached.execute(id("a"), open)
      yield* cached.load(id("a"))
      const other = yield* Repository.make(Account, { snapshots: SnapshotPolicy.none })
      yield* other.execute(id("a"), deposit(3))
      const late = yield* Effect.flip(cached.execute(id("a"), deposit(1), { expectedVersion: exact(1) }))
      assert.deepInclude(late, { _tag: "VersionConflict", actual: 2 })
      const done = yield* cached.execute(id("a"), deposit(1), { expectedVersion: exact(2) })
      assert.deepStrictEqual([done.version, done.state.balance], [3, 4])
    }))

  each("something else is a typed error, and nothing is done", () =>
    Effect.gen(function*() {
      const { accounts, calls } = yield* raced()
      const wrong: ReadonlyArray<unknown> = [
        ...[3, "Any", null, {}, { _tag: "Exactly" }, exact(-1), exact(1.5), exact(NaN), exact(Infinity)],
        {
          get _tag() {
            throw new Error("unreadable")
          }
        },
        // these show their fields to a look, and not to a copy
        Object.defineProperty({}, "_tag", { value: "NoStream" }),
        new Proxy(exact(1), { ownKeys: () => [] })
      ]
      for (const value of wrong) {
        // as a program without types may call it
        const options = { expectedVersion: value } as { readonly expectedVersion: typeof any }
        const error = yield* Effect.flip(accounts.execute(id("a"), deposit(1), options))
        assert.deepInclude(error, { _tag: "EventStoreError", reason: "InvalidInput", mayHaveAppended: false })
      }
      assert.deepStrictEqual([calls.loads, calls.appends], [0, 0])
      assert.instanceOf(
        yield* Effect.flip(accounts.execute(id("b"), deposit(1), { expectedVersion: undefined })),
        NotOpen
      )
    }))

  it("a conflict survives a round trip through JSON, also one without attempts", () => {
    const conflict = new EventStore.VersionConflict({
      stream: { aggregate: "Account", id: "a" },
      expected: exact(1),
      actual: 2,
      attempts: 7
    })
    const encoded = Schema.encodeSync(EventStore.VersionConflict)(conflict)
    const decode = Schema.decodeUnknownSync(EventStore.VersionConflict)
    assert.deepInclude(decode(JSON.parse(JSON.stringify(encoded))), { actual: 2, attempts: 7 })
    const { attempts: _, ...older } = encoded
    assert.strictEqual(decode(older).attempts, 1)
  })
})
