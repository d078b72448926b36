// a writer that holds its state answers as a repository that loads, whatever other writers do
import { SqlClient } from "@effect/sql"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Either, Exit, FastCheck as fc, Fiber, Layer, Option, Schema, Scope } from "effect"
import { Aggregate, EventStore, ExpectedVersion, Repository, SnapshotPolicy, SnapshotStore } from "effect-eventsourcing"
import { Faults, RecordingStores } from "effect-eventsourcing/testing"
import { Account, type AccountCommand, deposit, id, open, stream } from "./fixtures/Account.js"
import { backends, memoryStores, on } from "./utils/backends.js"
import { everything } from "./utils/mode.js"

const each = on(backends)

const withdraw = (amount: number) => ({ _tag: "Withdraw", amount }) as const

const account = id("a")

/** The stores of the test, which count their calls. */
const recorded = RecordingStores.layer

const operations = Effect.map(
  Effect.flatMap(RecordingStores.Stores, ({ calls }) => calls),
  (calls) => calls.map(({ operation }) => operation)
)

describe("a writer", () => {
  each("gives the results of a repository", () =>
    Effect.gen(function*() {
      const accounts = yield* Repository.make(Account)
      const writer = yield* accounts.hold(account)
      assert.deepInclude(yield* writer.load, { version: 0, exists: false, state: { open: false, balance: 0 } })
      assert.deepInclude(yield* writer.execute(open), { version: 1, duplicate: false })
      const executed = yield* writer.executeAll([deposit(2), deposit(3, 2)])
      assert.deepInclude(executed, { version: 4, state: { open: true, balance: 8 } })
      assert.lengthOf(executed.recorded, 3)
      assert.deepInclude(yield* Effect.flip(writer.execute(withdraw(9))), { _tag: "InsufficientFunds", balance: 8 })
      assert.deepInclude(yield* writer.execute(open), { version: 4, events: [] })
      assert.deepInclude(yield* writer.execute(withdraw(8)), { version: 5, state: { open: true, balance: 0 } })
      const { lastEventId, lastEventTime, state, version } = yield* writer.load
      const loaded = yield* accounts.load(account)
      assert.deepStrictEqual({ state, version, lastEventId, lastEventTime }, {
        state: loaded.state,
        version: loaded.version,
        lastEventId: loaded.lastEventId,
        lastEventTime: loaded.lastEventTime
      })
    }))

  each(
    "reads on after the appends of others, and never answers with a state that is older",
    () =>
      Effect.gen(function*() {
        const accounts = yield* Repository.make(Account)
        const writer = yield* accounts.hold(account)
        const rival = yield* accounts.hold(account)
        yield* writer.execute(open)
        yield* rival.execute(deposit(1))
        assert.deepInclude(yield* writer.load, { version: 2, replayed: 1, state: { open: true, balance: 1 } })
        yield* accounts.execute(account, deposit(10))
        assert.deepInclude(yield* writer.execute(deposit(100)), { version: 4, state: { open: true, balance: 111 } })
        assert.deepInclude(yield* rival.load, { version: 4, state: { open: true, balance: 111 } })
        const stale = yield* Effect.flip(writer.execute(deposit(1), { expectedVersion: ExpectedVersion.exact(3) }))
        assert.deepInclude(stale, { _tag: "VersionConflict", actual: 4 })
      })
  )

  each("rejects a command, or decides no events, only by the current state", () =>
    Effect.gen(function*() {
      const accounts = yield* Repository.make(Account)
      const writer = yield* accounts.hold(account)
      yield* Effect.flip(writer.execute(deposit(1)))
      yield* accounts.executeAll(account, [open, deposit(5)])
      assert.deepInclude(yield* writer.execute(withdraw(5)), { version: 3, state: { open: true, balance: 0 } })
      yield* accounts.execute(account, deposit(1))
      assert.deepInclude(yield* writer.execute(withdraw(1)), { version: 5, state: { open: true, balance: 0 } })
      yield* accounts.execute(account, deposit(2))
      const empty = yield* writer.execute(open, { expectedVersion: ExpectedVersion.exact(6) })
      assert.deepInclude(empty, { version: 6, events: [], state: { open: true, balance: 2 } })
    }))

  each("applies a command with an id once, whoever applied it first", () =>
    Effect.gen(function*() {
      const accounts = yield* Repository.make(Account)
      const writer = yield* accounts.hold(account)
      const rival = yield* accounts.hold(account)
      yield* writer.executeAll([open, deposit(5)])
      const first = yield* writer.execute(withdraw(5), { commandId: "c" })
      assert.deepInclude(first, { version: 3, duplicate: false })
      for (const other of [writer, rival]) {
        const repeated = yield* other.execute(withdraw(5), { commandId: "c" })
        assert.deepInclude(repeated, { version: 3, duplicate: true, state: { open: true, balance: 0 } })
      }
      assert.deepInclude(yield* writer.execute(deposit(1)), { version: 4, state: { open: true, balance: 1 } })
    }))

  each("bypasses the held state inside a transaction", () =>
    Effect.gen(function*() {
      const sql = yield* Effect.serviceOption(SqlClient.SqlClient)
      if (Option.isNone(sql)) return
      const accounts = yield* Repository.make(Account)
      const writer = yield* accounts.hold(account)
      yield* writer.execute(open)
      const rolledBack = yield* writer.execute(deposit(7)).pipe(
        Effect.zipRight(writer.load),
        Effect.flatMap(({ state }) => Effect.fail(state.balance)),
        sql.value.withTransaction,
        Effect.flip
      )
      assert.strictEqual(rolledBack, 7)
      assert.deepInclude(yield* writer.execute(deposit(1)), { version: 2, state: { open: true, balance: 1 } })
      yield* sql.value.withTransaction(writer.execute(deposit(2)))
      assert.deepInclude(yield* writer.execute(deposit(4)), { version: 4, state: { open: true, balance: 7 } })
    }))
})

