// The results of Repository, which exports them.
import type * as Snapshot from "../../Snapshot.js"
import type * as SnapshotStore from "../../SnapshotStore.js"

/**
 * The result of a command.
 *
 * @since 0.1.0
 * @category models
 */
export interface Executed<out State, out Event> {
  /** The state after the events. */
  readonly state: State
  /** The version after the events. */
  readonly version: number
  /** The events that the command decided, as a replay decodes them. */
  readonly events: ReadonlyArray<Event>
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
  /** The version of the snapshot that was used, 0 without one. */
  readonly snapshotVersion: number
  /** How many events were folded. */
  readonly replayed: number
  /** Whether a snapshot was used, and the typed reason if it was not. */
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
  /** `Superseded` if the store already had this version, or a newer one. */
  readonly outcome: SnapshotStore.SaveOutcome
}

/**
 * The result of `verify`.
 *
 * - `Verified`: the load by snapshot and full replay gave equivalent states.
 * - `Refuted`: they did not. `differences` holds the first twenty.
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
  /** Such as `$.lines[3].price`. */
  readonly path: string
  /** The value after full replay. */
  readonly replayed: string
  /** The value after the load by snapshot. */
  readonly loaded: string
}
