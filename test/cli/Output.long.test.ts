// the command line as a process: its output is for programs, and if it cannot be written, the status says so
import { SqlClient } from "@effect/sql"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer } from "effect"
import { SqlStores, Streams } from "effect-eventsourcing"
import * as childProcess from "node:child_process"
import * as fs from "node:fs"
import { fileURLToPath } from "node:url"
import { stream } from "../fixtures/Account.js"
import { sharedDatabases } from "../utils/backends.js"
import { accounts } from "./accounts.js"

const [, database, client] = sharedDatabases[0]
const written = Effect.tap(database, (url) => Effect.provide(accounts, Layer.provide(SqlStores.layer, client(url))))

const main = fileURLToPath(new URL("../../src/cli/main.ts", import.meta.url))

const started = (args: ReadonlyArray<string>, stdout: "pipe" | number) =>
  Effect.acquireRelease(
    Effect.sync(() =>
      childProcess.spawn(process.execPath, ["--import", "tsx", main, ...args], { stdio: ["ignore", stdout, "pipe"] })
    ),
    (child) => Effect.sync(() => child.kill("SIGKILL"))
  )

const ended = (child: childProcess.ChildProcess) =>
  Effect.async<{ readonly code: number | null; readonly err: string }>((resume) => {
    let err = ""
    child.stderr?.on("data", (text) => (err += String(text)))
    child.on("close", (code) => resume(Effect.succeed({ code, err })))
  })

describe("the output of the command line", () => {
  it.scopedLive("has no lines of the log, each of which is once among the errors", () =>
    Effect.gen(function*() {
      const url = yield* written
      const args = ["retention", "--tombstones", "1 day", "--yes", "--json", "--url", url]
      yield* Effect.provide(
        Effect.gen(function*() {
          const streams = yield* Streams.Streams
          const sql = yield* SqlClient.SqlClient
          yield* streams.delete(stream("a-1"), { events: "keep" })
          yield* sql`UPDATE eventsourcing_events SET time = time - 172800000 WHERE type = '$deleted'`
        }),
        Layer.provideMerge(Streams.layer, Layer.provideMerge(SqlStores.layer, client(url)))
      )
      const child = yield* started(args, "pipe")
      let out = ""
      child.stdout?.on("data", (text) => (out += String(text)))
      const { code, err } = yield* ended(child)
      assert.strictEqual(code, 0)
      assert.deepStrictEqual(Object.keys(JSON.parse(out)), ["done", "tombstones"])
      assert.strictEqual(err.split("retention removed old data").length, 2, err)
    }))

  it.scopedLive("is read no longer: a tail ends", () =>
    Effect.gen(function*() {
      const url = yield* written
      const child = yield* started(["tail", "--after", "start", "--url", url], "pipe")
      child.stdout?.destroy()
      assert.deepStrictEqual(yield* ended(child), { code: 141, err: "" })
    }))

  it.scopedLive.runIf(fs.existsSync("/dev/full"))("finds the disk full: an export fails", () =>
    Effect.gen(function*() {
      const url = yield* written
      const full = yield* Effect.acquireRelease(
        Effect.sync(() => fs.openSync("/dev/full", "w")),
        (file) => Effect.sync(() => fs.closeSync(file))
      )
      const { code, err } = yield* Effect.flatMap(started(["export", "--url", url], full), ended)
      assert.strictEqual(code, 1)
      assert.include(err, "is not complete")
    }))
})
