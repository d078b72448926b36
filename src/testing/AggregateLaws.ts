/**
 * Laws that every aggregate must keep, as property tests that are generated from its definition.
 *
 * @since 0.1.0
 */
import type * as Brand from "effect/Brand"
import type * as Equal from "effect/Equal"
import type { Pipeable } from "effect/Pipeable"
import * as Schema from "effect/Schema"
import type * as Aggregate from "../Aggregate.js"
import { allLaws } from "../internal/laws/checkHistory.js"
import type { Given } from "../internal/laws/generators.js"
import * as Laws from "../internal/laws/laws.js"
import { allow } from "../internal/laws/objections.js"
import * as PreviousVersion from "../internal/laws/previousVersion.js"
import { detect } from "../internal/laws/runner.js"
import { type History as Lived, type Subject, subjectOf, type Types, type TypesOf } from "../internal/laws/subject.js"
import * as TimedHistory from "../internal/laws/timedHistory.js"
import { defaultLimits } from "../internal/laws/timeLimit.js"
import { safely } from "../internal/schema/safely.js"
import { quote } from "../internal/text.js"
import type { Runner } from "./Contract.js"

export { NotGenerated } from "../internal/laws/generators.js"
export { LawBroken, type Options, type Previous, PreviousTypeId } from "../internal/laws/laws.js"

/**
 * One law for any runner. `check` throws a {@link LawBroken} if the aggregate breaks the law.
 *
 * @since 0.1.0
 * @category models
 */
export interface Law {
  readonly name: string
  readonly check: () => void
}

/**
 * Declares the laws as tests, in one call. It finds vitest, jest, mocha, bun and `node:test` by itself; pass any other
 * runner as `runner`.
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
  options: Laws.Options<NoInfer<Id>, NoInfer<State>, NoInfer<Event>, NoInfer<Command>> & {
    readonly runner?: Pick<Runner, "describe" | "it"> | undefined
  } = {}
): void => {
  const runner = options.runner ?? detect()
  const declared = Laws.make(subjectOf(aggregate), options, suite)
  runner.describe(`AggregateLaws: ${aggregate.name}`, () => {
    for (const { check, name } of declared) runner.it(name, () => turn().then(check), timeout)
  })
}

/**
 * Gives the laws one by one, for any runner. They share one set of histories, which is generated when the first is
 * checked.
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
  options: Laws.Options<NoInfer<Id>, NoInfer<State>, NoInfer<Event>, NoInfer<Command>> = {}
): ReadonlyArray<Law> => Laws.make(subjectOf(aggregate), options, laws)

/**
 * Names an older version of an aggregate to compare with. Keep its definition, or a part of it, beside the tests.
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
  options: NoInfer<Given<TypesOf<Id, State, Event, Command, Rejection>>> = {}
): Laws.Previous => {
  const subject = subjectOf(old)
  const made: Laws.Older = {
    [Laws.PreviousTypeId]: Laws.PreviousTypeId,
    name: old.name,
    schemaVersion: old.schemaVersion,
    find: (now, found) => PreviousVersion.find(subject, options, now, found)
  }
  return made
}

/**
 * Checks one history of an older version. Its snapshots and its events must give the same state now; otherwise it throws
 * a {@link LawBroken}. A report prints this call, to keep a counterexample as a test.
 *
 * @example
 * ```ts
 * import { Aggregate, Versions } from "effect-eventsourcing"
 * import { AggregateLaws } from "effect-eventsourcing/testing"
 * import { Either, Schema } from "effect"
 *
 * const Counted = Schema.TaggedStruct("Counted", { by: Schema.Int })
 * const shared = {
 *   name: "Counter",
 *   id: Schema.NonEmptyString,
 *   event: Counted,
 *   command: Counted,
 *   decide: (_: unknown, command: typeof Counted.Type) => Either.right([command])
 * }
 * const CounterV1 = Aggregate.make({
 *   ...shared,
 *   state: Schema.Int,
 *   initial: () => 0,
 *   evolve: (total, event) => total + event.by
 * })
 * const V2 = Schema.Struct({ total: Schema.Int })
 * const Counter = Aggregate.make({
 *   ...shared,
 *   state: V2,
 *   schemaVersion: 2,
 *   migrations: Versions.from(1, Schema.Int).to(V2, (total) => ({ total })),
 *   initial: () => ({ total: 0 }),
 *   evolve: ({ total }, event) => ({ total: total + event.by })
 * })
 *
 * AggregateLaws.checkPrevious(CounterV1, Counter, { id: "a", commands: [{ _tag: "Counted", by: 3 }] })
 * ```
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
  const subject = subjectOf(old)
  const found = PreviousVersion.checkHistory(subject, subjectOf(now), validated(subject, history), defaultLimits)
  if (found !== undefined) throw Laws.broken(now.name, found.history.id, found.log, found.problem)
}

/**
 * Removes the brands from a type and its parts, so that a printed history compiles in a test.
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
 * One history for {@link check}, which throws an `InvalidOption` for invalid values.
 *
 * @since 0.1.0
 * @category models
 */
