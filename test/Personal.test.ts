import { SqlClient } from "@effect/sql"
import { assert, describe, it } from "@effect/vitest"
import { Arbitrary, Cause, Effect, Either, Equal, FastCheck, Hash, Layer, Option, Schema, Stream } from "effect"
import {
  Aggregate,
  Event,
  EventStore,
  ExpectedVersion,
  InvalidOption,
  KeyStore,
  Personal,
  Repository,
  SnapshotPolicy,
  SnapshotStore
} from "effect-eventsourcing"
import * as util from "node:util"
import { Account, deposit, id as accountId, open } from "./fixtures/Account.js"
import { Address, Customer, Name, stream } from "./fixtures/Customer.js"
import { postgresTemporaryDatabase, sqliteTemporaryFile } from "./utils/backends.js"
import { everything } from "./utils/mode.js"
import { everyRow, kinds, memory, type PersonalStores, sql } from "./utils/personal.js"

const secret = "Ada Lovelace"

const register = (id: string, name = secret) =>
  ({ _tag: "Register", name: Personal.make(id, name), plan: "free" }) as const

const move = (id: string, street: string) =>
  ({
    _tag: "Move",
    address: Personal.make(id, { street, since: new Date(0), lines: ["London"] })
  }) as const

const event = (id: string, payload: unknown) => ({ id, type: "Registered", payload })

describe("the value", () => {
  const present = Personal.make("customer-7", { name: secret, lines: ["a", "b"] })

  it("is not shown by anything that prints or copies it", () => {
    const within = { list: [present], present }
    for (
      const text of [
        String(present),
        JSON.stringify(within),
        util.inspect(within, { showHidden: true, depth: 9, getters: true }),
        `${Cause.pretty(Cause.fail(within))}`,
        JSON.stringify(structuredClone(within)),
        JSON.stringify({ ...present })
      ]
    ) assert.notInclude(text, "Lovelace")
  })

  it("is equal by its contents", () => {
    const same = Personal.make("customer-7", { name: secret, lines: ["a", "b"] })
    assert.isTrue(Equal.equals(present, same))
    assert.strictEqual(Hash.hash(present), Hash.hash(same))
    assert.isFalse(Equal.equals(present, Personal.make("customer-7", { name: secret, lines: ["a", "c"] })))
    assert.isFalse(Equal.equals(present, Personal.make("customer-8", { name: secret, lines: ["a", "b"] })))
    assert.isFalse(Equal.equals(present, Personal.erased("customer-7")))
    assert.isTrue(Equal.equals(Personal.erased("customer-7"), Personal.erased("customer-7")))
  })

  it("is not in the errors of schemas", () => {
    const schema = Schema.Struct({ name: Personal.schema(Schema.String, Schema.Int) })
    const Numbered = Aggregate.make({
      name: "Numbered",
      id: Schema.String,
      state: schema,
      event: Schema.TaggedStruct("Counted", schema.fields),
      command: Schema.TaggedStruct("Count", {}),
      initial: (id) => ({ name: Personal.make(id, 1) }),
      evolve: (state) => state,
      decide: () => Either.right([])
    })
    for (
      const name of [{ $personal: "7", value: secret }, { $personal: "7", sealed: secret }, { value: secret }, secret]
    ) {
      const decoded = Numbered.state.decode({ name })
      assert.isTrue(Either.isLeft(decoded))
      assert.notInclude(util.inspect(decoded, { depth: 20 }), "Lovelace")
    }
    const encoded = Numbered.event.encode({ _tag: "Counted", name: Personal.make("7", secret as unknown as number) })
    assert.isTrue(Either.isLeft(encoded))
    assert.notInclude(util.inspect(encoded, { depth: 20 }), "Lovelace")
  })

  it("has both of its forms as arbitraries, which survive their schema", () => {
    const tags = new Set<string>()
    FastCheck.assert(FastCheck.property(Arbitrary.make(Address), (address) => {
      tags.add(address._tag)
      assert.isTrue(Equal.equals(Schema.decodeSync(Address)(Schema.encodeSync(Address)(address)), address))
    }))
    assert.deepStrictEqual(Array.from(tags).sort(), ["Erased", "Present"])
  })

  it("cannot hold personal data itself", () => {
    assert.throws(() => Personal.schema(Schema.String, Schema.Struct({ name: Name })), InvalidOption.InvalidOption)
  })
})

