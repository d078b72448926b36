import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer, Option, Ref, Schedule, TestClock } from "effect"
import { CheckpointStore, EventStore, Projection, Projections, Subscription } from "effect-eventsourcing"
import { Account } from "../fixtures/Account.js"
import { append, memory, settle } from "./fixture.js"

const operations = ["attend", "acquire", "renew", "release", "advance"] as const
type Operation = (typeof operations)[number]

type Store = CheckpointStore.CheckpointStore["Type"]

/** A store of which every call of an operation does something else, as long as it is `away`. */
const broken = (operation: Operation, away: Ref.Ref<boolean>, instead: Effect.Effect<never>) =>
  Effect.map(CheckpointStore.CheckpointStore, (store): Store => {
    const first = Effect.flatMap(Ref.get(away), (isAway) => isAway ? instead : Effect.void)
    const all: Store = {
      ...store,
      attend: (...args) => Effect.zipRight(first, store.attend(...args)),
      acquire: (...args) => Effect.zipRight(first, store.acquire(...args)),
      renew: (...args) => Effect.zipRight(first, store.renew(...args)),
      release: (...args) => Effect.zipRight(first, store.release(...args)),
      advance: (...args) => Effect.zipRight(first, store.advance(...args))
    }
    return { ...store, [operation]: all[operation] }
  })

const pass = Effect.forEach(
  Array.from({ length: 12 }),
  () => Effect.zipRight(TestClock.adjust("500 millis"), settle),
  { discard: true }
)

const counting = Effect.map(Ref.make(0), (sum) => ({
  sum,
  projection: Projection.make({
    name: "sums",
    on: [Account],
    handle: (events) => Ref.update(sum, (before) => before + events.length)
  })
}))

for (const [what, instead] of [["dies", Effect.die("broken")], ["interrupts itself", Effect.interrupt]] as const) {
  describe(`a projection whose checkpoint store ${what}`, () => {
    for (const operation of operations) {
      it.scoped(`in ${operation} goes on afterwards`, () =>
        Effect.gen(function*() {
          const { projection, sum } = yield* counting
          const away = yield* Ref.make(true)
          const store = yield* broken(operation, away, instead)
          yield* append("a", [1, 2])
          yield* Layer.build(Projection.layer(projection, { lease: "1 second" })).pipe(
            Effect.provideService(CheckpointStore.CheckpointStore, store)
          )
          yield* pass
          yield* Ref.set(away, false)
          yield* pass
          const last = yield* append("a", [3])
          yield* pass
          yield* Projections.awaitPosition("sums", last)
          assert.strictEqual(yield* Ref.get(sum), 3)
        }).pipe(Effect.provide(memory)))
    }
  })
}

for (const poison of ["stop", "park"] as const) {
  it.scoped(`a subscription whose checkpoint store dies in advance does not ${poison}, and goes on afterwards`, () =>
    Effect.gen(function*() {
      const subscription = Subscription.make({ name: "sums", on: [Account], from: "start", handle: () => Effect.void })
      const away = yield* Ref.make(true)
      const store = yield* broken("advance", away, Effect.die("broken"))
      const last = yield* append("a", [1])
      yield* Layer.build(Subscription.layer(subscription, { retry: Schedule.recurs(0), poison })).pipe(
        Effect.provideService(CheckpointStore.CheckpointStore, store)
      )
      yield* pass
      const [{ local, parked }] = yield* Projections.status("sums")
      assert.strictEqual(parked, 0)
      const { lastError } = Option.getOrThrow(local)
      assert.include(Option.getOrThrow(lastError).reason, "broken")
      yield* Ref.set(away, false)
      yield* pass
      yield* Projections.awaitPosition("sums", last)
    }).pipe(Effect.provide(memory)))
}

