/**
 * Checks an aggregate against generated histories, and keeps the first history that breaks each law.
 *
 * All laws share the histories, which are generated when the first law is checked. Several histories run under one
 * time limit, as setting the limit costs more than most of them; where they are stopped, the one that was running is
 * tried again alone. Cost: up to 1,000 histories or 2 seconds, then up to 4 seconds for each broken law to shrink its
 * history.
 */
import * as FastCheck from "effect/FastCheck"
import { allLaws } from "./checkHistory.js"
import { messageOf, toCode } from "./code.js"
import type { FakeGlobals } from "./fakeGlobals.js"
import * as Generators from "./generators.js"
import type { Law, Line } from "./report.js"
import { type Finding, type Found, shrink } from "./shrink.js"
import { type History, lengthOf, type Subject, type Types } from "./subject.js"
import { type Answer, checkIn, idle, inFakeGlobals, neverReturned, type Question, run } from "./timedHistory.js"
import { type Limits, TookTooLong, within } from "./timeLimit.js"

export interface Options<T extends Types> extends Generators.Given<T> {
  readonly histories: "commands" | "events"
  readonly invariant: ((state: T["State"]) => boolean) | undefined
  readonly runs: number | undefined
  readonly seed: number
  readonly size: number
  readonly limits: Limits
}

export interface Session<T extends Types> {
  readonly find: (law: Law) => Found<T> | undefined
  /** Some of the states that the histories reached. */
  readonly reached: ReadonlyArray<T["State"]>
}

const mostRuns = 1_000
const leastRuns = 100
/** If fewer histories than this run in the time limit of one, a schema is hard to generate. */
const fewest = 25
/** The maximum number of reached states that are kept. */
const kept = 500

interface Search<T extends Types> {
  readonly subject: Subject<T>
  readonly options: Options<T>
  readonly strict: boolean
  /** The laws that no history has broken yet. */
  readonly pending: Set<Law>
  readonly first: Map<Law, First<T>>
  readonly decided: Set<string>
  readonly reached: Array<T["State"]>
  refused: { readonly command: unknown; readonly rejection: unknown } | undefined
  /** The part of a history that is being generated. */
  generating: "id" | "command" | "event"
}

interface First<T extends Types> {
  readonly arbitrary: FastCheck.Arbitrary<History<T>>
  readonly finding: Finding<T>
  readonly run: number
  readonly hung: boolean
}

export const make = <T extends Types>(subject: Subject<T>, options: Options<T>): Session<T> => {
  const { limits, runs, size } = options
  const strict = options.histories === "events"
  const search: Search<T> = {
    subject,
    options,
    strict,
    pending: new Set(allLaws),
    first: new Map(),
    decided: new Set(),
    reached: [],
    refused: undefined,
    generating: "id"
  }
  const generators = Generators.make(subject, options, limits)
  const id = generators.id.map((id) => {
    search.generating = strict ? "event" : "command"
    return id
  })
  const histories = Generators.histories(subject, { ...generators, id }, options, { size, strict })
  inFakeGlobals((globals) =>
    runHistories(search, globals, histories, {
      laws: allLaws,
      most: runs ?? mostRuns,
      least: runs ?? leastRuns
    })
  )
  if (!strict) runOldEvents(search, generators, histories)
  const known = new Map<Law, Found<T>>()
  return {
    reached: search.reached,
    find: (law) => {
      const first = search.first.get(law)
      if (first === undefined) return undefined
      const found = known.get(law) ?? (first.hung ? unshrunk(search, first) : shrunk(search, law, first))
      known.set(law, found)
      return law === "snapshots" && search.first.has("pure")
        ? { ...found, problem: { ...found.problem, hint: impurityFirst } }
        : found
    }
  }
}

const impurityFirst = "decide or evolve is not pure, as the law of purity says. Fix that first: it may be the cause."

/** Streams may still hold events that no command decides any more. Each type is tried after the histories. */
const runOldEvents = <T extends Types>(
  search: Search<T>,
  { byType }: Generators.Generators<T>,
  histories: FastCheck.Arbitrary<History<T>>
): void => {
  const { decided, first, options, refused } = search
  if (decided.size === 0 && first.size === 0 && options.size > 0) {
    throw new Generators.NotGenerated(nothingDecided(refused))
  }
  for (const [type, event] of byType) {
    if (decided.has(type)) continue
    const withEvent = FastCheck.tuple(histories, event).map(([history, event]) => ({ ...history, events: [event] }))
    inFakeGlobals((globals) =>
      runHistories(search, globals, withEvent, { laws: ["total", "pure"], most: 100, least: 100 })
    )
  }
}

