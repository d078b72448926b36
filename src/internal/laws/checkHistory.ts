import * as Either from "effect/Either"
import * as Option from "effect/Option"
import * as ParseResult from "effect/ParseResult"
import * as Predicate from "effect/Predicate"
import * as Schema from "effect/Schema"
import type * as Aggregate from "../../Aggregate.js"
import * as Json from "../json.js"
import { nameOf, toCode } from "./code.js"
import { type Difference, differences, fieldsOf, fieldsOfAnything, same } from "./difference.js"
import { isUsers, type World } from "./fakeGlobals.js"
import { type History, unusual } from "./generators.js"
import * as Mutation from "./mutation.js"
import { objections, ownProblem } from "./objections.js"
import { TookTooLong } from "./timeLimit.js"

/** @internal */
export type Law = "total" | "pure" | "events" | "rejections" | "encoding" | "snapshots" | "migrations" | "invariant"

/**
 * The laws that one history is tried with. Migrations are compared with another aggregate's.
 *
 * @internal
 */
export const allLaws: ReadonlyArray<Law> = [
  "total",
  "pure",
  "events",
  "rejections",
  "encoding",
  "snapshots",
  "invariant"
]

/**
 * A law that one history breaks.
 *
 * @internal
 */
export interface Problem {
  readonly law: Law
  /** What is wrong, in a sentence or two. */
  readonly text: string
  /** What is to be seen, line by line. */
  readonly evidence: ReadonlyArray<Evidence>
  readonly hint?: string | undefined
  /** How much of the log led here. */
  readonly lines: number
}

/** @internal */
export type Evidence =
  | { readonly _tag: "Value"; readonly label: string; readonly value: unknown }
  | { readonly _tag: "Text"; readonly label: string; readonly text: string }
  | {
    readonly _tag: "Differences"
    readonly found: ReadonlyArray<Difference>
    readonly sides: readonly [one: string, other: string]
  }

/** @internal */
export type Line =
  | { readonly _tag: "Initial"; readonly state: unknown }
  | { readonly _tag: "Command"; readonly command: unknown }
  | { readonly _tag: "Nothing" }
  | { readonly _tag: "Rejection"; readonly rejection: unknown }
  | { readonly _tag: "Event"; readonly number: number; readonly event: unknown; readonly decided: boolean }
  | { readonly _tag: "State"; readonly state: unknown }

/** @internal */
export interface Trial {
  readonly problems: ReadonlyMap<Law, Problem>
  /** The types of the events that commands decided. */
  readonly decided: ReadonlySet<string>
}

/** @internal */
export interface Options<in State> {
  readonly laws: ReadonlySet<Law>
  /** How many events are enough: commands after them are left out. */
  readonly most: number
  /** How long it may take: what is slow is told no further, and compared no further. */
  readonly millis: number
  /** Whether events that nobody decided may lead nowhere but to a state that keeps every law. */
  readonly strict: boolean
  readonly invariant?: ((state: State) => boolean) | undefined
  readonly world: World
  /** What happened, filled on the way: it is there even if the trial never returns. */
  readonly log: Array<Line>
  /** Called with every state that is reached. */
  readonly onState?: ((state: State) => void) | undefined
  /** Called with what is about to run, so that it can be named if it never returns. */
  readonly onCall?: ((what: string) => void) | undefined
}

/**
 * Lives one history through, and notes the first time that it breaks each of the laws.
 *
 * @internal
 */