it.scoped("a handler that dies inside of advance is to blame itself", () =>
  Effect.gen(function*() {
    const projection = Projection.make({ name: "sums", on: [Account], handle: () => Effect.die("bad handler") })
    yield* append("a", [1])
    yield* Layer.build(Projection.layer(projection, { retry: Schedule.recurs(0), poison: "park" }))
    yield* pass
    const [{ reason }] = yield* Projections.parked({ name: "sums", version: 1 })
    assert.include(reason, "bad handler")
  }).pipe(Effect.provide(memory)))

it.scoped("a subscription goes on with its handler while its checkpoint store dies in renew", () =>
  Effect.gen(function*() {
    const calls = yield* Ref.make(0)
    const subscription = Subscription.make({
      name: "sums",
      on: [Account],
      from: "start",
      handle: () => Effect.zipRight(Ref.update(calls, (n) => n + 1), Effect.sleep("3 seconds"))
    })
    const away = yield* Ref.make(true)
    const store = yield* broken("renew", away, Effect.die("broken"))
    const last = yield* append("a", [1])
    yield* Layer.build(Subscription.layer(subscription, { lease: "1 second", retry: Schedule.recurs(0) })).pipe(
      Effect.provideService(CheckpointStore.CheckpointStore, store)
    )
    yield* pass
    yield* Ref.set(away, false)
    yield* pass
    yield* Projections.awaitPosition("sums", last)
    assert.strictEqual(yield* Ref.get(calls), 1)
  }).pipe(Effect.provide(memory)))

describe("a projection whose event store", () => {
  for (
    const [what, instead] of [
      ["dies", Effect.die("broken")],
      ["interrupts itself", Effect.interrupt],
      [
        "is away for a reason of its own",
        new EventStore.EventStoreError({
          operation: "readPage",
          reason: "Unavailable",
          mayHaveAppended: false,
          detail: "away",
          cause: new Error("no code")
        })
      ]
    ] as const
  ) {
    it.scoped(`${what} goes on afterwards, and does not stop`, () =>
      Effect.gen(function*() {
        const { projection, sum } = yield* counting
        const away = yield* Ref.make(true)
        const store = yield* EventStore.EventStore
        const last = yield* append("a", [1, 2])
        yield* Layer.build(Projection.layer(projection, { retry: Schedule.recurs(0) })).pipe(
          Effect.provideService(EventStore.EventStore, {
            ...store,
            readPage: (options) => Effect.flatMap(Ref.get(away), (isAway) => isAway ? instead : store.readPage(options))
          })
        )
        yield* pass
        yield* Ref.set(away, false)
        yield* pass
        yield* Projections.awaitPosition("sums", last)
        assert.strictEqual(yield* Ref.get(sum), 2)
      }).pipe(Effect.provide(memory)))
  }
})

it.scoped("a checkpoint that is refused is no fault of an event, and is shown as it is", () =>
  Effect.gen(function*() {
    const away = yield* Ref.make(true)
    const store = yield* CheckpointStore.CheckpointStore
    const refused = new CheckpointStore.CheckpointStoreError({
      operation: "advance",
      reason: "Refused",
      mayHaveHappened: false,
      detail: "permission denied"
    })
    const advance: Store["advance"] = (...args) =>
      Effect.flatMap(Ref.get(away), (isAway) => isAway ? refused : store.advance(...args))
    const projection = Projection.make({
      name: "sums",
      on: [Projection.only(Account, ["Withdrawn"])],
      handle: () => Effect.void
    })
    const last = yield* append("a", [1])
    yield* Layer.build(Projection.layer(projection, { retry: Schedule.recurs(0) })).pipe(
      Effect.provideService(CheckpointStore.CheckpointStore, { ...store, advance })
    )
    yield* pass
    const [{ local }] = yield* Projections.status("sums")
    const reason = Option.flatMap(local, ({ lastError }) => Option.map(lastError, ({ reason }) => reason))
    assert.include(Option.getOrThrow(reason), "permission denied")
    yield* Ref.set(away, false)
    yield* pass
    yield* Projections.awaitPosition("sums", last)
  }).pipe(Effect.provide(memory)))