describe("the round trips of a writer", () => {
  it.scoped("are one a command and one a load", () =>
    Effect.gen(function*() {
      const accounts = yield* Repository.make(Account)
      const { forget } = yield* RecordingStores.Stores
      const writer = yield* accounts.hold(account)
      yield* writer.execute(open)
      yield* forget
      yield* Effect.forEach([1, 2, 3], (amount) => writer.execute(deposit(amount), { commandId: `c${amount}` }))
      assert.deepStrictEqual(yield* operations, ["append", "append", "append"])
      yield* forget
      yield* writer.load
      assert.deepStrictEqual(yield* operations, ["readTail"])
      // before a rejection the writer reads on, and looks for an earlier try
      yield* forget
      yield* Effect.flip(writer.execute(withdraw(100), { commandId: "d" }))
      yield* writer.execute(deposit(1))
      assert.deepStrictEqual(yield* operations, ["readTail", "find", "append"])
    }).pipe(Effect.provide(recorded)))
})

/** The stores of which chosen calls fail. */
const failing = (plan: Faults.Plan) => Layer.provideMerge(Faults.layerEventStore(plan), memoryStores)

describe("a command of a writer that fails", () => {
  const outcomes: ReadonlyArray<readonly [name: string, fault: Faults.Fault, balance: number]> = [
    ["after its append", Faults.lostAcknowledgement, 5],
    ["before its append", Faults.fail, 0],
    ["with a defect after its append", Faults.after(Faults.die), 5]
  ]
  for (const [name, fault, balance] of outcomes) {
    it.scoped(`${name} drops the state`, () =>
      Effect.gen(function*() {
        const accounts = yield* Repository.make(Account)
        const writer = yield* accounts.hold(account)
        yield* writer.execute(open)
        assert.isTrue(Exit.isFailure(yield* Effect.exit(writer.execute(deposit(5), { commandId: "c" }))))
        assert.deepInclude(yield* writer.load, { state: { open: true, balance } })
        const repeated = yield* writer.execute(deposit(5), { commandId: "c" })
        assert.deepInclude(repeated, { version: 2, duplicate: balance > 0, state: { open: true, balance: 5 } })
      }).pipe(Effect.provide(failing(Faults.onCall("EventStore.append", 2, fault)))))
  }

  it.scoped("by interruption drops the state, and does not keep others from running", () =>
    Effect.gen(function*() {
      const accounts = yield* Repository.make(Account)
      const writer = yield* accounts.hold(account)
      yield* writer.execute(open)
      const fiber = yield* Effect.fork(writer.execute(deposit(5)))
      yield* Effect.yieldNow()
      const waiting = yield* Effect.fork(writer.execute(deposit(1)))
      yield* Effect.yieldNow()
      yield* Fiber.interrupt(fiber)
      assert.deepInclude(yield* Fiber.join(waiting), { version: 3, state: { open: true, balance: 6 } })
    }).pipe(Effect.provide(failing(Faults.onCall("EventStore.append", 2, Faults.after(Faults.hang))))))
})

