// HTML in which every value is escaped, unless it is HTML already. Characters that no one sees, or that turn the direction
// of the text, are shown as the command line shows them.
import * as Output from "../output.js"

/** Text that is safe as a part of a page. */
export class Html {
  constructor(readonly text: string) {}
}

export type Part = Html | string | number | ReadonlyArray<Html>

const replacements: Readonly<Record<string, string>> = {
  "&": "&amp;",
  "<": "&lt;",
  ">": "&gt;",
  "\"": "&quot;",
  "'": "&#39;"
}

const escape = (text: string): string => Output.cell(text).replace(/[&<>"']/g, (char) => replacements[char])

const render = (part: Part): string => {
  if (part instanceof Html) return part.text
  return typeof part === "string" || typeof part === "number" ? escape(String(part)) : part.map(render).join("")
}

export const html = (strings: TemplateStringsArray, ...parts: ReadonlyArray<Part>): Html =>
  new Html(strings.reduce((text, next, index) => text + render(parts[index - 1]) + next))

/** A text of several lines, such as JSON with indentation, or a message. */
export const lines = (text: string): Html => new Html(text.split("\n").map(escape).join("\n"))

export const none = new Html("")

/** A path with a query. */
export const link = (path: string, query: Readonly<Record<string, string | number>>): string => {
  const params = new URLSearchParams(
    Object.entries(query).map(([key, value]): [string, string] => [key, String(value)])
  )
  return `${path}?${params}`
}

/** A column that is at least so wide, in rem. One that grows shares the rest of the width with the others that do. */
export type Column = readonly [title: string, width: number, grows?: "grows"]

/**
 * A table whose columns do not depend on what is in them, so that a long text takes no width from the others. If the page
 * is too narrow, the table is moved within its own box.
 */
export const table = (columns: ReadonlyArray<Column>, rows: ReadonlyArray<ReadonlyArray<Part>>): Html => {
  const least = columns.reduce((sum, [, width]) => sum + width, 0)
  return html`<div class="scroll"><table style="min-width: ${least}rem">
<colgroup>${columns.map(([, width, grows]) => grows ? html`<col>` : html`<col style="width: ${width}rem">`)}</colgroup>
<thead><tr>${columns.map(([title]) => html`<th>${title}</th>`)}</tr></thead>
<tbody>${rows.map((cells) => html`<tr>${cells.map((cell) => html`<td>${cell}</td>`)}</tr>\n`)}</tbody>
</table></div>`
}

/** A time, which would break within its date. */
export const time = (text: string): Html => html`<span class="time">${text}</span>`

const style = `
body { font: 15px/1.45 system-ui, sans-serif; margin: 0 auto; max-width: 72rem; padding: 0 1rem 3rem; color: #1c2733 }
nav { padding: 1rem 0; border-bottom: 1px solid #d5dde5; margin-bottom: 1rem } nav a { margin-right: 1.5rem }
a { color: #0b5cad; text-decoration: none } a:hover { text-decoration: underline }
h1, p { overflow-wrap: anywhere } .scroll { overflow-x: auto } .time { white-space: nowrap } .small { font-size: 13px }
table { border-collapse: collapse; table-layout: fixed; width: 100% } td { overflow-wrap: anywhere }
th { text-align: left; font-weight: 600 } td, th { padding: .3rem .8rem .3rem 0; border-bottom: 1px solid #e6ebf0; vertical-align: top }
pre { margin: 0; white-space: pre-wrap; overflow-wrap: anywhere; font: 13px/1.4 ui-monospace, monospace }
.bad { color: #b3261e } .good { color: #1b7f3b } .quiet { color: #66727f } svg { background: #f4f7fa }
del { color: #b3261e; text-decoration: none } ins { color: #1b7f3b; text-decoration: none }
`

/** A whole page. It has no script, and one that refreshes does so by itself. */
export const page = (title: string, body: Html, refresh?: number): string =>
  html`<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>${title}</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
${refresh === undefined ? none : html`<meta http-equiv="refresh" content="${refresh}">`}
<style>${new Html(style)}</style></head>
<body><nav><a href="/">Streams</a><a href="/snapshots">Snapshots</a><a href="/subscriptions">Subscriptions</a></nav>
<main><h1>${title}</h1>
${body}
</main></body></html>`.text
