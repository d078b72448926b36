/**
 * Checks the laws on one history, and notes the first violation of each law.
 *
 * It decides the commands and evolves the state event by event, stores each event and each state, and folds the rest
 * of the history on top of every stored state. Cost: each function is called twice on each step, and the replays grow
 * with the square of the number of events.
 */
import * as Either from "effect/Either"
import * as Option from "effect/Option"
import * as ParseResult from "effect/ParseResult"
import * as Predicate from "effect/Predicate"
import * as Schema from "effect/Schema"
import { messageOf, nameOf } from "./code.js"
import { differences } from "./difference.js"
import * as Erasure from "./erasure.js"
import * as Mutation from "./mutation.js"
import { ownProblem } from "./objections.js"
import { attempt, call, type Checks, repeatCalls, violate } from "./purity.js"
import { apart, type Evidence, type Law, type Problem, text, thrown, valueOf } from "./report.js"
import { fieldsOf, type Loss, lossOf, refusals, storeEvent, storeState } from "./storage.js"
import type { History, Subject, Types } from "./subject.js"
import { sendCommand, sendRejection } from "./transport.js"

/** The laws that one history is checked against. Migrations need a second aggregate. */
export const allLaws: ReadonlyArray<Law> = [
  "total",
  "pure",
  "events",
  "rejections",
  "transport",
  "encoding",
  "snapshots",
  "erasure",
  "invariant"
]

export interface Result {
  readonly problems: ReadonlyMap<Law, Problem>
  /** The types of the events that commands decided. */
  readonly decided: ReadonlySet<string>
}

export interface Question<in State> {
  readonly laws: ReadonlyArray<Law>
  /** The maximum number of events. The commands after them are not decided. */
  readonly size: number
  /** True: also the states after undecided events must keep every law. */
  readonly strict: boolean
  readonly invariant: ((state: State) => boolean) | undefined
  readonly onState?: ((state: State) => void) | undefined
}

export interface Options<in State> extends Question<State>, Omit<Checks, "problems" | "mutations" | "calls"> {}

/** One event of the history, with the state after it. */
interface Step<T extends Types> {
  readonly event: T["Event"]
  readonly state: T["State"]
  /** The state that is read back from a snapshot. `undefined`: it cannot be stored. */
  readonly snapshot: { readonly state: T["State"] } | undefined
}

interface Walk<T extends Types> {
  readonly subject: Subject<T>
  readonly options: Options<T["State"]>
  readonly checks: Checks
  readonly stateFields: ReadonlySet<PropertyKey>
  readonly eventFields: ReadonlySet<PropertyKey>
  readonly steps: Array<Step<T>>
  readonly commands: Array<T["Command"]>
  readonly decided: Set<string>
  state: T["State"]
}

export const checkHistory = <T extends Types>(
  subject: Subject<T>,
  history: History<T>,
  options: Options<T["State"]>
): Result => {
  const { inTime } = options
  const checks: Checks = { ...options, problems: new Map(), mutations: Mutation.make(), calls: [] }
  const decided = new Set<string>()
  const stateFields = fieldsOf(subject.state.schema.ast)
  const started = call(checks, "initial", { id: history.id }, stateFields, () => subject.initial(history.id))
  if (started === undefined) return { problems: checks.problems, decided }
  const walk: Walk<T> = {
    subject,
    options,
    checks,
    stateFields,
    eventFields: fieldsOf(subject.event.schema.ast),
    steps: [],
    commands: [],
    decided,
    state: started.value
  }
  if (begin(walk)) {
    const isDecided = history.commands.every((command) =>
      walk.steps.length >= options.size || (inTime() && decide(walk, command))
    )
    if (isDecided) history.events.every((event) => inTime() && happen(walk, event))
    if (!checks.problems.has("pure")) repeatCalls(checks)
    if (checks.laws.includes("snapshots")) checkSnapshots(walk)
    Erasure.check({ ...walk, initial: () => subject.initial(history.id) })
  }
  return { problems: checks.problems, decided }
}

const begin = <T extends Types>(walk: Walk<T>): boolean => {
  const { checks, state, subject } = walk
  checks.log.push({ _tag: "Initial", state })
  checks.onCall("the state schema")
  const refused = validate(subject.state.schema, state)
  if (refused.length > 0) {
    return violate(
      checks,
      "events",
      "initial gives a state that the state schema refuses.",
      refused,
      "Every history begins with it. Either initial builds the wrong state, or the schema is too narrow."
    )
  }
  checkInvariant(walk)
  return true
}

