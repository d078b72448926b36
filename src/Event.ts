/**
 * Events as the stores keep them: an id, a type, an encoded payload and metadata.
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Data from "effect/Data"
import type * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import type * as Option from "effect/Option"
import * as Predicate from "effect/Predicate"
import type { EventDecodeError } from "./internal/store/eventErrors.js"
import * as TraceContext from "./internal/traceContext.js"
import type * as Position from "./Position.js"
import type * as StreamId from "./StreamId.js"

/**
 * A JSON object stored beside the payload, such as correlation ids or the trace context.
 *
 * @since 0.1.0
 * @category models
 */
export type Metadata = Readonly<Record<string, unknown>>

/**
 * An event to append.
 *
 * @since 0.1.0
 * @category models
 */
export interface ProposedEvent {
  /** Unique over all streams. A retry of an append uses the same ids, so that the append happens once. */
  readonly id: string
  readonly type: string
  /** The encoded event: a JSON value. */
  readonly payload: unknown
  readonly metadata?: Metadata | undefined
  /**
   * The time to store with the event, for events of another system. The time does not change the order of the events.
   * The earliest time is 4714-11-24 BC. Default: the time of the append.
   */
  readonly time?: DateTime.Utc | undefined
}

/**
 * A stored event.
 *
 * @since 0.1.0
 * @category models
 */
export interface RecordedEvent {
  readonly id: string
  readonly stream: StreamId.StreamId
  /** 1 for the first event of the stream. */
  readonly version: number
  /** The position in the order over all streams. */
  readonly position: Position.Position
  readonly type: string
  /** The encoded event, as `JSON.parse` returned it. */
  readonly payload: unknown
  /**
   * The time of the proposed event if it had one, otherwise the time of the append. The time of the append comes from
   * the writer's `Clock`, and on PostgreSQL from the server.
   */
  readonly time: DateTime.Utc
  readonly metadata: Metadata
}

/**
 * A stored event that does not decode: its payload or its metadata is not JSON, or its time is not a date. A page of
 * the feed has it in the place of the event, so that a reader can stop there, report it, or continue after it.
 *
 * @example
 * ```ts
 * import { Event } from "effect-eventsourcing"
 *
 * const where = ({ error, id, position }: Event.UnreadableEvent) => `${id} at ${position}: ${error.message}`
 * ```
 *
 * @since 0.1.0
 * @category models
 */
export class UnreadableEvent extends Data.TaggedClass("UnreadableEvent")<{
  readonly id: string
  readonly stream: StreamId.StreamId
  /** 1 for the first event of the stream. */
  readonly version: number
  /** The position in the order over all streams. */
  readonly position: Position.Position
  readonly type: string
  /** The time of the append. `None` if the stored time is not a date. */
  readonly time: Option.Option<DateTime.Utc>
  readonly error: EventDecodeError
}> {}

/**
 * Tells whether an event of a page does not decode.
 *
 * @example
 * ```ts
 * import { Event } from "effect-eventsourcing"
 *
 * const types = (events: ReadonlyArray<Event.RecordedEvent | Event.UnreadableEvent>) =>
 *   events.map((event) => Event.isUnreadable(event) ? event.error.message : event.payload)
 * ```
 *
 * @since 0.1.0
 * @category guards
 */
export const isUnreadable = (event: RecordedEvent | UnreadableEvent): event is UnreadableEvent =>
  Predicate.isTagged(event, "UnreadableEvent")

/**
 * A stored event with its envelope: the decoded event, and the fields of the {@link RecordedEvent}.
 *
 * @since 0.1.0
 * @category models
 */
export interface Envelope<out E> {
  readonly _tag: "Event"
  /** The event, decoded and upcast. */
  readonly event: E
  /** The id of the event. */
  readonly id: string
  readonly stream: StreamId.StreamId
  /** 1 for the first event of the stream. */
  readonly version: number
  /** The position in the order over all streams. */
  readonly position: Position.Position
  /** The stored type. An event that was upcast keeps the type under which it was stored. */
  readonly type: string
  readonly time: DateTime.Utc
  readonly metadata: Metadata
}

/**
 * A stored event whose type is ignored on purpose, see `Versions.retired`. It counts as a version of its stream.
 *
 * @since 0.1.0
 * @category models
 */
export interface Retired extends Omit<Envelope<never>, "_tag" | "event"> {
  readonly _tag: "Retired"
}

