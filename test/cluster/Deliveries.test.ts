// commands that the cluster delivers late, or again
import { MessageStorage, Snowflake, TestRunner } from "@effect/cluster"
import { assert, describe, it } from "@effect/vitest"
import { Clock, Effect, Layer, Schedule } from "effect"
import { EventStore, Repository, StreamId } from "effect-eventsourcing"
import { AggregateEntity } from "effect-eventsourcing/cluster"
import * as Answered from "../../src/internal/cluster/answered.js"
import * as Calls from "../../src/internal/cluster/calls.js"
import * as Handlers from "../../src/internal/cluster/handlers.js"
import * as Late from "../../src/internal/cluster/late.js"
import * as Wire from "../../src/internal/cluster/wire.js"
import { memoryStores } from "../utils/backends.js"
import { Account, deposit, id, NotOpen, open, withdraw } from "./fixture.js"

const entity = AggregateEntity.make(Account)

const runner = AggregateEntity.layer(entity).pipe(
  Layer.provideMerge(TestRunner.layer),
  Layer.provideMerge(memoryStores)
)

/** A clock that shows a time. */
const clockAt = (time: () => number): Clock.Clock =>
  Object.assign(Object.create(Clock.make()), { unsafeCurrentTimeMillis: time })

/** An account with money, a repository of it, and a writer that counts its decisions. */
const counting = Effect.gen(function*() {
  const decisions = { count: 0 }
  const counted = {
    ...Account,
    decide: (state, command) => Account.decide(state, (decisions.count++, command))
  } satisfies typeof Account
  const local = yield* Repository.make(Account)
  yield* local.executeAll(id("a"), [open, deposit(5)])
  const writer = yield* (yield* Repository.make(Handlers.boxed(counted))).hold(id("a"))
  return { decisions, local, writer }
})

describe("a command whose client has given it up", () => {
  it.scopedLive("is not applied", () =>
    Effect.gen(function*() {
      const remote = (yield* entity.entity.client)("a")
      const request = JSON.stringify({ id: "a", commandId: "c", commands: [{ _tag: "Open" }], ambient: {} })
      const now = yield* Clock.currentTimeMillis
      const late = yield* Effect.flip(Late.decode(remote.execute({ request, before: now - 1 })))
      assert.instanceOf(late, Late.Late)
      const local = yield* Repository.make(Account)
      assert.deepInclude(yield* local.load(id("a")), { version: 0 })
      assert.include(yield* remote.execute({ request, before: now + 60_000 }), `"version":1`)
      // a client of an older version does not say when it gives up
      const repeated = yield* remote.execute({ request })
      assert.include(repeated, `"duplicate":true`)
    }).pipe(Effect.provide(runner)))

  it.scopedLive("is not decided again after a lost race", () =>
    Effect.gen(function*() {
      const { decisions, local, writer } = yield* counting
      yield* writer.load
      // the held state is old, and the withdrawal would be accepted by the new one too
      yield* local.execute(id("a"), deposit(5))
      const execute = (before: number) =>
        Late.within(
          before,
          Effect.match(writer.executeAll([withdraw(1)]), {
            onSuccess: ({ version }) => `version ${version}`,
            onFailure: (error) => error instanceof Late.Late ? "late" : String(error)
          })
        ).pipe(Effect.withClock(clockAt(() => decisions.count * 10)))
      assert.strictEqual(yield* execute(5), "late")
      assert.strictEqual(decisions.count, 1)
      assert.deepInclude(yield* local.load(id("a")), { version: 3 })
      assert.strictEqual(yield* execute(1_000), "version 4")
    }).pipe(Effect.provide(memoryStores)))
})

/** The answer of another runner, as the cluster stores it. */
const stored = (value: string) =>
  ({ _tag: "WithExit", id: "2", requestId: "1", exit: { _tag: "Success", value } }) as const

