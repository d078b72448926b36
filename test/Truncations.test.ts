// every load of a truncated stream gives the state of all its events, or says that their contents are gone
import { assert, describe, it } from "@effect/vitest"
import {
  Chunk,
  Effect,
  Either,
  FastCheck as fc,
  Layer,
  Option,
  Ref,
  Schedule,
  type Scope,
  Stream,
  TestClock
} from "effect"
import {
  CheckpointStore,
  EventStore,
  Projection,
  Projections,
  Repository,
  type Snapshot,
  SnapshotPolicy,
  SnapshotStore,
  Streams
} from "effect-eventsourcing"
import * as Memory from "../src/internal/store/memory.js"
import { Account, AccountV2, deposit, id, open, stream } from "./fixtures/Account.js"
import { backends, memoryStores, on, type Stores } from "./utils/backends.js"
import { everything } from "./utils/mode.js"

const each = (name: string, body: () => Effect.Effect<void, unknown, Stores | Streams.Streams | Scope.Scope>) =>
  on(backends)(name, () => Effect.provide(body(), Streams.layer))

const a = id("a")

const manual = { snapshots: SnapshotPolicy.manual }

type Account = typeof Account

const truncate = (
  before: number,
  events: "archive" | "remove" = "archive",
  options: { readonly unverified?: boolean } = {}
) =>
  Effect.flatMap(
    Streams.Streams,
    (streams) => streams.truncate(stream("a"), { aggregate: Account, before, events, ...options })
  )

const rewrite = (version: number, amount: number) =>
  Effect.flatMap(
    Streams.Streams,
    (streams) => streams.rewrite(stream("a"), version, { _tag: "Deposited", amount }, { aggregate: Account })
  )

const tagOf = <A, E extends { readonly _tag: string }, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.map(Effect.either(effect), Either.match({ onLeft: ({ _tag }) => _tag, onRight: () => "Right" }))

/** The failure, as a record without its type. */
const failureOf = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.map(Effect.flip(effect), (error): Record<string, unknown> => ({ ...Object(error) }))

/** Ten events: the account is open, and 45 was deposited. */
const ten = (accounts: Repository.Repository<Account>) =>
  Effect.zipRight(
    accounts.executeAll(a, [open, ...Array.from({ length: 9 }, (_, index) => deposit(index + 1))]),
    accounts.createSnapshot(a)
  )

const whole = { version: 11, state: { open: true, balance: 45 } }

const currentSnapshot = Effect.flatMap(
  SnapshotStore.SnapshotStore,
  (store) => store.get(stream("a"), { schemaVersion: 1 })
)

