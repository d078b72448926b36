import * as childProcess from "node:child_process"
import * as fs from "node:fs"
import * as os from "node:os"
import * as path from "node:path"
import { fileURLToPath } from "node:url"
import { assert, describe, it } from "vitest"

const root = fileURLToPath(new URL("..", import.meta.url))

// a folder of its own for temporary files, so that what is left behind can be seen
const runTutorial = async (
  args: ReadonlyArray<string>,
  watch: (child: childProcess.ChildProcessWithoutNullStreams) => unknown = () => {}
) => {
  const temporary = fs.mkdtempSync(path.join(os.tmpdir(), "tutorial-test-"))
  const { code, output } = await new Promise<{ code: number | null; output: string }>((resolve) => {
    const child = childProcess.spawn(process.execPath, ["--import", "tsx", "examples/tutorial.ts", ...args], {
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
const expected: ReadonlyArray<RegExp> = [
  /^== Performance: one account, 1 opening and 200 transactions ==$/,
  /^Version 201, balance 500$/,
  new RegExp(`^Mean of 100 loads without snapshot: ${number} ms$`),
  new RegExp(`^Mean of 100 loads with snapshot: +${number} ms$`),
  new RegExp(`^Improvement: ${number}x$`),
  /^== Performance: load time against stream length ==$/,
  /^Seeding 100 events$/,
  /^Seeding 1000 events$/,
  /^Seeding 10000 events$/,
  /^Seeding 100000 events$/,
  /^Events +Without snapshot +With snapshot +Improvement$/,
  /^[- ]+$/,
  ...["100", "1000", "10000", "100000"].map((events) =>
    new RegExp(`^ *${events} +${number} ms +${number} ms +${number}x$`)
  ),
  /^Load time, logarithmic scale$/,
  ...["100", "1000", "10000", "100000"].flatMap((events) => [
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
  /^Deleted 9 snapshots of schema versions below 2$/
]

const check = (output: string) => {
  const lines = output.split("\n").filter((line) => line !== "")
  for (const [index, pattern] of expected.entries()) assert.match(lines[index] ?? "", pattern)
  return lines.slice(expected.length)
}

describe("npm run tutorial", () => {
  it("prints what it promises, on a file, and leaves nothing behind", async () => {
    const { code, left, output } = await runTutorial([])
    assert.deepStrictEqual(check(output), [])
    assert.strictEqual(code, 0)
    assert.deepStrictEqual(left, [])
  }, 120_000)

  it("prints the same in memory", async () => {
    const { code, left, output } = await runTutorial(["--memory"])
    assert.deepStrictEqual(check(output), [])
    assert.strictEqual(code, 0)
    assert.deepStrictEqual(left, [])
  }, 120_000)

  it("keeps the file when asked to", async () => {
    const { code, kept, output } = await runTutorial(["--keep"])
    const [last, ...more] = check(output)
    assert.match(last, /^Kept .*bank\.db$/)
    assert.deepStrictEqual(more, [])
    assert.strictEqual(code, 0)
    assert.include(kept, "bank.db")
  }, 120_000)

  it("leaves nothing behind when it is stopped half way", async () => {
    for (const signal of ["SIGINT", "SIGTERM"] as const) {
      const { left } = await runTutorial(
        [],
        (child) => child.stdout.on("data", (chunk) => String(chunk).includes("Seeding 10000 ") && child.kill(signal))
      )
      assert.deepStrictEqual(left, [])
    }
    const { left } = await runTutorial([], (child) => child.stdout.once("data", () => child.stdout.destroy()))
    assert.deepStrictEqual(left, [])
  }, 120_000)

  it("names an option it does not know", async () => {
    const { code, output } = await runTutorial(["--bogus"])
    assert.strictEqual(code, 1)
    assert.include(output, "--bogus")
  }, 120_000)
})
