// The models of Projections.status, which Projections exports. They are schemas, so that a service can send them.
import * as Schema from "effect/Schema"
import * as Position from "../../Position.js"

/** Milliseconds since 1970. */
const Time = Schema.Number

/**
 * How far a checkpoint is behind the feed. The feed has the events of all aggregates and partitions: a checkpoint moves on
 * over those that are not for it.
 *
 * @example
 * ```ts
 * import type { Projections } from "effect-eventsourcing"
 *
 * const isBehind = ({ events, millis }: Projections.Lag) => events > 1_000 || millis > 60_000
 * ```
 *
 * @since 0.1.0
 * @category models
 */
export class Lag extends Schema.Class<Lag>("effect-eventsourcing/Lag")({
  /** The number of events of the feed after the checkpoint, counted up to 10,000. */
  events: Schema.Number,
  /** Whether there may be more events than that. */
  isMore: Schema.Boolean,
  /** The milliseconds since the first of these events was appended, or 0. */
  millis: Schema.Number
}) {}

/**
 * How fast a version comes nearer to the end of the feed. The lowest of its checkpoints counts.
 *
 * @example
 * ```ts
 * import type { Projections } from "effect-eventsourcing"
 *
 * const isDone = ({ remaining }: Projections.Progress) => remaining === 0
 * ```
 *
 * @since 0.1.0
 * @category models
 */
export class Progress extends Schema.Class<Progress>("effect-eventsourcing/Progress")({
  /**
   * The number of events of the feed that are left. Above 10,000 it is an estimate from the positions, which is too high
   * if positions are missing, as after appends that were rolled back.
   */
  remaining: Schema.Number,
  /**
   * The number of events of the feed that the checkpoint passes in a second, between the calls of `status` by this
   * process in the last 30 seconds. `None` at the first call.
   */
  rate: Schema.OptionFromNullOr(Schema.Number),
  /**
   * The milliseconds until the end of the feed is reached, if both go on as they did. `None` at the first call, and if
   * the end does not come nearer.
   */
  millisLeft: Schema.OptionFromNullOr(Schema.Number)
}) {}

/**
 * The state of a partition.
 *
 * @example
 * ```ts
 * import type { Projections } from "effect-eventsourcing"
 *
 * const isRunning = ({ owner }: Projections.PartitionStatus) => owner._tag === "Some"
 * ```
 *
 * @since 0.1.0
 * @category models
 */
export class PartitionStatus extends Schema.Class<PartitionStatus>("effect-eventsourcing/PartitionStatus")({
  index: Schema.Number,
  of: Schema.Number,
  /** The checkpoint: every event up to this position was handled or parked. */
  position: Position.Position,
  /** The number of events handled. */
  handled: Schema.Number,
  /** The owner, if its lease has not ended. */
  owner: Schema.OptionFromNullOr(Schema.String),
  /** A number that increases with each owner. */
  epoch: Schema.Number,
  stopped: Schema.OptionFromNullOr(Schema.Struct({
    /** The position of the event that could not be handled. `None` if the feed could not be read. */
    position: Schema.OptionFromNullOr(Position.Position),
    reason: Schema.String,
    time: Time
  })),
  /** The position that the partition must not pass for now. */
  hold: Schema.OptionFromNullOr(Position.Position),
  lag: Lag
}) {}

/**
 * The work of this process for a version.
 *
 * @example
 * ```ts
 * import type { Projections } from "effect-eventsourcing"
 *
 * const isIdle = ({ rate }: Projections.LocalStatus) => rate === 0
 * ```
 *
 * @since 0.1.0
 * @category models
 */
export class LocalStatus extends Schema.Class<LocalStatus>("effect-eventsourcing/LocalStatus")({
  /** The partitions that this process owns, by index. */
  owned: Schema.Array(Schema.Number),
  /** The number of events that this process handled. */
  handled: Schema.Number,
  /** The number of events that it handled each second, over the last ten seconds. */
  rate: Schema.Number,
  /** How often another process took a partition from this one. */
  lost: Schema.Number,
  /** The last failure. It stays after a recovery. */
  lastError: Schema.OptionFromNullOr(Schema.Struct({ reason: Schema.String, time: Time }))
}) {}

/**
 * The state of a version of a projection or a subscription. It is a schema: an API can give it out. The reasons may
 * contain the program's values.
 *
 * @example
 * ```ts
 * import { HttpApiEndpoint, HttpApiGroup } from "@effect/platform"
 * import { Projections } from "effect-eventsourcing"
 * import { Schema } from "effect"
 *
 * const operations = HttpApiGroup.make("operations").add(
 *   HttpApiEndpoint.get("status")`/status`.addSuccess(Schema.Array(Projections.Status))
 * )
 * ```
 *
 * @since 0.1.0
 * @category models
 */
export class Status extends Schema.Class<Status>("effect-eventsourcing/Status")({
  name: Schema.String,
  version: Schema.Number,
  kind: Schema.Literal("Projection", "Subscription"),
  /** Whether this is the version that readers use. */
  active: Schema.Boolean,
  /** The number of processes that work for it. */
  members: Schema.Number,
  /** The number of parked events. */
  parked: Schema.Number,
  partitions: Schema.Array(PartitionStatus),
  progress: Progress,
  /** What this process does for it. `None` if it does nothing. */
  local: Schema.OptionFromNullOr(LocalStatus)
}) {}
