/**
 * What every aggregate promises, as property tests that are generated from its definition.
 *
 * @since 0.1.0
 */
import type * as Brand from "effect/Brand"
import type * as Equal from "effect/Equal"
import type * as FastCheck from "effect/FastCheck"
import type { Pipeable } from "effect/Pipeable"
import * as Schema from "effect/Schema"
import type * as Aggregate from "../Aggregate.js"
import * as Trial from "../internal/laws/checkHistory.js"
import { toCode } from "../internal/laws/code.js"
import * as Generators from "../internal/laws/generators.js"
import { allow } from "../internal/laws/objections.js"
import { type Comparison, comparison, inspect, tryHistory as tryPrevious } from "../internal/laws/previousVersion.js"
import * as Story from "../internal/laws/report.js"
import { detect } from "../internal/laws/runner.js"
import * as Session from "../internal/laws/session.js"
import { safely } from "../internal/safely.js"
import { brief, quote } from "../internal/text.js"
import { InvalidOption } from "../InvalidOption.js"

/**
 * How the histories are made that the laws are tried with.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options<Id, in out State, Event, Command> {
  /**
   * `"commands"`: generated commands are decided in turn, so that every history is one that could have happened. This is
   * the default. `"events"`: generated events in any order, whatever a decider would have said. That is stricter: `evolve`
   * has to cope with everything, and every state that it gives must fit the state schema.
   */
  readonly histories?: "commands" | "events" | undefined
  /** Default: from the id schema. */
  readonly id?: FastCheck.Arbitrary<Id> | undefined
  /** Default: from the command schema. */
  readonly command?: FastCheck.Arbitrary<Command> | undefined
  /** Default: from the event schema. */
  readonly event?: FastCheck.Arbitrary<Event> | undefined
  /**
   * Older versions of the aggregate, as {@link previous} gives them: what they stored, snapshots and events, is compared
   * with what this one makes of it.
   */
  readonly previous?: ReadonlyArray<Previous> | undefined
  /** What must hold in every state that is reached. */
  readonly invariant?: ((state: State) => boolean) | undefined
  /**
   * How many histories are tried. Default: 1,000, or as many as 2 seconds allow, but at least 100, where those take no more
   * than 8 seconds.
   */
  readonly runs?: number | undefined
  /** Where the random numbers begin, a whole number: the same seed gives the same histories. Default: another each time. */
  readonly seed?: number | undefined
  /** The most events in one history. Default 20. */
  readonly size?: number | undefined
}

/**
 * @since 0.1.0
 * @category Type IDs
 */
export const PreviousTypeId: PreviousTypeId = "~effect-eventsourcing/testing/AggregateLaws/Previous"

/**
 * @since 0.1.0
 * @category Type IDs
 */
export type PreviousTypeId = "~effect-eventsourcing/testing/AggregateLaws/Previous"

/**
 * An older version of an aggregate, whatever the types of its states and events.
 *
 * @since 0.1.0
 * @category models
 */
export interface Previous {
  readonly [PreviousTypeId]: PreviousTypeId
  readonly name: string
  readonly schemaVersion: number
}

/**
 * One law, for any runner: `check` throws a {@link LawBroken} where the aggregate breaks it.
 *
 * @since 0.1.0
 * @category models
 */
export interface Law {
  readonly name: string
  readonly check: () => void
}

/**
 * The functions of a test runner that a suite calls.
 *
 * @since 0.1.0
 * @category models
 */
export interface Runner {
  readonly describe: (name: string, body: () => void) => unknown
  /** The timeout is in milliseconds. A runner that does not know it may leave it out. */
  readonly it: (name: string, body: () => Promise<void>, timeout?: number) => unknown
}

/**
 * A history that breaks a law. The message tells it as a story.
 *
 * @since 0.1.0
 * @category errors
 */
export class LawBroken extends Error {
  override readonly name = "LawBroken"
}

/**
 * The histories could not be generated. The message says what keeps them from it, and what to annotate.
 *
 * @since 0.1.0
 * @category errors
 */
export class NotGenerated extends Error {
  override readonly name = "NotGenerated"
}

