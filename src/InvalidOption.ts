/**
 * The error of an invalid option.
 *
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"

/**
 * An invalid option, with its value and the expected one.
 *
 * Pure constructors such as `Aggregate.make` throw this error. `make` and `layer` of a service fail with it before they
 * open anything.
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
  /** @since 0.1.0 */
  override get message(): string {
    return `${this.option} is ${this.value}; it must be ${this.expected}`
  }
}
