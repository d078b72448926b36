/**
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"
import { keyProblem, quote } from "./internal/text.js"

/**
 * Names one stream: the events of one aggregate.
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
 * @since 0.1.0
 * @category schemas
 */
export const StreamId: Schema.Schema<StreamId> = Schema.Struct({
  aggregate: Schema.String,
  id: Schema.String
})

/**
 * The most bytes of UTF-8 that an aggregate's name may take.
 *
 * @since 0.1.0
 * @category constants
 */
export const maxAggregateBytes = 255

/**
 * The most bytes of UTF-8 that an encoded id may take. With the name it fits into an index row of every backend.
 *
 * @since 0.1.0
 * @category constants
 */
export const maxIdBytes = 1024

/**
 * Names a stream. Nothing is checked here; the stores refuse what {@link problem} finds.
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
 * Why no store can keep this stream, or `undefined` if it can: names and ids are not empty, hold no NUL and no lone
 * surrogate, and are at most 255 and 1,024 bytes long.
 *
 * @since 0.1.0
 * @category guards
 */
export const problem = (stream: StreamId): string | undefined => {
  if (typeof stream !== "object" || stream === null) return "the stream is none that StreamId.make gives"
  const aggregate = keyProblem(stream.aggregate, maxAggregateBytes)
  if (aggregate !== undefined) return `the aggregate name ${aggregate}`
  const id = keyProblem(stream.id, maxIdBytes)
  return id === undefined ? undefined : `the id ${id}`
}

/**
 * A short form for messages and logs.
 *
 * @since 0.1.0
 * @category formatting
 */
export const format = (stream: StreamId): string => `${quote(stream.aggregate)}/${quote(stream.id)}`
