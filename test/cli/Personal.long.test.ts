// the command line opens personal data by a key store, erases subjects, and shows no keys
import { SqlClient } from "@effect/sql"
import { SqliteClient } from "@effect/sql-sqlite-node"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer } from "effect"
import {
  type KeyStore,
  Personal,
  Repository,
  SnapshotPolicy,
  SqlEventStore,
  Sqlite,
  SqlKeyStore,
  SqlSnapshotStore
} from "effect-eventsourcing"
import * as path from "node:path"
import { fileURLToPath } from "node:url"
import { Customer } from "../fixtures/Customer.js"
import { everyRow } from "../utils/personal.js"
import { temporaryFolder } from "../utils/stores.js"
import { databases } from "./databases.js"
import { invoke, jsonOf } from "./invoke.js"
import { keyStore as wrapped } from "./modules/wrapped.js"

const moduleOf = (name: string) => fileURLToPath(new URL(`./modules/${name}.ts`, import.meta.url))

const customers = moduleOf("customers")

const secret = "Ada Lovelace"

/** Two customers, the first of them with a snapshot. */
const register = Effect.scoped(Effect.gen(function*() {
  const customers = yield* Repository.make(Customer, { snapshots: SnapshotPolicy.manual })
  for (const id of ["7", "8"]) {
    yield* customers.execute(id, { _tag: "Register", name: Personal.make(`customer-${id}`, secret), plan: "free" })
  }
  yield* customers.createSnapshot("7")
}))

const stores = Layer.merge(SqlEventStore.layer, SqlSnapshotStore.layer)

const registered = <E, R>(keys: Layer.Layer<KeyStore.KeyStore, E, R>) =>
  Effect.provide(register, Layer.provide(stores, Layer.provide(Personal.layer, keys)))

/** The keys in the table, as they are stored. */
const storedKeys = Effect.flatMap(
  SqlClient.SqlClient,
  (sql) =>
    Effect.map(
      sql<{ readonly keys: string | null }>`SELECT keys FROM eventsourcing_keys`,
      (rows) =>
        rows.flatMap(({ keys }) => keys === null ? [] : JSON.parse(keys).map(([, key]: [number, string]) => key))
    )
)

const sqlite = (filename: string) => Sqlite.layer(SqliteClient.layer, { filename })