describe("an archived beginning", () => {
  each("is read from the archive by everything that needs it", () =>
    Effect.gen(function*() {
      const accounts = yield* Repository.make(Account, manual)
      const paged = yield* Repository.make(Account, { pageSize: 3 })
      const store = yield* EventStore.EventStore
      yield* ten(accounts)
      const read = (options?: EventStore.ReadOptions) =>
        Effect.map(Stream.runCollect(store.read(stream("a"), options)), Chunk.toReadonlyArray)
      const before = yield* read()
      const { events, marker } = yield* truncate(8)
      assert.strictEqual(events, 7)
      assert.strictEqual(Option.getOrThrow(marker).version, 11)
      const after = yield* read()
      assert.deepStrictEqual(after.slice(0, 10), before)
      assert.deepInclude(after[10], { type: "$truncated", payload: { before: 8 } })
      assert.deepStrictEqual((yield* read({ reverse: true, pageSize: 4 })).toReversed(), after)
      assert.deepStrictEqual(yield* read({ fromVersion: 3, toVersion: 6, pageSize: 2 }), before.slice(2, 6))
      assert.deepStrictEqual(yield* store.readEvents(stream("a"), { fromVersion: 7, limit: 2 }), before.slice(6, 8))
      for (const repository of [accounts, paged]) assert.deepInclude(yield* repository.load(a), whole)
      assert.deepInclude(yield* accounts.load(a), { snapshotVersion: 10, replayed: 1 })
      assert.deepInclude(yield* accounts.loadAt(a, 4), { state: { open: true, balance: 6 } })
      assert.strictEqual((yield* accounts.verify(a))._tag, "Verified")
      assert.strictEqual((yield* Stream.runCollect(accounts.history(a))).length, 11)
      yield* Effect.flatMap(SnapshotStore.SnapshotStore, (store) => store.delete(stream("a")))
      assert.deepInclude(yield* accounts.load(a), whole)
      assert.deepInclude(yield* accounts.execute(a, deposit(5)), { version: 12, state: { open: true, balance: 50 } })
    }))

  each("can be rewritten there", () =>
    Effect.gen(function*() {
      const accounts = yield* Repository.make(Account, manual)
      yield* ten(accounts)
      yield* truncate(8)
      yield* rewrite(2, 100)
      assert.deepInclude(yield* accounts.load(a), { version: 12, state: { open: true, balance: 144 } })
      assert.deepInclude(yield* accounts.loadAt(a, 2), { state: { open: true, balance: 100 } })
      // there is no snapshot now
      const failure = yield* failureOf(truncate(8, "remove"))
      assert.deepInclude(failure, { _tag: "SnapshotRequired", reason: "Missing" })
      yield* accounts.createSnapshot(a)
      assert.deepInclude(yield* truncate(8, "remove"), { events: 7 })
      assert.deepInclude(yield* accounts.load(a), { version: 13, state: { open: true, balance: 144 } })
    }))

  each("is deleted with the stream", () =>
    Effect.gen(function*() {
      const accounts = yield* Repository.make(Account, manual)
      const streams = yield* Streams.Streams
      yield* ten(accounts)
      yield* truncate(8)
      yield* streams.delete(stream("a"), { events: "keep" })
      const store = yield* EventStore.EventStore
      assert.strictEqual((yield* Stream.runCollect(store.read(stream("a")))).length, 12)
      yield* streams.delete(stream("a"), { events: "remove" })
      const { replay } = store
      const { left } = Option.getOrThrow(replay.life)
      assert.deepStrictEqual(yield* left(stream("a"), 100), { kept: 1, archived: 0 })
      assert.strictEqual(yield* tagOf(truncate(2)), "StreamDeleted")
    }))
})

describe("an archived stream that is deleted while it is read", () => {
  it.effect("has no event whose content is gone", () =>
    Effect.gen(function*() {
      const driver = Memory.makeEvents()
      const events = EventStore.makeEncoded(driver)
      const stores = Layer.merge(Layer.succeed(EventStore.EventStore, events), SnapshotStore.layerMemory)
      yield* Effect.provide(
        Effect.gen(function*() {
          const accounts = yield* Repository.make(Account, manual)
          const streams = yield* Streams.Streams
          let deletes = Effect.void
          // the deletion comes between the rows and their contents
          const racing = EventStore.makeEncoded({
            ...driver,
            life: {
              ...driver.life,
              contents: (places, bytes) => Effect.zipRight(deletes, driver.life.contents(places, bytes))
            }
          })
          for (const name of ["history", "read", "readPage"] as const) {
            const own = id(name)
            yield* accounts.executeAll(own, [open, deposit(1)])
            yield* accounts.createSnapshot(own)
            yield* streams.truncate(stream(name), { aggregate: Account, before: 3, events: "archive" })
            deletes = Effect.suspend(() => {
              deletes = Effect.void
              return Effect.orDie(Effect.asVoid(streams.delete(stream(name), { events: "remove" })))
            })
            if (name === "history") {
              const reading = Effect.flatMap(
                Effect.provideService(Repository.make(Account), EventStore.EventStore, racing),
                (accounts) => Stream.runDrain(accounts.history(own))
              )
              assert.deepInclude(yield* failureOf(reading), { _tag: "StreamDeleted" })
            } else {
              const read = name === "read"
                ? Effect.map(Stream.runCollect(racing.read(stream(name))), Chunk.toReadonlyArray)
                : Effect.map(racing.readPage(), ({ events }) => events.filter((event) => event.stream.id === name))
              assert.deepStrictEqual((yield* read).map(({ type }) => type), ["$deleted"])
            }
          }
        }),
        Streams.layer.pipe(Layer.provideMerge(stores))
      )
    }).pipe(Effect.scoped))
})

