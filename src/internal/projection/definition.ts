// What a projection or a subscription reads, and how it turns stored events into events of its aggregates.
// The store filters by aggregate, and leaves out the types that the aggregates know and the definition does not read. A
// list of the types that it reads would skip events of a type that only newer code knows. The rest is filtered by tag after
// decoding.
// Costs one decoding an event, and no Effect for an event.
import * as Either from "effect/Either"
import * as Option from "effect/Option"
import type * as Schema from "effect/Schema"
import * as AST from "effect/SchemaAST"
import * as Event from "../../Event.js"
import type * as EventStore from "../../EventStore.js"
import { InvalidOption } from "../../InvalidOption.js"
import type * as Position from "../../Position.js"
import { maxVersion } from "../constants.js"
import * as Markers from "../markers.js"
import type { Marker } from "../markers.js"
import { membersOf, tagOf } from "../schema/eventCodec.js"
import { holdsPersonal } from "../schema/secrets.js"
import { tagsOf } from "../schema/tags.js"
import { type EventDecodeError, HistoryGap } from "../store/eventErrors.js"
import { type Decodable, type DecodedEvent, decodeMarker, decoder } from "../store/recorded.js"
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
 * The markers of the streams of an aggregate.
 *
 * @since 0.1.0
 * @category models
 */
export interface Marked<out A extends AnySelectable, out M extends Marker> {
  readonly _tag: "Marked"
  readonly aggregate: A
  readonly marker: M["_tag"]
}

/**
 * Any aggregate, for constraints.
 *
 * @since 0.1.0
 * @category models
 */
export type AnySelectable = Selectable<string, unknown, unknown>

/**
 * What a projection or a subscription reads: an aggregate, some of its events, or the markers of its streams.
 *
 * @since 0.1.0
 * @category models
 */
export type Source = AnySelectable | Only<AnySelectable, string> | Marked<AnySelectable, Marker>

/**
 * The events of a source, in their envelopes. For a union of sources it is a union, which `aggregate` tells apart.
 *
 * @since 0.1.0
 * @category type helpers
 */
export type Of<S extends Source> = S extends Marked<infer A, infer M>
  ? A extends Decodable<infer Name, infer Id, infer _E> ? DecodedEvent<Name, Id, M> : never
  : S extends Only<infer A, infer Tag>
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
  /** Whether its events may have personal data. */
  readonly personal: boolean
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
  const selections = selectionsOf(sources)
  const decode = decoder(Array.from(selections.values(), ({ aggregate }) => aggregate))
  const isWanted = (
    decoded: Either.Either<DecodedEvent<string, unknown, unknown> | { readonly _tag: string }, EventDecodeError>
  ): decoded is Either.Either<Of<Sources[number]>, EventDecodeError> => {
    if (Either.isLeft(decoded)) return true
    const event = decoded.right
    if (!("event" in event)) return false
    const tags = selections.get(event.aggregate)?.tags
    // a marker was decoded because it is wanted
    return tags === undefined || Markers.isMarker(event.type) ||
      tags.has(String(Reflect.get(Object(event.event), "_tag")))
  }
  const decodeMarked = (recorded: Event.RecordedEvent | Event.UnreadableEvent) => {
    const selection = selections.get(recorded.stream.aggregate)
    return selection?.markers.has(recorded.type) === true ? decodeMarker(selection.aggregate, recorded) : undefined
  }
  // a definition that asks for the marker is told by it
  const isForeseen = (recorded: Event.RecordedEvent | Event.UnreadableEvent) =>
    Event.isUnreadable(recorded) && recorded.error.cause instanceof HistoryGap &&
    selections.get(recorded.stream.aggregate)?.markers.has(Markers.truncated) === true
  return {
    aggregates: Array.from(selections.keys()),
    excludedTypes: Array.from(selections).flatMap(([name, { aggregate: { event }, markers, tags }]) =>
      tags === undefined
        ? []
        : [{
          aggregate: name,
          types: [...event.typesWithout(tags), ...Markers.types.filter((type) => !markers.has(type))]
        }]
    ),
    text: Array.from(selections, textOf).sort().join("; "),
    personal: Array.from(selections.values()).some(isPersonal),
    item: (recorded) => {
      if (isForeseen(recorded)) return Option.none()
      const decoded = Markers.isMarker(recorded.type) ? decodeMarked(recorded) : decode(recorded)
      return decoded !== undefined && isWanted(decoded)
        ? Option.some(new ReadItem(recorded, decoded))
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

/** What is read of an aggregate. */
export interface Selection {
  readonly aggregate: AnySelectable
  /** The tags of its events. Undefined: all of them. */
  readonly tags: ReadonlySet<string> | undefined
  /** The types of its markers. */
  readonly markers: ReadonlySet<string>
}

/** Puts together what sources read of each aggregate. Throws `InvalidOption` if two of them read its events. */
export const selectionsOf = (sources: ReadonlyArray<Source>): ReadonlyMap<string, Selection> => {
  const selections = new Map<string, Selection>()
  const readers: Array<AnySelectable> = []
  for (const source of sources) {
    const aggregate = "_tag" in source ? source.aggregate : source
    const { markers, tags } = selections.get(aggregate.name) ?? { tags: new Set<string>(), markers: new Set<string>() }
    if ("_tag" in source && source._tag === "Marked") {
      selections.set(aggregate.name, { aggregate, tags, markers: new Set([...markers, source.marker]) })
    } else {
      readers.push(aggregate)
      const own = "_tag" in source ? new Set(source.tags) : undefined
      selections.set(aggregate.name, { aggregate, tags: own, markers })
    }
  }
  decoder(readers)
  return selections
}

const isPersonal = ({ aggregate, tags }: Selection): boolean =>
  membersOf(aggregate.event.schema.ast).some((member) =>
    (tags === undefined || tags.has(tagOf(AST.typeAST(member)) ?? "")) && holdsPersonal(member)
  )

const textOf = ([name, { markers, tags }]: readonly [string, Selection]): string => {
  const selected = [...(tags ?? []), ...markers].sort().map(quoted).join(", ")
  if (tags !== undefined) return `${quoted(name)}: ${selected}`
  return markers.size === 0 ? quoted(name) : `${quoted(name)} with ${selected}`
}

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
