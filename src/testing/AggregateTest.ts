/**
 * Tests of an aggregate by example: given what happened, when a command comes, then these events follow.
 *
 * @since 0.1.0
 */
import * as Either from "effect/Either"
import { AssertionError } from "node:assert"
import * as Aggregate from "../Aggregate.js"
import { toLines } from "../internal/testing/code.js"
import { type Difference, differences, fieldsOf } from "../internal/testing/difference.js"

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
): Given<State, Event, Command, Rejection> =>
  make(aggregate, Aggregate.replay(aggregate, id, events), [["given events", events]])

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
  let state = aggregate.initial(id)
  for (const [index, command] of commands.entries()) {
    const decided = Aggregate.decide(aggregate, state, [command])
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

const make = <Name extends string, Id, State, Event, Command, Rejection>(
  aggregate: Aggregate.Aggregate<Name, Id, State, Event, Command, Rejection>,
  state: State,
  history: ReadonlyArray<Row>
): Given<State, Event, Command, Rejection> => {
  const { name } = aggregate
  const stateFields = fieldsOf(aggregate.state.schema.ast)
  const eventFields = fieldsOf(aggregate.event.schema.ast)
  const assertState = (story: ReadonlyArray<Row>, actual: State, expected: State): void => {
    const found = differences(expected, actual, { fields: stateFields })
    if (found.length > 0) throw failure(`${name} is in another state.`, story, { expected, actual, found })
  }
  return {
    thenState: (expected) => assertState(history, state, expected),
    when: (command) => {
      const story: ReadonlyArray<Row> = [...history, ["state", state], ["when", command]]
      const decided = Aggregate.decide(aggregate, state, [command])
      const after = Either.isLeft(decided) ? state : decided.right.state
      const checked: Then<State> = { thenState: (expected) => assertState(story, after, expected) }
      return {
        then: (expected: ReadonlyArray<Event>, reject?: unknown) => {
          if (!Array.isArray(expected)) {
            // the runtime calls it with the two functions of a promise
            const nothing = failure(`${name}: nothing is asserted.`, story, undefined, unasserted)
            if (typeof reject !== "function") throw nothing
            reject(nothing)
            return checked
          }
          if (Either.isLeft(decided)) {
            throw failure(`${name} rejects the command, it was to be accepted.`, story, {
              expected,
              actual: decided.left,
              found: []
            })
          }
          const actual = decided.right.events
          const found = differences(expected, actual, { fields: eventFields })
          if (found.length > 0) throw failure(`${name} decides other events.`, story, { expected, actual, found })
          return checked
        },
        thenRejects: (expected) => {
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
  hint?: string
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
    message: [text, "", ...table, ...(hint === undefined ? [] : ["", hint]), ...places].join("\n"),
    ...(compared === undefined ? {} : { expected: compared.expected, actual: compared.actual }),
    // one that node does not know: it leaves the message as it is
    operator: "then"
  })
  // the place in the test comes first
  const lines = (error.stack ?? "").split("\n")
  error.stack = lines.filter((line) => !/^\s+at .*[\\/]AggregateTest\.[jt]s:/.test(line)).join("\n")
  return error
}
