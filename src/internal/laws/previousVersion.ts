/**
 * Compares the events and snapshots of older code with the states of the current code.
 *
 * It runs histories of the older aggregate, reads their events with the current code, migrates a snapshot at every
 * version and folds the rest of the events on top. Without the older code it can only check that the migrations keep
 * every field. Cost: up to 200 histories or 2 seconds, quadratic in the length of a history.
 */
import * as DateTime from "effect/DateTime"
import * as Either from "effect/Either"
import * as FastCheck from "effect/FastCheck"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import type * as SchemaAST from "effect/SchemaAST"
import * as Snapshot from "../../Snapshot.js"
import * as StreamId from "../../StreamId.js"
import * as Json from "../schema/json.js"
import { fromSchema } from "./arbitraries.js"
import { messageOf } from "./code.js"
import { differences, same } from "./difference.js"
import * as Generators from "./generators.js"
import { apart, type Evidence, type Line, type Problem, text, thrown, valueOf } from "./report.js"
import { type Finding, type Found, shrink } from "./shrink.js"
import { fieldsOf } from "./storage.js"
import type { History, Subject, Types } from "./subject.js"
import { type Limits, TookTooLong, within } from "./timeLimit.js"

export interface Options {
  readonly runs: number | undefined
  readonly seed: number
  readonly size: number
  readonly strict: boolean
  readonly limits: Limits
}

/** The default number of histories. */
const mostRuns = 200

/** Searches for a history of the older aggregate that the current one does not understand. */
export const find = <Old extends Types, T extends Types>(
  old: Subject<Old>,
  given: Generators.Given<Old>,
  now: Subject<T>,
  { limits, runs, seed, ...options }: Options
): Found<Types> | undefined => {
  const histories = Generators.histories(old, Generators.make(old, given, limits), given, options)
  const check = (history: History<Old>) => checkHistory(old, now, history, limits)
  const total = limits.stopwatch()
  for (let run = 0; run < (runs ?? mostRuns); run++) {
    if (runs === undefined && total() > limits.histories) return undefined
    const found = check(generate(histories, { seed, run, version: old.schemaVersion, limits }))
    if (found === undefined) continue
    const elapsed = limits.stopwatch()
    return shrink(histories, { found, seed, run, check, inTime: () => elapsed() < limits.shrinking })
  }
  return undefined
}

const generate = <A>(histories: FastCheck.Arbitrary<A>, { limits, run, seed, version }: {
  readonly seed: number
  readonly run: number
  readonly version: number
  readonly limits: Limits
}): A => {
  try {
    return within(limits.history, () => FastCheck.sample(histories, { seed, path: String(run), numRuns: 1 }))[0]
  } catch (error) {
    if (!(error instanceof TookTooLong)) throw error
    throw new Generators.NotGenerated(
      `The histories of version ${version} are not generated in time: a filter is almost never true for the generated values, ` +
        "or a generator never ends. Give AggregateLaws.previous other generators: the options `id`, `command` and `event`."
    )
  }
}

/** Checks one history of the older aggregate. */
export const checkHistory = <Old extends Types, T extends Types>(
  old: Subject<Old>,
  now: Subject<T>,
  history: History<Old>,
  limits: Limits
): Finding<Old> | undefined => {
  const log: Array<Line> = []
  const broken = (violation: Violation): Finding<Old> => ({
    history,
    log,
    problem: { law: "migrations", lines: log.length, ...violation }
  })
  try {
    const violation = within(limits.history, () => compare(old, now, history, log), () => log.splice(0))
    return violation === undefined ? undefined : broken(violation)
  } catch (error) {
    return broken(
      error instanceof TookTooLong
        ? { text: "It did not return in time.", evidence: [] }
        : { text: "It throws.", evidence: thrown(error) }
    )
  }
}

type Violation = Omit<Problem, "law" | "lines">

const compare = <Old extends Types, T extends Types>(
  old: Subject<Old>,
  now: Subject<T>,
  history: History<Old>,
  log: Array<Line>
): Violation | undefined => {
  const key = Either.getOrUndefined(old.id.encode(history.id))
  // older code never stored such an id
  if (key === undefined) return undefined
  const id = now.id.decode(key)
  if (Either.isLeft(id)) {
    return { text: "The current code refuses an id of older code.", evidence: [text("refused", id.left.message)] }
  }
  const lived = live(old, history, log)
  const events: Array<Option.Option<T["Event"]>> = []
  const states = [now.initial(id.right)]
  for (const [index, event] of lived.events.entries()) {
    const stored = Either.flatMap(old.event.encode(event), Json.stringify)
    // older code never stored such an event
    if (Either.isLeft(stored)) return undefined
    const read = readEvent(now, old.event.typeOf(event), stored.right, index + 1)
    if (Either.isLeft(read)) return read.left
    events.push(read.right)
    states.push(evolveIfAny(now, states[index], read.right))
  }
  return compareSnapshots(old, now, { events, key, oldStates: lived.states, states })
}

