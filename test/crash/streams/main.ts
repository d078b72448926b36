// kills and freezes processes that execute, load, delete, rewrite and truncate, and checks that no state is of a past that is gone
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
  const { counts, freezes, kills, name, problems, removals, seconds, streams } = await run(backend, { hits, seed })
  for (const problem of problems.slice(0, 20)) console.log(`  PROBLEM ${problem}`)
  if (problems.length > 0) process.exitCode = 1
  rows.push([
    name,
    ...[kills, freezes, counts.Executed, counts.Repeated, counts.Loaded, counts.Refused, counts.Gapped].map(String),
    ...[counts.Deleted, counts.Rewritten, counts.Truncated - removals, removals, counts.Failed].map(String),
    ...[streams, problems.length, Math.round(seconds)].map(String)
  ])
}
const answers = ["commands", "repeated", "loads", "refused", "gaps"]
const changes = ["deleted", "rewritten", "archived", "removed", "failed"]
console.log(
  `\n${table(["", "kill -9", "SIGSTOP", ...answers, ...changes, "streams", "problems", "seconds"], rows)}`
)
