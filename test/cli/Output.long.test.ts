// the command line as a process whose output cannot be written: it ends, and its status says so
import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer } from "effect"
import { SqlStores } from "effect-eventsourcing"
import * as childProcess from "node:child_process"
import * as fs from "node:fs"
import { fileURLToPath } from "node:url"
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
