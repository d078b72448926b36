import * as Either from "effect/Either"
import * as FastCheck from "effect/FastCheck"
import type * as ParseResult from "effect/ParseResult"
import * as Schema from "effect/Schema"
import * as AST from "effect/SchemaAST"
import type * as Aggregate from "../../Aggregate.js"
import { maxIdBytes } from "../../StreamId.js"
import * as Json from "../json.js"
import { safely } from "../safely.js"
import { keyProblem } from "../text.js"
import { fromSchema } from "./arbitraries.js"
import { toCode } from "./code.js"
import { objectionsIn } from "./objections.js"
import { TookTooLong, within } from "./timeLimit.js"

/**
 * A run of an aggregate: commands that are decided in turn, then events that happened whatever anybody decides.
 *
 * @internal
 */
export interface History<out Id, out Command, out Event> {
  readonly id: Id
  readonly commands: ReadonlyArray<Command>
  readonly events: ReadonlyArray<Event>
}

/** @internal */
export interface Generators<Id, Command, Event> {
  readonly id: FastCheck.Arbitrary<Id>
  /** Tried out when it is asked for: a history of events needs none. */
  readonly command: () => FastCheck.Arbitrary<Command>
  readonly event: FastCheck.Arbitrary<Event>
  /** The events by stored type, where they come from the schema. */
  readonly byType: ReadonlyMap<string, FastCheck.Arbitrary<Event>>
}

interface Given<Id, Command, Event> {
  readonly id?: FastCheck.Arbitrary<Id> | undefined
  readonly command?: FastCheck.Arbitrary<Command> | undefined
  readonly event?: FastCheck.Arbitrary<Event> | undefined
}

/**
 * What keeps the histories of an aggregate from being generated, said to its author.
 *
 * @internal
 */
export class NotGenerated extends Error {}

/**
 * The generators of an aggregate, each of them tried out: one that would never end is found here, not by the run that hangs.
 *
 * @internal
 */
export const make = <Name extends string, Id, State, Event, Command, Rejection>(
  aggregate: Aggregate.Aggregate<Name, Id, State, Event, Command, Rejection>,
  given: Given<Id, Command, Event>
): Generators<Id, Command, Event> => {
  const tried = <A>(
    what: string,
    option: string,
    schema: Schema.Schema<A>,
    arbitrary: FastCheck.Arbitrary<A> | undefined
  ): FastCheck.Arbitrary<A> => {
    if (arbitrary !== undefined) {
      const problem = tryOut(() => arbitrary)
      if (problem !== undefined) {
        throw new NotGenerated(`The generator that was given as \`${option}\` does not work: ${problem.text}`)
      }
      const wrong = refusedOf(schema, arbitrary)
      if (wrong === undefined) return arbitrary
      throw new NotGenerated(
        `The generator that was given as \`${option}\` gives values that the ${option} schema refuses.\n\n${wrong}`
      )
    }
    if (schema.ast._tag === "NeverKeyword") {
      throw new NotGenerated(
        `There is no ${what}: its schema allows nothing.` +
          (option === "command"
            ? " Try the laws with any events in any order (the option `histories: \"events\"`)."
            : "")
      )
    }
    const problem = tryOut(() => fromSchema(schema))
    if (problem === undefined) return fromSchema(schema)
    throw new NotGenerated(notGenerated(what, option, ofItsOwn(pinpoint(schema.ast, [], problem))))
  }

  const { event: codec, state } = aggregate
  // one by one, so that the message names the event
  const members = given.event === undefined ? membersOf(codec.schema.ast) : []
  const byType = new Map(members.map((ast) => {
    const event = tried(`event ${JSON.stringify(tagOf(ast))}`, "event", Schema.make<Event>(ast), undefined)
    const [sample] = FastCheck.sample(event, { numRuns: 1, seed: 1 })
    return [codec.typeOf(sample), event]
  }))
  const event = byType.size === 0
    ? tried("event", "event", codec.schema, given.event)
    : FastCheck.oneof(...byType.values())
  const command = () => tried("command", "command", aggregate.command, given.command)
  const id = storableIds(aggregate, tried("id", "id", aggregate.id.schema, given.id))

  for (const value of FastCheck.sample(event, { numRuns: 20, seed: 1 })) {
    const stored = codec.encode(value)
    notSynchronous(`The schema of event ${JSON.stringify(codec.typeOf(value))}`, value, stored)
    if (Either.isRight(stored)) {
      const read = codec.decoder(codec.typeOf(value))?.(stored.right)
      if (read !== undefined) notSynchronous(`The schema of event ${JSON.stringify(codec.typeOf(value))}`, value, read)
    }
  }
  for (const value of FastCheck.sample(id, { numRuns: 1, seed: 1 })) {
    const initial = Either.try(() => aggregate.initial(value))
    if (Either.isRight(initial)) notSynchronous("The state schema", initial.right, state.encode(initial.right))
  }
  return { id, command, event, byType }
}

