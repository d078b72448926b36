import type { SqlError } from "@effect/sql/SqlError"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Metric from "effect/Metric"
import * as Metrics from "../../Metrics.js"
import type { StoreClient } from "./client.js"
import type { EventStatements } from "./dialect.js"
import { refusal } from "./failure.js"
import type { Names } from "./names.js"
import * as Row from "./row.js"

/**
 * Reads pages of the feed: the events of all streams in one order.
 *
 * On PostgreSQL the order follows transaction ids. The rows of a logical subscriber have the ids of the publisher, so that
 * it cannot tell which events are settled, and the feed is refused there. A page has no rows while the table has a
 * subscription, and the statement that measures the lag after a page that is not full asks for one. A store that has met a
 * subscription has not counted positions on, and refuses until it is built again.
 */
export const make = (
  client: StoreClient,
  names: Names,
  { heldBack, readAll, subscribed }: EventStatements
): Effect.Effect<(options: Parameters<typeof readAll>[0]) => Effect.Effect<ReadonlyArray<Row.Row>, SqlError>> => {
  const { execute, repeat, swallow } = client
  let met = false
  const refused = Effect.suspend(() => met ? refusal(subscriber(names.events)) : Effect.void)
  const note = (row: Row.Row | undefined) => {
    met ||= row !== undefined && Row.boolean(row.subscribed)
  }
  const look = subscribed === undefined
    ? Effect.void
    : Effect.map(repeat(execute(subscribed)), ([row]) => note(row))

  // a page does not fail with its metrics; then the question for a subscription is asked alone
  const measure = heldBack === undefined ? Effect.void : swallow(
    Effect.flatMap(repeat(execute(heldBack)), ([row]) => {
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
      Effect.zipRight(repeat(execute(readAll(options)))),
      Effect.tap((rows) => rows.length < options.limit ? measure : Effect.void)
    ))
}

const subscriber = (events: string): string =>
  `${events} is the target of a logical subscription, whose rows carry the transaction ids of the publisher: the feed ` +
  "would skip events. Read it on the publisher or on a physical replica; after a switch-over drop the subscription, then " +
  "build the layers again"
