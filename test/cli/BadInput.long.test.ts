// the command line on databases that are not as it expects: newer ones, without rights, with hostile ids, and an import
// that was killed
import { FileSystem } from "@effect/platform"
import { NodeContext } from "@effect/platform-node"
import { SqlClient } from "@effect/sql"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Schedule } from "effect"
import { EventStore, ExpectedVersion, StreamId } from "effect-eventsourcing"
import * as childProcess from "node:child_process"
import * as fs from "node:fs"
import { fileURLToPath } from "node:url"
import { temporaryFolder } from "../utils/stores.js"
import { module } from "./accounts.js"
import { databases } from "./databases.js"
import { invoke, jsonOf } from "./invoke.js"

const main = fileURLToPath(new URL("../../src/cli/main.ts", import.meta.url))

const execute = (...statements: ReadonlyArray<string>) =>
  Effect.flatMap(
    SqlClient.SqlClient,
    (sql) => Effect.forEach(statements, (statement) => sql.unsafe(statement), { discard: true })
  )

const projections = fileURLToPath(new URL("./modules/balances.ts", import.meta.url))

/** Commands that only read. */
const looking: ReadonlyArray<ReadonlyArray<string>> = [
  ["streams"],
  ["streams", "Account"],
  ["events", "Account/a-1"],
  ["tail", "--after", "start", "--no-follow"],
  ["trace", "c-7"],
  ["snapshots"],
  ["snapshots", "--module", module],
  ["state", "Account/a-1", "--module", module],
  ["verify", "--module", module],
  ["subscriptions"],
  ["export"]
]

const changing = (file: string): ReadonlyArray<ReadonlyArray<string>> => [
  ["prune", "--aggregate", "Account", "--below", "9", "--yes"],
  ["delete", "Account/a-1", "--events", "keep", "--yes"],
  ["delete", "Account/a-1", "--events", "remove", "--yes"],
  ["import", file, "--yes"]
]

const others: ReadonlyArray<ReadonlyArray<string>> = [
  ["verify", "--module", module, "--remove"],
  ["parked", "balances"],
  ["retry", "balances", "--module", projections, "--yes"],
  ["resume", "balances"],
  ["drop", "balances", "00000000000000000000-00000000000000000001", "--yes"],
  ["rebuild", "balances", "--to-version", "2", "--yes"],
  ["erase", "customer-7", "--yes"],
  ["doctor"]
]

/** A file with one event of another stream. */
const file = Effect.map(temporaryFolder, (folder) => {
  const path = `${folder}/events.ndjson`
  fs.writeFileSync(
    path,
    `${JSON.stringify({ stream: StreamId.make("Account", "new"), type: "Opened", payload: {} })}\n`
  )
  return path
})

