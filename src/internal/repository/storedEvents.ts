import * as Either from "effect/Either"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as AST from "effect/SchemaAST"
import type * as Aggregate from "../../Aggregate.js"
import { membersOf } from "../schema/eventCodec.js"
import * as Json from "../schema/json.js"
import { reason } from "../schema/reason.js"

export interface Stored<out Event> {
  readonly type: string
  /** The encoded event, as a replay will decode it. */
  readonly payload: unknown
  /** The payload as it is stored. */
  readonly text: string
  readonly event: Event
}

export interface Decided<out State, out Event> {
  readonly _tag: "Decided"
  readonly state: State
  readonly events: ReadonlyArray<Stored<Event>>
}

export type Decision<State, Event, Rejection> =
  | Decided<State, Event>
  | { readonly _tag: "Rejected"; readonly rejection: Rejection }
  /** The command at this position, from 1 on, does not match the command schema. */
  | { readonly _tag: "Invalid"; readonly index: number; readonly command: unknown; readonly cause: unknown }
  | (
    & { readonly _tag: "Unstorable"; readonly command: unknown; readonly index: number; readonly type: string }
    & Unstorable
  )

/** The part of an aggregate that decides commands. */
export interface Decider<in out State, in out Event, in out Command, out Rejection> {
  readonly name: string
  readonly event: Aggregate.EventCodec<Event>
  readonly command: Schema.Schema<Command>
  readonly evolve: (state: State, event: Event) => State
  readonly decide: (state: State, command: Command) => Either.Either<ReadonlyArray<Event>, Rejection>
}

/**
 * Decides commands as `Aggregate.decide` does, and folds each event as a replay will decode it. A schema may change a
 * value on its way through the store: a field that is undefined is absent after it. A state folded from the events as they
 * were decided could thus differ from the replayed one, and so could its snapshot.
 */
export const decideStored = <State, Event, Command, Rejection>(
  aggregate: Decider<State, Event, Command, Rejection>,
  state: State,
  commands: ReadonlyArray<Command>
): Decision<State, Event, Rejection> => {
  const given = listOf(commands)
  if (given === undefined) {
    const cause = new TypeError("the commands are not an array that can be read")
    return { _tag: "Invalid", index: 1, command: commands, cause }
  }
  const events: Array<Stored<Event>> = []
  let current = state
  for (const [index, command] of given.entries()) {
    let decision: Either.Either<ReadonlyArray<Event>, Rejection>
    try {
      decision = aggregate.decide(current, command)
      if (!Either.isEither(decision)) throw new TypeError(`decide of ${aggregate.name} did not return an Either`)
    } catch (cause) {
      // the command is checked only now: the check costs as much as the decision, and typed programs do not need it
      if (isCommand(aggregate.command, command)) throw cause
      return { _tag: "Invalid", index: index + 1, command, cause }
    }
    if (Either.isLeft(decision)) return { _tag: "Rejected", rejection: decision.left }
    for (const event of decision.right) {
      const stored = store(aggregate.event, event)
      if (Either.isLeft(stored)) {
        const type = tagOf(event)
        return { _tag: "Unstorable", command, index: events.length + 1, type, ...stored.left }
      }
      current = aggregate.evolve(current, stored.right.event)
      events.push(stored.right)
    }
  }
  return { _tag: "Decided", state: current, events }
}

/** Reads the commands, once. Untyped code may give another value, and an array may be a proxy or have accessors. */
const listOf = <Command>(commands: ReadonlyArray<Command>): ReadonlyArray<Command> | undefined => {
  try {
    return Array.isArray(commands) ? Array.from<Command>(commands) : undefined
  } catch {
    return undefined
  }
}

/** The tag of a command or an event, for messages. */
export const tagOf = (value: unknown): string => {
  if (value === null) return "null"
  if (typeof value !== "object") return typeof value
  try {
    const tag: unknown = Object.getOwnPropertyDescriptor(value, "_tag")?.value
    return typeof tag === "string" ? tag : "an object without a _tag"
  } catch {
    // a proxy may reject even that
    return "an object that cannot be read"
  }
}

// the type of a class accepts any record with its fields, so that a command may be such a record
const isCommand = <Command>(schema: Schema.Schema<Command>, command: unknown): boolean => {
  try {
    return membersOf(schema.ast).some((ast) =>
      Schema.is(Schema.make(Option.getOrElse(AST.getSurrogateAnnotation(ast), () => ast)))(command)
    )
  } catch {
    // too deep, or a refinement that throws
    return false
  }
}

export interface Unstorable {
  readonly problem: string
  readonly cause: unknown
}

/** Encodes an event and decodes it again, as a replay will do. */
export const store = <Event>(
  codec: Aggregate.EventCodec<Event>,
  event: Event
): Either.Either<Stored<Event>, Unstorable> => {
  try {
    return storeStrictly(codec, event)
  } catch (cause) {
    const overflow = Json.overflow(cause, event)
    if (overflow === undefined) throw cause
    return Either.left({ problem: `does not encode to JSON: ${overflow.path} ${overflow.reason}`, cause })
  }
}

const storeStrictly = <Event>(
  codec: Aggregate.EventCodec<Event>,
  event: Event
): Either.Either<Stored<Event>, Unstorable> => {
  const refuse = (problem: string, cause?: unknown) => Either.left({ problem, cause })
  const encoded = codec.encode(event)
  if (Either.isLeft(encoded)) {
    // a schema follows a cycle until the stack is full
    const cycle = Json.cycle(event)
    const problem = cycle === undefined ? reason(encoded.left) : `${cycle.path} ${cycle.reason}`
    return refuse(`does not encode: ${problem}`, encoded.left)
  }
  const lost = encoded.right === event ? undefined : firstLostKey(event, encoded.right)
  if (lost !== undefined) return refuse(`cannot keep ${lost}: its schema drops a key of that name`)
  const text = Json.stringify(encoded.right)
  if (Either.isLeft(text)) return refuse(`does not encode to JSON: ${text.left.path} ${text.left.reason}`)
  const payload: unknown = JSON.parse(text.right)
  const type = codec.typeOf(event)
  const decode = codec.decoder(type)
  // parsed a second time: a decoder may keep its input, and a change that `evolve` makes must not get into the store
  const decoded = decode?.(JSON.parse(text.right))
  if (decoded === undefined) return refuse(`has a type, ${type}, that nothing reads`)
  return Either.isLeft(decoded)
    ? refuse(`is not read back by its own schema: ${reason(decoded.left)}`, decoded.left)
    : Either.right({ type, payload, text: text.right, event: decoded.right })
}

const firstLostKey = (event: unknown, encoded: unknown): string | undefined => {
  try {
    return lostKey(event, encoded, [])
  } catch {
    // a cycle, or an accessor that throws: JSON names its path
    return undefined
  }
}

// a record schema assigns its keys, and an assignment to this one creates no property
const lostKey = (event: unknown, encoded: unknown, path: ReadonlyArray<PropertyKey>): string | undefined => {
  if (typeof event !== "object" || event === null || typeof encoded !== "object" || encoded === null) return undefined
  if (Object.hasOwn(event, "__proto__") && !Object.hasOwn(encoded, "__proto__")) {
    return Json.formatPath([...path, "__proto__"])
  }
  const fields = new Map<string, unknown>(Object.entries(encoded))
  for (const [key, field] of Object.entries(event)) {
    if (typeof field !== "object" || field === null) continue
    const lost = lostKey(field, fields.get(key), [...path, key])
    if (lost !== undefined) return lost
  }
  return undefined
}
