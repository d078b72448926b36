/**
 * Turns the options of a suite into the laws of one aggregate, each with a check that throws the report of a violation.
 *
 * The first check generates the histories for all laws; the others only look at the findings. Cost: see the session
 * and, where older versions are given, the comparison with each of them.
 */
import { InvalidOption } from "../../InvalidOption.js"
import { orThrow, unless, wholeFromOne, wholeProblem } from "../options.js"
import { brief } from "../text.js"
import * as CheckHistory from "./checkHistory.js"
import { toCode } from "./code.js"
import * as Erasure from "./erasure.js"
import { type Given, NotGenerated } from "./generators.js"
import * as PreviousVersion from "./previousVersion.js"
import { type Law, type Problem, regression, render, variableOf } from "./report.js"
import * as Session from "./session.js"
import type { Found } from "./shrink.js"
import { lengthOf, type Subject, type Types, type TypesOf } from "./subject.js"
import { defaultLimits, type Limits } from "./timeLimit.js"

/**
 * A history breaks a law. The message lists the steps of the history.
 *
 * @example
 * ```ts
 * import { AggregateLaws } from "effect-eventsourcing/testing"
 *
 * const isBroken = (error: unknown) => error instanceof AggregateLaws.LawBroken && error.message.includes("total")
 * ```
 *
 * @since 0.1.0
 * @category errors
 */
export class LawBroken extends Error {
  override readonly name = "LawBroken"
}

export const names: Readonly<Record<Law, string>> = {
  total: "decide and evolve never throw, and handle every command and event",
  pure: "decide and evolve are pure: same input, same output, no input changed, no clock, no randomness",
  events: "every event fits its schema, survives storage and leads to a state that fits the state schema",
  rejections: "a rejection is a typed value and leaves the state as it was",
  transport: "every command, and every rejection that has a schema, survives being sent as JSON",
  encoding: "every state survives being stored as JSON",
  snapshots: "a snapshot at any version, and the events after it, give the state of a full replay",
  erasure: "a replay after the erasure of all subjects gives the state without their data",
  migrations: "snapshots and events of older code give the state of a full replay",
  invariant: "the invariant holds in every state"
}

/**
 * Settings of the laws: the generation of histories, older versions and an invariant.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options<Id, in out State, Event, Command> extends Given<TypesOf<Id, State, Event, Command>> {
  /**
   * `"commands"`, the default: generated commands are decided in turn, so that every history could have happened.
   * `"events"`: generated events in any order, even where no command would decide them. That is stricter: `evolve` has
   * to handle everything, and every state that it returns must fit the state schema.
   */
  readonly histories?: "commands" | "events" | undefined
  /**
   * Older versions of the aggregate, from `AggregateLaws.previous`. Their snapshots and events are read by this version and
   * compared.
   */
  readonly previous?: ReadonlyArray<Previous> | undefined
  /** A condition that must hold in every state that is reached. */
  readonly invariant?: ((state: State) => boolean) | undefined
  /**
   * How many histories are tried. Default: 1,000, or as many as 2 seconds allow, but at least 100 unless those take
   * more than 8 seconds.
   */
  readonly runs?: number | undefined
  /**
   * The seed of the random numbers, a whole number. The same seed gives the same histories. Default: a new one each
   * time.
   */
  readonly seed?: number | undefined
  /** The most events in one history. Default 20. */
  readonly size?: number | undefined
}

/**
 * Marks a {@link Previous}.
 *
 * @since 0.1.0
 * @category Type IDs
 */
export const PreviousTypeId: PreviousTypeId = "~effect-eventsourcing/testing/AggregateLaws/Previous"

/**
 * The type of {@link PreviousTypeId}.
 *
 * @since 0.1.0
 * @category Type IDs
 */
export type PreviousTypeId = "~effect-eventsourcing/testing/AggregateLaws/Previous"

/**
 * An older version of an aggregate, with any types of states and events.
 *
 * @since 0.1.0
 * @category models
 */
export interface Previous {
  readonly [PreviousTypeId]: PreviousTypeId
  readonly name: string
  readonly schemaVersion: number
}

/** An older version of an aggregate, with its types left out. */
export interface Older extends Previous {
  readonly find: <T extends Types>(now: Subject<T>, options: PreviousVersion.Options) => Found<Types> | undefined
}

type OptionsOf<T extends Types> = Options<T["Id"], T["State"], T["Event"], T["Command"]>

/** The settings of one suite that its reports need. */
interface Suite {
  readonly aggregate: string
  readonly options: Pick<OptionsOf<Types>, "histories" | "runs" | "size">
  /** The names of the other options that are given. */
  readonly given: ReadonlyArray<string>
  readonly seed: number
  readonly size: number
  readonly limits: Limits
  /** The stack of the test that declared the laws. */
  readonly declared: { readonly stack?: string }
}

/** Makes the laws of an aggregate. The stack of a failure begins where `caller` was called. */
export const make = <T extends Types>(
  subject: Subject<T>,
  options: OptionsOf<T>,
  caller: Function,
  limits: Limits = defaultLimits
): ReadonlyArray<{ readonly name: string; readonly check: () => void }> => {
  const declared: { readonly stack?: string } = {}
  Error.captureStackTrace(declared, caller)
  const older = validate(options)
  const seed = (options.seed ?? Math.floor(Math.random() * 0x7fffffff)) | 0
  const suite: Suite = {
    aggregate: subject.name,
    options,
    given: (["id", "command", "event", "previous", "invariant"] as const).filter((name) => options[name] !== undefined),
    seed,
    size: options.size ?? 20,
    limits,
    declared
  }
  const open = openOnce(suite, subject, options)
  const checks = CheckHistory.allLaws
    .filter((law) => law !== "invariant" || options.invariant !== undefined)
    .filter((law) => law !== "erasure" || Erasure.concerns(subject))
    .map((law) => ({ name: names[law], check: () => checkHistories(suite, open(), law) }))
  return subject.migrations.length === 0 && older.length === 0 ? checks : [...checks, {
    name: names.migrations,
    check: () => {
      generated(suite, () => checkOlder(suite, subject, older))
      const { reached } = open()
      generated(suite, () => checkMigrations(suite, PreviousVersion.inspect(subject, reached, seed, limits)))
    }
  }]
}

