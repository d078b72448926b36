// what a program without types, a broken clock or an untyped border lets in is refused where it enters, typed
import { SqliteClient } from "@effect/sql-sqlite-node"
import type * as SqlClient from "@effect/sql/SqlClient"
import { assert, describe, it } from "@effect/vitest"
import { Clock, DateTime, Effect, Either, Exit, Layer, Schema, Stream, Tracer } from "effect"
import {
  Aggregate,
  Event,
  EventStore,
  ExpectedVersion,
  InvalidOption,
  Repository,
  SnapshotPolicy,
  SnapshotStore,
  SqlEventStore,
  Sqlite,
  SqlMigrations,
  SqlSnapshotStore,
  StreamId,
  Versions
} from "effect-eventsourcing"
import * as Json from "../src/internal/schema/json.js"
import { Account, id } from "./fixtures/Account.js"
import { memoryStores, sqliteFile, sqlStores } from "./utils/backends.js"
import { everything } from "./utils/mode.js"

const both = [["memory", memoryStores], ["SQLite", Layer.provide(sqlStores, sqliteFile(":memory:"))]] as const

/** As a program without types has it. */

function untyped<A>(value: unknown): A
function untyped(value: unknown): unknown {
  return value
}

const Kept = Schema.TaggedStruct("Kept", { value: Schema.Unknown })
class Keep extends Schema.TaggedClass<Keep>()("Keep", { value: Schema.Unknown }) {}
class Drop extends Schema.TaggedClass<Drop>()("Drop", {}) {}
const handlers = {
  Keep: ({ value }: { readonly value?: unknown }) => {
    if (value === "bug") throw new Error("a bug")
    return Either.right([{ _tag: "Kept" as const, value }])
  },
  Drop: (_: { readonly value?: unknown }) => Either.right([])
}
const Box = Aggregate.make({
  name: "Box",
  id: Schema.String,
  state: Schema.Struct({ value: Schema.Unknown }),
  event: Kept,
  command: Schema.Union(Keep, Drop),
  initial: () => ({ value: null }),
  evolve: (_, { value }) => ({ value }),
  decide: (_, command) => handlers[command._tag]({ value: undefined, ...command })
})

const cyclic: Record<string, unknown> = { a: [1] }
cyclic.b = { up: cyclic }
const deep = (levels: number) => {
  let value: unknown = 1
  for (let i = 0; i < levels; i++) value = { next: value }
  return value
}

