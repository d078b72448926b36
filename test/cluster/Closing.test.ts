// a runner ends in time, whatever its entities wait for
import { TestRunner } from "@effect/cluster"
import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Exit, Fiber, Layer, Scope, TestClock } from "effect"
import { AggregateEntity } from "effect-eventsourcing/cluster"
import { Faults } from "effect-eventsourcing/testing"
import * as Closing from "../../src/internal/cluster/closing.js"
import { memoryStores } from "../utils/backends.js"
import { Account, deposit, id, open } from "./fixture.js"

for (const persisted of [false, true]) {
  const entity = AggregateEntity.make(Account, { persisted })

  describe(`a runner that closes (persisted: ${persisted})`, () => {
    it.scoped("does not wait for a command that cannot be interrupted", () =>
      Effect.gen(function*() {
        const began = yield* Deferred.make<void>()
        const stuck = Faults.when(({ operation }) => {
          if (operation === "EventStore.append") Deferred.unsafeDone(began, Exit.void)
          return operation === "EventStore.append"
        }, Faults.stuck)
        const stores = Layer.provideMerge(Faults.layerEventStore(stuck), memoryStores)
        const scope = yield* Scope.make()
        const runner = Layer.provideMerge(AggregateEntity.layer(entity), Layer.provideMerge(TestRunner.layer, stores))
        const context = yield* Scope.extend(Layer.build(runner), scope)
        const accounts = yield* Effect.provide(AggregateEntity.client(entity, { timeout: "1 hour" }), context)
        yield* Effect.fork(accounts.executeAll(id("a"), [open, deposit(1)]))
        // until the runner has its shards
        yield* TestClock.adjust("3 seconds")
        yield* Deferred.await(began)
        const closing = yield* Effect.fork(Scope.close(scope, Exit.void))
        yield* TestClock.adjust("30 seconds")
        assert.isTrue(Exit.isSuccess(yield* Fiber.await(closing)))
      }))
  })
}

describe("the connections of a runner", () => {
  it.effect("that do not close, do not keep it", () =>
    Effect.gen(function*() {
      let closed = 0
      const count = Layer.scopedDiscard(Effect.addFinalizer(() => Effect.sync(() => closed++)))
      const stuck = Layer.scopedDiscard(Effect.addFinalizer(() => Effect.never))
      const scope = yield* Scope.make()
      const layer = Layer.provide(Closing.connections(Layer.provide(stuck, count)), count)
      yield* Scope.extend(Layer.build(Layer.merge(layer, Closing.connections(Layer.fresh(count)))), scope)
      const closing = yield* Effect.fork(Scope.close(scope, Exit.void))
      yield* TestClock.adjust("10 seconds")
      assert.isTrue(Exit.isSuccess(yield* Fiber.await(closing)))
      // what is below them closes, and so do those that can
      assert.strictEqual(closed, 2)
    }))
})
