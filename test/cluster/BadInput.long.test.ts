// input that an entity or a cluster cannot take, gets a typed error
import {
  MessageStorage,
  RunnerHealth,
  Runners,
  RunnerStorage,
  Sharding,
  ShardingConfig,
  TestRunner
} from "@effect/cluster"
import { assert, describe, it } from "@effect/vitest"
import { Context, Effect, Either, Layer, Option, Schema } from "effect"
import { Aggregate, Repository, SnapshotPolicy } from "effect-eventsourcing"
import { AggregateEntity, SqlCluster } from "effect-eventsourcing/cluster"
import { Faults } from "effect-eventsourcing/testing"
import { entityIdOf } from "../../src/internal/cluster/protocol.js"
import { memoryStores, sqliteFile } from "../utils/backends.js"
import { Account, deposit, id, open } from "./fixture.js"

const cluster = Layer.provideMerge(TestRunner.layer, memoryStores)

const entity = AggregateEntity.make(Account)

class Accounts extends Context.Tag("test/Accounts")<Accounts, Repository.Repository<typeof Account>>() {}

const runner = Layer.provideMerge(AggregateEntity.layer(entity), cluster)

describe("a cluster without a part", () => {
  const withConfig = (
    messages: Layer.Layer<MessageStorage.MessageStorage>,
    config: Partial<ShardingConfig.ShardingConfig["Type"]>
  ) =>
    Sharding.layer.pipe(
      Layer.provideMerge(Runners.layerNoop),
      Layer.provideMerge(messages),
      Layer.provide([RunnerStorage.layerMemory, RunnerHealth.layerNoop]),
      Layer.provideMerge(ShardingConfig.layer(config)),
      Layer.provideMerge(memoryStores)
    )

  it.scopedLive("refuses persisted commands without message storage, in a runner and in a client", () =>
    Effect.gen(function*() {
      const persisted = AggregateEntity.make(Account, { persisted: true })
      const refusals = [
        yield* Effect.flip(Layer.build(AggregateEntity.layer(persisted))),
        yield* Effect.flip(AggregateEntity.client(persisted))
      ]
      for (const { _tag, option } of refusals) {
        assert.deepStrictEqual([_tag, option], ["InvalidOption", "AggregateEntity persisted"])
      }
      yield* Layer.build(AggregateEntity.layer(entity))
    }).pipe(Effect.provide(withConfig(MessageStorage.layerNoop, {}))))

  it.scopedLive("runs no entities in a process that is only a client", () =>
    Effect.gen(function*() {
      const refused = yield* Effect.flip(Layer.build(AggregateEntity.layer(entity)))
      assert.strictEqual(refused.option, "AggregateEntity.layer")
    }).pipe(Effect.provide(withConfig(MessageStorage.layerNoop, { runnerAddress: Option.none() }))))

  it.scopedLive("without runners answers nothing, and the client says so with the id of the command", () =>
    Effect.gen(function*() {
      const options = { timeout: "400 millis", attemptTimeout: "100 millis" } as const
      const accounts = yield* AggregateEntity.client(entity, options)
      const timeout = yield* Effect.flip(accounts.execute(id("a"), open, { commandId: "c" }))
      assert.deepInclude(timeout, { _tag: "CommandTimeout", commandId: "c" })
      assert.include(timeout.message, "repeat it with the commandId")
      assert.deepInclude(yield* Effect.flip(accounts.load(id("a"))), { _tag: "LoadTimeout" })
      const unnamed = yield* Effect.flip(accounts.execute(id("a"), open))
      assert.match(unnamed._tag === "CommandTimeout" ? unnamed.commandId : "", /^[0-9a-f-]{36}$/)
      const behindTag = yield* Effect.flip(
        Effect.flatMap(Accounts, ({ execute }) => execute(id("a"), open)).pipe(
          Effect.provide(Layer.provide(AggregateEntity.repository(Accounts, entity, options), memoryStores))
        )
      )
      assert.deepInclude(behindTag, { _tag: "EventStoreError", mayHaveAppended: true })
      // the id is a field of the cause alone
      assert.include(behindTag.message, "the cause has its commandId")
    }).pipe(Effect.provide(Layer.provide(SqlCluster.layerClient(), sqliteFile(":memory:")))))
})

