// a history that changes between the load and the full replay of a verification is not taken for a wrong snapshot
import { assert, describe, it } from "@effect/vitest"
import { Effect, Either, Layer, Schema } from "effect"
import {
  Aggregate,
  EventStore,
  type KeyStore,
  Personal,
  Repository,
  SnapshotPolicy,
  SnapshotStore,
  StreamId,
  Streams
} from "effect-eventsourcing"
import { Customer, Name, stream } from "./fixtures/Customer.js"
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

const Reading = Aggregate.make({
  name: "Reading",
  id: Schema.String,
  state: Schema.Struct({ owner: Name, count: Schema.Int, total: Schema.JsonNumber }),
  event: Schema.TaggedStruct("Added", { by: Schema.Int }),
  command: Schema.TaggedStruct("Add", { by: Schema.Int }),
  initial: () => ({ owner: Personal.make("ada", "Ada Lovelace"), count: 0, total: 0 }),
  evolve: (state, { by }) => ({ ...state, count: state.count + 1, total: 1 / by }),
  decide: (_, { by }) => Either.right([{ _tag: "Added", by }])
})

describe("a state that does not encode any more", () => {
  for (const [backend, layer] of kinds) {
    it.scoped(`does not hide a wrong snapshot below it (${backend})`, () =>
      Effect.gen(function*() {
        const readings = yield* Repository.make(Reading, manual)
        const snapshots = yield* SnapshotStore.SnapshotStore
        yield* readings.execute("a", { _tag: "Add", by: 5 })
        yield* readings.createSnapshot("a")
        const of = StreamId.make("Reading", "a")
        const { state, ...saved } = yield* Effect.flatten(snapshots.get(of, { schemaVersion: 1 }))
        yield* snapshots.delete(of)
        yield* snapshots.save({ ...saved, state: state.replace(`"count":1`, `"count":2`) })
        yield* readings.execute("a", { _tag: "Add", by: 0 })
        assert.deepInclude(yield* readings.verify("a"), { _tag: "Refuted", removed: true })
      }).pipe(Effect.provide(layer)))
  }
})