describe("a persisted command", () => {
  it.scopedLive("is not decided again after a lost race if another runner has answered it", () =>
    Effect.gen(function*() {
      const { decisions, local, writer } = yield* counting
      const execute = (answer: string | undefined) =>
        Effect.gen(function*() {
          decisions.count = 0
          yield* writer.load
          // the held state is old, and the withdrawal would be accepted by the new one too
          yield* local.execute(id("a"), deposit(5))
          const answers: Answered.Answers = {
            repliesForUnfiltered: () =>
              Effect.sync(() => decisions.count > 0 && answer !== undefined ? [stored(answer)] : [])
          }
          const executed = Effect.match(writer.executeAll([withdraw(1)]), {
            onSuccess: ({ version }) => `version ${version}`,
            onFailure: (error) => error instanceof Late.Late ? Late.encode(error) : String(error)
          })
          return yield* Answered.orElse(answers, "Account", Snowflake.Snowflake(1n), executed).pipe(
            // two seconds pass with each decision
            Effect.withClock(clockAt(() => decisions.count * 2_000))
          )
        })
      assert.strictEqual(yield* execute("rejected"), "rejected")
      assert.deepInclude(yield* local.load(id("a")), { version: 3 })
      assert.strictEqual(yield* execute(undefined), "version 5")
    }).pipe(Effect.provide(memoryStores)))

  it.scopedLive("gets the answer of the runner that has answered it", () =>
    Effect.gen(function*() {
      const persisted = AggregateEntity.make(Account, { persisted: true })
      const messages = MessageStorage.MessageStorage.of({
        ...MessageStorage.noop,
        repliesForUnfiltered: () =>
          Effect.succeed([
            stored(Wire.encodeRejection(persisted.codecs, StreamId.make("Account", "a"), new NotOpen())) as never
          ])
      })
      yield* Layer.build(AggregateEntity.layer(persisted)).pipe(
        Effect.provideService(MessageStorage.MessageStorage, messages)
      )
      const accounts = yield* AggregateEntity.client(persisted)
      assert.deepInclude(yield* Effect.flip(accounts.execute(id("a"), deposit(1))), { _tag: "NotOpen" })
      const local = yield* Repository.make(Account)
      yield* local.execute(id("b"), open)
      assert.deepInclude(yield* Effect.flip(accounts.execute(id("b"), deposit(1))), { _tag: "NotOpen" })
      assert.deepInclude(yield* local.load(id("b")), { version: 1 })
    }).pipe(Effect.provide(Layer.provideMerge(TestRunner.layer, memoryStores))))
})

describe("an error of the store that a runner answers with", () => {
  const stream = StreamId.make("Account", "a")

  const answered = (reason: "InvalidInput" | "Unavailable") => {
    const text = Wire.encodeFailure(
      stream,
      new EventStore.EventStoreError({ operation: "read", reason, mayHaveAppended: false, stream, detail: "no" })
    )
    const remote = { execute: () => Effect.succeed(text), load: () => Effect.succeed(text) }
    return Calls.make(
      entity.codecs,
      // the client has overloads that a test does not need
      (() => remote) as unknown as Calls.Remote,
      { timeout: "1 second", attempt: "1 second", retry: Schedule.forever },
      { persisted: false, messages: undefined }
    )
  }

  it.live("says that the command may have been applied, because the runner may have got it again", () =>
    Effect.gen(function*() {
      const error = yield* Effect.flip(answered("Unavailable").executeAll(id("a"), [open]))
      assert.deepInclude(error, { _tag: "EventStoreError", mayHaveAppended: true, detail: "no" })
      const ofLoad = yield* Effect.flip(answered("Unavailable").load(id("a")))
      assert.deepInclude(ofLoad, { _tag: "EventStoreError", mayHaveAppended: false })
    }))

  it.live("says that the command has not been applied if it is invalid", () =>
    Effect.gen(function*() {
      const error = yield* Effect.flip(answered("InvalidInput").executeAll(id("a"), [open]))
      assert.deepInclude(error, { _tag: "EventStoreError", mayHaveAppended: false })
    }))
})