export const run = <Name extends string, Id, State, Event, Command, Rejection>(
  aggregate: Aggregate.Aggregate<Name, Id, State, Event, Command, Rejection>,
  history: History<Id, Command, Event>,
  options: Options<State>
): Trial => {
  const { laws, log, world } = options
  const beginning = performance.now()
  const inTime = () => performance.now() - beginning < options.millis
  const problems = new Map<Law, Problem>()
  const mutations = Mutation.make()
  const decided = new Set<string>()
  const stateFields = fieldsOf(aggregate.state.schema.ast)
  const eventFields = fieldsOf(aggregate.event.schema.ast)

  const breaks = (
    law: Law,
    text: string,
    evidence: ReadonlyArray<Evidence>,
    hint?: string,
    lines: number = log.length
  ): void => {
    if (laws.has(law) && !problems.has(law)) problems.set(law, { law, text, evidence, hint, lines })
  }

  /** What is to be called a second time. */
  const calls: Array<{
    readonly name: string
    readonly body: () => unknown
    readonly value: unknown
    readonly compare: ReadonlySet<PropertyKey>
    readonly lines: number
  }> = []

  /** `undefined` where the history cannot go on. */
  const call = <A>(
    name: string,
    inputs: Readonly<Record<string, unknown>>,
    body: () => A,
    compare: ReadonlySet<PropertyKey>
  ): { readonly value: A } | undefined => {
    options.onCall?.(name)
    Object.values(inputs).forEach(mutations.freeze)
    const before = mutations.copy(inputs)
    const watched = laws.has("pure") && !problems.has("pure")
    const first = attempt(() => watched ? world.watch(body) : { value: world.run(0, body), reading: undefined })
    const changes = differences(before, inputs)
    if (Either.isLeft(first)) {
      if (changes.length > 0 || isMutation(first.left)) {
        breaks("pure", `${name} changes what it is given.`, [
          ...(changes.length > 0 ? [changed(changes)] : [text("it tried to, and got", messageOf(first.left))]),
          ...where(first.left)
        ], mutationHint)
      } else {
        breaks("total", `${name} throws.`, [text("thrown", messageOf(first.left)), ...where(first.left)])
      }
      return undefined
    }
    const { reading, value } = first.right
    if (changes.length > 0) {
      breaks("pure", `${name} changes what it is given.`, [changed(changes)], mutationHint)
      if (name === "decide" && Either.isEither(value) && Either.isLeft(value)) {
        breaks("rejections", "decide rejects the command, and changes the state.", [changed(changes)], mutationHint)
      }
      return undefined
    }
    if (reading !== undefined) {
      const { at, source, what } = reading
      breaks(
        "pure",
        `${name} reads ${what}: it calls ${source}.`,
        at === undefined ? [] : [text("where", at)],
        (name === "decide"
          ? "The same command on the same state is decided differently then, when a lost race decides it again. "
          : "A replay of the same events comes to another state then. ") +
          "Let the caller put the time, or the new id, into the command, and the decision into the event."
      )
    } else if (watched) {
      calls.push({ name, body, value, compare, lines: log.length })
    }
    return { value }
  }

  const started = call("initial", { id: history.id }, () => aggregate.initial(history.id), stateFields)
  if (started === undefined) return { problems, decided }
  const initial = started.value
  let state = initial
  log.push({ _tag: "Initial", state })
  options.onCall?.("the state schema")
  const begins = refusalsOf(aggregate.state.schema, initial)
  if (begins.length > 0) {
    breaks(
      "events",
      "initial gives a state that the state schema refuses.",
      begins,
      "Every history begins with it. Either initial builds the wrong state, or the schema is too narrow."
    )
    return { problems, decided }
  }
  const events: Array<Event> = []
  const states: Array<State> = []
  const stored: Array<{ readonly state: State } | undefined> = []
  const commands: Array<Command> = []

  const satisfies = (): void => {
    const { invariant } = options
    if (invariant === undefined) return
    options.onCall?.("invariant")
    const holds = attempt(() => invariant(state))
    if (Either.isLeft(holds)) breaks("invariant", "The invariant throws.", [text("thrown", messageOf(holds.left))])
    else if (holds.right !== true) breaks("invariant", "The invariant does not hold in this state.", [])
  }

  const happen = (event: Event, isDecided: boolean): boolean => {
    log.push({ _tag: "Event", number: events.length + 1, event, decided: isDecided })
    if (!isDecided && !options.strict) return survive(event)
    options.onCall?.("the event schema")
    const written = storeEvent(aggregate, event)
    if (Either.isLeft(written)) {
      breaks("events", written.left.text, written.left.evidence, written.left.hint)
      // what cannot be stored never becomes part of a history
      return false
    }
    const found = differences(event, written.right, { fields: eventFields })
    if (found.length > 0) {
      breaks(
        "events",
        "The event comes back from storage as another one.",
        [valueOf("stored", event), valueOf("read back", written.right), apart(found, "stored", "read back")],
        lossHint(found, aggregate.event.schema)
      )
    }
    const before = state
    const evolved = call("evolve", { state: before, event }, () => aggregate.evolve(before, event), stateFields)
    if (evolved === undefined) return false
    options.onCall?.("the state schema")
    const refused = refusalsOf(aggregate.state.schema, evolved.value)
    if (evolved.value === undefined && refused.length > 0) return unhandled()
    state = evolved.value
    log.push({ _tag: "State", state })
    if (refused.length > 0) {
      breaks(
        "events",
        `The event leads to a state that the state schema refuses.`,
        refused,
        isDecided
          ? "Either decide should have rejected the command, or evolve builds the wrong state, or the schema is too narrow."
          : undefined
      )
      return false
    }
    satisfies()
    options.onState?.(state)
    events.push(event)
    states.push(state)
    stored.push(laws.has("encoding") || laws.has("snapshots") ? remember() : undefined)
    return true
  }

  const unhandled = (): boolean => {
    breaks(
      "total",
      `evolve gives undefined for this event: it does not handle it.`,
      [],
      "Give every event of the schema a case, if only one that returns the state as it is."
    )
    return false
  }

  // an event that no command decided, in a state in which it may never have been decided: whatever the state is after it, it
  // must not throw. A class that refuses to be built says no more than that the state is not one of its.
  const survive = (event: Event): boolean => {
    const before = state
    const evolved = call("evolve", { state: before, event }, () => {
      try {
        return Option.some(aggregate.evolve(before, event))
      } catch (error) {
        if (ParseResult.isParseError(error)) return Option.none()
        throw error
      }
    }, stateFields)
    if (evolved === undefined || Option.isNone(evolved.value)) return false
    if (evolved.value.value === undefined && !Schema.is(aggregate.state.schema)(undefined)) return unhandled()
    state = evolved.value.value
    log.push({ _tag: "State", state })
    return true
  }

  /** The state as a snapshot of it would give it back. */
  const remember = (): { readonly state: State } | undefined => {
    options.onCall?.("the state schema")
    const written = storeState(aggregate, state)
    if (Either.isLeft(written)) {
      breaks("encoding", written.left.text, written.left.evidence, written.left.hint)
      return undefined
    }
    const found = differences(state, written.right, { fields: stateFields })
    if (found.length > 0) {
      breaks(
        "encoding",
        "The state comes back from a snapshot as another one.",
        [valueOf("stored", state), valueOf("read back", written.right), apart(found, "stored", "read back")],
        lossHint(found, aggregate.state.schema)
      )
    }
    return { state: written.right }
  }

  const decideOn = (command: Command): boolean => {
    log.push({ _tag: "Command", command })
    const before = state
    const made = call("decide", { state: before, command }, () => aggregate.decide(before, command), eventFields)
    if (made === undefined) return false
    const decision: unknown = made.value
    if (!Either.isEither(decision)) {
      breaks(
        "total",
        "decide gives something that is neither events nor a rejection.",
        [valueOf("given", decision)],
        "Return Either.right([...events]) or Either.left(rejection)."
      )
      return false
    }
    commands.push(command)
    if (Either.isLeft(made.value)) {
      const { left: rejection } = made.value
      log.push({ _tag: "Rejection", rejection })
      const refused = ownProblem(rejection)
      if (refused !== undefined) {
        breaks("rejections", "The rejection is a value that its own schema refuses.", refusals(refused))
      }
      const problem = untyped(rejection)
      if (problem !== undefined) {
        breaks(
          "rejections",
          `The rejection is ${problem}.`,
          [],
          "Nobody who calls the command can tell it from another failure. Reject with a tagged error " +
            "(class NotOpen extends Data.TaggedError(\"NotOpen\") {}) or with a literal."
        )
      }
      return true
    }
    const { right: next } = made.value
    if (!Array.isArray(next)) {
      breaks("events", "decide gives something that is no array of events.", [valueOf("given", next)])
      return false
    }
    if (next.length === 0) log.push({ _tag: "Nothing" })
    for (const event of next) {
      if (!happen(event, true)) return false
      decided.add(aggregate.event.typeOf(event))
    }
    return true
  }

  /** The same calls at another time, with other dice, elsewhere, and after all the others. */
  const callAgain = (): void => {
    const other = world.elsewhere(() => {
      for (const called of calls) {
        if (!inTime()) return undefined
        options.onCall?.(called.name)
        const second = attempt(() => world.run(1, called.body))
        if (Either.isLeft(second)) return { ...called, second, found: [] }
        const found = differences(called.value, second.right, { fields: called.compare })
        if (found.length > 0) return { ...called, second, found }
      }
      return undefined
    })
    if (other === undefined) return
    const { body, compare, found, lines, name, second, value } = other
    const home = attempt(() => world.run(0, body))
    const local = Either.isRight(home) && same(value, home.right, { fields: compare })
    const evidence = Either.isLeft(second)
      ? [text("thrown", messageOf(second.left)), ...where(second.left)]
      : [valueOf("first", value), valueOf("second", second.right), apart(found, "first", "second")]
    if (local) {
      breaks(
        "pure",
        `${name} gives another result in another time zone: it takes a time apart, or writes it, as it is where the ` +
          "machine stands.",
        evidence,
        "Use what does not depend on that (getUTCHours, toISOString, Date.UTC), or keep the zone in the state.",
        lines
      )
    } else if (Either.isLeft(second)) {
      breaks(
        "pure",
        `${name}, called twice with the same input, throws the second time.`,
        evidence,
        "It keeps something between calls. Everything it depends on must be in its arguments.",
        lines
      )
    } else {
      breaks(
        "pure",
        `${name}, called twice with the same input, gives two different results.`,
        evidence,
        "It depends on something besides its arguments: a counter, a cache, a generator of ids, the clock.",
        lines
      )
    }
  }

  satisfies()
  const live = (): boolean =>
    history.commands.every((command) => events.length >= options.most || (inTime() && decideOn(command))) &&
    history.events.every((event) => inTime() && happen(event, false))
  live()
  if (!problems.has("pure")) callAgain()

  if (laws.has("snapshots")) {
    for (const [index, snapshot] of stored.entries()) {
      if (problems.has("snapshots") || snapshot === undefined || !inTime()) continue
      compareFrom(index + 1, snapshot.state)
    }
  }

  function compareFrom(version: number, restored: State): void {
    const tail = events.slice(version)
    const explain = tail.length === 0
      ? `A snapshot was taken after event ${version} and read back.`
      : `A snapshot was taken after event ${version} and read back, and the ` +
        `${tail.length === 1 ? "event" : `${tail.length} events`} after it folded on top.`
    let reached = restored
    for (const [index, event] of tail.entries()) {
      const current = reached
      options.onCall?.("evolve")
      const next = attempt(() => world.run(0, () => aggregate.evolve(current, event)))
      if (Either.isLeft(next)) {
        return breaks(
          "snapshots",
          `${explain} Event ${version + index + 1} makes evolve throw, which it does not ` +
            "in a full replay.",
          [text("thrown", messageOf(next.left)), ...where(next.left)],
          snapshotHint
        )
      }
      reached = next.right
    }
    const expected = states[states.length - 1]
    const found = differences(expected, reached, { fields: stateFields })
    if (found.length > 0) {
      return breaks("snapshots", `${explain} The state is another one than after a replay of all events.`, [
        valueOf("expected, by full replay", expected),
        valueOf("actual, by the snapshot", reached),
        apart(found, "expected", "actual")
      ], snapshotHint)
    }
    for (const command of commands.slice(-compared)) {
      options.onCall?.("decide")
      const one = attempt(() => world.run(0, () => aggregate.decide(expected, command)))
      const other = attempt(() => world.run(0, () => aggregate.decide(reached, command)))
      const found = differences(
        Either.mapLeft(one, messageOf),
        Either.mapLeft(other, messageOf),
        { fields: eventFields }
      )
      if (found.length > 0) {
        return breaks(
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
  }

  return { problems, decided }
}

/** How many commands are decided on the state that a snapshot gives, too. */
const compared = 10

// -------------------------------------------------------------------------------------
// what is stored
// -------------------------------------------------------------------------------------

type Unstorable = {
  readonly text: string
  readonly evidence: ReadonlyArray<Evidence>
  readonly hint?: string | undefined
}

const storeEvent = <Name extends string, Id, State, Event, Command, Rejection>(
  aggregate: Aggregate.Aggregate<Name, Id, State, Event, Command, Rejection>,
  event: Event
): Either.Either<Event, Unstorable> => {
  const encoded = attempt(() => aggregate.event.encode(event))
  if (Either.isLeft(encoded)) {
    return Either.left({ text: "The event schema throws.", evidence: [text("thrown", messageOf(encoded.left))] })
  }
  if (Either.isLeft(encoded.right)) {
    return Either.left({
      text: "The event is none that its schema allows.",
      evidence: refusals(encoded.right.left),
      hint: unusualHint(encoded.right.left)
    })
  }
  const json = Json.stringify(encoded.right.right)
  if (Either.isLeft(json)) return Either.left(noJson("event", json.left, aggregate.event.schema))
  const decoder = aggregate.event.decoder(aggregate.event.typeOf(event))
  if (decoder === undefined) {
    return Either.left({ text: "The event has a type that the event schema does not have.", evidence: [] })
  }
  return Either.mapLeft(decoder(JSON.parse(json.right)), (error) => ({
    text: "The event can be stored and then not be read.",
    evidence: [text("stored", json.right), ...refusals(error)],
    hint: unusualHint(error)
  }))
}

const storeState = <Name extends string, Id, State, Event, Command, Rejection>(
  aggregate: Aggregate.Aggregate<Name, Id, State, Event, Command, Rejection>,
  state: State
): Either.Either<State, Unstorable> => {
  const encoded = aggregate.state.encode(state)
  if (Either.isLeft(encoded)) {
    return Either.left({
      text: "The state cannot be encoded: no snapshot of it can be taken.",
      evidence: refusals(encoded.left),
      hint: unusualHint(encoded.left)
    })
  }
  const json = Json.stringify(encoded.right)
  if (Either.isLeft(json)) return Either.left(noJson("state", json.left, aggregate.state.schema))
  return Either.mapLeft(aggregate.state.decode(JSON.parse(json.right)), (error) => ({
    text: "The state can be written as a snapshot, and then not be read.",
    evidence: [text("stored", json.right), ...refusals(error)],
    hint: unusualHint(error)
  }))
}

const noJson = (what: string, problem: Json.NotJson, schema: Schema.Schema.Any): Unstorable => ({
  text: `The ${what} cannot be stored as JSON: ${problem.path} ${problem.reason}.`,
  evidence: [],
  hint: anythingHint(problem.path, schema) ?? jsonHint(problem.reason)
})

const anythingHint = (path: string, schema: Schema.Schema.Any): string | undefined => {
  const field = fieldsOfAnything(schema.ast).find((field) => path.startsWith(field))
  return field === undefined ? undefined : `The schema lets ${field} be anything (Schema.Unknown, Schema.Any or ` +
    "Schema.Object), and not everything survives as JSON. Declare what it holds, or say what it may be where it is " +
    "defined: .annotations({ arbitrary: () => (fc) => fc.jsonValue() })"
}

const protoHint =
  "An object loses the key __proto__ on its way through a schema. Declare the keys with a schema that " +
  "refuses it, or the field with Schema.Map or Schema.HashMap, which are stored as arrays."

const jsonHint = (reason: string): string | undefined => {
  if (/is a Object object/.test(reason)) return protoHint
  if (/NaN|Infinity/.test(reason)) return "Schema.Number allows it. Declare the field as Schema.Finite or Schema.Int."
  if (/bigint/.test(reason)) return "Declare the field as Schema.BigInt, which is stored as text."
  if (/Date object/.test(reason)) return "Declare the field as Schema.Date, which is stored as text."
  if (/Map object/.test(reason)) return "Declare the field as Schema.Map or Schema.HashMap, which are stored as arrays."
  if (/Set object/.test(reason)) return "Declare the field as Schema.Set or Schema.HashSet, which are stored as arrays."
  if (/undefined/.test(reason)) return "Use null (Schema.NullOr) or an optional field."
  return "Declare it with a schema whose encoded side is JSON."
}

const unusualHint = (error: ParseResult.ParseError): string | undefined => {
  const problem = unusual(error)
  return problem === undefined ? undefined : `The schema ${problem}`
}

const mutationHint = "Build a new value and leave the old one as it is: others still hold it."

const snapshotHint =
  "Something that evolve or decide looks at is not stored, or changes on its way through the state schema."

const lossHint = (found: ReadonlyArray<Difference>, schema: Schema.Schema.Any): string | undefined => {
  const [first] = found
  if (first === undefined) return undefined
  const anything = anythingHint(first.path, schema)
  if (anything !== undefined) return anything
  if (/__proto__"?\]?$/.test(first.path) && first.actual === undefined) {
    return protoHint
  }
  if (first.actual === undefined) {
    return "It is not stored: the schema does not declare it, or loses it where it encodes."
  }
  if (first.expected?.startsWith("new ") === true && first.actual.startsWith("the plain object")) {
    return "The schema describes the fields and not the class: declare it with Schema.Class."
  }
  return undefined
}

// -------------------------------------------------------------------------------------
// what is said
// -------------------------------------------------------------------------------------

const refusalsOf = (schema: Schema.Schema.Any, value: unknown): ReadonlyArray<Evidence> => {
  const valid = attempt(() => Schema.validateEither(schema)(value))
  if (Either.isLeft(valid)) return [text("refused", messageOf(valid.left))]
  return Either.isLeft(valid.right) ? refusals(valid.right.left) : []
}

const refusals = (error: ParseResult.ParseError): ReadonlyArray<Evidence> =>
  objections(error).map(({ path, reason }) => text(path === undefined ? "refused" : `refused at ${path}`, reason))

const text = (label: string, text: string): Evidence => ({ _tag: "Text", label, text })

const valueOf = (label: string, value: unknown): Evidence => ({ _tag: "Value", label, value })

const apart = (found: ReadonlyArray<Difference>, one: string, other: string): Evidence => ({
  _tag: "Differences",
  found,
  sides: [one, other]
})

const changed = (found: ReadonlyArray<Difference>): Evidence => apart(found, "before", "after")

const outcome = (label: string, result: Either.Either<Either.Either<unknown, unknown>, unknown>): Evidence =>
  Either.isLeft(result)
    ? text(label, `throws ${messageOf(result.left)}`)
    : valueOf(label, result.right)

const attempt = <A>(body: () => A): Either.Either<A, unknown> => {
  try {
    return Either.right(body())
  } catch (error) {
    if (error instanceof TookTooLong) throw error
    return Either.left(error)
  }
}

/** @internal */
export const messageOf = (error: unknown): string => {
  if (!(error instanceof Error)) return toCode(error)
  if (error instanceof RangeError && /call stack/.test(error.message)) return `${error.name}: ${error.message}`
  return error.message === "" ? nameOf(error) : `${nameOf(error)}: ${error.message}`
}

const where = (error: unknown): ReadonlyArray<Evidence> => {
  if (!(error instanceof Error)) return []
  const frame = (error.stack ?? "").split("\n").filter((line) => /^\s+at /.test(line)).find(isUsers)
  return frame === undefined ? [] : [text("where", frame.replace(/^\s+at /, ""))]
}

/** @internal */
export const isMutation = (error: unknown): boolean =>
  error instanceof TypeError &&
  /read only property|object is not extensible|Cannot (?:delete|define|redefine) property/.test(error.message)

const builtIn: ReadonlySet<unknown> = new Set([Error, TypeError, RangeError, SyntaxError, EvalError, URIError])

const untyped = (rejection: unknown): string | undefined => {
  if (rejection === undefined || rejection === null) return String(rejection)
  if (typeof rejection === "function") return "a function"
  if (rejection instanceof Error) {
    return builtIn.has(rejection.constructor) && !("_tag" in rejection) ? `a bare ${nameOf(rejection)}` : undefined
  }
  if (Predicate.isPromiseLike(rejection)) return "a promise"
  if (Either.isEither(rejection)) return "an Either inside of the Either"
  return undefined
}
