// an erasure reaches every copy of the data: states in memory, other processes, transactions, files, logs and spans
import { SqlClient } from "@effect/sql"
import { assert, describe, it } from "@effect/vitest"
import {
  Cause,
  Effect,
  Encoding,
  Equal,
  Exit,
  Layer,
  Option,
  Redacted,
  Schedule,
  type Scope,
  Stream,
  TestClock
} from "effect"
import {
  EventStore,
  ExpectedVersion,
  KeyStore,
  Personal,
  Projection,
  Repository,
  SnapshotPolicy,
  SnapshotStore,
  SqlKeyStore,
  SqlStores
} from "effect-eventsourcing"
import * as fs from "node:fs"
import * as path from "node:path"
import * as util from "node:util"
import { Customer, stream } from "./fixtures/Customer.js"
import { migratedDatabase, sharedDatabases, sqliteFile, temporaryFolder } from "./utils/backends.js"
import { everything } from "./utils/mode.js"
import { lines, tracing, typedFailure } from "./utils/observe.js"
import { everyRow, kinds, memory, type PersonalStores, sql } from "./utils/personal.js"
import { pgClient } from "./utils/postgres.js"

const secret = "Ada Lovelace"

const register = (id: string, name = secret) =>
  ({ _tag: "Register", name: Personal.make(id, name), plan: "free" }) as const

const visit = { _tag: "Visit" } as const

interface WithName {
  readonly state: { readonly name: Option.Option<Personal.Personal<string, string>> }
}

const isErased = ({ state }: WithName, id: string): boolean =>
  Equal.equals(state.name, Option.some(Personal.erased(id)))

const each = (name: string, body: () => Effect.Effect<void, unknown, PersonalStores | Scope.Scope>) => {
  for (const [backend, layer] of kinds.filter(([name]) => everything || name !== "SQLite file")) {
    it.effect(`${name} (${backend})`, () => Effect.provide(Effect.scoped(body()), layer))
  }
}

describe("states in memory", () => {
  each("are not served from the cache after an erasure", () =>
    Effect.gen(function*() {
      const customers = yield* Repository.make(Customer, {
        cache: { capacity: 10 },
        snapshots: SnapshotPolicy.sync({ every: 2 })
      })
      yield* customers.execute("a", register("a"))
      yield* customers.execute("a", visit)
      yield* customers.load("a")
      const cached = yield* customers.load("a")
      assert.isTrue(Equal.equals(cached.state.name, Option.some(Personal.make("a", secret))))
      yield* Personal.erase("a")
      assert.isTrue(isErased(yield* customers.load("a"), "a"))
      assert.isTrue(isErased(yield* customers.load("a"), "a"))
      assert.isTrue(isErased(yield* customers.execute("a", visit), "a"))
    }))

  each("are not held by a writer after an erasure, nor saved", () =>
    Effect.gen(function*() {
      const customers = yield* Repository.make(Customer, { snapshots: SnapshotPolicy.background({ every: 3 }) })
      const writer = yield* customers.hold("a")
      yield* writer.execute(register("a"))
      const before = yield* writer.execute(visit)
      assert.isTrue(Equal.equals(before.state.name, Option.some(Personal.make("a", secret))))
      yield* Personal.erase("a")
      assert.isTrue(isErased(yield* writer.execute(visit), "a"))
      assert.isTrue(isErased(yield* writer.load, "a"))
      yield* customers.awaitPendingSnapshots
      const loaded = yield* customers.load("a")
      assert.isTrue(isErased(loaded, "a"))
      assert.strictEqual(loaded.snapshotVersion, 3)
    }))

  it.scoped("of other processes end with the keys that these have in memory", () =>
    Effect.gen(function*() {
      const keys = yield* KeyStore.makeMemory
      const shared = Layer.succeed(KeyStore.KeyStore, keys)
      const sealing = () => Layer.build(Layer.fresh(Layer.provide(Personal.layer, shared)))
      const [one, two] = [yield* sealing(), yield* sealing()]
      const text = {
        kind: "event",
        stream: stream("a"),
        text: JSON.stringify({ $personal: "a", value: secret })
      } as const
      const use = <A, E>(effect: Effect.Effect<A, E, Personal.Sealing>, process: typeof one) =>
        Effect.provide(effect, process)
      const seal = Effect.flatMap(Personal.Sealing, (sealing) => sealing.seal([text]))
      const [sealed] = yield* use(seal, one)
      const open = Effect.flatMap(Personal.Sealing, (sealing) => sealing.open([{ ...text, text: sealed }]))
      assert.deepStrictEqual(yield* use(open, two), [{ text: text.text, erased: false }])
      yield* use(Personal.erase("a"), one)
      assert.isTrue((yield* use(open, one))[0].erased)
      assert.isFalse((yield* use(open, two))[0].erased)
      yield* TestClock.adjust("1 second")
      assert.isTrue((yield* use(open, two))[0].erased)
      assert.isTrue(Exit.isFailure(yield* Effect.exit(use(seal, two))))
    }))
})