describe("commands of an untyped program", () => {
  for (const [name, layer] of both) {
    it.scoped(`that do not match the command schema fail with a typed error that names them (${name})`, () =>
      Effect.gen(function*() {
        const boxes = yield* Repository.make(Box)
        const wrong: ReadonlyArray<readonly [unknown, string]> = [
          [{ _tag: "Unknown" }, "Unknown"],
          [{ _tag: "__proto__" }, "__proto__"],
          [{ _tag: 1 }, "an object without a _tag"],
          [{}, "an object without a _tag"],
          [null, "null"],
          [undefined, "undefined"],
          ["Keep", "string"],
          [[], "an object without a _tag"]
        ]
        for (const [command, named] of wrong) {
          for (const run of [boxes.execute("b", untyped(command)), boxes.executeAll("b", [untyped(command)])]) {
            const failure = yield* Effect.flip(run)
            assert.instanceOf(failure, Repository.InvalidCommand)
            assert.deepInclude(failure, { command: named, index: 1, stream: StreamId.make("Box", "b") })
            assert.include(failure.message, named)
            assert.include(failure.message, "\"Box\"/\"b\"")
          }
        }
        const second = yield* Effect.flip(boxes.executeAll("b", [new Keep({ value: 1 }), untyped({ _tag: "Lost" })]))
        assert.deepInclude(second, { _tag: "InvalidCommand", index: 2 })
        assert.deepInclude(yield* Effect.flip(boxes.executeAll("b", untyped(undefined))), { _tag: "InvalidCommand" })
        // a record is as good as an instance; a bug of decide stays one, whichever it is given
        assert.deepInclude(yield* boxes.execute("b", untyped({ _tag: "Keep", value: 1 })), { version: 1 })
        for (const command of [new Keep({ value: "bug" }), untyped<Keep>({ _tag: "Keep", value: "bug" })]) {
          const exit = yield* Effect.exit(boxes.execute("b", command))
          assert.isTrue(Exit.isFailure(exit) && exit.cause._tag === "Die")
        }
        assert.deepInclude(yield* boxes.load("b"), { version: 1 })
      }).pipe(Effect.provide(layer)))

    it.scoped(`whose events are cyclic or too deep fail with an error that names the path (${name})`, () =>
      Effect.gen(function*() {
        const boxes = yield* Repository.make(Box, {
          snapshots: SnapshotPolicy.sync({ every: 1 }),
          cache: { capacity: 1 }
        })
        const circle = yield* Effect.flip(boxes.execute("b", new Keep({ value: cyclic })))
        assert.instanceOf(circle, Repository.EventEncodeError)
        assert.deepInclude(circle, { command: "Keep", type: "Kept", index: 1 })
        assert.include(circle.message, "$.value.b.up refers back to $.value")
        const bottomless = yield* Effect.flip(boxes.execute("b", new Keep({ value: deep(100_000) })))
        assert.instanceOf(bottomless, Repository.EventEncodeError)
        assert.include(bottomless.message, "nested too deeply")
        const metadata = yield* Effect.flip(boxes.execute("b", new Keep({ value: 1 }), { metadata: { cyclic } }))
        assert.include(metadata.message, "$.cyclic.b.up refers back to $.cyclic")
        const throwing = {
          get value() {
            throw new Error("planned")
          }
        }
        assert.include(
          (yield* Effect.flip(boxes.execute("b", new Keep({ value: throwing })))).message,
          "cannot be read"
        )
        // whatever the depth, an event that can be stored can be loaded, and what cannot is typed
        for (const levels of everything ? [500, 1_000, 2_000, 3_000, 4_000, 6_000, 8_000] : [1_000, 4_000]) {
          const name = `deep-${levels}`
          const done = yield* Effect.either(boxes.execute(name, new Keep({ value: deep(levels) })))
          assert.isTrue(Either.isRight(done) || done.left._tag === "EventEncodeError")
          assert.strictEqual((yield* boxes.load(name)).version, Either.isRight(done) ? 1 : 0)
          const snapshot = yield* Effect.either(boxes.createSnapshot(name))
          assert.isTrue(
            Either.isRight(snapshot) || ["StateEncodeError", "EmptyStream"].includes(snapshot.left._tag),
            String(levels)
          )
        }
      }).pipe(Effect.provide(layer)))

    it.scoped(`with a cyclic id fail with a typed error (${name})`, () =>
      Effect.gen(function*() {
        const boxes = yield* Repository.make(Box)
        for (const bad of [cyclic, null, 7, deep(100_000)]) {
          const runs: ReadonlyArray<Effect.Effect<unknown, unknown>> = [
            boxes.load(untyped(bad)),
            boxes.execute(untyped(bad), new Drop())
          ]
          for (const run of runs) {
            assert.deepInclude(yield* Effect.flip(run), { _tag: "IdEncodeError", aggregate: "Box" })
          }
        }
      }).pipe(Effect.provide(layer)))
  }
})

const refusing = (): never => {
  throw new Error("may not be read")
}
const thrower = new Proxy({}, {
  get: refusing,
  has: refusing,
  ownKeys: refusing,
  getPrototypeOf: refusing,
  getOwnPropertyDescriptor: refusing
})
const { proxy: revoked, revoke } = Proxy.revocable([], {})
revoke()