/**
 * An event as a driver writes it.
 *
 * @since 0.1.0
 * @category drivers
 */
export interface EncodedEvent {
  readonly id: string
  readonly type: string
  /** JSON text. */
  readonly payload: string
  /** JSON text of an object. */
  readonly metadata: string
  /** Milliseconds since 1970. Default: the time of the append. */
  readonly time?: number | undefined
}

/**
 * An event as a driver reads it.
 *
 * @since 0.1.0
 * @category drivers
 */
export interface EncodedRecord extends EncodedEvent {
  readonly stream: StreamId.StreamId
  readonly version: number
  readonly position: Position.Position
  /** Milliseconds since 1970. */
  readonly time: number
  /** Set at the last event of a page of a stream that ends before its limit, although more events may follow. */
  readonly continued?: true | undefined
}

/**
 * The maximal length of an event id, in bytes of UTF-8.
 *
 * @example
 * ```ts
 * import { Event } from "effect-eventsourcing"
 *
 * const fits = (text: string) => new TextEncoder().encode(text).length <= Event.maxIdBytes
 * ```
 *
 * @since 0.1.0
 * @category constants
 */
export const maxIdBytes = 255

/**
 * The maximal length of an event type, in bytes of UTF-8.
 *
 * @example
 * ```ts
 * import { Event } from "effect-eventsourcing"
 *
 * const fits = (text: string) => new TextEncoder().encode(text).length <= Event.maxTypeBytes
 * ```
 *
 * @since 0.1.0
 * @category constants
 */
export const maxTypeBytes = 255

/**
 * Generates the ids of new events. The default generates version 7 UUIDs. They grow with time, which keeps the unique
 * index of a large table compact. Tests can provide fixed ids.
 *
 * @example
 * ```ts
 * import { Event } from "effect-eventsourcing"
 * import { Effect } from "effect"
 *
 * let n = 0
 * const fixed = Effect.provideService(Event.IdGenerator, Effect.sync(() => `event-${++n}`))
 * ```
 *
 * @since 0.1.0
 * @category references
 */
export class IdGenerator extends Context.Reference<IdGenerator>()("effect-eventsourcing/Event/IdGenerator", {
  defaultValue: (): Effect.Effect<string> => Effect.map(Clock.currentTimeMillis, uuidV7)
}) {}

/**
 * Holds the metadata of all events that a fiber appends: correlation and causation ids, a user, a tenant.
 *
 * @example
 * ```ts
 * import { Event } from "effect-eventsourcing"
 * import { Effect } from "effect"
 *
 * const correlated = Effect.provideService(Event.CurrentMetadata, { correlationId: "request-7" })
 * ```
 *
 * @since 0.1.0
 * @category references
 */
export class CurrentMetadata extends Context.Reference<CurrentMetadata>()(
  "effect-eventsourcing/Event/CurrentMetadata",
  { defaultValue: (): Metadata => ({}) }
) {}

/**
 * Links the spans of an effect to the span of the command that appended an event. A consumer of events wraps its handler
 * in it, and a trace of the handler then leads to the trace of the command.
 *
 * Only the outermost spans of the effect have the link. The span of the command is a link and not a parent, because an
 * event may be handled again years later. The link has the id of the event as its attribute `eventsourcing.event_id`.
 * The effect runs unchanged if no tracer is configured, if the event was appended without one, or if its `traceparent`
 * is not a W3C trace context.
 *
 * @example
 * ```ts
 * import { Event } from "effect-eventsourcing"
 * import { Effect } from "effect"
 *
 * const handle = (event: Event.RecordedEvent) =>
 *   Effect.log(event.type).pipe(Effect.withSpan("Balances.handle"), Event.continueTrace(event))
 * ```
 *
 * @since 0.1.0
 * @category tracing
 */
export const continueTrace =
  (recorded: { readonly id: string; readonly metadata: Metadata }) =>
  <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> => TraceContext.linked(effect, recorded)

function uuidV7(millis: number): string {
  // a clock may return any number; the event store rejects one that is not a date
  const time = (millis >= 0 && Number.isFinite(millis) ? Math.trunc(millis) : 0).toString(16).padStart(12, "0").slice(
    -12
  )
  const random = crypto.randomUUID()
  return `${time.slice(0, 8)}-${time.slice(8)}-7${random.slice(15)}`
}
