import type { Key, ParkedEvent } from "../projection/model.js"

/** How a database writes the parts of the checkpoint store's statements in which the databases differ. */
export interface Spec {
  /** Milliseconds since 1970 by the clock of the database, at this moment. */
  readonly now: string
  /** A list of values as rows with the column `given.value`. */
  readonly listed: (name: string) => string
  readonly list: (values: ReadonlyArray<string>) => unknown
  /** The condition that a version is one of `:keys`. */
  readonly isOneOf: string
  readonly keys: (keys: ReadonlyArray<Key>) => Readonly<Record<string, unknown>>
  /** Rows with the columns of parked events. */
  readonly events: string
  readonly eventValues: (events: ReadonlyArray<ParkedEvent>) => Readonly<Record<string, unknown>>
  /** Takes the right to register versions of `:name`, until the end of the transaction. */
  readonly registering: string
  /** Locks the versions that fit a condition, and selects columns of them. */
  readonly lockVersions: (columns: string, condition: string) => string
  /**
   * Takes the right to claim events of a version until the end of the transaction, unless the version is being removed, and
   * then claims them, see {@link file://./checkpointClaim.ts}. Gives a row if they are claimed.
   */
  readonly claim: string
  /** Waits for the claims on a version, and lets none begin until the end of the transaction. */
  readonly removing: (condition: string) => string | undefined
  /** At the end of a SELECT: locks its rows. */
  readonly forUpdate: string
  /** At the end of a SELECT: locks its rows, without those that are locked. */
  readonly skipLocked: string
  /** Tables of a FROM, after which statements wait for a lock for a second only. */
  readonly briefly: ReadonlyArray<string>
  /**
   * Tables of a FROM and a condition, by which an update of the partition `:index` finds no row if the row was changed while
   * the statement waited for its lock: other rows are seen as they were before.
   */
  readonly unchanged: { readonly tables: ReadonlyArray<string>; readonly condition: string }
  /** Tables of a FROM, after which the server ends a transaction that is idle for `:idle` milliseconds. */
  readonly endsIdle: ReadonlyArray<string>
}
