/**
 * What a writer takes the stream's version to be. The store checks it in the same statement that appends.
 *
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"

/**
 * @since 0.1.0
 * @category schemas
 */
export const ExpectedVersion = Schema.Union(
  Schema.TaggedStruct("Any", {}),
  Schema.TaggedStruct("NoStream", {}),
  Schema.TaggedStruct("StreamExists", {}),
  Schema.TaggedStruct("Exact", { version: Schema.Number })
)

/**
 * @since 0.1.0
 * @category models
 */
export type ExpectedVersion = typeof ExpectedVersion.Type

/**
 * No expectation: append after whatever is there.
 *
 * @since 0.1.0
 * @category constructors
 */
export const any: ExpectedVersion = { _tag: "Any" }

/**
 * The stream has no events yet. The same as `exact(0)`.
 *
 * @since 0.1.0
 * @category constructors
 */
export const noStream: ExpectedVersion = { _tag: "NoStream" }

/**
 * The stream has at least one event.
 *
 * @since 0.1.0
 * @category constructors
 */
export const streamExists: ExpectedVersion = { _tag: "StreamExists" }

/**
 * The stream is at exactly this version; 0 is a stream without events.
 *
 * @example
 * ```ts
 * import { ExpectedVersion } from "effect-eventsourcing"
 *
 * const afterThree = ExpectedVersion.exact(3)
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const exact = (version: number): ExpectedVersion => ({ _tag: "Exact", version })

/**
 * The versions, both included, at which an append with this expectation goes through.
 *
 * @since 0.1.0
 * @category drivers
 */
export const bounds = (expected: ExpectedVersion): { readonly min: number; readonly max: number } => {
  switch (expected._tag) {
    case "Any":
      return { min: 0, max: Number.MAX_SAFE_INTEGER }
    case "NoStream":
      return { min: 0, max: 0 }
    case "StreamExists":
      return { min: 1, max: Number.MAX_SAFE_INTEGER }
    case "Exact":
      return { min: expected.version, max: expected.version }
  }
}

/**
 * @since 0.1.0
 * @category formatting
 */
export const format = (expected: ExpectedVersion): string => {
  switch (expected._tag) {
    case "Any":
      return "any version"
    case "NoStream":
      return "no stream"
    case "StreamExists":
      return "an existing stream"
    case "Exact":
      return `version ${expected.version}`
  }
}
