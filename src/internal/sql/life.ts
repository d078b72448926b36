// Deletes and rewrites events of a stream, in one transaction with the marker that tells it. Removes what deletions leave.
import * as Effect from "effect/Effect"
import type { LifeDriver } from "../../EventStore.js"
import * as StreamId from "../../StreamId.js"
import { eventStoreError } from "./failure.js"
import * as InlineTransaction from "./inlineTransaction.js"
import * as Row from "./row.js"
import type { Services } from "./services.js"

export const make = ({ client, statements }: Services): LifeDriver => ({
  transaction: (stream, effect) => InlineTransaction.run(client, "delete", stream, () => effect),
  replace: (stream, event) =>
    Effect.mapBoth(client.executeValues(statements.replace(stream, event)), {
      onFailure: eventStoreError("rewrite", stream),
      onSuccess: (rows) => rows.length > 0
    }),
  lastRewritten: (stream, after) =>
    Effect.mapBoth(client.repeat(client.execute(statements.lastRewritten(stream, after))), {
      onFailure: eventStoreError("read", stream),
      onSuccess: ([row]) => Row.number(row.version)
    }),
  remove: (stream, before) =>
    Effect.mapError(
      Effect.asVoid(client.execute(statements.remove(stream, before))),
      eventStoreError("delete", stream)
    ),
  tombstones: (options) =>
    Effect.mapBoth(client.repeat(client.execute(statements.tombstones.list(options))), {
      onFailure: eventStoreError("delete"),
      onSuccess: (rows) =>
        rows.map((row) => ({
          stream: StreamId.make(Row.text(row.aggregate), Row.text(row.stream_id)),
          version: Row.number(row.version),
          eventId: Row.text(row.event_id),
          position: statements.position(row),
          hasEvents: Row.number(row.has_events) === 1
        }))
    }),
  clear: (tombstone, limit) =>
    Effect.mapBoth(client.repeat(client.execute(statements.tombstones.clear(tombstone, limit))), {
      onFailure: eventStoreError("delete", tombstone.stream),
      onSuccess: (rows) => Row.number(rows[0]?.count ?? rows.length)
    }),
  forget: (tombstone) =>
    Effect.mapBoth(client.repeat(client.execute(statements.tombstones.forget(tombstone))), {
      onFailure: eventStoreError("delete", tombstone.stream),
      onSuccess: (rows) => rows.length > 0
    })
})
