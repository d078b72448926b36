/**
 * Names the streams of events.
 *
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"
import { quote } from "./internal/text.js"

/**
 * The name of one stream, which holds the events of one aggregate.
 *
 * @since 0.1.0
 * @category models
 */
export interface StreamId {
  /** The aggregate type, as in `Aggregate.make({ name })`. */
  readonly aggregate: string
  /** The encoded id of the aggregate. */
  readonly id: string
}

/**
 * Encodes stream ids. The stores impose further limits, see {@link make}.
 *
 * @example
 * ```ts
 * import { StreamId } from "effect-eventsourcing"
 * import { Schema } from "effect"
 *
 * const Audit = Schema.Struct({ stream: StreamId.StreamId, by: Schema.String })
 * ```
 *
 * @since 0.1.0
 * @category schemas
 */
export const StreamId: Schema.Schema<StreamId> = Schema.Struct({
  aggregate: Schema.String,
  id: Schema.String
})

/**
 * The maximal length of an aggregate name, in bytes of UTF-8.
 *
 * @example
 * ```ts
 * import { StreamId } from "effect-eventsourcing"
 *
 * const fits = (text: string) => new TextEncoder().encode(text).length <= StreamId.maxAggregateBytes
 * ```
 *
 * @since 0.1.0
 * @category constants
 */
export const maxAggregateBytes = 255

/**
 * The maximal length of an encoded id, in bytes of UTF-8. Name and id together fit into an index row of every backend.
 *
 * @example
 * ```ts
 * import { StreamId } from "effect-eventsourcing"
 *
 * const fits = (text: string) => new TextEncoder().encode(text).length <= StreamId.maxIdBytes
 * ```
 *
 * @since 0.1.0
 * @category constants
 */
export const maxIdBytes = 1024

/**
 * Names a stream, without a check. The stores reject a name or an id that is empty, that contains a NUL or a lone
 * surrogate, or that is longer than 255 or 1,024 bytes.
 *
 * @example
 * ```ts
 * import { StreamId } from "effect-eventsourcing"
 *
 * const stream = StreamId.make("Account", "a-1")
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (aggregate: string, id: string): StreamId => ({ aggregate, id })

/**
 * Formats a stream id for messages and logs.
 *
 * @example
 * ```ts
 * import { StreamId } from "effect-eventsourcing"
 *
 * const text = StreamId.format(StreamId.make("Account", "a-1")) // "Account"/"a-1"
 * ```
 *
 * @since 0.1.0
 * @category formatting
 */
export const format = (stream: StreamId): string => `${quote(stream.aggregate)}/${quote(stream.id)}`
