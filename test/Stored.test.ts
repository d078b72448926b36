// what a command gives, and what its snapshot holds, is what a replay will read
import { assert, describe, it } from "@effect/vitest"
import { DateTime, Effect, Either, Logger, Metric, Option, Redacted, Schema, Stream } from "effect"
import {
  Aggregate,
  EventStore,
  Metrics,
  Repository,
  Snapshot,
  SnapshotPolicy,
  SnapshotStore,
  StreamId
} from "effect-eventsourcing"
import { compare } from "../src/internal/schema/equality.js"
import { memoryStores } from "./utils/backends.js"

describe("events as they are stored", () => {
  const Contact = Schema.Struct({ name: Schema.optional(Schema.String), email: Schema.optional(Schema.String) })
  const Person = Aggregate.make({
    name: "Person",
    id: Schema.String,
    state: Contact,
    event: Schema.TaggedStruct("Changed", Contact.fields),
    command: Contact,
    initial: () => ({}),
    evolve: (state, { _tag, ...change }) => ({ ...state, ...change }),
    decide: (_state, command) => Either.right([{ _tag: "Changed", name: command.name, email: command.email }])
  })

  it.scoped("a field that is undefined is absent for the command, its snapshot and the replay", () =>
    Effect.gen(function*() {
      const people = yield* Repository.make(Person, { snapshots: SnapshotPolicy.sync({ every: 2 }) })
      const replaying = yield* Repository.make(Person)
      yield* people.execute("p", { name: "Ada", email: undefined })
      const { state } = yield* people.execute("p", { name: undefined, email: "a@x" })
      const loaded = yield* people.load("p")
      assert.strictEqual(loaded.snapshotVersion, 2)
      const replayed = yield* replaying.load("p")
      assert.deepStrictEqual(replayed.state, { name: "Ada", email: "a@x" })
      assert.deepStrictEqual(loaded.state, replayed.state)
      assert.deepStrictEqual(state, replayed.state)
    }).pipe(Effect.provide(memoryStores)))

  const Tagged = Aggregate.make({
    name: "Tagged",
    id: Schema.String,
    state: Schema.Int,
    event: Schema.TaggedStruct("Tagged", {
      none: Schema.optional(Schema.OptionFromNullOr(Schema.Int)),
      before: Schema.optional(Schema.Record({ key: Schema.String, value: Schema.Unknown })),
      tags: Schema.Record({ key: Schema.String, value: Schema.Unknown }),
      oneWay: Schema.optional(Schema.transform(Schema.String, Schema.Int, {
        decode: () => {
          throw new Error("never")
        },
        encode: String
      }))
    }),
    command: Schema.Unknown,
    initial: () => 0,
    evolve: (count) => count + 1,
    decide: (_count, command) =>
      Either.right([
        command === 1
          ? { _tag: "Tagged", tags: {}, oneWay: 1 }
          : {
            _tag: "Tagged",
            none: Option.none(),
            before: { harmless: {} },
            tags: Object.fromEntries(Object.entries(Object(command)))
          }
      ])
  })

  it.scoped("an evolve that changes its events does not change the stored events", () =>
    Effect.gen(function*() {
      const Listed = Schema.TaggedStruct("Listed", {
        items: Schema.mutable(Schema.Array(Schema.mutable(Schema.Struct({ name: Schema.String })))),
        extra: Schema.Unknown
      })
      const List = Aggregate.make({
        name: "List",
        id: Schema.String,
        state: Schema.Array(Schema.String),
        event: Listed,
        command: Schema.Array(Schema.String),
        initial: (): ReadonlyArray<string> => [],
        evolve: (state, { extra, items }) => {
          const names = items.map(({ name }) => name)
          for (const item of items) item.name = "changed"
          items.push({ name: "added" })
          if (Array.isArray(extra)) extra.push("added")
          return [...state, ...names]
        },
        decide: (_state, names) =>
          Either.right([Listed.make({ items: names.map((name) => ({ name })), extra: ["given"] })])
      })
      const store = yield* EventStore.EventStore
      const lists = yield* Repository.make(List, { snapshots: SnapshotPolicy.sync({ every: 1 }) })
      yield* lists.executeAll("l", [["a", "b"], ["c"]])
      const stored = yield* Stream.runCollect(store.read(StreamId.make("List", "l")))
      assert.deepStrictEqual(Array.from(stored, ({ payload }) => payload), [
        { _tag: "Listed", items: [{ name: "a" }, { name: "b" }], extra: ["given"] },
        { _tag: "Listed", items: [{ name: "c" }], extra: ["given"] }
      ])
      const replaying = yield* Repository.make(List)
      assert.deepStrictEqual((yield* replaying.load("l")).state, ["a", "b", "c"])
      assert.deepStrictEqual((yield* lists.load("l")).state, ["a", "b", "c"])
    }).pipe(Effect.provide(memoryStores)))

  it.scoped("an event that would lose data or could not be read back is rejected before the append", () =>
    Effect.gen(function*() {
      const store = yield* EventStore.EventStore
      const tagged = yield* Repository.make(Tagged)
      const bad: ReadonlyArray<readonly [command: unknown, says: string]> = [
        [JSON.parse("{\"__proto__\":{\"a\":1},\"b\":2}"), "cannot keep $.tags.__proto__"],
        [{ nested: NaN }, "$.tags.nested"],
        [1, "not read back"]
      ]
      for (const [command, says] of bad) {
        const failure = yield* Effect.flip(tagged.execute("t", command))
        assert.strictEqual(failure._tag, "EventEncodeError")
        assert.include(failure.message, says)
      }
      assert.strictEqual(yield* store.version(StreamId.make("Tagged", "t")), 0)
      // inside a value of any shape the key is a key like others
      yield* tagged.execute("t", { inner: JSON.parse("{\"__proto__\":1}") })
      assert.strictEqual((yield* tagged.load("t")).state, 1)
    }).pipe(Effect.provide(memoryStores)))
})

