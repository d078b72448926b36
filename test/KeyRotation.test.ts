// keys that change: new ones of a subject, and a new master key that wraps all of them
import { SqlClient } from "@effect/sql"
import { assert, describe, it } from "@effect/vitest"
import { Cause, Effect, Encoding, Equal, Exit, Layer, Option, Redacted, Stream } from "effect"
import { EventStore, KeyStore, Personal, Repository, SnapshotStore, SqlKeyStore, SqlStores } from "effect-eventsourcing"
import { inspect } from "node:util"
import { Customer, stream } from "./fixtures/Customer.js"
import { sharedDatabases, sqliteFile } from "./utils/backends.js"
import { everything } from "./utils/mode.js"

const secret = "Ada Lovelace"

const register = (id: string) => ({ _tag: "Register", name: Personal.make(id, secret), plan: "free" }) as const

describe("a rotated key", () => {
  it.scoped("opens at once in processes that have the older keys in memory", () =>
    Effect.gen(function*() {
      const shared = Layer.succeed(KeyStore.KeyStore, yield* KeyStore.makeMemory)
      const process = () =>
        Effect.map(
          Layer.build(Layer.fresh(Layer.provide(Personal.layer, shared))),
          (context) => <A, E>(effect: Effect.Effect<A, E, Personal.Sealing>) => Effect.provide(effect, context)
        )
      const [one, two] = [yield* process(), yield* process()]
      const text = JSON.stringify({ $personal: "a", value: secret })
      const at = { kind: "event", stream: stream("a"), text } as const
      const seal = Effect.flatMap(Personal.Sealing, (sealing) => sealing.seal([at]))
      const open = (text: string) => Effect.flatMap(Personal.Sealing, (sealing) => sealing.open([{ ...at, text }]))
      const [before] = yield* one(seal)
      assert.strictEqual((yield* two(open(before)))[0].text, text)
      yield* one(Personal.rotate("a"))
      const [after] = yield* one(seal)
      // its clock has not moved: the keys in its memory are still good
      assert.deepStrictEqual(yield* two(open(after)), [{ text, erased: false }])
      assert.deepStrictEqual(yield* two(open(before)), [{ text, erased: false }])
      yield* one(Personal.erase("a"))
      assert.deepStrictEqual((yield* one(open(after)))[0].erased, true)
    }))

  it.live("is not waited for without end, nor is an erasure", () =>
    Effect.gen(function*() {
      const keys = yield* KeyStore.makeMemory
      const hanging = { ...keys, destroy: () => Effect.never, rotate: () => Effect.never }
      const sealing = Layer.provide(
        Personal.layerWith({ timeout: "20 millis" }),
        Layer.succeed(KeyStore.KeyStore, hanging)
      )
      for (const change of [Personal.erase("a"), Personal.rotate("a")]) {
        const error = yield* Effect.flip(Effect.provide(change, sealing))
        assert(error._tag === "KeyStoreError" && error.reason === "Unavailable")
        assert.include(error.message, "did not answer within")
      }
    }), 30_000)
})

/** A key service: master keys with numbers, of which each opens what it has wrapped. */
const makeService = () => {
  const calls = { wraps: 0, unwraps: 0, left: Infinity }
  const wrap = (master: number) => (key: Redacted.Redacted<Uint8Array>) =>
    Effect.suspend(() => {
      if (calls.left-- <= 0) return Effect.fail(new Error("the service is down"))
      calls.wraps++
      const mask = Redacted.value(key).map((byte) => byte ^ master)
      return Effect.succeed(`master-${master}:${Encoding.encodeBase64(mask)}`)
    })
  const unwrap = (wrapped: string) =>
    Effect.suspend(() => {
      calls.unwraps++
      // before there was a service
      const [, master = "0", text = wrapped] = /^master-(\d+):(.*)$/.exec(wrapped) ?? []
      return Effect.map(
        Encoding.decodeBase64(text),
        (mask) => Redacted.make(mask.map((byte) => byte ^ Number(master)))
      )
    })
  return { calls, unwrap, wrap }
}

const subjects = Array.from({ length: 25 }, (_, n) => `subject-${n}`)

const rows = Effect.flatMap(
  SqlClient.SqlClient,
  (sql) => sql<{ readonly subject: string; readonly keys: string | null }>`SELECT subject, keys FROM eventsourcing_keys`
)

const isCurrent = (wrapped: string) => wrapped.startsWith("master-2:")

/** How many subjects have keys that are wrapped by each master key. */
const masters = Effect.map(rows, (rows) => {
  const counts: Record<string, number> = {}
  for (const { keys } of rows) {
    const name = keys === null ? "erased" : /master-\d+/.exec(keys)?.[0] ?? "none"
    counts[name] = (counts[name] ?? 0) + 1
  }
  return counts
})

