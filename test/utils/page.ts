// what the results of long runs look like in the docs
import * as os from "node:os"

/** A table whose first column is text and whose others are numbers. */
export const markdown = (head: ReadonlyArray<string>, rows: ReadonlyArray<ReadonlyArray<string>>): string => {
  const widths = head.map((name, n) => Math.max(3, ...[name, ...rows.map((row) => row[n])].map((text) => text.length)))
  const line = (cells: ReadonlyArray<string>) =>
    `| ${cells.map((cell, n) => n === 0 ? cell.padEnd(widths[n]) : cell.padStart(widths[n])).join(" | ")} |`
  const rule = widths.map((width, n) => n === 0 ? "-".repeat(width) : `${"-".repeat(width - 1)}:`)
  return [line(head), line(rule), ...rows.map(line)].join("\n")
}

/** A page of results: how to get them again, on what they were measured, and what they are. */
export const page = (title: string, command: string, ...parts: ReadonlyArray<string>): string =>
  [
    `# ${title}`,
    `\`${command}\` on ${os.cpus().length} cores (${
      os.cpus()[0]?.model.trim() ?? "unknown"
    }), Node.js ${process.version}.`,
    ...parts
  ].join("\n\n") + "\n"
