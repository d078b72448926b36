import * as DateTime from "effect/DateTime"
import * as Either from "effect/Either"
import * as FastCheck from "effect/FastCheck"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import type * as SchemaAST from "effect/SchemaAST"
import type * as Aggregate from "../../Aggregate.js"
import * as Snapshot from "../../Snapshot.js"
import * as StreamId from "../../StreamId.js"
import * as Json from "../json.js"
import { fromSchema, related } from "./arbitraries.js"
import type * as Trial from "./checkHistory.js"
import { messageOf } from "./checkHistory.js"
import { differences, fieldsOf, same } from "./difference.js"
import * as Generators from "./generators.js"
import { TookTooLong, within } from "./timeLimit.js"

/** @internal */
export interface Found {
  readonly log: ReadonlyArray<Trial.Line>
  readonly problem: Trial.Problem
  readonly history: Generators.History<unknown, unknown, unknown>
  readonly run: number
  readonly before: number
}

/**
 * What older code stored, compared with what the code of now makes of it. What the older aggregate's types are is known in
 * here alone.
 *
 * @internal
 */
export interface Comparison {
  readonly find: <Name extends string, Id, State, Event, Command, Rejection>(
    now: Aggregate.Aggregate<Name, Id, State, Event, Command, Rejection>,
    options: {
      readonly runs: number | undefined
      readonly seed: number
      readonly size: number
      readonly strict: boolean
    }
  ) => Found | undefined
}

/** How long one history, and a search for a smaller one, may take, in milliseconds. */
const patience = 3_000
const shrinking = 4_000
/** How long the runs that nobody asked for by number may take together. */
const budget = 2_000
const mostRuns = 200

/** @internal */
export const comparison = <Name extends string, Id, State, Event, Command, Rejection>(
  old: Aggregate.Aggregate<Name, Id, State, Event, Command, Rejection>,
  given: {
    readonly id?: FastCheck.Arbitrary<Id> | undefined
    readonly command?: FastCheck.Arbitrary<Command> | undefined
    readonly event?: FastCheck.Arbitrary<Event> | undefined
  }
): Comparison => ({
  find: (now, { runs, seed, size, strict }) => {
    const generators = Generators.make(old, given)
    const none = FastCheck.constant([])
    const list = <A>(item: FastCheck.Arbitrary<A>, own: boolean, schema: Schema.Schema<A>, maxLength: number) =>
      own
        ? FastCheck.array(item, { maxLength, size: "max" })
        : related(item, { maxLength, isValid: Schema.is(schema) })
    const histories: FastCheck.Arbitrary<Generators.History<Id, Command, Event>> = FastCheck.record({
      id: generators.id,
      commands: strict ? none : list(generators.command(), given.command !== undefined, old.command, size * 2),
      events: strict ? list(generators.event, given.event !== undefined, old.event.schema, size) : none
    })
    interface Broken {
      readonly log: ReadonlyArray<Trial.Line>
      readonly problem: Trial.Problem
      readonly history: Generators.History<Id, Command, Event>
    }
    const broken: Array<Broken> = []
    const breaks = (history: Generators.History<Id, Command, Event>): boolean => {
      const { log, problem } = tryHistory(old, now, history)
      if (problem !== undefined) broken.push({ log, problem, history })
      return problem !== undefined
    }
    const began = performance.now()
    for (let run = 0; run < (runs ?? mostRuns); run++) {
      if (runs === undefined && performance.now() - began > budget) return undefined
      if (breaks(made(histories, seed, run, old.schemaVersion))) return shrunk(run)
    }
    return undefined

    function shrunk(run: number): Found {
      const [first] = broken
      const started = performance.now()
      const inTime = () => performance.now() - started < shrinking
      FastCheck.check(FastCheck.property(histories, (history) => !(inTime() && breaks(history))), {
        seed,
        path: String(run),
        numRuns: 1
      })
      let { history } = broken[broken.length - 1]
      for (const list of ["commands", "events"] as const) {
        for (let i = history[list].length - 1; i >= 0; i--) {
          const shorter = { ...history, [list]: history[list].filter((_, index) => index !== i) }
          if (breaks(shorter)) history = shorter
        }
      }
      const { log, problem } = broken[broken.length - 1]
      const before = first.history.commands.length + first.history.events.length
      return { log, problem, history, run: run + 1, before }
    }
  }
})

const made = <A>(histories: FastCheck.Arbitrary<A>, seed: number, run: number, version: number): A => {
  try {
    return within(patience, () => FastCheck.sample(histories, { seed, path: String(run), numRuns: 1 }))[0]
  } catch (error) {
    if (!(error instanceof TookTooLong)) throw error
    throw new Generators.NotGenerated(
      `The histories of version ${version} do not come in time: a filter is almost never true for what is generated, or a ` +
        "generator never ends. Give AggregateLaws.previous generators that do: the options `id`, `command` and `event`."
    )
  }
}

