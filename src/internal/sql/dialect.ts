import type * as Option from "effect/Option"
import type * as EventStore from "../../EventStore.js"
import type * as Position from "../../Position.js"
import type * as StreamId from "../../StreamId.js"
import type { Spec } from "./checkpointSpec.js"
import type { SqlFailure } from "./failure.js"
import type { Names } from "./names.js"
import type { pgText } from "./postgres/text.js"
import type { Row } from "./row.js"
import type { Query, Write } from "./statement.js"
import type { TombstoneStatements } from "./tombstoneStatements.js"

/** How statements that both databases share are written for one of them. */
export interface Dialect {
  readonly write: Write
  /** Like `write`, for a statement that runs often and has one plan: a driver may prepare it by name. */
  readonly writePrepared: Write
  /** An expression as a column of a result, see {@link file://./row.ts}. */
  readonly column: typeof pgText
  /** A DELETE whose rows are counted by the database, where it can do that. */
  readonly counted: (deletion: string) => string
  readonly events: (names: Names) => EventStatements
  readonly checkpoints: (names: Names) => Spec
}

/** The statements of the event store. */
export interface EventStatements {
  readonly append: (options: AppendOptions) => Query
  /** The last event of an append, from its rows; `undefined` where the stream's version was not as expected, or the stream was deleted. */
  readonly appended: (rows: ReadonlyArray<ReadonlyArray<unknown>>, options: AppendOptions) => AppendedRow | undefined
  /** Several appends in one statement, in an order in which two groups hardly block each other. */
  readonly appendGroup?: AppendGroup | undefined
  /** Where the events with these ids are: `event_id`, `aggregate`, `stream_id`, `version`, the position and `time`. */
  readonly standing: (ids: ReadonlyArray<string>) => Query
  /** One row with the `version` and the `type` of the last event of a stream, or no row. */
  readonly head: (stream: StreamId.StreamId) => Query
  /** The columns of `standing`, and `type`, `payload` and `metadata`. */
  readonly read: (options: ReadOptions) => Query
  readonly feed: FeedStatements
  /** Whether a unique index of the store was violated, or a statement that gives a row if so. */
  readonly isOurs: (violation: SqlFailure) => boolean | Query
  /** One row with `level`: which later commits a transaction sees. Absent where all see the same. */
  readonly isolation?: Query | undefined
  readonly import: ImportStatements
  /** Replaces an event whose metadata are still those before, and gives a row for it. */
  readonly replace: (stream: StreamId.StreamId, event: Parameters<EventStore.LifeDriver["replace"]>[1]) => Query
  /** One row with the `version` of the last marker of a rewritten event after a version, or 0. */
  readonly lastRewritten: (stream: StreamId.StreamId, after: number) => Query
  /** Deletes the events of a stream before a version. */
  readonly remove: (stream: StreamId.StreamId, before: number) => Query
  readonly tombstones: TombstoneStatements
  readonly archive: ArchiveStatements
  readonly position: (row: Row) => Position.Position
  /** The milliseconds since 1970 of a `time`. */
  readonly millis: (time: unknown) => number
  /** The columns of a `TailEvent`: version, type, payload, event id, time. */
  readonly readTail: (options: TailOptions) => Query
  /**
   * The snapshot and the tail in the same columns. The row of the snapshot has no type, its state as payload, and as
   * event id a JSON array of event id, schema version, fingerprint and time; its own time is null.
   */
  readonly readWithSnapshot: (snapshots: string) => LoadStatements
}

/** The statements of truncated streams. */
export interface ArchiveStatements {
  /** One row with `kept` and `archived`: how many events of a stream before a version have a content, and where. */
  readonly left: (stream: StreamId.StreamId, before: number) => Query
  /** Writes the contents of the events of a stream before a version into the archive. */
  readonly keep: (stream: StreamId.StreamId, options: { readonly before: number; readonly time: number }) => Query
  /** Empties the rows of the events of a stream before a version. */
  readonly empty: (stream: StreamId.StreamId, before: number) => Query
  /** Deletes contents from the archive. */
  readonly drop: (stream: StreamId.StreamId, before: number) => Query
  /** Deletes the contents of a deleted stream, if its marker is still there. */
  readonly clear: (tombstone: EventStore.Tombstone) => Query
  /** Replaces a content in the archive whose metadata are still those before, and gives a row for it. */
  readonly replace: EventStatements["replace"]
  /** The columns `place`, from 0 on, `payload` and `metadata`, which are null if those before have too many bytes. */
  readonly contents: (places: ReadonlyArray<EventStore.Place>, bytes: number) => Query
  /** The columns `archived_at` and `stream_id` of the first stream that was archived after a place and before a time. */
  readonly next: (options: EventStore.ArchivedStreamOptions) => Query
  /** One row with `count`, `up_to` and `last`. */
  readonly old: (
    stream: StreamId.StreamId,
    options: { readonly before: number; readonly limit: number }
  ) => Query
}

