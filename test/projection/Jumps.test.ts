// The time of day jumps, and hints come by thousands: leases are kept, and each event is handled once.
import { assert, describe, it } from "@effect/vitest"
import { Clock, Effect, Layer, Ref, TestClock } from "effect"
import { CheckpointStore, EventStore, Projection, Projections, Wakeup } from "effect-eventsourcing"
import { append, counting, memory, settle } from "./fixture.js"

/** A clock whose time of day jumps, while time passes as before. */
const jumping = Effect.map(Effect.clock, (clock) => {
  let offset = 0
  const millis = () => clock.unsafeCurrentTimeMillis() + offset
  const jumps: Clock.Clock = {
    [Clock.ClockTypeId]: Clock.ClockTypeId,
    unsafeCurrentTimeMillis: millis,
    unsafeCurrentTimeNanos: () => clock.unsafeCurrentTimeNanos(),
    currentTimeMillis: Effect.sync(millis),
    currentTimeNanos: clock.currentTimeNanos,
    sleep: (duration) => clock.sleep(duration)
  }
  return { clock: jumps, jump: (hours: number) => void (offset += hours * 3_600_000) }
})

const pass = (seconds: number) =>
  Effect.forEach(Array.from({ length: seconds * 4 }), () => Effect.zipRight(TestClock.adjust("250 millis"), settle), {
    discard: true
  })

describe("a projection whose clock is set", () => {
  for (const hours of [5, -5]) {
    it.scoped(`${hours > 0 ? "forwards" : "backwards"} by hours extends its lease as before`, () =>
      Effect.gen(function*() {
        const { clock, jump } = yield* jumping
        const { counts, projection } = yield* counting
        const store = yield* CheckpointStore.CheckpointStore
        let renewals = 0
        // leases are by the clock of the store, which is another one
        const own = yield* Effect.clock
        const noting = CheckpointStore.CheckpointStore.of({
          ...store,
          renew: (...args) => Effect.suspend(() => (renewals += 1, Effect.withClock(store.renew(...args), own))),
          attend: (...args) => Effect.withClock(store.attend(...args), own),
          acquire: (...args) => Effect.withClock(store.acquire(...args), own),
          advance: (...args) => Effect.withClock(store.advance(...args), own)
        })
        yield* append("a", [1, 2])
        yield* Layer.build(Projection.layer(projection, { lease: "3 seconds" })).pipe(
          Effect.provideService(CheckpointStore.CheckpointStore, noting),
          Effect.withClock(clock)
        )
        yield* pass(10)
        const before = renewals
        jump(hours)
        yield* pass(10)
        assert.isAtLeast(renewals - before, before - 2)
        assert.isAtMost(renewals - before, before + 2)
        yield* append("a", [3])
        yield* pass(2)
        assert.deepStrictEqual(Object.values(yield* Ref.get(counts)), [1, 1, 1])
        const [{ local }] = yield* Effect.provideService(
          Projections.status("sums"),
          CheckpointStore.CheckpointStore,
          noting
        )
        assert.strictEqual(local._tag === "Some" && local.value.lost, 0)
      }).pipe(Effect.provide(memory)))
  }
})

describe("thousands of hints", () => {
  it.scoped("that come at once cost one more look at the feed", () =>
    Effect.gen(function*() {
      const { counts, projection } = yield* counting
      const rings: Array<() => void> = []
      const events = yield* EventStore.EventStore
      let reads = 0
      const noting = EventStore.EventStore.of({
        ...events,
        readPage: (options) => Effect.suspend(() => (reads += 1, events.readPage(options)))
      })
      yield* Layer.build(Projection.layer(projection, { lease: "1 hour", maxDelay: "1 hour" })).pipe(
        Effect.provideService(EventStore.EventStore, noting),
        Effect.provideService(Wakeup.Wakeup, {
          subscribe: (_, ring) => Effect.sync(() => void rings.push(ring))
        })
      )
      // the first looks come soon; later ones after an hour
      yield* TestClock.adjust("50 minutes")
      yield* settle
      for (let n = 0; n < 20; n++) {
        yield* append(`account ${n}`, [1, 2])
        reads = 0
        for (let flood = 0; flood < 5_000; flood++) rings[0]()
        yield* settle
        assert.isAtMost(reads, 3)
      }
      assert.deepStrictEqual(Object.values(yield* Ref.get(counts)), Array.from({ length: 40 }, () => 1))
    }).pipe(Effect.provide(memory)))
})
