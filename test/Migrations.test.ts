import { assert, describe, it } from "@effect/vitest"
import { Arbitrary, DateTime, Effect, Either, FastCheck as fc, Option, Schema } from "effect"
import {
  Aggregate,
  EventStore,
  ExpectedVersion,
  InvalidOption,
  Repository,
  Snapshot,
  SnapshotPolicy,
  SnapshotStore,
  StreamId,
  Versions
} from "effect-eventsourcing"
import { Account, AccountEvent, deposit, Deposited, id, open } from "./fixtures/Account.js"
import {
  AccountV2,
  AccountV3,
  AccountV3Broken,
  AccountV3From2,
  AccountV3Plain,
  AccountV3Transformed,
  StateV2,
  StateV3,
  twoToThree
} from "./fixtures/AccountVersions.js"
import { each } from "./utils/backends.js"
import { everything } from "./utils/mode.js"

const stream = StreamId.make("Account", "a")
const events = fc.array(Arbitrary.make(AccountEvent), { maxLength: 40 })

const sync = SnapshotPolicy.sync({ every: 10 })

const rowOf = (schemaVersion: number) =>
  Effect.flatMap(SnapshotStore.SnapshotStore, (store) =>
    Effect.map(
      store.get(stream, { schemaVersion }),
      Option.filter((row) => row.schemaVersion === schemaVersion)
    ))

/** What one version of the program leaves behind: a stream with `count` events, and its snapshot at the end. */
const leave = <Name extends string, Id, State, Event, Command, Rejection>(
  aggregate: Aggregate.Aggregate<Name, Id, State, Event, Command, Rejection>,
  id: Id,
  commands: ReadonlyArray<Command>
) =>
  Effect.gen(function*() {
    const accounts = yield* Repository.make(aggregate, { snapshots: SnapshotPolicy.manual })
    yield* accounts.executeAll(id, commands)
    return yield* accounts.createSnapshot(id)
  })

describe("the law: migrate(old snapshot) = replay", () => {
  const encoded = <Name extends string, Id, State, Event, Command, Rejection>(
    aggregate: Aggregate.Aggregate<Name, Id, State, Event, Command, Rejection>,
    state: State
  ) =>
    Either.getOrThrow(
      Snapshot.encode(aggregate, { stream, version: 1, eventId: "e", state, time: DateTime.unsafeMake(0) })
    )

  for (const [name, aggregate] of Object.entries({ AccountV3, AccountV3Transformed })) {
    it.prop(`from every version to the last (${name})`, [events], ([events]) => {
      const replayed = Aggregate.replay(aggregate, id("a"), events)
      const one = encoded(Account, Aggregate.replay(Account, id("a"), events))
      const two = encoded(AccountV2, Aggregate.replay(AccountV2, id("a"), events))
      const three = encoded(aggregate, replayed)
      for (const old of [one, two, three]) {
        const { schemaVersion, state } = Either.getOrThrow(Snapshot.decode(aggregate, old))
        assert.isTrue(Schema.equivalence(StateV3)(state, replayed))
        assert.strictEqual(schemaVersion, old.schemaVersion)
      }
    })
  }
})

