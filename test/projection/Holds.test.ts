import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer, Ref, TestClock } from "effect"
import { CheckpointStore, Projections, Subscription } from "effect-eventsourcing"
import { Account } from "../fixtures/Account.js"
import { append, memory, settle } from "./fixture.js"

const key = { name: "mails", version: 1 }

describe("a subscription that must not pass a position", () => {
  it.scoped("sends nothing beyond it until the hold ends, and then each event once", () =>
    Effect.gen(function*() {
      const sent = yield* Ref.make<ReadonlyArray<string>>([])
      const mails = Subscription.make({
        name: "mails",
        on: [Account],
        from: "start",
        handle: ({ aggregateId, version }) => Ref.update(sent, (all) => [...all, `${aggregateId}${version}`])
      })
      const first = yield* append("a", [1])
      yield* Layer.build(Subscription.layer(mails))
      yield* Projections.awaitPosition("mails", first)
      const { hold } = yield* CheckpointStore.CheckpointStore
      yield* hold([key], 3_000)
      const last = yield* append("a", [2, 3])
      for (let i = 0; i < 20; i++) {
        yield* settle
        yield* TestClock.adjust("100 millis")
      }
      assert.deepStrictEqual(yield* Ref.get(sent), ["a1"])
      yield* TestClock.adjust("2 seconds")
      yield* settle
      yield* Projections.awaitPosition("mails", last)
      assert.deepStrictEqual(yield* Ref.get(sent), ["a1", "a2", "a3"])
    }).pipe(Effect.provide(memory)))
})
