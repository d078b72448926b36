/**
 * Snapshots: the folded state at a version, with the id of the event that proves that the stream still has that
 * history.
 *
 * @since 0.1.0
 */
import * as DateTime from "effect/DateTime"
import * as Either from "effect/Either"
import * as Schema from "effect/Schema"
import type * as Aggregate from "./Aggregate.js"
import * as Json from "./internal/schema/json.js"
import { reason } from "./internal/schema/reason.js"
import { encodeState } from "./internal/schema/stateText.js"
import * as StreamId from "./StreamId.js"

/**
 * A snapshot with its state decoded.
 *
 * @since 0.1.0
 * @category models
 */
export interface Snapshot<out State> {
  readonly stream: StreamId.StreamId
  /** The version of the stream up to which the state is folded. */
  readonly version: number
  /** The id of the event at that version. If it is derived from a command id, `@` and the event's time follow. */
  readonly eventId: string
  readonly schemaVersion: number
  readonly fingerprint: string
  readonly state: State
  /** The time at which it was taken, by the writer's `Clock`. */
  readonly time: DateTime.Utc
}

/**
 * A snapshot as the stores keep it: the state as JSON text, the time in milliseconds since 1970.
 *
 * @since 0.1.0
 * @category models
 */
export interface EncodedSnapshot {
  readonly stream: StreamId.StreamId
  readonly version: number
  readonly eventId: string
  readonly schemaVersion: number
  readonly fingerprint: string
  readonly state: string
  readonly time: number
}

/**
 * Signals that a snapshot was taken with another version of the state's schema, from which there is no migration.
 *
 * @example
 * ```ts
 * import type { Snapshot } from "effect-eventsourcing"
 *
 * const isOutdated = (outcome: Snapshot.SnapshotOutcome) => outcome._tag === "SchemaVersionMismatch"
 * ```
 *
 * @since 0.1.0
 * @category errors
 */
export class SchemaVersionMismatch extends Schema.TaggedError<SchemaVersionMismatch>(
  "effect-eventsourcing/SchemaVersionMismatch"
)("SchemaVersionMismatch", {
  stream: StreamId.StreamId,
  version: Schema.Number,
  found: Schema.Number,
  expected: Schema.Number
}) {
  /** @since 0.1.0 */
  override get message(): string {
    return `the snapshot of ${
      StreamId.format(this.stream)
    } at version ${this.version} has schema version ${this.found}, ` +
      `this program has ${this.expected}`
  }
}

/**
 * Signals that the state's schema changed although its version did not: the snapshot has the fingerprint of another
 * schema.
 *
 * @example
 * ```ts
 * import type { Snapshot } from "effect-eventsourcing"
 *
 * const hasDrifted = (outcome: Snapshot.SnapshotOutcome) => outcome._tag === "SchemaDrift"
 * ```
 *
 * @since 0.1.0
 * @category errors
 */
export class SchemaDrift extends Schema.TaggedError<SchemaDrift>("effect-eventsourcing/SchemaDrift")("SchemaDrift", {
  stream: StreamId.StreamId,
  version: Schema.Number,
  schemaVersion: Schema.Number,
  found: Schema.String,
  expected: Schema.String
}) {
  /** @since 0.1.0 */
  override get message(): string {
    return `the snapshot of ${StreamId.format(this.stream)} at version ${this.version} was taken with another schema ` +
      `(fingerprint ${this.found}) than this program's (${this.expected}), both of schema version ${this.schemaVersion}: ` +
      `raise schemaVersion where the state's schema changes`
  }
}

/**
 * Signals that the state in a snapshot is not JSON, or does not decode.
 *
 * @example
 * ```ts
 * import type { Snapshot } from "effect-eventsourcing"
 *
 * const isDamaged = (outcome: Snapshot.SnapshotOutcome) => outcome._tag === "StateDecodeError"
 * ```
 *
 * @since 0.1.0
 * @category errors
 */
export class StateDecodeError extends Schema.TaggedError<StateDecodeError>("effect-eventsourcing/StateDecodeError")(
  "StateDecodeError",
  {
    stream: StreamId.StreamId,
    version: Schema.Number,
    cause: Schema.Defect
  }
) {
  /** @since 0.1.0 */
  override get message(): string {
    return `the state in the snapshot of ${StreamId.format(this.stream)} at version ${this.version} does not decode: ` +
      reason(this.cause)
  }
}

/**
 * Signals that the stream does not have, at the snapshot's version, the last event that the snapshot folded: the stream
 * was restored from an older copy, truncated, replaced or deleted. `actual` is the id of the event at that version.
 *
 * @example
 * ```ts
 * import type { Snapshot } from "effect-eventsourcing"
 *
 * const isOfAnotherHistory = (outcome: Snapshot.SnapshotOutcome) => outcome._tag === "HistoryMismatch"
 * ```
 *
 * @since 0.1.0
 * @category errors
 */
