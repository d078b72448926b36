import { assert, describe, it } from "@effect/vitest"
import { Effect, FastCheck as fc, Layer, Metric, Option, Schema, TestClock } from "effect"
import { CheckpointStore, Metrics, Position, Projection, Projections } from "effect-eventsourcing"
import { RecordingStores } from "effect-eventsourcing/testing"
import * as Progress from "../../src/internal/projection/progress.js"
import { Account } from "../fixtures/Account.js"
import { append, memory, settle } from "./fixture.js"

const projection = Projection.make({ name: "all", on: [Account], handle: () => Effect.void })
const range = (length: number) => Array.from({ length }, () => 1)

const registered = Effect.flatMap(
  CheckpointStore.CheckpointStore,
  (checkpoints) =>
    checkpoints.register({
      name: "all",
      version: 1,
      kind: "Projection",
      definition: "",
      partitions: 2,
      from: Position.start
    })
)

describe("the status of a projection", () => {
  it.scoped("counts the events after its checkpoints, and is a schema", () =>
    Effect.gen(function*() {
      yield* registered
      yield* TestClock.adjust("1 minute")
      yield* append("a", range(3))
      yield* TestClock.adjust("5 seconds")
      const [status] = yield* Projections.status("all")
      for (const { lag } of status.partitions) {
        assert.deepStrictEqual({ ...lag }, { events: 3, isMore: false, millis: 5_000 })
      }
      assert.strictEqual(status.progress.remaining, 3)
      assert.isTrue(Option.isNone(status.progress.rate) && Option.isNone(status.progress.millisLeft))
      const schema = Schema.parseJson(Projections.Status)
      const decoded = Schema.decodeSync(schema)(Schema.encodeSync(schema)(status))
      assert.deepStrictEqual(decoded, status)
    }).pipe(Effect.provide(memory)))

  it.scoped("counts to 10,000, and estimates above", () =>
    Effect.gen(function*() {
      yield* registered
      yield* append("a", range(9_999))
      assert.isFalse((yield* Projections.status("all"))[0].partitions[0].lag.isMore)
      yield* append("a", range(5_000))
      const [{ partitions: [{ lag }], progress }] = yield* Projections.status("all")
      assert.deepStrictEqual([lag.events, lag.isMore, progress.remaining], [10_000, true, 14_999])
    }).pipe(Effect.provide(memory)))

  it.scoped("has its rate, and how long it will take, from the second call on; so have the metrics", () =>
    Effect.gen(function*() {
      const checkpoints = yield* CheckpointStore.CheckpointStore
      yield* registered
      const key = { name: "all", version: 1 }
      yield* append("a", range(1_000))
      yield* Projections.status("all")
      yield* TestClock.adjust("2 seconds")
      for (const index of [0, 1]) {
        const lease = yield* yield* checkpoints.acquire(key, { owner: "a", ttl: 60_000, index, of: 2 })
        const to = Position.fromParts(0, 200 + index * 100)
        yield* checkpoints.advance(lease, { to, handled: 1, ttl: 60_000, streams: [] }, () => Effect.void)
      }
      const [{ progress }] = yield* Projections.status("all")
      assert.deepStrictEqual({ ...progress }, {
        remaining: 800,
        rate: Option.some(100),
        millisLeft: Option.some(8_000)
      })
      const valueOf = (metric: Metric.Metric.Gauge<number>) =>
        Metric.value(metric.pipe(Metric.tagged("name", "all"), Metric.tagged("version", "1")))
      assert.strictEqual((yield* valueOf(Metrics.projectionRemaining)).value, 800)
      assert.strictEqual((yield* valueOf(Metrics.projectionRate)).value, 100)
    }).pipe(Effect.provide(memory)))

  it.scoped("reads no events, and counts nothing at the end of the feed", () =>
    Effect.gen(function*() {
      const recording = yield* RecordingStores.Stores
      yield* Layer.build(Projection.layer(projection))
      const last = yield* append("a", range(3))
      yield* Projections.awaitPosition("all", last)
      yield* settle
      const before = yield* recording.counts
      yield* Projections.status()
      const after = yield* recording.counts
      assert.strictEqual(after.readPage, before.readPage)
      assert.strictEqual(after.countAfter, before.countAfter)
      assert.strictEqual(after.head, before.head + 1)
    }).pipe(Effect.provide(Layer.merge(RecordingStores.layer, CheckpointStore.layerMemory))))
})