/** `decide` changes the state that it is given, although it must not, and then refuses the command. */
const Careless = Aggregate.make({
  name: "Careless",
  id: Schema.String,
  state: Schema.Struct({ items: Schema.mutable(Schema.Array(Schema.Int)) }),
  event: Schema.TaggedStruct("Added", { item: Schema.Int }),
  command: Schema.TaggedStruct("Add", { item: Schema.Int }),
  initial: () => ({ items: new Array<number>() }),
  evolve: (state, { item }) => {
    state.items.push(item)
    return state
  },
  decide: (state, { item }) => {
    if (item < 0) {
      state.items.push(item)
      return Either.left("negative" as const)
    }
    return Either.right([{ _tag: "Added", item }] as const)
  }
})

describe("a decide that changes the state", () => {
  it.scoped("changes neither the state of later commands nor a snapshot", () =>
    Effect.gen(function*() {
      const lists = yield* Repository.make(Careless, { snapshots: SnapshotPolicy.manual })
      const writer = yield* lists.hold("a")
      const add = (item: number) => writer.execute({ _tag: "Add", item })
      yield* add(1)
      yield* Effect.flip(add(-1))
      assert.deepInclude(yield* add(2), { version: 2, state: { items: [1, 2] } })
      yield* Effect.flip(add(-2))
      const { snapshot } = yield* writer.createSnapshot
      assert.deepInclude(snapshot, { version: 2, state: { items: [1, 2] } })
      assert.deepInclude(yield* lists.verify("a"), { _tag: "Verified" })
    }).pipe(Effect.provide(memoryStores)))
})

describe("an evolve that changes the state", () => {
  it.scoped("leaves no trace of events that were not stored", () =>
    Effect.gen(function*() {
      const lists = yield* Repository.make(Careless)
      const writer = yield* lists.hold("a")
      const add = (item: number) => writer.execute({ _tag: "Add", item })
      yield* add(1)
      assert.deepInclude(yield* Effect.flip(add(2)), { _tag: "EventStoreError" })
      assert.deepInclude(yield* add(3), { version: 2, state: { items: [1, 3] } })
      assert.deepInclude((yield* lists.load("a")).state, { items: [1, 3] })
    }).pipe(Effect.provide(failing(Faults.onCall("EventStore.append", 2, Faults.fail)))))
})