/** Decides a command. False: the history cannot continue. */
const decide = <T extends Types>(walk: Walk<T>, command: T["Command"]): boolean => {
  const { checks, eventFields, state, subject } = walk
  checks.log.push({ _tag: "Command", command })
  if (isPending(checks, "transport")) {
    checks.onCall("the command schema")
    lose(checks, "transport", sendCommand(subject, command))
  }
  const made = call(checks, "decide", { state, command }, eventFields, () => subject.decide(state, command))
  if (made === undefined) return false
  const decision: unknown = made.value
  if (!Either.isEither(decision)) {
    return violate(
      checks,
      "total",
      "decide gives something that is neither events nor a rejection.",
      [valueOf("given", decision)],
      "Return Either.right([...events]) or Either.left(rejection)."
    )
  }
  walk.commands.push(command)
  if (Either.isLeft(made.value)) {
    checkRejection(walk, made.value.left)
    return true
  }
  const { right: events } = made.value
  if (!Array.isArray(events)) {
    return violate(checks, "events", "decide gives something that is not an array of events.", [
      valueOf("given", events)
    ])
  }
  if (events.length === 0) checks.log.push({ _tag: "Nothing" })
  return events.every((event) => {
    checks.log.push({ _tag: "Event", number: walk.steps.length + 1, event, decided: true })
    if (!store(walk, event) || !evolve(walk, event, decidedHint)) return false
    walk.decided.add(subject.event.typeOf(event))
    return true
  })
}

const decidedHint =
  "Either decide should have rejected the command, or evolve builds the wrong state, or the schema is too narrow."

const checkRejection = <T extends Types>({ checks, subject }: Walk<T>, rejection: unknown): void => {
  checks.log.push({ _tag: "Rejection", rejection })
  if (isPending(checks, "transport")) {
    checks.onCall("the rejection schema")
    lose(checks, "transport", sendRejection(subject, rejection))
  }
  const refused = ownProblem(rejection)
  if (refused !== undefined) {
    violate(checks, "rejections", "The rejection does not match its own schema.", refusals(refused))
  }
  const problem = untyped(rejection)
  if (problem !== undefined) {
    violate(
      checks,
      "rejections",
      `The rejection is ${problem}.`,
      [],
      "The caller of the command cannot tell it from another failure. Reject with a tagged error " +
        "(class NotOpen extends Data.TaggedError(\"NotOpen\") {}) or with a literal."
    )
  }
}

const builtIn: ReadonlySet<unknown> = new Set([Error, TypeError, RangeError, SyntaxError, EvalError, URIError])

const untyped = (rejection: unknown): string | undefined => {
  if (rejection === undefined || rejection === null) return String(rejection)
  if (typeof rejection === "function") return "a function"
  if (rejection instanceof Error) {
    return builtIn.has(rejection.constructor) && !("_tag" in rejection) ? `a bare ${nameOf(rejection)}` : undefined
  }
  if (Predicate.isPromiseLike(rejection)) return "a promise"
  if (Either.isEither(rejection)) return "an Either inside the Either"
  return undefined
}

/** Evolves an undecided event. False: the history cannot continue. */
const happen = <T extends Types>(walk: Walk<T>, event: T["Event"]): boolean => {
  walk.checks.log.push({ _tag: "Event", number: walk.steps.length + 1, event, decided: false })
  return walk.options.strict ? store(walk, event) && evolve(walk, event) : survive(walk, event)
}

/** An event that cannot be stored never becomes part of a history. */
const store = <T extends Types>(walk: Walk<T>, event: T["Event"]): boolean => {
  const { checks, subject } = walk
  checks.onCall("the event schema")
  const stored = storeEvent(subject, event)
  if (Either.isLeft(stored)) return lose(checks, "events", stored.left)
  lose(
    checks,
    "events",
    lossOf("The event that is read back differs from the stored one.", event, stored.right, subject.event.schema)
  )
  return true
}

const isPending = ({ laws, problems }: Checks, law: Law): boolean => laws.includes(law) && !problems.has(law)

const lose = (checks: Checks, law: Law, loss: Loss | undefined): false =>
  loss !== undefined && violate(checks, law, loss.text, loss.evidence, loss.hint)

const evolve = <T extends Types>(walk: Walk<T>, event: T["Event"], hint?: string): boolean => {
  const { checks, options, state: before, stateFields, subject } = walk
  const evolved = call(checks, "evolve", { state: before, event }, stateFields, () => subject.evolve(before, event))
  if (evolved === undefined) return false
  const { value: state } = evolved
  checks.onCall("the state schema")
  const refused = validate(subject.state.schema, state)
  if (state === undefined && refused.length > 0) return unhandled(checks)
  walk.state = state
  checks.log.push({ _tag: "State", state })
  if (refused.length > 0) {
    return violate(checks, "events", "The event leads to a state that the state schema refuses.", refused, hint)
  }
  checkInvariant(walk)
  options.onState?.(state)
  walk.steps.push({ event, state, snapshot: snapshotOf(walk) })
  return true
}

const unhandled = (checks: Checks): false =>
  violate(
    checks,
    "total",
    "evolve returns undefined: it does not handle this event.",
    [],
    "Give every event of the schema a case, even if it returns the state unchanged."
  )

/**
 * Evolves an event in a state in which commands may never decide it. `evolve` must not throw, but the state after it may
 * break the schema, and the constructor of a class may reject it.
 */