export interface History<Id, Event, Command> {
  readonly id: Unbranded<Id>
  /** The commands to decide in turn. */
  readonly commands?: ReadonlyArray<Unbranded<Command>> | undefined
  /** The events that happen after the commands, without a decision. */
  readonly events?: ReadonlyArray<Unbranded<Event>> | undefined
}

/**
 * Checks all laws on one history, and throws a {@link LawBroken} for the first that it breaks. A report prints this
 * call, to keep a counterexample as a test.
 *
 * @example
 * ```ts
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
 * AggregateLaws.check(Counter, { id: "a", commands: [{ _tag: "Count" }] }, { invariant: (count) => count >= 0 })
 * ```
 *
 * @since 0.1.0
 * @category suites
 */
export const check = <Name extends string, Id, State, Event, Command, Rejection>(
  aggregate: Aggregate.Aggregate<Name, Id, State, Event, Command, Rejection>,
  history: NoInfer<History<Id, Event, Command>>,
  options: Pick<
    Laws.Options<NoInfer<Id>, NoInfer<State>, NoInfer<Event>, NoInfer<Command>>,
    "histories" | "invariant"
  > = {}
): void => {
  const subject = subjectOf(aggregate)
  const lived = validated(subject, history)
  const { log, problems } = TimedHistory.check(subject, lived, {
    laws: allLaws,
    strict: options.histories === "events",
    invariant: options.invariant,
    size: Infinity,
    limits: defaultLimits
  })
  const [problem] = problems.values()
  if (problem !== undefined) throw Laws.broken(aggregate.name, lived.id, log, problem)
}

// -------------------------------------------------------------------------------------
// internal
// -------------------------------------------------------------------------------------

const validated = <T extends Types>(
  aggregate: Subject<T>,
  history: History<T["Id"], T["Event"], T["Command"]>
): Lived<T> => {
  const { commands = [], events = [], id } = history
  const as = <A>(what: string, schema: Schema.Schema<A>, value: unknown): A =>
    allow(`AggregateLaws ${what} of ${quote(aggregate.name)}`, value, safely(schema, Schema.validateEither(schema)))
  const all = <A>(what: string, schema: Schema.Schema<A>, values: ReadonlyArray<unknown>): ReadonlyArray<A> =>
    values.map((value, index) => as(`${what} ${index + 1} of ${values.length}`, schema, value))
  return {
    id: as("id", aggregate.id.schema, id),
    commands: all("command", aggregate.command, commands),
    events: all("event", aggregate.event.schema, events)
  }
}

const { setImmediate } = globalThis

// laws never wait, but a runner in another process needs a heartbeat between two checks
const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

/** The timeout of each law in milliseconds. The first check generates the histories of all laws. */
const timeout = 120_000