for (const [name, target, client] of sharedDatabases) {
  it.scopedLive(`a subject is erased under load of two processes, ${name}`, () =>
    Effect.gen(function*() {
      const at = yield* target
      const process = Effect.gen(function*() {
        const context = yield* Layer.build(
          Layer.fresh(
            SqlStores.layer.pipe(
              Layer.provideMerge(Personal.layerWith({ timeToLive: "20 millis" })),
              Layer.provideMerge(SqlKeyStore.layer),
              Layer.provideMerge(client(at))
            )
          )
        )
        const customers = yield* Effect.provide(
          Repository.make(Customer, {
            cache: { capacity: 10 },
            snapshots: SnapshotPolicy.background({ every: 5 })
          }),
          context
        )
        return { context, customers }
      })
      const one = yield* process
      const two = yield* process
      const ids = ["a", "b", "c"]
      for (const id of ids) yield* one.customers.execute(id, register(id, `${secret} ${id}`))
      let stop = false
      let erasedAt = Infinity
      const outcomes = { after: 0, refused: 0 }
      const command = ({ customers }: typeof one, id: string, n: number) =>
        Effect.gen(function*() {
          const began = Date.now()
          const exit = yield* Effect.exit<WithName, Repository.ExecuteError, never>(
            n % 3 === 0
              ? customers.execute(id, register(id, `${secret} ${id}`))
              : n % 3 === 1
              ? customers.execute(id, visit)
              : customers.load(id)
          )
          if (Exit.isFailure(exit)) {
            const error = typedFailure(exit)
            assert(error._tag === "EventStoreError" && error.reason === "InvalidInput", String(error))
            assert.strictEqual(id, "b")
            outcomes.refused++
          } else if (id === "b" && began > erasedAt + 100) {
            outcomes.after++
            assert.isTrue(isErased(exit.value, "b"))
          }
        })
      const worker = (process: typeof one, id: string) =>
        Effect.iterate(0, {
          while: () => !stop,
          body: (n) => Effect.as(Effect.zipLeft(command(process, id, n), Effect.sleep("1 millis")), n + 1)
        })
      const running = yield* Effect.fork(
        Effect.all([one, two].flatMap((process) => ids.map((id) => worker(process, id))), { concurrency: "unbounded" })
      )
      yield* Effect.sleep("150 millis")
      yield* Effect.provide(Personal.erase("b"), one.context)
      erasedAt = Date.now()
      yield* Effect.repeat(Effect.sleep("20 millis"), {
        until: () => outcomes.after > 20 && outcomes.refused > 5,
        schedule: Schedule.recurs(500)
      })
      stop = true
      yield* running
      assert.isAbove(outcomes.after, 20)
      assert.isAbove(outcomes.refused, 5)
      for (const { customers } of [one, two, yield* process]) {
        yield* customers.awaitPendingSnapshots
        assert.isTrue(isErased(yield* customers.load("b"), "b"))
        assert.isTrue(["Verified", "NoSnapshot"].includes((yield* customers.verify("b"))._tag))
        const { state } = yield* customers.load("a")
        assert.isTrue(Equal.equals(state.name, Option.some(Personal.make("a", `${secret} a`))))
      }
      const history = yield* Stream.runCollect(one.customers.history("b"))
      assert.notInclude(util.inspect(history, { depth: 20 }), "Lovelace")
      assert.notInclude(yield* Effect.provide(everyRow, one.context), "Lovelace")
    }), 60_000)
}

