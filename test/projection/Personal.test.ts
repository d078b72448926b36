// read models of events with personal data: what is stored about their failures does not show it
import { assert, describe, it } from "@effect/vitest"
import { Cause, Effect, Layer, Option, Schedule } from "effect"
import {
  CheckpointStore,
  EventStore,
  ExpectedVersion,
  InvalidOption,
  Personal,
  Projection,
  Projections,
  Repository,
  SnapshotStore,
  Subscription
} from "effect-eventsourcing"
import { SqlCheckpointStore } from "effect-eventsourcing"
import * as util from "node:util"
import { Customer, stream } from "../fixtures/Customer.js"
import { sharedDatabases } from "../utils/backends.js"
import { lines, tracing } from "../utils/observe.js"
import { everyRow, memory, sql } from "../utils/personal.js"

const secret = "Ada Lovelace"

/** Fails with the name of a customer in its message. */
const failing = (
  event: { readonly event: { readonly _tag: string; readonly name?: Personal.Personal<string, string> } }
) =>
  event.event.name?._tag === "Present"
    ? Effect.fail(new Error(`cannot mail to ${event.event.name.value}`))
    : Effect.void

const options = { retry: Schedule.recurs(0), poison: "park" } as const

describe("the reason of a failure", () => {
  for (const [name, target, client] of sharedDatabases) {
    it.scopedLive(
      `does not show personal data in tables, the status, logs and spans, ${name}`,
      () =>
        Effect.gen(function*() {
          const { logged, observed } = yield* lines
          const { spans, traced } = yield* tracing
          const names = Projection.make({
            name: "names",
            on: [Customer],
            handle: (events) => Effect.forEach(events, failing, { discard: true })
          })
          const mails = Subscription.make({ name: "mails", on: [Customer], from: "start", handle: failing })
          const stopping = Subscription.make({ name: "stopping", on: [Customer], from: "start", handle: failing })
          const shown: Array<unknown> = []
          yield* Effect.gen(function*() {
            const customers = yield* Repository.make(Customer)
            const register = { _tag: "Register", name: Personal.make("a", secret), plan: "free" } as const
            const { position } = yield* customers.execute("a", register)
            yield* Layer.build(Layer.mergeAll(
              Projection.layer(names, options),
              Subscription.layer(mails, options),
              Subscription.layer(stopping, { ...options, poison: "stop" })
            ))
            yield* Projections.awaitPosition("names", Option.getOrThrow(position))
            yield* Projections.awaitPosition("mails", Option.getOrThrow(position))
            shown.push(yield* Effect.flip(Projections.awaitPosition("stopping", Option.getOrThrow(position))))
            for (const { name } of [names, mails]) {
              const parked = yield* Projections.parked({ name, version: 1 })
              assert.deepStrictEqual(parked.map(({ reason }) => reason), [
                "Error, whose message is left out: the events have personal data"
              ])
            }
            const retried = yield* Projections.retryParked(names)
            assert.strictEqual(retried.failed.length, 1)
            shown.push(retried, yield* Projections.status())
            assert.notInclude(yield* everyRow, "Lovelace")
          }).pipe(
            Effect.scoped,
            Effect.provide(
              sql.pipe(Layer.provideMerge(SqlCheckpointStore.layer), Layer.provideMerge(client(yield* target)))
            ),
            observed,
            traced
          )
          assert.isAbove(spans.length, 2)
          shown.push(logged, spans.map(({ attributes, status }) => [attributes, status]))
          assert.notInclude(util.inspect(shown, { depth: 30, showHidden: true }), "Lovelace")
        }),
      60_000
    )

    it.scopedLive(`is in the error of an inline projection only as its cause, ${name}`, () =>
      Effect.gen(function*() {
        const { spans, traced } = yield* tracing
        const names = Projection.make({
          name: "names",
          on: [Customer],
          handle: (events) => Effect.forEach(events, failing, { discard: true })
        })
        yield* Effect.gen(function*() {
          const customers = yield* Repository.make(Customer)
          const register = { _tag: "Register", name: Personal.make("a", secret), plan: "free" } as const
          const error = yield* Effect.flip(customers.execute("a", register))
          assert(error._tag === "InlineProjectionError")
          assert.notInclude(error.message, "Lovelace")
          // for code that asks for it
          assert.include(String(error.cause instanceof Error && error.cause.cause), "Lovelace")
        }).pipe(
          Effect.scoped,
          Effect.provide(
            Projection.layer(names, { inline: true }).pipe(
              Layer.provideMerge(sql),
              Layer.provideMerge(client(yield* target))
            )
          ),
          traced
        )
        assert.isTrue(spans.some(({ status }) => status._tag === "Ended"))
        assert.notInclude(
          util.inspect(spans.map(({ attributes, status }) => [attributes, status]), { depth: 30 }),
          "Lovelace"
        )
      }), 60_000)
  }
})

describe("events with personal data on stores that do not open it", () => {
  const plain = Layer.mergeAll(EventStore.layerMemory, SnapshotStore.layerMemory, CheckpointStore.layerMemory)
  const of = <const On extends Projection.Source>(on: On) =>
    Subscription.make({ name: "mails", on: [on], from: "start", handle: () => Effect.void })

  it.scoped("are refused when the layer is built, which names Personal.layer", () =>
    Effect.gen(function*() {
      const error = yield* Effect.flip(Layer.build(Subscription.layer(of(Customer))))
      assert.instanceOf(error, InvalidOption.InvalidOption)
      assert.include(error.message, "Personal.layer")
      assert.include(error.message, "mails")
      // a process without keys may read the other events
      yield* Layer.build(Subscription.layer(of(Projection.only(Customer, ["Visited"]))))
    }).pipe(Effect.provide(plain)))

  it.effect("fail to decode with a message that names Personal.layer", () =>
    Effect.gen(function*() {
      const sealed = yield* Effect.gen(function*() {
        const events = yield* EventStore.EventStore
        const sealing = yield* Personal.Sealing
        const payload = { _tag: "Registered", name: { $personal: "a", value: secret }, plan: "free" }
        const [text] = yield* sealing.seal([{ kind: "event", stream: stream("a"), text: JSON.stringify(payload) }])
        yield* events.append(stream("b"), [{ id: "1", type: "Visited", payload: { _tag: "Visited" } }], {
          expectedVersion: ExpectedVersion.any
        })
        return JSON.parse(text)
      }).pipe(Effect.provide(memory))
      const decode = Customer.event.decoder("Registered")
      const decoded = decode?.(sealed)
      assert(decoded?._tag === "Left")
      const error = new EventStore.EventDecodeError({
        stream: stream("a"),
        version: 1,
        type: "Registered",
        cause: decoded.left
      })
      assert.include(
        error.message,
        "$.name is sealed personal data that no key opens: the layers of the stores need Personal.layer"
      )
      assert.include(Cause.pretty(Cause.fail(decoded.left)), "Personal.layer")
    }))
})
