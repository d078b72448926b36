import * as Either from "effect/Either"
import type * as Aggregate from "../Aggregate.js"
import * as Json from "./json.js"
import { reason } from "./reason.js"

/** @internal */
export interface Stored<out Event> {
  readonly type: string
  /** The encoded event, as it will be read back. */
  readonly payload: unknown
  /** The payload as it is stored. */
  readonly text: string
  readonly event: Event
}

/** @internal */
export type Decision<State, Event, Rejection> =
  | { readonly _tag: "Decided"; readonly state: State; readonly events: ReadonlyArray<Stored<Event>> }
  | { readonly _tag: "Rejected"; readonly rejection: Rejection }
  | { readonly _tag: "Unstorable"; readonly detail: string; readonly cause: unknown }

/**
 * `Aggregate.decide` on what a replay will read: a field that is undefined is absent then, and whatever else a schema
 * makes of a value is made of it. A state folded from the events in hand, and a snapshot of it, could be another one.
 *
 * @internal
 */
export const decideStored = <Name extends string, Id, State, Event, Command, Rejection>(
  aggregate: Aggregate.Aggregate<Name, Id, State, Event, Command, Rejection>,
  state: State,
  commands: Iterable<Command>
): Decision<State, Event, Rejection> => {
  const events: Array<Stored<Event>> = []
  let current = state
  for (const command of commands) {
    const decision = aggregate.decide(current, command)
    if (Either.isLeft(decision)) return { _tag: "Rejected", rejection: decision.left }
    for (const event of decision.right) {
      const stored = store(aggregate.event, event)
      if (Either.isLeft(stored)) {
        const { cause, problem } = stored.left
        return { _tag: "Unstorable", detail: `event ${events.length + 1} ${problem}`, cause }
      }
      current = aggregate.evolve(current, stored.right.event)
      events.push(stored.right)
    }
  }
  return { _tag: "Decided", state: current, events }
}

/** @internal */
export interface Unstorable {
  readonly problem: string
  readonly cause: unknown
}

/**
 * An event as it will be read back.
 *
 * @internal
 */
export const store = <Event>(
  codec: Aggregate.EventCodec<Event>,
  event: Event
): Either.Either<Stored<Event>, Unstorable> => {
  const refuse = (problem: string, cause?: unknown) => Either.left({ problem, cause })
  const encoded = codec.encode(event)
  if (Either.isLeft(encoded)) return refuse(`does not encode: ${reason(encoded.left)}`, encoded.left)
  const lost = encoded.right === event ? undefined : lostKey(event, encoded.right, [])
  if (lost !== undefined) return refuse(`cannot keep ${lost}: its schema drops a key of that name`)
  const text = Json.stringify(encoded.right)
  if (Either.isLeft(text)) return refuse(`does not encode to JSON: ${text.left.path} ${text.left.reason}`)
  const payload: unknown = JSON.parse(text.right)
  const type = codec.typeOf(event)
  const decode = codec.decoder(type)
  // of its own: a decoder may keep what it is given, and what `evolve` does to an event must not get into the store
  const decoded = decode?.(JSON.parse(text.right))
  if (decoded === undefined) return refuse(`has a type, ${type}, that nothing reads`)
  return Either.isLeft(decoded)
    ? refuse(`is not read back by its own schema: ${reason(decoded.left)}`, decoded.left)
    : Either.right({ type, payload, text: text.right, event: decoded.right })
}

// a record schema assigns its keys, and what is assigned to this one is no key
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
