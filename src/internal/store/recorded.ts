// Decodes recorded events to the events of their aggregates.
// Mechanism: the aggregate is looked up by the name in the stream, the decoder by the stored type.
// Costs two look-ups in maps and the decoding of the payload, and in a feed the decoding of the id. No Effect per
// event.
import * as Either from "effect/Either"
import type * as ParseResult from "effect/ParseResult"
import * as Event from "../../Event.js"
import { InvalidOption } from "../../InvalidOption.js"
import * as Markers from "../markers.js"
import { unknownType } from "../schema/eventCodec.js"
import { reason } from "../schema/reason.js"
import { quote } from "../text.js"
import { EventDecodeError } from "./eventErrors.js"

/**
 * The part of an aggregate that decodes its stored events. Every aggregate has it.
 *
 * @since 0.1.0
 * @category models
 */
export interface Decodable<out Name extends string, out Id, out Event> {
  readonly name: Name
  readonly id: { readonly decode: (encoded: unknown) => Either.Either<Id, ParseResult.ParseError> }
  readonly event: {
    readonly types: ReadonlyArray<string>
    readonly decoder: (type: string) => ((payload: unknown) => Either.Either<Event, ParseResult.ParseError>) | undefined
    readonly isRetired: (type: string) => boolean
  }
}

/**
 * A decoded event of an aggregate, in its envelope.
 *
 * @since 0.1.0
 * @category models
 */
export interface DecodedEvent<out Name extends string, out Id, out E> extends Event.Envelope<E> {
  /** The name of the aggregate. */
  readonly aggregate: Name
  /** The id of the aggregate, decoded from the id of the stream. */
  readonly aggregateId: Id
}

/**
 * A stored event of an aggregate whose type the aggregate ignores on purpose, see `Versions.retired`.
 *
 * @since 0.1.0
 * @category models
 */
export interface RetiredEvent<out Name extends string> extends Event.Retired {
  /** The name of the aggregate. */
  readonly aggregate: Name
}

/**
 * A stored event of an aggregate that the decoder does not know.
 *
 * @since 0.1.0
 * @category models
 */
export interface ForeignEvent extends Pick<Event.RecordedEvent, "id" | "stream" | "version" | "position" | "type"> {
  readonly _tag: "Foreign"
}

/**
 * The decoded events of an aggregate, and its retired ones. For a union of aggregates it is a union, which `aggregate`
 * tells apart.
 *
 * @since 0.1.0
 * @category type helpers
 */
export type Decoded<A extends AnyDecodable> = A extends Decodable<infer Name, infer Id, infer Event>
  ? DecodedEvent<Name, Id, Event> | RetiredEvent<Name>
  : never

export type AnyDecodable = Decodable<string, unknown, unknown>

/** Decodes an event, which the caller knows to be one of the aggregate, into its envelope. */
export const decodeEvent = <E>(
  events: Decodable<string, unknown, E>["event"],
  recorded: Event.RecordedEvent
): Either.Either<Event.Envelope<E> | Event.Retired, EventDecodeError> => {
  const { id, metadata, position, stream, time, type, version } = recorded
  const event = decodePayload(events, recorded)
  if (event === undefined) {
    return Either.right({ _tag: "Retired", id, stream, version, position, type, time, metadata })
  }
  return Either.isLeft(event)
    ? Either.left(event.left)
    : Either.right({ _tag: "Event", event: event.right, id, stream, version, position, type, time, metadata })
}

/** Decodes the payload of an event. Gives `undefined` if the aggregate ignores events of the type on purpose. */
const decodePayload = <E>(
  events: Decodable<string, unknown, E>["event"],
  recorded: Event.RecordedEvent
): Either.Either<E, EventDecodeError> | undefined => {
  const { payload, type } = recorded
  const decode = events.decoder(type)
  if (decode === undefined) {
    return events.isRetired(type) ? undefined : Either.left(undecodable(recorded, unknownType(events.types)))
  }
  const event = decode(payload)
  return Either.isLeft(event) ? Either.left(undecodable(recorded, event.left)) : Either.right(event.right)
}

