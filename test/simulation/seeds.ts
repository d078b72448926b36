import { type Options, type Report, simulate, simulateUnderTestClock, type Subject } from "./simulation.js"
import { simulateSnapshotter } from "./snapshotter.js"

const whole = (name: string, otherwise: number): number => {
  const text = process.env[name] ?? ""
  const value = text === "" ? otherwise : Number(text)
  if (!Number.isSafeInteger(value) || value < 0) throw new Error(`${name} is ${text}; it must be a whole number`)
  return value
}

/** `SEED=7` runs that seed alone and prints what happens. 0 stands for no such seed. */
export const only = whole("SEED", 0)

/** `FIRST_SEED=1000000` runs other seeds, `SEEDS=100000` more of them. */
export const chosen = (count: number): ReadonlyArray<number> => from(whole("FIRST_SEED", 1), whole("SEEDS", count))

export const from = (start: number, length: number): ReadonlyArray<number> =>
  Array.from({ length }, (_, n) => start + n)

export const explain = (seed: number, { problems, trace }: Report): string =>
  `SEED=${seed}\n${problems.join("\n")}\n\nwhat happened:\n${trace.join("\n")}`

/** Lets the event loop go on: a simulation never waits, so that timers and messages would starve beside thousands. */
export const breathe = () => new Promise<void>((resolve) => setImmediate(resolve))

export type Simulation = (subject: Subject, seed: number, options?: Options) => Report | Promise<Report>

export const inMemory: Simulation = (subject, seed, options) => simulate(subject, seed, options)
export const onSqlite: Simulation = (subject, seed, options) =>
  simulate(subject, seed, { ...options, backend: "sqlite" })

/** Everything that a seed stands for. */
export const simulations: ReadonlyArray<readonly [name: string, simulation: Simulation]> = [
  ["in memory", inMemory],
  ["on SQLite", onSqlite],
  ["under Effect's own clock", simulateUnderTestClock],
  ["of the snapshotter alone", simulateSnapshotter]
]
