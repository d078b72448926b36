// truncations meet commands and each other, and keep the tenant of a stream
import { assert, describe } from "@effect/vitest"
import { Chunk, Effect, Option, type Scope, Stream } from "effect"
import { Event, EventStore, ExpectedVersion, Repository, SnapshotPolicy, Streams, Tenants } from "effect-eventsourcing"
import { Account, deposit, event, id, open, stream } from "./fixtures/Account.js"
import { backends, kinds, on, type Stores } from "./utils/backends.js"

type Body = () => Effect.Effect<void, unknown, Stores | Streams.Streams | Scope.Scope>

const each = (name: string, body: Body) => on(kinds)(name, () => Effect.provide(body(), Streams.layer))

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

  // on PostgreSQL a marker loses many times against commands that never rest
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
        assert.deepInclude(yield* truncate(3_000), { events: 2_999 })
        assert.strictEqual(commands.unsafePoll(), null)
      }),
      Streams.layer
    ))
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
