import * as childProcess from "node:child_process"
import * as readline from "node:readline"
import { nodeArguments } from "./compile.js"

/** Starts a TypeScript program of this project in a process of its own, and reads what it prints line by line. */
export const start = (
  file: string,
  args: ReadonlyArray<string>,
  options: {
    readonly detached?: boolean | undefined
    /** In kilobytes. */
    readonly fileLimit?: number | undefined
    /** Variables besides those of this process. `undefined` takes one away. */
    readonly env?: Readonly<Record<string, string | undefined>> | undefined
  } = {}
) => {
  const command = [process.execPath, ...nodeArguments(file), ...args]
  const [program, ...rest] = options.fileLimit === undefined
    ? command
    : ["bash", "-c", `ulimit -f ${options.fileLimit} && exec "$@"`, "bash", ...command]
  const child = childProcess.spawn(
    program,
    rest,
    {
      stdio: ["pipe", "pipe", "pipe"],
      detached: options.detached === true,
      env: { ...process.env, ...options.env }
    }
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
  /** Waits for a line that fits. */
  const next = (fits: (line: string) => boolean) =>
    new Promise<string>((resolve, reject) => {
      const look = () => {
        const line = lines.find(fits)
        if (line === undefined) return
        waiting.delete(look)
        resolve(line)
      }
      waiting.add(look)
      look()
      void exited.then((code) =>
        reject(new Error(`${file} ended with ${code} before it said so: ${lines.join("\n")}\n${errors}`))
      )
    })
  return {
    child,
    exited,
    lines,
    errors: () => errors,
    next,
    /** Calls back after each line. */
    onLine: (look: () => void) => void waiting.add(look),
    /** Waits for a line. */
    line: (text: string) => next((line) => line === text),
    tell: (text: string) => child.stdin.write(`${text}\n`)
  }
}
