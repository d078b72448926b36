// How a store finds the contents that were archived long ago. Why: docs/decisions/0165-old-archives.md.
import type * as Effect from "effect/Effect"
import type * as Option from "effect/Option"
import type * as StreamId from "../../StreamId.js"
import type { EventStoreError } from "./eventErrors.js"

/**
 * A stream with contents in the archive that were archived at one time.
 *
 * @since 0.1.0
 * @category drivers
 */
export interface ArchivedStream {
  readonly stream: StreamId.StreamId
  /** In milliseconds since 1970. */
  readonly archivedAt: number
}

/**
 * Which archived stream is looked for.
 *
 * @since 0.1.0
 * @category drivers
 */
export interface ArchivedStreamOptions {
  readonly aggregate: string
  /** One that was archived before this time, in milliseconds since 1970. */
  readonly before: number
  /** One after this place in the order of the times, and of the ids in it. */
  readonly after: { readonly archivedAt: number; readonly id: string }
}

/**
 * The first contents of a stream in the archive.
 *
 * @since 0.1.0
 * @category drivers
 */
export interface OldContents {
  /** How many of the contents that were looked at are old. They are the first of the archive, in the order of versions. */
  readonly count: number
  /** The version of the last one of them, or 0. */
  readonly upTo: number
  /** The version of the last old one in the archive, or 0. */
  readonly last: number
}

/**
 * The operations that find what was archived long ago.
 *
 * @since 0.1.0
 * @category drivers
 */
export interface OldArchiveDriver {
  /** Finds the first archived stream in the order of the times. The cost must not depend on the number of events. */
  readonly nextArchived: (
    options: ArchivedStreamOptions
  ) => Effect.Effect<Option.Option<ArchivedStream>, EventStoreError>
  /** Looks at no more than `limit` contents of a stream: those that were archived before a time are old. */
  readonly oldContents: (
    stream: StreamId.StreamId,
    options: { readonly before: number; readonly limit: number }
  ) => Effect.Effect<OldContents, EventStoreError>
}