const survive = <T extends Types>(walk: Walk<T>, event: T["Event"]): boolean => {
  const { checks, state: before, stateFields, subject } = walk
  const evolved = call(checks, "evolve", { state: before, event }, stateFields, () => {
    try {
      return Option.some(subject.evolve(before, event))
    } catch (error) {
      if (ParseResult.isParseError(error)) return Option.none()
      throw error
    }
  })
  if (evolved === undefined || Option.isNone(evolved.value)) return false
  const { value: state } = evolved.value
  if (state === undefined && !Schema.is(subject.state.schema)(undefined)) return unhandled(checks)
  walk.state = state
  checks.log.push({ _tag: "State", state })
  return true
}

const validate = (schema: Schema.Schema.Any, value: unknown): ReadonlyArray<Evidence> => {
  const valid = attempt(() => Schema.validateEither(schema)(value))
  if (Either.isLeft(valid)) return [text("refused", messageOf(valid.left))]
  return Either.isLeft(valid.right) ? refusals(valid.right.left) : []
}

const checkInvariant = <T extends Types>(walk: Walk<T>): void => {
  const { checks, options: { invariant }, state } = walk
  if (invariant === undefined) return
  checks.onCall("invariant")
  const holds = attempt(() => invariant(state))
  if (Either.isLeft(holds)) {
    violate(checks, "invariant", "The invariant throws.", [text("thrown", messageOf(holds.left))])
  } else if (holds.right !== true) {
    violate(checks, "invariant", "The invariant does not hold in this state.", [])
  }
}

const snapshotOf = <T extends Types>(
  { checks, state, subject }: Walk<T>
): { readonly state: T["State"] } | undefined => {
  if (!checks.laws.includes("encoding") && !checks.laws.includes("snapshots")) return undefined
  checks.onCall("the state schema")
  const stored = storeState(subject, state)
  if (Either.isLeft(stored)) {
    lose(checks, "encoding", stored.left)
    return undefined
  }
  lose(
    checks,
    "encoding",
    lossOf("The state that is read back differs from the stored one.", state, stored.right, subject.state.schema)
  )
  return { state: stored.right }
}

const checkSnapshots = <T extends Types>(walk: Walk<T>): void => {
  const { checks, steps } = walk
  for (const [index, { snapshot }] of steps.entries()) {
    if (checks.problems.has("snapshots") || !checks.inTime()) return
    if (snapshot !== undefined) checkSnapshot(walk, index + 1, snapshot.state)
  }
}

/** How many commands are decided on the state that a snapshot leads to. */
const decidedAgain = 10

const checkSnapshot = <T extends Types>(walk: Walk<T>, version: number, restored: T["State"]): void => {
  const { checks, stateFields, steps, subject } = walk
  const tail = steps.slice(version)
  const explain = tail.length === 0
    ? `A snapshot was taken after event ${version} and read back.`
    : `A snapshot was taken after event ${version} and read back, and the ` +
      `${tail.length === 1 ? "event" : `${tail.length} events`} after it folded on top.`
  let state = restored
  for (const [index, { event }] of tail.entries()) {
    const before = state
    checks.onCall("evolve")
    const next = attempt(() => checks.globals.run(0, () => subject.evolve(before, event)))
    if (Either.isLeft(next)) {
      const text = `${explain} evolve throws on event ${version + index + 1}, but not in a full replay.`
      return void violate(checks, "snapshots", text, thrown(next.left), snapshotHint)
    }
    state = next.right
  }
  const expected = walk.steps[steps.length - 1].state
  const found = differences(expected, state, stateFields)
  if (found.length === 0) return checkDecisions(walk, explain, expected, state)
  violate(checks, "snapshots", `${explain} The state differs from the state of a full replay.`, [
    valueOf("expected, by full replay", expected),
    valueOf("actual, by the snapshot", state),
    apart(found, "expected", "actual")
  ], snapshotHint)
}

const snapshotHint =
  "Something that evolve or decide looks at is not stored, or changes on its way through the state schema."

const checkDecisions = <T extends Types>(
  { checks, commands, eventFields, subject }: Walk<T>,
  explain: string,
  expected: T["State"],
  actual: T["State"]
): void => {
  const decideOn = (state: T["State"], command: T["Command"]) =>
    attempt(() => checks.globals.run(0, () => subject.decide(state, command)))
  for (const command of commands.slice(-decidedAgain)) {
    checks.onCall("decide")
    const one = decideOn(expected, command)
    const other = decideOn(actual, command)
    const found = differences(Either.mapLeft(one, messageOf), Either.mapLeft(other, messageOf), eventFields)
    if (found.length === 0) continue
    return void violate(
      checks,
      "snapshots",
      `${explain} The state looks the same as after a full replay, but decide treats it differently.`,
      [
        valueOf("command", command),
        outcome("expected, by full replay", one),
        outcome("actual, by the snapshot", other)
      ],
      "decide depends on something that is not stored: the order of a map or of an object's keys, an object's identity, " +
        "a field that is present and undefined."
    )
  }
}

const outcome = (label: string, result: Either.Either<unknown, unknown>): Evidence =>
  Either.isLeft(result) ? text(label, `throws ${messageOf(result.left)}`) : valueOf(label, result.right)
