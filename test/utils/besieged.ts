// appends to accounts and keeps their balances, as one of several processes on a database, until its input ends
import { Effect, Layer, Random, Schedule } from "effect"
import { EventStore, ExpectedVersion, Projection } from "effect-eventsourcing"
import { event, stream } from "../fixtures/Account.js"
import { balances, options } from "./balances.js"
import { runOn, say, untilInputEnds } from "./child.js"

const { database, partitions, versions }: {
  readonly database: string
  readonly partitions: number
  readonly versions: ReadonlyArray<number>
} = JSON.parse(process.argv[2])

// slow enough for a handler that writes each event by itself
const writer = Effect.gen(function*() {
  const store = yield* EventStore.EventStore
  const account = yield* Random.nextIntBetween(0, 30)
  const events = [event(yield* Random.nextIntBetween(1, 100)), event(1)]
  yield* store.append(stream(`account ${account}`), events, { expectedVersion: ExpectedVersion.any })
  for (const { id } of events) say(`acknowledged ${id}`)
  yield* Effect.sleep("40 millis")
}).pipe(Effect.retry(Schedule.spaced("20 millis")), Effect.forever)

const program = Effect.gen(function*() {
  const layers = versions.map((version) =>
    Projection.layer(balances(version, { isRepaired: false }), { ...options, partitions })
  )
  yield* Effect.retry(Effect.forEach(layers, Layer.build), Schedule.spaced("100 millis"))
  yield* Effect.forkScoped(writer)
  yield* untilInputEnds
}).pipe(Effect.scoped)

await runOn(database, program)
