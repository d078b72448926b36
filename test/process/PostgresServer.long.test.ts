import * as childProcess from "node:child_process"
import * as fs from "node:fs"
import * as os from "node:os"
import * as path from "node:path"
import { setTimeout } from "node:timers/promises"
import { assert, describe, it } from "vitest"
import { root, run } from "../utils/npm.js"

// nothing stays behind when who runs the server is killed, in whichever of its steps
describe("the server of the tests, killed with SIGKILL while", () => {
  const exists = (folder: string, ...names: ReadonlyArray<string>) =>
    fs.readdirSync(folder).some((name) => fs.existsSync(path.join(folder, name, ...names)))
  const steps: ReadonlyArray<readonly [name: string, reached: (folder: string, said: string) => boolean]> = [
    ["it initialises", (folder) => exists(folder, "data", "PG_VERSION")],
    ["it starts", (folder) => exists(folder, "log")],
    ["the server comes up", (folder) => exists(folder, "data", "postmaster.pid")],
    ["it runs", (_, said) => said.includes("postgres://")]
  ]
  for (const [name, reached] of steps) {
    it(name, async () => {
      const folder = fs.mkdtempSync(path.join(os.tmpdir(), "server-"))
      fs.chmodSync(folder, 0o755)
      const child = childProcess.spawn(
        process.execPath,
        ["--import", "tsx", path.join(root, "test/utils/postgres-server.ts"), `{"fsync":"off"}`],
        { detached: true, env: { ...process.env, TMPDIR: folder }, stdio: ["pipe", "pipe", "ignore"] }
      )
      let said = ""
      child.stdout.on("data", (chunk) => said += String(chunk))
      while (!reached(folder, said)) {
        assert.isNull(child.exitCode)
        await setTimeout(2)
      }
      child.kill("SIGKILL")
      const running = async () =>
        (await run("ps", ["-eo", "args"], folder)).split("\n").filter((line) =>
          line.includes(folder) && !line.includes("reaper")
        )
      // what is left for ever is a time-out
      const files = () => fs.readdirSync(folder).filter((name) => name.startsWith("postgres-"))
      while ((await running()).length > 0 || files().length > 0) await setTimeout(50)
      fs.rmSync(folder, { recursive: true })
    })
  }
})
