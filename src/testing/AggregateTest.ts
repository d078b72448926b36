/**
 * Tests of an aggregate by example: given what happened, when a command comes, then these events follow.
 *
 * What a test gives is held against the schemas: an example that could not be is no example, and throws `InvalidOption`.
 * Events, given and decided, are stored and read back before they are folded, as those of a repository's commands are. What
 * `decide` and `evolve` are given they may not change.
 *
 * @since 0.1.0
 */
import * as Either from "effect/Either"
import * as ParseResult from "effect/ParseResult"
import * as Schema from "effect/Schema"
import { AssertionError } from "node:assert"
import type * as Aggregate from "../Aggregate.js"
import { store, type Unstorable } from "../internal/decideStored.js"
import { isMutation, messageOf } from "../internal/laws/checkHistory.js"
import { toLines } from "../internal/laws/code.js"
import { type Difference, differences, fieldsOf, same } from "../internal/laws/difference.js"
import * as Mutation from "../internal/laws/mutation.js"
import { allow, objectionsIn, ownProblem, refusal } from "../internal/laws/objections.js"
import { safely } from "../internal/safely.js"

/**
 * What happened so far.
 *
 * @since 0.1.0
 * @category models
 */
export interface Given<in out State, in out Event, in Command, in out Rejection> {
  /** Decides a command on the state that the history left. */
  readonly when: (command: Command) => When<State, Event, Rejection>
  /** Asserts the state that the history left. Fails unless it is equal, field by field. */
  readonly thenState: (state: State) => void
}

/**
 * A decision, to be compared. Every comparison is by value, knows the data types of effect, and gives what can be compared
 * further.
 *
 * It has a method `then`, which JavaScript takes for a promise's: a test that awaits or returns it as it is, and so asserts
 * nothing, is rejected with an error that says so. What `then` gives is no promise, and safe to return.
 *
 * @since 0.1.0
 * @category models
 */
export interface When<in out State, in out Event, in out Rejection> {
  /** The command was accepted, with exactly these events. */
  readonly then: (events: ReadonlyArray<Event>) => Then<State>
  /** The command was rejected, with exactly this. */
  readonly thenRejects: (rejection: Rejection) => Then<State>
  /** The state after the decided events; after a rejection, the state as it was. */
  readonly thenState: (state: State) => Then<State>
}

/**
 * @since 0.1.0
 * @category models
 */
export interface Then<in State> {
  /** The state after the decided events; after a rejection, the state as it was. */
  readonly thenState: (state: State) => void
}

/**
 * Begins with the events that have happened.
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
  const read = storedAll(aggregate, "given", events)
  return make(aggregate, fold(aggregate, start(aggregate, "given", id), read), [["given events", events]])
}

/**
 * Begins with commands that were accepted. Throws where one of them is rejected.
 *
 * @since 0.1.0
 * @category constructors
 */
export const givenCommands = <Name extends string, Id, State, Event, Command, Rejection>(
  aggregate: Aggregate.Aggregate<Name, Id, State, Event, Command, Rejection>,
  id: NoInfer<Id>,
  commands: ReadonlyArray<NoInfer<Command>>
): Given<State, Event, Command, Rejection> => {
  let state = start(aggregate, "givenCommands", id)
  for (const [index, command] of commands.entries()) {
    allowCommand(aggregate, `given command ${index + 1} of ${commands.length}`, command)
    const decided = decideOn(aggregate, state, command, [])
    if (Either.isLeft(decided)) {
      throw failure(`${aggregate.name}: command ${index + 1} of the ${commands.length} given ones is rejected.`, [
        ["command", command],
        ["rejection", decided.left]
      ])
    }
    state = decided.right.state
  }
  return make(aggregate, state, [["given commands", commands]])
}

// -------------------------------------------------------------------------------------
// internal
// -------------------------------------------------------------------------------------

type Row = readonly [label: string, value: unknown]

const subject = (aggregate: Aggregate.Any, what: string): string =>
  `AggregateTest ${what} of ${JSON.stringify(aggregate.name)}`

const allowCommand = <Name extends string, Id, State, Event, Command, Rejection>(
  aggregate: Aggregate.Aggregate<Name, Id, State, Event, Command, Rejection>,
  what: string,
  command: Command
): void => void allow(subject(aggregate, what), command, safely(Schema.encodeEither(aggregate.command)))