describe("transactions", () => {
  for (const [name, target, client] of sharedDatabases) {
    it.scoped(`a key that is rolled back seals nothing that is kept, ${name}`, () =>
      Effect.gen(function*() {
        const at = yield* target
        const context = yield* Layer.build(Layer.provideMerge(sql, client(at)))
        yield* Effect.gen(function*() {
          const customers = yield* Repository.make(Customer)
          const undone = yield* Effect.exit(
            SqlStores.transaction(Effect.zipRight(customers.execute("a", register("a")), Effect.fail("undone")))
          )
          assert.isTrue(Exit.isFailure(undone))
          yield* customers.execute("a", register("a"))
          // a process that never had the key in memory
          const other = yield* Layer.build(Layer.fresh(Layer.provideMerge(sql, client(at))))
          const { state } = yield* Effect.provide(
            Effect.flatMap(Repository.make(Customer), (customers) => customers.load("a")),
            other
          )
          assert.isTrue(Equal.equals(state.name, Option.some(Personal.make("a", secret))))
          yield* SqlStores.transaction(
            Effect.gen(function*() {
              yield* customers.execute("b", register("b"))
              const { state } = yield* customers.load("b")
              assert.isTrue(Equal.equals(state.name, Option.some(Personal.make("b", secret))))
            })
          )
          assert.isTrue(Option.isSome((yield* customers.load("b")).state.name))
        }).pipe(Effect.provide(context))
      }))

    it.scoped(`inline projections are given the data in clear, ${name}`, () =>
      Effect.gen(function*() {
        const names: Array<unknown> = []
        const Names = Projection.make({
          name: "names",
          on: [Customer],
          handle: (events) =>
            Effect.sync(() => {
              for (const { event } of events) if (event._tag === "Registered") names.push(event.name)
            })
        })
        yield* Effect.gen(function*() {
          const customers = yield* Repository.make(Customer)
          yield* customers.execute("a", register("a"))
          yield* customers.execute("a", register("a", "Ada King"))
        }).pipe(
          Effect.scoped,
          Effect.provide(
            Projection.layer(Names, { inline: true }).pipe(
              Layer.provideMerge(sql),
              Layer.provideMerge(client(yield* target))
            )
          )
        )
        assert.isTrue(names.length >= 2)
        assert.isTrue(Equal.equals(names[0], Personal.make("a", secret)))
      }))
  }

  it.scoped("do not reach a key store in another database", () =>
    Effect.gen(function*() {
      const folder = yield* temporaryFolder
      const keys = Layer.provide(SqlKeyStore.layer, sqliteFile(path.join(folder, "keys.db")))
      const stores = SqlStores.layer.pipe(
        Layer.provideMerge(Layer.provide(Personal.layer, keys)),
        Layer.provideMerge(pgClient(yield* migratedDatabase))
      )
      yield* Effect.gen(function*() {
        const customers = yield* Repository.make(Customer)
        yield* SqlStores.transaction(customers.execute("a", register("a")))
        assert.isTrue(Equal.equals((yield* customers.load("a")).state.name, Option.some(Personal.make("a", secret))))
        yield* SqlStores.transaction(Personal.erase("a"))
        assert.isTrue(isErased(yield* customers.load("a"), "a"))
      }).pipe(Effect.provide(stores))
    }))
})

