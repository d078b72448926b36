// Reads pages of the feed: the events of all streams in one order. One statement reads a filtered page, the end of the
// feed and the last event that was examined, so that a reader's checkpoint advances past events that the filter
// excludes.
//
// On PostgreSQL the order follows transaction ids. The rows of a logical subscriber have the ids of the publisher. The
// subscriber therefore does not know which events are settled, and the store refuses to read the feed there. A page has
// no rows while the table has a subscription. The statement that measures the lag at the end of the feed looks for a
// subscription. A store that has found one has not advanced its positions, so it refuses until it is built again.
import type { SqlError } from "@effect/sql/SqlError"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Metric from "effect/Metric"
import type * as Event from "../../Event.js"
import * as Metrics from "../../Metrics.js"
import * as Position from "../../Position.js"
import * as StreamId from "../../StreamId.js"
import { type EncodedPage, type EncodedPageOptions, mostLooked, seen } from "../store/feed.js"
import type { StoreClient } from "./client.js"
import type { EventStatements, PageOptions } from "./dialect.js"
import { refusal } from "./failure.js"
import type { Names } from "./names.js"
import * as Row from "./row.js"

export interface Feed {
  readonly readPage: (options: EncodedPageOptions) => Effect.Effect<EncodedPage, SqlError>
  readonly head: Effect.Effect<Position.Position, SqlError>
}

export const make = (
  client: StoreClient,
  names: Names,
  statements: EventStatements
): Effect.Effect<Feed> => {
  const { execute, inTransaction, repeat } = client
  const { feed } = statements
  const end = makeEnd(client, names, statements)
  const read = (options: PageOptions) =>
    options.partition === undefined
      ? readWhole(client, statements, options)
      : readPartition(client, statements, options)

  // in an open transaction a position may be one that a later snapshot sees
  const isAhead = (after: Position.Position, last: Position.Position | undefined) =>
    last !== undefined && Position.Order(after, last) > 0
      ? Effect.map(inTransaction, (isOpen) => !isOpen)
      : Effect.succeed(false)

  return Effect.as(Effect.exit(end.look), {
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

export const toRecord = ({ millis, position }: EventStatements, row: Row.Row): Event.EncodedRecord => ({
  id: Row.text(row.event_id),
  stream: streamOf(row),
  version: Row.number(row.version),
  position: position(row),
  type: Row.text(row.type),
  payload: Row.text(row.payload),
  metadata: Row.text(row.metadata),
  time: millis(row.time)
})

const streamOf = (row: Row.Row) => StreamId.make(Row.text(row.aggregate), Row.text(row.stream_id))

// each search costs a few pages of an index, and each gives as many events as the page may need
const mostBranches = 16

/** Decides how a page looks for its events: by aggregate, or through all events. */
const searches = (options: EncodedPageOptions): PageOptions => {
  const { aggregates = [], limit, partition, types } = options
  const branches = aggregates.length > mostBranches ? 0 : aggregates.length
  const looked = Math.ceil(mostLooked(options) / Math.max(branches, 1))
  const isEachWanted = branches > 0 && types === undefined && partition === undefined
  return { ...options, branches, looked: isEachWanted ? Math.min(limit, looked) : looked }
}

const readWhole = (
  { execute, repeat }: StoreClient,
  statements: EventStatements,
  options: PageOptions
): Effect.Effect<EncodedPage, SqlError> =>
  Effect.map(repeat(execute(statements.feed.page(options))), (rows) => {
    const { marks, records } = inOrder(statements, rows)
    const last = records.at(-1)?.position
    const full = records.length < options.limit ? undefined : last
    // without a filter the last event is the end of the feed
    const head = marks.head ?? (isFiltered(options) || full !== undefined ? undefined : last)
    return { records, ...seen({ after: options.after, full, looked: marks.looked, head }) }
  })

const isFiltered = ({ aggregates, types }: PageOptions): boolean => aggregates !== undefined || types !== undefined

/** Finds the events of a partition by their streams, then reads them whole. Events of the feed do not change meanwhile. */
const readPartition = (
  { execute, repeat }: StoreClient,
  statements: EventStatements,
  options: PageOptions
): Effect.Effect<EncodedPage, SqlError> =>
  Effect.flatMap(repeat(execute(statements.feed.page(options))), (rows) => {
    const { after, limit, partition } = options
    const marks: Marks = {}
    const positions: Array<Position.Position> = []
    for (const row of rows) {
      if (row.aggregate === null) mark(marks, statements, row)
      else if (partition === undefined || StreamId.partition(streamOf(row), partition.of) === partition.index) {
        positions.push(statements.position(row))
      }
    }
    const wanted = positions.sort(Position.Order).slice(0, limit)
    const full = wanted.length < limit ? undefined : wanted[wanted.length - 1]
    const end = seen({ after, full, looked: marks.looked, head: marks.head })
    if (wanted.length === 0) return Effect.succeed({ records: [], ...end })
    return Effect.map(repeat(execute(statements.feed.at(wanted))), (rows) => ({
      records: inOrder(statements, rows).records,
      ...end
    }))
  })

interface Marks {
  head?: Position.Position
  looked?: Position.Position
}

const mark = (marks: Marks, { position }: EventStatements, row: Row.Row): void => {
  if (row.position !== null) marks[row.type === "head" ? "head" : "looked"] = position(row)
}

/** Separates events and marks. The parts of a union come in no promised order. */
const inOrder = (statements: EventStatements, rows: ReadonlyArray<Row.Row>) => {
  const marks: Marks = {}
  const records: Array<Event.EncodedRecord> = []
  let isOrdered = true
  for (const row of rows) {
    if (row.aggregate === null) {
      mark(marks, statements, row)
      continue
    }
    const record = toRecord(statements, row)
    isOrdered &&= records.length === 0 || records[records.length - 1].position <= record.position
    records.push(record)
  }
  if (!isOrdered) records.sort((a, b) => Position.Order(a.position, b.position))
  return { marks, records }
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
