// the command line deletes streams, lists snapshots, and finds rows that were edited by hand
import { SqlClient } from "@effect/sql"
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { EventStore, ExpectedVersion, Repository, SnapshotPolicy } from "effect-eventsourcing"
import * as fs from "node:fs"
import { AccountV2, id, stream } from "../fixtures/Account.js"
import { module } from "./accounts.js"
import { databases } from "./databases.js"
import { invoke, jsonOf } from "./invoke.js"

const edited = (statement: string) => Effect.flatMap(SqlClient.SqlClient, (sql) => sql.unsafe(statement))

for (const { name, on, written } of databases) {
  describe(`delete on ${name}`, () => {
    it.scopedLive("says what it would delete, and deletes it with --yes", () =>
      Effect.gen(function*() {
        const url = yield* written
        const deleting = (...args: ReadonlyArray<string>) =>
          invoke("delete", "Account/a-1", "--url", url, "--json", ...args)
        const found = { stream: "Account/a-1", version: 3, events: 3, snapshots: 1 }
        const shy = yield* deleting("--events", "remove")
        assert.deepStrictEqual(jsonOf(shy), [{ ...found, deleted: false }])
        assert.include(shy.err, "give --yes to delete Account/a-1 at version 3")
        const late = yield* deleting("--events", "keep", "--yes", "--expect", "2")
        assert.strictEqual(late.code, 1)
        assert.include(late.err, "VersionConflict")
        assert.strictEqual((yield* deleting("--yes")).code, 2)

        const audit = ["--yes", "--expect", "3", "--by", "support", "--reason", "the customer asked for it"]
        const [kept] = jsonOf(yield* deleting("--events", "keep", ...audit))
        assert.deepInclude(kept, { ...found, version: 4, deleted: true })
        assert.strictEqual(jsonOf(yield* invoke("events", "Account/a-1", "--url", url, "--json")).length, 4)
        const listed = jsonOf(yield* invoke("streams", "Account", "--url", url, "--json"))
        assert.deepStrictEqual(listed.map(({ deleted }) => deleted), ["deleted", "", ""])
        const [again] = jsonOf(yield* deleting("--events", "remove", "--yes"))
        assert.deepInclude(again, { version: 4, events: 4, snapshots: 0, deleted: true, time: kept.time })
        const left = jsonOf(yield* invoke("events", "Account/a-1", "--url", url, "--json"))
        assert.deepStrictEqual(left.map(({ metadata, type }) => [type, metadata]), [
          ["$deleted", { by: "support", reason: "the customer asked for it" }]
        ])
        const state = yield* invoke("state", "Account/a-1", "--module", module, "--url", url)
        assert.include(state.err, "StreamDeleted")
        const none = yield* invoke("delete", "Account/none", "--events", "keep", "--url", url, "--yes")
        assert.strictEqual(none.code, 1)
        assert.include(none.err, "StreamNotFound")
      }))
  })

  describe(`events on ${name}`, () => {
    it.scopedLive("are printed with those that do not decode, in both directions and to any limit", () =>
      Effect.gen(function*() {
        const url = yield* written
        const store = EventStore.EventStore
        const payload = { _tag: "Deposited", amount: 1 }
        yield* on(
          url,
          Effect.flatMap(store, ({ append }) =>
            append(stream("a-1"), [
              { id: "4", type: "Deposited", payload },
              ...["5", "6", "7", "8", "9"].map((id) => ({ id, type: "Deposited", payload }))
            ], { expectedVersion: ExpectedVersion.exact(3) }))
        )
        const broken = [1, 4, 5, 9]
        yield* on(
          url,
          edited(`UPDATE eventsourcing_events SET payload = '{'
            WHERE stream_id = 'a-1' AND version IN (${broken.join()})`)
        )
        const whole = [1, 2, 3, 4, 5, 6, 7, 8, 9]
        for (const limit of [1, 2, 3, 5, 9, 100]) {
          for (const args of [[], ["--reverse"]]) {
            const found = jsonOf(
              yield* invoke("events", "Account/a-1", "--url", url, "--json", "--limit", String(limit), ...args)
            )
            const expected = (args.length === 0 ? whole : whole.toReversed()).slice(0, limit)
            assert.deepStrictEqual(found.map(({ version }) => version), expected)
            assert.deepStrictEqual(
              found.filter((event) => "unreadable" in event).map(({ version }) => version),
              expected.filter((version) => broken.includes(version))
            )
          }
        }
        const [broke] = jsonOf(yield* invoke("events", "Account/a-1", "--url", url, "--json", "--from", "4"))
        assert.match(String(broke.time), /^\d{4}-.*Z$/)
        const people = (yield* invoke("events", "Account/a-1", "--url", url, "--from", "3", "--to", "5")).out
        assert.strictEqual(people.split("\n").length, 4)
        assert.include(people, "does not decode")
      }))
  })

  describe(`snapshots on ${name}`, () => {
    it.scopedLive("are listed, and with a module it says which of them a load uses", () =>
      Effect.gen(function*() {
        const url = yield* written
        const snapshots = (...args: ReadonlyArray<string>) =>
          Effect.map(invoke("snapshots", "--url", url, "--json", ...args), jsonOf)
        const [first, ...rest] = yield* snapshots()
        assert.deepStrictEqual(rest, [])
        assert.deepInclude(first, { stream: { aggregate: "Account", id: "a-1" }, version: 2, schemaVersion: 1 })
        assert.strictEqual(first.bytes, "{\"open\":true,\"balance\":5}".length)
        assert.match(String(first.time), /^\d{4}-.*Z$/)
        assert.match(String(first.fingerprint), /^\S{8,}$/)

        yield* on(
          url,
          Effect.scoped(Effect.gen(function*() {
            const newer = yield* Repository.make(AccountV2, { snapshots: SnapshotPolicy.manual })
            yield* newer.createSnapshot(id("a-1"))
            yield* newer.createSnapshot(id("a-2"))
          }))
        )
        const used = (yield* snapshots("--module", module)).map((
          { schemaVersion, stream, use }
        ) => [stream, schemaVersion, use])
        const [one, two] = [stream("a-1"), stream("a-2")]
        assert.deepStrictEqual(used, [[one, 1, "proved"], [one, 2, "other"], [two, 2, "refused"]])
        assert.deepStrictEqual((yield* snapshots("Account/a-1")).map(({ stream }) => stream), [one, one])
        assert.deepStrictEqual((yield* snapshots("--limit", "1")).map(({ stream }) => stream), [one, one])
        assert.deepStrictEqual((yield* snapshots("--after", "Account/a-1")).map(({ stream }) => stream), [two])
        assert.deepStrictEqual(yield* snapshots("--aggregate", "Other"), [])

        yield* on(
          url,
          edited("UPDATE eventsourcing_snapshots SET state = '{\"open\":true,\"balance\":9}' WHERE schema_version = 1")
        )
        const [refuted] = yield* snapshots("Account/a-1", "--module", module)
        assert.deepInclude(refuted, { use: "refuted", detail: "at $.balance" })
        const people = (yield* invoke("snapshots", "--url", url, "--module", module, "--limit", "1")).out
        assert.match(people.split("\n")[0], /^stream +version +schemaVersion +fingerprint +bytes +time +use +detail$/)
        assert.include(people, "refuted")
      }))
  })

  describe(`verify on ${name}`, () => {
    const payload = "'{\"_tag\":\"Deposited\",\"amount\":50}'"
    const event = `UPDATE eventsourcing_events SET payload = ${payload} WHERE stream_id = 'a-1' AND version = 2`
    const snapshot = "UPDATE eventsourcing_snapshots SET state = '{\"open\":true,\"balance\":9}'"
    for (const [row, statement, balance] of [["an event", event, 52], ["a snapshot", snapshot, 7]] as const) {
      it.scopedLive(`finds ${row} that was edited by hand, and mends it if it is asked to`, () =>
        Effect.gen(function*() {
          const url = yield* written
          yield* on(url, edited(statement))
          const verify = (...args: ReadonlyArray<string>) =>
            invoke("verify", "--module", module, "--url", url, "--json", ...args)
          const found = yield* verify()
          assert.strictEqual(found.code, 1)
          assert.deepInclude(jsonOf(found)[0], { outcome: "refuted", stream: "Account/a-1" })
          // it has only looked
          assert.strictEqual((yield* verify()).code, 1)
          assert.strictEqual((yield* verify("--remove")).code, 1)
          const sound = yield* verify()
          assert.strictEqual(sound.code, 0)
          const none = yield* verify("Account/none")
          assert.strictEqual(none.code, 1)
          assert.include(none.err, "there is no stream Account/none: check")
          const [state] = jsonOf(yield* invoke("state", "Account/a-1", "--module", module, "--url", url, "--json"))
          assert.deepInclude(state, { version: 3, snapshotVersion: 0, state: { open: true, balance } })
        }))
    }
  })
}

describe("verify", () => {
  it.scopedLive("opens a SQLite file read-only, unless it is to remove snapshots", () =>
    Effect.gen(function*() {
      const [{ on, written }] = databases
      const url = yield* written
      // who opens the file to write turns its write-ahead log on, and the header of the file says so
      yield* on(url, edited("PRAGMA journal_mode = DELETE"))
      const hasLog = (...args: ReadonlyArray<string>) =>
        Effect.map(invoke("verify", "--module", module, "--url", url, ...args), ({ code }) => {
          assert.strictEqual(code, 0)
          return fs.readFileSync(url)[18] === 2
        })
      assert.isFalse(yield* hasLog())
      assert.isTrue(yield* hasLog("--remove"))
    }))
})
