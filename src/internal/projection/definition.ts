// What a projection or a subscription reads, and how it turns stored events into events of its aggregates.
// The store filters by aggregate, and leaves out the types that the aggregates know and the definition does not read. A
// list of the types that it reads would skip events of a type that only newer code knows. The rest is filtered by tag after
// decoding.
// Costs one decoding an event, and no Effect for an event.
import * as Either from "effect/Either"
import * as Option from "effect/Option"
import type * as Schema from "effect/Schema"
import * as Event from "../../Event.js"
import type * as EventStore from "../../EventStore.js"
import { InvalidOption } from "../../InvalidOption.js"
import type * as Position from "../../Position.js"
import { maxVersion } from "../constants.js"
import { tagsOf } from "../schema/tags.js"
import type { EventDecodeError } from "../store/eventErrors.js"
import { type Decodable, type DecodedEvent, decoder } from "../store/recorded.js"
import { streamText } from "../streamKey.js"
import { keyProblem, quote } from "../text.js"
import type { Linkable } from "../traceContext.js"
import { maxNameBytes } from "./limits.js"

/**
 * The part of an aggregate of which events can be selected by tag. Every aggregate has it.
 *
 * @since 0.1.0
 * @category models
 */
export interface Selectable<out Name extends string, out Id, out E> extends Decodable<Name, Id, E> {
  readonly event: Decodable<Name, Id, E>["event"] & {
    readonly schema: Schema.Schema.All
    readonly typesWithout: (tags: ReadonlySet<string>) => ReadonlyArray<string>
  }
}

/**
 * Some events of an aggregate, by their tags.
 *
 * @since 0.1.0
 * @category models
 */
export interface Only<out A extends AnySelectable, out Tag extends string> {
  readonly _tag: "Only"
  readonly aggregate: A
  readonly tags: ReadonlyArray<Tag>
}

/**
 * Any aggregate, for constraints.
 *
 * @since 0.1.0
 * @category models
 */
export type AnySelectable = Selectable<string, unknown, unknown>

/**
 * What a projection or a subscription reads: an aggregate, or some of its events.
 *
 * @since 0.1.0
 * @category models
 */
export type Source = AnySelectable | Only<AnySelectable, string>

/**
 * The events of a source, in their envelopes. For a union of sources it is a union, which `aggregate` tells apart.
 *
 * @since 0.1.0
 * @category type helpers
 */
export type Of<S extends Source> = S extends Only<infer A, infer Tag>
  ? A extends Decodable<infer Name, infer Id, infer E> ? DecodedEvent<Name, Id, Extract<E, { readonly _tag: Tag }>>
  : never
  : S extends Decodable<infer Name, infer Id, infer E> ? DecodedEvent<Name, Id, E>
  : never

/**
 * The tags of the events of an aggregate.
 *
 * @since 0.1.0
 * @category type helpers
 */
export type TagOf<A extends AnySelectable> = A extends Decodable<infer _Name, infer _Id, infer E>
  ? E extends { readonly _tag: infer Tag extends string } ? Tag : never
  : never

/**
 * What a projection or a subscription reads, without its handler.
 *
 * @since 0.1.0
 * @category models
 */
export interface Reading<out E> {
  readonly aggregates: ReadonlyArray<string>
  /** The stored types that the definition knows and does not read. */
  readonly excludedTypes: ReadonlyArray<EventStore.ExcludedTypes>
  /** What the definition reads, as text that changes with it. */
  readonly text: string
  /** Gives `None` for an event that is not for the definition. */
  readonly item: (recorded: Event.RecordedEvent | Event.UnreadableEvent) => Option.Option<Item<E>>
}

/**
 * An event of a page that has to be handled.
 *
 * @since 0.1.0
 * @category models
 */
export interface Item<out E> extends Linkable {
  readonly position: Position.Position
  readonly stream: string
  readonly event: Either.Either<E, EventDecodeError>
}