describe("the snapshots of a writer", () => {
  const policies = {
    background: SnapshotPolicy.background({ every: 10 }),
    sync: SnapshotPolicy.sync({ every: 10 })
  }
  for (const [mode, snapshots] of Object.entries(policies)) {
    each(`in mode ${mode} are taken at the distance of the policy, and verify`, () =>
      Effect.gen(function*() {
        const accounts = yield* Repository.make(Account, { snapshots })
        const writer = yield* accounts.hold(account)
        yield* writer.execute(open)
        const versions = new Set<number>()
        for (let i = 0; i < 35; i++) {
          yield* writer.execute(deposit(i))
          yield* accounts.awaitPendingSnapshots
          const { snapshotVersion, state } = yield* accounts.load(account)
          versions.add(snapshotVersion)
          assert.deepStrictEqual(state, (yield* writer.load).state)
        }
        assert.deepStrictEqual(Array.from(versions), [0, 10, 20, 30])
        assert.deepInclude(yield* accounts.verify(account), { _tag: "Verified", snapshotVersion: 30 })
      }))
  }

  it.scoped("do not read the stream again", () =>
    Effect.gen(function*() {
      const accounts = yield* Repository.make(Account, { snapshots: policies.sync })
      const { calls, forget } = yield* RecordingStores.Stores
      const writer = yield* accounts.hold(account)
      yield* writer.execute(open)
      yield* forget
      for (let i = 0; i < 25; i++) yield* writer.execute(deposit(i))
      const reads = (yield* calls).flatMap((call) =>
        call.operation === "readTail" && Exit.isSuccess(call.outcome) ? [call.outcome.value] : []
      )
      // each save reads the one event that proves the state
      assert.deepStrictEqual(reads, [[10], [20]])
    }).pipe(Effect.provide(recorded)))

  const isOwn = { "in this process": true, "in another process": false }
  for (const [name, own] of Object.entries(isOwn)) {
    it.scoped(`are not taken of a state that was refuted ${name}`, () =>
      Effect.gen(function*() {
        const store = yield* SnapshotStore.SnapshotStore
        const accounts = yield* Repository.make(Account, { snapshots: policies.sync })
        const other = yield* Repository.make(Account, { snapshots: policies.sync })
        yield* accounts.executeAll(account, [open, deposit(1, 9)])
        // as if older code had taken the snapshot
        const taken = Option.getOrThrow(yield* store.get(stream("a"), { schemaVersion: 1 }))
        yield* store.delete(stream("a"))
        yield* store.save({ ...taken, state: JSON.stringify({ open: true, balance: 666 }) })
        const writer = yield* accounts.hold(account)
        assert.deepInclude((yield* writer.load).state, { balance: 666 })
        assert.deepInclude(yield* (own ? accounts : other).verify(account), { _tag: "Refuted", removed: true })
        if (own) assert.deepInclude((yield* writer.load).state, { balance: 9 })
        for (let i = 0; i < 10; i++) yield* writer.execute(deposit(1))
        assert.deepInclude((yield* accounts.load(account)).state, { balance: 19 })
        assert.deepInclude((yield* writer.load).state, { balance: 19 })
      }).pipe(Effect.provide(memoryStores)))
  }

  for (const mode of ["background", "sync", "manual"] as const) {
    it.scoped(`in mode ${mode} are taken when the writer closes, if enough events are new`, () =>
      Effect.gen(function*() {
        const snapshots = mode === "manual" ? SnapshotPolicy.manual : SnapshotPolicy[mode]({ every: 1_000 })
        const accounts = yield* Repository.make(Account, { snapshots })
        const used = (commands: number) =>
          Effect.scoped(Effect.gen(function*() {
            const writer = yield* accounts.hold(account, { snapshotOnClose: { after: 5 } })
            for (let i = 0; i < commands; i++) yield* writer.execute(i === 0 ? open : deposit(1))
          })).pipe(
            Effect.zipRight(accounts.awaitPendingSnapshots),
            Effect.zipRight(accounts.load(account)),
            Effect.map(({ snapshotVersion }) => snapshotVersion)
          )
        assert.strictEqual(yield* used(4), 0)
        assert.strictEqual(yield* used(3), 6)
        assert.strictEqual(yield* used(5), 6)
        assert.strictEqual(yield* used(3), 12)
      }).pipe(Effect.provide(memoryStores)))
  }

  it.scoped("need a policy, and a count that makes sense", () =>
    Effect.gen(function*() {
      const accounts = yield* Repository.make(Account, { snapshots: SnapshotPolicy.manual })
      for (const after of [0, -1, NaN, 1.5, Infinity]) {
        const refused = yield* Effect.flip(accounts.hold(account, { snapshotOnClose: { after } }))
        assert.strictEqual(refused._tag, "InvalidOption")
      }
      const plain = yield* Repository.make(Account)
      const refused = yield* Effect.flip(plain.hold(account, { snapshotOnClose: { after: 1 } }))
      assert.include(refused.message, "SnapshotPolicy")
    }).pipe(Effect.provide(memoryStores)))

  it.scoped("are not those of a closed writer, which loads for each operation", () =>
    Effect.gen(function*() {
      const store = yield* SnapshotStore.SnapshotStore
      const accounts = yield* Repository.make(Account, { snapshots: policies.sync })
      yield* accounts.executeAll(account, [open, deposit(1, 9)])
      const taken = Option.getOrThrow(yield* store.get(stream("a"), { schemaVersion: 1 }))
      for (const snapshotOnClose of [undefined, { after: 100 }]) {
        yield* store.delete(stream("a"))
        yield* store.save({ ...taken, state: JSON.stringify({ open: true, balance: 666 }) })
        const writer = yield* Effect.scoped(accounts.hold(account, { snapshotOnClose }))
        yield* writer.load
        yield* accounts.verify(account)
        assert.deepInclude((yield* writer.load).state, { balance: 9 })
        assert.deepInclude(yield* Effect.flip(writer.execute(withdraw(600))), { balance: 9 })
      }
    }).pipe(Effect.provide(memoryStores)))
})