/**
 * Declares the laws as tests, in one call. It finds the runner by itself (vitest, jest, mocha, bun, `node:test`); pass it
 * where it does not.
 *
 * @example
 * ```ts skip-run
 * import { Aggregate } from "effect-eventsourcing"
 * import { AggregateLaws } from "effect-eventsourcing/testing"
 * import { Either, Schema } from "effect"
 *
 * const Counter = Aggregate.make({
 *   name: "Counter",
 *   id: Schema.NonEmptyString,
 *   state: Schema.Int,
 *   event: Schema.TaggedStruct("Counted", {}),
 *   command: Schema.TaggedStruct("Count", {}),
 *   initial: () => 0,
 *   evolve: (count) => count + 1,
 *   decide: (_count, _command) => Either.right([{ _tag: "Counted" }])
 * })
 *
 * AggregateLaws.suite(Counter)
 * AggregateLaws.suite(Counter, { invariant: (count) => count >= 0, histories: "events", runs: 500 })
 * ```
 *
 * @since 0.1.0
 * @category suites
 */
export const suite = <Name extends string, Id, State, Event, Command, Rejection>(
  aggregate: Aggregate.Aggregate<Name, Id, State, Event, Command, Rejection>,
  options: Options<NoInfer<Id>, NoInfer<State>, NoInfer<Event>, NoInfer<Command>> & {
    readonly runner?: Runner | undefined
  } = {}
): void => {
  const runner = options.runner ?? detect()
  const declared = make(aggregate, options, suite)
  runner.describe(`AggregateLaws: ${aggregate.name}`, () => {
    for (const { check, name } of declared) runner.it(name, () => turn().then(check), timeout)
  })
}

/**
 * The laws one by one, for any runner. All of them share one set of histories, which is made when the first is checked.
 *
 * @example
 * ```ts skip-run
 * import { Aggregate } from "effect-eventsourcing"
 * import { AggregateLaws } from "effect-eventsourcing/testing"
 * import { Either, Schema } from "effect"
 * import { test } from "node:test"
 *
 * const Counter = Aggregate.make({
 *   name: "Counter",
 *   id: Schema.NonEmptyString,
 *   state: Schema.Int,
 *   event: Schema.TaggedStruct("Counted", {}),
 *   command: Schema.TaggedStruct("Count", {}),
 *   initial: () => 0,
 *   evolve: (count) => count + 1,
 *   decide: (_count, _command) => Either.right([{ _tag: "Counted" }])
 * })
 *
 * for (const law of AggregateLaws.laws(Counter)) test(law.name, law.check)
 * ```
 *
 * @since 0.1.0
 * @category suites
 */
export const laws = <Name extends string, Id, State, Event, Command, Rejection>(
  aggregate: Aggregate.Aggregate<Name, Id, State, Event, Command, Rejection>,
  options: Options<NoInfer<Id>, NoInfer<State>, NoInfer<Event>, NoInfer<Command>> = {}
): ReadonlyArray<Law> => make(aggregate, options, laws)

/**
 * An older version of an aggregate, to compare with: what is left of its definition is kept beside the tests.
 *
 * @example
 * ```ts
 * import { Aggregate, Versions } from "effect-eventsourcing"
 * import { AggregateLaws } from "effect-eventsourcing/testing"
 * import { Either, Schema } from "effect"
 *
 * const Counted = Schema.TaggedStruct("Counted", { by: Schema.Int })
 * const V1 = Schema.Struct({ total: Schema.Int })
 * const V2 = Schema.Struct({ total: Schema.Int, even: Schema.Boolean })
 * const shared = {
 *   name: "Counter",
 *   id: Schema.NonEmptyString,
 *   event: Counted,
 *   command: Counted,
 *   decide: (_: unknown, command: typeof Counted.Type) => Either.right([command])
 * }
 * const Old = Aggregate.make({
 *   ...shared,
 *   state: V1,
 *   initial: () => ({ total: 0 }),
 *   evolve: (state, event) => ({ total: state.total + event.by })
 * })
 * const Counter = Aggregate.make({
 *   ...shared,
 *   state: V2,
 *   schemaVersion: 2,
 *   migrations: Versions.from(1, V1).to(V2, ({ total }) => ({ total, even: total % 2 === 0 })),
 *   initial: () => ({ total: 0, even: true }),
 *   evolve: (state, event) => ({ total: state.total + event.by, even: (state.total + event.by) % 2 === 0 })
 * })
 *
 * for (const law of AggregateLaws.laws(Counter, { previous: [AggregateLaws.previous(Old)], runs: 100 })) law.check()
 * ```
 *
 * @since 0.1.0
 * @category migrations
 */