describe("a user-provided snapshot store", () => {
  const Counter = Aggregate.make({
    name: "Counter",
    id: Schema.String,
    state: Schema.Int,
    event: Schema.TaggedStruct("Counted", {}),
    command: Schema.Null,
    initial: () => 0,
    evolve: (count) => count + 1,
    decide: () => Either.right([{ _tag: "Counted" as const }])
  })
  const row: Snapshot.EncodedSnapshot = {
    stream: StreamId.make("Counter", "c"),
    version: 1,
    eventId: "e",
    schemaVersion: 1,
    fingerprint: Counter.fingerprint,
    state: "7",
    time: 0
  }
  const answers: ReadonlyArray<readonly [name: string, get: () => unknown]> = [
    ["throws", () => {
      throw new Error("a bug")
    }],
    ["gives no effect", () => undefined],
    ["gives nothing", () => Effect.succeed(undefined)],
    ["gives null", () => Effect.succeed(Option.some(null))],
    ...Object.keys(row).flatMap((key) => [
      [`gives ${key} null`, () => Effect.succeed(Option.some({ ...row, [key]: null }))] as const,
      [`gives ${key} undefined`, () => Effect.succeed(Option.some({ ...row, [key]: undefined }))] as const
    ]),
    ["gives a version of text", () => Effect.succeed(Option.some({ ...row, version: "1" }))],
    ["gives a version that no number holds", () => Effect.succeed(Option.some({ ...row, version: 2 ** 53 }))],
    ["gives a version beyond every stream", () => Effect.succeed(Option.some({ ...row, version: 2 ** 40 }))],
    ["gives an endless version", () => Effect.succeed(Option.some({ ...row, version: Infinity }))]
  ]
  for (const [name, get] of answers) {
    it.scoped(`that ${name} does not fail a load or a command`, () =>
      Effect.gen(function*() {
        const store = yield* SnapshotStore.SnapshotStore
        // what a program without types may do
        const broken = { ...store, get: (...args: ReadonlyArray<unknown>) => Reflect.apply(get, undefined, args) }
        const counters = yield* Repository.make(Counter, { snapshots: SnapshotPolicy.sync({ every: 1 }) }).pipe(
          Effect.provideService(SnapshotStore.SnapshotStore, broken)
        )
        yield* counters.execute("c", null)
        yield* counters.execute("c", null)
        assert.deepInclude(yield* counters.load("c"), { state: 2, version: 2, snapshotVersion: 0 })
      }).pipe(Effect.provide(memoryStores)))
  }

  it.scoped("a damaged snapshot is replaced by the next load, also of a short stream", () =>
    Effect.gen(function*() {
      const store = yield* SnapshotStore.SnapshotStore
      const manual = yield* Repository.make(Counter, { snapshots: SnapshotPolicy.manual })
      const counters = yield* Repository.make(Counter, { snapshots: SnapshotPolicy.sync({ every: 100 }) })
      yield* counters.executeAll("c", [null, null, null])
      for (const damage of [{ state: "{" }, { eventId: "other" }, { version: 2 }, { version: 9 }]) {
        yield* store.delete(row.stream)
        const { snapshot } = yield* manual.createSnapshot("c")
        yield* store.delete(row.stream)
        yield* store.save({ ...row, version: 3, eventId: snapshot.eventId, ...damage })
        assert.notInclude(["Hit", "None"], (yield* counters.load("c")).snapshotOutcome._tag)
        assert.deepInclude(yield* counters.load("c"), {
          state: 3,
          snapshotVersion: 3,
          snapshotOutcome: { _tag: "Hit" }
        })
      }
    }).pipe(Effect.provide(memoryStores)))
})

