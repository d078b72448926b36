// the command line makes passes of Retention
import { SqlClient } from "@effect/sql"
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { Repository, SnapshotPolicy, Streams } from "effect-eventsourcing"
import { fileURLToPath } from "node:url"
import { Account, id, stream } from "../fixtures/Account.js"
import { module as aggregates } from "./accounts.js"
import { databases } from "./databases.js"
import { invoke, jsonOf } from "./invoke.js"

const module = fileURLToPath(new URL("./modules/accountV2.ts", import.meta.url))

for (const { name, on, written } of databases) {
  describe(`retention on ${name}`, () => {
    it.scopedLive("removes what its options name after --yes, and nothing else", () =>
      Effect.gen(function*() {
        const url = yield* written
        yield* on(
          url,
          Effect.gen(function*() {
            const streams = yield* Streams.Streams
            const sql = yield* SqlClient.SqlClient
            yield* streams.delete(stream("a-2"), { events: "keep" })
            const { version } = yield* streams.delete(stream("a-1"), { events: "keep" })
            const earlier = name === "SQLite" ? "time - 172800000" : "time - interval '2 days'"
            yield* sql`UPDATE eventsourcing_events SET time = ${sql.literal(earlier)}
              WHERE stream_id = 'a-1' AND version = ${version}`
          })
        )
        const retention = (...args: ReadonlyArray<string>) => invoke("retention", "--url", url, "--json", ...args)
        const shy = yield* retention("--tombstones", "1 day")
        assert.deepStrictEqual(jsonOf(shy), [{ done: false }])
        assert.include(shy.err, "give --yes to make a pass over tombstones")
        assert.deepStrictEqual(jsonOf(yield* retention("--tombstones", "1 day", "--yes")), [{
          done: true,
          tombstones: { streams: 1, removed: 4, heldBackBy: [] }
        }])
        const left = jsonOf(yield* invoke("streams", "Account", "--url", url, "--json"))
        assert.deepStrictEqual(left.map(({ stream }) => stream), ["Account/a-2", "Account/a/\u001b[31m"])
        const refused: ReadonlyArray<readonly [args: ReadonlyArray<string>, says: string]> = [
          [[], "at least one of"],
          [["--tombstones", "soon", "--yes"], "a time such as"],
          [["--snapshots", "--yes"], "need --module"],
          [["--archives", "1 day", "--yes"], "need --module"],
          [["--module", module, "--parked", "1 day", "--yes"], "give one of them, or leave it out"],
          [["--parked", "1 hour", "--yes"], "InvalidOption"]
        ]
        for (const [args, says] of refused) {
          const { code, err } = yield* retention(...args)
          assert.strictEqual(code, 1)
          assert.include(err, says)
        }
      }))

    it.scopedLive("removes the snapshots of schema versions below that of the module", () =>
      Effect.gen(function*() {
        const url = yield* written
        const pass = invoke("retention", "--snapshots", "--module", module, "--url", url, "--json", "--yes")
        assert.deepStrictEqual(jsonOf(yield* pass), [{ done: true, snapshots: { removed: 1 } }])
        assert.deepStrictEqual(jsonOf(yield* pass), [{ done: true, snapshots: { removed: 0 } }])
      }))

    it.scopedLive("removes archives that are old enough, below a snapshot", () =>
      Effect.gen(function*() {
        const url = yield* written
        const retention = (age: string) =>
          Effect.tap(
            invoke("retention", "--archives", age, "--module", aggregates, "--url", url, "--json", "--yes"),
            ({ code, err }) => Effect.sync(() => assert.strictEqual(code, 0, err))
          )
        yield* on(
          url,
          Effect.scoped(Effect.gen(function*() {
            const accounts = yield* Repository.make(Account, { snapshots: SnapshotPolicy.manual })
            yield* accounts.createSnapshot(id("a-1"))
            const streams = yield* Streams.Streams
            yield* streams.truncate(stream("a-1"), { aggregate: Account, before: 3, events: "archive" })
          }))
        )
        const nothing = { streams: 0, removed: 0, kept: {} }
        assert.deepStrictEqual(jsonOf(yield* retention("1 day")), [{ done: true, archives: nothing }])
        yield* on(
          url,
          Effect.flatMap(SqlClient.SqlClient, (sql) =>
            sql`UPDATE eventsourcing_archive SET archived_at = archived_at - 172800000`)
        )
        assert.deepStrictEqual(jsonOf(yield* retention("1 day")), [{
          done: true,
          archives: { streams: 1, removed: 2, kept: {} }
        }])
        // the metadata of removed events are gone
        const trace = yield* invoke("trace", "c-7", "--url", url, "--json")
        assert.strictEqual(trace.code, 0)
        assert.include(trace.err, "The metadata of 2 events were removed")
        // their times are still there
        const times = jsonOf(yield* invoke("events", "Account/a-1", "--url", url, "--json")).map(({ time }) =>
          String(time)
        )
        assert.isTrue(
          times.every((time) =>
            /^\d{4}-.*Z$/.test(time)
          ),
          times.join()
        )
        assert.deepStrictEqual(times, times.toSorted())
        const events = yield* invoke("events", "Account/a-1", "--url", url)
        assert.match(events.out, /\(its content was removed\)/)
      }))
  })
}
