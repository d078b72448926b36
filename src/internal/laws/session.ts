import * as FastCheck from "effect/FastCheck"
import * as Schema from "effect/Schema"
import type * as Aggregate from "../../Aggregate.js"
import { related } from "./arbitraries.js"
import * as Trial from "./checkHistory.js"
import { toCode } from "./code.js"
import * as World from "./fakeGlobals.js"
import * as Generators from "./generators.js"
import { TookTooLong, within } from "./timeLimit.js"

/** @internal */
export interface Options<Id, in out State, Event, Command> {
  readonly histories: "commands" | "events"
  readonly id: FastCheck.Arbitrary<Id> | undefined
  readonly command: FastCheck.Arbitrary<Command> | undefined
  readonly event: FastCheck.Arbitrary<Event> | undefined
  readonly invariant: ((state: State) => boolean) | undefined
  readonly runs: number | undefined
  readonly seed: number
  readonly size: number
}

/** @internal */
export interface Finding<out Id, out Event, out Command> {
  readonly history: Generators.History<Id, Command, Event>
  readonly log: ReadonlyArray<Trial.Line>
  readonly problem: Trial.Problem
}

/** @internal */
export interface Found<out Id, out Event, out Command> extends Finding<Id, Event, Command> {
  /** The number of the run, from 1. */
  readonly run: number
  /** How many commands and events it had before it was shrunk. */
  readonly before: number
}

/**
 * All histories that an aggregate is tried with. They are made once for all laws, when the first of them is asked for.
 *
 * @internal
 */
export interface Session<out Id, out State, out Event, out Command> {
  readonly find: (law: Trial.Law) => Found<Id, Event, Command> | undefined
  /** Some of the states that the histories reached. */
  readonly reached: ReadonlyArray<State>
}

/** How long one history may take, in milliseconds. */
const patience = 3_000
/** How long the runs that nobody asked for by number may take together. */
const budget = 2_000
const mostRuns = 1_000
const leastRuns = 100
/** Where they take that long to make, there is something wrong with a schema. */
const fewest = 25
/** How long they may take together where fewer than the least have run. */
const patienceForAll = 8_000
/** How long the runs under one guard should take: it costs more than most histories do. */
const stretch = 250
/** How many of the states that were reached are kept. */
const enough = 500
/** How long a finding is made smaller. */
const shrinking = 4_000

interface Question<in State> {
  readonly laws: Iterable<Trial.Law>
  readonly strict: boolean
  readonly most?: number | undefined
  readonly onState?: ((state: State) => void) | undefined
  readonly invariant: ((state: State) => boolean) | undefined
}

interface Answer extends Trial.Trial {
  readonly log: ReadonlyArray<Trial.Line>
  readonly hung: boolean
}

/** What goes on, for when it never ends. */
interface Progress {
  log: Array<Trial.Line>
  running: string
  since: number
}

const idle = (): Progress => ({ log: [], running: "initial", since: performance.now() })

const tryUnguarded = <Name extends string, Id, State, Event, Command, Rejection>(
  aggregate: Aggregate.Aggregate<Name, Id, State, Event, Command, Rejection>,
  history: Generators.History<Id, Command, Event>,
  { invariant, laws, most = Infinity, onState, strict }: Question<State>,
  progress: Progress,
  world: World.World
): Trial.Trial => {
  progress.log = []
  return Trial.run(aggregate, history, {
    laws: new Set(laws),
    most,
    millis: patience / 2,
    onState,
    strict,
    invariant,
    world,
    log: progress.log,
    onCall: (what) => {
      progress.running = what
      progress.since = performance.now()
    }
  })
}

/** It is dear to make one. */
const inWorld = <A>(body: (world: World.World) => A): A => {
  const world = World.install()
  try {
    return body(world)
  } finally {
    world.restore()
  }
}

/**
 * Tries one history.
 *
 * @internal
 */
export const tryHistory = <Name extends string, Id, State, Event, Command, Rejection>(
  aggregate: Aggregate.Aggregate<Name, Id, State, Event, Command, Rejection>,
  history: Generators.History<Id, Command, Event>,
  question: Question<State>
): Answer => inWorld((world) => tryIn(world, aggregate, history, question))

const tryIn = <Name extends string, Id, State, Event, Command, Rejection>(
  world: World.World,
  aggregate: Aggregate.Aggregate<Name, Id, State, Event, Command, Rejection>,
  history: Generators.History<Id, Command, Event>,
  question: Question<State>
): Answer => {
  const progress = idle()
  try {
    const trial = within(patience, () => tryUnguarded(aggregate, history, question, progress, world))
    return { ...trial, log: progress.log, hung: false }
  } catch (error) {
    if (!(error instanceof TookTooLong)) throw error
    // its own finally did not run
    world.settle()
    return neverReturned(question.laws, progress)
  }
}