const each = (name: string, body: () => Effect.Effect<void, unknown, PersonalStores>) => {
  for (const [backend, layer] of kinds.filter(([name]) => everything || name !== "SQLite file")) {
    it.effect(`${name} (${backend})`, () => Effect.provide(body(), layer))
  }
}

describe("sealing", () => {
  it.effect("hides any value of any schema, and opens it again at its place", () =>
    Effect.gen(function*() {
      const sealing = yield* Personal.Sealing
      const json = FastCheck.jsonValue()
      const subject = FastCheck.string({ minLength: 1, maxLength: 40 }).filter((text) => !/[\0]/.test(text))
      yield* Effect.promise(() =>
        FastCheck.assert(
          FastCheck.asyncProperty(json, json, subject, (value, other, subject) => {
            const clear = JSON.stringify({ a: other, __proto__: 1, b: [0, { $personal: subject, value }] })
            const at = { kind: "event", stream: stream("a"), text: clear } as const
            return Effect.runPromise(Effect.gen(function*() {
              const [sealed] = yield* sealing.seal([at])
              const shape = JSON.parse(sealed)
              assert.deepStrictEqual(Object.keys(shape.b[1]), ["$personal", "sealed"])
              const text = JSON.stringify(value)
              if (text.length > 8) assert.notInclude(shape.b[1].sealed, text)
              const [opened] = yield* sealing.open([{ ...at, text: sealed }])
              assert.deepStrictEqual(opened, { text: clear, erased: false })
              for (const moved of [{ ...at, kind: "state" as const }, { ...at, stream: stream("b") }]) {
                const [unopened] = yield* sealing.open([{ ...moved, text: sealed }])
                assert.strictEqual(unopened.text, sealed)
              }
            }))
          }),
          { numRuns: everything ? 1_000 : 100 }
        )
      )
    }).pipe(Effect.provide(memory)))

  it.effect("never gives a text back in clear because it is nested too deeply", () =>
    Effect.gen(function*() {
      const sealing = yield* Personal.Sealing
      const inner = JSON.stringify({ $personal: "7", value: secret })
      for (const depth of [10, 1_000, 20_000]) {
        const text = "[".repeat(depth) + inner + "]".repeat(depth)
        const sealed = yield* Effect.either(sealing.seal([{ kind: "event", stream: stream("a"), text }]))
        if (Either.isRight(sealed)) assert.notInclude(sealed.right[0], "Lovelace")
        else assert.strictEqual(sealed.left._tag, "Unsealable")
        assert.strictEqual(Either.isRight(sealed), depth < 20_000)
      }
    }).pipe(Effect.provide(memory)))

  it.effect("notices every changed character", () =>
    Effect.gen(function*() {
      const sealing = yield* Personal.Sealing
      const at = {
        kind: "event",
        stream: stream("a"),
        text: JSON.stringify({ $personal: "7", value: secret })
      } as const
      const [text] = yield* sealing.seal([at])
      const { sealed } = JSON.parse(text)
      for (let i = 0; i < sealed.length; i++) {
        const other = sealed[i] === "A" ? "B" : "A"
        const changed = sealed.slice(0, i) + other + sealed.slice(i + 1)
        if (Buffer.from(changed, "base64").equals(Buffer.from(sealed, "base64"))) continue
        const tampered = JSON.stringify({ $personal: "7", sealed: changed })
        const [opened] = yield* sealing.open([{ ...at, text: tampered }])
        assert.deepStrictEqual(opened, { text: tampered, erased: false })
      }
    }).pipe(Effect.provide(memory)))

  each("keeps events, and gives them in clear to every reader", () =>
    Effect.gen(function*() {
      const events = yield* EventStore.EventStore
      const payload = { _tag: "Registered", name: { $personal: "a", value: secret }, plan: "free" }
      yield* events.append(stream("a"), [event("1", payload), event("2", { plan: "none" })], {
        expectedVersion: ExpectedVersion.noStream
      })
      const imported = [{ stream: stream("b"), type: "Registered", payload }]
      const [first] = yield* Stream.runCollect(events.import(Stream.fromIterable(imported)))
      const [again] = yield* Stream.runCollect(events.import(Stream.fromIterable(imported)))
      assert.deepStrictEqual([first.imported, again.imported, again.skipped], [1, 0, 1])
      const [read] = yield* Stream.runCollect(events.read(stream("a")))
      assert.deepStrictEqual(read.payload, payload)
      const [last] = yield* events.readEvents(stream("a"), { limit: 1, reverse: true, toVersion: 1 })
      assert.deepStrictEqual(last.payload, payload)
      const page = yield* events.readPage()
      assert.deepStrictEqual(page.events.map((event) => "payload" in event && event.payload), [
        payload,
        { plan: "none" },
        payload
      ])
      const [tail] = yield* events.replay.readTail(stream("b"), { fromVersion: 1, limit: 1 })
      assert.deepStrictEqual(JSON.parse(tail.payload), payload)
    }))

  each("is not in the errors of a schema that does not know it", () =>
    Effect.gen(function*() {
      const customers = yield* Repository.make(Customer)
      yield* customers.execute("7", register("customer-7"))
      const foreign = [
        Schema.Int,
        Schema.Union(Schema.Int, Schema.Struct({ street: Schema.String })),
        Schema.Struct({ $personal: Schema.String, value: Schema.Int }),
        Schema.Struct({ $personal: Schema.String, value: Schema.String.pipe(Schema.maxLength(1)) })
      ]
      for (const name of foreign) {
        const Forgetful = Aggregate.make({
          name: Customer.name,
          id: Schema.String,
          state: Schema.Struct({}),
          event: Schema.Struct({
            _tag: Schema.Literal("Registered"),
            name: Schema.Unknown.pipe(Schema.compose(name, { strict: false })),
            plan: Schema.String
          }),
          command: Schema.TaggedStruct("Wait", {}),
          initial: () => ({}),
          evolve: () => ({}),
          decide: () => Either.right([])
        })
        const error = yield* Effect.flip(
          Effect.scoped(Effect.flatMap(Repository.make(Forgetful), (all) => all.load("7")))
        )
        assert.strictEqual(error._tag, "EventDecodeError")
        const shown = [
          error.message,
          JSON.stringify(error),
          util.inspect(error, { depth: 20 }),
          Cause.pretty(Cause.fail(error), { renderErrorCause: true })
        ]
        for (const text of shown) assert.notInclude(text, secret)
      }
    }).pipe(Effect.scoped))

  each("refuses malformed and sealed data with a typed error that does not show it", () =>
    Effect.gen(function*() {
      const events = yield* EventStore.EventStore
      const refused = [
        { $personal: 7, value: secret },
        { $personal: "", value: secret },
        { $personal: "x\0", value: secret },
        { $personal: "a".repeat(256), value: secret },
        { $personal: "a" },
        { $personal: "a", other: secret },
        { $personal: "a", value: secret, more: 1 },
        { $personal: "a", erased: secret },
        { $personal: "a", sealed: secret },
        { $personal: "a", value: { inner: { $personal: "b", value: secret } } }
      ]
      for (const [index, field] of refused.entries()) {
        const ok = event(`ok-${index}`, {})
        const bad = event(`bad-${index}`, { deep: [field] })
        const error = yield* Effect.flip(
          events.append(stream("a"), [ok, bad], { expectedVersion: ExpectedVersion.any })
        )
        assert(error._tag === "EventStoreError" && error.reason === "InvalidInput" && !error.mayHaveAppended)
        assert.include(error.message, "event 2 of 2 at $.deep[0]")
        assert.notInclude(util.inspect(error, { depth: 20 }), "Lovelace")
      }
      assert.strictEqual(yield* events.version(stream("a")), 0)
      // text that shows the marker is not marked
      const text = { note: "{\"$personal\":\"a\",\"value\":1}", list: ["$personal"] }
      yield* events.append(stream("a"), [event("1", text)], { expectedVersion: ExpectedVersion.any })
      assert.deepStrictEqual((yield* events.readEvents(stream("a"), { limit: 1 }))[0].payload, text)
    }))

  each("does not reach metadata, which refuses the marker", () =>
    Effect.gen(function*() {
      const events = yield* EventStore.EventStore
      const clear = { deep: [{ user: { $personal: "a", value: secret } }] }
      for (const metadata of [clear, { $personal: "a", erased: true }, { user: Personal.make("a", secret) }]) {
        const proposed = { ...event("1", {}), metadata }
        const error = yield* Effect.flip(
          events.append(stream("a"), [proposed], { expectedVersion: ExpectedVersion.any })
        )
        assert(error._tag === "EventStoreError" && error.reason === "InvalidInput" && !error.mayHaveAppended)
        assert.include(error.message, "metadata")
        assert.notInclude(util.inspect(error, { depth: 20 }), "Lovelace")
        const imported = events.import(Stream.make({ stream: stream("a"), type: "Registered", payload: {}, metadata }))
        assert.include((yield* Effect.flip(Stream.runDrain(imported))).message, "metadata")
      }
      const customers = yield* Repository.make(Customer)
      const refused = yield* Effect.flip(
        Effect.provideService(customers.execute("a", { _tag: "Visit" }), Event.CurrentMetadata, clear)
      )
      assert.strictEqual(refused._tag, "EventStoreError")
      // a text that shows the marker is not marked
      const metadata = { note: "\"$personal\":", list: ["$personal"] }
      yield* events.append(stream("a"), [{ ...event("1", {}), metadata }], { expectedVersion: ExpectedVersion.any })
      assert.deepStrictEqual((yield* events.readEvents(stream("a"), { limit: 1 }))[0].metadata, metadata)
    }).pipe(Effect.scoped))

  it.effect("is needed by a store that is given personal data, and by a repository of it", () =>
    Effect.gen(function*() {
      const events = yield* EventStore.EventStore
      const payload = { name: { $personal: "a", value: secret } }
      const error = yield* Effect.flip(
        events.append(stream("a"), [event("1", payload)], { expectedVersion: ExpectedVersion.any })
      )
      assert(error._tag === "EventStoreError" && error.reason === "InvalidInput")
      assert.include(error.message, "Personal.layer")
      const imported = events.import(Stream.make({ stream: stream("a"), type: "Registered", payload }))
      assert.include((yield* Effect.flip(Stream.runDrain(imported))).message, "Personal.layer")
      assert.strictEqual(yield* events.version(stream("a")), 0)
      const refused = yield* Effect.flip(Repository.make(Customer))
      assert.include(refused.message, "Personal.layer")
    }).pipe(Effect.scoped, Effect.provide(Layer.merge(EventStore.layerMemory, SnapshotStore.layerMemory))))
})

