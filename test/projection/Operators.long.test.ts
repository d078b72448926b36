// What an operator is told: in memory, on SQLite and on PostgreSQL.
import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Layer, Logger, Option, Ref, Schedule, Scope, TestClock } from "effect"
import { CheckpointStore, Position, Projection, Projections, Subscription } from "effect-eventsourcing"
import { Account } from "../fixtures/Account.js"
import { onAll } from "./databases.js"
import { append, asProcess, memory, settle } from "./fixture.js"

const key = { name: "sums", version: 1 }

const sums = <E, R>(version: number, handle: Effect.Effect<unknown, E, R>) =>
  Projection.make({ name: "sums", version, on: [Account], handle: () => handle })

const lease = "2 seconds"

const options = { lease, maxDelay: "20 millis", retry: Schedule.stop } as const

const broken = Effect.fail(new Error("broken"))

const failureOf = <A, E extends { readonly _tag: string }, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.map(Effect.flip(effect), (error) => "reason" in error ? `${error._tag} ${String(error.reason)}` : error._tag)

describe("a promotion", () => {
  onAll(
    "fails at once if the new version is stopped, and succeeds when that was resumed",
    Effect.gen(function*() {
      const isBroken = yield* Ref.make(true)
      const handle = Effect.flatMap(Ref.get(isBroken), (isBroken) => isBroken ? broken : Effect.void)
      const last = yield* append("a", [1])
      yield* Layer.build(Projection.layerVersions(sums(1, Effect.void), sums(2, handle), options))
      yield* Projections.awaitPosition("sums", last, { timeout: "1 hour" })
      // it does not wait for its time to be over
      const error = yield* Effect.flip(Projections.promote({ ...key, version: 2 }, { timeout: "1 hour" }))
      assert(error._tag === "ProjectionStopped")
      assert.strictEqual(error.version, 2)
      assert.include(error.message, "broken")
      assert.include(error.message, "Projections.resume")
      yield* Ref.set(isBroken, false)
      assert.strictEqual(yield* Projections.resume({ ...key, version: 2 }), 1)
      yield* Projections.promote({ ...key, version: 2 }, { timeout: "1 hour" })
      assert.strictEqual(yield* Projections.activeVersion("sums"), 2)
    })
  )

  onAll(
    "fails at once if the active version is stopped; without that one it does not wait for it",
    Effect.gen(function*() {
      const active = yield* Scope.make()
      const last = yield* append("a", [1])
      yield* Layer.buildWithScope(Projection.layer(sums(1, broken), options), active)
      yield* Layer.build(Projection.layer(sums(2, Effect.void), options))
      yield* Effect.flip(Projections.awaitPosition("sums", last, { timeout: "1 hour" }))
      const promote = Projections.promote({ ...key, version: 2 }, { timeout: "1 hour" })
      const error = yield* Effect.flip(promote)
      assert(error._tag === "ProjectionStopped")
      assert.strictEqual(error.version, 1)
      assert.strictEqual(yield* failureOf(Projections.remove(key, { active: true })), "SubscriptionMismatch Owned")
      yield* Scope.close(active, Exit.void)
      assert.isTrue(yield* Projections.remove(key, { active: true }))
      assert.strictEqual(yield* failureOf(Projections.activeVersion("sums")), "SubscriptionMismatch NoneActive")
      yield* promote
      assert.strictEqual(yield* Projections.activeVersion("sums"), 2)
      yield* Projections.awaitPosition("sums", last, { timeout: "1 hour" })
    })
  )
})

describe("an operator who mistypes a name or a version", () => {
  onAll(
    "is told so",
    Effect.gen(function*() {
      yield* append("a", [1])
      yield* Layer.build(Projection.layer(sums(1, Effect.void), options))
      yield* Layer.build(Subscription.layer(
        Subscription.make({ name: "mails", on: [Account], from: "now", handle: () => Effect.void }),
        options
      ))
      for (const mistyped of [{ ...key, name: "sum" }, { ...key, version: 2 }, { name: "mails", version: 2 }]) {
        const operations: ReadonlyArray<
          Effect.Effect<unknown, { readonly _tag: string }, Effect.Effect.Context<ReturnType<typeof retried>>>
        > = [
          Projections.resume(mistyped),
          Projections.parked(mistyped),
          Projections.dropParked(mistyped, [Position.fromParts(0, 1)]),
          retried(mistyped),
          Projections.promote(mistyped)
        ]
        for (const operation of operations) {
          assert.strictEqual(yield* failureOf(operation), "SubscriptionMismatch Unknown")
        }
        assert.isFalse(yield* Projections.remove(mistyped))
      }
      assert.strictEqual(
        yield* failureOf(Projections.retryParked(
          Subscription.make({ name: "mail", on: [Account], from: "now", handle: () => Effect.void })
        )),
        "SubscriptionMismatch Unknown"
      )
      // nothing to do is not an error
      assert.strictEqual(yield* Projections.resume(key), 0)
      assert.deepStrictEqual(yield* Projections.parked(key), [])
      assert.isFalse(yield* Projections.dropParked(key, [Position.fromParts(0, 1)]))
      assert.deepStrictEqual(yield* retried(key), { handled: 0, failed: [] })
    })
  )

  const retried = ({ name, version }: CheckpointStore.Key) =>
    Projections.retryParked(Projection.make({ name, version, on: [Account], handle: () => Effect.void }))
})

