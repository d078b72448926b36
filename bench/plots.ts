import * as echarts from "echarts"
import * as fs from "node:fs"
import * as path from "node:path"
import type { Row } from "./report.js"

const colours = ["#0b6e4f", "#5fb49c", "#8a8a8a", "#c1440e", "#3b5ba5", "#8f5aa8"]

const millis = (value: number) => value >= 1 ? `${value} ms` : `${value * 1_000} µs`

/** Load time against the length of the stream, both on logarithmic axes. */
const plot = (backend: string, rows: ReadonlyArray<Row>, subtitle: string): string | undefined => {
  const replays = rows.filter((row) => row.backend === backend && row.name === "full replay")
  const heads = rows.filter((row) => row.backend === backend && row.name === "load, snapshot at the head")
  if (replays.length === 0 || heads.length === 0) return undefined
  const library = replays.filter((row) => row.against === replays[0].against)
  const points = (rows: ReadonlyArray<Row>, of: (row: Row) => number) => rows.map((row) => [row.size, of(row)])
  const others = Array.from(new Set(replays.map((row) => row.against)))
  const series = [
    { name: "with a snapshot at the head", data: points(heads, (row) => row.measured.median), width: 3 },
    { name: "one plain @effect/sql select", data: points(heads, (row) => row.floor.median), width: 1.5, dashed: true },
    { name: "full replay", data: points(library, (row) => row.measured.median), width: 3 },
    ...others.map((name) => ({
      name: name === "driver" ? "the driver alone" : name,
      data: points(replays.filter((row) => row.against === name), (row) => row.floor.median),
      width: 1.5,
      dashed: name === "driver"
    }))
  ]
  const chart = echarts.init(null, null, { renderer: "svg", ssr: true, width: 860, height: 480 })
  chart.setOption({
    animation: false,
    backgroundColor: "#ffffff",
    color: colours,
    title: { text: `Loading an aggregate on ${backend}`, subtext: subtitle, left: 16, top: 8 },
    legend: { right: 16, top: 80, orient: "vertical" },
    grid: { left: 80, right: 250, top: 80, bottom: 56 },
    xAxis: {
      type: "log",
      name: "events in the stream",
      nameLocation: "middle",
      nameGap: 32,
      min: 100,
      max: Math.max(...heads.map((row) => row.size)),
      axisLabel: { formatter: (value: number) => value.toLocaleString("en") }
    },
    yAxis: { type: "log", axisLabel: { formatter: millis } },
    series: series.map(({ data, dashed, name, width }) => ({
      type: "line",
      name,
      data,
      symbolSize: 6,
      lineStyle: { width, type: dashed === true ? "dashed" : "solid" }
    }))
  })
  const svg = chart.renderToSVGString()
  chart.dispose()
  return svg
}

/** Writes a plot for each backend that was measured, and says which files those are. */
export const write = (folder: string, rows: ReadonlyArray<Row>, subtitle: string): ReadonlyArray<string> => {
  fs.mkdirSync(folder, { recursive: true })
  return ["SQLite", "PostgreSQL"].flatMap((backend) => {
    const svg = plot(backend, rows, subtitle)
    if (svg === undefined) return []
    const file = path.join(folder, `load-${backend.toLowerCase()}.svg`)
    fs.writeFileSync(file, `${svg}\n`)
    return [file]
  })
}
