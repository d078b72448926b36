// terminal output for the examples; nothing here concerns event sourcing
import { SingleBar } from "cli-progress"
import { Cause, Clock, Console, Effect, Exit } from "effect"
import * as fs from "node:fs"
import * as os from "node:os"
import * as path from "node:path"
import { parseArgs, type ParseArgsConfig } from "node:util"

/** A file in a temporary folder. Closing the scope removes the folder, unless `keep` is set. */
export const temporaryFile = (name: string, options: { readonly keep: boolean }) =>
  Effect.acquireRelease(
    Effect.sync(() => fs.mkdtempSync(path.join(os.tmpdir(), "tutorial-"))),
    (folder) =>
      options.keep
        ? Console.log(`\nKept ${path.join(folder, name)}`)
        : Effect.sync(() => fs.rmSync(folder, { recursive: true, force: true }))
  ).pipe(Effect.map((folder) => path.join(folder, name)))

/** Runs a program. Ctrl-C, a signal or a closed pipe interrupts it, and its finalizers run. */
export const runMain = <A>(program: Effect.Effect<A, unknown>) => {
  const fiber = Effect.runFork(program)
  const stop = () => fiber.unsafeInterruptAsFork(fiber.id())
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) process.on(signal, stop)
  process.stdout.on("error", stop)
  fiber.addObserver((exit) => {
    if (Exit.isSuccess(exit)) return
    process.exitCode = 1
    if (Cause.isInterruptedOnly(exit.cause)) return process.exit()
    const error = Cause.squash(exit.cause)
    console.error(error instanceof Error ? error.message : error)
  })
}

/** The mean time of an effect in milliseconds, after one warm-up run. */
export const meanMillis = <A, E, R>(repeats: number, effect: Effect.Effect<A, E, R>) =>
  Effect.gen(function*() {
    yield* effect
    const start = yield* Clock.currentTimeNanos
    yield* Effect.repeatN(effect, repeats - 1)
    const end = yield* Clock.currentTimeNanos
    return Number(end - start) / 1e6 / repeats
  })

/** Runs `total` steps in batches, with a progress bar on a terminal and a plain line elsewhere. */
export const progress = <A, E, R>(
  title: string,
  total: number,
  batch: number,
  run: (count: number) => Effect.Effect<A, E, R>
) =>
  Effect.gen(function*() {
    const bar = process.stdout.isTTY
      ? new SingleBar({ format: `${title} {bar} {percentage}%`, clearOnComplete: true, stopOnComplete: false })
      : undefined
    if (bar === undefined) yield* Console.log(title)
    bar?.start(total, 0)
    for (let done = 0; done < total; done += batch) {
      const count = Math.min(batch, total - done)
      yield* run(count)
      bar?.increment(count)
    }
    bar?.stop()
  })

export const table = (head: ReadonlyArray<string>, rows: ReadonlyArray<ReadonlyArray<string>>): string => {
  const widths = head.map((title, column) => Math.max(title.length, ...rows.map((row) => row[column].length)))
  const line = (cells: ReadonlyArray<string>) => cells.map((cell, column) => cell.padStart(widths[column])).join("  ")
  return [line(head), line(widths.map((width) => "-".repeat(width))), ...rows.map(line)].join("\n")
}

/** A bar chart on a logarithmic scale, because the values differ by factors of thousands. */
export const bars = (rows: ReadonlyArray<readonly [label: string, millis: number]>): string => {
  const width = Math.max(...rows.map(([label]) => label.length))
  const smallest = Math.min(...rows.map(([, value]) => value))
  const decades = Math.log10(Math.max(...rows.map(([, value]) => value)) / smallest) || 1
  const bar = (value: number) => "█".repeat(1 + Math.round(49 * Math.log10(value / smallest) / decades))
  return [
    "\nLoad time, logarithmic scale",
    ...rows.map(([label, value]) => `${label.padStart(width)} ${bar(value)} ${value.toFixed(3)} ms`)
  ].join("\n")
}

/** Parses a program's options. An unknown option prints the usage and exits with status 2. */
export const argumentsOf = <const Options extends NonNullable<ParseArgsConfig["options"]>>(
  options: Options,
  usage: string
) => {
  try {
    return parseArgs({ options }).values
  } catch (error) {
    console.error(`${error instanceof Error ? error.message : String(error)}\n\n${usage}`)
    process.exit(2)
  }
}