for (const { empty, name, on, written } of databases) {
  describe(`the command line on ${name}`, () => {
    it.scopedLive("looks into a database of a newer version, and changes nothing in it", () =>
      Effect.gen(function*() {
        const url = yield* written
        yield* on(url, execute("INSERT INTO eventsourcing_migrations (migration_id, name) VALUES (1000, 'of later')"))
        for (const args of looking) {
          const { code, err } = yield* invoke(...args, "--url", url)
          assert.strictEqual(code, 0, `${args.join(" ")}: ${err}`)
          assert.include(err, "the tables are of a newer version")
        }
        const before = (yield* invoke("export", "--url", url)).out
        for (const args of [...changing(yield* file), ["verify", "--module", module, "--remove"]]) {
          const { code, err } = yield* invoke(...args, "--url", url)
          assert.strictEqual(code, 1, args.join(" "))
          assert.include(err, "use the command line of the program's version")
        }
        assert.strictEqual((yield* invoke("export", "--url", url)).out, before)
        const doctor = yield* invoke("doctor", "--url", url)
        assert.strictEqual(doctor.code, 1)
        assert.match(doctor.out, /version +NOT OK/)
      }))

    it.scopedLive("takes hostile ids and texts as they are, and prints nothing that controls a terminal", () =>
      Effect.gen(function*() {
        const url = yield* empty
        const ids = [
          ...["\u001b[2J\u009b31m", "\u202etxt.exe", "../../etc/passwd", "a/b//c", "__proto__", "constructor"],
          ...["'; DROP TABLE eventsourcing_events; --", "\" OR \"\"=\"", "%00", "--json", "{}", "😀", " "]
        ]
        yield* on(
          url,
          Effect.flatMap(
            EventStore.EventStore,
            (store) =>
              Effect.forEach(ids, (id, index) =>
                store.append(StreamId.make("Account", id), [{
                  id: `${index} ${id}`,
                  type: "Opened",
                  payload: { _tag: "Opened", text: "\u001b[31m\u009b\u202e" },
                  metadata: { correlationId: id }
                }], { expectedVersion: ExpectedVersion.noStream }))
          )
        )

        const controls = /[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u202a-\u202e]/
        const quiet = (...args: ReadonlyArray<string>) =>
          Effect.tap(invoke(...args, "--url", url), ({ err, out }) =>
            Effect.sync(() => {
              assert.notMatch(out, controls, args.join(" "))
              assert.notMatch(err, controls, args.join(" "))
            }))
        for (const args of looking) {
          yield* quiet(...args)
          yield* quiet(...args, "--json")
        }
        const listed = jsonOf(yield* quiet("streams", "Account", "--json")).map(({ stream }) => stream)
        assert.sameMembers(listed, ids.map((id) => `Account/${id}`))
        for (const id of ids) {
          const stream = `Account/${id}`
          const [event] = jsonOf(yield* quiet("events", stream, "--json"))
          assert.deepStrictEqual(event.stream, { aggregate: "Account", id })
          assert.deepInclude(event.payload, { text: "\u001b[31m\u009b\u202e" })
          const [state] = jsonOf(yield* quiet("state", stream, "--module", module, "--json"))
          assert.deepInclude(state, { stream, version: 1 })
          assert.strictEqual((yield* quiet("snapshots", stream, "--module", module)).code, 0)
          assert.strictEqual((yield* quiet("verify", stream, "--module", module)).code, 0)
          // an argument that begins with a dash is an option, for every command line
          if (!id.startsWith("--")) assert.isAbove(jsonOf(yield* quiet("trace", id, "--json")).length, 0)
          assert.include((yield* quiet("delete", stream, "--events", "keep")).err, "give --yes")
          const [deleted] = jsonOf(yield* quiet("delete", stream, "--events", "remove", "--yes", "--json"))
          assert.deepInclude(deleted, { stream, deleted: true })
        }
        assert.include((yield* quiet("verify", "--module", "./\u001b[2J.js")).err, "./\\u{1b}[2J.js cannot be loaded")
        for (const id of ["\u0000", "a\u0000b", "\ud800", "x".repeat(5_000)]) {
          for (
            const args of [
              ["events", `Account/${id}`],
              ["state", `Account/${id}`, "--module", module],
              ["delete", `Account/${id}`, "--events", "keep", "--yes"],
              ["snapshots", `Account/${id}`],
              ["verify", `Account/${id}`, "--module", module],
              ["streams", id],
              ["tail", "--no-follow", "--after", "start", "--aggregate", id],
              ["prune", "--aggregate", id, "--below", "2", "--yes"],
              ["parked", id],
              ["resume", id],
              ["subscriptions", id, "--check"],
              ["erase", id, "--yes"]
            ]
          ) {
            const { code, err } = yield* quiet(...args)
            assert.strictEqual(code, 1, args.join(" "))
            assert.notMatch(err, /^\s*at .*\.ts:/m, args.join(" "))
          }
        }
        assert.strictEqual((yield* invoke("doctor", "--url", url)).code, name === "SQLite" ? 0 : 1)
      }))

    it.scopedLive("stores every event once by an import that was killed, and run again", () =>
      Effect.gen(function*() {
        const [source, target] = [yield* empty, yield* empty]
        const payload = { _tag: "Deposited", amount: 1, note: "n".repeat(2_000) }
        yield* on(
          source,
          Effect.flatMap(EventStore.EventStore, (store) =>
            Effect.forEach(
              Array.from({ length: 40 }, (_, index) => index),
              (stream) =>
                store.append(
                  StreamId.make("Account", String(stream)),
                  [
                    { id: `${stream}-0`, type: "Deposited", payload },
                    ...Array.from(
                      { length: 99 },
                      (_, index) => ({ id: `${stream}-${index + 1}`, type: "Deposited", payload })
                    )
                  ],
                  { expectedVersion: ExpectedVersion.noStream }
                )
            ))
        )
        const lines = (yield* invoke("export", "--url", source)).out
        const files = yield* FileSystem.FileSystem
        const file = `${yield* files.makeTempDirectoryScoped()}/events.ndjson`
        yield* files.writeFileString(file, lines)

        const child = yield* Effect.acquireRelease(
          Effect.sync(() =>
            childProcess.spawn(
              process.execPath,
              ["--import", "tsx", main, "import", file, "--url", target, "--yes", "--batch", "1"],
              { stdio: "ignore" }
            )
          ),
          (child) => Effect.sync(() => child.kill("SIGKILL"))
        )
        const stored = on(
          target,
          Effect.flatMap(SqlClient.SqlClient, (sql) => sql`SELECT event_id FROM eventsourcing_events`)
        )
        yield* Effect.repeat(stored, { until: (rows) => rows.length > 50, schedule: Schedule.spaced("20 millis") })
        child.kill("SIGKILL")
        yield* Effect.async<void>((resume) => void child.once("close", () => resume(Effect.void)))
        const part = (yield* stored).length
        assert.isBelow(part, 4_000)
        const again = yield* invoke("import", file, "--url", target, "--yes", "--json")
        assert.deepStrictEqual(jsonOf(again), [{ lines: 4_000, imported: 4_000 - part, skipped: part }])
        const withoutPositions = (text: string) =>
          text.split("\n").map((line) => ({ ...JSON.parse(line), position: "" }))
        assert.deepStrictEqual(
          withoutPositions((yield* invoke("export", "--url", target)).out),
          withoutPositions(lines)
        )
      }).pipe(Effect.provide(NodeContext.layer)))

    it.scopedLive("imports nothing of a file that has a marker without its version", () =>
      Effect.gen(function*() {
        const target = yield* empty
        const files = yield* FileSystem.FileSystem
        const file = `${yield* files.makeTempDirectoryScoped()}/events.ndjson`
        const line = { stream: { aggregate: "Account", id: "a" }, type: "Opened", payload: { _tag: "Opened" } }
        const marker = { ...line, id: "m", type: "$deleted", payload: {} }
        yield* files.writeFileString(file, [line, marker].map((line) => JSON.stringify(line)).join("\n"))
        const { code, err } = yield* invoke("import", file, "--url", target, "--yes")
        assert.strictEqual(code, 1)
        assert.include(err, "line 2 cannot be stored: it is $deleted, which must have its id and its version")
        assert.strictEqual((yield* invoke("export", "--url", target)).out, "")
      }).pipe(Effect.provide(NodeContext.layer)))
  })
}