describe("erase", () => {
  each(
    "makes the data of a subject Erased in replay, snapshot and history, and only that",
    () =>
      Effect.gen(function*() {
        const customers = yield* Repository.make(Customer, { snapshots: SnapshotPolicy.sync({ every: 2 }) })
        yield* customers.execute("a", register("a"))
        yield* customers.execute("a", move("a", "St James Square"))
        yield* customers.execute("b", register("b", "Charles Babbage"))
        const before = yield* customers.load("a")
        assert.deepStrictEqual([before.snapshotVersion, before.snapshotOutcome._tag], [2, "Hit"])
        assert.isTrue(Equal.equals(before.state.name, Option.some(Personal.make("a", secret))))
        assert.isTrue(yield* Personal.erase("a"))
        assert.isFalse(yield* Personal.erase("a"))
        const after = yield* customers.load("a")
        assert.strictEqual(after.snapshotOutcome._tag, "SubjectErased")
        assert.isTrue(Equal.equals(after.state.name, Option.some(Personal.erased("a"))))
        assert.isTrue(Equal.equals(after.state.address, Option.some(Personal.erased("a"))))
        // the load took a new snapshot
        const repaired = yield* customers.load("a")
        assert.deepStrictEqual([repaired.snapshotVersion, repaired.snapshotOutcome._tag], [2, "Hit"])
        assert.isTrue(Equal.equals(repaired.state.name, Option.some(Personal.erased("a"))))
        assert.strictEqual((yield* customers.verify("a"))._tag, "Verified")
        const history = yield* Stream.runCollect(customers.history("a"))
        assert.notInclude(util.inspect(history, { depth: 20 }), "Lovelace")
        const other = yield* customers.load("b")
        assert.isTrue(Equal.equals(other.state.name, Option.some(Personal.make("b", "Charles Babbage"))))
      }).pipe(Effect.scoped)
  )

  each("leaves a fence: later data of the subject is refused, and other events are not", () =>
    Effect.gen(function*() {
      const customers = yield* Repository.make(Customer)
      assert.isFalse(yield* Personal.erase("a"))
      const error = yield* Effect.flip(customers.execute("a", register("a")))
      assert(error._tag === "EventStoreError" && error.reason === "InvalidInput" && !error.mayHaveAppended)
      assert.include(error.message, "erased")
      assert.notInclude(util.inspect(error, { depth: 20 }), "Lovelace")
      yield* customers.execute("a", { _tag: "Visit" })
      yield* customers.execute("a", { _tag: "Register", name: Personal.erased("a"), plan: "none" })
      assert.strictEqual((yield* customers.load("a")).version, 2)
      assert.isFalse(yield* Personal.rotate("a"))
    }).pipe(Effect.scoped))

  each("does not depend on the key that sealed", () =>
    Effect.gen(function*() {
      const customers = yield* Repository.make(Customer)
      yield* customers.execute("a", register("a"))
      assert.isTrue(yield* Personal.rotate("a"))
      yield* customers.execute("a", move("a", "Ockham Park"))
      const { state } = yield* customers.load("a")
      assert.isTrue(Equal.equals(state.name, Option.some(Personal.make("a", secret))))
      assert.isTrue(Option.exists(state.address, (address) => address._tag === "Present"))
      yield* Personal.erase("a")
      const erased = (yield* customers.load("a")).state
      assert.isTrue(Equal.equals(erased.name, Option.some(Personal.erased("a"))))
      assert.isTrue(Equal.equals(erased.address, Option.some(Personal.erased("a"))))
    }).pipe(Effect.scoped))
})

