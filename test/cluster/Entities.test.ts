// an aggregate behind an entity answers as a repository does; one process, without sockets
import { TestRunner } from "@effect/cluster"
import { assert, describe, it } from "@effect/vitest"
import { Cause, Context, Effect, Exit, Layer, Option } from "effect"
import { Event, ExpectedVersion, Repository, SnapshotPolicy, StreamId } from "effect-eventsourcing"
import { AggregateEntity } from "effect-eventsourcing/cluster"
import { memoryStores } from "../utils/backends.js"
import { Account, deposit, id, InsufficientFunds, last, open, withdraw } from "./fixture.js"

const entities = { false: AggregateEntity.make(Account), true: AggregateEntity.make(Account, { persisted: true }) }

const cluster = Layer.provideMerge(TestRunner.layer, memoryStores)

for (const [persisted, entity] of Object.entries(entities)) {
  describe(`an entity with persisted: ${persisted}`, () => {
    const runner = Layer.provideMerge(
      AggregateEntity.layer(entity, { snapshots: SnapshotPolicy.background({ every: 5 }) }),
      cluster
    )

    it.scopedLive("executes commands, loads and rejects in the types of the aggregate", () =>
      Effect.gen(function*() {
        const accounts = yield* AggregateEntity.client(entity)
        const local = yield* Repository.make(Account)
        assert.deepInclude(yield* accounts.load(id("a")), { version: 0, exists: false })
        const executed = yield* accounts.executeAll(id("a"), [open, deposit(5)], { metadata: { by: "me" } }).pipe(
          Effect.provideService(Event.CurrentMetadata, { user: "u" })
        )
        assert.deepInclude(executed, { version: 2, duplicate: false, state: { open: true, balance: 5, last } })
        assert.deepStrictEqual(executed.events, [{ _tag: "Opened" }, { ...deposit(5), _tag: "Deposited" }])
        const [, written] = executed.recorded
        assert.deepInclude(written.metadata, { by: "me", user: "u" })
        assert.deepStrictEqual(written.stream, StreamId.make("Account", "a"))
        assert.deepStrictEqual(written.position, executed.position)
        const rejection = yield* Effect.flip(accounts.execute(id("a"), withdraw(6)))
        assert.instanceOf(rejection, InsufficientFunds)
        assert.deepInclude(rejection, { balance: 5 })
        const conflict = yield* Effect.flip(
          accounts.execute(id("a"), withdraw(1), { expectedVersion: ExpectedVersion.exact(1) })
        )
        assert.deepInclude(conflict, { _tag: "VersionConflict", actual: 2 })
        const loaded = yield* accounts.load(id("a"))
        const expected = yield* local.load(id("a"))
        for (const key of ["id", "version", "state", "exists", "lastEventId", "lastEventTime"] as const) {
          assert.deepStrictEqual(loaded[key], expected[key])
        }
      }).pipe(Effect.provide(runner)))

    it.scopedLive("applies a command with an id once", () =>
      Effect.gen(function*() {
        const accounts = yield* AggregateEntity.client(entity)
        yield* accounts.executeAll(id("a"), [open, deposit(5)])
        const first = yield* accounts.execute(id("a"), withdraw(5), { commandId: "c" })
        const repeated = yield* accounts.execute(id("a"), withdraw(5), { commandId: "c" })
        assert.deepStrictEqual({ ...repeated, duplicate: false }, first)
        assert.isTrue(repeated.duplicate)
        // a rejected command is not remembered
        yield* Effect.flip(accounts.execute(id("a"), withdraw(1), { commandId: "d" }))
        yield* accounts.execute(id("a"), deposit(1))
        assert.deepInclude(yield* accounts.execute(id("a"), withdraw(1), { commandId: "d" }), { version: 5 })
      }).pipe(Effect.provide(runner)))

    it.scopedLive("gives a defect of decide to the caller, and goes on", () =>
      Effect.gen(function*() {
        const accounts = yield* AggregateEntity.client(entity)
        yield* accounts.execute(id("a"), open)
        for (let i = 0; i < 3; i++) {
          const exit = yield* Effect.exit(accounts.execute(id("a"), { _tag: "Throw" }))
          assert.isTrue(Exit.isFailure(exit) && Cause.isDie(exit.cause), String(exit))
          assert.include(Exit.isFailure(exit) ? Cause.pretty(exit.cause) : "", "decide threw")
          assert.deepInclude(yield* accounts.execute(id("a"), deposit(1)), { version: i + 2 })
        }
      }).pipe(Effect.provide(runner)))

    it.scopedLive("sees what a repository beside it has appended", () =>
      Effect.gen(function*() {
        const accounts = yield* AggregateEntity.client(entity)
        const local = yield* Repository.make(Account)
        yield* accounts.execute(id("a"), open)
        yield* local.execute(id("a"), deposit(3))
        assert.deepInclude(yield* accounts.load(id("a")), { version: 2, state: { open: true, balance: 3, last } })
        yield* local.execute(id("a"), deposit(3))
        assert.deepInclude(yield* accounts.execute(id("a"), withdraw(6)), { version: 4 })
      }).pipe(Effect.provide(runner)))
  })
}

class Accounts extends Context.Tag("test/Accounts")<Accounts, Repository.Repository<typeof Account>>() {}

describe("a program that gets a repository", () => {
  const program = Effect.gen(function*() {
    const accounts = yield* Accounts
    yield* accounts.executeAll(id("a"), [open, deposit(2)])
    const rejection = yield* Effect.flip(accounts.execute(id("a"), withdraw(3)))
    yield* accounts.execute(id("a"), withdraw(2))
    const { state, version } = yield* accounts.load(id("a"))
    const at = yield* accounts.loadAt(id("a"), 2)
    yield* accounts.createSnapshot(id("a"))
    return {
      rejection: rejection._tag,
      state,
      version,
      before: at.state.balance,
      verified: yield* accounts.verify(id("a"))
    }
  })

  it.live("moves to a cluster by a layer", () =>
    Effect.gen(function*() {
      const entity = AggregateEntity.make(Account)
      const local = Repository.layer(Accounts, Account, { snapshots: SnapshotPolicy.manual })
      const spread = Layer.merge(AggregateEntity.repository(Accounts, entity), AggregateEntity.layer(entity))
      const expected = yield* Effect.provide(program, Layer.provide(local, memoryStores))
      assert.deepInclude(expected, { rejection: "InsufficientFunds", version: 3, before: 2 })
      assert.deepStrictEqual(yield* Effect.provide(program, Layer.provide(spread, cluster)), expected)
      assert.deepStrictEqual(expected.state.last, Option.some(deposit(1).on))
    }))
})
