// The models of Retention, which exports them.
import type * as Duration from "effect/Duration"
import type * as Effect from "effect/Effect"
import type * as Aggregate from "../../Aggregate.js"
import type { CheckpointStoreError } from "../../CheckpointStore.js"
import type { EventStoreError } from "../../EventStore.js"
import type { SnapshotStoreError } from "../../SnapshotStore.js"
import type { Key } from "../projection/model.js"

/**
 * What is removed in time. A policy that is left out removes nothing.
 *
 * @since 0.1.0
 * @category models
 */
export interface Policies {
  /**
   * Removes the snapshots of these aggregates that have a schema version below the aggregate's own. Processes that still
   * run the older version then replay, and save theirs again.
   */
  readonly snapshots?: {
    readonly aggregates: ReadonlyArray<{ readonly name: string; readonly schemaVersion: number }>
  } | undefined
  /**
   * Removes what is left of streams that were deleted longer ago than this: their markers, and their events if those were
   * kept. Then the ids can be used again. At least 1 day.
   *
   * A stream stays until each projection and each subscription of the checkpoint store has passed its marker.
   */
  readonly tombstones?: { readonly olderThan: Duration.DurationInput } | undefined
  /**
   * Drops the parked events of a stream when the last of them was parked longer ago than this: they are never handled.
   * At least 1 day.
   */
  readonly parked?: { readonly olderThan: Duration.DurationInput } | undefined
  /**
   * Removes the contents of truncated events of these aggregates that were archived longer ago than this. It cannot be
   * undone: afterwards the snapshot is the only source of the state. At least 1 day.
   *
   * A stream keeps its archive unless it has a snapshot at the last of these contents or above it, which full replay
   * confirms. Where the beginning was removed before, there is nothing to replay, and the proof of the snapshot is enough.
   */
  readonly archives?: {
    readonly aggregates: ReadonlyArray<Aggregate.Any>
    readonly olderThan: Duration.DurationInput
  } | undefined
}

/**
 * Why a stream keeps contents that are old enough to go.
 *
 * - `Missing`: it has no snapshot of the schema version of its aggregate.
 * - `Older`: its snapshot is of a version below the contents.
 * - `Unusable`: no load uses its snapshot.
 * - `Refuted`: full replay gives another state than its snapshot.
 * - `Unreadable`: it cannot be loaded or replayed.
 * - `Deleted`: it was deleted. `tombstones` removes it.
 * - `Restored`: some of its contents are in their place again, below those in the archive.
 * - `Busy`: other processes changed it again and again.
 *
 * @since 0.1.0
 * @category models
 */
export type KeptReason =
  | "Missing"
  | "Older"
  | "Unusable"
  | "Refuted"
  | "Unreadable"
  | "Deleted"
  | "Restored"
  | "Busy"

/**
 * The name of a policy.
 *
 * @since 0.1.0
 * @category models
 */
export type Policy = keyof Policies

/**
 * How a pass works.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options {
  /** The most rows that one step removes. Default 500. */
  readonly limit?: number | undefined
  /** How long it waits after a step, so that commands do not wait. Default 50 milliseconds. */
  readonly pause?: Duration.DurationInput | undefined
  /** Is called after each step. */
  readonly onProgress?: ((progress: Progress) => Effect.Effect<void>) | undefined
}

/**
 * What a step has done.
 *
 * @since 0.1.0
 * @category models
 */
export interface Progress {
  readonly policy: Policy
  /** The number of rows that this step removed: snapshots, events with their markers, parked events, or contents. */
  readonly removed: number
  /** The number of rows that the pass has removed for the policy so far. */
  readonly total: number
}

/**
 * What a pass has done. A policy that was not asked for is not in it.
 *
 * @since 0.1.0
 * @category models
 */
export interface Report {
  readonly snapshots?: { readonly removed: number }
  readonly tombstones?: {
    /** The number of streams whose ids can be used again. */
    readonly streams: number
    /** The number of events that were removed, the markers included. */
    readonly removed: number
    /** The projections and subscriptions that streams of that age wait for, as they have not passed their markers. */
    readonly heldBackBy: ReadonlyArray<Key>
  }
  readonly parked?: { readonly removed: number }
  readonly archives?: {
    /** The number of streams of which contents were removed. */
    readonly streams: number
    /** The number of events whose contents were removed. */
    readonly removed: number
    /** How many streams keep contents that are old enough to go, by the reason. */
    readonly kept: Readonly<Partial<Record<KeptReason, number>>>
  }
}

/**
 * The errors of a pass.
 *
 * @since 0.1.0
 * @category errors
 */
export type RetentionError = EventStoreError | SnapshotStoreError | CheckpointStoreError
