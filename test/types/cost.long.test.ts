import { assert, describe, it } from "@effect/vitest"
import * as childProcess from "node:child_process"
import * as fs from "node:fs"
import * as path from "node:path"
import { fileURLToPath } from "node:url"
import { type Form, generate } from "./generate.js"

const root = fileURLToPath(new URL("../..", import.meta.url))
const folder = path.join(root, "test", ".generated-cost")

const instantiations = async (form: Form): Promise<number> => {
  const project = path.join(folder, `${form.schemas}-${form.aggregates}`)
  fs.mkdirSync(project, { recursive: true })
  fs.writeFileSync(path.join(project, "program.ts"), generate(form))
  fs.writeFileSync(
    path.join(project, "tsconfig.json"),
    JSON.stringify({
      extends: path.join(root, "tsconfig.json"),
      compilerOptions: { incremental: false, tsBuildInfoFile: null, rootDir: root },
      include: ["./program.ts"]
    })
  )
  const printed = await new Promise<string>((resolve) =>
    childProcess.execFile(
      process.execPath,
      [path.join(root, "node_modules/typescript/bin/tsc"), "--pretty", "false", "--extendedDiagnostics", "-p", project],
      (_, stdout) => resolve(stdout)
    )
  )
  assert.notInclude(printed, "error TS")
  return Number(/^Instantiations: +(\d+)/m.exec(printed)?.[1])
}

// One aggregate of 15 events and 4 commands, its schemas and a program that uses it. The difference of two programs leaves out
// what the library itself and the first aggregate cost. The counts are the compiler's, so they do not depend on the machine.
describe("an aggregate needs at most a given number of type instantiations", () => {
  for (const [schemas, budget] of [["class", 50_000], ["struct", 27_000]] as const) {
    it(schemas, async () => {
      const form = { events: 15, commands: 4, schemas, parts: "all" } as const
      const one = await instantiations({ ...form, aggregates: 1 })
      const eleven = await instantiations({ ...form, aggregates: 11 })
      fs.rmSync(folder, { recursive: true, force: true })
      assert.isAtMost((eleven - one) / 10, budget)
    }, 300_000)
  }
})
