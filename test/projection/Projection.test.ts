import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer, Option, Ref, Schedule, TestClock } from "effect"
import {
  CheckpointStore,
  Event,
  EventStore,
  ExpectedVersion,
  Projection,
  Projections,
  StreamId
} from "effect-eventsourcing"
import { Account } from "../fixtures/Account.js"

const Memory = Layer.merge(EventStore.layerMemory, CheckpointStore.layerMemory)

const append = (id: string, amounts: ReadonlyArray<number>) =>
  Effect.gen(function*() {
    const store = yield* EventStore.EventStore
    const ids = yield* Event.IdGenerator
    const events = yield* Effect.forEach(amounts, (amount) =>
      Effect.map(ids, (eventId) => ({ id: eventId, type: "Deposited", payload: { _tag: "Deposited", amount } })))
    const { position } = yield* store.append(StreamId.make("Account", id), events, {
      expectedVersion: ExpectedVersion.any
    })
    return Option.getOrThrow(position)
  })

describe("a projection in memory", () => {
  it.scoped("handles each event once, in order, and follows appends", () =>
    Effect.gen(function*() {
      const seen = yield* Ref.make<ReadonlyArray<string>>([])
      const projection = Projection.make({
        name: "all",
        on: [Account],
        handle: (events) =>
          Ref.update(seen, (before) => [...before, ...events.map((event) => `${event.aggregateId}${event.version}`)])
      })
      yield* append("a", [1, 2])
      yield* Layer.build(Projection.layer(projection, { pageSize: 2 }))
      const position = yield* append("b", [1])
      yield* Projections.awaitPosition("all", position)
      assert.deepStrictEqual(yield* Ref.get(seen), ["a1", "a2", "b1"])
      const last = yield* append("a", [5, 6, 7, 8])
      yield* Projections.awaitPosition("all", last)
      assert.deepStrictEqual(yield* Ref.get(seen), ["a1", "a2", "b1", "a3", "a4", "a5", "a6"])
      const [status] = yield* Projections.status("all")
      assert.deepStrictEqual(status.partitions[0].position, last)
      assert.strictEqual(status.partitions[0].handled, 7)
    }).pipe(Effect.provide(Memory)))
  it.scoped("stops at a poison event, and resumes", () =>
    Effect.gen(function*() {
      const seen = yield* Ref.make<ReadonlyArray<number>>([])
      const broken = yield* Ref.make(true)
      const projection = Projection.make({
        name: "all",
        on: [Account],
        handle: (events) =>
          Effect.gen(function*() {
            const amounts = events.map(({ event }) => event._tag === "Deposited" ? event.amount : 0)
            if (amounts.includes(3) && (yield* Ref.get(broken))) return yield* Effect.fail("three")
            yield* Ref.update(seen, (before) => [...before, ...amounts])
          })
      })
      const last = yield* append("a", [1, 2, 3, 4])
      yield* Layer.build(Projection.layer(projection, { retry: Schedule.recurs(2) }))
      const stopped = yield* Effect.flip(Projections.awaitPosition("all", last))
      assert.strictEqual(stopped._tag, "ProjectionStopped")
      assert.deepStrictEqual(yield* Ref.get(seen), [1, 2])
      yield* Ref.set(broken, false)
      assert.strictEqual(yield* Projections.resume({ name: "all", version: 1 }), 1)
      yield* TestClock.adjust("5 seconds")
      yield* Projections.awaitPosition("all", last)
      assert.deepStrictEqual(yield* Ref.get(seen), [1, 2, 3, 4])
    }).pipe(Effect.provide(Memory)))
})