const storedAll = <Name extends string, Id, State, Event, Command, Rejection>(
  aggregate: Aggregate.Aggregate<Name, Id, State, Event, Command, Rejection>,
  what: string,
  events: ReadonlyArray<Event>
): ReadonlyArray<Event> =>
  events.map((event, index) => {
    const stored = store(aggregate.event, event)
    if (Either.isRight(stored)) return stored.right.event
    throw refusal(subject(aggregate, `${what} event ${index + 1} of ${events.length}`), event, whyNot(stored.left))
  })

const whyNot = ({ cause, problem }: Unstorable): string =>
  ParseResult.isParseError(cause) ? objectionsIn(cause) : `it ${problem}`

const start = <Name extends string, Id, State, Event, Command, Rejection>(
  aggregate: Aggregate.Aggregate<Name, Id, State, Event, Command, Rejection>,
  what: string,
  id: Id
): State => {
  allow(subject(aggregate, `${what} id`), id, aggregate.id.encode)
  const initial = aggregate.initial(id)
  const valid = safely(Schema.validateEither(aggregate.state.schema))(initial)
  if (Either.isRight(valid)) return initial
  throw failure(
    `${aggregate.name} begins with a state that its schema refuses.`,
    [["id", id], ["initial state", initial]],
    undefined,
    [`  refused ${objectionsIn(valid.left)}`]
  )
}

const fold = <Name extends string, Id, State, Event, Command, Rejection>(
  aggregate: Aggregate.Aggregate<Name, Id, State, Event, Command, Rejection>,
  state: State,
  events: ReadonlyArray<Event>
): State =>
  events.reduce(
    (state, event) => unchanged(aggregate, "evolve", { state, event }, () => aggregate.evolve(state, event)),
    state
  )

/** Runs it on inputs that it may not change, and says so where it does. */
const unchanged = <A>(
  aggregate: Aggregate.Any,
  name: string,
  inputs: { readonly state: unknown; readonly event?: unknown; readonly command?: unknown },
  body: () => A
): A => {
  const mutations = Mutation.make()
  // the rest is the test's own
  mutations.freeze(inputs.state)
  mutations.freeze(inputs.event)
  const before = mutations.copy(inputs)
  const changes = (): ReadonlyArray<string> =>
    differences(before, inputs).map(({ actual, expected, path }) =>
      `  changed at ${path}: before ${expected ?? "nothing"}, after ${actual ?? "nothing"}`
    )
  const blame = (found: ReadonlyArray<string>): AssertionError =>
    failure(`${aggregate.name}: ${name} changes what it is given.`, Object.entries(inputs), undefined, [
      ...found,
      "",
      "Build a new value and leave the old one as it is: others still hold it."
    ])
  try {
    const result = body()
    const found = changes()
    if (found.length === 0) return result
    throw blame(found)
  } catch (error) {
    if (isMutation(error)) throw blame([`  it tried to, and got ${messageOf(error)}`])
    throw error
  }
}

interface Decided<out State, out Event> {
  readonly state: State
  readonly events: ReadonlyArray<Event>
  /** Whether they are read back as other events than were decided. */
  readonly altered: boolean
}

const decideOn = <Name extends string, Id, State, Event, Command, Rejection>(
  aggregate: Aggregate.Aggregate<Name, Id, State, Event, Command, Rejection>,
  state: State,
  command: Command,
  history: ReadonlyArray<Row>
): Either.Either<Decided<State, Event>, Rejection> => {
  const story: ReadonlyArray<Row> = [...history, ["state", state], ["when", command]]
  const decision = unchanged(aggregate, "decide", { state, command }, () => aggregate.decide(state, command))
  if (Either.isLeft(decision)) {
    const problem = ownProblem(decision.left)
    if (problem === undefined) return Either.left(decision.left)
    throw failure(
      `${aggregate.name} rejects the command with a value that its own schema refuses.`,
      [...story, ["rejection", decision.left]],
      undefined,
      [`  refused ${objectionsIn(problem)}`]
    )
  }
  const events = decision.right.map((event) => {
    const stored = store(aggregate.event, event)
    if (Either.isRight(stored)) return stored.right.event
    throw failure(
      `${aggregate.name} decides an event that cannot be stored.`,
      [...story, ["event", event]],
      undefined,
      [`  refused ${whyNot(stored.left)}`]
    )
  })
  return Either.right({
    state: fold(aggregate, state, events),
    events,
    altered: !same(decision.right, events, { fields: fieldsOf(aggregate.event.schema.ast) })
  })
}

