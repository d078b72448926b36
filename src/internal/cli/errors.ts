import * as Schema from "effect/Schema"

/** What keeps a command of the command line from its work: input that is not as expected, or a package that is missing. */
export class CliError extends Schema.TaggedError<CliError>("effect-eventsourcing/CliError")("CliError", {
  detail: Schema.String
}) {
  override get message(): string {
    return this.detail
  }
}

/** Ends a command with status 1, although it could do its work: what it looked for is not in order. */
export class NotInOrder extends Schema.TaggedError<NotInOrder>("effect-eventsourcing/NotInOrder")("NotInOrder", {
  detail: Schema.String
}) {
  override get message(): string {
    return this.detail
  }
}
