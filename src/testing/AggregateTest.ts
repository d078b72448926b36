/**
 * Tests an aggregate by example: given a history, when a command is decided, then these events follow.
 *
 * The given and the decided events are stored and read back before they are folded, as in a repository. Every value of a
 * test must match its schema; otherwise the test throws `InvalidOption`. `decide` and `evolve` must not change their
 * inputs.
 *
 * @since 0.1.0
 */
import * as Either from "effect/Either"
import * as ParseResult from "effect/ParseResult"
import * as Schema from "effect/Schema"
import { AssertionError } from "node:assert"
import type * as Aggregate from "../Aggregate.js"
import { messageOf } from "../internal/laws/code.js"
import { differences, same } from "../internal/laws/difference.js"
import * as Mutation from "../internal/laws/mutation.js"
import { allow, objectionsIn, ownProblem, refusal } from "../internal/laws/objections.js"
import { apart, type Evidence, evidenceRows, type Row, table, text } from "../internal/laws/report.js"
import { fieldsOf } from "../internal/laws/storage.js"
import { type Subject, subjectOf, type Types } from "../internal/laws/subject.js"
import { store, type Unstorable } from "../internal/repository/storedEvents.js"
import type { Difference } from "../internal/schema/equality.js"
import { safely } from "../internal/schema/safely.js"

/**
 * An aggregate after the given history.
 *
 * @since 0.1.0
 * @category models
 */
export interface Given<in out State, in out Event, in Command, in out Rejection> {
  /** Decides a command on the current state. */
  readonly when: (command: Command) => When<State, Event, Rejection>
  /** Asserts that the current state equals this one, field by field. */
  readonly thenState: (state: State) => void
}

/**
 * A decision to assert on. Every comparison is by value and knows Effect's data types. Each assertion returns an
 * object for the next one.
 *
 * The method `then` makes JavaScript take this object for a promise. A test that awaits or returns it without an
 * assertion is rejected with an error that says so. The results of the assertions are not promises and are safe to
 * return.
 *
 * @since 0.1.0
 * @category models
 */
export interface When<in out State, in out Event, in out Rejection> {
  /** Asserts that the command was accepted with exactly these events. */
  readonly then: (events: ReadonlyArray<Event>) => Then<State>
  /** Asserts that the command was rejected with exactly this rejection. */
  readonly thenRejects: (rejection: Rejection) => Then<State>
  /** Asserts the state after the decided events. After a rejection, that is the state before the command. */
  readonly thenState: (state: State) => Then<State>
}

/**
 * The result of an assertion, for another one on the state.
 *
 * @since 0.1.0
 * @category models
 */
export interface Then<in State> {
  /** Asserts the state after the decided events. After a rejection, that is the state before the command. */
  readonly thenState: (state: State) => void
}

