import * as echarts from "echarts"
import * as fs from "node:fs"
import type { Sample } from "./work.js"

/** Memory and fibers over time, as an SVG file. */
export const plot = (title: string, samples: ReadonlyArray<Sample>, file: string): void => {
  const chart = echarts.init(null, null, { renderer: "svg", ssr: true, width: 760, height: 300 })
  const line = (name: string, of: (sample: Sample) => number, axis: number) => ({
    name,
    type: "line" as const,
    symbol: "none",
    yAxisIndex: axis,
    data: samples.map((sample) => [sample.seconds / 60, of(sample)])
  })
  chart.setOption({
    animation: false,
    backgroundColor: "#ffffff",
    title: { text: title, textStyle: { fontSize: 14 } },
    legend: { right: 10, top: 4 },
    grid: { left: 60, right: 60, top: 50, bottom: 45 },
    xAxis: { type: "value", name: "minutes", nameLocation: "middle", nameGap: 28 },
    yAxis: [
      { type: "value", name: "MB", min: 0 },
      { type: "value", name: "fibers", min: 0, splitLine: { show: false } }
    ],
    series: [
      line("resident memory", (sample) => sample.resident, 0),
      line("heap", (sample) => sample.heap, 0),
      line("fibers", (sample) => sample.fibers, 1)
    ]
  })
  fs.writeFileSync(file, `${chart.renderToSVGString()}\n`)
  chart.dispose()
}