describe("a removed beginning", () => {
  each("does not hide that the stream was deleted", () =>
    Effect.gen(function*() {
      const accounts = yield* Repository.make(Account, manual)
      const cached = yield* Repository.make(Account, { ...manual, cache: { capacity: 3 } })
      yield* ten(accounts)
      yield* truncate(8, "remove")
      yield* cached.load(a)
      yield* Effect.flatMap(Streams.Streams, (streams) => streams.delete(stream("a"), { events: "keep" }))
      const tags = [
        tagOf(accounts.load(a)),
        tagOf(accounts.verify(a)),
        tagOf(accounts.createSnapshot(a)),
        tagOf(accounts.execute(a, deposit(1))),
        tagOf(cached.load(a))
      ]
      for (const tag of tags) assert.strictEqual(yield* tag, "StreamDeleted")
    }))

  each("leaves the snapshot as the only source of the state", () =>
    Effect.gen(function*() {
      const accounts = yield* Repository.make(Account, manual)
      const without = yield* Repository.make(Account)
      const cached = yield* Repository.make(Account, { ...manual, cache: { capacity: 3 } })
      const store = yield* EventStore.EventStore
      yield* ten(accounts)
      yield* accounts.execute(a, deposit(5))
      assert.deepInclude(yield* truncate(8, "remove"), { events: 7 })
      const state = { open: true, balance: 50 }
      for (const repository of [accounts, cached, cached]) {
        assert.deepInclude(yield* repository.load(a), { version: 12, state })
      }
      assert.deepInclude(yield* accounts.loadAt(a, 10), { state: { open: true, balance: 45 } })
      assert.deepInclude(yield* accounts.loadAt(a, 11), { state })
      const gap = { _tag: "HistoryGap", expected: 1, removed: true }
      assert.deepInclude(yield* failureOf(accounts.loadAt(a, 9)), gap)
      assert.deepInclude(yield* failureOf(without.load(a)), gap)
      assert.deepInclude(yield* failureOf(accounts.verify(a)), gap)
      // the error says why the snapshot was of no use
      const raised = yield* Effect.flip(Effect.flatMap(Repository.make(AccountV2, manual), ({ load }) => load(a)))
      assert.match(raised.message, /was removed by Streams\.truncate.*it was not used: .*schema version 1/)
      assert.deepInclude(yield* failureOf(Stream.runDrain(accounts.history(a))), gap)
      assert.deepInclude(yield* failureOf(Stream.runDrain(accounts.history(a, { reverse: true }))), {
        ...gap,
        expected: 7
      })
      assert.strictEqual((yield* Stream.runCollect(accounts.history(a, { fromVersion: 8 }))).length, 5)
      const unread = yield* Effect.flip(Stream.runDrain(store.read(stream("a"), { fromVersion: 6 })))
      assert.strictEqual(unread._tag, "EventDecodeError")
      assert.deepInclude({ ...Object(unread.cause) }, { ...gap, expected: 6 })
      // nothing could rebuild the state
      assert.deepInclude(yield* failureOf(rewrite(2, 1)), gap)
      assert.deepInclude(yield* failureOf(rewrite(9, 1)), gap)
      assert.isTrue(Option.isSome(yield* currentSnapshot))
      assert.strictEqual(yield* store.version(stream("a")), 12)
      // the next snapshot takes its place
      yield* accounts.execute(a, deposit(5))
      yield* accounts.createSnapshot(a)
      assert.deepInclude(yield* accounts.load(a), { version: 13, replayed: 0, state: { open: true, balance: 55 } })
      assert.deepInclude(yield* failureOf(truncate(10, "remove")), gap)
      assert.deepInclude(yield* truncate(10, "remove", { unverified: true }), { events: 2 })
      yield* Effect.flatMap(SnapshotStore.SnapshotStore, (store) => store.delete(stream("a")))
      assert.deepInclude(yield* failureOf(accounts.load(a)), gap)
      assert.deepInclude(yield* failureOf(truncate(12, "remove", { unverified: true })), gap)
    }))

  each("counts for the ids of commands", () =>
    Effect.gen(function*() {
      const accounts = yield* Repository.make(Account, manual)
      yield* accounts.execute(a, open, { commandId: "open" })
      const first = yield* accounts.execute(a, deposit(2, 30), { commandId: "c" })
      yield* accounts.execute(a, deposit(1))
      yield* accounts.createSnapshot(a)
      yield* truncate(20)
      assert.deepInclude(yield* accounts.execute(a, deposit(2, 30), { commandId: "c" }), {
        duplicate: true,
        version: first.version,
        position: first.position,
        events: first.events
      })
      yield* truncate(25, "remove")
      for (const [commandId, version] of [["open", 1], ["c", 31]] as const) {
        assert.deepInclude(yield* accounts.execute(a, deposit(2, 30), { commandId }), {
          duplicate: true,
          version,
          events: [],
          state: { open: true, balance: 61 }
        })
      }
    }))
})