describe("invalid input of an untyped program", () => {
  const stream = StreamId.make("Box", "a")
  const event = { id: "1", type: "Kept", payload: { _tag: "Kept", value: 1 } }
  const any = { expectedVersion: ExpectedVersion.any }
  const wrong: ReadonlyArray<unknown> = [null, 5, "text", [], Symbol("s"), thrower, revoked]

  const refused = <A, E extends object, R>(what: string, effect: Effect.Effect<A, E, R>) =>
    Effect.map(Effect.exit(effect), (exit) => {
      assert.isTrue(Exit.isFailure(exit) && exit.cause._tag === "Fail", `${what} is ${String(exit)}`)
      if (Exit.isFailure(exit) && exit.cause._tag === "Fail") {
        const error: object = exit.cause.error
        assert.isTrue("reason" in error && error.reason === "InvalidInput", what)
      }
    })

  for (const [name, layer] of both) {
    it.effect(`to an event store is a typed error (${name})`, () =>
      Effect.gen(function*() {
        const store = yield* EventStore.EventStore
        for (const value of [undefined, ...wrong]) {
          const what = typeof value
          yield* refused(`${what} for a stream`, store.append(untyped(value), [event], any))
          yield* refused(`${what} for a stream`, Stream.runDrain(store.read(untyped(value))))
          yield* refused(`${what} for a stream`, store.version(untyped(value)))
          yield* refused(`${what} for a stream`, store.replay.readTail(untyped(value), { fromVersion: 1, limit: 1 }))
          yield* refused(`${what} for an event id`, store.find([event.id, untyped(value === "text" ? "" : value)]))
          if (value === revoked || !Array.isArray(value)) yield* refused(`${what} for ids`, store.find(untyped(value)))
          const importAll = (events: Stream.Stream<EventStore.ImportedEvent>) => Stream.runDrain(store.import(events))
          const importing = (options: object) =>
            importAll(Stream.make(untyped<EventStore.ImportedEvent>({ ...event, stream, ...options })))
          yield* refused(`${what} for the events of an import`, importAll(untyped(value)))
          yield* refused(
            `${what} for an imported event`,
            importAll(Stream.make(untyped<EventStore.ImportedEvent>(value)))
          )
          yield* refused(`${what} for its stream`, importing({ stream: value }))
          if (value !== undefined) {
            yield* refused(`${what} for its version`, importing({ version: value === 5 ? 5.5 : value }))
            yield* refused(`${what} for its id`, importing({ id: value === "text" ? "" : value }))
          }
          yield* refused(`${what} for a time`, store.append(stream, [{ ...event, time: untyped(value ?? NaN) }], any))
          yield* refused(`${what} for an event`, store.append(stream, [untyped(value)], any))
          yield* refused(`${what} for the options of append`, store.append(stream, [event], untyped(value)))
          yield* refused(`${what} for the options of readTail`, store.replay.readTail(stream, untyped(value)))
          if (value === revoked || !Array.isArray(value)) {
            yield* refused(`${what} for events`, store.append(stream, untyped(value), any))
          }
        }
        for (const value of [...wrong, { from: 1 }, { pageSize: Symbol("s") }, { pageSize: null }, { pageSize: 1n }]) {
          yield* refused(`${typeof value} for the options of read`, Stream.runDrain(store.read(stream, untyped(value))))
          yield* refused(`${typeof value} for the options of readEvents`, store.readEvents(stream, untyped(value)))
          yield* refused(
            `${typeof value} for the options of import`,
            Stream.runDrain(store.import(Stream.empty, untyped(value)))
          )
          yield* refused(`${typeof value} for the options of readAll`, Stream.runDrain(store.readAll(untyped(value))))
        }
        for (const value of [undefined, {}, { limit: null }, { limit: "5" }, { limit: 5, reverse: 1 }]) {
          yield* refused("the options of readEvents", store.readEvents(stream, untyped(value)))
        }
        for (const after of [null, 5, thrower, revoked]) {
          yield* refused("a position", Stream.runDrain(store.readAll(untyped({ after }))))
        }
        const time = DateTime.unsafeMake(0)
        for (const epochMillis of [NaN, Infinity, 1.5, 9e15, -9e15, "1", 1n, null]) {
          const forged = Object.assign(Object.create(time), { epochMillis })
          yield* refused("a forged time", store.append(stream, [{ ...event, time: forged }], any))
        }
        const lists = ["aggregates", "types"].flatMap((name) =>
          [null, 5, "text", {}, thrower, revoked, [null], [5], ["a", undefined]].map((value) => ({ [name]: value }))
        )
        const partitions = [null, 5, [], {}, { index: 0 }, { of: 2 }, { index: "0", of: 2 }, {
          index: 0,
          of: 2,
          from: 1
        }]
        const pages = [...lists, ...partitions.map((partition) => ({ partition })), { limit: null }, { pageSize: 5 }]
        for (const value of [...wrong, ...pages, { aggregate: "Box" }, { partition: thrower }]) {
          yield* refused(`${typeof value} for the options of readPage`, store.readPage(untyped(value)))
        }
        for (const value of [...lists, ...partitions.map((partition) => ({ partition })), { aggregate: "Box" }]) {
          yield* refused("the options of readAll", Stream.runDrain(store.readAll(untyped(value))))
        }
        const listings = [{}, { aggregate: 5 }, { aggregate: "Box", after: null }, { aggregate: "Box", limit: null }]
        for (const value of [undefined, ...wrong, ...listings, { aggregate: "Box", from: "a" }]) {
          yield* refused(`${typeof value} for the options of streams`, store.streams(untyped(value)))
        }
        for (const key of ["_tag", "version"]) {
          for (const times of [1, 2, 3, 4]) {
            let reads = 0
            const changing = Object.defineProperty({ ...ExpectedVersion.exact(7) }, key, {
              get: () => reads++ < times ? (key === "_tag" ? "Exact" : 7) : "changed",
              enumerable: true
            })
            // it is refused, or it is what it was at first
            const error = yield* Effect.flip(store.append(stream, [event], { expectedVersion: untyped(changing) }))
            assert.include(["EventStoreError", "VersionConflict"], error._tag)
          }
        }
        yield* refused("a misspelt option", store.append(stream, [event], untyped({ ...any, expected: 3 })))
        yield* refused(
          "an accessor that throws",
          store.append(stream, [Object.defineProperty({ ...event }, "id", { get: refusing })], any)
        )
        assert.strictEqual(yield* store.version(stream), 0)
      }).pipe(Effect.provide(layer)))

    it.effect(`a stream whose accessor changes is the one that was checked (${name})`, () =>
      Effect.gen(function*() {
        const store = yield* EventStore.EventStore
        const changing = () => {
          let reads = 0
          return Object.defineProperty({ ...stream }, "aggregate", {
            get: () => ++reads === 1 ? stream.aggregate : "\u0000"
          })
        }
        yield* store.append(changing(), [event], any)
        const imported = { ...event, id: "imported", stream: changing() }
        yield* Stream.runDrain(store.import(Stream.make(imported)))
        assert.strictEqual(yield* store.version(stream), 2)
      }).pipe(Effect.provide(layer)))

    it.effect(`to a snapshot store is a typed error, and deletes nothing (${name})`, () =>
      Effect.gen(function*() {
        const store = yield* SnapshotStore.SnapshotStore
        const kept = { stream, version: 1, eventId: "1", schemaVersion: 1, fingerprint: "f", state: "{}", time: 1 }
        yield* store.save(kept)
        for (const value of [undefined, ...wrong]) {
          const what = typeof value
          yield* refused(`${what} for a stream`, store.exists(untyped(value)))
          yield* refused(`${what} for an aggregate`, store.deleteByType(untyped(value === "text" ? "" : value)))
          yield* refused(`${what} for a snapshot`, store.save(untyped(value)))
          if (typeof value !== "string") {
            for (const key of ["eventId", "fingerprint", "state"]) {
              yield* refused(`${what} for ${key}`, store.save({ ...kept, version: 2, [key]: untyped(value) }))
            }
          }
        }
        for (const value of [...wrong, { schemaversion: 2 }, { identity: null }, { identity: {} }, { identity: 5 }]) {
          yield* refused(`${typeof value} for the options of delete`, store.delete(stream, untyped(value)))
        }
        for (const value of [...wrong, { dryrun: true }, { dryRun: "true" }, { schemaVersionBelow: "1" }]) {
          yield* refused(`${typeof value} for the options of deleteByType`, store.deleteByType("Box", untyped(value)))
        }
        for (const value of [undefined, null, 5, thrower, { schemaVersion: 1, migratable: [null] }]) {
          yield* refused(`${typeof value} for the options of get`, store.get(stream, untyped(value)))
        }
        assert.isTrue(yield* store.exists(stream))
        assert.isTrue(yield* store.exists(stream, untyped(null)))
      }).pipe(Effect.provide(layer)))

    it.scoped(`to a repository is a typed error (${name})`, () =>
      Effect.gen(function*() {
        const boxes = yield* Repository.make(Box)
        const keep = Keep.make({ value: 1 })
        const executions = [...wrong, { expectedVersion: 4 }, ...wrong.map((metadata) => ({ metadata })), {
          metadata: new Map()
        }]
        for (const options of executions) {
          yield* refused("the options of execute", boxes.execute("a", keep, untyped(options)))
        }
        for (const options of [...wrong, { removed: false }, { remove: "false" }, { remove: 0 }]) {
          yield* refused("the options of verify", boxes.verify("a", untyped(options)))
        }
        const fail = () => {
          throw new Error("unreadable")
        }
        // as long as they say, and not to be read
        const unreadable = [new Proxy([keep], { get: fail }), Object.defineProperty([keep], 0, { get: fail })]
        for (
          const commands of [
            undefined,
            ...unreadable,
            ...wrong.filter((value) => value === revoked || !Array.isArray(value))
          ]
        ) {
          const failure = yield* Effect.flip(boxes.executeAll("a", untyped(commands)))
          assert.instanceOf(failure, Repository.InvalidCommand)
        }
        assert.instanceOf(yield* Effect.flip(boxes.execute("a", untyped(revoked))), Repository.InvalidCommand)
        assert.strictEqual((yield* boxes.load("a")).version, 0)
        for (const aggregate of [undefined, null, 5, {}]) {
          assert.instanceOf(
            yield* Effect.flip(Repository.make(untyped<typeof Box>(aggregate))),
            InvalidOption.InvalidOption
          )
        }
      }).pipe(Effect.provide(layer)))
  }

  it.scoped("to the SQL layers is a typed error", () =>
    Effect.gen(function*() {
      for (const options of [null, 5, "text", [], { prefx: "other" }, { prefix: null }, { migrate: "false" }]) {
        const builds: ReadonlyArray<Effect.Effect<unknown, unknown, SqlClient.SqlClient>> = [
          SqlEventStore.make(untyped(options)),
          SqlSnapshotStore.make(untyped(options)),
          SqlMigrations.run(untyped(options)),
          SqlMigrations.afterRestore(untyped(options))
        ]
        for (const build of builds) {
          const failure = yield* Effect.flip(Effect.provide(build, sqliteFile(":memory:")))
          assert.instanceOf(failure, InvalidOption.InvalidOption, JSON.stringify(options))
        }
      }
      const file = { filename: ":memory:" }
      const files: ReadonlyArray<unknown> = [
        undefined,
        null,
        "bank.db",
        { ...file, busyTimeout: "soon" },
        { ...file, busyTimeout: null },
        { ...file, busyTimeout: Infinity },
        { ...file, busyTimeout: -1 },
        { ...file, disableWAL: "no" }
      ]
      for (const options of files) {
        const failure = yield* Effect.flip(Layer.build(Sqlite.layer(SqliteClient.layer, untyped(options))))
        assert.instanceOf(failure, InvalidOption.InvalidOption, JSON.stringify(options))
      }
    }))
})