describe("the options", () => {
  const none = { address: { host: "localhost", port: 1 } }
  const invalid: ReadonlyArray<readonly [name: string, layer: Layer.Layer<unknown, unknown>]> = [
    ["lockRefresh", SqlCluster.layerRunner({ ...none, lockRefresh: "5 seconds" })],
    ["prefix", SqlCluster.layerRunner({ ...none, prefix: "a.b" })],
    ["prefix", SqlCluster.layerClient({ prefix: "" })],
    ["shards", SqlCluster.layerClient({ shards: 0 })],
    ["lockExpiration", SqlCluster.layerClient({ lockExpiration: NaN })],
    ["address", SqlCluster.layerRunner({ address: { host: "", port: 70_000 } })],
    ["messages.limit", SqlCluster.layerRunner({ ...none, messages: { limit: -1 } })]
  ].map(([name, layer]) => [name as string, Layer.provide(layer as never, sqliteFile(":memory:"))])
  for (const [name, layer] of invalid) {
    it.scopedLive(`of a cluster: ${name}`, () =>
      Effect.gen(function*() {
        const problem = yield* Effect.flip(Layer.build(layer))
        assert.include(String(problem), `SqlCluster ${name}`)
      }))
  }

  it.scopedLive("of a runner and a client", () =>
    Effect.gen(function*() {
      const layers = [
        AggregateEntity.layer(entity, { maxIdleTime: 0 }),
        AggregateEntity.layer(entity, { mailboxCapacity: 0 }),
        AggregateEntity.layer(entity, { snapshotOnPassivation: { after: 1 } }),
        AggregateEntity.layer(entity, { snapshots: SnapshotPolicy.manual, snapshotOnPassivation: { after: NaN } }),
        AggregateEntity.layer(entity, { pageSize: 0 })
      ]
      for (const layer of layers) assert.strictEqual((yield* Effect.flip(Layer.build(layer)))._tag, "InvalidOption")
      for (const options of [{ timeout: -1 }, { attemptTimeout: Infinity }, { retries: 3 }]) {
        assert.strictEqual((yield* Effect.flip(AggregateEntity.client(entity, options)))._tag, "InvalidOption")
      }
    }).pipe(Effect.provide(cluster)))

  it("of an entity", () => {
    const named = (name: string) =>
      Aggregate.make({
        name,
        id: Schema.String,
        state: Schema.Int,
        event: Schema.TaggedStruct("E", {}),
        command: Schema.TaggedStruct("C", {}),
        initial: () => 0,
        evolve: (state) => state,
        decide: () => Either.right([])
      })
    for (const name of ["a".repeat(151), " a"]) {
      assert.throws(() => AggregateEntity.make(named(name)), /AggregateEntity name/)
    }
  })
})

describe("an id", () => {
  // a message is encoded if it is stored, or sent to another process
  for (const persisted of [false, true]) {
    it.scopedLive(`of any length and form is that of one aggregate (persisted: ${persisted})`, () =>
      Effect.gen(function*() {
        const entity = AggregateEntity.make(Account, { persisted })
        yield* Layer.build(AggregateEntity.layer(entity))
        const accounts = yield* AggregateEntity.client(entity)
        const texts = [
          "__proto__",
          "a/execute/b",
          "x".repeat(200),
          "x".repeat(201),
          "x".repeat(1_024),
          "é👍".repeat(150),
          " a",
          "a",
          "a ",
          " ",
          "\u00a0\n"
        ]
        // an id that looks like the hash of another one
        const hashes = texts.filter((text) => text.length > 200).map((text) => entityIdOf(text))
        const all = [...texts, ...hashes, "sha256-"]
        yield* Effect.forEach(all, (text, n) => accounts.executeAll(id(text), [open, deposit(n)]))
        const local = yield* Repository.make(Account)
        for (const [n, text] of all.entries()) {
          assert.strictEqual((yield* accounts.load(id(text))).state.balance, n)
          assert.strictEqual((yield* local.load(id(text))).state.balance, n)
        }
      }).pipe(Effect.provide(cluster)))
  }

  it.scopedLive("that no store can keep is refused before it is sent", () =>
    Effect.gen(function*() {
      const accounts = yield* AggregateEntity.client(entity)
      for (const text of ["\u0000", "\ud800", "x".repeat(1_025)]) {
        const refused = yield* Effect.flip(accounts.execute(id(text), open))
        assert.deepInclude(refused, { _tag: "EventStoreError", reason: "InvalidInput", mayHaveAppended: false })
        assert.deepInclude(yield* Effect.flip(accounts.load(id(text))), { _tag: "EventStoreError" })
      }
    }).pipe(Effect.provide(runner)))
})