/** Runs an effect with a logger, and gives the messages of errors. */
const errorsOf = <A, E, R>(effect: (messages: ReadonlyArray<string>) => Effect.Effect<A, E, R>) => {
  const messages: Array<string> = []
  const logger = Logger.make(({ logLevel, message }) => {
    if (logLevel.label === "ERROR") messages.push(String(message))
  })
  return Effect.provide(effect(messages), Logger.replace(Logger.defaultLogger, logger))
}

const pass = Effect.forEach(
  Array.from({ length: 5 }),
  () => Effect.zipRight(TestClock.adjust("1 second"), settle),
  { discard: true }
)

describe("a process", () => {
  it.scoped("that the store never accepts gives up its partitions, logs it, and tries no more", () =>
    errorsOf((messages) =>
      Effect.gen(function*() {
        const store = yield* CheckpointStore.CheckpointStore
        const calls = yield* Ref.make(0)
        const refused = new CheckpointStore.CheckpointStoreError({
          operation: "attend",
          reason: "InvalidInput",
          mayHaveHappened: false,
          detail: "the owner is too long"
        })
        yield* Layer.build(Projection.layer(sums(1, Effect.void), { lease, partitions: 2 })).pipe(
          Effect.provideService(CheckpointStore.CheckpointStore, {
            ...store,
            attend: (...args) =>
              Effect.flatMap(
                Ref.updateAndGet(calls, (n) => n + 1),
                (n) => n === 3 ? refused : store.attend(...args)
              )
          })
        )
        yield* pass
        assert.strictEqual(yield* Ref.get(calls), 3)
        const [{ local, partitions }] = yield* Projections.status("sums")
        assert.isTrue(partitions.every(({ owner }) => Option.isNone(owner)))
        const reason = Option.flatMap(local, ({ lastError }) => Option.map(lastError, ({ reason }) => reason))
        assert.include(Option.getOrThrow(reason), "the owner is too long")
        assert.lengthOf(messages, 1)
        // another process takes them
        const last = yield* append("a", [1])
        yield* asProcess(Layer.build(Projection.layer(sums(1, Effect.void), { lease, partitions: 2 })))
        yield* pass
        yield* Projections.awaitPosition("sums", last)
      })
    ).pipe(Effect.provide(memory)))

  it.scoped("that froze until its version was removed does not work for the next one of that number", () =>
    errorsOf((messages) =>
      Effect.gen(function*() {
        const store = yield* CheckpointStore.CheckpointStore
        const isFrozen = yield* Ref.make(false)
        const frozen = Effect.repeat(Effect.delay(Ref.get(isFrozen), "1 second"), { until: (is) => !is })
        const handled = yield* Ref.make<ReadonlyArray<string>>([])
        const counting = (name: string, on: Projection.Source) =>
          Projection.make({
            name: "sums",
            version: 2,
            on: [on],
            handle: (events) => Ref.update(handled, (all) => [...all, ...events.map(() => name)])
          })
        yield* Layer.build(Projection.layer(sums(1, Effect.void), { lease }))
        yield* Layer.build(Projection.layer(counting("frozen", Projection.only(Account, ["Opened"])), { lease })).pipe(
          Effect.provideService(CheckpointStore.CheckpointStore, {
            ...store,
            local: CheckpointStore.makeLocal(),
            attend: (...args) => Effect.zipRight(frozen, store.attend(...args)),
            renew: (...args) => Effect.zipRight(frozen, store.renew(...args))
          })
        )
        yield* pass
        yield* Ref.set(isFrozen, true)
        yield* pass
        assert.isTrue(yield* Projections.remove({ ...key, version: 2 }))
        yield* Ref.set(isFrozen, false)
        yield* pass
        assert.lengthOf(messages, 1)
        yield* asProcess(Layer.build(Projection.layer(counting("new", Account), { lease, partitions: 2 })))
        yield* append("a", [1])
        yield* append("b", [1])
        yield* pass
        assert.deepStrictEqual(yield* Ref.get(handled), ["new", "new"])
      })
    ).pipe(Effect.provide(memory)))
})
