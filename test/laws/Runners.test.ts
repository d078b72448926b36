import { AggregateLaws } from "effect-eventsourcing/testing"
import * as childProcess from "node:child_process"
import * as fs from "node:fs"
import * as path from "node:path"
import { afterAll, assert, describe, it, vi } from "vitest"
import { detect } from "../../src/internal/laws/runner.js"
import { Account } from "../fixtures/Account.js"
import { everything } from "../utils/mode.js"
import { root } from "../utils/npm.js"

const folder = fs.mkdtempSync(path.join(root, "test", ".runner-"))
afterAll(() => fs.rmSync(folder, { recursive: true, force: true }))

const program = `
import { AggregateLaws } from "effect-eventsourcing/testing"
import { Account } from "../fixtures/Account.js"
import { FieldLeftOut } from "../fixtures/planted.js"
AggregateLaws.suite(Account, { runs: 20, seed: 1 })
AggregateLaws.suite(FieldLeftOut, { runs: 20, seed: 1 })
`

const run = (file: string): Promise<{ readonly status: number | null; readonly output: string }> =>
  new Promise((resolve) => {
    const { NODE_OPTIONS: _options, VITEST: _vitest, NODE_V8_COVERAGE: _coverage, ...env } = process.env
    const child = childProcess.spawn(process.execPath, ["--import", "tsx", "--test-reporter=tap", file], {
      cwd: root,
      env
    })
    let output = ""
    child.stdout.on("data", (chunk) => output += chunk)
    child.stderr.on("data", (chunk) => output += chunk)
    child.on("close", (status) => resolve({ status, output }))
  })

describe("AggregateLaws.suite", () => {
  it("finds vitest, which has no globals here", () => {
    assert.notProperty(globalThis, "describe")
    const runner = detect()
    assert.strictEqual<unknown>(runner.describe, describe)
    assert.strictEqual<unknown>(runner.it, it)
  })

  it("prefers globals, and a given runner to both", async () => {
    const names: Array<string> = []
    const bodies: Array<() => Promise<void>> = []
    const runner = {
      describe: (name: string, body: () => void) => {
        names.push(name)
        body()
      },
      it: (name: string, body: () => Promise<void>) => {
        names.push(name)
        bodies.push(body)
      }
    }
    try {
      vi.stubGlobal("describe", runner.describe)
      vi.stubGlobal("it", runner.it)
      AggregateLaws.suite(Account, { runs: 5, seed: 1 })
    } finally {
      vi.unstubAllGlobals()
    }
    const laws = AggregateLaws.laws(Account).map(({ name }) => name)
    assert.deepStrictEqual(names, ["AggregateLaws: Account", ...laws])
    AggregateLaws.suite(Account, { runs: 5, seed: 1, runner, invariant: () => true })
    assert.strictEqual(names.length, 2 * laws.length + 3)
    for (const body of bodies) await body()
  })

  it.runIf(everything)("finds node:test, passes there, and fails there with the report", async () => {
    const file = path.join(folder, "suites.ts")
    fs.writeFileSync(file, program)
    const { output, status } = await run(file)
    assert.strictEqual(status, 1, output)
    assert.match(output, /^ok 1 - AggregateLaws: Account$/m)
    assert.match(output, /^not ok 2 - AggregateLaws: GiftCard$/m)
    assert.include(output, "GiftCard breaks the law")
  })

  it("works under a fake clock of the test", async () => {
    vi.useFakeTimers()
    try {
      const bodies: Array<() => Promise<void>> = []
      const runner = {
        describe: (_name: string, body: () => void) => body(),
        it: (_name: string, body: () => Promise<void>) => {
          bodies.push(body)
        }
      }
      AggregateLaws.suite(Account, { runs: 5, seed: 1, runner })
      for (const body of bodies) await body()
      assert.isAbove(bodies.length, 5)
    } finally {
      vi.useRealTimers()
    }
  })
})