describe("a key store", () => {
  const down = new KeyStore.KeyStoreError({ operation: "get", reason: "Unavailable", detail: "it is down" })

  it.effect("that is down fails operations with typed errors, and nothing is stored", () =>
    Effect.gen(function*() {
      const keys = yield* KeyStore.makeMemory
      let isDown = false
      const failing = <A>(effect: Effect.Effect<A, KeyStore.KeyStoreError>) =>
        Effect.suspend(() => isDown ? Effect.fail(down) : effect)
      const flaky = KeyStore.KeyStore.of({
        get: (subjects) => failing(keys.get(subjects)),
        getOrCreate: (subjects) => failing(keys.getOrCreate(subjects)),
        destroy: (subject) => failing(keys.destroy(subject)),
        rotate: (subject) => failing(keys.rotate(subject))
      })
      const stores = Layer.merge(EventStore.layerMemory, SnapshotStore.layerMemory).pipe(
        Layer.provideMerge(Personal.layerWith({ timeToLive: 0 })),
        Layer.provide(Layer.succeed(KeyStore.KeyStore, flaky))
      )
      yield* Effect.gen(function*() {
        const events = yield* EventStore.EventStore
        const customers = yield* Repository.make(Customer, { snapshots: SnapshotPolicy.sync({ every: 1 }) })
        yield* customers.execute("a", register("a"))
        isDown = true
        const written = yield* Effect.flip(customers.execute("b", register("b")))
        assert(written._tag === "EventStoreError" && written.reason === "Unavailable" && !written.mayHaveAppended)
        assert.strictEqual(yield* events.version(stream("b")), 0)
        for (
          const failed of [
            yield* Effect.flip(customers.load("a")),
            yield* Effect.flip(Stream.runDrain(events.readAll())),
            yield* Effect.flip(events.readPage()),
            yield* Effect.flip(Stream.runDrain(customers.history("a")))
          ]
        ) {
          assert(failed._tag === "EventStoreError" && failed.reason === "Unavailable")
          assert.include(failed.message, "it is down")
        }
        assert.strictEqual((yield* Effect.flip(Personal.erase("a"))).reason, "Unavailable")
        isDown = false
        assert.strictEqual((yield* customers.load("a")).snapshotOutcome._tag, "Hit")
      }).pipe(Effect.scoped, Effect.provide(stores))
    }))

  it.effect("that is down fails no load for a snapshot that was edited by hand", () =>
    Effect.gen(function*() {
      const keys = yield* KeyStore.makeMemory
      let isDown = false
      const stores = Layer.merge(EventStore.layerMemory, SnapshotStore.layerMemory).pipe(
        Layer.provideMerge(Personal.layerWith({ timeToLive: 0 })),
        Layer.provide(Layer.succeed(
          KeyStore.KeyStore,
          KeyStore.KeyStore.of({
            ...keys,
            get: (subjects) => isDown ? Effect.fail(down) : keys.get(subjects)
          })
        ))
      )
      yield* Effect.gen(function*() {
        const snapshots = yield* SnapshotStore.SnapshotStore
        const customers = yield* Repository.make(Customer, { snapshots: SnapshotPolicy.manual })
        yield* customers.execute("a", register("a"))
        yield* customers.createSnapshot("a")
        const { state } = yield* Effect.flatten(snapshots.get(stream("a"), { schemaVersion: 1 }))
        const accounts = yield* Repository.make(Account, { snapshots: SnapshotPolicy.manual })
        yield* accounts.execute(accountId("a"), open)
        const { snapshot } = yield* accounts.createSnapshot(accountId("a"))
        const { fingerprint, stream: of, time, ...rest } = snapshot
        yield* snapshots.delete(of)
        yield* snapshots.save({ ...rest, stream: of, fingerprint, state, time: time.epochMillis })
        isDown = true
        assert.deepInclude(yield* accounts.load(accountId("a")), { version: 1, snapshotVersion: 0 })
        assert.strictEqual((yield* accounts.execute(accountId("a"), deposit(1))).version, 2)
      }).pipe(Effect.scoped, Effect.provide(stores))
    }))

  it.effect("that has lost a key leaves events that do not decode", () =>
    Effect.gen(function*() {
      const keys = yield* KeyStore.makeMemory
      const forgetful = KeyStore.KeyStore.of({
        ...keys,
        get: () => Effect.succeed({ subjects: new Map(), settled: true })
      })
      const stores = Layer.merge(EventStore.layerMemory, SnapshotStore.layerMemory).pipe(
        Layer.provideMerge(Personal.layerWith({ timeToLive: 0 })),
        Layer.provide(Layer.succeed(KeyStore.KeyStore, forgetful))
      )
      yield* Effect.gen(function*() {
        const customers = yield* Repository.make(Customer)
        yield* customers.execute("a", register("a"))
        const error = yield* Effect.flip(customers.load("a"))
        assert.strictEqual(error._tag, "EventDecodeError")
        assert.include(error.message, "$.name")
      }).pipe(Effect.scoped, Effect.provide(stores))
    }))
})