describe("progress", () => {
  it("never is negative, has no end that does not come nearer, and keeps a bounded number of looks", () =>
    fc.assert(fc.property(
      fc.array(fc.record({ wait: fc.nat(5_000), events: fc.nat(2_000), appended: fc.nat(2_000) }), { maxLength: 400 }),
      (steps) => {
        let samples: ReadonlyArray<Progress.Sample> = []
        let [time, position, head] = [0, 0, 0]
        for (const { appended, events, wait } of steps) {
          time += wait
          head += appended
          position = Math.min(head, position + events)
          const before = samples
          const now = { time, position: Position.fromParts(0, position), remaining: head - position }
          const [progress, kept] = Progress.progress(samples, now)
          samples = kept
          assert.isAtMost(samples.length, 302)
          assert.isTrue(Option.getOrElse(progress.rate, () => 0) >= 0)
          for (const millis of Option.toArray(progress.millisLeft)) {
            assert.isTrue(millis >= 0 && Number.isFinite(millis))
            if (millis > 0) assert.isTrue(before.some(({ remaining }) => remaining > now.remaining))
          }
          if (now.remaining === 0) assert.deepStrictEqual(progress.millisLeft, Option.some(0))
        }
      }
    )))
})

describe("a command that waits for a projection", () => {
  it.scoped("gives its result when the read model has its events, also if it is a duplicate or has no events", () =>
    Effect.gen(function*() {
      yield* Layer.build(Projection.layer(projection))
      const executed = yield* Effect.succeed({ position: Option.some(yield* append("a", [1])), state: 7 }).pipe(
        Projections.thenAwait("all")
      )
      assert.strictEqual(executed.state, 7)
      const [{ partitions: [{ position }] }] = yield* Projections.status("all")
      assert.strictEqual(position, Option.getOrThrow(executed.position))
      yield* Projections.thenAwait("not registered")(Effect.succeed({ position: Option.none<Position.Position>() }))
      const missing = yield* Effect.flip(Projections.thenAwait("not registered")(Effect.succeed(executed)))
      assert.strictEqual(missing._tag, "SubscriptionMismatch")
      const failed = yield* Effect.flip(Projections.thenAwait("all")(Effect.fail("rejected" as const)))
      assert.strictEqual(failed, "rejected")
    }).pipe(Effect.provide(memory)))
})

describe("Projection.layerVersions", () => {
  const version = (version: number, name = "all") =>
    Projection.make({ name, version, on: [Account], handle: () => Effect.void })

  it.scoped("runs both, and the older one is the active one", () =>
    Effect.gen(function*() {
      yield* Layer.build(Projection.layerVersions(version(2), version(3)))
      const all = yield* Projections.status("all")
      assert.deepStrictEqual(all.map(({ active, version }) => [version, active]), [[2, true], [3, false]])
    }).pipe(Effect.provide(memory)))

  it.effect("refuses two names, and a second version that is not the higher one", () =>
    Effect.gen(function*() {
      for (
        const [first, second] of [[version(2), version(1)], [version(1), version(1)], [version(1), version(2, "b")]]
      ) {
        const error = yield* Effect.flip(Effect.scoped(Layer.build(Projection.layerVersions(first, second))))
        assert.strictEqual(error._tag, "InvalidOption")
      }
    }).pipe(Effect.provide(memory)))
})