/** Runs a history of the older aggregate. `states[k]` is the state after k events. */
const live = <T extends Types>(
  old: Subject<T>,
  { commands, events: given, id }: History<T>,
  log: Array<Line>
): { readonly events: ReadonlyArray<T["Event"]>; readonly states: ReadonlyArray<T["State"]> } => {
  let state = old.initial(id)
  log.push({ _tag: "Initial", state })
  const events: Array<T["Event"]> = []
  const states = [state]
  const happen = (event: T["Event"], decided: boolean) => {
    state = old.evolve(state, event)
    events.push(event)
    states.push(state)
    log.push({ _tag: "Event", number: events.length, event, decided }, { _tag: "State", state })
  }
  for (const command of commands) {
    const decision = old.decide(state, command)
    if (Either.isLeft(decision)) continue
    log.push({ _tag: "Command", command })
    for (const event of decision.right) happen(event, true)
  }
  for (const event of given) happen(event, false)
  return { events, states }
}

/** Reads an event of older code with the current code. A retired event is `none`. */
const readEvent = <T extends Types>(
  { event: codec }: Subject<T>,
  type: string,
  stored: string,
  number: number
): Either.Either<Option.Option<T["Event"]>, Violation> => {
  const decode = codec.decoder(type)
  if (decode === undefined) {
    return codec.isRetired(type) ? Either.right(Option.none()) : Either.left({
      text: `Older code stored event ${number} under the type ${
        JSON.stringify(type)
      }, which the current code does not know.`,
      evidence: [text("stored", stored)],
      hint: "Add the type to the event schema or to the upcasts."
    })
  }
  return Either.mapBoth(decode(JSON.parse(stored)), {
    onRight: Option.some,
    onLeft: (error): Violation => ({
      text: `Older code stored event ${number}, and the current code cannot read it.`,
      evidence: [text("stored", stored), text("refused", error.message)],
      hint: "Add an upcast for events of that shape, or fix the existing one."
    })
  })
}

// a retired event leaves the state unchanged
const evolveIfAny = <T extends Types>(
  now: Subject<T>,
  state: T["State"],
  event: Option.Option<T["Event"]>
): T["State"] => Option.isNone(event) ? state : now.evolve(state, event.value)

const compareSnapshots = <Old extends Types, T extends Types>(
  old: Subject<Old>,
  now: Subject<T>,
  { events, key, oldStates, states }: {
    readonly key: string
    readonly oldStates: ReadonlyArray<Old["State"]>
    readonly events: ReadonlyArray<Option.Option<T["Event"]>>
    readonly states: ReadonlyArray<T["State"]>
  }
): Violation | undefined => {
  const fields = fieldsOf(now.state.schema.ast)
  for (let version = 1; version <= events.length; version++) {
    const stored = Either.flatMap(old.state.encode(oldStates[version]), Json.stringify)
    // older code never took a snapshot of such a state
    if (Either.isLeft(stored)) continue
    const migrated = migrate(old, now, key, version, stored.right)
    if (Either.isLeft(migrated)) return migrated.left
    if (Option.isNone(migrated.right)) continue
    const { value: first } = migrated.right
    const differ = (expected: T["State"], actual: T["State"], text: string): Violation | undefined => {
      const found = differences(expected, actual, fields)
      return found.length === 0 ? undefined : {
        text,
        evidence: [
          { _tag: "Text", label: "stored by older code", text: stored.right },
          valueOf("expected, by full replay", expected),
          valueOf("actual, by migration", actual),
          apart(found, "expected", "actual")
        ],
        hint: "The migration leaves something out, or disagrees with evolve about the meaning of a field."
      }
    }
    const last = events.slice(version).reduce((state, event) => evolveIfAny(now, state, event), first)
    const violation = differ(
      states[version],
      first,
      `The snapshot that older code took after event ${version} is migrated to another state than a replay gives now.`
    ) ?? differ(
      states[events.length],
      last,
      `The snapshot that older code took after event ${version} was migrated, and the events after it folded on top: ` +
        "the state differs from the state after a replay of all events."
    )
    if (violation !== undefined) return violation
  }
  return undefined
}

