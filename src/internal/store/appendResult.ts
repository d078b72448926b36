// The result of an append, which EventStore exports.
import type * as DateTime from "effect/DateTime"
import type * as Option from "effect/Option"
import type * as Position from "../../Position.js"

/**
 * The result of an append.
 *
 * @since 0.1.0
 * @category models
 */
export interface AppendResult {
  /** The version of the last event appended. For an append of no events, the version of the stream. */
  readonly version: number
  /** The position of the last event appended. `None` for an append of no events. */
  readonly position: Option.Option<Position.Position>
  /**
   * The time of the last event appended. All events of an append that brought no time of their own have the same time.
   * `None` for an append of no events.
   */
  readonly time: Option.Option<DateTime.Utc>
  /**
   * Whether the store already held these events. The version, position and time are then those of the stored events.
   * The stored payloads may differ from the given ones.
   */
  readonly duplicate: boolean
}
