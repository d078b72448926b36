// the command line makes passes of Retention
import { SqlClient } from "@effect/sql"
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { Streams } from "effect-eventsourcing"
import { fileURLToPath } from "node:url"
import { stream } from "../fixtures/Account.js"
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
        const pass = invoke("retention", "--module", module, "--url", url, "--json", "--yes")
        assert.deepStrictEqual(jsonOf(yield* pass), [{ done: true, snapshots: { removed: 1 } }])
        assert.deepStrictEqual(jsonOf(yield* pass), [{ done: true, snapshots: { removed: 0 } }])
      }))
  })
}