export class HistoryMismatch extends Schema.TaggedError<HistoryMismatch>("effect-eventsourcing/HistoryMismatch")(
  "HistoryMismatch",
  {
    stream: StreamId.StreamId,
    version: Schema.Number,
    expected: Schema.String,
    actual: Schema.NullOr(Schema.String)
  }
) {
  /** @since 0.1.0 */
  override get message(): string {
    const actual = this.actual === this.expected ? "it after a rewritten one" : `event ${this.actual}`
    return `the snapshot of ${StreamId.format(this.stream)} was folded up to event ${this.expected} at version ` +
      `${this.version}, where the stream has ${this.actual === null ? "no event" : actual}`
  }
}

/**
 * Signals that the snapshot store failed, or did not answer in time.
 *
 * @example
 * ```ts
 * import type { Snapshot } from "effect-eventsourcing"
 *
 * const isDown = (outcome: Snapshot.SnapshotOutcome) => outcome._tag === "StoreUnavailable"
 * ```
 *
 * @since 0.1.0
 * @category errors
 */
export class StoreUnavailable extends Schema.TaggedError<StoreUnavailable>("effect-eventsourcing/StoreUnavailable")(
  "StoreUnavailable",
  {
    stream: StreamId.StreamId,
    cause: Schema.Defect
  }
) {
  /** @since 0.1.0 */
  override get message(): string {
    return `the snapshot store did not give the snapshot of ${StreamId.format(this.stream)}: ${reason(this.cause)}`
  }
}

/**
 * Signals that the snapshot has personal data of a subject that was erased since it was taken.
 *
 * @example
 * ```ts
 * import type { Snapshot } from "effect-eventsourcing"
 *
 * const isErased = (outcome: Snapshot.SnapshotOutcome) => outcome._tag === "SubjectErased"
 * ```
 *
 * @since 0.1.0
 * @category errors
 */
export class SubjectErased extends Schema.TaggedError<SubjectErased>("effect-eventsourcing/SubjectErased")(
  "SubjectErased",
  {
    stream: StreamId.StreamId,
    version: Schema.Number
  }
) {
  /** @since 0.1.0 */
  override get message(): string {
    return `the snapshot of ${
      StreamId.format(this.stream)
    } at version ${this.version} has personal data of a subject ` +
      "that was erased since"
  }
}

/**
 * The reason why a snapshot does not decode.
 *
 * @since 0.1.0
 * @category errors
 */
export type DecodeFailure = SchemaVersionMismatch | SchemaDrift | StateDecodeError

/**
 * The reason why a load could not use a snapshot, or not read one. The load replayed all events instead.
 *
 * @since 0.1.0
 * @category errors
 */
export type SnapshotFailure = DecodeFailure | HistoryMismatch | StoreUnavailable | SubjectErased

/**
 * Signals that the schema of a state, or JSON, cannot hold the state. No snapshot of it is taken.
 *
 * @example
 * ```ts
 * import type { Repository } from "effect-eventsourcing"
 * import { Effect } from "effect"
 *
 * const attempt = <A>(snapshot: Effect.Effect<A, Repository.CreateSnapshotError>) =>
 *   Effect.catchTag(snapshot, "StateEncodeError", (error) => Effect.logWarning(error.message))
 * ```
 *
 * @since 0.1.0
 * @category errors
 */
export class StateEncodeError extends Schema.TaggedError<StateEncodeError>("effect-eventsourcing/StateEncodeError")(
  "StateEncodeError",
  {
    stream: StreamId.StreamId,
    version: Schema.Number,
    cause: Schema.Defect
  }
) {
  /** @since 0.1.0 */
  override get message(): string {
    return `the state of ${StreamId.format(this.stream)} at version ${this.version} does not encode: ${
      reason(this.cause)
    }`
  }
}

/**
 * The outcome of a load's search for a snapshot.
 *
 * - `Hit`: it used the snapshot as it was.
 * - `Migrated`: it migrated the snapshot from an older schema version.
 * - `Drifted`: it decoded the snapshot although the schema drifted, because `onDrift` is `decode`.
 * - `None`: the stream has no snapshot.
 * - `Disabled`: it did not look for one.
 * - A {@link SnapshotFailure}: the reason why it did not use the snapshot.
 *
 * @since 0.1.0
 * @category models
 */
export type SnapshotOutcome =
  | { readonly _tag: "Hit" }
  | { readonly _tag: "Migrated"; readonly from: number }
  | { readonly _tag: "Drifted"; readonly fingerprint: string }
  | { readonly _tag: "None" }
  | { readonly _tag: "Disabled" }
  | SnapshotFailure

/**
 * The options of {@link encode}.
 *
 * @since 0.1.0
 * @category models
 */
