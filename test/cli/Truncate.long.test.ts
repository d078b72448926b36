// the command line truncates streams, and says where the contents of their events are
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { module } from "./accounts.js"
import { databases } from "./databases.js"
import { invoke, jsonOf } from "./invoke.js"

for (const { name, written } of databases) {
  describe(`truncate on ${name}`, () => {
    it.scopedLive("says what it would do, and archives or removes the beginning of a stream with --yes", () =>
      Effect.gen(function*() {
        const url = yield* written
        const run = (...args: ReadonlyArray<string>) => invoke(...args, "--url", url, "--json")
        const truncate = (before: string, events: string, ...args: ReadonlyArray<string>) =>
          run("truncate", "Account/a-1", "--before", before, "--events", events, "--module", module, ...args)
        const found = { stream: "Account/a-1", version: 3, before: 3, stored: 2, archived: 0 }
        const shy = yield* truncate("3", "archive")
        assert.deepStrictEqual(jsonOf(shy), [{ ...found, snapshotVersion: 2, truncated: false }])
        assert.include(shy.err, "give --yes to archive 2 events of Account/a-1 before version 3 of 3")
        assert.include(shy.err, "if full replay confirms the snapshot of version 2")
        // the snapshot is at version 2, and the dry run refuses the same
        for (const args of [[], ["--yes"]]) {
          const early = yield* truncate("4", "archive", ...args)
          assert.strictEqual(early.code, 1)
          assert.include(early.err, "has a snapshot of version 2, and --before 4 needs one of version 3")
          assert.include(early.err, "so that the highest --before is 3")
        }
        const other = ["truncate", "Account/a-2", "--before", "2", "--events", "archive", "--module", module]
        const without = yield* run(...other)
        assert.strictEqual(without.code, 1)
        assert.include(without.err, "Account/a-2 has no snapshot of schema version 1")
        const above = yield* truncate("5", "archive")
        assert.strictEqual(above.code, 1)
        assert.include(above.err, "--before is 5; it must be from 2 to 4")
        const late = yield* truncate("3", "archive", "--yes", "--expect", "2")
        assert.include(late.err, "VersionConflict")

        const done = yield* truncate("3", "archive", "--yes", "--by", "support")
        assert.deepStrictEqual(jsonOf(done), [
          { ...found, version: 4, stored: 0, archived: 2, truncated: true, events: 2 }
        ])
        const contents = (...args: ReadonlyArray<string>) =>
          Effect.map(
            run("events", "Account/a-1", ...args),
            (printed) =>
              jsonOf(printed).map(({ content, payload, version }) => [version, content, payload !== undefined])
          )
        const after = [[3, "", true], [4, "", true]]
        assert.deepStrictEqual(yield* contents(), [[1, "archived", true], [2, "archived", true], ...after])
        assert.strictEqual((yield* run("verify", "--module", module)).code, 0)
        const [marker] = jsonOf(yield* run("events", "Account/a-1", "--from", "4"))
        assert.deepInclude(marker, { type: "$truncated" })
        assert.deepInclude(marker.metadata, { by: "support" })

        const again = yield* truncate("3", "remove")
        assert.include(again.err, "give --yes to remove 2 events of Account/a-1")
        assert.strictEqual((yield* truncate("3", "remove", "--yes")).code, 0)
        assert.include((yield* truncate("3", "remove")).err, "give --yes to remove 0 events")
        const nothing = jsonOf(yield* truncate("3", "remove", "--yes"))
        assert.deepInclude(nothing[0], { truncated: false, events: 0 })
        const lost = yield* run("delete", "Account/a-1", "--events", "keep")
        assert.include(lost.err, "because the contents of 2 events were removed")
        const left = yield* contents("--to", "4")
        assert.deepStrictEqual(left, [[1, "removed", false], [2, "removed", false], ...after])
        const [state] = jsonOf(yield* run("state", "Account/a-1", "--module", module))
        assert.deepInclude(state, { snapshotVersion: 2, state: { open: true, balance: 7 } })
        assert.notInclude(JSON.stringify(yield* run("events", "Account/a-2")), "content")

        // neither of them is out of order
        assert.strictEqual((yield* run("delete", "Account/a-2", "--events", "remove", "--yes")).code, 0)
        assert.include((yield* run(...other)).err, "StreamDeleted")
        const verified = yield* run("verify", "--module", module)
        assert.strictEqual(verified.code, 0, verified.err)
        assert.deepInclude(jsonOf(verified)[0], { removed: 1, deleted: 1, failed: 0 })
        // the only source of the state stays
        assert.strictEqual((yield* run("prune", "--aggregate", "Account", "--below", "9", "--yes")).code, 0)
        const kept = yield* run("verify", "--module", module)
        assert.strictEqual(kept.code, 0, kept.err)
        assert.deepInclude(jsonOf(kept)[0], { removed: 1, deleted: 1, failed: 0 })
      }))
  })
}