export const previous = <Name extends string, Id, State, Event, Command, Rejection>(
  old: Aggregate.Aggregate<Name, Id, State, Event, Command, Rejection>,
  options: {
    /** Default: from the id schema. */
    readonly id?: FastCheck.Arbitrary<NoInfer<Id>> | undefined
    /** Default: from the command schema. */
    readonly command?: FastCheck.Arbitrary<NoInfer<Command>> | undefined
    /** Default: from the event schema. */
    readonly event?: FastCheck.Arbitrary<NoInfer<Event>> | undefined
  } = {}
): Previous => {
  const made: Previous = { [PreviousTypeId]: PreviousTypeId, name: old.name, schemaVersion: old.schemaVersion }
  comparisons.set(made, comparison(old, options))
  return made
}

/**
 * Checks on one history of an older version that its snapshots and events come to the same state now as a replay, and
 * throws a {@link LawBroken} where they do not: the line to keep a counterexample as a test.
 *
 * @since 0.1.0
 * @category migrations
 */
export const checkPrevious = <
  OldName extends string,
  OldId,
  OldState,
  OldEvent,
  OldCommand,
  OldRejection,
  Name extends string,
  Id,
  State,
  Event,
  Command,
  Rejection
>(
  old: Aggregate.Aggregate<OldName, OldId, OldState, OldEvent, OldCommand, OldRejection>,
  now: Aggregate.Aggregate<Name, Id, State, Event, Command, Rejection>,
  history: NoInfer<History<OldId, OldEvent, OldCommand>>
): void => {
  const lived = validated(old, history)
  const { log, problem } = tryPrevious(old, now, lived)
  if (problem === undefined) return
  throw new LawBroken(
    Story.tell({ aggregate: now.name, law: names.migrations, id: lived.id, log, problem, footer: [] })
  )
}

/**
 * A value as it is written, without the brands of its parts: a printed history compiles where it is pasted.
 *
 * @since 0.1.0
 * @category type helpers
 */
export type Unbranded<A> = A extends string ? A extends Brand.Brand<infer _> ? string : A
  : A extends number ? A extends Brand.Brand<infer _> ? number : A
  : A extends bigint ? A extends Brand.Brand<infer _> ? bigint : A
  : A extends Equal.Equal | Pipeable | Date | Function | ReadonlyMap<infer _K, infer _V> | ReadonlySet<infer _E> ? A
  : A extends ReadonlyArray<infer B> ? ReadonlyArray<Unbranded<B>>
  : A extends object ? { readonly [Key in keyof A]: Unbranded<A[Key]> }
  : A

/**
 * One history for {@link check}. What the schemas refuse is refused.
 *
 * @since 0.1.0
 * @category models
 */
export interface History<Id, Event, Command> {
  readonly id: Unbranded<Id>
  /** Decided in turn. */
  readonly commands?: ReadonlyArray<Unbranded<Command>> | undefined
  /** What happens after that, whatever anybody decides. */
  readonly events?: ReadonlyArray<Unbranded<Event>> | undefined
}

/**
 * Checks all laws on one history, and throws a {@link LawBroken} for the first that it breaks: the line to keep a
 * counterexample as a test.
 *
 * @since 0.1.0
 * @category suites
 */