/**
 * Begins with a history of events.
 *
 * @example
 * ```ts
 * import { Aggregate } from "effect-eventsourcing"
 * import { AggregateTest } from "effect-eventsourcing/testing"
 * import { Either, Schema } from "effect"
 *
 * const Door = Aggregate.make({
 *   name: "Door",
 *   id: Schema.NonEmptyString,
 *   state: Schema.Struct({ open: Schema.Boolean }),
 *   event: Schema.Union(Schema.TaggedStruct("Opened", {}), Schema.TaggedStruct("Closed", {})),
 *   command: Schema.Union(Schema.TaggedStruct("Open", {}), Schema.TaggedStruct("Close", {})),
 *   initial: () => ({ open: false }),
 *   evolve: (_state, event) => ({ open: event._tag === "Opened" }),
 *   decide: (state, command) => {
 *     if (state.open === (command._tag === "Open")) return Either.left("it is so already" as const)
 *     return command._tag === "Open" ? Either.right([{ _tag: "Opened" }]) : Either.right([{ _tag: "Closed" }])
 *   }
 * })
 *
 * AggregateTest.given(Door, "front", []).when({ _tag: "Open" }).then([{ _tag: "Opened" }]).thenState({ open: true })
 * AggregateTest.given(Door, "front", [{ _tag: "Opened" }]).when({ _tag: "Open" }).thenRejects("it is so already")
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const given = <Name extends string, Id, State, Event, Command, Rejection>(
  aggregate: Aggregate.Aggregate<Name, Id, State, Event, Command, Rejection>,
  id: NoInfer<Id>,
  events: ReadonlyArray<NoInfer<Event>>
): Given<State, Event, Command, Rejection> => {
  const subject = subjectOf(aggregate)
  const read = storedAll(subject, "given", events)
  return make(subject, fold(subject, start(subject, "given", id), read), [["given events", events]])
}

/**
 * Begins with a history of commands. Throws if one of them is rejected.
 *
 * @example
 * ```ts
 * import { Aggregate } from "effect-eventsourcing"
 * import { AggregateTest } from "effect-eventsourcing/testing"
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
 * AggregateTest.givenCommands(Counter, "a", [{ _tag: "Count" }, { _tag: "Count" }]).thenState(2)
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const givenCommands = <Name extends string, Id, State, Event, Command, Rejection>(
  aggregate: Aggregate.Aggregate<Name, Id, State, Event, Command, Rejection>,
  id: NoInfer<Id>,
  commands: ReadonlyArray<NoInfer<Command>>
): Given<State, Event, Command, Rejection> => {
  const subject = subjectOf(aggregate)
  let state = start(subject, "givenCommands", id)
  for (const [index, command] of commands.entries()) {
    allowCommand(subject, `given command ${index + 1} of ${commands.length}`, command)
    const decided = decideOn(subject, state, command, [])
    if (Either.isLeft(decided)) {
      throw failure(`${aggregate.name}: command ${index + 1} of the ${commands.length} given ones is rejected.`, [
        ["command", command],
        ["rejection", decided.left]
      ])
    }
    state = decided.right.state
  }
  return make(subject, state, [["given commands", commands]])
}

// -------------------------------------------------------------------------------------
// internal
// -------------------------------------------------------------------------------------

const nameOf = (aggregate: Aggregate.Any, what: string): string =>
  `AggregateTest ${what} of ${JSON.stringify(aggregate.name)}`

const allowCommand = <T extends Types>(aggregate: Subject<T>, what: string, command: T["Command"]): void =>
  void allow(nameOf(aggregate, what), command, safely(aggregate.command, Schema.encodeEither(aggregate.command)))

const storedAll = <T extends Types>(
  aggregate: Subject<T>,
  what: string,
  events: ReadonlyArray<T["Event"]>
): ReadonlyArray<T["Event"]> =>
  events.map((event, index) => {
    const stored = store(aggregate.event, event)
    if (Either.isRight(stored)) return stored.right.event
    throw refusal(nameOf(aggregate, `${what} event ${index + 1} of ${events.length}`), event, whyNot(stored.left))
  })

const whyNot = ({ cause, problem }: Unstorable): string =>
  ParseResult.isParseError(cause) ? objectionsIn(cause) : `it ${problem}`

const start = <T extends Types>(aggregate: Subject<T>, what: string, id: T["Id"]): T["State"] => {
  allow(nameOf(aggregate, `${what} id`), id, aggregate.id.encode)
  const initial = aggregate.initial(id)
  const valid = safely(aggregate.state.schema, Schema.validateEither(aggregate.state.schema))(initial)
  if (Either.isRight(valid)) return initial
  throw failure(
    `${aggregate.name} begins with a state that its schema refuses.`,
    [["id", id], ["initial state", initial]],
    [text("refused", objectionsIn(valid.left))]
  )
}

const fold = <T extends Types>(
  aggregate: Subject<T>,
  state: T["State"],
  events: ReadonlyArray<T["Event"]>
): T["State"] =>
  events.reduce(
    (state, event) => unchanged(aggregate, "evolve", { state, event }, () => aggregate.evolve(state, event)),
    state
  )

/** Runs a function and fails if it changes its inputs. */
const unchanged = <A>(
  aggregate: Aggregate.Any,
  name: string,
  inputs: { readonly state: unknown; readonly event?: unknown; readonly command?: unknown },
  body: () => A
): A => {
  const mutations = Mutation.make()
  // the command is not frozen, as it belongs to the test
  mutations.freeze(inputs.state)
  mutations.freeze(inputs.event)
  const before = mutations.copy(inputs)
  const blame = (evidence: Evidence): AssertionError =>
    failure(`${aggregate.name}: ${name} changes its input.`, Object.entries(inputs), [evidence], [
      "",
      "Build a new value and leave the old one as it is: other code still holds it."
    ])
  try {
    const result = body()
    const changes = differences(before, inputs)
    if (changes.length === 0) return result
    throw blame(apart(changes, "before", "after"))
  } catch (error) {
    if (Mutation.isMutation(error)) throw blame(text("the write failed", messageOf(error)))
    throw error
  }
}

interface Decided<out T extends Types> {
  readonly state: T["State"]
  /** The events as they are read back from a store. */
  readonly events: ReadonlyArray<T["Event"]>
  /** Whether the events that are read back differ from the decided ones. */
  readonly altered: boolean
}

const decideOn = <T extends Types>(
  aggregate: Subject<T>,
  state: T["State"],
  command: T["Command"],
  history: ReadonlyArray<Row>
): Either.Either<Decided<T>, T["Rejection"]> => {
  const story: ReadonlyArray<Row> = [...history, ["state", state], ["when", command]]
  const decision = unchanged(aggregate, "decide", { state, command }, () => aggregate.decide(state, command))
  if (Either.isLeft(decision)) {
    const problem = ownProblem(decision.left)
    if (problem === undefined) return Either.left(decision.left)
    throw failure(
      `${aggregate.name} rejects the command with a value that its own schema refuses.`,
      [...story, ["rejection", decision.left]],
      [text("refused", objectionsIn(problem))]
    )
  }
  const events = decision.right.map((event) => {
    const stored = store(aggregate.event, event)
    if (Either.isRight(stored)) return stored.right.event
    throw failure(
      `${aggregate.name} decides an event that cannot be stored.`,
      [...story, ["event", event]],
      [text("refused", whyNot(stored.left))]
    )
  })
  return Either.right({
    state: fold(aggregate, state, events),
    events,
    altered: !same(decision.right, events, fieldsOf(aggregate.event.schema.ast))
  })
}

