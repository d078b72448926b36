import * as Either from "effect/Either"
import * as FastCheck from "effect/FastCheck"
import type * as ParseResult from "effect/ParseResult"
import * as Schema from "effect/Schema"
import * as AST from "effect/SchemaAST"
import { maxIdBytes } from "../../StreamId.js"
import { membersOf, tagOf } from "../schema/eventCodec.js"
import * as Json from "../schema/json.js"
import { safely } from "../schema/safely.js"
import * as Visits from "../schema/visits.js"
import { keyProblem } from "../text.js"
import { fromSchema, related } from "./arbitraries.js"
import { toCode } from "./code.js"
import { objectionsIn, unusual } from "./objections.js"
import type { History, Subject, Types } from "./subject.js"
import { type Limits, TookTooLong, within } from "./timeLimit.js"

export interface Generators<T extends Types> {
  readonly id: FastCheck.Arbitrary<T["Id"]>
  /** Tried out when it is called: a history of events needs no commands. */
  readonly command: () => FastCheck.Arbitrary<T["Command"]>
  readonly event: FastCheck.Arbitrary<T["Event"]>
  /** The events by stored type, where they are generated from the schema. */
  readonly byType: ReadonlyMap<string, FastCheck.Arbitrary<T["Event"]>>
}

/** The generators that a test gives. The others are made from the schemas. */
export interface Given<T extends Types> {
  /** Default: from the id schema. */
  readonly id?: FastCheck.Arbitrary<T["Id"]> | undefined
  /** Default: from the command schema. */
  readonly command?: FastCheck.Arbitrary<T["Command"]> | undefined
  /** Default: from the event schema. */
  readonly event?: FastCheck.Arbitrary<T["Event"]> | undefined
}

/**
 * The histories could not be generated. The message names the schema that prevents it and the annotation that helps.
 *
 * @example
 * ```ts
 * import { AggregateLaws } from "effect-eventsourcing/testing"
 *
 * const needsGenerator = (error: unknown) => error instanceof AggregateLaws.NotGenerated
 * ```
 *
 * @since 0.1.0
 * @category errors
 */
export class NotGenerated extends Error {
  override readonly name = "NotGenerated"
}

/** Makes the generators and tries each of them, to find one that never ends. */
export const make = <T extends Types>(
  subject: Subject<T>,
  given: Given<T>,
  { values: millis }: Limits
): Generators<T> => {
  const { event: codec } = subject
  // one at a time, so that the message names the event
  const members = given.event === undefined ? membersOf(codec.schema.ast) : []
  const byType = new Map(members.map((ast) => {
    const schema = Schema.make<T["Event"]>(ast)
    const event = tried({ what: `event ${JSON.stringify(tagOf(ast))}`, option: "event", schema, millis })
    const [sample] = FastCheck.sample(event, { numRuns: 1, seed: 1 })
    return [codec.typeOf(sample), event]
  }))
  const event = byType.size === 0
    ? tried({ what: "event", option: "event", schema: codec.schema, given: given.event, millis })
    : FastCheck.oneof(...byType.values())
  const command = () =>
    tried({ what: "command", option: "command", schema: subject.command, given: given.command, millis })
  const ids = tried({ what: "id", option: "id", schema: subject.id.schema, given: given.id, millis })
  const id = storableIds(subject, ids, millis)
  refuseUnusual(subject, event, id)
  return { id, command, event, byType }
}

/**
 * Makes the histories: lists of commands, or of events where every event is to be checked. A list that is generated
 * from a schema repeats values, so that one item refers to another.
 */
export const histories = <T extends Types>(
  subject: Subject<T>,
  generators: Generators<T>,
  given: Given<T>,
  { size, strict }: { readonly size: number; readonly strict: boolean }
): FastCheck.Arbitrary<History<T>> => {
  const none = FastCheck.constant([])
  const list = <A>(item: FastCheck.Arbitrary<A>, isGiven: boolean, schema: Schema.Schema<A>, maxLength: number) =>
    isGiven
      ? FastCheck.array(item, { maxLength, size: "max" })
      : related(item, { maxLength, isValid: Schema.is(schema) })
  return FastCheck.record({
    id: generators.id,
    // twice as many commands as events, as some of them are rejected
    commands: strict ? none : list(generators.command(), given.command !== undefined, subject.command, size * 2),
    events: strict ? list(generators.event, given.event !== undefined, subject.event.schema, size) : none
  })
}

/** Gives the generator of the test or of the schema, if it makes values in time. */
const tried = <A>({ given, millis, option, schema, what }: {
  readonly what: string
  readonly option: string
  readonly schema: Schema.Schema<A>
  readonly given?: FastCheck.Arbitrary<A> | undefined
  readonly millis: number
}): FastCheck.Arbitrary<A> => {
  if (given !== undefined) {
    const problem = tryOut(() => given, millis)
    if (problem !== undefined) {
      throw new NotGenerated(`The generator that was given as \`${option}\` does not work: ${problem.text}`)
    }
    const wrong = refusedOf(schema, given, millis)
    if (wrong === undefined) return given
    throw new NotGenerated(
      `The generator that was given as \`${option}\` gives values that the ${option} schema refuses.\n\n${wrong}`
    )
  }
  if (schema.ast._tag === "NeverKeyword") {
    throw new NotGenerated(
      `There is no ${what}: its schema allows no value.` +
        (option === "command" ? " Check the laws on any events in any order (the option `histories: \"events\"`)." : "")
    )
  }
  const problem = tryOut(() => fromSchema(schema), millis)
  if (problem === undefined) return fromSchema(schema)
  throw new NotGenerated(notGenerated(what, option, ofItsOwn(pinpoint(schema.ast, [], problem, millis), millis)))
}