const runHistories = <T extends Types>(
  search: Search<T>,
  globals: FakeGlobals,
  arbitrary: FastCheck.Arbitrary<History<T>>,
  { laws, least, most }: { readonly laws: ReadonlyArray<Law>; readonly most: number; readonly least: number }
): void => {
  const { options, pending, subject } = search
  const { limits, seed } = options
  const elapsed = limits.stopwatch()
  const progress = idle()
  let next = 0
  let checking = 0
  let current: History<T> | undefined
  const wanted = () => laws.filter((law) => pending.has(law))
  const question = () => questionOf(search, wanted())
  const settle = (history: History<T>, answer: Answer) => {
    learn(search, arbitrary, history, next, answer)
    next++
    current = undefined
    search.generating = "id"
  }
  const property = FastCheck.property(arbitrary, (history) => {
    current = history
    const began = elapsed()
    const result = run(globals, subject, history, question(), progress)
    settle(history, { ...result, log: progress.log, hung: false })
    checking += elapsed() - began
  })
  const runSome = (last: number) =>
    within(limits.history, () => {
      search.generating = "id"
      if (next >= last) return
      const { errorInstance } = FastCheck.check(property, {
        seed,
        path: String(next),
        numRuns: last - next,
        endOnFailure: true
      })
      if (errorInstance !== undefined && errorInstance !== null) throw errorInstance
    }, globals.settle)

  let alone = true
  while (next < most && wanted().length > 0) {
    if (options.runs === undefined) {
      const time = elapsed()
      if (time > (next < least ? limits.leastHistories : limits.histories)) return
      if (next < fewest && time > limits.history && checking < time / 5) {
        throw tooSlow(search, search.strict ? "event" : "command", time)
      }
    }
    const count = alone ? 1 : Math.max(1, Math.floor(limits.history / 12 * next / elapsed()))
    alone = false
    try {
      runSome(Math.min(most, next + count))
    } catch (error) {
      if (!(error instanceof TookTooLong)) {
        if (current !== undefined) throw error
        throw new Generators.NotGenerated(`A generator, or a filter in a schema, threw ${messageOf(error)}`)
      }
      if (current === undefined && count === 1) throw tooSlow(search, search.generating, limits.history)
      // the other histories may have used the time
      alone = true
      if (current === undefined) continue
      const answer = count === 1 ? neverReturned(question(), progress) : checkIn(globals, subject, current, question())
      // every other history would hang, too
      if (answer.hung) pending.clear()
      settle(current, answer)
    }
  }
}

const learn = <T extends Types>(
  search: Search<T>,
  arbitrary: FastCheck.Arbitrary<History<T>>,
  history: History<T>,
  run: number,
  { decided, hung, log, problems }: Answer
): void => {
  decided.forEach((type) => search.decided.add(type))
  search.refused = search.refused ?? refusalIn(log)
  for (const [law, problem] of problems) {
    search.pending.delete(law)
    search.first.set(law, { arbitrary, finding: { history, log, problem }, run, hung })
  }
}

const tooSlow = <T extends Types>(
  { options, subject }: Search<T>,
  part: "id" | "command" | "event",
  millis: number
): Generators.NotGenerated =>
  Generators.slowest(subject, options, part, Math.max(1, Math.round(millis / 1_000)), options.limits)

const shrunk = <T extends Types>(search: Search<T>, law: Law, { arbitrary, finding, run }: First<T>): Found<T> =>
  inFakeGlobals((globals) => {
    const { options: { limits, seed }, subject } = search
    const elapsed = limits.stopwatch()
    return shrink(arbitrary, {
      found: finding,
      seed,
      run,
      inTime: () => elapsed() < limits.shrinking,
      check: (history) => {
        const { log, problems } = checkIn(globals, subject, history, questionOf(search, [law]))
        const problem = problems.get(law)
        return problem === undefined ? undefined : { history, log, problem }
      }
    })
  })

/** Does not run a history that never returns again. Leaves out the commands and events that it did not reach. */
const unshrunk = <T extends Types>({ strict }: Search<T>, { finding, run }: First<T>): Found<T> => {
  const count = (tag: Line["_tag"]) => finding.log.filter((line) => line._tag === tag).length
  const { commands, events, id } = finding.history
  return {
    ...finding,
    history: {
      id,
      commands: commands.slice(0, count("Command")),
      events: strict ? events.slice(0, count("Event")) : events
    },
    run: run + 1,
    before: lengthOf(finding.history)
  }
}

const refusalIn = (log: ReadonlyArray<Line>) => {
  for (const [index, line] of log.entries()) {
    const before = log[index - 1]
    if (line._tag === "Rejection" && before?._tag === "Command") {
      return { command: before.command, rejection: line.rejection }
    }
  }
  return undefined
}

const nothingDecided = (refused: { readonly command: unknown; readonly rejection: unknown } | undefined): string =>
  [
    "None of the generated commands was accepted with an event, so there is no history to check the laws on.",
    ...(refused === undefined ? [] : [
      "",
      `  the command  ${toCode(refused.command)}`,
      `  is rejected  ${toCode(refused.rejection)}`
    ]),
    "",
    "Most likely commands must fit together in a way that random ones do not. Give the laws a generator of commands that",
    "do (the option `command`), or check them on any events in any order (the option `histories: \"events\"`)."
  ].join("\n")

const questionOf = <T extends Types>(
  { options: { invariant, limits, size }, reached, strict }: Search<T>,
  laws: ReadonlyArray<Law>
): Question<T["State"]> => ({
  laws,
  strict,
  size,
  invariant,
  limits,
  onState: (state) => {
    if (reached.length < kept) reached.push(state)
  }
})
