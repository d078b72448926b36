import type { Evidence, Line, Problem } from "./checkHistory.js"
import { toCode, toLines } from "./code.js"

const width = 100

/**
 * What happened, what is wrong with it and what to look at, for somebody who knows the aggregate and nothing else.
 *
 * @internal
 */
export const tell = (options: {
  readonly aggregate: string
  readonly law: string
  readonly id: unknown
  readonly log: ReadonlyArray<Line>
  readonly problem: Problem
  readonly footer: ReadonlyArray<string>
}): string => {
  const { aggregate, footer, id, law, log, problem } = options
  const story: ReadonlyArray<Row> = log.length === 0 && id === undefined
    ? []
    : [["id", id], ...log.slice(0, problem.lines).flatMap(rowsOf)]
  const evidence = problem.evidence.flatMap(evidenceRows)
  return [
    `${aggregate} breaks the law "${law}".`,
    "",
    ...(story.length === 0 ? [] : ["What happened:", ...table(story), ""]),
    "What is wrong:",
    ...wrap(problem.text),
    ...table(evidence),
    ...(problem.hint === undefined ? [] : ["", "What to do:", ...wrap(problem.hint)]),
    "",
    ...footer
  ].join("\n")
}

type Row = readonly [label: string, value: unknown] | readonly [label: string, value: unknown, text: true]

const rowsOf = (line: Line): ReadonlyArray<Row> => {
  switch (line._tag) {
    case "Initial":
      return [["initial state", line.state]]
    case "Command":
      return [["command", line.command]]
    case "Nothing":
      return [["  decides", "no events", true]]
    case "Rejection":
      return [["  rejected", line.rejection]]
    case "Event":
      return [[line.decided ? `  decides event ${line.number}` : `event ${line.number}`, line.event]]
    case "State":
      return [["  state", line.state]]
  }
}

const evidenceRows = (evidence: Evidence): ReadonlyArray<Row> => {
  switch (evidence._tag) {
    case "Value":
      return [[evidence.label, evidence.value]]
    case "Text":
      return [[evidence.label, evidence.text, true]]
    case "Differences": {
      const [one, other] = evidence.sides
      return evidence.found.map(({ actual, expected, path }) => [
        `differs at ${path}`,
        `${one} ${expected ?? "nothing"}, ${other} ${actual ?? "nothing"}`,
        true
      ])
    }
  }
}

const table = (rows: ReadonlyArray<Row>): ReadonlyArray<string> => {
  const indent = Math.min(30, Math.max(0, ...rows.map(([label]) => label.length))) + 2
  return rows.flatMap(([label, value, text]) => {
    const lines = text === true ? shorten(String(value)).split("\n") : cut(toLines(value, width)).map(shorten)
    const start = `${label}  `.padEnd(indent)
    return lines.map((line, index) => `  ${index === 0 ? start : " ".repeat(start.length)}${line}`)
  })
}

const wrap = (text: string): ReadonlyArray<string> => {
  const lines: Array<string> = []
  for (const word of text.split(" ")) {
    const last = lines.at(-1)
    if (last === undefined || last.length + word.length > width) lines.push(`  ${word}`)
    else lines[lines.length - 1] = `${last} ${word}`
  }
  return lines
}

const longest = 1_500

const shorten = (text: string): string =>
  text.length <= longest ? text : `${text.slice(0, longest)}... (${text.length - longest} more characters)`

const most = 24

// what is wrong comes after it, and shall be seen
const cut = (lines: ReadonlyArray<string>): ReadonlyArray<string> =>
  lines.length <= most ? lines : [...lines.slice(0, most), `... (${lines.length - most} more lines)`]

/**
 * The line that runs one history again.
 *
 * @internal
 */
export const regression = (
  call: string,
  history: { readonly id: unknown; readonly commands: ReadonlyArray<unknown>; readonly events: ReadonlyArray<unknown> },
  more: ReadonlyArray<string>
): string => {
  const { commands, events, id } = history
  const fields = [
    `id: ${toCode(id)}`,
    ...(commands.length > 0 ? [`commands: ${toCode(commands)}`] : []),
    ...(events.length > 0 ? [`events: ${toCode(events)}`] : [])
  ]
  return `${call}, { ${fields.join(", ")} }${more.length === 0 ? "" : `, { ${more.join(", ")} }`})`
}

/**
 * The name under which the aggregate most likely stands in the code.
 *
 * @internal
 */
export const nameOf = (aggregate: string): string => /^[A-Za-z_$][\w$]*$/.test(aggregate) ? aggregate : "aggregate"