describe("a state of which its schema loses a part", () => {
  class Animal extends Schema.Class<Animal>("Animal")({ name: Schema.String }) {}
  class Dog extends Animal.extend<Dog>("Dog")({ tricks: Schema.Int }) {}
  enum Colour {
    Red,
    Green
  }
  const snapshotOf = <State, Encoded>(state: Schema.Schema<State, Encoded>, value: State) => {
    const Holder = Aggregate.make({
      name: "Holder",
      id: Schema.String,
      state,
      event: Schema.TaggedStruct("Held", {}),
      command: Schema.Null,
      initial: () => value,
      evolve: (): State => value,
      decide: () => Either.right([])
    })
    return Snapshot.encode(Holder, {
      stream: StreamId.make("Holder", "h"),
      version: 1,
      eventId: "e",
      state: value,
      time: DateTime.unsafeMake(0)
    })
  }
  const V = Schema.Struct({ v: Schema.Int })
  const refused: ReadonlyArray<
    readonly [name: string, encoded: Either.Either<Snapshot.EncodedSnapshot, Snapshot.StateEncodeError>]
  > = [
    [
      "a union whose first member fits, and drops a field",
      snapshotOf(Schema.Union(V, Schema.Struct({ v: Schema.Int, w: Schema.Int })), { v: 1, w: 7 })
    ],
    [
      "a union of a class and its extension",
      snapshotOf(Schema.Union(Animal, Dog), new Dog({ name: "Rex", tricks: 7 }))
    ],
    [
      "a field of a class that holds an extension of it",
      snapshotOf(Schema.Struct({ a: Animal }), { a: new Dog({ name: "Rex", tricks: 7 }) })
    ],
    ["fields that the schema does not know", snapshotOf(V, Object.assign({ v: 1 }, { seen: true }))]
  ]
  for (const [name, encoded] of refused) {
    it(`${name}: no snapshot is taken of it`, () => {
      assert.isTrue(Either.isLeft(encoded) && encoded.left._tag === "StateEncodeError")
    })
  }

  it("a state that survives its schema is saved", () => {
    for (
      const encoded of [
        snapshotOf(Schema.Union(Dog, Animal), new Dog({ name: "Rex", tricks: 7 })),
        snapshotOf(Schema.Struct({ at: Schema.URL, by: Schema.Redacted(Schema.String), on: Schema.Date }), {
          at: new URL("https://a.example/x"),
          by: Redacted.make("secret"),
          on: new Date(0)
        }),
        snapshotOf(Schema.Struct({ colour: Schema.Enums(Colour), tags: Schema.Set(Schema.String) }), {
          colour: Colour.Green,
          tags: new Set(["a", "b"])
        })
      ]
    ) assert.isTrue(Either.isRight(encoded))
  })

  it("values with hidden contents are compared by their contents", () => {
    assert.isNotEmpty(compare(Schema.URLFromSelf, new URL("https://a.example"), new URL("https://b.example"), 1))
    assert.isEmpty(compare(Schema.URLFromSelf, new URL("https://a.example"), new URL("https://a.example"), 1))
    assert.isNotEmpty(compare(Schema.RedactedFromSelf(Schema.String), Redacted.make("a"), Redacted.make("b"), 1))
    assert.isEmpty(compare(Schema.RedactedFromSelf(Schema.String), Redacted.make("a"), Redacted.make("a"), 1))
    const close = Schema.Number.annotations({ equivalence: () => (a, b) => Math.abs(a - b) < 0.01 })
    assert.isEmpty(compare(Schema.Struct({ close }), { close: 1 }, { close: 1.001 }, 1))
  })

  it("a record may not have values that JSON omits", () => {
    assert.throws(() => snapshotOf(Schema.Record({ key: Schema.String, value: Schema.UndefinedOr(Schema.Int) }), {}))
  })
})