const make = <Name extends string, Id, State, Event, Command, Rejection>(
  aggregate: Aggregate.Aggregate<Name, Id, State, Event, Command, Rejection>,
  state: State,
  history: ReadonlyArray<Row>
): Given<State, Event, Command, Rejection> => {
  const { name } = aggregate
  const stateFields = fieldsOf(aggregate.state.schema.ast)
  const eventFields = fieldsOf(aggregate.event.schema.ast)
  const assertState = (story: ReadonlyArray<Row>, actual: State, expected: State): void => {
    allow(subject(aggregate, "thenState state"), expected, aggregate.state.encode)
    const found = differences(expected, actual, { fields: stateFields })
    if (found.length > 0) throw failure(`${name} is in another state.`, story, { expected, actual, found })
  }
  return {
    thenState: (expected) => assertState(history, state, expected),
    when: (command) => {
      allowCommand(aggregate, "when command", command)
      const story: ReadonlyArray<Row> = [...history, ["state", state], ["when", command]]
      const decided = decideOn(aggregate, state, command, history)
      const after = Either.isLeft(decided) ? state : decided.right.state
      const checked: Then<State> = { thenState: (expected) => assertState(story, after, expected) }
      return {
        then: (expected: ReadonlyArray<Event>, reject?: unknown) => {
          if (!Array.isArray(expected)) {
            // the runtime calls it with the two functions of a promise
            const nothing = failure(`${name}: nothing is asserted.`, story, undefined, ["", unasserted])
            if (typeof reject !== "function") throw nothing
            reject(nothing)
            return checked
          }
          storedAll(aggregate, "then", expected)
          if (Either.isLeft(decided)) {
            throw failure(`${name} rejects the command, it was to be accepted.`, story, {
              expected,
              actual: decided.left,
              found: []
            })
          }
          const { altered, events: actual } = decided.right
          const found = differences(expected, actual, { fields: eventFields })
          if (found.length > 0) {
            const hint = altered
              ? [
                "",
                "The decided events are compared as they are read back from a store: they are others than decide gave."
              ]
              : []
            throw failure(`${name} decides other events.`, story, { expected, actual, found }, hint)
          }
          return checked
        },
        thenRejects: (expected) => {
          const problem = ownProblem(expected)
          if (problem !== undefined) {
            throw refusal(subject(aggregate, "thenRejects rejection"), expected, objectionsIn(problem))
          }
          if (Either.isRight(decided)) {
            throw failure(`${name} accepts the command, it was to be rejected.`, story, {
              expected,
              actual: decided.right.events,
              found: []
            })
          }
          const found = differences(expected, decided.left)
          if (found.length > 0) {
            throw failure(`${name} rejects the command for another reason.`, story, {
              expected,
              actual: decided.left,
              found
            })
          }
          return checked
        },
        thenState: (expected) => {
          checked.thenState(expected)
          return checked
        }
      }
    }
  }
}

const unasserted =
  "Call .then([events]), .thenRejects(rejection) or .thenState(state), and await nothing: all of it is synchronous."

const failure = (
  text: string,
  story: ReadonlyArray<Row>,
  compared?: { readonly expected: unknown; readonly actual: unknown; readonly found: ReadonlyArray<Difference> },
  more: ReadonlyArray<string> = []
): AssertionError => {
  const rows: ReadonlyArray<Row> = [
    ...story,
    ...(compared === undefined ? [] : [["expected", compared.expected], ["actual", compared.actual]] as const)
  ]
  const indent = Math.max(0, ...rows.map(([label]) => label.length)) + 2
  const table = rows.flatMap(([label, value]) =>
    toLines(value, 100).map((line, index) => `  ${(index === 0 ? label : "").padEnd(indent)}${line}`)
  )
  const places = (compared?.found ?? []).map(({ actual, expected, path }) =>
    `  differs at ${path}: expected ${expected ?? "nothing"}, actual ${actual ?? "nothing"}`
  )
  const error = new AssertionError({
    message: [text, "", ...table, ...places, ...more].join("\n"),
    ...(compared === undefined ? {} : { expected: compared.expected, actual: compared.actual }),
    // one that node does not know: it leaves the message as it is
    operator: "then"
  })
  // the place in the test comes first
  const lines = (error.stack ?? "").split("\n")
  error.stack = lines.filter((line) => !/^\s+at .*[\\/]AggregateTest\.[jt]s:/.test(line)).join("\n")
  return error
}
