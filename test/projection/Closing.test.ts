import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Layer, Option, Ref, Schedule, Scope, TestClock } from "effect"
import { Projection, Projections, Subscription } from "effect-eventsourcing"
import { Account } from "../fixtures/Account.js"
import { append, memory, settle } from "./fixture.js"

// longer than a test may take
const options = { closeWithin: "1 hour", lease: "10 hours", retry: Schedule.spaced("1 hour") } as const

for (const [kind, isPassing] of [["fails", () => false], ["fails for a reason that passes", () => true]] as const) {
  describe(`while a handler ${kind}, closing does not wait for the next try, and gives the lease back:`, () => {
    const layers = {
      projection: (handle: Effect.Effect<void, string>) =>
        Projection.layer(Projection.make({ name: "p", on: [Account], handle: () => handle }), {
          ...options,
          isPassing
        }),
      subscription: (handle: Effect.Effect<void, string>) =>
        Subscription.layer(
          Subscription.make({ name: "p", on: [Account], from: "start", handle: () => handle }),
          { ...options, isPassing }
        )
    }
    for (const [what, layer] of Object.entries(layers)) {
      it.scoped(what, () =>
        Effect.gen(function*() {
          const tries = yield* Ref.make(0)
          yield* append("a", [1])
          const scope = yield* Scope.make()
          const handle = Effect.zipRight(Ref.update(tries, (n) => n + 1), Effect.fail("bad"))
          yield* Layer.buildWithScope(layer(handle), scope)
          // the delays after failures that pass grow up to five seconds
          for (let i = 0; i < 20; i++) yield* Effect.zipRight(settle, TestClock.adjust("2 seconds"))
          const before = yield* Ref.get(tries)
          assert.isAbove(before, 0)
          yield* Scope.close(scope, Exit.void)
          assert.strictEqual(yield* Ref.get(tries), before)
          const [{ partitions: [{ owner, stopped }] }] = yield* Projections.status("p")
          assert.isTrue(Option.isNone(owner) && Option.isNone(stopped))
        }).pipe(Effect.provide(memory)))
    }
  })
}
