import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import * as childProcess from "node:child_process"
import * as fs from "node:fs"
import * as os from "node:os"
import * as path from "node:path"
import { nodeArguments } from "../utils/compile.js"
import { root } from "../utils/npm.js"
import { temporaryDatabase } from "../utils/postgres.js"
import { postgresUrl } from "../utils/server.js"

const run = (...args: ReadonlyArray<string>) =>
  new Promise<{ readonly status: number; readonly stdout: string; readonly stderr: string }>((resolve) =>
    childProcess.execFile(
      process.execPath,
      [...nodeArguments("examples/swap-backends.ts"), ...args],
      { cwd: root },
      (error, stdout, stderr) => resolve({ status: Number(error?.code ?? 0), stdout, stderr })
    )
  )

describe("examples/swap-backends.ts", () => {
  it.scopedLive("prints the same on every backend", () =>
    Effect.gen(function*() {
      const url = yield* temporaryDatabase(postgresUrl())
      const folder = fs.mkdtempSync(path.join(os.tmpdir(), "swap-"))
      const all = [["memory"], ["sqlite"], ["sqlite", "--file", path.join(folder, "bank.db")], [
        "postgres",
        "--url",
        url
      ]]
      const outputs: Array<string> = []
      for (const args of all) {
        const { stderr, stdout } = yield* Effect.promise(() => run(...args))
        outputs.push(stderr + stdout)
      }
      fs.rmSync(folder, { recursive: true, force: true })
      const expected = [
        "Balance 160 at version 17",
        "Refused: InsufficientFunds",
        "Snapshot and tail cover the stream: true",
        `Events: Opened ${Array.from({ length: 16 }).fill("Deposited").join(" ")}`,
        ""
      ].join("\n")
      for (const output of outputs) assert.strictEqual(output, expected)
    }))

  it("reports invalid arguments", async () => {
    const unknown = await run("oracle")
    assert.strictEqual(unknown.status, 1)
    assert.include(unknown.stderr, "choose memory, sqlite or postgres")
    const nobody = await run("postgres", "--url", "postgres://127.0.0.1:1/none")
    assert.strictEqual(nobody.status, 1)
    assert.include(nobody.stderr, "connect")
  })
})