describe("truncate", () => {
  each(
    "does not look again if other processes replace the snapshot while it is verified",
    () =>
      Effect.gen(function*() {
        const accounts = yield* Repository.make(Account, manual)
        const snapshots = yield* SnapshotStore.SnapshotStore
        yield* ten(accounts)
        yield* truncate(8, "remove")
        let looks = 0
        const saving = Effect.zipRight(accounts.execute(a, deposit(1)), accounts.createSnapshot(a))
        const racing = SnapshotStore.SnapshotStore.of({
          ...snapshots,
          get: (stream, options) => {
            const found = snapshots.get(stream, options)
            // a load asks for snapshots that can be migrated too
            if (options.migratable !== undefined) return found
            looks += 1
            return Effect.zipLeft(found, Effect.orDie(saving))
          }
        })
        const again = Effect.provideServiceEffect(
          truncate(9, "remove", { unverified: true }),
          Streams.Streams,
          Effect.provideService(Streams.make, SnapshotStore.SnapshotStore, racing)
        )
        assert.deepInclude(yield* again, { events: 1 })
        assert.strictEqual(looks, 1)
        // the newer snapshot is left
        assert.deepInclude(yield* accounts.load(a), { snapshotVersion: 12, state: { open: true, balance: 46 } })
      })
  )

  each("never takes rewrites for a wrong snapshot, however many there are", () =>
    Effect.gen(function*() {
      const accounts = yield* Repository.make(Account, manual)
      const [store, snapshots] = [yield* EventStore.EventStore, yield* SnapshotStore.SnapshotStore]
      yield* ten(accounts)
      let amount = 50
      const rewriting = Effect.provide(
        Effect.suspend(() => rewrite(3, ++amount)),
        yield* Effect.context<Streams.Streams>()
      ).pipe(Effect.zipRight(accounts.createSnapshot(a)), Effect.orDie)
      let looks = 0
      let isRewritten = false
      const racing = Streams.make.pipe(
        Effect.provideService(SnapshotStore.SnapshotStore, {
          ...snapshots,
          get: (stream, options) => {
            const found = snapshots.get(stream, options)
            if (options.migratable !== undefined) return found
            looks += 1
            // at the last try it comes later
            return looks < 5 ? Effect.zipLeft(found, rewriting) : found
          }
        }),
        Effect.provideService(EventStore.EventStore, {
          ...store,
          replay: {
            ...store.replay,
            readTail: (stream, options) => {
              const read = store.replay.readTail(stream, options)
              if (isRewritten || looks < 5 || options.fromVersion !== 1) return read
              isRewritten = true
              return Effect.zipRight(rewriting, read)
            }
          }
        })
      )
      const again = Effect.provideServiceEffect(truncate(9), Streams.Streams, racing)
      const error = yield* Effect.flip(again)
      assert.deepInclude(error, { _tag: "SnapshotRequired", reason: "Unusable" })
      assert.isTrue(isRewritten)
    }))

  each("does not take a rewrite during the verification for a wrong snapshot", () =>
    Effect.gen(function*() {
      const accounts = yield* Repository.make(Account, manual)
      const store = yield* EventStore.EventStore
      yield* ten(accounts)
      const rewriting = Effect.provide(rewrite(3, 50), yield* Effect.context<Streams.Streams>())
      let isRewritten = false
      const racing = EventStore.EventStore.of({
        ...store,
        replay: {
          ...store.replay,
          readTail: (stream, options) => {
            const read = store.replay.readTail(stream, options)
            // only full replay begins there
            if (isRewritten || options.fromVersion !== 1) return read
            isRewritten = true
            return Effect.zipRight(Effect.orDie(rewriting), read)
          }
        }
      })
      const again = Effect.provideServiceEffect(
        truncate(9),
        Streams.Streams,
        Effect.provideService(Streams.make, EventStore.EventStore, racing)
      )
      // the rewrite has deleted the snapshot
      assert.deepInclude(yield* failureOf(again), { _tag: "SnapshotRequired", reason: "Missing" })
      assert.isTrue(isRewritten)
    }))

  each("uses a snapshot below the marker of a rewritten event that is none of its own", () =>
    Effect.gen(function*() {
      const accounts = yield* Repository.make(Account, manual)
      const snapshots = yield* SnapshotStore.SnapshotStore
      yield* ten(accounts)
      const saved = yield* Effect.flatten(currentSnapshot)
      yield* accounts.execute(a, deposit(1))
      const { version } = yield* accounts.execute(a, deposit(1))
      yield* rewrite(version, 100)
      // a process whose save comes late, or whose snapshots are in another database
      yield* snapshots.save(saved)
      assert.strictEqual((yield* accounts.verify(a))._tag, "Verified")
      assert.deepInclude(yield* truncate(8), { events: 7 })
      assert.strictEqual((yield* accounts.load(a)).state.balance, 45 + 1 + 100)
    }))

  each("needs a snapshot that full replay confirms", () =>
    Effect.gen(function*() {
      const accounts = yield* Repository.make(Account, manual)
      const snapshots = yield* SnapshotStore.SnapshotStore
      yield* accounts.executeAll(a, [open, deposit(1), deposit(2)])
      const refused = (before: number) => failureOf(truncate(before, "remove"))
      assert.deepInclude(yield* refused(2), { _tag: "SnapshotRequired", reason: "Missing" })
      yield* accounts.createSnapshot(a)
      yield* accounts.execute(a, deposit(3))
      assert.deepInclude(yield* refused(5), { _tag: "SnapshotRequired", reason: "Older" })
      const good = yield* Effect.flatten(currentSnapshot)
      const replaced = (snapshot: Partial<Snapshot.EncodedSnapshot>) =>
        Effect.zipRight(snapshots.delete(stream("a")), snapshots.save({ ...good, ...snapshot }))
      for (
        const wrong of [{ eventId: "x" }, { fingerprint: "x" }, { state: "{" }, { schemaVersion: 0, fingerprint: "x" }]
      ) {
        yield* replaced(wrong)
        assert.deepInclude(yield* refused(4), { _tag: "SnapshotRequired", reason: "Unusable" })
      }
      yield* replaced({ state: good.state.replace("3", "4") })
      assert.deepInclude(yield* refused(4), { _tag: "SnapshotRequired", reason: "Refuted" })
      assert.deepInclude(yield* failureOf(truncate(4, "remove", { unverified: true })), { reason: "Refuted" })
      yield* replaced({})
      assert.deepInclude(yield* refused(6), { _tag: "EventNotFound", version: 5 })
      assert.strictEqual(yield* Effect.flatMap(EventStore.EventStore, ({ version }) => version(stream("a"))), 4)
      assert.deepInclude(yield* truncate(4, "remove"), { events: 3 })
      assert.deepInclude(yield* accounts.load(a), { version: 5, state: { open: true, balance: 6 } })
    }))

  each("verifies again if a command comes in between", () =>
    Effect.gen(function*() {
      const accounts = yield* Repository.make(Account, manual)
      const snapshots = yield* SnapshotStore.SnapshotStore
      yield* ten(accounts)
      const late = yield* Ref.make(3)
      // the snapshot is read once in each verification
      const interleaved = SnapshotStore.SnapshotStore.of({
        ...snapshots,
        get: (of, options) =>
          Effect.zipRight(
            Effect.flatMap(
              Ref.getAndUpdate(late, (n) => n - 1),
              (n) => n > 0 ? Effect.orDie(accounts.execute(a, deposit(1))) : Effect.void
            ),
            snapshots.get(of, options)
          )
      })
      const streams = yield* Effect.provideService(Streams.make, SnapshotStore.SnapshotStore, interleaved)
      const { marker } = yield* streams.truncate(stream("a"), { aggregate: Account, before: 11, events: "remove" })
      const { version } = Option.getOrThrow(marker)
      assert.isAbove(version, 11)
      assert.deepInclude(yield* accounts.load(a), { version, state: { open: true, balance: 45 + version - 11 } })
    }))
})

