// long mixed work with faults on each SQL backend, and many writers on one SQLite file
import { PgClient } from "@effect/sql-pg"
import { SqliteClient } from "@effect/sql-sqlite-node"
import { Effect, Layer, Redacted } from "effect"
import { Sqlite, SqlStores } from "effect-eventsourcing"
import * as fs from "node:fs"
import * as os from "node:os"
import * as path from "node:path"
import { argumentsOf, table } from "../../examples/terminal.js"
import { compile } from "../utils/compile.js"
import { markdown, page } from "../utils/page.js"
import { startServer } from "../utils/postgres.js"
import { contend } from "./contend.js"
import { holding, overtaken } from "./fair.js"
import { plot } from "./plot.js"
import { isFlat, type Result, soak } from "./work.js"

const usage = `npm run soak -- [options]

  --minutes N       of work on each backend (default 10)
  --backend NAME    sqlite, postgres or writers (default: all three)
  --write FOLDER    write a Markdown page and SVG files there, such as docs/faults (default: a temporary folder)
  --seed N          other work and other faults (default 1)
  --help`

const values = argumentsOf({
  minutes: { type: "string", default: "10" },
  backend: { type: "string", default: "" },
  write: { type: "string", default: "" },
  seed: { type: "string", default: "1" },
  help: { type: "boolean", default: false }
}, usage)
if (values.help) {
  console.log(usage)
  process.exit(0)
}
const minutes = Number(values.minutes)
const seed = Number(values.seed)
if (!Number.isFinite(minutes) || minutes <= 0 || !Number.isSafeInteger(seed)) {
  console.error(usage)
  process.exit(2)
}

await compile()
const stores = SqlStores.layer
const folder = fs.mkdtempSync(path.join(os.tmpdir(), "soak-"))
const output = values.write === "" ? fs.mkdtempSync(path.join(os.tmpdir(), "soak-result-")) : values.write
fs.mkdirSync(output, { recursive: true })
const parts: Array<string> = []
let failed = false

const report = (name: string, title: string, { counts, problems, samples }: Result) => {
  const file = path.join(output, `soak-${name}.svg`)
  plot(title, samples, file)
  const series = (of: (sample: typeof samples[number]) => number, digits: number, little: number) => {
    const all = samples.map(of)
    const flat = isFlat(all, little)
    const at = (part: number) => all[Math.min(all.length - 1, Math.floor(all.length * part))].toFixed(digits)
    failed ||= !flat
    return [at(0), at(0.25), at(0.5), at(0.75), at(1), flat ? "yes" : "NO"]
  }
  const head = ["", "start", "1/4", "1/2", "3/4", "end", "flat"]
  const lines = [
    ["heap, MB", ...series((sample) => sample.heap, 1, 5)],
    ["resident, MB", ...series((sample) => sample.resident, 1, 20)],
    ["fibers", ...series((sample) => sample.fibers, 0, 10)]
  ]
  console.log(`\n${table(head, lines)}\n`)
  const rows = Object.entries(counts).sort(([a], [b]) => a.localeCompare(b)).map(([what, n]) => [
    what,
    n.toLocaleString("en")
  ])
  console.log(table(["what", "how often"], rows))
  parts.push(
    `## ${title}`,
    `![Memory and fibers over time](soak-${name}.svg)`,
    markdown(head, lines),
    markdown(["what", "how often"], rows),
    problems.length === 0 ? "No problem was found." : problems.map((problem) => `- ${problem}`).join("\n")
  )
  for (const problem of problems) console.log(`PROBLEM ${problem}`)
  failed ||= problems.length > 0
  console.log(`\n${title}: ${problems.length === 0 ? "no problem" : "PROBLEMS"}; ${file}`)
}

const work = (layer: Parameters<typeof soak>[0]) =>
  Effect.runPromise(soak(layer, {
    minutes,
    seed,
    onSample: ({ fibers, heap, operations, resident, seconds }) => {
      const line = `${seconds.toFixed(0).padStart(5)} s  ${operations} operations  heap ${heap.toFixed(1)} MB  ` +
        `resident ${resident.toFixed(1)} MB  ${fibers} fibers`
      if (process.stdout.isTTY) process.stdout.write(`\r${line}`)
      else console.log(line)
    }
  }))

const crowd = 1_500
const commands = 8_000

/** Fails where a crowd of transactions starves other fibers, or a crowd of commands holds the event loop. */
const fairness = async (layer: Parameters<typeof holding>[0]) => {
  const later = await Effect.runPromise(overtaken(layer, { crowd }))
  const { most } = await Effect.runPromise(holding(layer, { commands }))
  const lines = [
    `Beside ${crowd} transactions of one fiber, ${later} of those that came later were served before four others.`,
    `Of ${commands} commands at once, at most ${most} were done between two turns of the event loop.`
  ]
  for (const line of lines) console.log(line)
  parts.push("## A crowd on SQLite", lines.join("\n"))
  failed ||= later >= crowd / 2 || most >= commands / 2
}

const wants = (name: string) => values.backend === "" || values.backend === name

try {
  if (wants("sqlite")) {
    console.log(`SQLite, ${minutes} minutes`)
    const file = Sqlite.layer(SqliteClient.layer, { filename: path.join(folder, "soak.db") })
    report("sqlite", `SQLite, ${minutes} minutes`, await work(Layer.provide(stores, file)))
    await fairness(Layer.provideMerge(stores, file))
  }
  if (wants("postgres")) {
    console.log(`PostgreSQL, ${minutes} minutes`)
    const server = await startServer()
    try {
      const client = PgClient.layer({ url: Redacted.make(server.url) })
      report("postgres", `PostgreSQL, ${minutes} minutes`, await work(Layer.provide(stores, client)))
    } finally {
      await server.close()
    }
  }
  if (wants("writers")) {
    console.log("\n16 writers of two processes on one SQLite file, synchronous NORMAL, events a second")
    const seconds = Math.ceil(Math.min(20, minutes * 6))
    const rows = await contend(folder, seconds)
    const head = ["way", "events", "a second", "of the driver"]
    console.log(table(head, rows.table))
    parts.push(
      "## 16 writers of two processes on one SQLite file",
      `${seconds} seconds of each, synchronous NORMAL.`,
      markdown(head, rows.table),
      rows.problems.length === 0 ? "No error surfaced." : rows.problems.map((problem) => `- ${problem}`).join("\n")
    )
    for (const problem of rows.problems) console.log(`PROBLEM ${problem}`)
    failed ||= rows.problems.length > 0
  }
  const options = `--minutes ${minutes} --seed ${seed}${values.backend === "" ? "" : ` --backend ${values.backend}`}`
  fs.writeFileSync(path.join(output, "soak.md"), page("Load", `npm run soak -- ${options}`, ...parts))
  console.log(`\n${path.join(output, "soak.md")}`)
} finally {
  fs.rmSync(folder, { recursive: true, force: true })
}
process.exit(failed ? 1 : 0)
