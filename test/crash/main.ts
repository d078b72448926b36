// kills writers, backends and servers at random moments, and checks each time that nothing is lost
import { SingleBar } from "cli-progress"
import * as fs from "node:fs"
import { argumentsOf, table } from "../../examples/terminal.js"
import { compile } from "../utils/compile.js"
import { markdown, page } from "../utils/page.js"
import { numbersOf } from "./numbers.js"
import { type Result, runVariant, variants } from "./rounds.js"

const usage = `npm run crash -- [options]

  --kills N     how many kills in all (default 1300)
  --quick       40 kills in all
  --seed N      other moments (default: a random one, which is printed)
  --only TEXT   only the variants whose name contains this
  --write FILE  write the result as a Markdown page, such as docs/faults/crashes.md
  --help`

const values = argumentsOf({
  kills: { type: "string", default: "1300" },
  quick: { type: "boolean", default: false },
  seed: { type: "string", default: String(Math.floor(Math.random() * 2 ** 31)) },
  only: { type: "string", default: "" },
  write: { type: "string", default: "" },
  help: { type: "boolean", default: false }
}, usage)

const whole = numbersOf(values, usage)
const seed = whole("seed", values.seed)
const all = values.quick ? 40 : whole("kills", values.kills)
const chosen = variants.filter(({ name }) => name.toLowerCase().includes(values.only.toLowerCase()))
const share = chosen.reduce((sum, { kills }) => sum + kills, 0)

await compile()
console.log(`seed ${seed}`)
const results: Array<Result> = []
let before = 0
let sharesBefore = 0
for (const variant of chosen) {
  // rounded so that all of them are as many as were asked for
  sharesBefore += variant.kills
  const kills = Math.round((all * sharesBefore) / share) - before
  before += kills
  if (kills === 0) continue
  const bar = process.stdout.isTTY
    ? new SingleBar({ format: `${variant.name} {bar} {value}/{total} kills, {eta} s left` })
    : undefined
  bar?.start(kills, 0)
  if (bar === undefined) console.log(`${variant.name}: ${kills} kills`)
  const result = await runVariant(variant, { kills, seed, onKill: () => bar?.increment() })
  bar?.stop()
  for (const problem of result.problems.slice(0, 20)) console.log(`  PROBLEM ${problem}`)
  results.push(result)
}

if (results.length === 0) {
  console.error(`nothing to do\n\n${usage}`)
  process.exit(2)
}
const sum = (of: (result: Result) => number) => results.reduce((sum, result) => sum + of(result), 0)
const row = (name: string, of: (field: (result: Result) => number) => number) => [
  name,
  ...[
    (result: Result) => result.kills,
    (result: Result) => result.acknowledged,
    (result: Result) => result.groups,
    (result: Result) => result.amidst,
    (result: Result) => result.maybe,
    (result: Result) => result.refused,
    (result: Result) => result.events,
    (result: Result) => result.snapshots,
    (result: Result) => result.problems.length,
    (result: Result) => Math.round(result.seconds)
  ].map((field) => of(field).toLocaleString("en"))
]
const head = [
  "",
  "kills",
  "acknowledged",
  "groups",
  "in a group",
  "outcome unknown",
  "refused",
  "events",
  "snapshots",
  "problems",
  "seconds"
]
const rows = [...results.map((result) => row(result.name, (field) => field(result))), row("all", sum)]
console.log(`\n${table(head, rows)}`)

const problems = sum((result) => result.problems.length)
if (values.write !== "") {
  fs.writeFileSync(
    values.write,
    page(
      "Crashes",
      `npm run crash -- --kills ${all} --seed ${seed}`,
      "A kill is counted when it ended something, and everything was checked after it. In a group are the kills while a group " +
        "of appends was in progress, where the writer watches its groups. An outcome is unknown where a command " +
        "failed and said that its append may have happened; refused is what failed and said that nothing was done.",
      markdown(head, rows),
      problems === 0
        ? "No problem was found."
        : results.flatMap((result) => result.problems).map((p) => `- ${p}`).join("\n")
    )
  )
  console.log(values.write)
}
process.exitCode = problems === 0 && sum(({ kills }) => kills) === all ? 0 : 1
