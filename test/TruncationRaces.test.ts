// truncations meet commands and each other, and keep the tenant of a stream
import { assert, describe, it } from "@effect/vitest"
import { Chunk, Effect, Layer, Option, type Scope, Stream } from "effect"
import {
  Event,
  EventStore,
  ExpectedVersion,
  Repository,
  SnapshotPolicy,
  SnapshotStore,
  Streams,
  Tenants
} from "effect-eventsourcing"
import { Account, deposit, event, id, open, stream } from "./fixtures/Account.js"
import { backends, on, type Stores } from "./utils/backends.js"

type Body = () => Effect.Effect<void, unknown, Stores | Streams.Streams | Scope.Scope>

const each = (name: string, body: Body) => on(backends)(name, () => Effect.provide(body(), Streams.layer))

const a = id("a")

const manual = { snapshots: SnapshotPolicy.manual }

type Account = typeof Account

const truncate = (before: number, events: "archive" | "remove" = "archive") =>
  Effect.flatMap(Streams.Streams, (streams) => streams.truncate(stream("a"), { aggregate: Account, before, events }))

/** Ten events: the account is open, and 45 was deposited. */
const ten = (accounts: Repository.Repository<Account>) =>
  Effect.zipRight(
    accounts.executeAll(a, [open, ...Array.from({ length: 9 }, (_, index) => deposit(index + 1))]),
    accounts.createSnapshot(a)
  )

describe("truncations that run at the same time", () => {
  for (const events of ["archive", "remove"] as const) {
    each(`are one, and append one marker (${events})`, () =>
      Effect.gen(function*() {
        const accounts = yield* Repository.make(Account, manual)
        const store = yield* EventStore.EventStore
        yield* ten(accounts)
        const truncated = yield* Effect.all([1, 2, 3].map(() => truncate(8, events)), { concurrency: "unbounded" })
        assert.deepStrictEqual(truncated.map(({ events }) => events).sort(), [0, 0, 7])
        assert.strictEqual(truncated.filter(({ marker }) => Option.isSome(marker)).length, 1)
        assert.strictEqual(yield* store.version(stream("a")), 11)
      }))
  }

  on(backends)("with commands that never rest need not verify the stream again", () =>
    Effect.provide(
      Effect.gen(function*() {
        const accounts = yield* Repository.make(Account, manual)
        const store = yield* EventStore.EventStore
        yield* accounts.execute(a, open)
        for (let n = 0; n < 3; n++) {
          const thousand = Array.from({ length: 1_000 }, () => event())
          yield* store.append(stream("a"), thousand, { expectedVersion: ExpectedVersion.any })
        }
        yield* accounts.createSnapshot(a)
        const commands = yield* Effect.fork(
          Effect.forever(Effect.zipRight(Effect.yieldNow(), accounts.execute(a, deposit(1))))
        )
        const { readTail } = store.replay
        let replays = 0
        const counting: EventStore.ReplaySeam["readTail"] = (stream, options) => {
          if (options.fromVersion === 1) replays += 1
          return readTail(stream, options)
        }
        const streams = yield* Effect.provideService(Streams.make, EventStore.EventStore, {
          ...store,
          replay: { ...store.replay, readTail: counting }
        })
        const truncated = yield* streams.truncate(stream("a"), { aggregate: Account, before: 3_000, events: "archive" })
        assert.strictEqual(truncated.events, 2_999)
        assert.strictEqual(replays, 1)
        assert.strictEqual(commands.unsafePoll(), null)
      }),
      Streams.layer
    ))
})

