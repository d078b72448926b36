import { AggregateLaws } from "effect-eventsourcing/testing"
import * as childProcess from "node:child_process"
import * as fs from "node:fs"
import * as path from "node:path"
import { fileURLToPath } from "node:url"
import { afterAll, assert, describe, it, vi } from "vitest"
import { detect } from "../src/internal/laws/runner.js"
import { Account } from "./fixtures/Account.js"

const root = fileURLToPath(new URL("..", import.meta.url))
const folder = fs.mkdtempSync(path.join(root, "test", ".runner-"))
afterAll(() => fs.rmSync(folder, { recursive: true, force: true }))

const run = (file: string, ...args: ReadonlyArray<string>) => {
  const { NODE_OPTIONS: _options, VITEST: _vitest, NODE_V8_COVERAGE: _coverage, ...env } = process.env
  const { status, stderr, stdout } = childProcess.spawnSync(
    process.execPath,
    ["--import", "tsx", ...args, path.join(folder, file)],
    { cwd: root, encoding: "utf8", env }
  )
  return { status, output: stdout + stderr }
}

const program = (aggregate: string, from: string) => `
import { AggregateLaws } from "effect-eventsourcing/testing"
import { ${aggregate} } from "../fixtures/${from}.js"
AggregateLaws.suite(${aggregate}, { runs: 20, seed: 1 })
`

describe("AggregateLaws.suite", () => {
  it("finds vitest, which has no globals here", () => {
    assert.notProperty(globalThis, "describe")
    const runner = detect()
    assert.strictEqual<unknown>(runner.describe, describe)
    assert.strictEqual<unknown>(runner.it, it)
  })

  it("prefers globals, and what it is given to both", async () => {
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
      AggregateLaws.suite(Account, { runs: 5 })
    } finally {
      vi.unstubAllGlobals()
    }
    const laws = AggregateLaws.laws(Account).map(({ name }) => name)
    assert.deepStrictEqual(names, ["AggregateLaws: Account", ...laws])
    AggregateLaws.suite(Account, { runs: 5, runner, invariant: () => true })
    assert.strictEqual(names.length, 2 * laws.length + 3)
    for (const body of bodies) await body()
  })

  it("finds node:test, and fails there with the story", () => {
    fs.writeFileSync(path.join(folder, "sound.ts"), program("Account", "Account"))
    fs.writeFileSync(path.join(folder, "broken.ts"), program("FieldLeftOut", "planted"))
    const sound = run("sound.ts", "--test-reporter=tap", "--test")
    assert.strictEqual(sound.status, 0, sound.output)
    assert.match(sound.output, /# pass 6|ok 1 - AggregateLaws: Account/)
    const broken = run("broken.ts", "--test-reporter=tap", "--test")
    assert.strictEqual(broken.status, 1, broken.output)
    assert.include(broken.output, "GiftCard breaks the law")
    // a file that is run by itself, too
    assert.strictEqual(run("broken.ts").status, 1)
  }, 120_000)

  it("works under a clock that the test has faked", async () => {
    vi.useFakeTimers()
    try {
      const bodies: Array<() => Promise<void>> = []
      const runner = {
        describe: (_name: string, body: () => void) => body(),
        it: (_name: string, body: () => Promise<void>) => {
          bodies.push(body)
        }
      }
      AggregateLaws.suite(Account, { runs: 5, runner })
      for (const body of bodies) await body()
      assert.isAbove(bodies.length, 5)
    } finally {
      vi.useRealTimers()
    }
  })
})