describe("the SQL key store", () => {
  it.scoped("keeps only wrapped keys if it is given a service for that, and asks that service once", () =>
    Effect.gen(function*() {
      const service = new Map<string, Uint8Array>()
      let [wrapped, unwrapped, isDown] = [0, 0, false]
      const keys = SqlKeyStore.layerWith({
        wrap: (key) =>
          Effect.sync(() => {
            const name = `kms:${wrapped++}`
            service.set(name, Redacted.value(key))
            return name
          }),
        unwrap: (name) =>
          Effect.suspend(() => {
            const key = service.get(name)
            if (key === undefined || isDown) return Effect.fail(new Error("the service is down"))
            unwrapped++
            return Effect.succeed(Redacted.make(key))
          })
      })
      const stores = SqlStores.layer.pipe(
        Layer.provideMerge(Personal.layerWith({ timeToLive: 0 })),
        Layer.provideMerge(keys),
        Layer.provideMerge(sqliteFile(":memory:"))
      )
      yield* Effect.gen(function*() {
        const customers = yield* Repository.make(Customer)
        yield* customers.execute("a", register("a"))
        yield* customers.load("a")
        yield* customers.load("a")
        assert.deepStrictEqual([wrapped, unwrapped], [1, 1])
        const client = yield* SqlClient.SqlClient
        assert.deepStrictEqual(yield* client`SELECT keys FROM eventsourcing_keys`, [{ keys: "[[1,\"kms:0\"]]" }])
        isDown = true
        yield* customers.load("a")
        yield* TestClock.adjust("5 minutes")
        const error = yield* Effect.flip(customers.load("a"))
        assert.include(error.message, "the service is down")
      }).pipe(Effect.provide(stores))
    }))

  it.scoped("says that keys are wrapped if it has no service for them, without a character of them", () =>
    Effect.gen(function*() {
      const wrapped = Redacted.make(new Uint8Array(32))
      const texts = ["§§§§:!!!!", Encoding.encodeBase64(new Uint8Array(156).fill(7)), ""]
      for (const text of texts) {
        const service = yield* SqlKeyStore.make({
          wrap: () => Effect.succeed(text),
          unwrap: () => Effect.succeed(wrapped)
        })
        const subject = `of ${text.length}`
        yield* service.getOrCreate([subject])
        const decoding = { wrap: () => Effect.succeed(""), unwrap: (text: string) => unwrapped(text) }
        const unwrapped = (text: string) => Effect.map(Encoding.decodeBase64(text), Redacted.make)
        for (const keys of [yield* SqlKeyStore.make(), yield* SqlKeyStore.make(decoding)]) {
          const rewrap = Stream.runDrain(SqlKeyStore.rewrap({ wrap: () => Effect.succeed("never") }))
          for (const operation of [keys.get([subject]), keys.rotate(subject), rewrap]) {
            const error = yield* Effect.flip(Effect.asVoid(operation))
            assert(error._tag === "KeyStoreError" && error.reason === "Unavailable")
            assert.match(
              error.detail,
              /^a key could not be unwrapped: it (is not base64|does not have 32 bytes)\. If a/
            )
            const shown = util.inspect(error, { depth: 20 }) +
              Cause.pretty(Cause.fail(error), { renderErrorCause: true })
            if (text !== "") assert.notInclude(shown, text.slice(0, 8))
            assert.notMatch(shown, /[§!]|Invalid character/)
          }
        }
        assert.isTrue(yield* service.destroy(subject))
      }
    }).pipe(Effect.provide(sqliteFile(":memory:"))))

  it.scoped("leaves no key in the files of SQLite after an erasure", () =>
    Effect.gen(function*() {
      const folder = yield* temporaryFolder
      const stores = Layer.provideMerge(sql, sqliteFile(path.join(folder, "test.db")))
      const bytes = () =>
        fs.readdirSync(folder).map((file) => fs.readFileSync(path.join(folder, file), "latin1")).join("\n")
      yield* Effect.gen(function*() {
        const customers = yield* Repository.make(Customer)
        for (const id of ["a", "b", "c"]) yield* customers.execute(id, register(id))
        yield* Personal.rotate("b")
        const client = yield* SqlClient.SqlClient
        const [row] = yield* client<{ readonly keys: string }>`SELECT keys FROM eventsourcing_keys WHERE subject = 'b'`
        const keys = (JSON.parse(row.keys) as ReadonlyArray<readonly [number, string]>).map(([, key]) => key)
        assert.strictEqual(keys.length, 2)
        for (const key of keys) assert.include(bytes(), key)
        assert.notInclude(bytes(), "Lovelace")
        yield* Personal.erase("b")
        for (const key of keys) assert.notInclude(bytes(), key)
      }).pipe(Effect.provide(stores))
    }))

  it.scoped("needs both functions or none, and tables that it knows", () =>
    Effect.gen(function*() {
      const error = yield* Effect.flip(SqlKeyStore.make({ wrap: () => Effect.succeed("") }))
      assert.strictEqual(error._tag, "InvalidOption")
      const missing = yield* Effect.flip(SqlKeyStore.make({ migrate: false }))
      assert.strictEqual(missing._tag, "MigrationError")
      const unknown = yield* Effect.flip(SqlKeyStore.make(Object.assign({ migrate: true }, { warp: 1 })))
      assert.strictEqual(unknown._tag, "InvalidOption")
    }).pipe(Effect.provide(sqliteFile(":memory:"))))
})

