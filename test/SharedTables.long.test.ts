// tenants that share tables, told apart by the metadata of their events
import { SqlClient } from "@effect/sql"
import { assert, describe, it } from "@effect/vitest"
import { Chunk, Effect, Either, Layer, Option, type Scope, Stream } from "effect"
import {
  Event,
  EventStore,
  ExpectedVersion,
  Repository,
  SnapshotPolicy,
  SnapshotStore,
  SqlMigrations,
  StreamId,
  Streams,
  Tenants
} from "effect-eventsourcing"
import { PCGRandom } from "effect/Utils"
import { Account, deposit, id, open, stream } from "./fixtures/Account.js"
import { kinds, on, sharedDatabases, sqlStores, type Stores } from "./utils/backends.js"
import { everything } from "./utils/mode.js"

const each = (name: string, body: () => Effect.Effect<void, unknown, Stores | Streams.Streams | Scope.Scope>) =>
  on(kinds)(name, () => Effect.provide(body(), Streams.layer))

const collect = <A, E, R>(elements: Stream.Stream<A, E, R>) =>
  Effect.map(Stream.runCollect(elements), Chunk.toReadonlyArray)

const allEvents = Effect.flatMap(EventStore.EventStore, (store) => collect(store.readAll()))

/** Removes a tenant, and gives the streams by outcome. */
const removal = (tenant: string) =>
  Effect.map(collect(Tenants.removeStreams(tenant, { metadata: { by: "operator" } })), (found) => ({
    removed: found.filter(({ outcome }) => outcome === "Removed").map(({ stream }) => stream.id).sort(),
    shared: found.filter(({ outcome }) => outcome === "Shared").map(({ stream }) => stream.id).sort()
  }))

const accountsOf = Repository.make(Account, { snapshots: SnapshotPolicy.sync({ every: 2 }) })

/** What everybody but the tenant can see. */
const others = (tenant: string) =>
  Effect.map(allEvents, (events) => events.filter(({ metadata }) => metadata.tenant !== tenant))

describe("the tenant of events", () => {
  each("is in the metadata of what an effect appends, beside those that are there", () =>
    Effect.gen(function*() {
      const accounts = yield* accountsOf
      const command = accounts.execute(id("a"), open)
      yield* command.pipe(
        Tenants.inTenant("acme"),
        Tenants.inTenant("another"),
        Effect.provideService(Event.CurrentMetadata, { correlationId: "c", tenant: "x" })
      )
      yield* accounts.execute(id("a"), deposit(1))
      const [first, second] = yield* allEvents
      assert.deepInclude(first.metadata, { correlationId: "c", tenant: "acme" })
      assert.isUndefined(second.metadata.tenant)
    }))

  it.effect("is refused if it cannot be one, and is not shown", () =>
    Effect.gen(function*() {
      const secret = "the secret of a request\n"
      for (const tenant of ["", "\u0000", secret, "\uD800", "x".repeat(256), "é".repeat(128)]) {
        const failures = [
          yield* Effect.flip(Tenants.inTenant(Effect.void, tenant)),
          yield* Effect.flip(Effect.provide(Stream.runDrain(Tenants.removeStreams(tenant)), storesInMemory))
        ]
        for (const failure of failures) {
          assert.strictEqual(failure._tag, "InvalidOption")
          assert.notInclude(failure.message, "secret")
        }
      }
    }))
})

const storesInMemory = Streams.layer.pipe(
  Layer.provideMerge(Layer.merge(EventStore.layerMemory, SnapshotStore.layerMemory))
)

