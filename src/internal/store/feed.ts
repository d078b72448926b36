// Reads the feed, the events of all streams in one order, page by page: checks the filter, asks the driver and decodes.
// A page has the position from which its reader continues. The position also advances past events that the filter
// excludes.
// Costs one statement of the driver a page, and no Effect for an event.
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import type * as Event from "../../Event.js"
import * as Position from "../../Position.js"
import * as StreamId from "../../StreamId.js"
import { mostInPage } from "../constants.js"
import { isRecord, unknownKey } from "../options.js"
import { streamProblem } from "../streamProblem.js"
import { quote } from "../text.js"
import { type EventDecodeError, EventStoreError } from "./eventErrors.js"
import * as Input from "./eventInput.js"
import * as Pages from "./eventPages.js"
import * as FeedInput from "./feedInput.js"
import type {
  EncodedPage,
  EncodedPageOptions,
  ListedStream,
  Page,
  ReadAllOptions,
  ReadPageOptions,
  StreamsOptions
} from "./feedModel.js"
import { later } from "./later.js"
import * as Tenant from "./tenant.js"

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
 * The maximal number of stored events that a page examines. Why: docs/decisions/0094-pages-of-the-feed.md, and for
 * filters by type docs/decisions/0129-types-left-out.md.
 */
export const mostLooked = ({ excludedTypes, limit, partition, types }: EncodedPageOptions): number => {
  if (types !== undefined || excludedTypes !== undefined) return mostLookedForTypes
  return partition === undefined ? Math.max(limit, 2_000) : mostHashed
}

const mostLookedForTypes = 10_000

/** The maximal number of events for a page of a partition whose stream ids leave the database, and are hashed. */
export const mostHashed = 1_000

export const readPage = (driver: Driver, options: ReadPageOptions | undefined): Effect.Effect<Page, EventStoreError> =>
  Input.whenReadable("readPage", undefined, () => {
    const input = FeedInput.pageInput("readPage", "limit", options)
    return typeof input === "string" ? input : () => page(driver, "readPage", input)
  })

export const readAll = (
  driver: Driver,
  options: ReadAllOptions | undefined
): Stream.Stream<Event.RecordedEvent, EventDecodeError | EventStoreError> =>
  Stream.unwrap(Input.whenReadable("readAll", undefined, () => {
    const input = FeedInput.pageInput("readAll", "pageSize", options)
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
  const { after, aggregates, tenant, types } = options
  // it is not left to drivers to keep tenants apart
  const isWanted = tenant === undefined ? () => true : Tenant.isOf(tenant)
  const read = (options: EncodedPageOptions): Effect.Effect<Page, EventStoreError> =>
    Effect.flatMap(driver.readPage(options), ({ atEnd, isAhead = false, records, settled }) =>
      isAhead
        ? new EventStoreError({ operation, reason: "InvalidInput", mayHaveAppended: false, detail: aheadOfStore })
        : Effect.succeed({ events: Pages.decode(records.filter(isWanted)), settled, atEnd }))
  const isEmpty = aggregates?.length === 0 || types?.length === 0
  return Effect.mapError(
    isEmpty ? emptyPage(driver, after, read) : read({ ...options, limit: Math.min(options.limit, mostInPage) }),
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
        read({ after, ...FeedInput.noFilter, limit: 1 }),
        ({ atEnd, settled }) => ({ events: [], settled, atEnd })
      ))

const aheadOfStore = "after is ahead of the store's head: it is a position of another database, or of events that a " +
  "restore lost. Read from a position of this store, or run SqlMigrations.afterRestore with it before any writer starts"
