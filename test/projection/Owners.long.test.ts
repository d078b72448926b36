import { assert, describe, it } from "@effect/vitest"
import { Array as Arr, Effect, Either, Exit, Fiber, Layer, Option, Ref, Schedule, Scope, TestClock } from "effect"
import { CheckpointStore, EventStore, Position, Projection, Projections } from "effect-eventsourcing"
import { Account } from "../fixtures/Account.js"
import { append, asKilled, asProcess, counting, memory, settle } from "./fixture.js"

const key = { name: "sums", version: 1 }

const owners = Effect.map(
  Projections.status("sums"),
  ([{ partitions }]) => partitions.map(({ owner }) => Option.getOrElse(owner, () => "none"))
)

const pass = (seconds: number) =>
  Effect.forEach(Array.from({ length: seconds * 2 }), () => Effect.zipRight(TestClock.adjust("500 millis"), settle), {
    discard: true
  })

/** Waits while time passes: other processes do not wake this one. */
const reached = (position: Position.Position) =>
  Effect.gen(function*() {
    const fiber = yield* Effect.fork(Projections.awaitPosition("sums", position, { timeout: "1 minute" }))
    while (Option.isNone(yield* Fiber.poll(fiber))) yield* pass(1)
    yield* Fiber.join(fiber)
  })

const many = Effect.forEach(Array.from({ length: 20 }, (_, i) => `account ${i}`), (account) => append(account, [1, 2]))

