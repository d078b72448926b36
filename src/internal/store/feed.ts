// Reads the feed, the events of all streams in one order, page by page: checks the filter, asks the driver and decodes.
// A page has the position from which its reader continues. The position also advances past events that the filter
// excludes.
// Costs one statement of the driver a page, and no Effect for an event.
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import * as Event from "../../Event.js"
import * as Position from "../../Position.js"
import * as StreamId from "../../StreamId.js"
import { isRecord, unknownKey } from "../options.js"
import { streamProblem } from "../streamProblem.js"
import { keyProblem, quote } from "../text.js"
import { type EventDecodeError, EventStoreError } from "./eventErrors.js"
import * as Input from "./eventInput.js"
import * as Pages from "./eventPages.js"
import { later } from "./later.js"

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
   * Reads the streams of one partition only, see `StreamId.partition`. A page of a partition examines at most 1,000
   * stored events. Default: all streams.
   */
  readonly partition?: Partition | undefined
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
  /** The maximal number of events in the page. Default 1,000. */
  readonly limit?: number | undefined
}

/**
 * The options of `readAll`.
 *
 * @since 0.1.0
 * @category models
 */
export interface ReadAllOptions extends FeedFilter {
  /** The maximal number of events in a page. Default 1,000. */
  readonly pageSize?: number | undefined
}

/**
 * A page of the feed.
 *
 * The work of a page is bounded: it examines a limited number of stored events. If the filter matches few of them, the
 * page may have few events, or none, although matching events come later.
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
  readonly partition: Partition | undefined
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

/** The part of a driver that reads the feed. */
export interface Driver {
  /** Reads a page in bounded work. Its `settled`, `atEnd` and records belong to the same moment. */
  readonly readPage: (options: EncodedPageOptions) => Effect.Effect<EncodedPage, EventStoreError>
  readonly head: Effect.Effect<Position.Position, EventStoreError>
  /** Lists streams in the order of the UTF-8 bytes of their ids, by an index. */
  readonly streams: (options: {
    readonly aggregate: string
    readonly after: string | undefined
    readonly limit: number
  }) => Effect.Effect<ReadonlyArray<ListedStream>, EventStoreError>
}

/**
 * The maximal number of stored events that a page examines. For a partition the number is lower, whatever the limit is,
 * because the ids of all their streams leave the database and are hashed. Why:
 * docs/decisions/0094-pages-of-the-feed.md.
 */
export const mostLooked = ({ limit, partition }: Pick<EncodedPageOptions, "limit" | "partition">): number =>
  partition === undefined ? Math.max(limit, 2_000) : 1_000

export const readPage = (driver: Driver, options: ReadPageOptions | undefined): Effect.Effect<Page, EventStoreError> =>
  Input.whenReadable("readPage", undefined, () => {
    const input = pageInput("readPage", "limit", options)
    return typeof input === "string" ? input : () => page(driver, "readPage", input)
  })

export const readAll = (
  driver: Driver,
  options: ReadAllOptions | undefined
): Stream.Stream<Event.RecordedEvent, EventDecodeError | EventStoreError> =>
  Stream.unwrap(Input.whenReadable("readAll", undefined, () => {
    const input = pageInput("readAll", "pageSize", options)
    if (typeof input === "string") return input
    const read = (after: Position.Position) =>
      Effect.map(page(driver, "readAll", { ...input, after }), ({ atEnd, events, settled }) => ({
        events,
        next: atEnd ? Option.none() : Option.some(settled)
      }))
    return () => Effect.succeed(Pages.stream(input.after, read))
  }))

export const streams = (
  driver: Driver,
  options: StreamsOptions
): Effect.Effect<ReadonlyArray<ListedStream>, EventStoreError> =>
  Input.whenReadable("streams", undefined, () => {
    if (!isRecord(options)) return `the options of streams are ${quote(options)}; they must be a record with aggregate`
    const { after, aggregate, limit = 100 } = options
    const problem = unknownKey("the options of streams", options, ["aggregate", "after", "limit"]) ??
      streamProblem(StreamId.make(aggregate, after === undefined ? "-" : after)) ??
      Input.countProblem({ limit })
    return problem ?? (() => driver.streams({ aggregate, after, limit }))
  })

/**
 * How far a reader has read: to the last event of a full page, to the last event examined, or to the end of the feed.
 */
export const seen = ({ after, full, head, looked }: {
  readonly after: Position.Position
  readonly full: Position.Position | undefined
  readonly looked: Position.Position | undefined
  readonly head: Position.Position | undefined
}): { readonly settled: Position.Position; readonly atEnd: boolean } => {
  const end = head === undefined ? after : later(after, head)
  const settled = full ?? looked ?? end
  const isEnd = full === undefined && looked === undefined
  return { settled, atEnd: isEnd || (head !== undefined && Position.Order(settled, head) >= 0) }
}