describe("logs, spans and errors", () => {
  it.scoped("never show personal data", () =>
    Effect.gen(function*() {
      const { logged, observed } = yield* lines
      const { spans, traced } = yield* tracing
      const failing = Layer.succeed(
        SnapshotStore.SnapshotStore,
        SnapshotStore.SnapshotStore.of({
          get: () =>
            Effect.fail(
              new SnapshotStore.SnapshotStoreError({
                operation: "get",
                aggregate: "Customer",
                reason: "Unavailable",
                detail: "down"
              })
            ),
          save: (snapshot) =>
            Effect.fail(
              new SnapshotStore.SnapshotStoreError({
                operation: "save",
                aggregate: "Customer",
                reason: "Refused",
                detail: "down",
                cause: snapshot
              })
            ),
          delete: () => Effect.succeed(0),
          exists: () => Effect.succeed(false),
          deleteByType: () => Effect.succeed(0)
        })
      )
      const errors: Array<unknown> = []
      yield* Effect.gen(function*() {
        const customers = yield* Repository.make(Customer, { snapshots: SnapshotPolicy.sync({ every: 1 }) })
        yield* customers.execute("a", register("a"))
        yield* Effect.log(yield* customers.load("a"))
        errors.push(yield* Effect.exit(customers.createSnapshot("a")))
        yield* Personal.erase("a")
        errors.push(yield* Effect.exit(customers.execute("a", register("a"))))
        const wrong = { _tag: "Register", name: Personal.make("a", { secret }), plan: 7 }
        errors.push(yield* Effect.exit(customers.execute("a", wrong as unknown as typeof visit)))
        const events = yield* EventStore.EventStore
        const payload = { name: { $personal: "a", value: secret, more: 1 } }
        errors.push(
          yield* Effect.exit(
            events.append(stream("a"), [{ id: "1", type: "Registered", payload }], {
              expectedVersion: ExpectedVersion.any
            })
          )
        )
      }).pipe(
        Effect.scoped,
        Effect.provide(Layer.merge(memory, failing)),
        observed,
        traced
      )
      assert.isAbove(logged.length, 1)
      assert.isAbove(spans.length, 2)
      assert.isTrue(errors.every((exit) => Exit.isExit(exit) && Exit.isFailure(exit)))
      for (
        const [what, value] of Object.entries({
          logged,
          spans: spans.map(({ attributes, status }) => [attributes, status]),
          errors
        })
      ) {
        assert.notInclude(util.inspect(value, { depth: 30, showHidden: true }), "Lovelace", what)
      }
    }))
})