describe("several processes of one projection", () => {
  it.scoped("share its partitions, and take over those of one that closes", () =>
    Effect.gen(function*() {
      const { counts, projection } = yield* counting
      const layer = Projection.layer(projection, { partitions: 4 })
      yield* many
      yield* asProcess(Layer.build(layer))
      yield* settle
      assert.strictEqual(new Set(yield* owners).size, 1)
      const second = yield* Scope.make()
      yield* asProcess(Layer.buildWithScope(layer, second))
      yield* pass(10)
      const shared = yield* owners
      assert.deepStrictEqual(shared.map((owner) => shared.filter((other) => other === owner).length), [2, 2, 2, 2])
      yield* many
      yield* Scope.close(second, Exit.void)
      yield* pass(2)
      assert.strictEqual(new Set(yield* owners).size, 1)
      const last = yield* append("account 1", [3])
      yield* pass(1)
      yield* reached(last)
      assert.deepStrictEqual(new Set(Object.values(yield* Ref.get(counts))), new Set([1]))
      assert.strictEqual(Object.keys(yield* Ref.get(counts)).length, 81)
    }).pipe(Effect.provide(memory)))

  it.scoped("leave an event that fails to the one that tries it again, however long that takes", () =>
    Effect.gen(function*() {
      const projection = Projection.make({ name: "sums", on: [Account], handle: () => Effect.fail("bad") })
      const retry = Schedule.intersect(Schedule.spaced("4 seconds"), Schedule.recurs(3))
      const layer = Projection.layer(projection, { lease: "1 second", poison: "park", retry })
      yield* append("a", [1])
      yield* asProcess(Layer.build(layer))
      yield* asProcess(Layer.build(layer))
      yield* settle
      const [first] = yield* owners
      yield* pass(13)
      assert.deepStrictEqual(yield* owners, [first])
      assert.strictEqual((yield* Projections.parked(key)).length, 1)
    }).pipe(Effect.provide(memory)))

  it.scoped("extend the lease after each slow failure, which has undone the extension of its batch", () =>
    Effect.gen(function*() {
      const calls: Array<number | "renew"> = []
      const store = yield* CheckpointStore.CheckpointStore
      const noting = CheckpointStore.CheckpointStore.of({
        ...store,
        renew: (...args) => Effect.suspend(() => (calls.push("renew"), store.renew(...args)))
      })
      const projection = Projection.make({
        name: "sums",
        on: [Account],
        handle: ({ length }) =>
          Effect.suspend(() => (calls.push(length), Effect.zipRight(Effect.sleep("900 millis"), Effect.fail("bad"))))
      })
      yield* append("a", [1, 2])
      yield* Layer.build(Projection.layer(projection, { lease: "1 second", poison: "park", retry: Schedule.recurs(0) }))
        .pipe(Effect.provideService(CheckpointStore.CheckpointStore, noting))
      yield* pass(5)
      assert.deepStrictEqual(calls.slice(0, 6), [2, "renew", 1, "renew", 1, "renew"])
    }).pipe(Effect.provide(memory)))

  it.scoped("replace one that was killed, after its lease", () =>
    Effect.gen(function*() {
      const { counts, projection } = yield* counting
      const layer = Projection.layer(projection, { lease: "3 seconds" })
      const first = yield* Scope.make()
      yield* asKilled(Layer.buildWithScope(layer, first))
      yield* many
      yield* settle
      const [killed] = yield* owners
      yield* Scope.close(first, Exit.void)
      yield* asProcess(Layer.build(layer))
      const last = yield* append("account 1", [3])
      yield* pass(1)
      assert.deepStrictEqual(yield* owners, [killed])
      yield* pass(3)
      assert.notStrictEqual((yield* owners)[0], killed)
      yield* reached(last)
      assert.deepStrictEqual(new Set(Object.values(yield* Ref.get(counts))), new Set([1]))
    }).pipe(Effect.provide(memory)))

  for (const [from, to] of [[1, 4], [4, 1], [3, 5]]) {
    it.scoped(`change ${from} partitions to ${to}, while events come in`, () =>
      Effect.gen(function*() {
        const { counts, projection } = yield* counting
        yield* asProcess(Layer.build(Projection.layer(projection, { partitions: from })))
        yield* many
        yield* settle
        yield* asProcess(Layer.build(Projection.layer(projection, { partitions: to })))
        for (let i = 0; i < 10; i++) {
          yield* append(`account ${i}`, [1])
          yield* pass(1)
        }
        const last = yield* append("account 1", [3])
        yield* pass(3)
        yield* reached(last)
        assert.strictEqual((yield* owners).length, to)
        const counted = yield* Ref.get(counts)
        assert.deepStrictEqual(new Set(Object.values(counted)), new Set([1]))
        assert.strictEqual(Object.keys(counted).length, 51)
      }).pipe(Effect.provide(memory)))
  }

  it.scoped("change the partitions that a killed process has left at different positions", () =>
    Effect.gen(function*() {
      const { counts, projection } = yield* counting
      yield* many
      const { checkpoints, events } = yield* Effect.all({
        checkpoints: CheckpointStore.CheckpointStore,
        events: EventStore.EventStore
      })
      const { reading: { item, text: definition } } = projection
      yield* checkpoints.register({ ...key, kind: "Projection", definition, partitions: 4, from: Position.start })
      // a process that was killed after the first batch of one partition
      const [index, of] = [1, 4]
      const lease = yield* yield* checkpoints.acquire(key, { owner: "killed", ttl: 5_000, index, of })
      const page = yield* events.readPage({ partition: { index, of }, limit: 3 })
      const handled = page.events.flatMap((recorded) =>
        Option.toArray(Option.flatMap(item(recorded), ({ event }) => Either.getRight(event)))
      )
      yield* checkpoints.advance(
        lease,
        { to: page.settled, handled: 3, ttl: 5_000, streams: [] },
        () => Arr.isNonEmptyArray(handled) ? projection.handle(handled) : Effect.void
      )
      assert.strictEqual(handled.length, 3)
      yield* asProcess(Layer.build(Projection.layer(projection, { partitions: 2 })))
      const last = yield* append("account 1", [3])
      yield* reached(last)
      assert.strictEqual((yield* owners).length, 2)
      const counted = yield* Ref.get(counts)
      assert.deepStrictEqual(new Set(Object.values(counted)), new Set([1]))
      assert.strictEqual(Object.keys(counted).length, 41)
    }).pipe(Effect.provide(memory)))

  it.scoped("cannot run twice in one process", () =>
    Effect.gen(function*() {
      const { projection } = yield* counting
      yield* Layer.build(Projection.layer(projection))
      const error = yield* Effect.flip(Layer.build(Projection.layer(projection)))
      assert.strictEqual(error._tag, "InvalidOption")
    }).pipe(Effect.provide(memory)))
})

