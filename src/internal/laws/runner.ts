import { createRequire } from "node:module"
import { isObject } from "./effectData.js"

interface Declares {
  readonly describe: (name: string, body: () => void) => unknown
  readonly it: (name: string, body: () => Promise<void>, timeout?: number) => unknown
}

/**
 * Finds the runner that runs this file: the globals of jest, mocha, bun and of vitest's `globals: true`; the functions
 * that vitest keeps for `import.meta.vitest` where it has no globals; then `node:test`.
 */
export const detect = (): Declares => {
  for (const candidate of [globalThis, Reflect.get(globalThis, "__vitest_index__")]) {
    if (isRunner(candidate)) return { describe: candidate.describe, it: candidate.it }
  }
  const nodeTest: unknown = createRequire(import.meta.url)("node:test")
  if (isRunner(nodeTest)) return nodeTest
  throw new Error("no test runner was found: pass yours, { runner: { describe, it } }")
}

const isRunner = (candidate: unknown): candidate is Declares =>
  (isObject(candidate) || typeof candidate === "function") &&
  typeof Reflect.get(candidate, "describe") === "function" && typeof Reflect.get(candidate, "it") === "function"
