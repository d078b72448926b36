import type { SqlError } from "@effect/sql/SqlError"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Metric from "effect/Metric"
import * as Metrics from "../../Metrics.js"
import type { OwnClient } from "./client.js"
import type { EventRow, EventStatements } from "./dialect.js"
import { refusal } from "./failure.js"
import type { Names } from "./names.js"
import * as Row from "./row.js"

/**
 * Reads pages of the feed: the events of all streams in one order.
 *
 * On PostgreSQL the order goes by transaction ids. A logical subscriber has the ids of its publisher in the rows, and
 * others in its snapshots, so that it cannot know which events are settled. There the feed is refused: a page has no rows
 * while there is a subscription to the table (the statement looks at that itself), and a page that is not full is followed
 * by the question for one, in the statement that measures the lag. A store that has met one has not counted positions on
 * from what the publisher sent, and refuses until it is built again.
 *
 * @internal
 */
export const make = (
  client: OwnClient,
  names: Names,
  { heldBack, readAll, subscribed }: EventStatements
): Effect.Effect<(options: Parameters<typeof readAll>[0]) => Effect.Effect<ReadonlyArray<EventRow>, SqlError>> => {
  const { query, repeat, swallow } = client
  let met = false
  const refused = Effect.suspend(() => met ? refusal(subscriber(names.events)) : Effect.void)
  const note = (row: { readonly subscribed: unknown } | undefined) => {
    met ||= row !== undefined && Row.boolean(row.subscribed)
  }
  const look = subscribed === undefined ? Effect.void : Effect.map(repeat(query(subscribed)), ([row]) => note(row))

  // a metric that cannot be measured takes no page away, but then the question is asked alone
  const measure = heldBack === undefined ? Effect.void : swallow(
    Effect.flatMap(repeat(query(heldBack)), ([row]) => {
      note(row)
      return Effect.zipRight(
        Metric.set(Metric.tagged(Metrics.feedHeldBack, "events", names.events), Row.number(row.events)),
        Metric.set(Metric.tagged(Metrics.feedLag, "events", names.events), Math.max(0, Row.number(row.lag ?? 0)))
      )
    })
  ).pipe(
    Effect.flatMap((exit) => Exit.isSuccess(exit) ? Effect.void : look),
    Effect.zipRight(refused)
  )

  return Effect.as(Effect.exit(look), (options) =>
    refused.pipe(
      Effect.zipRight(repeat(query(readAll(options)))),
      Effect.tap((rows) => rows.length < options.limit ? measure : Effect.void)
    ))
}

const subscriber = (events: string): string =>
  `${events} is the target of a logical subscription, whose rows carry the transaction ids of the publisher: the feed ` +
  "would skip events. Read it on the publisher or on a physical replica; after a switch-over drop the subscription, then " +
  "build the layers again"