for (const [name, target, client] of sharedDatabases.filter(([name]) => everything || name === "SQLite")) {
  describe(`wrapping all keys again, ${name}`, () => {
    const begin = Effect.gen(function*() {
      const database = yield* Layer.build(client(yield* target))
      const service = makeService()
      const storesWith = (master: number | undefined) =>
        Layer.build(
          Layer.fresh(
            SqlStores.layer.pipe(
              Layer.provideMerge(Personal.layerWith({ timeToLive: 0 })),
              Layer.provideMerge(
                master === undefined
                  ? SqlKeyStore.layer
                  : SqlKeyStore.layerWith({ wrap: service.wrap(master), unwrap: service.unwrap })
              )
            )
          )
        ).pipe(Effect.provide(database))
      const rewrap = (options: Partial<SqlKeyStore.RewrapOptions> = {}) =>
        Stream.provideContext(
          SqlKeyStore.rewrap({ unwrap: service.unwrap, wrap: service.wrap(2), isCurrent, pageSize: 4, ...options }),
          database
        )
      return { masters: Effect.provide(masters, database), service, storesWith, rewrap }
    })
    const registerAll = Effect.gen(function*() {
      const customers = yield* Repository.make(Customer)
      for (const subject of subjects) yield* customers.execute(subject, register(subject))
    })
    const readAll = Effect.gen(function*() {
      const customers = yield* Repository.make(Customer)
      for (const subject of subjects) {
        const { state } = yield* customers.load(subject)
        const expected = subject === "subject-7" ? Personal.erased(subject) : Personal.make(subject, secret)
        assert.isTrue(Equal.equals(state.name, Option.some(expected)), subject)
      }
    })

    it.scoped("leaves the events as they are, and goes on after a stop in the middle", () =>
      Effect.gen(function*() {
        const { masters, rewrap, service, storesWith } = yield* begin
        const before = yield* storesWith(1)
        yield* Effect.provide(registerAll, before)
        yield* Effect.provide(Personal.rotate("subject-3"), before)
        yield* Effect.provide(Personal.erase("subject-7"), before)
        service.calls.left = 9
        const seen: Array<SqlKeyStore.Rewrapped> = []
        const run = (options?: Partial<SqlKeyStore.RewrapOptions>) =>
          Stream.runForEach(rewrap(options), (progress) => Effect.sync(() => seen.push(progress)))
        const error = yield* Effect.flip(run())
        assert(error._tag === "KeyStoreError" && error.operation === "rewrap" && error.reason === "Unavailable")
        assert.include(error.message, "the service is down")
        assert.isAtLeast(seen.length, 1)
        const halfway = yield* masters
        assert.isAbove(halfway["master-1"], 0)
        assert.isAbove(halfway["master-2"], 0)
        const after = yield* storesWith(2)
        yield* Effect.provide(readAll, after)
        service.calls.left = Infinity
        const unwraps = service.calls.unwraps
        yield* run({ after: seen[0].subject })
        // a key that is current is not unwrapped
        assert.isAtMost(service.calls.unwraps - unwraps, subjects.length - 5)
        assert.deepStrictEqual(yield* masters, { "master-2": 24, erased: 1 })
        const [last] = seen.slice(-1)
        assert.deepStrictEqual([last.rewrapped + last.kept, last.subject], [20, "subject-9"])
        yield* Effect.provide(readAll, yield* storesWith(2))
        assert.strictEqual(yield* Stream.runCount(rewrap({ pageSize: 100 })), 1)
      }))

    it.scopedLive("goes on beside an erasure, a rotation, new subjects and another run", () =>
      Effect.gen(function*() {
        const { masters, rewrap, service, storesWith } = yield* begin
        const stores = yield* storesWith(1)
        yield* Effect.provide(registerAll, stores)
        const after = yield* storesWith(2)
        const changes = Effect.gen(function*() {
          yield* Personal.erase("subject-7")
          for (const subject of ["subject-9", "subject-20", "subject-4"]) yield* Personal.rotate(subject)
          const customers = yield* Repository.make(Customer)
          yield* customers.execute("subject-new", register("subject-new"))
        })
        yield* Effect.all([
          Stream.runDrain(rewrap({ pageSize: 1 })),
          Stream.runDrain(rewrap({ pageSize: 3, isCurrent: () => false })),
          Effect.provide(changes, after)
        ], { concurrency: "unbounded" })
        // what was made meanwhile, behind the cursor
        yield* Stream.runDrain(rewrap())
        assert.deepStrictEqual(yield* masters, { "master-2": 25, erased: 1 })
        yield* Effect.provide(readAll, yield* storesWith(2))
        const fence = yield* Effect.exit(Effect.provide(
          Effect.flatMap(Repository.make(Customer), (customers) => customers.execute("x", register("subject-7"))),
          after
        ))
        assert.isTrue(Exit.isFailure(fence))
        assert.isAbove(service.calls.wraps, 50)
      }))

    it.scoped("begins and ends the use of a key service", () =>
      Effect.gen(function*() {
        const { masters, rewrap, service, storesWith } = yield* begin
        const plain = yield* storesWith(undefined)
        yield* Effect.provide(registerAll, plain)
        yield* Effect.provide(Personal.erase("subject-7"), plain)
        assert.deepStrictEqual(yield* masters, { none: 24, erased: 1 })
        yield* Stream.runDrain(rewrap({ unwrap: undefined }))
        assert.deepStrictEqual(yield* masters, { "master-2": 24, erased: 1 })
        yield* Effect.provide(readAll, yield* storesWith(2))
        yield* Stream.runDrain(rewrap({ unwrap: service.unwrap, wrap: undefined, isCurrent: undefined }))
        assert.deepStrictEqual(yield* masters, { none: 24, erased: 1 })
        yield* Effect.provide(readAll, yield* storesWith(undefined))
      }))
  })
}