export const decodeRecorded = <Name extends string, Id, E>(
  aggregate: Decodable<Name, Id, E>,
  recorded: Event.RecordedEvent | Event.UnreadableEvent
): Either.Either<DecodedEvent<Name, Id, E> | RetiredEvent<Name>, EventDecodeError> => {
  const { name } = aggregate
  const { stream } = recorded
  if (stream.aggregate !== name) {
    return Either.left(undecodable(recorded, new Error(`the event belongs to another aggregate than ${quote(name)}`)))
  }
  if (Event.isUnreadable(recorded)) return Either.left(recorded.error)
  const event = decodePayload(aggregate.event, recorded)
  if (event === undefined) {
    const { id, metadata, position, time, type, version } = recorded
    return Either.right({ _tag: "Retired", id, stream, version, position, type, time, metadata, aggregate: name })
  }
  return Either.isLeft(event) ? Either.left(event.left) : inEnvelope(aggregate, recorded, event.right)
}

/** Decodes a marker, which the caller knows to be one of a stream of the aggregate. */
export const decodeMarker = <Name extends string, Id>(
  aggregate: Decodable<Name, Id, unknown>,
  recorded: Event.RecordedEvent | Event.UnreadableEvent
): Either.Either<DecodedEvent<Name, Id, Markers.Marker>, EventDecodeError> => {
  if (Event.isUnreadable(recorded)) return Either.left(recorded.error)
  const event = Markers.decode(recorded.type, recorded.payload)
  return typeof event === "string"
    ? Either.left(undecodable(recorded, new Error(event)))
    : inEnvelope(aggregate, recorded, event)
}

/** Puts an event into its envelope: one object, because to copy an envelope takes as long as to decode the event. */
const inEnvelope = <Name extends string, Id, E>(
  aggregate: Pick<Decodable<Name, Id, unknown>, "id" | "name">,
  recorded: Event.RecordedEvent,
  event: E
): Either.Either<DecodedEvent<Name, Id, E>, EventDecodeError> => {
  const { id, metadata, position, stream, time, type, version } = recorded
  const aggregateId = aggregate.id.decode(stream.id)
  if (Either.isLeft(aggregateId)) {
    const cause = aggregateId.left
    const detail = `the id of its stream does not match the id schema: ${reason(cause)}`
    return Either.left(undecodable(recorded, new Error(detail, { cause })))
  }
  return Either.right({
    _tag: "Event",
    event,
    id,
    stream,
    version,
    position,
    type,
    time,
    metadata,
    aggregate: aggregate.name,
    aggregateId: aggregateId.right
  })
}

const undecodable = (
  { id, position, stream, type, version }: Event.RecordedEvent | Event.UnreadableEvent,
  cause: unknown
): EventDecodeError => new EventDecodeError({ stream, version, type, eventId: id, position, cause })

/** Makes the decoder of several aggregates. Throws `InvalidOption` if two of them have one name. */
export function decoder<Aggregates extends ReadonlyArray<AnyDecodable>>(
  aggregates: Aggregates
): (
  recorded: Event.RecordedEvent | Event.UnreadableEvent
) => Either.Either<Decoded<Aggregates[number]> | ForeignEvent, EventDecodeError>
export function decoder(
  aggregates: ReadonlyArray<AnyDecodable>
): (
  recorded: Event.RecordedEvent | Event.UnreadableEvent
) => Either.Either<Decoded<AnyDecodable> | ForeignEvent, EventDecodeError> {
  const known = new Map(aggregates.map((aggregate) => [aggregate.name, aggregate]))
  if (known.size < aggregates.length) {
    const names = aggregates.map(({ name }) => quote(name)).join(", ")
    throw new InvalidOption({
      option: "Aggregate.decoder",
      value: `the aggregates ${names}`,
      expected: "aggregates of which each has a name of its own"
    })
  }
  return (recorded) => {
    const { id, position, stream, type, version } = recorded
    const aggregate = known.get(stream.aggregate)
    return aggregate === undefined
      ? Either.right({ _tag: "Foreign", id, stream, version, position, type })
      : decodeRecorded(aggregate, recorded)
  }
}