describe("long histories", () => {
  it.scoped("are kept as the text of the state, which later commands and snapshots begin from", () =>
    Effect.gen(function*() {
      const accounts = yield* Repository.make(Account, { snapshots: SnapshotPolicy.manual })
      const writer = yield* accounts.hold(account)
      yield* writer.execute(open)
      let balance = 0
      for (let i = 0; i < 60; i++) {
        yield* writer.execute(deposit(1, 50))
        balance += 50
        yield* Effect.flip(writer.execute(withdraw(100_000)))
      }
      assert.deepInclude((yield* writer.createSnapshot).snapshot, { version: 3_001, state: { open: true, balance } })
      assert.deepInclude(yield* accounts.verify(account), { _tag: "Verified" })
    }).pipe(Effect.provide(memoryStores)))
})

/** The state that the commands so far lead to. */
class Model {
  open = false
  balance = 0
  version = 0
  readonly done = new Map<string, number>()

  /** The version that the command returns, or the tag of its rejection. */
  execute(
    command: AccountCommand,
    commandId: string
  ): { readonly version: number; readonly duplicate: boolean } | string {
    const earlier = this.done.get(commandId)
    if (earlier !== undefined) return { version: earlier, duplicate: true }
    if (command._tag === "Open") {
      if (this.open) return { version: this.version, duplicate: false }
      this.open = true
    } else if (!this.open) {
      return "NotOpen"
    } else if (command._tag === "Withdraw") {
      if (command.amount > this.balance) return "InsufficientFunds"
      this.balance -= command.amount
    } else {
      this.balance += command.amount
    }
    this.done.set(commandId, ++this.version)
    return { version: this.version, duplicate: false }
  }
}

type Trouble = "none" | "before" | "after" | "interrupted"

