// an entity without requests ends, takes its snapshot, and starts again with the next request
import { Sharding, TestRunner } from "@effect/cluster"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Layer, Option, TestClock } from "effect"
import { Repository, SnapshotPolicy, SnapshotStore, StreamId } from "effect-eventsourcing"
import { AggregateEntity } from "effect-eventsourcing/cluster"
import { memoryStores } from "../utils/backends.js"
import { Account, deposit, id, open } from "./fixture.js"

const entity = AggregateEntity.make(Account)

const runner = (policy: "background" | "sync") =>
  AggregateEntity.layer(entity, {
    maxIdleTime: "25 seconds",
    snapshots: SnapshotPolicy[policy]({ every: 100 }),
    snapshotOnPassivation: { after: 3 }
  }).pipe(Layer.provideMerge(TestRunner.layer), Layer.provideMerge(memoryStores))

/** The version of the stored snapshot, or null. */
const snapshotOf = (account: string) =>
  Effect.gen(function*() {
    const store = yield* SnapshotStore.SnapshotStore
    const snapshot = yield* store.get(StreamId.make("Account", account), { schemaVersion: 1 })
    return Option.match(snapshot, { onNone: () => null, onSome: ({ version }) => version })
  })

/** Lets time pass until an effect has ended: a new cluster waits for its shards. */
const soon = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.gen(function*() {
    const fiber = yield* Effect.fork(effect)
    while (Option.isNone(yield* Fiber.poll(fiber))) yield* TestClock.adjust("10 millis")
    return yield* Fiber.join(fiber)
  })

/** Lets seconds pass in steps: a fiber that wakes up within a step sleeps on from its end. */
const pass = (seconds: number) => Effect.replicateEffect(TestClock.adjust("1 second"), seconds, { discard: true })

const entities = Effect.flatMap(Sharding.Sharding, ({ activeEntityCount }) => activeEntityCount)

for (const policy of ["background", "sync"] as const) {
  describe(`an entity without requests, with ${policy} snapshots`, () => {
    it.scoped(
      "ends after maxIdleTime, takes a snapshot if it is worth it, and executes the next command",
      () =>
        Effect.gen(function*() {
          const accounts = yield* AggregateEntity.client(entity)
          yield* soon(accounts.executeAll(id("a"), [open, deposit(1), deposit(2), deposit(3)]))
          yield* accounts.executeAll(id("b"), [open, deposit(1)])
          assert.strictEqual(yield* entities, 2)
          yield* pass(30)
          // b goes on
          yield* accounts.load(id("b"))
          // the cluster looks for idle entities every 25 seconds
          yield* pass(22)
          assert.strictEqual(yield* entities, 1)
          assert.strictEqual(yield* snapshotOf("a"), 4)
          yield* pass(50)
          assert.strictEqual(yield* entities, 0)
          // too few events are new
          assert.isNull(yield* snapshotOf("b"))

          assert.deepInclude(yield* accounts.execute(id("a"), deposit(4)), { version: 5 })
          assert.deepInclude((yield* accounts.load(id("b"))).state, { balance: 1 })
          assert.strictEqual(yield* entities, 2)
          yield* TestClock.adjust("2 minutes")
          assert.strictEqual(yield* entities, 0)
          // one event is new since the snapshot
          assert.strictEqual(yield* snapshotOf("a"), 4)
          const local = yield* Repository.make(Account, { snapshots: SnapshotPolicy.manual })
          assert.deepInclude(yield* local.load(id("a")), { version: 5, snapshotVersion: 4 })
          assert.deepInclude(yield* local.verify(id("a")), { _tag: "Verified" })
        }).pipe(Effect.provide(runner(policy)))
    )
  })
}
