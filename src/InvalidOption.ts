/**
 * The error of an invalid option.
 *
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"

/**
 * Signals an invalid option, with its value and the expected one.
 *
 * Pure constructors such as `Aggregate.make` throw this error. The `make` and `layer` of a service fail with it before
 * they open anything.
 *
 * @example
 * ```ts
 * import { SqlMigrations } from "effect-eventsourcing"
 * import { Effect } from "effect"
 *
 * const migrated = (prefix: string) =>
 *   Effect.catchTag(SqlMigrations.run({ prefix }), "InvalidOption", ({ expected }) => Effect.fail(`use ${expected}`))
 * ```
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
