import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Layer, Metric, Ref, Schedule, TestClock } from "effect"
import {
  CheckpointStore,
  EventStore,
  ExpectedVersion,
  Metrics,
  Projection,
  Projections,
  StreamId,
  Subscription
} from "effect-eventsourcing"
import { Account } from "../fixtures/Account.js"
import { amountOf, append, memory, settle } from "./fixture.js"

const key = { name: "sums", version: 1 }

/** A handler that fails for amounts in `bad`, and remembers the others with their accounts. */
const recorder = Effect.gen(function*() {
  const seen = yield* Ref.make<ReadonlyArray<string>>([])
  const bad = yield* Ref.make<ReadonlyArray<number>>([])
  const handle = (
    event: { readonly aggregateId: string; readonly event: { readonly _tag: string; readonly amount?: number } }
  ) =>
    Effect.gen(function*() {
      if ((yield* Ref.get(bad)).includes(amountOf(event))) return yield* Effect.fail(new Error("too much"))
      yield* Ref.update(seen, (all) => [...all, `${event.aggregateId}${amountOf(event)}`])
    })
  return { seen, bad, handle }
})

const options = { retry: Schedule.recurs(1) }

for (
  const [kind, start] of [
    ["a projection", (recorded: Effect.Effect.Success<typeof recorder>, poison: "park" | "parkStream") => {
      // all or nothing, as in a transaction
      const projection = Projection.make({
        name: "sums",
        on: [Account],
        handle: (events) =>
          Effect.flatMap(
            Ref.get(recorded.seen),
            (before) => Effect.tapError(Effect.forEach(events, recorded.handle), () => Ref.set(recorded.seen, before))
          )
      })
      return {
        layer: Projection.layer(projection, { ...options, poison }),
        retry: Projections.retryParked(projection)
      }
    }],
    ["a subscription", (recorded: Effect.Effect.Success<typeof recorder>, poison: "park" | "parkStream") => {
      const subscription = Subscription.make({ name: "sums", on: [Account], from: "start", handle: recorded.handle })
      return {
        layer: Subscription.layer(subscription, { ...options, poison, concurrency: 3 }),
        retry: Projections.retryParked(subscription)
      }
    }]
  ] as const
) {
  describe(`${kind} that meets an event it cannot handle`, () => {
    it.scoped("parks the event, and goes on with the stream", () =>
      Effect.gen(function*() {
        const recorded = yield* recorder
        yield* Ref.set(recorded.bad, [2])
        const last = yield* append("a", [1, 2, 3])
        const { layer, retry } = start(recorded, "park")
        yield* Layer.build(layer)
        yield* Projections.awaitPosition("sums", last)
        assert.deepStrictEqual(yield* Ref.get(recorded.seen), ["a1", "a3"])
        const parked = yield* Projections.parked(key)
        assert.deepStrictEqual(parked.map(({ kind, reason }) => [kind, reason]), [["Poison", "Error: too much"]])

        assert.strictEqual((yield* retry).failed.length, 1)
        yield* Ref.set(recorded.bad, [])
        assert.deepStrictEqual(yield* retry, { handled: 1, failed: [] })
        assert.deepStrictEqual(yield* Ref.get(recorded.seen), ["a1", "a3", "a2"])
        assert.deepStrictEqual(yield* Projections.parked(key), [])
      }).pipe(Effect.provide(memory)))

    it.scoped("parks the stream from there on, and no other", () =>
      Effect.gen(function*() {
        const recorded = yield* recorder
        yield* Ref.set(recorded.bad, [2])
        yield* append("a", [1, 2, 3])
        const last = yield* append("b", [2.5, 4])
        const { layer, retry } = start(recorded, "parkStream")
        yield* Layer.build(layer)
        yield* Projections.awaitPosition("sums", last)
        const later = yield* append("a", [5])
        yield* Projections.awaitPosition("sums", later)
        // an amount of 2.5 does not decode
        assert.deepStrictEqual(yield* Ref.get(recorded.seen), ["a1"])
        const parked = yield* Projections.parked(key)
        assert.deepStrictEqual(parked.map(({ kind }) => kind), [
          "Poison",
          "Following",
          "Poison",
          "Following",
          "Following"
        ])

        yield* Ref.set(recorded.bad, [])
        const retried = yield* retry
        assert.strictEqual(retried.handled, 3)
        assert.strictEqual(retried.failed.length, 1)
        assert.deepStrictEqual(yield* Ref.get(recorded.seen), ["a1", "a2", "a3", "a5"])
        const dropped = (yield* Projections.parked(key)).map(({ position }) => position)
        assert.isTrue(yield* Projections.dropParked(key, dropped))
        const after = yield* append("b", [6])
        yield* Projections.awaitPosition("sums", after)
        assert.deepStrictEqual(yield* Ref.get(recorded.seen), ["a1", "a2", "a3", "a5", "b6"])
      }).pipe(Effect.provide(memory)))
  })
}