const make = <T extends Types>(
  aggregate: Subject<T>,
  state: T["State"],
  history: ReadonlyArray<Row>
): Given<T["State"], T["Event"], T["Command"], T["Rejection"]> => ({
  thenState: (expected) => assertState(aggregate, history, state, expected),
  when: (command) => {
    allowCommand(aggregate, "when command", command)
    const story: ReadonlyArray<Row> = [...history, ["state", state], ["when", command]]
    const decided = decideOn(aggregate, state, command, history)
    const after = Either.isLeft(decided) ? state : decided.right.state
    const checked: Then<T["State"]> = { thenState: (expected) => assertState(aggregate, story, after, expected) }
    return {
      then: (expected: ReadonlyArray<T["Event"]>, reject?: unknown) => {
        if (Array.isArray(expected)) {
          assertEvents(aggregate, story, decided, expected)
          return checked
        }
        // `await` calls it with the two functions of a promise
        const nothing = failure(`${aggregate.name}: nothing is asserted.`, story, [], ["", unasserted])
        if (typeof reject !== "function") throw nothing
        reject(nothing)
        return checked
      },
      thenRejects: (expected) => {
        assertRejection(aggregate, story, decided, expected)
        return checked
      },
      thenState: (expected) => {
        checked.thenState(expected)
        return checked
      }
    }
  }
})

const unasserted =
  "Call .then([events]), .thenRejects(rejection) or .thenState(state), and do not await them: they are synchronous."

const assertState = <T extends Types>(
  aggregate: Subject<T>,
  story: ReadonlyArray<Row>,
  actual: T["State"],
  expected: T["State"]
): void => {
  allow(nameOf(aggregate, "thenState state"), expected, aggregate.state.encode)
  const found = differences(expected, actual, fieldsOf(aggregate.state.schema.ast))
  if (found.length > 0) throw mismatch(`${aggregate.name} is in another state.`, story, { expected, actual, found })
}

const assertEvents = <T extends Types>(
  aggregate: Subject<T>,
  story: ReadonlyArray<Row>,
  decided: Either.Either<Decided<T>, T["Rejection"]>,
  expected: ReadonlyArray<T["Event"]>
): void => {
  const { name } = aggregate
  storedAll(aggregate, "then", expected)
  if (Either.isLeft(decided)) {
    const compared = { expected, actual: decided.left, found: [] }
    throw mismatch(`${name} rejects the command instead of accepting it.`, story, compared)
  }
  const { altered, events: actual } = decided.right
  const found = differences(expected, actual, fieldsOf(aggregate.event.schema.ast))
  if (found.length === 0) return
  const hint = "The events are compared as they are read back from a store, where they differ from the decided ones."
  throw mismatch(`${name} decides other events.`, story, { expected, actual, found }, altered ? ["", hint] : [])
}

const assertRejection = <T extends Types>(
  aggregate: Subject<T>,
  story: ReadonlyArray<Row>,
  decided: Either.Either<Decided<T>, T["Rejection"]>,
  expected: T["Rejection"]
): void => {
  const { name } = aggregate
  const problem = ownProblem(expected)
  if (problem !== undefined) {
    throw refusal(nameOf(aggregate, "thenRejects rejection"), expected, objectionsIn(problem))
  }
  if (Either.isRight(decided)) {
    const compared = { expected, actual: decided.right.events, found: [] }
    throw mismatch(`${name} accepts the command instead of rejecting it.`, story, compared)
  }
  const { left: actual } = decided
  const found = differences(expected, actual)
  if (found.length > 0) {
    throw mismatch(`${name} rejects the command for another reason.`, story, { expected, actual, found })
  }
}

const mismatch = (
  text: string,
  story: ReadonlyArray<Row>,
  { actual, expected, found }: {
    readonly expected: unknown
    readonly actual: unknown
    readonly found: ReadonlyArray<Difference>
  },
  more: ReadonlyArray<string> = []
): AssertionError => {
  const rows: ReadonlyArray<Row> = [...story, ["expected", expected], ["actual", actual]]
  return failure(text, rows, [apart(found, "expected", "actual")], more, { expected, actual })
}

const failure = (
  text: string,
  story: ReadonlyArray<Row>,
  evidence: ReadonlyArray<Evidence> = [],
  more: ReadonlyArray<string> = [],
  compared: { readonly expected?: unknown; readonly actual?: unknown } = {}
): AssertionError => {
  const error = new AssertionError({
    ...compared,
    message: [text, "", ...table([...story, ...evidence.flatMap(evidenceRows)]), ...more].join("\n"),
    // node leaves the message of an unknown operator unchanged
    operator: "then"
  })
  // the stack begins in the test
  const lines = (error.stack ?? "").split("\n")
  error.stack = lines.filter((line) => !/^\s+at .*[\\/]AggregateTest\.[jt]s:/.test(line)).join("\n")
  return error
}