export interface EncodeOptions<out State> {
  readonly stream: StreamId.StreamId
  readonly version: number
  readonly eventId: string
  readonly state: State
  readonly time: DateTime.Utc
}

/**
 * Encodes a snapshot for the stores. It fails if the encoded state does not decode to the same state.
 *
 * @example
 * ```ts
 * import { Aggregate, Snapshot, StreamId } from "effect-eventsourcing"
 * import { DateTime, Either, Schema } from "effect"
 *
 * const Counter = Aggregate.make({
 *   name: "Counter",
 *   id: Schema.String,
 *   state: Schema.Int,
 *   event: Schema.TaggedStruct("Counted", {}),
 *   command: Schema.TaggedStruct("Count", {}),
 *   initial: () => 0,
 *   evolve: (state) => state + 1,
 *   decide: () => Either.right([{ _tag: "Counted" }])
 * })
 *
 * const stream = StreamId.make("Counter", "a")
 * const time = DateTime.unsafeNow()
 * const encoded = Snapshot.encode(Counter, { stream, version: 3, eventId: "event-3", state: 3, time })
 * ```
 *
 * @since 0.1.0
 * @category encoding
 */
export const encode = <Name extends string, Id, State, Event, Command, Rejection>(
  aggregate: Aggregate.Aggregate<Name, Id, State, Event, Command, Rejection>,
  options: EncodeOptions<NoInfer<State>>
): Either.Either<EncodedSnapshot, StateEncodeError> => {
  const { eventId, state, stream, time, version } = options
  const text = encodeState(aggregate.state, state)
  if (Either.isLeft(text)) return Either.left(new StateEncodeError({ stream, version, cause: text.left }))
  const { fingerprint, schemaVersion } = aggregate
  const millis = DateTime.toEpochMillis(time)
  return Either.right({ stream, version, eventId, schemaVersion, fingerprint, state: text.right, time: millis })
}

/**
 * Decodes a stored snapshot that was taken with this aggregate's schema or can be migrated to it. It does not prove
 * that the stream still has the history of the snapshot: the load does.
 *
 * `schemaVersion` and `fingerprint` of the result are those of the stored snapshot, also after a migration.
 *
 * @example
 * ```ts
 * import { Aggregate, Snapshot } from "effect-eventsourcing"
 * import { Either, Schema } from "effect"
 *
 * const Counter = Aggregate.make({
 *   name: "Counter",
 *   id: Schema.String,
 *   state: Schema.Int,
 *   event: Schema.TaggedStruct("Counted", {}),
 *   command: Schema.TaggedStruct("Count", {}),
 *   initial: () => 0,
 *   evolve: (state) => state + 1,
 *   decide: () => Either.right([{ _tag: "Counted" }])
 * })
 *
 * const stateOf = (stored: Snapshot.EncodedSnapshot) =>
 *   Either.map(Snapshot.decode(Counter, stored), ({ state }) => state)
 * ```
 *
 * @since 0.1.0
 * @category encoding
 */
export const decode = <Name extends string, Id, State, Event, Command, Rejection>(
  aggregate: Aggregate.Aggregate<Name, Id, State, Event, Command, Rejection>,
  encoded: EncodedSnapshot,
  options?: {
    /** How to treat a snapshot of this schema version with another fingerprint. `replay` (the default) refuses it. */
    readonly onDrift?: "replay" | "decode" | undefined
  }
): Either.Either<Snapshot<State>, DecodeFailure> => {
  const { fingerprint, schemaVersion, stream, version } = encoded
  const own = schemaVersion === aggregate.schemaVersion
  const schema = own
    ? { fingerprint: aggregate.fingerprint, decode: aggregate.state.decode }
    : aggregate.migrations.find((source) => source.version === schemaVersion)
  if (schema === undefined) {
    const expected = aggregate.schemaVersion
    return Either.left(new SchemaVersionMismatch({ stream, version, found: schemaVersion, expected }))
  }
  if (fingerprint !== schema.fingerprint && !(own && options?.onDrift === "decode")) {
    const expected = schema.fingerprint
    return Either.left(new SchemaDrift({ stream, version, schemaVersion, found: fingerprint, expected }))
  }
  const failure = (cause: unknown) => new StateDecodeError({ stream, version, cause })
  if (!Number.isSafeInteger(version) || version < 1) return Either.left(failure(new Error(`its version is ${version}`)))
  const json = Json.parse(encoded.state)
  if (Either.isLeft(json)) return Either.left(failure(json.left))
  const state = schema.decode(json.right)
  if (Either.isLeft(state)) return Either.left(failure(state.left))
  const time = DateTime.make(encoded.time)
  if (time._tag === "None") return Either.left(failure(new Error(`its time is ${encoded.time}`)))
  return Either.right({
    stream,
    version,
    eventId: encoded.eventId,
    schemaVersion,
    fingerprint,
    state: state.right,
    time: DateTime.toUtc(time.value)
  })
}