const validate = <T extends Types>(
  { histories = "commands", previous = [], runs, seed, size }: OptionsOf<T>
): ReadonlyArray<Older> => {
  orThrow(wholeFromOne("AggregateLaws runs", runs) ?? wholeFromOne("AggregateLaws size", size))
  orThrow(seed === undefined ? undefined : wholeProblem("AggregateLaws seed", seed))
  const isKnown = histories === "commands" || histories === "events"
  orThrow(unless(isKnown, "AggregateLaws histories", histories, "commands or events"))
  return previous.map((older) => {
    if (isOlder(older)) return older
    const [option, expected] = ["AggregateLaws previous", "a list of results of AggregateLaws.previous"]
    throw new InvalidOption({ option, value: brief(toCode(older)), expected })
  })
}

const isOlder = (older: Previous): older is Older => typeof Reflect.get(older, "find") === "function"

/** Generates the histories at the first call. If that fails, every later call fails with a short message. */
const openOnce = <T extends Types>(
  suite: Suite,
  subject: Subject<T>,
  { command, event, histories = "commands", id, invariant, runs }: OptionsOf<T>
): () => Session.Session<T> => {
  const { limits, seed, size } = suite
  let session: Session.Session<T> | undefined
  let failure: NotGenerated | undefined
  return () => {
    if (failure !== undefined) {
      const [firstLine] = failure.message.split("\n")
      throw at(suite, new NotGenerated(`Not checked, as there are no histories: ${firstLine}`))
    }
    try {
      session = session ??
        generated(
          suite,
          () => Session.make(subject, { command, event, histories, id, invariant, limits, runs, seed, size })
        )
      return session
    } catch (error) {
      if (error instanceof NotGenerated) failure = error
      throw error
    }
  }
}

const generated = <A>(suite: Suite, body: () => A): A => {
  try {
    return body()
  } catch (error) {
    if (!(error instanceof NotGenerated)) throw error
    throw at(suite, new NotGenerated(`The laws of ${suite.aggregate} cannot be checked. ${error.message}`))
  }
}

const at = <E extends Error>({ declared }: Suite, error: E): E => {
  const frames = (declared.stack ?? "").split("\n").filter((line) => /^\s+at /.test(line))
  error.stack = [`${error.name}: ${error.message}`, ...frames].join("\n")
  return error
}

const checkHistories = <T extends Types>(suite: Suite, session: Session.Session<T>, law: Law): void => {
  const found = session.find(law)
  if (found === undefined) return
  const more = [
    ...(suite.options.histories === "events" ? ["histories: \"events\""] : []),
    ...(law === "invariant" ? ["invariant"] : [])
  ]
  const call = `AggregateLaws.check(${variableOf(suite.aggregate)}`
  throw report(suite, found, ["To keep it as a test:", `  ${regression(call, found.history, more)}`])
}

const checkOlder = <T extends Types>(suite: Suite, subject: Subject<T>, previous: ReadonlyArray<Older>): void => {
  const { limits, options: { histories, runs }, seed, size } = suite
  for (const older of previous) {
    const found = older.find(subject, { runs, seed, size, strict: histories === "events", limits })
    if (found === undefined) continue
    const variable = variableOf(subject.name)
    const call = `AggregateLaws.checkPrevious(${variable}V${older.schemaVersion}, ${variable}`
    throw report(suite, found, ["To keep it as a test:", `  ${regression(call, found.history, [])}`])
  }
}

const checkMigrations = (suite: Suite, problem: Problem | undefined): void => {
  if (problem === undefined) return
  const history = { id: undefined, commands: [], events: [] }
  throw report(suite, { history, log: [], problem, run: 1, before: 0 }, [
    "To compare with older code, give the laws its definition:",
    `  AggregateLaws.suite(${variableOf(suite.aggregate)}, { previous: [AggregateLaws.previous(/* it */)] })`
  ])
}

const report = (
  suite: Suite,
  { before, history, log, problem, run }: Found<Types>,
  footer: ReadonlyArray<string>
): LawBroken => {
  const { aggregate, given, options: { histories, runs, size }, seed } = suite
  const again = [
    `seed: ${seed}`,
    ...(run > 100 || runs !== undefined ? [`runs: ${Math.max(run, runs ?? 0)}`] : []),
    ...(size === undefined ? [] : [`size: ${size}`]),
    ...(histories === "events" ? ["histories: \"events\""] : []),
    ...given
  ]
  const fewer = before - lengthOf(history)
  const shrunk = fewer > 0 ? `, made ${fewer} ${fewer === 1 ? "step" : "steps"} shorter` : ""
  return at(
    suite,
    broken(aggregate, history.id, log, problem, [
      `To see it again (run ${run} of seed ${seed}${shrunk}):`,
      `  AggregateLaws.suite(${variableOf(aggregate)}, { ${again.join(", ")} })`,
      ...footer
    ])
  )
}

export const broken = (
  aggregate: string,
  id: unknown,
  log: Found<Types>["log"],
  problem: Problem,
  footer: ReadonlyArray<string> = []
): LawBroken => new LawBroken(render({ aggregate, law: names[problem.law], id, log, problem, footer }))