describe("a tenant that leaves shared tables", () => {
  each("leaves nothing but markers, and others do not notice", () =>
    Effect.gen(function*() {
      const seed = Math.floor(Math.random() * 2 ** 31)
      const random = new PCGRandom(seed)
      const below = (n: number) => Math.floor(random.number() * n)
      const accounts = yield* accountsOf
      const snapshots = yield* SnapshotStore.SnapshotStore
      const tenants = ["acme", "Acme", "__proto__", "'; DROP TABLE x; --"]
      const owners = new Map<string, Set<string>>()
      const execute = (name: string, tenant: string | undefined) => {
        const known = owners.get(name)
        if (tenant !== undefined) owners.set(name, new Set(known).add(tenant))
        const command = accounts.execute(id(name), known === undefined ? open : deposit(1))
        return tenant === undefined ? command : Tenants.inTenant(command, tenant)
      }
      for (let n = 0; n < (everything ? 30 : 10); n++) {
        const owner = tenants[below(4)]
        const name = `${n}/${owner}`
        yield* execute(name, owner)
        // some events have no tenant, and some streams are those of several
        for (let more = below(5); more > 0; more--) {
          yield* execute(name, below(6) === 0 ? tenants[below(4)] : below(3) === 0 ? undefined : owner)
        }
      }
      const namesOf = (isWanted: (owners: Set<string>) => boolean) =>
        Array.from(owners).filter(([, owners]) => isWanted(owners)).map(([name]) => name).sort()
      for (const tenant of tenants.slice(0, 3)) {
        const before = yield* others(tenant)
        const [removed, shared] = [
          namesOf((owners) => owners.has(tenant) && owners.size === 1),
          namesOf((owners) => owners.has(tenant) && owners.size > 1)
        ]
        const found = yield* removal(tenant)
        assert.deepStrictEqual(found, { removed, shared }, `seed ${seed}`)
        // again, it finds no more
        assert.deepStrictEqual(yield* removal(tenant), { removed: [], shared }, `seed ${seed}`)
        const after = yield* allEvents
        const left = after.filter(({ metadata, stream }) => metadata.tenant === tenant && !shared.includes(stream.id))
        assert.deepStrictEqual(
          left.map(({ stream, type }) => [stream.id, type]).sort(),
          removed.map((name) => [name, "$deleted"])
        )
        for (const { metadata } of left) assert.deepStrictEqual(metadata, { by: "operator", tenant })
        const isOthers = (name: string) => !removed.includes(name)
        assert.deepStrictEqual(
          (yield* others(tenant)).map((event) => event.id),
          before.filter(({ stream }) => isOthers(stream.id)).map((event) => event.id),
          `seed ${seed}`
        )
        for (const name of removed) {
          assert.strictEqual((yield* Effect.flip(accounts.load(id(name))))._tag, "StreamDeleted")
          assert.isFalse(yield* snapshots.exists(stream(name)))
          owners.delete(name)
        }
        for (const name of owners.keys()) yield* accounts.load(id(name))
      }
    }))

  each(
    "is gone although its commands go on, and each of them that was acknowledged is before the end of its stream",
    () =>
      Effect.gen(function*() {
        const accounts = yield* Repository.make(Account, {
          snapshots: SnapshotPolicy.background({ every: 2 }),
          cache: { capacity: 100 }
        })
        const names = Array.from({ length: everything ? 20 : 4 }, (_, n) => `s${n}`)
        const inTenants = (tenant: string) =>
          Effect.forEach(
            names,
            (name) => Tenants.inTenant(accounts.executeAll(id(`${tenant}/${name}`), [open, deposit(1)]), tenant)
          )
        yield* inTenants("acme")
        yield* inTenants("other")
        const turn = Effect.async<void>((resume) => void setImmediate(() => resume(Effect.void)))
        const commanding = (name: string) =>
          Effect.gen(function*() {
            for (;;) {
              yield* turn
              const done = yield* Effect.either(Tenants.inTenant(accounts.execute(id(name), deposit(1)), "acme"))
              if (Either.isLeft(done)) return done.left._tag
            }
          })
        const [found, ...tags] = yield* Effect.all([
          removal("acme"),
          ...names.slice(0, 3).map((name) => commanding(`acme/${name}`))
        ], { concurrency: "unbounded" })
        yield* accounts.awaitPendingSnapshots
        assert.strictEqual(found.removed.length, names.length)
        assert.deepStrictEqual(new Set(tags), new Set(["StreamDeleted"]))
        assert.deepStrictEqual(yield* removal("acme"), { removed: [], shared: [] })
        for (const name of names) {
          assert.strictEqual((yield* Effect.flip(accounts.load(id(`acme/${name}`))))._tag, "StreamDeleted")
          assert.deepInclude(yield* accounts.load(id(`other/${name}`)), { version: 2 })
        }
      })
  )

  each(
    "is removed although some of its events do not decode, or their contents are gone",
    () =>
      Effect.gen(function*() {
        const accounts = yield* Repository.make(Account, { snapshots: SnapshotPolicy.manual })
        const streams = yield* Streams.Streams
        const names = ["whole", "removed", "archived", "shared", "unreadable", "both"]
        for (const name of names) yield* Tenants.inTenant(accounts.executeAll(id(name), [open, deposit(1)]), "acme")
        yield* Tenants.inTenant(accounts.execute(id("shared"), deposit(1)), "globex")
        for (const [name, events] of [["removed", "remove"], ["both", "remove"], ["archived", "archive"]] as const) {
          yield* accounts.createSnapshot(id(name))
          yield* streams.truncate(stream(name), { aggregate: Account, before: 2, events })
        }
        // no store keeps what is not JSON, but a hand may have edited the row
        const sql = yield* Effect.serviceOption(SqlClient.SqlClient)
        if (Option.isSome(sql)) {
          yield* sql.value`UPDATE eventsourcing_events SET payload = '{'
          WHERE stream_id IN ('shared', 'unreadable', 'both') AND version = 2`
        }
        const removed = names.filter((name) => name !== "shared").sort()
        assert.deepStrictEqual(yield* removal("acme"), { removed, shared: ["shared"] })
        for (const name of removed) {
          assert.strictEqual((yield* Effect.flip(accounts.load(id(name))))._tag, "StreamDeleted")
        }
      })
  )

  each("keeps a stream in which another tenant appends at that moment", () =>
    Effect.gen(function*() {
      const accounts = yield* accountsOf
      const store = yield* EventStore.EventStore
      const streams = yield* Streams.Streams
      yield* Tenants.inTenant(accounts.executeAll(id("a"), [open, deposit(1)]), "acme")
      const append = store.append(
        stream("a"),
        [{
          id: crypto.randomUUID(),
          type: "Deposited",
          payload: { _tag: "Deposited", amount: 1 },
          metadata: { tenant: "b" }
        }],
        { expectedVersion: ExpectedVersion.any }
      )
      let meanwhile = true
      const racing = Streams.Streams.of({
        ...streams,
        delete: (stream, options) => {
          const deletion = streams.delete(stream, options)
          if (!meanwhile) return deletion
          meanwhile = false
          return Effect.zipRight(Effect.orDie(append), deletion)
        }
      })
      const found = yield* Effect.provideService(removal("acme"), Streams.Streams, racing)
      assert.deepStrictEqual(found, { removed: [], shared: ["a"] })
      assert.deepInclude(yield* accounts.load(id("a")), { version: 3 })
    }))
})