describe("a load with a newer definition", () => {
  each(
    "migrates the snapshot of old code, keeps it as its own, and leaves the old one alone",
    () =>
      Effect.gen(function*() {
        yield* leave(Account, id("a"), [open, deposit(1, 19)])
        const before = yield* rowOf(1)
        const now = yield* Repository.make(AccountV3, { snapshots: sync })
        const first = yield* now.load(id("a"))
        assert.deepInclude(first, { version: 20, snapshotVersion: 20, replayed: 0 })
        assert.deepStrictEqual(first.snapshotOutcome, { _tag: "Migrated", from: 1 })
        assert.deepStrictEqual(first.state, { status: "open", cents: 1_900n, currency: "EUR" })
        assert.deepInclude(yield* now.load(id("a")), {
          snapshotVersion: 20,
          replayed: 0,
          snapshotOutcome: { _tag: "Hit" }
        })
        assert.deepStrictEqual(yield* rowOf(1), before)
        assert.isTrue(Option.isSome(yield* rowOf(3)))
        assert.deepInclude(yield* (yield* Repository.make(Account, { snapshots: sync })).load(id("a")), {
          snapshotVersion: 20,
          snapshotOutcome: { _tag: "Hit" }
        })
      })
  )

  each("folds the tail after the migrated state, and a command does the same", () =>
    Effect.gen(function*() {
      yield* leave(AccountV2, id("a"), [open, deposit(1, 19)])
      yield* (yield* Repository.make(Account)).execute(id("a"), deposit(5, 3))
      const now = yield* Repository.make(AccountV3, { snapshots: SnapshotPolicy.background({ every: 1_000 }) })
      const done = yield* now.execute(id("a"), deposit(1))
      assert.deepStrictEqual(done.state, { status: "open", cents: 3_500n, currency: "EUR" })
      // whatever the distance says: no load should have to migrate again
      yield* now.awaitPendingSnapshots
      assert.deepInclude(yield* now.load(id("a")), {
        version: 24,
        snapshotVersion: 24,
        snapshotOutcome: { _tag: "Hit" }
      })
    }))

  each("prefers its own row, then the newest that it can migrate", () =>
    Effect.gen(function*() {
      yield* leave(Account, id("a"), [open, deposit(1, 9)])
      yield* leave(AccountV2, id("a"), [deposit(1, 10)])
      yield* leave(AccountV3Plain, id("a"), [deposit(1, 10)])
      yield* leave(Account, id("a"), [deposit(1, 10)])
      const now = yield* Repository.make(AccountV3, { snapshots: SnapshotPolicy.manual })
      const store = yield* SnapshotStore.SnapshotStore
      const outcomes = []
      for (const gone of [3, 2, 1]) {
        const { snapshotOutcome: snapshot, snapshotVersion, state, version } = yield* now.load(id("a"))
        assert.strictEqual(state.cents, 3_900n)
        outcomes.push([snapshot._tag, snapshotVersion, version - snapshotVersion])
        yield* store.delete(stream, { schemaVersion: gone })
      }
      assert.deepStrictEqual(outcomes, [["Hit", 30, 10], ["Migrated", 20, 20], ["Migrated", 40, 0]])
      assert.deepInclude(yield* now.load(id("a")), { replayed: 40, snapshotOutcome: { _tag: "None" } })
    }))

  each("skips a drifted snapshot for an older one that it can migrate", () =>
    Effect.gen(function*() {
      yield* leave(Account, id("a"), [open, deposit(1, 9)])
      yield* leave(AccountV2, id("a"), [deposit(1, 10)])
      const store = yield* SnapshotStore.SnapshotStore
      const two = yield* Effect.flatten(rowOf(2))
      yield* store.delete(stream, { schemaVersion: 2 })
      yield* store.save({ ...two, fingerprint: "another" })
      const now = yield* Repository.make(AccountV3, { snapshots: SnapshotPolicy.manual })
      assert.deepInclude(yield* now.load(id("a")), {
        snapshotVersion: 10,
        snapshotOutcome: { _tag: "Migrated", from: 1 }
      })
      // but its own row is its own, and if that drifted there is something to look at
      const own = yield* leave(AccountV3, id("a"), [deposit(1, 1)])
      yield* store.delete(stream, { schemaVersion: 3 })
      yield* store.save({ ...two, version: 21, eventId: own.snapshot.eventId, schemaVersion: 3, fingerprint: "x" })
      const drifted = yield* now.load(id("a"))
      assert.deepInclude(drifted, { snapshotVersion: 0, replayed: 21 })
      assert.strictEqual(drifted.snapshotOutcome._tag, "SchemaDrift")
    }))

  each("applies a step only to a snapshot of its own source schema", () =>
    Effect.gen(function*() {
      yield* leave(Account, id("a"), [open, deposit(1, 9)])
      const store = yield* SnapshotStore.SnapshotStore
      const one = yield* Effect.flatten(rowOf(1))
      yield* store.delete(stream)
      yield* store.save({ ...one, fingerprint: "another" })
      const now = yield* Repository.make(AccountV3, { snapshots: sync })
      const loaded = yield* now.load(id("a"))
      assert.deepInclude(loaded, { snapshotVersion: 0, replayed: 10 })
      assert.instanceOf(loaded.snapshotOutcome, Snapshot.SchemaDrift)
      assert.deepInclude(loaded.snapshotOutcome, { schemaVersion: 1, found: "another", expected: Account.fingerprint })
      assert.strictEqual((yield* now.load(id("a"))).snapshotOutcome._tag, "Hit")
      assert.strictEqual((yield* Effect.flatten(rowOf(1))).fingerprint, "another")
    }))

  for (
    const [name, aggregate] of [
      [
        "that throws",
        AccountV3Broken(() => {
          throw new Error("planned")
        })
      ],
      ["that gives no state", AccountV3Broken((state) => JSON.parse(JSON.stringify(state)))]
    ] as const
  ) {
    each(`a step ${name} leads to a replay`, () =>
      Effect.gen(function*() {
        yield* leave(Account, id("a"), [open, deposit(1, 9)])
        const now = yield* Repository.make(aggregate, { snapshots: sync })
        const loaded = yield* now.load(id("a"))
        assert.deepInclude(loaded, { snapshotVersion: 0, replayed: 10 })
        assert.strictEqual(loaded.snapshotOutcome._tag, "StateDecodeError")
        assert.strictEqual(loaded.state.cents, 900n)
        assert.strictEqual((yield* now.load(id("a"))).snapshotOutcome._tag, "Hit")
        assert.isTrue(Option.isSome(yield* rowOf(1)))
      }))
  }

  each(
    "replays where the history is not that of the old snapshot, and leaves the row to its owners",
    () =>
      Effect.gen(function*() {
        yield* leave(Account, id("a"), [open, deposit(1, 9)])
        const store = yield* SnapshotStore.SnapshotStore
        const one = yield* Effect.flatten(rowOf(1))
        yield* store.delete(stream)
        yield* store.save({ ...one, eventId: "of another history" })
        const now = yield* Repository.make(AccountV3, { snapshots: sync })
        const loaded = yield* now.load(id("a"))
        assert.deepInclude(loaded, { snapshotVersion: 0, replayed: 10 })
        assert.strictEqual(loaded.snapshotOutcome._tag, "HistoryMismatch")
        assert.strictEqual((yield* now.load(id("a"))).snapshotOutcome._tag, "Hit")
        assert.isTrue(Option.isSome(yield* rowOf(1)))
      })
  )

  each("without migrations, or from a version before the chain, it replays", () =>
    Effect.gen(function*() {
      yield* leave(Account, id("a"), [open, deposit(1, 9)])
      for (const aggregate of [AccountV3Plain, AccountV3From2]) {
        const now = yield* Repository.make(aggregate, { snapshots: SnapshotPolicy.manual })
        const loaded = yield* now.load(id("a"))
        assert.instanceOf(loaded.snapshotOutcome, Snapshot.SchemaVersionMismatch)
        assert.deepInclude(loaded.snapshotOutcome, { found: 1, expected: 3 })
        assert.deepInclude(loaded, { replayed: 10, snapshotVersion: 0 })
      }
    }))

  each("old code does not change the rows of newer code", () =>
    Effect.gen(function*() {
      yield* leave(AccountV3, id("a"), [open, deposit(1, 19)])
      const three = yield* rowOf(3)
      const old = yield* Repository.make(AccountV2, { snapshots: sync })
      const loaded = yield* old.load(id("a"))
      assert.instanceOf(loaded.snapshotOutcome, Snapshot.SchemaVersionMismatch)
      assert.deepInclude(loaded.snapshotOutcome, { found: 3, expected: 2 })
      assert.deepInclude(yield* old.load(id("a")), { snapshotVersion: 20, snapshotOutcome: { _tag: "Hit" } })
      assert.deepStrictEqual(yield* rowOf(3), three)
    }))

  each("with the policy never, a migrated snapshot is not saved", () =>
    Effect.gen(function*() {
      yield* leave(Account, id("a"), [open, deposit(1, 19)])
      const now = yield* Repository.make(AccountV3, { snapshots: SnapshotPolicy.sync({ when: SnapshotPolicy.never }) })
      yield* now.load(id("a"))
      assert.strictEqual((yield* now.load(id("a"))).snapshotOutcome._tag, "Migrated")
    }))

  each("the distance of the policy counts from the row of the current version", () =>
    Effect.gen(function*() {
      yield* leave(AccountV3, id("a"), [open, deposit(1, 9)])
      yield* leave(Account, id("a"), [deposit(1, 8)])
      const now = yield* Repository.make(AccountV3, { snapshots: sync })
      assert.deepInclude(yield* now.load(id("a")), { version: 18, snapshotVersion: 10, replayed: 8 })
      yield* now.execute(id("a"), deposit(1))
      assert.strictEqual(Option.getOrThrow(yield* rowOf(3)).version, 10)
      yield* now.execute(id("a"), deposit(1))
      assert.strictEqual(Option.getOrThrow(yield* rowOf(3)).version, 20)
    }))
})