describe("a large value that is not deeply nested", () => {
  it("is not reported as nested too deeply", () => {
    assert.deepInclude(Json.overflow(new RangeError("Invalid string length"), { a: 1 }), {
      reason: "is longer, as JSON, than any text can be"
    })
    assert.strictEqual(Json.overflow(new TypeError("Invalid string length"), {}), undefined)
  })

  for (const [name, layer] of both) {
    it.effect.runIf(everything)(
      `an append of hundreds of megabytes is a typed error (${name})`,
      () =>
        Effect.gen(function*() {
          const store = yield* EventStore.EventStore
          const payload = "x".repeat(70_000_000)
          const stream = StreamId.make("Box", "b")
          const events = ["a", "b", "c"].map((id) => ({ id, type: "Kept", payload }))
          const failure = yield* Effect.flip(store.append(stream, events, { expectedVersion: ExpectedVersion.any }))
          assert.deepInclude(failure, { _tag: "EventStoreError", reason: "InvalidInput", mayHaveAppended: false })
          assert.include(failure.message, "event 3 of 3")
          assert.strictEqual(yield* store.version(stream), 0)
        }).pipe(Effect.provide(layer))
    )
  }
})

describe("a clock beyond the range of a date", () => {
  const clockOf = (now: number): Clock.Clock =>
    Object.assign(Clock.make(), {
      unsafeCurrentTimeMillis: () => now,
      currentTimeMillis: Effect.succeed(now)
    })

  for (const [name, layer] of both) {
    it.scoped(`is a typed error of the write, and stored data stays readable (${name})`, () =>
      Effect.gen(function*() {
        const store = yield* EventStore.EventStore
        const accounts = yield* Repository.make(Account, {
          snapshots: SnapshotPolicy.sync({ every: 1 }),
          cache: { capacity: 10 }
        })
        for (const now of [1.7e18, NaN, Infinity, -Infinity, 8.64e15 + 1, -8.64e15 - 1]) {
          const at = Effect.withClock(clockOf(now))
          const failure = yield* Effect.flip(at(accounts.execute(id("a"), { _tag: "Open" })))
          assert.deepInclude(failure, { _tag: "EventStoreError", reason: "InvalidInput", mayHaveAppended: false })
          assert.include(failure.message, String(now))
        }
        yield* accounts.execute(id("a"), { _tag: "Open" })
        for (const now of [1.7e18, NaN, -Infinity]) {
          const at = Effect.withClock(clockOf(now))
          assert.deepInclude(yield* at(accounts.load(id("a"))), { version: 1 })
          assert.deepInclude(yield* Effect.flip(at(accounts.createSnapshot(id("a")))), {
            _tag: "SnapshotStoreError",
            reason: "InvalidInput"
          })
        }
        // before 1970 is a date
        yield* Effect.withClock(accounts.execute(id("a"), { _tag: "Deposit", amount: 1 }), clockOf(-1_000))
        assert.strictEqual((yield* Stream.runCollect(store.readAll())).length, 2)
        const snapshots = yield* SnapshotStore.SnapshotStore
        const saved = { version: 9, eventId: "e", schemaVersion: 1, fingerprint: "f", state: "1", time: 8.64e15 + 1 }
        assert.deepInclude(
          yield* Effect.flip(snapshots.save({ ...saved, stream: StreamId.make("Account", "a") })),
          { reason: "InvalidInput" }
        )
        assert.match(
          yield* Effect.withClock(Effect.flatten(Event.IdGenerator), clockOf(-5)),
          /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-/
        )
      }).pipe(Effect.provide(layer)))
  }
})

