// a request is sent until it is answered, always the same one, and within the timeout
import { EntityAddress, EntityId, EntityType, ShardId, Snowflake } from "@effect/cluster"
import {
  AlreadyProcessingMessage,
  EntityNotAssignedToRunner,
  MailboxFull,
  PersistenceError,
  RunnerUnavailable
} from "@effect/cluster/ClusterError"
import * as RunnerAddress from "@effect/cluster/RunnerAddress"
import * as Socket from "@effect/platform/Socket"
import { assert, describe, it } from "@effect/vitest"
import { Cause, Clock, Duration, Effect, Exit, FastCheck as fc, Fiber, Schedule, TestClock } from "effect"
import { Late } from "../../src/internal/cluster/late.js"
import * as Sending from "../../src/internal/cluster/sending.js"

const address = new EntityAddress.EntityAddress({
  shardId: ShardId.make("default", 1),
  entityType: EntityType.EntityType.make("Account"),
  entityId: EntityId.make("a")
})

const passing: Readonly<Record<string, Effect.Effect<never, Sending.Transient>>> = {
  "a full mailbox": Effect.fail(new MailboxFull({ address })),
  "a message in process": Effect.fail(new AlreadyProcessingMessage({ address, envelopeId: Snowflake.Snowflake(1n) })),
  "a storage that fails": Effect.fail(new PersistenceError({ cause: new Error() })),
  "a socket that breaks": Effect.die(new Socket.SocketGenericError({ reason: "Write", cause: new Error() })),
  "a runner that is gone": Effect.die(new RunnerUnavailable({ address: RunnerAddress.make("localhost", 1) })),
  "an entity that has moved": Effect.die(new EntityNotAssignedToRunner({ address })),
  "a runner that closes": Effect.interrupt,
  "a runner that was frozen": Effect.fail(new Late(0)),
  "no answer": Effect.never
}

const settings: Sending.Settings = { timeout: "1 hour", attempt: "5 millis", retry: Schedule.spaced("1 millis") }

const failure = (unanswered: Sending.Unanswered) => unanswered

/** A request that meets one failure after another, and then is answered. */
const meeting = (
  failures: ReadonlyArray<Effect.Effect<string, Sending.Transient>>,
  answer: Effect.Effect<string, Sending.Transient>
) => {
  let attempts = 0
  return {
    request: () => Effect.suspend(() => failures[attempts++] ?? answer),
    attempts: () => attempts
  }
}