describe("a load that has begun before a truncation", () => {
  each("looks for the snapshot once more", () =>
    Effect.gen(function*() {
      const store = yield* EventStore.EventStore
      const accounts = yield* Repository.make(Account, manual)
      const pages = yield* Ref.make(0)
      const context = yield* Effect.context<Streams.Streams>()
      const between = Effect.provide(Effect.zipRight(accounts.createSnapshot(a), truncate(11, "remove")), context)
      // the snapshot and the truncation come between the first and the second page
      const interleaved = EventStore.EventStore.of({
        ...store,
        replay: {
          ...store.replay,
          withSnapshots: () => Option.none(),
          readTail: (of, options) =>
            Effect.zipLeft(
              store.replay.readTail(of, options),
              Effect.flatMap(
                Ref.updateAndGet(pages, (n) => n + 1),
                (n) => n === 1 ? Effect.orDie(between) : Effect.void
              )
            )
        }
      })
      const paged = yield* Effect.provideService(
        Repository.make(Account, { ...manual, pageSize: 4 }),
        EventStore.EventStore,
        interleaved
      )
      yield* accounts.executeAll(a, [open, deposit(5, 9)])
      assert.deepInclude(yield* paged.load(a), { version: 11, snapshotVersion: 10, state: { open: true, balance: 45 } })
    }))

  each("gives the snapshot to caches and writers whose state is older", () =>
    Effect.gen(function*() {
      const accounts = yield* Repository.make(Account, manual)
      const cached = yield* Repository.make(Account, { ...manual, cache: { capacity: 3 } })
      yield* accounts.executeAll(a, [open, deposit(1)])
      const writers = yield* Effect.all([accounts.hold(a), accounts.hold(a)])
      yield* Effect.forEach([cached.load(a), ...writers.map(({ load }) => load)], (load) => load)
      yield* accounts.executeAll(a, [deposit(2), deposit(3), deposit(4)])
      yield* accounts.createSnapshot(a)
      yield* truncate(6, "remove")
      const wanted = { version: 6, state: { open: true, balance: 10 } }
      assert.deepInclude(yield* cached.load(a), wanted)
      assert.deepInclude(yield* cached.load(a), wanted)
      assert.deepInclude(yield* writers[0].load, wanted)
      assert.deepInclude(yield* writers[1].execute(deposit(5)), { version: 7, state: { open: true, balance: 15 } })
    }))
})