describe("the tables", () => {
  const clients: ReadonlyArray<readonly [name: string, client: Layer.Layer<SqlClient.SqlClient, unknown>]> = [
    ["SQLite", sqliteTemporaryFile],
    ["PostgreSQL", postgresTemporaryDatabase]
  ]
  for (const [name, client] of clients) {
    it.effect(`have no personal data in clear (${name})`, () =>
      Effect.gen(function*() {
        const customers = yield* Repository.make(Customer, { snapshots: SnapshotPolicy.sync({ every: 1 }) })
        yield* customers.execute("a", register("a"))
        yield* customers.execute("a", move("a", "St James Square"))
        const rows = yield* everyRow
        assert.include(rows, "$personal")
        assert.notInclude(rows, "Lovelace")
        assert.notInclude(rows, "St James")
        const sqlClient = yield* SqlClient.SqlClient
        const [{ keys }] = yield* sqlClient<{ readonly keys: string }>`SELECT keys FROM eventsourcing_keys`
        assert.isString(keys)
        yield* Personal.erase("a")
        assert.notInclude(yield* everyRow, JSON.parse(keys)[0][1])
        const fences = yield* sqlClient`SELECT subject, keys FROM eventsourcing_keys`
        assert.deepStrictEqual(fences, [{ subject: "a", keys: null }])
      }).pipe(Effect.scoped, Effect.provide(Layer.provideMerge(sql, client))))
  }
})