/** Makes a reading of sources. Throws `InvalidOption` if they do not fit together. */
export const reading = <const Sources extends ReadonlyArray<Source>>(
  subject: string,
  sources: Sources
): Reading<Of<Sources[number]>> => {
  if (!Array.isArray(sources) || sources.length === 0) {
    throw refuse(subject, "on", quote(sources), "a list of aggregates, with at least one element")
  }
  const selections = sources.map(selectionOf)
  const decode = decoder(selections.map(({ aggregate }) => aggregate))
  const wanted = new Map(selections.map(({ aggregate, tags }) => [aggregate.name, tags]))
  const isWanted = (event: DecodedEvent<string, unknown, unknown>): event is Of<Sources[number]> => {
    const tags = wanted.get(event.aggregate)
    return tags === undefined || tags.has(String(Reflect.get(Object(event.event), "_tag")))
  }
  return {
    aggregates: Array.from(wanted.keys()),
    excludedTypes: selections.flatMap(({ aggregate: { event, name }, tags }) =>
      tags === undefined ? [] : [{ aggregate: name, types: event.typesWithout(tags) }]
    ),
    text: Array.from(
      wanted,
      ([name, tags]) =>
        tags === undefined ? quoted(name) : `${quoted(name)}: ${Array.from(tags).sort().map(quoted).join(", ")}`
    ).sort().join("; "),
    item: (recorded) => {
      const decoded = decode(recorded)
      if (Either.isLeft(decoded)) return Option.some(new ReadItem(recorded, Either.left(decoded.left)))
      const event = decoded.right
      return event._tag === "Event" && isWanted(event)
        ? Option.some(new ReadItem(recorded, Either.right(event)))
        : Option.none()
    }
  }
}

/** Checks the name and the version of a definition. Throws `InvalidOption`. */
export const checkName = (subject: string, name: unknown, version: unknown): void => {
  const problem = keyProblem(name, maxNameBytes)
  if (problem !== undefined) {
    throw refuse(subject, "name", quote(name), `a text of 1 to ${maxNameBytes} bytes; this one ${problem}`)
  }
  if (!Number.isSafeInteger(version) || Number(version) < 1 || Number(version) > maxVersion) {
    throw refuse(subject, "version", quote(version), `a whole number from 1 to ${maxVersion}`)
  }
}

export const refuse = (subject: string, option: string, value: string, expected: string): InvalidOption =>
  new InvalidOption({ option: `${subject} ${option}`, value, expected })

/** Selects events of an aggregate by their tags. Throws `InvalidOption` if the aggregate has no such tag. */
export const only = <A extends AnySelectable, Tag extends string>(
  aggregate: A,
  tags: ReadonlyArray<Tag>
): Only<A, Tag> => {
  const known = tagsOf(aggregate.event.schema)
  const unknown = tags.find((tag) => !known.has(tag))
  if (tags.length === 0 || unknown !== undefined) {
    const value = unknown === undefined ? "an empty list" : quote(unknown)
    throw refuse(
      `Projection.only of ${quote(aggregate.name)}`,
      "tags",
      value,
      `some of ${Array.from(known, quote).join(", ")}`
    )
  }
  return { _tag: "Only", aggregate, tags }
}

const quoted = (text: string): string => JSON.stringify(text)

const selectionOf = (source: Source): { readonly aggregate: AnySelectable; readonly tags?: ReadonlySet<string> } =>
  "_tag" in source ? { aggregate: source.aggregate, tags: new Set(source.tags) } : { aggregate: source }

/** An item whose stream is written as text only when it is asked for. */
class ReadItem<out E> implements Item<E> {
  constructor(
    private readonly recorded: Event.RecordedEvent | Event.UnreadableEvent,
    readonly event: Either.Either<E, EventDecodeError>
  ) {}
  get id(): string {
    return this.recorded.id
  }
  get position(): Position.Position {
    return this.recorded.position
  }
  get stream(): string {
    return streamText(this.recorded.stream)
  }
  get metadata(): Linkable["metadata"] {
    return Event.isUnreadable(this.recorded) ? {} : this.recorded.metadata
  }
}
