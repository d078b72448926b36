// The errors of EventStore, which exports them.
import * as Schema from "effect/Schema"
import * as ExpectedVersion from "../../ExpectedVersion.js"
import * as StreamId from "../../StreamId.js"
import { reason } from "../schema/reason.js"
import { quote } from "../text.js"

/**
 * The stream is not at the version that the writer expected: another writer was first. Load again and decide anew.
 *
 * @since 0.1.0
 * @category errors
 */
export class VersionConflict extends Schema.TaggedError<VersionConflict>("effect-eventsourcing/VersionConflict")(
  "VersionConflict",
  {
    stream: StreamId.StreamId,
    expected: ExpectedVersion.ExpectedVersion,
    /** The version that the stream has. */
    actual: Schema.Number
  }
) {
  /** @since 0.1.0 */
  override get message(): string {
    return `${StreamId.format(this.stream)} is at version ${this.actual}, the writer expected ` +
      `${ExpectedVersion.format(this.expected)}: load again and decide anew`
  }
}

/**
 * An event id of this append belongs to another event already, or occurs twice in the append.
 *
 * @since 0.1.0
 * @category errors
 */
export class DuplicateEventId extends Schema.TaggedError<DuplicateEventId>("effect-eventsourcing/DuplicateEventId")(
  "DuplicateEventId",
  {
    stream: StreamId.StreamId,
    eventId: Schema.String
  }
) {
  /** @since 0.1.0 */
  override get message(): string {
    return `event id ${quote(this.eventId)} in an append to ${StreamId.format(this.stream)} already belongs to ` +
      `another event: give every event an id of its own`
  }
}

/**
 * A stored event does not decode. The load fails until the code can read it, and never skips an event.
 *
 * @since 0.1.0
 * @category errors
 */
export class EventDecodeError extends Schema.TaggedError<EventDecodeError>("effect-eventsourcing/EventDecodeError")(
  "EventDecodeError",
  {
    stream: StreamId.StreamId,
    version: Schema.Number,
    type: Schema.String,
    cause: Schema.Defect
  }
) {
  /** @since 0.1.0 */
  override get message(): string {
    return `event ${this.version} of ${StreamId.format(this.stream)}, of type ${quote(this.type)}, does not decode: ` +
      reason(this.cause)
  }
}

/**
 * The stream lacks an event that a replay needs: its beginning was archived, or a row was lost.
 *
 * @since 0.1.0
 * @category errors
 */
export class HistoryGap extends Schema.TaggedError<HistoryGap>("effect-eventsourcing/HistoryGap")("HistoryGap", {
  stream: StreamId.StreamId,
  expected: Schema.Number,
  actual: Schema.Number
}) {
  /** @since 0.1.0 */
  override get message(): string {
    return `${StreamId.format(this.stream)} has no event ${this.expected}, the next one it holds is ${this.actual}: ` +
      `restore the missing events`
  }
}

/**
 * The store refused an operation, because no store can keep its input (`InvalidInput`), or the database failed
 * (`Unavailable`).
 *
 * `mayHaveAppended` is true if the failure came while an append was on its way. Then the append may have happened or
 * not. Repeat it with the same event ids: it happens once.
 *
 * @since 0.1.0
 * @category errors
 */
export class EventStoreError extends Schema.TaggedError<EventStoreError>("effect-eventsourcing/EventStoreError")(
  "EventStoreError",
  {
    operation: Schema.Literal("append", "read", "readAll", "version"),
    stream: Schema.optional(StreamId.StreamId),
    reason: Schema.Literal("InvalidInput", "Unavailable"),
    mayHaveAppended: Schema.Boolean,
    detail: Schema.String,
    cause: Schema.optional(Schema.Defect)
  }
) {
  /** @since 0.1.0 */
  override get message(): string {
    const subject = this.stream === undefined ? "" : ` of ${StreamId.format(this.stream)}`
    return `EventStore.${this.operation}${subject}: ${this.detail}` +
      (this.mayHaveAppended ? " (the append may have happened: repeat it with the same event ids)" : "")
  }
}
