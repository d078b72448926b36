import * as inspector from "node:inspector"
import * as vm from "node:vm"
import { isObject } from "./effectData.js"

/**
 * It did not return in time.
 *
 * @internal
 */
export class TookTooLong extends Error {}

const context: { run: () => void } = { run: () => {} }
const script = new vm.Script("run()")
vm.createContext(context)

/**
 * Runs a synchronous function, and stops it where it does not return in time: a loop without end is a finding here, and
 * no timer ever fires inside of one. It is stopped for good: not even its `finally` blocks run.
 *
 * @internal
 */
export const within = <A>(millis: number, run: () => A): A => {
  // nobody wants to be stopped at a breakpoint
  if (inspector.url() !== undefined) return run()
  let result: { readonly value: A } | undefined
  const outer = context.run
  context.run = () => {
    result = { value: run() }
  }
  try {
    script.runInContext(context, { timeout: millis })
  } catch (error) {
    if (isObject(error) && Reflect.get(error, "code") === "ERR_SCRIPT_EXECUTION_TIMEOUT") throw new TookTooLong()
    throw error
  } finally {
    context.run = outer
  }
  if (result === undefined) throw new TookTooLong()
  return result.value
}
