// The models of CheckpointStore, which exports them.
import type * as Option from "effect/Option"
import type * as Position from "../../Position.js"

/**
 * Names a version of a subscription.
 *
 * @since 0.1.0
 * @category models
 */
export interface Key {
  readonly name: string
  /** A whole number, 1 or more. */
  readonly version: number
}

/**
 * What a process registers of a subscription.
 *
 * @since 0.1.0
 * @category models
 */
export interface Registration extends Key {
  readonly kind: "Projection" | "Subscription"
  /** What the subscription reads, as text. It must not change under one version. */
  readonly definition: string
  /** The number of partitions, 1 or more. */
  readonly partitions: number
  /** The position after which a new subscription begins. */
  readonly from: Position.Position
}

/**
 * The state of a partition.
 *
 * @since 0.1.0
 * @category models
 */
export interface PartitionState {
  readonly index: number
  readonly of: number
  /** The checkpoint: every event up to this position was handled or parked. */
  readonly position: Position.Position
  /** The number of events handled. */
  readonly handled: number
  /** The owner, if its lease has not ended. */
  readonly owner: Option.Option<string>
  /** A number that increases with each owner. */
  readonly epoch: number
  readonly stopped: Option.Option<Stopped>
  /** The position that the partition must not pass for now. */
  readonly hold: Option.Option<Position.Position>
}

/**
 * Why a partition was stopped.
 *
 * @since 0.1.0
 * @category models
 */
export interface Stopped {
  /** The position of the event that could not be handled. `None` if the feed could not be read. */
  readonly position: Option.Option<Position.Position>
  readonly reason: string
  /** Milliseconds since 1970. */
  readonly time: number
}

/**
 * The partitions of a subscription, as a process that works for it sees them.
 *
 * @since 0.1.0
 * @category models
 */
export interface Attendance {
  /** The number of processes that work for the subscription, the caller included. */
  readonly members: number
  /** The number of partitions that was registered last. */
  readonly wanted: number
  /** The partitions, in the order of their index. */
  readonly partitions: ReadonlyArray<PartitionState>
}

/**
 * The right to advance a partition.
 *
 * @since 0.1.0
 * @category models
 */
export interface Lease extends Key {
  readonly index: number
  readonly of: number
  readonly owner: string
  readonly epoch: number
  readonly position: Position.Position
}

/**
 * The options of `advance`.
 *
 * @since 0.1.0
 * @category models
 */
export interface AdvanceOptions {
  /** The new checkpoint. It is not before that of the lease. */
  readonly to: Position.Position
  /** The number of events up to `to` that the subscription handles. */
  readonly handled: number
  /** How long the lease lasts from the end of the effect, in milliseconds. */
  readonly ttl: number
  /** The keys of the streams about which the effect wants to know whether events of them are parked. */
  readonly streams: ReadonlyArray<string>
}

/**
 * The result of `advance`.
 *
 * @since 0.1.0
 * @category models
 */
export type Advanced<A> =
  | {
    readonly _tag: "Advanced"
    readonly lease: Lease
    readonly value: A
    /**
     * Whether the version was the active one when the checkpoint was advanced: no promotion was committed between this
     * answer and the commit. Default: the store does not say.
     */
    readonly active?: boolean | undefined
  }
  | { readonly _tag: "Held"; readonly hold: Position.Position }

/**
 * An event that a subscription set aside.
 *
 * @since 0.1.0
 * @category models
 */
export interface ParkedEvent {
  readonly position: Position.Position
  readonly eventId: string
  /** The stream as one text, which no other stream has. */
  readonly stream: string
  /** Why the event was parked. */
  readonly reason: string
  /**
   * - `Poison`: the event could not be handled.
   * - `Following`: an earlier event of the stream is parked.
   */
  readonly kind: "Poison" | "Following"
  /** Milliseconds since 1970. */
  readonly time: number
}

/**
 * A version of a subscription, as the store has it.
 *
 * @since 0.1.0
 * @category models
 */
export interface Registered extends Key {
  readonly kind: Registration["kind"]
  /** Whether this is the version that readers use. */
  readonly active: boolean
  /** The number of processes that work for it. */
  readonly members: number
  /** The number of parked events. */
  readonly parked: number
  readonly partitions: ReadonlyArray<PartitionState>
}