const neverReturned = (laws: Iterable<Trial.Law>, { log, running, since }: Progress): Answer => {
  // many calls, each of which is slow
  if (performance.now() - since < patience / 3) return { problems: new Map(), decided: new Set(), log, hung: false }
  // the names of functions stay as they are
  const subject = running.replace(/^the /, "The ")
  const law = lawOf[running] ?? "total"
  const text = `${subject} did not return within ${patience / 1_000} seconds.`
  const problem: Trial.Problem = { law, text, evidence: [], lines: log.length }
  const problems = new Map(Array.from(laws, (law) => [law, problem] as const).filter(([wanted]) => wanted === law))
  return { problems, decided: new Set(), log, hung: true }
}

const lawOf: Readonly<Record<string, Trial.Law>> = {
  "the event schema": "events",
  "the state schema": "encoding",
  invariant: "invariant"
}

/** @internal */
export const make = <Name extends string, Id, State, Event, Command, Rejection>(
  aggregate: Aggregate.Aggregate<Name, Id, State, Event, Command, Rejection>,
  options: Options<Id, State, Event, Command>
): Session<Id, State, Event, Command> => {
  type History = Generators.History<Id, Command, Event>
  const { invariant, runs, seed, size } = options
  const strict = options.histories === "events"
  const generators = Generators.make(aggregate, options)
  const none = FastCheck.constant([])
  const lists = <A>(item: FastCheck.Arbitrary<A>, given: boolean, schema: Schema.Schema<A>, maxLength: number) =>
    given
      ? FastCheck.array(item, { maxLength, size: "max" })
      : related(item, { maxLength, isValid: Schema.is(schema) })
  // some are rejected
  const commands = strict
    ? none
    : lists(generators.command(), options.command !== undefined, aggregate.command, size * 2)
  const events = lists(generators.event, options.event !== undefined, aggregate.event.schema, size)
  // what is being generated: the parts of a history are made in turn
  let generating: "id" | "command" | "event" = "id"
  const id = generators.id.map((id) => {
    generating = strict ? "event" : "command"
    return id
  })
  const histories: FastCheck.Arbitrary<History> = FastCheck.record({
    id,
    commands,
    events: strict ? events : none
  })

  const pending = new Set(Trial.allLaws)
  const first = new Map<Trial.Law, () => Found<Id, Event, Command>>()
  const decided = new Set<string>()
  let refused: { readonly command: unknown; readonly rejection: unknown } | undefined

  const reached: Array<State> = []
  const onState = (state: State) => {
    if (reached.length < enough) reached.push(state)
  }

  const slow = (option: "id" | "command" | "event", millis: number) =>
    Generators.slowest(aggregate, options, option, Math.max(1, Math.round(millis / 1_000)))

  const judge = (
    arbitrary: FastCheck.Arbitrary<History>,
    laws: ReadonlySet<Trial.Law>,
    limits: { readonly runs: number | undefined; readonly most: number; readonly least: number }
  ): void => inWorld((world) => judgeIn(world, arbitrary, laws, limits))

  const judgeIn = (
    world: World.World,
    arbitrary: FastCheck.Arbitrary<History>,
    laws: ReadonlySet<Trial.Law>,
    limits: { readonly runs: number | undefined; readonly most: number; readonly least: number }
  ): void => {
    const total = limits.runs ?? limits.most
    const wanted = () => [...laws].filter((law) => pending.has(law))
    const learn = (history: History, run: number, { decided: types, hung, log, problems }: Answer) => {
      types.forEach((type) => decided.add(type))
      refused = refused ?? refusalIn(log)
      for (const [law, problem] of problems) {
        pending.delete(law)
        const finding = { history, log, problem }
        first.set(law, () => hung ? unshrunk(finding, run) : shrink(arbitrary, law, finding, run))
      }
    }
    const started = performance.now()
    const progress = idle()
    let next = 0
    let trying = 0
    let current: History | undefined
    generating = "id"
    const property = FastCheck.property(arbitrary, (history) => {
      current = history
      const began = performance.now()
      const question = { laws: wanted(), most: size, strict, invariant, onState }
      const trial = tryUnguarded(aggregate, history, question, progress, world)
      learn(history, next, { ...trial, log: progress.log, hung: false })
      next++
      current = undefined
      generating = "id"
      trying += performance.now() - began
    })
    let count = 1
    let alone = false
    while (next < total && wanted().length > 0) {
      const elapsed = performance.now() - started
      if (limits.runs === undefined) {
        if (elapsed > (next < limits.least ? patienceForAll : budget)) return
        // it is the making that takes the time
        if (next < fewest && elapsed > patience && trying < elapsed / 5) {
          throw slow(strict ? "event" : "command", elapsed)
        }
      }
      count = alone || next === 0 ? 1 : Math.max(1, Math.floor(stretch * next / elapsed))
      alone = false
      try {
        const { errorInstance } = within(patience, () =>
          FastCheck.check(property, {
            seed,
            path: String(next),
            numRuns: Math.min(count, total - next),
            endOnFailure: true
          }))
        if (errorInstance !== undefined && errorInstance !== null) throw errorInstance
      } catch (error) {
        if (!(error instanceof TookTooLong)) {
          if (current !== undefined) throw error
          throw new Generators.NotGenerated(`A generator, or a filter in a schema, threw ${Trial.messageOf(error)}`)
        }
        world.settle()
        if (current === undefined && count === 1) throw slow(generating, patience)
        // it may be that the ones before it took the time
        alone = true
        if (current === undefined) continue
        const question = { laws: wanted(), most: size, strict, invariant }
        // where it was not the only one, the others may have taken the time
        const answer = count === 1 ? neverReturned(question.laws, progress) : tryIn(world, aggregate, current, question)
        learn(current, next, answer)
        // every other history would take as long
        if (answer.hung) pending.clear()
        next++
        current = undefined
      }
    }
  }

  // what hangs is not tried again and again, but what comes after it can go
  const unshrunk = (finding: Finding<Id, Event, Command>, run: number): Found<Id, Event, Command> => {
    const lived = (tag: Trial.Line["_tag"]) => finding.log.filter((line) => line._tag === tag).length
    const { commands, events, id } = finding.history
    return {
      ...finding,
      history: {
        id,
        commands: commands.slice(0, lived("Command")),
        events: strict ? events.slice(0, lived("Event")) : events
      },
      run: run + 1,
      before: lengthOf(finding.history)
    }
  }

  const shrink = (
    arbitrary: FastCheck.Arbitrary<History>,
    law: Trial.Law,
    found: Finding<Id, Event, Command>,
    run: number
  ): Found<Id, Event, Command> => inWorld((world) => shrinkIn(world, arbitrary, law, found, run))

  const shrinkIn = (
    world: World.World,
    arbitrary: FastCheck.Arbitrary<History>,
    law: Trial.Law,
    found: Finding<Id, Event, Command>,
    run: number
  ): Found<Id, Event, Command> => {
    const started = performance.now()
    let smallest = found
    const breaks = (history: History): boolean => {
      if (performance.now() - started > shrinking) return false
      const { log, problems } = tryIn(world, aggregate, history, { laws: [law], most: size, strict, invariant })
      const problem = problems.get(law)
      if (problem !== undefined) smallest = { history, log, problem }
      return problem !== undefined
    }
    FastCheck.check(FastCheck.property(arbitrary, (history) => !breaks(history)), {
      seed,
      path: String(run),
      numRuns: 1
    })
    // fast-check takes items from the ends of a list, and what nobody needs may stand in its middle
    for (const list of ["commands", "events"] as const) {
      for (let i = smallest.history[list].length - 1; i >= 0; i--) {
        const { history } = smallest
        breaks({ ...history, [list]: history[list].filter((_, index) => index !== i) })
      }
    }
    return { ...smallest, run: run + 1, before: lengthOf(found.history) }
  }

  judge(histories, new Set(Trial.allLaws), { runs, most: mostRuns, least: leastRuns })
  if (!strict) {
    if (decided.size === 0 && first.size === 0 && size > 0) throw new Generators.NotGenerated(nothingDecided(refused))
    // old events, which nothing decides any more, have to be replayed all the same
    for (const [type, event] of generators.byType) {
      if (decided.has(type)) continue
      const withEvent: FastCheck.Arbitrary<History> = FastCheck.record({
        id,
        commands,
        events: FastCheck.tuple(event)
      })
      judge(withEvent, new Set(["total", "pure"]), { runs: 100, most: 100, least: 100 })
    }
  }

  const known = new Map<Trial.Law, Found<Id, Event, Command>>()
  return {
    reached,
    find: (law) => {
      const found = known.get(law) ?? first.get(law)?.()
      if (found === undefined) return undefined
      known.set(law, found)
      return law === "snapshots" && first.has("pure")
        ? { ...found, problem: { ...found.problem, hint: impurityFirst } }
        : found
    }
  }
}

const impurityFirst = "decide or evolve is not pure, as the law of that says: mend that first. This may come of it."

const lengthOf = (history: Generators.History<unknown, unknown, unknown>): number =>
  history.commands.length + history.events.length

const refusalIn = (log: ReadonlyArray<Trial.Line>) => {
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
    "None of the generated commands was accepted with an event: there is no history to try the laws with.",
    ...(refused === undefined ? [] : [
      "",
      `  the command  ${toCode(refused.command)}`,
      `  is rejected  ${toCode(refused.rejection)}`
    ]),
    "",
    "Most likely commands must fit together in a way that random ones do not. Give the laws a generator of commands that",
    "do (the option `command`), or try them with any events in any order (the option `histories: \"events\"`)."
  ].join("\n")