describe("the stores in memory", () => {
  it.effect("return copies of their data", () =>
    Effect.gen(function*() {
      const store = yield* EventStore.EventStore
      const snapshots = yield* SnapshotStore.SnapshotStore
      const stream = { aggregate: "Box", id: "b" }
      yield* store.append(stream, [{ id: "e", type: "Kept", payload: { a: [1] }, metadata: { m: {} } }], {
        expectedVersion: ExpectedVersion.any
      })
      const snapshot = { version: 1, eventId: "e", schemaVersion: 1, fingerprint: "f", state: "1", time: 0 }
      yield* snapshots.save({ ...snapshot, stream })
      for (let i = 0; i < 2; i++) {
        for (const events of [store.read(StreamId.make("Box", "b")), store.readAll()]) {
          const [event] = Array.from(yield* Stream.runCollect(events))
          assert.deepInclude(event, { stream: { aggregate: "Box", id: "b" }, payload: { a: [1] }, metadata: { m: {} } })
          Object.assign(event.stream, { id: "changed" })
          Object.assign(Object(event.payload), { a: "changed" })
          Object.assign(event.metadata, { m: "changed" })
        }
        const [tail] = yield* store.replay.readTail(StreamId.make("Box", "b"), { fromVersion: 1, limit: 1 })
        assert.deepInclude(tail, { eventId: "e", type: "Kept" })
        Object.assign(tail, { eventId: "changed", type: "changed" })
        const found = yield* Effect.flatten(snapshots.get(StreamId.make("Box", "b"), { schemaVersion: 1 }))
        assert.deepStrictEqual(found, { ...snapshot, stream: { aggregate: "Box", id: "b" } })
        Object.assign(found, { version: 7, state: "changed" })
        Object.assign(found.stream, { id: "changed" })
      }
    }).pipe(Effect.provide(memoryStores)))
})