/** An aggregate whose commands and rejections cannot all be JSON. */
const Odd = Aggregate.make({
  name: "Odd",
  id: Schema.String,
  state: Schema.Int,
  event: Schema.TaggedStruct("Done", {}),
  command: Schema.TaggedStruct("Do", {
    at: Schema.optional(Schema.DateFromSelf),
    text: Schema.optional(Schema.String)
  }),
  rejection: Schema.Struct({ reason: Schema.Unknown }),
  initial: () => 0,
  evolve: (state) => state + 1,
  decide: (_state, { text }) =>
    text === "reject" ? Either.left({ reason: () => 1 }) : Either.right([{ _tag: "Done" }] as const)
})

describe("a command", () => {
  const odd = AggregateEntity.make(Odd)
  const oddRunner = Layer.provideMerge(AggregateEntity.layer(odd), cluster)

  it.scopedLive("that does not encode is refused before it is sent", () =>
    Effect.gen(function*() {
      const { execute } = yield* AggregateEntity.client(odd)
      for (const command of [{ _tag: "Do", at: new Date() } as const, { _tag: "Do", text: 1 } as never]) {
        const refused = yield* Effect.flip(execute("a", command))
        assert.deepInclude(refused, { _tag: "InvalidCommand", command: "Do", index: 1 })
      }
      assert.deepInclude(yield* execute("a", { _tag: "Do" }), { version: 1 })
    }).pipe(Effect.provide(oddRunner)))

  it.scopedLive("that is rejected with a value that does not encode says so", () =>
    Effect.gen(function*() {
      const { execute } = yield* AggregateEntity.client(odd)
      const answer = yield* Effect.flip(execute("a", { _tag: "Do", text: "reject" }))
      assert.strictEqual(Object(answer)._tag, "UnreadableAnswer")
    }).pipe(Effect.provide(oddRunner)))

  it.scopedLive("of megabytes is executed, and one that no socket takes is refused", () =>
    Effect.gen(function*() {
      const { execute } = yield* AggregateEntity.client(odd)
      assert.deepInclude(yield* execute("a", { _tag: "Do", text: "x".repeat(5_000_000) }), { version: 1 })
      const refused = yield* Effect.flip(execute("a", { _tag: "Do", text: "é".repeat(8_000_000) }))
      assert.deepInclude(refused, { _tag: "EventStoreError", reason: "InvalidInput" })
      assert.deepInclude(yield* execute("a", { _tag: "Do" }), { version: 2 })
    }).pipe(Effect.provide(oddRunner)))

  it.scopedLive("whose acknowledgement is lost is found by its id", () =>
    Effect.gen(function*() {
      const accounts = yield* AggregateEntity.client(entity)
      yield* accounts.execute(id("a"), open)
      const lost = yield* Effect.flip(accounts.execute(id("a"), deposit(5), { commandId: "c" }))
      assert.deepInclude(lost, { _tag: "EventStoreError", mayHaveAppended: true })
      assert.strictEqual((yield* accounts.load(id("a"))).state.balance, 5)
      assert.deepInclude(yield* accounts.execute(id("a"), deposit(5), { commandId: "c" }), {
        version: 2,
        duplicate: true
      })
    }).pipe(
      Effect.provide(
        Layer.provideMerge(
          AggregateEntity.layer(entity),
          Layer.provideMerge(
            TestRunner.layer,
            Layer.provideMerge(
              Faults.layerEventStore(Faults.onCall("EventStore.append", 2, Faults.lostAcknowledgement)),
              memoryStores
            )
          )
        )
      )
    ))
})

describe("a runner that closes", () => {
  it.live("takes the snapshots of its entities", () =>
    Effect.gen(function*() {
      const layer = AggregateEntity.layer(entity, {
        snapshots: SnapshotPolicy.background({ every: 1_000 }),
        snapshotOnPassivation: { after: 3 }
      })
      const stores = yield* Layer.build(memoryStores)
      yield* Effect.gen(function*() {
        const accounts = yield* AggregateEntity.client(entity)
        yield* accounts.executeAll(id("long"), [open, deposit(1), deposit(2)])
        yield* accounts.executeAll(id("short"), [open, deposit(1)])
      }).pipe(Effect.provide(Layer.provideMerge(layer, TestRunner.layer)), Effect.provide(stores))
      const local = yield* Effect.provide(Repository.make(Account, { snapshots: SnapshotPolicy.manual }), stores)
      assert.deepInclude(yield* local.load(id("long")), { snapshotVersion: 3, replayed: 0 })
      assert.deepInclude(yield* local.verify(id("long")), { _tag: "Verified" })
      assert.deepInclude(yield* local.load(id("short")), { snapshotVersion: 0 })
    }).pipe(Effect.scoped))
})