describe("a request", () => {
  it.live("is answered after any failures that pass", () =>
    Effect.promise(() =>
      fc.assert(
        fc.asyncProperty(fc.array(fc.constantFrom(...Object.values(passing)), { maxLength: 12 }), (failures) =>
          Effect.runPromise(Effect.gen(function*() {
            const { attempts, request } = meeting(failures, Effect.succeed("answer"))
            assert.strictEqual(yield* Sending.send(request, settings, failure), "answer")
            assert.strictEqual(attempts(), failures.length + 1)
          }))),
        { numRuns: 50 }
      )
    ))

  it.live("is not sent again after a defect of the program, which the caller gets", () =>
    Effect.gen(function*() {
      const { attempts, request } = meeting([passing["a full mailbox"]], Effect.die(new RangeError("decide threw")))
      const exit = yield* Effect.exit(Sending.send(request, settings, failure))
      assert.isTrue(Exit.isFailure(exit) && Cause.isDieType(exit.cause) && exit.cause.defect instanceof RangeError)
      assert.strictEqual(attempts(), 2)
    }))

  for (const [name, effect] of Object.entries(passing)) {
    it.live(`fails after its timeout if it always meets ${name}`, () =>
      Effect.gen(function*() {
        const { attempts, request } = meeting([], effect)
        const sent = Sending.send(request, { ...settings, timeout: "60 millis" }, failure)
        const unanswered = yield* Effect.flip(sent)
        assert.strictEqual(unanswered.attempts, attempts())
        assert.isAtLeast(unanswered.attempts, 1)
        assert.isAtLeast(unanswered.waited, 50)
        if (name === "no answer") assert.isUndefined(unanswered.cause)
      }))
  }

  it.live("fails at the end of its schedule", () =>
    Effect.gen(function*() {
      const { request } = meeting([], passing["a full mailbox"])
      const sent = Sending.send(request, { ...settings, retry: Schedule.recurs(3) }, failure)
      const { attempts, cause } = yield* Effect.flip(sent)
      assert.strictEqual(attempts, 4)
      assert.isTrue(MailboxFull.is(cause))
    }))

  it.effect("tells when its attempt ends, by the clock of a runner that is ahead", () =>
    Effect.gen(function*() {
      const ends: Array<number | undefined> = []
      // the runner is an hour ahead
      const request = (before: number | undefined) =>
        Effect.flatMap(Clock.currentTimeMillis, (now) => {
          ends.push(before)
          return before !== undefined && before > now + 3_600_000
            ? Effect.succeed("answer")
            : Effect.fail(new Late(now + 3_600_000))
        })
      const fiber = yield* Effect.fork(Sending.send(request, { ...settings, attempt: "5 seconds" }, failure))
      yield* TestClock.adjust("1 second")
      assert.strictEqual(yield* Fiber.join(fiber), "answer")
      assert.deepStrictEqual(ends, [5_000, 3_605_001])
    }))

  it.effect("that is slow is answered within the timeout, although its first attempts are too short", () =>
    Effect.gen(function*() {
      const ends: Array<number> = []
      const request = (before: number | undefined) =>
        Effect.zipRight(
          Effect.sync(() => ends.push(before ?? Infinity)),
          Effect.as(Effect.sleep("3 seconds"), "answer")
        )
      const slow = { ...settings, timeout: "16 seconds", attempt: "1 second" } as const
      const fiber = yield* Effect.fork(Sending.send(request, slow, failure))
      yield* TestClock.adjust("16 seconds")
      assert.strictEqual(yield* Fiber.join(fiber), "answer")
      // attempts of 1, 2 and 4 seconds
      assert.deepStrictEqual(ends, [1_000, 3_000, 7_000])
    }))

  it.effect("that is never answered is sent in attempts that last up to a quarter of the timeout", () =>
    Effect.gen(function*() {
      const starts = (attempt: Duration.DurationInput, timeout: Duration.DurationInput) =>
        Effect.gen(function*() {
          const began = yield* Clock.currentTimeMillis
          const starts: Array<number> = []
          const request = () =>
            Effect.zipRight(
              Effect.map(Clock.currentTimeMillis, (now) => starts.push((now - began) / 1_000)),
              Effect.never
            )
          const fiber = yield* Effect.fork(
            Effect.flip(Sending.send(request, { ...settings, timeout, attempt }, failure))
          )
          yield* TestClock.adjust(timeout)
          const { waited } = yield* Fiber.join(fiber)
          assert.strictEqual(waited, Duration.toMillis(timeout))
          return starts
        })
      assert.deepStrictEqual(yield* starts("1 second", "16 seconds"), [0, 1, 3, 7, 11, 15])
      // the defaults: a runner that takes over after the expiration of its locks still gets one
      assert.deepStrictEqual(yield* starts("5 seconds", "15 seconds"), [0, 5, 10])
    }))

  it.live("has no end if an attempt has none", () =>
    Effect.gen(function*() {
      const request = (before: number | undefined) => Effect.succeed(String(before))
      assert.strictEqual(
        yield* Sending.send(request, { ...settings, attempt: Duration.infinity }, failure),
        "undefined"
      )
    }))

  it.live("is not waited for when its caller is interrupted", () =>
    Effect.gen(function*() {
      const fiber = yield* Effect.fork(Sending.send(() => Effect.uninterruptible(Effect.never), settings, failure))
      yield* Effect.yieldNow()
      assert.isTrue(Exit.isInterrupted(yield* Fiber.interrupt(fiber)))
    }))
})
