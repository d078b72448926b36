import type { Difference } from "../schema/equality.js"
import { messageOf, toCode, toLines } from "./code.js"

export type Law =
  | "total"
  | "pure"
  | "events"
  | "rejections"
  | "transport"
  | "encoding"
  | "snapshots"
  | "erasure"
  | "migrations"
  | "invariant"

/** A law that one history breaks. */
export interface Problem {
  readonly law: Law
  /** Describes the problem in one or two sentences. */
  readonly text: string
  readonly evidence: ReadonlyArray<Evidence>
  readonly hint?: string | undefined
  /** How many lines of the log led to the problem. */
  readonly lines: number
}

export type Evidence =
  | { readonly _tag: "Value"; readonly label: string; readonly value: unknown }
  | { readonly _tag: "Text"; readonly label: string; readonly text: string }
  | {
    readonly _tag: "Differences"
    readonly found: ReadonlyArray<Difference>
    readonly sides: readonly [one: string, other: string]
  }

/** One step of a history, for the report. */
export type Line =
  | { readonly _tag: "Initial"; readonly state: unknown }
  | { readonly _tag: "Command"; readonly command: unknown }
  | { readonly _tag: "Nothing" }
  | { readonly _tag: "Rejection"; readonly rejection: unknown }
  | { readonly _tag: "Event"; readonly number: number; readonly event: unknown; readonly decided: boolean }
  | { readonly _tag: "State"; readonly state: unknown }

export const text = (label: string, text: string): Evidence => ({ _tag: "Text", label, text })

export const valueOf = (label: string, value: unknown): Evidence => ({ _tag: "Value", label, value })

export const apart = (found: ReadonlyArray<Difference>, one: string, other: string): Evidence => ({
  _tag: "Differences",
  found,
  sides: [one, other]
})

export const thrown = (error: unknown): ReadonlyArray<Evidence> => [text("thrown", messageOf(error)), ...where(error)]

/** Finds the first frame of a stack that is in the user's code. */
export const where = (error: unknown): ReadonlyArray<Evidence> => {
  const stack: unknown = typeof error === "object" && error !== null ? Reflect.get(error, "stack") : undefined
  const frames = typeof stack === "string" ? stack.split("\n").filter((line) => /^\s+at /.test(line)) : []
  const frame = frames.find((line) =>
    /[\\/]/.test(line) && !/[\\/]node_modules[\\/]|node:|[\\/]internal[\\/]laws[\\/]/.test(line)
  )
  return frame === undefined ? [] : [text("where", frame.replace(/^\s+at /, ""))]
}

/** Renders a broken law: the history, the problem and the fix, for a reader who knows only the aggregate. */
export const render = (options: {
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

/** A labelled value, or a labelled text that is printed as it is. */
export type Row = readonly [label: string, value: unknown] | readonly [label: string, value: unknown, text: true]

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

export const evidenceRows = (evidence: Evidence): ReadonlyArray<Row> => {
  switch (evidence._tag) {
    case "Value":
      return [[evidence.label, evidence.value]]
    case "Text":
      return [[evidence.label, evidence.text, true]]
    case "Differences": {
      const [one, other] = evidence.sides
      return evidence.found.map(({ left, path, right }) => [
        `differs at ${path}`,
        `${one} ${left}, ${other} ${right}`,
        true
      ])
    }
  }
}

const width = 100

export const table = (rows: ReadonlyArray<Row>): ReadonlyArray<string> => {
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

// the problem is printed after the value and must stay visible
const cut = (lines: ReadonlyArray<string>): ReadonlyArray<string> =>
  lines.length <= most ? lines : [...lines.slice(0, most), `... (${lines.length - most} more lines)`]

/** Writes the line of code that runs one history again. */
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

/** Guesses the name of the variable that holds the aggregate. */
export const variableOf = (aggregate: string): string => /^[A-Za-z_$][\w$]*$/.test(aggregate) ? aggregate : "aggregate"