describe("bad input to rewrap", () => {
  it.scoped("is a typed error", () =>
    Effect.gen(function*() {
      const missing = yield* Effect.flip(Stream.runDrain(SqlKeyStore.rewrap({ prefix: "nothing" })))
      assert.strictEqual(missing._tag, "MigrationError")
      const invalid: ReadonlyArray<object> = [
        { pageSize: 0 },
        { pageSize: NaN },
        { concurrency: -1 },
        { after: "x\0" },
        { isCurrent: true },
        { wrap: "x" },
        { unwrap: null },
        { pagesize: 1 }
      ]
      for (const bad of invalid) {
        const options: SqlKeyStore.RewrapOptions = Object.assign({}, bad)
        const error = yield* Effect.flip(Stream.runDrain(SqlKeyStore.rewrap(options)))
        assert.strictEqual(error._tag, "InvalidOption", JSON.stringify(bad))
      }
      const keys = yield* SqlKeyStore.make()
      yield* keys.getOrCreate(["a"])
      const threw = SqlKeyStore.rewrap({
        isCurrent: () => {
          throw new Error("odd")
        }
      })
      assert.strictEqual((yield* Effect.flip(Stream.runDrain(threw)))._tag, "KeyStoreError")
    }).pipe(Effect.provide(sqliteFile(":memory:"))))
})

describe("rows of keys that were edited by hand, and key stores that do not do as they must", () => {
  const registering = Effect.flatMap(
    Repository.make(Customer),
    (customers) => customers.execute("7", register("7"))
  ).pipe(Effect.scoped)

  /** The failure of a command, which must be typed and show neither the value nor a text of the row. */
  const refused = (store: KeyStore.KeyStore["Type"], hidden: string) =>
    Effect.gen(function*() {
      const keys = Layer.provide(Personal.layer, Layer.succeed(KeyStore.KeyStore, store))
      const stores = Layer.provideMerge(Layer.merge(EventStore.layerMemory, SnapshotStore.layerMemory), keys)
      const error = yield* Effect.flip(Effect.provide(registering, Layer.fresh(stores)))
      assert(error._tag === "EventStoreError" && error.reason === "Unavailable" && !error.mayHaveAppended)
      const shown = inspect(error, { depth: 20 }) + Cause.pretty(Cause.fail(error), { renderErrorCause: true })
      assert.notInclude(shown, hidden)
      assert.notInclude(shown, secret)
    })

  it.scoped("fail with typed errors that show nothing of the keys", () =>
    Effect.gen(function*() {
      const sql = yield* SqlClient.SqlClient
      const keys = yield* SqlKeyStore.make()
      const key = Encoding.encodeBase64(new Uint8Array(32).fill(77))
      const part = key.slice(4, 30)
      yield* keys.getOrCreate(["7"])
      const edits = [
        [[4_294_967_296, key]],
        [[Number.MAX_SAFE_INTEGER, key]],
        [[0, key]],
        [[1.5, key]],
        [[1, key.slice(0, -4)]],
        [[1, `!${key.slice(1)}`]],
        [[1, `${key}=`]],
        [],
        { key }
      ]
      for (const edit of edits) {
        yield* sql`UPDATE eventsourcing_keys SET keys = ${JSON.stringify(edit)}`
        yield* refused(keys, part)
      }
      // another key would have a number that no sealed text can have
      yield* sql`UPDATE eventsourcing_keys SET keys = ${JSON.stringify([[4_294_967_295, key]])}`
      const error = yield* Effect.flip(keys.rotate("7"))
      assert.deepInclude(error, { operation: "rotate", reason: "Unavailable" })
      assert.strictEqual((yield* keys.get(["7"])).subjects.get("7")?._tag, "Keys")
    }).pipe(Effect.provide(sqliteFile(":memory:"))))

  it.effect("are not defects if a key store throws, or answers with other keys", () =>
    Effect.gen(function*() {
      const memory = yield* KeyStore.makeMemory
      const key = Redacted.make(new Uint8Array(32))
      const answering = (current: number) => ({
        ...memory,
        getOrCreate: () =>
          Effect.succeed({
            subjects: new Map([["7", { _tag: "Keys" as const, current, keys: new Map([[current, key]]) }]]),
            settled: true
          })
      })
      for (const current of [-1, 0.5, NaN, 4_294_967_296]) yield* refused(answering(current), "none")
      const throws = (): never => {
        throw new Error("the service is down")
      }
      yield* refused({ ...memory, getOrCreate: throws }, "none")
      yield* refused({ ...memory, getOrCreate: () => Effect.die("down") }, "none")
    }))
})
