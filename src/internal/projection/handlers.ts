// Handlers by event tag.
import * as Effect from "effect/Effect"
import { tagsOf } from "../schema/tags.js"
import type { DecodedEvent } from "../store/recorded.js"
import { quote } from "../text.js"
import { type Of, refuse, selectionsOf, type Source } from "./definition.js"

/**
 * One function for each event tag of each aggregate of a list of sources.
 *
 * @since 0.1.0
 * @category type helpers
 */
export type HandlersOf<Sources extends ReadonlyArray<Source>> = {
  readonly [Name in Of<Sources[number]>["aggregate"]]: ByTag<Extract<Of<Sources[number]>, { readonly aggregate: Name }>>
}

type ByTag<D extends DecodedEvent<string, unknown, unknown>> = {
  readonly [Tag in TagIn<D["event"]>]: (
    event: D extends DecodedEvent<infer Name, infer Id, infer E>
      ? DecodedEvent<Name, Id, Extract<E, { readonly _tag: Tag }>>
      : never
  ) => Effect.Effect<unknown, unknown, unknown>
}

type TagIn<E> = E extends { readonly _tag: infer Tag extends string } ? Tag : never

type Results<H> = { [Name in keyof H]: { [Tag in keyof H[Name]]: ResultOf<H[Name][Tag]> }[keyof H[Name]] }[keyof H]

type ResultOf<F> = F extends (...args: Array<never>) => infer Result ? Result : never

/**
 * The errors of handlers.
 *
 * @since 0.1.0
 * @category type helpers
 */
export type ErrorOf<H> = Results<H> extends Effect.Effect<infer _A, infer E, infer _R> ? E : never

/**
 * The services that handlers need.
 *
 * @since 0.1.0
 * @category type helpers
 */
export type ContextOf<H> = Results<H> extends Effect.Effect<infer _A, infer _E, infer R> ? R : never

/**
 * Gives the function that calls the handler of an event. Throws `InvalidOption` if a tag has no handler, or a handler no
 * tag.
 */
export const dispatcher = <const Sources extends ReadonlyArray<Source>, H extends HandlersOf<Sources>>(
  subject: string,
  sources: Sources,
  handlers: H
): (event: Of<Sources[number]>) => Effect.Effect<unknown, ErrorOf<H>, ContextOf<H>> => {
  const byAggregate = new Map<string, ReadonlyMap<string, Handler>>()
  for (const [name, { aggregate, markers, tags = tagsOf(aggregate.event.schema) }] of selectionsOf(sources)) {
    const all = new Set([...tags, ...markers])
    byAggregate.set(name, byTag(`${subject} handlers.${name}`, handlers, name, all))
  }
  const unknown = Object.keys(handlers).find((name) => !byAggregate.has(name))
  if (unknown !== undefined) {
    throw refuse(
      subject,
      "handlers",
      quote(unknown),
      `aggregates of \`on\`: ${Array.from(byAggregate.keys(), quote).join(", ")}`
    )
  }
  return (decoded) => {
    const tag = String(Reflect.get(Object(decoded.event), "_tag"))
    const effect: unknown = byAggregate.get(decoded.aggregate)?.get(tag)?.(decoded)
    return isEffectOf<ErrorOf<H>, ContextOf<H>>(effect)
      ? effect
      : Effect.dieMessage(`${subject}: the handler of ${quote(tag)} returned no Effect`)
  }
}

type Handler = (event: unknown) => unknown

const isEffectOf = <E, R>(value: unknown): value is Effect.Effect<unknown, E, R> => Effect.isEffect(value)

const byTag = (
  subject: string,
  handlers: object,
  aggregate: string,
  tags: ReadonlySet<string>
): ReadonlyMap<string, Handler> => {
  const record: unknown = Object.hasOwn(handlers, aggregate) ? Reflect.get(handlers, aggregate) : undefined
  const found = new Map<string, Handler>()
  for (const tag of tags) {
    const handler: unknown = Object.hasOwn(Object(record), tag) ? Reflect.get(Object(record), tag) : undefined
    if (typeof handler !== "function") throw refuse(subject, tag, quote(handler), "a function")
    found.set(tag, (event) => Reflect.apply(handler, record, [event]))
  }
  const unknown = Object.keys(Object(record)).find((tag) => !tags.has(tag))
  if (unknown !== undefined) {
    throw refuse(subject, unknown, "given", `absent: the tags are ${Array.from(tags, quote).join(", ")}`)
  }
  return found
}
