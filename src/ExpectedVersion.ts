/**
 * The version at which a writer expects a stream. The store checks it in the statement that appends.
 *
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"

/**
 * Encodes expected versions.
 *
 * @example
 * ```ts
 * import { ExpectedVersion } from "effect-eventsourcing"
 * import { Schema } from "effect"
 *
 * const Request = Schema.Struct({ expected: ExpectedVersion.ExpectedVersion })
 * ```
 *
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
 * The version at which a writer expects the stream.
 *
 * @since 0.1.0
 * @category models
 */
export type ExpectedVersion = typeof ExpectedVersion.Type

/**
 * Appends after the last event, at any version.
 *
 * @example
 * ```ts
 * import { ExpectedVersion } from "effect-eventsourcing"
 *
 * const options = { expectedVersion: ExpectedVersion.any }
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const any: ExpectedVersion = { _tag: "Any" }

/**
 * Requires that the stream has no events. The same as `exact(0)`.
 *
 * @example
 * ```ts
 * import { ExpectedVersion } from "effect-eventsourcing"
 *
 * const options = { expectedVersion: ExpectedVersion.noStream }
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const noStream: ExpectedVersion = { _tag: "NoStream" }

/**
 * Requires that the stream has at least one event.
 *
 * @example
 * ```ts
 * import { ExpectedVersion } from "effect-eventsourcing"
 *
 * const options = { expectedVersion: ExpectedVersion.streamExists }
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const streamExists: ExpectedVersion = { _tag: "StreamExists" }

/**
 * Requires exactly this version. A stream without events is at version 0.
 *
 * @example
 * ```ts
 * import { ExpectedVersion } from "effect-eventsourcing"
 *
 * const options = { expectedVersion: ExpectedVersion.exact(3) }
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const exact = (version: number): ExpectedVersion => ({ _tag: "Exact", version })

/**
 * Returns the lowest and the highest version at which an append with this expectation succeeds.
 *
 * @example
 * ```ts
 * import { ExpectedVersion } from "effect-eventsourcing"
 *
 * const { min, max } = ExpectedVersion.bounds(ExpectedVersion.exact(3)) // 3, 3
 * ```
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
 * Formats an expected version for messages.
 *
 * @example
 * ```ts
 * import { ExpectedVersion } from "effect-eventsourcing"
 *
 * const text = ExpectedVersion.format(ExpectedVersion.exact(3)) // version 3
 * ```
 *
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