describe("the snapshot that a load reads", () => {
  const fingerprint = fc.constantFrom("f", "g", "g h")
  const choice = fc.record({
    rows: fc.uniqueArray(
      fc.record({
        schemaVersion: fc.integer({ min: 1, max: 5 }),
        fingerprint,
        version: fc.integer({ min: 1, max: 9 })
      }),
      { selector: ({ schemaVersion }) => schemaVersion, maxLength: 4 }
    ),
    schemaVersion: fc.integer({ min: 1, max: 5 }),
    fingerprint: fc.option(fingerprint, { nil: undefined }),
    migratable: fc.array(fc.record({ schemaVersion: fc.integer({ min: 1, max: 4 }), fingerprint }), { maxLength: 3 })
  })

  each("is the same in one statement and in two, with the same start of the tail", () =>
    Effect.gen(function*() {
      const store = yield* EventStore.EventStore
      const snapshots = yield* SnapshotStore.SnapshotStore
      const appended = Array.from({ length: 9 }, () => ({
        id: crypto.randomUUID(),
        type: "Deposited",
        payload: Deposited.make({ amount: 1 })
      }))
      yield* store.append(stream, appended, { expectedVersion: ExpectedVersion.any })
      const atOnce = store.replay.withSnapshots(snapshots)
      for (const { rows, ...options } of fc.sample(choice, { numRuns: 150, seed: 1 })) {
        const migratable = options.migratable.filter(({ schemaVersion }) => schemaVersion < options.schemaVersion)
        yield* snapshots.delete(stream)
        yield* Effect.forEach(rows, (row) =>
          snapshots.save({ ...row, stream, eventId: appended[row.version - 1].id, state: "{}", time: 0 }))
        const newest = [...rows].sort((a, b) =>
          b.schemaVersion - a.schemaVersion
        )
        const isMigratable = (row: typeof newest[number]) =>
          migratable.some((schema) =>
            schema.schemaVersion === row.schemaVersion && schema.fingerprint === row.fingerprint
          )
        const isOwn = (row: typeof newest[number]) => row.schemaVersion === options.schemaVersion
        const wanted = newest.find(isOwn) ?? newest.find(isMigratable) ??
          newest.find((row) => row.schemaVersion <= options.schemaVersion) ?? newest.at(0)
        const found = yield* snapshots.get(stream, { schemaVersion: options.schemaVersion, migratable })
        assert.strictEqual(Option.getOrUndefined(found)?.schemaVersion, wanted?.schemaVersion)
        if (Option.isNone(atOnce)) continue
        const { events, snapshot } = yield* atOnce.value.read(stream, { ...options, migratable, limit: 4 })
        assert.deepStrictEqual(snapshot, found)
        const isUsable = wanted !== undefined && (isMigratable(wanted) ||
          isOwn(wanted) && (options.fingerprint === undefined || options.fingerprint === wanted.fingerprint))
        const from = isUsable ? wanted.version : 1
        assert.deepStrictEqual(
          events.map(({ version }) => version),
          Array.from({ length: Math.min(4, 10 - from) }, (_, index) => from + index)
        )
      }
    }))
})

