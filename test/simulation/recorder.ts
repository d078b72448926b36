import type { Report } from "./simulation.js"

/** What a run writes down: what happened, what is wrong, and how often each thing was met. */
export const makeRecorder = () => {
  const trace: Array<string> = []
  const problems: Array<string> = []
  const counts: Record<string, number> = {}
  return {
    trace,
    problems,
    counts,
    count: (name: string): void => {
      counts[name] = (counts[name] ?? 0) + 1
    },
    wrong: (problem: string): void => {
      trace.push(`WRONG ${problem}`)
      problems.push(problem)
    },
    report: (): Report => ({ trace, problems, counts })
  }
}
