// the command line on real databases: what it prints, its exit codes, and that it changes nothing without --yes
import { FileSystem, Path } from "@effect/platform"
import { NodeContext } from "@effect/platform-node"
import { SqlClient } from "@effect/sql"
import { assert, describe, it } from "@effect/vitest"
import { ConfigProvider, Effect, Layer, Schedule } from "effect"
import { EventStore, Projection, Projections, SqlKeyStore } from "effect-eventsourcing"
import * as path from "node:path"
import { fileURLToPath } from "node:url"
import { Account } from "../fixtures/Account.js"
import { module } from "./accounts.js"
import { databases } from "./databases.js"
import { invoke, jsonOf } from "./invoke.js"

const projections = fileURLToPath(new URL("./modules/balances.ts", import.meta.url))

const fixtures = fileURLToPath(new URL("../fixtures/Account.ts", import.meta.url))

for (const { empty, name, on, written } of databases) {
  describe(`the command line on ${name}`, () => {
    it.scopedLive("lists streams and their events", () =>
      Effect.gen(function*() {
        const url = yield* written
        assert.deepStrictEqual(jsonOf(yield* invoke("streams", "--json", "--url", url)), [{ aggregate: "Account" }])
        const streams = yield* invoke("streams", "Account", "--url", url)
        assert.deepStrictEqual(streams.out.split("\n"), [
          "stream                version",
          "Account/a-1                 3",
          "Account/a-2                 2",
          "Account/a/\\u{1b}[31m        2"
        ])
        const rest = yield* invoke("streams", "Account", "--url", url, "--json", "--after", "a-1", "--limit", "1")
        assert.deepStrictEqual(jsonOf(rest), [{ stream: "Account/a-2", version: 2 }])

        const events = yield* invoke("events", "Account/a-1", "--url", url, "--json", "--from", "2", "--reverse")
        assert.deepStrictEqual(jsonOf(events).map(({ payload, version }) => [version, payload]), [
          [3, { _tag: "Deposited", amount: 2 }],
          [2, { _tag: "Deposited", amount: 5 }]
        ])
        assert.include((yield* invoke("events", "Account/none", "--url", url)).out, "no events")
      }))

    it.scopedLive("folds a state by a module of the user", () =>
      Effect.gen(function*() {
        const url = yield* written
        const stateAt = (...args: ReadonlyArray<string>) =>
          Effect.map(invoke("state", "Account/a-1", "--module", module, "--url", url, "--json", ...args), jsonOf)
        const [now] = yield* stateAt()
        assert.deepInclude(now, { version: 3, snapshotVersion: 2, replayed: 1, state: { open: true, balance: 7 } })
        assert.match(String(now.lastEventTime), /^\d{4}-.*Z$/)
        const [before] = yield* stateAt("--at", "1")
        assert.deepInclude(before, { version: 1, state: { open: true, balance: 0 } })
        const [early] = yield* stateAt("--at", "2000-01-01T00:00:00Z")
        assert.deepInclude(early, { version: 0, exists: false })
        const beyond = yield* invoke("state", "Account/a-1", "--module", module, "--url", url, "--at", "9")
        assert.strictEqual(beyond.code, 1)
        assert.include(beyond.err, "--at is 9, and Account/a-1 is at version 3")
        for (const at of ["-1", "5.5", "May 5", "2026-01", "2026-02-31", "2026-01-31T25:00:00Z", "1e0", ""]) {
          const refused = yield* invoke("state", "Account/a-1", "--module", module, "--url", url, "--at", at)
          assert.strictEqual(refused.code, 1, at)
          assert.include(refused.err, "--at is a version, which is a whole number from 0 on, or a time such as", at)
        }
        for (const at of ["2000-01-01", "2000-01-01T00:00:00.5+01:00"]) {
          assert.deepInclude((yield* stateAt("--at", at))[0], { version: 0, exists: false })
        }
      }))

    it.scopedLive("finds what belongs together, and ends at the end of the feed", () =>
      Effect.gen(function*() {
        const url = yield* written
        const trace = yield* invoke("trace", "c-7", "--url", url, "--json")
        assert.deepStrictEqual(jsonOf(trace).map(({ type }) => type), ["Opened", "Opened", "Opened"])
        const one = yield* invoke("trace", "open a-2", "--url", url, "--json")
        assert.deepStrictEqual(jsonOf(one).map(({ stream }) => stream), [{ aggregate: "Account", id: "a-2" }])
        const deposits = yield* invoke("tail", "--url", url, "--after", "start", "--type", "Deposited", "--no-follow")
        assert.strictEqual(deposits.out.split("\n").length, 4)
        assert.include((yield* invoke("tail", "--url", url, "--no-follow")).err, "--after start")
      }))

    it.scopedLive("verifies snapshots, and removes those that differ only if it is asked to", () =>
      Effect.gen(function*() {
        const url = yield* written
        const sound = yield* invoke("verify", "--module", module, "--url", url, "--json")
        assert.deepStrictEqual([sound.code, jsonOf(sound)], [0, [{
          verified: 1,
          noSnapshot: 2,
          removed: 0,
          deleted: 0,
          refuted: 0,
          failed: 0
        }]])
        const change = Effect.flatMap(
          SqlClient.SqlClient,
          (sql) => sql`UPDATE eventsourcing_snapshots SET state = '{"open":true,"balance":9}'`
        )
        yield* on(url, change)
        const looked = yield* invoke("verify", "--module", module, "--url", url, "--json")
        assert.strictEqual(looked.code, 1)
        assert.deepInclude(jsonOf(looked)[0], { outcome: "refuted", stream: "Account/a-1" })
        const removed = yield* invoke("verify", "Account/a-1", "--module", module, "--url", url, "--remove")
        assert.strictEqual(removed.code, 1)
        const after = yield* invoke("verify", "--module", module, "--url", url, "--json", "--sample", "1")
        assert.deepInclude(jsonOf(after)[0], { noSnapshot: 3, refuted: 0 })
      }))

    it.scopedLive("exports and imports, and an import that is run again stores nothing", () =>
      Effect.gen(function*() {
        const url = yield* written
        const lines = (yield* invoke("export", "--url", url)).out
        const fs = yield* FileSystem.FileSystem
        const path = yield* Path.Path
        const folder = yield* fs.makeTempDirectoryScoped()
        const file = path.join(folder, "events.ndjson")
        yield* fs.writeFileString(file, lines)

        const other = yield* empty
        const shy = yield* invoke("import", file, "--url", other, "--json")
        assert.deepStrictEqual(jsonOf(shy), [{ lines: 7, imported: 0, skipped: 0 }])
        assert.include(shy.err, "--yes")
        const first = yield* invoke("import", file, "--url", other, "--json", "--yes", "--batch", "2")
        assert.deepStrictEqual(jsonOf(first), [{ lines: 7, imported: 7, skipped: 0 }])
        const again = yield* invoke("import", file, "--url", other, "--json", "--yes")
        assert.deepStrictEqual(jsonOf(again), [{ lines: 7, imported: 0, skipped: 7 }])
        const withoutPositions = (text: string) =>
          text.split("\n").map((line) => ({ ...JSON.parse(line), position: "" }))
        assert.deepStrictEqual(
          withoutPositions((yield* invoke("export", "--url", other)).out),
          withoutPositions(lines)
        )

        // a file that was cut off in the middle of a line stores nothing
        yield* fs.writeFileString(file, lines.slice(0, -20))
        const third = yield* empty
        const cut = yield* invoke("import", file, "--url", third, "--yes")
        assert.strictEqual(cut.code, 1)
        assert.include(cut.err, "line 7 is not whole JSON")
        assert.strictEqual((yield* invoke("export", "--url", third)).out, "")

        // a database with other events of the stream
        const own = lines.split("\n")
        const foreign = { ...JSON.parse(own[3]), id: "of another history" }
        yield* fs.writeFileString(file, [...own.slice(0, 3), JSON.stringify(foreign)].join("\n"))
        const misfit = yield* invoke("import", file, "--url", other, "--yes", "--batch", "3")
        assert.strictEqual(misfit.code, 1)
        assert.match(misfit.err, /the database has other events of Account\/.*, which is at version \d/)
        assert.include(misfit.err, "events 4 to 4 of the file")

        // a file without its beginning
        yield* fs.writeFileString(file, own.slice(1).join("\n"))
        const headless = yield* invoke("import", file, "--url", third, "--yes")
        assert.strictEqual(headless.code, 1)
        assert.match(
          headless.err,
          /the next event of Account\/a-1 in the file is of version 2, and the database has its/
        )
        assert.include(headless.err, "up to version 0: events are missing between them, so export from the beginning")
      }).pipe(Effect.provide(NodeContext.layer)))

    it.scopedLive("shows subscriptions, resumes and drops", () =>
      Effect.gen(function*() {
        const url = yield* written
        const broken = Projection.make({
          name: "broken",
          on: [Account],
          handle: () => Effect.fail("the handler's own reason")
        })
        yield* on(
          url,
          Effect.flatMap(EventStore.EventStore, ({ head }) => head).pipe(
            Effect.flatMap((head) => Projections.awaitPosition("broken", head)),
            Effect.flip,
            Effect.provide(Projection.layer(broken, { poison: "stop" }))
          )
        )
        const status = yield* invoke("subscriptions", "--url", url)
        assert.match(status.out, /broken +1 +Projection +yes +1\/1 +7 /)
        assert.include(status.out, "the handler's own reason")
        const check = yield* invoke("subscriptions", "--url", url, "--check")
        assert.strictEqual(check.code, 1)
        assert.include(check.err, "not in order: broken 1 (stopped, no owner, 7 events behind)")
        assert.strictEqual((yield* invoke("subscriptions", "brokn", "--url", url, "--check")).code, 1)
        assert.strictEqual((yield* invoke("doctor", "--url", url)).code, 1)
        assert.deepStrictEqual(jsonOf(yield* invoke("resume", "broken", "--url", url, "--json")), [{ resumed: 1 }])
        assert.include((yield* invoke("parked", "broken", "--url", url)).out, "no parked events")
        assert.strictEqual((yield* invoke("resume", "brokn", "--url", url)).code, 1)
      }))

    it.scopedLive("lists parked events and drops them, and promotes a version that has caught up", () =>
      Effect.gen(function*() {
        const url = yield* written
        const handle = () => Effect.fail("not now")
        const parking = Projection.make({ name: "parking", on: [Projection.only(Account, ["Opened"])], handle })
        const second = Projection.make({ name: "parking", version: 2, on: [Account], handle: () => Effect.void })
        const caughtUp = Effect.gen(function*() {
          const { head } = yield* EventStore.EventStore
          yield* Projections.awaitPosition("parking", yield* head)
          const isDone = Effect.map(
            Projections.status("parking"),
            (all) => all.length === 2 && all.every(({ progress }) => progress.remaining === 0)
          )
          yield* Effect.repeat(isDone, { until: (done) => done, schedule: Schedule.spaced("20 millis") })
          const promoted = yield* invoke("rebuild", "parking", "--to-version", "2", "--url", url, "--json", "--yes")
          assert.deepStrictEqual(jsonOf(promoted), [{ name: "parking", version: 2, promoted: true }])
          assert.strictEqual(yield* Projections.activeVersion("parking"), 2)
        })
        const options = { poison: "park", retry: Schedule.stop } as const
        const both = Layer.provideMerge(Projection.layer(second), Projection.layer(parking, options))
        yield* on(url, Effect.provide(caughtUp, both))

        const parked = yield* invoke("parked", "parking", "--of-version", "1", "--url", url, "--json")
        const positions = jsonOf(parked).map(({ position }) => String(position))
        assert.strictEqual(positions.length, 3)
        const drop = (...args: ReadonlyArray<string>) =>
          invoke("drop", "parking", ...args, "--of-version", "1", "--url", url, "--json")
        const page = yield* invoke("parked", "parking", "--of-version", "1", "--url", url, "--limit", "2")
        assert.include(page.err, "There may be more: give --after the position of the last one")
        const rest = ["--of-version", "1", "--url", url, "--json", "--limit", "2", "--after", positions[1]]
        const last = jsonOf(yield* invoke("parked", "parking", ...rest))
        assert.deepStrictEqual(last.map(({ position }) => position), positions.slice(2))
        const check = yield* invoke("subscriptions", "--url", url, "--check")
        assert.include(check.err, "not in order: parking 2 (no owner, 0 events behind)")
        const doctor = jsonOf(yield* invoke("doctor", "--url", url, "--json"))
        assert.deepInclude(doctor, {
          check: "subscription parking 1",
          ok: true,
          detail: "0 events behind, no owner, 3 parked events"
        })

        const shy = yield* drop(positions[0])
        assert.deepStrictEqual(jsonOf(shy), [{ events: 1, dropped: false }])
        assert.include(shy.err, "give --yes to drop 1 parked event.")
        assert.deepStrictEqual(jsonOf(yield* drop(positions[0], "--yes")), [{ events: 1, dropped: true }])
        for (const args of [[], ["--yes"]]) {
          const gone = yield* drop(positions[0], positions[1], ...args)
          assert.strictEqual(gone.code, 1)
          assert.include(
            gone.err,
            `not all of these events are parked, so none was dropped: not parked: ${positions[0]}`
          )
        }
        assert.include((yield* drop("1", "--yes")).err, "POSITION")
        const missing = yield* invoke("rebuild", "parking", "--to-version", "7", "--url", url, "--yes")
        assert.include(missing.err, "start the program with it")
      }))

    it.scopedLive("prunes snapshots of old schema versions after --yes", () =>
      Effect.gen(function*() {
        const url = yield* written
        const prune = (...args: ReadonlyArray<string>) =>
          Effect.map(
            invoke("prune", "--aggregate", "Account", "--below", "2", "--url", url, "--json", ...args),
            jsonOf
          )
        assert.include((yield* invoke("prune", "--help")).out, "It leaves those that are the only source of a state")
        assert.include((yield* invoke("streams", "--help")).out, "How many to print. Default: 100")
        assert.deepStrictEqual(yield* prune(), [{ snapshots: 1, deleted: false }])
        assert.deepStrictEqual(yield* prune("--yes"), [{ snapshots: 1, deleted: true }])
        assert.deepStrictEqual(yield* prune("--yes"), [{ snapshots: 0, deleted: true }])
      }))

    it.scopedLive("finds a sound database in order", () =>
      Effect.gen(function*() {
        const url = yield* written
        const doctor = yield* invoke("doctor", "--url", url, "--json")
        const findings = jsonOf(doctor).filter(({ ok }) => ok !== true).map(({ check }) => check)
        // the test server runs without fsync
        assert.deepStrictEqual(findings.filter((check) => !/fsync|full_page|synchronous/.test(String(check))), [])
      }))

    it.scopedLive("does what the page of the docs shows", () =>
      Effect.gen(function*() {
        const url = yield* written
        const balances = Projection.make({ name: "balances", on: [Account], handle: () => Effect.void })
        yield* on(url, Effect.provide(Effect.void, Layer.merge(Projection.layer(balances), SqlKeyStore.layer)))
        const fs = yield* FileSystem.FileSystem
        const file = yield* fs.makeTempFileScoped()
        yield* fs.writeFileString(file, (yield* invoke("export", "--url", url)).out)
        const page = yield* fs.readFileString(fileURLToPath(new URL("../../docs/cli.md", import.meta.url)))
        const lines = Array.from(page.matchAll(/^npx effect-eventsourcing (.*)$/gm), ([, line]) => line)
          .filter((line) => !line.startsWith("inspect"))
        assert.isAbove(lines.length, 20)
        const other = yield* empty
        for (const line of lines) {
          const args = line.replace("./dist/aggregates.js", module).replace("./dist/projections.js", projections)
            .replace("events.ndjson", file)
            .match(/"[^"]*"|\S+/g)?.map((arg) => arg.replaceAll("\"", "")) ?? []
          const { code, err } = yield* invoke(...args, "--url", line.startsWith("import") ? other : url)
          // the test server runs without fsync
          assert.strictEqual(code, line === "doctor" && name === "PostgreSQL" ? 1 : 0, `${line}: ${err}`)
        }
      }).pipe(Effect.provide(NodeContext.layer)))

    it.scopedLive("refuses what it cannot use, and says what to do", () =>
      Effect.gen(function*() {
        const url = yield* written
        const cases: ReadonlyArray<readonly [args: ReadonlyArray<string>, says: string]> = [
          [["events", "Account", "--url", url], "a slash between"],
          [["events", "Account/", "--url", url], "is empty"],
          [["events", "Account/a-1", "--url", url, "--from", "-1"], "fromVersion"],
          [["tail", "--after", "yesterday", "--url", url], "the position of an event"],
          [["state", "Account/a-1", "--module", "./none.js", "--url", url], "cannot be loaded"],
          [["state", "Other/a-1", "--module", module, "--url", url], "does not export this aggregate"],
          [["streams", "Account", "--url", "/no/such/file.db"], "there is no database file /no/such/file.db at --url"],
          [["streams", "Account", "--url", path.dirname(fixtures)], "--url is the folder /"],
          [
            ["streams", "Account", "--url", "mysql://app:secret@host/bank"],
            "--url is a URL of mysql, which cannot be opened"
          ],
          [["streams", "Account", "--url", "postgres//app:secret@host/bank"], "there is no database file at --url"],
          [["streams", "Account", "--url", ""], "--url is empty"],
          [["streams", "Account", "--url", "x".repeat(5_000)], "there is no database file"],
          [["streams", "Account", "--url", "a\u0000b"], "there is no database file"],
          [["streams", "Account", "--url", url, "--prefix", "a;b"], "prefix"],
          [["streams", "Account", "--url", url, "--prefix", "other"], "--prefix other"],
          ...["0", "-3"].flatMap((limit): ReadonlyArray<readonly [ReadonlyArray<string>, string]> =>
            [["streams"], ["streams", "Account"], ["events", "Account/a-1"], ["snapshots"], ["parked", "balances"]].map(
              (args) => [[...args, "--url", url, "--limit", limit], `--limit is ${limit}; it must be a whole number`]
            )
          ),
          [["snapshots", "--url", url, "--after", "c-4"], "--after is the name of the aggregate and the id"],
          [["import", "/no/such/file", "--url", url], "the file cannot be read"],
          [["verify", "--module", module, "--url", url, "--sample", "0"], "--sample"],
          [["verify", "--module", fixtures, "--url", url], "several aggregates of one name"]
        ]
        for (const [args, says] of cases) {
          const { code, err } = yield* invoke(...args)
          assert.strictEqual(code, 1, args.join(" "))
          assert.include(err, says)
          assert.notMatch(err, /secret|migrate/)
        }
        const unknown = [
          ...["streams", "events", "trace", "snapshots", "subscriptions", "parked", "resume", "erase", "import"].map(
            (command) => [command, "--nope"]
          ),
          ["drop", "balances", "--nope"],
          ["rebuild", "--to-version", "2", "--nope"]
        ]
        for (const [command, ...args] of unknown) {
          const { code, err } = yield* invoke(command, "--url", url, ...args)
          assert.strictEqual(code, 2, command)
          assert.include(err, "unknown option --nope", command)
        }
        const before = yield* invoke("streams", "--nope", "--url", url)
        assert.strictEqual(before.code, 2)
        assert.include(before.err, "An option before --url is unknown")
        const variable = (url: string) =>
          Effect.withConfigProvider(ConfigProvider.fromMap(new Map([["DATABASE_URL", url]])))
        const elsewhere = yield* variable("none.db")(invoke("streams"))
        assert.include(elsewhere.err, "there is no database file none.db at DATABASE_URL")
        assert.strictEqual((yield* variable(url)(invoke("streams"))).code, 0)
        const nowhere = yield* Effect.withConfigProvider(invoke("streams"), ConfigProvider.fromMap(new Map()))
        assert.strictEqual(nowhere.code, 2)
        assert.include(nowhere.err, "set the variable DATABASE_URL")
        assert.strictEqual((yield* invoke("evnts", "--url", url)).code, 2)
        assert.strictEqual((yield* invoke("events", "--url", url)).code, 2)
      }))
  })
}
