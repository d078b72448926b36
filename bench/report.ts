import * as fs from "node:fs"
import { createRequire } from "node:module"
import * as os from "node:os"
import type { Spread } from "./measure.js"

/** One comparison: what was measured beside what it is held against. */
export interface Row {
  readonly name: string
  readonly backend: string
  /** The events in the stream, or in the append. */
  readonly size: number
  readonly unit: string
  readonly measured: Spread
  /** What it is held against: the floor, or a peer. */
  readonly against: string
  readonly floor: Spread
  readonly ratio: Spread
  readonly target?: number | undefined
  readonly higherIsBetter?: boolean | undefined
  /** The 99th percentile of both, where single runs were timed. */
  readonly p99?: readonly [measured: number, floor: number] | undefined
}

export const isMet = ({ higherIsBetter, ratio, target }: Row): boolean | undefined =>
  target === undefined ? undefined : higherIsBetter === true ? ratio.median >= target : ratio.median <= target

export const toJson = (row: Row) => ({
  name: row.name,
  backend: row.backend,
  size: row.size,
  unit: row.unit,
  median: round(row.measured.median),
  spread: [round(row.measured.low), round(row.measured.high)],
  against: row.against,
  floor: round(row.floor.median),
  floorSpread: [round(row.floor.low), round(row.floor.high)],
  ratio: round(row.ratio.median),
  ratioSpread: [round(row.ratio.low), round(row.ratio.high)],
  ...(row.target === undefined ? {} : { target: row.target, higherIsBetter: row.higherIsBetter ?? false }),
  ...(row.p99 === undefined ? {} : { p99: round(row.p99[0]), floorP99: round(row.p99[1]) })
})

const round = (value: number) => Number(value.toPrecision(4))

export interface Machine {
  readonly date: string
  readonly cpu: string
  readonly cores: number
  readonly memory: string
  readonly os: string
  readonly versions: Readonly<Record<string, string>>
  readonly settings: Readonly<Record<string, string>>
}

export const machine = (
  versions: Readonly<Record<string, string>>,
  settings: Readonly<Record<string, string>>
): Machine => ({
  date: new Date().toISOString().slice(0, 10),
  cpu: os.cpus()[0]?.model ?? "unknown",
  cores: os.availableParallelism(),
  memory: `${Math.round(os.totalmem() / 2 ** 30)} GiB`,
  os: `${os.type()} ${os.release()} ${os.arch()}`,
  versions: { node: process.versions.node, ...versions },
  settings
})

/** The versions of installed packages, as seen from a file. */
export const versionsOf = (from: string | URL, packages: ReadonlyArray<string>): Readonly<Record<string, string>> => {
  const search = createRequire(from).resolve.paths("x") ?? []
  const versions: Record<string, string> = {}
  for (const name of packages) {
    const folder = search.find((folder) => fs.existsSync(`${folder}/${name}/package.json`))
    if (folder === undefined) continue
    const { version } = JSON.parse(fs.readFileSync(`${folder}/${name}/package.json`, "utf8"))
    versions[name] = version
  }
  return versions
}

const digits = (value: number) =>
  value >= 1_000 ? value.toFixed(0) : value >= 100 ? value.toFixed(1) : value >= 1 ? value.toFixed(2) : value.toFixed(4)

const times = ({ high, low, median }: Spread) => `${factor(median)} (${factor(low)}-${factor(high)})`
const factor = (value: number) => value >= 100 ? value.toFixed(0) : value >= 10 ? value.toFixed(1) : value.toFixed(2)

const columns = (row: Row): ReadonlyArray<string> => {
  const met = isMet(row)
  return [
    row.name,
    row.backend,
    row.size.toLocaleString("en"),
    `${digits(row.measured.median)} ${row.unit}`,
    row.against,
    `${digits(row.floor.median)} ${row.unit}`,
    times(row.ratio),
    row.target === undefined ? "" : `${row.higherIsBetter === true ? "at least" : "at most"} ${row.target}`,
    met === undefined ? "" : met ? "met" : "MISSED"
  ]
}

const heading = ["what", "backend", "events", "median", "against", "median", "ratio (quartiles)", "target", ""]

/** The rows as a table in Markdown, which reads well in a terminal too. */
export const table = (rows: ReadonlyArray<Row>): string => {
  const cells = [heading, ...rows.map(columns)]
  const widths = heading.map((_, column) => Math.max(...cells.map((row) => row[column].length)))
  const line = (row: ReadonlyArray<string>) => `| ${row.map((cell, i) => cell.padEnd(widths[i])).join(" | ")} |`
  return [line(cells[0]), `| ${widths.map((width) => "-".repeat(width)).join(" | ")} |`, ...cells.slice(1).map(line)]
    .join("\n")
}

/** All that a run gave, in Markdown. */
export const page = (rows: ReadonlyArray<Row>, machine: Machine, quick: boolean): string => {
  const list = (record: Readonly<Record<string, string>>) =>
    Object.entries(record).map(([name, value]) => `- ${name}: ${value}`).join("\n")
  const p99 = rows.flatMap(({ against, backend, name, p99, unit }) =>
    p99 === undefined ? [] : [`- ${backend}, ${name}: ${digits(p99[0])} ${unit}, ${against} ${digits(p99[1])} ${unit}`]
  )
  const held = rows.filter((row) => row.target !== undefined)
  return [
    `${
      quick ? "A quick run" : "A full run"
    } on ${machine.date}: ${machine.cpu}, ${machine.cores} cores, ${machine.memory}, ${machine.os}.`,
    `${held.filter(isMet).length} of ${held.length} targets met.`,
    table(rows),
    ...(p99.length === 0 ? [] : ["99th percentiles:", p99.join("\n")]),
    "Settings, the same for all contenders:",
    list(machine.settings),
    "Versions:",
    list(machine.versions)
  ].join("\n\n")
}