const refuseUnusual = <T extends Types>(
  { event: codec, initial, state }: Subject<T>,
  events: FastCheck.Arbitrary<T["Event"]>,
  ids: FastCheck.Arbitrary<T["Id"]>
): void => {
  for (const value of FastCheck.sample(events, { numRuns: 20, seed: 1 })) {
    const type = codec.typeOf(value)
    const stored = codec.encode(value)
    const read = Either.isRight(stored) ? codec.decoder(type)?.(stored.right) : stored
    if (read !== undefined) notSynchronous(`The schema of event ${JSON.stringify(type)}`, value, read)
  }
  const [id] = FastCheck.sample(ids, { numRuns: 1, seed: 1 })
  const first = Either.try(() => initial(id))
  if (Either.isRight(first)) notSynchronous("The state schema", first.right, state.encode(first.right))
}

interface Problem {
  readonly text: string
  readonly remedy?: string | undefined
  readonly example?: string | undefined
}

const tryOut = (make: () => FastCheck.Arbitrary<unknown>, millis: number): Problem | undefined => {
  try {
    within(millis, () => FastCheck.sample(make(), { numRuns: 20, seed: 1 }))
    return undefined
  } catch (error) {
    if (error instanceof TookTooLong) {
      return {
        text:
          "a handful of values did not come in time. Either a filter is almost never true for the generated values, " +
          "or the generator never ends."
      }
    }
    if (error instanceof RangeError && /call stack/.test(error.message)) {
      return {
        text: "it contains itself and never ends: none of its values is finite, or hardly any.",
        remedy:
          "Give the recursion an end: an array, an optional field, or a union with a member that does not recurse."
      }
    }
    const message = error instanceof Error ? error.message : String(error)
    return /^Missing annotation/.test(message)
      ? { text: "effect does not know how to generate it: it is declared by hand." }
      : { text: `its generator, or a filter of it, threw ${message}` }
  }
}

// a generator that hangs later is found by the histories
const sampleInTime = <A>(arbitrary: FastCheck.Arbitrary<A>, millis: number): ReadonlyArray<A> => {
  try {
    return within(millis, () => FastCheck.sample(arbitrary, { numRuns: 20, seed: 1 }))
  } catch (error) {
    if (error instanceof TookTooLong) return []
    throw error
  }
}

/** Finds a generated value that the schema refuses. */
const refusedOf = <A>(
  schema: Schema.Schema<A>,
  arbitrary: FastCheck.Arbitrary<unknown>,
  millis: number
): string | undefined => {
  for (const value of sampleInTime(arbitrary, millis)) {
    const valid = safely(schema, Schema.validateEither(schema))(value)
    if (Either.isLeft(valid)) return `  the value:  ${toCode(value)}\n  refused ${objectionsIn(valid.left)}`
  }
  return undefined
}

// a filter silently drops the invalid values of the generator that annotates it
const ofItsOwn = (problem: Pinpointed, millis: number): Pinpointed => {
  const { ast } = problem
  const annotation: unknown = ast.annotations[AST.ArbitraryAnnotationId]
  if (ast._tag !== "Refinement" || typeof annotation !== "function") return problem
  try {
    const refused = within(millis / 4, () => {
      const from: unknown = annotation(() => fromSchema(Schema.make<unknown>(ast.from)), { maxDepth: 2 })
      const arbitrary: unknown = typeof from === "function" ? from(FastCheck) : undefined
      return isArbitrary(arbitrary) ? refusedOf(Schema.make<unknown>(ast), arbitrary, millis / 4) : undefined
    })
    return refused === undefined ? problem : {
      ...problem,
      text: "the `arbitrary` that it is annotated with gives values that the schema itself refuses.",
      example: refused,
      remedy: "Let that generator give only values that the schema allows."
    }
  } catch {
    return problem
  }
}

const isArbitrary = (value: unknown): value is FastCheck.Arbitrary<unknown> => value instanceof FastCheck.Arbitrary

/** Finds the schema that takes most of the time to generate. */
export const slowest = <T extends Types>(
  subject: Subject<T>,
  given: Given<T>,
  option: "id" | "command" | "event",
  seconds: number,
  limits: Limits
): NotGenerated => {
  const soon = `histories are not generated within ${seconds} ${seconds === 1 ? "second" : "seconds"}`
  if (given[option] !== undefined) {
    return new NotGenerated(
      `The generator that was given as \`${option}\` does not work: ${soon}. Either a filter of it is almost never ` +
        "true, or it never ends."
    )
  }
  const whole = option === "id" ? subject.id.schema.ast : option === "command" ? subject.command.ast : undefined
  const candidates = whole === undefined ? membersOf(subject.event.schema.ast) : membersOf(whole)
  const { part: [, ast] } = mostExpensive(candidates.map((ast) => [[], ast]), limits)
  const name = tagOf(ast)
  return new NotGenerated(notGenerated(
    name === undefined ? option : `${option} ${JSON.stringify(name)}`,
    option,
    descend(ast, [], {
      text: `${soon}, as a filter is almost never true for the generated values, or the generator hardly ever ends.`
    }, limits)
  ))
}

