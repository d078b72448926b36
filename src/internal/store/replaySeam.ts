// What a repository asks of an event store beside its public operations. EventStore exports it.
import type * as Effect from "effect/Effect"
import type * as Exit from "effect/Exit"
import type * as Option from "effect/Option"
import type * as Snapshot from "../../Snapshot.js"
import type { GetOptions, SnapshotStore } from "../../SnapshotStore.js"
import type * as StreamId from "../../StreamId.js"
import type { EventStoreError } from "./eventErrors.js"
import type { InlineSeam } from "./inline.js"
import type { LifeSeam } from "./life.js"
import type { Sealing } from "./sealing.js"

/**
 * The operations that only repositories and `Streams` use. A store that wraps another one passes on those that it does not change, as
 * in `{ ...store, replay: { ...store.replay, readTail } }`.
 *
 * @since 0.1.0
 * @category models
 */
export interface ReplaySeam {
  /**
   * Reads one page of the events that a replay folds, with the fields that a fold needs. A page has at most `limit`
   * events. If the payloads are long, it may have fewer, but at least two unless the stream or the limit ends before.
   */
  readonly readTail: (
    stream: StreamId.StreamId,
    options: { readonly fromVersion: number; readonly limit: number }
  ) => Effect.Effect<ReadonlyArray<TailEvent>, EventStoreError>

  /**
   * Returns the operations that need both stores in one database: reading a snapshot and its tail in one round trip,
   * and writing both in one transaction. Returns `None` if the stores are in different databases.
   */
  readonly withSnapshots: (snapshots: SnapshotStore["Type"]) => Option.Option<SharedDatabase>

  /**
   * Tells whether the calling fiber is inside an open transaction of this store. Events appended there may still be
   * rolled back.
   */
  readonly inTransaction: Effect.Effect<boolean>

  /**
   * Runs an effect and returns its exit, for a caller that continues after a failure. If a failed statement would abort
   * the open transaction, as on PostgreSQL, a failure undoes the effect's own statements, and the transaction stays
   * usable. If the transaction itself is lost, `attempt` fails.
   */
  readonly attempt: <A, E>(effect: Effect.Effect<A, E>) => Effect.Effect<Exit.Exit<A, unknown>, EventStoreError>

  /**
   * Calls a function after each append and import of this store that succeeded, and returns how to end that. An event
   * that was appended in an open transaction is not in the feed yet.
   */
  readonly onAppend: (listener: () => void) => () => void

  /** Adds inline projections. `None` if the store has no transactions in which an append and other writes are one. */
  readonly inline: Option.Option<InlineSeam>

  /** Gives the version of the last marker of a rewritten event after a version of a stream, or 0. */
  readonly lastRewritten: (stream: StreamId.StreamId, after: number) => Effect.Effect<number, EventStoreError>

  /** Holds the operations that only `Streams` uses. `None` if the store has none. */
  readonly life: Option.Option<LifeSeam>

  /** Seals and opens personal data. `None` if the store cannot, and refuses it. */
  readonly sealing: Option.Option<Sealing["Type"]>
}

/**
 * An event with the fields that a fold needs.
 *
 * @since 0.1.0
 * @category models
 */
export interface TailEvent {
  readonly version: number
  readonly type: string
  /** The encoded event as JSON text. */
  readonly payload: string
  /** The id of the event. It may be `null` except in the first and the last event of a page. */
  readonly eventId: string | null
  /**
   * The time of the event in milliseconds since 1970. It may be `null` except in the first and the last event of a page.
   */
  readonly time: number | null
  /** Set at the last event of a page that ends before its limit, although more events may follow. */
  readonly continued?: true | undefined
}

/**
 * The operations of two stores in one database.
 *
 * @since 0.1.0
 * @category models
 */
export interface SharedDatabase {
  readonly read: SnapshotReader
  /**
   * Runs an effect in the caller's open transaction, or in a new one. Fails with an `EventStoreError` if the
   * transaction cannot begin or commit.
   */
  readonly transaction: <A, E>(effect: Effect.Effect<A, E>) => Effect.Effect<A, E | EventStoreError>
}

/**
 * Reads a snapshot and its tail in one round trip.
 *
 * @since 0.1.0
 * @category models
 */
export interface SnapshotReader {
  (stream: StreamId.StreamId, options: ReaderOptions): Effect.Effect<
    {
      /** The snapshot that `SnapshotStore.get` would return. */
      readonly snapshot: Option.Option<Snapshot.EncodedSnapshot>
      /**
       * At most `limit` events, or fewer as in a page of `readTail`. They begin at the snapshot's own version if the options accept its schema version and
       * fingerprint. Otherwise they begin at version 1.
       */
      readonly events: ReadonlyArray<TailEvent>
      /** Whether the snapshot has data of a subject that was erased since. It must not be used then. */
      readonly erased?: boolean | undefined
    },
    EventStoreError
  >
}

/**
 * The options of a {@link SnapshotReader}.
 *
 * @since 0.1.0
 * @category models
 */
export interface ReaderOptions extends GetOptions {
  /** The fingerprint that a snapshot of `schemaVersion` must have. Default: any. */
  readonly fingerprint?: string | undefined
  readonly limit: number
}
