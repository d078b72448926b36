// The errors of Repository, which exports them.
import * as Schema from "effect/Schema"
import * as EventStore from "../../EventStore.js"
import type * as Snapshot from "../../Snapshot.js"
import type * as SnapshotStore from "../../SnapshotStore.js"
import * as StreamId from "../../StreamId.js"
import * as Markers from "../markers.js"
import { reason } from "../schema/reason.js"
import { quote } from "../text.js"

/**
 * The errors of a load.
 *
 * @since 0.1.0
 * @category errors
 */
export type LoadError =
  | EventStore.EventDecodeError
  | EventStore.EventStoreError
  | EventStore.HistoryGap
  | EventStore.StreamDeleted
  | HistoryRewritten
  | IdEncodeError
  | ReplayTooLong

/**
 * The errors of a history.
 *
 * @since 0.1.0
 * @category errors
 */
export type HistoryError =
  | EventStore.EventDecodeError
  | EventStore.EventStoreError
  | EventStore.HistoryGap
  | EventStore.StreamDeleted
  | HistoryRewritten
  | IdEncodeError

/** Why a stream lacks the version before one of its events. If it was deleted, only the marker need be left. */
export const gapBefore = (
  stream: StreamId.StreamId,
  expected: number,
  { type, version }: { readonly type: string; readonly version: number }
): EventStore.HistoryGap | EventStore.StreamDeleted =>
  type === Markers.deleted
    ? new EventStore.StreamDeleted({ stream })
    : new EventStore.HistoryGap({ stream, expected, actual: version })

/** Gives the gap itself where the content of an event was removed. */
export const orGap = <E>(
  error: E | EventStore.EventDecodeError
): E | EventStore.EventDecodeError | EventStore.HistoryGap =>
  error instanceof EventStore.EventDecodeError && error.cause instanceof EventStore.HistoryGap ? error.cause : error

/**
 * Signals that a stream has not reached the requested version.
 *
 * @example
 * ```ts
 * import type { Repository } from "effect-eventsourcing"
 * import { Effect } from "effect"
 *
 * const handled = <A>(effect: Effect.Effect<A, Repository.VersionNotReached>) =>
 *   Effect.catchTag(effect, "VersionNotReached", ({ head }) => Effect.log(`the last version is ${head}`))
 * ```
 *
 * @since 0.1.0
 * @category errors
 */
export class VersionNotReached extends Schema.TaggedError<VersionNotReached>("effect-eventsourcing/VersionNotReached")(
  "VersionNotReached",
  {
    stream: StreamId.StreamId,
    /** The requested version. */
    version: Schema.Number,
    /** The version of the stream. */
    head: Schema.Number
  }
) {
  /** @since 0.1.0 */
  override get message(): string {
    return `${StreamId.format(this.stream)} is at version ${this.head} and has not reached version ${this.version}: ` +
      "ask for a version up to the last one, or give a time as a DateTime"
  }
}

/**
 * Signals that a load would fold more events than `maxReplay` allows. A snapshot makes the next load short: take one
 * with `createSnapshot`, which has no such limit, or wait for the worker in background mode.
 *
 * @example
 * ```ts
 * import type { Repository } from "effect-eventsourcing"
 * import { Effect } from "effect"
 *
 * const handled = <A>(effect: Effect.Effect<A, Repository.ReplayTooLong>) =>
 *   Effect.catchTag(effect, "ReplayTooLong", ({ maxReplay }) => Effect.logWarning(`more than ${maxReplay} events`))
 * ```
 *
 * @since 0.1.0
 * @category errors
 */
export class ReplayTooLong extends Schema.TaggedError<ReplayTooLong>("effect-eventsourcing/ReplayTooLong")(
  "ReplayTooLong",
  {
    stream: StreamId.StreamId,
    /** The first version of the page of events that passed the limit. */
    fromVersion: Schema.Number,
    /** The limit. */
    maxReplay: Schema.Number
  }
) {
  /** @since 0.1.0 */
  override get message(): string {
    return `${StreamId.format(this.stream)}: the events from version ${this.fromVersion} on exceed maxReplay, ` +
      `${this.maxReplay} events: take a snapshot with createSnapshot, which has no such limit`
  }
}

/**
 * Signals that the id of an aggregate does not encode with its schema. The repository did not call the store.
 *
 * @example
 * ```ts
 * import type { Repository } from "effect-eventsourcing"
 * import { Effect } from "effect"
 *
 * const handled = <A>(effect: Effect.Effect<A, Repository.IdEncodeError>) =>
 *   Effect.catchTag(effect, "IdEncodeError", ({ aggregate }) => Effect.logError(`invalid id of ${aggregate}`))
 * ```
 *
 * @since 0.1.0
 * @category errors
 */
export class IdEncodeError extends Schema.TaggedError<IdEncodeError>("effect-eventsourcing/IdEncodeError")(
  "IdEncodeError",
  {
    /** The name of the aggregate. */
    aggregate: Schema.String,
    cause: Schema.Defect
  }
) {
  /** @since 0.1.0 */
  override get message(): string {
    return `the id of the ${this.aggregate} does not encode: ${reason(this.cause)}`
  }
}