describe("the index by tenant", () => {
  for (const [database, target, client] of sharedDatabases) {
    it.scopedLive(`is searched for the pages of a tenant, and makes no append fail (${database})`, () =>
      Effect.gen(function*() {
        const sql = yield* SqlClient.SqlClient
        const store = yield* EventStore.EventStore
        yield* Effect.all([SqlMigrations.indexTenants(), SqlMigrations.indexTenants()], { concurrency: 2 })
        const count = everything ? 50_000 : 2_000
        yield* Stream.range(1, count).pipe(
          Stream.map((n) => ({
            stream: StreamId.make("A", `s${n % 100}`),
            type: "E",
            payload: n,
            metadata: n % 1_000 === 0 ? { tenant: "rare" } : { tenant: "common" }
          })),
          (events) => store.import(events),
          Stream.runDrain
        )
        let nested: unknown = {}
        for (let depth = 0; depth < 4_000; depth++) nested = { a: nested }
        const hostile = [{ tenant: "é".repeat(5_000) }, { a: "\u0000\uD800", tenant: "\u0000" }, { nested }]
        for (const metadata of hostile) {
          yield* store.append(StreamId.make("B", "b"), [{ id: crypto.randomUUID(), type: "E", payload: 1, metadata }], {
            expectedVersion: ExpectedVersion.any
          })
        }
        for (const analyzed of [false, true]) {
          if (analyzed) yield* sql`ANALYZE`
          const plan = database === "SQLite"
            ? yield* sql.unsafe<{ readonly detail: string }>(
              `EXPLAIN QUERY PLAN SELECT position FROM eventsourcing_events
WHERE unlikely(CASE WHEN json_valid(metadata) THEN metadata -> '$.tenant' END = '"rare"') AND position > 0
ORDER BY position LIMIT 100`
            )
            : yield* sql.unsafe<Readonly<Record<string, string>>>(
              `EXPLAIN SELECT type FROM eventsourcing_events
WHERE left((replace(metadata, '\\u', '\\f')::json -> 'tenant')::text, 513) = ANY (ARRAY(SELECT '"rare"'::text))
  AND (transaction, position) > (0, 0)
ORDER BY left((replace(metadata, '\\u', '\\f')::json -> 'tenant')::text, 513), transaction, position LIMIT (SELECT 100::bigint)`
            )
          assert.include(JSON.stringify(plan), "eventsourcing_events_tenant")
          assert.notInclude(JSON.stringify(plan), "Sort")
          assert.notInclude(JSON.stringify(plan), "TEMP B-TREE")
        }
        const { atEnd, events } = yield* store.readPage({ tenant: "rare" })
        assert.isTrue(atEnd)
        assert.strictEqual(events.length, count / 1_000)
        yield* SqlMigrations.drop({ prefix: "eventsourcing" })
      }).pipe(
        Effect.provide(sqlStores),
        (run) => Effect.flatMap(target, (target) => Effect.provide(run, client(target)))
      ))

    it.scopedLive(`needs the tables (${database})`, () =>
      Effect.gen(function*() {
        const failure = yield* Effect.flip(SqlMigrations.indexTenants({ prefix: "absent" }))
        assert.strictEqual(failure._tag, "MigrationError")
        const invalid = yield* Effect.flip(SqlMigrations.indexTenants({ prefix: "a; --" }))
        assert.strictEqual(invalid._tag, "InvalidOption")
      }).pipe((run) => Effect.flatMap(target, (target) => Effect.provide(run, client(target)))))
  }
})
