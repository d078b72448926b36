// one of several processes that write the same accounts, each through a cache, and do what they are told line by line
import { SqlClient } from "@effect/sql"
import { Chunk, Effect, Layer, Metric, Random, Schedule, Schema, Stream } from "effect"
import {
  Aggregate,
  EventStore,
  ExpectedVersion,
  Metrics,
  Repository,
  SnapshotPolicy,
  StreamId
} from "effect-eventsourcing"
import * as readline from "node:readline"
import { Account, AccountEvent, id } from "../fixtures/Account.js"
import { pgClient } from "./postgres.js"
import { sqliteFile, sqlStores } from "./stores.js"

const [database, seed] = process.argv.slice(2)

const accounts = ["a", "b", "c"]
const stream = (name: string) => StreamId.make(Account.name, name)
const events = Schema.decodeUnknownSync(Schema.Array(AccountEvent))

const program = Effect.gen(function*() {
  const sql = yield* SqlClient.SqlClient
  const store = yield* EventStore.EventStore
  const plain = yield* Repository.make(Account)
  const cached = yield* Repository.make(Account, {
    // some are dropped, and some tails are longer than a page
    cache: { capacity: 2 },
    pageSize: 30,
    snapshots: SnapshotPolicy.sync({ every: 50 }),
    retry: Schedule.forever
  })
  const counters = ["Hit", "Miss", "Stale"].map((outcome) =>
    Metrics.stateCache.pipe(Metric.tagged("aggregate", Account.name), Metric.tagged("outcome", outcome))
  )

  const some = (from: number, to: number) => Random.nextIntBetween(from, to + 1)
  // one that is busier than the others
  const account = Effect.map(some(0, 4), (n) => accounts[Math.max(0, n - 2)])
  const execute = Effect.gen(function*() {
    const name = yield* account
    const command = (yield* Random.nextBoolean)
      ? { _tag: "Deposit", amount: yield* some(1, 5), times: yield* some(1, 20) } as const
      : { _tag: "Withdraw", amount: yield* some(1, 40) } as const
    return yield* cached.executeAll(id(name), [{ _tag: "Open" }, command])
  })

  /** What the cache gave is what its events come to, while others append. */
  const look = Effect.gen(function*() {
    const name = yield* account
    const { state, version } = yield* cached.load(id(name))
    const read = yield* Stream.runCollect(store.read(stream(name), { toVersion: version }))
    const replayed = Aggregate.replay(Account, id(name), events(Chunk.toArray(read).map(({ payload }) => payload)))
    return difference(name, { state, version }, { state: replayed, version: read.length })
  })

  const step = Effect.gen(function*() {
    if ((yield* some(0, 7)) === 0) {
      yield* Effect.exit(sql.withTransaction(Effect.zipRight(execute, Effect.fail("roll back"))))
    } else {
      yield* Effect.catchTag(execute, "InsufficientFunds", () => Effect.void)
    }
    return yield* look
  })

  // as many as before, with another history
  const rewrite = (name: string) =>
    Effect.gen(function*() {
      const head = yield* store.version(stream(name))
      const kept = Math.max(1, Math.floor(head / 2))
      yield* sql`DELETE FROM eventsourcing_events WHERE stream_id = ${name} AND version > ${kept}`
      const other = Array.from({ length: head - kept }, () => ({
        id: crypto.randomUUID(),
        type: "Deposited",
        payload: { _tag: "Deposited", amount: 1_000 }
      }))
      yield* store.append(stream(name), other, { expectedVersion: ExpectedVersion.exact(kept) })
    })

  // there and back again: what was looked at last is what the cache still holds
  let order = accounts
  const check = Effect.suspend(() => {
    order = order.toReversed()
    return Effect.forEach(order, (name) =>
      Effect.gen(function*() {
        const { state, version } = yield* cached.load(id(name))
        const replayed = yield* plain.load(id(name))
        return difference(name, { state, version }, { state: replayed.state, version: replayed.version })
      }))
  })

  const carryOut = (command: string): Effect.Effect<unknown, unknown> => {
    switch (command) {
      case "work":
        return Effect.replicateEffect(step, 60)
      case "deposit":
        return Effect.forEach(
          accounts,
          (name) => plain.executeAll(id(name), [{ _tag: "Open" }, { _tag: "Deposit", amount: 1 }]),
          { discard: true }
        )
      case "rewrite":
        return Effect.forEach(accounts, rewrite, { discard: true })
      case "check":
        return check
      default:
        return Effect.forEach(counters, (counter) => Effect.map(Metric.value(counter), ({ count }) => count))
    }
  }
  console.log("ready")
  yield* Stream.runForEach(
    Stream.fromAsyncIterable(readline.createInterface({ input: process.stdin }), String),
    (line) => {
      const [number, command] = line.split(" ")
      return Effect.map(carryOut(command), (result) => console.log(`${number} ${JSON.stringify(result ?? [])}`))
    }
  )
}).pipe(Effect.scoped, Effect.withRandom(Random.make(seed)))

function difference(name: string, loaded: object, replayed: object): string | null {
  const [left, right] = [JSON.stringify(loaded), JSON.stringify(replayed)]
  return left === right ? null : `${name}: loaded ${left}, replayed ${right}`
}

const client: Layer.Layer<SqlClient.SqlClient, unknown> = database.startsWith("postgres://")
  ? pgClient(database)
  : sqliteFile(database)

await Effect.runPromise(Effect.provide(program, Layer.provideMerge(sqlStores, client)))
