// Reads pages of the feed: the events of all streams in one order. One statement reads a filtered page, the end of the
// feed and the last event that was examined, so that a reader's checkpoint advances past events that the filter
// excludes.
//
// On PostgreSQL the order follows transaction ids. The rows of a logical subscriber have the ids of the publisher. The
// subscriber therefore does not know which events are settled, and the store refuses to read the feed there. A page has
// no rows while the table has a subscription. The statement that measures the lag at the end of the feed looks for a
// subscription. A store that has found one has not advanced its positions, so it refuses until it is built again.
import type { SqlError } from "@effect/sql/SqlError"
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Metric from "effect/Metric"
import * as Option from "effect/Option"
import * as Metrics from "../../Metrics.js"
import * as Position from "../../Position.js"
import * as StreamId from "../../StreamId.js"
import type { Counted, Driver as CountAfter } from "../store/countAfter.js"
import { mostHashed, mostLooked, seen } from "../store/feed.js"
import type { EncodedPage, EncodedPageOptions } from "../store/feedModel.js"
import type { StoreClient } from "./client.js"
import type { EventStatements, PageOptions } from "./dialect.js"
import { refusal } from "./failure.js"
import type { Names } from "./names.js"
import * as Records from "./records.js"
import * as Row from "./row.js"
import type { Services } from "./services.js"

export interface Feed {
  readonly readPage: (options: EncodedPageOptions) => Effect.Effect<EncodedPage, SqlError>
  readonly head: Effect.Effect<Position.Position, SqlError>
  readonly countAfter: (options: Parameters<CountAfter["countAfter"]>[0]) => Effect.Effect<Counted, SqlError>
}

export const make = (services: Services, names: Names): Effect.Effect<Feed> => {
  const { client, statements } = services
  const { execute, inTransaction, repeat } = client
  const { feed } = statements
  const end = makeEnd(client, names, statements)
  const read = (options: PageOptions) =>
    options.partition === undefined ? readWhole(services, options) : readPartition(services, options)

  // in an open transaction a position may be one that a later snapshot sees
  const isAhead = (after: Position.Position, last: Position.Position | undefined) =>
    last !== undefined && Position.Order(after, last) > 0
      ? Effect.map(inTransaction, (isOpen) => !isOpen)
      : Effect.succeed(false)

  return Effect.as(Effect.exit(end.look), {
    countAfter: (options) =>
      end.refused.pipe(
        Effect.zipRight(repeat(execute(feed.countAfter(options)))),
        Effect.tap(([row]) => {
          if (feed.subscribed !== undefined) end.note(row)
          return end.refused
        }),
        Effect.map(([row]): Counted => ({
          events: Row.number(row.events),
          first: row.time === null ? Option.none() : DateTime.make(statements.millis(row.time))
        }))
      ),
    readPage: (options) => {
      const { after } = options
      const page = Effect.zipRight(end.refused, read(searches(options)))
      return Effect.flatMap(page, (page) => {
        // a reader that found events looks again soon
        if (!page.atEnd || (page.settled !== after && !end.wasBehind())) return Effect.succeed(page)
        return end.measure.pipe(
          Effect.flatMap((last) => page.settled === after ? isAhead(after, last) : Effect.succeed(false)),
          Effect.map((isAhead) => ({ ...page, isAhead }))
        )
      })
    },
    head: end.refused.pipe(
      Effect.zipRight(repeat(execute(feed.head))),
      Effect.tap(([row]) => {
        end.note(row)
        return end.refused
      }),
      Effect.map(([row]) => row === undefined || row.position === null ? Position.start : statements.position(row))
    )
  })
}

// each search costs a few pages of an index, and each gives as many events as the page may need
const mostBranches = 16

/** Decides how a page looks for its events: by aggregate, or through all events. */
const searches = (options: EncodedPageOptions): PageOptions => {
  const { aggregates = [], excludedTypes, limit, partition, tenant, types } = options
  const branches = aggregates.length > mostBranches || tenant !== undefined ? 0 : aggregates.length
  const looked = Math.ceil(mostLooked(options) / Math.max(branches, 1))
  const isEachWanted = branches > 0 && [types, excludedTypes, partition].every((filter) => filter === undefined)
  return {
    ...options,
    branches,
    looked: isEachWanted ? Math.min(limit, looked) : looked,
    places: partition === undefined ? limit : mostHashed,
    bytes: Records.shareOf(limit)
  }
}

const readWhole = (services: Services, options: PageOptions): Effect.Effect<EncodedPage, SqlError> => {
  const { client: { execute, repeat }, statements } = services
  return Effect.flatMap(repeat(execute(statements.feed.page(options))), (rows) => {
    const { marks, ...found } = inOrder(statements, rows)
    return Effect.map(Records.bounded(services, found), ({ cutAt, records }) => {
      const last = records.at(-1)?.position
      const full = cutAt ?? (found.rows.length >= options.limit ? last : undefined)
      // without a filter the last event is the end of the feed
      const head = marks.head ?? (isFiltered(options) || full !== undefined ? undefined : last)
      return { records, ...seen({ after: options.after, full, looked: marks.looked, head }) }
    })
  })
}

