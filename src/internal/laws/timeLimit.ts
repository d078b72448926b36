import * as inspector from "node:inspector"
import * as vm from "node:vm"
import { isObject } from "./effectData.js"

/** Time limits of the laws, in milliseconds. Tests of the laws use shorter limits or a virtual stopwatch. */
export interface Limits {
  /** For a handful of generated values. */
  readonly values: number
  /** For one history. */
  readonly history: number
  /** For all histories, where the caller did not say how many to run. */
  readonly histories: number
  /** The same, while fewer than the least number of histories have run. */
  readonly leastHistories: number
  /** For finding a smaller counterexample. */
  readonly shrinking: number
  /** Starts a stopwatch. The result shows the milliseconds since. */
  readonly stopwatch: () => () => number
}

// the originals: the laws replace these functions
const now = performance.now.bind(performance)
const { cpuUsage } = process

/** How much slower than the clock a stopwatch may run. */
const slowest = 8

/**
 * Measures the time that this process had on the machine. On a busy machine that is less than the clock shows. Code that
 * waits without computing is measured too, at an eighth of the clock.
 */
const stopwatch = () => {
  const started = now()
  const usage = cpuUsage()
  return () => {
    const passed = now() - started
    const { system, user } = cpuUsage(usage)
    return Math.min(passed, Math.max((user + system) / 1_000, passed / slowest))
  }
}

export const defaultLimits: Limits = {
  values: 2_000,
  history: 3_000,
  histories: 2_000,
  leastHistories: 8_000,
  shrinking: 4_000,
  stopwatch
}

/** Code did not return in time. */
export class TookTooLong extends Error {}

const context: { run: () => void } = { run: () => {} }
const script = new vm.Script("run()")
vm.createContext(context)

/**
 * Runs a synchronous function, and stops it if it does not return in time. Timers do not fire inside an endless loop, but
 * `node:vm` stops everything that its script calls. The stopped code does not run its `finally` blocks; `onStop` replaces
 * them.
 *
 * On a busy machine the function may have had no time to run. Then it runs once more with a longer limit.
 */
export const within = <A>(millis: number, run: () => A, onStop: () => void = () => {}): A => {
  // a debugger may pause at a breakpoint
  if (inspector.url() !== undefined) return run()
  const elapsed = stopwatch()
  try {
    return limited(millis, run)
  } catch (error) {
    if (!(error instanceof TookTooLong)) throw error
    onStop()
    if (elapsed() >= millis * 0.9) throw error
  }
  try {
    return limited(millis * slowest, run)
  } catch (error) {
    if (error instanceof TookTooLong) onStop()
    throw error
  }
}

const limited = <A>(millis: number, run: () => A): A => {
  let result: { readonly value: A } | undefined
  const outer = context.run
  context.run = () => {
    result = { value: run() }
  }
  try {
    script.runInContext(context, { timeout: Math.ceil(millis) })
  } catch (error) {
    if (isObject(error) && Reflect.get(error, "code") === "ERR_SCRIPT_EXECUTION_TIMEOUT") throw new TookTooLong()
    throw error
  } finally {
    context.run = outer
  }
  if (result === undefined) throw new TookTooLong()
  return result.value
}
