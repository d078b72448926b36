// old and new code alternate on the same aggregates, in a cluster that is deployed runner by runner
import { type Sharding, TestRunner } from "@effect/cluster"
import { assert, describe, it } from "@effect/vitest"
import { Context, Effect, Either, FastCheck as fc, Layer, Option, Schema } from "effect"
import {
  Aggregate,
  EventStore,
  ExpectedVersion,
  Repository,
  SnapshotPolicy,
  SnapshotStore,
  StreamId,
  Versions
} from "effect-eventsourcing"
import { AggregateEntity } from "effect-eventsourcing/cluster"
import { memoryStores } from "../utils/backends.js"

const Counted = Schema.TaggedStruct("Counted", { by: Schema.Int })
const Count = Schema.TaggedStruct("Count", { by: Schema.Int })
const Double = Schema.TaggedStruct("Double", {})

const shared = {
  name: "Counter",
  id: Schema.String,
  event: Counted,
  // even older code wrote these
  upcasts: { CountedOld: Versions.renamed("Counted") }
} as const

const Old = Aggregate.make({
  ...shared,
  state: Schema.Struct({ total: Schema.Int }),
  command: Count,
  initial: () => ({ total: 0 }),
  evolve: ({ total }, { by }) => ({ total: total + by }),
  decide: (_state, { by }) => Either.right([Counted.make({ by })])
})

const New = Aggregate.make({
  ...shared,
  state: Schema.Struct({ sum: Schema.BigInt, count: Schema.Int }),
  schemaVersion: 2,
  command: Schema.Union(Count, Double),
  initial: () => ({ sum: 0n, count: 0 }),
  evolve: ({ count, sum }, { by }) => ({ sum: sum + BigInt(by), count: count + 1 }),
  decide: ({ sum }, command) =>
    Either.right([Counted.make({ by: command._tag === "Count" ? command.by : Number(sum) })])
})

const oldEntity = AggregateEntity.make(Old)
const newEntity = AggregateEntity.make(New)

const options = { snapshots: SnapshotPolicy.sync({ every: 3 }) }

class OldCounters extends Context.Tag("test/OldCounters")<OldCounters, Repository.Repository<typeof Old>>() {}
class NewCounters extends Context.Tag("test/NewCounters")<NewCounters, Repository.Repository<typeof New>>() {}

type Stores = EventStore.EventStore | SnapshotStore.SnapshotStore

/** A runner with one version of the code, and programs of both versions that call it. */
const runnerOf = (runner: Layer.Layer<never, unknown, Sharding.Sharding | Stores>) =>
  Effect.gen(function*() {
    const sharding = yield* Layer.build(Layer.fresh(TestRunner.layer))
    const context = yield* Layer.build(Layer.mergeAll(
      runner,
      AggregateEntity.repository(OldCounters, oldEntity),
      AggregateEntity.repository(NewCounters, newEntity)
    )).pipe(Effect.provide(sharding))
    const clients = yield* Effect.all({
      old: AggregateEntity.client(oldEntity),
      new: AggregateEntity.client(newEntity)
    }).pipe(Effect.provide(sharding))
    return { old: Context.get(context, OldCounters), new: Context.get(context, NewCounters), clients }
  })