type Part = Visits.Place

const mostExpensive = (parts: ReadonlyArray<Part>, limits: Limits): { readonly part: Part; readonly cost: number } =>
  parts.map((part) => ({ part, cost: costOf(part[1], limits) }))
    .reduce((most, next) => next.cost > most.cost ? next : most)

const descend = (ast: AST.AST, path: ReadonlyArray<PropertyKey>, problem: Problem, limits: Limits): Pinpointed => {
  const parts = path.length < 8 ? partsOf(ast) : []
  if (parts.length > 0) {
    const { cost, part: [steps, child] } = mostExpensive(parts, limits)
    // a list makes several values, and a filter tries several
    if (cost > costOf(ast, limits) / 20) return descend(child, [...path, ...steps], problem, limits)
  }
  return ofItsOwn({ ...problem, ast, path }, limits.values)
}

/** Measures the milliseconds for one value. */
const costOf = (ast: AST.AST, { stopwatch, values: millis }: Limits): number => {
  const elapsed = stopwatch()
  let made = 0
  try {
    within(millis / 7, () => {
      const arbitrary = fromSchema(Schema.make<unknown>(ast))
      while (made < 50 && elapsed() < millis / 10) {
        FastCheck.sample(arbitrary, { numRuns: 1, seed: made })
        made++
      }
    })
  } catch {
    // a generator that never ends is the most expensive
  }
  return elapsed() / Math.max(made, 0.01)
}

type Pinpointed = Problem & { readonly ast: AST.AST; readonly path: ReadonlyArray<PropertyKey> }

/** Finds the innermost schema that has the problem. */
const pinpoint = (ast: AST.AST, path: ReadonlyArray<PropertyKey>, problem: Problem, millis: number): Pinpointed => {
  if (path.length < 8) {
    for (const [steps, child] of partsOf(ast)) {
      const inner = tryOut(() => fromSchema(Schema.make<unknown>(child)), millis / 4)
      if (inner !== undefined) return pinpoint(child, [...path, ...steps], inner, millis)
    }
  }
  return { ...problem, ast, path }
}

const partsOf = (ast: AST.AST): ReadonlyArray<Part> => {
  if (ast._tag === "Transformation") return [[[], ast.to]]
  // a suspended schema refers back to one of its parents
  return ast._tag === "Suspend" ? [] : Visits.placesOf(ast)
}

const notGenerated = (what: string, option: string, problem: Pinpointed): string => {
  const name = String(problem.ast)
  const subject = problem.path.length === 0 ? "" : ` at ${Json.formatPath(problem.path)}`
  return [
    `No ${what} could be generated${subject}: ${problem.text}`,
    "",
    `  the schema${subject}:  ${name.length > 200 ? `${name.slice(0, 197)}...` : name}`,
    ...(problem.example === undefined ? [] : [problem.example]),
    "",
    problem.remedy ?? "Say how to make one, where that schema is defined:",
    ...(problem.remedy === undefined ? [] : ["Or say how to make one, where that schema is defined:"]),
    "",
    "  .annotations({ arbitrary: () => (fc) => fc.constantFrom(/* some values */) })",
    "",
    `or give the laws a generator of whole ${option === "id" ? "ids" : `${option}s`}: the option \`${option}\`.`
  ].join("\n")
}

const storableIds = <T extends Types>(
  subject: Subject<T>,
  ids: FastCheck.Arbitrary<T["Id"]>,
  millis: number
): FastCheck.Arbitrary<T["Id"]> => {
  const problemOf = (id: T["Id"]): string | undefined =>
    Either.match(subject.id.encode(id), {
      onLeft: (error) => {
        notSynchronous("The id schema", id, Either.left(error))
        return error.message
      },
      onRight: (key) => keyProblem(key, maxIdBytes)
    })
  const storable = ids.filter((id) => problemOf(id) === undefined)
  if (tryOut(() => storable, millis) === undefined) return storable
  const [example] = FastCheck.sample(ids, { numRuns: 1, seed: 1 })
  throw new NotGenerated(
    `Hardly any of the generated ids can name a stream: ${toCode(example)} ${problemOf(example)}.\n` +
      `Annotate the id schema with an \`arbitrary\`, or give the laws a generator: the option \`id\`.`
  )
}

const notSynchronous = (what: string, value: unknown, result: Either.Either<unknown, ParseResult.ParseError>): void => {
  if (Either.isRight(result)) return
  const problem = unusual(result.left)
  if (problem !== undefined) throw new NotGenerated(`${what} ${problem}\n\n  the value:  ${toCode(value)}`)
}