describe("a rewrite between the verification of a snapshot and the marker", () => {
  each("undoes the truncation, which finds no snapshot then", () =>
    Effect.gen(function*() {
      const accounts = yield* Repository.make(Account, manual)
      const store = yield* EventStore.EventStore
      const streams = yield* Streams.Streams
      yield* ten(accounts)
      const rewrite = streams.rewrite(stream("a"), 2, { _tag: "Deposited", amount: 100 }, { aggregate: Account })
      let isVerified = false
      const life = Option.map(store.replay.life, (life): EventStore.LifeSeam => ({
        ...life,
        transaction: (of, effect) => {
          const before = isVerified ? Effect.void : Effect.orDie(rewrite)
          isVerified = true
          return Effect.zipRight(before, life.transaction(of, effect))
        }
      }))
      const late = yield* Effect.provideService(Streams.make, EventStore.EventStore, {
        ...store,
        replay: { ...store.replay, life }
      })
      const error = yield* Effect.flip(
        late.truncate(stream("a"), { aggregate: Account, before: 8, events: "remove" })
      )
      assert.deepInclude(error, { _tag: "SnapshotRequired", reason: "Missing" })
      assert.strictEqual((yield* accounts.load(a)).state.balance, 144)
      assert.strictEqual(yield* store.version(stream("a")), 11)
    }))
})

describe("a rewrite whose snapshots are in another database", () => {
  const elsewhere = Layer.provideMerge(Layer.fresh(SnapshotStore.layerMemory), EventStore.layerMemory)

  it.effect("leaves the snapshot below which the stream was truncated since", () =>
    Effect.gen(function*() {
      const accounts = yield* Repository.make(Account, manual)
      const snapshots = yield* SnapshotStore.SnapshotStore
      yield* ten(accounts)
      // the rewrite has ended, and its deletion of the snapshots comes late
      const late: SnapshotStore.SnapshotStore["Type"] = {
        ...snapshots,
        delete: (stream, options) =>
          Effect.orDie(accounts.createSnapshot(a)).pipe(
            Effect.zipRight(Effect.orDie(Effect.provide(truncate(8, "remove"), Streams.layer))),
            Effect.zipRight(snapshots.delete(stream, options)),
            Effect.provideService(SnapshotStore.SnapshotStore, snapshots),
            Effect.provideService(EventStore.EventStore, events)
          )
      }
      const events = yield* EventStore.EventStore
      const streams = yield* Effect.provideService(Streams.make, SnapshotStore.SnapshotStore, late)
      yield* streams.rewrite(stream("a"), 2, { _tag: "Deposited", amount: 100 }, { aggregate: Account })
      assert.strictEqual((yield* accounts.load(a)).state.balance, 144)
    }).pipe(Effect.scoped, Effect.provide(elsewhere)))
})

describe("a truncated stream of a tenant in shared tables", () => {
  for (const events of ["archive", "remove"] as const) {
    each(`is in the tenant's feed, and is removed with the tenant (${events})`, () =>
      Effect.gen(function*() {
        const accounts = yield* Repository.make(Account, manual)
        const store = yield* EventStore.EventStore
        // a name and metadata that a statement could take for others
        const tenant = "acme \\u0041 \"é"
        const metadata = { note: "\u0000", before: { tenant: "globex" } }
        yield* Effect.provideService(Tenants.inTenant(ten(accounts), tenant), Event.CurrentMetadata, metadata)
        yield* truncate(11, events)
        yield* Effect.repeat(store.readPage({ types: ["$truncated"] }), { until: ({ events }) => events.length > 0 })
        const page = yield* store.readPage({ tenant })
        assert.deepStrictEqual(page.events.map(({ version }) => version), [1, 2, 3, 4, 5, 6, 7, 8, 9, 10])
        assert.strictEqual((yield* store.readPage({ tenant: "globex" })).events.length, 0)
        const removed = Chunk.toReadonlyArray(yield* Stream.runCollect(Tenants.removeStreams(tenant)))
        assert.deepStrictEqual(removed, [{ stream: stream("a"), outcome: "Removed" }])
        assert.strictEqual((yield* Effect.flip(accounts.load(a)))._tag, "StreamDeleted")
      }))
  }
})