/** An event store whose next append meets trouble. */
const troubled = (store: EventStore.EventStore["Type"]) => {
  const next: { trouble: Trouble } = { trouble: "none" }
  const lost = new EventStore.EventStoreError({
    operation: "append",
    reason: "Unavailable",
    mayHaveAppended: true,
    detail: "the acknowledgement is lost"
  })
  const append: EventStore.EventStore["Type"]["append"] = (...input) =>
    Effect.suspend(() => {
      const { trouble } = next
      const met = Effect.sync(() => {
        next.trouble = "none"
      })
      switch (trouble) {
        case "before":
          return Effect.zipRight(met, Effect.fail(lost))
        // an append that meets a conflict is tried again, and the trouble with it
        case "after":
          return store.append(...input).pipe(Effect.zipRight(met), Effect.zipRight(Effect.fail(lost)))
        case "interrupted":
          return store.append(...input).pipe(Effect.zipRight(met), Effect.zipRight(Effect.interrupt))
        case "none":
          return store.append(...input)
      }
    })
  return { next, store: EventStore.EventStore.of({ ...store, append }) }
}

const commands: fc.Arbitrary<AccountCommand> = fc.oneof(
  { weight: 1, arbitrary: fc.constant(open) },
  { weight: 4, arbitrary: fc.nat(9).map((amount) => ({ _tag: "Deposit", amount } as const)) },
  { weight: 3, arbitrary: fc.nat(20).map(withdraw) }
)

const who = fc.nat(3)

const step = fc.oneof(
  {
    weight: 10,
    arbitrary: fc.record({
      do: fc.constant("execute" as const),
      by: who,
      command: commands,
      // few ids, so that commands are repeated
      commandId: fc.nat(40).map((n) => `c${n}`),
      trouble: fc.constantFrom<Trouble>("none", "none", "none", "none", "before", "after", "interrupted")
    })
  },
  { weight: 3, arbitrary: fc.record({ do: fc.constant("load" as const), by: who }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("snapshot" as const), by: who }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("verify" as const), by: who }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("begin again" as const), by: who }) }
)

/** Three writers, and a repository that loads each time: all of one account. */
const makeWriters = (name: string) =>
  Effect.gen(function*() {
    const { next, store } = troubled(yield* EventStore.EventStore)
    const make = (options: Repository.Options) =>
      Effect.provideService(Repository.make(Account, options), EventStore.EventStore, store)
    const repositories = [
      yield* make({ snapshots: SnapshotPolicy.sync({ every: 3 }) }),
      yield* make({ snapshots: SnapshotPolicy.background({ every: 5 }), cache: { capacity: 4 } }),
      yield* make({ snapshots: SnapshotPolicy.manual }),
      yield* make({ snapshots: SnapshotPolicy.manual })
    ]
    const hold = (by: number) =>
      Effect.gen(function*() {
        const scope = yield* Scope.make()
        const writer = yield* Scope.extend(
          repositories[by].hold(id(name), { snapshotOnClose: { after: 2 } }),
          scope
        )
        return { writer, scope }
      })
    const plain = repositories[3]
    const held = yield* Effect.forEach([0, 1, 2], hold)
    return {
      next,
      plain,
      awaitPending: Effect.forEach(repositories, (repository) => repository.awaitPendingSnapshots),
      execute: (by: number, command: AccountCommand, commandId: string) =>
        by === 3
          ? plain.execute(id(name), command, { commandId })
          : held[by].writer.execute(command, { commandId }),
      load: (by: number) => by === 3 ? plain.load(id(name)) : held[by].writer.load,
      snapshot: (by: number) => by === 3 ? plain.createSnapshot(id(name)) : held[by].writer.createSnapshot,
      verify: (by: number) => repositories[by].verify(id(name)),
      beginAgain: (by: number) =>
        by === 3 ? Effect.void : Effect.gen(function*() {
          yield* Scope.close(held[by].scope, Exit.void)
          held[by] = yield* hold(by)
        }),
      close: Effect.forEach(held, ({ scope }) => Scope.close(scope, Exit.void))
    }
  })

let runs = 0

