// kills, stops and freezes the runners of a cluster and its server, and checks each time that no answer was wrong
import * as fs from "node:fs"
import { argumentsOf, table } from "../../../examples/terminal.js"
import { compile } from "../../utils/compile.js"
import { markdown } from "../../utils/page.js"
import { numbersOf } from "../numbers.js"
import { type Kind, kinds, type Result, runVariant, variants } from "./rounds.js"

const usage = `npm run crash:cluster -- [options]

  --kills N     how many kills of each variant (default 60)
  --seed N      other moments (default: a random one, which is printed)
  --only TEXT   only the variants whose name contains this
  --write FILE  append the results as a Markdown table
  --help`

const values = argumentsOf({
  kills: { type: "string", default: "60" },
  seed: { type: "string", default: String(Math.floor(Math.random() * 2 ** 31)) },
  only: { type: "string", default: "" },
  write: { type: "string", default: "" },
  help: { type: "boolean", default: false }
}, usage)

const whole = numbersOf(values, usage)
const seed = whole("seed", values.seed)
const kills = whole("kills", values.kills)
const chosen = variants.filter(({ name }) => name.includes(values.only))

await compile()
console.log(`seed ${seed}`)
const results: Array<Result> = []
for (const variant of chosen) {
  const began = performance.now()
  let done = 0
  const onKill = (kind: Kind) =>
    console.log(`${variant.name}: ${++done} of ${kills}, ${kind}, ${Math.round((performance.now() - began) / 1_000)} s`)
  const result = await runVariant(variant, { kills, seed, onKill })
  for (const problem of result.problems.slice(0, 20)) console.log(`  PROBLEM ${problem}`)
  results.push(result)
}

const head = [
  ...["", ...kinds, "acknowledged", "repeated", "rejected", "refused", "unknown", "loads", "events", "snapshots"],
  ...["longest call (ms)", "problems", "seconds"]
]
const rows = results.map((result) => [
  result.name,
  ...[
    ...kinds.map((kind) => result.kills[kind]),
    ...[result.acknowledged, result.duplicates, result.rejected, result.refused, result.unknown, result.loads],
    ...[result.events, result.snapshots, result.longest, result.problems.length, Math.round(result.seconds)]
  ].map((value) => value.toLocaleString("en"))
])
console.log(`\n${table(head, rows)}`)
if (values.write !== "") fs.appendFileSync(values.write, `${markdown(head, rows)}\n`)
process.exitCode = results.length > 0 && results.every(({ problems }) => problems.length === 0) ? 0 : 1