/**
 * One history of older code.
 *
 * @internal
 */
export const tryHistory = <
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
  history: Generators.History<OldId, OldCommand, OldEvent>
): { readonly log: ReadonlyArray<Trial.Line>; readonly problem: Trial.Problem | undefined } => {
  const log: Array<Trial.Line> = []
  try {
    return within(patience, () => live(old, now, history, log))
  } catch (error) {
    return {
      log,
      problem: problemOf(log, error instanceof TookTooLong ? "It did not return in time." : "It throws.", [
        { _tag: "Text", label: "thrown", text: messageOf(error) }
      ])
    }
  }
}

const problemOf = (
  log: ReadonlyArray<Trial.Line>,
  text: string,
  evidence: ReadonlyArray<Trial.Evidence>,
  hint?: string
): Trial.Problem => ({ law: "migrations", text, evidence, hint, lines: log.length })

const live = <
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
  history: Generators.History<OldId, OldCommand, OldEvent>,
  log: Array<Trial.Line>
): { readonly log: ReadonlyArray<Trial.Line>; readonly problem: Trial.Problem | undefined } => {
  const fields = fieldsOf(now.state.schema.ast)
  const fine = { log, problem: undefined }
  const bad = (text: string, evidence: ReadonlyArray<Trial.Evidence>, hint?: string) => ({
    log,
    problem: problemOf(log, text, evidence, hint)
  })

  const stored = Either.getOrUndefined(old.id.encode(history.id))
  if (stored === undefined) return fine
  const id = now.id.decode(stored)
  if (Either.isLeft(id)) {
    return bad("The id of older code is none of now.", [{ _tag: "Text", label: "refused", text: id.left.message }])
  }

  // what older code has lived through, and the states that it had: oldStates[k] after k events
  let oldState = old.initial(history.id)
  log.push({ _tag: "Initial", state: oldState })
  const events: Array<OldEvent> = []
  const oldStates = [oldState]
  const happen = (event: OldEvent, decided: boolean) => {
    oldState = old.evolve(oldState, event)
    events.push(event)
    oldStates.push(oldState)
    log.push({ _tag: "Event", number: events.length, event, decided }, { _tag: "State", state: oldState })
  }
  for (const command of history.commands) {
    const decision = old.decide(oldState, command)
    if (Either.isLeft(decision)) continue
    log.push({ _tag: "Command", command })
    for (const event of decision.right) happen(event, true)
  }
  for (const event of history.events) happen(event, false)

  // the same events, as the code of now reads them; a retired one leaves the state as it is
  const states = [now.initial(id.right)]
  const read: Array<Option.Option<Event>> = []
  for (const [index, event] of events.entries()) {
    const text = Either.flatMap(old.event.encode(event), Json.stringify)
    if (Either.isLeft(text)) return fine
    const type = old.event.typeOf(event)
    const decode = now.event.decoder(type)
    if (decode === undefined && !now.event.isRetired(type)) {
      return bad(
        `Older code stored event ${index + 1} under the type ${JSON.stringify(type)}, which is not known now.`,
        [
          { _tag: "Value", label: "event", value: event }
        ],
        "Add it to the event schema, or to the upcasts."
      )
    }
    const decoded = decode?.(JSON.parse(text.right))
    if (decoded !== undefined && Either.isLeft(decoded)) {
      return bad(`Older code stored event ${index + 1}, and it cannot be read now.`, [
        { _tag: "Text", label: "stored", text: text.right },
        { _tag: "Text", label: "refused", text: decoded.left.message }
      ], "Say with upcasts how events of that shape become events of now, or mend those that say it.")
    }
    const upcast = decoded === undefined ? Option.none() : Option.some(decoded.right)
    read.push(upcast)
    states.push(Option.match(upcast, {
      onNone: () => states[index],
      onSome: (event) => now.evolve(states[index], event)
    }))
  }
  const expected = states[events.length]

  for (let version = 1; version <= events.length; version++) {
    const text = Either.flatMap(old.state.encode(oldStates[version]), Json.stringify)
    // no snapshot of it was ever taken
    if (Either.isLeft(text)) continue
    const migrated = Snapshot.decode(now, {
      stream: StreamId.make(now.name, stored),
      version,
      eventId: "law",
      schemaVersion: old.schemaVersion,
      fingerprint: old.fingerprint,
      state: text.right,
      time: DateTime.toEpochMillis(DateTime.unsafeMake(0))
    })
    if (Either.isLeft(migrated)) {
      if (migrated.left._tag === "SchemaDrift" && old.schemaVersion !== now.schemaVersion) {
        return bad(
          `The migrations name another schema for version ${old.schemaVersion} than the one that older code had: its ` +
            "snapshots are not used.",
          [],
          "Give the migrations the state schema of that version as it was."
        )
      }
      if (migrated.left._tag !== "StateDecodeError") continue
      const { cause } = migrated.left
      return bad(`The snapshot that older code took after event ${version} cannot be migrated.`, [
        { _tag: "Text", label: "stored", text: text.right },
        { _tag: "Text", label: "refused", text: cause instanceof Error ? cause.message : String(cause) }
      ])
    }
    const apart = (one: State, other: State, explain: string) => {
      const found = differences(one, other, { fields })
      return found.length === 0 ? undefined : bad(explain, [
        { _tag: "Text", label: "stored by older code", text: text.right },
        { _tag: "Value", label: "expected, by full replay", value: one },
        { _tag: "Value", label: "actual, by migration", value: other },
        { _tag: "Differences", found, sides: ["expected", "actual"] }
      ], "The migration leaves something out, or means something else by it than evolve does.")
    }
    const here = apart(
      states[version],
      migrated.right.state,
      `The snapshot that older code took after event ${version} is migrated to another state than a replay gives now.`
    )
    if (here !== undefined) return here
    let state = migrated.right.state
    for (const event of read.slice(version)) {
      if (Option.isSome(event)) state = now.evolve(state, event.value)
    }
    const there = apart(
      expected,
      state,
      `The snapshot that older code took after event ${version} was migrated, and the events after it folded on top: ` +
        "the state is another one than after a replay of all events."
    )
    if (there !== undefined) return there
  }
  return fine
}

