// Reads a page of a stream, with all fields of its events.
// Cost: one statement. A page of long events takes a second one, see records.ts.
import * as Effect from "effect/Effect"
import type * as Event from "../../Event.js"
import type * as EventStore from "../../EventStore.js"
import type { ReadOptions } from "./dialect.js"
import { eventStoreError } from "./failure.js"
import * as Records from "./records.js"
import type { Services } from "./services.js"

type Options = Parameters<EventStore.Encoded["read"]>[0]

/** The options of the statement. */
export const shared = (options: Options): ReadOptions => ({ ...options, bytes: Records.shareOf(options.limit) })

export const read = (services: Services): EventStore.Encoded["read"] => (options) => {
  const { client: { execute, repeat }, statements } = services
  return Effect.flatMap(
    repeat(execute(statements.read(shared(options)))),
    (rows) => Records.bounded(services, { rows, positions: rows.map(services.statements.position) })
  ).pipe(
    // the events of the page were deleted while it was read, and later ones were not
    Effect.repeat({ until: ({ cutAt, records }) => cutAt === undefined || records.length > 0 }),
    Effect.mapBoth({ onFailure: eventStoreError("read", options.stream), onSuccess: continued })
  )
}

const continued = ({ cutAt, records }: Records.Records): ReadonlyArray<Event.EncodedRecord> =>
  cutAt !== undefined
    ? records.map((record, index) => index === records.length - 1 ? { ...record, continued: true } : record)
    : records
