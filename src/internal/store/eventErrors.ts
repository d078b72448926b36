// The errors of EventStore, which exports them.
import * as Schema from "effect/Schema"
import * as ExpectedVersion from "../../ExpectedVersion.js"
import * as Position from "../../Position.js"
import * as StreamId from "../../StreamId.js"
import { reason } from "../schema/reason.js"
import { quote } from "../text.js"

/**
 * Signals that the stream is not at the version that the writer expected, because another writer was first. Load again
 * and decide anew.
 *
 * A command fails with it at once if the stream is not at the `expectedVersion` of its options. Without that option it
 * fails with it only if other writers were first at each of its `attempts`.
 *
 * @example
 * ```ts
 * import type { EventStore } from "effect-eventsourcing"
 * import { Effect } from "effect"
 *
 * const handled = <A>(effect: Effect.Effect<A, EventStore.VersionConflict>) =>
 *   Effect.catchTag(effect, "VersionConflict", ({ actual }) => Effect.log(`the stream is at version ${actual}`))
 * ```
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
    actual: Schema.Number,
    /** How often the writer tried. Default 1. A repository decides a command again after each lost race. */
    attempts: Schema.optionalWith(Schema.Number, { default: () => 1 })
  }
) {
  /** @since 0.1.0 */
  override get message(): string {
    const tries = this.attempts > 1 ? ` at the last of ${this.attempts} attempts` : ""
    return `${StreamId.format(this.stream)} is at version ${this.actual}, the writer expected ` +
      `${ExpectedVersion.format(this.expected)}${tries}: load again and decide anew`
  }
}

/**
 * Signals that the stream was deleted by `Streams.delete`. It takes no events, and it has no state.
 *
 * @example
 * ```ts
 * import type { EventStore } from "effect-eventsourcing"
 * import { Effect } from "effect"
 *
 * const handled = <A>(effect: Effect.Effect<A, EventStore.StreamDeleted>) =>
 *   Effect.catchTag(effect, "StreamDeleted", ({ stream }) => Effect.log(`${stream.id} is gone`))
 * ```
 *
 * @since 0.1.0
 * @category errors
 */
export class StreamDeleted extends Schema.TaggedError<StreamDeleted>("effect-eventsourcing/StreamDeleted")(
  "StreamDeleted",
  { stream: StreamId.StreamId }
) {
  /** @since 0.1.0 */
  override get message(): string {
    return `${StreamId.format(this.stream)} was deleted: it takes no events, and its id cannot be used again`
  }
}

/**
 * Signals that a stream has no events, so that there is nothing to delete.
 *
 * @example
 * ```ts
 * import type { Streams } from "effect-eventsourcing"
 * import { Effect } from "effect"
 *
 * const handled = <A>(effect: Effect.Effect<A, Streams.StreamNotFound>) =>
 *   Effect.catchTag(effect, "StreamNotFound", ({ stream }) => Effect.log(`${stream.id} has no events`))
 * ```
 *
 * @since 0.1.0
 * @category errors
 */
export class StreamNotFound extends Schema.TaggedError<StreamNotFound>("effect-eventsourcing/StreamNotFound")(
  "StreamNotFound",
  { stream: StreamId.StreamId }
) {
  /** @since 0.1.0 */
  override get message(): string {
    return `${StreamId.format(this.stream)} has no events: check the name of the aggregate and the id`
  }
}

/**
 * Signals that a stream has no event of a version, so that there is nothing to rewrite.
 *
 * @example
 * ```ts
 * import type { Streams } from "effect-eventsourcing"
 * import { Effect } from "effect"
 *
 * const handled = <A>(effect: Effect.Effect<A, Streams.EventNotFound>) =>
 *   Effect.catchTag(effect, "EventNotFound", ({ version }) => Effect.log(`there is no event ${version}`))
 * ```
 *
 * @since 0.1.0
 * @category errors
 */