/**
 * What shows of migrations without the code that took the old snapshots: that they can be taken at all, and that they look
 * at every field that old and new states share.
 *
 * @internal
 */
export const inspect = <Name extends string, Id, State, Event, Command, Rejection>(
  now: Aggregate.Aggregate<Name, Id, State, Event, Command, Rejection>,
  reached: ReadonlyArray<State>,
  seed: number
): Trial.Problem | undefined => {
  for (const { ast, decode, version } of now.migrations) {
    const old = Schema.make<unknown>(ast)
    const encode = Schema.encodeEither(old)
    const pairs: Array<{ readonly old: unknown; readonly migrated: State }> = []
    let refused: Trial.Evidence | undefined
    for (const state of generate(old, version, seed)) {
      const text = Either.flatMap(encode(state), Json.stringify)
      if (Either.isLeft(text)) continue
      const migrated = decode(JSON.parse(text.right))
      if (Either.isRight(migrated)) pairs.push({ old: state, migrated: migrated.right })
      else refused = { _tag: "Text", label: "refused", text: migrated.left.message }
    }
    if (pairs.length === 0) {
      if (refused === undefined) continue
      return problemOf([], `No state of version ${version} can be migrated.`, [refused])
    }
    const shared = [...topFields(ast)].filter((field) => topFields(now.state.schema.ast).has(field))
    for (const field of shared) {
      const [one, ...others] = pairs
      const other = others.find((pair) => !same(valueIn(one.old, field), valueIn(pair.old, field)))
      const constant = pairs.every((pair) => same(valueIn(one.migrated, field), valueIn(pair.migrated, field)))
      const varied = reached.find((state) => !same(valueIn(one.migrated, field), valueIn(state, field)))
      if (other === undefined || !constant || varied === undefined) continue
      return problemOf(
        [],
        `The migration from version ${version} forgets the field ${String(field)}: whatever it was, it is ` +
          "the same afterwards.",
        [
          { _tag: "Value", label: "a state of old", value: one.old },
          { _tag: "Value", label: "is migrated to", value: one.migrated },
          { _tag: "Value", label: "another one", value: other.old },
          { _tag: "Value", label: "is migrated to", value: other.migrated },
          { _tag: "Value", label: "a replay can reach", value: varied }
        ],
        "Take the field over, or, if it means something else now, work it out from the old state."
      )
    }
  }
  return undefined
}

const generate = (schema: Schema.Schema<unknown>, version: number, seed: number): ReadonlyArray<unknown> => {
  try {
    return within(patience, () => FastCheck.sample(fromSchema(Schema.typeSchema(schema)), { numRuns: 100, seed }))
  } catch (error) {
    throw new Generators.NotGenerated(
      `States of version ${version} could not be generated from the schema that the migrations name: ` +
        `${error instanceof TookTooLong ? "they did not come in time" : messageOf(error)}. ` +
        "Annotate that schema with an `arbitrary`."
    )
  }
}

const valueIn = (state: unknown, field: PropertyKey): unknown =>
  typeof state === "object" && state !== null ? Reflect.get(state, field) : undefined

const topFields = (ast: SchemaAST.AST): ReadonlySet<PropertyKey> => {
  switch (ast._tag) {
    case "TypeLiteral":
      return new Set(ast.propertySignatures.map(({ name }) => name))
    case "Refinement":
      return topFields(ast.from)
    case "Transformation":
      return topFields(ast.to)
    case "Declaration":
      return ast.typeParameters.length === 1 ? topFields(ast.typeParameters[0]) : new Set()
    default:
      return new Set()
  }
}