const isFiltered = ({ aggregates, excludedTypes, tenant, types }: PageOptions): boolean =>
  [aggregates, excludedTypes, tenant, types].some((filter) => filter !== undefined)

/** Finds the events of a partition by their streams, then reads them whole. Events of the feed do not change meanwhile. */
const readPartition = (services: Services, options: PageOptions): Effect.Effect<EncodedPage, SqlError> => {
  const { client: { execute, repeat }, statements } = services
  const { after, limit, partition } = options
  return Effect.flatMap(repeat(execute(statements.feed.page(options))), (rows) => {
    const { marks, positions, rows: events } = inOrder(statements, rows)
    const wanted = positions.filter((_, index) =>
      partition === undefined || StreamId.partition(Records.streamOf(events[index]), partition.of) === partition.index
    )
    const places = wanted.slice(0, limit)
    // the stream ids of later events stayed in the database
    const looked = events.length >= mostHashed ? positions[events.length - 1] : marks.looked
    const end = (full: Position.Position | undefined) => seen({ after, full, looked, head: marks.head })
    if (places.length === 0) return Effect.succeed({ records: [], ...end(undefined) })
    return Effect.flatMap(
      repeat(execute(statements.feed.at(places, Records.shareOf(places.length)))),
      (rows) =>
        Effect.map(Records.bounded(services, inOrder(statements, rows)), ({ cutAt, records }) => {
          const full = cutAt ?? (places.length < limit ? undefined : places[places.length - 1])
          return { records, ...end(full) }
        })
    )
  })
}

interface Marks {
  head?: Position.Position
  looked?: Position.Position
}

/** Separates events and marks. The parts of a union come in no promised order. */
const inOrder = (
  { position }: EventStatements,
  rows: ReadonlyArray<Row.Row>
): Records.Found & { readonly marks: Marks } => {
  const marks: Marks = {}
  const events: Array<Row.Row> = []
  const positions: Array<Position.Position> = []
  let isOrdered = true
  for (const row of rows) {
    if (row.aggregate === null) {
      if (row.position !== null) marks[row.type === "head" ? "head" : "looked"] = position(row)
      continue
    }
    const at = position(row)
    isOrdered &&= positions.length === 0 || Position.Order(positions[positions.length - 1], at) <= 0
    positions.push(at)
    events.push(row)
  }
  if (isOrdered) return { marks, rows: events, positions }
  events.sort((a, b) => Position.Order(position(a), position(b)))
  return { marks, rows: events, positions: events.map(position) }
}

/** What is at the end of the feed: events that are held back, or a subscription that forbids to read it. */
const makeEnd = (client: StoreClient, names: Names, { feed, position }: EventStatements) => {
  const { execute, repeat, swallow } = client
  let met = false
  let behind = false
  const refused = Effect.suspend(() => met ? refusal(subscriber(names.events)) : Effect.void)
  const note = (row: Row.Row | undefined) => {
    met ||= row !== undefined && Row.boolean(row.subscribed)
  }
  const look = feed.subscribed === undefined
    ? Effect.void
    : Effect.map(repeat(execute(feed.subscribed)), ([row]) => note(row))
  const lastOf = (row: Row.Row) => row.position === null || row.transaction === null ? undefined : position(row)
  const show = (row: Row.Row) => {
    behind = Row.number(row.events) > 0
    return Effect.zipRight(
      Metric.set(Metric.tagged(Metrics.feedHeldBack, "events", names.events), Row.number(row.events)),
      Metric.set(Metric.tagged(Metrics.feedLag, "events", names.events), Math.max(0, Row.number(row.lag ?? 0)))
    )
  }

  // a page does not fail with its metrics; then the question for a subscription is asked alone
  const measure = swallow(
    Effect.flatMap(repeat(execute(feed.end)), ([row]) => {
      note(row)
      return Effect.as(feed.subscribed === undefined ? Effect.void : show(row), lastOf(row))
    })
  ).pipe(
    Effect.flatMap((exit) => Exit.isSuccess(exit) ? Effect.succeed(exit.value) : Effect.as(look, undefined)),
    Effect.zipLeft(refused)
  )
  return {
    look,
    measure,
    note,
    refused,
    /** Whether the feed held events back when it was measured last. */
    wasBehind: () => behind
  }
}

const subscriber = (events: string): string =>
  `${events} is the target of a logical subscription, whose rows carry the transaction ids of the publisher: the feed ` +
  "would skip events. Read it on the publisher or on a physical replica; after a switch-over drop the subscription, then " +
  "build the layers again"