/**
 * Signals that the history of the stream was rewritten between two reads, as a restore may do. A load and `verify` then
 * begin again, and fail only if that happens each time. A `history` fails at once, because it has already given events.
 * Read again when the rewrite has ended.
 *
 * @example
 * ```ts
 * import type { Repository } from "effect-eventsourcing"
 * import { Effect } from "effect"
 *
 * const handled = <A>(effect: Effect.Effect<A, Repository.HistoryRewritten>) =>
 *   Effect.catchTag(effect, "HistoryRewritten", (error) => Effect.logWarning(error.message))
 * ```
 *
 * @since 0.1.0
 * @category errors
 */
export class HistoryRewritten extends Schema.TaggedError<HistoryRewritten>("effect-eventsourcing/HistoryRewritten")(
  "HistoryRewritten",
  { stream: StreamId.StreamId }
) {
  /** @since 0.1.0 */
  override get message(): string {
    return `the history of ${StreamId.format(this.stream)} was rewritten between two reads of it: read it again ` +
      "when the rewrite has ended"
  }
}

/**
 * The errors of a command, besides the aggregate's own rejections.
 *
 * @since 0.1.0
 * @category errors
 */
export type ExecuteError =
  | LoadError
  | EventStore.VersionConflict
  | EventStore.InlineProjectionError
  | EventEncodeError
  | InvalidCommand
  | InvalidCommandId

/**
 * Signals that a command id is not a text of 1 to {@link maxCommandIdBytes} bytes that every store can keep. The command
 * was not decided, and the repository did not call the store.
 *
 * @example
 * ```ts
 * import type { Repository } from "effect-eventsourcing"
 * import { Effect } from "effect"
 *
 * const handled = <A>(effect: Effect.Effect<A, Repository.InvalidCommandId>) =>
 *   Effect.catchTag(effect, "InvalidCommandId", ({ detail }) => Effect.logError(`the command id ${detail}`))
 * ```
 *
 * @since 0.1.0
 * @category errors
 */
export class InvalidCommandId extends Schema.TaggedError<InvalidCommandId>("effect-eventsourcing/InvalidCommandId")(
  "InvalidCommandId",
  {
    /** The name of the aggregate. */
    aggregate: Schema.String,
    /** The problem, as in "is empty". */
    detail: Schema.String
  }
) {
  /** @since 0.1.0 */
  override get message(): string {
    return `the id of a command for ${quote(this.aggregate)} ${this.detail}: it must be a text of 1 to ` +
      `${maxCommandIdBytes} bytes of UTF-8 without NUL and lone surrogates`
  }
}

/**
 * The maximal length of a command id, in bytes of UTF-8.
 *
 * @example
 * ```ts
 * import { Repository } from "effect-eventsourcing"
 *
 * const fits = (text: string) => new TextEncoder().encode(text).length <= Repository.maxCommandIdBytes
 * ```
 *
 * @since 0.1.0
 * @category constants
 */
export const maxCommandIdBytes = 1_024

/**
 * Signals that a command does not match the aggregate's command schema, and that `decide` threw for it or did not
 * return an `Either`. An error that `decide` throws for a command that matches the schema is a defect. A command that
 * `decide` accepts is not checked: decode input from outside the program with the schema.
 *
 * @example
 * ```ts
 * import type { Repository } from "effect-eventsourcing"
 * import { Effect } from "effect"
 *
 * const handled = <A>(effect: Effect.Effect<A, Repository.InvalidCommand>) =>
 *   Effect.catchTag(effect, "InvalidCommand", ({ command }) => Effect.logError(`invalid command ${command}`))
 * ```
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
  /** @since 0.1.0 */
  override get message(): string {
    return `command ${this.index} for ${StreamId.format(this.stream)}, ${quote(this.command)}, does not match the ` +
      "aggregate's command schema: decode input from outside the program with it"
  }
}

/**
 * Signals that an event of a command cannot be stored, because its schema or JSON cannot hold it. Nothing was appended.
 *
 * @example
 * ```ts
 * import type { Repository } from "effect-eventsourcing"
 * import { Effect } from "effect"
 *
 * const handled = <A>(effect: Effect.Effect<A, Repository.EventEncodeError>) =>
 *   Effect.catchTag(effect, "EventEncodeError", ({ detail, type }) => Effect.logError(`${type}: ${detail}`))
 * ```
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
  /** @since 0.1.0 */
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
 * Signals that a stream has no events, and so no state to take a snapshot of.
 *
 * @example
 * ```ts
 * import type { Repository } from "effect-eventsourcing"
 * import { Effect } from "effect"
 *
 * const handled = <A>(effect: Effect.Effect<A, Repository.EmptyStream>) =>
 *   Effect.catchTag(effect, "EmptyStream", ({ stream }) => Effect.log(`${stream.id} has no events`))
 * ```
 *
 * @since 0.1.0
 * @category errors
 */
export class EmptyStream extends Schema.TaggedError<EmptyStream>("effect-eventsourcing/EmptyStream")("EmptyStream", {
  stream: StreamId.StreamId
}) {
  /** @since 0.1.0 */
  override get message(): string {
    return `${StreamId.format(this.stream)} has no events`
  }
}