export class EventNotFound extends Schema.TaggedError<EventNotFound>("effect-eventsourcing/EventNotFound")(
  "EventNotFound",
  { stream: StreamId.StreamId, version: Schema.Number }
) {
  /** @since 0.1.0 */
  override get message(): string {
    return `${StreamId.format(this.stream)} has no event of version ${this.version}`
  }
}

/**
 * Signals that a stream cannot be truncated, because no snapshot of the aggregate's own schema holds the state at the
 * version before `before` or at a later one. Take one with `createSnapshot` of a repository.
 *
 * - `Missing`: the stream has no snapshot.
 * - `Older`: the snapshot is of an earlier version of the stream.
 * - `Unusable`: the snapshot does not decode, is of another schema, or is of another history.
 * - `Refuted`: full replay gives another state. `Repository.verify` shows the differences.
 *
 * @example
 * ```ts
 * import type { Streams } from "effect-eventsourcing"
 * import { Effect } from "effect"
 *
 * const handled = <A>(effect: Effect.Effect<A, Streams.SnapshotRequired>) =>
 *   Effect.catchTag(effect, "SnapshotRequired", ({ reason, stream }) => Effect.log(`${stream.id}: ${reason}`))
 * ```
 *
 * @since 0.1.0
 * @category errors
 */
export class SnapshotRequired extends Schema.TaggedError<SnapshotRequired>("effect-eventsourcing/SnapshotRequired")(
  "SnapshotRequired",
  {
    stream: StreamId.StreamId,
    /** The first version that was to keep its content. */
    before: Schema.Number,
    reason: Schema.Literal("Missing", "Older", "Unusable", "Refuted"),
    detail: Schema.String
  }
) {
  /** @since 0.1.0 */
  override get message(): string {
    return `${StreamId.format(this.stream)} is not truncated before version ${this.before}: ${this.detail}`
  }
}

/**
 * Signals that an event id of the append already belongs to another event, or occurs twice in the append.
 *
 * @example
 * ```ts
 * import type { EventStore } from "effect-eventsourcing"
 * import { Effect } from "effect"
 *
 * const handled = <A>(effect: Effect.Effect<A, EventStore.DuplicateEventId>) =>
 *   Effect.catchTag(effect, "DuplicateEventId", ({ eventId }) => Effect.logError(`${eventId} is taken`))
 * ```
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
 * Signals that a stored event does not decode. The load fails until the code can read the event, and never skips it.
 *
 * @example
 * ```ts
 * import type { EventStore } from "effect-eventsourcing"
 * import { Effect } from "effect"
 *
 * const handled = <A>(effect: Effect.Effect<A, EventStore.EventDecodeError>) =>
 *   Effect.catchTag(effect, "EventDecodeError", ({ type, version }) => Effect.logError(`${type} at ${version}`))
 * ```
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
    /** The id of the event. Absent if a load met the event: a page of a replay need not have all ids. */
    eventId: Schema.optional(Schema.String),
    /** The position of the event. Absent if a load met the event. */
    position: Schema.optional(Position.Position),
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
 * Signals that the stream lacks an event that a replay needs: `Streams.truncate` has removed its content, or a row was
 * lost.
 *
 * @example
 * ```ts
 * import type { EventStore } from "effect-eventsourcing"
 * import { Effect } from "effect"
 *
 * const handled = <A>(effect: Effect.Effect<A, EventStore.HistoryGap>) =>
 *   Effect.catchTag(effect, "HistoryGap", ({ expected }) => Effect.logError(`event ${expected} is missing`))
 * ```
 *
 * @since 0.1.0
 * @category errors
 */