export const check = <Name extends string, Id, State, Event, Command, Rejection>(
  aggregate: Aggregate.Aggregate<Name, Id, State, Event, Command, Rejection>,
  history: NoInfer<History<Id, Event, Command>>,
  options: Pick<Options<NoInfer<Id>, NoInfer<State>, NoInfer<Event>, NoInfer<Command>>, "histories" | "invariant"> = {}
): void => {
  const lived = validated(aggregate, history)
  const { log, problems } = Session.tryHistory(aggregate, lived, {
    laws: Trial.allLaws,
    strict: options.histories === "events",
    invariant: options.invariant
  })
  const [problem] = problems.values()
  if (problem === undefined) return
  throw new LawBroken(
    Story.tell({ aggregate: aggregate.name, law: names[problem.law], id: lived.id, log, problem, footer: [] })
  )
}

// -------------------------------------------------------------------------------------
// internal
// -------------------------------------------------------------------------------------

const validated = <Name extends string, Id, State, Event, Command, Rejection>(
  aggregate: Aggregate.Aggregate<Name, Id, State, Event, Command, Rejection>,
  history: NoInfer<History<Id, Event, Command>>
): Generators.History<Id, Command, Event> => {
  const { commands = [], events = [], id } = history
  const as = <A>(what: string, schema: Schema.Schema<A>, value: unknown): A =>
    allow(`AggregateLaws ${what} of ${quote(aggregate.name)}`, value, safely(Schema.validateEither(schema)))
  const all = <A>(what: string, schema: Schema.Schema<A>, values: ReadonlyArray<unknown>): ReadonlyArray<A> =>
    values.map((value, index) => as(`${what} ${index + 1} of ${values.length}`, schema, value))
  return {
    id: as("id", aggregate.id.schema, id),
    commands: all("command", aggregate.command, commands),
    events: all("event", aggregate.event.schema, events)
  }
}

const comparisons = new WeakMap<Previous, Comparison>()

