/**
 * Names the streams of events.
 *
 * @since 0.1.0
 */
import { dual } from "effect/Function"
import * as Schema from "effect/Schema"
import { murmur3 } from "./internal/murmur3.js"
import { orThrow, requiredCount } from "./internal/options.js"
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

/**
 * Gives the partition of a stream: a whole number from 0 to `of - 1`. All events of a stream are in one partition.
 *
 * It is MurmurHash3 (x86, 32 bits, seed 0) of the UTF-8 of the aggregate name, a NUL and the encoded id, modulo `of`. It is
 * the same on every backend and in every release, so that consumers may store it. Throws an `InvalidOption` if `of` is not a
 * whole number, 1 or more.
 *
 * @example
 * ```ts
 * import { StreamId } from "effect-eventsourcing"
 *
 * const partition = StreamId.partition(StreamId.make("Account", "a-1"), 4) // 2
 * ```
 *
 * @since 0.1.0
 * @category partitions
 */
export const partition: {
  (of: number): (stream: StreamId) => number
  (stream: StreamId, of: number): number
} = dual(2, ({ aggregate, id }: StreamId, of: number): number => {
  orThrow(requiredCount("of", of))
  return murmur3(`${aggregate}\u0000${id}`) % of
})
