// The models of the feed, which EventStore exports.
import type * as Event from "../../Event.js"
import type * as Position from "../../Position.js"

/**
 * The events of the feed that a reader wants. An event is wanted if it passes every filter that is given.
 *
 * @since 0.1.0
 * @category models
 */
export interface FeedFilter {
  /** Reads the events after this position. Default: from the start. */
  readonly after?: Position.Position | undefined
  /** Reads the streams of these aggregates only. An empty list matches no event. Default: those of all aggregates. */
  readonly aggregates?: ReadonlyArray<string> | undefined
  /**
   * Reads events of these types only, as they are stored. A type that no event has, or an empty list, matches no event.
   * Default: events of all types.
   */
  readonly types?: ReadonlyArray<string> | undefined
  /**
   * Leaves out events of these types, as they are stored, of these aggregates. Events of all other types arrive, also
   * those of types that the caller does not know. Default: none.
   */
  readonly excludedTypes?: ReadonlyArray<ExcludedTypes> | undefined
  /**
   * Reads the events of one tenant only: those whose metadata have it as `tenant`, a string. A SQL store searches by an
   * index if `SqlMigrations.indexTenants` has created it, else it looks through all events. Default: all events.
   */
  readonly tenant?: string | undefined
  /**
   * Reads the streams of one partition only, see `StreamId.partition`. At most 1,000 events that match the rest of the
   * filter are looked at for a page of a partition. Default: all streams.
   */
  readonly partition?: Partition | undefined
}

/**
 * Types of an aggregate that a reader of the feed leaves out.
 *
 * @since 0.1.0
 * @category models
 */
export interface ExcludedTypes {
  readonly aggregate: string
  readonly types: ReadonlyArray<string>
}

/**
 * One of several partitions, which share the streams between them.
 *
 * @since 0.1.0
 * @category models
 */
export interface Partition {
  /** A whole number from 0 to `of - 1`. */
  readonly index: number
  /** The number of partitions, 1 or more. */
  readonly of: number
}

/**
 * The options of `readPage`.
 *
 * @since 0.1.0
 * @category models
 */
export interface ReadPageOptions extends FeedFilter {
  /** The maximal number of events in the page. Default 1,000. A page has at most 4,000. */
  readonly limit?: number | undefined
}

/**
 * The options of `readAll`.
 *
 * @since 0.1.0
 * @category models
 */
export interface ReadAllOptions extends FeedFilter {
  /** The maximal number of events in a page. Default 1,000. A page has at most 4,000. */
  readonly pageSize?: number | undefined
}

/**
 * A page of the feed.
 *
 * The work of a page is bounded: it examines a limited number of stored events. If the filter matches few of them, the
 * page may have few events, or none, although matching events come later. Its payloads and metadata have at most about
 * 16 MB, or it has one event. A page that ends before its limit for one of these reasons is not `atEnd`.
 *
 * @since 0.1.0
 * @category models
 */
export interface Page {
  /** The events in the order of their positions. */
  readonly events: ReadonlyArray<Event.RecordedEvent | Event.UnreadableEvent>
  /**
   * The position from which a reader with this filter continues: no further event that matches the filter can appear up
   * to it. It is never before `after`. Store it as the checkpoint, and pass it as `after` of the next page.
   */
  readonly settled: Position.Position
  /** Whether the page reached the end of the feed. Otherwise read the next page at once. */
  readonly atEnd: boolean
}

/**
 * A page as a driver reads it.
 *
 * @since 0.1.0
 * @category drivers
 */
export interface EncodedPage {
  readonly records: ReadonlyArray<Event.EncodedRecord>
  readonly settled: Position.Position
  readonly atEnd: boolean
  /** Whether it is certain that `after` is beyond every position that the store has given. Default false. */
  readonly isAhead?: boolean | undefined
}

/**
 * The options of a driver's `readPage`. The elements of a list are all different.
 *
 * @since 0.1.0
 * @category drivers
 */
export interface EncodedPageOptions {
  readonly after: Position.Position
  readonly aggregates: ReadonlyArray<string> | undefined
  readonly types: ReadonlyArray<string> | undefined
  /** Each aggregate stands once, with one type or more. All are among `aggregates` if these are given. */
  readonly excludedTypes: ReadonlyArray<ExcludedTypes> | undefined
  readonly partition: Partition | undefined
  /** A driver may search by it. It may also ignore it: the store leaves out the events of other tenants. */
  readonly tenant: string | undefined
  readonly limit: number
}

/**
 * The options of `streams`.
 *
 * @since 0.1.0
 * @category models
 */
export interface StreamsOptions {
  readonly aggregate: string
  /** Lists the ids after this one. Default: from the first id. */
  readonly after?: string | undefined
  /** The maximal number of streams. Default 100. */
  readonly limit?: number | undefined
}

/**
 * A stream of an aggregate.
 *
 * @since 0.1.0
 * @category models
 */
export interface ListedStream {
  /** The encoded id of the aggregate. */
  readonly id: string
  /** The version of its last event. */
  readonly version: number
}
