import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import * as childProcess from "node:child_process"
import * as fs from "node:fs"
import * as os from "node:os"
import * as path from "node:path"
import { fileURLToPath } from "node:url"
import { inject } from "vitest"
import { temporaryDatabase } from "./utils/postgres.js"

const root = fileURLToPath(new URL("..", import.meta.url))

const run = (...args: ReadonlyArray<string>) =>
  childProcess.spawnSync(process.execPath, ["--import", "tsx", "examples/swap-backends.ts", ...args], {
    cwd: root,
    encoding: "utf8"
  })

describe("examples/swap-backends.ts", () => {
  it.scopedLive("prints the same on every backend", () =>
    Effect.map(temporaryDatabase(inject("postgres")), (url) => {
      const folder = fs.mkdtempSync(path.join(os.tmpdir(), "swap-"))
      const outputs = [
        run("memory"),
        run("sqlite"),
        run("sqlite", "--file", path.join(folder, "bank.db")),
        run("postgres", "--url", url)
      ].map(({ stderr, stdout }) => stderr + stdout)
      fs.rmSync(folder, { recursive: true, force: true })
      const expected = [
        "Balance 160 at version 17",
        "Refused: InsufficientFunds",
        "Snapshot and tail cover the stream: true",
        `Events: Opened ${Array.from({ length: 16 }).fill("Deposited").join(" ")}`,
        ""
      ].join("\n")
      for (const output of outputs) assert.strictEqual(output, expected)
    }), 60_000)

  it("reports invalid arguments", () => {
    const unknown = run("oracle")
    assert.strictEqual(unknown.status, 1)
    assert.include(unknown.stderr, "choose memory, sqlite or postgres")
    const nobody = run("postgres", "--url", "postgres://127.0.0.1:1/none")
    assert.strictEqual(nobody.status, 1)
    assert.include(nobody.stderr, "connect")
  }, 60_000)
})
