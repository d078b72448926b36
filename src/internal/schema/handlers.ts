import type * as Schema from "effect/Schema"
import { InvalidOption } from "../../InvalidOption.js"
import { quote } from "../text.js"
import { tagsOf } from "./tags.js"

type Handler = (state: unknown, value: unknown) => unknown

/**
 * Turns `decide` and `evolve` into functions. A record of handlers is read once, and its handlers are called as its
 * methods. A value whose tag has no handler throws, as a function without a case for it would. Only own properties of the
 * record are handlers: a tag such as `toString` finds nothing.
 */
export const handlersOf = (definition: {
  readonly name: string
  readonly event: Schema.Schema.All
  readonly command: Schema.Schema.All
  readonly decide: unknown
  readonly evolve: unknown
}): { readonly decide: Handler; readonly evolve: Handler } => {
  const { command, decide, event, evolve, name } = definition
  return {
    // the function may be a method of a class
    decide: isFunction(decide)
      ? (state, value) => Reflect.apply(decide, definition, [state, value])
      : dispatch("decide", name, command, decide),
    evolve: isFunction(evolve) ? evolve : dispatch("evolve", name, event, evolve)
  }
}

const dispatch = (
  part: "decide" | "evolve",
  aggregate: string,
  schema: Schema.Schema.All,
  option: unknown
): Handler => {
  const name = `${part} of ${quote(aggregate)}`
  if (!isRecord(option)) throw refuse(name, quote(option), "a function, or a record of one function for each tag")
  const handlers = byTag(option, name, Array.from(tagsOf(schema)))
  return (state, value) => {
    const tag: unknown = Reflect.get(Object(value), "_tag")
    const handler = typeof tag === "string" ? handlers.get(tag) : undefined
    if (handler === undefined) throw new TypeError(`${name} has no handler for ${quote(tag)}`)
    return Reflect.apply(handler, option, [state, value])
  }
}

const refuse = (option: string, value: string, expected: string): InvalidOption =>
  new InvalidOption({ option: `Aggregate.make ${option}`, value, expected })

const byTag = (record: object, name: string, tags: ReadonlyArray<string>): ReadonlyMap<string, Handler> => {
  const handlers = new Map<string, Handler>()
  for (const tag of tags) {
    const handler: unknown = Object.hasOwn(record, tag) ? Reflect.get(record, tag) : undefined
    if (!isFunction(handler)) {
      throw refuse(`${name} for ${quote(tag)}`, quote(handler), "a function, an own property of the record")
    }
    handlers.set(tag, handler)
  }
  for (const key of Reflect.ownKeys(record)) {
    if (typeof key === "string" && handlers.has(key)) continue
    const expected = tags.length === 0 ? "a function: the schema has no tags" : `one of ${tags.map(quote).join(", ")}`
    throw refuse(name, `a handler for ${quote(String(key))}`, expected)
  }
  return handlers
}

const isFunction = (value: unknown): value is Handler => typeof value === "function"

const isRecord = (value: unknown): value is object =>
  typeof value === "object" && value !== null && !Array.isArray(value)
