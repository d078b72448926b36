// a history that changes between the load and the full replay of a verification is not taken for a wrong snapshot
import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer } from "effect"
import { EventStore, type KeyStore, Personal, Repository, SnapshotPolicy, Streams } from "effect-eventsourcing"
import { Customer, stream } from "./fixtures/Customer.js"
import { kinds, type PersonalStores } from "./utils/personal.js"

const manual = { snapshots: SnapshotPolicy.manual }

const written = Effect.gen(function*() {
  const customers = yield* Repository.make(Customer, manual)
  const register = { _tag: "Register", name: Personal.make("ada", "Ada Lovelace"), plan: "free" } as const
  yield* customers.executeAll("a", [register, { _tag: "Visit" }, { _tag: "Visit" }])
  yield* customers.createSnapshot("a")
  return customers
})

type Changing = Effect.Effect<unknown, unknown, PersonalStores | Streams.Streams | KeyStore.KeyStore>

const rewrite = Effect.flatMap(Streams.Streams, (streams) =>
  streams.rewrite(
    stream("a"),
    1,
    { _tag: "Registered", name: { $personal: "ada", value: "Ada King" }, plan: "paid" },
    { aggregate: Customer }
  ))

/** A store in which a change happens just before the first full replay. */
const changed = (change: Changing) =>
  Effect.gen(function*() {
    const store = yield* EventStore.EventStore
    const once = yield* Effect.once(Effect.provide(change, yield* Effect.context<PersonalStores | Streams.Streams>()))
    const readTail: EventStore.ReplaySeam["readTail"] = (stream, options) => {
      const read = store.replay.readTail(stream, options)
      return options.fromVersion === 1 ? Effect.zipRight(Effect.orDie(once), read) : read
    }
    return EventStore.EventStore.of({ ...store, replay: { ...store.replay, readTail } })
  })

const snapshot = Effect.scoped(Effect.flatMap(Repository.make(Customer, manual), (own) => own.createSnapshot("a")))

const changes = {
  "a rewrite": {
    change: rewrite,
    verified: "NoSnapshot at 4",
    truncated: "SnapshotRequired: Missing"
  },
  "a rewrite and a new snapshot": {
    change: Effect.zipRight(rewrite, snapshot),
    verified: "Verified at 4",
    truncated: "2 events"
  },
  "an erasure": {
    change: Personal.erase("ada"),
    verified: "NoSnapshot at 3",
    truncated: "SnapshotRequired: Unusable"
  }
}

for (const [name, { change, truncated, verified }] of Object.entries(changes)) {
  describe(`${name} between the load and the replay`, () => {
    for (const [backend, layer] of kinds) {
      it.scoped(`is seen by verify (${backend})`, () =>
        Effect.gen(function*() {
          yield* written
          const customers = yield* Effect.provideServiceEffect(
            Repository.make(Customer, manual),
            EventStore.EventStore,
            changed(change)
          )
          const { _tag, version } = yield* customers.verify("a")
          assert.strictEqual(`${_tag} at ${version}`, verified)
        }).pipe(Effect.provide(Layer.provideMerge(Streams.layer, layer))))

      it.scoped(`is seen by truncate (${backend})`, () =>
        Effect.gen(function*() {
          yield* written
          const streams = yield* Effect.provideServiceEffect(Streams.make, EventStore.EventStore, changed(change))
          const truncating = streams.truncate(stream("a"), { aggregate: Customer, before: 3, events: "archive" })
          const outcome = yield* Effect.match(truncating, {
            onSuccess: ({ events }) => `${events} events`,
            onFailure: (error) => `${error._tag}: ${"reason" in error ? error.reason : error.message}`
          })
          assert.strictEqual(outcome, truncated)
        }).pipe(Effect.provide(Layer.provideMerge(Streams.layer, layer))))
    }
  })
}