describe("failures that pass", () => {
  const lost = { stream: StreamId.make("Account", "b"), expected: ExpectedVersion.exact(1), actual: 2 }
  const passing = {
    "an outage of the database": new CheckpointStore.CheckpointStoreError({
      operation: "test",
      reason: "Unavailable",
      mayHaveHappened: false,
      detail: "away"
    }),
    "a command that lost all its races": new EventStore.VersionConflict({ ...lost, attempts: 5 })
  }
  for (const [name, failure] of Object.entries(passing)) {
    it.scoped(`${name} repeats without end, and is not poison`, () =>
      Effect.gen(function*() {
        const tries = yield* Ref.make(0)
        const projection = Projection.make({
          name: "sums",
          on: [Account],
          handle: () =>
            Effect.flatMap(Ref.updateAndGet(tries, (n) => n + 1), (n) => n < 20 ? Effect.fail(failure) : Effect.void)
        })
        const last = yield* append("a", [1, 2, 3])
        yield* Layer.build(Projection.layer(projection, options))
        for (let i = 0; i < 20; i++) {
          yield* TestClock.adjust("5 seconds")
          yield* settle
        }
        yield* Projections.awaitPosition("sums", last)
        assert.strictEqual(yield* Ref.get(tries), 20)
      }).pipe(Effect.provide(memory)))
  }

  it.scoped("an expected version that is outdated does not pass", () =>
    Effect.gen(function*() {
      const projection = Projection.make({
        name: "sums",
        on: [Account],
        handle: () => Effect.fail(new EventStore.VersionConflict(lost))
      })
      const last = yield* append("a", [1])
      yield* Layer.build(Projection.layer(projection, { ...options, poison: "park" }))
      yield* settle
      yield* TestClock.adjust("5 seconds")
      yield* Projections.awaitPosition("sums", last)
      assert.strictEqual((yield* Projections.parked(key)).length, 1)
    }).pipe(Effect.provide(memory)))

  it.scoped("a handler that throws, interrupts itself or hangs is poison", () =>
    Effect.gen(function*() {
      const projection = Projection.make({
        name: "sums",
        on: [Account],
        handle: ([event]) => {
          switch (amountOf(event)) {
            case 1:
              throw new Error("thrown")
            case 2:
              return Effect.interrupt
            case 3:
              return Effect.never
            default:
              return Effect.void
          }
        }
      })
      const last = yield* append("a", [1, 2, 3, 4])
      yield* Layer.build(Projection.layer(projection, {
        ...options,
        pageSize: 1,
        poison: "park",
        timeout: "1 second",
        lease: "1 minute"
      }))
      for (let i = 0; i < 5; i++) {
        yield* settle
        yield* TestClock.adjust("1 second")
      }
      yield* Projections.awaitPosition("sums", last)
      const parked = yield* Projections.parked(key)
      assert.deepStrictEqual(parked.map(({ reason }) => reason), [
        "Error: thrown",
        "the handler interrupted itself",
        "HandlerTimeout: the handler took longer than 1s"
      ])
    }).pipe(Effect.provide(memory)))
})

describe("a parked event whose handler hangs", () => {
  it.scoped("fails in time when it is tried again, and lets the projection go on", () =>
    Effect.gen(function*() {
      const tried = yield* Ref.make(0)
      const projection = Projection.make({
        name: "sums",
        on: [Account],
        handle: ([event]) =>
          amountOf(event) !== 1 ? Effect.void : Effect.flatMap(
            Ref.getAndUpdate(tried, (n) => n + 1),
            // it fails until it is parked
            (n) => n < 2 ? Effect.fail("one") : Effect.never
          )
      })
      const last = yield* append("a", [1, 2])
      yield* Layer.build(Projection.layer(projection, { ...options, pageSize: 1, poison: "park", lease: "1 minute" }))
      yield* Projections.awaitPosition("sums", last)
      const retrying = yield* Effect.fork(Projections.retryParked(projection, { timeout: "2 seconds" }))
      yield* settle
      const later = yield* append("b", [3])
      yield* TestClock.adjust("2 seconds")
      const { failed, handled } = yield* Fiber.join(retrying)
      assert.deepStrictEqual(
        [handled, ...failed.map(({ reason }) => reason)],
        [0, "HandlerTimeout: the handler took longer than 2s"]
      )
      yield* Projections.awaitPosition("sums", later)
      assert.strictEqual((yield* Projections.parked(key)).length, 1)
    }).pipe(Effect.provide(memory)))
})

describe("the metrics of a projection", () => {
  it.scoped("count each failure once, and what was handled and parked", () =>
    Effect.gen(function*() {
      const recorded = yield* recorder
      yield* Ref.set(recorded.bad, [2])
      const projection = Projection.make({
        name: "measured",
        on: [Account],
        handle: (events) => Effect.forEach(events, recorded.handle, { discard: true })
      })
      const last = yield* append("a", [1, 2, 3])
      yield* Layer.build(Projection.layer(projection, { ...options, poison: "park" }))
      yield* Projections.awaitPosition("measured", last)
      const tagged = <Type, In, Out>(metric: Metric.Metric<Type, In, Out>) =>
        metric.pipe(Metric.tagged("name", "measured"), Metric.tagged("version", "1"))
      const failures = (kind: string) =>
        Effect.map(Metric.value(Metric.tagged(tagged(Metrics.projectionFailures), "kind", kind)), ({ count }) => count)
      // the page, its second half, and the event twice
      assert.deepStrictEqual([yield* failures("Poison"), yield* failures("Passing")], [4, 0])
      assert.strictEqual((yield* Metric.value(tagged(Metrics.projectionHandled))).count, 2)
      assert.strictEqual((yield* Metric.value(tagged(Metrics.projectionParked))).count, 1)
    }).pipe(Effect.provide(memory)))
})