/** Migrates a snapshot of older code. `none`: the current code replays instead. */
const migrate = <Old extends Types, T extends Types>(
  old: Subject<Old>,
  now: Subject<T>,
  key: string,
  version: number,
  state: string
): Either.Either<Option.Option<T["State"]>, Violation> => {
  const migrated = Snapshot.decode(now, {
    stream: StreamId.make(now.name, key),
    version,
    eventId: "law",
    schemaVersion: old.schemaVersion,
    fingerprint: old.fingerprint,
    state,
    time: DateTime.toEpochMillis(DateTime.unsafeMake(0))
  })
  if (Either.isRight(migrated)) return Either.right(Option.some(migrated.right.state))
  const { left: failure } = migrated
  if (failure._tag === "SchemaDrift" && old.schemaVersion !== now.schemaVersion) {
    return Either.left({
      text:
        `The migrations name another schema for version ${old.schemaVersion} than the one that older code had, so its ` +
        "snapshots are not used.",
      evidence: [],
      hint: "Give the migrations the state schema of that version as it was."
    })
  }
  return failure._tag !== "StateDecodeError" ? Either.right(Option.none()) : Either.left({
    text: `The snapshot that older code took after event ${version} cannot be migrated.`,
    evidence: [text("stored", state), text("refused", messageOf(failure.cause))]
  })
}

/**
 * Checks migrations without the older code: some old state can be migrated, and every field that old and new states
 * share has an effect on the result.
 */
export const inspect = <T extends Types>(
  now: Subject<T>,
  reached: ReadonlyArray<T["State"]>,
  seed: number,
  limits: Limits
): Problem | undefined => {
  for (const { ast, decode, version } of now.migrations) {
    const schema = Schema.make<unknown>(ast)
    const encode = Schema.encodeEither(schema)
    const pairs: Array<Pair<T>> = []
    let refused: Evidence | undefined
    for (const state of generateStates(schema, version, seed, limits)) {
      const stored = Either.flatMap(encode(state), Json.stringify)
      if (Either.isLeft(stored)) continue
      const migrated = decode(JSON.parse(stored.right))
      if (Either.isRight(migrated)) pairs.push({ old: state, migrated: migrated.right })
      else refused = text("refused", migrated.left.message)
    }
    if (pairs.length === 0) {
      if (refused === undefined) continue
      const problem = `No state of version ${version} can be migrated.`
      return { law: "migrations", text: problem, evidence: [refused], lines: 0 }
    }
    const shared = [...topFields(ast)].filter((field) => topFields(now.state.schema.ast).has(field))
    for (const field of shared) {
      const evidence = forgottenIn(field, pairs, reached)
      if (evidence === undefined) continue
      return {
        law: "migrations",
        text:
          `The migration from version ${version} forgets the field ${
            String(field)
          }: every old value becomes the same ` +
          "new value.",
        evidence,
        hint: "Take the field over. If it means something else now, compute it from the old state.",
        lines: 0
      }
    }
  }
  return undefined
}

interface Pair<T extends Types> {
  readonly old: unknown
  readonly migrated: T["State"]
}

/** Evidence that a field is constant after the migration, though old states and replayed states vary in it. */
const forgottenIn = <T extends Types>(
  field: PropertyKey,
  pairs: ReadonlyArray<Pair<T>>,
  reached: ReadonlyArray<T["State"]>
): ReadonlyArray<Evidence> | undefined => {
  const [one, ...others] = pairs
  const other = others.find((pair) => !same(valueIn(one.old, field), valueIn(pair.old, field)))
  const isConstant = pairs.every((pair) => same(valueIn(one.migrated, field), valueIn(pair.migrated, field)))
  const varied = reached.find((state) => !same(valueIn(one.migrated, field), valueIn(state, field)))
  if (other === undefined || !isConstant || varied === undefined) return undefined
  return [
    valueOf("an old state", one.old),
    valueOf("is migrated to", one.migrated),
    valueOf("another one", other.old),
    valueOf("is migrated to", other.migrated),
    valueOf("a replay can reach", varied)
  ]
}

const generateStates = (
  schema: Schema.Schema<unknown>,
  version: number,
  seed: number,
  limits: Limits
): ReadonlyArray<unknown> => {
  try {
    return within(limits.history, () => FastCheck.sample(fromSchema(Schema.typeSchema(schema)), { numRuns: 100, seed }))
  } catch (error) {
    throw new Generators.NotGenerated(
      `States of version ${version} could not be generated from the schema that the migrations name: ` +
        `${error instanceof TookTooLong ? "they were not generated in time" : messageOf(error)}. ` +
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
