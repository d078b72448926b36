import { assert, describe, it } from "@effect/vitest"
import { Effect, Either, Layer, Ref } from "effect"
import {
  CheckpointStore,
  EventStore,
  InvalidOption,
  Position,
  Projection,
  Projections,
  Subscription
} from "effect-eventsourcing"
import { ProjectionTest } from "effect-eventsourcing/testing"
import { Account, id } from "../fixtures/Account.js"
import { append, memory } from "./fixture.js"

/** What plain JavaScript may pass. */
const untyped = (text: string) => JSON.parse(text)

const refused = (body: () => unknown): string => {
  const error = Either.getOrThrow(Either.flip(Either.try(body)))
  assert.instanceOf(error, InvalidOption.InvalidOption)
  return error.message
}

const noop = () => Effect.void
const handlers = { Opened: noop, Deposited: noop, Withdrawn: noop }

describe("handlers by tag", () => {
  it("must have a function for each tag, and no other", () => {
    const make = (given: object) => () =>
      Projection.makeByTag({ name: "p", on: [Account], handlers: untyped("null") ?? given })
    const { Withdrawn: _, ...missing } = handlers
    assert.include(refused(make({ Account: missing })), "Withdrawn")
    assert.include(refused(make({ Account: { ...handlers, Closed: noop } })), "Closed")
    assert.include(refused(make({ Account: handlers, Other: {} })), "Other")
    assert.include(refused(make({})), "Opened")
    // members of the prototype are no handlers
    assert.include(refused(make({ Account: Object.create(handlers) })), "Opened")
  })

  it.effect("are called in the order of the events", () =>
    Effect.gen(function*() {
      const seen = yield* Ref.make<ReadonlyArray<string>>([])
      const note = (text: string) => Ref.update(seen, (all) => [...all, text])
      const projection = Projection.makeByTag({
        name: "p",
        on: [Projection.only(Account, ["Opened", "Deposited"])],
        handlers: {
          Account: {
            Opened: ({ aggregateId }) => note(`opened ${aggregateId}`),
            Deposited: ({ event }) => note(`deposited ${event.amount}`)
          }
        }
      })
      const event = (event: Parameters<typeof Account.evolve>[1]) => ProjectionTest.event(Account, id("a"), event)
      const history = [
        event({ _tag: "Opened" }),
        event({ _tag: "Deposited", amount: 1 }),
        event({ _tag: "Withdrawn", amount: 1 }),
        event({ _tag: "Deposited", amount: 2 })
      ]
      yield* ProjectionTest.given(projection, history).then(Ref.get(seen), ["opened a", "deposited 1", "deposited 2"])
    }))
})

describe("definitions", () => {
  it("are refused if they cannot be read", () => {
    const of = (name: string, version: number) => () => Projection.make({ name, version, on: [Account], handle: noop })
    for (const name of ["", "a\u0000", "x".repeat(256)]) refused(of(name, 1))
    for (const version of [0, -1, 1.5, Number.NaN, 2 ** 31]) refused(of("p", version))
    refused(() => Projection.make({ name: "p", on: [], handle: noop }))
    refused(() => Projection.make({ name: "p", on: [Account, Account], handle: noop }))
    refused(() => Projection.only(Account, []))
    refused(() => Subscription.make({ name: "s", on: [Account], from: untyped("\"end\""), handle: noop }))
  })

  it("have a text that depends on the events that they read, and not on the order", () => {
    const textOf = (...on: ReadonlyArray<Projection.Source>) =>
      Projection.make({ name: "p", on, handle: noop }).reading.text
    assert.strictEqual(
      textOf(Projection.only(Account, ["Opened", "Deposited"])),
      textOf(Projection.only(Account, ["Deposited", "Opened"]))
    )
    assert.notStrictEqual(textOf(Account), textOf(Projection.only(Account, ["Opened"])))
  })
})

describe("retryParked", () => {
  it.effect("reports a handler that throws", () =>
    Effect.gen(function*() {
      const store = yield* CheckpointStore.CheckpointStore
      const position = yield* append("a", [1])
      const projection = Projection.make({
        name: "p",
        on: [Account],
        handle: (): Effect.Effect<void> => {
          throw new Error("thrown")
        }
      })
      const definition = projection.reading.text
      yield* store.register({ ...projection, kind: "Projection", definition, partitions: 1, from: Position.start })
      const page = yield* Effect.flatMap(EventStore.EventStore, ({ readPage }) => readPage({}))
      const eventId = page.events[0].id
      yield* store.park(projection, [{ position, eventId, stream: "a", reason: "", kind: "Poison", time: 0 }])
      assert.deepStrictEqual(yield* Projections.retryParked(projection), {
        handled: 0,
        failed: [{ position, reason: "Error: thrown" }]
      })
    }).pipe(Effect.provide(memory)))
})

const start = (options: Projection.Options) =>
  Effect.scoped(Layer.build(Projection.layer(Projection.make({ name: "p", on: [Account], handle: noop }), options)))

describe("numbers", () => {
  it.effect("that count nothing are refused, for projections and subscriptions", () =>
    Effect.gen(function*() {
      const mails = Subscription.make({ name: "mails", on: [Account], from: "now", handle: noop })
      const none = [0, -0, -1, 1.5, Number.NaN, Infinity, 2 ** 53, 2 ** 53 + 2]
      const given = [
        ...(["partitions", "pageSize"] as const).flatMap((option) => none.map((value) => [option, value] as const)),
        ["partitions", 1_025] as const
      ]
      for (const [option, value] of given) {
        const subscribing = Effect.scoped(Layer.build(Subscription.layer(mails, { [option]: value })))
        for (const starting of [start({ [option]: value }), subscribing]) {
          const error = yield* Effect.flip(starting)
          assert.instanceOf(error, InvalidOption.InvalidOption)
          assert.include(error.message, option)
        }
      }
      assert.deepStrictEqual(yield* Projections.status(), [])
    }).pipe(Effect.provide(memory)))
})

describe("the limits of time", () => {
  it.effect("are refused where a database cannot keep them", () =>
    Effect.gen(function*() {
      for (const option of ["lease", "timeout"] as const) {
        for (const value of ["21 days", 2 ** 31, 1e20, Infinity, 0, Number.NaN]) {
          const error = yield* Effect.flip(start({ [option]: value }))
          assert.instanceOf(error, InvalidOption.InvalidOption)
          assert.include(error.message, option)
        }
      }
    }).pipe(Effect.provide(memory)))

  it.live("may be long, and have parts of a millisecond", () =>
    Effect.forEach(
      [{ lease: "20 days" }, { lease: 1_000.5 }, { timeout: "20 days" }] as const,
      (options) =>
        Effect.gen(function*() {
          const projection = Projection.make({ name: "p", on: [Account], handle: noop })
          yield* append("a", [1, 2])
          yield* Layer.build(Projection.layer(projection, options))
          const { head } = yield* EventStore.EventStore
          yield* Projections.awaitPosition("p", yield* head)
        }).pipe(Effect.scoped, Effect.provide(memory))
    ))
})