describe("the command line of a user of PostgreSQL", () => {
  /** A role with some rights on a database with three accounts. */
  const as = (...rights: ReadonlyArray<string>) =>
    Effect.gen(function*() {
      const [, database] = databases
      const url = yield* database.written
      const role = `cli_${crypto.randomUUID().replaceAll("-", "")}`
      yield* Effect.acquireRelease(
        database.on(
          url,
          execute(`CREATE ROLE ${role} LOGIN PASSWORD 'app'`, ...rights.map((right) => `GRANT ${right} TO ${role}`))
        ),
        () => Effect.orDie(database.on(url, execute(`DROP OWNED BY ${role}`, `DROP ROLE ${role}`)))
      )
      const connected = new URL(url)
      connected.username = role
      connected.password = "app"
      return { url, role: connected.href }
    })
  const told = (args: ReadonlyArray<string>, { code, err }: { readonly code: number; readonly err: string }) => {
    assert.strictEqual(code, 1, args.join(" "))
    assert.match(err, /permission denied|SubscriptionMismatch|no process has registered|not in order/, args.join(" "))
    assert.notInclude(err, "postgres://")
    assert.notMatch(err, /^\s*at /m)
  }

  it.scopedLive.runIf(databases.length > 1)(
    "who may only SELECT sees everything, and is told what lacks",
    () =>
      Effect.gen(function*() {
        const { role, url } = yield* as("SELECT ON ALL TABLES IN SCHEMA public")
        for (const args of looking) {
          const { code, err } = yield* invoke(...args, "--url", role)
          assert.strictEqual(code, 0, `${args.join(" ")}: ${err}`)
        }
        const before = (yield* invoke("export", "--url", url)).out
        for (const args of changing(yield* file)) {
          const result = yield* invoke(...args, "--url", role)
          told(args, result)
          assert.include(result.err, "permission denied")
        }
        const doctor = yield* invoke("doctor", "--url", role)
        assert.include(doctor.out, "the user lacks INSERT")
        assert.strictEqual((yield* invoke("export", "--url", url)).out, before)
        assert.strictEqual(jsonOf(yield* invoke("snapshots", "--url", url, "--json")).length, 1)
      })
  )

  it.scopedLive.runIf(databases.length > 1)(
    "who has no rights is told so by every command",
    () =>
      Effect.gen(function*() {
        const { role, url } = yield* as()
        const before = (yield* invoke("export", "--url", url)).out
        for (const args of [...looking, ...changing(yield* file), ...others]) {
          const result = yield* invoke(...args, "--url", role)
          if (args[0] === "erase") assert.include(result.err, "no key store can be read")
          else told(args, result)
        }
        assert.strictEqual((yield* invoke("export", "--url", url)).out, before)
      })
  )
})
