import * as childProcess from "node:child_process"
import * as fs from "node:fs"
import * as os from "node:os"
import * as path from "node:path"
import { assert, describe, it } from "vitest"
import { nodeArguments } from "../utils/compile.js"
import { everything } from "../utils/mode.js"
import { root } from "../utils/npm.js"

// a folder of its own for temporary files, so that what is left behind can be seen
const runTutorial = async (
  args: ReadonlyArray<string>,
  watch: (child: childProcess.ChildProcessWithoutNullStreams) => unknown = () => {}
) => {
  const temporary = fs.mkdtempSync(path.join(os.tmpdir(), "tutorial-test-"))
  const { code, output } = await new Promise<{ code: number | null; output: string }>((resolve) => {
    const child = childProcess.spawn(process.execPath, [...nodeArguments("examples/tutorial.ts"), ...args], {
      cwd: root,
      env: { ...process.env, TMPDIR: temporary }
    })
    let output = ""
    watch(child)
    child.stdout.on("data", (chunk) => output += String(chunk))
    child.stderr.on("data", (chunk) => output += String(chunk))
    child.on("close", (code) => resolve({ code, output }))
  })
  const left = fs.readdirSync(temporary).filter((name) => !name.startsWith("tsx-"))
  const kept = left.flatMap((name) => fs.readdirSync(path.join(temporary, name)))
  fs.rmSync(temporary, { recursive: true, force: true })
  return { code, output, left, kept }
}

const number = String.raw`\d+\.\d+`
const expected = (sizes: ReadonlyArray<number>): ReadonlyArray<RegExp> => [
  /^== Performance: one account, 1 opening and 200 transactions ==$/,
  /^Version 201, balance 500$/,
  new RegExp(`^Mean of 100 loads without snapshot: ${number} ms$`),
  new RegExp(`^Mean of 100 loads with snapshot: +${number} ms$`),
  new RegExp(`^Improvement: ${number}x$`),
  /^== Performance: load time against stream length ==$/,
  ...sizes.map((events) => new RegExp(`^Seeding ${events} events$`)),
  /^Events +Without snapshot +With snapshot +Improvement$/,
  /^[- ]+$/,
  ...sizes.map((events) => new RegExp(`^ *${events} +${number} ms +${number} ms +${number}x$`)),
  /^Load time, logarithmic scale$/,
  ...sizes.flatMap((events) => [
    new RegExp(`^ *${events} without █+ ${number} ms$`),
    new RegExp(`^ *${events} with █+ ${number} ms$`)
  ]),
  /^== Modes: sync, background, manual ==$/,
  /^Mode sync, threshold 10, opening and 15 deposits in one save$/,
  /^Snapshot at version 16$/,
  /^Mode background, threshold 10, opening and 15 deposits in one save$/,
  /^Snapshot at version 16$/,
  /^Mode manual, opening and 20 deposits$/,
  /^Auto snapshot: false$/,
  /^After manual create: snapshot at version 21$/,
  /^== Schema versions: a snapshot of version 1 read by version 2 ==$/,
  /^Typed failure: SchemaVersionMismatch \{ found: 1, expected: 2 \}$/,
  /^Full replay: 16 events, balance 150$/,
  /^Repaired: snapshot at version 16, 0 events replayed, balance 150$/,
  new RegExp(`^Deleted ${5 + sizes.length} snapshots of schema versions below 2$`)
]

const check = (output: string, sizes: ReadonlyArray<number> = [100, 1_000, 10_000, 100_000]) => {
  const patterns = expected(sizes)
  const lines = output.split("\n").filter((line) => line !== "")
  for (const [index, pattern] of patterns.entries()) assert.match(lines[index] ?? "", pattern)
  return lines.slice(patterns.length)
}

describe("npm run tutorial", () => {
  it("prints what it promises with short streams, in memory, and leaves nothing behind", async () => {
    const { code, left, output } = await runTutorial(["--short", "--memory"])
    assert.deepStrictEqual(check(output, [100, 1_000]), [])
    assert.strictEqual(code, 0)
    assert.deepStrictEqual(left, [])
  })

  it.runIf(everything)("prints what it promises, on a file, and leaves nothing behind", async () => {
    const { code, left, output } = await runTutorial([])
    assert.deepStrictEqual(check(output), [])
    assert.strictEqual(code, 0)
    assert.deepStrictEqual(left, [])
  })

  it.runIf(everything)("prints the same in memory", async () => {
    const { code, left, output } = await runTutorial(["--memory"])
    assert.deepStrictEqual(check(output), [])
    assert.strictEqual(code, 0)
    assert.deepStrictEqual(left, [])
  })

  it.runIf(everything)("keeps the file when asked to", async () => {
    const { code, kept, output } = await runTutorial(["--keep"])
    const [last, ...more] = check(output)
    assert.match(last, /^Kept .*bank\.db$/)
    assert.deepStrictEqual(more, [])
    assert.strictEqual(code, 0)
    assert.include(kept, "bank.db")
  })

  it.runIf(everything)("leaves nothing behind when it is stopped half way", async () => {
    for (const signal of ["SIGINT", "SIGTERM"] as const) {
      const { left } = await runTutorial(
        [],
        (child) => child.stdout.on("data", (chunk) => String(chunk).includes("Seeding 10000 ") && child.kill(signal))
      )
      assert.deepStrictEqual(left, [])
    }
    const { left } = await runTutorial([], (child) => child.stdout.once("data", () => child.stdout.destroy()))
    assert.deepStrictEqual(left, [])
  })

  it("names an option it does not know", async () => {
    const { code, output } = await runTutorial(["--bogus"])
    assert.strictEqual(code, 1)
    assert.include(output, "--bogus")
  })
})
