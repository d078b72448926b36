/**
 * Checks the laws on one history, and stops a history that does not return.
 *
 * It runs the history under fake globals and a time limit, and notes the function that is running, so that the report of
 * a stopped history can name it. Cost: replacing the globals takes as long as running a history.
 */
import * as CheckHistory from "./checkHistory.js"
import { type FakeGlobals, install } from "./fakeGlobals.js"
import type { Law, Line, Problem } from "./report.js"
import type { History, Subject, Types } from "./subject.js"
import { type Limits, TookTooLong, within } from "./timeLimit.js"

export interface Question<in State> extends CheckHistory.Question<State> {
  readonly limits: Limits
}

export interface Answer extends CheckHistory.Result {
  readonly log: ReadonlyArray<Line>
  readonly hung: boolean
}

/** The function that is running, for the report of a history that is stopped. */
export interface Progress {
  log: Array<Line>
  running: string
  began: number
  since: number
}

// the original: the laws replace it
const now = performance.now.bind(performance)

export const idle = (): Progress => ({ log: [], running: "initial", began: now(), since: now() })

/** Checks one history without a time limit. */
export const run = <T extends Types>(
  globals: FakeGlobals,
  subject: Subject<T>,
  history: History<T>,
  { limits, ...question }: Question<T["State"]>,
  progress: Progress
): CheckHistory.Result => {
  progress.log = []
  progress.began = now()
  const elapsed = limits.stopwatch()
  return CheckHistory.checkHistory(subject, history, {
    ...question,
    inTime: () => elapsed() < limits.history / 2,
    globals,
    log: progress.log,
    onCall: (what) => {
      progress.running = what
      progress.since = now()
    }
  })
}

export const inFakeGlobals = <A>(body: (globals: FakeGlobals) => A): A => {
  const globals = install()
  try {
    return body(globals)
  } finally {
    globals.restore()
  }
}

/** Checks laws on one history, with a time limit. */
export const check = <T extends Types>(
  subject: Subject<T>,
  history: History<T>,
  question: Question<T["State"]>
): Answer => inFakeGlobals((globals) => checkIn(globals, subject, history, question))

export const checkIn = <T extends Types>(
  globals: FakeGlobals,
  subject: Subject<T>,
  history: History<T>,
  question: Question<T["State"]>
): Answer => {
  const progress = idle()
  try {
    const { history: millis } = question.limits
    const result = within(millis, () => run(globals, subject, history, question, progress), globals.settle)
    return { ...result, log: progress.log, hung: false }
  } catch (error) {
    if (!(error instanceof TookTooLong)) throw error
    return neverReturned(question, progress)
  }
}

export const neverReturned = ({ laws, limits }: Question<never>, { began, log, running, since }: Progress): Answer => {
  const stopped = now()
  // many slow calls, and not one that never returns
  const isSlow = stopped - since < (stopped - began) / 3
  // only "the ..." is not the name of a function
  const subject = running.replace(/^the /, "The ")
  const law = lawOf[running] ?? "total"
  const text = `${subject} did not return within ${limits.history / 1_000} seconds.`
  const problem: Problem = { law, text, evidence: [], lines: log.length }
  return {
    problems: new Map(isSlow || !laws.includes(law) ? [] : [[law, problem]]),
    decided: new Set(),
    log,
    hung: !isSlow
  }
}

const lawOf: Readonly<Record<string, Law>> = {
  "the event schema": "events",
  "the command schema": "transport",
  "the rejection schema": "transport",
  "the state schema": "encoding",
  invariant: "invariant"
}
