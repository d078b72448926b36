// personal data in archived events is sealed in the archive, and opened by all that reads them
import { SqlClient } from "@effect/sql"
import { assert, describe, it } from "@effect/vitest"
import { Chunk, Effect, Equal, Layer, Option, Ref, type Scope, Stream } from "effect"
import { EventStore, Personal, Repository, SnapshotPolicy, Streams } from "effect-eventsourcing"
import { Customer, stream } from "./fixtures/Customer.js"
import { everything } from "./utils/mode.js"
import { everyRow, kinds, type PersonalStores } from "./utils/personal.js"

const secret = "Ada Lovelace"

const later = "Grace Hopper"

const each = (
  name: string,
  body: () => Effect.Effect<void, unknown, PersonalStores | Streams.Streams | Scope.Scope>
) => {
  for (const [backend, layer] of kinds.filter(([name]) => everything || name !== "SQLite file")) {
    it.effect(`${name} (${backend})`, () =>
      Effect.provide(Effect.scoped(body()), Layer.provideMerge(Streams.layer, layer)))
  }
}

const named = (name: string) => Personal.make("ada", name)

const register = (name: string) => ({ _tag: "Register", name: named(name), plan: "free" }) as const

const visit = { _tag: "Visit" } as const

/** Everything that is stored in a database. */
const stored = Effect.gen(function*() {
  const sql = yield* Effect.serviceOption(SqlClient.SqlClient)
  return Option.isSome(sql) ? yield* Effect.provideService(everyRow, SqlClient.SqlClient, sql.value) : ""
})

const manual = { snapshots: SnapshotPolicy.manual }

const truncate = <E = never, R = never>(events: "archive" | "remove" | Streams.Sink<E, R>) =>
  Effect.flatMap(
    Streams.Streams,
    (streams) => streams.truncate(stream("a"), { aggregate: Customer, before: 3, events })
  )

/** Registers a person, and archives that. */
const archived = Effect.gen(function*() {
  const customers = yield* Repository.make(Customer, manual)
  yield* customers.execute("a", register(secret), { commandId: "first" })
  for (const _ of [1, 2]) yield* customers.execute("a", visit)
  yield* customers.createSnapshot("a")
  assert.strictEqual((yield* truncate("archive")).events, 2)
  return { customers }
})

/** The names that readers of the archive get: folds, a history, a stream, the feed, and the repeat of a command. */
const namesRead = (customers: Repository.Repository<typeof Customer>) =>
  Effect.gen(function*() {
    const replaying = yield* Repository.make(Customer)
    const store = yield* EventStore.EventStore
    const nameOf = (payload: unknown) => JSON.stringify(Reflect.get(Object(payload), "name"))
    const [first] = Chunk.toReadonlyArray(yield* Stream.runCollect(customers.history("a")))
    const repeated = yield* customers.execute("a", visit, { commandId: "first" })
    const event = repeated.events[0]
    const [read] = Chunk.toReadonlyArray(yield* Stream.runCollect(store.read(stream("a"), { toVersion: 1 })))
    const [fed] = Chunk.toReadonlyArray(yield* Stream.runCollect(Stream.take(store.readAll(), 1)))
    return {
      values: [
        (yield* replaying.load("a")).state.name,
        (yield* customers.loadAt("a", 1)).state.name,
        "event" in first && first.event._tag === "Registered" ? Option.some(first.event.name) : Option.none(),
        event._tag === "Registered" ? Option.some(event.name) : Option.none()
      ],
      texts: [nameOf(read.payload), nameOf(fed.payload)]
    }
  })

