// The results of Repository, which exports them.
import type * as DateTime from "effect/DateTime"
import type * as Option from "effect/Option"
import type * as Event from "../../Event.js"
import type * as Position from "../../Position.js"
import type * as Snapshot from "../../Snapshot.js"
import type * as SnapshotStore from "../../SnapshotStore.js"

/**
 * The result of a command.
 *
 * @since 0.1.0
 * @category models
 */
export interface Executed<out State, out Event> {
  /** The state after the events. For a duplicate, the current state: it may include later events. */
  readonly state: State
  /** The version after the events. */
  readonly version: number
  /** The events that the command decided, as a replay decodes them. */
  readonly events: ReadonlyArray<Event>
  /** The same events in their envelopes. */
  readonly recorded: ReadonlyArray<Written<Event>>
  /** The position of the last event. `None` if the command decided no events. */
  readonly position: Option.Option<Position.Position>
  /**
   * Whether the events were stored already, by an earlier try of the command with this `commandId`. The result is then
   * that of the earlier try, except for the state. Always false for a command without an id.
   */
  readonly duplicate: boolean
}

/**
 * An event that a command wrote, in its envelope.
 *
 * @since 0.1.0
 * @category models
 */
export interface Written<out E> extends Omit<Event.Envelope<E>, "position"> {
  /**
   * The position in the order over all streams. An append returns only that of its last event, so it is `None` for the
   * other events unless they are those of a duplicate.
   */
  readonly position: Option.Option<Position.Position>
}

/**
 * The result of a load.
 *
 * @since 0.1.0
 * @category models
 */
export interface Loaded<out Id, out State> {
  readonly id: Id
  readonly state: State
  readonly version: number
  readonly exists: boolean
  /** The id of the last event. `None` at version 0. */
  readonly lastEventId: Option.Option<string>
  /** The time of the last event. `None` at version 0. */
  readonly lastEventTime: Option.Option<DateTime.Utc>
  /** The version of the snapshot that the load used, or 0 if it used none. */
  readonly snapshotVersion: number
  /** How many events the load folded. */
  readonly replayed: number
  /** Whether the load used a snapshot, and the typed reason if it did not. */
  readonly snapshotOutcome: Snapshot.SnapshotOutcome
}

/**
 * The result of `createSnapshot`.
 *
 * @since 0.1.0
 * @category models
 */
export interface CreatedSnapshot<out State> {
  readonly snapshot: Snapshot.Snapshot<State>
  /** `Saved`, or `Superseded` if the store already had a snapshot of this version or a newer one. */
  readonly outcome: SnapshotStore.SaveOutcome
}

/**
 * The result of `verify`.
 *
 * - `Verified`: the load by snapshot and the full replay gave equivalent states.
 * - `Refuted`: the two states differ. `differences` holds the first twenty places.
 * - `NoSnapshot`: the load used no snapshot, for the reason in `snapshotOutcome`.
 *
 * @since 0.1.0
 * @category models
 */
export type Verification =
  | { readonly _tag: "Verified"; readonly version: number; readonly snapshotVersion: number }
  | {
    readonly _tag: "Refuted"
    readonly version: number
    readonly snapshotVersion: number
    readonly differences: ReadonlyArray<Difference>
    /** Whether the snapshot was removed. */
    readonly removed: boolean
  }
  | { readonly _tag: "NoSnapshot"; readonly version: number; readonly snapshotOutcome: Snapshot.SnapshotOutcome }

/**
 * A place where two states differ, with both values as short text.
 *
 * @since 0.1.0
 * @category models
 */
export interface Difference {
  /** The place in the state, such as `$.lines[3].price`. */
  readonly path: string
  /** The value after full replay. */
  readonly replayed: string
  /** The value after the load by snapshot. */
  readonly loaded: string
}