describe("createSnapshot", () => {
  it.scoped("fails in mode none, and with a store that keeps nothing", () =>
    Effect.gen(function*() {
      const none = yield* Repository.make(Account)
      yield* none.execute(id("a"), { _tag: "Open" })
      const failure = yield* Effect.flip(none.createSnapshot(id("a")))
      assert.deepInclude(failure, { _tag: "SnapshotStoreError", reason: "InvalidInput" })
      assert.include(failure.message, "mode none")
      assert.isFalse(yield* (yield* SnapshotStore.SnapshotStore).exists(StreamId.make("Account", "a")))
      const noop = yield* Repository.make(Account, { snapshots: SnapshotPolicy.sync({ every: 1 }) }).pipe(
        Effect.provide(SnapshotStore.layerNoop)
      )
      yield* noop.execute(id("a"), { _tag: "Deposit", amount: 1 })
      assert.include((yield* Effect.flip(noop.createSnapshot(id("a")))).message, "keeps nothing")
    }).pipe(Effect.provide(memoryStores)))
})

describe("options of a program without types", () => {
  const policies: Readonly<Record<string, () => SnapshotPolicy.SnapshotPolicy>> = {
    "a function as when": () => SnapshotPolicy.sync({ when: untyped(() => true) }),
    "a number as when": () => SnapshotPolicy.inline({ when: untyped(5) }),
    "null as when, deep down": () =>
      SnapshotPolicy.background({ when: SnapshotPolicy.or(SnapshotPolicy.every(1), untyped(null)) }),
    "an unknown condition": () => SnapshotPolicy.sync({ when: untyped({ _tag: "Sometimes" }) }),
    "no condition": () => SnapshotPolicy.sync(untyped({})),
    "a misspelt option": () => SnapshotPolicy.sync(untyped({ evry: 5 })),
    "both": () => SnapshotPolicy.sync(untyped({ every: 5, when: SnapshotPolicy.every(5) })),
    "no options": () => SnapshotPolicy.sync(untyped(undefined)),
    "a number for options": () => SnapshotPolicy.inline(untyped(5)),
    "a misspelt option of the background": () => SnapshotPolicy.background(untyped({ every: 5, worker: 2 })),
    "an invalid schedule": () => SnapshotPolicy.background({ every: 5, retry: untyped(3) }),
    "an invalid mode": () => untyped("sync"),
    "null": () => untyped(null)
  }
  for (const [name, policy] of Object.entries(policies)) {
    it.scoped(`a policy with ${name} is rejected`, () =>
      Effect.gen(function*() {
        const made = Effect.suspend(() => Repository.make(Account, { snapshots: policy() })).pipe(
          // the modes are pure constructors, which throw where the mistake stands
          Effect.catchAllDefect((defect) => Effect.fail(defect))
        )
        assert.instanceOf(yield* Effect.flip(made), InvalidOption.InvalidOption)
      }).pipe(Effect.provide(memoryStores)))
  }

  const repositories: Readonly<Record<string, unknown>> = {
    "a misspelt option": { snapshot: SnapshotPolicy.manual },
    "options that are none": 5,
    "null": null,
    "an invalid schedule": { retry: 3 },
    "a text for a boolean": { snapshotOnLoad: "false" },
    "a number for a cache": { cache: 100 },
    "a misspelt option of the cache": { cache: { capacity: 5, ttl: "1 minute" } },
    "a number for verify": { verify: 0.5 },
    "a text for a share": { verify: { sample: "0.5" } },
    "a text for a number": { pageSize: "50" }
  }
  for (const [name, options] of Object.entries(repositories)) {
    it.scoped(`a repository with ${name} is rejected`, () =>
      Effect.gen(function*() {
        const failure = yield* Effect.flip(Repository.make(Account, untyped(options)))
        assert.instanceOf(failure, InvalidOption.InvalidOption)
      }).pipe(Effect.provide(memoryStores)))
  }

  const tables: Readonly<Record<string, unknown>> = {
    "a misspelt prefix": { prefx: "bank" },
    "a text for a boolean": { migrate: "false" },
    "options that are none": "bank"
  }
  for (const [name, options] of Object.entries(tables)) {
    it.scoped(`stores on tables with ${name} are rejected`, () =>
      Effect.gen(function*() {
        const onSqlite = Layer.provide(sqliteFile(":memory:"))
        const events = yield* Effect.flip(Layer.build(onSqlite(SqlEventStore.layerWith(untyped(options)))))
        const snapshots = yield* Effect.flip(Layer.build(onSqlite(SqlSnapshotStore.layerWith(untyped(options)))))
        assert.instanceOf(events, InvalidOption.InvalidOption)
        assert.instanceOf(snapshots, InvalidOption.InvalidOption)
      }))
  }

  for (const busyTimeout of ["5 secs", -1, Infinity]) {
    it.scoped(`an SQLite file with the busyTimeout ${busyTimeout} is rejected`, () =>
      Effect.gen(function*() {
        const layer = Sqlite.layer(SqliteClient.layer, untyped({ filename: ":memory:", busyTimeout }))
        assert.instanceOf(yield* Effect.flip(Layer.build(layer)), InvalidOption.InvalidOption)
      }))
  }

  it("an aggregate without one of its functions is rejected by its definition, which names the option", () => {
    const definition = {
      name: "Part",
      id: Schema.String,
      state: Schema.String,
      event: Kept,
      command: Drop,
      initial: () => "",
      evolve: () => "",
      decide: () => Either.right([])
    }
    assert.strictEqual(Aggregate.make(definition).name, "Part")
    for (const part of ["initial", "evolve", "decide"]) {
      assert.throws(
        () => Aggregate.make(untyped<typeof definition>({ ...definition, [part]: undefined })),
        new RegExp(`Aggregate.make ${part} of "Part" is undefined; it must be a function`)
      )
    }
  })

  for (const [name, layer] of both) {
    it.scoped(`a clean-up of snapshots with a misspelt option deletes nothing (${name})`, () =>
      Effect.gen(function*() {
        const repository = yield* Repository.make(Account, { snapshots: SnapshotPolicy.manual })
        yield* repository.execute(id("kept"), { _tag: "Open" })
        yield* repository.createSnapshot(id("kept"))
        const snapshots = yield* SnapshotStore.SnapshotStore
        const failure = yield* Effect.flip(snapshots.deleteByType("Account", untyped({ dryrun: true })))
        assert.include(failure.message, `options is a record with "dryrun"`)
        assert.isTrue(yield* snapshots.exists(StreamId.make("Account", "kept")))
      }).pipe(Effect.provide(layer)))
  }

  it.scoped("a missing count is reported as missing", () =>
    Effect.gen(function*() {
      const snapshots = SnapshotPolicy.sync<unknown, unknown>(untyped({}))
      const failure = yield* Effect.flip(Repository.make(Account, { snapshots }))
      assert.strictEqual(failure.message, "SnapshotPolicy every is undefined; it must be a whole number, 1 or more")
    }).pipe(Effect.provide(memoryStores)))

  it("an upcast under a name with a version is rejected with the right name", () => {
    const Registered = Schema.TaggedStruct("Registered", { name: Schema.String })
    const chain = Versions.from(1, Schema.Struct({ _tag: Schema.Literal("Registered") }))
      .to(Registered, () => Registered.make({ name: "" }))
    const make = (upcasts: Record<string, typeof chain>) =>
      Aggregate.make({
        name: "User",
        id: Schema.String,
        state: Schema.String,
        event: Registered,
        command: Registered,
        initial: () => "",
        evolve: (_, { name }) => name,
        decide: (_, command) => Either.right([command]),
        upcasts
      })
    for (const type of ["Registered@2", "Registered@1", "Old@3"]) {
      assert.throws(() => make({ [type]: chain }), `a chain for "${type}"`)
    }
    assert.deepStrictEqual(make({ Registered: chain }).event.types, ["Registered", "Registered@2"])
  })
})