export class HistoryGap extends Schema.TaggedError<HistoryGap>("effect-eventsourcing/HistoryGap")("HistoryGap", {
  stream: StreamId.StreamId,
  expected: Schema.Number,
  actual: Schema.Number,
  /** Whether the event `expected` is there without its content, because `Streams.truncate` has removed that. */
  removed: Schema.optional(Schema.Boolean),
  /** Why the snapshot was not used that would give the state without that event. */
  cause: Schema.optional(Schema.Defect)
}) {
  /** @since 0.1.0 */
  override get message(): string {
    if (this.removed === true) {
      return `the content of event ${this.expected} of ${StreamId.format(this.stream)} was removed by ` +
        "Streams.truncate: only a snapshot gives a state after it" +
        (this.cause === undefined ? "" : `, and it was not used: ${reason(this.cause)}`)
    }
    return `${StreamId.format(this.stream)} has no event ${this.expected}, the next one it holds is ${this.actual}: ` +
      `restore the missing events`
  }
}

/** The gap where the content of an event was removed. */
export const removedContent = (stream: StreamId.StreamId, version: number): HistoryGap =>
  new HistoryGap({ stream, expected: version, actual: version, removed: true })

/**
 * Signals that the event store failed: no store can keep the input (`InvalidInput`), or the database failed
 * (`Unavailable`).
 *
 * `mayHaveAppended` is true if an append may have happened although it failed. Repeat it with the same event ids: it
 * then happens once.
 *
 * @example
 * ```ts
 * import type { EventStore } from "effect-eventsourcing"
 * import { Effect } from "effect"
 *
 * const handled = <A>(effect: Effect.Effect<A, EventStore.EventStoreError>) =>
 *   Effect.catchTag(effect, "EventStoreError", ({ detail }) => Effect.logError(detail))
 * ```
 *
 * @since 0.1.0
 * @category errors
 */
export class EventStoreError extends Schema.TaggedError<EventStoreError>("effect-eventsourcing/EventStoreError")(
  "EventStoreError",
  {
    operation: Schema.Literal(
      "append",
      "read",
      "readAll",
      "version",
      "find",
      "import",
      "readPage",
      "head",
      "countAfter",
      "streams",
      "delete",
      "rewrite",
      "truncate"
    ),
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
    const service = changing.has(this.operation) ? "Streams" : "EventStore"
    return `${service}.${this.operation}${subject}: ${this.detail}` +
      (this.mayHaveAppended ? ` (${mayHaveHappened(this.operation)})` : "")
  }
}

/** The operations of `Streams` use the event store, and fail with its errors. */
const changing: ReadonlySet<string> = new Set(["delete", "rewrite", "truncate"])

const mayHaveHappened = (operation: string): string =>
  operation === "import"
    ? "its last batch may have been stored: run the import again, it skips what is stored"
    : "the append may have happened: repeat it with the same event ids, or the command with its commandId"

/**
 * Signals that an inline projection could not handle the events of an append: its handler failed, died or took longer
 * than its time limit, or an event does not decode. The append was rolled back with all writes of the handlers, so
 * nothing was stored. The `cause` is the failure of the handler.
 *
 * @example
 * ```ts
 * import type { EventStore } from "effect-eventsourcing"
 * import { Effect } from "effect"
 *
 * const handled = <A>(effect: Effect.Effect<A, EventStore.InlineProjectionError>) =>
 *   Effect.catchTag(effect, "InlineProjectionError", ({ projection }) => Effect.logError(`${projection} failed`))
 * ```
 *
 * @since 0.1.0
 * @category errors
 */
export class InlineProjectionError
  extends Schema.TaggedError<InlineProjectionError>("effect-eventsourcing/InlineProjectionError")(
    "InlineProjectionError",
    {
      /** The name of the projection. */
      projection: Schema.String,
      /** The version of the projection. */
      version: Schema.Number,
      stream: StreamId.StreamId,
      cause: Schema.Defect
    }
  )
{
  /** @since 0.1.0 */
  override get message(): string {
    return `nothing was appended to ${StreamId.format(this.stream)}: the inline projection ${
      quote(this.projection)
    }, ` +
      `version ${this.version}, did not handle the events: ${reason(this.cause)}`
  }
}
