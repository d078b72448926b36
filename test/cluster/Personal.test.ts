// the tables of a cluster keep no personal data in clear
import type { SqlClient } from "@effect/sql"
import { assert, describe, it } from "@effect/vitest"
import { Cause, Effect, Equal, Exit, Layer, Option } from "effect"
import { InvalidOption, Personal, Projection, SnapshotPolicy } from "effect-eventsourcing"
import { AggregateEntity, SqlCluster } from "effect-eventsourcing/cluster"
import { Customer } from "../fixtures/Customer.js"
import { postgresTemporaryDatabase, sqliteFile, sqlStores } from "../utils/backends.js"
import { everyRow, sql } from "../utils/personal.js"
import { freePort } from "./fixture.js"

const register = { _tag: "Register", name: Personal.make("a", "Ada Lovelace"), plan: "free" } as const

const runner = (entity: AggregateEntity.AggregateEntity<typeof Customer>) =>
  Layer.unwrapEffect(
    Effect.map(freePort, (port) =>
      AggregateEntity.layer(entity, { snapshots: SnapshotPolicy.sync({ every: 1 }) }).pipe(
        Layer.provideMerge(SqlCluster.layerRunner({ address: { host: "127.0.0.1", port }, shards: 10 }))
      ))
  )

const clients: ReadonlyArray<readonly [name: string, client: Layer.Layer<SqlClient.SqlClient, unknown>]> = [
  ["SQLite", sqliteFile(":memory:")],
  ["PostgreSQL", postgresTemporaryDatabase]
]

describe("entities of an aggregate with personal data", () => {
  for (const [name, client] of clients) {
    for (const persisted of [false, true]) {
      const entity = AggregateEntity.make(Customer, { persisted })
      it.scopedLive(`keep it sealed, and drop it when a subject is erased (${name}, persisted: ${persisted})`, () =>
        Effect.gen(function*() {
          const customers = yield* AggregateEntity.client(entity, { timeout: "20 seconds" })
          const executed = yield* customers.execute("a", register)
          assert.isTrue(Equal.equals(executed.state.name, Option.some(register.name)))
          assert.isTrue(Equal.equals((yield* customers.load("a")).state.name, Option.some(register.name)))
          const rows = yield* everyRow
          if (persisted) assert.include(rows, "execute")
          assert.include(rows, "sealed")
          assert.notInclude(rows, "Lovelace")
          yield* Personal.erase("a")
          const erased = Option.some(Personal.erased("a"))
          assert.isTrue(Equal.equals((yield* customers.load("a")).state.name, erased))
          const visited = yield* customers.execute("a", { _tag: "Visit" })
          assert.isTrue(Equal.equals(visited.state.name, erased))
          const refused = yield* Effect.flip(customers.execute("a", register))
          assert(refused._tag === "EventStoreError" && refused.reason === "InvalidInput")
          assert.notInclude(yield* everyRow, "Lovelace")
        }).pipe(
          Effect.provide(runner(entity).pipe(Layer.provideMerge(sql), Layer.provideMerge(client)))
        ))
    }
  }

  const Odd: typeof Customer = {
    ...Customer,
    decide: (state, command) => {
      if (command._tag === "Register" && command.plan === "odd" && command.name._tag === "Present") {
        throw new RangeError(`${command.name.value} cannot have this plan`)
      }
      return Customer.decide(state, command)
    }
  }
  const oddEntity = AggregateEntity.make(Odd, { persisted: true })
  const Names = Projection.make({
    name: "names",
    on: [Odd],
    handle: ([{ event }]) =>
      event._tag === "Registered" && event.name._tag === "Present"
        ? Effect.fail(new Error(`cannot write ${event.name.value}`))
        : Effect.void
  })

  for (const [name, client] of clients) {
    it.scopedLive(`leave the messages of failures and defects out of the stored answers, ${name}`, () =>
      Effect.gen(function*() {
        const customers = yield* AggregateEntity.client(oddEntity, { timeout: "20 seconds" })
        const failed = yield* Effect.flip(customers.execute("a", register))
        assert(failed._tag === "InlineProjectionError")
        const died = yield* Effect.exit(customers.execute("b", { ...register, plan: "odd" }))
        assert.isTrue(Exit.isFailure(died) && Cause.isDie(died.cause))
        const rows = yield* everyRow
        assert.include(rows, "RangeError")
        assert.include(rows, "InlineProjectionError")
        assert.notInclude(rows, "Lovelace")
      }).pipe(
        Effect.provide(
          Layer.unwrapEffect(Effect.map(freePort, (port) =>
            AggregateEntity.layer(oddEntity).pipe(
              Layer.provide(Projection.layer(Names, { inline: true })),
              Layer.provideMerge(SqlCluster.layerRunner({ address: { host: "127.0.0.1", port }, shards: 10 }))
            ))).pipe(Layer.provideMerge(sql), Layer.provideMerge(client))
        )
      ))
  }

  it.scopedLive("are refused with persisted commands and without Personal.layer", () =>
    Effect.gen(function*() {
      const entity = AggregateEntity.make(Customer, { persisted: true })
      const refused = yield* Effect.flip(AggregateEntity.client(entity))
      assert.instanceOf(refused, InvalidOption.InvalidOption)
      assert.include(refused.message, "Personal.layer")
    }).pipe(
      Effect.provide(
        SqlCluster.layerClient().pipe(Layer.provideMerge(sqlStores), Layer.provide(sqliteFile(":memory:")))
      )
    ))
})
