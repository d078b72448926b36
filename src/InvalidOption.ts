/**
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"

/**
 * An option that cannot work: which one, the value it had, and what would do.
 *
 * Pure constructors (`Aggregate.make`) throw it where the mistake stands; `make` and `layer` of services fail with it
 * before anything is opened.
 *
 * @since 0.1.0
 * @category errors
 */
export class InvalidOption extends Schema.TaggedError<InvalidOption>("effect-eventsourcing/InvalidOption")(
  "InvalidOption",
  {
    option: Schema.String,
    value: Schema.String,
    expected: Schema.String
  }
) {
  /**
   * @since 0.1.0
   */
  override get message(): string {
    return `${this.option} is ${this.value}; it must be ${this.expected}`
  }
}
