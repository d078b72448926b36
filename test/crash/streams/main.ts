// kills and freezes processes that execute, load, delete and rewrite, and checks that no state is of a past that is gone
import { argumentsOf, table } from "../../../examples/terminal.js"
import { compile } from "../../utils/compile.js"
import { numbersOf } from "../numbers.js"
import { run } from "./rounds.js"

const usage = `npm run crash:streams -- [options]

  --hits N      how many kills and freezes of each database (default 60)
  --only TEXT   sqlite or postgres
  --seed N      other moments (default: a random one, which is printed)
  --help`

const values = argumentsOf({
  hits: { type: "string", default: "60" },
  only: { type: "string", default: "" },
  seed: { type: "string", default: String(Math.floor(Math.random() * 2 ** 31)) },
  help: { type: "boolean", default: false }
}, usage)

const whole = numbersOf(values, usage)
const seed = whole("seed", values.seed)
const hits = whole("hits", values.hits)

await compile()
console.log(`seed ${seed}`)
const rows: Array<ReadonlyArray<string>> = []
for (const backend of ["sqlite", "postgres"] as const) {
  if (!backend.includes(values.only)) continue
  const { counts, freezes, kills, name, problems, seconds, streams } = await run(backend, { hits, seed })
  for (const problem of problems.slice(0, 20)) console.log(`  PROBLEM ${problem}`)
  if (problems.length > 0) process.exitCode = 1
  rows.push([
    name,
    ...[kills, freezes, counts.Executed, counts.Loaded, counts.Refused, counts.Deleted, counts.Rewritten, counts.Failed]
      .map(String),
    ...[streams, problems.length, Math.round(seconds)].map(String)
  ])
}
const head = ["", "kill -9", "SIGSTOP", "commands", "loads", "refused", "deleted", "rewritten", "failed", "streams"]
console.log(`\n${table([...head, "problems", "seconds"], rows)}`)