describe("a projection that is behind a truncation", () => {
  /** What a projection has handled, and its status. */
  const following = (
    events: "archive" | "remove",
    { marker = false, poison = "stop" }: { readonly poison?: "stop" | "park"; readonly marker?: boolean } = {}
  ) =>
    Effect.gen(function*() {
      const accounts = yield* Repository.make(Account, manual)
      yield* accounts.executeAll(a, [open, deposit(1), deposit(2), deposit(3)])
      yield* accounts.createSnapshot(a)
      yield* truncate(4, events)
      yield* accounts.execute(a, deposit(4))
      const seen: Array<unknown> = []
      const handle = (events: ReadonlyArray<{ readonly event: unknown }>) =>
        Effect.sync(() => void seen.push(...events.map(({ event }) => event)))
      const options = { poison, retry: Schedule.recurs(0) }
      yield* Layer.build(
        marker
          ? Projection.layer(
            Projection.make({ name: "told", on: [Account, Projection.truncated(Account)], handle }),
            options
          )
          : Projection.layer(Projection.make({ name: "told", on: [Account], handle }), options)
      )
      yield* TestClock.adjust("1 minute")
      const [{ parked, partitions }] = yield* Projections.status("told")
      const reasons = partitions.flatMap(({ stopped }) => Option.toArray(stopped).map(({ reason }) => reason))
      return { seen, parked, reasons }
    }).pipe(
      Effect.scoped,
      Effect.provide(Streams.layer.pipe(
        Layer.provideMerge(Layer.merge(memoryStores, CheckpointStore.layerMemory))
      ))
    )

  const deposited = (...amounts: ReadonlyArray<number>) => amounts.map((amount) => ({ _tag: "Deposited", amount }))

  it.effect("gets archived events", () =>
    Effect.gen(function*() {
      const { parked, reasons, seen } = yield* following("archive")
      assert.deepStrictEqual<unknown>([seen, parked, reasons], [[{ _tag: "Opened" }, ...deposited(1, 2, 3, 4)], 0, []])
    }))

  it.effect("stops at removed events, or parks them", () =>
    Effect.gen(function*() {
      const { reasons, seen } = yield* following("remove")
      assert.deepStrictEqual(seen, [])
      assert.include(reasons.join(), "removed by Streams.truncate")
      const { parked } = yield* following("remove", { poison: "park" })
      assert.isAbove(parked, 0)
    }))

  it.effect("skips removed events if it asks for the marker", () =>
    Effect.gen(function*() {
      const { parked, reasons, seen } = yield* following("remove", { marker: true })
      assert.deepStrictEqual<unknown>([parked, reasons], [0, []])
      assert.deepStrictEqual(seen, [...deposited(3), { _tag: "$truncated", before: 4 }, ...deposited(4)])
    }))
})