describe("an invalid chain is rejected when the aggregate is defined", () => {
  const make = (migrations: Versions.Versions<number, number, StateV3>, schemaVersion: number = 3) => () =>
    Aggregate.make({
      name: "Account",
      id: Schema.String,
      state: StateV3,
      event: AccountEvent,
      command: Schema.String,
      schemaVersion,
      migrations,
      initial: () => AccountV3.initial(id("a")),
      evolve: AccountV3.evolve,
      decide: () => Either.right([])
    })
  const toThree = Versions.from(2, StateV2).to(StateV3, twoToThree)

  it("a valid chain is accepted", () => {
    assert.doesNotThrow(make(toThree))
    assert.doesNotThrow(make(Versions.from(3, StateV3)))
  })

  for (
    const [name, bad] of [
      ["ends elsewhere", make(toThree, 4)],
      ["begins at none", () => Versions.from(0, StateV2)],
      ["begins between two", () => Versions.from(1.5, StateV2)],
      [
        "ends with another schema",
        make(
          Versions.from(2, StateV2).to(
            Schema.Struct({ ...StateV3.fields, more: Schema.optional(Schema.Int) }),
            twoToThree
          )
        )
      ]
    ] as const
  ) {
    it(`one that ${name}`, () => {
      assert.throws(bad, InvalidOption.InvalidOption)
    })
  }
})

