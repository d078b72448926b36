import * as path from "node:path"
import type { Reporter, TestModule } from "vitest/node"

/** Prints the five files that took longest, after everything else. */
export default class Slowest implements Reporter {
  onTestRunEnd(modules: ReadonlyArray<TestModule>): void {
    const files = modules.map((module) => {
      const { collectDuration, duration } = module.diagnostic()
      return { file: path.relative(process.cwd(), module.moduleId), seconds: (collectDuration + duration) / 1_000 }
    })
    files.sort((a, b) => b.seconds - a.seconds)
    const lines = files.slice(0, 5).map(({ file, seconds }) => `${seconds.toFixed(1).padStart(7)} s  ${file}`)
    console.log(`\nThe slowest files:\n${lines.join("\n")}`)
  }
}