describe("spans", () => {
  it.effect("have the library's prefix in all of their attributes", () =>
    Effect.gen(function*() {
      const attributes = new Map<string, Set<string>>()
      const tracer = Tracer.make({
        span: (name, parent, context, links, startTime, kind) => {
          const keys = new Set<string>()
          attributes.set(name, keys)
          const span: Tracer.Span = {
            _tag: "Span",
            spanId: "s",
            traceId: "t",
            name,
            sampled: true,
            parent,
            context,
            links,
            kind,
            status: { _tag: "Started", startTime },
            attributes: new Map(),
            attribute: (key) => keys.add(key),
            end: () => {},
            event: () => {},
            addLinks: () => {}
          }
          return span
        },
        context: (f) => f()
      })
      yield* Effect.gen(function*() {
        const accounts = yield* Repository.make(Account, {
          snapshots: SnapshotPolicy.background({ every: 1 }),
          verify: { sample: 1 }
        })
        yield* accounts.execute(id("a"), { _tag: "Open" })
        yield* accounts.awaitPendingSnapshots
        yield* accounts.load(id("a"))
        yield* accounts.verify(id("a"))
      }).pipe(Effect.scoped, Effect.withTracer(tracer))
      assert.includeMembers([...attributes.keys()], ["Repository.execute", "Repository.load", "Snapshotter.write"])
      for (const [name, keys] of attributes) {
        for (const key of keys) assert.match(key, /^eventsourcing\./, name)
      }
    }).pipe(Effect.provide(memoryStores)))
})