/** The statements that read a snapshot and its tail. */
export interface LoadStatements {
  readonly one: (options: LoadOptions) => Query
  /** Several loads in one statement. Absent where one statement is not faster. */
  readonly group?: LoadGroup | undefined
}

export interface LoadGroup {
  readonly query: (loads: ReadonlyArray<LoadOptions>) => Query
  /** The rows of each load, as its own statement gives them; `undefined` for a load whose rows are too many or too long. */
  readonly split: (
    rows: ReadonlyArray<ReadonlyArray<unknown>>,
    loads: ReadonlyArray<LoadOptions>
  ) => ReadonlyArray<ReadonlyArray<ReadonlyArray<unknown>> | undefined>
}

/** Writes appends as one statement. */
export interface AppendGroup {
  (appends: ReadonlyArray<AppendOptions>): {
    readonly query: Query
    /** The rows of each append, as its own statement gives them. */
    readonly split: (rows: Rows) => ReadonlyArray<Rows>
  }
}

type Rows = ReadonlyArray<ReadonlyArray<unknown>>

/** The statements of an import. */
export interface ImportStatements {
  readonly insert: (options: ImportOptions) => Query
  /** The highest position of an insert, from its rows. `None` if nothing was inserted. */
  readonly inserted: (rows: ReadonlyArray<ReadonlyArray<unknown>>) => Option.Option<Row>
  /** One row with `version` for each stream, in their order. */
  readonly versions: (streams: ReadonlyArray<StreamId.StreamId>) => Query
  /** One row with `event_id` and `time` for each place, in their order. They are null where no event is stored. */
  readonly eventsAt: (places: Places) => Query
}

export type ImportOptions = Parameters<EventStore.ImportDriver["insert"]>[0]

export type Places = Parameters<EventStore.ImportDriver["eventsAt"]>[0]

export type AppendOptions = Parameters<EventStore.Encoded["append"]>[0]

type EncodedReadOptions = Parameters<EventStore.Encoded["read"]>[0]

export interface ReadOptions extends EncodedReadOptions, Share {}

/** The length from which the texts of a record are left out. */
interface Share {
  /** The most bytes of a payload and its metadata: of longer ones the payload is null, and the metadata their length. */
  readonly bytes: number
}

export interface PageOptions extends EventStore.EncodedPageOptions, Share {
  /** The number of searches by aggregate, one for each. 0 if the feed is looked through as it is, or by tenant. */
  readonly branches: number
  /** How many events each search looks at, at most. */
  readonly looked: number
  /** How many of them it gives, at most. */
  readonly places: number
}

/** The statements of the feed. */
export interface FeedStatements {
  /**
   * The columns of `read`; for a partition only aggregate, stream id, type and position, and those of all partitions, at most
   * `places`. With a filter also rows without an aggregate, whose position is told by their type: `head` is the last event of the feed, which
   * may be null, `looked` the last event that was looked at if there may be more.
   */
  readonly page: (options: PageOptions) => Query
  /** The columns of `read`, for events in any order. `bytes` is their share. */
  readonly at: (positions: ReadonlyArray<Position.Position>, bytes: number) => Query
  /** One row with the position of the last event of the feed and `subscribed`, or no row. The position may be null. */
  readonly head: Query
  /**
   * One row about the end of the feed. Its position is the highest one that can have been given, null if that is not known.
   * With `subscribed` also `events` (how many the feed holds back, as an earlier one may commit later) and `lag`
   * (milliseconds since the oldest of those was appended, null without any).
   */
  readonly end: Query
  /** One row with `subscribed`: whether another server writes into the table. Then the feed gives no rows. */
  readonly subscribed?: Query | undefined
  /** One row with `events`, the number of events after a position, up to a limit, the `time` of the first, and `subscribed`. */
  readonly countAfter: (options: { readonly after: Position.Position; readonly limit: number }) => Query
  /** The columns `stream_id` and `version`, in order. */
  readonly streams: (options: Parameters<EventStore.Encoded["streams"]>[0]) => Query
}

export interface AppendedRow extends Row {
  readonly version: number
  /** Milliseconds since 1970. */
  readonly time: number
}

export interface TailOptions {
  readonly stream: StreamId.StreamId
  readonly fromVersion: number
  readonly limit: number
  /** The most bytes of a payload: a longer one is null, and the id of its event is its length. */
  readonly bytes: number
}

export interface LoadOptions extends EventStore.ReaderOptions, Pick<TailOptions, "bytes"> {
  readonly stream: StreamId.StreamId
}
