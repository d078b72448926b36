import * as FastCheck from "effect/FastCheck"
import type { Line, Problem } from "./report.js"
import { type History, lengthOf, type Types } from "./subject.js"

/** A history that breaks a law. */
export interface Finding<out T extends Types> {
  readonly history: History<T>
  readonly log: ReadonlyArray<Line>
  readonly problem: Problem
}

export interface Found<out T extends Types> extends Finding<T> {
  /** The number of the run, from 1. */
  readonly run: number
  /** How many commands and events the history had before it was shrunk. */
  readonly before: number
}

/** Searches for the smallest history that still breaks the law, from the one that a run of fast-check generated. */
export const shrink = <T extends Types>(
  arbitrary: FastCheck.Arbitrary<History<T>>,
  options: {
    readonly found: Finding<T>
    readonly seed: number
    /** The number of the run, from 0. */
    readonly run: number
    readonly inTime: () => boolean
    readonly check: (history: History<T>) => Finding<T> | undefined
  }
): Found<T> => {
  const { check, found, inTime, run, seed } = options
  let smallest = found
  const breaks = (history: History<T>): boolean => {
    const finding = inTime() ? check(history) : undefined
    if (finding !== undefined) smallest = finding
    return finding !== undefined
  }
  FastCheck.check(FastCheck.property(arbitrary, (history) => !breaks(history)), { seed, path: String(run), numRuns: 1 })
  // fast-check shortens a list from its end, but an irrelevant item may be anywhere
  for (const list of ["commands", "events"] as const) {
    for (let i = smallest.history[list].length - 1; i >= 0; i--) {
      const { history } = smallest
      breaks({ ...history, [list]: history[list].filter((_, index) => index !== i) })
    }
  }
  return { ...smallest, run: run + 1, before: lengthOf(found.history) }
}