describe("personal data in archived events", () => {
  each("is opened by all readers, and is erased for all of them", () =>
    Effect.gen(function*() {
      const { customers } = yield* archived
      assert.notInclude(yield* stored, secret)
      const before = yield* namesRead(customers)
      for (const name of before.values) assert.isTrue(Equal.equals(name, Option.some(named(secret))))
      for (const text of before.texts) assert.strictEqual(text, JSON.stringify({ $personal: "ada", value: secret }))
      yield* Personal.erase("ada")
      const after = yield* namesRead(customers)
      for (const name of after.values) assert.isTrue(Equal.equals(name, Option.some(Personal.erased("ada"))))
      for (const text of after.texts) assert.strictEqual(text, JSON.stringify({ $personal: "ada", erased: true }))
      assert.isTrue(Equal.equals((yield* customers.load("a")).state.name, Option.some(Personal.erased("ada"))))
    }))

  each("is sealed when it is rewritten in the archive", () =>
    Effect.gen(function*() {
      const { customers } = yield* archived
      const streams = yield* Streams.Streams
      const rewritten = { _tag: "Registered", name: { $personal: "ada", value: later }, plan: "free" }
      yield* streams.rewrite(stream("a"), 1, rewritten, { aggregate: Customer })
      assert.notInclude(yield* stored, later)
      const { contents } = Option.getOrThrow((yield* EventStore.EventStore).replay.life)
      assert.include((yield* contents([{ stream: stream("a"), version: 1 }], 1_000))[0].payload, later)
      const { values } = yield* namesRead(customers)
      for (const name of values) assert.isTrue(Equal.equals(name, Option.some(named(later))))
      yield* Personal.erase("ada")
      assert.isTrue(Equal.equals((yield* customers.load("a")).state.name, Option.some(Personal.erased("ada"))))
    }))

  each("is sealed for a sink, and erased in the state that only the snapshot has then", () =>
    Effect.gen(function*() {
      const { customers } = yield* archived
      const texts = yield* Ref.make<ReadonlyArray<string>>([])
      const { events } = yield* truncate((events) =>
        Stream.runForEach(events, ({ payload }) => Ref.update(texts, (before) => [...before, JSON.stringify(payload)]))
      )
      assert.strictEqual(events, 2)
      const [registered] = yield* Ref.get(texts)
      assert.match(registered, /"name":\{"\$personal":"ada","sealed":"/)
      assert.notInclude(registered, secret)
      assert.isTrue(Equal.equals((yield* customers.load("a")).state.name, Option.some(named(secret))))
      const cached = yield* Repository.make(Customer, { ...manual, cache: { capacity: 1 } })
      assert.isTrue(Equal.equals((yield* cached.load("a")).state.name, Option.some(named(secret))))
      yield* Personal.erase("ada")
      // there are no events to replay
      const erased = Option.some(Personal.erased("ada"))
      const { version } = yield* customers.load("a")
      // in the cache is what a load folded before the erasure, and then what it folded after it
      for (const load of [customers.load("a"), cached.load("a"), cached.load("a")]) {
        const { state } = yield* load
        assert.isTrue(Equal.equals(state.name, erased))
        assert.strictEqual(state.visits, 2)
      }
      // commands go on, and the next snapshot has nothing to open
      assert.strictEqual((yield* customers.execute("a", visit)).version, version + 1)
      assert.strictEqual((yield* cached.execute("a", visit)).version, version + 2)
      yield* customers.createSnapshot("a")
      assert.isTrue(Equal.equals((yield* customers.load("a")).state.name, erased))
      assert.notInclude(yield* stored, secret)
    }))

  each("is erased in the only snapshot of a stream that is longer than maxReplay", () =>
    Effect.gen(function*() {
      const { customers } = yield* archived
      const limited = yield* Repository.make(Customer, { ...manual, maxReplay: 1 })
      yield* truncate("remove")
      yield* customers.createSnapshot("a")
      assert.strictEqual((yield* limited.load("a")).state.visits, 2)
      yield* Personal.erase("ada")
      const { state } = yield* limited.load("a")
      assert.isTrue(Equal.equals(state.name, Option.some(Personal.erased("ada"))))
      assert.strictEqual(state.visits, 2)
    }))
})
