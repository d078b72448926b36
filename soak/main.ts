// long mixed work with faults on each SQL backend, and many writers on one SQLite file
import { PgClient } from "@effect/sql-pg"
import { SqliteClient } from "@effect/sql-sqlite-node"
import { Effect, Layer, Redacted } from "effect"
import { SqlEventStore, Sqlite, SqlSnapshotStore } from "effect-eventsourcing"
import * as fs from "node:fs"
import * as os from "node:os"
import * as path from "node:path"
import { parseArgs } from "node:util"
import { table } from "../examples/terminal.js"
import { startServer } from "../test/utils/postgres.js"
import { contend } from "./contend.js"
import { plot } from "./plot.js"
import { isFlat, type Result, soak } from "./work.js"

const usage = `npm run soak -- [options]

  --minutes N       of work on each backend (default 10)
  --backend NAME    sqlite, postgres or writers (default: all three)
  --plots FOLDER    where the SVG files go (default: docs)
  --seed N          other work and other faults (default 1)
  --help`

const { values } = parseArgs({
  options: {
    minutes: { type: "string", default: "10" },
    backend: { type: "string", default: "" },
    plots: { type: "string", default: "docs" },
    seed: { type: "string", default: "1" },
    help: { type: "boolean", default: false }
  }
})
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

const stores = Layer.merge(SqlEventStore.layer, SqlSnapshotStore.layer)
const folder = fs.mkdtempSync(path.join(os.tmpdir(), "soak-"))
let failed = false

const report = (name: string, title: string, { counts, problems, samples }: Result) => {
  const file = path.join(values.plots, `soak-${name}.svg`)
  plot(title, samples, file)
  const series = (of: (sample: typeof samples[number]) => number, digits: number, little: number) => {
    const all = samples.map(of)
    const flat = isFlat(all, little)
    const at = (part: number) => all[Math.min(all.length - 1, Math.floor(all.length * part))].toFixed(digits)
    failed ||= !flat
    return [at(0), at(0.25), at(0.5), at(0.75), at(1), flat ? "yes" : "NO"]
  }
  console.log(`\n${
    table(["", "start", "1/4", "1/2", "3/4", "end", "flat"], [
      ["heap, MB", ...series((sample) => sample.heap, 1, 5)],
      ["resident, MB", ...series((sample) => sample.resident, 1, 20)],
      ["fibers", ...series((sample) => sample.fibers, 0, 10)]
    ])
  }\n`)
  const rows = Object.entries(counts).sort(([a], [b]) => a.localeCompare(b))
  console.log(table(["what", "how often"], rows.map(([what, n]) => [what, n.toLocaleString("en")])))
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

const wants = (name: string) => values.backend === "" || values.backend === name

try {
  if (wants("sqlite")) {
    console.log(`SQLite, ${minutes} minutes`)
    const file = Sqlite.layer(SqliteClient.layer, { filename: path.join(folder, "soak.db") })
    report("sqlite", `SQLite, ${minutes} minutes`, await work(Layer.provide(stores, file)))
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
    const rows = await contend(folder, Math.min(20, minutes * 6))
    console.log(table(["way", "events", "a second", "of the driver"], rows.table))
    for (const problem of rows.problems) console.log(`PROBLEM ${problem}`)
    failed ||= rows.problems.length > 0
  }
} finally {
  fs.rmSync(folder, { recursive: true, force: true })
}
process.exit(failed ? 1 : 0)