type Step = { readonly _tag: "Deposit" | "Rewrite" | "Snapshot" | "Archive" | "Remove" | "Load"; readonly n: number }

const steps = fc.array(
  fc.tuple(
    fc.constantFrom<Step["_tag"]>("Deposit", "Rewrite", "Snapshot", "Archive", "Remove", "Load"),
    fc.nat(30)
  ).map(([_tag, n]): Step => ({ _tag, n })),
  { minLength: 1, maxLength: 25 }
)

describe("any order of commands, rewrites, snapshots and truncations", () => {
  for (const [name, layer] of backends) {
    it.effect(
      `gives the states of all events, unless their contents are gone (${name})`,
      () =>
        Effect.promise(() =>
          fc.assert(
            fc.asyncProperty(
              steps,
              (steps) =>
                Effect.runPromise(Effect.provide(Effect.scoped(run(steps)), Layer.provideMerge(Streams.layer, layer)))
            ),
            // each run has a database of its own
            { numRuns: name === "PostgreSQL" ? 5 : everything ? 100 : 25 }
          )
        ),
      { timeout: 300_000 }
    )
  }

  const run = (steps: ReadonlyArray<Step>) =>
    Effect.gen(function*() {
      const cached = yield* Repository.make(Account, { ...manual, cache: { capacity: 1 } })
      const paged = yield* Repository.make(Account, { ...manual, pageSize: 2 })
      const store = yield* EventStore.EventStore
      const writer = yield* cached.hold(a)
      yield* cached.executeAll(a, [open, deposit(1), deposit(2)])
      /** The amounts by version, as they should be. */
      const amounts = [0, 0, 1, 2]
      let snapshot = 0
      let removed = 0
      const sum = (to: number) => amounts.slice(0, to + 1).reduce((sum, amount) => sum + amount, 0)
      for (const { _tag, n } of steps) {
        const head = amounts.length - 1
        switch (_tag) {
          case "Deposit":
            yield* n % 3 === 0
              ? writer.execute(deposit(n))
              : (n % 3 === 1 ? cached : paged).execute(a, deposit(n))
            amounts.push(n)
            break
          case "Rewrite": {
            const version = 2 + n % (head - 1)
            const result = yield* Effect.either(rewrite(version, n + 3))
            if (removed > 0) {
              assert.ok(Either.isLeft(result) && result.left._tag === "HistoryGap", JSON.stringify(result))
            } else if (Either.isRight(result)) {
              amounts[version] = n + 3
              amounts.push(0)
              snapshot = 0
            } else assert.include(["EventStoreError"], result.left._tag)
            break
          }
          case "Snapshot":
            yield* n % 2 === 0 ? cached.createSnapshot(a) : writer.createSnapshot
            snapshot = head
            break
          case "Archive":
          case "Remove": {
            const before = 2 + n % head
            const events = _tag === "Archive" ? "archive" : "remove"
            const result = yield* Effect.either(truncate(before, events, { unverified: n % 2 === 0 }))
            if (Either.isRight(result)) {
              if (Option.isNone(result.right.marker)) break
              amounts.push(0)
              assert.isAtLeast(snapshot, before - 1)
              if (_tag === "Remove") removed = Math.max(removed, before - 1)
            } else if (result.left._tag === "HistoryGap") assert.isTrue(removed > 0 && n % 2 === 1)
            else {
              assert.strictEqual(result.left._tag, "SnapshotRequired")
              assert.isBelow(snapshot, before - 1)
            }
            break
          }
          case "Load":
            break
        }
        const version = amounts.length - 1
        assert.strictEqual(yield* store.version(stream("a")), version)
        for (const load of [cached.load(a), paged.load(a), writer.load]) {
          assert.deepInclude(yield* load, { version, state: { open: true, balance: sum(version) } }, `${_tag} ${n}`)
        }
        const at = 1 + n % version
        for (const load of [paged.loadAt(a, at), cached.loadAt(a, at)]) {
          const result = yield* Effect.either(load)
          if (removed > 0 && at < snapshot) {
            assert.ok(Either.isLeft(result) && result.left._tag === "HistoryGap")
          } else assert.strictEqual(Either.getOrThrow(result).state.balance, sum(at))
        }
        for (const version of [removed, removed + 1, at]) {
          if (version < 1) continue
          const result = yield* Effect.either(store.readEvents(stream("a"), { fromVersion: version, limit: 1 }))
          if (version <= removed) assert.isTrue(Either.isLeft(result))
          else {assert.strictEqual(
              Reflect.get(Object(Either.getOrThrow(result)[0].payload), "amount") ?? 0,
              amounts[version]
            )}
        }
      }
    })
})