describe("after an append", () => {
  const Counter = Aggregate.make({
    name: "Counter",
    id: Schema.String,
    state: Schema.Int,
    event: Schema.TaggedStruct("Counted", {}),
    command: Schema.Null,
    initial: () => 0,
    evolve: (count) => count + 1,
    decide: () => Either.right([{ _tag: "Counted" as const }])
  })
  const throwing = Logger.replace(
    Logger.defaultLogger,
    Logger.make(() => {
      throw new Error("a logger that throws")
    })
  )
  const hostile: ReadonlyArray<unknown> = [{ rows: 10n }, Object.create(null), {
    toString: () => {
      throw new Error("no")
    }
  }]

  it.scoped("neither an error that cannot be printed nor a logger that throws fails the command", () =>
    Effect.gen(function*() {
      const store = yield* SnapshotStore.SnapshotStore
      for (const [index, cause] of hostile.entries()) {
        for (const logger of [Logger.json, Logger.logFmt, throwing]) {
          const failing = {
            ...store,
            save: () =>
              Effect.fail(
                new SnapshotStore.SnapshotStoreError({
                  operation: "save",
                  aggregate: "Counter",
                  reason: "Unavailable",
                  detail: "no",
                  cause
                })
              )
          }
          const policies = [
            SnapshotPolicy.sync({ every: 1 }),
            SnapshotPolicy.sync({
              when: SnapshotPolicy.when(() => {
                throw cause
              })
            })
          ]
          for (const snapshots of policies) {
            const counters = yield* Repository.make(Counter, { snapshots }).pipe(
              Effect.provideService(SnapshotStore.SnapshotStore, failing)
            )
            yield* Effect.provide(counters.execute(`c${index}`, null), logger)
          }
        }
      }
    }).pipe(Effect.provide(memoryStores)))

  it.scoped("a load that fails still reports why the snapshot was not used", () =>
    Effect.gen(function*() {
      const store = yield* SnapshotStore.SnapshotStore
      const manual = yield* Repository.make(Counter, { snapshots: SnapshotPolicy.manual })
      yield* manual.executeAll("c", Array.from({ length: 50 }, () => null))
      const { snapshot } = yield* manual.createSnapshot("c")
      yield* store.delete(snapshot.stream)
      yield* store.save({ ...snapshot, state: "{", time: 0 })
      const counter = Metric.tagged(
        Metric.tagged(Metrics.snapshotLoads, "aggregate", "Counter"),
        "outcome",
        "StateDecodeError"
      )
      const before = (yield* Metric.value(counter)).count
      const bounded = yield* Repository.make(Counter, { snapshots: SnapshotPolicy.manual, maxReplay: 10 })
      const failure = yield* Effect.flip(bounded.load("c"))
      assert.isTrue(failure._tag === "ReplayTooLong")
      assert.strictEqual((yield* Metric.value(counter)).count, before + 1)
    }).pipe(Effect.provide(memoryStores)))
})