const make = <Name extends string, Id, State, Event, Command, Rejection>(
  aggregate: Aggregate.Aggregate<Name, Id, State, Event, Command, Rejection>,
  options: Options<Id, State, Event, Command>,
  caller: Function
): ReadonlyArray<Law> => {
  // the place in the test, which is what a reader wants to see first
  const declared: { readonly stack?: string } = {}
  Error.captureStackTrace(declared, caller)
  const { command, event, histories = "commands", id, invariant, runs, size = 20 } = options
  whole("runs", runs, 1)
  whole("size", size, 1)
  whole("seed", options.seed, Number.MIN_SAFE_INTEGER)
  if (histories !== "commands" && histories !== "events") {
    throw new InvalidOption({
      option: "AggregateLaws histories",
      value: String(histories),
      expected: "\"commands\" or \"events\""
    })
  }
  for (const older of options.previous ?? []) {
    if (comparisons.has(older)) continue
    throw new InvalidOption({
      option: "AggregateLaws previous",
      value: brief(toCode(older)),
      expected: "a list of what AggregateLaws.previous gave"
    })
  }
  const seed = (options.seed ?? Math.floor(Math.random() * 0x7fffffff)) | 0
  const generated = <A>(body: () => A): A => {
    try {
      return body()
    } catch (error) {
      if (!(error instanceof Generators.NotGenerated)) throw error
      throw at(declared, new NotGenerated(`The laws of ${aggregate.name} cannot be tried. ${error.message}`))
    }
  }
  let session: Session.Session<Id, State, Event, Command> | NotGenerated | undefined
  const open = (): Session.Session<Id, State, Event, Command> => {
    if (session instanceof NotGenerated) {
      throw at(declared, new NotGenerated(`Not checked, as there are no histories: ${session.message.split("\n")[0]}`))
    }
    if (session !== undefined) return session
    try {
      const made = generated(() =>
        Session.make(aggregate, { command, event, histories, id, invariant, runs, seed, size })
      )
      session = made
      return made
    } catch (error) {
      if (error instanceof NotGenerated) session = error
      throw error
    }
  }

  const tell = (law: Trial.Law, found: {
    readonly history: Generators.History<unknown, unknown, unknown>
    readonly log: ReadonlyArray<Trial.Line>
    readonly problem: Trial.Problem
    readonly run: number
    readonly before: number
  }, line: ReadonlyArray<string>): LawBroken => {
    const { before, history, log, problem, run } = found
    const again = [
      `seed: ${seed}`,
      ...(run > 100 || runs !== undefined ? [`runs: ${Math.max(run, runs ?? 0)}`] : []),
      ...(options.size === undefined ? [] : [`size: ${options.size}`]),
      ...(histories === "events" ? ["histories: \"events\""] : []),
      ...(["id", "command", "event", "previous", "invariant"] as const).filter((name) => options[name] !== undefined)
    ]
    const left = history.commands.length + history.events.length
    const shrunk = left < before ? `, made ${before - left} ${before - left === 1 ? "step" : "steps"} shorter` : ""
    const story = Story.tell({
      aggregate: aggregate.name,
      law: names[law],
      id: history.id,
      log,
      problem,
      footer: [
        `To see it again (run ${run} of seed ${seed}${shrunk}):`,
        `  AggregateLaws.suite(${Story.nameOf(aggregate.name)}, { ${again.join(", ")} })`,
        ...line
      ]
    })
    return at(declared, new LawBroken(story))
  }

  const checkHistories = (law: Trial.Law): void => {
    const found = open().find(law)
    if (found === undefined) return
    const more = [
      ...(histories === "events" ? ["histories: \"events\""] : []),
      ...(law === "invariant" ? ["invariant"] : [])
    ]
    const call = `AggregateLaws.check(${Story.nameOf(aggregate.name)}`
    throw tell(law, found, ["To keep it as a test:", `  ${Story.regression(call, found.history, more)}`])
  }

  const checkMigrations = (): void => {
    for (const older of options.previous ?? []) {
      const found = comparisons.get(older)?.find(aggregate, {
        runs,
        seed,
        size,
        strict: histories === "events"
      })
      if (found === undefined) continue
      const call = `AggregateLaws.checkPrevious(${Story.nameOf(aggregate.name)}V${older.schemaVersion}, ` +
        Story.nameOf(aggregate.name)
      throw tell("migrations", found, ["To keep it as a test:", `  ${Story.regression(call, found.history, [])}`])
    }
    const forgotten = inspect(aggregate, open().reached, seed)
    if (forgotten !== undefined) {
      const history = { id: undefined, commands: [], events: [] }
      throw tell("migrations", { history, log: [], problem: forgotten, run: 1, before: 0 }, [
        "To compare with what older code really did, give the laws its definition:",
        `  AggregateLaws.suite(${Story.nameOf(aggregate.name)}, { previous: [AggregateLaws.previous(/* it */)] })`
      ])
    }
  }

  const checks = Trial.allLaws.filter((law) => law !== "invariant" || invariant !== undefined).map((law): Law => ({
    name: names[law],
    check: () => checkHistories(law)
  }))
  return aggregate.migrations.length === 0 && (options.previous ?? []).length === 0
    ? checks
    : [...checks, { name: names.migrations, check: () => generated(checkMigrations) }]
}

const at = <E extends Error>(place: { readonly stack?: string }, error: E): E => {
  const frames = (place.stack ?? "").split("\n").filter((line) => /^\s+at /.test(line))
  error.stack = [`${error.name}: ${error.message}`, ...frames].join("\n")
  return error
}

const { setImmediate } = globalThis

// a runner in another process wants to hear from this one between two checks, which never wait for anything
const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

/** For a whole set of laws, in milliseconds: the first to be checked makes the histories for all. */
const timeout = 120_000

const names: Readonly<Record<Trial.Law, string>> = {
  total: "decide and evolve never throw, and handle every command and event",
  pure: "decide and evolve are pure: same input, same output, no input changed, no clock, no randomness",
  events: "every event fits its schema, survives storage and leads to a state that fits the state schema",
  rejections: "a rejection is a typed value and leaves the state as it was",
  encoding: "every state survives being stored as JSON",
  snapshots: "a snapshot at any version, and the events after it, give the state of a full replay",
  migrations: "snapshots and events of older code give the state of a full replay",
  invariant: "the invariant holds in every state"
}

const whole = (option: string, value: number | undefined, least: number): void => {
  if (value === undefined || (Number.isSafeInteger(value) && value >= least)) return
  throw new InvalidOption({
    option: `AggregateLaws ${option}`,
    value: String(value),
    expected: least < 0 ? "a whole number" : `a whole number, ${least} or more`
  })
}
