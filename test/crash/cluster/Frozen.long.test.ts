// a runner that is frozen past its lock goes on beside the new owner of its entities
import { SqlClient } from "@effect/sql"
import { assert, describe, it } from "@effect/vitest"
import { Duration, Effect, Layer, Schedule } from "effect"
import { Repository, SqlStores } from "effect-eventsourcing"
import { AggregateEntity } from "effect-eventsourcing/cluster"
import { Account, deposit, id, open, withdraw } from "../../cluster/fixture.js"
import { migratedDatabase } from "../../utils/backends.js"
import { pgClient } from "../../utils/postgres.js"
import { makePlace, type Place, startRunner, stopRunner } from "./processes.js"
import { quick } from "./rounds.js"
import { clientOf, entityOf, storesPrefix, timeout } from "./settings.js"

const ids = Array.from({ length: 20 }, (_, n) => id(`a${n}`))

/** How many runners have a good share of the shards. */
const owners = Effect.flatMap(
  SqlClient.SqlClient,
  (sql) =>
    Effect.map(
      sql`SELECT address FROM bank_cluster_locks GROUP BY address HAVING count(*) > 100`,
      ({ length }) => length
    )
)

/** Two runners that both have shards, and a client of their entities. */
const cluster = Effect.gen(function*() {
  const url = yield* migratedDatabase
  const places = yield* Effect.promise(() => Promise.all([makePlace(), makePlace()]))
  yield* Effect.addFinalizer(() => Effect.promise(() => Promise.all(places.map(stopRunner))))
  yield* Effect.forEach(places, (place) => Effect.promise(() => startRunner(place, url, quick)), { concurrency: 2 })
  const database = yield* Layer.build(pgClient(url, { maxConnections: 4 }))
  const client = yield* Effect.provide(Layer.build(clientOf(quick)), database)
  const stores = yield* Effect.provide(Layer.build(SqlStores.layerWith(storesPrefix)), database)
  const entities = yield* Effect.provide(
    AggregateEntity.client(entityOf(quick), { timeout, attemptTimeout: quick.attemptTimeout }),
    client
  )
  yield* Effect.repeat(owners, { until: (count) => count === 2, schedule: Schedule.spaced("200 millis") }).pipe(
    Effect.provide(database)
  )
  return { entities, local: yield* Effect.provide(Repository.make(Account), stores), places }
})

const each = <A, E>(run: (account: (typeof ids)[number]) => Effect.Effect<A, E>) =>
  Effect.forEach(ids, run, { concurrency: "unbounded" })

const signal = ({ runner }: Place, name: "SIGSTOP" | "SIGCONT") => Effect.sync(() => runner?.child.kill(name))

describe("a runner that is frozen past its lock", () => {
  it.scopedLive("applies no command that the new owner of its entity has rejected", () =>
    Effect.gen(function*() {
      const { entities, local, places } = yield* cluster
      yield* each((account) => entities.execute(account, open))
      yield* signal(places[0], "SIGSTOP")
      // half of them wait for the frozen runner, until the other one has its entities
      const took = yield* each((account) =>
        Effect.timed(Effect.flip(entities.execute(account, withdraw(5)))).pipe(
          Effect.map(([took, error]) => {
            assert.strictEqual(error._tag, "InsufficientFunds")
            return Math.round(Duration.toMillis(took))
          })
        )
      )
      yield* each((account) => entities.execute(account, deposit(10)))
      yield* signal(places[0], "SIGCONT")
      // the frozen runner now reads what it was sent: a load of each entity follows it there
      yield* Effect.sleep("3 seconds")
      yield* each((account) => entities.load(account))
      for (const account of ids) {
        const { state, version } = yield* local.load(account)
        assert.deepStrictEqual([version, state.balance], [2, 10], account)
      }
      assert.isAbove(took.filter((millis) => millis > quick.attemptTimeout).length, 0)
    }))
})
