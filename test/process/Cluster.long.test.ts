import { afterAll, assert, beforeAll, describe, it } from "vitest"
import { start } from "../utils/process.js"

// the times that the script prints are those of this machine, and not tested
describe("examples/cluster", () => {
  const args = ["chaos", "--verbose", "--faults", "term,kill,stop", "--customers", "4", "--pause", "50"]
  let program: ReturnType<typeof start>
  beforeAll(async () => {
    program = start("examples/cluster/main.ts", args, { env: { PORT: "0", DATABASE_URL: undefined } })
    await program.exited
  })
  afterAll(() => program.child.kill("SIGKILL"))

  /** The last line that begins so: the first is printed while it happens. */
  const summary = (beginning: string) =>
    program.lines.findLast((line) => line.startsWith(beginning)) ?? program.errors()

  it("moves the entities of a runner that is told to end, without a failed request", () => {
    assert.match(summary("SIGTERM to runner 1"), /with [1-9]\d* shards: [1-9]\d* requests, 0 failed, .* yes$/)
  })

  it("serves again after a runner was killed, and after one was frozen", () => {
    assert.match(summary("SIGKILL to runner 2"), /with [1-9]\d* shards: [1-9]\d* requests/)
    assert.match(summary("SIGSTOP to runner 3"), /with [1-9]\d* shards: [1-9]\d* requests/)
  })

  it("has each acknowledged order once", () => {
    assert.match(summary("Each of"), /^Each of [1-9]\d* acknowledged orders stands once$/)
  })
})
