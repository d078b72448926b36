// groups of appends that meet those of other programs, and other isolation levels
import { SqlClient } from "@effect/sql"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Either, Layer } from "effect"
import { EventStore, ExpectedVersion, SqlStores } from "effect-eventsourcing"
import { event, stream } from "../fixtures/Account.js"
import { groupingStores, migratedDatabase } from "../utils/backends.js"
import { pgClient } from "../utils/postgres.js"
import { collect } from "./setup.js"

type Store = EventStore.EventStore["Type"]

const names = ["a", "b", "c", "d", "e"]

/** Many fibers, each with appends to all streams in an order of its own. Gives the ids that each stream acknowledged. */
const write = (store: Store, acknowledged: Map<string, Array<readonly [id: string, version: number]>>) =>
  Effect.forEach(
    Array.from({ length: 15 }, (_, n) => n),
    (n) =>
      Effect.forEach(Array.from({ length: 8 }, (_, i) => i), (i) =>
        Effect.gen(function*() {
          const name = names[(n % 2 === 0 ? i + n : 100 - i - n) % names.length]
          const events = Array.from({ length: 1 + (n + i) % 3 }, () => event())
          const version = yield* store.version(stream(name))
          const expectedVersion = n % 3 === 0 ? ExpectedVersion.exact(version) : ExpectedVersion.any
          const result = yield* Effect.either(store.append(stream(name), events, { expectedVersion }))
          if (Either.isLeft(result)) {
            assert.isTrue(result.left._tag === "VersionConflict" && n % 3 === 0, String(result.left))
            return
          }
          for (const [index, { id }] of events.entries()) {
            const list = acknowledged.get(name) ?? []
            acknowledged.set(name, [...list, [id, result.right.version - events.length + index + 1]])
          }
        }), { discard: true }),
    { concurrency: "unbounded", discard: true }
  )

/** Every acknowledged event is stored once, at its version, and no other event is stored. */
const check = (
  store: Store,
  acknowledged: ReadonlyMap<string, ReadonlyArray<readonly [id: string, version: number]>>
) =>
  Effect.forEach(names, (name) =>
    Effect.gen(function*() {
      const stored = (yield* collect(store.read(stream(name)))).map(({ id, version }) => [id, version] as const)
      const told = [...acknowledged.get(name) ?? []].sort(([, a], [, b]) => a - b)
      assert.isAbove(told.length, 20)
      assert.deepStrictEqual(stored, told)
    }))

describe("groups of appends on PostgreSQL", () => {
  for (const [kind, stores] of [["forced", groupingStores], ["of those that wait", SqlStores.layer]] as const) {
    it.live(`(${kind}) of two programs meet on the same streams`, () =>
      Effect.gen(function*() {
        const url = yield* migratedDatabase
        const open = Effect.map(
          Layer.build(Layer.fresh(Layer.provideMerge(stores, pgClient(url, { maxConnections: 4 })))),
          (context) => Effect.provide(EventStore.EventStore, context)
        )
        const programs = [yield* yield* open, yield* yield* open]
        const acknowledged = new Map<string, Array<readonly [id: string, version: number]>>()
        yield* Effect.forEach(programs, (store) => write(store, acknowledged), { concurrency: "unbounded" })
        yield* check(programs[0], acknowledged)
      }).pipe(Effect.scoped))
  }

  for (const level of ["repeatable read", "serializable"]) {
    it.live(`keep each answer where transactions are ${level} unless they say otherwise`, () =>
      Effect.gen(function*() {
        const url = yield* migratedDatabase
        yield* Effect.gen(function*() {
          const sql = yield* SqlClient.SqlClient
          const database = new URL(url).pathname.slice(1)
          yield* sql.unsafe(`ALTER DATABASE ${database} SET default_transaction_isolation = '${level}'`)
        }).pipe(Effect.provide(pgClient(url)))
        yield* Effect.gen(function*() {
          const store = yield* EventStore.EventStore
          const acknowledged = new Map<string, Array<readonly [id: string, version: number]>>()
          yield* write(store, acknowledged)
          yield* check(store, acknowledged)
        }).pipe(Effect.provide(Layer.provideMerge(SqlStores.layer, pgClient(url, { maxConnections: 4 }))))
      }).pipe(Effect.scoped))
  }
})