const page = (
  driver: Driver,
  operation: "readAll" | "readPage",
  options: EncodedPageOptions
): Effect.Effect<Page, EventStoreError> => {
  const { after, aggregates, types } = options
  const read = (options: EncodedPageOptions): Effect.Effect<Page, EventStoreError> =>
    Effect.flatMap(driver.readPage(options), ({ atEnd, isAhead = false, records, settled }) =>
      isAhead
        ? new EventStoreError({ operation, reason: "InvalidInput", mayHaveAppended: false, detail: aheadOfStore })
        : Effect.succeed({ events: Pages.decode(records), settled, atEnd }))
  const isEmpty = aggregates?.length === 0 || types?.length === 0
  return Effect.mapError(
    isEmpty ? emptyPage(driver, after, read) : read(options),
    ({ cause, detail, mayHaveAppended, reason }) =>
      new EventStoreError({ operation, reason, mayHaveAppended, detail, ...(cause === undefined ? {} : { cause }) })
  )
}

/** Gives the page of a filter that matches no event. If `after` is beyond the head, a page of all events checks it. */
const emptyPage = (
  driver: Driver,
  after: Position.Position,
  read: (options: EncodedPageOptions) => Effect.Effect<Page, EventStoreError>
): Effect.Effect<Page, EventStoreError> =>
  Effect.flatMap(driver.head, (head) =>
    Position.Order(after, head) <= 0
      ? Effect.succeed({ events: [], settled: head, atEnd: true })
      : Effect.map(
        read({ after, aggregates: undefined, types: undefined, partition: undefined, limit: 1 }),
        ({ atEnd, settled }) => ({ events: [], settled, atEnd })
      ))

const aheadOfStore = "after is ahead of the store's head: it is a position of another database, or of events that a " +
  "restore lost. Read from a position of this store, or run SqlMigrations.afterRestore with it before any writer starts"

const defaultLimit = 1_000

const isPosition = Schema.is(Position.Position)

// the databases count in 64 bits
const maxPart = 2n ** 63n - 1n

/** Checks the options of a page and fills in the defaults, or gives a problem. Each option is read once. */
const pageInput = <Limit extends "limit" | "pageSize">(
  operation: string,
  limitName: Limit,
  options: (FeedFilter & { readonly [name in Limit]?: number | undefined }) | undefined
): EncodedPageOptions | string => {
  const wrong = unknownKey(`the options of ${operation}`, options, [
    "after",
    "aggregates",
    "types",
    "partition",
    limitName
  ])
  if (wrong !== undefined) return wrong
  const { after = Position.start, aggregates, partition, types } = options ?? {}
  const given = options?.[limitName]
  const limit = given === undefined ? defaultLimit : given
  const wantedAggregates = keysOf("aggregates", aggregates, StreamId.maxAggregateBytes)
  if (typeof wantedAggregates === "string") return wantedAggregates
  const wantedTypes = keysOf("types", types, Event.maxTypeBytes)
  if (typeof wantedTypes === "string") return wantedTypes
  const wantedPartition = partitionOf(partition)
  if (typeof wantedPartition === "string") return wantedPartition
  return Input.countProblem({ [limitName]: limit }) ??
    (isPosition(after) && Object.values(Position.toParts(after)).every((part) => BigInt(part) <= maxPart)
      ? { after, aggregates: wantedAggregates, types: wantedTypes, partition: wantedPartition, limit }
      : `after is ${quote(after)}; it must be a position of this store`)
}

/** The different elements of a list, or a problem. */
const keysOf = (
  name: string,
  list: ReadonlyArray<string> | undefined,
  maxBytes: number
): ReadonlyArray<string> | string | undefined => {
  if (list === undefined) return undefined
  if (!Array.isArray(list)) return `${name} is ${quote(list)}; it must be an array of strings`
  const keys = new Set<string>()
  for (const key of list) {
    const problem = keyProblem(key, maxBytes)
    if (problem !== undefined) return `one of ${name} ${problem}`
    keys.add(key)
  }
  return Array.from(keys)
}

/** The partition, or a problem. A single partition holds all streams, so their ids need not be hashed. */
const partitionOf = (partition: Partition | undefined): Partition | string | undefined => {
  if (partition === undefined) return undefined
  const wrong = unknownKey("the fields of partition", partition, ["index", "of"])
  if (wrong !== undefined) return wrong
  const { index, of } = partition
  return Input.countProblem({ "the number of partitions": of }) ??
    (Number.isSafeInteger(index) && index >= 0 && index < of
      ? (of === 1 ? undefined : { index, of })
      : `index of partition is ${quote(index)}; it must be a whole number from 0 to ${of - 1}`)
}