for (const { empty, name, on, written } of databases) {
  describe(`personal data on ${name}`, () => {
    it.scopedLive("is opened for state, verify and snapshots by the keys beside the events, and shown by no other", () =>
      Effect.gen(function*() {
        const url = yield* empty
        yield* on(url, registered(SqlKeyStore.layer))
        const keys = yield* on(url, storedKeys)
        assert.strictEqual(keys.length, 2)
        const outputs: Array<string> = []
        const run = (...args: ReadonlyArray<string>) =>
          Effect.tap(
            invoke(...args, "--url", url, "--json"),
            ({ err, out }) => Effect.sync(() => outputs.push(out, err))
          )
        const [state] = jsonOf(yield* run("state", "Customer/7", "--module", customers))
        assert.deepInclude(state, { version: 1, snapshotVersion: 1 })
        assert.include(JSON.stringify(state.state), secret)
        const verified = yield* run("verify", "--module", customers)
        assert.deepStrictEqual([verified.code, jsonOf(verified)], [0, [{
          verified: 1,
          noSnapshot: 1,
          removed: 0,
          deleted: 0,
          refuted: 0,
          failed: 0
        }]])
        assert.deepInclude(jsonOf(yield* run("snapshots", "--module", customers))[0], { use: "proved" })
        for (const command of [["events", "Customer/7"], ["export"], ["tail", "--after", "start", "--no-follow"]]) {
          const { out } = yield* run(...command)
          assert.include(out, "sealed")
          assert.notInclude(out, secret)
        }
        for (const key of keys) for (const output of outputs) assert.notInclude(output, key)
      }))

    it.scopedLive("is erased with --yes, and twice gives the same", () =>
      Effect.gen(function*() {
        const url = yield* empty
        yield* on(url, registered(SqlKeyStore.layer))
        const erase = (...args: ReadonlyArray<string>) => invoke("erase", "customer-7", "--url", url, "--json", ...args)
        const shy = yield* erase()
        assert.deepStrictEqual(jsonOf(shy), [{ subject: "customer-7", keys: "present", erased: false }])
        assert.include(shy.err, "give --yes")
        const state = () => invoke("state", "Customer/7", "--module", customers, "--url", url, "--json")
        assert.include((yield* state()).out, secret)

        const first = yield* erase("--yes")
        assert.deepStrictEqual(jsonOf(first), [{ subject: "customer-7", keys: "present", erased: true }])
        assert.include(first.err, "Read models that show the data keep it: rebuild them")
        const after = yield* state()
        assert.strictEqual(after.code, 0)
        assert.notInclude(after.out, secret)
        const second = yield* erase("--yes")
        // it does not ask again
        for (const { code, err, ...printed } of [second, yield* erase()]) {
          assert.deepStrictEqual(jsonOf({ code, err, ...printed }), [
            { subject: "customer-7", keys: "destroyed", erased: true }
          ])
          assert.strictEqual(code, 0)
          assert.include(err, "were destroyed before: there is nothing left to do")
        }
        assert.strictEqual((yield* state()).out, after.out)
        // the snapshot has data of the subject, so a load refuses it
        const snapshots = jsonOf(yield* invoke("snapshots", "--module", customers, "--url", url, "--json"))
        assert.deepInclude(snapshots[0], { use: "refused" })
        assert.include(String(snapshots[0].detail), "SubjectErased")
        assert.strictEqual((yield* invoke("verify", "--module", customers, "--url", url)).code, 0)
        const other = yield* invoke("state", "Customer/8", "--module", customers, "--url", url)
        assert.include(other.out, secret)
        assert.notInclude(yield* on(url, everyRow), secret)

        const mistyped = yield* invoke("erase", "customer-77", "--url", url)
        assert.include(mistyped.err, "is its id right?")
        for (const subject of ["", "a\u0000b"]) {
          for (const args of [["--yes"], []]) {
            const refused = yield* invoke("erase", subject, "--url", url, ...args)
            assert.strictEqual(refused.code, 1)
            assert.include(refused.err, "SUBJECT ")
            assert.notInclude(refused.err, "--yes")
          }
        }
      }))

    it.scopedLive("stops no command for the aggregates that have none", () =>
      Effect.gen(function*() {
        const keysFile = path.join(yield* temporaryFolder, "keys.db")
        const url = yield* written
        yield* on(url, registered(Layer.provide(SqlKeyStore.layer, sqlite(keysFile))))
        const run = (...args: ReadonlyArray<string>) =>
          invoke(...args, "--module", moduleOf("both"), "--url", url, "--json")
        const missing = "Customer has personal data, and no key store beside the events can be read"
        const verified = yield* run("verify")
        assert.strictEqual(verified.code, 1)
        const [seventh, eighth, counts] = jsonOf(verified)
        assert.deepInclude(seventh, { outcome: "failed", stream: "Customer/7" })
        assert.include(String(seventh.detail), missing)
        assert.deepInclude(eighth, { outcome: "failed", stream: "Customer/8" })
        assert.deepInclude(counts, { verified: 1, noSnapshot: 2, failed: 2 })
        const snapshots = yield* run("snapshots")
        assert.strictEqual(snapshots.code, 0)
        assert.deepStrictEqual(jsonOf(snapshots).map(({ use }) => use), ["proved", "unknown"])
        assert.include(String(jsonOf(snapshots)[1].detail), missing)
        const truncated = yield* run("truncate", "Customer/7", "--before", "2", "--events", "archive")
        assert.strictEqual(truncated.code, 1)
        assert.include(truncated.err, missing)
        const opened = yield* run("verify", "--keys", keysFile)
        assert.deepStrictEqual([opened.code, jsonOf(opened)[0].verified], [0, 2])
      }))

    it.scopedLive("whose keys are in another database, or wrapped, or nowhere", () =>
      Effect.gen(function*() {
        const folder = yield* temporaryFolder
        const keysFile = path.join(folder, "keys.db")
        const url = yield* empty
        yield* on(url, registered(Layer.provide(SqlKeyStore.layerWith({ prefix: "people" }), sqlite(keysFile))))
        const state = (module: string, ...args: ReadonlyArray<string>) =>
          invoke("state", "Customer/7", "--module", module, "--url", url, ...args)
        const without = yield* state(customers)
        assert.strictEqual(without.code, 1)
        assert.include(without.err, "Customer has personal data, and no key store beside the events can be read")
        const elsewhere = ["--keys", keysFile, "--keys-prefix", "people"]
        assert.include((yield* state(customers, ...elsewhere)).out, secret)
        const wrong = yield* state(customers, "--keys", keysFile)
        assert.strictEqual(wrong.code, 1)
        assert.include(wrong.err, "no key store can be read")
        const nowhere = yield* state(customers, "--keys", path.join(folder, "none.db"))
        assert.include(nowhere.err, "none.db at --keys: give the path")
        // the database of the keys alone is enough
        const erased = yield* invoke("erase", "customer-7", "--url", keysFile, "--prefix", "people", "--yes", "--json")
        assert.deepStrictEqual(jsonOf(erased), [{ subject: "customer-7", keys: "present", erased: true }])
        assert.notInclude((yield* state(customers, ...elsewhere)).out, secret)

        const service = yield* empty
        yield* on(service, Effect.asVoid(Layer.build(SqlKeyStore.layer)))
        yield* on(service, registered(wrapped))
        const keys = yield* on(service, storedKeys)
        const raw = yield* invoke("state", "Customer/7", "--module", customers, "--url", service)
        assert.strictEqual(raw.code, 1)
        assert.include(
          raw.err,
          "the key store failed: a key could not be unwrapped: it is not base64. If a key service"
        )
        for (const key of keys) assert.notInclude(raw.err, key)
        const opened = yield* invoke("state", "Customer/7", "--module", moduleOf("wrapped"), "--url", service)
        assert.include(opened.out, secret)
        const broken = yield* invoke("state", "Customer/7", "--module", moduleOf("noKeys"), "--url", service)
        assert.include(broken.err, "does not provide a KeyStore")
        // destroying keys needs no key service
        const destroyed = yield* invoke("erase", "customer-7", "--url", service, "--yes", "--json")
        assert.deepStrictEqual(jsonOf(destroyed), [{ subject: "customer-7", keys: "unknown", erased: true }])
      }))
  })
}