describe("a rolling deployment", () => {
  const commands = everything ? 1_000 : 300
  const rolling = (now: typeof AccountV3) => () =>
    Effect.gen(function*() {
      const policy = SnapshotPolicy.sync({ every: 10 })
      const rivals = [
        yield* Repository.make(Account, { snapshots: policy }),
        yield* Repository.make(now, { snapshots: policy })
      ] as const
      const saves = new Map<number, number>()
      const store = yield* SnapshotStore.SnapshotStore
      const hits = [0, 0]
      const balances = new Map<string, number>()
      const ids = ["a", "b", "c", "d", "e"]
      for (const name of ids) yield* rivals[0].execute(id(name), open)
      for (let n = 0; n < commands; n++) {
        const turn = n % 2
        const name = ids[(n >> 1) % ids.length]
        const loaded = yield* rivals[turn].load(id(name))
        if (loaded.snapshotOutcome._tag === "Hit" || loaded.snapshotOutcome._tag === "Migrated") hits[turn]++
        yield* rivals[turn].execute(id(name), deposit(1))
        balances.set(name, (balances.get(name) ?? 0) + 1)
        for (const schemaVersion of [1, 3]) {
          const row = yield* store.get(StreamId.make("Account", name), { schemaVersion })
          if (Option.isSome(row) && row.value.schemaVersion === schemaVersion) {
            // each version's rows decode as its own and as nobody else's
            const { fingerprint } = schemaVersion === 1 ? Account : now
            assert.strictEqual(row.value.fingerprint, fingerprint)
            assert.strictEqual(Either.isRight(Snapshot.decode(Account, row.value)), schemaVersion === 1)
            saves.set(schemaVersion, Math.max(saves.get(schemaVersion) ?? 0, row.value.version))
          }
        }
      }
      for (const name of ids) {
        const balance = balances.get(name)!
        assert.deepStrictEqual((yield* rivals[0].load(id(name))).state, { open: true, balance })
        assert.strictEqual((yield* rivals[1].load(id(name))).state.cents, BigInt(balance) * 100n)
      }
      assert.isAbove(hits[0], commands / 2 - 50, "hits of old code")
      assert.isAbove(hits[1], commands / 2 - 50, "hits of new code")
      // never thrashing: both kept going forward
      assert.isAbove(saves.get(1)!, commands / 5 - 10)
      assert.isAbove(saves.get(3)!, commands / 5 - 10)
      assert.strictEqual(yield* store.deleteByType("Account", { schemaVersionBelow: 3, dryRun: true }), ids.length)
      assert.strictEqual(yield* store.deleteByType("Account", { schemaVersionBelow: 3 }), ids.length)
      assert.strictEqual((yield* rivals[1].load(id("a"))).snapshotOutcome._tag, "Hit")
    })
  each("two versions execute a thousand commands alternately, with migrations", rolling(AccountV3))
  if (everything) each("two versions, a thousand commands in turn, without", rolling(AccountV3Plain))
})
