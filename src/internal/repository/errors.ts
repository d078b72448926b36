// The errors of Repository, which exports them.
import * as Schema from "effect/Schema"
import type * as EventStore from "../../EventStore.js"
import type * as Snapshot from "../../Snapshot.js"
import type * as SnapshotStore from "../../SnapshotStore.js"
import * as StreamId from "../../StreamId.js"
import { quote } from "../text.js"

/**
 * The errors of a load.
 *
 * @since 0.1.0
 * @category errors
 */
export type LoadError = EventStore.EventDecodeError | EventStore.HistoryGap | EventStore.EventStoreError

/**
 * The errors of a command, besides the aggregate's own rejections.
 *
 * @since 0.1.0
 * @category errors
 */
export type ExecuteError = LoadError | EventStore.VersionConflict | EventEncodeError | InvalidCommand

/**
 * A command does not match the aggregate's command schema, and `decide` threw or did not return an `Either`. If `decide`
 * throws for a command that matches the schema, that is a defect. If `decide` decides an invalid command, the command is
 * not checked: decode input from outside the program with the schema.
 *
 * @since 0.1.0
 * @category errors
 */
export class InvalidCommand extends Schema.TaggedError<InvalidCommand>("effect-eventsourcing/InvalidCommand")(
  "InvalidCommand",
  {
    stream: StreamId.StreamId,
    /** The `_tag` of the command, or a description of a value without one. */
    command: Schema.String,
    /** The position of the command in the list, from 1 on. */
    index: Schema.Number,
    /** The error that `decide` threw. */
    cause: Schema.optional(Schema.Defect)
  }
) {
  /**
   * @since 0.1.0
   */
  override get message(): string {
    return `command ${this.index} for ${StreamId.format(this.stream)}, ${quote(this.command)}, does not match the ` +
      "aggregate's command schema: decode input from outside the program with it"
  }
}

/**
 * An event that a command decided cannot be stored, because its schema or JSON cannot hold it. Nothing was appended.
 *
 * @since 0.1.0
 * @category errors
 */
export class EventEncodeError extends Schema.TaggedError<EventEncodeError>("effect-eventsourcing/EventEncodeError")(
  "EventEncodeError",
  {
    stream: StreamId.StreamId,
    /** The `_tag` of the command, or a description of a value without one. */
    command: Schema.String,
    /** The `_tag` of the event. */
    type: Schema.String,
    /** The position of the event among the events of all commands, from 1 on. */
    index: Schema.Number,
    detail: Schema.String,
    cause: Schema.optional(Schema.Defect)
  }
) {
  /**
   * @since 0.1.0
   */
  override get message(): string {
    return `${quote(this.command)} for ${StreamId.format(this.stream)}: event ${this.index}, ${quote(this.type)}, ` +
      this.detail
  }
}

/**
 * The errors of `createSnapshot`.
 *
 * @since 0.1.0
 * @category errors
 */
export type CreateSnapshotError =
  | LoadError
  | EmptyStream
  | Snapshot.StateEncodeError
  | SnapshotStore.SnapshotStoreError

/**
 * A stream without events has no state to take a snapshot of.
 *
 * @since 0.1.0
 * @category errors
 */
export class EmptyStream extends Schema.TaggedError<EmptyStream>("effect-eventsourcing/EmptyStream")("EmptyStream", {
  stream: StreamId.StreamId
}) {
  /**
   * @since 0.1.0
   */
  override get message(): string {
    return `${StreamId.format(this.stream)} has no events`
  }
}