describe("several writers", () => {
  each(
    "agree with a model after any commands, lost acknowledgements, interruptions and snapshots",
    () =>
      Effect.gen(function*() {
        const runtime = yield* Effect.runtime<EventStore.EventStore | SnapshotStore.SnapshotStore | Scope.Scope>()
        const run = (steps: ReadonlyArray<typeof step extends fc.Arbitrary<infer Step> ? Step : never>) =>
          Effect.gen(function*() {
            const model = new Model()
            const writers = yield* makeWriters(`m${++runs}`)
            const agree = (by: number) =>
              Effect.map(
                writers.load(by),
                ({ state, version }) =>
                  assert.deepStrictEqual([state, version], [
                    { open: model.open, balance: model.balance },
                    model.version
                  ])
              )
            for (const step of steps) {
              const { by } = step
              switch (step.do) {
                case "load":
                  yield* agree(by)
                  break
                case "snapshot": {
                  const created = yield* Effect.either(writers.snapshot(by))
                  if (Either.isLeft(created)) {
                    assert.deepInclude(created.left, { _tag: "EmptyStream" })
                    break
                  }
                  // the state in hand may be older than the events of others
                  const { version } = created.right.snapshot
                  if (by === 3) assert.strictEqual(version, model.version)
                  else assert.isTrue(version >= 1 && version <= model.version)
                  break
                }
                case "verify":
                  assert.notStrictEqual((yield* writers.verify(by))._tag, "Refuted")
                  break
                case "begin again":
                  yield* writers.beginAgain(by)
                  break
                case "execute": {
                  const { command, commandId, trouble } = step
                  writers.next.trouble = trouble
                  const exit = yield* Effect.exit(writers.execute(by, command, commandId))
                  const met = writers.next.trouble !== trouble
                  writers.next.trouble = "none"
                  if (met && trouble === "before") {
                    assert.isTrue(Exit.isFailure(exit))
                    break
                  }
                  const expected = model.execute(command, commandId)
                  const isDuplicate = typeof expected !== "string" && expected.duplicate
                  if (met && !(isDuplicate && Exit.isSuccess(exit))) {
                    assert.isTrue(Exit.isFailure(exit))
                  } else if (typeof expected === "string") {
                    assert.strictEqual((yield* Effect.flip(exit))._tag, expected)
                  } else {
                    const { duplicate, state, version } = yield* exit
                    assert.deepStrictEqual({ duplicate, version }, expected)
                    assert.deepStrictEqual(state, { open: model.open, balance: model.balance })
                  }
                }
              }
            }
            for (const by of [0, 1, 2, 3]) yield* agree(by)
            yield* writers.close
            yield* writers.awaitPending
            for (const by of [0, 1, 2, 3]) {
              assert.notStrictEqual((yield* writers.verify(by))._tag, "Refuted")
              yield* agree(by)
            }
          })
        yield* Effect.promise(() =>
          fc.assert(
            fc.asyncProperty(
              fc.array(step, { maxLength: 40 }),
              (steps) => run(steps).pipe(Effect.provide(runtime), Effect.runPromise)
            ),
            { numRuns: everything ? 100 : 20 }
          )
        )
      })
  )

  each("that run at the same time lose no command and double none", () =>
    Effect.gen(function*() {
      const writers = yield* makeWriters(`c${++runs}`)
      yield* writers.execute(3, open, "open")
      const sent = Array.from({ length: 60 }, (_, n) => ({ by: n % 4, commandId: `c${n % 40}` }))
      const results = yield* Effect.forEach(
        sent,
        ({ by, commandId }) => writers.execute(by, deposit(1), commandId),
        { concurrency: 8 }
      )
      assert.lengthOf(results.filter(({ duplicate }) => !duplicate), 40)
      assert.lengthOf(new Set(results.map(({ version }) => version)), 40)
      yield* writers.awaitPending
      for (const by of [0, 1, 2, 3]) {
        assert.deepInclude(yield* writers.load(by), { version: 41, state: { open: true, balance: 40 } })
        assert.notStrictEqual((yield* writers.verify(by))._tag, "Refuted")
      }
    }))
})
