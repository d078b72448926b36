import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer } from "effect"
import { EventStore, ExpectedVersion, SnapshotStore, StreamId } from "effect-eventsourcing"
import { Faults } from "effect-eventsourcing/testing"
import { webHandler } from "./http-api.js"

const memory = Layer.merge(EventStore.layerMemory, SnapshotStore.layerMemory)

interface Reply {
  readonly status: number
  readonly body: unknown
}

const serving = <E>(stores: Layer.Layer<EventStore.EventStore | SnapshotStore.SnapshotStore, E>) =>
  Effect.map(
    Effect.acquireRelease(
      Effect.sync(() => webHandler(stores)),
      ({ dispose }) => Effect.promise(dispose)
    ),
    ({ handler }) => (path: string, command?: unknown, headers: Record<string, string> = {}): Effect.Effect<Reply> =>
      Effect.promise(async () => {
        const request = new Request(
          `http://localhost${path}`,
          command === undefined ? { headers } : {
            method: "POST",
            headers: { "content-type": "application/json", ...headers },
            body: JSON.stringify(command)
          }
        )
        const response = await handler(request)
        const text = await response.text()
        return { status: response.status, body: text === "" ? undefined : JSON.parse(text) }
      })
  )

const open = { _tag: "Open", owner: "Ada" }
const deposit = (amount: unknown) => ({ _tag: "Deposit", amount })
const withdraw = (amount: number) => ({ _tag: "Withdraw", amount })

describe("examples/http-api.ts answers", () => {
  it.scoped("with the state that a command leads to", () =>
    Effect.gen(function*() {
      const call = yield* serving(memory)
      assert.deepStrictEqual(yield* call("/accounts/a", open), {
        status: 200,
        body: { version: 1, balance: 0, duplicate: false }
      })
      yield* call("/accounts/a", deposit(5))
      assert.deepStrictEqual(yield* call("/accounts/a"), {
        status: 200,
        body: { version: 2, state: { owner: "Ada", balance: 5 } }
      })
    }))

  it.scoped("with a status for each rejection, and the rejection as its body", () =>
    Effect.gen(function*() {
      const call = yield* serving(memory)
      assert.deepStrictEqual(yield* call("/accounts/a", deposit(5)), { status: 404, body: { _tag: "NotOpen" } })
      yield* call("/accounts/a", open)
      assert.deepStrictEqual(yield* call("/accounts/a", open), {
        status: 409,
        body: { _tag: "AlreadyOpen", owner: "Ada" }
      })
      assert.deepStrictEqual(yield* call("/accounts/a", withdraw(1)), {
        status: 422,
        body: { _tag: "InsufficientFunds", balance: 0 }
      })
    }))

  it.scoped("404 for an account that does not exist", () =>
    Effect.gen(function*() {
      const call = yield* serving(memory)
      assert.strictEqual((yield* call("/accounts/a")).status, 404)
    }))

  it.scoped("400 for a command, an id or a key that is not valid", () =>
    Effect.gen(function*() {
      const call = yield* serving(memory)
      assert.strictEqual((yield* call("/accounts/a", deposit("5"))).status, 400)
      assert.strictEqual((yield* call("/accounts/a", { _tag: "Close" })).status, 400)
      // a NUL, which no store can keep
      assert.strictEqual((yield* call("/accounts/a%00", open)).status, 400)
      assert.strictEqual((yield* call("/accounts/a%00")).status, 400)
      assert.strictEqual((yield* call("/accounts/a", open, { "idempotency-key": "k".repeat(2_000) })).status, 400)
      assert.strictEqual((yield* call("/accounts/a", open, { "if-match": "-1" })).status, 400)
    }))

  it.scoped("412 if the account is at another version than the client saw", () =>
    Effect.gen(function*() {
      const call = yield* serving(memory)
      yield* call("/accounts/a", open)
      assert.strictEqual((yield* call("/accounts/a", deposit(1), { "if-match": "1" })).status, 200)
      assert.deepStrictEqual(yield* call("/accounts/a", deposit(1), { "if-match": "1" }), {
        status: 412,
        body: { _tag: "Outdated", version: 2 }
      })
    }))

  it.scoped("503 if other writers win at every attempt", () =>
    Effect.gen(function*() {
      const losing = Layer.effect(
        EventStore.EventStore,
        Effect.map(EventStore.makeMemory, (store): EventStore.EventStore["Type"] => ({
          ...store,
          append: (stream, _, { expectedVersion }) =>
            Effect.fail(new EventStore.VersionConflict({ stream, expected: expectedVersion, actual: 1 }))
        }))
      )
      const call = yield* serving(Layer.merge(losing, SnapshotStore.layerMemory))
      assert.deepStrictEqual(yield* call("/accounts/a", open), {
        status: 503,
        body: { _tag: "TryAgain", mayHaveHappened: false }
      })
      assert.strictEqual((yield* call("/accounts/a", open, { "if-match": "0" })).status, 412)
    }))

  it.scoped("a repeat under the same key with the first result", () =>
    Effect.gen(function*() {
      const call = yield* serving(memory)
      yield* call("/accounts/a", open)
      const send = call("/accounts/a", deposit(5), { "idempotency-key": "k-1" })
      assert.deepStrictEqual((yield* send).body, { version: 2, balance: 5, duplicate: false })
      assert.deepStrictEqual((yield* send).body, { version: 2, balance: 5, duplicate: true })
    }))

  it.scoped("503 if the store fails, and tells whether the command may have been stored", () =>
    Effect.gen(function*() {
      for (const [fault, mayHaveHappened] of [[Faults.fail, false], [Faults.lostAcknowledgement, true]] as const) {
        const plan = Faults.onCall("EventStore.append", 1, fault)
        const faulty = Layer.merge(
          Layer.provide(Faults.layerEventStore(plan), EventStore.layerMemory),
          SnapshotStore.layerMemory
        )
        const call = yield* serving(faulty)
        const send = call("/accounts/a", open, { "idempotency-key": "k-1" })
        assert.deepStrictEqual(yield* send, { status: 503, body: { _tag: "TryAgain", mayHaveHappened } })
        // the client tries again
        assert.deepStrictEqual(yield* send, {
          status: 200,
          body: { version: 1, balance: 0, duplicate: mayHaveHappened }
        })
      }
    }))

  it.scoped("500 without details for an event that cannot be read", () =>
    Effect.gen(function*() {
      const stores = yield* Layer.build(memory)
      const call = yield* serving(Layer.succeedContext(stores))
      const foreign = { id: crypto.randomUUID(), type: "Closed", payload: { _tag: "Closed", secret: 1 } }
      yield* Effect.flatMap(
        EventStore.EventStore,
        (events) => events.append(StreamId.make("Account", "a"), [foreign], { expectedVersion: ExpectedVersion.any })
      ).pipe(Effect.provide(stores))
      for (const reply of [yield* call("/accounts/a"), yield* call("/accounts/a", open)]) {
        assert.strictEqual(reply.status, 500)
        assert.notInclude(JSON.stringify(reply), "secret")
      }
    }))
})