describe("a new version", () => {
  it.scoped("is promoted when both stand at the same position, and back", () =>
    Effect.gen(function*() {
      const table = yield* Ref.make("balances_1")
      const version = (version: number) =>
        Effect.map(Ref.make(0), (sum) => ({
          sum,
          layer: Projection.layer(Projection.make({
            name: "sums",
            version,
            on: [Account],
            handle: (events) => Ref.update(sum, (before) => before + events.length)
          }))
        }))
      const [one, two] = yield* Effect.all([version(1), version(2)])
      yield* many
      yield* Layer.build(one.layer)
      yield* settle
      yield* Layer.build(two.layer)
      assert.strictEqual(yield* Projections.activeVersion("sums"), 1)
      yield* Projections.promote({ ...key, version: 2 }, { swap: Ref.set(table, "balances_2") })
      assert.strictEqual(yield* Projections.activeVersion("sums"), 2)
      assert.strictEqual(yield* Ref.get(table), "balances_2")
      assert.deepStrictEqual([yield* Ref.get(one.sum), yield* Ref.get(two.sum)], [40, 40])
      const active = Effect.map(Projections.status("sums"), (all) =>
        all.filter(({ active }) => active).map(({ version }) => version))
      assert.deepStrictEqual(yield* active, [2])
      assert.strictEqual((yield* Effect.flip(Projections.remove({ ...key, version: 2 })))._tag, "SubscriptionMismatch")
      const last = yield* append("a", [1])
      yield* pass(1)
      yield* reached(last)
      yield* Projections.promote(key)
      assert.deepStrictEqual(yield* active, [1])
      assert.strictEqual(yield* Ref.get(one.sum), 41)
    }).pipe(Effect.provide(memory)))

  it.scoped("is not said to be late when its commit had begun in time", () =>
    Effect.gen(function*() {
      const layer = (version: number) =>
        Projection.layer(Projection.make({ name: "sums", version, on: [Account], handle: () => Effect.void }))
      yield* Layer.build(layer(1))
      yield* Layer.build(layer(2))
      yield* settle
      const store = yield* CheckpointStore.CheckpointStore
      const slow = CheckpointStore.CheckpointStore.of({
        ...store,
        promote: (key, effect) =>
          Effect.uninterruptible(Effect.zipLeft(store.promote(key, effect), Effect.sleep("2 seconds")))
      })
      const promoting = yield* Projections.promote({ ...key, version: 2 }, { timeout: "1 second" }).pipe(
        Effect.provideService(CheckpointStore.CheckpointStore, slow),
        Effect.fork
      )
      yield* settle
      yield* pass(3)
      yield* Fiber.join(promoting)
      assert.strictEqual(yield* Projections.activeVersion("sums"), 2)
    }).pipe(Effect.provide(memory)))

  it.scoped("must be the highest, and an old one must not change", () =>
    Effect.gen(function*() {
      const of = (version: number, on: ReadonlyArray<Projection.Source> = [Account]) =>
        Layer.build(Projection.layer(Projection.make({ name: "sums", version, on, handle: () => Effect.void })))
      yield* of(2)
      const older = yield* Effect.flip(of(1))
      assert.strictEqual(older._tag === "SubscriptionMismatch" ? older.reason : older._tag, "OlderVersion")
      const other = yield* Effect.flip(asProcess(of(2, [Projection.only(Account, ["Opened"])])))
      assert.strictEqual(other._tag === "SubscriptionMismatch" ? other.reason : other._tag, "OtherDefinition")
    }).pipe(Effect.provide(memory)))
})
