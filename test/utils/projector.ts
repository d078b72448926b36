// appends to accounts and projects them, as one of several processes on a database, until its input ends
import { SqlClient } from "@effect/sql"
import { Effect, Layer, Random, Schedule } from "effect"
import { EventStore, ExpectedVersion, Projection, StreamId, Subscription } from "effect-eventsourcing"
import { Account } from "../fixtures/Account.js"
import { runOn, say, untilInputEnds } from "./child.js"

const { database, isWriter, partitions }: {
  readonly database: string
  readonly isWriter: boolean
  readonly partitions: number
} = JSON.parse(process.argv[2])

// a handler that now and then takes long is more often killed in its midst
const pause = Effect.flatMap(Random.next, (chance) => chance < 0.1 ? Effect.sleep("3 millis") : Effect.void)

const Log = Projection.make({
  name: "log",
  on: [Account],
  handle: (events) =>
    Effect.flatMap(SqlClient.SqlClient, (sql) =>
      Effect.zipRight(
        sql`INSERT INTO log ${
          sql.insert(events.map(({ aggregateId, id, version }) => ({ id, account: aggregateId, version })))
        }`,
        pause
      ))
})

const Sent = Subscription.make({
  name: "sent",
  on: [Account],
  from: "start",
  handle: ({ aggregateId, id, version }) =>
    Effect.flatMap(
      SqlClient.SqlClient,
      (sql) => Effect.zipRight(pause, sql`INSERT INTO sent ${sql.insert({ id, account: aggregateId, version })}`)
    )
})

const writer = Effect.gen(function*() {
  const store = yield* EventStore.EventStore
  const account = yield* Random.nextIntBetween(0, 20)
  const many = yield* Random.nextIntBetween(1, 4)
  const events = Array.from({ length: many }, () => ({
    id: crypto.randomUUID(),
    type: "Deposited",
    payload: { _tag: "Deposited", amount: 1 }
  }))
  yield* store.append(StreamId.make("Account", `account ${account}`), events, { expectedVersion: ExpectedVersion.any })
  for (const { id } of events) say(`acknowledged ${id}`)
  yield* Effect.sleep("2 millis")
}).pipe(Effect.retry(Schedule.spaced("20 millis")), Effect.forever)

const options = { pageSize: 20, partitions, lease: "500 millis", maxDelay: "50 millis" } as const

const program = Effect.gen(function*() {
  yield* Layer.build(
    Layer.merge(Projection.layer(Log, options), Subscription.layer(Sent, { ...options, concurrency: 4 }))
  )
  if (isWriter) yield* Effect.forkScoped(Effect.replicateEffect(writer, 3, { concurrency: "unbounded" }))
  yield* untilInputEnds
}).pipe(Effect.scoped)

await runOn(database, program)