describe("a rolling deploy", () => {
  it.scopedLive("gives programs of both versions right answers, from runners of both versions", () =>
    Effect.gen(function*() {
      // both own every aggregate, as when one of them does not know yet that it lost it
      const oldRunner = yield* runnerOf(AggregateEntity.layer(oldEntity, options))
      const newRunner = yield* runnerOf(AggregateEntity.layer(newEntity, options))
      const runners = [oldRunner, newRunner]
      const store = yield* EventStore.EventStore
      const step = fc.record({ runner: fc.nat(1), isNew: fc.boolean(), load: fc.boolean(), by: fc.nat(9) })
      const runtime = yield* Effect.runtime<never>()
      let runs = 0
      const run = (steps: ReadonlyArray<typeof step extends fc.Arbitrary<infer Step> ? Step : never>) =>
        Effect.gen(function*() {
          const id = `c${++runs}`
          const event = { id: crypto.randomUUID(), type: "CountedOld", payload: { _tag: "CountedOld", by: 1 } }
          yield* store.append(StreamId.make("Counter", id), [event], { expectedVersion: ExpectedVersion.noStream })
          let total = 1
          let version = 1
          for (const { by, isNew, load, runner } of steps) {
            const { new: newer, old } = runners[runner]
            if (!load) {
              total += by
              version++
            }
            const command = { _tag: "Count", by } as const
            if (isNew) {
              const answer = yield* load ? newer.load(id) : newer.execute(id, command)
              assert.deepStrictEqual([answer.state.sum, answer.state.count], [BigInt(total), version])
            } else {
              const answer = yield* load ? old.load(id) : old.execute(id, command)
              assert.deepStrictEqual([answer.state.total, answer.version], [total, version])
            }
          }
        })
      yield* Effect.promise(() =>
        fc.assert(
          fc.asyncProperty(fc.array(step, { maxLength: 20 }), (steps) =>
            run(steps).pipe(Effect.provide(runtime), Effect.runPromise)),
          { numRuns: 30 }
        )
      )
    }).pipe(Effect.provide(memoryStores)))

  it.scopedLive("keeps the snapshots of both versions apart", () =>
    Effect.gen(function*() {
      const oldRunner = yield* runnerOf(AggregateEntity.layer(oldEntity, options))
      const newRunner = yield* runnerOf(AggregateEntity.layer(newEntity, options))
      for (let i = 0; i < 8; i++) {
        yield* oldRunner.old.execute("a", { _tag: "Count", by: 1 })
        yield* newRunner.new.execute("a", { _tag: "Count", by: 1 })
      }
      const snapshots = yield* SnapshotStore.SnapshotStore
      for (const [schemaVersion, { fingerprint }] of [[1, Old], [2, New]] as const) {
        const found = Option.getOrThrow(yield* snapshots.get(StreamId.make("Counter", "a"), { schemaVersion }))
        assert.deepInclude(found, { schemaVersion, fingerprint })
        assert.isAtLeast(found.version, 10)
      }
      const older = yield* Repository.make(Old, { snapshots: SnapshotPolicy.manual })
      const newer = yield* Repository.make(New, { snapshots: SnapshotPolicy.manual })
      assert.deepInclude(yield* older.verify("a"), { _tag: "Verified" })
      assert.deepInclude(yield* newer.verify("a"), { _tag: "Verified" })
    }).pipe(Effect.provide(memoryStores)))

  it.scopedLive("refuses a command that old code does not know, and says if an answer cannot be read", () =>
    Effect.gen(function*() {
      const { clients } = yield* runnerOf(AggregateEntity.layer(oldEntity, options))
      const refused = yield* Effect.flip(clients.new.execute("a", { _tag: "Double" }))
      assert.deepInclude(refused, { _tag: "InvalidCommand", command: "Double", index: 1 })
      // the state has another form, but the command counts
      const unreadable = yield* Effect.flip(clients.new.execute("a", { _tag: "Count", by: 1 }))
      assert.deepInclude(unreadable, { _tag: "UnreadableAnswer", applied: true })
      assert.deepInclude(yield* clients.old.load("a"), { version: 1, state: { total: 1 } })
    }).pipe(Effect.provide(memoryStores)))

  it.scopedLive("finds a command that a newer runner has applied, although old code does not know it", () =>
    Effect.gen(function*() {
      const oldRunner = yield* runnerOf(AggregateEntity.layer(oldEntity, options))
      const newRunner = yield* runnerOf(AggregateEntity.layer(newEntity, options))
      yield* oldRunner.old.execute("a", { _tag: "Count", by: 3 })
      const double = { commandId: "double" }
      yield* newRunner.new.execute("a", { _tag: "Double" }, double)
      // the cluster delivers it again
      const repeated = yield* Effect.flip(oldRunner.clients.new.execute("a", { _tag: "Double" }, double))
      assert.deepInclude(repeated, { _tag: "UnreadableAnswer", applied: true })
      const found = yield* oldRunner.new.execute("a", { _tag: "Double" }, double)
      assert.deepInclude(found, { version: 2, duplicate: true, state: { sum: 6n, count: 2 } })
      // another aggregate has no such command
      const refused = yield* Effect.flip(oldRunner.clients.new.execute("b", { _tag: "Double" }, double))
      assert.deepInclude(refused, { _tag: "InvalidCommand", command: "Double" })
    }).pipe(Effect.provide(memoryStores)))

  it.scopedLive("finds a command whose events old code cannot read", () =>
    Effect.gen(function*() {
      const Reset = Schema.TaggedStruct("Reset", {})
      const newest = AggregateEntity.make(Aggregate.make({
        ...shared,
        event: Schema.Union(Counted, Reset),
        state: Schema.Struct({ total: Schema.Int }),
        command: Count,
        initial: () => ({ total: 0 }),
        evolve: (state, event) => ({ total: event._tag === "Counted" ? state.total + event.by : 0 }),
        decide: () => Either.right([Reset.make()])
      }))
      const count = { _tag: "Count", by: 1 } as const
      const execute = <A extends Aggregate.Any>(runner: AggregateEntity.AggregateEntity<A>, commandId: string) =>
        Effect.gen(function*() {
          const cluster = yield* Layer.build(Layer.provideMerge(
            AggregateEntity.layer(runner),
            TestRunner.layer
          ))
          const counters = yield* Effect.provide(AggregateEntity.client(newest), cluster)
          return yield* counters.execute("a", count, { commandId })
        })
      yield* execute(newest, "reset")
      assert.deepInclude(yield* Effect.flip(execute(oldEntity, "reset")), { _tag: "UnreadableAnswer", applied: true })
      assert.deepInclude(yield* Effect.flip(execute(oldEntity, "other")), { _tag: "EventDecodeError" })
    }).pipe(Effect.provide(memoryStores)))
})
