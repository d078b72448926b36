// npm run bench:guard [-- --update]
// fails where a ratio to its floor has doubled since the ratios in baseline.json were taken; no time by itself fails
import * as fs from "node:fs"
import { parseArgs } from "node:util"
import type { Backend } from "./backend.js"
import type { Effort } from "./measure.js"
import * as Postgres from "./postgres.js"
import type { Row } from "./report.js"
import * as Rows from "./rows.js"
import * as Sqlite from "./sqlite.js"
import { Suite } from "./suite.js"

const { values: options } = parseArgs({ options: { update: { type: "boolean", default: false } } })
const file = new URL("./baseline.json", import.meta.url)
const allowed = 2

const effort: Effort = { rounds: 25, leastRounds: 5, sampleMillis: 6, warmUpMillis: 500, budgetMillis: 1_500 }
const keyOf = ({ against, backend, name, size }: Row) => `${backend}, ${name}, ${size}: against ${against}`

const measure = async (backend: Backend, only: RegExp): Promise<ReadonlyArray<Row>> => {
  const suite = new Suite(effort, only, () => {})
  await Rows.fullReplay(suite, backend, { sizes: [1_000], target: 0, peers: [], peersUpTo: 0 })
  await Rows.loadAtHead(suite, backend, { sizes: [100, 10_000], target: 0, improvements: {} })
  await Rows.append(suite, backend, { one: 0, hundred: 0, peers: [] })
  await Rows.command(suite, backend, { size: 10_000, target: 0, peers: [] })
  return suite.rows.filter((row) => row.higherIsBetter !== true)
}

const server = await Postgres.start()
const backends = [await Sqlite.open(), await Postgres.open(server.url)]
try {
  const rows: Array<Row> = []
  for (const backend of backends) rows.push(...await measure(backend, /./))

  if (options.update) {
    const ratios = Object.fromEntries(rows.map((row) => [keyOf(row), Number(row.ratio.median.toPrecision(3))]))
    fs.writeFileSync(file, `${JSON.stringify(ratios, null, 2)}\n`)
  } else {
    const baseline: Readonly<Record<string, number>> = JSON.parse(fs.readFileSync(file, "utf8"))
    let failed = 0
    for (const row of rows) {
      const key = keyOf(row)
      const expected = baseline[key]
      if (expected === undefined) {
        failed++
        console.log(`FAILED baseline.json has no ratio for "${key}": run npm run bench:guard -- --update`)
        continue
      }
      let actual = row.ratio.median
      // a busy machine may have hit one side harder
      for (let tries = 0; actual > expected * allowed && tries < 2; tries++) {
        const again = await measure(
          backends.find(({ name }) => name === row.backend)!,
          new RegExp(`^${row.name.split(":")[0]}`)
        )
        actual = Math.min(actual, again.find((other) => keyOf(other) === key)?.ratio.median ?? actual)
      }
      const passed = actual <= expected * allowed
      if (!passed) failed++
      console.log(`${passed ? "ok    " : "FAILED"} ${key}: ${actual.toFixed(2)}x, was ${expected.toFixed(2)}x`)
    }
    // a row that is not measured any more would hold nothing
    const keys = new Set(rows.map(keyOf))
    for (const key of Object.keys(baseline)) {
      if (keys.has(key)) continue
      failed++
      console.log(`FAILED no row is "${key}", which baseline.json has: run npm run bench:guard -- --update`)
    }
    if (failed > 0) {
      console.error(
        `${failed} ratios have more than doubled, or are of one side only: profile them, or explain them and run npm run bench:guard -- --update`
      )
      process.exitCode = 1
    }
  }
} finally {
  for (const backend of backends) await backend.close()
  await server.close()
}
process.exit()