/** How long a handful of values may take, in milliseconds. */
const patience = 2_000

interface Problem {
  readonly text: string
  readonly remedy?: string | undefined
  readonly example?: string | undefined
}

const tryOut = (make: () => FastCheck.Arbitrary<unknown>, millis: number = patience): Problem | undefined => {
  try {
    within(millis, () => FastCheck.sample(make(), { numRuns: 20, seed: 1 }))
    return undefined
  } catch (error) {
    if (error instanceof TookTooLong) {
      return {
        text: "a handful of values did not come in time. Either a filter is almost never true for what is generated, " +
          "or the generator never ends."
      }
    }
    if (error instanceof RangeError && /call stack/.test(error.message)) {
      return {
        text: "it contains itself and never ends: no value of it is finite, or hardly any.",
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

// one that ends only at first is found by the runs
const sampleInTime = <A>(arbitrary: FastCheck.Arbitrary<A>): ReadonlyArray<A> => {
  try {
    return within(patience, () => FastCheck.sample(arbitrary, { numRuns: 20, seed: 1 }))
  } catch (error) {
    if (error instanceof TookTooLong) return []
    throw error
  }
}

// what a generator gives that the schema refuses
const refusedOf = <A>(schema: Schema.Schema<A>, arbitrary: FastCheck.Arbitrary<unknown>): string | undefined => {
  for (const value of sampleInTime(arbitrary)) {
    const valid = safely(Schema.validateEither(schema))(value)
    if (Either.isLeft(valid)) return `  the value:  ${toCode(value)}\n  refused ${objectionsIn(valid.left)}`
  }
  return undefined
}

// a filter drops in silence what the generator of its own schema gives
const ofItsOwn = (problem: Pinpointed): Pinpointed => {
  const { ast } = problem
  const annotation: unknown = ast.annotations[AST.ArbitraryAnnotationId]
  if (ast._tag !== "Refinement" || typeof annotation !== "function") return problem
  try {
    const refused = within(patience / 4, () => {
      const from: unknown = annotation(() => fromSchema(Schema.make<unknown>(ast.from)), { maxDepth: 2 })
      const arbitrary: unknown = typeof from === "function" ? from(FastCheck) : undefined
      return isArbitrary(arbitrary) ? refusedOf(Schema.make<unknown>(ast), arbitrary) : undefined
    })
    return refused === undefined ? problem : {
      ...problem,
      text: "the `arbitrary` that it is annotated with gives values that the schema itself refuses.",
      example: refused,
      remedy: "Let that generator keep to what the schema says."
    }
  } catch {
    return problem
  }
}

const isArbitrary = (value: unknown): value is FastCheck.Arbitrary<unknown> => value instanceof FastCheck.Arbitrary

/**
 * Which schema it is that takes so long to generate.
 *
 * @internal
 */
export const slowest = <Name extends string, Id, State, Event, Command, Rejection>(
  aggregate: Aggregate.Aggregate<Name, Id, State, Event, Command, Rejection>,
  given: Given<Id, Command, Event>,
  option: "id" | "command" | "event",
  seconds: number
): NotGenerated => {
  const soon = `histories do not come within ${seconds} seconds`
  if (given[option] !== undefined) {
    return new NotGenerated(
      `The generator that was given as \`${option}\` does not work: ${soon}. Either a filter of it is almost never ` +
        "true, or it never ends."
    )
  }
  const whole = option === "id" ? aggregate.id.schema.ast : option === "command" ? aggregate.command.ast : undefined
  const candidates = whole === undefined ? membersOf(aggregate.event.schema.ast) : membersOf(whole)
  const [ast] = dearest(candidates.map((ast) => [[], ast]))
  const name = tagOf(ast[1])
  return new NotGenerated(notGenerated(
    name === undefined ? option : `${option} ${JSON.stringify(name)}`,
    option,
    descend(ast[1], [], {
      text: `${soon}, as a filter is almost never true for what is generated, or the generator hardly ever ends.`
    })
  ))
}

type Part = readonly [steps: ReadonlyArray<PropertyKey>, ast: AST.AST]

const dearest = (parts: ReadonlyArray<Part>): readonly [Part, ...ReadonlyArray<number>] => {
  const costs = parts.map(([, ast]) => costOf(ast))
  const cost = Math.max(...costs)
  return [parts[costs.indexOf(cost)], cost]
}

const descend = (ast: AST.AST, path: ReadonlyArray<PropertyKey>, problem: Problem): Pinpointed => {
  const parts = path.length < 8 ? partsOf(ast) : []
  if (parts.length > 0) {
    const [[steps, child], cost] = dearest(parts)
    // a list holds several, and a filter tries more than that
    if (cost > costOf(ast) / 20) return descend(child, [...path, ...steps], problem)
  }
  return ofItsOwn({ ...problem, ast, path })
}

/** Milliseconds for one value. */
const costOf = (ast: AST.AST): number => {
  const started = performance.now()
  let made = 0
  try {
    within(300, () => {
      const arbitrary = fromSchema(Schema.make<unknown>(ast))
      while (made < 50 && performance.now() - started < 200) {
        FastCheck.sample(arbitrary, { numRuns: 1, seed: made })
        made++
      }
    })
  } catch {
    // what does not end is the dearest
  }
  return (performance.now() - started) / Math.max(made, 0.01)
}

type Pinpointed = Problem & { readonly ast: AST.AST; readonly path: ReadonlyArray<PropertyKey> }

// the innermost schema that has the problem
const pinpoint = (
  ast: AST.AST,
  path: ReadonlyArray<PropertyKey>,
  problem: Problem
): Pinpointed => {
  if (path.length < 8) {
    for (const [steps, child] of partsOf(ast)) {
      const inner = tryOut(() => fromSchema(Schema.make<unknown>(child)), patience / 5)
      if (inner !== undefined) return pinpoint(child, [...path, ...steps], inner)
    }
  }
  return { ...problem, ast, path }
}

const partsOf = (
  ast: AST.AST
): ReadonlyArray<readonly [steps: ReadonlyArray<PropertyKey>, ast: AST.AST]> => {
  switch (ast._tag) {
    case "TypeLiteral":
      return [
        ...ast.propertySignatures.map((property) => [[property.name], property.type] as const),
        ...ast.indexSignatures.map((index) => [["*"], index.type] as const)
      ]
    case "TupleType":
      return [
        ...ast.elements.map((element, index) => [[index], element.type] as const),
        ...ast.rest.map((rest) => [["*"], rest.type] as const)
      ]
    case "Union":
      return ast.types.map((type) => [[], type])
    case "Declaration":
      return ast.typeParameters.map((type) => [[], type])
    case "Refinement":
      return [[[], ast.from]]
    case "Transformation":
      return [[[], ast.to]]
    default:
      // what a suspended schema holds is what holds it
      return []
  }
}

const notGenerated = (
  what: string,
  option: string,
  problem: Pinpointed
): string => {
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

const storableIds = <Name extends string, Id, State, Event, Command, Rejection>(
  aggregate: Aggregate.Aggregate<Name, Id, State, Event, Command, Rejection>,
  ids: FastCheck.Arbitrary<Id>
): FastCheck.Arbitrary<Id> => {
  const problemOf = (id: Id): string | undefined =>
    Either.match(aggregate.id.encode(id), {
      onLeft: (error) => {
        notSynchronous("The id schema", id, Either.left(error))
        return error.message
      },
      onRight: (key) => keyProblem(key, maxIdBytes)
    })
  const storable = ids.filter((id) => problemOf(id) === undefined)
  if (tryOut(() => storable) === undefined) return storable
  const [example] = FastCheck.sample(ids, { numRuns: 1, seed: 1 })
  throw new NotGenerated(
    `Hardly any of the generated ids can name a stream: ${toCode(example)} ${problemOf(example)}.\n` +
      `Annotate the id schema with an \`arbitrary\`, or give the laws a generator: the option \`id\`.`
  )
}

const notSynchronous = (what: string, value: unknown, result: Either.Either<unknown, ParseResult.ParseError>): void => {
  if (Either.isRight(result)) return
  const problem = unusual(result.left)
  if (problem !== undefined) {
    throw new NotGenerated(`${what} ${problem}\n\n  the value:  ${toCode(value)}`)
  }
}

/**
 * What is wrong with a schema that did not just refuse a value.
 *
 * @internal
 */
export const unusual = (error: ParseResult.ParseError): string | undefined => {
  if (mentions(error.issue, (issue) => issue._tag === "Forbidden")) {
    return "is effectful: it cannot be encoded and decoded synchronously, and events and states are. " +
      "Use transformations that return their result at once (Schema.transform, or Schema.transformOrFail with " +
      "ParseResult.succeed and ParseResult.fail), and do the rest before the command."
  }
  const threw = /the schema threw (.*)/.exec(error.message)
  return threw === null ? undefined : `threw ${threw[1]}: a schema that refuses a value must say so with ` +
    "ParseResult.fail (in Schema.transformOrFail) or with a filter, and never throw."
}

const mentions = (issue: ParseResult.ParseIssue, wanted: (issue: ParseResult.ParseIssue) => boolean): boolean => {
  if (wanted(issue)) return true
  switch (issue._tag) {
    case "Pointer":
    case "Refinement":
    case "Transformation":
      return mentions(issue.issue, wanted)
    case "Composite": {
      const issues = "_tag" in issue.issues ? [issue.issues] : issue.issues
      return issues.some((inner) => mentions(inner, wanted))
    }
    default:
      return false
  }
}

const membersOf = (ast: AST.AST): ReadonlyArray<AST.AST> =>
  ast._tag === "Union" ? ast.types.flatMap(membersOf) : ast._tag === "Suspend" ? membersOf(ast.f()) : [ast]

const tagOf = (ast: AST.AST): string | undefined => {
  switch (ast._tag) {
    case "Refinement":
      return tagOf(ast.from)
    case "Transformation":
      return tagOf(ast.to)
    case "Suspend":
      return tagOf(ast.f())
    case "Declaration":
      return ast.typeParameters.length === 1 ? tagOf(ast.typeParameters[0]) : undefined
    case "TypeLiteral": {
      const tag = ast.propertySignatures.find((property) => property.name === "_tag")
      return tag?.type._tag === "Literal" && typeof tag.type.literal === "string" ? tag.type.literal : undefined
    }
    default:
      return undefined
  }
}
