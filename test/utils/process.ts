import * as childProcess from "node:child_process"
import * as readline from "node:readline"

/** Starts a TypeScript program of this folder in a process of its own, and reads what it prints line by line. */
export const start = (file: string, args: ReadonlyArray<string>) => {
  const child = childProcess.spawn(
    process.execPath,
    ["--import", "tsx", new URL(file, import.meta.url).pathname, ...args],
    { stdio: ["pipe", "pipe", "pipe"] }
  )
  const lines: Array<string> = []
  const waiting = new Set<() => void>()
  let errors = ""
  child.stderr.on("data", (chunk) => errors += String(chunk))
  readline.createInterface({ input: child.stdout }).on("line", (line) => {
    lines.push(line)
    for (const wake of waiting) wake()
  })
  const exited = new Promise<number | null>((resolve) => child.on("close", (code) => resolve(code)))
  return {
    child,
    exited,
    lines,
    errors: () => errors,
    /** Waits for a line. */
    line: (text: string) =>
      new Promise<void>((resolve, reject) => {
        const look = () => {
          if (!lines.includes(text)) return
          waiting.delete(look)
          resolve()
        }
        waiting.add(look)
        look()
        void exited.then((code) => reject(new Error(`ended with ${code} before it printed ${text}: ${errors}`)))
      }),
    tell: (text: string) => child.stdin.write(`${text}\n`)
  }
}
